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

mod beside;
mod rows;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use beside::Beside;
pub use rows::LookupRows;

use crate::batch::Batch;
use crate::join::{JoinKind, JoinSpec};
use crate::operator::{EpochContext, Operator, OperatorError, Output, Readiness};
use crate::snapshot::{Snapshot, SnapshotScope};
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
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
    left_keys: Vec<usize>,
    /// The left keys' columns.
    key_schema: SchemaRef,
    join: Beside,
    lookup: Box<dyn Lookup>,
    /// The keys of the epoch at hand, while it waits for their rows.
    asked: Option<Vec<ArrayRef>>,
    /// What [`Operator::prepare`] got for it.
    found: Option<Arc<LookupRows>>,
}

impl std::fmt::Debug for LookupJoin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookupJoin").field("join", &self.join).finish_non_exhaustive()
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
        let key_schema = Arc::new(left.project(&spec.left_keys)?);
        let join = Beside::new(&spec, &left, right)?;
        let left_keys = spec.left_keys;
        Ok(LookupJoin { left_keys, key_schema, join, lookup, asked: None, found: None })
    }

    /// The keys of all of an epoch's rows.
    fn keys_of(&self, batches: &[Batch]) -> Result<Vec<ArrayRef>, OperatorError> {
        let keys = batches.iter().map(|batch| batch.project(&self.left_keys));
        let keys = Batch::concat(&self.key_schema, &keys.collect::<Result<Vec<_>, _>>()?)?;
        Ok(keys.columns().columns().to_vec())
    }
}

fn check_only_grows(rows: &Batch) -> Result<(), OperatorError> {
    if rows.weights().is_some_and(|weights| weights.iter().any(|&w| w < 0)) {
        return Err(OperatorError::Data(
            "a lookup join was sent a deletion, but its input must only grow".into(),
        ));
    }
    Ok(())
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
            check_only_grows(left)?;
            let joined = self.join.join(left, &found, context.now_ms)?;
            output.rows.extend((!joined.is_empty()).then_some(joined));
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
