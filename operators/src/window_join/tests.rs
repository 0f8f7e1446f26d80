//! Window joins against the oracle of a plain [`Join`] of all rows.

use super::*;
use crate::join::JoinKind;
use crate::oracle::{Workers, events};
use arrow::array::{ArrayRef, Int64Array, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// `(key, window's end, value)`.
type Row = (Option<i64>, i64, i64);
type View = HashMap<String, i64>;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("window_end", DataType::Timestamp(TimeUnit::Millisecond, None), true),
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

fn join_spec(kind: JoinKind) -> JoinSpec {
    let (left_keys, right_keys) = (vec![0, 1], vec![0, 1]);
    let (only_grows, ttl_ms) = ([true, true], [None, None]);
    JoinSpec { kind, left_keys, right_keys, residual: None, only_grows, ttl_ms }
}

fn join(kind: JoinKind) -> WindowJoin {
    let (left_window_end, right_window_end) = (1, 1);
    let spec =
        WindowJoinSpec { join: join_spec(kind), left_window_end, right_window_end, zone: None };
    WindowJoin::new(spec, schema(), schema()).unwrap()
}

fn context(marks: (i64, i64)) -> EpochContext {
    EpochContext {
        epoch: 0,
        now_ms: 0,
        watermark_before: Watermark(marks.0),
        watermark_after: Watermark(marks.1),
    }
}

fn apply(join: &mut dyn Operator, left: &[Row], right: &[Row], marks: (i64, i64)) -> Output {
    let mut output = Output::default();
    join.apply(vec![vec![batch(left)], vec![batch(right)]], &context(marks), &mut output).unwrap();
    output
}

fn accumulate(view: &mut View, output: &Output) {
    for batch in &output.rows {
        assert!(batch.weights().is_none(), "append-only");
        for row in 0..batch.len() {
            let one = batch.columns().slice(row, 1);
            *view.entry(format!("{:?}", one.columns())).or_default() += 1;
        }
    }
}

#[test]
fn a_window_speaks_when_it_closes_and_rows_for_it_are_late_from_then_on() {
    let mut join = join(JoinKind::Left);
    let output = apply(&mut join, &[(Some(1), 10, 5)], &[(Some(2), 10, 6)], (i64::MIN, 8));
    assert!(output.rows.is_empty());
    let output = apply(&mut join, &[], &[], (8, 9));
    assert_eq!(output.rows[0].len(), 1);
    let output = apply(&mut join, &[(Some(2), 10, 5)], &[(Some(1), 20, 6)], (9, i64::MAX));
    assert_eq!(output.late[0].rows.len(), 1);
    assert!(output.rows.is_empty());
    assert!(join.windows.iter().all(BTreeMap::is_empty));
}

#[test]
fn pieces_of_a_window_are_put_together() {
    let mut join = join(JoinKind::Inner);
    for number in 0..100 {
        apply(&mut join, &[(Some(1), 10, number)], &[], (0, 0));
    }
    assert!(join.windows[0].remove(&10).unwrap().into_rows().0.len() < 10);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn all_output_together_is_the_join_of_all_input_restored_or_not(
        kind in {
            use JoinKind::*;
            prop::sample::select(vec![Inner, Left, Right, Full, LeftSemi, LeftAnti])
        },
        epochs in {
            let key = prop_oneof![6 => (0..3i64).prop_map(Some), 1 => Just(None)];
            // Windows of ten, of which some lie ahead.
            let rows = prop::collection::vec((key, 1..4i64, 0..3i64), 0..5);
            prop::collection::vec((rows.clone(), rows, 0..9i64), 1..8)
        },
        events in prop::collection::vec(events(), 8),
    ) {
        let mut whole = join(kind);
        let mut workers = Workers::new(vec![vec![0, 1]; 2], move || join(kind));
        let (mut all, mut view) = ((Vec::new(), Vec::new()), View::new());
        let mut watermark = 100;
        for ((left, right, rise), event) in epochs.into_iter().zip(&events) {
            let at = |rows: Vec<Row>| -> Vec<Row> {
                rows.into_iter().map(|(k, w, v)| (k, (watermark / 10 + 1 + w) * 10, v)).collect()
            };
            let (left, right) = (at(left), at(right));
            let marks = (watermark, watermark + rise);
            let (mut expected, mut got) = (View::new(), View::new());
            accumulate(&mut expected, &apply(&mut whole, &left, &right, marks));
            let inputs = [vec![batch(&left)], vec![batch(&right)]];
            accumulate(&mut got, &workers.apply(&inputs, &context(marks)).unwrap());
            prop_assert_eq!(&got, &expected);
            expected.into_iter().for_each(|(row, count)| *view.entry(row).or_default() += count);
            all.0.extend(left);
            all.1.extend(right);
            watermark += rise;
            workers.meet(event);
        }
        accumulate(&mut view, &apply(&mut whole, &[], &[], (watermark, i64::MAX)));
        let mut oracle = Join::new(join_spec(kind), schema(), schema()).unwrap();
        let mut expected = View::new();
        let output = apply(&mut oracle, &all.0, &all.1, (i64::MIN, i64::MIN));
        for batch in output.rows {
            for row in 0..batch.len() {
                let one = batch.columns().slice(row, 1);
                *expected.entry(format!("{:?}", one.columns())).or_default() += batch.weight(row);
            }
        }
        prop_assert_eq!(view, expected);
    }
}
