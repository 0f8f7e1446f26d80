use super::*;
use crate::expression::RowError;
use crate::oracle::{Event, Workers, events, shown};
use crate::time::Watermark;
use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A column as an expression.
#[derive(Debug)]
pub(super) struct Column(pub(super) usize);

impl Expression for Column {
    fn evaluate(&self, rows: &RecordBatch, _: i64) -> Result<ArrayRef, RowError> {
        Ok(rows.column(self.0).clone())
    }

    fn describe(&self) -> String {
        format!("${}", self.0)
    }
}

/// A number, and two times in microseconds.
type Row = (i64, [Option<i64>; 2]);

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("a", time.clone(), true),
        Field::new("b", time, true),
    ]))
}

fn batch(rows: &[(Row, i64)]) -> Batch {
    let time = |i: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|(row, _)| row.1[i]).collect::<TimestampMicrosecondArray>())
    };
    let ids = Int64Array::from_iter_values(rows.iter().map(|(row, _)| row.0));
    let columns = RecordBatch::try_new(schema(), vec![Arc::new(ids), time(0), time(1)]).unwrap();
    let is_growth = rows.iter().all(|&(_, weight)| weight == 1);
    Batch::new(columns, (!is_growth).then(|| rows.iter().map(|&(_, weight)| weight).collect()))
}

fn bound(column: usize, clock_is: ClockIs, shift_ms: i64) -> TimeBound {
    TimeBound { time: Arc::new(Column(column)), shift_ms, clock_is }
}

fn spec(clock: Clock, bounds: Vec<TimeBound>) -> TimeFilterSpec {
    TimeFilterSpec { clock, bounds, columns: vec![0, 1, 2] }
}

fn filter(spec: &TimeFilterSpec) -> TimeFilter {
    TimeFilter::new(spec.clone(), schema()).unwrap()
}

/// An epoch after which the clock shows `now`; the watermark before is of no concern.
fn context(clock: Clock, now: i64) -> EpochContext {
    let (now_ms, watermark) = match clock {
        Clock::Watermark => (0, now),
        Clock::ProcessingTime => (now, 0),
    };
    EpochContext {
        epoch: 0,
        now_ms,
        watermark_before: Watermark::MIN,
        watermark_after: Watermark(watermark),
    }
}

type View = BTreeMap<Vec<String>, i64>;

fn accumulate(view: &mut View, changes: &[(Vec<String>, i64)]) {
    for (row, weight) in changes {
        let count = view.entry(row.clone()).or_default();
        *count += weight;
        if *count == 0 {
            view.remove(row);
        }
    }
}

/// What an epoch says of single-time rows under `id`.
fn step(filter: &mut TimeFilter, rows: &[(Row, i64)], now: i64) -> Vec<(String, i64)> {
    let mut output = Output::default();
    let context = context(filter.spec.clock, now);
    filter.apply(vec![vec![batch(rows)]], &context, &mut output).unwrap();
    shown(&output.rows).into_iter().map(|(row, weight)| (row[0].clone(), weight)).collect()
}

fn said(changes: &[(&str, i64)]) -> Vec<(String, i64)> {
    changes.iter().map(|&(id, weight)| (id.to_owned(), weight)).collect()
}

#[test]
fn a_row_of_the_last_hour_is_there_for_an_hour_and_then_forgotten() {
    let spec = spec(Clock::ProcessingTime, vec![bound(1, ClockIs::Before, 60)]);
    let mut filter = filter(&spec);
    let row = |id, ms: i64| ((id, [Some(ms * 1000), None]), 1);
    assert_eq!(step(&mut filter, &[row(1, 100), row(2, 20)], 100), said(&[("1", 1)]));
    assert_eq!((filter.due_ms(), filter.held.len()), (Some(160), 1), "2 was over when it came");
    assert_eq!(step(&mut filter, &[], 159), said(&[]));
    assert_eq!(step(&mut filter, &[], 160), said(&[("1", -1)]));
    assert_eq!((filter.due_ms(), filter.held.len()), (None, 0));
}

#[test]
fn a_row_that_was_not_seen_for_a_week_comes_when_the_week_is_over() {
    let spec = spec(Clock::Watermark, vec![bound(1, ClockIs::NotBefore, 7)]);
    let mut filter = filter(&spec);
    let (first, later) = ((1, [Some(10_000), None]), (1, [Some(15_000), None]));
    assert_eq!(step(&mut filter, &[(first, 1)], i64::MIN), said(&[]), "there is no time yet");
    assert_eq!(step(&mut filter, &[(first, -1), (later, 1)], 16), said(&[]), "seen again");
    assert_eq!(step(&mut filter, &[], 17), said(&[]));
    assert_eq!(step(&mut filter, &[], 22), said(&[("1", 1)]));
    assert_eq!(filter.held.len(), 0, "nothing but a row can change it now");
    assert_eq!(step(&mut filter, &[(later, -1)], 23), said(&[("1", -1)]));
}

#[test]
fn a_row_whose_time_comes_in_the_epoch_that_takes_it_back_is_not_said() {
    let spec = spec(Clock::Watermark, vec![bound(1, ClockIs::NotBefore, 0)]);
    let mut filter = filter(&spec);
    let row = (1, [Some(10_000), None]);
    assert_eq!(step(&mut filter, &[(row, 1)], 5), said(&[]));
    assert_eq!(step(&mut filter, &[(row, -1)], 10), said(&[]));
    assert_eq!(filter.held.len(), 0);
}

#[test]
fn the_end_of_the_input_is_the_end_of_all_that_ends() {
    let bounds = vec![bound(1, ClockIs::Before, 60)];
    let mut last_hour = filter(&spec(Clock::Watermark, bounds));
    let row = (1, [Some(0), None]);
    assert_eq!(step(&mut last_hour, &[(row, 1)], 10), said(&[("1", 1)]));
    assert_eq!(step(&mut last_hour, &[], i64::MAX), said(&[("1", -1)]));
    let bounds = vec![bound(1, ClockIs::After, 60)];
    let mut not_seen = filter(&spec(Clock::Watermark, bounds));
    assert_eq!(step(&mut not_seen, &[(row, 1)], 10), said(&[]));
    assert_eq!(step(&mut not_seen, &[], i64::MAX), said(&[("1", 1)]));
}

#[test]
fn equal_rows_of_an_input_that_only_grows_come_as_rows_without_weights() {
    let spec = spec(Clock::Watermark, vec![bound(1, ClockIs::After, 0)]);
    let mut filter = filter(&spec);
    let row = (1, [Some(10_000), None]);
    step(&mut filter, &[(row, 1), (row, 1)], 5);
    let mut output = Output::default();
    filter.apply(vec![vec![]], &context(Clock::Watermark, 11), &mut output).unwrap();
    assert_eq!((output.rows[0].len(), output.rows[0].weights()), (2, None));
}

/// The comparisons as they stand, evaluated at a time of the clock.
fn holds(spec: &TimeFilterSpec, row: &Row, now: i64) -> bool {
    let holds = |bound: &TimeBound| {
        let column: usize = bound.time.describe()[1..].parse().unwrap();
        let Some(time) = row.1[column - 1] else { return false };
        let (clock, time) = (now * 1_000, time + bound.shift_ms * 1_000);
        match bound.clock_is {
            ClockIs::Before => clock < time,
            ClockIs::NotAfter => clock <= time,
            ClockIs::After => clock > time,
            ClockIs::NotBefore => clock >= time,
        }
    };
    spec.bounds.iter().all(holds)
}

fn recomputed(spec: &TimeFilterSpec, input: &BTreeMap<Row, i64>, now: Option<i64>) -> View {
    let mut view = View::new();
    for (row, &count) in input {
        if now.is_some_and(|now| holds(spec, row, now)) {
            accumulate(&mut view, &shown(&[batch(&[(*row, count)])]));
        }
    }
    view
}

fn any_spec() -> impl Strategy<Value = TimeFilterSpec> {
    use ClockIs::*;
    let clock_is = prop::sample::select(vec![Before, NotAfter, After, NotBefore]);
    let bound = (1usize..=2, clock_is, -8i64..8)
        .prop_map(|(column, clock_is, shift_ms)| self::bound(column, clock_is, shift_ms));
    let clock = prop::sample::select(vec![Clock::Watermark, Clock::ProcessingTime]);
    (clock, prop::collection::vec(bound, 1..4)).prop_map(|(clock, bounds)| spec(clock, bounds))
}

/// One epoch: its changes, how long its batches are, how far the clock goes on, and what happens
/// after it.
type Epoch = (Vec<(Row, i64)>, usize, i64, Event);

fn any_epochs() -> impl Strategy<Value = Vec<Epoch>> {
    // On the millisecond and between two, before the clock, near it and far behind.
    let time = prop::option::weighted(0.9, (-10i64..80).prop_map(|half_ms| half_ms * 500));
    let row = (0..3i64, [time.clone(), time]);
    let change = (row, prop_oneof![3 => Just(1i64), 1 => Just(2)]);
    let changes = prop::collection::vec(change, 0..8);
    prop::collection::vec((changes, 1usize..5, 0..9i64, events()), 1..12)
}

/// What the epochs put in, and by and by take back. An epoch says each row once.
fn with_deletions(
    epochs: Vec<Epoch>,
    picks: &[prop::sample::Index],
    is_updating: bool,
) -> Vec<Epoch> {
    let mut there: Vec<(Row, i64)> = Vec::new();
    let mut picks = picks.iter();
    let mut changed = Vec::new();
    for (mut changes, length, rise, event) in epochs {
        let mut deletions = Vec::new();
        for pick in picks.by_ref().take(if is_updating { 3 } else { 0 }) {
            if !there.is_empty() {
                let (row, weight) = there.swap_remove(pick.index(there.len()));
                deletions.push((row, -weight));
            }
        }
        changes.retain(|(row, _)| deletions.iter().all(|(gone, _)| gone != row));
        there.extend(changes.iter().copied());
        deletions.append(&mut changes);
        changed.push((deletions, length, rise, event));
    }
    changed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn after_every_epoch_the_results_are_the_rows_that_are_valid_then(
        spec in any_spec(),
        epochs in any_epochs(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 36),
        (is_updating, starts_unknown) in any::<(bool, bool)>(),
    ) {
        let epochs = with_deletions(epochs, &picks, is_updating);
        let clock = spec.clock;
        let made = spec.clone();
        let mut workers = Workers::new(vec![vec![0, 1, 2]], move || filter(&made));
        let (mut input, mut view) = (BTreeMap::<Row, i64>::new(), View::new());
        let mut now = 0;
        for (i, (changes, length, rise, event)) in epochs.into_iter().enumerate() {
            now += rise;
            // Before the first watermark there is no time.
            let is_unknown = clock == Clock::Watermark && starts_unknown && i < 2;
            let time = if is_unknown { i64::MIN } else { now };
            for &(row, weight) in &changes {
                *input.entry(row).or_default() += weight;
            }
            let batches: Vec<Batch> = changes.chunks(length).map(batch).collect();
            let due = workers.operators().iter().filter_map(TimeFilter::due_ms).min();
            let is_called = match clock {
                Clock::Watermark => true,
                Clock::ProcessingTime => !changes.is_empty() || due.is_some_and(|due| due <= now),
            };
            if is_called {
                let output = workers.apply(&[batches], &context(clock, time)).unwrap();
                let said = shown(&output.rows);
                for (row, weight) in &said {
                    let is_contradicted = said.iter().any(|(r, w)| r == row && w * weight < 0);
                    prop_assert!(!is_contradicted, "{row:?} comes and goes in one epoch");
                }
                accumulate(&mut view, &said);
            }
            prop_assert_eq!(&view, &recomputed(&spec, &input, (!is_unknown).then_some(now)));
            workers.meet(&event);
        }
        let held: usize = workers.operators().iter().map(|filter| filter.held.len()).sum();
        // What is held is what a later time still changes.
        let changes_later = |row: &Row| {
            (now..200).any(|later| holds(&spec, row, later) != holds(&spec, row, now))
        };
        if !(clock == Clock::Watermark && starts_unknown) {
            let later = input.iter().filter(|&(row, &count)| count != 0 && changes_later(row));
            prop_assert_eq!(held, later.count());
        }
    }
}
