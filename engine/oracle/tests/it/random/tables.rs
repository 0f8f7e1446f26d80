//! Random tables: their changes in the order in which they are read, and what they hold after
//! any part of them.
//!
//! ```text
//! grows    id, k, v, s        rows are only added
//! log      id, k, v, s        rows are added, changed and deleted: Debezium's records
//! latest   id, k, v, s        the last row of each id: an upsert stream
//! timed    id, k, v, s, ts    rows are only added, out of order within the watermark
//! ```
//!
//! Values are few and often NULL, so that keys collide and rows are taken back. A table is dealt
//! to lanes by `id`, so the changes of one id stay in order.

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::array::{RecordBatchOptions, TimestampMillisecondArray};
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How far the watermark of `timed` lies behind its latest row.
pub const DELAY_MS: i64 = 5000;

/// The tables as the engine knows them. Their rows come from the test, whatever the connector.
pub const DEFINITIONS: &str = "
CREATE TABLE grows (id BIGINT, k BIGINT, v INT, s STRING)
WITH ('connector' = 'filesystem', 'path' = '/grows', 'format' = 'json');
CREATE TABLE log (id BIGINT, k BIGINT, v INT, s STRING)
WITH ('connector' = 'filesystem', 'path' = '/log', 'format' = 'debezium-json');
CREATE TABLE latest (id BIGINT, k BIGINT, v INT, s STRING, PRIMARY KEY (id) NOT ENFORCED)
WITH ('connector' = 'upsert-kafka', 'topic' = 'latest', 'key.format' = 'json',
      'value.format' = 'json', 'properties.bootstrap.servers' = 'localhost:1');
CREATE TABLE timed (id BIGINT, k BIGINT, v INT, s STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'filesystem', 'path' = '/timed', 'format' = 'json');
";

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Grows,
    Log,
    Latest,
    Timed,
}

impl Table {
    pub const ALL: [Table; 4] = [Table::Grows, Table::Log, Table::Latest, Table::Timed];

    pub fn name(self) -> &'static str {
        match self {
            Table::Grows => "grows",
            Table::Log => "log",
            Table::Latest => "latest",
            Table::Timed => "timed",
        }
    }
}

/// A row of any table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub id: i64,
    pub k: Option<i64>,
    pub v: Option<i32>,
    pub s: Option<&'static str>,
    pub ts: i64,
}

/// What one record says, all of it at once: rows, and whether they come (1) or go (-1).
pub type Event = Vec<(Row, i64)>;

/// The changes of a table, lane by lane.
pub type Lanes = Vec<Vec<Event>>;

/// What all tables are given.
#[derive(Clone, Default)]
pub struct Tables(BTreeMap<Table, Lanes>);

/// What a record is made of.
#[derive(Clone, Debug)]
struct Change {
    id: u8,
    deletes: bool,
    values: (Option<i64>, Option<i32>, Option<&'static str>),
    step_ms: i64,
    early_ms: i64,
}

impl Change {
    fn row(&self, id: i64) -> Row {
        let (k, v, s) = self.values;
        Row { id, k, v, s, ts: 0 }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let k = prop_oneof![3 => Just(Some(0i64)), 4 => (1i64..4).prop_map(Some), 1 => Just(None)];
    let v = prop::option::weighted(0.75, -2i32..4);
    let s = prop::option::weighted(0.75, prop::sample::select(vec!["a", "b", "ab", ""]));
    let step_ms = prop_oneof![3 => Just(0i64), 6 => 1i64..4000, 1 => 5000i64..20_000];
    (0u8..7, prop::bool::weighted(0.3), (k, v, s), step_ms, 0..DELAY_MS).prop_map(
        |(id, deletes, values, step_ms, early_ms)| Change {
            id,
            deletes,
            values,
            step_ms,
            early_ms,
        },
    )
}

/// Tables of up to forty records, `timed` in one lane.
pub fn tables() -> impl Strategy<Value = Tables> {
    let changes = || prop::collection::vec(change(), 0..40);
    (changes(), changes(), changes(), changes(), 1usize..4).prop_map(
        |(grows, log, latest, timed, lanes)| {
            Tables(BTreeMap::from([
                (Table::Grows, dealt(grown(&grows), lanes)),
                (Table::Log, dealt(logged(&log), lanes)),
                (Table::Latest, dealt(upserted(&latest), lanes)),
                (Table::Timed, vec![clocked(&timed)]),
            ]))
        },
    )
}

fn dealt(events: Vec<Event>, lanes: usize) -> Lanes {
    let mut dealt = vec![Vec::new(); lanes];
    for event in events {
        dealt[event[0].0.id as usize % lanes].push(event);
    }
    dealt
}

fn grown(changes: &[Change]) -> Vec<Event> {
    (0..).zip(changes).map(|(id, change)| vec![(change.row(id), 1)]).collect()
}

/// Inserts, updates and deletes, whichever is possible.
fn logged(changes: &[Change]) -> Vec<Event> {
    let mut held: BTreeMap<u8, Row> = BTreeMap::new();
    let event = |change: &Change| {
        let mut event: Event = held.remove(&change.id).map(|old| (old, -1)).into_iter().collect();
        if event.is_empty() || !change.deletes {
            let row = change.row(change.id.into());
            held.insert(change.id, row.clone());
            event.push((row, 1));
        }
        event
    };
    changes.iter().map(event).collect()
}

/// Rows and deletions by key, of which some delete nothing.
fn upserted(changes: &[Change]) -> Vec<Event> {
    let event = |change: &Change| match change.deletes {
        false => vec![(change.row(change.id.into()), 1)],
        true => vec![(Row { id: change.id.into(), ..Row::default() }, -1)],
    };
    changes.iter().map(event).collect()
}

/// Rows less than the watermark's delay out of order.
fn clocked(changes: &[Change]) -> Vec<Event> {
    let mut now = 0;
    let mut event = |(id, change): (i64, &Change)| {
        now += change.step_ms;
        let ts = now + change.early_ms;
        vec![(Row { ts, ..change.row(id) }, 1)]
    };
    (0..).zip(changes).map(&mut event).collect()
}

impl Tables {
    pub fn lanes(&self, table: Table) -> &[Vec<Event>] {
        &self.0[&table]
    }

    /// These tables alone.
    pub fn only(&self, tables: &[Table]) -> Tables {
        let kept = self.0.iter().filter(|(table, _)| tables.contains(table));
        Tables(kept.map(|(&table, lanes)| (table, lanes.clone())).collect())
    }
}

/// The rows of `table` when so many records of each lane have been read.
pub fn held(table: Table, lanes: &[Vec<Event>], read: &[usize]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let read = lanes.iter().zip(read).flat_map(|(events, &read)| &events[..read]);
    for (row, weight) in read.flatten() {
        let is_gone = |other: &Row| match table {
            Table::Latest => other.id == row.id,
            Table::Grows | Table::Log | Table::Timed => *weight < 0 && other == row,
        };
        if let Some(place) = rows.iter().position(is_gone) {
            rows.remove(place);
        }
        if *weight > 0 {
            rows.push(row.clone());
        }
    }
    rows
}

/// All physical columns of rows, in the order of the definitions.
pub fn columns<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Vec<ArrayRef> {
    vec![
        Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row.id))),
        Arc::new(rows.clone().map(|row| row.k).collect::<Int64Array>()),
        Arc::new(rows.clone().map(|row| row.v).collect::<Int32Array>()),
        Arc::new(rows.clone().map(|row| row.s).collect::<StringArray>()),
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.map(|row| row.ts))),
    ]
}

/// Columns under these names.
pub fn batch(columns: Vec<(&str, ArrayRef)>, rows: usize) -> RecordBatch {
    let field =
        |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let count = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &count).expect("equal columns")
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, lanes) in &self.0 {
            for (lane, events) in lanes.iter().enumerate() {
                writeln!(f, "{} lane {lane}:", table.name())?;
                for event in events {
                    let rows = event.iter().map(|(row, weight)| show(row, *weight));
                    writeln!(f, "  {}", rows.collect::<Vec<_>>().join("  "))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

fn show(row: &Row, weight: i64) -> String {
    let number = |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
    let sign = if weight > 0 { '+' } else { '-' };
    let text = row.s.map_or("NULL".to_owned(), |text| format!("'{text}'"));
    let (k, v) = (number(row.k), number(row.v.map(i64::from)));
    format!("{sign}({}, {k}, {v}, {text}, {})", row.id, row.ts)
}
