//! What an epoch changed, row by row: the [`Pair`]s of a join's output.

use super::JoinKind;
use super::rows::{NONE, Rows, View};

/// A row of the output or a candidate for it: rows of both sides, or [`NONE`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) weight: i64,
}

impl Pair {
    /// A row of one side by itself; none if nothing changed of it.
    pub(super) fn alone(port: usize, id: u32, weight: i64) -> Option<Pair> {
        let (left, right) = if port == 0 { (id, NONE) } else { (NONE, id) };
        (weight != 0).then_some(Pair { left, right, weight })
    }
}

/// Which rows of one side are shown by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    /// None.
    Never,
    /// Those that have no partner.
    Unmatched,
    /// Those that have one.
    Matched,
}

impl Alone {
    pub(super) fn of(kind: JoinKind, port: usize) -> Alone {
        match (kind, port) {
            (JoinKind::LeftSemi, 0) => Alone::Matched,
            (JoinKind::LeftAnti | JoinKind::Left | JoinKind::Full, 0) => Alone::Unmatched,
            (JoinKind::Right | JoinKind::Full, 1) => Alone::Unmatched,
            _ => Alone::Never,
        }
    }

    /// How often a row is shown.
    pub(super) fn shown(self, count: i64, is_matched: bool) -> i64 {
        match self {
            Alone::Unmatched if !is_matched => count,
            Alone::Matched if is_matched => count,
            _ => 0,
        }
    }
}

/// All pairs under equal keys whose weight the epoch changed, retractions first. With `all`, also
/// those whose weight is as it was but of which a row changed.
pub(super) fn pairs(left: View<'_, impl Rows>, right: View<'_, impl Rows>, all: bool) -> Vec<Pair> {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    let mut push = |left: u32, right: u32, weight: i64| {
        if weight != 0 || all {
            let list = if weight < 0 { &mut gone } else { &mut come };
            list.push(Pair { left, right, weight });
        }
    };
    for (l, slot) in left.changed() {
        let (l_before, l_now) = left.counts(l);
        for r in right.chain(slot) {
            let (r_before, r_now) = right.counts(r);
            push(l, r, l_now * r_now - l_before * r_before);
        }
    }
    for (r, slot) in right.changed() {
        let (r_before, r_now) = right.counts(r);
        for l in left.chain(slot) {
            let (l_before, l_now) = left.counts(l);
            // A left row that changed has met this one above.
            if l_before == l_now {
                push(l, r, l_now * (r_now - r_before));
            }
        }
    }
    if gone.is_empty() {
        return come;
    }
    gone.append(&mut come);
    gone
}

/// Changes of the rows of one side that are shown by themselves, where any row of the `others` under
/// the key is a partner.
pub(super) fn alone_by_key(
    (alone, port): (Alone, usize),
    rows: View<'_, impl Rows>,
    others: View<'_, impl Rows>,
    pairs: &mut Vec<Pair>,
) {
    if alone == Alone::Never {
        return;
    }
    let mut push = |id: u32, before: bool, now: bool| {
        let (count_before, count) = rows.counts(id);
        let weight = alone.shown(count, now) - alone.shown(count_before, before);
        pairs.extend(Pair::alone(port, id, weight));
    };
    for slot in others.touched() {
        let (before, now) = others.presence(slot);
        if before != now {
            rows.chain(slot).for_each(|id| push(id, before, now));
        }
    }
    for (id, slot) in rows.changed() {
        let (before, now) = others.presence(slot);
        if before == now {
            push(id, before, now);
        }
    }
}
