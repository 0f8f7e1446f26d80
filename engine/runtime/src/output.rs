//! [`SinkDriver`]: one worker's writer of one table, at the end of the dataflow.
//!
//! A writer is handed complete epochs. For an upserting table they are consolidated by primary
//! key first; all rows of a key meet at one worker, so the outcome is the whole truth about it.
//!
//! Where a checkpoint cuts, the writer is sealed. If its rows become visible by a transaction,
//! rows from beyond the cut wait here until the checkpoint stands: a transaction takes in all that
//! is written before it is committed.

use crate::checkpoint::Part;
use crate::consolidate;
use crate::error::JobError;
use crate::job::Shared;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tidemill_connectors::sink::Writer;
use tidemill_connectors::source::ConnectorError;
use tidemill_formats::Changelog;
use tidemill_operators::dataflow::SinkStep;
use tidemill_operators::{Batch, Epoch, OperatorError};
use tidemill_sql::plan::{NodeId, SinkPlan};

/// One worker's hand on a sink.
pub(crate) struct SinkDriver {
    node: NodeId,
    table: String,
    writer: Box<dyn Writer>,
    /// The primary key, if epochs are consolidated by it.
    keys: Option<Vec<usize>>,
    input_is_append_only: bool,
    ambiguous_keys: usize,
    shared: Arc<Shared>,
    /// Whether rows of different checkpoints must not be written together.
    has_transaction: bool,
    /// The checkpoint that the writer was sealed for last.
    sealed: Option<u64>,
    /// Epochs that belong to a later checkpoint than the one that is undecided.
    waiting: VecDeque<(Epoch, Vec<Batch>)>,
    waiting_bytes: usize,
    rows: u64,
}

/// What a sink is made of on one worker.
pub(crate) struct Written {
    pub writer: Box<dyn Writer>,
    pub has_transaction: bool,
    /// What kind of rows it is given.
    pub input: Changelog,
}

impl SinkDriver {
    pub(crate) fn new(
        node: NodeId,
        plan: &SinkPlan,
        written: Written,
        shared: Arc<Shared>,
    ) -> Self {
        let Written { writer, has_transaction, input } = written;
        let keys = (plan.changelog == Changelog::Upsert).then(|| plan.table.primary_key.clone());
        SinkDriver {
            node,
            table: plan.table.name.clone(),
            writer,
            keys,
            input_is_append_only: input == Changelog::AppendOnly,
            ambiguous_keys: 0,
            shared,
            has_transaction,
            sealed: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            rows: 0,
        }
    }

    /// Writes one complete epoch, at once or when it may be written.
    ///
    /// # Errors
    /// If the rows can't be consolidated; what the writer itself says is told to the job.
    pub(crate) fn write(&mut self, epoch: Epoch, rows: Vec<Batch>) -> Result<(), OperatorError> {
        if rows.iter().all(Batch::is_empty) {
            return Ok(());
        }
        self.release()?;
        if self.has_to_wait() {
            self.waiting_bytes += rows.iter().map(Batch::bytes).sum::<usize>();
            self.waiting.push_back((epoch, rows));
            return Ok(());
        }
        self.put(epoch, rows)
    }

    /// Whether the transaction is that of an earlier checkpoint still.
    fn has_to_wait(&self) -> bool {
        let is_undecided = |sealed| !self.shared.coordinator.is_decided(sealed);
        self.has_transaction && self.sealed.is_some_and(is_undecided)
    }

    /// Writes what has waited, if it has waited long enough.
    fn release(&mut self) -> Result<(), OperatorError> {
        if self.waiting.is_empty() || self.has_to_wait() {
            return Ok(());
        }
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
            .into_iter()
            .try_for_each(|(epoch, rows)| self.put(epoch, rows))
    }

    /// A checkpoint cuts here: hands over what is left to be done when it stands.
    ///
    /// # Errors
    /// If what waited can't be written; what the writer itself says is told to the job.
    pub(crate) fn seal(&mut self, checkpoint: u64) -> Result<(), OperatorError> {
        self.release()?;
        debug_assert!(self.waiting.is_empty(), "only one checkpoint is undecided");
        let staged = self.writer.seal().map_err(|error| self.give_up(error))?;
        self.sealed = Some(checkpoint);
        self.shared.hand_over(Part::Sink(self.node, staged, self.rows));
        Ok(())
    }

    fn give_up(&self, error: ConnectorError) -> OperatorError {
        self.shared.poison.fail(JobError::Connector(error));
        OperatorError::Data(format!("sink {} gave up", self.table))
    }

    fn put(&mut self, epoch: Epoch, rows: Vec<Batch>) -> Result<(), OperatorError> {
        let rows = match &self.keys {
            Some(keys) if !rows.is_empty() => {
                let schema = rows[0].schema();
                let epoch = consolidate::by_key(&schema, &rows, keys)?;
                self.note_ambiguous(epoch.ambiguous_keys);
                vec![epoch.rows]
            }
            _ => rows,
        };
        let written: usize = rows.iter().map(Batch::len).sum();
        if written == 0 {
            return Ok(());
        }
        let result = self.writer.write(epoch, &rows).and_then(|()| self.writer.flush());
        result.map_err(|error| self.give_up(error))?;
        self.rows += written as u64;
        self.shared.coordinator.changed();
        let metrics = &self.shared.metrics.nodes[self.node];
        metrics.rows_in.fetch_add(written as u64, Ordering::Relaxed);
        Ok(())
    }

    /// An append-only stream may well say a key twice; an updating one must not.
    fn note_ambiguous(&mut self, keys: usize) {
        if keys == 0 || self.input_is_append_only {
            return;
        }
        if self.ambiguous_keys == 0 {
            let table = &self.table;
            tracing::warn!("sink {table}: several rows for one primary key, the last one stands");
        }
        self.ambiguous_keys += keys;
    }

    /// Pushes out what waits and notices failures.
    pub(crate) fn flush(&mut self) -> Result<(), JobError> {
        Ok(self.writer.flush()?)
    }

    /// Writes what waited for a checkpoint that now stands.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn catch_up(&mut self) -> Result<(), JobError> {
        self.release().map_err(|error| self.shared.operator_error(self.node, error))
    }

    /// Bytes that wait here, or have not arrived outside.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.writer.pending_bytes() + self.waiting_bytes
    }

    /// Makes everything accepted durable and visible.
    pub(crate) fn finish(&mut self) -> Result<(), JobError> {
        Ok(self.writer.finish()?)
    }
}

/// The dataflow's hand on a sink.
pub(crate) struct SinkHandle(pub Rc<RefCell<SinkDriver>>);

impl SinkStep for SinkHandle {
    fn write(&mut self, epoch: Epoch, rows: Vec<Batch>) -> Result<(), OperatorError> {
        self.0.borrow_mut().write(epoch, rows)
    }

    fn seal(&mut self, checkpoint: u64) -> Result<(), OperatorError> {
        self.0.borrow_mut().seal(checkpoint)
    }
}

impl std::fmt::Debug for SinkDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkDriver").field("table", &self.table).finish_non_exhaustive()
    }
}
