//! What happens on both sides of the join: a history, then inserts, updates and deletes.
//!
//! Rows are functions of their number and version, so that nothing has to be remembered of those
//! that are there: deletes take the oldest rows, updates go back from the newest of the history.

use anyhow::ensure;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;
use tidemill_operators::Batch;

/// Rows of an epoch, on both sides together.
pub const EPOCH_ROWS: u64 = 10_000;
const SIDE_ROWS: u64 = EPOCH_ROWS / 2;
/// Of a side's changes in an epoch a quarter each are inserts and deletes, and an update is two
/// rows.
const CHANGES: u64 = SIDE_ROWS / 4;
/// Rows of a side for each key, on average.
const ROWS_PER_KEY: u64 = 2;

/// Columns of a side: the key, the row's number and version, two of payload.
pub const COLUMNS: usize = 5;
pub const KEY: usize = 0;
pub const ID: usize = 1;
pub const VERSION: usize = 2;

/// The schema of a side.
pub fn side_schema() -> SchemaRef {
    Arc::new(Schema::new(fields("")))
}

/// The schema of pairs.
pub fn pair_schema() -> SchemaRef {
    Arc::new(Schema::new([fields(""), fields("right_")].concat()))
}

fn fields(prefix: &str) -> Vec<Field> {
    let field = |name: &str, data_type| Field::new(format!("{prefix}{name}"), data_type, true);
    vec![
        field("key", DataType::Int64),
        field("id", DataType::Int64),
        field("version", DataType::Int64),
        field("amount", DataType::Int64),
        field("name", DataType::Utf8),
    ]
}

/// All changes, epoch by epoch.
pub struct Changes {
    /// Rows of each side's history.
    history: u64,
    keys: u64,
    loaded: u64,
    changed: u64,
    epoch: u64,
}

impl Changes {
    /// Changes of a history of so many rows on both sides.
    pub fn new(history: u64) -> Self {
        let history = history / 2;
        Changes { history, keys: (history / ROWS_PER_KEY).max(1), loaded: 0, changed: 0, epoch: 0 }
    }

    /// The epoch of the rows that were given last.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The next epoch of the history, if it is not there yet.
    pub fn load(&mut self) -> Option<[Batch; 2]> {
        let end = (self.loaded + SIDE_ROWS).min(self.history);
        let ids = self.loaded..end;
        self.loaded = end;
        self.epoch += 1;
        let rows: Vec<Row> = ids.map(|id| Row { id, version: 0, weight: 1 }).collect();
        (!rows.is_empty()).then(|| self.both(&rows))
    }

    /// An epoch of changes.
    pub fn change(&mut self) -> anyhow::Result<[Batch; 2]> {
        let done = self.changed * CHANGES;
        ensure!(2 * (done + CHANGES) <= self.history, "the history is too short for such changes");
        self.changed += 1;
        self.epoch += 1;
        let mut rows = Vec::with_capacity(SIDE_ROWS as usize);
        for i in done..done + CHANGES {
            let updated = self.history - 1 - i;
            rows.extend([
                Row { id: self.history + i, version: 0, weight: 1 },
                Row { id: i, version: 0, weight: -1 },
                Row { id: updated, version: 0, weight: -1 },
                Row { id: updated, version: 1, weight: 1 },
            ]);
        }
        Ok(self.both(&rows))
    }

    fn both(&self, rows: &[Row]) -> [Batch; 2] {
        [0, 1].map(|side| self.batch(rows, side))
    }

    fn batch(&self, rows: &[Row], side: u64) -> Batch {
        let salt = |row: &Row| mix(2 * row.id + side);
        let numbers = |value: &dyn Fn(&Row) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| value(row) as i64)))
        };
        let names = rows.iter().map(|row| format!("customer-{:09}", salt(row) % 1_000_000_000));
        let columns = vec![
            numbers(&|row| salt(row) % self.keys),
            numbers(&|row| row.id),
            numbers(&|row| row.version),
            numbers(&|row| mix(salt(row) + row.version) % 100_000),
            Arc::new(StringArray::from_iter_values(names)) as ArrayRef,
        ];
        let columns = RecordBatch::try_new(side_schema(), columns).expect("columns of the schema");
        Batch::new(columns, Some(rows.iter().map(|row| row.weight).collect()))
    }
}

struct Row {
    id: u64,
    version: u64,
    weight: i64,
}

/// Scatters numbers (the finalizer of MurmurHash3).
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}
