//! The join of rows with what a table outside of the dataflow holds for their key, just now.
//!
//! ```text
//! left  (7, a) (8, b)        the table, when the epoch is applied   7 -> x, 7 -> y
//! inner output               +(7, a, 7, x) +(7, a, 7, y)
//! left outer                 … and +(8, b, NULL, NULL)
//! ```
//!
//! Nothing is kept between epochs, and nothing is taken back when the table changes later: a row
//! gets the answer of the moment, and its pairs are final. So the left input must only grow: the
//! deletion of a row could find another answer than the row did.
//!
//! The table is asked through [`Lookup`], for all keys of an epoch at once. While its answer is
//! under way the epoch waits, in front of this operator, and the worker goes on with other work.

mod rows;
#[cfg(test)]
mod tests;

pub use rows::LookupRows;

use crate::batch::Batch;
use crate::join::{JoinKind, JoinSpec, Test, output_schema};
use crate::operator::{EpochContext, Operator, OperatorError, Output, Readiness};
use crate::snapshot::{Snapshot, SnapshotScope};
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{filter, take};
use arrow::datatypes::{SchemaRef, UInt32Type};
use std::sync::Arc;

/// A table whose rows are found by key.
pub trait Lookup {
    /// The rows of these keys, or of more: one column for each part of the key, one row for each
    /// key; keys may come twice, and NULLs, which have no rows. `None` while the rows are not at
    /// hand: then the same keys are asked for again a little later.
    ///
    /// # Errors
    /// If the table can't be read.
    fn rows(
        &mut self,
        keys: &[ArrayRef],
        now_ms: i64,
    ) -> Result<Option<Arc<LookupRows>>, OperatorError>;

    /// Bytes of rows that are kept for later epochs.
    fn cached_bytes(&self) -> usize;
}

/// The operator. See the [module](self).
pub struct LookupJoin {
    spec: JoinSpec,
    /// The left keys' columns.
    key_schema: SchemaRef,
    output: SchemaRef,
    residual: Option<Test>,
    lookup: Box<dyn Lookup>,
    /// The keys of the epoch at hand, while it waits for their rows.
    asked: Option<Vec<ArrayRef>>,
    /// What [`Operator::prepare`] got for it.
    found: Option<Arc<LookupRows>>,
}

impl std::fmt::Debug for LookupJoin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookupJoin").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl LookupJoin {
    /// An operator that joins `left` rows with those that `lookup` finds, whose schema is `right`.
    ///
    /// # Errors
    /// If the join is neither an inner nor a left one.
    pub fn new(
        spec: JoinSpec,
        left: SchemaRef,
        right: &SchemaRef,
        lookup: Box<dyn Lookup>,
    ) -> Result<Self, OperatorError> {
        if !matches!(spec.kind, JoinKind::Inner | JoinKind::Left) {
            let message = "a lookup join is an inner or a left join";
            return Err(OperatorError::Data(message.to_owned()));
        }
        let output = output_schema(spec.kind, &left, right);
        let key_schema = Arc::new(left.project(&spec.left_keys)?);
        let residual = Test::of(spec.residual.as_ref(), &left, right)?;
        Ok(LookupJoin { spec, key_schema, output, residual, lookup, asked: None, found: None })
    }

    fn keys(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.spec.left_keys.iter().map(|&key| rows.column(key).clone()).collect()
    }

    /// The keys of all of an epoch's rows.
    fn keys_of(&self, batches: &[Batch]) -> Result<Vec<ArrayRef>, OperatorError> {
        let keys = batches.iter().map(|batch| batch.project(&self.spec.left_keys));
        let keys = Batch::concat(&self.key_schema, &keys.collect::<Result<Vec<_>, _>>()?)?;
        Ok(keys.columns().columns().to_vec())
    }

    fn join(
        &self,
        left: &Batch,
        right: &LookupRows,
        now_ms: i64,
    ) -> Result<Option<Batch>, OperatorError> {
        if left.weights().is_some_and(|weights| weights.iter().any(|&w| w < 0)) {
            return Err(OperatorError::Data(
                "a lookup join was sent a deletion, but its input must only grow".into(),
            ));
        }
        let (mut lefts, mut rights) = right.pairs(&self.keys(left.columns()), left.len())?;
        if let Some(residual) = &self.residual {
            let pairs = self.rows(left, right, &lefts, &rights)?;
            let passes = residual.passes_whole(pairs.columns(), pairs.num_rows(), now_ms)?;
            let kept = |of: &UInt32Array| {
                Ok::<_, OperatorError>(filter(of, &passes)?.as_primitive().clone())
            };
            (lefts, rights) = (kept(&lefts)?, kept(&rights)?);
        }
        if self.spec.kind == JoinKind::Left {
            (lefts, rights) = padded(&lefts, &rights, left.len());
        }
        if lefts.is_empty() {
            return Ok(None);
        }
        let rows = self.rows(left, right, &lefts, &rights)?;
        let weights =
            left.weights().map(|w| lefts.values().iter().map(|&row| w[row as usize]).collect());
        Ok(Some(Batch::new(rows, weights)))
    }

    fn rows(
        &self,
        left: &Batch,
        right: &LookupRows,
        lefts: &UInt32Array,
        rights: &UInt32Array,
    ) -> Result<RecordBatch, OperatorError> {
        let left = left.columns().columns().iter().map(|column| take(column, lefts, None));
        let right = right.rows().columns().iter().map(|column| take(column, rights, None));
        let columns = left.chain(right).collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(self.output.clone(), columns)?)
    }
}

/// The pairs, which stand in the order of their left rows, and each left row that has none beside
/// NULL.
fn padded(lefts: &UInt32Array, rights: &UInt32Array, rows: usize) -> (UInt32Array, UInt32Array) {
    let mut all = Vec::with_capacity(lefts.len().max(rows));
    let mut partners: Vec<Option<u32>> = Vec::with_capacity(all.capacity());
    let mut next = 0;
    for row in 0..rows as u32 {
        let first = next;
        while next < lefts.len() && lefts.value(next) == row {
            all.push(row);
            partners.push(Some(rights.value(next)));
            next += 1;
        }
        if next == first {
            all.push(row);
            partners.push(None);
        }
    }
    (
        UInt32Array::from(all),
        partners.into_iter().collect::<arrow::array::PrimitiveArray<UInt32Type>>(),
    )
}

impl Operator for LookupJoin {
    fn prepare(
        &mut self,
        inputs: &[Vec<Batch>],
        context: &EpochContext,
    ) -> Result<Readiness, OperatorError> {
        if inputs[0].iter().all(Batch::is_empty) {
            return Ok(Readiness::Ready);
        }
        let keys = match self.asked.take() {
            Some(keys) => keys,
            None => self.keys_of(&inputs[0])?,
        };
        self.found = self.lookup.rows(&keys, context.now_ms)?;
        if self.found.is_none() {
            self.asked = Some(keys);
            return Ok(Readiness::Waits);
        }
        Ok(Readiness::Ready)
    }

    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let Some(found) = self.found.take() else { return Ok(()) };
        for left in inputs.iter().flatten().filter(|batch| !batch.is_empty()) {
            output.rows.extend(self.join(left, &found, context.now_ms)?);
        }
        Ok(())
    }

    fn snapshot(&mut self, _scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        Ok(Snapshot::default())
    }

    fn restore(&mut self, _snapshot: &Snapshot) -> Result<(), OperatorError> {
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.lookup.cached_bytes()
    }
}
