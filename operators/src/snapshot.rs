//! [`Snapshot`]: an operator's state as tables, on its way to or from a checkpoint.
//!
//! A table says of keys what has become of them: gone, or an entry as it now is. A checkpoint
//! stores what changed since the one before, so a state is a *chain* of snapshots:
//!
//! ```text
//!             group  key │ value             group  key │ value            group  key │ value
//!  oldest        7    a  │   1        then: delete (9, c)         merged:     7    a  │   4
//!                9    c  │   2                7    a  │   4                  8    b  │   5
//!                                             8    b  │   5
//! ```
//!
//! The invariant: **the last word about a key is all that is known of it.** Whoever knows a table's
//! key columns can therefore [`merge`] a chain, cut it by key group and restore it elsewhere, with
//! no knowledge of the operator. To that end each key column's value is written the same way by
//! everyone who writes it (an operator to which `-0.0` and `0.0` are one key writes one of them),
//! for keys are compared bit by bit.
//!
//! What is held of a key may be any number of things, such as the different values of a group. Then
//! each is an entry of its own in a table whose key begins with that key, and goes with it: **a
//! deletion of fewer columns than the key has deletes all keys that begin so.** All that are so
//! short in a table have the same columns.

pub(crate) mod journal;
mod merge;
pub(crate) mod numbered;
#[cfg(test)]
mod tests;

use crate::key::KeyGroup;
use crate::operator::OperatorError;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, UInt8Type};
use std::ops::RangeInclusive;

pub use merge::{Link, merge};

/// How much of its state an operator hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotScope {
    /// Everything that is held.
    Full,
    /// What changed since the last snapshot of either kind, or the last restore: everything, if
    /// there was none.
    Changed,
}

/// A piece of state on its way to or from a checkpoint. See the [module](self).
///
/// Applying a full snapshot and then every later `Changed` one in order gives the state back.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// Tables of an operator. Those of one name apply in this order; those of different names have
    /// nothing to do with each other.
    pub tables: Vec<SnapshotTable>,
}

/// What one table of an operator has to say.
#[derive(Debug, Clone)]
pub struct SnapshotTable {
    /// Which of the operator's tables this is, e.g. `"panes"`.
    pub name: String,
    /// How many leading columns are the key. The first is the `UInt8` column `key_group`.
    pub key_width: usize,
    /// Keys that no longer exist: the key columns, nothing else, or only the first of them, for all
    /// keys that begin so. Applied before `upserts`.
    pub deletes: Option<RecordBatch>,
    /// Entries as they now are: the key columns, then the values.
    pub upserts: Option<RecordBatch>,
}

impl SnapshotTable {
    /// The deletions, then the entries.
    fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.deletes.iter().chain(&self.upserts)
    }
}

impl Snapshot {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Number of entries and deletions.
    pub fn rows(&self) -> usize {
        self.batches().map(RecordBatch::num_rows).sum()
    }

    /// The least and the greatest key group that it has a row of, if it has any.
    pub fn key_group_range(&self) -> Option<RangeInclusive<KeyGroup>> {
        let groups = || self.batches().flat_map(|rows| key_groups(rows).iter().copied());
        Some(KeyGroup(groups().min()?)..=KeyGroup(groups().max()?))
    }

    /// The rows of some key groups, such as [those of one worker](KeyGroup::of_worker).
    ///
    /// # Errors
    /// If Arrow refuses to filter a column.
    pub fn of_key_groups(
        &self,
        range: &RangeInclusive<KeyGroup>,
    ) -> Result<Snapshot, OperatorError> {
        let part = |rows: &Option<RecordBatch>| match rows {
            None => Ok(None),
            Some(rows) => rows_of(rows, range),
        };
        let mut tables = Vec::new();
        for SnapshotTable { name, key_width, deletes, upserts } in &self.tables {
            let (deletes, upserts) = (part(deletes)?, part(upserts)?);
            if deletes.is_some() || upserts.is_some() {
                let (name, key_width) = (name.clone(), *key_width);
                tables.push(SnapshotTable { name, key_width, deletes, upserts });
            }
        }
        Ok(Snapshot { tables })
    }

    fn batches(&self) -> impl Iterator<Item = &RecordBatch> {
        self.tables.iter().flat_map(SnapshotTable::batches)
    }
}

/// The rows of `range`, if there are any. Where they are neighbours, as in what [`merge`] gives,
/// nothing is copied.
fn rows_of(
    rows: &RecordBatch,
    range: &RangeInclusive<KeyGroup>,
) -> Result<Option<RecordBatch>, OperatorError> {
    let groups = key_groups(rows);
    let is_within = |&group: &u8| range.contains(&KeyGroup(group));
    let Some(first) = groups.iter().position(is_within) else { return Ok(None) };
    let length = groups[first..].iter().take_while(|group| is_within(group)).count();
    if !groups[first + length..].iter().any(is_within) {
        return Ok(Some(rows.slice(first, length)));
    }
    let within = BooleanBuffer::collect_bool(groups.len(), |row| is_within(&groups[row]));
    Ok(Some(filter_record_batch(rows, &BooleanArray::new(within, None))?))
}

/// The key group of each row.
pub(crate) fn key_groups(rows: &RecordBatch) -> &[u8] {
    rows.column(0).as_primitive::<UInt8Type>().values()
}

/// The first field of every table.
pub(crate) fn key_group_field() -> Field {
    Field::new("key_group", DataType::UInt8, false)
}

/// Rows that are made into columns at once. A column of strings holds 2 GiB at most, so what may
/// be any number of groups is shown, merged and saved by so many at a time.
pub(crate) const CHUNK_ROWS: usize = 1 << 16;

/// Tables of one name: first all deletions, then the entries, no table with very many rows.
pub(crate) fn tables(
    name: &str,
    key_width: usize,
    deletes: &[RecordBatch],
    upserts: &[RecordBatch],
) -> Result<Vec<SnapshotTable>, OperatorError> {
    debug_assert!(deletes.iter().all(|rows| rows.num_columns() <= key_width));
    let (whole, short): (Vec<RecordBatch>, Vec<RecordBatch>) =
        deletes.iter().cloned().partition(|rows| rows.num_columns() == key_width);
    let table =
        |deletes, upserts| SnapshotTable { name: name.to_owned(), key_width, deletes, upserts };
    let deletes = joined(&short)?.into_iter().chain(joined(&whole)?);
    let deletes = deletes.map(|rows| table(Some(rows), None));
    let upserts = joined(upserts)?.into_iter().map(|rows| table(None, Some(rows)));
    Ok(deletes.chain(upserts).collect())
}

/// The same rows in batches that are not small without need.
fn joined(batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, OperatorError> {
    let mut joined = Vec::new();
    let mut rest = batches;
    while let Some(first) = rest.first() {
        let mut rows = 0;
        let run = rest.iter().take_while(|batch| {
            rows += batch.num_rows();
            rows <= CHUNK_ROWS
        });
        let (run, behind) = rest.split_at(run.count().max(1));
        joined.push(concat_batches(&first.schema(), run)?);
        rest = behind;
    }
    Ok(joined)
}
