//! Top-N and deduplication: `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) <= n`.
//!
//! ```text
//! input          (a, 3) (b, 1) (a, 5) (a, 4)      PARTITION BY 1 ORDER BY 2 DESC, rank <= 2
//! state          a: 5 4    b: 1                    append-only: only what can still be shown
//! output, set    +(a, 5) +(a, 4) +(b, 1)           one epoch says each change once
//! next epoch     (a, 9):  -(a, 4) +(a, 9)
//! with ranks              -(a, 5, 1) +(a, 9, 1) -(a, 4, 2) +(a, 5, 2)
//! ```
//!
//! The invariant: **after every epoch, the sum of all output is the ranking of the sum of all
//! input.** So an epoch is applied whole, and what a partition showed before is compared with
//! what it shows after; how the rows of one epoch came about leaves no trace.
//!
//! A partition with a lifetime is forgotten when nothing has changed in it for so long: what it showed
//! stands, and its next row is the first one.
//!
//! Deduplication is the ranking with one row. A ranking per window waits for its window to close
//! and then speaks once.

mod changes;
mod ranking;
mod row_counts;
mod snapshot;
#[cfg(test)]
mod tests;

use crate::batch::Batch;
use crate::expiry::Expiry;
use crate::gather::Gather;
use crate::key_index::KeyIndex;
use crate::operator::{EpochContext, LateRows, Operator, OperatorError, Output};
use crate::row_codec::{RowBytes, RowCodec};
use crate::snapshot::journal::Journal;
use crate::snapshot::numbered::Numbers;
use crate::snapshot::{Snapshot, SnapshotScope};
use crate::time::Watermark;
use crate::window::times;
use crate::window::zone::local_watermark;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::SortField;
use changes::Change;
use ranking::{ByRank, Kept, NOT_FRESH, Ranked, Tie};
use row_counts::{Missing, Put, RowCounts, Taken};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One term of an `ORDER BY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SortTerm {
    /// Input column.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// Whether NULLs come before everything else.
    pub nulls_first: bool,
}

/// Which rows to keep per partition, and how to show their rank.
///
/// Output columns: the input's, then `Int64` rank if `rank_output`.
#[derive(Clone, Debug)]
pub struct TopNSpec {
    /// Partition columns; none for one global ranking.
    pub partition: Vec<usize>,
    /// The order; ties go to the earlier arrival.
    pub order: Vec<SortTerm>,
    /// First rank kept, from 1.
    pub first: u64,
    /// Last rank kept, inclusive.
    pub last: u64,
    /// Whether the rank is a column of the output.
    pub rank_output: bool,
    /// Whether rows may be retracted: then every row is held, else only those that can still
    /// be of the first `last`.
    pub updating: bool,
    /// Whether later arrivals win ties (deduplication by row time keeping the last row).
    pub ties_to_last: bool,
    /// `window_end` column, if the ranking is per window: state is dropped and the final ranking
    /// emitted once, append-only, when the watermark closes the window.
    pub window_end: Option<usize>,
    /// Zone of the window's bounds.
    pub zone: crate::window::Zone,
    /// Column of arrival order, if known; else the order in which rows reach the operator. It is
    /// no part of a row's identity: a deletion takes back the row that equals it in all others.
    pub arrival: Option<usize>,
    /// Partitions that are idle for this long are forgotten; none keeps them for ever. Not of those
    /// that are per window.
    pub ttl_ms: Option<i64>,
}

/// Rows in one output batch, at most.
const OUTPUT_ROWS_MAX: usize = 16_384;

/// The operator. See the [module](self).
#[derive(Debug)]
pub struct TopN {
    spec: TopNSpec,
    input: SchemaRef,
    output: SchemaRef,
    first: usize,
    last: usize,
    order_codec: RowCodec,
    /// The input's columns that make a row what it is: all but the arrival, in which a deletion
    /// differs from the row that it takes back.
    held: Vec<usize>,
    held_schema: SchemaRef,
    row_codec: RowCodec,
    keys: KeyIndex,
    /// By slot of `keys`.
    partitions: Vec<Partition>,
    /// Only of an updating input.
    counts: RowCounts,
    /// Partitions by the wall-clock end of their window, if the ranking is per window.
    windows: BTreeMap<i64, Vec<u32>>,
    numbers: Numbers,
    touched: Touched,
    /// Slots of partitions that changed since the last snapshot.
    journal: Journal,
    row_bytes: usize,
    /// When each partition last changed, if they are forgotten.
    expiry: Option<Expiry>,
    now_ms: i64,
    /// Keys of partitions that the last snapshot has and that are forgotten.
    removed: Vec<RecordBatch>,
}

#[derive(Debug)]
struct Partition {
    kept: Kept,
    is_touched: bool,
}

/// The partitions that the current epoch changed, and what they showed before.
#[derive(Debug, Default)]
struct Touched {
    partitions: Vec<(u32, std::ops::Range<usize>)>,
    before: Vec<Ranked>,
}

/// One epoch's rows and what is read from them once for all.
struct EpochRows {
    rows: Batch,
    slots: Vec<u32>,
    orders: RowBytes,
    arrivals: Option<Int64Array>,
}

impl TopN {
    /// An operator without state.
    ///
    /// # Errors
    /// If a column can't be compared.
    pub fn new(spec: TopNSpec, input: SchemaRef) -> Result<Self, OperatorError> {
        let order = spec.order.iter().map(|term| {
            let options = SortOptions::new(term.descending, term.nulls_first);
            SortField::new_with_options(input.field(term.column).data_type().clone(), options)
        });
        let types: Vec<DataType> =
            spec.partition.iter().map(|&c| input.field(c).data_type().clone()).collect();
        let held: Vec<usize> =
            (0..input.fields().len()).filter(|&column| Some(column) != spec.arrival).collect();
        let held_schema = Arc::new(input.project(&held)?);
        let first = spec.first.clamp(1, u32::MAX.into()) as usize;
        let last = spec.last.min(u32::MAX.into()) as usize;
        Ok(TopN {
            output: output_schema(&spec, &input),
            first,
            last,
            order_codec: RowCodec::new(order.collect())?,
            row_codec: RowCodec::of_schema(&held_schema)?,
            held,
            held_schema,
            keys: KeyIndex::new(&types)?,
            partitions: Vec::new(),
            counts: RowCounts::default(),
            windows: BTreeMap::new(),
            numbers: Numbers::default(),
            touched: Touched::default(),
            journal: Journal::default(),
            row_bytes: 0,
            expiry: spec.ttl_ms.filter(|_| spec.window_end.is_none()).map(Expiry::new),
            now_ms: 0,
            removed: Vec::new(),
            spec,
            input,
        })
    }

    /// The input's columns, then the rank if it is asked for.
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    /// Applies the epoch's rows, all of them in time.
    fn rank(&mut self, rows: Batch) -> Result<(Batch, Vec<Change>), OperatorError> {
        let rows = self.prepare(rows)?;
        match self.spec.updating {
            true => self.rank_updating(&rows)?,
            false => {
                self.rank_appended(&rows)?;
                self.hold_fresh(&rows)?;
            }
        }
        let changes = self.settle()?;
        Ok((rows.rows, changes))
    }

    fn prepare(&mut self, rows: Batch) -> Result<EpochRows, OperatorError> {
        let arrivals = match self.spec.arrival {
            None => None,
            Some(column) => {
                let column = cast(rows.column(column), &DataType::Int64)?;
                Some(column.as_primitive::<Int64Type>().clone())
            }
        };
        let order: Vec<ArrayRef> =
            self.spec.order.iter().map(|term| rows.column(term.column).clone()).collect();
        let orders = self.order_codec.encode(&order)?;
        let slots = self.assign(rows.columns())?;
        Ok(EpochRows { rows, slots, orders, arrivals })
    }

    /// The partition of each row; makes those that are new.
    fn assign(&mut self, rows: &RecordBatch) -> Result<Vec<u32>, OperatorError> {
        let columns: Vec<ArrayRef> =
            self.spec.partition.iter().map(|&c| rows.column(c).clone()).collect();
        let ends = self.window_ends(rows)?;
        self.assign_keys(&columns, rows.num_rows(), ends.as_ref())
    }

    /// The partition of each of some keys, whose windows end then.
    fn assign_keys(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        ends: Option<&ScalarBuffer<i64>>,
    ) -> Result<Vec<u32>, OperatorError> {
        let (mut slots, mut new) = (Vec::new(), Vec::new());
        self.keys.assign(keys, rows, None, &mut slots, |slot, row| new.push((slot, row)))?;
        for (slot, row) in new {
            let kept = match self.spec.updating {
                true => Kept::All(BTreeSet::new()),
                false => Kept::Best(Vec::with_capacity(1)),
            };
            let partition = Partition { kept, is_touched: false };
            match self.partitions.get_mut(slot as usize) {
                Some(place) => *place = partition,
                None => self.partitions.push(partition),
            }
            if let Some(ends) = ends {
                self.windows.entry(ends[row]).or_default().push(slot);
            }
        }
        Ok(slots)
    }

    /// The wall-clock time at which each row's window ends, if the ranking is per window.
    fn window_ends(&self, rows: &RecordBatch) -> Result<Option<ScalarBuffer<i64>>, OperatorError> {
        self.spec.window_end.map(|column| times(rows, column)).transpose()
    }

    fn tie(&mut self, rows: &EpochRows, row: usize) -> (i64, Tie) {
        let sequence = self.numbers.give();
        let arrival = match &rows.arrivals {
            Some(arrivals) if arrivals.is_valid(row) => arrivals.value(row),
            Some(_) => i64::MIN,
            None => sequence,
        };
        (sequence, Tie::new(arrival, sequence, self.spec.ties_to_last))
    }

    /// Rows that are never taken back: a row that isn't among the best now never will be.
    fn rank_appended(&mut self, rows: &EpochRows) -> Result<(), OperatorError> {
        for row in 0..rows.rows.len() {
            let weight = rows.rows.weight(row);
            if weight < 0 {
                return Err(OperatorError::Data(
                    "a ranking planned for rows that are only added was sent a deletion".into(),
                ));
            }
            for _ in 0..weight.min(self.last as i64) {
                self.offer(rows, row);
            }
        }
        Ok(())
    }

    #[inline]
    fn offer(&mut self, rows: &EpochRows, row: usize) {
        let slot = rows.slots[row];
        let (_, tie) = self.tie(rows, row);
        let order = rows.orders.get(row);
        let Kept::Best(kept) = &self.partitions[slot as usize].kept else { return };
        let Some(position) = ranking::position(kept, self.last, order, tie, &rows.orders) else {
            return;
        };
        self.touch(slot);
        let Kept::Best(kept) = &mut self.partitions[slot as usize].kept else { return };
        let order_length = order.len() as u32;
        let new = Ranked { bytes: None, order_length, fresh: row as u32, tie };
        let out = match kept.len() < self.last {
            true => {
                kept.insert(position, new);
                None
            }
            false => {
                // The worst makes room: move the rows between, allocate nothing.
                kept[position..].rotate_right(1);
                Some(std::mem::replace(&mut kept[position], new))
            }
        };
        if let Some(Ranked { bytes: Some(bytes), tie, .. }) = out {
            self.row_bytes -= bytes.len();
            self.numbers.removed(self.keys.group(slot), tie.sequence(self.spec.ties_to_last));
        }
    }

    /// Gives rows of this epoch that stayed their bytes.
    fn hold_fresh(&mut self, rows: &EpochRows) -> Result<(), OperatorError> {
        let mut fresh = Vec::new();
        for (slot, _) in &self.touched.partitions {
            let kept = &self.partitions[*slot as usize].kept;
            kept.for_each(|r| fresh.extend(r.bytes.is_none().then_some(r.fresh)));
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let taken = rows.rows.take(&UInt32Array::from(fresh))?;
        let encoded = self.row_codec.encode(taken.columns().project(&self.held)?.columns())?;
        let (mut next, mut bytes) = (0, Vec::new());
        for (slot, _) in &self.touched.partitions {
            let Kept::Best(kept) = &mut self.partitions[*slot as usize].kept else { continue };
            for ranked in kept.iter_mut().filter(|r| r.bytes.is_none()) {
                bytes.clear();
                bytes.extend_from_slice(rows.orders.get(ranked.fresh as usize));
                bytes.extend_from_slice(encoded.get(next));
                ranked.bytes = Some(bytes.as_slice().into());
                self.row_bytes += bytes.len();
                next += 1;
            }
        }
        Ok(())
    }

    /// Rows that may be taken back: all are kept. What an epoch adds goes in before what it takes
    /// is taken, so that their order within the epoch doesn't matter.
    fn rank_updating(&mut self, rows: &EpochRows) -> Result<(), OperatorError> {
        let encoded = self.row_codec.encode(rows.rows.columns().project(&self.held)?.columns())?;
        let mut bytes = Vec::new();
        for deletions in [false, true] {
            for row in 0..rows.rows.len() {
                let weight = rows.rows.weight(row);
                if weight == 0 || (weight < 0) != deletions {
                    continue;
                }
                let order = rows.orders.get(row);
                bytes.clear();
                bytes.extend_from_slice(order);
                bytes.extend_from_slice(encoded.get(row));
                let slot = rows.slots[row];
                let order_length = order.len() as u32;
                let found = row_counts::RowBytes { bytes: &bytes, order_length, slot };
                self.touch(slot);
                for _ in 0..weight.unsigned_abs() {
                    let (sequence, tie) = self.tie(rows, row);
                    match deletions {
                        false => self.put(found, tie, sequence),
                        true => self.take(found, sequence),
                    }
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, row: row_counts::RowBytes<'_>, tie: Tie, sequence: i64) {
        match self.counts.put(row, tie, sequence) {
            Put::Paid(debt) => self.numbers.removed(self.keys.group(row.slot), debt),
            Put::Row(bytes) => {
                self.row_bytes += bytes.len();
                let Kept::All(kept) = &mut self.partitions[row.slot as usize].kept else { return };
                let (bytes, order_length) = (Some(bytes), row.order_length);
                kept.insert(ByRank(Ranked { bytes, order_length, fresh: NOT_FRESH, tie }));
            }
        }
    }

    fn take(&mut self, row: row_counts::RowBytes<'_>, sequence: i64) {
        let group = self.keys.group(row.slot);
        // Of what was forgotten more may be taken back than there is.
        let missing = if self.expiry.is_some() { Missing::Forgotten } else { Missing::ToCome };
        match self.counts.take(row, sequence, missing) {
            Taken::Owed(None) => {}
            Taken::Owed(Some(debt)) => self.numbers.removed(group, debt),
            Taken::Row(bytes, tie) => {
                self.row_bytes -= bytes.len();
                self.numbers.removed(group, tie.sequence(self.spec.ties_to_last));
                let Kept::All(kept) = &mut self.partitions[row.slot as usize].kept else { return };
                let (bytes, order_length) = (Some(bytes), row.order_length);
                kept.remove(&ByRank(Ranked { bytes, order_length, fresh: NOT_FRESH, tie }));
            }
        }
    }

    /// Remembers what a partition shows before its first change of the epoch.
    #[inline]
    fn touch(&mut self, slot: u32) {
        let partition = &mut self.partitions[slot as usize];
        if std::mem::replace(&mut partition.is_touched, true) {
            return;
        }
        self.journal.touch(slot);
        if let Some(expiry) = &mut self.expiry {
            expiry.used(self.now_ms, slot);
        }
        let start = self.touched.before.len();
        if self.spec.window_end.is_none() {
            partition.kept.shown(self.first, self.last, &mut self.touched.before);
        }
        self.touched.partitions.push((slot, start..self.touched.before.len()));
    }

    /// Ends the epoch for the partitions that it changed, and says how.
    fn settle(&mut self) -> Result<Vec<Change>, OperatorError> {
        let (mut changes, mut after, mut emptied) = (Vec::new(), Vec::new(), Vec::new());
        let Touched { partitions, before } = std::mem::take(&mut self.touched);
        for (slot, range) in &partitions {
            let partition = &mut self.partitions[*slot as usize];
            partition.is_touched = false;
            if self.spec.window_end.is_none() {
                after.clear();
                partition.kept.shown(self.first, self.last, &mut after);
                let before = &before[range.clone()];
                match self.spec.rank_output {
                    true => changes::of_ranks(before, &after, self.first as i64, &mut changes),
                    false => changes::of_rows(before, &after, &mut changes),
                }
            }
            if let Kept::Best(kept) = &mut partition.kept {
                kept.iter_mut().for_each(|ranked| ranked.fresh = NOT_FRESH);
            }
            // A window's partition stays until the window closes: it is listed there.
            if self.spec.window_end.is_none() && partition.kept.is_empty() && !self.counts.owes() {
                emptied.push(*slot);
            }
        }
        self.touched = Touched { partitions, before };
        self.touched.partitions.clear();
        self.touched.before.clear();
        self.free(&emptied)?;
        Ok(changes)
    }

    /// The final rankings of the windows that `watermark` closes, which are then forgotten.
    fn fire(&mut self, watermark: Watermark) -> Result<Vec<Change>, OperatorError> {
        let (mut changes, mut shown) = (Vec::new(), Vec::new());
        let watermark = local_watermark(watermark, self.spec.zone);
        while let Some(entry) = self.windows.first_entry()
            && watermark.closes(*entry.key())
        {
            let slots = entry.remove();
            for &slot in &slots {
                shown.clear();
                self.partitions[slot as usize].kept.shown(self.first, self.last, &mut shown);
                let ranked = shown.drain(..).zip(self.first as i64..);
                changes.extend(ranked.map(|(row, rank)| Change { row, rank, weight: 1 }));
                self.empty(slot);
            }
            self.free(&slots)?;
        }
        Ok(changes)
    }

    /// Forgets partitions in which nothing has changed for too long.
    fn forget_idle(&mut self) -> Result<(), OperatorError> {
        let Some(expiry) = &mut self.expiry else { return Ok(()) };
        let idle = expiry.idle(self.now_ms, || self.keys.slots());
        idle.iter().for_each(|&slot| self.empty(slot));
        self.free(&idle)
    }

    /// Forgets a partition's rows.
    fn empty(&mut self, slot: u32) {
        let group = self.keys.group(slot);
        let kept =
            std::mem::replace(&mut self.partitions[slot as usize].kept, Kept::Best(Vec::new()));
        kept.for_each(|ranked| {
            self.row_bytes -= ranked.bytes.as_ref().map_or(0, |b| b.len());
            self.numbers.removed(group, ranked.tie.sequence(self.spec.ties_to_last));
            if self.spec.updating {
                self.counts.drop_row(ranked.bytes.as_deref().unwrap_or_default());
            }
        });
        self.counts.drop_debts(slot, |debt| {
            self.numbers.removed(group, debt);
            true
        });
    }

    /// Forgets partitions that have no rows any more.
    fn free(&mut self, slots: &[u32]) -> Result<(), OperatorError> {
        let saved = slots.iter().copied().filter(|&slot| self.journal.remove(slot));
        let saved: Vec<u32> = saved.collect();
        if self.expiry.is_some() && !saved.is_empty() {
            self.removed.push(self.keyed(&saved)?);
        }
        slots.iter().for_each(|&slot| self.keys.remove(slot));
        Ok(())
    }

    /// The output batches of `changes`; fresh rows are those of `epoch`.
    fn emit(
        &self,
        epoch: Option<&Batch>,
        changes: &[Change],
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let epoch = epoch.map(|rows| rows.columns().project(&self.held)).transpose()?;
        for changes in changes.chunks(OUTPUT_ROWS_MAX) {
            let mut gather = Gather::with_capacity(changes.len());
            for Change { row, .. } in changes {
                match row.fresh {
                    NOT_FRESH => {
                        gather.held(row.row());
                    }
                    fresh => gather.epoch(fresh),
                }
            }
            let columns = gather.columns(&self.row_codec, &self.held_schema, epoch.as_ref())?;
            let arrivals = changes.iter().map(|c| c.row.tie.arrival(self.spec.ties_to_last));
            let mut columns = self.with_arrivals(columns, arrivals)?;
            if self.spec.rank_output {
                columns
                    .push(Arc::new(Int64Array::from_iter_values(changes.iter().map(|c| c.rank))));
            }
            let weights = changes
                .iter()
                .any(|c| c.weight != 1)
                .then(|| changes.iter().map(|c| c.weight).collect());
            let columns = RecordBatch::try_new(self.output.clone(), columns)?;
            output.rows.push(Batch::new(columns, weights));
        }
        Ok(())
    }

    /// All of the input's columns, of those that are held and the arrivals.
    fn with_arrivals(
        &self,
        mut held: Vec<ArrayRef>,
        arrivals: impl Iterator<Item = i64>,
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        if let Some(column) = self.spec.arrival {
            let arrivals: ArrayRef = Arc::new(Int64Array::from_iter_values(arrivals));
            held.insert(column, cast(&arrivals, self.input.field(column).data_type())?);
        }
        Ok(held)
    }

    /// Takes out the rows whose window was closed before they came.
    fn split_late(
        &self,
        rows: Batch,
        watermark: Watermark,
        output: &mut Output,
    ) -> Result<Batch, OperatorError> {
        let Some(ends) = self.window_ends(rows.columns())? else { return Ok(rows) };
        let wall = local_watermark(watermark, self.spec.zone);
        if !ends.iter().any(|&end| wall.closes(end)) {
            return Ok(rows);
        }
        let late = |is: bool| -> BooleanArray {
            ends.iter().map(|&end| Some(wall.closes(end) == is)).collect()
        };
        output.late.push(LateRows { rows: rows.filter(&late(true))?, watermark });
        Ok(rows.filter(&late(false))?)
    }
}

impl Operator for TopN {
    fn apply(
        &mut self,
        mut inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let mut batches = inputs.drain(..).next().unwrap_or_default();
        batches.retain(|batch| !batch.is_empty());
        self.now_ms = context.now_ms;
        self.forget_idle()?;
        if !batches.is_empty() && self.last >= self.first {
            let rows = Batch::concat(&self.input, &batches)?;
            let rows = self.split_late(rows, context.watermark_before, output)?;
            let (rows, changes) = self.rank(rows)?;
            self.emit(Some(&rows), &changes, output)?;
        }
        if !self.windows.is_empty() {
            let changes = self.fire(context.watermark_after)?;
            self.emit(None, &changes, output)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        self.take_snapshot(scope)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        self.restore_snapshot(snapshot)
    }

    fn state_bytes(&self) -> usize {
        let partition = size_of::<Partition>() + size_of::<Ranked>();
        self.keys.bytes()
            + self.partitions.len() * partition
            + self.row_bytes
            + self.counts.state_bytes()
            + self.journal.bytes()
            + self.expiry.as_ref().map_or(0, Expiry::bytes)
    }
}

fn output_schema(spec: &TopNSpec, input: &SchemaRef) -> SchemaRef {
    if !spec.rank_output {
        return input.clone();
    }
    let mut fields: Vec<_> = input.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("rank", DataType::Int64, false)));
    Arc::new(Schema::new_with_metadata(fields, input.metadata().clone()))
}
