//! For tests: random rows, what SQL says of them computed the slow way, and a few workers that
//! checkpoint and restart.

use crate::aggregate::{AggregateCall, AggregateFunction, Retraction};
use crate::batch::Batch;
use crate::combine::Combiner;
use crate::key::{KeyGroup, hash_keys};
use crate::operator::{EpochContext, LateRows, Operator, OperatorError, Output};
use crate::snapshot::{Link, Snapshot, SnapshotScope, merge};
use crate::time::{Epoch, Watermark};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) key: Option<u8>,
    pub(crate) time: i64,
    pub(crate) value: Option<i8>,
    pub(crate) text: Option<u8>,
    pub(crate) keep: Option<bool>,
}

/// The columns of [`Fact`]s: key, time, value (as integer, decimal and float), text, filter, and
/// the key as a string.
pub(crate) const KEY: usize = 0;
pub(crate) const TIME: usize = 1;
const VALUE: usize = 2;
const DECIMAL: usize = 3;
const FLOAT: usize = 4;
const TEXT: usize = 5;
const KEEP: usize = 6;
/// The key as a string.
pub(crate) const NAME: usize = 7;

pub(crate) fn facts(times: std::ops::Range<i64>) -> impl Strategy<Value = Fact> {
    let value = prop::option::weighted(0.8, -5i8..6);
    let key = prop::option::weighted(0.9, 0u8..6);
    (key, times, value, prop::option::of(0u8..4), prop::option::of(any::<bool>()))
        .prop_map(|(key, time, value, text, keep)| Fact { key, time, value, text, keep })
}

fn decimal() -> DataType {
    DataType::Decimal128(10, 2)
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("time", crate::window::bound_type(), true),
        Field::new("value", DataType::Int64, true),
        Field::new("decimal", decimal(), true),
        Field::new("float", DataType::Float64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("keep", DataType::Boolean, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

pub(crate) fn batch(rows: &[(Fact, i64)]) -> Batch {
    let facts = || rows.iter().map(|(fact, _)| fact);
    let values = || facts().map(|f| f.value);
    let decimals: Decimal128Array = values().map(|v| v.map(i128::from)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(facts().map(|f| f.key.map(i64::from)).collect::<Int64Array>()),
        Arc::new(TimestampMillisecondArray::from_iter_values(facts().map(|f| f.time))),
        Arc::new(values().map(|v| v.map(i64::from)).collect::<Int64Array>()),
        Arc::new(decimals.with_data_type(decimal())),
        Arc::new(values().map(|v| v.map(f64::from)).collect::<Float64Array>()),
        Arc::new(facts().map(|f| f.text.map(text)).collect::<StringArray>()),
        Arc::new(facts().map(|f| f.keep).collect::<BooleanArray>()),
        Arc::new(facts().map(|f| f.key.map(text)).collect::<StringArray>()),
    ];
    let columns = RecordBatch::try_new(schema(), columns).unwrap();
    let is_growth = rows.iter().all(|&(_, weight)| weight == 1);
    Batch::new(columns, (!is_growth).then(|| rows.iter().map(|&(_, weight)| weight).collect()))
}

/// Cuts rows into batches of the given length.
pub(crate) fn batches(rows: &[(Fact, i64)], length: usize) -> Vec<Batch> {
    rows.chunks(length.max(1)).map(batch).collect()
}

/// The text of a number.
pub(crate) fn text(n: u8) -> String {
    "x".repeat(usize::from(n) + 1) // an empty string would look like NULL
}

fn call(
    function: AggregateFunction,
    argument: Option<usize>,
    output_type: DataType,
) -> AggregateCall {
    let kind = |column: usize| schema().field(column).data_type().clone();
    AggregateCall {
        name: format!("{function:?}"),
        function,
        argument,
        filter: None,
        distinct: false,
        input_type: argument.map_or(DataType::Null, kind),
        output_type,
    }
}

/// One of everything.
pub(crate) fn calls() -> Vec<AggregateCall> {
    use AggregateFunction::*;
    let int = DataType::Int64;
    let list = DataType::List(Arc::new(Field::new("item", int.clone(), true)));
    let entries = Field::new(
        "entries",
        DataType::Struct(
            vec![
                Field::new("keys", int.clone(), false),
                Field::new("values", DataType::Int32, false),
            ]
            .into(),
        ),
        false,
    );
    let map = DataType::Map(Arc::new(entries), false);
    let distinct = |call| AggregateCall { distinct: true, ..call };
    let filtered = |call| AggregateCall { filter: Some(KEEP), ..call };
    let list_agg = || call(ListAgg { separator: "-".into() }, Some(TEXT), DataType::Utf8);
    vec![
        call(CountRows, None, int.clone()),
        call(Count, Some(VALUE), int.clone()),
        filtered(call(CountRows, None, int.clone())),
        distinct(call(Count, Some(VALUE), int.clone())),
        call(Sum, Some(VALUE), int.clone()),
        filtered(call(Sum, Some(VALUE), int.clone())),
        distinct(call(Sum, Some(VALUE), int.clone())),
        call(Sum, Some(DECIMAL), DataType::Decimal128(38, 2)),
        call(Sum, Some(FLOAT), DataType::Float64),
        call(Avg, Some(VALUE), int.clone()),
        call(Min, Some(VALUE), int.clone()),
        call(Max, Some(FLOAT), DataType::Float64),
        call(Min, Some(DECIMAL), decimal()),
        filtered(call(Max, Some(TEXT), DataType::Utf8)),
        call(First, Some(TEXT), DataType::Utf8),
        call(Last, Some(VALUE), int.clone()),
        list_agg(),
        distinct(list_agg()),
        call(ArrayAgg, Some(VALUE), list),
        call(Collect, Some(VALUE), map),
        call(VarPop, Some(VALUE), int),
    ]
}

/// The result of an aggregate over rows and deletions in order of arrival, as text.
fn result(call: &AggregateCall, rows: &[(Fact, i64)]) -> String {
    use AggregateFunction::*;
    let filtered: Vec<_> =
        rows.iter().filter(|(f, _)| call.filter.is_none() || f.keep == Some(true)).collect();
    if call.function == CountRows {
        return filtered.iter().map(|(_, weight)| weight).sum::<i64>().to_string();
    }
    // The values that are left: a deletion takes the earliest equal one.
    let mut values: Vec<Option<i64>> = Vec::new();
    for (fact, weight) in filtered {
        let value = match call.argument {
            Some(TEXT) => fact.text.map(i64::from),
            _ => fact.value.map(i64::from),
        };
        if *weight > 0 {
            values.push(value);
        } else {
            let place = values.iter().position(|v| *v == value).expect("only what is there goes");
            values.remove(place);
        }
    }
    let all = values.clone();
    let mut values: Vec<i64> = values.into_iter().flatten().collect();
    if call.distinct {
        let mut seen = std::collections::HashSet::new();
        values.retain(|v| seen.insert(*v));
    }
    let show = |v: i64| match call.argument {
        Some(TEXT) => text(v as u8),
        Some(DECIMAL) => {
            let sign = if v < 0 { "-" } else { "" };
            format!("{sign}{}.{:02}", v.abs() / 100, v.abs() % 100)
        }
        Some(FLOAT) => format!("{v}.0"),
        _ => v.to_string(),
    };
    let one = |v: Option<i64>| v.map(show).unwrap_or_default();
    let (count, sum) = (values.len() as i64, values.iter().sum::<i64>());
    let some = |v: i64| (count > 0).then_some(v);
    match call.function {
        Count => count.to_string(),
        Sum => one(some(sum)),
        Avg => one((count > 0).then(|| sum / count)),
        Min => one(values.iter().min().copied()),
        Max => one(values.iter().max().copied()),
        First => one(values.first().copied()),
        Last => one(values.last().copied()),
        ListAgg { .. } => values.into_iter().map(show).collect::<Vec<_>>().join("-"),
        ArrayAgg if all.is_empty() => String::new(),
        ArrayAgg => {
            format!("[{}]", all.into_iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Collect => {
            let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
            values.iter().for_each(|v| *counts.entry(*v).or_default() += 1);
            let entries = counts.iter().map(|(v, n)| format!("{v}: {n}"));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        VarPop => {
            let squares = values.iter().map(|v| v * v).sum::<i64>();
            one((count > 0).then(|| (count * squares - sum * sum) / (count * count)))
        }
        _ => unreachable!("not one of the calls"),
    }
}

/// Some of those that may be computed in parts, perhaps none.
pub(crate) fn calls_of_parts(retraction: Retraction) -> impl Strategy<Value = Vec<AggregateCall>> {
    let all: Vec<_> = calls().into_iter().filter(|call| call.is_of_parts(retraction)).collect();
    let most = all.len();
    prop::sample::subsequence(all, 0..=most)
}

/// The result row of a group: its key, and these aggregates.
pub(crate) fn row(calls: &[AggregateCall], key: Option<u8>, rows: &[(Fact, i64)]) -> Vec<String> {
    let key = key.map(|k| k.to_string()).unwrap_or_default();
    [key].into_iter().chain(calls.iter().map(|call| result(call, rows))).collect()
}

/// The rows of batches as text, with their weights.
pub(crate) fn shown(batches: &[Batch]) -> Vec<(Vec<String>, i64)> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.len() {
            let cell = |c: &ArrayRef| array_value_to_string(c, row).unwrap();
            let cells = batch.columns().columns().iter().map(cell).collect();
            rows.push((cells, batch.weight(row)));
        }
    }
    rows
}

/// So many workers there are at most, as [`events`] has it.
const WORKERS_MAX: usize = 4;

/// Some workers that run one operator, each its key groups.
pub(crate) struct Workers<O> {
    make: Box<dyn Fn() -> O>,
    /// Key columns, by port.
    keys: Vec<Vec<usize>>,
    operators: Vec<O>,
    /// What combines rows before they are exchanged, by the worker that reads them.
    combiners: Vec<Combiner>,
    /// What a restart reads: the snapshots of all workers, the oldest first.
    chain: Vec<Snapshot>,
    epoch: Epoch,
    watermark: Watermark,
}

impl<O: Operator> Workers<O> {
    /// One worker, with an operator without state.
    pub(crate) fn new(keys: Vec<Vec<usize>>, make: impl Fn() -> O + 'static) -> Self {
        Workers {
            operators: vec![make()],
            make: Box::new(make),
            keys,
            combiners: Vec::new(),
            chain: Vec::new(),
            epoch: 0,
            watermark: Watermark::MIN,
        }
    }

    /// The same with combiners in front of the exchange; see [`Workers::step_combining`].
    pub(crate) fn combining(mut self, combiner: impl Fn() -> Combiner) -> Self {
        self.combiners = (0..WORKERS_MAX).map(|_| combiner()).collect();
        self.keys.push(self.combiners[0].keys());
        self
    }

    pub(crate) fn watermark(&self) -> Watermark {
        self.watermark
    }

    pub(crate) fn operators(&self) -> &[O] {
        &self.operators
    }

    /// Applies an epoch to an operator with one input.
    pub(crate) fn step(
        &mut self,
        batches: &[Batch],
        watermark: Watermark,
    ) -> Result<Output, OperatorError> {
        let context = self.next_epoch(watermark);
        self.apply(&[batches.to_vec()], &context)
    }

    fn next_epoch(&mut self, watermark: Watermark) -> EpochContext {
        let context = EpochContext {
            epoch: self.epoch,
            now_ms: 0,
            watermark_before: self.watermark,
            watermark_after: self.watermark.max(watermark),
        };
        (self.epoch, self.watermark) = (self.epoch + 1, context.watermark_after);
        context
    }

    /// The same, where each worker has read some of the batches and those of `is_combined` leave it
    /// combined. One batch after the other stands for the workers and for that, again and again.
    pub(crate) fn step_combining(
        &mut self,
        batches: &[Batch],
        watermark: Watermark,
        is_combined: &[bool],
    ) -> Result<Output, OperatorError> {
        let combines = |n: usize| is_combined.get(n % is_combined.len().max(1)) == Some(&true);
        let (mut rows, mut partials) = (Vec::new(), Vec::new());
        let readers = self.operators.len();
        for (reader, combiner) in self.combiners.iter_mut().take(readers).enumerate() {
            let read = batches.iter().enumerate().filter(|(n, _)| n % readers == reader);
            let (taken, passed): (Vec<_>, Vec<_>) = read.partition(|&(n, _)| combines(n));
            let taken: Vec<Batch> = taken.into_iter().map(|(_, batch)| batch.clone()).collect();
            let combined = combiner.combine(&taken, self.watermark, self.epoch)?;
            rows.extend(passed.into_iter().map(|(_, batch)| batch.clone()));
            rows.extend(combined.rows);
            partials.extend(combined.partials);
        }
        let context = self.next_epoch(watermark);
        self.apply(&[rows, partials], &context)
    }

    /// Applies an epoch, each row on the worker that owns its key.
    pub(crate) fn apply(
        &mut self,
        inputs: &[Vec<Batch>],
        context: &EpochContext,
    ) -> Result<Output, OperatorError> {
        let workers = self.operators.len();
        let mut output = Output::default();
        for (worker, operator) in self.operators.iter_mut().enumerate() {
            let own = |(batches, keys): (&Vec<Batch>, &Vec<usize>)| -> Vec<Batch> {
                batches.iter().map(|batch| part(batch, keys, worker, workers)).collect()
            };
            operator.apply(
                inputs.iter().zip(&self.keys).map(own).collect(),
                context,
                &mut output,
            )?;
        }
        Ok(output)
    }

    fn checkpoint(&mut self, scope: SnapshotScope) {
        if scope == SnapshotScope::Full {
            self.chain.clear();
        }
        for operator in &mut self.operators {
            let snapshot = operator.snapshot(scope).unwrap();
            let once = merge(std::slice::from_ref(&snapshot), Link::Delta).unwrap();
            assert_eq!(once.rows(), snapshot.rows(), "each key has one entry and one deletion");
            self.chain.push(snapshot);
            let again = operator.snapshot(SnapshotScope::Changed).unwrap();
            assert!(again.is_empty(), "nothing has changed since: {again:?}");
        }
    }

    /// Merges a part of the chain, as it is done in the background.
    fn merge(&mut self, Merge { from, to, link }: &Merge) {
        let links = self.chain.len() + 1;
        let (from, to) = (from.index(links), to.index(links));
        let (from, to) = (from.min(to), from.max(to));
        let link = if from == 0 { *link } else { Link::Delta };
        let run: Vec<Snapshot> = self.chain.drain(from..to).collect();
        self.chain.insert(from, merge(&run, link).unwrap());
    }

    /// Starts anew from the chain, on another number of workers.
    fn restart(&mut self, workers: usize) {
        self.hold_base_against_state();
        let restored = |worker: usize| {
            let mut operator = (self.make)();
            for snapshot in &self.chain {
                let range = KeyGroup::of_worker(worker, workers);
                operator.restore(&snapshot.of_key_groups(&range).unwrap()).unwrap();
            }
            operator
        };
        for worker in 0..workers {
            // Asked of another one, for to be asked may do something to an operator.
            let changed = restored(worker).snapshot(SnapshotScope::Changed).unwrap();
            assert!(changed.is_empty(), "what was restored is no news: {changed:?}");
        }
        self.operators = (0..workers).map(restored).collect();
    }

    /// A base holds nothing that the workers do not hold.
    fn hold_base_against_state(&mut self) {
        let held = self.operators.iter_mut().map(|o| o.snapshot(SnapshotScope::Full).unwrap());
        let mut all: Vec<Snapshot> = held.collect();
        let held = merge(&all, Link::Base).unwrap().rows();
        all.insert(0, merge(&self.chain, Link::Base).unwrap());
        assert_eq!(merge(&all, Link::Base).unwrap().rows(), held, "{all:?}");
    }

    pub(crate) fn state_bytes(&self) -> usize {
        self.operators.iter().map(|operator| operator.state_bytes()).sum()
    }

    /// Does what happens between two epochs.
    pub(crate) fn meet(&mut self, event: &Event) {
        let (scope, merges, workers) = match event {
            Event::Nothing => return,
            Event::Checkpoint(scope, merges) => (scope, merges, None),
            Event::Restart(scope, merges, workers) => (scope, merges, Some(*workers)),
        };
        self.checkpoint(*scope);
        merges.iter().for_each(|run| self.merge(run));
        if let Some(workers) = workers {
            self.restart(workers);
        }
    }
}

/// The rows of a batch that a worker owns.
fn part(batch: &Batch, keys: &[usize], worker: usize, workers: usize) -> Batch {
    let mut hashes = Vec::new();
    hash_keys(batch.columns(), keys, &mut hashes);
    let is_own = |row: &u32| KeyGroup::of(hashes[*row as usize]).owner(workers) == worker;
    let rows = (0..batch.len() as u32).filter(is_own);
    batch.take(&UInt32Array::from_iter_values(rows)).unwrap()
}

/// The times of late rows.
pub(crate) fn late_times(late: &[LateRows]) -> Vec<i64> {
    let mut times = Vec::new();
    for rows in late {
        let column = rows.rows.column(TIME);
        times.extend(column.as_primitive::<arrow::datatypes::TimestampMillisecondType>().values());
    }
    times.sort_unstable();
    times
}

/// What happens between two epochs.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Nothing,
    /// A checkpoint, after which parts of the chain are merged.
    Checkpoint(SnapshotScope, Vec<Merge>),
    /// The same, and a start from it on so many workers.
    Restart(SnapshotScope, Vec<Merge>, usize),
}

/// A run of a chain that is merged.
#[derive(Clone, Debug)]
pub(crate) struct Merge {
    from: prop::sample::Index,
    to: prop::sample::Index,
    link: Link,
}

pub(crate) fn events() -> impl Strategy<Value = Event> {
    let scope = || prop_oneof![1 => Just(SnapshotScope::Full), 4 => Just(SnapshotScope::Changed)];
    let place = any::<prop::sample::Index>;
    let link = prop_oneof![Just(Link::Base), Just(Link::Delta)];
    let merge = (place(), place(), link).prop_map(|(from, to, link)| Merge { from, to, link });
    let merges = prop::collection::vec(merge, 0..3);
    let restart = (scope(), merges.clone(), 1..=WORKERS_MAX);
    prop_oneof![
        2 => Just(Event::Nothing),
        2 => (scope(), merges).prop_map(|(scope, merges)| Event::Checkpoint(scope, merges)),
        1 => restart.prop_map(|(scope, merges, workers)| Event::Restart(scope, merges, workers)),
    ]
}
