//! What stands under each key: the rows of both sides, and how many they are.

/// By slot of the key index: one entry for each key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    entries: Vec<Entry>,
    /// Keys whose totals the epoch changed.
    pub(super) touched: Vec<u32>,
}

#[derive(Debug, Default)]
struct Entry {
    lists: [List; 2],
    totals: [i64; 2],
    totals_before: [i64; 2],
    is_touched: bool,
}

/// The rows of one side, in no order.
#[derive(Debug, Default)]
pub(super) struct List(Vec<u32>);

impl List {
    /// Adds a row and says where it is.
    pub(super) fn push(&mut self, id: u32) -> u32 {
        if self.0.capacity() == 0 {
            // Most keys have one row on at least one side.
            self.0.reserve_exact(1);
        }
        self.0.push(id);
        (self.0.len() - 1) as u32
    }

    /// Removes the row at `position` and says which row stands there now.
    pub(super) fn swap_remove(&mut self, position: u32) -> Option<u32> {
        self.0.swap_remove(position as usize);
        self.0.get(position as usize).copied()
    }
}

impl Keys {
    /// Makes room for a new key.
    pub(super) fn insert(&mut self, slot: u32) {
        match self.entries.get_mut(slot as usize) {
            Some(entry) => *entry = Entry::default(),
            None => self.entries.push(Entry::default()),
        }
    }

    pub(super) fn list(&mut self, slot: u32, port: usize) -> &mut List {
        &mut self.entries[slot as usize].lists[port]
    }

    /// The rows of one side.
    #[inline]
    pub(super) fn rows(&self, slot: u32, port: usize) -> &[u32] {
        &self.entries[slot as usize].lists[port].0
    }

    /// Adds to the number of rows of one side.
    #[inline]
    pub(super) fn add_total(&mut self, slot: u32, port: usize, weight: i64) {
        let entry = &mut self.entries[slot as usize];
        if !entry.is_touched {
            entry.is_touched = true;
            entry.totals_before = entry.totals;
            self.touched.push(slot);
        }
        entry.totals[port] += weight;
    }

    /// Whether one side had any row before the epoch, and whether it has one now.
    #[inline]
    pub(super) fn presence(&self, slot: u32, port: usize) -> (bool, bool) {
        let entry = &self.entries[slot as usize];
        let before = if entry.is_touched { entry.totals_before } else { entry.totals };
        (before[port] > 0, entry.totals[port] > 0)
    }

    /// Ends the epoch; tells `gone` the keys that have nothing any more.
    pub(super) fn settle(&mut self, mut gone: impl FnMut(u32)) {
        for slot in std::mem::take(&mut self.touched) {
            let entry = &mut self.entries[slot as usize];
            entry.is_touched = false;
            if entry.lists.iter().all(|list| list.0.is_empty()) && entry.totals == [0, 0] {
                gone(slot);
            }
        }
    }

    pub(super) fn state_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}
