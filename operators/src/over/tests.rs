//! Results over frames against a naive oracle: each row looks at all rows of its key.

use super::*;
use crate::aggregate::AggregateFunction;
use crate::oracle::{Event, Workers, events};
use arrow::array::TimestampMillisecondArray;
use arrow::datatypes::{Int64Type, TimeUnit, TimestampMillisecondType};
use proptest::prelude::*;
use proptest::sample::Index;

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

fn calls() -> Vec<OverFunction> {
    use AggregateFunction::{CountRows, First, Last, Max, Sum};
    [CountRows, Sum, Max, First, Last].map(call).into()
}

fn value(offset: u64, default: Option<usize>) -> Neighbour {
    Neighbour { argument: 2, offset, default, name: format!("neighbour_{offset}") }
}

fn spec(frame: Frame, functions: Vec<OverFunction>) -> OverSpec {
    OverSpec { partition: vec![0], time: 1, frame, functions, arrival: None }
}

/// The next value, and nothing else.
fn next_value(default: Option<usize>) -> OverSpec {
    spec(Frame::Rows { preceding: Some(0) }, vec![OverFunction::Lead(value(1, default))])
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

/// A row of the output.
type Shown = Vec<Option<i64>>;

fn read(output: &Output) -> Vec<Shown> {
    let inserted = |(row, weight): (Shown, i64)| {
        assert_eq!(weight, 1, "append-only");
        row
    };
    changes(output).into_iter().map(inserted).collect()
}

fn changes(output: &Output) -> Vec<(Shown, i64)> {
    let mut rows = Vec::new();
    for batch in &output.rows {
        assert!(!batch.is_empty());
        for row in 0..batch.len() {
            let value = |c: &ArrayRef| match c.as_primitive_opt::<TimestampMillisecondType>() {
                Some(c) => c.is_valid(row).then(|| c.value(row)),
                None => {
                    let c = c.as_primitive::<Int64Type>();
                    c.is_valid(row).then(|| c.value(row))
                }
            };
            rows.push((batch.columns().columns().iter().map(value).collect(), batch.weight(row)));
        }
    }
    rows
}

/// All rows in order, each with its results.
fn oracle(spec: &OverSpec, rows: &[Row]) -> Vec<Shown> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.1);
    let result = |(at, row): (usize, &Row)| {
        let before: Vec<&Row> = rows[..=at].iter().filter(|r| r.0 == row.0).collect();
        let behind: Vec<&Row> = rows[at..].iter().filter(|r| r.0 == row.0).collect();
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
        let own = [row.0, Some(row.1), row.2];
        let neighbour = |of: &Neighbour, other: Option<&Row>| match other {
            Some(other) => other.2,
            None => of.default.and_then(|column| own[column]),
        };
        let result = |function: &OverFunction| match function {
            OverFunction::Aggregate(call) => match call.function {
                AggregateFunction::CountRows => Some(frame.len() as i64),
                AggregateFunction::Sum => (!values.is_empty()).then(|| values.iter().sum()),
                AggregateFunction::Max => values.iter().max().copied(),
                AggregateFunction::First => values.first().copied(),
                AggregateFunction::Last => values.last().copied(),
                ref other => unreachable!("{other:?} is not tested"),
            },
            OverFunction::Lag(of) => {
                let at = before.len().checked_sub(of.offset as usize + 1);
                neighbour(of, at.map(|at| before[at]))
            }
            OverFunction::Lead(of) => neighbour(of, behind.get(of.offset as usize).copied()),
        };
        own.into_iter().chain(spec.functions.iter().map(result)).collect()
    };
    rows.iter().enumerate().map(result).collect()
}

#[test]
fn a_row_waits_for_the_watermark_and_is_late_once_that_has_reached_it() {
    let mut over = over(&spec(Frame::Rows { preceding: None }, calls()));
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
    let mut over = over(&spec(Frame::Range { preceding_ms: None }, calls()));
    let rows = [(Some(1), 10, Some(3)), (Some(1), 10, Some(4))];
    let counts: Vec<_> = read(&apply(&mut over, 1, &rows, (i64::MIN, 10)))
        .iter()
        .map(|row| (row[3], row[4]))
        .collect();
    assert_eq!(counts, vec![(Some(2), Some(7)); 2]);
}

#[test]
fn a_key_whose_frame_has_run_empty_is_forgotten() {
    let mut over = over(&spec(Frame::Range { preceding_ms: Some(5) }, calls()));
    apply(&mut over, 1, &[(Some(1), 10, Some(3))], (i64::MIN, 10));
    assert_eq!(over.index.len(), 1);
    apply(&mut over, 2, &[], (10, 15));
    assert_eq!(over.index.len(), 0);
    let output = apply(&mut over, 3, &[(Some(2), 20, Some(4))], (15, 20));
    assert_eq!(read(&output)[0][2..5], [Some(4), Some(1), Some(4)]);
}

#[test]
fn rows_that_two_workers_gave_one_number_wait_side_by_side() {
    let spec = spec(Frame::Rows { preceding: None }, calls());
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
    let mut over = over(&spec(Frame::Rows { preceding: None }, calls()));
    let rows: Vec<Row> = (0..3 * BATCH_ROWS as i64).map(|n| (Some(1), n, Some(n))).collect();
    let output = apply(&mut over, 1, &rows, (i64::MIN, i64::MAX));
    let rows = read(&output);
    assert!(rows.iter().all(|row| row[7] == row[2]), "LAST_VALUE is the row's own");
}

#[test]
fn a_row_is_replaced_when_the_one_that_it_awaits_has_had_its_turn() {
    let mut over = over(&next_value(None));
    let [first, second, other] =
        [(Some(1), 10, Some(3)), (Some(1), 11, Some(4)), (Some(2), 11, Some(9))];
    let row = |(k, t, v): Row, next| vec![k, Some(t), v, next];
    let shown = changes(&apply(&mut over, 1, &[second, other, first], (i64::MIN, 10)));
    assert_eq!(shown, [(row(first, None), 1)]);
    let shown = changes(&apply(&mut over, 2, &[], (10, 11)));
    let replaced = [(row(first, None), -1), (row(first, Some(4)), 1)];
    assert_eq!(shown, [&replaced[..], &[(row(second, None), 1), (row(other, None), 1)]].concat());
    assert!(changes(&apply(&mut over, 3, &[], (11, i64::MAX))).is_empty());
}

#[test]
fn what_a_row_awaits_within_the_epoch_is_there_at_once_however_many_have_their_turn() {
    let mut over = over(&next_value(None));
    over.batch_rows = 2;
    let rows: Vec<Row> = (0..9).map(|n| (Some(n % 2), n, Some(n))).collect();
    let mut shown = read(&apply(&mut over, 1, &rows, (i64::MIN, i64::MAX)));
    shown.sort();
    let next = |n: i64| (n + 2 < 9).then_some(n + 2);
    let mut expected: Vec<Shown> =
        (0..9).map(|n| vec![Some(n % 2), Some(n), Some(n), next(n)]).collect();
    expected.sort();
    assert_eq!(shown, expected);
}

#[test]
fn a_row_that_shows_the_same_as_before_is_not_told_again() {
    let mut over = over(&next_value(Some(2)));
    let first = (Some(1), 10, Some(3));
    let shown = changes(&apply(&mut over, 1, &[first], (i64::MIN, 10)));
    assert_eq!(shown, [(vec![Some(1), Some(10), Some(3), Some(3)], 1)], "the default");
    let shown = changes(&apply(&mut over, 2, &[(Some(1), 11, Some(3))], (10, 11)));
    assert_eq!(shown, [(vec![Some(1), Some(11), Some(3), Some(3)], 1)]);
}

#[test]
fn results_are_held_of_no_more_rows_than_await_something() {
    let mut functions = calls();
    functions.push(OverFunction::Lead(value(2, None)));
    let mut over = over(&spec(Frame::Rows { preceding: None }, functions));
    let mut bytes = |epoch: u64| {
        let time = epoch as i64;
        apply(&mut over, epoch, &[(Some(1), time, Some(5))], (time - 1, time));
        (over.row_bytes, over.leads.as_ref().unwrap().result_bytes)
    };
    let [one, two] = [1, 2].map(&mut bytes);
    assert_eq!(two, (2 * one.0, 2 * one.1));
    assert_eq!([3, 4, 5].map(&mut bytes), [two; 3]);
}

fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        Just(Frame::Rows { preceding: None }),
        Just(Frame::Range { preceding_ms: None }),
        (0..4u64).prop_map(|n| Frame::Rows { preceding: Some(n) }),
        (0..8i64).prop_map(|ms| Frame::Range { preceding_ms: Some(ms) }),
    ]
}

fn any_neighbour(offsets: std::ops::Range<u64>) -> impl Strategy<Value = Neighbour> {
    (offsets, prop::option::of(0..3usize))
        .prop_map(|(offset, default)| value(offset, default.filter(|&column| column != 1)))
}

/// Without a `LEAD`.
fn any_spec() -> impl Strategy<Value = OverSpec> {
    (any_frame(), prop::option::of(any_neighbour(0..3))).prop_map(|(frame, lag)| {
        spec(frame, calls().into_iter().chain(lag.map(OverFunction::Lag)).collect())
    })
}

/// With one to three `LEAD`s, anywhere among other functions.
fn any_spec_with_leads() -> impl Strategy<Value = OverSpec> {
    let others = prop::collection::vec(
        prop_oneof![
            3 => prop::sample::select(calls()),
            1 => any_neighbour(0..5).prop_map(OverFunction::Lag),
        ],
        0..4,
    );
    let leads = prop::collection::vec((any_neighbour(0..5), any::<Index>()), 1..4);
    (any_frame(), others, leads).prop_map(|(frame, mut functions, leads)| {
        for (lead, place) in leads {
            functions.insert(place.index(functions.len() + 1), OverFunction::Lead(lead));
        }
        spec(frame, functions)
    })
}

/// What has come out: the rows, and how often.
#[derive(Default)]
struct Sum(BTreeMap<Shown, i64>);

impl Sum {
    /// Adds an epoch's changes, which take back only what earlier epochs have shown.
    fn add(&mut self, changes: Vec<(Shown, i64)>) {
        let (gone, come): (Vec<_>, Vec<_>) = changes.into_iter().partition(|&(_, w)| w < 0);
        for (row, weight) in gone.into_iter().chain(come) {
            let count = self.0.entry(row).or_default();
            *count += weight;
            assert!(*count >= 0, "only what was shown is taken back");
        }
        self.0.retain(|_, count| *count > 0);
    }

    fn rows(&self) -> Vec<Shown> {
        let repeat =
            |(row, &count): (&Shown, &i64)| std::iter::repeat_n(row.clone(), count as usize);
        self.0.iter().flat_map(repeat).collect()
    }
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
    fn what_has_come_out_is_the_query_over_all_rows_that_had_their_turn(
        spec in any_spec_with_leads(),
        epochs in any_epochs(),
        batch_rows in 1..9usize,
    ) {
        let mut over = over(&spec);
        over.batch_rows = batch_rows;
        let (mut sum, mut all, mut watermark) = (Sum::default(), Vec::new(), 100);
        let last = (Vec::new(), i64::MAX - 200);
        for (number, (rows, rise)) in epochs.into_iter().chain([last]).enumerate() {
            let rows: Vec<Row> =
                rows.into_iter().map(|(k, t, v)| (k, watermark + t, v)).collect();
            let marks = (watermark, watermark + rise);
            sum.add(changes(&apply(&mut over, number as u64 + 1, &rows, marks)));
            all.extend(rows);
            watermark += rise;
            let due: Vec<Row> = all.iter().copied().filter(|row| row.1 <= watermark).collect();
            let mut expected = oracle(&spec, &due);
            expected.sort();
            prop_assert_eq!(sum.rows(), expected);
        }
    }

    #[test]
    fn a_restored_frame_goes_on_as_if_nothing_had_happened(
        spec in prop_oneof![any_spec(), any_spec_with_leads()],
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
            let mut expected = changes(&apply(&mut whole, epoch, &rows, marks));
            let context = context(epoch, marks);
            let mut got = changes(&workers.apply(&[vec![batch(&rows)]], &context).unwrap());
            expected.sort();
            got.sort();
            prop_assert_eq!(got, expected);
            let held = |over: &Over| {
                over.row_bytes + over.leads.as_ref().map_or(0, |leads| leads.result_bytes)
            };
            let bytes = workers.operators().iter().map(held);
            prop_assert_eq!(bytes.sum::<usize>(), held(&whole));
            watermark += rise;
            workers.meet(event);
        }
    }
}
