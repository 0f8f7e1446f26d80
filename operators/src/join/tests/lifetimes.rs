//! Joins that forget rows which were idle for too long.

use super::*;

const TTL: i64 = 100;

fn delete((row, weight): (super::Row, i64)) -> (super::Row, i64) {
    (row, -weight)
}

fn forgetful(kind: JoinKind, ttl_ms: [Option<i64>; 2]) -> Join {
    join_for(kind, false, [false, false], ttl_ms)
}

#[test]
fn a_row_that_was_idle_for_too_long_is_met_no_more() {
    let mut join = forgetful(JoinKind::Inner, [Some(TTL), None]);
    apply_at(&mut join, 0, &[row(1, 5), row(2, 5)], &[]);
    // Another one that is equal makes it young again; a partner does not.
    apply_at(&mut join, 60, &[row(2, 5)], &[row(1, 7), row(3, 7)]);
    let late = apply_at(&mut join, 110, &[], &[row(1, 8), row(2, 8)]);
    assert_eq!(late, vec![(values([2, 5, 2, 8]), 1); 2]);
    // The other side has no lifetime.
    let later = apply_at(&mut join, 10_000, &[row(3, 5)], &[]);
    assert_eq!(later, vec![(values([3, 5, 3, 7]), 1)]);
}

#[test]
fn a_partner_that_is_forgotten_is_still_one() {
    let mut join = forgetful(JoinKind::Left, [None, Some(TTL)]);
    apply_at(&mut join, 0, &[row(1, 5)], &[row(1, 7)]);
    assert_eq!(apply_at(&mut join, 200, &[], &[]), vec![], "what was shown stands");
    // A row that comes now has none; the one from before never was without.
    let padded = apply_at(&mut join, 210, &[row(1, 6)], &[]);
    assert_eq!(padded, vec![(values([1, 6, 0, 0]), 1)]);
    let mut met = apply_at(&mut join, 220, &[], &[row(1, 8)]);
    met.sort();
    let gone = (values([1, 6, 0, 0]), -1);
    assert_eq!(met, vec![(values([1, 5, 1, 8]), 1), gone, (values([1, 6, 1, 8]), 1)]);
}

#[test]
fn what_was_forgotten_can_be_taken_back_and_leaves_nothing() {
    let mut join = forgetful(JoinKind::Inner, [None, Some(TTL)]);
    apply_at(&mut join, 0, &[row(1, 5)], &[row(1, 7)]);
    let back = apply_at(&mut join, 200, &[], &[delete(row(1, 7))]);
    assert_eq!(back, vec![(values([1, 5, 1, 7]), -1)]);
    // It is no debt: when it comes anew it is there.
    let again = apply_at(&mut join, 210, &[], &[row(1, 7)]);
    assert_eq!(again, vec![(values([1, 5, 1, 7]), 1)]);
    let other = apply_at(&mut join, 220, &[row(1, 6)], &[]);
    assert_eq!(other, vec![(values([1, 6, 1, 7]), 1)]);
}

#[test]
fn a_change_of_what_is_shown_of_a_row_makes_it_young_again() {
    let mut join = forgetful(JoinKind::Left, [Some(TTL), None]);
    apply_at(&mut join, 0, &[row(1, 5), row(2, 5)], &[]);
    apply_at(&mut join, 60, &[], &[row(1, 7)]);
    let late = apply_at(&mut join, 120, &[], &[row(1, 8), row(2, 8)]);
    assert_eq!(late, vec![(values([1, 5, 1, 8]), 1)]);
}

#[test]
fn keys_without_rows_go_with_the_last_one() {
    let mut join = forgetful(JoinKind::Full, [Some(TTL), Some(TTL)]);
    apply_at(&mut join, 0, &[row(1, 5), row(2, 5)], &[row(1, 7)]);
    apply_at(&mut join, TTL, &[], &[]);
    assert!(is_empty(&join));
}

proptest! {
    /// Of rows that only come, each another one, two meet if the earlier one is still held.
    #[test]
    fn rows_meet_that_come_within_a_lifetime(
        ttl_ms in [prop::option::of(10i64..60), prop::option::of(10i64..60)],
        rows in prop::collection::vec((any::<bool>(), 1i64..4, 0usize..12), 0..40),
    ) {
        let mut join = join_for(JoinKind::Inner, false, [true, true], ttl_ms);
        let (mut met, mut expected) = (HashMap::new(), HashMap::new());
        let rows: Vec<(bool, i64, usize, i64)> = (rows.into_iter().zip(1..))
            .map(|((is_left, key, epoch), value)| (is_left, key, epoch, value))
            .collect();
        for epoch in 0..12 {
            let of = |left: bool| -> Vec<(super::Row, i64)> {
                let here = rows.iter().filter(|r| r.0 == left && r.2 == epoch);
                here.map(|r| row(r.1, r.3)).collect()
            };
            accumulate(&mut met, apply_at(&mut join, 6 * epoch as i64, &of(true), &of(false)));
        }
        for l in rows.iter().filter(|r| r.0) {
            for r in rows.iter().filter(|r| !r.0 && r.1 == l.1) {
                let (later_by, ttl) = match l.2 < r.2 {
                    true => (r.2 - l.2, ttl_ms[0]),
                    false => (l.2 - r.2, ttl_ms[1]),
                };
                if ttl.is_none_or(|ttl| 6 * (later_by as i64) < ttl) {
                    expected.insert(values([l.1, l.3, r.1, r.3]), 1);
                }
            }
        }
        prop_assert_eq!(met, expected);
    }
}
