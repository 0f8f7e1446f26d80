//! For tests: random rows, what SQL says of them computed the slow way, and a few workers that
//! checkpoint and restart.

use crate::aggregate::{AggregateCall, AggregateFunction};
use crate::batch::Batch;
use crate::key::{KeyGroup, hash_keys};
use crate::operator::{
    EpochContext, LateRows, Operator, OperatorError, Output, Snapshot, SnapshotScope, SnapshotTable,
};
use crate::time::{Epoch, Watermark};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt8Type};
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

fn text(n: u8) -> String {
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

/// The result row of a group: its key, and its aggregates.
pub(crate) fn row(key: Option<u8>, rows: &[(Fact, i64)]) -> Vec<String> {
    let key = key.map(|k| k.to_string()).unwrap_or_default();
    [key].into_iter().chain(calls().iter().map(|call| result(call, rows))).collect()
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

/// Makes an operator without state.
type Make = Box<dyn Fn() -> Box<dyn Operator>>;

/// Some workers that run one operator, each its key groups.
pub(crate) struct Workers {
    make: Make,
    keys: Vec<usize>,
    operators: Vec<Box<dyn Operator>>,
    /// What a restart reads: a full snapshot of all workers, then the changes.
    log: Vec<Snapshot>,
    epoch: Epoch,
    watermark: Watermark,
}

impl Workers {
    pub(crate) fn new(keys: Vec<usize>, make: Make) -> Self {
        let operators = vec![make()];
        Workers { make, keys, operators, log: Vec::new(), epoch: 0, watermark: Watermark::MIN }
    }

    pub(crate) fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// Applies an epoch, each row on the worker that owns its key.
    pub(crate) fn step(
        &mut self,
        batches: &[Batch],
        watermark: Watermark,
    ) -> Result<Output, OperatorError> {
        let context = EpochContext {
            epoch: self.epoch,
            now_ms: 0,
            watermark_before: self.watermark,
            watermark_after: self.watermark.max(watermark),
        };
        (self.epoch, self.watermark) = (self.epoch + 1, context.watermark_after);
        let workers = self.operators.len();
        let mut output = Output::default();
        for (worker, operator) in self.operators.iter_mut().enumerate() {
            let mut own = Vec::new();
            for batch in batches {
                let mut hashes = Vec::new();
                hash_keys(batch.columns(), &self.keys, &mut hashes);
                let rows = (0..batch.len() as u32)
                    .filter(|&row| KeyGroup::of(hashes[row as usize]).owner(workers) == worker);
                own.push(batch.take(&UInt32Array::from_iter_values(rows))?);
            }
            operator.apply(vec![own], &context, &mut output)?;
        }
        Ok(output)
    }

    pub(crate) fn checkpoint(&mut self, scope: SnapshotScope) {
        if scope == SnapshotScope::Full {
            self.log.clear();
        }
        for operator in &mut self.operators {
            self.log.push(operator.snapshot(scope).unwrap());
        }
    }

    /// Starts anew from the last checkpoint, on another number of workers.
    pub(crate) fn restart(&mut self, workers: usize) {
        self.operators = (0..workers).map(|_| (self.make)()).collect();
        for (worker, operator) in self.operators.iter_mut().enumerate() {
            for snapshot in &self.log {
                operator.restore(&owned(snapshot, worker, workers)).unwrap();
            }
        }
    }

    pub(crate) fn state_bytes(&self) -> usize {
        self.operators.iter().map(|operator| operator.state_bytes()).sum()
    }
}

/// The part of a snapshot that a worker owns.
fn owned(snapshot: &Snapshot, worker: usize, workers: usize) -> Snapshot {
    let part = |rows: &RecordBatch| {
        let groups = rows.column(0).as_primitive::<UInt8Type>();
        let keep = |g: Option<u8>| g.map(|g| KeyGroup(g).owner(workers) == worker);
        let keep: BooleanArray = groups.iter().map(keep).collect();
        arrow::compute::filter_record_batch(rows, &keep).unwrap()
    };
    let tables = snapshot.tables.iter().map(|table| SnapshotTable {
        name: table.name.clone(),
        deletes: table.deletes.as_ref().map(part),
        upserts: table.upserts.as_ref().map(part),
    });
    Snapshot { tables: tables.collect() }
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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Nothing,
    Checkpoint(SnapshotScope),
    /// A checkpoint, and a start from it on so many workers.
    Restart(SnapshotScope, usize),
}

pub(crate) fn events() -> impl Strategy<Value = Event> {
    let scope = || prop_oneof![Just(SnapshotScope::Full), Just(SnapshotScope::Changed)];
    prop_oneof![
        2 => Just(Event::Nothing),
        1 => scope().prop_map(Event::Checkpoint),
        1 => (scope(), 1usize..4).prop_map(|(scope, workers)| Event::Restart(scope, workers)),
    ]
}

impl Workers {
    pub(crate) fn meet(&mut self, event: Event) {
        match event {
            Event::Nothing => {}
            // The first snapshot is always a full one, whatever it is called.
            Event::Checkpoint(scope) => self.checkpoint(scope),
            Event::Restart(scope, workers) => {
                self.checkpoint(scope);
                self.restart(workers);
            }
        }
    }
}
