//! From the text of a job to a dataflow plan.
//!
//! ```text
//! files ─► text ─► parser ─► statements ─► catalog ─► logical plan ─► types ─► optimiser ─► plan::Plan
//!        (${NAME})  (Flink's dialect)     (tables,   (DataFusion's   (Flink's  (an allow-    (operators,
//!                                          views)     SQL planner)    meaning)   list)         keys, state)
//! ```
//!
//! Everything here is a pure function of the text and the options: no file is read, no broker is
//! asked. Every refusal carries a place in the text.

pub mod functions;
pub mod plan;
