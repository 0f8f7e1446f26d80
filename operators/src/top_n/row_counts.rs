//! Which rows there are, and how often: finds the row that a retraction means.

use super::ranking::Tie;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

/// All rows of an operator whose input may take rows back.
#[derive(Debug, Default)]
pub(super) struct RowCounts {
    table: HashTable<Counted>,
    hasher: DefaultHashBuilder,
    owed: usize,
}

/// Equal rows: one tie for each, earliest arrival first.
///
/// A retraction may come before its row (a changelog that is read from its middle, two inputs of
/// a union): then the row is owed, and cancels when it comes. Never are there ties and a debt.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) bytes: Arc<[u8]>,
    pub(super) order_length: u32,
    pub(super) slot: u32,
    ties: VecDeque<Tie>,
    pub(super) debt: i64,
    pub(super) debt_sequence: i64,
}

/// A row as it is looked up: the bytes of its order and its own, and its partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowBytes<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) order_length: u32,
    pub(super) slot: u32,
}

/// What a row is that is taken back and isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is still to come.
    ToCome,
    /// It was forgotten.
    Forgotten,
}

/// What became of a retraction.
#[derive(Debug)]
pub(super) enum Taken {
    /// The row that is gone.
    Row(Arc<[u8]>, Tie),
    /// It was not there. If it is to come it is owed now, under the sequence number of the debt; the
    /// number of an earlier debt of the same row is no longer in use.
    Owed(Option<i64>),
}

/// What became of an insertion.
#[derive(Debug)]
pub(super) enum Put {
    /// The bytes to rank.
    Row(Arc<[u8]>),
    /// It was owed: it paid (part of) the debt with this sequence number, which stands under the
    /// new number if something is left of it.
    Paid(i64),
}

impl RowCounts {
    pub(super) fn put(&mut self, row: RowBytes<'_>, tie: Tie, sequence: i64) -> Put {
        let hash = self.hasher.hash_one(row.bytes);
        if let Some(counted) = self.table.find_mut(hash, |c| *c.bytes == *row.bytes) {
            if counted.debt == 0 {
                counted.ties.push_back(tie);
                return Put::Row(counted.bytes.clone());
            }
            let paid = std::mem::replace(&mut counted.debt_sequence, sequence);
            counted.debt -= 1;
            if counted.debt == 0 {
                self.owed -= 1;
                self.forget(hash, row.bytes);
            }
            return Put::Paid(paid);
        }
        let bytes: Arc<[u8]> = row.bytes.into();
        let mut ties = VecDeque::with_capacity(1);
        ties.push_back(tie);
        let RowBytes { order_length, slot, .. } = row;
        let (debt, debt_sequence) = (0, 0);
        self.insert(
            hash,
            Counted { bytes: bytes.clone(), order_length, slot, ties, debt, debt_sequence },
        );
        Put::Row(bytes)
    }

    pub(super) fn take(&mut self, row: RowBytes<'_>, sequence: i64, missing: Missing) -> Taken {
        let hash = self.hasher.hash_one(row.bytes);
        let Some(counted) = self.table.find_mut(hash, |c| *c.bytes == *row.bytes) else {
            if missing == Missing::ToCome {
                self.owe(row, 1, sequence);
            }
            return Taken::Owed(None);
        };
        match counted.ties.pop_front() {
            None => {
                counted.debt += 1;
                Taken::Owed(Some(std::mem::replace(&mut counted.debt_sequence, sequence)))
            }
            Some(tie) => {
                let held = counted.bytes.clone();
                if counted.ties.is_empty() {
                    self.forget(hash, row.bytes);
                }
                Taken::Row(held, tie)
            }
        }
    }

    /// Notes that a row that isn't there was taken back.
    pub(super) fn owe(&mut self, row: RowBytes<'_>, debt: i64, debt_sequence: i64) {
        let hash = self.hasher.hash_one(row.bytes);
        let (bytes, ties) = (row.bytes.into(), VecDeque::new());
        let RowBytes { order_length, slot, .. } = row;
        self.insert(hash, Counted { bytes, order_length, slot, ties, debt, debt_sequence });
        self.owed += 1;
    }

    /// Whether any row is owed.
    pub(super) fn owes(&self) -> bool {
        self.owed > 0
    }

    /// Forgets all rows of these bytes.
    pub(super) fn drop_row(&mut self, bytes: &[u8]) {
        self.forget(self.hasher.hash_one(bytes), bytes);
    }

    /// Forgets one row.
    pub(super) fn drop_one(&mut self, bytes: &[u8], tie: Tie) {
        let hash = self.hasher.hash_one(bytes);
        if let Some(counted) = self.table.find_mut(hash, |c| *c.bytes == *bytes) {
            counted.ties.retain(|&t| t != tie);
            if counted.ties.is_empty() {
                self.forget(hash, bytes);
            }
        }
    }

    /// Forgets those debts of a partition for whose sequence number `which` says so.
    pub(super) fn drop_debts(&mut self, slot: u32, mut which: impl FnMut(i64) -> bool) {
        if self.owed == 0 {
            return;
        }
        self.table.retain(|c| {
            let drop = c.debt > 0 && c.slot == slot && which(c.debt_sequence);
            self.owed -= usize::from(drop);
            !drop
        });
    }

    /// What is owed.
    pub(super) fn debts(&self) -> impl Iterator<Item = &Counted> {
        let any = if self.owed > 0 { Some(self.table.iter()) } else { None };
        any.into_iter().flatten().filter(|c| c.debt > 0)
    }

    pub(super) fn state_bytes(&self) -> usize {
        self.table.allocation_size() + self.table.len() * size_of::<Tie>()
    }

    fn insert(&mut self, hash: u64, counted: Counted) {
        let hasher = &self.hasher;
        self.table.insert_unique(hash, counted, |c| hasher.hash_one(&*c.bytes));
    }

    fn forget(&mut self, hash: u64, bytes: &[u8]) {
        if let Ok(entry) = self.table.find_entry(hash, |c| *c.bytes == *bytes) {
            entry.remove();
        }
    }
}
