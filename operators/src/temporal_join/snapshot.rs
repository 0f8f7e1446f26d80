//! A temporal join's state on its way to and from a checkpoint.
//!
//! Two tables of [`numbered`] rows, `left` and `right`: `key_group`, `sequence`, for versions
//! `is_deletion`, then the input's columns. Rows are only ever added and removed.

use super::history::Version;
use super::{Place, TemporalJoin, Waiting};
use crate::key::KeyGroup;
use crate::key_index::NO_SLOT;
use crate::operator::OperatorError;
use crate::snapshot::journal;
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, key_groups, numbered};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::HashSet;
use std::sync::Arc;

const TABLES: [&str; 2] = ["left", "right"];

/// Where rows are that the last snapshot does not have.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Left rows, if there was a snapshot; some of them need not wait any more.
    pub(super) arrived: Vec<Place>,
    /// Slots of keys that have new versions.
    pub(super) keys: journal::Journal,
}

/// A row as a snapshot writes it.
struct Entry<'a> {
    group: KeyGroup,
    sequence: i64,
    is_deletion: bool,
    row: &'a [u8],
}

impl TemporalJoin {
    pub(super) fn take_snapshot(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Snapshot, OperatorError> {
        let left = self.take_left(scope);
        let right = self.take_right(scope);
        let left = left.iter().map(|place| Entry {
            group: KeyGroup(place.2),
            sequence: place.1,
            is_deletion: false,
            row: &self.waiting[place].bytes,
        });
        let right = right.iter().map(|&(slot, place)| {
            let version = self.keys[slot as usize].history.get(place);
            Entry {
                group: self.index.group(slot),
                sequence: version.sequence,
                is_deletion: version.is_deletion,
                row: &version.bytes,
            }
        });
        let upserts = [
            self.upserts(0, &left.collect::<Vec<_>>())?,
            self.upserts(1, &right.collect::<Vec<_>>())?,
        ];
        let mut snapshot = Snapshot::default();
        for ((name, numbers), upserts) in TABLES.into_iter().zip(&mut self.numbers).zip(upserts) {
            let deletes = numbers.take(scope)?;
            let tables = snapshot::tables(name, numbered::KEY_WIDTH, &deletes, &upserts)?;
            snapshot.tables.extend(tables);
        }
        Ok(snapshot)
    }

    /// The left rows to write.
    fn take_left(&mut self, scope: SnapshotScope) -> Vec<Place> {
        let mut arrived = std::mem::take(&mut self.journal.arrived);
        if scope == SnapshotScope::Full || !self.numbers[0].has_saved() {
            return self.waiting.keys().copied().collect();
        }
        arrived.retain(|place| self.waiting.contains_key(place));
        arrived
    }

    /// The versions to write: slots, and places in their histories.
    fn take_right(&mut self, scope: SnapshotScope) -> Vec<(u32, usize)> {
        let mut written = Vec::new();
        for slot in self.journal.keys.take(scope, || self.index.slots()) {
            let versions = self.keys[slot as usize].history.iter().enumerate();
            let is_wanted = |version: &Version| {
                scope == SnapshotScope::Full || !self.numbers[1].is_saved(version.sequence)
            };
            let wanted = versions.filter(|(_, version)| is_wanted(version));
            written.extend(wanted.map(|(place, _)| (slot, place)));
        }
        written
    }

    fn upserts(
        &self,
        port: usize,
        entries: &[Entry<'_>],
    ) -> Result<Vec<RecordBatch>, OperatorError> {
        let fields = lead_fields(port).into_iter().map(Arc::new);
        let fields: Vec<_> = fields.chain(self.schemas[port].fields().iter().cloned()).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = |entries: &[Entry<'_>]| {
            let groups = entries.iter().map(|entry| entry.group);
            let key = numbered::key_columns(groups, entries.iter().map(|entry| entry.sequence));
            let mut columns: Vec<ArrayRef> = key.into();
            if port == 1 {
                let deletions = entries.iter().map(|entry| Some(entry.is_deletion));
                columns.push(Arc::new(deletions.collect::<BooleanArray>()));
            }
            columns.extend(self.codecs[port].decode(entries.iter().map(|entry| entry.row))?);
            Ok(RecordBatch::try_new(schema.clone(), columns)?)
        };
        entries.chunks(CHUNK_ROWS).map(batch).collect()
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
        self.journal.keys.begin();
        self.numbers.iter_mut().for_each(numbered::Numbers::end_restore);
        Ok(())
    }

    fn restore_upserts(&mut self, port: usize, batch: &RecordBatch) -> Result<(), OperatorError> {
        let lead = lead_fields(port).len();
        let width = self.schemas[port].fields().len();
        let rows = batch.project(&(lead..lead + width).collect::<Vec<_>>())?;
        let (groups, sequences) = (key_groups(batch), numbered::numbers(batch));
        let times = self.times(port, &rows)?;
        let slots = self.assign(port, &rows, &times)?;
        let encoded = self.codecs[port].encode(rows.columns())?;
        for (row, &slot) in slots.iter().enumerate() {
            let (sequence, bytes) = (sequences[row], encoded.get(row).into());
            self.numbers[port].restored(sequence);
            let time = if times.is_null(row) { i64::MIN } else { times.value(row) };
            match port {
                0 => {
                    let place = (time, sequence, groups[row]);
                    self.hold(place, Waiting { bytes, slot });
                }
                _ if slot == NO_SLOT => {}
                _ => {
                    let is_deletion = batch.column(2).as_boolean().value(row);
                    self.put(slot, Version { time, sequence, bytes, is_deletion });
                }
            }
        }
        Ok(())
    }

    fn restore_deletes(&mut self, port: usize, batch: &RecordBatch) {
        let gone = numbered::named(batch);
        match port {
            0 => self.restore_left_deletes(&gone),
            _ => self.restore_right_deletes(&gone),
        }
    }

    fn restore_left_deletes(&mut self, gone: &HashSet<(KeyGroup, i64)>) {
        let is_gone = |place: &super::Place| gone.contains(&(KeyGroup(place.2), place.1));
        let mut removed: Vec<_> = self.waiting.extract_if(.., |place, _| is_gone(place)).collect();
        self.row_bytes -= removed.iter().map(|(_, row)| row.bytes.len()).sum::<usize>();
        self.leave(&mut removed);
    }

    fn restore_right_deletes(&mut self, gone: &HashSet<(KeyGroup, i64)>) {
        for slot in self.index.slots() {
            let group = self.index.group(slot);
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
    let mut fields = numbered::key_fields().to_vec();
    if port == 1 {
        fields.push(Field::new("is_deletion", DataType::Boolean, false));
    }
    fields
}
