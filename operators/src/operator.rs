//! [`Operator`]: the trait of everything that keeps state.
//!
//! An operator is a state machine over complete epochs, with no knowledge of timely:
//!
//! ```text
//!            rows of epoch e, per port          watermark after e
//!                      │                              │
//!  state before e ──► apply: rows first, judged by ──► fire what it closes ──► state before e+1
//!                      │      the watermark before e  │
//!                      ▼                              ▼
//!                            output, all stamped e
//! ```
//!
//! A checkpoint cut before epoch `c` is therefore simply the state between two calls.

use crate::batch::Batch;
use crate::expression::RowError;
use crate::time::{Epoch, Watermark};
use arrow::error::ArrowError;
use std::rc::Rc;

pub use crate::snapshot::{Snapshot, SnapshotScope, SnapshotTable};

/// What an operator may know about the epoch besides its rows. The same on every worker.
#[derive(Clone, Copy, Debug)]
pub struct EpochContext {
    /// The epoch being applied.
    pub epoch: Epoch,
    /// Processing time of the epoch, milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// The watermark applied before this epoch: decides which rows are late.
    pub watermark_before: Watermark,
    /// The watermark that this epoch ends with: decides what fires.
    pub watermark_after: Watermark,
}

/// What an epoch produced.
#[derive(Debug, Default)]
pub struct Output {
    /// Result rows, in order.
    pub rows: Vec<Batch>,
    /// Input rows that came too late, as they came in.
    pub late: Vec<LateRows>,
}

/// Rows that are missing in the windows that were closed before they came: in all windows that
/// end at or before [`LateRows::watermark`] has it. A row of windows that overlap may be late for
/// some of them and count in the others.
#[derive(Debug, Clone)]
pub struct LateRows {
    /// The rows, in the operator's input schema.
    pub rows: Batch,
    /// Their watermark when they came.
    pub watermark: Watermark,
}

/// Why an operator could not go on. Each of these ends the job.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// An expression failed on a row.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Arrow refused; a bug in the plan rather than in the data.
    #[error("{0}")]
    Arrow(#[from] ArrowError),
    /// The rows contradict what the plan promised about them.
    #[error("{0}")]
    Data(String),
    /// Something outside of the dataflow could not be asked.
    #[error("{0}")]
    Outside(String),
}

/// Whether an epoch can be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Everything is at hand.
    Ready,
    /// Something from outside is under way.
    Waits,
}

/// A keyed, stateful step of the dataflow.
///
/// Rows reach the worker that owns their key group (see [`crate::key`]), so an operator never
/// meets a key of another worker.
pub trait Operator {
    /// Is told, once and before anything else, what makes [`Operator::prepare`] be asked again at
    /// once. Only who waits for something that tells of itself has to.
    fn woken_by(&mut self, _wake: Rc<dyn Fn()>) {}

    /// Gets ready to apply an epoch without waiting: called with the epoch's rows before
    /// [`Operator::apply`], and again a little later for as long as the answer is
    /// [`Readiness::Waits`]. Only who asks something outside of the dataflow has to.
    ///
    /// # Errors
    /// As of `apply`.
    fn prepare(
        &mut self,
        _inputs: &[Vec<Batch>],
        _context: &EpochContext,
    ) -> Result<Readiness, OperatorError> {
        Ok(Readiness::Ready)
    }

    /// Applies one complete epoch: `inputs[port]` are the rows of that port in arrival order.
    /// Called for every epoch in which there are rows, the watermark rose, or it is [due](Self::due_ms).
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError>;

    /// The processing time, in milliseconds, at which it wants to be called though nothing comes.
    /// None if only rows and watermarks concern it.
    fn due_ms(&self) -> Option<i64> {
        None
    }

    /// Hands over the state as it stands between two epochs. In each table, no key is written
    /// twice: an entry replaces what was said of its key before.
    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError>;

    /// Takes over state from a snapshot. Only ever called before the first `apply`; may be called
    /// several times, oldest snapshot first, with the rows of other workers' key groups removed,
    /// or once with all of them [merged](crate::snapshot::merge). What was restored is not changed.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError>;

    /// Bytes of live state, roughly.
    fn state_bytes(&self) -> usize;
}
