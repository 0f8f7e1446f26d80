//! A ranking's state on its way to and from a checkpoint.
//!
//! One table, `rows`: `key_group`, `sequence`, `arrival`, `weight`, then the input's columns
//! without the arrival. A row's key is its group and its sequence number, which is never given twice in a group: rows
//! are only ever added and removed, so what changed is two lists. A negative weight is a debt (a
//! retraction that came before its row).

use super::TopN;
use super::ranking::{ByRank, Kept, NOT_FRESH, Ranked, Tie};
use super::row_counts::RowBytes;
use crate::key::KeyGroup;
use crate::operator::{OperatorError, Snapshot, SnapshotScope, SnapshotTable};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt8Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::sync::Arc;

const TABLE: &str = "rows";
/// Columns before the row's own.
const KEY_WIDTH: usize = 2;
const LEAD_WIDTH: usize = 4;

/// What changed since the last snapshot.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Numbers from here on were given since.
    mark: i64,
    touched: Vec<u32>,
    removed: Vec<(KeyGroup, i64)>,
}

impl Journal {
    pub(super) fn touched(&mut self, slot: u32) {
        self.touched.push(slot);
    }

    pub(super) fn removed(&mut self, group: KeyGroup, sequence: i64) {
        if sequence < self.mark {
            self.removed.push((group, sequence));
        }
    }
}

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
        let touched = std::mem::take(&mut self.journal.touched);
        let removed = std::mem::take(&mut self.journal.removed);
        // Clearing the flag on the way passes over slots that are listed twice or were forgotten.
        let changed: Vec<u32> = touched
            .into_iter()
            .filter(|&s| std::mem::take(&mut self.partitions[s as usize].is_journaled))
            .collect();
        let (slots, mark) = match scope {
            SnapshotScope::Full => (self.keys.slots(), i64::MIN),
            SnapshotScope::Changed => (changed, self.journal.mark),
        };
        let deletes = match scope {
            SnapshotScope::Changed if !removed.is_empty() => Some(deletes(&removed)?),
            _ => None,
        };
        let upserts = self.entries(&slots, mark)?;
        self.journal.mark = self.sequence_next;
        if deletes.is_none() && upserts.is_none() {
            return Ok(Snapshot::default());
        }
        Ok(Snapshot { tables: vec![SnapshotTable { name: TABLE.into(), deletes, upserts }] })
    }

    /// The entries of `slots` numbered from `mark` on.
    fn entries(&self, slots: &[u32], mark: i64) -> Result<Option<RecordBatch>, OperatorError> {
        let to_last = self.spec.ties_to_last;
        let mut kept = Vec::new();
        for &slot in slots {
            let group = self.keys.group(slot);
            self.partitions[slot as usize].kept.for_each(|ranked| {
                if ranked.tie.sequence(to_last) >= mark {
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
        let debts = self.counts.debts().filter(|c| c.debt_sequence >= mark).map(|c| Entry {
            group: self.keys.group(c.slot),
            sequence: c.debt_sequence,
            arrival: 0,
            weight: -c.debt,
            row: &c.bytes[c.order_length as usize..],
        });
        let entries: Vec<Entry<'_>> = rows.chain(debts).collect();
        if entries.is_empty() {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt8Array::from_iter_values(entries.iter().map(|e| e.group.0))),
            Arc::new(Int64Array::from_iter_values(entries.iter().map(|e| e.sequence))),
            Arc::new(Int64Array::from_iter_values(entries.iter().map(|e| e.arrival))),
            Arc::new(Int64Array::from_iter_values(entries.iter().map(|e| e.weight))),
        ];
        columns.extend(self.row_codec.decode(entries.iter().map(|e| e.row))?);
        Ok(Some(RecordBatch::try_new(self.snapshot_schema(), columns)?))
    }

    fn snapshot_schema(&self) -> SchemaRef {
        let lead = lead_fields().into_iter().map(Arc::new);
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
        self.journal.mark = self.sequence_next;
        Ok(())
    }

    fn restore_upserts(&mut self, batch: &RecordBatch) -> Result<(), OperatorError> {
        // Equal rows must come back in the order of their numbers.
        let sequences = batch.column(1).as_primitive::<Int64Type>().values().clone();
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
            self.sequence_next = self.sequence_next.max(sequence + 1);
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

    /// Removes rows by their numbers: only while restoring, so a walk over the state will do.
    fn restore_deletes(&mut self, batch: &RecordBatch) {
        let groups = batch.column(0).as_primitive::<arrow::datatypes::UInt8Type>().values();
        let sequences = batch.column(1).as_primitive::<Int64Type>().values();
        let gone: std::collections::HashSet<(u8, i64)> =
            groups.iter().copied().zip(sequences.iter().copied()).collect();
        let to_last = self.spec.ties_to_last;
        let slots: Vec<u32> = self.keys.slots();
        for slot in slots {
            let group = self.keys.group(slot).0;
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

fn lead_fields() -> [Field; LEAD_WIDTH] {
    [
        Field::new("key_group", DataType::UInt8, false),
        Field::new("sequence", DataType::Int64, false),
        Field::new("arrival", DataType::Int64, false),
        Field::new("weight", DataType::Int64, false),
    ]
}

fn deletes(removed: &[(KeyGroup, i64)]) -> Result<RecordBatch, OperatorError> {
    let schema = Arc::new(Schema::new(lead_fields()[..KEY_WIDTH].to_vec()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt8Array::from_iter_values(removed.iter().map(|(group, _)| group.0))),
        Arc::new(Int64Array::from_iter_values(removed.iter().map(|(_, sequence)| *sequence))),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}
