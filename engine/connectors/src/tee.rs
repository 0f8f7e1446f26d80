//! [`tee`]: a sink whose rows somebody watches on their way.

use crate::sink::{Sink, Staged, Transaction, Writer};
use crate::source::ConnectorError;
use std::sync::Arc;
use tidemill_operators::{Batch, Epoch};

/// Somebody who looks at what a sink is given.
pub trait Watcher: Send + Sync {
    /// Sees the rows of one epoch as one writer is given them. All rows of a primary key come
    /// from the same writer, in order.
    fn see(&self, rows: &[Batch]);
}

/// A sink that shows everything to `watcher` and passes it on to `inner`.
pub fn tee(inner: Box<dyn Sink>, watcher: Arc<dyn Watcher>) -> Box<dyn Sink> {
    Box::new(Tee { watcher, inner })
}

/// A sink, or one of its writers, that is watched.
struct Tee<S: ?Sized> {
    watcher: Arc<dyn Watcher>,
    inner: Box<S>,
}

impl Sink for Tee<dyn Sink> {
    fn writer(&self, worker: usize, workers: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        let inner = self.inner.writer(worker, workers)?;
        Ok(Box::new(Tee { watcher: self.watcher.clone(), inner }))
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
        self.watcher.see(rows);
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
