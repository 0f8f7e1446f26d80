//! What an epoch changed of a partition's shown rows, as a pure function of before and after.

use super::ranking::Ranked;
use std::cmp::Ordering;
use std::collections::HashMap;

/// One row of the output changelog.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) row: Ranked,
    pub(super) rank: i64,
    pub(super) weight: i64,
}

/// Ranks are part of the row: every rank whose row differs gives `-before` and `+after`.
pub(super) fn of_ranks(before: &[Ranked], after: &[Ranked], first: i64, out: &mut Vec<Change>) {
    for place in 0..before.len().max(after.len()) {
        let (old, new) = (before.get(place), after.get(place));
        if let (Some(old), Some(new)) = (old, new)
            && old.row() == new.row()
        {
            continue;
        }
        let rank = first + place as i64;
        out.extend(old.map(|row| Change { row: row.clone(), rank, weight: -1 }));
        out.extend(new.map(|row| Change { row: row.clone(), rank, weight: 1 }));
    }
}

/// Ranks are not shown: only rows that came in or went out count. The `n`-th to go stands
/// directly before the `n`-th to come.
pub(super) fn of_rows(before: &[Ranked], after: &[Ranked], out: &mut Vec<Change>) {
    let (mut gone, mut come) = only_in_one(before, after);
    cancel(&mut gone, &mut come);
    let (mut gone, mut come) = (gone.into_iter(), come.into_iter());
    loop {
        let (old, new) = (gone.next(), come.next());
        if old.is_none() && new.is_none() {
            return;
        }
        out.extend(old.map(|row| Change { row: row.clone(), rank: 0, weight: -1 }));
        out.extend(new.map(|row| Change { row: row.clone(), rank: 0, weight: 1 }));
    }
}

/// Both are sorted by rank, so one pass finds what only one of them has.
fn only_in_one<'a>(
    before: &'a [Ranked],
    after: &'a [Ranked],
) -> (Vec<&'a Ranked>, Vec<&'a Ranked>) {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    while let (Some(a), Some(b)) = (old.peek(), new.peek()) {
        match a.rank(b) {
            Ordering::Less => gone.extend(old.next()),
            Ordering::Greater => come.extend(new.next()),
            Ordering::Equal => {
                old.next();
                new.next();
            }
        }
    }
    gone.extend(old);
    come.extend(new);
    (gone, come)
}

/// Another row of the same content changes nothing that can be seen.
fn cancel(gone: &mut Vec<&Ranked>, come: &mut Vec<&Ranked>) {
    if gone.is_empty() || come.is_empty() {
        return;
    }
    if let ([old], [new]) = (&gone[..], &come[..]) {
        if old.row() == new.row() {
            gone.clear();
            come.clear();
        }
        return;
    }
    let mut balance: HashMap<&[u8], i64> = HashMap::with_capacity(gone.len());
    gone.iter().for_each(|row| *balance.entry(row.row()).or_default() += 1);
    let mut cancelled: HashMap<&[u8], i64> = HashMap::new();
    come.retain(|row| match balance.get_mut(row.row()) {
        Some(left) if *left > 0 => {
            *left -= 1;
            *cancelled.entry(row.row()).or_default() += 1;
            false
        }
        _ => true,
    });
    gone.retain(|row| match cancelled.get_mut(row.row()) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    });
}
