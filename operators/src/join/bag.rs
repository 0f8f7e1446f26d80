//! One input's rows where they may be taken back: a bag that knows what the current epoch changed.
//!
//! Outside of `apply` every row has a count other than zero and no delta. Within it a row's
//! `count` is the one after the epoch and `count - delta` the one before, and a row that the epoch
//! removes stays until [`Bag::settle`], so that both states can be read side by side.

use super::keys::Keys;
use super::rows::{NONE, Rows};
use crate::expiry::Expiry;
use crate::gather::Gather;
use crate::key::KeyGroup;
use crate::key_index::{KeyIndex, NO_SLOT};
use crate::operator::OperatorError;
use crate::row_codec::RowCodec;
use crate::snapshot::SnapshotScope;
use crate::snapshot::journal::Journal;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// A row and how often it counts.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) bytes: Box<[u8]>,
    /// Slot of its key.
    pub(super) slot: u32,
    /// Its neighbours among the key's rows.
    next: u32,
    previous: u32,
    pub(super) count: i64,
    pub(super) delta: i64,
    /// Rows of the other side that the residual lets it meet, if that is tracked.
    pub(super) matches: i64,
    pub(super) matches_delta: i64,
    /// A row of the epoch's input that is equal to it.
    fresh: u32,
    is_touched: bool,
}

impl Row {
    /// Whether it wasn't there before the epoch.
    #[inline]
    pub(super) fn is_new(&self) -> bool {
        self.count == self.delta
    }

    /// Its count before the epoch.
    #[inline]
    pub(super) fn count_before(&self) -> i64 {
        self.count - self.delta
    }
}

/// The rows of one input.
#[derive(Debug)]
pub(super) struct Bag {
    pub(super) schema: SchemaRef,
    pub(super) codec: RowCodec,
    /// Which of a key's two chains is this side's.
    port: usize,
    pub(super) rows: Vec<Row>,
    free: Vec<u32>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Rows that the epoch gave a delta or other matches.
    pub(super) touched: Vec<u32>,
    /// The epoch's input.
    epoch: Option<RecordBatch>,
    /// For [`Bag::gather`]: by row, its number among the rows being decoded.
    decoded: Vec<u32>,
    row_bytes: usize,
    pub(super) journal: Journal,
    /// Rows that the last snapshot has and that are gone.
    pub(super) deleted: Vec<(KeyGroup, Box<[u8]>)>,
    /// If rows of the join are forgotten, of this side or the other.
    pub(super) forgetting: Option<Forgetting>,
}

/// What a side has to know where rows are forgotten.
#[derive(Debug)]
pub(super) struct Forgetting {
    /// When its rows were last used, if they are forgotten.
    pub(super) expiry: Option<Expiry>,
    /// Whether a change of its partners changes what is shown of a row, and so uses it.
    is_shown_alone: bool,
    now_ms: i64,
}

impl Forgetting {
    pub(super) fn new(expiry: Option<Expiry>, is_shown_alone: bool) -> Self {
        Forgetting { expiry, is_shown_alone, now_ms: 0 }
    }

    /// Whether no more is to be remembered of a row: of what was forgotten more may be taken back
    /// than there is.
    fn is_gone(&self, row: &Row) -> bool {
        row.count == 0 || (row.count < 0 && self.expiry.is_some())
    }

    /// Notes that an epoch changed a row; whether that is news for a snapshot.
    fn used(&mut self, id: u32, row: &Row) -> bool {
        let is_used = row.fresh != NONE || (self.is_shown_alone && row.matches_delta != 0);
        match &mut self.expiry {
            Some(expiry) if is_used => {
                expiry.used(self.now_ms, id);
                true
            }
            _ => false,
        }
    }
}

impl Rows for Bag {
    #[inline]
    fn counts(&self, id: u32) -> (i64, i64) {
        let row = &self.rows[id as usize];
        (row.count_before(), row.count)
    }

    #[inline]
    fn next(&self, id: u32) -> u32 {
        self.rows[id as usize].next
    }

    fn changed(&self) -> impl Iterator<Item = (u32, u32)> {
        let touched = self.touched.iter().map(|&id| (id, &self.rows[id as usize]));
        touched.filter(|(_, row)| row.delta != 0).map(|(id, row)| (id, row.slot))
    }
}

impl Bag {
    pub(super) fn new(
        schema: SchemaRef,
        port: usize,
        forgetting: Option<Forgetting>,
    ) -> Result<Self, OperatorError> {
        Ok(Bag {
            codec: RowCodec::of_schema(&schema)?,
            schema,
            port,
            rows: Vec::new(),
            free: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            touched: Vec::new(),
            epoch: None,
            decoded: Vec::new(),
            row_bytes: 0,
            journal: Journal::default(),
            deleted: Vec::new(),
            forgetting,
        })
    }

    /// Adds the epoch's rows to the counts. Rows without a key are passed over.
    pub(super) fn add(
        &mut self,
        rows: &RecordBatch,
        weight: impl Fn(usize) -> i64,
        slots: &[u32],
        keys: &mut Keys,
    ) -> Result<(), OperatorError> {
        let encoded = self.codec.encode(rows.columns())?;
        for (row, &slot) in slots.iter().enumerate() {
            if slot == NO_SLOT {
                continue;
            }
            let id = self.find_or_insert(encoded.get(row), slot, keys);
            let held = &mut self.rows[id as usize];
            let weight = weight(row);
            held.count += weight;
            held.delta += weight;
            held.fresh = row as u32;
            self.touch(id);
            keys.add_total(slot, self.port, weight);
        }
        self.epoch = Some(rows.clone());
        Ok(())
    }

    /// Notes that the epoch changes a row.
    #[inline]
    pub(super) fn touch(&mut self, id: u32) {
        let row = &mut self.rows[id as usize];
        if !row.is_touched {
            row.is_touched = true;
            self.touched.push(id);
        }
    }

    /// The row of these bytes, new with count zero if there was none.
    pub(super) fn find_or_insert(&mut self, bytes: &[u8], slot: u32, keys: &mut Keys) -> u32 {
        let hash = self.hasher.hash_one(bytes);
        if let Some(&id) = self.table.find(hash, |&id| *self.rows[id as usize].bytes == *bytes) {
            return id;
        }
        let id = self.free.pop().unwrap_or(self.rows.len() as u32);
        let next = keys.push(slot, self.port, id);
        self.row_bytes += bytes.len();
        let ends = Row { next, previous: NONE, fresh: NONE, ..Row::default() };
        let row = Row { bytes: bytes.into(), slot, ..ends };
        match self.rows.get_mut(id as usize) {
            Some(place) => *place = row,
            None => self.rows.push(row),
        }
        if let Some(next) = self.rows.get_mut(next as usize) {
            next.previous = id;
        }
        let (rows, hasher) = (&self.rows, &self.hasher);
        self.table.insert_unique(hash, id, |&id| hasher.hash_one(&*rows[id as usize].bytes));
        id
    }

    /// The row of these bytes.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(bytes);
        self.table.find(hash, |&id| *self.rows[id as usize].bytes == *bytes).copied()
    }

    /// Ends the epoch: rows that no longer count are removed.
    pub(super) fn settle(&mut self, keys: &mut Keys, index: &KeyIndex) {
        for id in std::mem::take(&mut self.touched) {
            let row = &mut self.rows[id as usize];
            let (mut is_gone, mut is_used) = (row.count == 0, false);
            if let Some(forgetting) = &mut self.forgetting {
                // A partner that was forgotten may be taken back from a row that never met it.
                row.matches = row.matches.max(0);
                (is_gone, is_used) = (forgetting.is_gone(row), forgetting.used(id, row));
            }
            row.is_touched = false;
            row.fresh = NONE;
            let changed = std::mem::take(&mut row.delta) | std::mem::take(&mut row.matches_delta);
            if is_gone {
                self.remove(id, keys, index);
            } else if changed != 0 || is_used {
                self.journal.touch(id);
            }
        }
        self.epoch = None;
    }

    /// Removes the rows that were idle for too long, as of the epoch that begins.
    pub(super) fn forget_idle(&mut self, now_ms: i64, keys: &mut Keys, index: &KeyIndex) {
        let Some(forgetting) = &mut self.forgetting else { return };
        forgetting.now_ms = now_ms;
        let Some(expiry) = &mut forgetting.expiry else { return };
        let table = &self.table;
        for id in expiry.idle(now_ms, || table.iter().copied().collect()) {
            self.remove(id, keys, index);
        }
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, id: u32, keys: &mut Keys, index: &KeyIndex) {
        let row = std::mem::take(&mut self.rows[id as usize]);
        let hash = self.hasher.hash_one(&*row.bytes);
        if let Ok(entry) = self.table.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        match self.rows.get_mut(row.previous as usize) {
            Some(previous) => previous.next = row.next,
            None => keys.set_head(row.slot, self.port, row.next),
        }
        if let Some(next) = self.rows.get_mut(row.next as usize) {
            next.previous = row.previous;
        }
        self.row_bytes -= row.bytes.len();
        self.free.push(id);
        if self.journal.remove(id) {
            self.deleted.push((index.group(row.slot), row.bytes));
        }
    }

    /// The columns `wanted` of the rows `ids`, of which [`NONE`] is a row of NULLs.
    pub(super) fn gather(
        &mut self,
        ids: impl Iterator<Item = u32>,
        wanted: &[usize],
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        // A row is decoded once however many partners it has: it remembers its number meanwhile.
        let mut numbered = Vec::new();
        let mut gather = Gather::with_capacity(ids.size_hint().0);
        let (rows, decoded) = (&self.rows, &mut self.decoded);
        decoded.resize(rows.len(), NONE);
        for id in ids {
            let number = id as usize;
            match id {
                NONE => gather.null(),
                _ if rows[number].fresh != NONE => gather.epoch(rows[number].fresh),
                _ if decoded[number] != NONE => gather.again(decoded[number]),
                _ => {
                    decoded[number] = gather.held(&rows[number].bytes);
                    numbered.push(id);
                }
            }
        }
        let columns = gather.columns(&self.codec, &self.schema, self.epoch.as_ref());
        numbered.iter().for_each(|&id| self.decoded[id as usize] = NONE);
        let columns = columns?;
        Ok(wanted.iter().map(|&column| columns[column].clone()).collect())
    }

    /// The rows that a snapshot has to write.
    pub(super) fn take_changed(&mut self, scope: SnapshotScope) -> Vec<u32> {
        self.journal.take(scope, || self.table.iter().copied().collect())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty() && self.row_bytes == 0 && self.free.len() == self.rows.len()
    }

    pub(super) fn state_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.row_bytes
            + self.table.allocation_size()
            + self.journal.bytes()
            + self.expiry().map_or(0, Expiry::bytes)
    }

    /// When its rows were last used, if they are forgotten.
    pub(super) fn expiry(&self) -> Option<&Expiry> {
        self.forgetting.as_ref().and_then(|forgetting| forgetting.expiry.as_ref())
    }
}
