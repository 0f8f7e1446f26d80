//! From timely's frontiers to complete epochs: the one adaptor under all operators and sinks.
//!
//! Batches are stashed under their epoch, with the capability to answer at that epoch. An epoch
//! is complete when no port's frontier is at or before it; complete epochs are handed to the
//! logic in order, once, whole. A tick alone opens an epoch too: it may fire what no row does.
//!
//! An epoch whose logic waits for something outside stays in the stash, and later ones behind it.
//! When the logic fails, the stash and its capabilities stay where they are, so that nobody
//! downstream ever takes the epoch for complete.

use super::clock::Tick;
use super::exchange::KeyDistributor;
use super::graph::{Rows, Upstream};
use super::message::Message;
use crate::batch::Batch;
use crate::time::Epoch;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;

/// The ticks of a worker's clock.
pub(super) type Ticks<'scope> = Stream<'scope, Epoch, Vec<Tick>>;

/// Which ticks open an epoch in which there are no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All: what they close may fire.
    All,
    /// Only those that cut.
    Cuts,
}

/// One complete epoch.
pub(super) struct Complete {
    pub epoch: Epoch,
    /// Rows per port, in order of arrival.
    pub inputs: Vec<Vec<Batch>>,
    /// The sources' times after the epoch, if any of them changed or a checkpoint cuts here.
    pub tick: Option<Tick>,
}

/// The job has failed: stop here and keep everything.
pub(super) struct Failed;

/// What came of an epoch.
pub(super) enum Outcome {
    /// It has been applied: these are its rows.
    Applied(Vec<Batch>),
    /// It can't be applied yet; here it is again.
    Waits(Complete),
}

/// What is done with each complete epoch.
pub(super) type Logic = Box<dyn FnMut(Complete) -> Result<Outcome, Failed>>;

/// An epoch that waits is looked at again after this time.
const WAIT: Duration = Duration::from_millis(1);

pub(super) struct Pending {
    /// One for each output.
    pub answers: Vec<Capability<Epoch>>,
    pub inputs: Vec<Vec<Batch>>,
    pub tick: Option<Tick>,
}

impl Pending {
    pub fn epoch(&self) -> Epoch {
        *self.answers.first().expect("there is an output").time()
    }
}

/// Epochs that are not complete, or could not be answered.
pub(super) struct Stash {
    ports: usize,
    outputs: usize,
    epochs: BTreeMap<Epoch, Pending>,
}

impl Stash {
    pub fn new(ports: usize, outputs: usize) -> Self {
        Stash { ports, outputs, epochs: BTreeMap::new() }
    }

    pub fn epoch(&mut self, capability: &InputCapability<Epoch>) -> &mut Pending {
        let (ports, outputs) = (self.ports, self.outputs);
        let epoch = *capability.least().expect("every message has a stamp");
        let answer = |output| capability.retain_least(output).expect("every message has a stamp");
        self.epochs.entry(epoch).or_insert_with(|| Pending {
            answers: (0..outputs).map(answer).collect(),
            inputs: vec![Vec::new(); ports],
            tick: None,
        })
    }

    /// The first epoch there is.
    pub fn first(&self) -> Option<Epoch> {
        self.epochs.keys().next().copied()
    }

    /// Takes an epoch back that could not be answered.
    pub fn put_back(&mut self, pending: Pending) {
        self.epochs.insert(pending.epoch(), pending);
    }

    pub fn pop_complete(&mut self, frontiers: &[MutableAntichain<Epoch>]) -> Option<Pending> {
        let entry = self.epochs.first_entry()?;
        let is_open = frontiers.iter().any(|frontier| frontier.less_equal(entry.key()));
        (!is_open).then(|| entry.remove())
    }
}

/// Takes what has arrived at a port into the stash.
type Drain = Box<dyn FnMut(&mut Stash)>;

/// Makes an operator be scheduled, so that an epoch that waits is looked at again.
pub(super) type Wake = Rc<dyn Fn()>;

/// Builds an operator around what is done with each complete epoch, which may be woken.
pub(super) fn build<'scope>(
    scope: Scope<'scope, Epoch>,
    name: String,
    inputs: Vec<Upstream<'scope>>,
    (ticks, wanted): (Ticks<'scope>, Wanted),
    logic: impl FnOnce(Wake) -> Logic,
) -> Rows<'scope> {
    let mut builder = OperatorBuilder::new(name, scope);
    let mut stash = Stash::new(inputs.len(), 1);
    let ports = inputs.into_iter().enumerate();
    let mut drains: Vec<Drain> = ports.map(|(port, up)| rows(&mut builder, port, up)).collect();
    drains.push(tick(&mut builder, ticks, wanted));
    let (output, stream) = builder.new_output::<Message>();
    let mut output = OutputBuilder::<Epoch, NoopBuilder<Message>>::from(output);
    let mut has_failed = false;
    let activator = Rc::new(scope.activator_for(builder.operator_info().address));
    let waker = activator.clone();
    let mut logic = logic(Rc::new(move || waker.activate()));
    builder.build(move |initial| {
        drop(initial);
        move |frontiers| {
            if has_failed {
                return;
            }
            drains.iter_mut().for_each(|drain| drain(&mut stash));
            let mut output = output.activate();
            while let Some(pending) = stash.pop_complete(frontiers) {
                let epoch = pending.epoch();
                let Pending { answers, inputs, tick } = pending;
                match logic(Complete { epoch, inputs, tick }) {
                    Ok(Outcome::Waits(Complete { inputs, tick, .. })) => {
                        stash.put_back(Pending { answers, inputs, tick });
                        activator.activate_after(WAIT);
                        return;
                    }
                    Ok(Outcome::Applied(rows)) => {
                        let mut session = output.session_with_builder(&answers[0]);
                        for batch in rows {
                            session.give_container(&mut batch.into());
                        }
                    }
                    Err(Failed) => {
                        has_failed = true;
                        stash.put_back(Pending { answers, inputs: Vec::new(), tick: None });
                        return;
                    }
                }
            }
        }
    });
    stream
}

fn rows<'scope>(
    builder: &mut OperatorBuilder<'scope, Epoch>,
    port: usize,
    upstream: Upstream<'scope>,
) -> Drain {
    macro_rules! drain {
        ($pact:expr) => {{
            let mut input = builder.new_input(upstream.rows, $pact);
            Box::new(move |stash: &mut Stash| {
                input.for_each(|capability, message| {
                    let Some(batch) = message.take() else { return };
                    if !batch.is_empty() {
                        stash.epoch(&capability).inputs[port].push(batch);
                    }
                });
            })
        }};
    }
    match upstream.keys {
        // A worker alone exchanges nothing.
        Some(keys) if upstream.peers > 1 => {
            drain!(DistributorPact(move |peers| KeyDistributor::new(keys, peers)))
        }
        _ => drain!(Pipeline),
    }
}

fn tick<'scope>(
    builder: &mut OperatorBuilder<'scope, Epoch>,
    ticks: Ticks<'scope>,
    wanted: Wanted,
) -> Drain {
    let mut input = builder.new_input(ticks, Pipeline);
    Box::new(move |stash: &mut Stash| {
        input.for_each(|capability, ticks| {
            if let Some(tick) = ticks.pop()
                && (wanted == Wanted::All || tick.cut.is_some())
            {
                stash.epoch(&capability).tick = Some(tick);
            }
        });
    })
}
