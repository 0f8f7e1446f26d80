//! Results over frames against a naive oracle: each row looks at all rows of its key.

use super::*;
use crate::aggregate::AggregateFunction;
use crate::oracle::{Event, Workers, events};
use arrow::array::TimestampMillisecondArray;
use arrow::datatypes::{Int64Type, TimeUnit, TimestampMillisecondType};
use proptest::prelude::*;

/// `(key, time, value)`.
type Row = (Option<i64>, i64, Option<i64>);

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
        Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap().into()
}

fn call(function: AggregateFunction) -> OverFunction {
    let is_count = function == AggregateFunction::CountRows;
    OverFunction::Aggregate(AggregateCall {
        argument: (!is_count).then_some(2),
        filter: None,
        distinct: false,
        input_type: if is_count { DataType::Null } else { DataType::Int64 },
        output_type: DataType::Int64,
        name: format!("{function:?}"),
        function,
    })
}

fn spec(frame: Frame, lag: Option<u64>) -> OverSpec {
    use AggregateFunction::{CountRows, First, Last, Max, Sum};
    let mut functions: Vec<OverFunction> =
        [CountRows, Sum, Max, First, Last].map(call).into_iter().collect();
    functions.extend(lag.map(|offset| OverFunction::Lag {
        argument: 2,
        offset,
        default: None,
        name: "lag".into(),
    }));
    OverSpec { partition: vec![0], time: 1, frame, functions, arrival: None }
}

fn over(spec: &OverSpec) -> Over {
    Over::new(spec.clone(), schema()).unwrap()
}

fn context(epoch: u64, marks: (i64, i64)) -> EpochContext {
    EpochContext {
        epoch,
        now_ms: 0,
        watermark_before: Watermark(marks.0),
        watermark_after: Watermark(marks.1),
    }
}

fn apply(over: &mut Over, epoch: u64, rows: &[Row], marks: (i64, i64)) -> Output {
    let mut output = Output::default();
    over.apply(vec![vec![batch(rows)]], &context(epoch, marks), &mut output).unwrap();
    output
}

fn read(output: &Output) -> Vec<Vec<Option<i64>>> {
    let mut rows = Vec::new();
    for batch in &output.rows {
        assert!(batch.weights().is_none(), "append-only");
        for row in 0..batch.len() {
            let value = |c: &ArrayRef| match c.as_primitive_opt::<TimestampMillisecondType>() {
                Some(c) => c.is_valid(row).then(|| c.value(row)),
                None => {
                    let c = c.as_primitive::<Int64Type>();
                    c.is_valid(row).then(|| c.value(row))
                }
            };
            rows.push(batch.columns().columns().iter().map(value).collect());
        }
    }
    rows
}

/// All rows in order, each with its results.
fn oracle(spec: &OverSpec, rows: &[Row]) -> Vec<Vec<Option<i64>>> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.1);
    let result = |(at, row): (usize, &Row)| {
        let before: Vec<&Row> = rows[..=at].iter().filter(|r| r.0 == row.0).collect();
        let frame: Vec<&Row> = match spec.frame {
            Frame::Rows { preceding } => {
                let from = preceding.map_or(0, |n| before.len().saturating_sub(n as usize + 1));
                before[from..].to_vec()
            }
            Frame::Range { preceding_ms } => {
                let earliest = preceding_ms.map_or(i64::MIN, |ms| row.1 - ms);
                let same_key = rows.iter().filter(|r| r.0 == row.0);
                same_key.filter(|r| (earliest..=row.1).contains(&r.1)).collect()
            }
        };
        let values: Vec<i64> = frame.iter().filter_map(|r| r.2).collect();
        let sum = (!values.is_empty()).then(|| values.iter().sum());
        let mut result = vec![row.0, Some(row.1), row.2, Some(frame.len() as i64), sum];
        result.push(values.iter().max().copied());
        result.extend([values.first().copied(), values.last().copied()]);
        if let Some(OverFunction::Lag { offset, .. }) = spec.functions.get(5) {
            let lagged = before.len().checked_sub(*offset as usize + 1);
            result.push(lagged.and_then(|at| before[at].2));
        }
        result
    };
    rows.iter().enumerate().map(result).collect()
}

#[test]
fn a_row_waits_for_the_watermark_and_is_late_once_that_has_reached_it() {
    let mut over = over(&spec(Frame::Rows { preceding: None }, None));
    let (first, second) = ((Some(1), 10, Some(3)), (Some(1), 11, Some(4)));
    let output = apply(&mut over, 1, &[second, first], (i64::MIN, 10));
    assert_eq!(read(&output).len(), 1);
    assert_eq!(read(&output)[0][2..5], [Some(3), Some(1), Some(3)]);
    let output = apply(&mut over, 2, &[(Some(1), 10, Some(9))], (10, 11));
    assert_eq!(output.late[0].rows.len(), 1, "its time equals the watermark");
    assert_eq!(read(&output)[0][2..5], [Some(4), Some(2), Some(7)]);
}

#[test]
fn rows_of_equal_time_share_the_result_of_a_range() {
    let mut over = over(&spec(Frame::Range { preceding_ms: None }, None));
    let rows = [(Some(1), 10, Some(3)), (Some(1), 10, Some(4))];
    let counts: Vec<_> = read(&apply(&mut over, 1, &rows, (i64::MIN, 10)))
        .iter()
        .map(|row| (row[3], row[4]))
        .collect();
    assert_eq!(counts, vec![(Some(2), Some(7)); 2]);
}

#[test]
fn a_key_whose_frame_has_run_empty_is_forgotten() {
    let mut over = over(&spec(Frame::Range { preceding_ms: Some(5) }, None));
    apply(&mut over, 1, &[(Some(1), 10, Some(3))], (i64::MIN, 10));
    assert_eq!(over.index.len(), 1);
    apply(&mut over, 2, &[], (10, 15));
    assert_eq!(over.index.len(), 0);
    let output = apply(&mut over, 3, &[(Some(2), 20, Some(4))], (15, 20));
    assert_eq!(read(&output)[0][2..5], [Some(4), Some(1), Some(4)]);
}

#[test]
fn rows_that_two_workers_gave_one_number_wait_side_by_side() {
    let spec = spec(Frame::Rows { preceding: None }, None);
    let mut workers = Workers::new(vec![vec![0]], move || over(&spec));
    let restart = |workers| Event::Restart(SnapshotScope::Changed, vec![], workers);
    workers.meet(&restart(2));
    let rows: Vec<Row> = (0..20).map(|key| (Some(key), 10, Some(1))).collect();
    workers.apply(&[vec![batch(&rows)]], &context(1, (0, 5))).unwrap();
    workers.meet(&restart(1));
    let output = workers.apply(&[vec![]], &context(2, (5, 10))).unwrap();
    assert_eq!(read(&output).len(), rows.len());
}

#[test]
fn the_last_value_is_that_of_the_last_row_however_many_have_their_turn() {
    let mut over = over(&spec(Frame::Rows { preceding: None }, None));
    let rows: Vec<Row> = (0..3 * BATCH_ROWS as i64).map(|n| (Some(1), n, Some(n))).collect();
    let output = apply(&mut over, 1, &rows, (i64::MIN, i64::MAX));
    let rows = read(&output);
    assert!(rows.iter().all(|row| row[7] == row[2]), "LAST_VALUE is the row's own");
}

fn any_spec() -> impl Strategy<Value = OverSpec> {
    let frame = prop_oneof![
        Just(Frame::Rows { preceding: None }),
        Just(Frame::Range { preceding_ms: None }),
        (0..4u64).prop_map(|n| Frame::Rows { preceding: Some(n) }),
        (0..8i64).prop_map(|ms| Frame::Range { preceding_ms: Some(ms) }),
    ];
    (frame, prop::option::of(0..3u64)).prop_map(|(frame, lag)| spec(frame, lag))
}

/// Epochs: rows with times relative to the watermark, and how far that rises after them.
fn any_epochs() -> impl Strategy<Value = Vec<(Vec<Row>, i64)>> {
    let key = prop_oneof![6 => (0..3i64).prop_map(Some), 1 => Just(None)];
    let value = prop_oneof![6 => (0..5i64).prop_map(Some), 1 => Just(None)];
    let rows = prop::collection::vec((key, 1..8i64, value), 0..8);
    prop::collection::vec((rows, 0..6i64), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn each_row_gets_the_result_over_its_frame_once_and_in_order(
        spec in any_spec(),
        epochs in any_epochs(),
    ) {
        let mut over = over(&spec);
        let (mut seen, mut all, mut watermark) = (Vec::new(), Vec::new(), 100);
        for (number, (rows, rise)) in epochs.into_iter().enumerate() {
            let rows: Vec<Row> =
                rows.into_iter().map(|(k, t, v)| (k, watermark + t, v)).collect();
            let marks = (watermark, watermark + rise);
            seen.extend(read(&apply(&mut over, number as u64 + 1, &rows, marks)));
            all.extend(rows);
            watermark += rise;
        }
        seen.extend(read(&apply(&mut over, 99, &[], (watermark, i64::MAX))));
        prop_assert_eq!(seen, oracle(&spec, &all));
    }

    #[test]
    fn a_restored_frame_goes_on_as_if_nothing_had_happened(
        spec in any_spec(),
        epochs in any_epochs(),
        events in prop::collection::vec(events(), 8),
    ) {
        let mut whole = over(&spec);
        let mut workers = Workers::new(vec![vec![0]], move || over(&spec));
        let mut watermark = 100;
        for (number, ((rows, rise), event)) in epochs.into_iter().zip(&events).enumerate() {
            let rows: Vec<Row> =
                rows.into_iter().map(|(k, t, v)| (k, watermark + t, v)).collect();
            let (epoch, marks) = (number as u64 + 1, (watermark, watermark + rise));
            let mut expected = read(&apply(&mut whole, epoch, &rows, marks));
            let context = context(epoch, marks);
            let mut got = read(&workers.apply(&[vec![batch(&rows)]], &context).unwrap());
            expected.sort();
            got.sort();
            prop_assert_eq!(got, expected);
            let bytes = workers.operators().iter().map(|part| part.row_bytes);
            prop_assert_eq!(bytes.sum::<usize>(), whole.row_bytes);
            watermark += rise;
            workers.meet(event);
        }
    }
}
