//! The step in front of an aggregate's exchange: what a [`Combiner`] does not take passes at once,
//! the rest waits until its epoch is complete on this worker, and leaves combined.
//!
//! ```text
//!                        ┌──► rows as they came ──► exchange by their keys ────────┐ port 0
//!   rows ──► Combiner ───┤                                                        ├────────► Operator
//!                        └──► combined at the epoch's end ──► exchange by key ─────┘ port 1
//! ```
//!
//! It is part of the operator's node, not one of its own: nothing of it is in a plan, a checkpoint or
//! a count of steps. Like any operator it judges rows by the watermark of the epochs before theirs, so
//! what it takes for late is exactly what the operator behind it will.
//!
//! Of ticks it takes note without their capabilities: it owes an answer for rows only, so an epoch of
//! which it has none is no later because of it.

use super::clock::{SourceId, Tick, watermark_of};
use super::epochs::{Failed, Pending, Stash};
use super::graph::{Graph, Rows, Upstream};
use super::host::Host;
use super::message::Message;
use crate::batch::Batch;
use crate::combine::{Combined, Combiner};
use crate::retimed::delayed;
use crate::time::{Epoch, Watermark};
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// By which watermark rows are late for the operator behind a [`Combiner`].
#[derive(Clone, Debug)]
pub enum Lateness {
    /// No row ever is.
    Never,
    /// By that of `sources`, so much [delayed](crate::retimed).
    By {
        /// The sources upstream.
        sources: Vec<SourceId>,
        /// The watermark that was reached.
        watermark: Watermark,
        /// How much later it is seen.
        delay_ms: i64,
    },
}

/// What combines the rows of a node, and what it knows of time.
#[derive(Debug)]
pub struct Combining {
    /// What combines them.
    pub combiner: Combiner,
    /// Which of them it must leave as they are.
    pub lateness: Lateness,
}

impl<'scope> Graph<'scope> {
    /// The rows for an operator with the key columns `keys`, combined in front of the exchange: its
    /// first port gets rows as they came, its second one what others were combined to.
    pub fn combined(
        &self,
        node: usize,
        name: &str,
        rows: Rows<'scope>,
        keys: &[usize],
        Combining { combiner, lateness }: Combining,
    ) -> Vec<Upstream<'scope>> {
        let combined_keys = combiner.keys();
        let mut builder = OperatorBuilder::new(format!("{name}: combine"), self.scope);
        let mut input = builder.new_input(rows, Pipeline);
        let mut ticks = match lateness {
            Lateness::Never => None,
            Lateness::By { .. } => Some(builder.new_input(self.ticks.clone(), Pipeline)),
        };
        let (passing, passing_rows) = builder.new_output::<Message>();
        let mut passing = OutputBuilder::<Epoch, NoopBuilder<Message>>::from(passing);
        let (combined, combined_rows) = builder.new_output::<Message>();
        let mut combined = OutputBuilder::<Epoch, NoopBuilder<Message>>::from(combined);
        let mut stash = Stash::new(1, 2);
        let time = Time { lateness, ticks: BTreeMap::new() };
        let mut step = Step { node, combiner, time, host: self.host.clone() };
        builder.build(move |initial| {
            drop(initial);
            move |frontiers| {
                let (mut passing, mut combined) = (passing.activate(), combined.activate());
                input.for_each(|capability, message| {
                    let Some(batch) = message.take().filter(|batch| !batch.is_empty()) else {
                        return;
                    };
                    let epoch = *capability.least().expect("every message has a stamp");
                    if step.keeps(epoch, batch.len()) {
                        stash.epoch(&capability).inputs[0].push(batch);
                    } else {
                        let mut session = passing.session_with_builder(&capability);
                        session.give_container(&mut batch.into());
                    }
                });
                if let Some(ticks) = &mut ticks {
                    ticks.for_each(|capability, ticks| {
                        let epoch = *capability.least().expect("every message has a stamp");
                        step.time.ticks.extend(ticks.pop().map(|tick| (epoch, tick)));
                    });
                }
                while let Some(pending) = stash.pop_complete(frontiers) {
                    let Ok(Combined { rows, partials }) = step.apply(&pending) else {
                        return stash.put_back(pending);
                    };
                    let mut session = passing.session_with_builder(&pending.answers[0]);
                    for rows in rows {
                        session.give_container(&mut rows.into());
                    }
                    let mut session = combined.session_with_builder(&pending.answers[1]);
                    for partials in partials {
                        session.give_container(&mut partials.into());
                    }
                }
                // No row of these epochs will come any more.
                let complete = frontiers[0].frontier().first().copied();
                step.time.advance(stash.first().into_iter().chain(complete).min());
            }
        });
        vec![self.by_key(passing_rows, keys), self.by_key(combined_rows, &combined_keys)]
    }
}

/// The watermark, as far as it is needed, and the ticks from there on.
struct Time {
    lateness: Lateness,
    ticks: BTreeMap<Epoch, Tick>,
}

impl Time {
    /// Takes note of what ended before `epoch`; none is beyond all epochs.
    fn advance(&mut self, epoch: Option<Epoch>) {
        let Lateness::By { sources, watermark, .. } = &mut self.lateness else { return };
        while let Some(first) = self.ticks.first_entry() {
            if epoch.is_some_and(|epoch| epoch <= *first.key()) {
                return;
            }
            *watermark = watermark_of(sources, &first.remove().times, *watermark);
        }
    }

    /// The watermark before `epoch`, by which its rows are judged.
    fn before(&mut self, epoch: Epoch) -> Watermark {
        self.advance(Some(epoch));
        match self.lateness {
            Lateness::Never => Watermark::MIN,
            Lateness::By { watermark, delay_ms, .. } => delayed(watermark, delay_ms),
        }
    }
}

struct Step {
    node: usize,
    combiner: Combiner,
    time: Time,
    host: Rc<dyn Host>,
}

impl Step {
    /// Whether rows don't pass at once. When the job has failed none do, so that nobody takes
    /// their epoch for complete.
    fn keeps(&mut self, epoch: Epoch, rows: usize) -> bool {
        self.host.has_failed() || self.combiner.takes(epoch, rows)
    }

    fn apply(&mut self, complete: &Pending) -> Result<Combined, Failed> {
        if self.host.has_failed() {
            return Err(Failed);
        }
        let (epoch, rows) = (complete.epoch(), &complete.inputs[0]);
        let combined = self.combiner.combine(rows, self.time.before(epoch), epoch);
        let combined = combined.map_err(|error| {
            self.host.fail(self.node, error);
            Failed
        })?;
        let count = |rows: &[Batch]| rows.iter().map(Batch::len).sum::<usize>();
        let fewer = count(rows) - count(&combined.rows) - count(&combined.partials);
        self.host.combined(self.node, fewer as u64);
        Ok(combined)
    }
}
