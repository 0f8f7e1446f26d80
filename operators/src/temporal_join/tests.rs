//! Temporal joins by example, and against a naive oracle that keeps versions in one map.

use super::*;
use crate::expression::{Expression, RowError};
use crate::oracle::{Event, Workers, events};
use arrow::array::{BooleanArray, TimestampMillisecondArray};
use arrow::datatypes::{Field, Schema, TimestampMillisecondType};
use proptest::prelude::*;
use std::sync::Arc;

/// `(key, time, value)`.
type Row = (Option<i64>, i64, i64);
/// A row and its weight.
type Change = (Row, i64);
type Shown = Vec<Option<i64>>;

const EUR: Option<i64> = Some(978);
const USD: Option<i64> = Some(840);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("t", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn batch(rows: &[Row]) -> Batch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap().into()
}

fn changes(changes: &[Change]) -> Batch {
    let rows: Vec<Row> = changes.iter().map(|change| change.0).collect();
    let weights: Vec<i64> = changes.iter().map(|change| change.1).collect();
    Batch::new(batch(&rows).columns().clone(), Some(weights.into()))
}

/// `left.v <= right.v`.
#[derive(Debug)]
struct NotMore;

impl Expression for NotMore {
    fn evaluate(&self, rows: &RecordBatch, _now_ms: i64) -> Result<ArrayRef, RowError> {
        let column = |i: usize| rows.column(i).as_primitive::<Int64Type>().values();
        let pairs = column(0).iter().zip(column(1));
        Ok(Arc::new(BooleanArray::from(pairs.map(|(l, r)| l <= r).collect::<Vec<_>>())))
    }

    fn describe(&self) -> String {
        "left.v <= right.v".into()
    }
}

fn not_more() -> Residual {
    Residual { condition: Arc::new(NotMore), reads: vec![2, 5] }
}

fn spec(kind: JoinKind) -> TemporalJoinSpec {
    TemporalJoinSpec {
        kind,
        left_keys: vec![0],
        right_keys: vec![0],
        left_time: 1,
        right_time: 1,
        residual: None,
    }
}

fn join(spec: &TemporalJoinSpec) -> TemporalJoin {
    TemporalJoin::new(spec.clone(), schema(), schema()).unwrap()
}

/// Applies an epoch that raises the watermark as given.
fn apply(join: &mut TemporalJoin, left: &[Row], right: &[Change], watermark: i64) -> Vec<Shown> {
    let mut output = Output::default();
    join.apply(inputs(left, right), &context(watermark), &mut output).unwrap();
    read(&output)
}

fn inputs(left: &[Row], right: &[Change]) -> Vec<Vec<Batch>> {
    vec![vec![batch(left)], vec![changes(right)]]
}

fn context(watermark: i64) -> EpochContext {
    EpochContext {
        epoch: 0,
        now_ms: 0,
        watermark_before: Watermark::MIN,
        watermark_after: Watermark(watermark),
    }
}

fn read(output: &Output) -> Vec<Shown> {
    let mut rows = Vec::new();
    for batch in &output.rows {
        assert!(batch.weights().is_none(), "append-only");
        for row in 0..batch.len() {
            let value = |c: &ArrayRef| match c.as_primitive_opt::<Int64Type>() {
                Some(c) => c.is_valid(row).then(|| c.value(row)),
                None => {
                    let c = c.as_primitive::<TimestampMillisecondType>();
                    c.is_valid(row).then(|| c.value(row))
                }
            };
            rows.push(batch.columns().columns().iter().map(value).collect());
        }
    }
    rows
}

fn pair(left: Row, right: Option<Row>) -> Shown {
    let columns = |(k, t, v): Row| [k, Some(t), Some(v)];
    columns(left).into_iter().chain(right.map_or([None; 3], columns)).collect()
}

const END: i64 = i64::MAX;

#[test]
fn a_row_meets_the_version_that_was_valid_at_its_time() {
    let mut join = join(&spec(JoinKind::Inner));
    let (early, late) = ((EUR, 1000, 110), (EUR, 1030, 112));
    let orders = [(EUR, 999, 1), (EUR, 1029, 2), (EUR, 1030, 3), (USD, 1040, 4)];
    let shown = apply(&mut join, &orders, &[(late, 1), (early, 1)], END);
    assert_eq!(shown, [pair(orders[1], Some(early)), pair(orders[2], Some(late))]);
}

#[test]
fn rows_wait_for_the_watermark_and_leave_in_the_order_of_their_times() {
    let mut join = join(&spec(JoinKind::Left));
    let orders = [(EUR, 30, 1), (EUR, 10, 2), (EUR, 20, 3), (EUR, 10, 4)];
    assert!(apply(&mut join, &orders, &[], 9).is_empty());
    let rate = (EUR, 15, 110);
    let shown = apply(&mut join, &[], &[(rate, 1)], 20);
    let expected = [pair(orders[1], None), pair(orders[3], None), pair(orders[2], Some(rate))];
    assert_eq!(shown, expected);
    assert_eq!(apply(&mut join, &[], &[], END), [pair(orders[0], Some(rate))]);
}

#[test]
fn an_update_is_a_version_but_a_deletion_alone_ends_the_key() {
    let mut join = join(&spec(JoinKind::Left));
    let (old, new) = ((EUR, 10, 110), (EUR, 20, 112));
    apply(&mut join, &[], &[(old, 1)], 0);
    apply(&mut join, &[], &[(old, -1), (new, 1)], 0);
    let gone = (EUR, 30, 112);
    apply(&mut join, &[], &[(gone, -1)], 0);
    let orders = [(EUR, 15, 1), (EUR, 29, 2), (EUR, 30, 3)];
    let shown = apply(&mut join, &orders, &[], 30);
    let expected = [pair(orders[0], Some(old)), pair(orders[1], Some(new)), pair(orders[2], None)];
    assert_eq!(shown, expected);
    assert_eq!(join.index.len(), 0, "nothing of the key is left");
}

#[test]
fn a_deletion_replaces_the_version_of_its_time_and_so_does_a_later_version() {
    let mut join = join(&spec(JoinKind::Left));
    let (first, second) = ((EUR, 10, 110), (EUR, 10, 111));
    apply(&mut join, &[], &[(first, 1), (second, 1)], 0);
    let order = (EUR, 10, 1);
    assert_eq!(apply(&mut join, &[order], &[], 10), [pair(order, Some(second))]);
    assert_eq!(apply(&mut join, &[order], &[(second, -1)], 10), [pair(order, None)]);
}

#[test]
fn rows_behind_the_watermark_are_joined_at_once() {
    let mut join = join(&spec(JoinKind::Inner));
    let rate = (EUR, 10, 110);
    apply(&mut join, &[], &[(rate, 1)], 100);
    assert_eq!(apply(&mut join, &[(EUR, 50, 1)], &[], 100), [pair((EUR, 50, 1), Some(rate))]);
}

#[test]
fn only_versions_that_can_be_looked_up_are_held() {
    let mut join = join(&spec(JoinKind::Inner));
    let rates: Vec<Change> = (0..10).map(|i| ((EUR, i * 10, i), 1)).collect();
    apply(&mut join, &[], &rates, 45);
    assert_eq!(join.versions, 6, "those of 40 and later");
    apply(&mut join, &[], &[], END);
    assert_eq!((join.versions, join.deadlines.len()), (1, 0));
}

#[test]
fn rows_without_key_meet_nothing_and_are_padded_by_a_left_join() {
    let (order, rate) = ((None, 10, 1), (None, 5, 110));
    let mut left = join(&spec(JoinKind::Left));
    assert!(apply(&mut left, &[order], &[(rate, 1)], 9).is_empty());
    assert_eq!(apply(&mut left, &[], &[], 10), [pair(order, None)]);
    let mut inner = join(&spec(JoinKind::Inner));
    assert!(apply(&mut inner, &[order], &[(rate, 1)], END).is_empty());
    assert!(inner.waiting.is_empty());
}

#[test]
fn a_row_whose_version_fails_the_residual_meets_none() {
    let residual = Some(not_more());
    let mut join = join(&TemporalJoinSpec { residual, ..spec(JoinKind::Left) });
    let (old, new) = ((EUR, 10, 5), (EUR, 20, 1));
    let orders = [(EUR, 10, 3), (EUR, 20, 3)];
    let shown = apply(&mut join, &orders, &[(old, 1), (new, 1)], END);
    assert_eq!(shown, [pair(orders[0], Some(old)), pair(orders[1], None)]);
}

#[test]
fn what_cannot_be_joined_is_refused() {
    for kind in [JoinKind::Right, JoinKind::Full, JoinKind::LeftSemi, JoinKind::LeftAnti] {
        assert!(TemporalJoin::new(spec(kind), schema(), schema()).is_err());
    }
    let timeless = TemporalJoinSpec { right_time: 2, ..spec(JoinKind::Inner) };
    assert!(TemporalJoin::new(timeless, schema(), schema()).is_err());
    let mut join = join(&spec(JoinKind::Inner));
    let context = EpochContext {
        epoch: 0,
        now_ms: 0,
        watermark_before: Watermark::MIN,
        watermark_after: Watermark::MIN,
    };
    let deletion = changes(&[((EUR, 10, 1), -1)]);
    let applied = join.apply(vec![vec![deletion], vec![]], &context, &mut Output::default());
    assert!(matches!(applied, Err(OperatorError::Data(_))));
}

/// All that a temporal join means, without care for cost.
#[derive(Default)]
struct Oracle {
    /// In the order of arrival.
    waiting: Vec<Row>,
    /// By key and time; `None` is a deletion.
    versions: BTreeMap<(i64, i64), Option<Row>>,
}

impl Oracle {
    fn apply(
        &mut self,
        spec: &TemporalJoinSpec,
        left: &[Row],
        right: &[Change],
        watermark: i64,
    ) -> Vec<Shown> {
        for (at, (row, weight)) in right.iter().enumerate() {
            let is_replaced = right[at..].iter().any(|(r, w)| r.0 == row.0 && *w > 0);
            if let Some(key) = row.0
                && (*weight > 0 || !is_replaced)
            {
                self.versions.insert((key, row.1), (*weight > 0).then_some(*row));
            }
        }
        self.waiting.extend(left);
        let (mut ready, later): (Vec<Row>, Vec<Row>) =
            self.waiting.iter().partition(|row| row.1 <= watermark);
        self.waiting = later;
        ready.sort_by_key(|row| row.1);
        let shown = ready.into_iter().filter_map(|row| self.show(spec, row)).collect();
        self.forget(watermark);
        shown
    }

    fn show(&self, spec: &TemporalJoinSpec, row: Row) -> Option<Shown> {
        let version = row.0.and_then(|key| {
            let version = self.versions.range((key, i64::MIN)..=(key, row.1)).next_back();
            version.and_then(|(_, version)| *version)
        });
        let version = version.filter(|v| spec.residual.is_none() || row.2 <= v.2);
        (version.is_some() || spec.kind == JoinKind::Left).then(|| pair(row, version))
    }

    fn forget(&mut self, watermark: i64) {
        let all = self.versions.clone();
        let of_key = |key: i64| all.range((key, i64::MIN)..=(key, i64::MAX));
        self.versions.retain(|&(key, time), version| {
            let is_latest = !all.keys().any(|&(k, t)| k == key && t > time && t <= watermark);
            let is_last = of_key(key).all(|((_, t), _)| *t <= time);
            time > watermark || is_latest && !(is_last && version.is_none())
        });
    }
}

/// One epoch: rows with times relative to the watermark, how far that rises after them, and what
/// happens then.
type Epoch = (Vec<Row>, Vec<Change>, i64, Event);

fn any_epochs() -> impl Strategy<Value = Vec<Epoch>> {
    let key = prop_oneof![6 => (0..3i64).prop_map(Some), 1 => Just(None)];
    let row = (key, -3..12i64, 0..3i64);
    let weight = prop_oneof![2 => Just(1i64), 1 => Just(-1i64)];
    let left = prop::collection::vec(row.clone(), 0..5);
    let right = prop::collection::vec((row, weight), 0..5);
    prop::collection::vec((left, right, 0..6i64, events()), 1..10)
}

fn any_spec() -> impl Strategy<Value = TemporalJoinSpec> {
    let kind = prop::sample::select(vec![JoinKind::Inner, JoinKind::Left]);
    (kind, any::<bool>()).prop_map(|(kind, residual)| {
        let residual = residual.then(not_more);
        TemporalJoinSpec { residual, ..spec(kind) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_epoch_shows_what_the_oracle_shows_whatever_restarts_are_between(
        spec in any_spec(),
        mut epochs in any_epochs(),
    ) {
        let mut oracle = Oracle::default();
        let mut workers = {
            let spec = spec.clone();
            Workers::new(vec![vec![0], vec![0]], move || join(&spec))
        };
        let (mut watermark, mut was_parted) = (100, false);
        epochs.push((Vec::new(), Vec::new(), i64::MAX - watermark, Event::Nothing));
        for (mut left, mut right, rise, event) in epochs {
            left.iter_mut().for_each(|row| row.1 += watermark);
            right.iter_mut().for_each(|change| change.0.1 += watermark);
            watermark = watermark.saturating_add(rise);
            let mut expected = oracle.apply(&spec, &left, &right, watermark);
            let output = workers.apply(&inputs(&left, &right), &context(watermark)).unwrap();
            let mut shown = read(&output);
            // Rows of several workers come in no order, nor do they once they wait together.
            if was_parted {
                shown.sort();
                expected.sort();
            }
            prop_assert_eq!(shown, expected);
            let versions: usize = workers.operators().iter().map(|join| join.versions).sum();
            prop_assert_eq!(versions, oracle.versions.len());
            workers.meet(&event);
            was_parted |= workers.operators().len() > 1;
        }
        for join in workers.operators() {
            prop_assert!(join.waiting.is_empty() && join.deadlines.is_empty());
            prop_assert_eq!(join.index.len(), join.versions);
        }
    }
}
