//! [`Capture`]: a sink that keeps what a job writes, folded on demand.

use crate::bag::{consolidate, latest_by_key};
use crate::error::OracleError;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, Mutex};
use tidemill_connectors::sink::{Sink, Staged, Transaction, Writer};
use tidemill_connectors::source::ConnectorError;
use tidemill_formats::Changelog;
use tidemill_operators::{Batch, Epoch};
use tidemill_sql::plan::SinkPlan;

/// What the writers of one table were given. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    batches: Arc<Mutex<Vec<Batch>>>,
}

impl Capture {
    /// What the table holds after all that was written.
    ///
    /// # Errors
    /// If a row was taken back that is not there.
    pub fn folded(&self, plan: &SinkPlan, schema: &SchemaRef) -> Result<RecordBatch, OracleError> {
        let batches = self.lock().clone();
        match plan.changelog {
            // A key's changes all come from one writer, so its last one is the last here.
            Changelog::Upsert => latest_by_key(schema, &batches, &plan.table.primary_key),
            Changelog::AppendOnly | Changelog::Retract => {
                consolidate(schema, &batches, schema.fields().len())
            }
        }
    }

    /// A sink that passes everything on to `inner` and keeps it here.
    pub fn tee(&self, inner: Box<dyn Sink>) -> impl Sink + use<> {
        Tee { capture: self.clone(), inner }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Batch>> {
        self.batches.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Writer for Capture {
    fn write(&mut self, _: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        self.lock().extend_from_slice(rows);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        0
    }

    fn finish(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

impl Sink for Capture {
    fn writer(&self, _: usize, _: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

/// A sink, or one of its writers, whose rows are captured on their way.
struct Tee<S: ?Sized> {
    capture: Capture,
    inner: Box<S>,
}

impl Sink for Tee<dyn Sink> {
    fn writer(&self, worker: usize, workers: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        let inner = self.inner.writer(worker, workers)?;
        Ok(Box::new(Tee { capture: self.capture.clone(), inner }))
    }

    fn transaction(&self) -> Option<Arc<dyn Transaction>> {
        self.inner.transaction()
    }

    fn settle(&self) -> Result<(), ConnectorError> {
        self.inner.settle()
    }

    fn is_staged(&self) -> bool {
        self.inner.is_staged()
    }

    fn commit(&self, staged: &[String]) -> Result<(), ConnectorError> {
        self.inner.commit(staged)
    }

    fn recover(&self, staged: &[String]) -> Result<(), ConnectorError> {
        self.inner.recover(staged)
    }
}

impl Writer for Tee<dyn Writer> {
    fn write(&mut self, epoch: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        self.capture.write(epoch, rows)?;
        self.inner.write(epoch, rows)
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        self.inner.flush()
    }

    fn pending_bytes(&self) -> usize {
        self.inner.pending_bytes()
    }

    fn seal(&mut self) -> Result<Staged, ConnectorError> {
        self.inner.seal()
    }

    fn finish(&mut self) -> Result<(), ConnectorError> {
        self.inner.finish()
    }
}
