//! What a checkpoint costs: bytes follow what changed, not what is held.
//!
//! Each step that keeps state is given a hundred thousand rows and saved, then one in a hundred of
//! them changes and it is saved again, as objects of a store. The second may have a twentieth of the
//! bytes of the first. Values are random, so that none of it is owed to how well rows in order
//! compress.

use super::object::{Snapshots, encode};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemill_operators::aggregate::{AggregateCall, AggregateFunction};
use tidemill_operators::group_aggregate::{GroupAggregate, GroupAggregateSpec};
use tidemill_operators::join::{Join, JoinKind, JoinSpec};
use tidemill_operators::top_n::{SortTerm, TopN, TopNSpec};
use tidemill_operators::window::WindowKind;
use tidemill_operators::window_aggregate::{WindowAggregate, WindowAggregateSpec};
use tidemill_operators::{Batch, EpochContext, Operator, Output, SnapshotScope, Watermark};

const ROWS: i64 = 100_000;
/// One in so many rows changes.
const CHANGED: usize = 100;
/// The changes may have one in so many bytes.
const BYTES: usize = 20;

const CONTEXT: EpochContext = EpochContext {
    epoch: 0,
    now_ms: 0,
    watermark_before: Watermark::MIN,
    watermark_after: Watermark::MIN,
};

/// Rows of a key, a value, and a time that is the same in all.
fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("value", DataType::Int64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]))
}

/// A number that has nothing to do with the ones beside it (SplitMix64; Steele, Lea and Flood 2014).
fn scattered(n: i64) -> i64 {
    let z = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 16) as i64
}

/// How rows are spread over keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// Each has one of its own.
    Many,
    /// All have the same.
    One,
}

/// What becomes of the changed rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// They are there once more.
    Again,
    /// They are taken back, and others come.
    Replaced,
}

/// The rows of these numbers; `round` makes other values of them.
fn rows(numbers: impl Iterator<Item = i64>, keys: Keys, round: i64, weight: i64) -> Batch {
    let numbers: Vec<i64> = numbers.collect();
    let key = |n: &i64| if keys == Keys::Many { scattered(*n) } else { 7 };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(numbers.iter().map(key))),
        Arc::new(Int64Array::from_iter_values(
            numbers.iter().map(|n| scattered(*n + round * ROWS)),
        )),
        Arc::new(TimestampMillisecondArray::from_iter_values(numbers.iter().map(|_| 0))),
    ];
    let columns = RecordBatch::try_new(schema(), columns).expect("columns of one length");
    let weights = (weight != 1).then(|| vec![weight; numbers.len()].into());
    Batch::new(columns, weights)
}

/// The bytes of the object that holds what changed in a step.
fn saved(operator: &mut dyn Operator) -> (usize, Duration) {
    let started = Instant::now();
    let changed = operator.snapshot(SnapshotScope::Changed).expect("a snapshot");
    let object = encode(&Snapshots::from([(1, changed)])).expect("an object");
    (object.len(), started.elapsed())
}

fn apply(operator: &mut dyn Operator, inputs: Vec<Vec<Batch>>) {
    operator.apply(inputs, &CONTEXT, &mut Output::default()).expect("applied");
}

/// Fails if saving the changes takes more than its share of bytes.
fn costs_what_changed(operator: &mut dyn Operator, ports: usize, keys: Keys, change: Change) {
    let all = || rows(0..ROWS, keys, 0, 1);
    apply(operator, vec![vec![all()]; ports]);
    let (full, full_took) = saved(operator);
    let some = || (0..ROWS).step_by(CHANGED);
    let changed = match change {
        Change::Again => vec![rows(some(), keys, 0, 1)],
        Change::Replaced => vec![rows(some(), keys, 0, -1), rows(some(), keys, 1, 1)],
    };
    apply(operator, vec![changed; ports]);
    let (changed, changed_took) = saved(operator);
    println!("{full} bytes in {full_took:?}, then {changed} in {changed_took:?}");
    assert!(full > 200_000, "{full} bytes are no test");
    assert!(changed * BYTES <= full, "{changed} bytes for a hundredth of {full}");
    let (nothing, _) = saved(operator);
    assert!(nothing < 100, "{nothing} bytes though nothing changed");
}

fn call(function: AggregateFunction, distinct: bool, output_type: DataType) -> AggregateCall {
    let (input_type, name) = (DataType::Int64, format!("{function:?}"));
    let argument = Some(1);
    AggregateCall { function, argument, filter: None, distinct, input_type, output_type, name }
}

fn multiset() -> DataType {
    let fields = [("keys", DataType::Int64), ("values", DataType::Int32)];
    let fields = fields.map(|(name, kind)| Field::new(name, kind, false));
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(fields.to_vec().into()), false)),
        false,
    )
}

fn group_aggregate(call: AggregateCall) -> GroupAggregate {
    let spec = GroupAggregateSpec {
        keys: vec![0],
        aggregates: vec![call],
        updating: true,
        emit_retractions: true,
        arrival: None,
        ttl_ms: None,
    };
    GroupAggregate::new(spec, schema()).expect("an operator")
}

#[test]
fn a_checkpoint_of_many_groups_costs_those_that_changed() {
    let mut sums = group_aggregate(call(AggregateFunction::Sum, false, DataType::Int64));
    costs_what_changed(&mut sums, 1, Keys::Many, Change::Again);
}

#[test]
fn a_checkpoint_of_a_group_costs_the_values_that_changed() {
    let count = call(AggregateFunction::Count, true, DataType::Int64);
    let calls = [
        count.clone(),
        call(AggregateFunction::Sum, true, DataType::Int64),
        call(AggregateFunction::Collect, false, multiset()),
        call(AggregateFunction::Min, false, DataType::Int64),
        call(AggregateFunction::Max, false, DataType::Int64),
    ];
    for call in calls {
        for change in [Change::Again, Change::Replaced] {
            costs_what_changed(&mut group_aggregate(call.clone()), 1, Keys::One, change);
        }
    }
    let spec = WindowAggregateSpec {
        window: WindowKind::Tumble { size_ms: 1000, offset_ms: 0 },
        zone: None,
        time: 2,
        keys: vec![0],
        aggregates: vec![count],
        updating: true,
        arrival: None,
    };
    let mut windows = WindowAggregate::new(spec, schema()).expect("an operator");
    costs_what_changed(&mut windows, 1, Keys::One, Change::Replaced);
}

/// A group of a hundred thousand values of which one changes is not written a second time.
#[test]
fn a_checkpoint_of_one_changed_value_costs_one_value() {
    for function in [AggregateFunction::Count, AggregateFunction::Min] {
        let distinct = function == AggregateFunction::Count;
        let mut groups = group_aggregate(call(function, distinct, DataType::Int64));
        apply(&mut groups, vec![vec![rows(0..ROWS, Keys::One, 0, 1)]]);
        let (full, _) = saved(&mut groups);
        apply(&mut groups, vec![vec![rows(ROWS..ROWS + 1, Keys::One, 0, 1)]]);
        let (one, _) = saved(&mut groups);
        assert!(one < 3_000 && one * 100 < full, "{one} bytes for one value of {full}");
    }
}

#[test]
fn a_checkpoint_of_a_join_costs_the_rows_that_changed() {
    let cases = [(false, Change::Replaced), (true, Change::Again)];
    for (only_grows, change) in cases {
        let (left_keys, right_keys) = (vec![0], vec![0]);
        let (kind, only_grows) = (JoinKind::Inner, [only_grows; 2]);
        let ttl_ms = [None, None];
        let spec = JoinSpec { kind, left_keys, right_keys, residual: None, only_grows, ttl_ms };
        let mut join = Join::new(spec, schema(), schema()).expect("an operator");
        costs_what_changed(&mut join, 2, Keys::Many, change);
    }
}

#[test]
fn a_checkpoint_of_a_ranking_costs_the_rows_that_changed() {
    for keys in [Keys::One, Keys::Many] {
        let spec = TopNSpec {
            partition: vec![0],
            order: vec![SortTerm { column: 1, descending: true, nulls_first: false }],
            first: 1,
            last: 10,
            rank_output: false,
            updating: true,
            ties_to_last: false,
            window_end: None,
            zone: None,
            arrival: None,
            ttl_ms: None,
        };
        let mut ranking = TopN::new(spec, schema()).expect("an operator");
        costs_what_changed(&mut ranking, 1, keys, Change::Replaced);
    }
}
