//! The metadata columns of Kafka tables: what surrounds a record.

use super::queue::{Message, Timestamp};
use crate::source::ConnectorError;
use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Fields, Int32Type, Int64Type, TimeUnit, TimestampMillisecondType,
};
use std::sync::Arc;
use tidemill_formats::table::MetadataColumn;

/// The metadata that there are, with their types.
pub(crate) fn offered() -> Vec<(String, DataType)> {
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let all = [
        ("topic", DataType::Utf8),
        ("partition", DataType::Int32),
        ("headers", headers_type()),
        ("leader-epoch", DataType::Int32),
        ("offset", DataType::Int64),
        ("timestamp", timestamp),
        ("timestamp-type", DataType::Utf8),
    ];
    all.map(|(key, data_type)| (key.to_owned(), data_type)).into()
}

/// `MAP<STRING, BYTES>`.
pub(crate) fn headers_type() -> DataType {
    let entry = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Binary, true),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

enum Builder {
    Topic(StringBuilder),
    Partition(PrimitiveBuilder<Int32Type>),
    Headers(Box<MapBuilder<StringBuilder, BinaryBuilder>>),
    LeaderEpoch(PrimitiveBuilder<Int32Type>),
    Offset(PrimitiveBuilder<Int64Type>),
    Timestamp(PrimitiveBuilder<TimestampMillisecondType>),
    TimestampType(StringBuilder),
}

/// The metadata columns that a reader was asked for.
pub(crate) struct MetadataColumns {
    topic: Arc<str>,
    columns: Vec<(Builder, MetadataColumn)>,
}

impl MetadataColumns {
    /// Columns for the records of one topic.
    pub(crate) fn new<'a>(
        topic: Arc<str>,
        wanted: impl Iterator<Item = &'a MetadataColumn>,
    ) -> Result<Self, ConnectorError> {
        let columns = wanted.map(|column| Ok((builder(&column.key)?, column.clone())));
        Ok(MetadataColumns { topic, columns: columns.collect::<Result<_, ConnectorError>>()? })
    }

    /// Adds what surrounds a message, for each of its rows.
    pub(crate) fn push(&mut self, message: Message<'_>, rows: usize) {
        for (builder, _) in &mut self.columns {
            for _ in 0..rows {
                push(builder, &self.topic, message);
            }
        }
    }

    /// Hands over the columns.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>, ConnectorError> {
        self.columns.iter_mut().map(|(builder, column)| finish(builder, column)).collect()
    }
}

fn builder(key: &str) -> Result<Builder, ConnectorError> {
    Ok(match key {
        "topic" => Builder::Topic(StringBuilder::new()),
        "partition" => Builder::Partition(PrimitiveBuilder::new()),
        "headers" => {
            let map = MapBuilder::new(None, StringBuilder::new(), BinaryBuilder::new());
            Builder::Headers(Box::new(map))
        }
        "leader-epoch" => Builder::LeaderEpoch(PrimitiveBuilder::new()),
        "offset" => Builder::Offset(PrimitiveBuilder::new()),
        "timestamp" => Builder::Timestamp(PrimitiveBuilder::new().with_timezone("UTC")),
        "timestamp-type" => Builder::TimestampType(StringBuilder::new()),
        _ => {
            return Err(ConnectorError {
                what: format!("reading metadata '{key}'"),
                cause: "Kafka has no such metadata".to_owned(),
            });
        }
    })
}

fn push(builder: &mut Builder, topic: &str, message: Message<'_>) {
    match builder {
        Builder::Topic(builder) => builder.append_value(topic),
        Builder::Partition(builder) => builder.append_value(message.partition()),
        Builder::LeaderEpoch(builder) => {
            let epoch = message.leader_epoch();
            builder.append_option((epoch >= 0).then_some(epoch));
        }
        Builder::Offset(builder) => builder.append_value(message.offset()),
        Builder::Timestamp(builder) => builder.append_option(match message.timestamp() {
            Timestamp::Created(millis) | Timestamp::Appended(millis) => Some(millis),
            Timestamp::Unknown => None,
        }),
        Builder::TimestampType(builder) => builder.append_value(match message.timestamp() {
            Timestamp::Created(_) => "CreateTime",
            Timestamp::Appended(_) => "LogAppendTime",
            Timestamp::Unknown => "NoTimestampType",
        }),
        Builder::Headers(builder) => {
            for (name, value) in message.headers() {
                builder.keys().append_value(name);
                builder.values().append_option(value);
            }
            builder.append(true).expect("as many keys as values");
        }
    }
}

fn finish(builder: &mut Builder, column: &MetadataColumn) -> Result<ArrayRef, ConnectorError> {
    let array: ArrayRef = match builder {
        Builder::Topic(b) | Builder::TimestampType(b) => Arc::new(b.finish()),
        Builder::Partition(b) | Builder::LeaderEpoch(b) => Arc::new(b.finish()),
        Builder::Offset(b) => Arc::new(b.finish()),
        Builder::Timestamp(b) => Arc::new(b.finish()),
        Builder::Headers(b) => Arc::new(b.finish()),
    };
    if array.data_type() == &column.data_type {
        return Ok(array);
    }
    cast(&array, &column.data_type).map_err(|e| ConnectorError {
        what: format!("giving metadata '{}' the type of '{}'", column.key, column.name),
        cause: e.to_string(),
    })
}
