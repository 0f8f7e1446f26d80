//! A ranking's state on its way to and from a checkpoint.
//!
//! One table of [`numbered`] rows, `rows`: `key_group`, `sequence`, `arrival`, `weight`, then the
//! input's columns without the arrival. Rows are only ever added and removed, so what changed is
//! two lists. A negative weight is a debt (a retraction that came before its row).
//!
//! If partitions are forgotten there is another table, `used`: `key_group`, the partition's columns,
//! and when it last changed.

use super::TopN;
use super::ranking::{ByRank, Kept, NOT_FRESH, Ranked, Tie};
use super::row_counts::RowBytes;
use crate::key::KeyGroup;
use crate::operator::OperatorError;
use crate::snapshot::{
    self, CHUNK_ROWS, Snapshot, SnapshotScope, SnapshotTable, key_group_field, numbered,
};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt8Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::sync::Arc;

const TABLE: &str = "rows";
const USED: &str = "used";
/// Columns before the row's own.
const LEAD_WIDTH: usize = numbered::KEY_WIDTH + 2;

/// A row in a snapshot.
struct Entry<'a> {
    group: KeyGroup,
    sequence: i64,
    arrival: i64,
    weight: i64,
    row: &'a [u8],
}

impl TopN {
    pub(super) fn take_snapshot(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Snapshot, OperatorError> {
        let slots = self.journal.take(scope, || self.keys.slots());
        let upserts = self.entries(&slots, scope)?;
        let deletes = self.numbers.take(scope)?;
        let mut tables = snapshot::tables(TABLE, numbered::KEY_WIDTH, &deletes, &upserts)?;
        tables.extend(self.take_used(&slots, scope)?);
        Ok(Snapshot { tables })
    }

    /// When these partitions last changed, and which are forgotten.
    fn take_used(
        &mut self,
        slots: &[u32],
        scope: SnapshotScope,
    ) -> Result<Vec<SnapshotTable>, OperatorError> {
        let removed = std::mem::take(&mut self.removed);
        let Some(expiry) = &self.expiry else { return Ok(Vec::new()) };
        let deletes = if scope == SnapshotScope::Changed { removed } else { Vec::new() };
        let upserts = slots.chunks(CHUNK_ROWS).map(|slots| {
            let keyed = self.keyed(slots)?;
            let (field, column) = expiry.column(slots);
            let mut fields: Vec<_> = keyed.schema().fields().iter().cloned().collect();
            fields.push(Arc::new(field));
            let columns = keyed.columns().iter().cloned().chain([column]).collect();
            Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
        });
        let upserts = upserts.collect::<Result<Vec<_>, OperatorError>>()?;
        snapshot::tables(USED, 1 + self.spec.partition.len(), &deletes, &upserts)
    }

    /// Partitions by what they are known by: their key groups and their columns.
    pub(super) fn keyed(&self, slots: &[u32]) -> Result<RecordBatch, OperatorError> {
        let mut fields = vec![Arc::new(key_group_field())];
        let partition = self.spec.partition.iter();
        fields.extend(partition.map(|&column| self.input.fields()[column].clone()));
        let groups = slots.iter().map(|&slot| self.keys.group(slot).0);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt8Array::from_iter_values(groups))];
        columns.extend(self.keys.columns(slots)?);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// The entries of `slots` that a snapshot has to write, and what is owed.
    fn entries(
        &self,
        slots: &[u32],
        scope: SnapshotScope,
    ) -> Result<Vec<RecordBatch>, OperatorError> {
        let is_wanted =
            |sequence: i64| scope == SnapshotScope::Full || !self.numbers.is_saved(sequence);
        let to_last = self.spec.ties_to_last;
        let mut kept = Vec::new();
        for &slot in slots {
            let group = self.keys.group(slot);
            self.partitions[slot as usize].kept.for_each(|ranked| {
                if is_wanted(ranked.tie.sequence(to_last)) {
                    kept.push((group, ranked.clone()));
                }
            });
        }
        let rows = kept.iter().map(|(group, ranked)| Entry {
            group: *group,
            sequence: ranked.tie.sequence(to_last),
            arrival: ranked.tie.arrival(to_last),
            weight: 1,
            row: ranked.row(),
        });
        let debts = self.counts.debts().filter(|c| is_wanted(c.debt_sequence)).map(|c| Entry {
            group: self.keys.group(c.slot),
            sequence: c.debt_sequence,
            arrival: 0,
            weight: -c.debt,
            row: &c.bytes[c.order_length as usize..],
        });
        let entries: Vec<Entry<'_>> = rows.chain(debts).collect();
        entries.chunks(CHUNK_ROWS).map(|entries| self.batch(entries)).collect()
    }

    fn batch(&self, entries: &[Entry<'_>]) -> Result<RecordBatch, OperatorError> {
        let groups = entries.iter().map(|e| e.group);
        let key = numbered::key_columns(groups, entries.iter().map(|e| e.sequence));
        let mut columns: Vec<ArrayRef> = key.into();
        columns.push(Arc::new(Int64Array::from_iter_values(entries.iter().map(|e| e.arrival))));
        columns.push(Arc::new(Int64Array::from_iter_values(entries.iter().map(|e| e.weight))));
        columns.extend(self.row_codec.decode(entries.iter().map(|e| e.row))?);
        Ok(RecordBatch::try_new(self.snapshot_schema(), columns)?)
    }

    fn snapshot_schema(&self) -> SchemaRef {
        let lead = [
            Field::new("arrival", DataType::Int64, false),
            Field::new("weight", DataType::Int64, false),
        ];
        let lead = numbered::key_fields().into_iter().chain(lead).map(Arc::new);
        Arc::new(Schema::new(
            lead.chain(self.held_schema.fields().iter().cloned()).collect::<Vec<_>>(),
        ))
    }

    pub(super) fn restore_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        for table in snapshot.tables.iter().filter(|t| t.name == TABLE) {
            if let Some(deletes) = &table.deletes {
                self.restore_deletes(deletes);
            }
            if let Some(upserts) = &table.upserts {
                self.restore_upserts(upserts)?;
            }
        }
        for table in snapshot.tables.iter().filter(|t| t.name == USED) {
            if let Some(upserts) = &table.upserts {
                self.restore_used(upserts)?;
            }
        }
        self.journal.begin();
        self.numbers.end_restore();
        Ok(())
    }

    fn restore_upserts(&mut self, batch: &RecordBatch) -> Result<(), OperatorError> {
        // Equal rows must come back in the order of their numbers.
        let sequences = numbered::numbers(batch);
        let mut by_sequence: Vec<u32> = (0..batch.num_rows() as u32).collect();
        by_sequence.sort_by_key(|&row| sequences[row as usize]);
        let batch = take_record_batch(batch, &UInt32Array::from(by_sequence))?;
        let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>().values();
        let (sequences, arrivals, weights) = (numbers(1), numbers(2), numbers(3));
        let held = batch.columns()[LEAD_WIDTH..].to_vec();
        let encoded = self.row_codec.encode(&held)?;
        let columns = self.with_arrivals(held, arrivals.iter().copied())?;
        let rows = RecordBatch::try_new(self.input.clone(), columns)?;
        let order: Vec<ArrayRef> =
            self.spec.order.iter().map(|term| rows.column(term.column).clone()).collect();
        let orders = self.order_codec.encode(&order)?;
        let slots = self.assign(&rows)?;
        let mut bytes = Vec::new();
        for (row, &slot) in slots.iter().enumerate() {
            let order = orders.get(row);
            bytes.clear();
            bytes.extend_from_slice(order);
            bytes.extend_from_slice(encoded.get(row));
            let order_length = order.len() as u32;
            let sequence = sequences[row];
            self.numbers.restored(sequence);
            let found = RowBytes { bytes: &bytes, order_length, slot };
            if weights[row] < 0 {
                self.counts.owe(found, -weights[row], sequence);
                continue;
            }
            let tie = Tie::new(arrivals[row], sequence, self.spec.ties_to_last);
            match &mut self.partitions[slot as usize].kept {
                Kept::All(_) => self.put(found, tie, sequence),
                Kept::Best(kept) => {
                    self.row_bytes += bytes.len();
                    let bytes = Some(bytes.as_slice().into());
                    let new = Ranked { bytes, order_length, fresh: NOT_FRESH, tie };
                    let position = kept.partition_point(|held| held.rank(&new).is_lt());
                    kept.insert(position, new);
                }
            }
        }
        Ok(())
    }

    /// Of partitions whose rows are there: those of others are gone with these.
    fn restore_used(&mut self, batch: &RecordBatch) -> Result<(), OperatorError> {
        let keys = &batch.columns()[1..=self.spec.partition.len()];
        let slots = self.assign_keys(keys, batch.num_rows(), None)?;
        slots.iter().for_each(|&slot| self.journal.restored(slot));
        if let Some(expiry) = &mut self.expiry {
            expiry.restore(batch, &slots);
        }
        Ok(())
    }

    /// Removes rows by their numbers: only while restoring, so a walk over the state will do.
    fn restore_deletes(&mut self, batch: &RecordBatch) {
        let gone = numbered::named(batch);
        let to_last = self.spec.ties_to_last;
        let slots: Vec<u32> = self.keys.slots();
        for slot in slots {
            let group = self.keys.group(slot);
            let is_gone = |r: &Ranked| gone.contains(&(group, r.tie.sequence(to_last)));
            let (counts, row_bytes) = (&mut self.counts, &mut self.row_bytes);
            let mut drop = |r: &Ranked| {
                *row_bytes -= r.bytes.as_ref().map_or(0, |b| b.len());
            };
            match &mut self.partitions[slot as usize].kept {
                Kept::Best(kept) => kept.retain(|r| {
                    let is_gone = is_gone(r);
                    if is_gone {
                        drop(r);
                    }
                    !is_gone
                }),
                Kept::All(kept) => kept.retain(|ByRank(r)| {
                    let is_gone = is_gone(r);
                    if is_gone {
                        drop(r);
                        counts.drop_one(r.bytes.as_deref().unwrap_or_default(), r.tie);
                    }
                    !is_gone
                }),
            }
            self.counts.drop_debts(slot, |debt| gone.contains(&(group, debt)));
        }
        self.drop_empty_partitions();
    }

    fn drop_empty_partitions(&mut self) {
        let windowed = self.spec.window_end.is_some();
        if self.counts.owes() {
            return;
        }
        let slots: Vec<u32> = self.keys.slots();
        let mut emptied = std::collections::HashSet::new();
        for slot in slots {
            if self.partitions[slot as usize].kept.is_empty() {
                self.keys.remove(slot);
                emptied.insert(slot);
            }
        }
        if windowed && !emptied.is_empty() {
            self.windows.values_mut().for_each(|slots| slots.retain(|s| !emptied.contains(s)));
            self.windows.retain(|_, slots| !slots.is_empty());
        }
    }
}
