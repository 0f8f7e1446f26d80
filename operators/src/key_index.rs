//! [`KeyIndex`]: the slots under which an operator keeps its rows, by key.
//!
//! A [`KeyTable`] for operators whose state beside each key is made when the key is first seen,
//! and whose rows may have no key at all, where a NULL matches nothing.

use crate::key::KeyGroup;
use crate::key_table::KeyTable;
use crate::operator::OperatorError;
use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::compute::filter;
use arrow::datatypes::DataType;

/// The slot of a row that has no key.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// Keys and their slots. A slot stays the same until its key is removed, then it is used again.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    table: KeyTable,
    /// By slot.
    is_live: Vec<bool>,
}

impl KeyIndex {
    /// An empty index over keys of these types.
    pub(crate) fn new(types: &[DataType]) -> Result<Self, OperatorError> {
        Ok(KeyIndex { table: KeyTable::new(types)?, is_live: Vec::new() })
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
    ) -> Result<(), OperatorError> {
        match valid.filter(|valid| valid.null_count() > 0) {
            None => self.table.insert(columns, rows, slots)?,
            Some(valid) => self.insert_valid(columns, valid, slots)?,
        }
        self.is_live.resize(self.table.slots(), false);
        for (row, &slot) in slots.iter().enumerate().filter(|&(_, &slot)| slot != NO_SLOT) {
            if !std::mem::replace(&mut self.is_live[slot as usize], true) {
                on_new(slot, row);
            }
        }
        Ok(())
    }

    fn insert_valid(
        &mut self,
        columns: &[ArrayRef],
        valid: &NullBuffer,
        slots: &mut Vec<u32>,
    ) -> Result<(), OperatorError> {
        let keep = BooleanArray::new(valid.inner().clone(), None);
        let columns: Vec<ArrayRef> =
            columns.iter().map(|column| filter(column, &keep)).collect::<Result<_, _>>()?;
        let mut some = Vec::new();
        self.table.insert(&columns, valid.len() - valid.null_count(), &mut some)?;
        slots.clear();
        slots.resize(valid.len(), NO_SLOT);
        for (row, slot) in valid.valid_indices().zip(some) {
            slots[row] = slot;
        }
        Ok(())
    }

    /// The slot of every row's key, where it has one already.
    pub(crate) fn find(
        &self,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<Option<u32>>, OperatorError> {
        self.table.find(None, columns, rows)
    }

    /// Forgets a key; its slot will be given to another.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.table.remove(&[slot]);
        self.is_live[slot as usize] = false;
    }

    /// The key group of a slot's key.
    #[inline]
    pub(crate) fn group(&self, slot: u32) -> KeyGroup {
        self.table.key_group(slot)
    }

    /// The key columns of `slots`.
    pub(crate) fn columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        self.table.keys(slots)
    }

    /// All live slots, ascending.
    pub(crate) fn slots(&self) -> Vec<u32> {
        self.table.groups()
    }

    /// How many keys there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes held, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes() + self.is_live.capacity()
    }
}
