use super::*;
use crate::aggregate::Retraction;
use crate::combine::{Combiner, When};
use crate::oracle::{
    self, Event, Fact, KEY, TIME, Workers, calls, calls_of_parts, events, facts, row, shown,
};
use crate::window::Slices;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn spec(window: WindowKind, updating: bool) -> WindowAggregateSpec {
    WindowAggregateSpec {
        window,
        zone: None,
        time: TIME,
        keys: vec![KEY],
        aggregates: calls(),
        updating,
        arrival: None,
    }
}

fn workers(spec: WindowAggregateSpec) -> Workers<WindowAggregate> {
    let (keys, same) = (vec![spec.keys.clone()], spec.clone());
    let workers =
        Workers::new(keys, move || WindowAggregate::new(spec.clone(), oracle::schema()).unwrap());
    match same.obstacle() {
        Some(_) => workers,
        None => workers
            .combining(|| Combiner::of_windows(&same, &oracle::schema(), When::Always).unwrap()),
    }
}

fn at(time: i64) -> String {
    let time = arrow::array::TimestampMillisecondArray::from(vec![time]);
    arrow::util::display::array_value_to_string(&time, 0).unwrap()
}

/// A row of the output, and the end of its window.
type Shown = (i64, Vec<String>);

fn window_row(
    calls: &[AggregateCall],
    key: Option<u8>,
    rows: &[(Fact, i64)],
    (start, end): (i64, i64),
) -> Shown {
    let mut row = row(calls, key, rows);
    row.extend([at(start), at(end), at(end - 1)]);
    (end, row)
}

/// A row with its place in the order of arrival.
type Arrived = (usize, (Fact, i64));

/// Windows as a plain list: which rows each of them holds.
#[derive(Default)]
struct Oracle {
    windows: BTreeMap<(i64, i64, Option<u8>), Vec<Arrived>>,
    /// All sessions that were ever shown.
    shown: Vec<(i64, i64, Option<u8>)>,
    arrived: usize,
}

impl Oracle {
    fn fire(&mut self, calls: &[AggregateCall], watermark: Watermark) -> Vec<Shown> {
        let mut shown = Vec::new();
        self.windows.retain(|&(end, start, key), rows| {
            let fires = watermark.closes(end);
            if fires {
                self.shown.push((end, start, key));
            }
            rows.sort_by_key(|(arrival, _)| *arrival);
            let rows: Vec<_> = rows.iter().map(|(_, row)| row.clone()).collect();
            if fires && rows.iter().map(|(_, weight)| weight).sum::<i64>() > 0 {
                shown.push(window_row(calls, key, &rows, (start, end)));
            }
            !fires
        });
        shown
    }

    /// Adds a row to its open windows; false if one is closed.
    fn slice(&mut self, slices: &Slices, row: &(Fact, i64), watermark: Watermark) -> bool {
        let (open, closed): (Vec<_>, Vec<_>) =
            slices.windows(row.0.time).partition(|&(_, end)| !watermark.closes(end));
        for (start, end) in open {
            let rows = self.windows.entry((end, start, row.0.key)).or_default();
            rows.push((self.arrived, row.clone()));
        }
        self.arrived += 1;
        closed.is_empty()
    }

    /// Adds the rows of an epoch to sessions: again and again those that are not late for the
    /// sessions there are, until none is left that could be added. Those that touch a shown one are
    /// late, and those that carry an open one back by more than two gaps from the watermark.
    fn sessions(&mut self, gap: i64, rows: &[(Fact, i64)], watermark: Watermark) -> Vec<i64> {
        let mut waiting: Vec<_> = rows.iter().enumerate().collect();
        let first = self.arrived;
        self.arrived += rows.len();
        loop {
            let before = waiting.len();
            waiting.retain(|&(ordinal, row)| {
                let (time, key) = (row.0.time, row.0.key);
                let touches = |&(end, start, k): &(i64, i64, Option<u8>)| {
                    k == key && time <= end && time + gap >= start
                };
                let touched: Vec<_> = self.windows.keys().copied().filter(touches).collect();
                let is_old = watermark.closes(time + 2 * gap);
                let counts = touched.iter().any(|&(_, start, _)| !is_old || start <= time);
                if self.shown.iter().any(touches) || watermark.closes(time + gap) && !counts {
                    return true;
                }
                let (mut start, mut end, mut all) = (time, time + gap, Vec::new());
                for window in touched {
                    all.extend(self.windows.remove(&window).unwrap());
                    (end, start) = (end.max(window.0), start.min(window.1));
                }
                all.push((first + ordinal, row.clone()));
                self.windows.insert((end, start, key), all);
                false
            });
            if waiting.len() == before {
                return waiting.iter().map(|(_, (fact, _))| fact.time).collect();
            }
        }
    }
}

/// An epoch: rows (or deletions of earlier ones), how they are cut into batches and which of those
/// are combined before the exchange, how far the watermark stays behind the latest row, and what
/// happens after it.
type Step = (Vec<(Fact, prop::sample::Index, bool)>, (usize, Vec<bool>), i64, Event);

fn steps(spread: i64) -> impl Strategy<Value = Vec<Step>> {
    let row = (facts(0..spread), any::<prop::sample::Index>(), any::<bool>());
    let batches = (1usize..40, prop::collection::vec(any::<bool>(), 0..4));
    let step = (prop::collection::vec(row, 0..30), batches, 0..spread, events());
    prop::collection::vec(step, 1..10)
}

/// The watermark by which windows close. A row at the very end of a session belongs to it.
fn closing(window: &WindowKind, watermark: Watermark) -> Watermark {
    match (window, watermark) {
        (WindowKind::Session { .. }, Watermark(ms)) if ms != i64::MIN && ms != i64::MAX => {
            Watermark(ms - 1)
        }
        _ => watermark,
    }
}

/// Runs operator and oracle side by side, time moving on by half the spread each step.
fn check(spec: WindowAggregateSpec, spread: i64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let WindowAggregateSpec { window, updating, aggregates: calls, .. } = spec.clone();
    let can_combine = spec.obstacle().is_none();
    let mut workers = workers(spec);
    let slices = Slices::of(&window).unwrap();
    let (mut oracle, mut live) = (Oracle::default(), Vec::<Fact>::new());
    let last = steps.len();
    for (n, (rows, (batch, is_combined), behind, event)) in steps.into_iter().enumerate() {
        let base = n as i64 * spread / 2 - spread;
        let mut changes = Vec::new();
        for (mut fact, which, deletes) in rows {
            fact.time += base;
            if updating && deletes && !live.is_empty() {
                // The earliest one of a key: of equal values it is no matter then which one goes.
                let key = live[which.index(live.len())].key;
                let earliest = live.iter().position(|fact| fact.key == key).unwrap();
                changes.push((live.remove(earliest), -1));
            } else {
                live.push(fact.clone());
                changes.push((fact, 1));
            }
        }
        let before = closing(&window, workers.watermark());
        let late: Vec<i64> = match (&slices, &window) {
            (Some(slices), _) => {
                let is_late = |row: &&(Fact, i64)| !oracle.slice(slices, row, before);
                changes.iter().filter(is_late).map(|(fact, _)| fact.time).collect()
            }
            (None, WindowKind::Session { gap_ms }) => oracle.sessions(*gap_ms, &changes, before),
            _ => unreachable!(),
        };
        let mut late = late;
        late.sort_unstable();
        let after = if n + 1 == last { Watermark::MAX } else { Watermark(base + spread - behind) };
        let batches = oracle::batches(&changes, batch);
        let output = match can_combine {
            true => workers.step_combining(&batches, after, &is_combined),
            false => workers.step(&batches, after),
        };
        let output = output.unwrap();
        prop_assert_eq!(oracle::late_times(&output.late), late);
        let mut expected = oracle.fire(&calls, closing(&window, workers.watermark()));
        let rows = shown(&output.rows);
        let mut got: Vec<Shown> = Vec::new();
        for (row, weight) in rows {
            prop_assert_eq!(weight, 1);
            let end =
                expected.iter().map(|(end, _)| *end).find(|&end| at(end) == row[row.len() - 2]);
            got.push((end.unwrap_or(i64::MIN), row));
        }
        if matches!(event, Event::Nothing) && n == 0 {
            prop_assert!(got.is_sorted_by_key(|(end, _)| *end), "windows in order of their ends");
        }
        expected.sort();
        got.sort();
        prop_assert_eq!(got, expected);
        workers.meet(&event);
    }
    prop_assert!(oracle.windows.is_empty());
    Ok(())
}

fn sliced() -> impl Strategy<Value = WindowKind> {
    let offset = -7i64..7;
    prop_oneof![
        (1i64..12, offset.clone())
            .prop_map(|(size_ms, offset_ms)| WindowKind::Tumble { size_ms, offset_ms }),
        (1i64..8, 1i64..5, offset.clone()).prop_map(|(slide_ms, n, offset_ms)| WindowKind::Hop {
            slide_ms,
            size_ms: n * slide_ms,
            offset_ms
        }),
        (1i64..8, 1i64..5, offset).prop_map(|(step_ms, n, offset_ms)| WindowKind::Cumulate {
            step_ms,
            max_ms: n * step_ms,
            offset_ms
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn windows_hold_what_the_definition_says(window in sliced(), steps in steps(24)) {
        check(spec(window, false), 24, steps)?;
    }

    #[test]
    fn sessions_hold_what_the_definition_says(gap_ms in 1i64..8, steps in steps(40)) {
        check(spec(WindowKind::Session { gap_ms }, false), 40, steps)?;
    }

    #[test]
    fn rows_that_were_combined_before_the_exchange_count_as_they_do_themselves(
        window in sliced(), aggregates in calls_of_parts(Retraction::Never), steps in steps(24),
    ) {
        check(WindowAggregateSpec { aggregates, ..spec(window, false) }, 24, steps)?;
    }

    #[test]
    fn combined_rows_that_go_again_leave_no_trace(
        window in sliced(), aggregates in calls_of_parts(Retraction::Possible), steps in steps(24),
    ) {
        check(WindowAggregateSpec { aggregates, ..spec(window, true) }, 1000, steps)?;
    }
}

fn fact(key: u8, time: i64) -> (Fact, i64) {
    (Fact { key: Some(key), time, value: None, text: None, keep: None }, 1)
}

/// A count per key and window, over rows of one epoch each, as `key count start..end`.
fn counts(spec: WindowAggregateSpec, epochs: &[(&[(Fact, i64)], i64)]) -> Vec<Vec<String>> {
    let mut spec = spec;
    spec.aggregates.truncate(1);
    let mut workers = workers(spec);
    let mut all = Vec::new();
    for &(rows, watermark) in epochs {
        let output = workers.step(&oracle::batches(rows, 2), Watermark(watermark)).unwrap();
        let short = |row: Vec<String>| {
            let time = |i: usize| row[i].trim_start_matches("1970-01-01T").to_owned();
            format!("{} {} {}..{} {}", row[0], row[1], time(2), time(3), time(4))
        };
        all.push(shown(&output.rows).into_iter().map(|(row, _)| short(row)).collect());
    }
    all
}

#[test]
fn a_session_row_exactly_one_gap_later_merges() {
    let spec = spec(WindowKind::Session { gap_ms: 1000 }, false);
    let rows = [fact(1, 0), fact(1, 1000), fact(1, 2001)];
    let fired = counts(spec, &[(&rows, 5000)]);
    let expected =
        ["1 2 00:00:00..00:00:02 00:00:01.999", "1 1 00:00:02.001..00:00:03.001 00:00:03"];
    assert_eq!(fired, [expected]);
}

/// The watermark promises no more than that it comes after the session's last millisecond.
#[test]
fn a_row_one_gap_later_merges_however_epochs_are_cut() {
    let spec = spec(WindowKind::Session { gap_ms: 1000 }, false);
    let (first, second) = ([fact(1, 0)], [fact(1, 1000)]);
    let fired = counts(spec, &[(&first, 999), (&second, 5000)]);
    let expected: [&[&str]; 2] = [&[], &["1 2 00:00:00..00:00:02 00:00:01.999"]];
    assert_eq!(fired, expected);
}

/// The times of late rows and the sessions of one key, over epochs of rows and watermarks.
fn sessions(gap_ms: i64, epochs: &[(&[i64], i64)]) -> (Vec<i64>, Vec<String>) {
    let mut workers = workers(spec(WindowKind::Session { gap_ms }, false));
    let (mut late, mut fired) = (vec![], vec![]);
    for &(times, watermark) in epochs {
        let rows: Vec<_> = times.iter().map(|&time| fact(1, time)).collect();
        let output = workers.step(&oracle::batches(&rows, 2), Watermark(watermark)).unwrap();
        late.extend(oracle::late_times(&output.late));
        fired.extend(shown(&output.rows).into_iter().map(|(row, _)| {
            let end = row.len() - 2;
            format!("{}..{}", &row[end - 1][17..], &row[end][17..])
        }));
        workers.meet(&Event::Restart(SnapshotScope::Changed, vec![], 2));
    }
    (late, fired)
}

#[test]
fn a_row_of_a_session_that_was_shown_is_late_even_if_alone_it_would_not_be() {
    // At 2.5 s the session of the first rows was shown; a row at 1.8 s alone would last to 2.8 s.
    let epochs: [(&[i64], i64); 3] = [(&[0, 1000], 2500), (&[1800, 2001], 2500), (&[], i64::MAX)];
    let (late, fired) = sessions(1000, &epochs);
    assert_eq!((late, fired), (vec![1800], vec!["00..02".to_owned(), "02.001..03.001".to_owned()]));
}

#[test]
fn a_session_that_was_shown_is_forgotten_two_gaps_later() {
    let spec = spec(WindowKind::Session { gap_ms: 1000 }, false);
    let mut operator = WindowAggregate::new(spec, oracle::schema()).unwrap();
    let mut held = |rows: &[(Fact, i64)], before: i64, after: i64| {
        let context = EpochContext {
            epoch: 0,
            now_ms: 0,
            watermark_before: Watermark(before),
            watermark_after: Watermark(after),
        };
        let rows = oracle::batches(rows, 2);
        operator.apply(vec![rows], &context, &mut Output::default()).unwrap();
        let tables = operator.snapshot(SnapshotScope::Full).unwrap().tables;
        tables.into_iter().map(|table| table.name).collect::<Vec<_>>()
    };
    assert_eq!(held(&[fact(1, 0)], i64::MIN, 999), ["sessions"]);
    assert_eq!(held(&[], 999, 1000), ["shown"]);
    assert_eq!(held(&[], 1000, 2999), ["shown"]);
    assert_eq!(held(&[], 2999, 3000), [] as [&str; 0]);
}

#[test]
fn an_old_row_counts_within_an_open_session_and_carries_it_back_by_so_much_only() {
    let first: &[i64] = &[10_000, 11_000, 12_000, 13_000];
    // Two gaps behind the watermark stands 11.5 s: 9.5 s is too old to be the new beginning.
    let epochs: [(&[i64], i64); 3] = [(first, 13_500), (&[9_500, 10_500], 13_500), (&[], i64::MAX)];
    let (late, fired) = sessions(1000, &epochs);
    assert_eq!((late, fired), (vec![9_500], vec!["10..14".to_owned()]));
}

#[test]
fn a_window_fires_once_under_the_epoch_that_closes_it_and_empty_ones_never() {
    let spec = spec(WindowKind::Tumble { size_ms: 1000, offset_ms: 0 }, false);
    let (first, second) = ([fact(1, 5), fact(2, 7)], [fact(1, 999), fact(1, 5000)]);
    let fired = counts(spec, &[(&first, 998), (&second, 999), (&[], 4000), (&[], i64::MAX)]);
    let expected: [&[&str]; 4] = [
        &[],
        &["1 2 00:00:00..00:00:01 00:00:00.999", "2 1 00:00:00..00:00:01 00:00:00.999"],
        &[],
        &["1 1 00:00:05..00:00:06 00:00:05.999"],
    ];
    assert_eq!(fired, expected);
}

#[test]
fn a_window_that_fired_leaves_no_state() {
    let mut workers = workers(spec(WindowKind::Tumble { size_ms: 10, offset_ms: 0 }, false));
    workers.step(&oracle::batches(&[fact(1, 5), fact(2, 7)], 2), Watermark(0)).unwrap();
    assert!(workers.state_bytes() > 0);
    workers.step(&[], Watermark(9)).unwrap();
    assert_eq!(workers.state_bytes(), 0);
}

#[test]
fn windows_stand_by_the_wall_clock_and_their_time_is_an_instant() {
    const HOUR: i64 = 3_600_000;
    let day = WindowKind::Tumble { size_ms: 24 * HOUR, offset_ms: 0 };
    let zone = Some(chrono_tz::Europe::Berlin);
    let spec = WindowAggregateSpec { zone, ..spec(day, false) };
    // 22:30 and 23:30 UTC are 23:30 of one day and 00:30 of the next in Berlin.
    let rows = [fact(1, 22 * HOUR + HOUR / 2), fact(1, 23 * HOUR + HOUR / 2)];
    let fired = counts(spec, &[(&rows, 23 * HOUR - 2), (&[], 23 * HOUR - 1)]);
    let expected: [&[&str]; 2] = [&[], &["1 1 00:00:00..1970-01-02T00:00:00 22:59:59.999Z"]];
    assert_eq!(fired, expected);
}

#[test]
fn rows_that_carry_their_window_are_grouped_by_it() {
    use arrow::array::{Int64Array, RecordBatch, TimestampMillisecondArray};
    use arrow::datatypes::{DataType, Field};
    let field = |name: &str, kind| Field::new(name, kind, true);
    let schema = Arc::new(Schema::new(vec![
        field("key", DataType::Int64),
        field("start", window::bound_type()),
        field("end", window::bound_type()),
    ]));
    let times =
        |times: &[i64]| -> ArrayRef { Arc::new(TimestampMillisecondArray::from(times.to_vec())) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 1, 1, 1])),
        times(&[0, 0, 5, 10]),
        times(&[10, 10, 10, 20]),
    ];
    let rows = Batch::from(RecordBatch::try_new(schema.clone(), columns).unwrap());
    let mut spec = spec(WindowKind::Attached { start: 1, end: 2 }, false);
    spec.aggregates.truncate(1);
    let mut operator = WindowAggregate::new(spec, schema).unwrap();
    let mut fire = |rows: Vec<Batch>, before: i64, after: i64| {
        let context = EpochContext {
            epoch: 0,
            now_ms: 0,
            watermark_before: Watermark(before),
            watermark_after: Watermark(after),
        };
        let mut output = Output::default();
        operator.apply(vec![rows], &context, &mut output).unwrap();
        let counts: Vec<String> =
            shown(&output.rows).into_iter().map(|(row, _)| row[1].clone()).collect();
        (counts, output.late.iter().map(|late| late.rows.len()).sum::<usize>())
    };
    assert_eq!(fire(vec![rows.clone()], i64::MIN, 9), (vec!["2".into(), "1".into()], 0));
    assert_eq!(fire(vec![rows], 9, 9), (vec![], 3));
    assert_eq!(fire(vec![], 9, i64::MAX), (vec!["2".into()], 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rows_that_go_again_leave_no_trace(window in sliced(), steps in steps(24)) {
        check(spec(window, true), 1000, steps)?;
    }
}
