//! [`RecordRows`]: from records to the columns that a reader was asked for.
//!
//! A record has a value, perhaps a key, and surroundings (metadata). Each part is decoded into
//! columns of its own, and `finish` puts them side by side. The invariant: **row `i` of every part
//! belongs to the same record**, though a value may give no row, two rows, or none because it is a
//! tombstone, and though a part may turn out to be bad after another has been decoded.

use crate::source::{BadInput, BadInputs, ConnectorError, ReadSpec};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;
use tidemill_formats::{BadRecord, Decoder, FormatRole, OptionError, decoder};
use tidemill_operators::Batch;

/// Name of the column that orders the rows of a lane.
const ARRIVAL: &str = "__arrival";

/// An arrival is the record's position and, in this many low bits, the row's place in the record.
const ARRIVAL_SHIFT: u32 = 20;

/// Longest part of a bad record that is kept.
const BAD_RECORD_BYTES_MAX: usize = 16 * 1024;

/// Where a column of the output comes from, as an index there.
#[derive(Clone, Copy, Debug)]
enum Part {
    Value(usize),
    Key(usize),
    Outside(usize),
}

/// Where a physical column of a table is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the record's value.
    Value,
    /// In its key.
    Key,
    /// Around it, like metadata: in a file's path.
    Outside,
}

/// Decodes records into rows of the columns that a reader was asked for.
pub(crate) struct RecordRows {
    value: Box<dyn Decoder>,
    key: Option<Box<dyn Decoder>>,
    parts: Vec<Part>,
    schema: SchemaRef,
    /// For each row: its row in the value's columns; `None` for a tombstone.
    value_rows: Vec<Option<u32>>,
    /// For each row: its row in the key's columns, if keys are decoded.
    key_rows: Vec<u32>,
    /// For each row: where it arrived, if asked for.
    arrivals: Option<Vec<i64>>,
    tombstones: usize,
}

/// The table's metadata columns that a reader was asked for, in order.
pub(crate) fn wanted_metadata(spec: &ReadSpec) -> Vec<usize> {
    let physical = spec.table.schema.fields().len();
    spec.columns.iter().filter_map(|&column| column.checked_sub(physical)).collect()
}

impl RecordRows {
    /// Makes the decoders for columns of these origins.
    pub(crate) fn new(
        spec: &ReadSpec,
        origin: impl Fn(usize) -> Origin,
    ) -> Result<Self, OptionError> {
        let table = &spec.table;
        let physical = table.schema.fields().len();
        let (mut values, mut keys, mut outside) = (vec![], vec![], 0);
        let (mut parts, mut fields) = (vec![], vec![]);
        for &column in &spec.columns {
            if column >= physical {
                let column = &table.metadata[column - physical];
                fields.push(Field::new(&column.name, column.data_type.clone(), true));
                parts.push(Part::Outside(outside));
                outside += 1;
                continue;
            }
            fields.push(table.schema.field(column).clone().with_nullable(true));
            parts.push(match origin(column) {
                Origin::Value => {
                    values.push(column);
                    Part::Value(values.len() - 1)
                }
                Origin::Key => {
                    keys.push(column);
                    Part::Key(keys.len() - 1)
                }
                Origin::Outside => {
                    outside += 1;
                    Part::Outside(outside - 1)
                }
            });
        }
        if spec.arrival {
            fields.push(Field::new(ARRIVAL, DataType::Int64, false));
        }
        let key =
            if keys.is_empty() { None } else { Some(decoder(table, FormatRole::Key, &keys)?) };
        Ok(RecordRows {
            value: decoder(table, FormatRole::Value, &values)?,
            key,
            parts,
            schema: Arc::new(Schema::new(fields)),
            value_rows: vec![],
            key_rows: vec![],
            arrivals: spec.arrival.then(Vec::new),
            tombstones: 0,
        })
    }

    /// Whether keys are needed at all.
    pub(crate) fn reads_keys(&self) -> bool {
        self.key.is_some()
    }

    /// Adds the rows of one record and says how many there were.
    pub(crate) fn decode(
        &mut self,
        value: &[u8],
        key: Option<&[u8]>,
        position: i64,
    ) -> Result<usize, BadRecord> {
        let key_row = self.decode_key(key)?;
        let first = self.value.rows() as u32;
        let rows = self.value.decode(value)?;
        if self.key.is_some() || self.tombstones > 0 {
            self.value_rows.extend((first..first + rows as u32).map(Some));
            self.key_rows.extend(std::iter::repeat_n(key_row, rows));
        }
        self.arrive(position, rows);
        Ok(rows)
    }

    /// Adds a deletion: the columns of the key, nothing else, and weight `-1`.
    pub(crate) fn decode_tombstone(
        &mut self,
        key: Option<&[u8]>,
        position: i64,
    ) -> Result<usize, BadRecord> {
        let key_row = self.decode_key(key)?;
        if self.key.is_none() && self.tombstones == 0 {
            self.value_rows.extend((0..self.value.rows() as u32).map(Some));
            self.key_rows.resize(self.value_rows.len(), 0);
        }
        self.value_rows.push(None);
        self.key_rows.push(key_row);
        self.tombstones += 1;
        self.arrive(position, 1);
        Ok(1)
    }

    fn decode_key(&mut self, key: Option<&[u8]>) -> Result<u32, BadRecord> {
        let Some(decoder) = &mut self.key else { return Ok(0) };
        let row = decoder.rows() as u32;
        let bad = |reason: String| BadRecord { reason: format!("key: {reason}") };
        match decoder.decode(key.unwrap_or_default()).map_err(|e| bad(e.reason))? {
            1 => Ok(row),
            0 => Err(bad("is empty".to_owned())),
            // Rows beyond the first stay unused: nothing points at them.
            _ => Err(bad("holds more than one row".to_owned())),
        }
    }

    fn arrive(&mut self, position: i64, rows: usize) {
        if let Some(arrivals) = &mut self.arrivals {
            let first = position << ARRIVAL_SHIFT;
            arrivals.extend((0..rows as i64).map(|row| first + row));
        }
    }

    /// Number of rows since the last [`RecordRows::finish`].
    pub(crate) fn rows(&self) -> usize {
        if self.key.is_some() || self.tombstones > 0 {
            self.value_rows.len()
        } else {
            self.value.rows()
        }
    }

    /// Hands over the rows, with these columns from around the records: metadata and columns of
    /// [`Origin::Outside`], as they were asked for.
    pub(crate) fn finish(&mut self, outside: &[ArrayRef]) -> Result<Batch, ConnectorError> {
        let rows = self.rows();
        let (values, weights) = self.value.finish().into_parts();
        let mut value_columns = values.columns().to_vec();
        let mut weights = weights.map(|w| w.to_vec());
        if self.tombstones > 0 {
            let indices = UInt32Array::from(std::mem::take(&mut self.value_rows));
            value_columns = taken(&value_columns, &indices)?;
            let weight = |row: Option<u32>| match (row, &weights) {
                (None, _) => -1,
                (Some(row), Some(weights)) => weights[row as usize],
                (Some(_), None) => 1,
            };
            weights = Some(indices.iter().map(weight).collect());
        }
        let mut key_columns = vec![];
        if let Some(key) = &mut self.key {
            let keys = key.finish();
            key_columns = keys.columns().columns().to_vec();
            let in_step = self.key_rows.iter().enumerate().all(|(i, &row)| i == row as usize);
            if !in_step || keys.len() != rows {
                let indices = UInt32Array::from(std::mem::take(&mut self.key_rows));
                key_columns = taken(&key_columns, &indices)?;
            }
        }
        self.value_rows.clear();
        self.key_rows.clear();
        self.tombstones = 0;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.parts.len() + 1);
        columns.extend(self.parts.iter().map(|part| match *part {
            Part::Value(i) => value_columns[i].clone(),
            Part::Key(i) => key_columns[i].clone(),
            Part::Outside(i) => outside[i].clone(),
        }));
        if let Some(arrivals) = &mut self.arrivals {
            columns.push(Arc::new(Int64Array::from(std::mem::take(arrivals))));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(inconsistent)?;
        Ok(Batch::new(columns, weights.map(Into::into)))
    }
}

fn taken(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>, ConnectorError> {
    columns.iter().map(|column| take(column, rows, None).map_err(inconsistent)).collect()
}

fn inconsistent(error: arrow::error::ArrowError) -> ConnectorError {
    ConnectorError { what: "putting a record's columns together".into(), cause: error.to_string() }
}

/// The bad records of a reader, until they are taken.
#[derive(Debug)]
pub(crate) struct BadRecords {
    found: BadInputs,
    keeps_records: bool,
}

impl BadRecords {
    /// Keeps records unless the table says to skip them.
    pub(crate) fn new(table: &tidemill_formats::Table) -> Self {
        let skips =
            table.option("scan.bad-records").is_some_and(|v| v.eq_ignore_ascii_case("skip"));
        BadRecords { found: BadInputs::default(), keeps_records: !skips }
    }

    /// Notes a bad record.
    pub(crate) fn push(
        &mut self,
        place: impl FnOnce() -> String,
        position: i64,
        bad: BadRecord,
        record: &[u8],
    ) {
        self.found.count += 1;
        if self.keeps_records {
            let record = record[..record.len().min(BAD_RECORD_BYTES_MAX)].to_vec();
            self.found.records.push(BadInput {
                place: place(),
                position,
                reason: bad.reason,
                record,
            });
        }
    }

    /// Hands over what was noted.
    pub(crate) fn take(&mut self) -> BadInputs {
        std::mem::take(&mut self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;

    fn spec(format: &str) -> ReadSpec {
        let mut table = table(&[("format", format), ("key.format", "json"), ("key.fields", "id")]);
        table.primary_key = vec![0];
        ReadSpec { table, columns: vec![0, 1], arrival: true, positions: None, until: None }
    }

    fn first_is_key(column: usize) -> Origin {
        if column == 0 { Origin::Key } else { Origin::Value }
    }

    #[test]
    fn a_bad_value_leaves_keys_and_values_of_its_neighbours_together() {
        let mut rows = RecordRows::new(&spec("json"), first_is_key).unwrap();
        rows.decode(br#"{"name":"a"}"#, Some(br#"{"id":1}"#), 10).unwrap();
        rows.decode(br#"{"name":"#, Some(br#"{"id":2}"#), 11).unwrap_err();
        rows.decode(br#"{"name":"c"}"#, Some(b"nonsense"), 12).unwrap_err();
        rows.decode(br#"{"name":"d"}"#, Some(br#"{"id":4}"#), 13).unwrap();
        let batch = rows.finish(&[]).unwrap();
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 4]);
        assert_eq!(batch.column(1).as_string::<i32>().value(1), "d");
        assert_eq!(batch.column(2).as_primitive::<Int64Type>().values(), &[10 << 20, 13 << 20]);
        assert_eq!(rows.finish(&[]).unwrap().len(), 0);
    }

    #[test]
    fn a_tombstone_is_a_deletion_that_holds_the_key_alone() {
        let mut rows = RecordRows::new(&spec("json"), first_is_key).unwrap();
        rows.decode(br#"{"name":"a"}"#, Some(br#"{"id":1}"#), 0).unwrap();
        rows.decode_tombstone(Some(br#"{"id":1}"#), 1).unwrap();
        let batch = rows.finish(&[]).unwrap();
        assert_eq!(batch.weights(), Some(&[1, -1][..]));
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 1]);
        assert!(batch.column(1).is_null(1));
    }

    #[test]
    fn both_sides_of_an_update_belong_to_the_key_of_their_record() {
        let mut rows = RecordRows::new(&spec("debezium-json"), first_is_key).unwrap();
        let update = br#"{"before":{"name":"a"},"after":{"name":"b"},"op":"u"}"#;
        assert_eq!(rows.decode(update, Some(br#"{"id":7}"#), 3).unwrap(), 2);
        let batch = rows.finish(&[]).unwrap();
        assert_eq!(batch.weights(), Some(&[-1, 1][..]));
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[7, 7]);
        let arrivals = batch.column(2).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(arrivals, [3 << 20, (3 << 20) + 1]);
    }
}
