//! The rows of one partition, best first.
//!
//! A row's place is decided by its *order bytes* (the `ORDER BY` columns in Arrow's row format,
//! so that comparing bytes compares rows) and, among equals, by its [`Tie`]. No two rows share a
//! tie, so the order is total.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What decides between rows of equal order: arrival, then the operator's own sequence number.
///
/// Both are stored inverted if later arrivals win, so that the smaller tie is always better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tie {
    arrival: i64,
    sequence: i64,
}

impl Tie {
    pub(super) fn new(arrival: i64, sequence: i64, to_last: bool) -> Tie {
        match to_last {
            // `!x` is `-x - 1`: it turns the order around and cannot overflow.
            true => Tie { arrival: !arrival, sequence: !sequence },
            false => Tie { arrival, sequence },
        }
    }

    pub(super) fn arrival(self, to_last: bool) -> i64 {
        if to_last { !self.arrival } else { self.arrival }
    }

    pub(super) fn sequence(self, to_last: bool) -> i64 {
        if to_last { !self.sequence } else { self.sequence }
    }
}

/// Not a row of the epoch that is being applied.
pub(super) const NOT_FRESH: u32 = u32::MAX;

/// A row of a ranking: its order bytes and then its own, in one piece.
///
/// A row of the current epoch is *fresh*: it is known by its index in the epoch's input, and if
/// the ranking holds only the best rows, its bytes are made once the epoch is over, for most rows
/// of an epoch are pushed out again before its end. Outside of `apply`, all bytes are there.
#[derive(Clone, Debug)]
pub(super) struct Ranked {
    pub(super) bytes: Option<Arc<[u8]>>,
    pub(super) order_length: u32,
    pub(super) fresh: u32,
    pub(super) tie: Tie,
}

impl Ranked {
    /// The order bytes; `fresh` are those of the epoch's rows.
    #[inline]
    pub(super) fn order<'a>(&'a self, fresh: &'a crate::row_codec::RowBytes) -> &'a [u8] {
        match &self.bytes {
            Some(bytes) => &bytes[..self.order_length as usize],
            None => fresh.get(self.fresh as usize),
        }
    }

    /// The order bytes of a row whose bytes are there.
    #[inline]
    pub(super) fn held_order(&self) -> &[u8] {
        debug_assert!(self.bytes.is_some(), "the epoch's rows have been given their bytes");
        self.bytes.as_deref().map_or(&[], |b| &b[..self.order_length as usize])
    }

    /// The row's bytes without its order's.
    #[inline]
    pub(super) fn row(&self) -> &[u8] {
        debug_assert!(self.bytes.is_some(), "the epoch's rows have been given their bytes");
        self.bytes.as_deref().map_or(&[], |b| &b[self.order_length as usize..])
    }

    /// Which of two held rows is better.
    #[inline]
    pub(super) fn rank(&self, other: &Ranked) -> Ordering {
        self.held_order().cmp(other.held_order()).then(self.tie.cmp(&other.tie))
    }
}

/// A held row in a sorted set.
#[derive(Clone, Debug)]
pub(super) struct ByRank(pub(super) Ranked);

impl PartialEq for ByRank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByRank {}

impl PartialOrd for ByRank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByRank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.rank(&other.0)
    }
}

/// The rows that a partition keeps.
#[derive(Debug)]
pub(super) enum Kept {
    /// Of rows that are never taken back: only those that can still be shown.
    Best(Vec<Ranked>),
    /// Of rows that may be taken back: all.
    All(BTreeSet<ByRank>),
}

impl Kept {
    /// Appends the rows of ranks `first..=last` (from 1) to `out`.
    pub(super) fn shown(&self, first: usize, last: usize, out: &mut Vec<Ranked>) {
        let (skip, take) = (first - 1, last.saturating_sub(first - 1));
        match self {
            Kept::Best(rows) => out.extend(rows.iter().skip(skip).take(take).cloned()),
            Kept::All(rows) => out.extend(rows.iter().skip(skip).take(take).map(|r| r.0.clone())),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Kept::Best(rows) => rows.is_empty(),
            Kept::All(rows) => rows.is_empty(),
        }
    }

    pub(super) fn for_each(&self, mut visit: impl FnMut(&Ranked)) {
        match self {
            Kept::Best(rows) => rows.iter().for_each(visit),
            Kept::All(rows) => rows.iter().for_each(|row| visit(&row.0)),
        }
    }
}

/// Where a row of this order and tie belongs among `rows` that are kept to the best `limit`;
/// `None` if it isn't one of them.
#[inline]
pub(super) fn position(
    rows: &[Ranked],
    limit: usize,
    order: &[u8],
    tie: Tie,
    fresh: &crate::row_codec::RowBytes,
) -> Option<usize> {
    let better = |held: &Ranked| match held.order(fresh).cmp(order) {
        Ordering::Equal => held.tie < tie,
        other => other.is_lt(),
    };
    // Most rows are worse than the worst that is kept: ask that one first.
    match rows.last() {
        Some(worst) if better(worst) => (rows.len() < limit).then_some(rows.len()),
        _ => Some(rows.partition_point(better)),
    }
}
