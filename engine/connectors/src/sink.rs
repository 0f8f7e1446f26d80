//! What every sink offers to the runtime.

use crate::source::ConnectorError;
use std::sync::Arc;
use std::time::Duration;
use tidemill_formats::Table;
use tidemill_operators::{Batch, Epoch};

/// One worker's hand on a sink. Batches come in the order of epochs, consolidated as the sink's
/// changelog kind asks for. What has a default is what a sink does that holds nothing back.
pub trait Writer {
    /// Takes the rows of one epoch. Must not block for long; buffers are bounded and flushed by
    /// [`Writer::flush`].
    fn write(&mut self, epoch: Epoch, rows: &[Batch]) -> Result<(), ConnectorError>;

    /// Called once after each epoch in which there was something to write, and regularly
    /// otherwise: pushes out what latency asks for, notices delivery failures.
    fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Bytes accepted and not yet acknowledged outside, for backpressure.
    fn pending_bytes(&self) -> usize {
        0
    }

    /// A checkpoint cuts here: what was written so far belongs to it, what comes next does not.
    /// Says what is left to be done once the checkpoint stands, for [`Sink::commit`]; by then it
    /// must be durable. A sink with a [`Transaction`] leaves durability to it, and is given no
    /// more rows until that has been committed.
    fn seal(&mut self) -> Result<Staged, ConnectorError> {
        Ok(Staged::new())
    }

    /// The stream ended or the job stops: everything accepted becomes durable and visible. With
    /// checkpoints it comes after the last one was committed.
    fn finish(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// A sink that has been checked and is ready to be opened.
pub trait Sink: Send + Sync {
    /// Opens the sink for one of `workers` workers. Called on the worker's own thread.
    fn writer(&self, worker: usize, workers: usize) -> Result<Box<dyn Writer>, ConnectorError>;

    /// The transaction by which its rows become visible, if it has one. Sinks that give the same
    /// one (by [`Transaction::id`]) are committed together.
    fn transaction(&self) -> Option<Arc<dyn Transaction>> {
        None
    }

    /// Waits until everything written so far has arrived outside, where that is promised. Called
    /// for each checkpoint before it stands, from a thread that may wait.
    fn settle(&self) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Whether writers stage what becomes visible by [`Sink::commit`].
    fn is_staged(&self) -> bool {
        false
    }

    /// Makes visible what the writers staged for a checkpoint that now stands. May be called
    /// again with the same: after a crash nobody knows how far it came.
    fn commit(&self, _staged: &[String]) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Before any writer is opened: the job goes on from a checkpoint for which `staged` was
    /// staged (nothing, if it starts anew). Makes all of it visible, and takes back what an
    /// earlier run wrote beyond it.
    fn recover(&self, _staged: &[String]) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// What a sink has to do when a checkpoint stands, in words of its own, fit for a text file.
pub type Staged = Vec<String>;

/// What makes the rows of a checkpoint visible at once, in all sinks that share it.
///
/// The order of calls is [`Transaction::recover`], then for each checkpoint
/// [`Transaction::flush`] and [`Transaction::commit`]. Rows are written in between.
pub trait Transaction: Send + Sync {
    /// Its name at the broker: equal for sinks that share it.
    fn id(&self) -> String;

    /// For how long it may be open: then the brokers give it up. None if nobody does.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Ends what an earlier holder of the same name left open, shuts that one out for good, and
    /// says which checkpoint's rows became visible last. Then begins.
    fn recover(&self) -> Result<Option<Marker>, ConnectorError>;

    /// Waits until everything written is at the broker, though not yet visible.
    fn flush(&self) -> Result<(), ConnectorError>;

    /// Makes everything written visible, together with the marker that proves it, and begins
    /// anew. After an error nobody knows whether it is visible: only [`Transaction::recover`]
    /// of the next holder tells.
    fn commit(&self, marker: &Marker) -> Result<(), ConnectorError>;
}

/// The proof, kept where the rows are, that a checkpoint's rows are visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The job's identity.
    pub job: String,
    /// The checkpoint's number.
    pub checkpoint: u64,
    /// Which start of the job wrote it.
    pub generation: u64,
}

/// What to write and with which primary key.
#[derive(Clone, Debug)]
pub struct WriteSpec {
    /// The table.
    pub table: Table,
    /// Where `print` writes; standard output outside tests.
    pub console: Arc<dyn Console>,
    /// The identity of the job, if its checkpoints commit what is written. Without, everything
    /// becomes visible as it is written.
    pub job: Option<Arc<str>>,
}

/// A place for lines of text.
pub trait Console: Send + Sync + std::fmt::Debug {
    /// Writes whole lines at once.
    fn write(&self, lines: &[u8]) -> std::io::Result<()>;
}
