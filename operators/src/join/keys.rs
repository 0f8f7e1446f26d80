//! What stands under each key: of each arrangement the row that its others are chained to.
//!
//! An arrangement's rows under one key are a chain: here is its head, the latest row, and each row
//! says the next one (see [`Rows`](super::rows::Rows)). A key goes when all of its chains are
//! empty.

use super::rows::NONE;

/// By slot of the key index: one entry for each key.
#[derive(Debug)]
pub(super) struct Keys {
    /// By arrangement.
    heads: Vec<Vec<u32>>,
    /// By arrangement: how many rows there are, if a join asks.
    totals: Vec<Option<Totals>>,
    /// Keys that were left without rows; perhaps they have some again.
    emptied: Vec<u32>,
}

/// How often an arrangement's rows count in all.
#[derive(Debug, Default)]
struct Totals {
    entries: Vec<Total>,
    /// What the epoch changed.
    touched: Vec<Touched>,
}

#[derive(Clone, Debug)]
struct Total {
    now: i64,
    /// Its place among those that the epoch changed, or [`NONE`].
    touched: u32,
}

#[derive(Debug)]
struct Touched {
    slot: u32,
    before: i64,
}

impl Total {
    const NOTHING: Total = Total { now: 0, touched: NONE };
}

impl Keys {
    /// No key yet. Says for each arrangement whether the rows under each key are counted.
    pub(super) fn new(counted: impl IntoIterator<Item = bool>) -> Self {
        let totals: Vec<_> =
            counted.into_iter().map(|counted| counted.then(Totals::default)).collect();
        Keys { heads: vec![Vec::new(); totals.len()], totals, emptied: Vec::new() }
    }

    /// Makes room for a new key.
    pub(super) fn insert(&mut self, slot: u32) {
        for heads in &mut self.heads {
            put(heads, slot, NONE);
        }
        for totals in self.totals.iter_mut().flatten() {
            put(&mut totals.entries, slot, Total::NOTHING);
        }
    }

    /// An arrangement's latest row, or [`NONE`].
    #[inline]
    pub(super) fn head(&self, slot: u32, place: usize) -> u32 {
        self.heads[place][slot as usize]
    }

    /// Puts a row before the others; says which was the first so far.
    #[inline]
    pub(super) fn push(&mut self, slot: u32, place: usize, id: u32) -> u32 {
        std::mem::replace(&mut self.heads[place][slot as usize], id)
    }

    /// Makes another row the first, or [`NONE`].
    pub(super) fn set_head(&mut self, slot: u32, place: usize, id: u32) {
        self.heads[place][slot as usize] = id;
        if id == NONE && self.is_empty(slot) {
            self.emptied.push(slot);
        }
    }

    fn is_empty(&self, slot: u32) -> bool {
        self.heads.iter().all(|heads| heads[slot as usize] == NONE)
    }

    /// Adds to the number of rows of an arrangement, if they are counted.
    #[inline]
    pub(super) fn add_total(&mut self, slot: u32, place: usize, weight: i64) {
        let Some(Totals { entries, touched }) = &mut self.totals[place] else { return };
        let total = &mut entries[slot as usize];
        if total.touched == NONE {
            total.touched = touched.len() as u32;
            touched.push(Touched { slot, before: total.now });
        }
        total.now += weight;
    }

    /// Whether an arrangement had any row before the epoch, and whether it has one now. Only where
    /// rows are counted.
    #[inline]
    pub(super) fn presence(&self, slot: u32, place: usize) -> (bool, bool) {
        let totals = self.totals[place].as_ref().expect("asked for by the join");
        let total = &totals.entries[slot as usize];
        let touched = totals.touched.get(total.touched as usize);
        (touched.map_or(total.now, |touched| touched.before) > 0, total.now > 0)
    }

    /// Keys of which the epoch changed how many rows there are of an arrangement.
    pub(super) fn touched(&self, place: usize) -> impl Iterator<Item = u32> {
        let totals = self.totals[place].iter();
        totals.flat_map(|totals| totals.touched.iter().map(|touched| touched.slot))
    }

    /// Ends an arrangement's epoch.
    pub(super) fn settle(&mut self, place: usize) {
        if let Some(Totals { entries, touched }) = &mut self.totals[place] {
            for touched in touched.drain(..) {
                entries[touched.slot as usize].touched = NONE;
            }
        }
    }

    /// Tells `gone` the keys that have nothing any more.
    pub(super) fn sweep(&mut self, gone: impl FnMut(u32)) {
        let mut emptied = std::mem::take(&mut self.emptied);
        emptied.sort_unstable();
        emptied.dedup();
        emptied.into_iter().filter(|&slot| self.is_empty(slot)).for_each(gone);
    }

    pub(super) fn state_bytes(&self) -> usize {
        let heads = self.heads.iter().map(|heads| heads.capacity() * size_of::<u32>());
        let totals = self.totals.iter().flatten().map(|totals| totals.entries.capacity());
        heads.sum::<usize>() + totals.sum::<usize>() * size_of::<Total>()
    }
}

/// Puts an entry, with such entries before it as may be missing.
fn put<T: Clone>(entries: &mut Vec<T>, slot: u32, entry: T) {
    let slot = slot as usize;
    if entries.len() <= slot {
        entries.resize(slot + 1, entry.clone());
    }
    entries[slot] = entry;
}
