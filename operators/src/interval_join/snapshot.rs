//! An interval join's state on its way to and from a checkpoint.
//!
//! Two tables of [`numbered`] rows, `left` and `right`: `key_group`, `sequence`, `matched`, then the
//! input's columns.

use super::IntervalJoin;
use super::timed_rows::{NONE, Row};
use crate::key::KeyGroup;
use crate::operator::OperatorError;
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, key_groups, numbered};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const TABLES: [&str; 2] = ["left", "right"];
const LEAD_WIDTH: usize = numbered::KEY_WIDTH + 1;

impl IntervalJoin {
    pub(super) fn take_snapshot(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Snapshot, OperatorError> {
        let mut snapshot = Snapshot::default();
        for (port, name) in TABLES.into_iter().enumerate() {
            let deletes = self.sides[port].numbers.take(scope)?;
            let ids = self.sides[port].take_changed(scope);
            let upserts = ids.chunks(CHUNK_ROWS).map(|ids| self.upserts(port, ids));
            let upserts = upserts.collect::<Result<Vec<_>, _>>()?;
            let tables = snapshot::tables(name, numbered::KEY_WIDTH, &deletes, &upserts)?;
            snapshot.tables.extend(tables);
        }
        Ok(snapshot)
    }

    fn upserts(&self, port: usize, ids: &[u32]) -> Result<RecordBatch, OperatorError> {
        let side = &self.sides[port];
        let rows = || ids.iter().map(|&id| &side.rows[id as usize]);
        let groups = rows().map(|row| self.index.group(row.slot));
        let matched: Vec<bool> = rows().map(|row| row.is_matched).collect();
        let key = numbered::key_columns(groups, rows().map(|row| row.sequence));
        let mut columns: Vec<ArrayRef> = key.into();
        columns.push(Arc::new(BooleanArray::from(matched)));
        columns.extend(side.codec.decode(rows().map(|row| &*row.bytes))?);
        let matched = Field::new("matched", DataType::Boolean, false);
        let lead = numbered::key_fields().into_iter().chain([matched]).map(Arc::new);
        let fields: Vec<_> = lead.chain(side.schema.fields().iter().cloned()).collect();
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
    fn by_number(&self, port: usize) -> HashMap<(KeyGroup, i64), u32> {
        let side = &self.sides[port];
        let number = |id: u32| {
            let row = &side.rows[id as usize];
            ((self.index.group(row.slot), row.sequence), id)
        };
        side.ids().map(number).collect()
    }

    fn restore_upserts(&mut self, port: usize, batch: &RecordBatch) -> Result<(), OperatorError> {
        // Rows of equal time must come back in the order in which they came.
        let sequences = numbered::numbers(batch);
        let mut by_sequence: Vec<u32> = (0..batch.num_rows() as u32).collect();
        by_sequence.sort_by_key(|&row| sequences[row as usize]);
        let batch = take_record_batch(batch, &UInt32Array::from(by_sequence))?;
        let (groups, sequences) = (key_groups(&batch), numbered::numbers(&batch));
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
            side.numbers.restored(sequence);
            if let Some(&id) = there.get(&(KeyGroup(groups[row]), sequence)) {
                side.rows[id as usize].is_matched = matched.value(row);
                continue;
            }
            let id = side.insert(Row {
                bytes: encoded.get(row).into(),
                time: times.value(row),
                sequence,
                slot,
                fresh: NONE,
                is_matched: matched.value(row),
            });
            side.journal.restored(id);
        }
        Ok(())
    }

    fn restore_deletes(&mut self, port: usize, batch: &RecordBatch) {
        let there = self.by_number(port);
        let gone = numbered::named(batch);
        let gone = gone.iter().filter_map(|row| there.get(row));
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
