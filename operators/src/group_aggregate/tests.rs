use super::*;
use crate::aggregate::{AggregateFunction, Retraction};
use crate::combine::{Combiner, When};
use crate::oracle::{
    self, Event, Fact, KEY, NAME, Workers, calls, calls_of_parts, events, facts, row, shown,
};
use crate::snapshot::SnapshotTable;
use crate::time::Watermark;
use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Action {
    Insert(Fact),
    /// Deletes one of the rows that are there.
    Delete(prop::sample::Index),
}

fn actions(updating: bool) -> impl Strategy<Value = Vec<Action>> {
    let insert = facts(0..10).prop_map(Action::Insert);
    let delete = any::<prop::sample::Index>().prop_map(Action::Delete);
    let action = prop_oneof![2 => insert, if updating { 2 } else { 0 } => delete];
    prop::collection::vec(action, 0..40)
}

fn spec(keys: Vec<usize>, updating: bool, emit_retractions: bool) -> GroupAggregateSpec {
    GroupAggregateSpec {
        keys,
        aggregates: calls(),
        updating,
        emit_retractions,
        arrival: None,
        ttl_ms: None,
    }
}

fn workers(spec: GroupAggregateSpec) -> Workers<GroupAggregate> {
    let (keys, same) = (vec![spec.keys.clone()], spec.clone());
    let workers =
        Workers::new(keys, move || GroupAggregate::new(spec.clone(), oracle::schema()).unwrap());
    match same.obstacle() {
        Some(_) => workers,
        None => workers
            .combining(|| Combiner::of_groups(&same, &oracle::schema(), When::Always).unwrap()),
    }
}

/// An epoch: what changes, how that is cut into batches, which of them are combined before the
/// exchange, and what happens after it.
type Step = (Vec<Action>, usize, Vec<bool>, Event);

/// Rows and deletions that came so far, by group.
type History = BTreeMap<Option<u8>, Vec<(Fact, i64)>>;

fn view(calls: &[AggregateCall], history: &History) -> BTreeMap<String, Vec<String>> {
    let live = history.iter().filter(|(_, rows)| rows.iter().map(|(_, w)| w).sum::<i64>() > 0);
    live.map(|(key, rows)| row(calls, *key, rows)).map(|row| (row[0].clone(), row)).collect()
}

/// Applies emitted rows to a view; each old row must be there, and stand before the new one.
fn follow(
    view: &mut BTreeMap<String, Vec<String>>,
    rows: Vec<(Vec<String>, i64)>,
    emit_retractions: bool,
) {
    let mut open: Option<String> = None;
    for (row, weight) in rows {
        let key = row[0].clone();
        if weight < 0 {
            assert_eq!(view.remove(&key).as_ref(), Some(&row), "an old row that was not there");
            open = Some(key);
        } else {
            let replaced = view.insert(key.clone(), row.clone());
            assert!(replaced.is_none() || !emit_retractions, "two rows for {key}");
            assert!(replaced.as_ref() != Some(&row), "a row that did not change");
            assert!(replaced.is_none() || open.take() != Some(key));
        }
    }
}

fn check(spec: GroupAggregateSpec, epochs: Vec<Step>) -> Result<(), TestCaseError> {
    let mut workers = workers(spec.clone());
    let (mut live, mut history) = (Vec::<Fact>::new(), History::new());
    let mut followed = BTreeMap::new();
    for (actions, batch, is_combined, event) in epochs {
        let mut rows = Vec::new();
        for action in actions {
            match action {
                Action::Insert(fact) => {
                    live.push(fact.clone());
                    rows.push((fact, 1));
                }
                Action::Delete(_) if live.is_empty() => {}
                Action::Delete(which) => {
                    rows.push((live.swap_remove(which.index(live.len())), -1));
                }
            }
        }
        for row in &rows {
            let key = if spec.keys.is_empty() { None } else { row.0.key };
            history.entry(key).or_default().push(row.clone());
        }
        let batches = oracle::batches(&rows, batch);
        let output = match spec.obstacle() {
            Some(_) => workers.step(&batches, Watermark::MIN),
            None => workers.step_combining(&batches, Watermark::MIN, &is_combined),
        };
        let output = output.unwrap();
        let mut rows = shown(&output.rows);
        if spec.keys.is_empty() {
            rows.iter_mut().for_each(|(row, _)| row.insert(0, String::new()));
        }
        follow(&mut followed, rows, spec.emit_retractions);
        let mut expected = view(&spec.aggregates, &history);
        if spec.keys == [NAME] {
            let named = expected.into_values().map(|mut row| {
                row[0] = row[0].parse().map_or(String::new(), oracle::text);
                (row[0].clone(), row)
            });
            expected = named.collect();
        }
        prop_assert_eq!(&followed, &expected);
        // A deletion takes a row that must be there after a restart, too.
        workers.meet(&event);
    }
    Ok(())
}

fn epochs(updating: bool) -> impl Strategy<Value = Vec<Step>> {
    let is_combined = prop::collection::vec(any::<bool>(), 0..4);
    prop::collection::vec((actions(updating), 1usize..50, is_combined, events()), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn the_view_is_the_query_over_the_rows_so_far(
        epochs in epochs(true), emit_retractions in any::<bool>(),
    ) {
        check(spec(vec![KEY], true, emit_retractions), epochs)?;
    }

    #[test]
    fn the_view_of_rows_that_only_come_is_the_same_query(epochs in epochs(false)) {
        check(spec(vec![KEY], false, true), epochs)?;
    }

    #[test]
    fn a_global_aggregate_is_one_row_as_long_as_there_are_rows(epochs in epochs(true)) {
        check(spec(vec![], true, true), epochs)?;
    }

    #[test]
    fn rows_that_were_combined_before_the_exchange_count_as_they_do_themselves(
        (updating, aggregates, epochs) in any::<bool>().prop_flat_map(|updating| {
            (Just(updating), calls_of_parts(Retraction::of(updating)), epochs(updating))
        }),
        keys in prop::sample::select(vec![vec![], vec![KEY], vec![NAME]]),
        emit_retractions in any::<bool>(),
    ) {
        let spec = spec(keys, updating, emit_retractions);
        check(GroupAggregateSpec { aggregates, ..spec }, epochs)?;
    }
}

fn count_per_key(ttl_ms: Option<i64>) -> GroupAggregate {
    let mut spec = GroupAggregateSpec { ttl_ms, ..spec(vec![KEY], false, true) };
    spec.aggregates.truncate(1);
    GroupAggregate::new(spec, oracle::schema()).unwrap()
}

fn apply(operator: &mut GroupAggregate, keys: &[u8], now_ms: i64) -> Vec<(String, i64)> {
    let fact = |&k: &u8| (Fact { key: Some(k), time: 0, value: None, text: None, keep: None }, 1);
    let rows: Vec<_> = keys.iter().map(fact).collect();
    let context = EpochContext {
        epoch: 0,
        now_ms,
        watermark_before: Watermark::MIN,
        watermark_after: Watermark::MIN,
    };
    let mut output = Output::default();
    operator.apply(vec![oracle::batches(&rows, 100)], &context, &mut output).unwrap();
    shown(&output.rows).into_iter().map(|(row, weight)| (row.join(" "), weight)).collect()
}

fn expect(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter().map(|&(row, weight)| (row.to_owned(), weight)).collect()
}

#[test]
fn an_epoch_shows_each_change_once_the_old_row_right_before_the_new() {
    let mut operator = count_per_key(None);
    assert_eq!(apply(&mut operator, &[1, 2, 1], 0), expect(&[("1 2", 1), ("2 1", 1)]));
    let second = apply(&mut operator, &[3, 2, 2, 1], 0);
    let expected = [("3 1", 1), ("2 1", -1), ("2 3", 1), ("1 2", -1), ("1 3", 1)];
    assert_eq!(second, expect(&expected));
}

#[test]
fn nothing_in_gives_nothing_out() {
    let mut operator = GroupAggregate::new(spec(vec![], true, true), oracle::schema()).unwrap();
    assert_eq!(apply(&mut operator, &[], 0), []);
}

#[test]
fn a_key_that_is_idle_beyond_its_time_to_live_starts_anew() {
    let mut operator = count_per_key(Some(1000));
    apply(&mut operator, &[1, 2], 0);
    assert_eq!(apply(&mut operator, &[2], 900), expect(&[("2 1", -1), ("2 2", 1)]));
    let third = apply(&mut operator, &[1, 2], 1500);
    assert_eq!(third, expect(&[("1 1", 1), ("2 2", -1), ("2 3", 1)]));
}

#[test]
fn a_time_to_live_goes_on_through_a_restart() {
    let mut before = count_per_key(Some(1000));
    apply(&mut before, &[1, 2], 0);
    apply(&mut before, &[2], 900);
    let snapshot = before.snapshot(SnapshotScope::Changed).unwrap();
    let mut after = count_per_key(Some(1000));
    after.restore(&snapshot).unwrap();
    let third = apply(&mut after, &[1, 2], 1500);
    assert_eq!(third, expect(&[("1 1", 1), ("2 2", -1), ("2 3", 1)]));
    let idle = apply(&mut after, &[], 5000);
    assert_eq!(idle, []);
    let changed = after.snapshot(SnapshotScope::Changed).unwrap();
    assert_eq!(keys_of(&changed, |table| table.upserts.as_ref()), BTreeSet::new());
    assert_eq!(keys_of(&changed, |table| table.deletes.as_ref()), BTreeSet::from([1, 2]));
}

/// The keys in some of a snapshot's batches, each of which must be there once.
fn keys_of(
    snapshot: &Snapshot,
    rows: impl Fn(&SnapshotTable) -> Option<&RecordBatch>,
) -> BTreeSet<i64> {
    let mut keys = BTreeSet::new();
    for rows in snapshot.tables.iter().filter_map(rows) {
        let column = rows.column(1).as_primitive::<Int64Type>();
        assert!(column.values().iter().all(|&key| keys.insert(key)), "a key is there twice");
    }
    keys
}

#[test]
fn a_snapshot_has_the_groups_that_changed_and_no_others() {
    let fields = ["key", "value"].map(|name| Field::new(name, DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let sum = AggregateCall {
        function: AggregateFunction::Sum,
        argument: Some(1),
        filter: None,
        distinct: false,
        input_type: DataType::Int64,
        output_type: DataType::Int64,
        name: "sum".into(),
    };
    let spec = GroupAggregateSpec { aggregates: vec![sum], ..spec(vec![0], true, true) };
    let mut operator = GroupAggregate::new(spec, schema.clone()).unwrap();
    let context = EpochContext {
        epoch: 0,
        now_ms: 0,
        watermark_before: Watermark::MIN,
        watermark_after: Watermark::MIN,
    };
    let apply = |operator: &mut GroupAggregate, keys: Vec<i64>, weight: i64| {
        let (ones, weights) = (vec![1; keys.len()], vec![weight; keys.len()]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(keys)), Arc::new(Int64Array::from(ones))];
        let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let rows = Batch::new(rows, Some(weights.into()));
        operator.apply(vec![vec![rows]], &context, &mut Output::default()).unwrap();
    };
    apply(&mut operator, (0..100_000).collect(), 1);
    assert_eq!(operator.snapshot(SnapshotScope::Changed).unwrap().rows(), 100_000);
    let every = |first: usize| (first as i64..100_000).step_by(200);
    apply(&mut operator, every(0).collect(), 1);
    apply(&mut operator, every(100).collect(), -1);
    // Keys that no snapshot has seen need not be deleted from any.
    apply(&mut operator, vec![-1], 1);
    apply(&mut operator, vec![-1], -1);
    let changed = operator.snapshot(SnapshotScope::Changed).unwrap();
    assert_eq!(keys_of(&changed, |table| table.upserts.as_ref()), every(0).collect());
    assert_eq!(keys_of(&changed, |table| table.deletes.as_ref()), every(100).collect());
    assert_eq!(changed.rows(), 1000);
}
