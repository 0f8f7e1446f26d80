//! Random input: three tables as files, in which nothing comes later than the watermark
//! allows, unless late rows are asked for.
//!
//! ```text
//! events    id, k, name, v, amount, x, flag, ts, at     several files
//! others    id, k, w, ts                                several files
//! changes   id, k, v, ts                                one Debezium log of each file's own ids
//! ```
//!
//! Keys are skewed, some are NULL; rows come up to five seconds out of order; floats are
//! quarters, so that their sums are exact in any order. Time runs over the night in which the
//! clocks of Europe skip an hour.

use proptest::prelude::*;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The first event's time: 2024-03-31T00:10:00Z, fifty minutes before the clocks change.
const START_MS: i64 = 1_711_843_800_000;
/// Rows lie less than this behind the latest one before them.
const DELAY_MS: i64 = 5000;

/// The tables of the files that [`Data::write`] writes; `${DATA}` is their folder.
pub const TABLES: &str = "
CREATE TABLE events (
  id BIGINT, k BIGINT, name STRING, v INT, amount DECIMAL(10, 2), x DOUBLE, flag BOOLEAN,
  ts TIMESTAMP(3), at TIMESTAMP_LTZ(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/events', 'format' = 'json');
CREATE TABLE instants (
  id BIGINT, k BIGINT, v INT, at TIMESTAMP_LTZ(3),
  WATERMARK FOR at AS at - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/events', 'format' = 'json');
CREATE TABLE others (
  id BIGINT, k BIGINT, w BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/others', 'format' = 'json');
CREATE TABLE changes (
  id BIGINT, k BIGINT, v INT
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes', 'format' = 'debezium-json');
CREATE TABLE timed_changes (
  id BIGINT, k BIGINT, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' DAY
) WITH ('connector' = 'filesystem', 'path' = '${DATA}/changes', 'format' = 'debezium-json');
";

/// An event, or a row of the other table.
#[derive(Clone, Debug)]
pub struct Row {
    file: usize,
    key: Option<u8>,
    name: Option<u8>,
    value: Option<i8>,
    flag: Option<bool>,
    /// Time since the row before.
    step_ms: i64,
    /// How much too early its place is.
    jitter_ms: i64,
}

/// A change of one of a few rows: it is inserted, updated or deleted, whichever is possible.
#[derive(Clone, Debug)]
pub struct Change {
    id: u8,
    deletes: bool,
    key: Option<u8>,
    value: Option<i8>,
}

/// What all tables hold.
#[derive(Clone, Debug)]
pub struct Data {
    files: usize,
    events: Vec<Row>,
    others: Vec<Row>,
    changes: Vec<Change>,
}

fn key() -> impl Strategy<Value = Option<u8>> {
    // A third of all rows have one key.
    prop_oneof![3 => Just(Some(0u8)), 6 => (1u8..8).prop_map(Some), 1 => Just(None)]
}

fn step_ms() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0i64..8000, 2 => Just(0i64), 1 => 20_000i64..90_000]
}

fn row() -> impl Strategy<Value = Row> {
    let name = prop::option::weighted(0.8, 0u8..5);
    let value = prop::option::weighted(0.8, any::<i8>());
    let flag = prop::option::weighted(0.9, any::<bool>());
    (0usize..3, key(), name, value, flag, step_ms(), 0..DELAY_MS).prop_map(
        |(file, key, name, value, flag, step_ms, jitter_ms)| Row {
            file,
            key,
            name,
            value,
            flag,
            step_ms,
            jitter_ms,
        },
    )
}

fn change() -> impl Strategy<Value = Change> {
    (0u8..40, prop::bool::weighted(0.3), key(), prop::option::weighted(0.8, any::<i8>()))
        .prop_map(|(id, deletes, key, value)| Change { id, deletes, key, value })
}

/// Tables of some hundred rows.
pub fn data() -> impl Strategy<Value = Data> {
    (
        1usize..4,
        prop::collection::vec(row(), 1..600),
        prop::collection::vec(row(), 0..300),
        prop::collection::vec(change(), 0..400),
    )
        .prop_map(|(files, events, others, changes)| Data { files, events, others, changes })
}

impl Data {
    /// All rows in one file, which gives them an order of arrival that no run can change.
    pub fn in_one_file(self) -> Data {
        Data { files: 1, ..self }
    }

    /// Rows that come up to twenty seconds out of order, of which some are late.
    pub fn with_late_rows(mut self) -> Data {
        self.events.iter_mut().chain(&mut self.others).for_each(|row| row.jitter_ms *= 4);
        self
    }

    /// Writes the files of all tables into `folder`.
    pub fn write(&self, folder: &Path) {
        self.write_rows(&folder.join("events"), &self.events, event);
        self.write_rows(&folder.join("others"), &self.others, other);
        let mut texts = vec![String::new(); self.files];
        let mut held: [Option<String>; 40] = std::array::from_fn(|_| None);
        for change in &self.changes {
            let text = &mut texts[usize::from(change.id) % self.files];
            text.push_str(&change.apply(&mut held[usize::from(change.id)]));
        }
        write_files(&folder.join("changes"), &texts);
    }

    fn write_rows(&self, folder: &Path, rows: &[Row], json: impl Fn(usize, &Row, i64) -> String) {
        let mut texts = vec![String::new(); self.files];
        let mut now = START_MS;
        for (id, row) in rows.iter().enumerate() {
            now += row.step_ms;
            texts[row.file % self.files].push_str(&json(id, row, now + row.jitter_ms));
        }
        write_files(folder, &texts);
    }
}

fn write_files(folder: &Path, texts: &[String]) {
    fs::create_dir_all(folder).expect("a folder");
    for (file, text) in texts.iter().enumerate() {
        fs::write(folder.join(format!("{file}.jsonl")), text).expect("written");
    }
}

fn event(id: usize, row: &Row, ms: i64) -> String {
    let value = i64::from(row.value.unwrap_or_default());
    let name = row.name.map_or("null".to_owned(), |name| format!("\"n{name}\""));
    let known = |text: String| row.value.map_or("null".to_owned(), |_| text);
    let mut line = format!("{{\"id\":{id},\"k\":{},\"name\":{name},", number(row.key));
    let amount = known(format!("{}", value as f64 / 100.0));
    let x = known(format!("{}", value as f64 / 4.0));
    write!(line, "\"v\":{},\"amount\":{amount},\"x\":{x},", number(row.value)).expect("a string");
    let flag = row.flag.map_or("null".to_owned(), |flag| flag.to_string());
    let time = time(ms);
    writeln!(line, "\"flag\":{flag},\"ts\":\"{time}\",\"at\":\"{time}Z\"}}").expect("a string");
    line
}

fn other(id: usize, row: &Row, ms: i64) -> String {
    let (key, value) = (number(row.key), number(row.value));
    format!("{{\"id\":{id},\"k\":{key},\"w\":{value},\"ts\":\"{}\"}}\n", time(ms))
}

impl Change {
    fn apply(&self, held: &mut Option<String>) -> String {
        let (key, value) = (number(self.key), number(self.value));
        let ts = time(START_MS + i64::from(self.id) * 20_000);
        let row = format!("{{\"id\":{},\"k\":{key},\"v\":{value},\"ts\":\"{ts}\"}}", self.id);
        match held.take() {
            None => {
                let line = format!("{{\"before\":null,\"after\":{row},\"op\":\"c\"}}\n");
                *held = Some(row);
                line
            }
            Some(old) if self.deletes => {
                format!("{{\"before\":{old},\"after\":null,\"op\":\"d\"}}\n")
            }
            Some(old) => {
                let line = format!("{{\"before\":{old},\"after\":{row},\"op\":\"u\"}}\n");
                *held = Some(row);
                line
            }
        }
    }
}

fn number(value: Option<impl std::fmt::Display>) -> String {
    value.map_or("null".to_owned(), |value| value.to_string())
}

/// Wall clock of UTC; all on one day.
fn time(ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (day, ms) = ((ms - START_MS.div_euclid(DAY_MS) * DAY_MS) / DAY_MS, ms.rem_euclid(DAY_MS));
    assert!(day == 0, "the data ends on the day on which it starts");
    let (s, fraction) = (ms / 1000, ms % 1000);
    format!("2024-03-31 {:02}:{:02}:{:02}.{fraction:03}", s / 3600, s / 60 % 60, s % 60)
}
