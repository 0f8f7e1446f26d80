//! [`GatedWriter`]: a writer that is given rows only as checkpoints allow.
//!
//! Where a checkpoint cuts, the writer is sealed. If its rows become visible by a transaction,
//! rows from beyond the cut wait here until the checkpoint stands: a transaction takes in all that
//! is written before it is committed.

use crate::coordinator::Coordinator;
use std::collections::VecDeque;
use tidemill_connectors::sink::{Sink, Staged, Writer};
use tidemill_connectors::source::ConnectorError;
use tidemill_operators::{Batch, Epoch};

/// One worker's writer, and what waits for it.
pub(crate) struct GatedWriter {
    writer: Box<dyn Writer>,
    /// Whether rows of different checkpoints must not be written together.
    has_transaction: bool,
    /// The checkpoint that the writer was sealed for last.
    sealed: Option<u64>,
    /// Epochs that belong to a later checkpoint than the one that is undecided.
    waiting: VecDeque<(Epoch, Vec<Batch>)>,
    waiting_bytes: usize,
}

impl GatedWriter {
    /// Opens a sink for one of `workers` workers.
    ///
    /// # Errors
    /// If the sink can't be opened.
    pub(crate) fn open(
        sink: &dyn Sink,
        worker: usize,
        workers: usize,
    ) -> Result<Self, ConnectorError> {
        Ok(GatedWriter {
            writer: sink.writer(worker, workers)?,
            has_transaction: sink.transaction().is_some(),
            sealed: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        })
    }

    /// Writes rows of an epoch, at once or when they may be written.
    pub(crate) fn write(
        &mut self,
        epoch: Epoch,
        rows: Vec<Batch>,
        coordinator: &Coordinator,
    ) -> Result<(), ConnectorError> {
        self.catch_up(coordinator)?;
        coordinator.changed();
        if self.has_to_wait(coordinator) {
            self.waiting_bytes += rows.iter().map(Batch::bytes).sum::<usize>();
            self.waiting.push_back((epoch, rows));
            return Ok(());
        }
        self.writer.write(epoch, &rows)?;
        self.writer.flush()
    }

    /// Writes what has waited, if it has waited long enough.
    pub(crate) fn catch_up(&mut self, coordinator: &Coordinator) -> Result<(), ConnectorError> {
        if self.waiting.is_empty() || self.has_to_wait(coordinator) {
            return Ok(());
        }
        self.waiting_bytes = 0;
        while let Some((epoch, rows)) = self.waiting.pop_front() {
            self.writer.write(epoch, &rows)?;
        }
        self.writer.flush()
    }

    /// A checkpoint cuts here. Says what is left to be done when it stands.
    pub(crate) fn seal(
        &mut self,
        checkpoint: u64,
        coordinator: &Coordinator,
    ) -> Result<Staged, ConnectorError> {
        self.catch_up(coordinator)?;
        debug_assert!(self.waiting.is_empty(), "only one checkpoint is undecided");
        self.sealed = Some(checkpoint);
        self.writer.seal()
    }

    /// Pushes out what was written and notices failures.
    pub(crate) fn flush(&mut self) -> Result<(), ConnectorError> {
        self.writer.flush()
    }

    /// Bytes that wait here, or have not arrived outside.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.writer.pending_bytes() + self.waiting_bytes
    }

    /// Makes everything accepted durable and visible.
    pub(crate) fn finish(&mut self) -> Result<(), ConnectorError> {
        self.writer.finish()
    }

    /// Whether the transaction is that of an earlier checkpoint still.
    fn has_to_wait(&self, coordinator: &Coordinator) -> bool {
        self.has_transaction && self.sealed.is_some_and(|sealed| !coordinator.is_decided(sealed))
    }
}
