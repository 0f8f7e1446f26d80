//! [`Whole`]: a table that is read whole before the job begins, and again at an interval.
//!
//! What is looked up is always one whole reading of the table. When it can't be read again, the
//! last reading stays, and that is said.

use super::{LookupSpec, LookupTable, Shape};
use crate::source::{BadInput, BadInputs, ConnectorError, Source, read_all};
use arrow::array::ArrayRef;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};
use tidemill_operators::Batch;
use tidemill_operators::lookup_join::{Lookup, LookupRows};
use tidemill_operators::operator::OperatorError;

/// Opens the table to read it.
pub(crate) type Open = Box<dyn Fn() -> Result<Box<dyn Source>, ConnectorError> + Send>;

/// The newest reading of a table.
pub(crate) struct Whole {
    newest: Arc<Mutex<Arc<LookupRows>>>,
}

impl Whole {
    /// Reads the table; with an interval, again each time it has passed, for as long as the table
    /// is used.
    pub(crate) fn new(
        spec: LookupSpec,
        interval: Option<Duration>,
        open: Open,
    ) -> Result<Self, ConnectorError> {
        let reading = Reading { shape: Shape::new(&spec).map_err(|e| spec.failed(e))?, spec, open };
        let newest = Arc::new(Mutex::new(reading.read()?));
        if let Some(interval) = interval {
            let kept = Arc::downgrade(&newest);
            let spawned = thread::Builder::new()
                .name("lookup".to_owned())
                .spawn(move || reading.renew(interval, &kept));
            spawned.map_err(|e| ConnectorError {
                what: "starting a thread".to_owned(),
                cause: e.to_string(),
            })?;
        }
        Ok(Whole { newest })
    }
}

impl LookupTable for Whole {
    fn open(&self) -> Box<dyn Lookup> {
        Box::new(Newest(self.newest.clone()))
    }
}

/// A worker's hand on the table.
struct Newest(Arc<Mutex<Arc<LookupRows>>>);

impl Newest {
    fn get(&self) -> Arc<LookupRows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Lookup for Newest {
    fn rows(&mut self, _: &[ArrayRef], _: i64) -> Result<Option<Arc<LookupRows>>, OperatorError> {
        Ok(Some(self.get()))
    }

    fn cached_bytes(&self) -> usize {
        self.get().bytes()
    }
}

struct Reading {
    spec: LookupSpec,
    shape: Shape,
    open: Open,
}

impl Reading {
    fn renew(&self, interval: Duration, kept: &Weak<Mutex<Arc<LookupRows>>>) {
        loop {
            thread::sleep(interval);
            let Some(newest) = kept.upgrade() else { return };
            match self.read() {
                Ok(rows) => *newest.lock().unwrap_or_else(PoisonError::into_inner) = rows,
                Err(error) => tracing::warn!("{error}; the rows of the last reading stay in use"),
            }
        }
    }

    fn read(&self) -> Result<Arc<LookupRows>, ConnectorError> {
        let source = (self.open)()?;
        let batches = read_all(source.as_ref(), |bad| self.judge(bad))?;
        let rows = concat_batches(&self.schema(), batches.iter().map(Batch::columns));
        let rows = rows.map_err(|e| self.spec.failed(e))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.shape.index(rows, now.as_millis() as i64).map_err(|e| self.spec.failed(e))
    }

    /// Says which records are bad, and fails with them if the table says so.
    fn judge(&self, bad: &BadInputs) -> Result<(), ConnectorError> {
        let table = &self.spec.table;
        let Some(first) = bad.records.first() else { return Ok(()) };
        let BadInput { place, position, reason, .. } = first;
        let what = format!("{} bad record(s), at {place}:{position}: {reason}", bad.count);
        if table
            .option("scan.bad-records")
            .is_some_and(|policy| policy.eq_ignore_ascii_case("fail"))
        {
            return Err(self.spec.failed(what));
        }
        tracing::warn!("table '{}': {what}", table.name);
        Ok(())
    }

    fn schema(&self) -> SchemaRef {
        let all = self.spec.table.schema.fields();
        let fields: Vec<Arc<Field>> =
            self.spec.columns.iter().filter_map(|&column| all.get(column).cloned()).collect();
        Arc::new(Schema::new(fields))
    }
}
