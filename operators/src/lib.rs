//! Streaming operators over Arrow batches.
//!
//! This crate knows rows, time and state, and nothing else: no SQL text, no Kafka, no tokio, no
//! file. An [`Operator`] is a plain state machine that is handed *complete epochs*; the
//! [`dataflow`] module is the only place that talks to timely, stashes what arrives early and
//! calls operators when their frontier has passed an epoch. That split is what makes every
//! operator testable with three lines of code and no cluster.
//!
//! The invariant that everything here rests on: **an operator sees each epoch once, whole, in
//! order**. Rows of epoch `e` are judged against the watermark of the epochs before `e`; then the
//! watermark of `e` is applied and fires what it closes, under `e`.

pub mod aggregate;
pub mod batch;
pub mod combine;
pub mod constant_join;
pub mod dataflow;
mod expiry;
pub mod expression;
mod gather;
pub mod group_aggregate;
mod groups;
mod in_turn;
pub mod interval_join;
pub mod join;
pub mod key;
mod key_index;
pub mod key_table;
pub mod lookup_join;
pub mod map;
pub mod normalize;
pub mod operator;
#[cfg(test)]
mod oracle;
pub mod over;
pub mod pattern;
pub mod retimed;
mod row_codec;
pub mod snapshot;
pub mod temporal_join;
pub mod time;
pub mod time_filter;
pub mod top_n;
pub mod unnest;
pub mod window;
pub mod window_aggregate;
pub mod window_join;

pub use batch::Batch;
pub use expression::{Expression, RowError};
pub use key::KeyGroup;
pub use operator::{EpochContext, Operator, OperatorError, Output};
pub use snapshot::{Snapshot, SnapshotScope, SnapshotTable};
pub use time::{Epoch, Watermark};
