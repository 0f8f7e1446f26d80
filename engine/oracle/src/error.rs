//! Why there is no batch answer.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use tidemill_connectors::source::ConnectorError;
use tidemill_operators::{OperatorError, RowError};

/// Why there is no batch answer.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// A table can't be read.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// A stateless step failed on a row.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// An expression failed on a row.
    #[error(transparent)]
    Row(#[from] RowError),
    /// DataFusion could not compute something.
    #[error(transparent)]
    DataFusion(#[from] DataFusionError),
    /// Columns do not fit together.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// Something that the batch side does not compute.
    #[error("no batch answer: {0}")]
    Unsupported(String),
    /// Rows that contradict each other, such as one taken back that was never there.
    #[error("no batch answer: {0}")]
    Inconsistent(String),
    /// The asynchronous part could not be started.
    #[error("starting the batch computation: {0}")]
    Start(#[from] std::io::Error),
}
