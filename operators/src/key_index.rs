//! [`KeyIndex`]: from the key columns of a batch to small numbers, for operators that keep a
//! list of rows for each key.
//!
//! A key's slot stays the same until the key is removed; slots of removed keys are used again,
//! so that a caller's `Vec` beside the index follows the live keys. Each key keeps its
//! [`hash_columns`] value, whose top bits are its [`KeyGroup`].

use crate::key::{KeyGroup, hash_columns};
use crate::row_codec::{RowCodec, canonical};
use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::SortField;
use hashbrown::HashTable;

/// The slot of a row that has no key (a NULL where NULL matches nothing).
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// Keys and their slots.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    codec: RowCodec,
    table: HashTable<u32>,
    keys: Vec<Key>,
    free: Vec<u32>,
    hashes: Vec<u64>,
    key_bytes: usize,
}

#[derive(Debug, Default)]
struct Key {
    hash: u64,
    bytes: Box<[u8]>,
}

impl KeyIndex {
    /// An empty index over keys of these types.
    pub(crate) fn new(types: impl IntoIterator<Item = DataType>) -> Result<Self, ArrowError> {
        Ok(KeyIndex {
            codec: RowCodec::new(types.into_iter().map(SortField::new).collect())?,
            table: HashTable::new(),
            keys: Vec::new(),
            free: Vec::new(),
            hashes: Vec::new(),
            key_bytes: 0,
        })
    }

    /// The slot of every row's key; keys that are new get one, and `on_new` is told of it with
    /// the first row that has it. Rows that are not `valid` get [`NO_SLOT`].
    pub(crate) fn assign(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        valid: Option<&NullBuffer>,
        slots: &mut Vec<u32>,
        mut on_new: impl FnMut(u32, usize),
    ) -> Result<(), ArrowError> {
        let columns: Vec<ArrayRef> = columns.iter().map(canonical).collect();
        let encoded = self.codec.encode(&columns)?;
        hash_columns(&columns, rows, &mut self.hashes);
        slots.clear();
        slots.reserve(rows);
        for row in 0..rows {
            if valid.is_some_and(|v| v.is_null(row)) {
                slots.push(NO_SLOT);
                continue;
            }
            let (hash, bytes) = (self.hashes[row], encoded.get(row));
            let keys = &mut self.keys;
            let same =
                |&s: &u32| keys[s as usize].hash == hash && *keys[s as usize].bytes == *bytes;
            let found = match self.table.find(hash, same) {
                Some(&slot) => slot,
                None => {
                    let slot = self.add(hash, bytes);
                    on_new(slot, row);
                    slot
                }
            };
            slots.push(found);
        }
        Ok(())
    }

    fn add(&mut self, hash: u64, bytes: &[u8]) -> u32 {
        let key = Key { hash, bytes: bytes.into() };
        self.key_bytes += bytes.len();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.keys[slot as usize] = key;
                slot
            }
            None => {
                self.keys.push(key);
                (self.keys.len() - 1) as u32
            }
        };
        let keys = &self.keys;
        self.table.insert_unique(hash, slot, |&s| keys[s as usize].hash);
        slot
    }

    /// Forgets a key; its slot will be given to another.
    pub(crate) fn remove(&mut self, slot: u32) {
        let key = std::mem::take(&mut self.keys[slot as usize]);
        self.key_bytes -= key.bytes.len();
        if let Ok(entry) = self.table.find_entry(key.hash, |&s| s == slot) {
            entry.remove();
            self.free.push(slot);
        }
    }

    /// The key group of a slot's key.
    pub(crate) fn group(&self, slot: u32) -> KeyGroup {
        KeyGroup::of(self.keys[slot as usize].hash)
    }

    /// The key columns of `slots`.
    pub(crate) fn columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        self.codec.decode(slots.iter().map(|&slot| &*self.keys[slot as usize].bytes))
    }

    /// All live slots, in no order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.iter().copied()
    }

    /// Bytes held, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<Key>() + self.key_bytes + self.table.allocation_size()
    }
}
