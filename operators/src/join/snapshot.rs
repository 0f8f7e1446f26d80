//! A join's state on its way to and from a checkpoint.
//!
//! Two tables, `left` and `right`: `key_group`, the input's columns, which together are the key,
//! then how often the row counts and how many partners it has (only read where the residual takes
//! part in matching). Rows are held under their keys again by reading the key columns; pairs are
//! not formed, so that a restore costs what is held and not what it joins to.

use super::Join;
use super::side::Side;
use crate::key::KeyGroup;
use crate::key_index::KeyIndex;
use crate::operator::OperatorError;
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, key_group_field};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use std::sync::Arc;

const TABLES: [&str; 2] = ["left", "right"];

impl Join {
    pub(super) fn take_snapshot(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Snapshot, OperatorError> {
        let mut snapshot = Snapshot::default();
        for (side, name) in self.sides.iter_mut().zip(TABLES) {
            let deleted = std::mem::take(&mut side.deleted);
            let deletes = match scope {
                SnapshotScope::Full => Vec::new(),
                SnapshotScope::Changed => deletes(side, &deleted)?,
            };
            let ids = side.take_changed(scope);
            let upserts = ids.chunks(CHUNK_ROWS).map(|ids| upserts(side, &self.index, ids));
            let upserts = upserts.collect::<Result<Vec<_>, _>>()?;
            let key_width = 1 + side.schema.fields().len();
            snapshot.tables.extend(snapshot::tables(name, key_width, &deletes, &upserts)?);
        }
        Ok(snapshot)
    }

    pub(super) fn restore_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        for table in &snapshot.tables {
            let Some(port) = TABLES.iter().position(|name| *name == table.name) else { continue };
            if let Some(deletes) = &table.deletes {
                self.restore_deletes(port, deletes)?;
            }
            if let Some(upserts) = &table.upserts {
                self.restore_upserts(port, upserts)?;
            }
        }
        let index = &mut self.index;
        self.keys.settle(|slot| index.remove(slot));
        Ok(())
    }

    fn restore_upserts(&mut self, port: usize, batch: &RecordBatch) -> Result<(), OperatorError> {
        let rows = self.input_columns(port, batch)?;
        let width = rows.num_columns();
        let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>().values();
        let (counts, matches) = (numbers(width + 1), numbers(width + 2));
        let keys = self.key_columns(port, &rows);
        let slots = self.assign(&keys, rows.num_rows(), None)?;
        let side = &mut self.sides[port];
        let encoded = side.codec.encode(rows.columns())?;
        for (row, &slot) in slots.iter().enumerate() {
            let id = side.find_or_insert(encoded.get(row), slot, &mut self.keys);
            let held = &mut side.rows[id as usize];
            self.keys.add_total(slot, port, counts[row] - held.count);
            held.count = counts[row];
            held.matches = matches[row];
            side.journal.restored(id);
        }
        Ok(())
    }

    fn restore_deletes(&mut self, port: usize, batch: &RecordBatch) -> Result<(), OperatorError> {
        let rows = self.input_columns(port, batch)?;
        let side = &mut self.sides[port];
        let encoded = side.codec.encode(rows.columns())?;
        for row in 0..rows.num_rows() {
            if let Some(id) = side.find(encoded.get(row)) {
                let held = &side.rows[id as usize];
                self.keys.add_total(held.slot, port, -held.count);
                side.remove(id, &mut self.keys, &self.index);
            }
        }
        side.deleted.clear();
        Ok(())
    }

    /// A snapshot's columns without the key group and the values.
    fn input_columns(
        &self,
        port: usize,
        batch: &RecordBatch,
    ) -> Result<RecordBatch, OperatorError> {
        let width = self.sides[port].schema.fields().len();
        Ok(batch.project(&(1..=width).collect::<Vec<_>>())?)
    }
}

/// Rows of one side, by their bytes, after their key groups.
fn rows<'a>(
    side: &'a Side,
    groups: impl Iterator<Item = u8>,
    bytes: impl Iterator<Item = &'a [u8]>,
) -> Result<RecordBatch, OperatorError> {
    let mut fields = vec![Arc::new(key_group_field())];
    fields.extend(side.schema.fields().iter().cloned());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt8Array::from_iter_values(groups))];
    columns.extend(side.codec.decode(bytes)?);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn deletes(
    side: &Side,
    deleted: &[(KeyGroup, Box<[u8]>)],
) -> Result<Vec<RecordBatch>, OperatorError> {
    let batch = |deleted: &[(KeyGroup, Box<[u8]>)]| {
        let groups = deleted.iter().map(|(group, _)| group.0);
        rows(side, groups, deleted.iter().map(|(_, bytes)| &**bytes))
    };
    deleted.chunks(CHUNK_ROWS).map(batch).collect()
}

fn upserts(side: &Side, index: &KeyIndex, ids: &[u32]) -> Result<RecordBatch, OperatorError> {
    let held = || ids.iter().map(|&id| &side.rows[id as usize]);
    let rows = rows(side, held().map(|r| index.group(r.slot).0), held().map(|r| &*r.bytes))?;
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    let mut columns = rows.columns().to_vec();
    for name in ["count", "matches"] {
        fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
    }
    columns.push(Arc::new(Int64Array::from_iter_values(held().map(|r| r.count))));
    columns.push(Arc::new(Int64Array::from_iter_values(held().map(|r| r.matches))));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
