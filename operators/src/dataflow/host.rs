//! [`Host`]: what the dataflow tells whoever runs it.

use crate::operator::{LateRows, OperatorError};
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

    /// A node dropped rows that came too late.
    fn late(&self, node: usize, rows: LateRows);
}
