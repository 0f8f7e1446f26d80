//! [`Rows`]: what a join asks of one input's rows, however they are held, and [`View`]: these rows
//! as they stand for an epoch.
//!
//! Rows have small numbers, and those under one key are a chain. While an epoch is applied each
//! row says how often it counts now and how often it did before, so that both states can be read
//! side by side.

use super::keys::Keys;
use crate::time::Epoch;

/// No row: pads the other side with NULLs, and ends a chain.
pub(super) const NONE: u32 = u32::MAX;

/// The rows of one input.
pub(super) trait Rows {
    /// How often a row counted before the epoch, and how often it does now.
    fn counts(&self, id: u32) -> (i64, i64);

    /// The next row under the same key, or [`NONE`].
    fn next(&self, id: u32) -> u32;

    /// Rows whose count the epoch changed, and the slots of their keys.
    fn changed(&self) -> impl Iterator<Item = (u32, u32)>;
}

/// Where a reader stands, as seen from the epoch that was added to the rows last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// At an earlier epoch.
    Before,
    /// At that epoch.
    Within,
    /// Past it.
    Behind,
}

impl Standing {
    /// Of a reader at `epoch`; `added` was added last and is not settled, if anything is.
    pub(super) fn of(epoch: Epoch, added: Option<Epoch>) -> Self {
        match added {
            Some(added) if epoch < added => Standing::Before,
            Some(added) if epoch == added => Standing::Within,
            _ => Standing::Behind,
        }
    }

    /// What was before the reader's epoch and what is after it, of what was before the added one
    /// and what is now.
    #[inline]
    fn of_both<T: Copy>(self, (before, now): (T, T)) -> (T, T) {
        match self {
            Standing::Before => (before, before),
            Standing::Within => (before, now),
            Standing::Behind => (now, now),
        }
    }
}

/// An input's rows under their keys, as a reader's epoch finds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a, R> {
    pub(super) rows: &'a R,
    pub(super) keys: &'a Keys,
    pub(super) place: usize,
    pub(super) standing: Standing,
}

impl<'a, R: Rows> View<'a, R> {
    /// How often a row counted before the epoch, and how often it does behind it.
    #[inline]
    pub(super) fn counts(&self, id: u32) -> (i64, i64) {
        self.standing.of_both(self.rows.counts(id))
    }

    /// Whether there was any row under a key before the epoch, and whether there is one behind it.
    #[inline]
    pub(super) fn presence(&self, slot: u32) -> (bool, bool) {
        self.standing.of_both(self.keys.presence(slot, self.place))
    }

    /// Rows whose count the epoch changed, and the slots of their keys.
    pub(super) fn changed(&self) -> impl Iterator<Item = (u32, u32)> + use<'a, R> {
        self.is_within().then(|| self.rows.changed()).into_iter().flatten()
    }

    /// Keys of which the epoch changed how many rows there are.
    pub(super) fn touched(&self) -> impl Iterator<Item = u32> + use<'a, R> {
        self.is_within().then(|| self.keys.touched(self.place)).into_iter().flatten()
    }

    /// All rows under a key, be they counted before the epoch, behind it, or neither.
    #[inline]
    pub(super) fn chain(&self, slot: u32) -> impl Iterator<Item = u32> + use<'a, R> {
        let rows = self.rows;
        chain(rows, self.keys.head(slot, self.place))
    }

    fn is_within(&self) -> bool {
        self.standing == Standing::Within
    }
}

/// A chain from its head.
#[inline]
pub(super) fn chain<R: Rows>(rows: &R, head: u32) -> impl Iterator<Item = u32> {
    std::iter::successors((head != NONE).then_some(head), |&id| {
        let next = rows.next(id);
        (next != NONE).then_some(next)
    })
}
