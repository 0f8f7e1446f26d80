//! Joins against a naive oracle: the nested loop over all rows, afresh for every epoch.

mod arranged;
mod lifetimes;

use super::*;
use crate::expression::{Expression, RowError};
use crate::oracle::{Workers, events};
use crate::time::Watermark;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use proptest::prelude::*;
use std::collections::HashMap;

/// `(key, value)`.
type Row = (Option<i64>, Option<i64>);
type Bag = HashMap<Row, i64>;
type View = HashMap<(Option<Row>, Option<Row>), i64>;

fn schema(names: [&str; 2]) -> SchemaRef {
    Arc::new(Schema::new(names.map(|n| Field::new(n, DataType::Int64, true)).to_vec()))
}

fn batch(schema: &SchemaRef, rows: &[(Row, i64)]) -> Batch {
    let column = |value: fn(&Row) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(|(row, _)| value(row)).collect::<Int64Array>())
    };
    let columns = vec![column(|r| r.0), column(|r| r.1)];
    let columns = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let plain = rows.iter().all(|(_, weight)| *weight == 1);
    Batch::new(columns, (!plain).then(|| rows.iter().map(|(_, w)| *w).collect()))
}

/// `left.value < right.value`.
#[derive(Debug)]
struct Less;

fn less(left: Option<i64>, right: Option<i64>) -> Option<bool> {
    left.zip(right).map(|(l, r)| l < r)
}

impl Expression for Less {
    fn evaluate(&self, rows: &RecordBatch, _now_ms: i64) -> Result<ArrayRef, RowError> {
        let column = |i: usize| rows.column(i).as_primitive::<Int64Type>();
        let pairs = column(0).iter().zip(column(1));
        Ok(Arc::new(pairs.map(|(l, r)| less(l, r)).collect::<BooleanArray>()))
    }

    fn describe(&self) -> String {
        "left.v < right.v".into()
    }
}

fn join(kind: JoinKind, residual: bool) -> Join {
    join_of(kind, residual, [false, false])
}

fn join_of(kind: JoinKind, residual: bool, only_grows: [bool; 2]) -> Join {
    join_for(kind, residual, only_grows, [None, None])
}

/// A join whose rows have a lifetime.
fn join_for(
    kind: JoinKind,
    residual: bool,
    only_grows: [bool; 2],
    ttl_ms: [Option<i64>; 2],
) -> Join {
    let less = || Residual { condition: Arc::new(Less), reads: vec![1, 3] };
    let residual = residual.then(less);
    let (left_keys, right_keys) = (vec![0], vec![0]);
    let spec = JoinSpec { kind, left_keys, right_keys, residual, only_grows, ttl_ms };
    Join::new(spec, schema(["lk", "lv"]), schema(["rk", "rv"])).unwrap()
}

const CONTEXT: EpochContext = EpochContext {
    epoch: 0,
    now_ms: 0,
    watermark_before: Watermark::MIN,
    watermark_after: Watermark::MIN,
};

fn inputs(left: &[(Row, i64)], right: &[(Row, i64)]) -> Vec<Vec<Batch>> {
    vec![
        // Two batches, to have a border between rows.
        left.chunks(left.len() / 2 + 1).map(|rows| batch(&schema(["lk", "lv"]), rows)).collect(),
        vec![batch(&schema(["rk", "rv"]), right)],
    ]
}

/// Applies an epoch; the output's rows, in order.
fn apply(
    join: &mut Join,
    left: &[(Row, i64)],
    right: &[(Row, i64)],
) -> Vec<(Vec<Option<i64>>, i64)> {
    apply_at(join, 0, left, right)
}

/// Applies an epoch of that processing time.
fn apply_at(
    join: &mut Join,
    now_ms: i64,
    left: &[(Row, i64)],
    right: &[(Row, i64)],
) -> Vec<(Vec<Option<i64>>, i64)> {
    let mut output = Output::default();
    let context = EpochContext { now_ms, ..CONTEXT };
    join.apply(inputs(left, right), &context, &mut output).unwrap();
    assert!(output.rows.iter().all(|batch| batch.schema() == join.output_schema()));
    read(&output)
}

fn read(output: &Output) -> Vec<(Vec<Option<i64>>, i64)> {
    let mut rows = Vec::new();
    for batch in &output.rows {
        for row in 0..batch.len() {
            let columns = batch.columns().columns().iter();
            let values = columns
                .map(|c| c.as_primitive::<Int64Type>())
                .map(|c| c.is_valid(row).then(|| c.value(row)));
            rows.push((values.collect(), batch.weight(row)));
        }
    }
    rows
}

fn row(key: i64, value: i64) -> (Row, i64) {
    ((Some(key), Some(value)), 1)
}

fn values<const N: usize>(values: [i64; N]) -> Vec<Option<i64>> {
    // Zero stands for NULL: no test needs it otherwise.
    values.iter().map(|&v| (v != 0).then_some(v)).collect()
}

#[test]
fn padding_goes_when_a_partner_comes_and_returns_when_it_goes() {
    let mut join = join(JoinKind::Left, false);
    assert_eq!(apply(&mut join, &[row(1, 5)], &[]), vec![(values([1, 5, 0, 0]), 1)]);
    assert_eq!(
        apply(&mut join, &[], &[row(1, 7)]),
        vec![(values([1, 5, 0, 0]), -1), (values([1, 5, 1, 7]), 1)]
    );
    assert_eq!(apply(&mut join, &[], &[row(1, 8)]), vec![(values([1, 5, 1, 8]), 1)]);
    let gone = [((Some(1), Some(7)), -1), ((Some(1), Some(8)), -1)];
    let back = apply(&mut join, &[], &gone);
    assert_eq!(back.len(), 3);
    assert_eq!(back[2], (values([1, 5, 0, 0]), 1));
}

#[test]
fn null_keys_meet_nothing_and_are_padded() {
    let null = ((None, Some(5)), 1);
    assert_eq!(apply(&mut join(JoinKind::Inner, false), &[null], &[null]), vec![]);
    assert_eq!(
        apply(&mut join(JoinKind::Full, false), &[null], &[null]),
        vec![(values([0, 5, 0, 0]), 1), (values([0, 0, 0, 5]), 1)]
    );
    assert_eq!(apply(&mut join(JoinKind::LeftSemi, false), &[null], &[null]), vec![]);
    let anti = apply(&mut join(JoinKind::LeftAnti, false), &[null], &[null]);
    assert_eq!(anti, vec![(values([0, 5]), 1)]);
}

#[test]
fn a_left_row_whose_partners_all_fail_the_residual_has_none() {
    let mut join = join(JoinKind::Left, true);
    let first = apply(&mut join, &[row(1, 5)], &[row(1, 3)]);
    assert_eq!(first, vec![(values([1, 5, 0, 0]), 1)]);
    let next = apply(&mut join, &[], &[row(1, 9)]);
    assert_eq!(next, vec![(values([1, 5, 0, 0]), -1), (values([1, 5, 1, 9]), 1)]);
}

#[test]
fn what_is_deleted_again_leaves_no_state() {
    let mut join = join(JoinKind::Full, true);
    apply(&mut join, &[row(1, 5), row(2, 5)], &[row(1, 9)]);
    let delete = |(row, weight): (Row, i64)| (row, -weight);
    apply(&mut join, &[delete(row(1, 5)), delete(row(2, 5))], &[delete(row(1, 9))]);
    assert!(is_empty(&join));
}

/// How many keys a join holds rows under.
fn held_keys(join: &Join) -> usize {
    join.arrangements[0].arranged().index.len()
}

/// Whether nothing is left of rows that came and went.
fn is_empty(join: &Join) -> bool {
    let is_empty = |place: &Place| matches!(&place.side, Side::Bag(bag) if bag.is_empty());
    held_keys(join) == 0 && join.arrangements[0].arranged().places.iter().all(is_empty)
}

fn oracle(kind: JoinKind, residual: bool, left: &Bag, right: &Bag) -> View {
    let matches = |l: &Row, r: &Row| {
        l.0.is_some() && l.0 == r.0 && (!residual || less(l.1, r.1) == Some(true))
    };
    let mut view = View::new();
    let mut add = |l: Option<&Row>, r: Option<&Row>, weight: i64| {
        *view.entry((l.copied(), r.copied())).or_default() += weight;
    };
    for (l, count) in left {
        let any = right.keys().any(|r| matches(l, r));
        match kind {
            JoinKind::LeftSemi if any => add(Some(l), None, *count),
            JoinKind::LeftAnti | JoinKind::Left | JoinKind::Full if !any => {
                add(Some(l), None, *count);
            }
            _ => {}
        }
    }
    for (r, count) in right {
        let any = left.keys().any(|l| matches(l, r));
        if matches!(kind, JoinKind::Right | JoinKind::Full) && !any {
            add(None, Some(r), *count);
        }
        if kind.has_pairs() {
            for (l, left_count) in left.iter().filter(|(l, _)| matches(l, r)) {
                add(Some(l), Some(r), left_count * count);
            }
        }
    }
    view
}

/// The oracle's view in the operator's columns.
fn columns(view: &View, kind: JoinKind) -> HashMap<Vec<Option<i64>>, i64> {
    let mut rows = HashMap::new();
    for ((left, right), weight) in view {
        let (l, r) = (left.unwrap_or_default(), right.unwrap_or_default());
        let mut columns = vec![l.0, l.1];
        if kind.has_pairs() {
            columns.extend([r.0, r.1]);
        }
        *rows.entry(columns).or_default() += weight;
    }
    rows
}

fn accumulate(view: &mut HashMap<Vec<Option<i64>>, i64>, changes: Vec<(Vec<Option<i64>>, i64)>) {
    for (row, weight) in changes {
        *view.entry(row).or_default() += weight;
    }
    view.retain(|_, weight| *weight != 0);
}

/// Weighted rows of which every deletion has a row to delete, if the input is not one that only
/// grows.
fn weigh(rows: &[(Row, bool)], only_grows: bool, bag: &mut Bag) -> Vec<(Row, i64)> {
    let mut weighted = Vec::new();
    for (row, delete) in rows {
        let weight = match delete {
            _ if only_grows => 1,
            true if bag.contains_key(row) => -1,
            _ => 1 + i64::from(*delete),
        };
        *bag.entry(*row).or_default() += weight;
        bag.retain(|_, count| *count != 0);
        weighted.push((*row, weight));
    }
    weighted
}

type Epochs = Vec<[Vec<(Row, bool)>; 2]>;

fn any_epochs() -> impl Strategy<Value = Epochs> {
    let number = |n: i64| prop_oneof![6 => (1..n).prop_map(Some), 1 => Just(None)];
    let row = ((number(4), number(4)), prop::bool::weighted(0.4));
    let rows = prop::collection::vec(row, 0..6);
    prop::collection::vec([rows.clone(), rows], 1..8)
}

fn any_kind() -> impl Strategy<Value = JoinKind> {
    use JoinKind::*;
    prop::sample::select(vec![Inner, Left, Right, Full, LeftSemi, LeftAnti])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_sum_of_all_output_is_the_join_of_all_input(
        kind in any_kind(),
        residual in any::<bool>(),
        only_grows in any::<[bool; 2]>(),
        endless in any::<[bool; 2]>(),
        epochs in any_epochs(),
    ) {
        // With a lifetime that does not end, too, which is held otherwise.
        let ttl_ms = endless.map(|endless| endless.then_some(i64::MAX));
        let mut join = join_for(kind, residual, only_grows, ttl_ms);
        let mut bags = [Bag::new(), Bag::new()];
        let mut view = HashMap::new();
        for [left, right] in &epochs {
            let left = weigh(left, only_grows[0], &mut bags[0]);
            let right = weigh(right, only_grows[1], &mut bags[1]);
            let changes = apply(&mut join, &left, &right);
            for (row, weight) in &changes {
                let taken_back = changes.contains(&(row.clone(), -weight));
                // Rows without a key pass as they are.
                let is_excused = row.contains(&None) || only_grows[0] != only_grows[1];
                prop_assert!(!taken_back || is_excused, "says and takes back");
            }
            accumulate(&mut view, changes);
            let expected = columns(&oracle(kind, residual, &bags[0], &bags[1]), kind);
            prop_assert_eq!(&view, &expected);
        }
    }

    #[test]
    fn a_restored_join_goes_on_as_if_nothing_had_happened(
        kind in any_kind(),
        residual in any::<bool>(),
        only_grows in any::<[bool; 2]>(),
        ttl_ms in [prop::option::of(10i64..40), prop::option::of(10i64..40)],
        epochs in any_epochs(),
        events in prop::collection::vec(events(), 8),
    ) {
        let make = move || join_for(kind, residual, only_grows, ttl_ms);
        let (mut whole, mut workers) = (make(), Workers::new(vec![vec![0], vec![0]], make));
        let mut bags = [Bag::new(), Bag::new()];
        for (number, ([left, right], event)) in epochs.iter().zip(&events).enumerate() {
            // So far apart that idle rows are looked for in each epoch, after a restart or not.
            let now_ms = 5 * number as i64;
            let left = weigh(left, only_grows[0], &mut bags[0]);
            let right = weigh(right, only_grows[1], &mut bags[1]);
            let (mut expected, mut got) = (HashMap::new(), HashMap::new());
            accumulate(&mut expected, apply_at(&mut whole, now_ms, &left, &right));
            let context = EpochContext { now_ms, ..CONTEXT };
            accumulate(&mut got, read(&workers.apply(&inputs(&left, &right), &context).unwrap()));
            prop_assert_eq!(got, expected);
            let keys = workers.operators().iter().map(held_keys);
            prop_assert_eq!(keys.sum::<usize>(), held_keys(&whole));
            workers.meet(event);
        }
    }
}
