//! The state of a pattern's search on its way to and from a checkpoint.
//!
//! Table `rows`, of [`numbered`] rows: `key_group`, `sequence`, `arrival`, then the input's columns.
//! Whether a row had its turn is not written: all wait again, and when they have their turn once
//! more, those that had it lead to where the search stood and to nothing that was shown.

use super::PatternMatch;
use crate::key::KeyGroup;
use crate::operator::OperatorError;
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, key_groups, numbered};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const ROWS: &str = "rows";
const LEAD: usize = numbered::KEY_WIDTH + 1;

impl PatternMatch {
    pub(super) fn take_snapshot(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Snapshot, OperatorError> {
        let deletes = self.numbers.take(scope)?;
        let mut journal = std::mem::take(&mut self.journal);
        let ids = journal.take(scope, || self.all_rows());
        self.journal = journal;
        let upserts = ids.chunks(CHUNK_ROWS).map(|ids| self.upserts(ids));
        let upserts = upserts.collect::<Result<Vec<_>, _>>()?;
        let tables = snapshot::tables(ROWS, numbered::KEY_WIDTH, &deletes, &upserts)?;
        Ok(Snapshot { tables })
    }

    fn all_rows(&self) -> Vec<u32> {
        let waiting = self.waiting.iter().map(|&Reverse((_, id))| id);
        let slots = self.index.slots();
        let slots = slots.iter().map(|&slot| &self.partitions[slot as usize]);
        waiting.chain(slots.flat_map(|p| p.rows.iter().copied())).collect()
    }

    fn upserts(&self, ids: &[u32]) -> Result<RecordBatch, OperatorError> {
        let rows = || ids.iter().map(|&id| self.held.row(id));
        let groups = rows().map(|row| self.index.group(row.slot));
        let key = numbered::key_columns(groups, rows().map(|row| row.sequence));
        let mut columns: Vec<ArrayRef> = key.into();
        columns.push(Arc::new(Int64Array::from_iter_values(rows().map(|row| row.arrival))));
        columns.extend(self.codec.decode(rows().map(|row| row.bytes()))?);
        let arrival = Field::new("arrival", DataType::Int64, false);
        let lead = numbered::key_fields().into_iter().chain([arrival]).map(Arc::new);
        let fields: Vec<_> = lead.chain(self.input.fields().iter().cloned()).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    pub(super) fn restore_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        for table in snapshot.tables.iter().filter(|table| table.name == ROWS) {
            if let Some(deletes) = &table.deletes {
                self.restore_deletes(deletes);
            }
            if let Some(upserts) = &table.upserts {
                self.restore_rows(upserts)?;
            }
        }
        Ok(())
    }

    /// The rows that are there already, all of which wait.
    fn by_number(&self) -> HashMap<(KeyGroup, i64), u32> {
        let number = |&Reverse((_, id)): &Reverse<(i64, u32)>| {
            let row = self.held.row(id);
            ((self.index.group(row.slot), row.sequence), id)
        };
        self.waiting.iter().map(number).collect()
    }

    fn restore_deletes(&mut self, batch: &RecordBatch) {
        let there = self.by_number();
        let named = numbered::named(batch);
        let gone: HashSet<u32> = named.iter().filter_map(|n| there.get(n).copied()).collect();
        self.waiting.retain(|&Reverse((_, id))| !gone.contains(&id));
        for id in gone {
            let slot = self.forget(id);
            self.partitions[slot as usize].waiting -= 1;
            self.forget_if_empty(slot);
        }
        self.numbers.end_restore();
    }

    fn restore_rows(&mut self, batch: &RecordBatch) -> Result<(), OperatorError> {
        // A row never changes: what is there already is the same.
        let there = self.by_number();
        let (groups, sequences) = (key_groups(batch), numbered::numbers(batch));
        let is_new = |(&group, &sequence): (&u8, &i64)| {
            Some(!there.contains_key(&(KeyGroup(group), sequence)))
        };
        let is_new: BooleanArray = groups.iter().zip(sequences).map(is_new).collect();
        let batch = filter_record_batch(batch, &is_new)?;
        let sequences = numbered::numbers(&batch);
        let arrivals = batch.column(numbered::KEY_WIDTH).as_primitive::<Int64Type>();
        let rows = batch.project(&(LEAD..batch.num_columns()).collect::<Vec<_>>())?;
        let counts = vec![1; rows.num_rows()];
        let number = |this: &mut Self, row: usize| {
            this.numbers.restored(sequences[row]);
            sequences[row]
        };
        for id in self.hold(&rows, &counts, Some(arrivals), number)? {
            self.journal.restored(id);
        }
        Ok(())
    }
}
