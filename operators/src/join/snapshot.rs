//! What an arrangement holds, on its way to and from a checkpoint.
//!
//! One table. Of rows that only grow, [numbered] rows with the input's columns. Of any others:
//! `key_group`, the input's columns, which together are the key, then how often the row counts and
//! how many partners it has (only read where a join counts them). Rows are held under their keys
//! again by reading the key columns; pairs are not formed, so that a restore costs what is held and
//! not what it joins to.

use super::arrangement::{Arranged, Place};
use super::bag::Bag;
use super::side::Side;
use crate::key::KeyGroup;
use crate::key_index::KeyIndex;
use crate::operator::OperatorError;
use crate::snapshot::{self, CHUNK_ROWS, SnapshotScope, SnapshotTable, key_group_field, numbered};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use std::sync::Arc;

impl Arranged {
    /// What a snapshot says of a place, as tables of this name. No epoch of it is unsettled.
    pub(super) fn tables(
        &mut self,
        place: usize,
        name: &str,
        scope: SnapshotScope,
    ) -> Result<Vec<SnapshotTable>, OperatorError> {
        let Place { side, key_columns, .. } = &mut self.places[place];
        match side {
            Side::Log(log) => log.take_tables(name, key_columns, scope),
            Side::Bag(bag) => take_tables(bag, name, &self.index, scope),
        }
    }

    /// Takes over what a table says of a place.
    pub(super) fn restore(
        &mut self,
        place: usize,
        table: &SnapshotTable,
    ) -> Result<(), OperatorError> {
        if let Some(deletes) = &table.deletes {
            self.restore_deletes(place, deletes)?;
        }
        if let Some(upserts) = &table.upserts {
            self.restore_upserts(place, upserts)?;
        }
        self.keys.settle(place);
        self.sweep();
        Ok(())
    }

    fn restore_upserts(&mut self, place: usize, batch: &RecordBatch) -> Result<(), OperatorError> {
        let lead = match &self.places[place].side {
            Side::Log(_) => numbered::KEY_WIDTH,
            Side::Bag(_) => 1,
        };
        let rows = self.places[place].input_columns(batch, lead)?;
        let keys = self.places[place].key_of(&rows);
        let slots = self.assign(&keys, rows.num_rows(), None)?;
        let bag = match &mut self.places[place].side {
            Side::Bag(bag) => bag,
            Side::Log(log) => {
                return log.restore(&rows, numbered::numbers(batch), &slots, &mut self.keys);
            }
        };
        let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>().values();
        let width = lead + rows.num_columns();
        let (counts, matches) = (numbers(width), numbers(width + 1));
        let encoded = bag.codec.encode(rows.columns())?;
        let mut ids = Vec::with_capacity(slots.len());
        for (row, &slot) in slots.iter().enumerate() {
            let id = bag.find_or_insert(encoded.get(row), slot, &mut self.keys);
            let held = &mut bag.rows[id as usize];
            self.keys.add_total(slot, place, counts[row] - held.count);
            held.count = counts[row];
            if let Some(all) = &mut bag.matches {
                all[id as usize] = matches[row];
            }
            bag.journal.restored(id);
            ids.push(id);
        }
        if let Some(expiry) = bag.forgetting.as_mut().and_then(|f| f.expiry.as_mut()) {
            expiry.restore(batch, &ids);
        }
        Ok(())
    }

    fn restore_deletes(&mut self, place: usize, batch: &RecordBatch) -> Result<(), OperatorError> {
        let rows = self.places[place].input_columns(batch, 1)?;
        let slots = self.index.find(&self.places[place].key_of(&rows), rows.num_rows())?;
        let Side::Bag(bag) = &mut self.places[place].side else {
            let message = "rows were deleted from what only grows";
            return Err(OperatorError::Data(message.to_owned()));
        };
        let encoded = bag.codec.encode(rows.columns())?;
        for (row, slot) in slots.into_iter().enumerate() {
            let Some(slot) = slot else { continue };
            if let Ok(id) = bag.find(encoded.get(row), slot, &self.keys) {
                let held = &bag.rows[id as usize];
                self.keys.add_total(slot, place, -held.count);
                bag.remove(id, &mut self.keys, &self.index);
            }
        }
        bag.deleted.clear();
        Ok(())
    }
}

impl Place {
    /// The input's columns of a snapshot, which stand behind `lead` others.
    fn input_columns(
        &self,
        batch: &RecordBatch,
        lead: usize,
    ) -> Result<RecordBatch, OperatorError> {
        let width = self.schema.fields().len();
        Ok(batch.project(&(lead..lead + width).collect::<Vec<_>>())?)
    }
}

fn take_tables(
    bag: &mut Bag,
    name: &str,
    index: &KeyIndex,
    scope: SnapshotScope,
) -> Result<Vec<SnapshotTable>, OperatorError> {
    let deleted = std::mem::take(&mut bag.deleted);
    let deletes = match scope {
        SnapshotScope::Full => Vec::new(),
        SnapshotScope::Changed => deletes(bag, &deleted)?,
    };
    let ids = bag.take_changed(scope);
    let upserts = ids.chunks(CHUNK_ROWS).map(|ids| upserts(bag, index, ids));
    let upserts = upserts.collect::<Result<Vec<_>, _>>()?;
    snapshot::tables(name, 1 + bag.schema.fields().len(), &deletes, &upserts)
}

/// Rows of one side, by their bytes, after their key groups.
fn rows<'a>(
    bag: &'a Bag,
    groups: impl Iterator<Item = u8>,
    bytes: impl Iterator<Item = &'a [u8]>,
) -> Result<RecordBatch, OperatorError> {
    let mut fields = vec![Arc::new(key_group_field())];
    fields.extend(bag.schema.fields().iter().cloned());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt8Array::from_iter_values(groups))];
    columns.extend(bag.codec.decode(bytes)?);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn deletes(
    bag: &Bag,
    deleted: &[(KeyGroup, Box<[u8]>)],
) -> Result<Vec<RecordBatch>, OperatorError> {
    let batch = |deleted: &[(KeyGroup, Box<[u8]>)]| {
        let groups = deleted.iter().map(|(group, _)| group.0);
        rows(bag, groups, deleted.iter().map(|(_, bytes)| &**bytes))
    };
    deleted.chunks(CHUNK_ROWS).map(batch).collect()
}

fn upserts(bag: &Bag, index: &KeyIndex, ids: &[u32]) -> Result<RecordBatch, OperatorError> {
    let held = || ids.iter().map(|&id| &bag.rows[id as usize]);
    let rows = rows(bag, held().map(|r| index.group(r.slot).0), held().map(|r| &*r.bytes))?;
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    let mut columns = rows.columns().to_vec();
    for name in ["count", "matches"] {
        fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
    }
    columns.push(Arc::new(Int64Array::from_iter_values(held().map(|r| r.count))));
    columns.push(Arc::new(Int64Array::from_iter_values(ids.iter().map(|&id| bag.matches(id)))));
    if let Some(expiry) = bag.expiry() {
        let (field, column) = expiry.column(ids);
        fields.push(Arc::new(field));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
