//! [`Committer`]: gathers what the workers hand over for a checkpoint and brings it to stand, on
//! a thread of its own, so that no worker ever waits for a disk or a broker.
//!
//! State is encoded as it comes, while other steps still work towards the cut: little is left to
//! be done when the last one has come to it.
//!
//! The invariant: a checkpoint is begun only when every worker has handed over its part of every
//! source, stateful step and sink; one that is not complete when the job ends is forgotten.

use super::chain::{Chain, object_ref};
use super::manifest::{FORMAT, Manifest, ObjectRef, SinkState, SourceState, StepState};
use super::object::ObjectWriter;
use super::outputs::SinkOutputs;
use super::protocol::{CheckpointError, Errand, Outputs as _, Protocol, Recovered};
use crate::coordinator::Cut;
use crate::error::{JobError, panic_message};
use crate::job::Shared;
use crate::unique::unique_name;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tidemill_connectors::source::{PositionReport, Positions};
use tidemill_operators::Watermark;
use tidemill_operators::dataflow::StateCut;
use tidemill_sql::plan::{NodeId, NodeKind, Plan};

/// What a worker hands over for a checkpoint.
#[derive(Debug)]
pub(crate) enum Part {
    /// Where all of its sources stand.
    Sources(Cut, Vec<(NodeId, SourceCut)>),
    /// What changed in a step's state, and how many rows it has dropped as late so far.
    Step(usize, NodeId, StateCut, u64),
    /// What a sink has staged, and how many rows it was given so far.
    Sink(NodeId, Vec<String>, u64),
    /// No worker will hand over anything any more.
    End,
}

/// Where a source stands on one worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceCut {
    pub positions: Positions,
    /// The watermark of each lane that this worker knows, by the lane's name, in milliseconds.
    pub watermarks_ms: BTreeMap<String, i64>,
    /// Rows it has given, in this run of the job.
    pub rows: u64,
    /// Records it could not decode, in this run of the job.
    pub bad_records: u64,
}

/// Brings checkpoints to stand.
pub(crate) struct Committer {
    protocol: Protocol,
    outputs: Arc<SinkOutputs>,
    chain: Chain,
    /// What the job was started from; later checkpoints count on from it.
    base: Base,
    job: String,
    generation: u64,
    /// Makes the names of this process's objects differ from all others'.
    nonce: String,
    /// Who is told where a source stands once a checkpoint stands.
    reports: BTreeMap<NodeId, Box<dyn PositionReport>>,
}

/// Counters and positions at the start.
#[derive(Default)]
struct Base {
    sources: BTreeMap<u64, SourceState>,
    late_rows: BTreeMap<u64, u64>,
    sink_rows: BTreeMap<u64, u64>,
}

impl Base {
    fn of(manifest: &Manifest) -> Self {
        Base {
            sources: manifest.sources.iter().map(|state| (state.id, state.clone())).collect(),
            late_rows: manifest.steps.iter().map(|step| (step.id, step.late_rows)).collect(),
            sink_rows: manifest.sinks.iter().map(|sink| (sink.id, sink.rows)).collect(),
        }
    }
}

/// A checkpoint in the making.
struct Assembly {
    /// When its first part came.
    began: Option<Instant>,
    missing: usize,
    cut: Option<Cut>,
    sources: BTreeMap<NodeId, SourceState>,
    steps: BTreeMap<NodeId, StepState>,
    sinks: BTreeMap<NodeId, SinkState>,
    /// What changed, for each worker with changes.
    changes: BTreeMap<usize, ObjectWriter>,
}

impl Committer {
    pub(crate) fn new(
        protocol: Protocol,
        outputs: Arc<SinkOutputs>,
        recovered: &Recovered,
        job: &str,
    ) -> Self {
        let objects = recovered.manifest.as_ref().map(|manifest| manifest.objects.clone());
        let chain = Chain::new(objects.unwrap_or_default(), protocol.store().clone());
        Committer {
            protocol,
            outputs,
            chain,
            base: recovered.manifest.as_ref().map(Base::of).unwrap_or_default(),
            job: job.to_owned(),
            generation: recovered.generation,
            nonce: unique_name(),
            reports: BTreeMap::new(),
        }
    }

    /// Says who is told where sources stand.
    pub(crate) fn report_to(&mut self, reports: BTreeMap<NodeId, Box<dyn PositionReport>>) {
        self.reports = reports;
    }

    /// Works until the workers have ended, or a checkpoint fails: then the job does.
    pub(crate) fn run(self, parts: &Receiver<Part>, shared: &Shared) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work(parts, shared)));
        if let Err(panic) = outcome {
            let message = panic_message(panic.as_ref());
            shared.poison.fail(JobError::Panic { place: "committer".to_owned(), message });
        }
    }

    fn work(mut self, parts: &Receiver<Part>, shared: &Shared) {
        let mut assembly = Assembly::new(&self.base, shared);
        while let Ok(part) = parts.recv() {
            if matches!(part, Part::End) {
                return;
            }
            if let Err(error) = assembly.add(part, &shared.plan) {
                return shared.poison.fail(error.into());
            }
            if assembly.missing > 0 {
                continue;
            }
            let done = std::mem::replace(&mut assembly, Assembly::new(&self.base, shared));
            if let Err(error) = self.take(done, shared) {
                return shared.poison.fail(error.into());
            }
        }
    }

    /// Brings out what a complete assembly holds, and commits it.
    fn take(&mut self, assembly: Assembly, shared: &Shared) -> Result<(), CheckpointError> {
        let began = assembly.began.expect("it has parts");
        let cut = assembly.cut.expect("every worker names the cut with its sources");
        let number = cut.checkpoint;
        let is_finished = cut.is_end();
        let dead_letters = shared.dead_letters.settle(cut.epoch);
        self.chain.take_merged();
        let objects = self.objects(number, assembly.changes)?;
        let bytes = objects.iter().map(|(object, _)| object.bytes).sum();
        self.chain.extend(objects.iter().map(|(object, _)| object.clone()));
        let state_bytes = assembly.steps.values().map(|step| step.bytes).sum();
        let manifest = Manifest {
            format: FORMAT,
            job: self.job.clone(),
            number,
            generation: self.generation,
            epoch: cut.epoch,
            workers: shared.workers,
            created_ms: now_ms(),
            is_finished,
            transactions: self.outputs.transactions(),
            sources: assembly.sources.values().cloned().collect(),
            steps: assembly.steps.into_values().collect(),
            sinks: assembly.sinks.into_values().collect(),
            objects: if is_finished { Vec::new() } else { self.chain.objects().to_vec() },
            dead_letters,
        };
        let store = self.protocol.store().clone();
        let upload = |(object, bytes): &(ObjectRef, Vec<u8>)| Ok(store.put(&object.name, bytes)?);
        let mut errands: Vec<Errand<'_>> = Vec::new();
        errands.extend(objects.iter().map(|object| Box::new(|| upload(object)) as Errand<'_>));
        errands.push(Box::new(|| {
            shared.dead_letters.sync();
            Ok(())
        }));
        self.protocol.commit(&manifest, errands)?;
        shared.metrics.checkpointed(number, began.elapsed(), bytes);
        shared.coordinator.decide(number);
        self.protocol.conclude(number)?;
        for (node, report) in &mut self.reports {
            report.report(&assembly.sources[node].positions);
        }
        if !is_finished {
            self.chain.merge(state_bytes, format!("state/{number:012}-{}-m", self.nonce));
        }
        Ok(())
    }

    /// What each worker has changed, as objects to be uploaded.
    fn objects(
        &self,
        number: u64,
        changes: BTreeMap<usize, ObjectWriter>,
    ) -> Result<Vec<(ObjectRef, Vec<u8>)>, CheckpointError> {
        let finish = |(worker, object): (usize, ObjectWriter)| {
            let bytes = object.finish()?;
            let name = format!("state/{number:012}-{}-w{worker}", self.nonce);
            Ok((object_ref(name, &bytes, number, number), bytes))
        };
        changes.into_iter().map(finish).collect()
    }
}

impl Assembly {
    fn new(base: &Base, shared: &Shared) -> Self {
        let (plan, workers) = (&shared.plan, shared.workers);
        let mut assembly = Assembly {
            began: None,
            missing: workers,
            cut: None,
            sources: BTreeMap::new(),
            steps: BTreeMap::new(),
            sinks: BTreeMap::new(),
            changes: BTreeMap::new(),
        };
        for (node, step) in plan.nodes.iter().enumerate() {
            let (id, name) = (step.operator_id, shared.metrics.nodes[node].name.clone());
            match &step.kind {
                NodeKind::Source(_) => {
                    let state = base.sources.get(&id).cloned();
                    let state = state.unwrap_or_default();
                    assembly.sources.insert(node, SourceState { id, name, ..state });
                }
                NodeKind::Sink(_) => {
                    let rows = base.sink_rows.get(&id).copied().unwrap_or(0);
                    let state = SinkState { id, name, rows, ..SinkState::default() };
                    assembly.sinks.insert(node, state);
                    assembly.missing += workers;
                }
                kind if kind.keeps_state() => {
                    let late_rows = base.late_rows.get(&id).copied().unwrap_or(0);
                    let watermark_ms = Watermark::MIN.0;
                    let state = StepState { id, name, watermark_ms, late_rows, bytes: 0 };
                    assembly.steps.insert(node, state);
                    assembly.missing += workers;
                }
                _ => {}
            }
        }
        assembly
    }

    fn add(&mut self, part: Part, plan: &Plan) -> Result<(), CheckpointError> {
        self.began.get_or_insert_with(Instant::now);
        self.missing -= 1;
        match part {
            Part::Sources(cut, sources) => {
                debug_assert!(self.cut.is_none_or(|known| known == cut), "one cut at a time");
                self.cut = Some(cut);
                for (node, of_worker) in sources {
                    let all = self.sources.get_mut(&node).expect("a source of the plan");
                    gather(&mut all.positions, of_worker.positions);
                    gather(&mut all.watermarks_ms, of_worker.watermarks_ms);
                    all.rows += of_worker.rows;
                    all.bad_records += of_worker.bad_records;
                }
            }
            Part::Step(worker, node, cut, late_rows) => {
                let all = self.steps.get_mut(&node).expect("a step of the plan");
                all.watermark_ms = all.watermark_ms.max(cut.watermark.0);
                all.late_rows += late_rows;
                all.bytes += cut.state_bytes as u64;
                if !cut.changed.is_empty() {
                    let object = match self.changes.entry(worker) {
                        Entry::Occupied(object) => object.into_mut(),
                        Entry::Vacant(place) => place.insert(ObjectWriter::new()?),
                    };
                    object.add(plan.nodes[node].operator_id, &cut.changed)?;
                }
            }
            Part::Sink(node, staged, rows) => {
                let all = self.sinks.get_mut(&node).expect("a sink of the plan");
                all.staged.extend(staged);
                all.rows += rows;
            }
            Part::End => unreachable!("it is no part"),
        }
        Ok(())
    }
}

/// Takes over what is further on.
fn gather<K: Ord>(all: &mut BTreeMap<K, i64>, more: BTreeMap<K, i64>) {
    for (key, value) in more {
        let known = all.entry(key).or_insert(value);
        *known = value.max(*known);
    }
}

/// The time of this machine's clock.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
