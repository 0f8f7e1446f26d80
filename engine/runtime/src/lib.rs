//! Running a plan: workers, epochs, backpressure, and what becomes of input that can't be used.
//!
//! ```text
//!  Coordinator: the epoch number, published to all workers
//!       │
//!  worker 0 ┌─ readers ─► inputs ─► dataflow (plan, node by node) ─► sinks: whole epochs ─► writers
//!  worker 1 └─ …                          │ failures, late rows, counters
//!                                         ▼
//!                           Poison · DeadLetters · Metrics
//! ```
//!
//! One job is one cluster of workers. The invariant: **a job either writes complete epochs or
//! fails as a whole**; after a failure no worker takes another step. With a place for its state it
//! goes on from its last checkpoint, and what readers of its results see is what a run without
//! the failure would have written.

mod alignment;
mod arrangements;
pub mod checkpoint;
mod consolidate;
mod coordinator;
mod dead_letters;
mod error;
mod gate;
mod graph;
mod input;
mod job;
mod letter_topic;
mod memory;
mod metrics;
mod options;
mod output;
mod outside;
mod restart;
mod savepoint;
mod state_directory;
mod summary;
mod unique;
mod worker;

#[cfg(test)]
mod tests;

pub use coordinator::Limits;
pub use error::JobError;
pub use job::{Fit, JobState, RunOptions, run};
pub use metrics::{CheckpointMetrics, Metrics, NodeMetrics, Role, Totals};
pub use options::parallelism;
pub use outside::Outside;
pub use savepoint::{export, store_of};
pub use state_directory::{Start, StateDirectory};
pub use summary::{Exit, Summary, Usage};
