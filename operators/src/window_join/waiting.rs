//! The rows of one side of one window, as columns, until the window closes.
//!
//! In snapshots they are [`numbered`] rows.

use crate::key::KeyGroup;
use crate::operator::OperatorError;
use crate::snapshot::{SnapshotScope, numbered};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Schema;
use std::collections::HashSet;
use std::sync::Arc;

/// Rows and their sequence numbers.
pub(super) type Numbered = (RecordBatch, Vec<i64>);

/// Rows in pieces, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    rows: RecordBatch,
    numbers: Vec<i64>,
    /// Whether the last snapshot has them.
    is_persisted: bool,
}

impl Waiting {
    /// Adds rows. Pieces are put together as they grow, each at least twice as long as the one
    /// after it, so that an epoch of few rows costs little and many epochs leave few pieces.
    pub(super) fn push(
        &mut self,
        rows: RecordBatch,
        numbers: Vec<i64>,
    ) -> Result<(), OperatorError> {
        let mut new = Piece { rows, numbers, is_persisted: false };
        while let Some(last) = self.pieces.last()
            && last.numbers.len() < 2 * new.numbers.len()
            && !last.is_persisted
        {
            let Some(mut last) = self.pieces.pop() else { break };
            new.rows = concat_batches(&new.rows.schema(), [&last.rows, &new.rows])?;
            last.numbers.append(&mut new.numbers);
            new.numbers = last.numbers;
        }
        self.pieces.push(new);
        Ok(())
    }

    /// Adds rows that come from a snapshot.
    pub(super) fn restore(&mut self, rows: RecordBatch, numbers: Vec<i64>) {
        self.pieces.push(Piece { rows, numbers, is_persisted: true });
    }

    /// All rows; and those of them that the last snapshot has.
    pub(super) fn into_rows(self) -> (Vec<RecordBatch>, Vec<Numbered>) {
        let rows = self.pieces.iter().map(|piece| piece.rows.clone()).collect();
        let persisted = self.pieces.into_iter().filter(|piece| piece.is_persisted);
        (rows, persisted.map(|piece| (piece.rows, piece.numbers)).collect())
    }

    /// The rows that a snapshot must write, which are persisted from here on.
    pub(super) fn persist(&mut self, scope: SnapshotScope) -> Result<Vec<Numbered>, OperatorError> {
        let wanted = |piece: &&mut Piece| scope == SnapshotScope::Full || !piece.is_persisted;
        let written = self.pieces.iter_mut().filter(wanted).map(|piece| {
            piece.is_persisted = true;
            (piece.rows.clone(), piece.numbers.clone())
        });
        let written = written.collect();
        // From here on all pieces are alike: put them together.
        if self.pieces.len() > 8 {
            let rows = self.pieces.iter().map(|piece| &piece.rows);
            let rows = concat_batches(&self.pieces[0].rows.schema(), rows)?;
            let numbers = self.pieces.drain(..).flat_map(|piece| piece.numbers).collect();
            self.restore(rows, numbers);
        }
        Ok(written)
    }

    /// Removes rows by key group and number, while restoring.
    pub(super) fn remove(
        &mut self,
        groups: impl Fn(&RecordBatch) -> Vec<KeyGroup>,
        gone: &HashSet<(KeyGroup, i64)>,
    ) -> Result<(), OperatorError> {
        for piece in &mut self.pieces {
            let numbered = groups(&piece.rows).into_iter().zip(&piece.numbers);
            let keep: Vec<bool> = numbered.map(|(g, &n)| !gone.contains(&(g, n))).collect();
            let mut kept = keep.iter();
            piece.numbers.retain(|_| kept.next().is_none_or(|keep| *keep));
            piece.rows = filter_record_batch(&piece.rows, &BooleanArray::from(keep))?;
        }
        self.pieces.retain(|piece| !piece.numbers.is_empty());
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        let bytes = |piece: &Piece| {
            piece.rows.get_array_memory_size() + piece.numbers.len() * size_of::<i64>()
        };
        self.pieces.iter().map(bytes).sum()
    }
}

/// A snapshot's entries of `rows`.
pub(super) fn upserts(
    rows: &RecordBatch,
    groups: &[KeyGroup],
    numbers: Vec<i64>,
) -> Result<RecordBatch, OperatorError> {
    let key = numbered::key_columns(groups.iter().copied(), numbers.into_iter());
    let mut columns: Vec<ArrayRef> = key.into();
    columns.extend(rows.columns().iter().cloned());
    let fields = numbered::key_fields().into_iter().map(Arc::new);
    let fields: Vec<_> = fields.chain(rows.schema().fields().iter().cloned()).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
