//! [`SinkDriver`]: one worker's writer of one table, at the end of the dataflow.
//!
//! A writer is handed complete epochs. For an upserting table they are consolidated by primary
//! key first; all rows of a key meet at one worker, so the outcome is the whole truth about it.

use crate::checkpoint::Part;
use crate::consolidate;
use crate::error::JobError;
use crate::gate::GatedWriter;
use crate::job::Shared;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tidemill_connectors::source::ConnectorError;
use tidemill_formats::Changelog;
use tidemill_operators::dataflow::SinkStep;
use tidemill_operators::{Batch, Epoch, OperatorError};
use tidemill_sql::plan::{NodeId, SinkPlan};

/// One worker's hand on a sink.
pub(crate) struct SinkDriver {
    node: NodeId,
    table: String,
    gate: GatedWriter,
    /// The primary key, if epochs are consolidated by it.
    keys: Option<Vec<usize>>,
    input_is_append_only: bool,
    ambiguous_keys: usize,
    rows: u64,
    shared: Arc<Shared>,
}

impl SinkDriver {
    /// The driver of a sink whose rows are of the kind `input`.
    pub(crate) fn new(
        node: NodeId,
        plan: &SinkPlan,
        input: Changelog,
        gate: GatedWriter,
        shared: Arc<Shared>,
    ) -> Self {
        let keys = (plan.changelog == Changelog::Upsert).then(|| plan.table.primary_key.clone());
        SinkDriver {
            node,
            table: plan.table.name.clone(),
            gate,
            keys,
            input_is_append_only: input == Changelog::AppendOnly,
            ambiguous_keys: 0,
            rows: 0,
            shared,
        }
    }

    /// A checkpoint cuts here: hands over what is left to be done when it stands.
    ///
    /// # Errors
    /// If what waited can't be written; what the writer itself says is told to the job.
    pub(crate) fn seal(&mut self, checkpoint: u64) -> Result<(), OperatorError> {
        let staged = self.gate.seal(checkpoint, &self.shared.coordinator);
        let staged = staged.map_err(|error| self.give_up(error))?;
        self.shared.hand_over(Part::Sink(self.node, staged, self.rows));
        Ok(())
    }

    fn give_up(&self, error: ConnectorError) -> OperatorError {
        self.shared.poison.fail(JobError::Connector(error));
        OperatorError::Data(format!("sink {} gave up", self.table))
    }

    /// Writes one complete epoch, at once or when it may be written.
    ///
    /// # Errors
    /// If the rows can't be consolidated; what the writer itself says is told to the job.
    pub(crate) fn write(&mut self, epoch: Epoch, rows: Vec<Batch>) -> Result<(), OperatorError> {
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
        let result = self.gate.write(epoch, rows, &self.shared.coordinator);
        result.map_err(|error| self.give_up(error))?;
        self.rows += written as u64;
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
        Ok(self.gate.flush()?)
    }

    /// Writes what waited for a checkpoint that now stands.
    pub(crate) fn catch_up(&mut self) -> Result<(), JobError> {
        Ok(self.gate.catch_up(&self.shared.coordinator)?)
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.gate.pending_bytes()
    }

    /// Makes everything accepted durable and visible.
    pub(crate) fn finish(&mut self) -> Result<(), JobError> {
        Ok(self.gate.finish()?)
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
