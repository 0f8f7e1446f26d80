//! [`run`]: a plan, from opening its sources to the last row in its sinks, through failures that
//! pass.
//!
//! ```text
//!  open sinks ─► recover: what to go on from ─► open sources there ─► workers, committer ─► end
//!       ▲                                                                   │
//!       └──── wait, if the failure may pass (see `restart`) ◄───────────────┘
//! ```
//!
//! There is one way to start: a first start, a restart after a failure, a resume after a stop or
//! a crash, with more or fewer workers, all recover in the same way.

use crate::alignment::{Alignment, alignments};
use crate::checkpoint::{
    Committer, Outputs as _, Part, Protocol, Restored, SinkOutputs, Store, differences, now_ms,
};
use crate::coordinator::{Coordinator, CutPlan, End, wall_clock_epoch};
use crate::dead_letters::{DeadLetters, Lengths};
use crate::error::{JobError, Poison};
use crate::graph;
use crate::letter_topic;
use crate::memory::MemoryLimit;
use crate::metrics::Metrics;
use crate::options::{self, Policy};
use crate::outside::Outside;
use crate::restart::{self, Restarts};
use crate::summary::{Exit, Summary, Usage};
use crate::worker::{self, Readers};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use tidemill_connectors::lookup::{LookupSpec, LookupTable};
use tidemill_connectors::sink::{Console, Sink, WriteSpec};
use tidemill_connectors::source::{PositionReport, ReadSpec, Source};
use tidemill_formats::Table;
use tidemill_operators::OperatorError;
use tidemill_operators::dataflow::seats;
use tidemill_operators::key::KEY_GROUPS;
use tidemill_sql::plan::{NodeId, NodeKind, Plan};

/// How long to sleep between two looks at whether the job was asked to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// How to run a job.
#[derive(Debug)]
pub struct RunOptions {
    /// Number of workers, from 1 to 256.
    pub workers: usize,
    /// Where dead letters are kept.
    pub dead_letters: PathBuf,
    /// Where the job's state is kept. Without it there are no checkpoints: every start is the
    /// first, and output becomes visible as it is written.
    pub state: Option<JobState>,
    /// The memory, in bytes, that the process should not exceed: near it nothing is read, and a
    /// job that stays there fails.
    pub memory_limit: Option<u64>,
    /// Set from outside to stop the job: what was read is worked off, sinks are finished, but no
    /// input is taken to have ended.
    pub stop: Arc<AtomicBool>,
    /// Where `print` writes.
    pub console: Arc<dyn Console>,
    /// The counters, made for the plan with [`Metrics::new`].
    pub metrics: Arc<Metrics>,
}

/// Who a job is and where its state is kept; a state directory
/// [gives it](crate::StateDirectory::job_state).
#[derive(Clone)]
pub struct JobState {
    pub(crate) identity: String,
    /// A job that this one takes the place of: it is shut out.
    pub(crate) replaced: Option<String>,
    pub(crate) store: Arc<dyn Store>,
    /// How long the files of dead letters were before the job's first start.
    pub(crate) dead_letters: Lengths,
    pub(crate) fit: Fit,
}

impl std::fmt::Debug for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobState").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What to do if a job has changed since its last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Refuse, and say what differs.
    Exact,
    /// Go on with the state that still has an owner; what is new starts empty.
    WhatFits,
}

/// What all workers of a job share.
pub(crate) struct Shared {
    pub plan: Plan,
    pub workers: usize,
    pub coordinator: Coordinator,
    pub poison: Poison,
    pub metrics: Arc<Metrics>,
    pub dead_letters: DeadLetters,
    pub sinks: BTreeMap<NodeId, Arc<dyn Sink>>,
    /// The topics of sources' bad records.
    pub letter_topics: BTreeMap<NodeId, Arc<dyn Sink>>,
    pub lookups: BTreeMap<NodeId, Arc<dyn LookupTable>>,
    pub bad_records: BTreeMap<NodeId, Policy>,
    pub late_rows: Policy,
    pub alignments: BTreeMap<NodeId, Arc<Alignment>>,
    pub restored: Restored,
    pub memory: Option<MemoryLimit>,
    parts: Sender<Part>,
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

    /// Gives the committer a part of a checkpoint. It is gone only if it has failed, and then so
    /// has the job.
    pub(crate) fn hand_over(&self, part: Part) {
        let _ = self.parts.send(part);
    }

    /// A step's error, with the step's name.
    pub(crate) fn operator_error(&self, node: NodeId, error: OperatorError) -> JobError {
        JobError::Operator { step: self.metrics.nodes[node].name.clone(), error }
    }
}

/// Runs a plan until its inputs have ended, it is stopped, or it fails for good.
///
/// A job with state that fails as it stops, or that is stopped while it waits to start again, is
/// started once more, reads nothing, and so ends where its last checkpoint stands.
///
/// # Errors
/// The first thing that went wrong in the last attempt. Nothing more was written after it.
pub fn run(plan: &Plan, options: RunOptions, outside: &dyn Outside) -> Result<Summary, JobError> {
    let started = Instant::now();
    let mut restarts = None;
    let stops = || options.stop.load(Ordering::Acquire);
    loop {
        let was_stopped = stops();
        let attempt_started = Instant::now();
        let mut attempt = Attempt { plan, options: &options, outside, restarts: &mut restarts };
        let error = match attempt.run() {
            Ok(outcome) => return Ok(summary(outcome, &options, started)),
            Err(error) => error,
        };
        let ran = attempt_started.elapsed();
        let restarts = restarts.as_mut().filter(|_| error.may_pass());
        let Some(wait) = restarts.and_then(|restarts: &mut Restarts| restarts.next(ran)) else {
            return Err(error);
        };
        if !stops() {
            tracing::warn!("{error}; starting again in {:.1} s", wait.as_secs_f64());
            let deadline = Instant::now() + wait;
            while Instant::now() < deadline && !stops() {
                std::thread::sleep(STOP_INTERVAL);
            }
        }
        match stops() {
            false => options.metrics.restarted(),
            true if was_stopped || options.state.is_none() => return Err(error),
            true => tracing::warn!("{error}; stopping where the last checkpoint stands"),
        }
    }
}

/// How an attempt ended well.
struct Outcome {
    exit: Exit,
    has_dead_letters: bool,
}

fn summary(outcome: Outcome, options: &RunOptions, started: Instant) -> Summary {
    let totals = options.metrics.totals();
    let mut summary = Summary::new(outcome.exit, &totals, started.elapsed(), Usage::now());
    summary.has_dead_letters = outcome.has_dead_letters;
    summary
}

/// One start of a job.
struct Attempt<'a> {
    plan: &'a Plan,
    options: &'a RunOptions,
    outside: &'a dyn Outside,
    /// Set once the job has run: what fails before is told at once.
    restarts: &'a mut Option<Restarts>,
}

impl Attempt<'_> {
    fn run(&mut self) -> Result<Outcome, JobError> {
        let (plan, options) = (self.plan, self.options);
        let workers = options.workers.clamp(1, KEY_GROUPS);
        let mut limits = options::limits(&plan.options)?;
        let (bad_records, late_rows) =
            (graph::bad_record_policies(plan)?, options::late_rows(&plan.options)?);
        self.shut_out_replaced()?;
        let identity = options.state.as_ref().map(|state| state.identity.as_str());
        let Sinks { sinks, letter_topics } = self.open_sinks(identity)?;
        let mut recovery = self.recover(&sinks, &letter_topics)?;
        if !sinks.is_empty() && sinks.values().all(|sink| sink.transaction().is_some()) {
            limits = limits.unhurried(recovery.cut_plan.and_then(|plan| plan.interval));
        }
        let sources = open_sources(plan, self.outside, &recovery.restored)?;
        if let Some(committer) = &mut recovery.committer {
            committer.report_to(reports(&sources)?);
        }
        let is_bounded = sources.values().all(|source| source.is_bounded());
        let strategy = restart::strategy(&plan.options, is_bounded)?;
        let first = wall_clock_epoch().max(recovery.epoch + 1);
        options.metrics.resume(plan, &recovery.restored);
        let (parts, gathered) = mpsc::channel();
        let shared = Arc::new(Shared {
            plan: plan.clone(),
            workers,
            coordinator: Coordinator::new(limits, workers, first, recovery.cut_plan),
            poison: Poison::default(),
            metrics: options.metrics.clone(),
            dead_letters: recovery.dead_letters,
            sinks,
            letter_topics,
            lookups: open_lookups(plan, self.outside)?,
            bad_records,
            late_rows,
            alignments: alignments(&sources),
            memory: options.memory_limit.map(MemoryLimit::new),
            restored: recovery.restored,
            parts,
            stop: options.stop.clone(),
            exits: Barrier::new(workers),
        });
        let mut exit = Exit::Stopped;
        if let Some(readers) = open_readers(sources, workers, &shared.stop)? {
            self.restarts.get_or_insert_with(|| Restarts::new(strategy));
            work(&shared, readers, recovery.committer, gathered);
            if shared.coordinator.end() == Some(End::Finished) {
                exit = Exit::Finished;
            }
        }
        if let Some(error) = shared.poison.take() {
            return Err(error);
        }
        if !shared.coordinator.has_cuts() {
            shared.dead_letters.settle(u64::MAX);
            shared.dead_letters.sync();
        }
        Ok(Outcome { exit, has_dead_letters: !shared.dead_letters.is_empty() })
    }

    /// A job that was begun anew shuts out whoever still runs it under its old name, and ends
    /// what that one left open, which would keep readers waiting.
    fn shut_out_replaced(&self) -> Result<(), JobError> {
        let replaced = self.options.state.as_ref().and_then(|state| state.replaced.as_deref());
        let Some(replaced) = replaced else { return Ok(()) };
        let Sinks { sinks, letter_topics } = self.open_sinks(Some(replaced))?;
        let outputs = SinkOutputs::new(replaced, self.plan, &sinks, &letter_topics)?;
        outputs.recover()?;
        Ok(())
    }

    /// Opens everything that is written, for a job of this identity.
    fn open_sinks(&self, job: Option<&str>) -> Result<Sinks, JobError> {
        let mut opened = Sinks::default();
        let open = |table: Table| -> Result<Arc<dyn Sink>, JobError> {
            let console = self.options.console.clone();
            Ok(self.outside.sink(&WriteSpec { table, console, job: job.map(Arc::from) })?.into())
        };
        let written = || {
            self.plan.nodes.iter().filter_map(|node| match &node.kind {
                NodeKind::Sink(sink) => Some(&sink.table),
                _ => None,
            })
        };
        for (id, node) in self.plan.nodes.iter().enumerate() {
            match &node.kind {
                NodeKind::Sink(sink) => {
                    opened.sinks.insert(id, open(sink.table.clone())?);
                }
                NodeKind::Source(source) => {
                    if let Some(table) = letter_topic::table(&source.table, written())? {
                        opened.letter_topics.insert(id, open(table)?);
                    }
                }
                _ => {}
            }
        }
        Ok(opened)
    }

    /// Finds out what to go on from.
    fn recover(
        &self,
        sinks: &BTreeMap<NodeId, Arc<dyn Sink>>,
        letter_topics: &BTreeMap<NodeId, Arc<dyn Sink>>,
    ) -> Result<Recovery, JobError> {
        let folder = self.options.dead_letters.clone();
        let letters_failed = |error: std::io::Error| JobError::State {
            path: self.options.dead_letters.clone(),
            problem: error.to_string(),
        };
        let Some(state) = &self.options.state else {
            let lengths = DeadLetters::lengths(&folder).map_err(letters_failed)?;
            return Ok(Recovery {
                restored: Restored::default(),
                committer: None,
                cut_plan: None,
                epoch: 0,
                dead_letters: DeadLetters::resume(folder, &lengths).map_err(letters_failed)?,
            });
        };
        let checkpoints = options::checkpoints(&self.plan.options)?;
        let outputs = Arc::new(SinkOutputs::new(&state.identity, self.plan, sinks, letter_topics)?);
        if checkpoints.interval.is_none() && !outputs.transactions().is_empty() {
            return Err(JobError::NoCheckpoints);
        }
        if let (Some(interval), Some(timeout)) =
            (checkpoints.interval, outputs.transaction_timeout())
            && interval >= timeout
        {
            return Err(JobError::SlowCheckpoints { interval, timeout });
        }
        let store = state.store.clone();
        let mut protocol = Protocol::new(store, outputs.clone(), checkpoints.retained);
        let recovered = protocol.recover(now_ms())?;
        outputs.set_generation(recovered.generation);
        self.tell(&recovered.notes);
        let mut letters = &state.dead_letters;
        let mut epoch = 0;
        if let Some(manifest) = &recovered.manifest {
            self.check_fit(manifest, state.fit)?;
            letters = &manifest.dead_letters;
            epoch = manifest.epoch;
            tracing::info!(
                "going on from checkpoint {}, taken {:.1} s ago",
                manifest.number,
                (now_ms() - manifest.created_ms) as f64 / 1000.0
            );
        }
        let dead_letters = DeadLetters::resume(folder, letters).map_err(letters_failed)?;
        let (interval, last_number) = (checkpoints.interval, recovered.last_number);
        let committer = Committer::new(protocol, outputs, &recovered, &state.identity);
        let restored = Restored::new(recovered)
            .map_err(|error| JobError::Operator { step: "restoring state".to_owned(), error })?;
        Ok(Recovery {
            restored,
            committer: Some(committer),
            cut_plan: Some(CutPlan { interval, last_number }),
            epoch,
            dead_letters,
        })
    }

    fn tell(&self, notes: &[String]) {
        notes.iter().for_each(|note| tracing::warn!("{note}"));
    }

    fn check_fit(&self, manifest: &crate::checkpoint::Manifest, fit: Fit) -> Result<(), JobError> {
        let nodes = &self.options.metrics.nodes;
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let differences = differences(manifest, self.plan, &names);
        match fit {
            _ if differences.is_empty() => Ok(()),
            Fit::Exact => Err(JobError::PlanChanged { checkpoint: manifest.number, differences }),
            Fit::WhatFits => {
                self.tell(&differences);
                Ok(())
            }
        }
    }
}

/// Opens every table that is looked up.
fn open_lookups(
    plan: &Plan,
    outside: &dyn Outside,
) -> Result<BTreeMap<NodeId, Arc<dyn LookupTable>>, JobError> {
    let mut lookups: BTreeMap<NodeId, Arc<dyn LookupTable>> = BTreeMap::new();
    for (id, node) in plan.nodes.iter().enumerate() {
        if let NodeKind::LookupJoin(plan) = &node.kind {
            let spec = LookupSpec {
                table: plan.table.clone(),
                columns: plan.columns.clone(),
                steps: plan.steps.clone(),
                keys: plan.join.right_keys.clone(),
                key_columns: plan.key_columns.clone(),
            };
            lookups.insert(id, outside.lookup(&spec)?.into());
        }
    }
    Ok(lookups)
}

/// Everything that is written.
#[derive(Default)]
struct Sinks {
    sinks: BTreeMap<NodeId, Arc<dyn Sink>>,
    /// By the source whose bad records they take.
    letter_topics: BTreeMap<NodeId, Arc<dyn Sink>>,
}

/// What a start goes on with.
struct Recovery {
    restored: Restored,
    committer: Option<Committer>,
    cut_plan: Option<CutPlan>,
    /// The epoch that it goes on from.
    epoch: u64,
    dead_letters: DeadLetters,
}

/// Runs all workers, each on a thread of its own, until all have left; beside them the committer.
fn work(
    shared: &Arc<Shared>,
    readers: Vec<Readers>,
    committer: Option<Committer>,
    parts: Receiver<Part>,
) {
    let seats = seats(shared.workers);
    std::thread::scope(|threads| {
        let spawn = |name: String| std::thread::Builder::new().name(name);
        if let Some(committer) = committer {
            spawn("committer".to_owned())
                .spawn_scoped(threads, move || committer.run(&parts, shared))
                .expect("the system gives a thread");
        }
        let workers: Vec<_> = (seats.into_iter().zip(readers).enumerate())
            .map(|(index, (seat, readers))| {
                spawn(format!("worker-{index}"))
                    .spawn_scoped(threads, move || worker::run(index, seat, readers, shared))
                    .expect("the system gives a thread to each worker")
            })
            .collect();
        for worker in workers {
            let _ = worker.join();
        }
        shared.hand_over(Part::End);
    });
}

fn open_sources(
    plan: &Plan,
    outside: &dyn Outside,
    restored: &Restored,
) -> Result<BTreeMap<NodeId, Box<dyn Source>>, JobError> {
    let mut sources = BTreeMap::new();
    for (id, node) in plan.nodes.iter().enumerate() {
        if let NodeKind::Source(source) = &node.kind {
            let spec = ReadSpec {
                table: source.table.clone(),
                columns: source.columns.clone(),
                arrival: source.arrival,
                positions: restored.positions(node.operator_id),
                until: None,
            };
            sources.insert(id, outside.source(&spec)?);
        }
    }
    Ok(sources)
}

/// Who is to be told how far checkpoints have come.
fn reports(
    sources: &BTreeMap<NodeId, Box<dyn Source>>,
) -> Result<BTreeMap<NodeId, Box<dyn PositionReport>>, JobError> {
    let mut reports = BTreeMap::new();
    for (&id, source) in sources {
        reports.extend(source.report()?.map(|report| (id, report)));
    }
    Ok(reports)
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
