//! Tables of rows that have no key of their own: a row is known by its key group and a number.
//!
//! A worker numbers its rows as they come and goes on behind the greatest number that it restored,
//! so no two rows that are held have the same group and number, and of two rows of one key the
//! later has the greater number. A number may be given again once its row is gone and forgotten by
//! all snapshots; what is said of it then is said of the new row.

use super::{CHUNK_ROWS, SnapshotScope, key_group_field, key_groups};
use crate::key::KeyGroup;
use crate::operator::OperatorError;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use std::collections::HashSet;
use std::sync::Arc;

/// How many columns are the key: group and number.
pub(crate) const KEY_WIDTH: usize = 2;

/// The key's fields.
pub(crate) fn key_fields() -> [Field; KEY_WIDTH] {
    [key_group_field(), Field::new("sequence", DataType::Int64, false)]
}

/// The key's columns.
pub(crate) fn key_columns(
    groups: impl Iterator<Item = KeyGroup>,
    numbers: impl Iterator<Item = i64>,
) -> [ArrayRef; KEY_WIDTH] {
    [
        Arc::new(UInt8Array::from_iter_values(groups.map(|group| group.0))),
        Arc::new(Int64Array::from_iter_values(numbers)),
    ]
}

/// Gives numbers, and remembers which rows are gone that a snapshot has.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    next: i64,
    /// Numbers below this were given before the last snapshot or restore.
    mark: i64,
    removed: Vec<(KeyGroup, i64)>,
}

impl Numbers {
    /// A number for a new row.
    #[inline]
    pub(crate) fn give(&mut self) -> i64 {
        self.next += 1;
        self.next - 1
    }

    /// The first of `rows` numbers for new rows.
    pub(crate) fn give_many(&mut self, rows: usize) -> i64 {
        self.next += rows as i64;
        self.next - rows as i64
    }

    /// Whether the last snapshot has the row of a number.
    #[inline]
    pub(crate) fn is_saved(&self, number: i64) -> bool {
        number < self.mark
    }

    /// Whether there is any number of which [that](Self::is_saved) could be so.
    pub(crate) fn has_saved(&self) -> bool {
        self.mark > 0
    }

    /// Notes that a row is gone.
    #[inline]
    pub(crate) fn removed(&mut self, group: KeyGroup, number: i64) {
        if self.is_saved(number) {
            self.removed.push((group, number));
        }
    }

    /// Goes on behind a number that was restored.
    pub(crate) fn restored(&mut self, number: i64) {
        self.next = self.next.max(number + 1);
        self.mark = self.next;
    }

    /// Notes that a restore is over: what it removed no snapshot has any more.
    pub(crate) fn end_restore(&mut self) {
        self.removed.clear();
    }

    /// Notes that a snapshot is taken; the deletions that it has to write.
    pub(crate) fn take(&mut self, scope: SnapshotScope) -> Result<Vec<RecordBatch>, OperatorError> {
        self.mark = self.next;
        let removed = std::mem::take(&mut self.removed);
        match scope {
            SnapshotScope::Full => Ok(Vec::new()),
            SnapshotScope::Changed => deletes(&removed),
        }
    }
}

fn deletes(removed: &[(KeyGroup, i64)]) -> Result<Vec<RecordBatch>, OperatorError> {
    let schema = Arc::new(Schema::new(key_fields().to_vec()));
    let batch = |removed: &[(KeyGroup, i64)]| {
        let groups = removed.iter().map(|&(group, _)| group);
        let columns = key_columns(groups, removed.iter().map(|&(_, number)| number));
        Ok(RecordBatch::try_new(schema.clone(), columns.into())?)
    };
    removed.chunks(CHUNK_ROWS).map(batch).collect()
}

/// The numbers of a table's rows.
pub(crate) fn numbers(rows: &RecordBatch) -> &[i64] {
    rows.column(1).as_primitive::<Int64Type>().values()
}

/// The rows that deletions name.
pub(crate) fn named(deletes: &RecordBatch) -> HashSet<(KeyGroup, i64)> {
    let groups = key_groups(deletes).iter().map(|&group| KeyGroup(group));
    groups.zip(numbers(deletes).iter().copied()).collect()
}
