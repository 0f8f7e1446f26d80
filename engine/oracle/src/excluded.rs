//! [`Excluded`]: the rows that a run dropped as late.
//!
//! Which rows are late depends on how a run cut its epochs, so the batch answer can only be
//! compared without exactly those. A run says them in its dead letters, as text, step by step.

use crate::compare::text;
use crate::error::OracleError;
use crate::window::{Windowed, bounds};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter, filter_record_batch};
use std::collections::{BTreeMap, HashMap};
use tidemill_operators::time::Watermark;
use tidemill_operators::window::{Zone, zone};
use tidemill_sql::plan::NodeId;

/// A row by the names of its columns; NULL is none.
type TextRow = BTreeMap<String, Option<String>>;

/// Rows that nodes did not count.
#[derive(Clone, Debug, Default)]
pub struct Excluded {
    by_node: BTreeMap<NodeId, LateRows>,
}

/// Rows that came too late for one node, and the watermarks that they met.
#[derive(Clone, Debug, Default)]
pub(crate) struct LateRows(HashMap<TextRow, Vec<Watermark>>);

/// A late row, as it was kept.
#[derive(serde::Deserialize)]
struct Letter {
    step: String,
    watermark_ms: i64,
    row: TextRow,
}

impl Excluded {
    /// What the dead letters of a run say, one on each line of `letters`. `node` knows the plan's
    /// steps by the names that the run gave them.
    ///
    /// # Errors
    /// If a line is no letter, or its step is not known.
    pub fn read(
        letters: &str,
        node: impl Fn(&str) -> Option<NodeId>,
    ) -> Result<Excluded, OracleError> {
        let mut excluded = Excluded::default();
        for line in letters.lines() {
            let wrong = |reason: String| {
                OracleError::Inconsistent(format!("a letter of a late row: {reason}: {line}"))
            };
            let letter: Letter =
                serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
            let node = node(&letter.step).ok_or_else(|| wrong("no such step".to_owned()))?;
            let rows = &mut excluded.by_node.entry(node).or_default().0;
            rows.entry(letter.row).or_default().push(Watermark(letter.watermark_ms));
        }
        Ok(excluded)
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.by_node.values().flat_map(|rows| rows.0.values()).map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// The rows of one node.
    pub(crate) fn of(&self, node: NodeId) -> &LateRows {
        static NONE: std::sync::LazyLock<LateRows> = std::sync::LazyLock::new(LateRows::default);
        self.by_node.get(&node).unwrap_or(&NONE)
    }
}

impl LateRows {
    /// A node's inputs without the rows it dropped.
    pub(crate) fn remove_from(
        &self,
        inputs: Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>, OracleError> {
        if self.0.is_empty() {
            return Ok(inputs);
        }
        let mut removed = HashMap::new();
        let left = inputs.iter().map(|input| {
            let keep = (0..input.num_rows()).map(|row| {
                let row = readable(input, row);
                let wanted = self.0.get(&row).map_or(0, Vec::len);
                !is_one_of(wanted, removed.entry(row).or_default())
            });
            let keep: BooleanArray = keep.map(Some).collect();
            Ok(filter_record_batch(input, &keep)?)
        });
        let left = left.collect::<Result<Vec<_>, OracleError>>()?;
        let is_missing = |(row, late): &(&TextRow, &Vec<Watermark>)| {
            removed.get(*row).is_none_or(|&removed| removed < late.len())
        };
        match self.0.iter().find(is_missing) {
            None => Ok(left),
            Some((row, _)) => Err(never_there(row)),
        }
    }

    /// The rows of windows without those that came when their window was closed.
    pub(crate) fn remove_from_windows(
        &self,
        windowed: Windowed,
        in_zone: Zone,
    ) -> Result<Windowed, OracleError> {
        if self.0.is_empty() {
            return Ok(windowed);
        }
        let Windowed { rows, start, end } = windowed;
        let mut removed: HashMap<(TextRow, i64), usize> = HashMap::new();
        let keep = bounds(&end).into_iter().enumerate().map(|(row, end)| {
            let row = readable(&rows, row);
            let closed = |at: &&Watermark| zone::local_watermark(**at, in_zone).closes(end);
            let wanted = self.0.get(&row).map_or(0, |late| late.iter().filter(closed).count());
            !is_one_of(wanted, removed.entry((row, end)).or_default())
        });
        let keep: BooleanArray = keep.map(Some).collect();
        let found = |late: &TextRow| removed.iter().any(|((row, _), &n)| n > 0 && row == late);
        match self.0.keys().find(|row| !found(row)) {
            None => Ok(Windowed {
                rows: filter_record_batch(&rows, &keep)?,
                start: filter(&start, &keep)?,
                end: filter(&end, &keep)?,
            }),
            Some(row) => Err(never_there(row)),
        }
    }
}

/// Whether one more is to be removed; it is counted.
fn is_one_of(wanted: usize, removed: &mut usize) -> bool {
    let is_one = *removed < wanted;
    *removed += usize::from(is_one);
    is_one
}

fn never_there(row: &TextRow) -> OracleError {
    OracleError::Inconsistent(format!("a step dropped a late row that it never had: {row:?}"))
}

fn readable(rows: &RecordBatch, row: usize) -> TextRow {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    columns.map(|(field, column)| (field.name().clone(), text(column, row))).collect()
}
