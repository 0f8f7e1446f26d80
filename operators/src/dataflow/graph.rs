//! [`Graph`]: the steps of a job, as a worker builds them.

use super::clock::{EventClock, SourceId, Tick, watermark_of};
use super::epochs::{self, Complete, Failed, Logic, Outcome, Ticks, Wanted};
use super::host::{Applied, Host, StateCut};
use super::message::Message;
use super::processing_time_ms;
use super::report::{Broadcast, ReportInput, Reports};
use crate::batch::Batch;
use crate::operator::{
    EpochContext, Operator, OperatorError, Output, Readiness, Snapshot, SnapshotScope,
};
use crate::time::{Epoch, Watermark};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use timely::dataflow::operators::{Concatenate, Input as _, Probe as _};
use timely::dataflow::{InputHandle, Scope, Stream};
use timely::progress::operate::FrontierInterest;

/// The rows between two steps.
pub type Rows<'scope> = Stream<'scope, Epoch, Message>;

/// A stateless step: the rows of a batch and the epoch's processing time, to the rows it gives.
pub type MapStep = Box<dyn FnMut(&Batch, i64) -> Result<Batch, OperatorError>>;

/// The end of the dataflow.
pub trait SinkStep {
    /// Takes the rows of a complete epoch.
    fn write(&mut self, epoch: Epoch, rows: Vec<Batch>) -> Result<(), OperatorError>;

    /// A checkpoint cuts here: what was written so far belongs to it.
    fn seal(&mut self, checkpoint: u64) -> Result<(), OperatorError>;
}

/// Rows that enter a step, and how they get to it.
#[derive(Debug)]
pub struct Upstream<'scope> {
    pub(super) rows: Rows<'scope>,
    pub(super) keys: Option<Vec<usize>>,
    pub(super) peers: usize,
}

/// How far the job has come, as seen behind all sinks.
#[derive(Clone, Debug)]
pub struct Probe(ProbeHandle<Epoch>);

impl Probe {
    /// The least epoch that is not yet through all sinks; `None` if there is none any more.
    pub fn frontier(&self) -> Option<Epoch> {
        self.0.with_frontier(|frontier| frontier.first().copied())
    }
}

/// A worker's end of a source's rows. Dropping it ends the source on this worker.
pub struct Input(InputHandle<Epoch, NoopBuilder<Message>>);

impl Input {
    /// Sends rows under the current epoch.
    pub fn send(&mut self, batch: Batch) {
        self.0.send_batch(&mut batch.into());
    }

    /// Moves on to `epoch`, which ends the ones before.
    pub fn advance_to(&mut self, epoch: Epoch) {
        self.0.advance_to(epoch);
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("epoch", self.0.time()).finish()
    }
}

/// A dataflow under construction. All workers must build the same steps in the same order.
pub struct Graph<'scope> {
    pub(super) scope: Scope<'scope, Epoch>,
    pub(super) ticks: Ticks<'scope>,
    probe: ProbeHandle<Epoch>,
    pub(super) host: Rc<dyn Host>,
}

impl std::fmt::Debug for Graph<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").finish_non_exhaustive()
    }
}

impl<'scope> Graph<'scope> {
    pub(super) fn new(scope: Scope<'scope, Epoch>, host: Rc<dyn Host>) -> (Self, ReportInput) {
        let (handle, reports) = scope.new_input_with_builder::<NoopBuilder<Reports>>();
        let ticks = clock(scope, reports);
        let graph = Graph { scope, ticks, probe: ProbeHandle::new(), host };
        (graph, ReportInput::new(handle, scope.peers()))
    }

    /// Where the job stands behind all sinks built so far and later.
    pub fn probe(&self) -> Probe {
        Probe(self.probe.clone())
    }

    /// A source of rows.
    pub fn source(&self) -> (Input, Rows<'scope>) {
        let (handle, rows) = self.scope.new_input_with_builder::<NoopBuilder<Message>>();
        (Input(handle), rows)
    }

    /// `rows`, by worker as they are.
    pub fn local(&self, rows: Rows<'scope>) -> Upstream<'scope> {
        Upstream { rows, keys: None, peers: self.scope.peers() }
    }

    /// `rows`, each at the worker that owns the key in the columns `keys`.
    pub fn by_key(&self, rows: Rows<'scope>, keys: &[usize]) -> Upstream<'scope> {
        Upstream { rows, keys: Some(keys.to_vec()), peers: self.scope.peers() }
    }

    /// All rows of all of `inputs`.
    pub fn union(&self, inputs: Vec<Rows<'scope>>) -> Rows<'scope> {
        self.scope.concatenate(inputs)
    }

    /// A stateless step: batches go through as they come.
    pub fn map(
        &self,
        node: usize,
        name: &str,
        rows: Rows<'scope>,
        mut step: MapStep,
    ) -> Rows<'scope> {
        let mut builder = OperatorBuilder::new(name.to_owned(), self.scope);
        let mut input = builder.new_input(rows, Pipeline);
        builder.set_notify_for(0, FrontierInterest::Never);
        let (output, stream) = builder.new_output::<Message>();
        let mut output = OutputBuilder::<Epoch, NoopBuilder<Message>>::from(output);
        let host = self.host.clone();
        // Capabilities of batches that can't be answered: kept for ever, so that their epoch
        // never looks complete.
        let mut owed = Vec::new();
        builder.build(move |initial| {
            drop(initial);
            move |_| {
                let mut output = output.activate();
                input.for_each(|capability, message| {
                    let epoch = *capability.least().expect("every message has a stamp");
                    let Some(batch) = message.take() else { return };
                    if host.has_failed() {
                        return owed.extend(capability.retain_least(0));
                    }
                    match step(&batch, processing_time_ms(epoch)) {
                        Ok(rows) => {
                            host.applied(node, stateless(epoch, &batch, &rows));
                            if !rows.is_empty() {
                                let mut session = output.session_with_builder(&capability);
                                session.give_container(&mut rows.into());
                            }
                        }
                        Err(error) => {
                            host.fail(node, error);
                            owed.extend(capability.retain_least(0));
                        }
                    }
                });
            }
        });
        stream
    }

    /// A stateful step downstream of `sources`.
    pub fn operator(
        &self,
        node: usize,
        name: &str,
        inputs: Vec<Upstream<'scope>>,
        sources: &[SourceId],
        (operator, watermark): (Box<dyn Operator>, Watermark),
    ) -> Rows<'scope> {
        let mut stepper = Stepper {
            node,
            sources: sources.to_vec(),
            operator,
            watermark,
            host: self.host.clone(),
        };
        let ticks = (self.ticks.clone(), Wanted::All);
        let logic = |wake| {
            stepper.operator.woken_by(wake);
            stepper.into_logic()
        };
        epochs::build(self.scope, name.to_owned(), inputs, ticks, logic)
    }

    /// A sink: `step` gets the rows of each complete epoch that has any.
    pub fn sink(
        &self,
        node: usize,
        name: &str,
        input: Upstream<'scope>,
        mut step: Box<dyn SinkStep>,
    ) {
        let host = self.host.clone();
        let logic: Logic = Box::new(move |complete: Complete| {
            if host.has_failed() {
                return Err(Failed);
            }
            let Complete { epoch, mut inputs, tick } = complete;
            let cut = tick.and_then(|tick| tick.cut);
            let sealed = cut.map_or(Ok(()), |checkpoint| step.seal(checkpoint));
            let rows = inputs.pop().unwrap_or_default();
            sealed.and_then(|()| step.write(epoch, rows)).map_err(|error| {
                host.fail(node, error);
                Failed
            })?;
            Ok(Outcome::Applied(Vec::new()))
        });
        let ticks = (self.ticks.clone(), Wanted::Cuts);
        let done = epochs::build(self.scope, name.to_owned(), vec![input], ticks, |_| logic);
        done.probe_with(&self.probe);
    }
}

fn stateless(epoch: Epoch, rows_in: &Batch, rows_out: &Batch) -> Applied {
    Applied {
        epoch,
        rows_in: rows_in.len() as u64,
        rows_out: rows_out.len() as u64,
        watermark: Watermark::MIN,
        state_bytes: 0,
    }
}

/// An operator and what it needs to know between epochs.
struct Stepper {
    node: usize,
    sources: Vec<SourceId>,
    operator: Box<dyn Operator>,
    watermark: Watermark,
    host: Rc<dyn Host>,
}

impl Stepper {
    fn into_logic(mut self) -> Logic {
        Box::new(move |complete| {
            if self.host.has_failed() {
                return Err(Failed);
            }
            self.apply(complete).map_err(|error| {
                self.host.fail(self.node, error);
                Failed
            })
        })
    }

    fn apply(&mut self, complete: Complete) -> Result<Outcome, OperatorError> {
        let context = self.context(&complete);
        if self.operator.prepare(&complete.inputs, &context)? == Readiness::Waits {
            return Ok(Outcome::Waits(complete));
        }
        let Complete { epoch, inputs, tick } = complete;
        if let Some(checkpoint) = tick.and_then(|tick| tick.cut) {
            self.cut(checkpoint)?;
        }
        let (before, after) = (context.watermark_before, context.watermark_after);
        let rows_in: usize = inputs.iter().flatten().map(Batch::len).sum();
        let is_due = self.operator.due_ms().is_some_and(|due_ms| due_ms <= context.now_ms);
        if rows_in == 0 && before == after && !is_due {
            return Ok(Outcome::Applied(Vec::new()));
        }
        let mut output = Output::default();
        self.operator.apply(inputs, &context, &mut output)?;
        self.watermark = after;
        for late in output.late {
            self.host.late(self.node, epoch, late);
        }
        output.rows.retain(|batch| !batch.is_empty());
        let applied = Applied {
            epoch,
            rows_in: rows_in as u64,
            rows_out: output.rows.iter().map(|batch| batch.len() as u64).sum(),
            watermark: after,
            state_bytes: self.operator.state_bytes(),
        };
        self.host.applied(self.node, applied);
        Ok(Outcome::Applied(output.rows))
    }

    fn context(&self, complete: &Complete) -> EpochContext {
        let (epoch, before) = (complete.epoch, self.watermark);
        let tick = complete.tick.as_ref();
        EpochContext {
            epoch,
            now_ms: processing_time_ms(epoch),
            watermark_before: before,
            watermark_after: tick
                .map_or(before, |tick| watermark_of(&self.sources, &tick.times, before)),
        }
    }

    /// Hands over what changed. The epoch at hand has not been applied yet, so this is the state
    /// before it.
    fn cut(&mut self, checkpoint: u64) -> Result<(), OperatorError> {
        let changed = match self.host.keeps_state(checkpoint) {
            true => self.operator.snapshot(SnapshotScope::Changed)?,
            false => Snapshot::default(),
        };
        let (watermark, state_bytes) = (self.watermark, self.operator.state_bytes());
        self.host.cut(self.node, StateCut { checkpoint, changed, watermark, state_bytes });
        Ok(())
    }
}

/// Turns everybody's reports into this worker's ticks, one for each epoch that brings news or that
/// somebody [beats](ReportInput::beat).
fn clock<'scope>(
    scope: Scope<'scope, Epoch>,
    reports: Stream<'scope, Epoch, Reports>,
) -> Ticks<'scope> {
    let mut builder = OperatorBuilder::new("Clock".to_owned(), scope);
    let mut input = builder.new_input(reports, DistributorPact(|_| Broadcast));
    let (output, ticks) = builder.new_output::<Vec<Tick>>();
    let mut output = OutputBuilder::<Epoch, NoopBuilder<Vec<Tick>>>::from(output);
    let mut clock = EventClock::new(scope.peers());
    let mut told = Arc::default();
    let mut stash = BTreeMap::new();
    builder.build(move |initial| {
        drop(initial);
        move |frontiers| {
            input.for_each(|capability, reports| {
                let epoch = *capability.least().expect("every message has a stamp");
                let (_, heard, cut, beats) = stash.entry(epoch).or_insert_with(|| {
                    let answer = capability.retain_least(0).expect("every message has a stamp");
                    (answer, Vec::new(), None, false)
                });
                heard.extend(std::mem::take(&mut reports.copies).into_iter().flatten());
                *cut = cut.or(reports.cut);
                *beats |= reports.beats;
            });
            let mut output = output.activate();
            while let Some(entry) = stash.first_entry() {
                if frontiers[0].less_equal(entry.key()) {
                    break;
                }
                let (answer, heard, cut, beats) = entry.remove();
                clock.apply(&heard);
                let times = clock.times();
                if times == *told && cut.is_none() && !beats {
                    continue;
                }
                if times != *told {
                    told = Arc::new(times);
                }
                let mut session = output.session_with_builder(&answer);
                session.give_container(&mut vec![Tick { times: told.clone(), cut }]);
            }
        }
    });
    ticks
}
