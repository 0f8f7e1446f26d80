//! What stands under each key: on each side the row that the others are chained to.
//!
//! A side's rows under one key are a chain: here is its head, the latest row, and each row says
//! the next one (see [`Rows`](super::rows::Rows)). A key goes when both of its chains are empty.

use super::rows::NONE;

/// By slot of the key index: one entry for each key.
#[derive(Debug)]
pub(super) struct Keys {
    heads: [Vec<u32>; 2],
    /// How many rows there are, if the join asks.
    totals: Option<Totals>,
    /// Keys that were left without rows; perhaps they have some again.
    emptied: Vec<u32>,
}

/// How often the rows of each side count in all.
#[derive(Debug, Default)]
struct Totals {
    entries: Vec<Total>,
    /// Keys whose totals the epoch changed.
    touched: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct Total {
    now: [i64; 2],
    before: [i64; 2],
    is_touched: bool,
}

impl Keys {
    /// No key yet. With `counted` the rows under each are counted.
    pub(super) fn new(counted: bool) -> Self {
        let totals = counted.then(Totals::default);
        Keys { heads: Default::default(), totals, emptied: Vec::new() }
    }

    /// Makes room for a new key.
    pub(super) fn insert(&mut self, slot: u32) {
        let slot = slot as usize;
        for heads in &mut self.heads {
            if heads.len() <= slot {
                heads.resize(slot + 1, NONE);
            }
            heads[slot] = NONE;
        }
        if let Some(Totals { entries, .. }) = &mut self.totals {
            if entries.len() <= slot {
                entries.resize(slot + 1, Total::default());
            }
            entries[slot] = Total::default();
        }
    }

    /// The latest row of one side, or [`NONE`].
    #[inline]
    pub(super) fn head(&self, slot: u32, port: usize) -> u32 {
        self.heads[port][slot as usize]
    }

    /// Puts a row before the others; says which was the first so far.
    #[inline]
    pub(super) fn push(&mut self, slot: u32, port: usize, id: u32) -> u32 {
        std::mem::replace(&mut self.heads[port][slot as usize], id)
    }

    /// Makes another row the first, or [`NONE`].
    pub(super) fn set_head(&mut self, slot: u32, port: usize, id: u32) {
        self.heads[port][slot as usize] = id;
        if id == NONE && self.is_empty(slot) {
            self.emptied.push(slot);
        }
    }

    fn is_empty(&self, slot: u32) -> bool {
        self.heads.iter().all(|heads| heads[slot as usize] == NONE)
    }

    /// Adds to the number of rows of one side, if they are counted.
    #[inline]
    pub(super) fn add_total(&mut self, slot: u32, port: usize, weight: i64) {
        let Some(Totals { entries, touched }) = &mut self.totals else { return };
        let total = &mut entries[slot as usize];
        if !total.is_touched {
            total.is_touched = true;
            total.before = total.now;
            touched.push(slot);
        }
        total.now[port] += weight;
    }

    /// Whether one side had any row before the epoch, and whether it has one now. Only where rows
    /// are counted.
    #[inline]
    pub(super) fn presence(&self, slot: u32, port: usize) -> (bool, bool) {
        let totals = self.totals.as_ref().expect("asked for when the join was made");
        let total = &totals.entries[slot as usize];
        let before = if total.is_touched { total.before } else { total.now };
        (before[port] > 0, total.now[port] > 0)
    }

    /// Keys whose totals the epoch changed.
    pub(super) fn touched(&self) -> &[u32] {
        self.totals.as_ref().map_or(&[], |totals| &totals.touched)
    }

    /// Ends the epoch; tells `gone` the keys that have nothing any more.
    pub(super) fn settle(&mut self, gone: impl FnMut(u32)) {
        if let Some(Totals { entries, touched }) = &mut self.totals {
            touched.drain(..).for_each(|slot| entries[slot as usize].is_touched = false);
        }
        let mut emptied = std::mem::take(&mut self.emptied);
        emptied.sort_unstable();
        emptied.dedup();
        emptied.into_iter().filter(|&slot| self.is_empty(slot)).for_each(gone);
    }

    pub(super) fn state_bytes(&self) -> usize {
        let heads = self.heads.iter().map(|heads| heads.capacity() * size_of::<u32>());
        let totals = self.totals.as_ref().map_or(0, |totals| totals.entries.capacity());
        heads.sum::<usize>() + totals * size_of::<Total>()
    }
}
