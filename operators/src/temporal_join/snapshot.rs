//! A temporal join's state on its way to and from a checkpoint.
//!
//! Two tables, `left` and `right`: `key_group`, `sequence`, for versions `is_deletion`, then the
//! input's columns. A row's key is its group and its sequence number, which is never given twice
//! in a group.

use super::history::Version;
use super::{TemporalJoin, Waiting};
use crate::key_index::NO_SLOT;
use crate::operator::{OperatorError, Snapshot, SnapshotScope, SnapshotTable};
use crate::row_codec::RowCodec;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt8Type};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

const TABLES: [&str; 2] = ["left", "right"];

/// Numbers rows, and remembers what the next snapshot must say.
#[derive(Debug, Default)]
pub(super) struct Journal {
    sequence_next: i64,
    /// By port: group and number of rows that the last snapshot has and that are gone.
    removed: [Vec<(u8, i64)>; 2],
    /// Slots whose histories may have versions that the last snapshot does not have.
    pub(super) changed: BTreeSet<u32>,
}

impl Journal {
    pub(super) fn next(&mut self) -> i64 {
        self.sequence_next += 1;
        self.sequence_next - 1
    }

    pub(super) fn removed(&mut self, port: usize, group: u8, sequence: i64, is_persisted: bool) {
        if is_persisted {
            self.removed[port].push((group, sequence));
        }
    }
}

/// Rows as a snapshot writes them.
#[derive(Default)]
struct Entries<'a> {
    groups: Vec<u8>,
    sequences: Vec<i64>,
    deletions: Vec<bool>,
    rows: Vec<&'a [u8]>,
}

impl Entries<'_> {
    fn into_batch(
        self,
        port: usize,
        codec: &RowCodec,
        schema: &Schema,
    ) -> Result<Option<RecordBatch>, OperatorError> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt8Array::from(self.groups)),
            Arc::new(Int64Array::from(self.sequences)),
        ];
        if port == 1 {
            columns.push(Arc::new(BooleanArray::from(self.deletions)));
        }
        columns.extend(codec.decode(self.rows)?);
        let fields = lead_fields(port).into_iter().map(Arc::new);
        let fields: Vec<_> = fields.chain(schema.fields().iter().cloned()).collect();
        Ok(Some(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?))
    }
}

impl TemporalJoin {
    pub(super) fn take_snapshot(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Snapshot, OperatorError> {
        let mut snapshot = Snapshot::default();
        let removed = std::mem::take(&mut self.journal.removed);
        for (port, (name, removed)) in TABLES.into_iter().zip(removed).enumerate() {
            let deletes = match scope {
                SnapshotScope::Changed if !removed.is_empty() => Some(deletes(&removed)?),
                _ => None,
            };
            let upserts = match port {
                0 => self.left_upserts(scope)?,
                _ => self.right_upserts(scope)?,
            };
            if deletes.is_some() || upserts.is_some() {
                snapshot.tables.push(SnapshotTable { name: name.into(), deletes, upserts });
            }
        }
        Ok(snapshot)
    }

    fn left_upserts(&mut self, scope: SnapshotScope) -> Result<Option<RecordBatch>, OperatorError> {
        let mut entries = Entries::default();
        for (&(_, sequence, group), row) in &mut self.waiting {
            if std::mem::replace(&mut row.is_persisted, true) && scope == SnapshotScope::Changed {
                continue;
            }
            entries.groups.push(group);
            entries.sequences.push(sequence);
            entries.rows.push(&row.bytes);
        }
        entries.into_batch(0, &self.codecs[0], &self.schemas[0])
    }

    fn right_upserts(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Option<RecordBatch>, OperatorError> {
        let changed = std::mem::take(&mut self.journal.changed);
        let is_full = scope == SnapshotScope::Full;
        let slots = if is_full { self.index.slots() } else { changed.into_iter().collect() };
        let mut written = Vec::new();
        for slot in slots {
            for (place, version) in self.keys[slot as usize].history.iter_mut().enumerate() {
                if !std::mem::replace(&mut version.is_persisted, true) || is_full {
                    written.push((slot, place));
                }
            }
        }
        let mut entries = Entries::default();
        for (slot, place) in written {
            let version = self.keys[slot as usize].history.get(place);
            entries.groups.push(self.index.group(slot).0);
            entries.sequences.push(version.sequence);
            entries.deletions.push(version.is_deletion);
            entries.rows.push(&version.bytes);
        }
        entries.into_batch(1, &self.codecs[1], &self.schemas[1])
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

    fn restore_upserts(&mut self, port: usize, batch: &RecordBatch) -> Result<(), OperatorError> {
        let lead = lead_fields(port).len();
        let width = self.schemas[port].fields().len();
        let rows = batch.project(&(lead..lead + width).collect::<Vec<_>>())?;
        let groups = batch.column(0).as_primitive::<UInt8Type>().values();
        let sequences = batch.column(1).as_primitive::<Int64Type>().values();
        let times = self.times(port, &rows)?;
        let slots = self.assign(port, &rows, &times)?;
        let encoded = self.codecs[port].encode(rows.columns())?;
        for (row, &slot) in slots.iter().enumerate() {
            let (sequence, bytes) = (sequences[row], encoded.get(row).into());
            self.journal.sequence_next = self.journal.sequence_next.max(sequence + 1);
            let time = if times.is_null(row) { i64::MIN } else { times.value(row) };
            match port {
                0 => {
                    let place = (time, sequence, groups[row]);
                    self.hold(place, Waiting { bytes, slot, is_persisted: true });
                }
                _ if slot == NO_SLOT => {}
                _ => {
                    let is_deletion = batch.column(2).as_boolean().value(row);
                    let is_persisted = true;
                    let version = Version { time, sequence, bytes, is_deletion, is_persisted };
                    self.put(slot, version);
                }
            }
        }
        Ok(())
    }

    fn restore_deletes(&mut self, port: usize, batch: &RecordBatch) {
        let groups = batch.column(0).as_primitive::<UInt8Type>().values();
        let sequences = batch.column(1).as_primitive::<Int64Type>().values();
        let gone: HashSet<(u8, i64)> =
            groups.iter().copied().zip(sequences.iter().copied()).collect();
        match port {
            0 => self.restore_left_deletes(&gone),
            _ => self.restore_right_deletes(&gone),
        }
    }

    fn restore_left_deletes(&mut self, gone: &HashSet<(u8, i64)>) {
        let is_gone = |place: &super::Place| gone.contains(&(place.2, place.1));
        let mut removed: Vec<_> = self.waiting.extract_if(.., |place, _| is_gone(place)).collect();
        self.row_bytes -= removed.iter().map(|(_, row)| row.bytes.len()).sum::<usize>();
        self.leave(&mut removed);
    }

    fn restore_right_deletes(&mut self, gone: &HashSet<(u8, i64)>) {
        for slot in self.index.slots() {
            let group = self.index.group(slot).0;
            let history = &mut self.keys[slot as usize].history;
            history.remove_where(
                |version| gone.contains(&(group, version.sequence)),
                |old| {
                    self.row_bytes -= old.bytes.len();
                    self.versions -= 1;
                    self.deadlines.remove(&(old.time, slot));
                },
            );
            self.forget_if_empty(slot);
        }
    }
}

fn lead_fields(port: usize) -> Vec<Field> {
    let mut fields = vec![
        Field::new("key_group", DataType::UInt8, false),
        Field::new("sequence", DataType::Int64, false),
    ];
    if port == 1 {
        fields.push(Field::new("is_deletion", DataType::Boolean, false));
    }
    fields
}

fn deletes(removed: &[(u8, i64)]) -> Result<RecordBatch, OperatorError> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt8Array::from_iter_values(removed.iter().map(|(group, _)| *group))),
        Arc::new(Int64Array::from_iter_values(removed.iter().map(|(_, sequence)| *sequence))),
    ];
    Ok(RecordBatch::try_new(Arc::new(Schema::new(lead_fields(0))), columns)?)
}
