//! The batch answer to a session: every node of a plan computed over whole inputs by DataFusion.
//!
//! ```text
//! engine   rows ─► epochs ─► operators, state, watermarks ─► changes ─► folded ┐
//!                                                                              ├─ equal
//! oracle   rows ─► one batch per table ─► DataFusion, node by node ────────────┘
//! ```
//!
//! What the engine promises is that folding all it wrote gives the batch answer over all it read,
//! less the rows it said it dropped as late. Here is that answer. The two share the reading of
//! tables, the expressions and the arithmetic of windows; they share no operator, no state, and no
//! notion of when something happens. The shared parts have oracles of their own: the conformance
//! suite, whose answers are Flink's.
//!
//! The invariant: a node's rows are a plain bag. There are no weights, no epochs and no
//! watermarks; order exists only where rows carry it in a column.

mod aggregate;
mod bag;
mod capture;
mod compare;
mod error;
mod excluded;
mod group;
mod join;
mod over;
mod pattern;
mod query;
mod read;
mod recompute;
mod session_window;
mod standing;
mod time_filter;
mod top_n;
mod window;

pub use capture::Capture;
pub use compare::{Difference, difference, difference_by_key};
pub use error::OracleError;
pub use excluded::Excluded;
pub use recompute::{Answer, Open, SinkRows, answers, recompute};
pub use standing::{Cut, Standing};
