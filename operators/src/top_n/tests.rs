//! Rankings against a naive oracle: the ranking of all rows, computed afresh for every epoch.

use super::*;
use crate::oracle::{Workers, events};
use arrow::datatypes::TimeUnit;
use proptest::prelude::*;
use std::collections::HashMap;

/// `(partition, value, row number)`; the row number tells equal rows apart where it is unique.
type Row = (Option<i64>, Option<i64>, i64);
type Changelog = Vec<(Row, Option<i64>, i64)>;

fn schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![number("k"), number("v"), number("id")]))
}

fn batch(rows: &[(Row, i64)], weighted: bool) -> Batch {
    let column = |value: fn(&Row) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(|(row, _)| value(row)).collect::<Int64Array>())
    };
    let columns = vec![column(|r| r.0), column(|r| r.1), column(|r| Some(r.2))];
    let columns = RecordBatch::try_new(schema(), columns).unwrap();
    Batch::new(columns, weighted.then(|| rows.iter().map(|(_, w)| *w).collect()))
}

fn spec(last: u64) -> TopNSpec {
    TopNSpec {
        partition: vec![0],
        order: vec![SortTerm { column: 1, descending: false, nulls_first: true }],
        first: 1,
        last,
        rank_output: false,
        updating: false,
        ties_to_last: false,
        window_end: None,
        zone: None,
        arrival: None,
        ttl_ms: None,
    }
}

fn context(epoch: u64, before: i64, after: i64) -> EpochContext {
    EpochContext {
        epoch,
        now_ms: 0,
        watermark_before: Watermark(before),
        watermark_after: Watermark(after),
    }
}

fn apply_at(top: &mut TopN, batches: Vec<Batch>, context: &EpochContext) -> Output {
    let mut output = Output::default();
    top.apply(vec![batches], context, &mut output).unwrap();
    output
}

fn apply(top: &mut TopN, batches: Vec<Batch>) -> Changelog {
    let context = context(0, i64::MIN, i64::MIN);
    read(&apply_at(top, batches, &context).rows)
}

fn read(batches: &[Batch]) -> Changelog {
    let mut rows = Vec::new();
    for batch in batches {
        let column = |i: usize| {
            let numbers = cast(batch.column(i), &DataType::Int64).unwrap();
            numbers.as_primitive::<Int64Type>().clone()
        };
        let value = |c: &Int64Array, row: usize| c.is_valid(row).then(|| c.value(row));
        let (k, v, id) = (column(0), column(1), column(2));
        let rank = (batch.columns().num_columns() > 3).then(|| column(3));
        for row in 0..batch.len() {
            let rank = rank.as_ref().map(|r| r.value(row));
            rows.push(((value(&k, row), value(&v, row), id.value(row)), rank, batch.weight(row)));
        }
    }
    rows
}

fn row(k: i64, v: i64, id: i64) -> (Row, i64) {
    ((Some(k), Some(v), id), 1)
}

#[test]
fn a_better_row_replaces_the_worst_in_one_pair() {
    let mut top = TopN::new(spec(2), schema()).unwrap();
    let first = apply(&mut top, vec![batch(&[row(1, 5, 0), row(1, 7, 1), row(1, 9, 2)], false)]);
    assert_eq!(first, vec![(row(1, 5, 0).0, None, 1), (row(1, 7, 1).0, None, 1)]);
    let next = apply(&mut top, vec![batch(&[row(1, 6, 3), row(1, 8, 4)], false)]);
    assert_eq!(next, vec![(row(1, 7, 1).0, None, -1), (row(1, 6, 3).0, None, 1)]);
}

#[test]
fn a_partition_that_is_idle_for_too_long_begins_anew() {
    let at = |now_ms| EpochContext { now_ms, ..context(0, i64::MIN, i64::MIN) };
    let last = SortTerm { column: 1, descending: true, nulls_first: false };
    for updating in [false, true] {
        let spec = TopNSpec { order: vec![last], ttl_ms: Some(100), updating, ..spec(1) };
        let mut top = TopN::new(spec, schema()).unwrap();
        let mut apply = |now_ms, rows: &[(Row, i64)]| {
            read(&apply_at(&mut top, vec![batch(rows, true)], &at(now_ms)).rows)
        };
        let (old, young) = (row(1, 5, 0), row(2, 5, 0));
        apply(0, &[old, young]);
        let replaced = vec![(young.0, None, -1), (row(2, 6, 1).0, None, 1)];
        assert_eq!(apply(60, &[row(2, 6, 1)]), replaced);
        assert_eq!(apply(110, &[row(1, 4, 2)]), vec![(row(1, 4, 2).0, None, 1)], "the first again");
        assert_eq!(apply(120, &[row(2, 4, 3)]), vec![], "still worse than one that is held");
        if updating {
            // What was forgotten is no debt.
            assert_eq!(apply(130, &[(old.0, -1)]), vec![]);
            let back = vec![(row(1, 4, 2).0, None, -1), (old.0, None, 1)];
            assert_eq!(apply(140, &[old]), back);
        }
    }
}

#[test]
fn a_new_first_row_shifts_all_ranks_below_it() {
    let spec = TopNSpec { rank_output: true, ..spec(2) };
    let mut top = TopN::new(spec, schema()).unwrap();
    apply(&mut top, vec![batch(&[row(1, 5, 0), row(1, 7, 1)], false)]);
    let next = apply(&mut top, vec![batch(&[row(1, 4, 2)], false)]);
    let (old, seven, new) = (row(1, 5, 0).0, row(1, 7, 1).0, row(1, 4, 2).0);
    assert_eq!(
        next,
        vec![(old, Some(1), -1), (new, Some(1), 1), (seven, Some(2), -1), (old, Some(2), 1)]
    );
}

#[test]
fn ties_go_to_the_earlier_arrival_unless_told_otherwise() {
    let rows = || vec![batch(&[row(1, 5, 0), row(1, 5, 1)], false)];
    let mut top = TopN::new(spec(1), schema()).unwrap();
    assert_eq!(apply(&mut top, rows()), vec![(row(1, 5, 0).0, None, 1)]);
    let mut top = TopN::new(TopNSpec { ties_to_last: true, ..spec(1) }, schema()).unwrap();
    assert_eq!(apply(&mut top, rows()), vec![(row(1, 5, 1).0, None, 1)]);
}

/// The schema of rows whose partition is the end of a window.
fn windowed_schema() -> SchemaRef {
    let end = Field::new("end", DataType::Timestamp(TimeUnit::Millisecond, None), true);
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields[0] = Arc::new(end);
    Arc::new(Schema::new(fields))
}

fn windowed(rows: &[(Row, i64)], weighted: bool) -> Batch {
    let rows = batch(rows, weighted);
    let mut columns = rows.columns().columns().to_vec();
    columns[0] = cast(&columns[0], windowed_schema().field(0).data_type()).unwrap();
    rows.with_columns(RecordBatch::try_new(windowed_schema(), columns).unwrap())
}

#[test]
fn a_ranking_per_window_speaks_once_when_its_window_closes() {
    let spec = TopNSpec { window_end: Some(0), rank_output: true, ..spec(1) };
    let mut top = TopN::new(spec, windowed_schema()).unwrap();
    let batch = windowed;
    let rows = batch(&[row(10, 2, 0), row(20, 1, 1), row(10, 1, 2)], false);
    let output = apply_at(&mut top, vec![rows], &context(0, i64::MIN, 8));
    assert!(output.rows.is_empty() && output.late.is_empty());
    let output = apply_at(&mut top, vec![batch(&[row(10, 0, 3)], false)], &context(1, 8, 9));
    assert_eq!(read(&output.rows), vec![(row(10, 0, 3).0, Some(1), 1)]);
    assert!(output.rows[0].weights().is_none(), "append-only");
    let late = batch(&[row(10, 0, 4), row(20, 5, 5)], false);
    let output = apply_at(&mut top, vec![late], &context(2, 9, i64::MAX));
    assert_eq!(read(&output.rows), vec![(row(20, 1, 1).0, Some(1), 1)]);
    assert_eq!(read(&[output.late[0].rows.clone()]), vec![(row(10, 0, 4).0, None, 1)]);
    assert_eq!(top.row_bytes, 0, "closed windows leave nothing");
}

#[test]
fn a_deletion_takes_back_the_row_that_came_at_another_time() {
    // The last column is the arrival.
    let spec = TopNSpec { updating: true, arrival: Some(2), rank_output: true, ..spec(1) };
    let mut top = TopN::new(spec, schema()).unwrap();
    apply(&mut top, vec![batch(&[row(1, 5, 10), row(1, 6, 11)], true)]);
    let changes = apply(&mut top, vec![batch(&[(row(1, 5, 12).0, -1)], true)]);
    assert_eq!(
        changes,
        vec![(row(1, 5, 10).0, Some(1), -1), (row(1, 6, 11).0, Some(1), 1)],
        "what was shown is taken back as it was shown"
    );
    let mut again = top;
    let snapshot = again.snapshot(SnapshotScope::Full).unwrap();
    let mut top = TopN::new(again.spec.clone(), schema()).unwrap();
    top.restore(&snapshot).unwrap();
    let changes = apply(&mut top, vec![batch(&[(row(1, 6, 13).0, -1)], true)]);
    assert_eq!(changes, vec![(row(1, 6, 11).0, Some(1), -1)]);
}

#[test]
fn a_deletion_may_come_before_its_row() {
    let spec = TopNSpec { updating: true, ..spec(1) };
    let mut top = TopN::new(spec, schema()).unwrap();
    assert_eq!(apply(&mut top, vec![batch(&[(row(1, 5, 0).0, -2)], true)]), vec![]);
    assert_eq!(apply(&mut top, vec![batch(&[(row(1, 5, 0).0, 2)], true)]), vec![]);
    let after = apply(&mut top, vec![batch(&[row(1, 5, 0)], true)]);
    assert_eq!(after, vec![(row(1, 5, 0).0, None, 1)]);
}

/// Everything that came, in order of arrival; what has been taken back is out of it.
#[derive(Clone, Debug, Default)]
struct Oracle {
    rows: Vec<Row>,
}

impl Oracle {
    fn push(&mut self, row: Row, weight: i64) {
        for _ in 0..weight.max(0) {
            self.rows.push(row);
        }
        for _ in weight..0 {
            let place = self.rows.iter().position(|r| *r == row).expect("tests delete what is");
            self.rows.remove(place);
        }
    }

    fn shown(&self, spec: &TopNSpec) -> HashMap<(Row, Option<i64>), i64> {
        let mut rows = self.rows.clone();
        if spec.ties_to_last {
            rows.reverse();
        }
        let term = spec.order[0];
        rows.sort_by(|a, b| {
            let values = match term.descending {
                false => a.1.cmp(&b.1),
                true => b.1.cmp(&a.1),
            };
            // `None` sorts first ascending by itself.
            let nulls_first_by_itself = !term.descending;
            match a.1.is_none() == b.1.is_none() || term.nulls_first == nulls_first_by_itself {
                true => values,
                false => values.reverse(),
            }
        });
        let mut ranks: HashMap<Option<i64>, i64> = HashMap::new();
        let mut shown = HashMap::new();
        for row in rows {
            let rank =
                ranks.entry(if spec.partition.is_empty() { None } else { row.0 }).or_default();
            *rank += 1;
            if (spec.first as i64..=spec.last as i64).contains(rank) {
                *shown.entry((row, spec.rank_output.then_some(*rank))).or_default() += 1;
            }
        }
        shown
    }
}

fn accumulate(view: &mut HashMap<(Row, Option<i64>), i64>, changes: Changelog) {
    for (row, rank, weight) in changes {
        *view.entry((row, rank)).or_default() += weight;
    }
    view.retain(|_, weight| *weight != 0);
}

fn any_spec(updating: bool) -> impl Strategy<Value = TopNSpec> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (1..3u64, 0..4u64, flags, any::<bool>()).prop_map(move |(first, more, flags, global)| {
        let (descending, nulls_first, rank_output, ties_to_last) = flags;
        TopNSpec {
            partition: if global { vec![] } else { vec![0] },
            order: vec![SortTerm { column: 1, descending, nulls_first }],
            first,
            last: first + more,
            rank_output,
            ties_to_last,
            updating,
            ..spec(1)
        }
    })
}

/// Epochs of batches of `(row, whether to take back a row that is there instead)`.
fn any_epochs() -> impl Strategy<Value = Vec<Vec<Vec<(Row, bool)>>>> {
    let number = |n: i64| prop_oneof![4 => (0..n).prop_map(Some), 1 => Just(None)];
    let row = ((number(3), number(4), 0..3i64), prop::bool::weighted(0.4));
    let batch = prop::collection::vec(row, 0..6);
    prop::collection::vec(prop::collection::vec(batch, 0..3), 1..8)
}

/// Weighted rows of which every deletion has a row to delete.
fn weigh(rows: &[(Row, bool)], oracle: &mut Oracle, updating: bool) -> Vec<(Row, i64)> {
    let mut weighted = Vec::new();
    for (row, delete) in rows {
        let change = match updating && *delete && !oracle.rows.is_empty() {
            true => (oracle.rows[row.2 as usize % oracle.rows.len()], -1),
            false => (*row, 1 + i64::from(*delete)),
        };
        oracle.push(change.0, change.1);
        weighted.push(change);
    }
    weighted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_sum_of_all_output_is_the_ranking_of_all_input(
        spec in any::<bool>().prop_flat_map(any_spec),
        epochs in any_epochs(),
    ) {
        let mut top = TopN::new(spec.clone(), schema()).unwrap();
        let (mut oracle, mut view) = (Oracle::default(), HashMap::new());
        for epoch in &epochs {
            let batches = epoch
                .iter()
                .map(|rows| batch(&weigh(rows, &mut oracle, spec.updating), true))
                .collect();
            let changes = apply(&mut top, batches);
            for (row, rank, weight) in &changes {
                prop_assert!(!changes.contains(&(*row, *rank, -weight)), "says and takes back");
            }
            accumulate(&mut view, changes);
            prop_assert_eq!(&view, &oracle.shown(&spec));
        }
    }

    #[test]
    fn a_restored_ranking_goes_on_as_if_nothing_had_happened(
        spec in any::<bool>().prop_flat_map(any_spec),
        ttl_ms in prop::option::of(10i64..40),
        epochs in any_epochs(),
        events in prop::collection::vec(events(), 8),
    ) {
        let spec = TopNSpec { partition: vec![0], ttl_ms, ..spec };
        let make = {
            let spec = spec.clone();
            move || TopN::new(spec.clone(), schema()).unwrap()
        };
        let (mut whole, mut workers) = (make(), Workers::new(vec![vec![0]], make));
        let mut oracle = Oracle::default();
        for (number, (epoch, event)) in epochs.iter().zip(&events).enumerate() {
            // So far apart that idle ones are looked for in each epoch, after a restart or not.
            let now_ms = 5 * number as i64;
            let context = EpochContext { now_ms, ..context(0, i64::MIN, i64::MIN) };
            let rows: Vec<(Row, i64)> = epoch
                .iter()
                .flat_map(|rows| weigh(rows, &mut oracle, spec.updating))
                .collect();
            let (mut expected, mut got) = (HashMap::new(), HashMap::new());
            let applied = apply_at(&mut whole, vec![batch(&rows, true)], &context);
            accumulate(&mut expected, read(&applied.rows));
            let output = workers.apply(&[vec![batch(&rows, true)]], &context).unwrap();
            accumulate(&mut got, read(&output.rows));
            prop_assert_eq!(got, expected);
            let bytes = workers.operators().iter().map(|part| part.row_bytes);
            prop_assert_eq!(bytes.sum::<usize>(), whole.row_bytes);
            workers.meet(event);
        }
    }

    /// Deletions may come before their rows, windows close, and numbers are given again.
    #[test]
    fn restarts_leave_debts_and_windows_as_they_are(
        (updating, is_windowed) in any::<(bool, bool)>(),
        epochs in {
            let row = (1..4i64, 0..3i64, 0..2i64, prop::bool::weighted(0.4));
            prop::collection::vec((prop::collection::vec(row, 0..6), 0..15i64), 1..9)
        },
        events in prop::collection::vec(events(), 9),
    ) {
        let window_end = is_windowed.then_some(0);
        let spec = TopNSpec { updating, window_end, rank_output: true, ..spec(2) };
        let make = move || TopN::new(spec.clone(), windowed_schema()).unwrap();
        let (mut whole, mut workers) = (make(), Workers::new(vec![vec![0]], make));
        let mut watermark = 100;
        for ((rows, rise), event) in epochs.into_iter().zip(&events) {
            let at = |(window, value, id, deletes): (i64, i64, i64, bool)| {
                let end = if is_windowed { (watermark / 10 + window) * 10 } else { window };
                (row(end, value, id).0, if updating && deletes { -1 } else { 1 })
            };
            let rows = windowed(&rows.into_iter().map(at).collect::<Vec<_>>(), true);
            let context = context(0, watermark, watermark + rise);
            let expected = apply_at(&mut whole, vec![rows.clone()], &context);
            let got = workers.apply(&[vec![rows]], &context).unwrap();
            let late = |output: &Output| output.late.iter().map(|l| l.rows.len()).sum::<usize>();
            prop_assert_eq!(late(&got), late(&expected));
            let (mut expected_view, mut got_view) = (HashMap::new(), HashMap::new());
            accumulate(&mut expected_view, read(&expected.rows));
            accumulate(&mut got_view, read(&got.rows));
            prop_assert_eq!(got_view, expected_view);
            watermark += rise;
            workers.meet(event);
        }
        let context = context(0, watermark, i64::MAX);
        let expected = read(&apply_at(&mut whole, vec![], &context).rows);
        let got = workers.apply(&[vec![]], &context).unwrap();
        prop_assert_eq!(read(&got.rows).len(), expected.len());
    }
}
