//! `MATCH_RECOGNIZE`: patterns in the rows of a key, in the order of their time.
//!
//! ```text
//! PARTITION BY k ORDER BY t  PATTERN (A B+ C)
//! DEFINE B AS B.v < LAST(B.v, 1) OR LAST(B.v, 1) IS NULL, C AS C.v > LAST(B.v)
//!
//! rows       (k, 1, 9) (k, 2, 7) (k, 3, 5) (k, 4, 6)
//! watermark 3: A is the first row, B are the next two: it goes on
//! watermark 4: C: the match is shown, with its measures
//! ```
//!
//! Rows wait until the watermark has reached their time; then they are complete and in order. A row
//! at or behind the watermark has missed its turn and is late. What is found is a function of a
//! key's rows in order alone:
//!
//! > A match is looked for that begins with the first row. If there is one, it is shown, and the
//! > search goes on where the pattern says; if there can be none, it goes on with the next row; and
//! > while it is open whether there will be one, it waits.
//!
//! So a match that is complete waits for as long as one that would have begun earlier is open, as
//! in Flink, and all that is held of a key are its rows from there on. Nothing else need be saved:
//! the same rows are in the same state again after one pass.

mod automaton;
mod conditions;
mod formula;
mod held;
mod path;
mod search;
mod shown;
mod snapshot;
mod spec;
#[cfg(test)]
mod tests;
mod totals;
mod value;

pub use automaton::{Automaton, PatternError};
pub use formula::{Arithmetic, Comparison, Formula, Width};
pub use spec::{
    Condition, Measure, Operand, Pattern, PatternSpec, Preference, Reading, Skip, Test,
    VARIABLES_MAX, Variable,
};
pub use value::Value;

use crate::batch::Batch;
use crate::in_turn;
use crate::key_index::KeyIndex;
use crate::operator::{EpochContext, Operator, OperatorError, Output};
use crate::row_codec::RowCodec;
use crate::snapshot::journal::Journal;
use crate::snapshot::numbered::Numbers;
use crate::snapshot::{Snapshot, SnapshotScope};
use crate::time::Watermark;
use crate::window::times;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::SortField;
use conditions::{Conditions, PartitionRows};
use held::{HeldRows, Row};
use path::Path;
use search::{Outcome, Search, Way};
use shown::Matches;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Rows that have their turn together, roughly, and rows of matches that are shown together.
const BATCH_ROWS: usize = 16_384;

/// A search that has read no more rows begins anew with the next one. Most keys have such a search,
/// and to read a few rows again costs less than to keep its ways.
const READ_ANEW_MAX: usize = 4;

/// The operator. See the [module](self).
pub struct PatternMatch {
    spec: PatternSpec,
    input: SchemaRef,
    output: SchemaRef,
    codec: RowCodec,
    ties: RowCodec,
    conditions: Conditions,
    search: Search,
    index: KeyIndex,
    /// By slot of the index.
    partitions: Vec<Partition>,
    held: HeldRows,
    /// Rows that wait, the earliest first.
    waiting: BinaryHeap<Reverse<(i64, u32)>>,
    /// When what a partition waits for is too late, and its slot: an entry that is out of date
    /// finds another deadline there.
    deadlines: BinaryHeap<Reverse<(i64, u32)>>,
    /// Those of a search that begins: they are used again and again.
    ways: Vec<Way>,
    /// Bytes that partitions hold beside their own size.
    partition_bytes: usize,
    /// What the rows that have their turn lead to.
    matches: Matches,
    gone: Vec<u32>,
    numbers: Numbers,
    journal: Journal,
}

#[derive(Debug, Default)]
struct Partition {
    /// Rows that had their turn, from the first one with which a match may begin.
    rows: VecDeque<u32>,
    /// How many of them the search has read that begins with the first one.
    read: usize,
    /// The ways that are open in it.
    ways: Vec<Way>,
    /// How many of its rows have not had their turn.
    waiting: u32,
    /// The deadline of the search, if one was noted.
    deadline: Option<i64>,
}

impl Partition {
    /// Bytes beside its own size.
    fn bytes(&self) -> usize {
        let ways: usize = self.ways.iter().map(Way::heap).sum();
        let of_ways = self.ways.capacity() * size_of::<Way>() + ways;
        self.rows.capacity() * size_of::<u32>() + of_ways
    }
}

impl std::fmt::Debug for PatternMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PatternMatch").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl PatternMatch {
    /// An operator without state.
    ///
    /// # Errors
    /// If the pattern can't be looked for, a key can't be compared, or an aggregate isn't defined
    /// for its types.
    pub fn new(spec: PatternSpec, input: SchemaRef) -> Result<Self, OperatorError> {
        let automaton =
            Automaton::new(&spec.pattern).map_err(|e| OperatorError::Data(e.to_string()))?;
        let conditions = Conditions::new(&spec, &input)?;
        let tie = |term: &crate::top_n::SortTerm| {
            let options =
                SortOptions { descending: term.descending, nulls_first: term.nulls_first };
            let data_type = input.field(term.column).data_type().clone();
            SortField::new_with_options(data_type, options)
        };
        let types: Vec<DataType> =
            spec.partition.iter().map(|&c| input.field(c).data_type().clone()).collect();
        Ok(PatternMatch {
            output: shown::output_schema(&spec, &input),
            codec: RowCodec::of_schema(&input)?,
            ties: RowCodec::new(spec.ties.iter().map(tie).collect())?,
            search: Search::new(automaton, conditions.look_back()),
            index: KeyIndex::new(&types)?,
            partitions: Vec::new(),
            held: HeldRows::new(conditions.width()),
            waiting: BinaryHeap::new(),
            deadlines: BinaryHeap::new(),
            ways: Vec::new(),
            partition_bytes: 0,
            matches: Matches::default(),
            gone: Vec::new(),
            numbers: Numbers::default(),
            journal: Journal::default(),
            conditions,
            spec,
            input,
        })
    }

    /// The partition's columns, then the measures.
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
        let rows = in_turn::admit("MATCH_RECOGNIZE", input, batches, time, watermark, output)?;
        let arrivals = in_turn::arrivals(rows.columns(), self.spec.arrival)?;
        let counts: Vec<i64> = (0..rows.len()).map(|row| rows.weight(row)).collect();
        let number = |this: &mut Self, _: usize| this.numbers.give();
        for id in self.hold(rows.columns(), &counts, arrivals.as_ref(), number)? {
            self.journal.touch(id);
        }
        Ok(())
    }

    /// Holds rows that wait, each so many times.
    fn hold(
        &mut self,
        rows: &RecordBatch,
        counts: &[i64],
        arrivals: Option<&Int64Array>,
        mut number: impl FnMut(&mut Self, usize) -> i64,
    ) -> Result<Vec<u32>, OperatorError> {
        let row_times = times(rows, self.spec.time)?;
        let (index, keys) = (&mut self.index, &self.spec.partition);
        let slots = in_turn::assign(index, &mut self.partitions, rows, keys)?;
        let encoded = self.codec.encode(rows.columns())?;
        let ties: Vec<ArrayRef> =
            self.spec.ties.iter().map(|term| rows.column(term.column).clone()).collect();
        let ties = self.ties.encode(&ties)?;
        let answers = self.conditions.answers(rows)?;
        let values = self.conditions.values(rows)?;
        let mut ids = Vec::with_capacity(rows.num_rows());
        for (row, &slot) in slots.iter().enumerate() {
            for _ in 0..counts[row] {
                let sequence = number(self, row);
                let (time, answers) = (row_times[row], answers[row].clone());
                let arrival = arrivals.map_or(sequence, |arrivals| arrivals.value(row));
                let mut held = Row::new(ties.get(row), encoded.get(row));
                (held.slot, held.time, held.answers) = (slot, time, answers);
                (held.arrival, held.sequence) = (arrival, sequence);
                let id = self.held.hold(held, values.iter().map(|column| column[row].clone()));
                self.partitions[slot as usize].waiting += 1;
                self.waiting.push(Reverse((time, id)));
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Lets rows whose time has come have their turn, then searches end whose time is over.
    fn fire(&mut self, context: &EpochContext, output: &mut Output) -> Result<(), OperatorError> {
        if context.watermark_after == Watermark::MIN {
            return Ok(());
        }
        loop {
            let due = self.due(context.watermark_after);
            if due.is_empty() {
                break;
            }
            let row = |id: &u32| self.held.row(*id);
            let turns: Vec<&[u32]> = due.chunk_by(|a, b| row(a).slot == row(b).slot).collect();
            for turn in turns {
                let slot = self.held.row(turn[0]).slot;
                self.partitions[slot as usize].waiting -= turn.len() as u32;
                // More of its rows may be due: only when all are here, time is over for some.
                self.advance(slot, turn, Watermark::MIN, context)?;
                if self.matches.rows() >= BATCH_ROWS {
                    self.show(context, output)?;
                }
            }
            self.settle(context, output)?;
        }
        self.expire(context)?;
        self.settle(context, output)
    }

    /// The next rows whose time has come, as many as make a batch and all of the last one's time:
    /// partition by partition, each in order.
    fn due(&mut self, watermark: Watermark) -> Vec<u32> {
        let (mut due, mut last) = (Vec::new(), i64::MIN);
        while let Some(&Reverse((time, id))) = self.waiting.peek()
            && time <= watermark.0
            && (due.len() < BATCH_ROWS || time == last)
        {
            self.waiting.pop();
            last = time;
            due.push(id);
        }
        let held = &self.held;
        due.sort_unstable_by(|&a, &b| {
            let (a, b) = (held.row(a), held.row(b));
            a.slot.cmp(&b.slot).then_with(|| a.compare(b))
        });
        due
    }

    /// Searches on in a partition with more rows, as far as they go; there are none up to the
    /// watermark beside them.
    fn advance(
        &mut self,
        slot: u32,
        turn: &[u32],
        watermark: Watermark,
        context: &EpochContext,
    ) -> Result<(), OperatorError> {
        let partition = &mut self.partitions[slot as usize];
        self.partition_bytes -= partition.bytes();
        partition.rows.extend(turn);
        if partition.ways.capacity() == 0 {
            partition.ways = std::mem::take(&mut self.ways);
        }
        let searched = self.search_on(slot, watermark, context);
        let partition = &mut self.partitions[slot as usize];
        if partition.read <= READ_ANEW_MAX {
            partition.read = 0;
            self.search.end(&mut partition.ways);
            self.ways = std::mem::take(&mut partition.ways);
        }
        self.partition_bytes += partition.bytes();
        self.note_deadline(slot);
        searched
    }

    fn search_on(
        &mut self,
        slot: u32,
        watermark: Watermark,
        context: &EpochContext,
    ) -> Result<(), OperatorError> {
        let within = self.spec.within_ms.unwrap_or(i64::MAX);
        // The time by which all that follows is known: that of the latest row that was read, or
        // the deadline that has passed.
        let mut known_at = i64::MIN;
        loop {
            let Partition { rows, read, .. } = &self.partitions[slot as usize];
            let Some(&first) = rows.front() else { break };
            let deadline = self.held.row(first).time.saturating_add(within);
            let next = rows.get(*read).map(|&id| self.held.row(id).time);
            // A match is shorter than that: a row of the deadline comes too late.
            let is_over = match next {
                Some(time) => time >= deadline,
                None => self.spec.within_ms.is_some() && watermark.closes(deadline),
            };
            if is_over {
                known_at = known_at.max(deadline);
                self.skip(slot, 1);
                continue;
            }
            let Some(time) = next else { break };
            known_at = known_at.max(time);
            match self.read(slot, context)? {
                Outcome::Open => self.partitions[slot as usize].read += 1,
                Outcome::Failed => self.skip(slot, 1),
                Outcome::Found(path) => {
                    let behind = self.behind(&path)?;
                    let rows = self.partitions[slot as usize].rows.iter().copied();
                    self.matches.push(path, rows, known_at);
                    self.skip(slot, behind);
                }
            }
        }
        Ok(())
    }

    /// Reads the next row of a partition.
    fn read(&mut self, slot: u32, context: &EpochContext) -> Result<Outcome, OperatorError> {
        let Partition { rows, read, ways, .. } = &mut self.partitions[slot as usize];
        let mut judge = PartitionRows {
            conditions: &self.conditions,
            held: &self.held,
            ids: &*rows,
            now_ms: context.now_ms,
        };
        if *read == 0 {
            self.search.begin(ways, &judge);
        }
        self.search.step(ways, &mut judge)
    }

    /// The row of a match with which the search goes on, counted from its first one.
    fn behind(&self, path: &Path) -> Result<usize, OperatorError> {
        let (variable, row) = match self.spec.skip {
            Skip::PastLastRow => return Ok(path.len()),
            Skip::ToNextRow => return Ok(1),
            Skip::ToFirst(variable) => (variable, path.first(Some(variable), 0).ok()),
            Skip::ToLast(variable) => (variable, path.last(Some(variable), 0)),
        };
        let name = &self.spec.variables[variable].name;
        let refuse = |why: &str| {
            let text = format!("AFTER MATCH SKIP TO {name}: {why}; SKIP TO NEXT ROW always can");
            Err(OperatorError::Data(text))
        };
        match row {
            None => refuse("the match has no such row"),
            Some(0) => refuse("it is the first row of the match, which would be found for ever"),
            Some(row) => Ok(row),
        }
    }

    /// Begins a new search behind so many rows of a partition.
    fn skip(&mut self, slot: u32, rows: usize) {
        let partition = &mut self.partitions[slot as usize];
        self.gone.extend(partition.rows.drain(..rows));
        partition.read = 0;
        self.search.end(&mut partition.ways);
    }

    fn note_deadline(&mut self, slot: u32) {
        let Some(within_ms) = self.spec.within_ms else { return };
        let partition = &mut self.partitions[slot as usize];
        let first = partition.rows.front();
        let deadline = first.map(|&id| self.held.row(id).time.saturating_add(within_ms));
        if deadline != partition.deadline {
            partition.deadline = deadline;
            self.deadlines.extend(deadline.map(|deadline| Reverse((deadline, slot))));
        }
    }

    /// Ends searches whose match would be too long.
    fn expire(&mut self, context: &EpochContext) -> Result<(), OperatorError> {
        while let Some(&Reverse((deadline, slot))) = self.deadlines.peek()
            && context.watermark_after.closes(deadline)
        {
            self.deadlines.pop();
            if self.partitions[slot as usize].deadline == Some(deadline) {
                self.partitions[slot as usize].deadline = None;
                self.advance(slot, &[], context.watermark_after, context)?;
            }
        }
        Ok(())
    }

    /// Shows what was found, and forgets rows and partitions that nothing needs any more.
    fn settle(&mut self, context: &EpochContext, output: &mut Output) -> Result<(), OperatorError> {
        self.show(context, output)?;
        let mut gone = std::mem::take(&mut self.gone);
        let mut slots: Vec<u32> = gone.drain(..).map(|id| self.forget(id)).collect();
        self.gone = gone;
        slots.sort_unstable();
        slots.dedup();
        slots.into_iter().for_each(|slot| self.forget_if_empty(slot));
        Ok(())
    }

    /// Forgets a row; gives its slot.
    fn forget(&mut self, id: u32) -> u32 {
        let row = self.held.free(id);
        self.journal.remove(id);
        self.numbers.removed(self.index.group(row.slot), row.sequence);
        row.slot
    }

    fn forget_if_empty(&mut self, slot: u32) {
        let partition = &self.partitions[slot as usize];
        if partition.rows.is_empty() && partition.waiting == 0 {
            self.partition_bytes -= partition.bytes();
            self.partitions[slot as usize] = Partition::default();
            self.index.remove(slot);
        }
    }
}

impl Operator for PatternMatch {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let mut batches = inputs.into_iter().next().unwrap_or_default();
        batches.retain(|batch| !batch.is_empty());
        if !batches.is_empty() {
            self.add(&batches, context.watermark_before, output)?;
        }
        self.fire(context, output)
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        self.take_snapshot(scope)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        self.restore_snapshot(snapshot)
    }

    fn state_bytes(&self) -> usize {
        let partitions = self.partitions.len() * size_of::<Partition>() + self.partition_bytes;
        let waiting = (self.waiting.len() + self.deadlines.len()) * size_of::<(i64, u32)>();
        let bytes = self.index.bytes() + self.held.bytes() + partitions + waiting;
        bytes + self.journal.bytes()
    }
}
