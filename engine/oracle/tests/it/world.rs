//! [`World`]: where a job's rows go in a test, and how the job is made to fail on the way.
//!
//! What is written is kept with its epoch, and counts once it is committed. A fuse lets an attempt
//! fail at any write or commit; the next one goes on from the last checkpoint, with another number
//! of workers. What was written and not committed is lost then, as it would be outside.

use proptest::prelude::*;
use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tempfile::TempDir;
use tidemill_connectors::sink::{Console, Marker, Sink, Transaction, WriteSpec, Writer};
use tidemill_connectors::source::{ConnectorError, ReadSpec, Source};
use tidemill_operators::{Batch, Epoch};
use tidemill_runtime::checkpoint::CheckpointError;
use tidemill_runtime::{
    Fit, JobError, Metrics, Outside, RunOptions, Start, StateDirectory, Summary, run,
};
use tidemill_sql::plan::Plan;

/// How long a write takes.
const WRITE_TIME: Duration = Duration::from_micros(500);

/// Before and behind the exchange, or only behind it: each attempt aggregates in another way.
const STRATEGIES: [&str; 3] = ["TWO_PHASE", "AUTO", "ONE_PHASE"];

/// The cause of failures that are made.
const FAILURE: &str = "the fuse has burnt down";

/// How many times as many random cases are wanted, if that is said.
pub fn scale() -> Option<u32> {
    std::env::var("TIDEMILL_TEST_SCALE").ok()?.parse().ok()
}

/// When an attempt fails.
#[derive(Clone, Copy, Debug)]
pub struct Fuse {
    /// After so many writes and commits …
    left: u16,
    /// … from its first commit on, and not from its start.
    waits_for_commit: bool,
}

impl Fuse {
    /// Blows after so many writes and commits from the first commit on.
    pub fn behind_a_commit(left: u16) -> Fuse {
        Fuse { left, waits_for_commit: true }
    }

    /// Fuses of all kinds. Behind a commit little is left to do for a job on so few rows.
    pub fn any() -> impl Strategy<Value = Fuse> {
        prop_oneof![
            (1u16..20).prop_map(|left| Fuse { left, waits_for_commit: false }),
            (1u16..5).prop_map(|left| Fuse { left, waits_for_commit: true }),
        ]
    }
}

/// Opens a table for reading.
type OpenSource = dyn Fn(&ReadSpec) -> Result<Box<dyn Source>, ConnectorError> + Send + Sync;

/// The outside of a job: sources as they are given, and what is written. Clones share it.
#[derive(Clone)]
pub struct World {
    source: Arc<OpenSource>,
    written: Arc<Mutex<Written>>,
}

/// What was written, and whether it is committed.
#[derive(Debug, Default)]
struct Written {
    committed: Vec<Write>,
    open: Vec<Write>,
    marker: Option<Marker>,
    /// Starts that found a marker.
    resumed: usize,
    /// Whether anything was committed since the last start.
    has_committed: bool,
    /// When the next failure comes.
    fuse: Option<Fuse>,
}

/// The rows that one writer was given of one epoch.
#[derive(Clone, Debug)]
pub struct Write {
    pub table: String,
    pub epoch: Epoch,
    pub rows: Vec<Batch>,
}

impl Written {
    /// One step more; the last one fails.
    fn burn(&mut self) -> Result<(), ConnectorError> {
        let Some(fuse) = &mut self.fuse else { return Ok(()) };
        if fuse.waits_for_commit && !self.has_committed {
            return Ok(());
        }
        fuse.left = fuse.left.saturating_sub(1);
        match fuse.left {
            0 => Err(ConnectorError { what: "a test".to_owned(), cause: FAILURE.to_owned() }),
            _ => Ok(()),
        }
    }
}

impl World {
    /// A world in which nothing has been written, with sources that `source` opens.
    pub fn new(
        source: impl Fn(&ReadSpec) -> Result<Box<dyn Source>, ConnectorError> + Send + Sync + 'static,
    ) -> World {
        World { source: Arc::new(source), written: Arc::default() }
    }

    /// What was written and committed, in the order in which it was committed.
    pub fn committed(&self) -> Vec<Write> {
        self.written().committed.clone()
    }

    /// How many starts went on from a checkpoint.
    pub fn resumed(&self) -> usize {
        self.written().resumed
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().expect("nobody panicked")
    }
}

/// Runs a job to its end in `world`, through these failures, with `workers` workers in the last
/// attempt. Its state is kept in `folder`. What may be another at each start, is.
///
/// # Errors
/// If it fails in another way.
pub fn run_through(
    plan: &Plan,
    (workers, failures): (usize, &[Fuse]),
    folder: &Path,
    world: &World,
) -> Result<(Summary, Arc<Metrics>), String> {
    let metrics = Arc::new(Metrics::new(plan, 4));
    let tries = Cell::new(workers);
    let attempt = |workers: usize, fuse: Option<Fuse>| -> Result<Summary, JobError> {
        world.written().fuse = fuse;
        let strategy = STRATEGIES[tries.replace(tries.get() + 1) % STRATEGIES.len()];
        let mut plan = plan.clone();
        plan.options.insert("table.optimizer.agg-phase-strategy".to_owned(), strategy.to_owned());
        let directory = StateDirectory::open(&folder.join("state"), Start::Resume)?;
        let options = RunOptions {
            workers,
            dead_letters: directory.dead_letters(),
            state: Some(directory.job_state(&plan.options, Fit::Exact)?),
            memory_limit: None,
            stop: Arc::default(),
            console: Arc::new(Silence),
            metrics: metrics.clone(),
        };
        run(&plan, options, world)
    };
    for (i, &fuse) in failures.iter().enumerate() {
        match attempt(1 + (workers + i) % 4, Some(fuse)) {
            // It had less to write than that.
            Ok(summary) => return Ok((summary, metrics)),
            Err(
                JobError::Connector(error)
                | JobError::Checkpoint(CheckpointError::Connector(error)),
            ) if error.cause == FAILURE => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let summary = attempt(workers, None).map_err(|error| error.to_string())?;
    Ok((summary, metrics))
}

/// A folder for a job's files, in memory if the system has a place there: no test needs them to
/// outlive it, and checkpoints wait for a disk again and again.
pub fn folder() -> std::io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

#[derive(Debug)]
struct Silence;

impl Console for Silence {
    fn write(&self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

impl Outside for World {
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        (self.source)(spec)
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(Table { name: spec.table.name.clone(), world: self.clone() }))
    }
}

/// A table that is written, by all workers or by one of them.
#[derive(Clone)]
struct Table {
    name: String,
    world: World,
}

impl Sink for Table {
    fn writer(&self, _: usize, _: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }

    fn transaction(&self) -> Option<Arc<dyn Transaction>> {
        Some(Arc::new(self.world.clone()))
    }
}

impl Writer for Table {
    fn write(&mut self, epoch: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        let mut written = self.world.written();
        written.burn()?;
        written.open.push(Write { table: self.name.clone(), epoch, rows: rows.to_vec() });
        drop(written);
        // Or all would be over before the first checkpoint stands.
        std::thread::sleep(WRITE_TIME);
        Ok(())
    }
}

impl Transaction for World {
    fn id(&self) -> String {
        "world".to_owned()
    }

    fn recover(&self) -> Result<Option<Marker>, ConnectorError> {
        let mut written = self.written();
        written.open.clear();
        written.resumed += usize::from(written.marker.is_some());
        written.has_committed = false;
        Ok(written.marker.clone())
    }

    fn flush(&self) -> Result<(), ConnectorError> {
        self.written().burn()
    }

    fn commit(&self, marker: &Marker) -> Result<(), ConnectorError> {
        let mut written = self.written();
        written.burn()?;
        let mut open = std::mem::take(&mut written.open);
        written.committed.append(&mut open);
        written.marker = Some(marker.clone());
        written.has_committed = true;
        // Done, and the answer is lost.
        written.burn()
    }
}
