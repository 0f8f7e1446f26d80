//! A time filter's state on its way to and from a checkpoint.
//!
//! One table, `rows`: `key_group`, the input's columns, which together are the key, then how often
//! the row counts and whether it is among the results. Validities follow from the columns.

use super::TimeFilter;
use super::validity::Standing;
use crate::key::{KeyGroup, hash_columns};
use crate::operator::OperatorError;
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, key_group_field};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use std::sync::Arc;

const TABLE: &str = "rows";

impl TimeFilter {
    pub(super) fn take_snapshot(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Snapshot, OperatorError> {
        let deleted = std::mem::take(&mut self.held.deleted);
        let deletes = match scope {
            SnapshotScope::Full => Vec::new(),
            SnapshotScope::Changed => {
                let chunks = deleted.chunks(CHUNK_ROWS);
                let keys = chunks.map(|chunk| self.keys(chunk.iter().map(|bytes| &**bytes)));
                keys.collect::<Result<_, _>>()?
            }
        };
        let ids = self.held.take_changed(scope);
        let upserts = ids.chunks(CHUNK_ROWS).map(|ids| self.entries(ids));
        let upserts = upserts.collect::<Result<Vec<_>, _>>()?;
        let key_width = 1 + self.schema.fields().len();
        Ok(Snapshot { tables: snapshot::tables(TABLE, key_width, &deletes, &upserts)? })
    }

    /// Rows by their bytes, after their key groups.
    fn keys<'a>(
        &'a self,
        bytes: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<RecordBatch, OperatorError> {
        let count = bytes.len();
        let rows = self.held.decode(bytes)?;
        let mut hashes = Vec::new();
        hash_columns(&rows, count, &mut hashes);
        let groups = hashes.into_iter().map(|hash| KeyGroup::of(hash).0);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt8Array::from_iter_values(groups))];
        columns.extend(rows);
        let mut fields = vec![Arc::new(key_group_field())];
        fields.extend(self.schema.fields().iter().cloned());
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    fn entries(&self, ids: &[u32]) -> Result<RecordBatch, OperatorError> {
        let rows = || ids.iter().map(|&id| &self.held.rows[id as usize]);
        let keys = self.keys(rows().map(|row| &*row.bytes))?;
        let mut fields: Vec<_> = keys.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("count", DataType::Int64, false)));
        fields.push(Arc::new(Field::new("shown", DataType::Boolean, false)));
        let mut columns = keys.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_iter_values(rows().map(|row| row.count))));
        let shown: Vec<bool> = rows().map(|row| row.standing == Standing::Shown).collect();
        columns.push(Arc::new(BooleanArray::from(shown)));
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    pub(super) fn restore_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        for table in snapshot.tables.iter().filter(|table| table.name == TABLE) {
            if let Some(deletes) = &table.deletes {
                self.restore_deletes(deletes)?;
            }
            if let Some(upserts) = &table.upserts {
                self.restore_upserts(upserts)?;
            }
        }
        self.held.deleted.clear();
        Ok(())
    }

    fn restore_deletes(&mut self, batch: &RecordBatch) -> Result<(), OperatorError> {
        let rows = self.input_columns(batch)?;
        let encoded = self.held.codec.encode(rows.columns())?;
        for row in 0..rows.num_rows() {
            if let Some(id) = self.held.find(encoded.get(row)) {
                self.held.remove(id);
            }
        }
        Ok(())
    }

    fn restore_upserts(&mut self, batch: &RecordBatch) -> Result<(), OperatorError> {
        let rows = self.input_columns(batch)?;
        let width = rows.num_columns();
        let counts = batch.column(width + 1).as_primitive::<Int64Type>().values();
        let shown = batch.column(width + 2).as_boolean();
        let encoded = self.held.codec.encode(rows.columns())?;
        self.judge(&rows, 0)?;
        for (row, &validity) in self.validities.iter().enumerate() {
            let standing = if shown.value(row) { Standing::Shown } else { Standing::Waiting };
            self.held.restore((encoded.get(row), validity), (counts[row], standing));
        }
        Ok(())
    }

    /// A snapshot's columns without the key group and the values.
    fn input_columns(&self, batch: &RecordBatch) -> Result<RecordBatch, OperatorError> {
        let width = self.schema.fields().len();
        Ok(batch.project(&(1..=width).collect::<Vec<_>>())?)
    }
}
