//! What an operator evaluates over a batch without knowing what it means.

use arrow::array::{ArrayRef, RecordBatch};

/// A vectorised expression: one value for each row of a batch.
///
/// The SQL crate implements it; the same instance may be used by several workers at once.
pub trait Expression: Send + Sync + std::fmt::Debug {
    /// Evaluates over all rows. `now_ms` is the processing-time stamp of the epoch, the same on
    /// all workers.
    ///
    /// # Errors
    /// A [`RowError`] if the expression fails on a row: the job fails with it.
    fn evaluate(&self, rows: &RecordBatch, now_ms: i64) -> Result<ArrayRef, RowError>;

    /// Text for `explain` and error messages.
    fn describe(&self) -> String;
}

/// An expression failed on a row: a division by zero, a cast that has no result.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{expression}: {reason}")]
pub struct RowError {
    /// The expression, as the user would recognise it.
    pub expression: String,
    /// What went wrong, with the values, and what avoids it.
    pub reason: String,
}
