//! The state of an `OVER` on its way to and from a checkpoint.
//!
//! Table `rows`, of [`numbered`] rows: `key_group`, `sequence`, `arrival`, `turn` (whether the row
//! had it), then the input's columns. Aggregates over bounded frames are not written: their rows
//! are there, and go through them again. With a `LEAD`, the results that no later row changes
//! follow, of the rows that await one.
//!
//! Table `totals`, of unbounded frames, whose rows are not kept: `key_group`, the key columns, the
//! aggregates' state.

use super::frames::Turns;
use super::{Over, Partition, Row, Step};
use crate::key::KeyGroup;
use crate::operator::OperatorError;
use crate::snapshot::journal;
use crate::snapshot::{
    self, CHUNK_ROWS, Snapshot, SnapshotScope, SnapshotTable, key_group_field, key_groups, numbered,
};
use crate::window::times;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt8Array, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

const ROWS: &str = "rows";
const TOTALS: &str = "totals";
const LEADING: usize = numbered::KEY_WIDTH + 2;

/// What changed since the last snapshot.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) rows: journal::Journal,
    /// By slot of the index.
    pub(super) totals: journal::Journal,
}

impl Journal {
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + self.totals.bytes()
    }
}

impl Over {
    pub(super) fn take_snapshot(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Snapshot, OperatorError> {
        self.rebuild()?;
        let mut tables = self.take_rows(scope)?;
        tables.extend(self.take_totals(scope)?);
        Ok(Snapshot { tables })
    }

    fn take_rows(&mut self, scope: SnapshotScope) -> Result<Vec<SnapshotTable>, OperatorError> {
        let deletes = self.numbers.take(scope)?;
        let mut rows = std::mem::take(&mut self.journal.rows);
        let ids = rows.take(scope, || self.all_rows());
        self.journal.rows = rows;
        let upserts = ids.chunks(CHUNK_ROWS).map(|ids| self.row_upserts(ids));
        let upserts = upserts.collect::<Result<Vec<_>, _>>()?;
        snapshot::tables(ROWS, numbered::KEY_WIDTH, &deletes, &upserts)
    }

    fn take_totals(&mut self, scope: SnapshotScope) -> Result<Vec<SnapshotTable>, OperatorError> {
        if self.spec.frame.is_bounded() || self.aggregates.is_empty() {
            return Ok(Vec::new());
        }
        let slots = self.journal.totals.take(scope, || self.index.slots());
        let upserts = slots.chunks(CHUNK_ROWS).map(|slots| self.totals(slots));
        let upserts = upserts.collect::<Result<Vec<_>, _>>()?;
        snapshot::tables(TOTALS, 1 + self.spec.partition.len(), &[], &upserts)
    }

    fn all_rows(&self) -> Vec<u32> {
        let waiting = self.waiting.values().copied();
        let slots = self.index.slots();
        let slots = slots.iter().map(|&slot| &self.partitions[slot as usize]);
        waiting.chain(slots.flat_map(|p| p.history.iter().map(|&(_, id)| id))).collect()
    }

    fn row_upserts(&self, ids: &[u32]) -> Result<RecordBatch, OperatorError> {
        let rows = || ids.iter().map(|&id| &self.rows[id as usize]);
        let groups = rows().map(|row| self.index.group(row.slot));
        let is_waiting = |row: &Row| self.waiting.contains_key(&row.place());
        let turn: Vec<bool> = rows().map(|row| !is_waiting(row)).collect();
        let key = numbered::key_columns(groups, rows().map(|row| row.sequence));
        let mut columns: Vec<ArrayRef> = key.into();
        columns.push(Arc::new(Int64Array::from_iter_values(rows().map(|row| row.arrival))));
        columns.push(Arc::new(BooleanArray::from(turn)));
        columns.extend(self.codec.decode(rows().map(|row| &*row.bytes))?);
        let lead = [
            Field::new("arrival", DataType::Int64, false),
            Field::new("turn", DataType::Boolean, false),
        ];
        let fields = numbered::key_fields().into_iter().chain(lead).map(Arc::new);
        let mut fields: Vec<_> = fields.chain(self.input.fields().iter().cloned()).collect();
        if let Some(leads) = &self.leads {
            columns.extend(leads.saved(ids)?);
            fields.extend(leads.saved_fields().map(Arc::new));
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    fn totals(&self, slots: &[u32]) -> Result<RecordBatch, OperatorError> {
        let groups = slots.iter().map(|&slot| self.index.group(slot).0);
        let mut fields = vec![key_group_field()];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt8Array::from_iter_values(groups))];
        fields.extend(self.spec.partition.iter().map(|&c| self.input.field(c).clone()));
        columns.extend(self.index.columns(slots)?);
        for (number, (_, aggregate)) in self.aggregates.iter().enumerate() {
            for (part, state) in aggregate.state(slots)?.into_iter().enumerate() {
                let name = format!("state_{number}_{part}");
                fields.push(Field::new(name, state.data_type().clone(), true));
                columns.push(state);
            }
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    pub(super) fn restore_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        for table in &snapshot.tables {
            match table.name.as_str() {
                ROWS => {
                    if let Some(deletes) = &table.deletes {
                        self.restore_deletes(deletes);
                    }
                    if let Some(upserts) = &table.upserts {
                        self.restore_rows(upserts)?;
                    }
                }
                TOTALS => {
                    if let Some(upserts) = &table.upserts {
                        self.restore_totals(upserts)?;
                    }
                }
                _ => {}
            }
        }
        self.journal.totals.begin();
        self.is_rebuilt = false;
        Ok(())
    }

    fn by_number(&self) -> HashMap<(KeyGroup, i64), u32> {
        let number = |id: u32| {
            let row = &self.rows[id as usize];
            ((self.index.group(row.slot), row.sequence), id)
        };
        self.all_rows().into_iter().map(number).collect()
    }

    fn restore_deletes(&mut self, batch: &RecordBatch) {
        let there = self.by_number();
        for number in numbered::named(batch) {
            if let Some(&id) = there.get(&number) {
                self.unlist(id);
                self.forget_row(id);
            }
        }
        self.numbers.end_restore();
    }

    /// Takes a row from where it stands.
    fn unlist(&mut self, id: u32) {
        let row = &self.rows[id as usize];
        let partition = &mut self.partitions[row.slot as usize];
        if self.waiting.remove(&row.place()).is_some() {
            partition.waiting -= 1;
            return;
        }
        let Some(at) = partition.history.iter().position(|&(_, other)| other == id) else { return };
        partition.history.remove(at);
    }

    fn restore_rows(&mut self, batch: &RecordBatch) -> Result<(), OperatorError> {
        // Rows of equal time come back in the order in which they came.
        let order = {
            let sequences = batch.column(1).as_primitive::<Int64Type>().values();
            let arrivals = batch.column(2).as_primitive::<Int64Type>().values();
            let times = times(batch, LEADING + self.spec.time)?;
            let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
            order.sort_by_key(|&row| {
                let row = row as usize;
                (times[row], arrivals[row], sequences[row])
            });
            order
        };
        let batch = take_record_batch(batch, &UInt32Array::from(order))?;
        let groups = key_groups(&batch);
        let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>().values();
        let (sequences, arrivals) = (numbers(1), numbers(2));
        let turn = batch.column(3).as_boolean();
        let width = LEADING + self.input.fields().len();
        let rows = batch.project(&(LEADING..width).collect::<Vec<_>>())?;
        let there = self.by_number();
        let times = times(&rows, self.spec.time)?;
        let slots = self.assign(&rows)?;
        let encoded = self.codec.encode(rows.columns())?;
        let mut ids = Vec::with_capacity(slots.len());
        for (row, &slot) in slots.iter().enumerate() {
            let sequence = sequences[row];
            self.numbers.restored(sequence);
            let id = match there.get(&(KeyGroup(groups[row]), sequence)) {
                Some(&id) => {
                    self.unlist(id);
                    id
                }
                None => self.hold(Row {
                    bytes: encoded.get(row).into(),
                    time: times[row],
                    arrival: arrivals[row],
                    sequence,
                    slot,
                }),
            };
            self.journal.rows.restored(id);
            ids.push(id);
            match turn.value(row) {
                false => self.wait(id),
                true => self.restore_turn(id),
            }
        }
        match &mut self.leads {
            None => Ok(()),
            Some(leads) => {
                let had_turn = ids.iter().zip(turn.values()).map(|(&id, turn)| turn.then_some(id));
                leads.restore(had_turn, &batch.columns()[width..])
            }
        }
    }

    /// Puts a row that had its turn back into its key's history.
    fn restore_turn(&mut self, id: u32) {
        let rows = &self.rows;
        let row = &rows[id as usize];
        let history = &mut self.partitions[row.slot as usize].history;
        let is_before = |&(_, other): &(i64, u32)| rows[other as usize].place() < row.place();
        history.insert(history.partition_point(is_before), (row.time, id));
    }

    fn restore_totals(&mut self, batch: &RecordBatch) -> Result<(), OperatorError> {
        let width = self.spec.partition.len();
        let keys: Vec<ArrayRef> = batch.columns()[1..=width].to_vec();
        let partitions = &mut self.partitions;
        let mut slots = Vec::new();
        self.index.assign(&keys, batch.num_rows(), None, &mut slots, |slot, _| match partitions
            .get_mut(slot as usize)
        {
            Some(partition) => *partition = Partition::default(),
            None => partitions.push(Partition::default()),
        })?;
        let mut column = 1 + width;
        for (_, aggregate) in &mut self.aggregates {
            let parts = aggregate.state_types().len();
            aggregate.resize(self.partitions.len());
            aggregate.reset(&slots);
            aggregate.merge(&slots, &batch.columns()[column..column + parts])?;
            column += parts;
        }
        Ok(())
    }

    /// After a restore: sends the rows of bounded frames through the aggregates again, and drops
    /// keys that have nothing left, and results that nothing awaits any more.
    pub(super) fn rebuild(&mut self) -> Result<(), OperatorError> {
        if std::mem::replace(&mut self.is_rebuilt, true) {
            return Ok(());
        }
        if let Some(leads) = &mut self.leads {
            self.partitions.iter().for_each(|partition| leads.trim(&partition.history));
        }
        if !self.spec.frame.is_bounded() {
            return Ok(());
        }
        let (mut step, mut read) = (Step::default(), Vec::new());
        let slots: Vec<u32> = self.index.slots();
        for slot in slots {
            let partition = &mut self.partitions[slot as usize];
            if partition.history.is_empty() && partition.waiting == 0 {
                self.index.remove(slot);
                continue;
            }
            if let Some(&(last, _)) = partition.history.back()
                && self.reach == 0
                && matches!(self.spec.frame, super::Frame::Range { .. })
            {
                self.idle.push(Reverse((last, slot)));
            }
            partition.framed = Turns::new(slot, &partition.history, 0).finish(self.spec.frame).1;
            let from = partition.history.len() - partition.framed;
            let start = read.len() as u32;
            read.extend(partition.history.range(from..).map(|&(_, id)| id));
            step.push(slot, &(start..read.len() as u32).collect::<Vec<_>>(), 1);
        }
        if read.is_empty() {
            return Ok(());
        }
        let bytes = read.iter().map(|&id| &*self.rows[id as usize].bytes);
        let rows = RecordBatch::try_new(self.input.clone(), self.codec.decode(bytes)?)?;
        let arrivals = Int64Array::from_iter_values(0..read.len() as i64);
        for (call, aggregate) in &mut self.aggregates {
            // The frames' rows are older than any of an epoch to come.
            step.apply(call, &mut **aggregate, &rows, 0, &arrivals)?;
        }
        Ok(())
    }
}
