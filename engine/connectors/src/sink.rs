//! What every sink offers to the runtime.

use crate::source::ConnectorError;
use std::sync::Arc;
use tidemill_formats::Table;
use tidemill_operators::{Batch, Epoch};

/// One worker's hand on a sink. Batches come in the order of epochs, consolidated as the sink's
/// changelog kind asks for.
pub trait Writer {
    /// Takes the rows of one epoch. Must not block for long; buffers are bounded and flushed by
    /// [`Writer::flush`].
    fn write(&mut self, epoch: Epoch, rows: &[Batch]) -> Result<(), ConnectorError>;

    /// Called once after each epoch in which there was something to write, and regularly
    /// otherwise: pushes out what latency asks for, notices delivery failures.
    fn flush(&mut self) -> Result<(), ConnectorError>;

    /// Bytes accepted and not yet acknowledged outside, for backpressure.
    fn pending_bytes(&self) -> usize;

    /// The stream ended or the job stops: everything accepted becomes durable and visible.
    fn finish(&mut self) -> Result<(), ConnectorError>;
}

/// A sink that has been checked and is ready to be opened.
pub trait Sink: Send + Sync {
    /// Opens the sink for one of `workers` workers. Called on the worker's own thread.
    fn writer(&self, worker: usize, workers: usize) -> Result<Box<dyn Writer>, ConnectorError>;
}

/// What to write and with which primary key.
#[derive(Clone, Debug)]
pub struct WriteSpec {
    /// The table.
    pub table: Table,
    /// Where `print` writes; standard output outside tests.
    pub console: Arc<dyn Console>,
}

/// A place for lines of text.
pub trait Console: Send + Sync + std::fmt::Debug {
    /// Writes whole lines at once.
    fn write(&self, lines: &[u8]) -> std::io::Result<()>;
}
