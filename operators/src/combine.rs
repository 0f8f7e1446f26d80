//! An aggregate before the exchange: each worker combines its own rows of an epoch by key.
//!
//! Rows go to the worker that owns their key, so a key that most rows have gives one worker most of
//! the work, and an aggregate without keys all of it. But a sum of sums is the sum:
//!
//! ```text
//!   worker 1   a 1, a 2, b 5, a 4  ──combine──►  a: 7 of 3 rows, b: 5 of 1  ─┐ exchange   ┌─► a: 9 of 4 rows
//!   worker 2   a 1, a 1            ──combine──►  a: 2 of 2 rows             ─┘  by key    └─► b: 5 of 1
//! ```
//!
//! What is sent is what the aggregates hold ([`state`](crate::aggregate::Aggregate::state)), and the
//! operator behind the exchange [merges](crate::aggregate::Aggregate::merge) it, beside rows that came
//! as they were. The operator can't tell the difference afterwards, so its state, its checkpoints and
//! its results are the same with and without, and on any number of workers.
//!
//! The invariant: a [`Combiner`] holds nothing between two epochs, and a row counts once, either in
//! what was combined or as itself. Rows that the operator has to judge for being late, it gets as
//! themselves: what was combined is never late, for both go by the same watermark.
//!
//! It pays where rows share keys. Where they do not, rows pass as they come; see `combine/gain.rs`.

mod gain;

pub use gain::When;

use crate::aggregate::{AggregateCall, Retraction};
use crate::batch::Batch;
use crate::group_aggregate::GroupAggregateSpec;
use crate::groups::{Accumulators, GroupLayout, Read, batch};
use crate::key_table::KeyTable;
use crate::operator::OperatorError;
use crate::snapshot::CHUNK_ROWS;
use crate::time::{Epoch, Watermark};
use crate::window::{WindowKind, Zone, zone};
use crate::window_aggregate::WindowAggregateSpec;
use crate::window_aggregate::cut::{Cut, PaneKey};
use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use gain::Gain;
use hashbrown::HashMap;
use std::sync::Arc;

/// Why rows of an aggregate have to meet before anything is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Where a session begins and ends only all rows of a key say.
    Sessions,
    /// The aggregate at this place needs [the rows themselves](crate::aggregate::AggregateCall::is_of_parts).
    Call(usize),
}

impl Obstacle {
    /// The first of an aggregate's calls that needs the rows themselves.
    fn of_calls(calls: &[AggregateCall], updating: bool) -> Option<Obstacle> {
        let retraction = Retraction::of(updating);
        calls.iter().position(|call| !call.is_of_parts(retraction)).map(Obstacle::Call)
    }
}

impl GroupAggregateSpec {
    /// What keeps it from being combined before the exchange, if anything does.
    pub fn obstacle(&self) -> Option<Obstacle> {
        Obstacle::of_calls(&self.aggregates, self.updating)
    }
}

impl WindowAggregateSpec {
    /// What keeps it from being combined before the exchange, if anything does.
    pub fn obstacle(&self) -> Option<Obstacle> {
        match self.window {
            WindowKind::Session { .. } => Some(Obstacle::Sessions),
            _ => Obstacle::of_calls(&self.aggregates, self.updating),
        }
    }
}

/// What an epoch's rows became.
#[derive(Debug, Default)]
pub struct Combined {
    /// Rows as they came: some of their windows are closed.
    pub rows: Vec<Batch>,
    /// The keys of all others, once each, with what the aggregates hold of their rows.
    pub partials: Vec<Batch>,
}

/// Combines a worker's rows. See the [module](self).
pub struct Combiner {
    gain: Gain,
    layout: GroupLayout,
    panes: Option<Panes>,
    keys: KeyTable,
    accumulators: Accumulators,
    schema: SchemaRef,
}

impl Combiner {
    /// One for the rows of a group aggregate, whose columns are those of `input`.
    ///
    /// # Errors
    /// If the specification asks for columns or functions that do not exist.
    pub fn of_groups(
        spec: &GroupAggregateSpec,
        input: &Schema,
        when: When,
    ) -> Result<Self, OperatorError> {
        debug_assert_eq!(spec.obstacle(), None);
        Combiner::new(spec.layout(input)?, None, when)
    }

    /// One for the rows of a window aggregate, whose columns are those of `input`.
    ///
    /// # Errors
    /// If the specification asks for columns, functions or windows that do not exist.
    pub fn of_windows(
        spec: &WindowAggregateSpec,
        input: &Schema,
        when: When,
    ) -> Result<Self, OperatorError> {
        debug_assert_eq!(spec.obstacle(), None);
        let panes = Panes {
            cut: Cut::of(spec)?,
            zone: spec.zone,
            panes: Vec::new(),
            numbers: HashMap::new(),
            owners: Vec::new(),
        };
        Combiner::new(spec.layout(input)?, Some(panes), when)
    }

    fn new(layout: GroupLayout, panes: Option<Panes>, when: When) -> Result<Self, OperatorError> {
        let accumulators = Accumulators::new(&layout)?;
        let types = layout.key_types();
        let keys = match panes {
            Some(_) => KeyTable::with_owners(&types)?,
            None => KeyTable::new(&types)?,
        };
        let bound = |name: &str| Field::new(name, DataType::Int64, true);
        let bounds = panes.iter().flat_map(|_| [bound("pane_start"), bound("pane_end")]);
        let fields = layout.saved_key_fields().chain(bounds).chain(accumulators.state_fields());
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Combiner { gain: Gain::new(when), layout, panes, keys, accumulators, schema })
    }

    /// The places of the keys in what was combined.
    pub fn keys(&self) -> Vec<usize> {
        (0..self.layout.keys.len()).collect()
    }

    /// Whether rows of an epoch are to be combined when it is complete, rather than pass at once.
    pub fn takes(&mut self, epoch: Epoch, rows: usize) -> bool {
        self.gain.takes(epoch, rows)
    }

    /// Combines what it took of an epoch; `watermark` is that before it.
    ///
    /// # Errors
    /// If the rows are not what the specification says.
    pub fn combine(
        &mut self,
        rows: &[Batch],
        watermark: Watermark,
        epoch: Epoch,
    ) -> Result<Combined, OperatorError> {
        let mut combined = Combined::default();
        let (mut groups, mut taken) = (Vec::new(), 0);
        for batch in rows.iter().filter(|batch| !batch.is_empty()) {
            let mut read = self.layout.read(batch, &mut 0)?;
            if let Some(panes) = &mut self.panes {
                let late = panes.sort(batch, watermark)?;
                if !late.is_empty() {
                    read = panes.without(&late, read)?;
                    combined.rows.push(batch.take(&UInt32Array::from(late))?);
                }
            }
            let owners = self.panes.as_ref().map(|panes| panes.owners.as_slice());
            self.keys.insert_owned(owners, &read.keys, read.rows, &mut groups)?;
            self.accumulators.resize(self.keys.slots());
            self.accumulators.update(&groups, &read, epoch)?;
            taken += read.rows;
        }
        self.gain.combined(taken, self.keys.len());
        self.drain(&mut combined.partials)?;
        Ok(combined)
    }

    /// Gives everything away.
    fn drain(&mut self, partials: &mut Vec<Batch>) -> Result<(), OperatorError> {
        let groups = self.keys.groups();
        for groups in groups.chunks(CHUNK_ROWS) {
            let mut columns = self.keys.keys(groups)?;
            if let Some(panes) = &self.panes {
                columns.extend(panes.bounds(&self.keys, groups));
            }
            columns.extend(self.accumulators.state(groups)?);
            partials.push(batch(&self.schema, columns, groups.len())?.into());
        }
        self.accumulators.reset(&groups);
        self.keys.clear();
        if let Some(panes) = &mut self.panes {
            panes.clear();
        }
        Ok(())
    }
}

impl std::fmt::Debug for Combiner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Combiner").field("gain", &self.gain).finish_non_exhaustive()
    }
}

/// The panes of an epoch, which own its keys: a key is one in each of them.
struct Panes {
    cut: Cut,
    zone: Zone,
    /// By number.
    panes: Vec<PaneKey>,
    numbers: HashMap<PaneKey, u32>,
    /// The pane of each row of the batch at hand.
    owners: Vec<u32>,
}

impl Panes {
    /// Finds the pane of each row; gives those rows, ascending, of which a window is closed.
    fn sort(&mut self, batch: &Batch, watermark: Watermark) -> Result<Vec<u32>, OperatorError> {
        let watermark = zone::local_watermark(watermark, self.zone);
        let mut late = Vec::new();
        self.owners.clear();
        self.owners.resize(batch.len(), 0);
        for (pane, part) in self.cut.parts(batch, self.zone)? {
            if self.cut.misses(pane, watermark) {
                late.extend(part.rows(batch.len()));
                continue;
            }
            let number = *self.numbers.entry(pane).or_insert_with(|| {
                self.panes.push(pane);
                self.panes.len() as u32 - 1
            });
            part.each(batch.len(), |row| self.owners[row] = number);
        }
        late.sort_unstable();
        Ok(late)
    }

    /// The batch at hand without some rows, which are given in ascending order.
    fn without(&mut self, rows: &[u32], read: Read) -> Result<Read, OperatorError> {
        let mut without = rows.iter().peekable();
        let rest = (0..read.rows as u32).filter(|row| without.next_if_eq(&row).is_none());
        let rest: Vec<u32> = rest.collect();
        self.owners = rest.iter().map(|&row| self.owners[row as usize]).collect();
        read.take(&rest)
    }

    /// The columns of starts and ends.
    fn bounds(&self, keys: &KeyTable, groups: &[u32]) -> [ArrayRef; 2] {
        let panes = || groups.iter().map(|&group| self.panes[keys.owner(group) as usize]);
        [
            Arc::new(Int64Array::from_iter_values(panes().map(|pane| pane.start))),
            Arc::new(Int64Array::from_iter_values(panes().map(|pane| pane.end))),
        ]
    }

    fn clear(&mut self) {
        self.panes.clear();
        self.numbers.clear();
    }
}

#[cfg(test)]
mod tests;
