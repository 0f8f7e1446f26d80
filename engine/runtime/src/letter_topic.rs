//! Records that can't be decoded go to a Kafka topic, if their table says so
//! (`'scan.bad-records.topic'`): as they were read, with what is wrong with them in the headers.
//!
//! The topic is written like a result, by the job's own transaction: a bad record is there exactly
//! once. It is on the brokers of the table that it belongs to. If the job writes a result there, it
//! has that one's `properties.*`, for a transaction takes one producer; else those of the table.

use crate::error::JobError;
use crate::options::wrong;
use arrow::array::{ArrayRef, BinaryArray, BinaryBuilder, MapBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use tidemill_connectors::source::BadInput;
use tidemill_formats::Table;
use tidemill_formats::table::MetadataColumn;
use tidemill_operators::Batch;

const TOPIC: &str = "scan.bad-records.topic";

const BROKERS: &str = "properties.bootstrap.servers";

/// What of a table's options the topic of its bad records has too.
fn is_shared(option: &str) -> bool {
    option.starts_with("properties.") || option.starts_with("sink.")
}

/// The topic of a table's bad records as a table, if it has one, in a job that writes `sinks`.
///
/// # Errors
/// If the table is not read from Kafka.
pub(crate) fn table<'a>(
    source: &'a Table,
    sinks: impl IntoIterator<Item = &'a Table>,
) -> Result<Option<Table>, JobError> {
    let Some(topic) = source.option(TOPIC) else { return Ok(None) };
    if !source.option("connector").is_some_and(|connector| connector.ends_with("kafka")) {
        let expected = "only a table that is read from Kafka has a topic for its bad records";
        return Err(wrong(TOPIC, topic, expected));
    }
    let brokers = source.option(BROKERS);
    let beside =
        sinks.into_iter().find(|sink| brokers.is_some() && sink.option(BROKERS) == brokers);
    let model = &beside.unwrap_or(source).options;
    let shared = model.iter().filter(|(option, _)| is_shared(option));
    let mut options: std::collections::BTreeMap<String, String> =
        shared.map(|(option, value)| (option.clone(), value.clone())).collect();
    for (option, value) in [("connector", "kafka"), ("format", "raw"), ("topic", topic)] {
        options.insert(option.to_owned(), value.to_owned());
    }
    let headers = MetadataColumn {
        name: "headers".to_owned(),
        key: "headers".to_owned(),
        data_type: headers_type(),
        is_virtual: false,
    };
    Ok(Some(Table {
        name: format!("bad records of {}", source.name),
        schema: Arc::new(Schema::new(vec![Field::new("record", DataType::Binary, true)])),
        metadata: vec![headers],
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options,
    }))
}

fn headers() -> MapBuilder<StringBuilder, BinaryBuilder> {
    MapBuilder::new(None, StringBuilder::new(), BinaryBuilder::new())
}

fn headers_type() -> DataType {
    use arrow::array::{Array, ArrayBuilder};
    let mut none = headers();
    ArrayBuilder::finish(&mut none).data_type().clone()
}

/// The rows of some bad records: each as it was read, and its headers.
///
/// # Errors
/// If Arrow can't hold them.
pub(crate) fn rows(table: &str, bad: &[BadInput]) -> Result<Batch, arrow::error::ArrowError> {
    let records = BinaryArray::from_iter_values(bad.iter().map(|bad| &bad.record));
    let mut all = headers();
    for BadInput { place, position, reason, .. } in bad {
        let position = position.to_string();
        let of_record =
            [("table", table), ("place", place), ("position", &position), ("reason", reason)];
        for (name, value) in of_record {
            all.keys().append_value(format!("tidemill.{name}"));
            all.values().append_value(value);
        }
        all.append(true)?;
    }
    let columns: [(&str, ArrayRef); 2] =
        [("record", Arc::new(records)), ("headers", Arc::new(all.finish()))];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, c)| (name, c, true)))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use std::collections::BTreeMap;

    fn source(options: &[(&str, &str)]) -> Table {
        let options = options.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        Table {
            name: "clicks".to_owned(),
            schema: Arc::new(Schema::empty()),
            metadata: Vec::new(),
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            options: options.collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn the_topic_has_the_brokers_of_its_table_and_nothing_of_its_format() {
        let kafka = [
            ("connector", "kafka"),
            ("format", "json"),
            ("topic", "clicks"),
            ("properties.bootstrap.servers", "here:9092"),
            ("scan.bad-records.topic", "bad"),
        ];
        let letters = table(&source(&kafka), []).unwrap().unwrap();
        let option = |name| letters.option(name);
        assert_eq!((option("topic"), option("format")), (Some("bad"), Some("raw")));
        assert_eq!(option("properties.bootstrap.servers"), Some("here:9092"));
        assert_eq!(option("scan.bad-records.topic"), None);
        let written = source(&[kafka[0], kafka[3], ("properties.linger.ms", "1")]);
        let letters = table(&source(&kafka), [&written]).unwrap().unwrap();
        assert_eq!(letters.option("properties.linger.ms"), Some("1"), "one producer for both");
        assert!(table(&source(&kafka[..4]), []).unwrap().is_none());
        let files = [("connector", "filesystem"), ("scan.bad-records.topic", "bad")];
        assert!(table(&source(&files), []).unwrap_err().to_string().contains("Kafka"));
    }

    #[test]
    fn a_letter_is_the_record_with_what_is_wrong_with_it() {
        let bad = BadInput {
            place: "clicks/3".to_owned(),
            position: 7,
            reason: "no JSON".to_owned(),
            record: b"\xff{".to_vec(),
        };
        let rows = super::rows("clicks", &[bad]).unwrap();
        assert_eq!(rows.column(0).as_binary::<i32>().value(0), b"\xff{");
        let headers = rows.column(1).as_map().value(0);
        let names = headers.column(0).as_string::<i32>();
        let values = headers.column(1).as_binary::<i32>();
        let headers: BTreeMap<_, _> = (0..4).map(|i| (names.value(i), values.value(i))).collect();
        assert_eq!(headers["tidemill.position"], b"7");
        assert_eq!(headers["tidemill.reason"], b"no JSON");
    }
}
