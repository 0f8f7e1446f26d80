//! [`Arrange`]: holds an input for the joins that read it.

use super::arrangement::Arrangement;
use crate::batch::Batch;
use crate::operator::{EpochContext, Operator, OperatorError, Output, Readiness};
use crate::snapshot::{Snapshot, SnapshotScope};
use std::rc::Rc;

/// The table of a snapshot.
const TABLE: &str = "rows";

/// The operator. Its output are its input's rows: an epoch with rows is one that every reader comes
/// to.
pub struct Arrange {
    arrangement: Arrangement,
    wake: Rc<dyn Fn()>,
}

impl std::fmt::Debug for Arrange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrange").field("arrangement", &self.arrangement).finish()
    }
}

impl Arrange {
    /// An operator that fills `arrangement`.
    pub fn new(arrangement: Arrangement) -> Self {
        Arrange { arrangement, wake: Rc::new(|| ()) }
    }
}

impl Operator for Arrange {
    fn woken_by(&mut self, wake: Rc<dyn Fn()>) {
        self.wake = wake;
    }

    /// Waits until all readers have come to the epoch before.
    fn prepare(
        &mut self,
        _inputs: &[Vec<Batch>],
        _context: &EpochContext,
    ) -> Result<Readiness, OperatorError> {
        let mut arranged = self.arrangement.arranged();
        Ok(match arranged.is_settled(self.arrangement.place, &self.wake) {
            true => Readiness::Ready,
            false => Readiness::Waits,
        })
    }

    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        output.rows.extend(inputs.into_iter().flatten().filter(|batch| !batch.is_empty()));
        if output.rows.is_empty() {
            return Ok(());
        }
        self.arrangement.arranged().add(self.arrangement.place, context.epoch, &output.rows)
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        let tables = self.arrangement.arranged().tables(self.arrangement.place, TABLE, scope)?;
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        let mut arranged = self.arrangement.arranged();
        snapshot.tables.iter().try_for_each(|table| arranged.restore(self.arrangement.place, table))
    }

    fn state_bytes(&self) -> usize {
        self.arrangement.arranged().state_bytes(self.arrangement.place)
    }
}
