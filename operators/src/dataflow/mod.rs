//! The bridge to timely: the only place that knows it.
//!
//! ```text
//!  Input ──rows──► map ──► exchange by key group ──► epochs: stash … frontier passed e ──► Operator::apply(e)
//!                                                        ▲
//!  Reports ──broadcast──► clock: frontier passed e ──────┘ tick: every source's watermark after e
//! ```
//!
//! In front of the exchange of an aggregate may stand a [`Combiner`](crate::combine::Combiner), which
//! makes few rows of many.
//!
//! A [`Worker`] builds a [`Graph`] once and is then stepped. Rows travel as [`Message`]s stamped
//! with their ingest epoch. What sources know about event time travels beside them as
//! [`Report`]s, broadcast once to all workers; the clock of each worker turns them into one tick
//! per epoch. An operator applies epoch `e` when the frontiers of all its ports *and* of the
//! ticks have passed `e`: then it has every row and every watermark of `e`, on every worker the
//! same. Nothing holds a capability of an epoch that it does not owe an answer for.
//!
//! A checkpoint travels the same way: a tick of epoch `e` may say that a checkpoint cuts before
//! `e`. Whoever gets it has applied everything before `e` and nothing of it: it hands over its
//! state, and then applies `e`.
//!
//! The invariant under failure: **no epoch is completed by accident**. Whoever fails tells the
//! [`Host`], keeps its capabilities, and is never stepped again; see [`Worker::step`].

mod clock;
mod combine;
mod epochs;
mod exchange;
mod graph;
mod host;
mod message;
mod report;
mod worker;

#[cfg(test)]
mod tests;

pub use clock::{EventClock, SourceId, SourceTime};
pub use combine::{Combining, Lateness};
pub use graph::{Graph, Input, MapStep, Probe, Rows, SinkStep, Upstream};
pub use host::{Applied, Host, StateCut};
pub use message::Message;
pub use report::{News, Report, ReportInput};
pub use worker::{Seat, Worker, seats};

use crate::time::Epoch;

/// The processing-time stamp of an epoch, in milliseconds since 1970 UTC.
///
/// Epochs are numbered by the microsecond in which they were opened, so every worker knows the
/// stamp of every epoch without being told, and so does a restarted job.
///
/// ```
/// # use tidemill_operators::dataflow::processing_time_ms;
/// assert_eq!(processing_time_ms(1_700_000_000_123_456), 1_700_000_000_123);
/// ```
pub fn processing_time_ms(epoch: Epoch) -> i64 {
    (epoch / 1000) as i64
}
