//! The join of two append-only inputs by key and by closeness in time.
//!
//! ```text
//! left  (k, 10:00)            right  (k, 10:03) (k, 10:09)       left.time - right.time
//! pairs (k, 10:00, k, 10:03)                                     between -5 and 0 minutes
//! ```
//!
//! A row is held for as long as the watermark leaves it possible that a partner comes, then it is
//! forgotten; if it has met none by then, an outer join shows it padded. So the output is
//! append-only and the state is bounded by the interval.
//!
//! A row that comes behind the watermark still meets what is held. If it meets nothing, and no
//! padding shows it, it has left no trace: it is reported as late.

mod snapshot;
#[cfg(test)]
mod tests;
mod timed_rows;

use crate::batch::Batch;
use crate::join::{JoinKind, Residual, Test, output_schema};
use crate::key::all_valid;
use crate::key_index::{KeyIndex, NO_SLOT};
use crate::operator::{EpochContext, LateRows, Operator, OperatorError, Output};
use crate::snapshot::{Snapshot, SnapshotScope};
use crate::time::Watermark;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use timed_rows::{NONE, Row, TimedRows};

/// What to join. Output columns: as of [`crate::join::JoinSpec`].
#[derive(Clone, Debug)]
pub struct IntervalJoinSpec {
    /// Which rows without a partner are kept.
    pub kind: JoinKind,
    /// Key columns of the left input. NULL never equals NULL.
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, of the same types.
    pub right_keys: Vec<usize>,
    /// The left input's time column, `Timestamp(ms)`. A row without time meets nothing.
    pub left_time: usize,
    /// The right input's time column.
    pub right_time: usize,
    /// Least `left.time - right.time` of a pair, in milliseconds; may be negative.
    pub lower_ms: i64,
    /// Greatest `left.time - right.time` of a pair, in milliseconds, inclusive.
    pub upper_ms: i64,
    /// What else a pair must fulfil.
    pub residual: Option<Residual>,
}

/// Rows in one output batch, at most.
const OUTPUT_ROWS_MAX: usize = 16_384;

/// The operator: port 0 is the left input, port 1 the right. See the [module](self).
#[derive(Debug)]
pub struct IntervalJoin {
    spec: IntervalJoinSpec,
    output: SchemaRef,
    residual: Option<Test>,
    index: KeyIndex,
    sides: [TimedRows; 2],
}

/// A left and a right row, either of which may be [`NONE`].
type Pair = (u32, u32);

impl IntervalJoin {
    /// An operator without state.
    ///
    /// # Errors
    /// If the keys' types differ or can't be compared.
    pub fn new(
        spec: IntervalJoinSpec,
        left: SchemaRef,
        right: SchemaRef,
    ) -> Result<Self, OperatorError> {
        let key_types = crate::join::key_types(&left, &spec.left_keys, &right, &spec.right_keys)?;
        Ok(IntervalJoin {
            output: output_schema(spec.kind, &left, &right),
            residual: Test::of(spec.residual.as_ref(), &left, &right)?,
            index: KeyIndex::new(&key_types)?,
            sides: [TimedRows::new(left)?, TimedRows::new(right)?],
            spec,
        })
    }

    /// As of [`crate::join::Join::output_schema`].
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    /// Whether rows of a side that never meet a partner are shown.
    fn shows_unmatched(&self, port: usize) -> bool {
        match self.spec.kind {
            JoinKind::Full => true,
            JoinKind::Left | JoinKind::LeftAnti => port == 0,
            JoinKind::Right => port == 1,
            JoinKind::Inner | JoinKind::LeftSemi => false,
        }
    }

    /// Times of one side up to this can meet no row that comes after the watermark.
    fn deadline(&self, port: usize, watermark: Watermark) -> i64 {
        match (watermark, port) {
            (Watermark::MIN | Watermark::MAX, _) => watermark.0,
            // Right rows to come are later than the watermark, so left ones are needed if
            // `left - right >= lower` leaves room for that.
            (Watermark(now), 0) => now.saturating_add(self.spec.lower_ms),
            (Watermark(now), _) => now.saturating_sub(self.spec.upper_ms),
        }
    }

    /// Holds an epoch's rows of one side.
    fn add(
        &mut self,
        port: usize,
        batches: &[Batch],
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let batch = Batch::concat(&self.sides[port].schema, batches)?;
        if batch.weights().is_some_and(|weights| weights.iter().any(|&w| w < 0)) {
            return Err(OperatorError::Data(
                "an interval join was sent a deletion, but its inputs must only grow".into(),
            ));
        }
        let rows = batch.columns();
        let times = self.times(port, rows)?;
        let slots = self.assign(port, rows, &times)?;
        let side = &mut self.sides[port];
        let encoded = side.codec.encode(rows.columns())?;
        for (row, &slot) in slots.iter().enumerate().filter(|&(_, &slot)| slot != NO_SLOT) {
            for _ in 0..batch.weight(row) {
                let sequence = side.numbers.give();
                let id = side.insert(Row {
                    bytes: encoded.get(row).into(),
                    time: times.value(row),
                    sequence,
                    slot,
                    fresh: row as u32,
                    ..Row::default()
                });
                side.journal.touch(id);
                side.new.push(id);
            }
        }
        side.epoch = Some(rows.clone());
        self.show_keyless(port, &batch, &slots, output)
    }

    fn times(&self, port: usize, rows: &RecordBatch) -> Result<Int64Array, OperatorError> {
        let column = [self.spec.left_time, self.spec.right_time][port];
        let times = cast(rows.column(column), &DataType::Int64)?;
        Ok(times.as_primitive::<Int64Type>().clone())
    }

    fn assign(
        &mut self,
        port: usize,
        rows: &RecordBatch,
        times: &Int64Array,
    ) -> Result<Vec<u32>, OperatorError> {
        let keys = [&self.spec.left_keys, &self.spec.right_keys][port];
        let columns: Vec<ArrayRef> = keys.iter().map(|&key| rows.column(key).clone()).collect();
        let valid = NullBuffer::union(times.nulls(), all_valid(&columns).as_ref());
        let (mut slots, sides) = (Vec::new(), &mut self.sides);
        self.index.assign(&columns, rows.num_rows(), valid.as_ref(), &mut slots, |slot, _| {
            sides.iter_mut().for_each(|side| side.insert_key(slot));
        })?;
        Ok(slots)
    }

    /// Rows without key or time meet nothing: they are shown at once, if at all.
    fn show_keyless(
        &self,
        port: usize,
        rows: &Batch,
        slots: &[u32],
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        if !self.shows_unmatched(port) || !slots.contains(&NO_SLOT) {
            return Ok(());
        }
        let keep: BooleanArray = slots.iter().map(|&slot| Some(slot == NO_SLOT)).collect();
        let rows = rows.filter(&keep)?;
        let mut columns = rows.columns().columns().to_vec();
        if self.spec.kind.has_pairs() {
            let other = self.sides[1 - port].schema.fields();
            let nulls = other.iter().map(|f| new_null_array(f.data_type(), rows.len()));
            let at = if port == 0 { columns.len() } else { 0 };
            columns.splice(at..at, nulls);
        }
        output.rows.push(rows.with_columns(RecordBatch::try_new(self.output.clone(), columns)?));
        Ok(())
    }

    /// The pairs that the epoch's rows make, each once.
    fn pairs(&self) -> Vec<Pair> {
        let [left, right] = &self.sides;
        let IntervalJoinSpec { lower_ms, upper_ms, .. } = self.spec;
        let mut pairs = Vec::new();
        for &l in &left.new {
            let row = &left.rows[l as usize];
            let times = row.time.saturating_sub(upper_ms)..=row.time.saturating_sub(lower_ms);
            pairs.extend(right.within(row.slot, times).map(|r| (l, r)));
        }
        for &r in &right.new {
            let row = &right.rows[r as usize];
            let times = row.time.saturating_add(lower_ms)..=row.time.saturating_add(upper_ms);
            // A left row that is new has met this one above.
            let held = |l: &u32| left.rows[*l as usize].fresh == NONE;
            pairs.extend(left.within(row.slot, times).filter(held).map(|l| (l, r)));
        }
        pairs
    }

    /// Shows the pairs that pass the residual.
    fn join(&mut self, now_ms: i64, output: &mut Output) -> Result<(), OperatorError> {
        for chunk in self.pairs().chunks(OUTPUT_ROWS_MAX) {
            let passing = match &self.residual {
                None => chunk.to_vec(),
                Some(residual) => self.passing(chunk, residual, now_ms)?,
            };
            let mut first = Vec::new();
            for &(l, r) in &passing {
                if self.set_matched(0, l) {
                    first.push((l, NONE));
                }
                self.set_matched(1, r);
            }
            match self.spec.kind {
                JoinKind::LeftSemi => self.emit(&first, output)?,
                JoinKind::LeftAnti => {}
                _ => self.emit(&passing, output)?,
            }
        }
        Ok(())
    }

    /// Notes that a row has a partner; says whether it is the first.
    fn set_matched(&mut self, port: usize, id: u32) -> bool {
        let decides = match self.spec.kind {
            JoinKind::LeftSemi => port == 0,
            _ => self.shows_unmatched(port),
        };
        let is_first = self.sides[port].set_matched(id);
        // Where no later epoch asks for it, a snapshot need not say it.
        if is_first && decides {
            self.sides[port].journal.touch(id);
        }
        is_first
    }

    fn passing(
        &self,
        pairs: &[Pair],
        residual: &Test,
        now_ms: i64,
    ) -> Result<Vec<Pair>, OperatorError> {
        let columns = self.columns(pairs, true)?;
        let passes = residual.passes_whole(&columns, pairs.len(), now_ms)?;
        let passing = pairs.iter().zip(passes.values()).filter(|(_, passes)| *passes);
        Ok(passing.map(|(pair, _)| *pair).collect())
    }

    fn columns(&self, pairs: &[Pair], both: bool) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut columns = self.sides[0].gather(pairs.iter().map(|pair| pair.0))?;
        if both {
            columns.extend(self.sides[1].gather(pairs.iter().map(|pair| pair.1))?);
        }
        Ok(columns)
    }

    fn emit(&self, pairs: &[Pair], output: &mut Output) -> Result<(), OperatorError> {
        for chunk in pairs.chunks(OUTPUT_ROWS_MAX) {
            let columns = self.columns(chunk, self.spec.kind.has_pairs())?;
            output.rows.push(RecordBatch::try_new(self.output.clone(), columns)?.into());
        }
        Ok(())
    }

    /// Reports rows of one side that came too late to meet what they would have met.
    fn report_late(
        &self,
        port: usize,
        watermark: Watermark,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let side = &self.sides[port];
        let (Some(epoch), false) = (&side.epoch, self.shows_unmatched(port)) else {
            return Ok(());
        };
        if watermark == Watermark::MIN {
            return Ok(());
        }
        // In time are also rows that could only have met others before them.
        let last = self.deadline(port, watermark).min(watermark.0);
        let late = side.new.iter().map(|&id| &side.rows[id as usize]);
        let late = late.filter(|row| row.time <= last && !row.is_matched);
        let late: UInt32Array = late.map(|row| row.fresh).collect::<Vec<_>>().into();
        if !late.is_empty() {
            let rows = Batch::append_only(epoch.clone()).take(&late)?;
            output.late.push(LateRows { rows, watermark });
        }
        Ok(())
    }

    /// Forgets rows that can meet no other any more, showing those that met none if asked for.
    fn expire(&mut self, watermark: Watermark, output: &mut Output) -> Result<(), OperatorError> {
        if watermark == Watermark::MIN {
            return Ok(());
        }
        for port in 0..2 {
            let mut emptied = Vec::new();
            let deadline = self.deadline(port, watermark);
            let expired = self.sides[port].expire(deadline, |slot| emptied.push(slot));
            if self.shows_unmatched(port) {
                let rows = &self.sides[port].rows;
                let alone = expired.iter().copied().filter(|&id| !rows[id as usize].is_matched);
                let pair = |id| if port == 0 { (id, NONE) } else { (NONE, id) };
                let pairs: Vec<Pair> = alone.map(pair).collect();
                self.emit(&pairs, output)?;
            }
            for id in expired {
                let group = self.index.group(self.sides[port].rows[id as usize].slot);
                let number = self.sides[port].free(id);
                self.sides[port].numbers.removed(group, number);
            }
            for slot in emptied {
                self.forget_if_empty(slot);
            }
        }
        Ok(())
    }

    fn forget_if_empty(&mut self, slot: u32) {
        if self.sides.iter().all(|side| side.is_empty(slot)) {
            self.index.remove(slot);
        }
    }
}

impl Operator for IntervalJoin {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        for (port, mut batches) in inputs.into_iter().enumerate() {
            batches.retain(|batch| !batch.is_empty());
            if !batches.is_empty() {
                self.add(port, &batches, output)?;
            }
        }
        self.join(context.now_ms, output)?;
        for port in 0..2 {
            self.report_late(port, context.watermark_before, output)?;
        }
        // Rows that expire are read before the epoch's columns go.
        let expired = self.expire(context.watermark_after, output);
        self.sides.iter_mut().for_each(TimedRows::settle);
        expired
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        self.take_snapshot(scope)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        self.restore_snapshot(snapshot)
    }

    fn state_bytes(&self) -> usize {
        self.index.bytes() + self.sides.iter().map(TimedRows::state_bytes).sum::<usize>()
    }
}
