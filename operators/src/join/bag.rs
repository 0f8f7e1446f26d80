//! One input's rows where they may be taken back: a bag that knows what the current epoch changed.
//!
//! Outside of `apply` every row has a count other than zero and no delta. Within it a row's
//! `count` is the one after the epoch and `count - delta` the one before, and a row that the epoch
//! removes stays until [`Bag::settle`], so that both states can be read side by side.
//!
//! A row is found among those of its key, one by one: most keys have few, often one. Only the rows
//! of a key that has had more than [`CHAIN_MAX`] at once are found by their hash.

use super::keys::Keys;
use super::rows::{NONE, Rows, chain};
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
use hashbrown::{DefaultHashBuilder, HashSet, HashTable};
use std::hash::BuildHasher;

/// So many rows are looked up together: all that this takes is read before the first of them is
/// looked up, so that their cache misses overlap.
const CHUNK_ROWS: usize = 128;

/// So many rows of a key are looked through for one.
const CHAIN_MAX: usize = 8;

/// A row and how often it counts.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) bytes: Box<[u8]>,
    pub(super) count: i64,
    /// Slot of its key; of a number that is free, [`NO_SLOT`].
    pub(super) slot: u32,
    /// Its neighbours among the key's rows.
    next: u32,
    previous: u32,
    /// Its place among what the epoch changes, or [`NONE`].
    change: u32,
}

impl Row {
    /// What stands under a number that is free.
    fn none() -> Row {
        let bytes = Box::default();
        Row { bytes, count: 0, slot: NO_SLOT, next: NONE, previous: NONE, change: NONE }
    }
}

/// What the epoch changes of a row.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) id: u32,
    /// A row of the epoch's input that is equal to it.
    fresh: u32,
    delta: i64,
    pub(super) matches_delta: i64,
}

/// The rows of one input.
#[derive(Debug)]
pub(super) struct Bag {
    pub(super) schema: SchemaRef,
    pub(super) codec: RowCodec,
    /// Which of a key's chains are its own.
    place: usize,
    pub(super) rows: Vec<Row>,
    free: Vec<u32>,
    /// Keys that have had many rows at once, until they have none …
    long: HashSet<u32>,
    /// … and all their rows, by their bytes.
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Rows of the other side that the residual lets each row meet, if that is tracked.
    pub(super) matches: Option<Vec<i64>>,
    /// What the epoch changes, each row once.
    changes: Vec<Change>,
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
    fn used(&mut self, change: &Change) -> bool {
        let is_used = change.fresh != NONE || (self.is_shown_alone && change.matches_delta != 0);
        match &mut self.expiry {
            Some(expiry) if is_used => {
                expiry.used(self.now_ms, change.id);
                true
            }
            _ => false,
        }
    }
}

impl Rows for Bag {
    #[inline]
    fn counts(&self, id: u32) -> (i64, i64) {
        let count = self.rows[id as usize].count;
        (count - self.change(id).map_or(0, |change| change.delta), count)
    }

    #[inline]
    fn next(&self, id: u32) -> u32 {
        self.rows[id as usize].next
    }

    fn changed(&self) -> impl Iterator<Item = (u32, u32)> {
        let changed = self.changes.iter().filter(|change| change.delta != 0);
        changed.map(|change| (change.id, self.rows[change.id as usize].slot))
    }
}

impl Bag {
    pub(super) fn new(
        schema: SchemaRef,
        place: usize,
        counts_matches: bool,
        forgetting: Option<Forgetting>,
    ) -> Result<Self, OperatorError> {
        Ok(Bag {
            codec: RowCodec::of_schema(&schema)?,
            schema,
            place,
            rows: Vec::new(),
            free: Vec::new(),
            long: HashSet::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            matches: counts_matches.then(Vec::new),
            changes: Vec::new(),
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
            if row % CHUNK_ROWS == 0 {
                self.touch(&slots[row..slots.len().min(row + CHUNK_ROWS)], keys);
            }
            if slot == NO_SLOT {
                continue;
            }
            let id = self.find_or_insert(encoded.get(row), slot, keys);
            let weight = weight(row);
            self.rows[id as usize].count += weight;
            let change = self.change_mut(id);
            change.delta += weight;
            change.fresh = row as u32;
            keys.add_total(slot, self.place, weight);
        }
        self.epoch = Some(rows.clone());
        Ok(())
    }

    /// Reads the first row of each key, and nothing else: no row waits for another.
    fn touch(&self, slots: &[u32], keys: &Keys) {
        let first = |&slot: &u32| {
            let head = if slot == NO_SLOT { NONE } else { keys.head(slot, self.place) };
            self.rows.get(head as usize).and_then(|row| row.bytes.first())
        };
        std::hint::black_box(slots.iter().filter_map(first).fold(0, |all, &byte| all ^ byte));
    }

    /// What the epoch changes of a row so far.
    #[inline]
    fn change(&self, id: u32) -> Option<&Change> {
        self.changes.get(self.rows[id as usize].change as usize)
    }

    /// What the epoch changes of a row.
    #[inline]
    fn change_mut(&mut self, id: u32) -> &mut Change {
        let row = &mut self.rows[id as usize];
        if row.change == NONE {
            row.change = self.changes.len() as u32;
            self.changes.push(Change { id, fresh: NONE, delta: 0, matches_delta: 0 });
        }
        &mut self.changes[row.change as usize]
    }

    /// What the epoch changes.
    pub(super) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// How many partners a row has, if that is tracked.
    pub(super) fn matches(&self, id: u32) -> i64 {
        self.matches.as_ref().map_or(0, |matches| matches[id as usize])
    }

    /// Gives a row other partners.
    pub(super) fn add_matches(&mut self, id: u32, matches: i64) {
        if let Some(all) = &mut self.matches {
            all[id as usize] += matches;
            self.change_mut(id).matches_delta += matches;
        }
    }

    /// The row of these bytes, new with count zero if there was none.
    pub(super) fn find_or_insert(&mut self, bytes: &[u8], slot: u32, keys: &mut Keys) -> u32 {
        match self.find(bytes, slot, keys) {
            Ok(id) => id,
            Err(chained) => {
                let id = self.insert(bytes, slot, keys);
                if self.long.contains(&slot) {
                    self.index(id);
                } else if chained >= CHAIN_MAX {
                    self.index_key(slot, keys);
                }
                id
            }
        }
    }

    /// The row of these bytes; if there is none, how many rows were looked through.
    pub(super) fn find(&self, bytes: &[u8], slot: u32, keys: &Keys) -> Result<u32, usize> {
        if self.long.contains(&slot) {
            let hash = self.hasher.hash_one(bytes);
            let found = self.table.find(hash, |&id| *self.rows[id as usize].bytes == *bytes);
            return found.copied().ok_or(0);
        }
        let mut chained = 0;
        for id in chain(self, keys.head(slot, self.place)) {
            if *self.rows[id as usize].bytes == *bytes {
                return Ok(id);
            }
            chained += 1;
        }
        Err(chained)
    }

    /// Adds a row to its key's.
    fn insert(&mut self, bytes: &[u8], slot: u32, keys: &mut Keys) -> u32 {
        let id = self.free.pop().unwrap_or(self.rows.len() as u32);
        let next = keys.push(slot, self.place, id);
        self.row_bytes += bytes.len();
        let row = Row { bytes: bytes.into(), slot, next, ..Row::none() };
        match self.rows.get_mut(id as usize) {
            Some(place) => *place = row,
            None => self.rows.push(row),
        }
        if let Some(matches) = &mut self.matches {
            matches.resize(self.rows.len(), 0);
            matches[id as usize] = 0;
        }
        if let Some(next) = self.rows.get_mut(next as usize) {
            next.previous = id;
        }
        id
    }

    /// Makes all rows of a key be found by their bytes.
    fn index_key(&mut self, slot: u32, keys: &Keys) {
        self.long.insert(slot);
        let chain: Vec<u32> = chain(self, keys.head(slot, self.place)).collect();
        chain.into_iter().for_each(|id| self.index(id));
    }

    fn index(&mut self, id: u32) {
        let hash_of = |id: u32| self.hasher.hash_one(&*self.rows[id as usize].bytes);
        self.table.insert_unique(hash_of(id), id, |&id| hash_of(id));
    }

    /// All rows there are.
    fn held(rows: &[Row]) -> Vec<u32> {
        let is_held = |&id: &u32| rows[id as usize].slot != NO_SLOT;
        (0..rows.len() as u32).filter(is_held).collect()
    }

    /// Ends the epoch: rows that no longer count are removed.
    pub(super) fn settle(&mut self, keys: &mut Keys, index: &KeyIndex) {
        let mut changes = std::mem::take(&mut self.changes);
        for change in changes.drain(..) {
            let row = &mut self.rows[change.id as usize];
            row.change = NONE;
            let (mut is_gone, mut is_used) = (row.count == 0, false);
            if let Some(forgetting) = &mut self.forgetting {
                (is_gone, is_used) = (forgetting.is_gone(row), forgetting.used(&change));
                // A partner that was forgotten may be taken back from a row that never met it.
                if let Some(matches) = &mut self.matches {
                    matches[change.id as usize] = matches[change.id as usize].max(0);
                }
            }
            if is_gone {
                self.remove(change.id, keys, index);
            } else if change.delta | change.matches_delta != 0 || is_used {
                self.journal.touch(change.id);
            }
        }
        self.changes = changes;
        self.epoch = None;
    }

    /// Removes the rows that were idle for too long, as of the epoch that begins.
    pub(super) fn forget_idle(&mut self, now_ms: i64, keys: &mut Keys, index: &KeyIndex) {
        let Some(forgetting) = &mut self.forgetting else { return };
        forgetting.now_ms = now_ms;
        let Some(expiry) = &mut forgetting.expiry else { return };
        let rows = &self.rows;
        for id in expiry.idle(now_ms, || Bag::held(rows)) {
            self.remove(id, keys, index);
        }
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, id: u32, keys: &mut Keys, index: &KeyIndex) {
        let row = std::mem::replace(&mut self.rows[id as usize], Row::none());
        if self.long.contains(&row.slot) {
            let hash = self.hasher.hash_one(&*row.bytes);
            if let Ok(entry) = self.table.find_entry(hash, |&other| other == id) {
                entry.remove();
            }
            if row.next == NONE && row.previous == NONE {
                self.long.remove(&row.slot);
            }
        }
        match self.rows.get_mut(row.previous as usize) {
            Some(previous) => previous.next = row.next,
            None => keys.set_head(row.slot, self.place, row.next),
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
        let (rows, changes, decoded) = (&self.rows, &self.changes, &mut self.decoded);
        decoded.resize(rows.len(), NONE);
        for id in ids {
            if id == NONE {
                gather.null();
                continue;
            }
            let (row, number) = (&rows[id as usize], &mut decoded[id as usize]);
            let change = changes.get(row.change as usize);
            match change.map(|change| change.fresh).filter(|&fresh| fresh != NONE) {
                Some(fresh) => gather.epoch(fresh),
                None if *number != NONE => gather.again(*number),
                None => {
                    *number = gather.held(&row.bytes);
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
        self.journal.take(scope, || Bag::held(&self.rows))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
            && self.long.is_empty()
            && self.row_bytes == 0
            && self.free.len() == self.rows.len()
    }

    pub(super) fn state_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.row_bytes
            + self.matches.as_ref().map_or(0, |matches| matches.capacity() * size_of::<i64>())
            + self.decoded.capacity() * size_of::<u32>()
            + self.table.allocation_size()
            + self.long.allocation_size()
            + self.journal.bytes()
            + self.expiry().map_or(0, Expiry::bytes)
    }

    /// When its rows were last used, if they are forgotten.
    pub(super) fn expiry(&self) -> Option<&Expiry> {
        self.forgetting.as_ref().and_then(|forgetting| forgetting.expiry.as_ref())
    }
}
