//! [`Capture`]: a sink that keeps what a job writes, folded on demand.

use crate::bag::{consolidate, latest_by_key};
use crate::error::OracleError;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, Mutex};
use tidemill_connectors::sink::{Sink, Writer};
use tidemill_connectors::source::ConnectorError;
use tidemill_connectors::{Watcher, tee};
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
    pub fn tee(&self, inner: Box<dyn Sink>) -> Box<dyn Sink> {
        tee(inner, Arc::new(self.clone()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Batch>> {
        self.batches.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Watcher for Capture {
    fn see(&self, rows: &[Batch]) {
        self.lock().extend_from_slice(rows);
    }
}

impl Writer for Capture {
    fn write(&mut self, _: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        self.see(rows);
        Ok(())
    }
}

impl Sink for Capture {
    fn writer(&self, _: usize, _: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}
