//! [`Host`]: what the dataflow tells whoever runs it.

use crate::operator::{LateRows, OperatorError, Snapshot};
use crate::time::{Epoch, Watermark};

/// What an operator did with an epoch, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The epoch.
    pub epoch: Epoch,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that went out.
    pub rows_out: u64,
    /// The operator's watermark now.
    pub watermark: Watermark,
    /// Bytes of state it holds on this worker; 0 where there is none.
    pub state_bytes: usize,
}

/// The owner of a worker's dataflow. Nodes are named by their number in the plan.
pub trait Host {
    /// Whether the job has failed, anywhere. Then no operator may take another step.
    fn has_failed(&self) -> bool;

    /// A node can't go on: the job has failed.
    fn fail(&self, node: usize, error: OperatorError);

    /// A node applied rows or a watermark.
    fn applied(&self, node: usize, applied: Applied);

    /// So many of a node's rows were added to other ones before the exchange. They did not reach it,
    /// so they are not among those that it says [came in](Applied::rows_in).
    fn combined(&self, node: usize, rows: u64);

    /// A node dropped rows of an epoch because they came too late.
    fn late(&self, node: usize, epoch: Epoch, rows: LateRows);

    /// Whether anybody will ever ask for the state of a checkpoint: not if it is the end.
    fn keeps_state(&self, checkpoint: u64) -> bool;

    /// A checkpoint cuts here: this is what changed in a node's state since the last one.
    fn cut(&self, node: usize, state: StateCut);
}

/// A node's part of a checkpoint on one worker.
#[derive(Debug)]
pub struct StateCut {
    /// The checkpoint.
    pub checkpoint: u64,
    /// What changed since the one before.
    pub changed: Snapshot,
    /// The node's watermark at the cut, the same on all workers.
    pub watermark: Watermark,
    /// Bytes of state that it holds on this worker.
    pub state_bytes: usize,
}
