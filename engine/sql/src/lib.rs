//! From the text of a job to a dataflow plan.
//!
//! ```text
//! files ─► text ─► parser ─► statements ─► catalog ─► planner ─► relation ─► plan::Plan
//!        (${NAME})  (Flink's dialect)     (tables,   (names,     (pushdown,  (operators,
//!                                          views)     types)      pruning)    keys, state)
//! ```
//!
//! Everything here is a pure function of the text and the options: no file is read, no broker is
//! asked. Every refusal carries a place in the text.

mod catalog;
mod describe;
pub mod error;
mod explain;
pub mod functions;
mod options;
mod parser;
mod phases;
pub mod plan;
mod planner;
mod session;
pub mod text;
pub mod types;

pub use error::{ErrorKind, SqlError, SqlWarning};
pub use explain::explain;
pub use options::{OPTIONS, RENAMED_OPTIONS};
pub use phases::{Because, Phases};
pub use session::{Planned, Results, kernels_of, plan_results, plan_session};
pub use text::SourceText;
pub use types::SqlType;

#[cfg(test)]
mod tests;
