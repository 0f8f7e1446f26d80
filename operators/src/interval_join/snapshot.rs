//! An interval join's state on its way to and from a checkpoint.
//!
//! Two tables, `left` and `right`: `key_group`, `sequence`, `matched`, then the input's columns. A
//! row's key is its group and its sequence number, which is never given twice in a group.

use super::IntervalJoin;
use super::timed_rows::{NONE, Row};
use crate::key::KeyGroup;
use crate::operator::{OperatorError, Snapshot, SnapshotScope, SnapshotTable};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt8Array, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt8Type};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const TABLES: [&str; 2] = ["left", "right"];
const LEAD_WIDTH: usize = 3;

/// Numbers rows, and remembers which of those that a snapshot has are gone.
#[derive(Debug, Default)]
pub(super) struct Journal {
    sequence_next: i64,
    removed: [Vec<(KeyGroup, i64)>; 2],
}

impl Journal {
    pub(super) fn next(&mut self) -> i64 {
        self.sequence_next += 1;
        self.sequence_next - 1
    }

    pub(super) fn removed(&mut self, port: usize, group: KeyGroup, sequence: Option<i64>) {
        self.removed[port].extend(sequence.map(|sequence| (group, sequence)));
    }
}

impl IntervalJoin {
    pub(super) fn take_snapshot(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Snapshot, OperatorError> {
        let mut snapshot = Snapshot::default();
        for (port, name) in TABLES.into_iter().enumerate() {
            let removed = std::mem::take(&mut self.journal.removed[port]);
            let changed = self.sides[port].take_changed();
            let (ids, deletes) = match scope {
                SnapshotScope::Full => (self.sides[port].ids().collect(), None),
                SnapshotScope::Changed if removed.is_empty() => (changed, None),
                SnapshotScope::Changed => (changed, Some(deletes(&removed)?)),
            };
            let upserts = if ids.is_empty() { None } else { Some(self.upserts(port, &ids)?) };
            if deletes.is_some() || upserts.is_some() {
                snapshot.tables.push(SnapshotTable { name: name.into(), deletes, upserts });
            }
        }
        Ok(snapshot)
    }

    fn upserts(&self, port: usize, ids: &[u32]) -> Result<RecordBatch, OperatorError> {
        let side = &self.sides[port];
        let rows = || ids.iter().map(|&id| &side.rows[id as usize]);
        let groups = rows().map(|row| self.index.group(row.slot).0);
        let matched: Vec<bool> = rows().map(|row| row.is_matched).collect();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt8Array::from_iter_values(groups)),
            Arc::new(Int64Array::from_iter_values(rows().map(|row| row.sequence))),
            Arc::new(BooleanArray::from(matched)),
        ];
        columns.extend(side.codec.decode(rows().map(|row| &*row.bytes))?);
        let fields = lead_fields().into_iter().map(Arc::new);
        let fields: Vec<_> = fields.chain(side.schema.fields().iter().cloned()).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    pub(super) fn restore_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        for table in &snapshot.tables {
            let Some(port) = TABLES.iter().position(|name| *name == table.name) else { continue };
            if let Some(deletes) = &table.deletes {
                self.restore_deletes(port, deletes);
            }
            if let Some(upserts) = &table.upserts {
                self.restore_upserts(port, upserts)?;
            }
        }
        Ok(())
    }

    /// The rows that are there already, by group and number.
    fn by_number(&self, port: usize) -> HashMap<(u8, i64), u32> {
        let side = &self.sides[port];
        let number = |id: u32| {
            let row = &side.rows[id as usize];
            ((self.index.group(row.slot).0, row.sequence), id)
        };
        side.ids().map(number).collect()
    }

    fn restore_upserts(&mut self, port: usize, batch: &RecordBatch) -> Result<(), OperatorError> {
        // Rows of equal time must come back in the order in which they came.
        let sequences = batch.column(1).as_primitive::<Int64Type>().values().clone();
        let mut by_sequence: Vec<u32> = (0..batch.num_rows() as u32).collect();
        by_sequence.sort_by_key(|&row| sequences[row as usize]);
        let batch = take_record_batch(batch, &UInt32Array::from(by_sequence))?;
        let groups = batch.column(0).as_primitive::<UInt8Type>().values();
        let sequences = batch.column(1).as_primitive::<Int64Type>().values();
        let matched = batch.column(2).as_boolean();
        let width = self.sides[port].schema.fields().len();
        let rows = batch.project(&(LEAD_WIDTH..LEAD_WIDTH + width).collect::<Vec<_>>())?;
        let there = self.by_number(port);
        let times = self.times(port, &rows)?;
        let slots = self.assign(port, &rows, &times)?;
        let side = &mut self.sides[port];
        let encoded = side.codec.encode(rows.columns())?;
        for (row, &slot) in slots.iter().enumerate() {
            let sequence = sequences[row];
            self.journal.sequence_next = self.journal.sequence_next.max(sequence + 1);
            if let Some(&id) = there.get(&(groups[row], sequence)) {
                side.rows[id as usize].is_matched = matched.value(row);
                continue;
            }
            side.insert(Row {
                bytes: encoded.get(row).into(),
                time: times.value(row),
                sequence,
                slot,
                fresh: NONE,
                is_matched: matched.value(row),
                ..Row::default()
            });
        }
        // They come from a snapshot: none of them is news for the next one.
        side.take_changed();
        Ok(())
    }

    fn restore_deletes(&mut self, port: usize, batch: &RecordBatch) {
        let groups = batch.column(0).as_primitive::<UInt8Type>().values();
        let sequences = batch.column(1).as_primitive::<Int64Type>().values();
        let there = self.by_number(port);
        let gone = groups.iter().zip(sequences).filter_map(|(&g, &s)| there.get(&(g, s)));
        let mut slots = HashSet::new();
        for &id in gone {
            let side = &mut self.sides[port];
            slots.insert(side.rows[id as usize].slot);
            side.unlist(id);
            side.free(id);
        }
        slots.into_iter().for_each(|slot| self.forget_if_empty(slot));
    }
}

fn lead_fields() -> [Field; LEAD_WIDTH] {
    [
        Field::new("key_group", DataType::UInt8, false),
        Field::new("sequence", DataType::Int64, false),
        Field::new("matched", DataType::Boolean, false),
    ]
}

fn deletes(removed: &[(KeyGroup, i64)]) -> Result<RecordBatch, OperatorError> {
    let schema = Arc::new(Schema::new(lead_fields()[..2].to_vec()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt8Array::from_iter_values(removed.iter().map(|(group, _)| group.0))),
        Arc::new(Int64Array::from_iter_values(removed.iter().map(|(_, sequence)| *sequence))),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}
