//! What to go on from, what to keep, what to merge: the decisions about checkpoints, as functions
//! over plain values. I/O stands around them and does what they say.
//!
//! # Going on
//!
//! A checkpoint's output becomes visible after its manifest was written, so whoever starts may
//! find a manifest of which nobody knows whether its output is visible. The marker, committed in
//! the same transaction as the output, tells. Without a transaction the manifest is the commit:
//! what is left to do can be done again.
//!
//! ```text
//! newest manifest   committed    marker          go on from
//! ---------------   ---------    ------          ----------
//! none              -            none            the beginning
//! n                 yes          any             n
//! n                 no           at n            n, after doing the rest of its commit again
//! n                 no           before n        the one before; n is given up
//! n                 no           lost            refuse: it may be visible
//! n, damaged        no           before n        the one before; n is given up
//! n, damaged        otherwise                    refuse: its output is, or may be, visible
//! ```

use std::time::Duration;

/// Brokers forget offsets of groups without members after this time at the earliest
/// (`offsets.retention.minutes`, a day in old brokers), and with them the marker.
const MARKER_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is known of a checkpoint by its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It can be read, and so can everything that it names.
    Intact {
        /// Whether its output becomes visible by a transaction.
        has_transaction: bool,
        /// How long ago it was taken.
        age: Duration,
    },
    /// It, or something that it names, can't be read.
    Damaged,
}

/// A checkpoint, as it is found in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub number: u64,
    /// What is known of it.
    pub condition: Condition,
    /// Whether it is noted that its output is visible.
    pub is_committed: bool,
    /// Whether it is noted that its output never became visible.
    pub is_aborted: bool,
}

/// How the job's sinks make output visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All at once by a transaction, which has this marker.
    Transaction(Option<u64>),
    /// Step by step after the manifest was written, such as files that are renamed.
    Staged,
    /// As it is written, whatever becomes of the checkpoint.
    Immediate,
}

/// What to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// From the beginning, giving up these checkpoints.
    Beginning {
        /// Checkpoints whose output never became visible.
        given_up: Vec<u64>,
    },
    /// From a checkpoint, after doing all that its commit asks for once more.
    From {
        /// Its number.
        number: u64,
        /// Whether its commit may be incomplete.
        recommit: bool,
        /// Later checkpoints whose output never became visible.
        given_up: Vec<u64>,
    },
    /// Not at all.
    Refuse(Refusal),
}

/// Why a job can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody can say whether output is visible.
    #[error(
        "nobody can tell whether the output of checkpoint {0} is visible: the broker has \
         forgotten the marker that would say so; --fresh starts the job anew"
    )]
    Undecided(u64),
    /// A checkpoint is needed and can't be read.
    #[error(
        "checkpoint {0} is damaged, and its output is or may be visible already: going on from an \
         earlier one would write some of it twice. Bring its files back (tidemill checkpoints DIR \
         --verify tells which), or start the job anew with --fresh"
    )]
    Damaged(u64),
    /// The broker knows of a later checkpoint than the store.
    #[error(
        "the output of checkpoint {marker} is visible, but the state directory holds nothing \
         newer than {newest}: it is not the one that this job used last; find that one, or start \
         the job anew with --fresh"
    )]
    Outdated {
        /// What the broker says.
        marker: u64,
        /// The newest checkpoint that there is, 0 without any.
        newest: u64,
    },
}

/// Decides what a job goes on from. `found` are its checkpoints, in any order.
pub fn resume(found: &[Found], visibility: Visibility) -> Resume {
    let mut found: Vec<Found> = found.to_vec();
    found.sort_unstable_by_key(|checkpoint| checkpoint.number);
    if let Visibility::Transaction(Some(marker)) = visibility {
        let newest = found.last().map_or(0, |checkpoint| checkpoint.number);
        if marker > newest {
            return Resume::Refuse(Refusal::Outdated { marker, newest });
        }
    }
    // Once there was a marker, that there is none says nothing but that it is lost.
    let had_marker = found.iter().any(|checkpoint| {
        checkpoint.is_committed
            && matches!(checkpoint.condition, Condition::Intact { has_transaction: true, .. })
    });
    let mut given_up = Vec::new();
    while let Some(newest) = found.pop() {
        match judge(newest, visibility, had_marker) {
            Verdict::Stands => {
                return Resume::From {
                    number: newest.number,
                    recommit: !newest.is_committed,
                    given_up,
                };
            }
            Verdict::NeverVisible => {
                if !newest.is_aborted {
                    given_up.push(newest.number);
                }
            }
            Verdict::Unknown(refusal) => return Resume::Refuse(refusal),
        }
    }
    Resume::Beginning { given_up }
}

enum Verdict {
    Stands,
    NeverVisible,
    Unknown(Refusal),
}

fn judge(checkpoint: Found, visibility: Visibility, had_marker: bool) -> Verdict {
    let Found { number, condition, is_committed, is_aborted } = checkpoint;
    if is_aborted {
        return Verdict::NeverVisible;
    }
    match (condition, visibility) {
        (Condition::Intact { .. }, _) if is_committed => Verdict::Stands,
        (Condition::Intact { has_transaction: false, .. }, _) => Verdict::Stands,
        (Condition::Intact { age, .. }, Visibility::Transaction(marker)) => match marker {
            Some(marker) if marker >= number => Verdict::Stands,
            Some(_) => Verdict::NeverVisible,
            None if age < MARKER_AGE_MAX && !had_marker => Verdict::NeverVisible,
            None => Verdict::Unknown(Refusal::Undecided(number)),
        },
        // It had a transaction, and the job has none any more: nobody is there to ask.
        (Condition::Intact { .. }, _) => Verdict::Unknown(Refusal::Undecided(number)),
        (Condition::Damaged, Visibility::Transaction(Some(marker)))
            if marker < number && !is_committed =>
        {
            Verdict::NeverVisible
        }
        // Rows are written at least once, and go out again.
        (Condition::Damaged, Visibility::Immediate) => Verdict::NeverVisible,
        (Condition::Damaged, _) => Verdict::Unknown(Refusal::Damaged(number)),
    }
}

/// Decides which checkpoints to forget: all that were aborted before the newest committed one,
/// and of the committed ones all but the `retained` newest.
pub fn expired(found: &[Found], retained: usize) -> Vec<u64> {
    let mut committed: Vec<u64> =
        found.iter().filter(|c| c.is_committed && !c.is_aborted).map(|c| c.number).collect();
    committed.sort_unstable_by(|a, b| b.cmp(a));
    let kept = &committed[..committed.len().min(retained.max(1))];
    let Some(&newest) = kept.first() else { return Vec::new() };
    let is_expired = |c: &&Found| c.number < newest && !kept.contains(&c.number);
    found.iter().filter(is_expired).map(|c| c.number).collect()
}

/// A change is rewritten once what came after it is so many times its size, less one.
const FAN_IN: u64 = 32;

/// A chain of so many links has fallen behind: merging it must not wait for idle time.
const LINKS_MAX: usize = 256;

/// Decides from where on to merge a chain of objects with these sizes, oldest first, so that it
/// stays short: all together are at most twice as large as the state is, written anew, and each but
/// the first is larger than a thirty-first of what came after it. `None` if it is short already.
///
/// So a chain is no longer than some dozens of objects. A change is rewritten at most once for each
/// time that what came after it has grown to 32 times as much, and the whole state once half of the
/// chain is out of date: never, if it only grows. With several checkpoints a second what is
/// rewritten is a good part of what there is to do, and to read some more objects when a job goes
/// on is little.
pub fn merge_from(sizes: &[u64], state: u64) -> Option<usize> {
    let mut later = 0u64;
    let mut from = None;
    for (place, &size) in sizes.iter().enumerate().rev() {
        let is_last = place + 1 == sizes.len();
        let is_due = match place {
            0 => later.saturating_add(size) >= state.saturating_mul(2),
            _ => later >= size.saturating_mul(FAN_IN - 1),
        };
        if !is_last && is_due {
            from = Some(place);
        }
        later = later.saturating_add(size);
    }
    from
}

/// Below this size a state is written anew whenever as much has been written since: what a row
/// takes of a small object says nothing about a large one.
const GROWING_BYTES_MIN: u64 = 1 << 20;

/// How large a state would be if it were written anew: it was `written` bytes when it `was` so large
/// in memory, and now `is` so large.
pub fn written_anew(written: u64, was: u64, is: u64) -> u64 {
    if written < GROWING_BYTES_MIN || was == 0 {
        return written;
    }
    let grown = u128::from(written) * u128::from(is) / u128::from(was);
    u64::try_from(grown).unwrap_or(u64::MAX)
}

/// Decides whether a chain of so many links is merged at once rather than in idle time.
pub fn is_urgent(links: usize) -> bool {
    links > LINKS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const YOUNG: Duration = Duration::from_secs(60);

    fn intact(number: u64, has_transaction: bool) -> Found {
        let condition = Condition::Intact { has_transaction, age: YOUNG };
        Found { number, condition, is_committed: false, is_aborted: false }
    }

    fn committed(checkpoint: Found) -> Found {
        Found { is_committed: true, ..checkpoint }
    }

    fn damaged(number: u64) -> Found {
        Found { condition: Condition::Damaged, ..intact(number, true) }
    }

    fn from(number: u64, recommit: bool, given_up: &[u64]) -> Resume {
        Resume::From { number, recommit, given_up: given_up.to_vec() }
    }

    #[test]
    fn the_newest_checkpoint_whose_output_is_visible_is_gone_on_from() {
        use Visibility::{Immediate, Staged, Transaction};
        let old = committed(intact(4, true));
        let new = intact(5, true);
        let stale = Condition::Intact { has_transaction: true, age: MARKER_AGE_MAX };
        let lost = Found { condition: stale, ..new };
        let refuse = |refusal| Resume::Refuse(refusal);
        let cases: &[(&[Found], Visibility, Resume)] = &[
            (&[], Transaction(None), Resume::Beginning { given_up: vec![] }),
            (&[], Immediate, Resume::Beginning { given_up: vec![] }),
            (&[], Transaction(Some(3)), refuse(Refusal::Outdated { marker: 3, newest: 0 })),
            (&[old], Transaction(Some(4)), from(4, false, &[])),
            (&[old, new], Transaction(Some(5)), from(5, true, &[])),
            (&[old, new], Transaction(None), refuse(Refusal::Undecided(5))),
            (&[new, old], Transaction(Some(4)), from(4, false, &[5])),
            (&[new], Transaction(None), Resume::Beginning { given_up: vec![5] }),
            (&[lost], Transaction(None), refuse(Refusal::Undecided(5))),
            (&[old, committed(new)], Transaction(None), from(5, false, &[])),
            (&[old, new], Immediate, refuse(Refusal::Undecided(5))),
            (&[old, intact(5, false)], Immediate, from(5, true, &[])),
            (&[old, intact(5, false)], Staged, from(5, true, &[])),
            (&[old, damaged(5)], Transaction(Some(4)), from(4, false, &[5])),
            (&[old, damaged(5)], Transaction(Some(5)), refuse(Refusal::Damaged(5))),
            (&[old, damaged(5)], Transaction(None), refuse(Refusal::Damaged(5))),
            (&[old, committed(damaged(5))], Transaction(Some(4)), refuse(Refusal::Damaged(5))),
            (&[old, damaged(5)], Staged, refuse(Refusal::Damaged(5))),
            (&[committed(intact(4, false)), damaged(5)], Immediate, from(4, false, &[5])),
            (&[old, Found { is_aborted: true, ..new }], Transaction(Some(4)), from(4, false, &[])),
        ];
        for (found, visibility, expected) in cases {
            assert_eq!(&resume(found, *visibility), expected, "{found:?} {visibility:?}");
        }
    }

    #[test]
    fn every_combination_is_decided_and_none_goes_on_from_output_that_is_not_visible() {
        let markers = [None, Some(0), Some(1), Some(2), Some(3), Some(4)];
        let ages = [Duration::ZERO, MARKER_AGE_MAX];
        let mut conditions = vec![Condition::Damaged];
        for has_transaction in [false, true] {
            conditions.extend(ages.map(|age| Condition::Intact { has_transaction, age }));
        }
        let mut states = Vec::new();
        for &condition in &conditions {
            for (is_committed, is_aborted) in [(false, false), (true, false), (false, true)] {
                states.push((condition, is_committed, is_aborted));
            }
        }
        let at = |number, (condition, is_committed, is_aborted)| Found {
            number,
            condition,
            is_committed,
            is_aborted,
        };
        for &older in &states {
            for &newer in &states {
                for marker in markers {
                    let found = [at(2, older), at(3, newer)];
                    let decision = resume(&found, Visibility::Transaction(marker));
                    let number = match &decision {
                        Resume::From { number, .. } => *number,
                        Resume::Beginning { .. } => 0,
                        Resume::Refuse(_) => continue,
                    };
                    let chosen = found.iter().find(|c| c.number == number);
                    if let Some(chosen) = chosen {
                        assert_ne!(chosen.condition, Condition::Damaged, "{decision:?}");
                        assert!(!chosen.is_aborted);
                    }
                    // Nothing newer that is visible is left behind.
                    for later in found.iter().filter(|c| c.number > number) {
                        assert!(!later.is_committed || later.is_aborted, "{found:?} {decision:?}");
                        let is_marked = marker.is_some_and(|marker| marker >= later.number);
                        assert!(!is_marked || later.is_aborted, "{found:?} {decision:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_newest_committed_ones_are_retained_and_the_undecided_too() {
        let aborted = Found { is_aborted: true, ..intact(3, true) };
        let found = [
            committed(intact(1, true)),
            committed(intact(2, true)),
            aborted,
            committed(intact(4, true)),
            committed(intact(5, true)),
            intact(6, true),
        ];
        assert_eq!(expired(&found, 2), [1, 2, 3]);
        assert_eq!(expired(&found, 3), [1, 3]);
        assert_eq!(expired(&found, 0), [1, 2, 3, 4]);
        assert_eq!(expired(&found[5..], 2), [] as [u64; 0]);
    }

    #[test]
    fn changes_are_merged_by_thirty_twos_and_the_state_when_half_is_out_of_date() {
        assert_eq!(merge_from(&[], 0), None);
        assert_eq!(merge_from(&[10], 10), None);
        let chain = |base: u64, deltas: usize| [vec![base], vec![10; deltas]].concat();
        assert_eq!(merge_from(&chain(1000, 31), 1000), None);
        assert_eq!(merge_from(&chain(1000, 32), 1000), Some(1));
        assert_eq!(merge_from(&[1000, 320, 10, 10, 10], 1000), None);
        assert_eq!(merge_from(&[&[1000, 10], &[20; 16][..]].concat(), 1000), Some(1));
        assert_eq!(merge_from(&[100, 40, 30, 30], 100), Some(0));
        assert_eq!(merge_from(&[100, 40, 30, 30], 101), None, "the state has grown");
        assert_eq!(merge_from(&[100, 5], 50), Some(0), "most of it is gone");
    }

    #[test]
    fn what_a_state_would_take_follows_what_it_takes_in_memory() {
        let (small, large) = (GROWING_BYTES_MIN - 1, GROWING_BYTES_MIN);
        assert_eq!(written_anew(large, 1000, 3000), 3 * large);
        assert_eq!(written_anew(large, 1000, 500), large / 2);
        assert_eq!(written_anew(small, 1000, 3000), small);
        assert_eq!(written_anew(large, 0, 3000), large);
    }

    #[test]
    fn a_chain_that_has_grown_long_is_merged_at_once() {
        assert_eq!([1, 256, 257].map(is_urgent), [false, false, true]);
    }

    proptest! {
        #[test]
        fn chains_stay_short_and_merging_costs_little(
            deltas in prop::collection::vec(1u64..1000, 1..300),
            only_grows in any::<bool>(),
        ) {
            let (mut chain, mut rewritten) = (Vec::new(), 0u64);
            for (number, delta) in deltas.iter().enumerate() {
                chain.push(*delta);
                let state = if only_grows { deltas[..=number].iter().sum() } else { chain[0] };
                if let Some(from) = merge_from(&chain, state) {
                    prop_assert!(from > 0 || !only_grows, "nothing of it is out of date");
                    let merged: u64 = chain.drain(from..).sum();
                    rewritten += merged;
                    chain.push(merged);
                }
                prop_assert!(chain.len() <= 128, "{chain:?}");
            }
            let written: u64 = deltas.iter().sum();
            prop_assert!(rewritten <= 5 * written, "{rewritten} of {written}");
        }
    }
}
