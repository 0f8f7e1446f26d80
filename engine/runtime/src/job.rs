//! [`run`]: a plan, from opening its sources to the last row in its sinks.

use crate::alignment::{Alignment, alignments};
use crate::coordinator::{Coordinator, wall_clock_epoch};
use crate::dead_letters::DeadLetters;
use crate::error::{JobError, Poison};
use crate::graph;
use crate::metrics::Metrics;
use crate::options::{self, Policy};
use crate::outside::Outside;
use crate::summary::{Exit, Summary, Usage};
use crate::worker::{self, Readers};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use tidemill_connectors::sink::{Console, Sink, WriteSpec};
use tidemill_connectors::source::{ReadSpec, Source};
use tidemill_operators::OperatorError;
use tidemill_operators::dataflow::seats;
use tidemill_operators::key::KEY_GROUPS;
use tidemill_sql::plan::{NodeId, NodeKind, Plan};

/// How to run a job.
#[derive(Debug)]
pub struct RunOptions {
    /// Number of workers, from 1 to 256.
    pub workers: usize,
    /// Where dead letters are kept.
    pub dead_letters: PathBuf,
    /// Set from outside to stop the job: what was read is worked off, sinks are finished, but no
    /// input is taken to have ended.
    pub stop: Arc<AtomicBool>,
    /// Where `print` writes.
    pub console: Arc<dyn Console>,
    /// The counters, made for the plan with [`Metrics::new`].
    pub metrics: Arc<Metrics>,
}

/// What all workers of a job share.
pub(crate) struct Shared {
    pub plan: Plan,
    pub workers: usize,
    pub coordinator: Coordinator,
    pub poison: Poison,
    pub metrics: Arc<Metrics>,
    pub dead_letters: DeadLetters,
    pub sinks: BTreeMap<NodeId, Box<dyn Sink>>,
    pub bad_records: BTreeMap<NodeId, Policy>,
    pub late_rows: Policy,
    pub alignments: BTreeMap<NodeId, Arc<Alignment>>,
    stop: Arc<AtomicBool>,
    exits: Barrier,
}

impl Shared {
    /// Whether somebody asked the job to stop.
    pub(crate) fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits until no worker steps any more.
    pub(crate) fn leave_together(&self) {
        self.exits.wait();
    }

    /// A step's error, with the step's name.
    pub(crate) fn operator_error(&self, node: NodeId, error: OperatorError) -> JobError {
        JobError::Operator { step: self.metrics.nodes[node].name.clone(), error }
    }
}

/// Runs a plan until its inputs have ended, it is stopped, or it fails.
///
/// # Errors
/// The first thing that went wrong, anywhere. Nothing more was written after it.
pub fn run(plan: &Plan, options: RunOptions, outside: &dyn Outside) -> Result<Summary, JobError> {
    let started = Instant::now();
    let workers = options.workers.clamp(1, KEY_GROUPS);
    let sources = open_sources(plan, outside)?;
    let sinks = open_sinks(plan, outside, &options.console)?;
    let limits = options::limits(&plan.options)?;
    let shared = Arc::new(Shared {
        plan: plan.clone(),
        workers,
        coordinator: Coordinator::new(limits, workers, wall_clock_epoch()),
        poison: Poison::default(),
        metrics: options.metrics,
        dead_letters: DeadLetters::new(options.dead_letters),
        sinks,
        bad_records: graph::bad_record_policies(plan)?,
        late_rows: options::late_rows(&plan.options)?,
        alignments: alignments(&sources),
        stop: options.stop,
        exits: Barrier::new(workers),
    });
    if let Some(readers) = open_readers(sources, workers, &shared.stop)? {
        work(&shared, readers);
    }
    shared.dead_letters.flush();
    if let Some(error) = shared.poison.take() {
        return Err(error);
    }
    let exit = if shared.stops() { Exit::Stopped } else { Exit::Finished };
    let mut summary = Summary::new(exit, &shared.metrics.totals(), started.elapsed(), Usage::now());
    summary.has_dead_letters = !shared.dead_letters.is_empty();
    Ok(summary)
}

/// Runs all workers, each on a thread of its own, until all have left.
fn work(shared: &Arc<Shared>, readers: Vec<Readers>) {
    let seats = seats(shared.workers);
    std::thread::scope(|threads| {
        for (index, (seat, readers)) in seats.into_iter().zip(readers).enumerate() {
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            thread
                .spawn_scoped(threads, move || worker::run(index, seat, readers, shared))
                .expect("the system gives a thread to each worker");
        }
    });
}

fn open_sources(
    plan: &Plan,
    outside: &dyn Outside,
) -> Result<BTreeMap<NodeId, Box<dyn Source>>, JobError> {
    let mut sources = BTreeMap::new();
    for (id, node) in plan.nodes.iter().enumerate() {
        if let NodeKind::Source(source) = &node.kind {
            let spec = ReadSpec {
                table: source.table.clone(),
                columns: source.columns.clone(),
                arrival: source.arrival,
                positions: None,
            };
            sources.insert(id, outside.source(&spec)?);
        }
    }
    Ok(sources)
}

fn open_sinks(
    plan: &Plan,
    outside: &dyn Outside,
    console: &Arc<dyn Console>,
) -> Result<BTreeMap<NodeId, Box<dyn Sink>>, JobError> {
    let mut sinks = BTreeMap::new();
    for (id, node) in plan.nodes.iter().enumerate() {
        if let NodeKind::Sink(sink) = &node.kind {
            let spec = WriteSpec { table: sink.table.clone(), console: console.clone(), job: None };
            sinks.insert(id, outside.sink(&spec)?);
        }
    }
    Ok(sinks)
}

/// Each worker's readers of all sources; none if the job was asked to stop before they were there.
///
/// Opening waits for brokers and topics, perhaps for long, and can't be interrupted. So another
/// thread does it, and whoever wants the job to stop does not wait for the answer.
fn open_readers(
    sources: BTreeMap<NodeId, Box<dyn Source>>,
    workers: usize,
    stop: &AtomicBool,
) -> Result<Option<Vec<Readers>>, JobError> {
    const STOP_INTERVAL: Duration = Duration::from_millis(20);
    let (answer, readers) = mpsc::channel();
    let opening = std::thread::Builder::new().name("opening".to_owned());
    // Nobody listens any more once the job is asked to stop.
    let opening = opening.spawn(move || drop(answer.send(readers_of(&sources, workers))));
    let opening = opening.expect("the system gives a thread");
    loop {
        match readers.recv_timeout(STOP_INTERVAL) {
            Ok(readers) => return readers.map(Some),
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Acquire) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match opening.join() {
                Ok(()) => unreachable!("it answers or panics"),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    }
}

fn readers_of(
    sources: &BTreeMap<NodeId, Box<dyn Source>>,
    workers: usize,
) -> Result<Vec<Readers>, JobError> {
    let mut by_worker: Vec<Readers> = (0..workers).map(|_| Vec::new()).collect();
    for (&node, source) in sources {
        let readers = source.readers(workers)?;
        assert_eq!(readers.len(), workers, "a source gives each worker a reader");
        for (of_worker, reader) in by_worker.iter_mut().zip(readers) {
            of_worker.push((node, reader));
        }
    }
    Ok(by_worker)
}
