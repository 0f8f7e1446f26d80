//! [`Groups`]: keys with the aggregates of their rows, the state of every grouping operator.
//!
//! One `Groups` is a pane of a window aggregate, or the whole of a `GROUP BY`. It knows which
//! groups changed since the last snapshot, so that a checkpoint costs what changed.
//!
//! The invariant: a group lives from its first row until it is removed, and what is live is
//! exactly what a full snapshot writes.

pub(crate) mod values;

use crate::aggregate::{self, Aggregate, AggregateCall, Distinct, Retraction, Rows};
use crate::batch::Batch;
use crate::key_table::KeyTable;
use crate::operator::OperatorError;
use crate::snapshot::journal::Journal;
use crate::snapshot::{CHUNK_ROWS, SnapshotScope};
use crate::time::Epoch;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
    UInt32Array,
};
use arrow::compute::take_arrays;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::sync::Arc;

/// What all groups of an operator have in common.
#[derive(Clone, Debug)]
pub(crate) struct GroupLayout {
    /// Key columns of the input.
    pub(crate) keys: Vec<usize>,
    pub(crate) key_fields: Vec<Field>,
    pub(crate) calls: Vec<AggregateCall>,
    pub(crate) retraction: Retraction,
    /// Whether the rows of a group are counted, so that one without rows is known.
    pub(crate) counts_rows: bool,
    /// Column of arrival order, if rows do not already stand in it.
    pub(crate) arrival: Option<usize>,
}

impl GroupLayout {
    pub(crate) fn new(
        keys: &[usize],
        calls: &[AggregateCall],
        updating: bool,
        arrival: Option<usize>,
        input: &Schema,
    ) -> Result<Self, OperatorError> {
        let columns = calls.iter().flat_map(|c| c.argument.into_iter().chain(c.filter));
        let last = input.fields().len();
        if let Some(bad) =
            keys.iter().copied().chain(columns).chain(arrival).find(|&column| column >= last)
        {
            return Err(OperatorError::Data(format!("the input has no column {bad}, only {last}")));
        }
        Ok(GroupLayout {
            keys: keys.to_vec(),
            key_fields: keys.iter().map(|&k| input.field(k).clone()).collect(),
            calls: calls.to_vec(),
            retraction: Retraction::of(updating),
            counts_rows: updating,
            arrival,
        })
    }

    pub(crate) fn key_types(&self) -> Vec<DataType> {
        self.key_fields.iter().map(|f| f.data_type().clone()).collect()
    }

    /// Fields of the results: keys, then aggregates.
    pub(crate) fn result_fields(&self) -> Vec<Field> {
        let results = self.calls.iter().map(|c| Field::new(&c.name, c.output_type.clone(), true));
        self.key_fields.iter().cloned().chain(results).collect()
    }

    /// Fields of the keys in a snapshot.
    pub(crate) fn saved_key_fields(&self) -> impl Iterator<Item = Field> {
        let keys = self.key_fields.iter().enumerate();
        keys.map(|(i, f)| Field::new(format!("key_{i}"), f.data_type().clone(), true))
    }

    /// Whether rows must be numbered as they come, for want of a column that says it.
    pub(crate) fn counts_arrivals(&self) -> bool {
        self.arrival.is_none() && self.calls.iter().any(|c| c.function.needs_order())
    }

    /// The columns of a batch that groups read.
    pub(crate) fn read(&self, batch: &Batch, ordinals: &mut i64) -> Result<Read, OperatorError> {
        let column = |&c: &usize| batch.column(c).clone();
        let arrival = match self.arrival {
            Some(column) => Some(batch.column(column).as_primitive::<Int64Type>().clone()),
            None if self.counts_arrivals() => {
                let first = *ordinals;
                *ordinals += batch.len() as i64;
                Some(Int64Array::from_iter_values(first..*ordinals))
            }
            None => None,
        };
        let mut filters = Vec::with_capacity(self.calls.len());
        for call in &self.calls {
            let filter = call.filter.map(|c| {
                batch.column(c).as_boolean_opt().cloned().ok_or_else(|| {
                    OperatorError::Data(format!("the filter of {} is no boolean", call.name))
                })
            });
            filters.push(filter.transpose()?);
        }
        Ok(Read {
            rows: batch.len(),
            keys: self.keys.iter().map(column).collect(),
            arguments: self.calls.iter().map(|c| c.argument.as_ref().map(column)).collect(),
            filters,
            weights: batch.weights_buffer().cloned(),
            arrival,
        })
    }

    /// The columns of what a [`Combiner`](crate::combine::Combiner) gave: keys, then state.
    pub(crate) fn partials(&self, batch: &Batch) -> Result<Partials, OperatorError> {
        let (keys, state) = split(batch.columns().columns(), self.keys.len())?;
        Ok(Partials { rows: batch.len(), keys: keys.to_vec(), state: state.to_vec() })
    }
}

/// The columns of a batch that groups read.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) rows: usize,
    pub(crate) keys: Vec<ArrayRef>,
    arguments: Vec<Option<ArrayRef>>,
    filters: Vec<Option<BooleanArray>>,
    pub(crate) weights: Option<arrow::buffer::ScalarBuffer<i64>>,
    arrival: Option<Int64Array>,
}

impl Read {
    /// A run of rows.
    pub(crate) fn slice(&self, start: usize, length: usize) -> Read {
        if start == 0 && length == self.rows {
            return self.clone();
        }
        let slice = |c: &ArrayRef| c.slice(start, length);
        Read {
            rows: length,
            keys: self.keys.iter().map(slice).collect(),
            arguments: self.arguments.iter().map(|a| a.as_ref().map(slice)).collect(),
            filters: self
                .filters
                .iter()
                .map(|f| f.as_ref().map(|f| f.slice(start, length)))
                .collect(),
            weights: self.weights.as_ref().map(|w| w.slice(start, length)),
            arrival: self.arrival.as_ref().map(|a| a.slice(start, length)),
        }
    }

    /// The rows at `rows`, in that order.
    pub(crate) fn take(&self, rows: &[u32]) -> Result<Read, OperatorError> {
        let indices = UInt32Array::from(rows.to_vec());
        let take = |c: &ArrayRef| arrow::compute::take(c, &indices, None);
        let maybe = |c: &Option<ArrayRef>| c.as_ref().map(take).transpose();
        let filter = |f: &Option<BooleanArray>| match f {
            None => Ok(None),
            Some(f) => {
                take(&(Arc::new(f.clone()) as ArrayRef)).map(|f| Some(f.as_boolean().clone()))
            }
        };
        Ok(Read {
            rows: rows.len(),
            keys: self.keys.iter().map(take).collect::<Result<_, _>>()?,
            arguments: self.arguments.iter().map(maybe).collect::<Result<_, _>>()?,
            filters: self.filters.iter().map(filter).collect::<Result<_, _>>()?,
            weights: self.weights.as_ref().map(|w| rows.iter().map(|&r| w[r as usize]).collect()),
            arrival: self
                .arrival
                .as_ref()
                .map(|a| rows.iter().map(|&r| a.value(r as usize)).collect::<Vec<_>>().into()),
        })
    }
}

/// What other groups held of some rows: their keys, once each, and their
/// [state](Accumulators::state).
#[derive(Clone, Debug)]
pub(crate) struct Partials {
    pub(crate) rows: usize,
    pub(crate) keys: Vec<ArrayRef>,
    pub(crate) state: Vec<ArrayRef>,
}

impl Partials {
    /// A run of them.
    fn slice(&self, start: usize, length: usize) -> Partials {
        let slice = |columns: &[ArrayRef]| -> Vec<ArrayRef> {
            columns.iter().map(|column| column.slice(start, length)).collect()
        };
        Partials { rows: length, keys: slice(&self.keys), state: slice(&self.state) }
    }

    /// Those at `rows`, in that order.
    fn take(&self, rows: &[u32]) -> Result<Partials, OperatorError> {
        let indices = UInt32Array::from(rows.to_vec());
        let take = |columns: &[ArrayRef]| take_arrays(columns, &indices, None);
        Ok(Partials { rows: rows.len(), keys: take(&self.keys)?, state: take(&self.state)? })
    }
}

/// What comes into groups.
#[derive(Clone, Debug)]
pub(crate) enum Intake {
    Rows(Read),
    Partials(Partials),
}

impl Intake {
    pub(crate) fn keys(&self) -> &[ArrayRef] {
        match self {
            Intake::Rows(read) => &read.keys,
            Intake::Partials(partials) => &partials.keys,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Intake::Rows(read) => read.rows,
            Intake::Partials(partials) => partials.rows,
        }
    }

    /// A run of it.
    pub(crate) fn slice(&self, start: usize, length: usize) -> Intake {
        match self {
            Intake::Rows(read) => Intake::Rows(read.slice(start, length)),
            Intake::Partials(partials) => Intake::Partials(partials.slice(start, length)),
        }
    }

    /// What is at `rows`, in that order.
    pub(crate) fn take(&self, rows: &[u32]) -> Result<Intake, OperatorError> {
        Ok(match self {
            Intake::Rows(read) => Intake::Rows(read.take(rows)?),
            Intake::Partials(partials) => Intake::Partials(partials.take(rows)?),
        })
    }
}

/// Keys, aggregates, and what changed. See the [module](self).
pub(crate) struct Groups {
    keys: KeyTable,
    key_columns: usize,
    accumulators: Accumulators,
    journal: Journal,
    scratch: Vec<u32>,
}

impl Groups {
    pub(crate) fn new(layout: &GroupLayout) -> Result<Self, OperatorError> {
        Ok(Groups {
            keys: KeyTable::new(&layout.key_types())?,
            key_columns: layout.keys.len(),
            accumulators: Accumulators::new(layout)?,
            journal: Journal::default(),
            scratch: Vec::new(),
        })
    }

    pub(crate) fn keys(&self) -> &KeyTable {
        &self.keys
    }

    pub(crate) fn accumulators(&self) -> &Accumulators {
        &self.accumulators
    }

    /// The group of each row's key, known or new.
    pub(crate) fn number(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        groups: &mut Vec<u32>,
    ) -> Result<(), OperatorError> {
        self.keys.insert(keys, rows, groups)?;
        self.accumulators.resize(self.keys.slots());
        Ok(())
    }

    /// Applies what comes, whose groups have been asked for.
    pub(crate) fn apply(
        &mut self,
        groups: &[u32],
        intake: &Intake,
        epoch: Epoch,
    ) -> Result<(), OperatorError> {
        self.touch(groups);
        match intake {
            Intake::Rows(read) => self.accumulators.update(groups, read, epoch),
            Intake::Partials(partials) => self.accumulators.merge(groups, &partials.state),
        }
    }

    /// Applies what comes.
    pub(crate) fn update(&mut self, intake: &Intake, epoch: Epoch) -> Result<(), OperatorError> {
        let mut groups = std::mem::take(&mut self.scratch);
        self.number(intake.keys(), intake.rows(), &mut groups)?;
        self.apply(&groups, intake, epoch)?;
        self.scratch = groups;
        Ok(())
    }

    /// Adds what other groups hold.
    pub(crate) fn absorb(&mut self, other: &Groups) -> Result<(), OperatorError> {
        let mut ours = Vec::new();
        for theirs in other.keys.groups().chunks(CHUNK_ROWS) {
            self.keys.insert_groups(&other.keys, theirs, &mut ours);
            self.accumulators.resize(self.keys.slots());
            self.touch(&ours);
            self.accumulators.merge(&ours, &other.accumulators.state(theirs)?)?;
        }
        Ok(())
    }

    /// Forgets groups.
    pub(crate) fn remove(&mut self, groups: &[u32]) {
        self.accumulators.reset(groups);
        self.keys.remove(groups);
        for &group in groups {
            self.journal.remove(group);
        }
    }

    /// Notes that groups changed.
    pub(crate) fn touch(&mut self, groups: &[u32]) {
        for &group in groups {
            self.journal.touch(group);
        }
    }

    /// Those groups that a snapshot has, so that the next one must delete them if they go.
    pub(crate) fn saved(&self, mut groups: Vec<u32>) -> Vec<u32> {
        groups.retain(|&group| self.journal.is_saved(group));
        groups
    }

    /// Key columns and results of groups.
    pub(crate) fn results(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut columns = self.keys.keys(groups)?;
        columns.extend(self.accumulators.read(groups)?);
        Ok(columns)
    }

    /// The groups that a snapshot has to write.
    pub(crate) fn take_changed(&mut self, scope: SnapshotScope) -> Vec<u32> {
        self.journal.take(scope, || self.keys.groups())
    }

    /// Key columns and state columns of groups, as a snapshot has them: without what is held
    /// [by value](values).
    pub(crate) fn entries(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut columns = self.keys.keys(groups)?;
        columns.extend(self.accumulators.entries(groups)?);
        Ok(columns)
    }

    /// Fields of [`Groups::entries`].
    pub(crate) fn entry_fields(&self, layout: &GroupLayout) -> Vec<Field> {
        layout.saved_key_fields().chain(self.accumulators.entry_fields()).collect()
    }

    /// Takes groups over as [`Groups::entries`] wrote them, in place of what they were but for what
    /// they hold by value.
    pub(crate) fn load(
        &mut self,
        layout: &GroupLayout,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<u32>, OperatorError> {
        let (keys, state) = split(columns, layout.keys.len())?;
        if state.len() != self.accumulators.entry_fields().len() {
            return Err(foreign());
        }
        let mut groups = Vec::new();
        self.number(keys, rows, &mut groups)?;
        self.accumulators.load_entries(&groups, state)?;
        groups.iter().for_each(|&group| self.journal.restored(group));
        Ok(groups)
    }

    /// Forgets those keys that are known.
    pub(crate) fn forget(&mut self, keys: &[ArrayRef], rows: usize) -> Result<(), OperatorError> {
        let mut groups: Vec<u32> =
            self.keys.find(None, keys, rows)?.into_iter().flatten().collect();
        groups.sort_unstable();
        groups.dedup();
        self.remove(&groups);
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.accumulators.bytes() + self.journal.bytes()
    }
}

/// The aggregates of numbered groups, with the number of their rows.
pub(crate) struct Accumulators {
    members: Vec<Member>,
    /// Rows of each group, if they are counted.
    rows: Option<Vec<i64>>,
}

/// What computes one or more of the calls.
enum Member {
    One(usize, Box<dyn Aggregate>),
    /// Several calls over the different values of one argument.
    Family(Vec<usize>, Box<Distinct>),
}

impl Member {
    /// Those for all `calls`.
    fn of(calls: &[AggregateCall], retraction: Retraction) -> Result<Vec<Self>, OperatorError> {
        let mut members = Vec::new();
        let mut is_done = vec![false; calls.len()];
        for (i, call) in calls.iter().enumerate() {
            if is_done[i] {
                continue;
            }
            let is_kin = |&other: &usize| other != i && aggregate::are_family(call, &calls[other]);
            let mut family: Vec<usize> = (i..calls.len()).filter(is_kin).collect();
            if family.is_empty() {
                members.push(Member::One(i, aggregate::create(call, retraction)?));
                continue;
            }
            family.insert(0, i);
            family.iter().for_each(|&call| is_done[call] = true);
            let kin: Vec<&AggregateCall> = family.iter().map(|&call| &calls[call]).collect();
            let distinct = aggregate::create_distinct(&kin, retraction)?;
            members.push(Member::Family(family, Box::new(distinct)));
        }
        Ok(members)
    }

    fn update(&mut self, rows: &Rows<'_>, read: &Read) -> Result<(), OperatorError> {
        match self {
            Member::One(call, aggregate) => {
                let (values, filter) =
                    (read.arguments[*call].as_ref(), read.filters[*call].as_ref());
                aggregate.update(&Rows { values, filter, ..*rows })
            }
            Member::Family(calls, distinct) => {
                let filters: Vec<_> =
                    calls.iter().map(|&call| read.filters[call].as_ref()).collect();
                let values = read.arguments[calls[0]].as_ref();
                distinct.update_each(&Rows { values, ..*rows }, &filters)
            }
        }
    }

    fn aggregate(&self) -> &dyn Aggregate {
        match self {
            Member::One(_, aggregate) => &**aggregate,
            Member::Family(_, distinct) => &**distinct,
        }
    }

    fn aggregate_mut(&mut self) -> &mut dyn Aggregate {
        match self {
            Member::One(_, aggregate) => &mut **aggregate,
            Member::Family(_, distinct) => &mut **distinct,
        }
    }

    fn is_by_value(&self) -> bool {
        self.aggregate().by_value().is_some()
    }
}

/// Whose state is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    All,
    /// That of aggregates whose values are no entries of their own.
    Whole,
}

impl Whose {
    fn has(self, member: &Member) -> bool {
        self == Whose::All || !member.is_by_value()
    }
}

impl Accumulators {
    pub(crate) fn new(layout: &GroupLayout) -> Result<Self, OperatorError> {
        Ok(Accumulators {
            members: Member::of(&layout.calls, layout.retraction)?,
            rows: layout.counts_rows.then(Vec::new),
        })
    }

    pub(crate) fn resize(&mut self, groups: usize) {
        for member in &mut self.members {
            member.aggregate_mut().resize(groups);
        }
        if let Some(rows) = &mut self.rows {
            rows.resize(groups, 0);
        }
    }

    pub(crate) fn update(
        &mut self,
        groups: &[u32],
        read: &Read,
        epoch: Epoch,
    ) -> Result<(), OperatorError> {
        let weights = read.weights.as_deref();
        match (&mut self.rows, weights) {
            (None, _) => {}
            (Some(rows), None) => groups.iter().for_each(|&g| rows[g as usize] += 1),
            (Some(rows), Some(weights)) => {
                groups.iter().zip(weights).for_each(|(&g, w)| rows[g as usize] += w);
            }
        }
        let arrival = read.arrival.as_ref();
        let rows = Rows { groups, values: None, weights, filter: None, epoch, arrival };
        self.members.iter_mut().try_for_each(|member| member.update(&rows, read))
    }

    /// Number of rows of a group; one where they are not counted, since then they never go.
    pub(crate) fn rows(&self, group: u32) -> i64 {
        self.rows.as_ref().map_or(1, |rows| rows[group as usize])
    }

    /// Those groups that have rows.
    pub(crate) fn occupied(&self, mut groups: Vec<u32>) -> Vec<u32> {
        groups.retain(|&g| self.rows(g) > 0);
        groups
    }

    /// One result column for each aggregate.
    pub(crate) fn read(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut results = Vec::new();
        for member in &self.members {
            match member {
                Member::One(call, aggregate) => results.push((*call, aggregate.read(groups)?)),
                Member::Family(calls, distinct) => {
                    results.extend(calls.iter().copied().zip(distinct.read_each(groups)?));
                }
            }
        }
        results.sort_by_key(|(call, _)| *call);
        Ok(results.into_iter().map(|(_, column)| column).collect())
    }

    /// The state columns of all aggregates, behind the number of rows if that is kept.
    pub(crate) fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        self.state_of(Whose::All, groups)
    }

    /// The same, without what is held [by value](values).
    fn entries(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        self.state_of(Whose::Whole, groups)
    }

    fn state_of(&self, whose: Whose, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        if let Some(rows) = &self.rows {
            let rows = groups.iter().map(|&g| rows[g as usize]);
            columns.push(Arc::new(Int64Array::from_iter_values(rows)));
        }
        for member in self.members.iter().filter(|member| whose.has(member)) {
            columns.extend(member.aggregate().state(groups)?);
        }
        Ok(columns)
    }

    /// Merges what [`Accumulators::state`] gave.
    pub(crate) fn merge(
        &mut self,
        groups: &[u32],
        state: &[ArrayRef],
    ) -> Result<(), OperatorError> {
        self.merge_of(Whose::All, groups, state)
    }

    /// Takes over what [`Accumulators::entries`] gave, in place of what was there of it.
    fn load_entries(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        self.reset_of(Whose::Whole, groups);
        self.merge_of(Whose::Whole, groups, state)
    }

    fn merge_of(
        &mut self,
        whose: Whose,
        groups: &[u32],
        state: &[ArrayRef],
    ) -> Result<(), OperatorError> {
        let mut rest = state;
        if let Some(rows) = &mut self.rows {
            let (counts, behind) = split(rest, 1)?;
            rest = behind;
            let counts = counts[0].as_primitive::<Int64Type>().values();
            groups.iter().zip(counts).for_each(|(&g, count)| rows[g as usize] += count);
        }
        for member in self.members.iter_mut().filter(|member| whose.has(member)) {
            let aggregate = member.aggregate_mut();
            let (columns, behind) = split(rest, aggregate.state_types().len())?;
            rest = behind;
            aggregate.merge(groups, columns)?;
        }
        Ok(())
    }

    /// Fields of [`Accumulators::state`].
    pub(crate) fn state_fields(&self) -> Vec<Field> {
        self.fields_of(Whose::All)
    }

    /// Fields of [`Accumulators::entries`].
    fn entry_fields(&self) -> Vec<Field> {
        self.fields_of(Whose::Whole)
    }

    fn fields_of(&self, whose: Whose) -> Vec<Field> {
        let mut fields = Vec::new();
        if self.rows.is_some() {
            fields.push(Field::new("rows", DataType::Int64, true));
        }
        for (i, member) in self.members.iter().enumerate().filter(|(_, member)| whose.has(member)) {
            for (j, kind) in member.aggregate().state_types().into_iter().enumerate() {
                fields.push(Field::new(format!("aggregate_{i}_{j}"), kind, true));
            }
        }
        fields
    }

    pub(crate) fn reset(&mut self, groups: &[u32]) {
        self.reset_of(Whose::All, groups);
    }

    fn reset_of(&mut self, whose: Whose, groups: &[u32]) {
        for member in self.members.iter_mut().filter(|member| whose.has(member)) {
            member.aggregate_mut().reset(groups);
        }
        if let Some(rows) = &mut self.rows {
            groups.iter().for_each(|&g| rows[g as usize] = 0);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let rows = self.rows.as_ref().map_or(0, |r| r.capacity() * size_of::<i64>());
        self.members.iter().map(|member| member.aggregate().bytes()).sum::<usize>() + rows
    }
}

fn split(columns: &[ArrayRef], at: usize) -> Result<(&[ArrayRef], &[ArrayRef]), OperatorError> {
    columns.split_at_checked(at).ok_or_else(foreign)
}

/// The error for columns that are not what this version writes.
fn foreign() -> OperatorError {
    OperatorError::Data(
        "the state of its aggregates was written by another version in another layout: go on with \
         that version, or start the job anew with --fresh"
            .into(),
    )
}

/// A batch whose number of rows is known even without columns.
pub(crate) fn batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, OperatorError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
