//! `OVER` by row time: for each row a result over the rows of its key up to it.
//!
//! ```text
//! SUM(v) OVER (PARTITION BY k ORDER BY t ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
//!
//! rows       (k, 10:02, 5) (k, 10:01, 3) (k, 10:03, 7)
//! watermark 10:02: they are in order up to there
//!            (k, 10:01, 3, 3) (k, 10:02, 5, 8)
//! ```
//!
//! Rows wait until the watermark has reached their time; then they are complete and in order, each
//! gets its result once, and the output is append-only. Only where there is a `LEAD` a row is
//! replaced when what it awaits has had its turn. A row at or behind the watermark has missed its
//! turn and is late.
//!
//! What is held of a key: the rows that wait, the rows that a bounded frame or a `LAG` may still
//! reach or that await a `LEAD`, and the aggregates over the frame, out of which rows are taken as
//! they leave it.

mod frames;
mod leads;
mod snapshot;
#[cfg(test)]
mod tests;

use crate::aggregate::{Aggregate, AggregateCall, Retraction, Rows, create};
use crate::batch::Batch;
use crate::in_turn;
use crate::key_index::KeyIndex;
use crate::operator::{EpochContext, Operator, OperatorError, Output};
use crate::row_codec::RowCodec;
use crate::snapshot::numbered::Numbers;
use crate::snapshot::{Snapshot, SnapshotScope};
use crate::time::{Epoch, Watermark};
use crate::window::times;
use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array,
};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use frames::{Turn, Turns};
use leads::{Extent, Leads, Taken};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

/// Which rows before a row belong to its frame; it ends with the row itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// The row and so many before it; none: all. Every row stands alone.
    Rows {
        /// Rows before the current one.
        preceding: Option<u64>,
    },
    /// Rows up to so much earlier, inclusive; none: all. Rows of equal time share a result.
    Range {
        /// Milliseconds before the current row's time.
        preceding_ms: Option<i64>,
    },
}

/// A result column.
#[derive(Clone, Debug)]
pub enum OverFunction {
    /// An aggregate over the frame.
    Aggregate(AggregateCall),
    /// The value that a column had some rows before, whatever the frame.
    Lag(Neighbour),
    /// The value that a column has some rows later, whatever the frame. It makes the output an
    /// updating one.
    Lead(Neighbour),
}

/// The value of a column in another row of the key.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// The column.
    pub argument: usize,
    /// How many rows away; 0 is the row itself.
    pub offset: u64,
    /// The column that gives the result where there is no such row; NULL without it.
    pub default: Option<usize>,
    /// Name of the result column.
    pub name: String,
}

/// What to compute over which rows. Output columns: the input's, then the functions'.
#[derive(Clone, Debug)]
pub struct OverSpec {
    /// Key columns; none for one frame over all rows.
    pub partition: Vec<usize>,
    /// The row time by which rows are ordered, `Timestamp(ms)`.
    pub time: usize,
    /// The frame.
    pub frame: Frame,
    /// The result columns.
    pub functions: Vec<OverFunction>,
    /// Column of arrival order, which decides between rows of equal time; else the order in which
    /// rows reach the operator.
    pub arrival: Option<usize>,
}

impl OverSpec {
    /// Whether rows are replaced when later ones have their turn.
    pub fn is_updating(&self) -> bool {
        self.functions.iter().any(|function| matches!(function, OverFunction::Lead(_)))
    }
}

/// Rows that have their turn together, roughly.
const BATCH_ROWS: usize = 16_384;

/// The operator. See the [module](self).
pub struct Over {
    spec: OverSpec,
    input: SchemaRef,
    output: SchemaRef,
    codec: RowCodec,
    index: KeyIndex,
    /// By slot of the index.
    partitions: Vec<Partition>,
    rows: Vec<Row>,
    free: Vec<u32>,
    /// Rows that wait, in the order in which they will have their turn.
    waiting: BTreeMap<Place, u32>,
    /// Of a range frame: the time of a key's last row and its slot.
    idle: BinaryHeap<Reverse<(i64, u32)>>,
    /// By call; groups are the slots of the index.
    aggregates: Vec<(AggregateCall, Box<dyn Aggregate>)>,
    /// Only with a `LEAD`.
    leads: Option<Leads>,
    /// So many rows of a key before a due one a `LAG` may show, or may await a `LEAD`.
    reach: usize,
    batch_rows: usize,
    is_rebuilt: bool,
    numbers: Numbers,
    journal: snapshot::Journal,
    row_bytes: usize,
}

#[derive(Debug, Default)]
struct Partition {
    /// Rows that had their turn and may still be reached, with their times.
    history: VecDeque<(i64, u32)>,
    /// How many of them, the last ones, the aggregates hold.
    framed: usize,
    waiting: u32,
}

#[derive(Debug, Default)]
struct Row {
    bytes: Box<[u8]>,
    time: i64,
    arrival: i64,
    sequence: i64,
    slot: u32,
}

/// Time, arrival, sequence number and slot of a row. Numbers are given once in a key group, but
/// groups of several workers may come together in a restore.
type Place = (i64, i64, i64, u32);

impl Row {
    fn place(&self) -> Place {
        (self.time, self.arrival, self.sequence, self.slot)
    }
}

impl std::fmt::Debug for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Over").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Frame {
    /// Whether rows leave it again.
    pub fn is_bounded(self) -> bool {
        matches!(self, Frame::Rows { preceding: Some(_) } | Frame::Range { preceding_ms: Some(_) })
    }
}

impl Over {
    /// An operator without state.
    ///
    /// # Errors
    /// If a key can't be compared, or a function isn't defined for its types.
    pub fn new(spec: OverSpec, input: SchemaRef) -> Result<Self, OperatorError> {
        let retraction = Retraction::of(spec.frame.is_bounded());
        let (mut aggregates, mut reach) = (Vec::new(), 0);
        for function in &spec.functions {
            match function {
                OverFunction::Aggregate(call) => {
                    aggregates.push((call.clone(), create(call, retraction)?));
                }
                OverFunction::Lag(other) | OverFunction::Lead(other) => {
                    reach = reach.max(other.offset as usize);
                }
            }
        }
        let types: Vec<DataType> =
            spec.partition.iter().map(|&c| input.field(c).data_type().clone()).collect();
        let output = output_schema(&spec, &input);
        Ok(Over {
            leads: Leads::new(&spec, &output)?,
            output,
            codec: RowCodec::of_schema(&input)?,
            index: KeyIndex::new(&types)?,
            partitions: Vec::new(),
            rows: Vec::new(),
            free: Vec::new(),
            waiting: BTreeMap::new(),
            idle: BinaryHeap::new(),
            aggregates,
            reach,
            batch_rows: BATCH_ROWS,
            is_rebuilt: true,
            numbers: Numbers::default(),
            journal: snapshot::Journal::default(),
            row_bytes: 0,
            spec,
            input,
        })
    }

    /// The input's columns, then one for each function.
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    /// Lets an epoch's rows wait for their turn.
    fn add(
        &mut self,
        batches: &[Batch],
        watermark: Watermark,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let (input, time) = (&self.input, self.spec.time);
        let rows = in_turn::admit("OVER", input, batches, time, watermark, output)?;
        let row_times = times(rows.columns(), time)?;
        let arrivals = in_turn::arrivals(rows.columns(), self.spec.arrival)?;
        let slots = self.assign(rows.columns())?;
        let encoded = self.codec.encode(rows.columns().columns())?;
        for (row, &slot) in slots.iter().enumerate() {
            for _ in 0..rows.weight(row) {
                let sequence = self.numbers.give();
                let id = self.hold(Row {
                    bytes: encoded.get(row).into(),
                    time: row_times[row],
                    arrival: arrivals.as_ref().map_or(sequence, |a| a.value(row)),
                    sequence,
                    slot,
                });
                self.wait(id);
                self.journal.rows.touch(id);
            }
        }
        Ok(())
    }

    fn assign(&mut self, rows: &RecordBatch) -> Result<Vec<u32>, OperatorError> {
        let (index, keys) = (&mut self.index, &self.spec.partition);
        let slots = in_turn::assign(index, &mut self.partitions, rows, keys)?;
        let groups = self.partitions.len();
        self.aggregates.iter_mut().for_each(|(_, aggregate)| aggregate.resize(groups));
        Ok(slots)
    }

    fn hold(&mut self, row: Row) -> u32 {
        self.row_bytes += row.bytes.len();
        match self.free.pop() {
            Some(id) => {
                self.rows[id as usize] = row;
                id
            }
            None => {
                self.rows.push(row);
                (self.rows.len() - 1) as u32
            }
        }
    }

    fn wait(&mut self, id: u32) {
        let row = &self.rows[id as usize];
        self.partitions[row.slot as usize].waiting += 1;
        self.waiting.insert(row.place(), id);
    }

    fn forget_row(&mut self, id: u32) {
        let row = std::mem::take(&mut self.rows[id as usize]);
        self.row_bytes -= row.bytes.len();
        self.free.push(id);
        self.journal.rows.remove(id);
        if let Some(leads) = &mut self.leads {
            leads.forget(id);
        }
        self.numbers.removed(self.index.group(row.slot), row.sequence);
    }

    /// Gives the rows whose time has come their results.
    fn fire(
        &mut self,
        epoch: Epoch,
        watermark: Watermark,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        if watermark == Watermark::MIN {
            return Ok(());
        }
        // Rows of an epoch are told apart by their turns, through all of its batches.
        let mut arrival = 0;
        loop {
            let due = self.due(watermark);
            if due.is_empty() {
                break;
            }
            let turns = self.turns(&due);
            let taken = self.take_turns((epoch, &mut arrival), &due, &turns)?;
            let next = self.waiting.first_key_value();
            let extent = match next.is_some_and(|(place, _)| place.0 <= watermark.0) {
                true => Extent::Settled,
                false => Extent::All,
            };
            self.show(&turns, taken, extent, output)?;
            self.end_turns(turns);
        }
        self.show_rest(output)?;
        self.forget_idle(watermark);
        Ok(())
    }

    /// The next rows whose time has come: as many as make a batch, and all of the last one's time.
    fn due(&mut self, watermark: Watermark) -> Vec<u32> {
        let (mut due, mut last) = (Vec::new(), i64::MIN);
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= watermark.0
            && (due.len() < self.batch_rows || entry.key().0 == last)
        {
            last = entry.key().0;
            due.push(entry.remove());
        }
        due
    }

    /// The due rows by key, with the rows of the key before them.
    fn turns(&mut self, due: &[u32]) -> Vec<Turns> {
        let mut by_slot: HashMap<u32, usize> = HashMap::new();
        let mut turns: Vec<Turns> = Vec::new();
        for (number, &id) in due.iter().enumerate() {
            let row = &self.rows[id as usize];
            let turn = *by_slot.entry(row.slot).or_insert_with(|| {
                let partition = &self.partitions[row.slot as usize];
                turns.push(Turns::new(row.slot, &partition.history, partition.framed));
                turns.len() - 1
            });
            turns[turn].push(row.time, id, number as u32);
            self.partitions[row.slot as usize].waiting -= 1;
        }
        turns
    }

    /// Reads the rows of turns: the due ones, and what else of their keys is needed.
    fn read(
        &self,
        due: &[u32],
        turns: &[Turns],
    ) -> Result<(RecordBatch, Vec<Vec<u32>>), OperatorError> {
        let mut read: Vec<u32> = due.to_vec();
        let places =
            turns.iter().map(|t| t.place(self.spec.frame, self.reach, &mut read)).collect();
        let bytes = read.iter().map(|&id| &*self.rows[id as usize].bytes);
        Ok((RecordBatch::try_new(self.input.clone(), self.codec.decode(bytes)?)?, places))
    }

    /// The results of the due rows, but for what lies ahead of them.
    fn take_turns(
        &mut self,
        at: (Epoch, &mut i64),
        due: &[u32],
        turns: &[Turns],
    ) -> Result<Taken, OperatorError> {
        let (rows, places) = self.read(due, turns)?;
        let mut aggregated = self.aggregate(at, due.len(), turns, &places, &rows)?.into_iter();
        let mut results = Vec::with_capacity(self.spec.functions.len());
        for function in &self.spec.functions {
            results.push(match function {
                OverFunction::Aggregate(_) => aggregated
                    .next()
                    .ok_or_else(|| OperatorError::Data("an aggregate gave no result".into()))?,
                OverFunction::Lag(of) => {
                    neighbours(&rows, of, &lag(of.offset, due.len(), turns, &places))?
                }
                OverFunction::Lead(_) => continue,
            });
        }
        Ok(Taken { due: due.len(), rows, places, results })
    }

    /// Lets rows come out.
    fn show(
        &mut self,
        turns: &[Turns],
        taken: Taken,
        extent: Extent,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let Some(leads) = &mut self.leads else {
            let mut columns = taken.rows.slice(0, taken.due).columns().to_vec();
            columns.extend(taken.results);
            output.rows.push(RecordBatch::try_new(self.output.clone(), columns)?.into());
            return Ok(());
        };
        let changes = leads.show(turns, &taken, extent)?;
        if !changes.is_empty() {
            output.rows.push(changes);
        }
        Ok(())
    }

    /// Lets the rows come out that await something and whose keys had no turn in the epoch's last
    /// batch.
    fn show_rest(&mut self, output: &mut Output) -> Result<(), OperatorError> {
        let unshown = self.leads.as_ref().map(Leads::unshown).unwrap_or_default();
        for slots in unshown.chunks(self.batch_rows.div_ceil(self.reach.max(1))) {
            let again = |&slot: &u32| {
                let partition = &self.partitions[slot as usize];
                Turns::new(slot, &partition.history, partition.framed)
            };
            let turns: Vec<Turns> = slots.iter().map(again).collect();
            let (rows, places) = self.read(&[], &turns)?;
            let Some(leads) = &self.leads else { continue };
            let taken = leads.read_again(rows, places);
            self.show(&turns, taken, Extent::All, output)?;
        }
        Ok(())
    }

    /// The results of all aggregates for the due rows. All keys take their first turn together,
    /// then all that have a second one, and so on: a key's turns depend on each other.
    fn aggregate(
        &mut self,
        (epoch, arrival): (Epoch, &mut i64),
        due: usize,
        turns: &[Turns],
        places: &[Vec<u32>],
        rows: &RecordBatch,
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        if self.aggregates.is_empty() {
            return Ok(Vec::new());
        }
        let mut results: Vec<Vec<ArrayRef>> = vec![Vec::new(); self.aggregates.len()];
        let mut result_of: Vec<(usize, usize)> = vec![(0, 0); due];
        let mut active: Vec<(usize, Turn)> = Vec::new();
        active.extend(turns.iter().map(|t| t.first(self.spec.frame)).enumerate());
        for round in 0.. {
            let mut step = Step::default();
            for (position, (key, turn)) in active.iter().enumerate() {
                let (turns, places) = (&turns[*key], &places[*key]);
                step.readers.push(turns.slot);
                step.push(turns.slot, &places[turn.leaving.clone()], -1);
                step.push(turns.slot, &places[turn.entering.clone()], 1);
                for row in turn.entering.clone() {
                    result_of[turns.number(row) as usize] = (round, position);
                }
            }
            let first = *arrival;
            *arrival += step.rows.len() as i64;
            let arrivals = Int64Array::from_iter_values(first..*arrival);
            for ((call, aggregate), results) in self.aggregates.iter_mut().zip(&mut results) {
                step.apply(call, &mut **aggregate, rows, epoch, &arrivals)?;
                results.push(aggregate.read(&step.readers)?);
            }
            let next = |(key, turn): (usize, Turn)| Some((key, turns[key].next(turn)?));
            active = active.into_iter().filter_map(next).collect();
            if active.is_empty() {
                break;
            }
        }
        let gather = |results: &Vec<ArrayRef>| {
            let results: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
            Ok(interleave(&results, &result_of)?)
        };
        results.iter().map(gather).collect()
    }

    /// Puts the due rows to their keys' history, and forgets what nothing reaches any more.
    fn end_turns(&mut self, turns: Vec<Turns>) {
        for turns in turns {
            let (slot, past) = (turns.slot, turns.due().start);
            let (history, framed) = turns.finish(self.spec.frame);
            let keep = match self.spec.frame.is_bounded() {
                true => framed.max(self.reach),
                false => self.reach,
            };
            let last = history.last().map(|&(time, _)| time);
            let gone = history.len().saturating_sub(keep);
            for &(_, id) in &history[..gone] {
                self.forget_row(id);
            }
            // Rows that waited have had their turn now.
            for &(_, id) in &history[gone.max(past)..] {
                self.journal.rows.touch(id);
            }
            let partition = &mut self.partitions[slot as usize];
            partition.history = history[gone..].iter().copied().collect();
            partition.framed = if self.spec.frame.is_bounded() { framed } else { 0 };
            if let (Frame::Range { preceding_ms: Some(_) }, Some(last), 0) =
                (self.spec.frame, last, self.reach)
            {
                self.idle.push(Reverse((last, slot)));
            }
            if !self.spec.frame.is_bounded() {
                self.journal.totals.touch(slot);
            }
        }
    }

    /// Forgets keys whose rows have all left a range frame, and the frames of rows to come.
    fn forget_idle(&mut self, watermark: Watermark) {
        let Frame::Range { preceding_ms: Some(preceding_ms) } = self.spec.frame else { return };
        while let Some(&Reverse((last, slot))) = self.idle.peek()
            && last.saturating_add(preceding_ms) <= watermark.0
        {
            self.idle.pop();
            let partition = &mut self.partitions[slot as usize];
            let is_idle = partition.history.back().is_some_and(|&(time, _)| time == last);
            if !is_idle || partition.waiting > 0 {
                continue;
            }
            for (_, id) in std::mem::take(&mut partition.history) {
                self.forget_row(id);
            }
            self.aggregates.iter_mut().for_each(|(_, aggregate)| aggregate.reset(&[slot]));
            self.index.remove(slot);
        }
    }
}

/// What one turn of all keys does to the aggregates.
#[derive(Default)]
struct Step {
    groups: Vec<u32>,
    rows: Vec<u32>,
    weights: Vec<i64>,
    readers: Vec<u32>,
}

impl Step {
    fn push(&mut self, group: u32, rows: &[u32], weight: i64) {
        self.rows.extend_from_slice(rows);
        self.groups.resize(self.rows.len(), group);
        self.weights.resize(self.rows.len(), weight);
    }

    fn apply(
        &self,
        call: &AggregateCall,
        aggregate: &mut dyn Aggregate,
        rows: &RecordBatch,
        epoch: Epoch,
        arrivals: &Int64Array,
    ) -> Result<(), OperatorError> {
        let indices = UInt32Array::from(self.rows.clone());
        let column = |column: usize| take(rows.column(column), &indices, None);
        let values = call.argument.map(column).transpose()?;
        let filter = call.filter.map(column).transpose()?;
        aggregate.update(&Rows {
            groups: &self.groups,
            values: values.as_ref(),
            weights: self.weights.iter().any(|&w| w != 1).then_some(&self.weights[..]),
            filter: filter.as_ref().map(|f| f.as_boolean()),
            epoch,
            arrival: Some(arrivals),
        })
    }
}

/// Where the value of a neighbour stands: in another row, or in the row's own default.
const VALUE: usize = 0;
const DEFAULT: usize = 1;

/// The rows before the due ones.
fn lag(offset: u64, due: usize, turns: &[Turns], places: &[Vec<u32>]) -> Vec<(usize, usize)> {
    let mut found = vec![(DEFAULT, 0); due];
    for (turns, places) in turns.iter().zip(places) {
        for row in turns.due() {
            let number = turns.number(row) as usize;
            let before = row.checked_sub(offset as usize);
            found[number] = before.map_or((DEFAULT, number), |r| (VALUE, places[r] as usize));
        }
    }
    found
}

/// The values of neighbours, from where they were found.
fn neighbours(
    rows: &RecordBatch,
    of: &Neighbour,
    found: &[(usize, usize)],
) -> Result<ArrayRef, OperatorError> {
    let values = rows.column(of.argument);
    let default = match of.default {
        Some(column) => rows.column(column).clone(),
        None => new_null_array(values.data_type(), rows.num_rows()),
    };
    Ok(interleave(&[values.as_ref(), default.as_ref()], found)?)
}

fn output_schema(spec: &OverSpec, input: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = input.fields().iter().cloned().collect();
    fields.extend(spec.functions.iter().map(|function| {
        Arc::new(match function {
            OverFunction::Aggregate(call) => Field::new(&call.name, call.output_type.clone(), true),
            OverFunction::Lag(Neighbour { argument, name, .. })
            | OverFunction::Lead(Neighbour { argument, name, .. }) => {
                Field::new(name, input.field(*argument).data_type().clone(), true)
            }
        })
    }));
    Arc::new(Schema::new(fields))
}

impl Operator for Over {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        self.rebuild()?;
        let mut batches = inputs.into_iter().next().unwrap_or_default();
        batches.retain(|batch| !batch.is_empty());
        if !batches.is_empty() {
            self.add(&batches, context.watermark_before, output)?;
        }
        self.fire(context.epoch, context.watermark_after, output)
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        self.take_snapshot(scope)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        self.restore_snapshot(snapshot)
    }

    fn state_bytes(&self) -> usize {
        let row = size_of::<Row>() + size_of::<(i64, u32)>();
        let aggregates: usize = self.aggregates.iter().map(|(_, a)| a.bytes()).sum();
        let partitions = self.partitions.len() * size_of::<Partition>();
        let rows = self.rows.len() * row + self.row_bytes;
        let leads = self.leads.as_ref().map_or(0, Leads::bytes);
        self.index.bytes() + rows + aggregates + partitions + leads + self.journal.bytes()
    }
}
