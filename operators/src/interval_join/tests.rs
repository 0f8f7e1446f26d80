//! Interval joins against a naive oracle: the nested loop over all rows, once the input has ended.

use super::*;
use crate::expression::{Expression, RowError};
use crate::oracle::{Workers, events};
use arrow::array::TimestampMillisecondArray;
use arrow::datatypes::{Field, Schema, TimeUnit, TimestampMillisecondType};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// `(key, time, value)`.
type Row = (Option<i64>, i64, i64);
type View = HashMap<Vec<Option<i64>>, i64>;

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

fn spec(kind: JoinKind, lower_ms: i64, upper_ms: i64) -> IntervalJoinSpec {
    let (left_keys, right_keys) = (vec![0], vec![0]);
    let (left_time, right_time) = (1, 1);
    IntervalJoinSpec {
        kind,
        left_keys,
        right_keys,
        left_time,
        right_time,
        lower_ms,
        upper_ms,
        residual: None,
    }
}

fn join(spec: &IntervalJoinSpec) -> IntervalJoin {
    IntervalJoin::new(spec.clone(), schema(), schema()).unwrap()
}

fn context(marks: (i64, i64)) -> EpochContext {
    EpochContext {
        epoch: 0,
        now_ms: 0,
        watermark_before: Watermark(marks.0),
        watermark_after: Watermark(marks.1),
    }
}

fn apply(join: &mut IntervalJoin, left: &[Row], right: &[Row], marks: (i64, i64)) -> Output {
    let mut output = Output::default();
    join.apply(vec![vec![batch(left)], vec![batch(right)]], &context(marks), &mut output).unwrap();
    output
}

fn read(output: &Output) -> Vec<Vec<Option<i64>>> {
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

fn pair(left: Option<Row>, right: Option<Row>) -> Vec<Option<i64>> {
    let columns = |row: Option<Row>| match row {
        Some((k, t, v)) => [k, Some(t), Some(v)],
        None => [None; 3],
    };
    columns(left).into_iter().chain(columns(right)).collect()
}

#[test]
fn both_bounds_are_inclusive() {
    let mut join = join(&spec(JoinKind::Inner, -30, 5));
    let left = (Some(1), 100, 0);
    let right = [94, 95, 130, 131].map(|t| (Some(1), t, 0));
    let output = apply(&mut join, &[left], &right, (i64::MIN, i64::MIN));
    let expected = vec![pair(Some(left), Some(right[1])), pair(Some(left), Some(right[2]))];
    assert_eq!(read(&output), expected);
}

#[test]
fn a_row_is_padded_once_no_partner_can_come_and_then_forgotten() {
    let mut join = join(&spec(JoinKind::Left, -30, 0));
    let left = (Some(1), 100, 0);
    let output = apply(&mut join, &[left], &[], (i64::MIN, 129));
    assert!(read(&output).is_empty());
    let output = apply(&mut join, &[], &[], (129, 130));
    assert_eq!(read(&output), vec![pair(Some(left), None)]);
    assert_eq!(join.index.len(), 0);
}

#[test]
fn a_row_behind_the_watermark_that_meets_nothing_is_late() {
    let mut inner = join(&spec(JoinKind::Inner, 0, 0));
    let late = (Some(1), 90, 7);
    let output = apply(&mut inner, &[late], &[], (100, 100));
    assert_eq!(output.late.len(), 1);
    assert_eq!(output.late[0].rows.len(), 1);
    let mut left = join(&spec(JoinKind::Left, 0, 0));
    let output = apply(&mut left, &[late], &[], (100, 100));
    assert!(output.late.is_empty(), "it is shown");
    assert_eq!(read(&output), vec![pair(Some(late), None)]);
}

fn oracle(spec: &IntervalJoinSpec, left: &[Row], right: &[Row]) -> View {
    let meets = |l: &Row, r: &Row| {
        l.0.is_some()
            && l.0 == r.0
            && (spec.lower_ms..=spec.upper_ms).contains(&(l.1 - r.1))
            && (spec.residual.is_none() || l.2 <= r.2)
    };
    let mut view = View::new();
    let mut add = |l: Option<&Row>, r: Option<&Row>| {
        let mut row = pair(l.copied(), r.copied());
        if !spec.kind.has_pairs() {
            row.truncate(3);
        }
        *view.entry(row).or_default() += 1;
    };
    for l in left {
        let partners: Vec<&Row> = right.iter().filter(|r| meets(l, r)).collect();
        match spec.kind {
            JoinKind::LeftSemi if !partners.is_empty() => add(Some(l), None),
            JoinKind::LeftAnti | JoinKind::Left | JoinKind::Full if partners.is_empty() => {
                add(Some(l), None);
            }
            kind if kind.has_pairs() => partners.into_iter().for_each(|r| add(Some(l), Some(r))),
            _ => {}
        }
    }
    if matches!(spec.kind, JoinKind::Right | JoinKind::Full) {
        let alone = right.iter().filter(|r| !left.iter().any(|l| meets(l, r)));
        alone.for_each(|r| add(None, Some(r)));
    }
    view
}

fn any_spec() -> impl Strategy<Value = IntervalJoinSpec> {
    use JoinKind::*;
    let kind = prop::sample::select(vec![Inner, Left, Right, Full, LeftSemi, LeftAnti]);
    (kind, -6..6i64, 0..8i64, any::<bool>()).prop_map(|(kind, lower, width, residual)| {
        let residual = residual.then(not_more);
        IntervalJoinSpec { residual, ..spec(kind, lower, lower + width) }
    })
}

/// One epoch: rows with times relative to the watermark, and how far that rises after them.
type Epoch = (Vec<Row>, Vec<Row>, i64);

fn any_epochs() -> impl Strategy<Value = Vec<Epoch>> {
    let key = prop_oneof![6 => (0..3i64).prop_map(Some), 1 => Just(None)];
    let rows = prop::collection::vec((key, 1..12i64, 0..3i64), 0..5);
    prop::collection::vec((rows.clone(), rows, 0..6i64), 1..8)
}

fn accumulate(view: &mut View, output: &Output) {
    for row in read(output) {
        *view.entry(row).or_default() += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn all_output_together_is_the_join_of_all_input(spec in any_spec(), epochs in any_epochs()) {
        let mut join = join(&spec);
        let (mut view, mut all) = (View::new(), (Vec::new(), Vec::new()));
        let mut watermark = 100;
        for (left, right, rise) in epochs {
            let at = |rows: Vec<Row>| -> Vec<Row> {
                rows.into_iter().map(|(k, t, v)| (k, watermark + t, v)).collect()
            };
            let (left, right) = (at(left), at(right));
            let output = apply(&mut join, &left, &right, (watermark, watermark + rise));
            accumulate(&mut view, &output);
            prop_assert!(output.late.is_empty());
            all.0.extend(left);
            all.1.extend(right);
            watermark += rise;
        }
        accumulate(&mut view, &apply(&mut join, &[], &[], (watermark, i64::MAX)));
        prop_assert_eq!(view, oracle(&spec, &all.0, &all.1));
        prop_assert_eq!(join.index.len(), 0);
        prop_assert_eq!(join.sides.iter().map(|side| side.ids().count()).sum::<usize>(), 0);
    }

    #[test]
    fn a_restored_join_goes_on_as_if_nothing_had_happened(
        spec in any_spec(),
        epochs in any_epochs(),
        events in prop::collection::vec(events(), 8),
    ) {
        let mut whole = join(&spec);
        let mut workers = Workers::new(vec![vec![0], vec![0]], move || join(&spec));
        let mut watermark = 100;
        for ((left, right, rise), event) in epochs.into_iter().zip(&events) {
            let at = |rows: Vec<Row>| -> Vec<Row> {
                rows.into_iter().map(|(k, t, v)| (k, watermark + t, v)).collect()
            };
            let (left, right) = (at(left), at(right));
            let marks = (watermark, watermark + rise);
            let (mut expected, mut got) = (View::new(), View::new());
            accumulate(&mut expected, &apply(&mut whole, &left, &right, marks));
            let inputs = [vec![batch(&left)], vec![batch(&right)]];
            accumulate(&mut got, &workers.apply(&inputs, &context(marks)).unwrap());
            prop_assert_eq!(got, expected);
            let keys = workers.operators().iter().map(|join| join.index.len());
            prop_assert_eq!(keys.sum::<usize>(), whole.index.len());
            watermark += rise;
            workers.meet(event);
        }
    }
}
