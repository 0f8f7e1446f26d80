//! [`LiveTable`]: what a result table holds, folded from its changes as they are read.
//!
//! A table with a primary key is its latest row for each key. One without keeps the rows that
//! arrived last: they are there to be looked at, and nobody scrolls back.

use super::frame::{Heading, Panel, Row, Side};
use super::value::Value;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidemill_connectors::Watcher;
use tidemill_formats::Table;
use tidemill_jobs::{Order, View};
use tidemill_operators::Batch;

/// A table without a key keeps so many rows.
const LOG_ROWS_MAX: usize = 1000;
/// A row counts as fresh for so long after it changed.
const FRESH: Duration = Duration::from_millis(700);

/// A result table and how it is shown.
#[derive(Debug)]
pub(super) struct LiveTable {
    view: &'static View,
    /// Indices into the table's columns.
    key: Vec<usize>,
    shown: Vec<usize>,
    order: Vec<usize>,
    newest: Option<usize>,
    bar: Option<usize>,
    headings: Vec<Heading>,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    by_key: BTreeMap<Key, Entry>,
    /// How many rows have ever arrived.
    arrived: u64,
    newest: Option<Value>,
}

/// What tells rows apart: the primary key or, without one, when they arrived.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Primary(Vec<Value>),
    Arrival(u64),
}

#[derive(Debug)]
struct Entry {
    cells: Vec<Value>,
    order: Vec<Value>,
    bar: f64,
    changed: Instant,
}

impl LiveTable {
    /// A table, still empty. `None` if the view names a column that the table does not have.
    pub(super) fn new(view: &'static View, table: &Table) -> Option<Self> {
        let index = |name: &str| table.schema.index_of(name).ok();
        let indices = |names: &mut dyn Iterator<Item = &'static str>| {
            names.map(index).collect::<Option<Vec<usize>>>()
        };
        let shown = indices(&mut view.columns.iter().map(|(name, _)| *name))?;
        let headings = view.columns.iter().zip(&shown).map(|((_, text), &column)| Heading {
            text,
            side: match table.schema.field(column).data_type().is_numeric() {
                true => Side::Right,
                false => Side::Left,
            },
        });
        Some(LiveTable {
            view,
            key: table.primary_key.clone(),
            headings: headings.collect(),
            order: indices(&mut view.order.iter().map(Order::column))?,
            newest: indices(&mut view.newest.into_iter())?.pop(),
            bar: indices(&mut view.bar.into_iter())?.pop(),
            shown,
            rows: Mutex::default(),
        })
    }

    /// The table's name.
    pub(super) fn name(&self) -> &str {
        self.view.table
    }

    /// Forgets all rows.
    pub(super) fn clear(&self) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = Rows::default();
    }

    /// The first rows in the view's order, at most `rows_max`.
    pub(super) fn panel(&self, rows_max: usize, now: Instant) -> Panel {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first: Vec<&Entry> = rows.by_key.values().collect();
        let wanted = rows_max.min(self.view.rows_max);
        if first.len() > wanted && wanted > 0 {
            first.select_nth_unstable_by(wanted - 1, |a, b| self.compare(a, b));
            first.truncate(wanted);
        }
        first.sort_by(|a, b| self.compare(a, b));
        let behind = rows.newest.as_ref().map(Value::in_title);
        let title: Vec<&str> = std::iter::once(self.view.title).chain(behind.as_deref()).collect();
        Panel {
            title: title.join(" "),
            headings: self.headings.clone(),
            rows: first.into_iter().map(|entry| entry.row(now)).collect(),
            has_bars: self.bar.is_some(),
            rows_max: self.view.rows_max,
        }
    }

    fn compare(&self, a: &Entry, b: &Entry) -> Ordering {
        let columns = self.view.order.iter().zip(a.order.iter().zip(&b.order));
        let compared = columns.map(|(order, (a, b))| match order {
            Order::Ascending(_) => a.cmp(b),
            Order::Descending(_) => b.cmp(a),
        });
        compared.fold(Ordering::Equal, Ordering::then)
    }

    fn insert(&self, rows: &mut Rows, batch: &Batch, row: usize) {
        let value = |&column: &usize| Value::of(batch.column(column).as_ref(), row);
        if let Some(column) = &self.newest {
            let newest = Some(value(column));
            match newest.cmp(&rows.newest) {
                Ordering::Less => return,
                Ordering::Equal => {}
                Ordering::Greater => {
                    rows.by_key.clear();
                    rows.newest = newest;
                }
            }
        }
        let key = match self.key.is_empty() {
            true => Key::Arrival(rows.arrived),
            false => Key::Primary(self.key.iter().map(value).collect()),
        };
        rows.arrived += 1;
        let cells: Vec<Value> = self.shown.iter().map(value).collect();
        if rows.by_key.get(&key).is_some_and(|before| before.cells == cells) {
            return;
        }
        let entry = Entry {
            cells,
            order: self.order.iter().map(value).collect(),
            bar: self.bar.as_ref().map_or(0.0, |column| value(column).length()),
            changed: Instant::now(),
        };
        rows.by_key.insert(key, entry);
        if self.key.is_empty() && rows.by_key.len() > LOG_ROWS_MAX {
            rows.by_key.pop_first();
        }
    }
}

impl Entry {
    fn row(&self, now: Instant) -> Row {
        Row {
            cells: self.cells.iter().map(Value::in_cell).collect(),
            bar: self.bar,
            is_fresh: now.saturating_duration_since(self.changed) < FRESH,
        }
    }
}

impl Watcher for LiveTable {
    fn see(&self, batches: &[Batch]) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || batches.iter().flat_map(|batch| (0..batch.len()).map(move |row| (batch, row)));
        // What an epoch takes back goes first: of an update's two sides the new one remains.
        for (batch, row) in all().filter(|(batch, row)| batch.weight(*row) < 0) {
            let key = self.key.iter().map(|&column| Value::of(batch.column(column).as_ref(), row));
            rows.by_key.remove(&Key::Primary(key.collect()));
        }
        for (batch, row) in all().filter(|(batch, row)| batch.weight(*row) > 0) {
            self.insert(&mut rows, batch, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    static BY_POINTS: View = View {
        table: "t",
        title: "Best of",
        newest: None,
        order: &[Order::Descending("points"), Order::Ascending("name")],
        columns: &[("name", "who"), ("points", "points")],
        bar: Some("points"),
        rows_max: 3,
    };
    static NEWEST: View = View { newest: Some("hour"), ..BY_POINTS };

    fn table(primary_key: Vec<usize>) -> Table {
        let field = |name, data_type| Field::new(name, data_type, true);
        let fields = vec![
            field("hour", DataType::Int64),
            field("name", DataType::Utf8),
            field("points", DataType::Int64),
        ];
        Table {
            name: "t".to_owned(),
            schema: Arc::new(Schema::new(fields)),
            metadata: vec![],
            primary_key,
            partitioned_by: vec![],
            options: BTreeMap::new(),
        }
    }

    /// Rows of hour, name, points and weight.
    fn batch(rows: &[(i64, &str, i64, i64)]) -> Batch {
        let hours: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.1)));
        let points: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2)));
        let columns = RecordBatch::try_new(table(vec![]).schema, vec![hours, names, points]);
        Batch::new(columns.unwrap(), Some(rows.iter().map(|r| r.3).collect()))
    }

    fn shown(table: &LiveTable) -> Vec<String> {
        table.panel(10, Instant::now()).rows.iter().map(|row| row.cells.join(" ")).collect()
    }

    #[test]
    fn the_latest_row_of_each_key_is_shown_in_order() {
        let table = LiveTable::new(&BY_POINTS, &table(vec![1])).unwrap();
        table.see(&[batch(&[(1, "b", 5, 1), (1, "a", 5, 1), (1, "c", 9, 1), (1, "d", 1, 1)])]);
        assert_eq!(shown(&table), ["c 9", "a 5", "b 5"]);
        table.see(&[batch(&[(1, "b", 12, 1), (1, "b", 5, -1)]), batch(&[(1, "c", 9, -1)])]);
        assert_eq!(shown(&table), ["b 12", "a 5", "d 1"]);
    }

    #[test]
    fn only_rows_with_the_greatest_value_of_the_newest_column_are_shown() {
        let table = LiveTable::new(&NEWEST, &table(vec![])).unwrap();
        table.see(&[batch(&[(7, "a", 5, 1), (7, "b", 6, 1)])]);
        assert_eq!(shown(&table), ["b 6", "a 5"]);
        table.see(&[batch(&[(8, "c", 1, 1), (7, "d", 9, 1)])]);
        assert_eq!(shown(&table), ["c 1"]);
        assert_eq!(table.panel(10, Instant::now()).title, "Best of 8");
    }

    #[test]
    fn a_table_without_a_key_forgets_what_came_first() {
        let table = LiveTable::new(&BY_POINTS, &table(vec![])).unwrap();
        let rows = |from: i64| (from..from + 600).map(|n| (1, "a", n, 1)).collect::<Vec<_>>();
        table.see(&[batch(&rows(0)), batch(&rows(600))]);
        assert_eq!(table.rows.lock().unwrap().by_key.len(), LOG_ROWS_MAX);
        assert_eq!(shown(&table)[0], "a 1,199");
    }

    #[test]
    fn a_row_is_fresh_when_it_has_changed_and_not_when_it_was_said_again() {
        let table = LiveTable::new(&BY_POINTS, &table(vec![1])).unwrap();
        table.see(&[batch(&[(1, "a", 5, 1)])]);
        let is_fresh = |at| table.panel(1, at).rows[0].is_fresh;
        let written = Instant::now();
        assert!(is_fresh(written));
        std::thread::sleep(Duration::from_millis(5));
        table.see(&[batch(&[(1, "a", 5, 1)])]);
        assert!(!is_fresh(written + FRESH), "it was the same row");
    }
}
