//! [`recompute`]: a plan's nodes, one after the other, over whole inputs.

use crate::bag::latest_by_key;
use crate::error::OracleError;
use crate::excluded::{Excluded, LateRows};
use crate::query::{Query, conform};
use crate::read::Reading;
use crate::standing::Standing;
use crate::{group, join, over, pattern, read, time_filter, top_n};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use tidemill_connectors::source::{ConnectorError, ReadSpec, Source};
use tidemill_formats::Changelog;
use tidemill_operators::Batch;
use tidemill_operators::map::Map;
use tidemill_operators::time::Watermark;
use tidemill_operators::unnest::Unnest;
use tidemill_sql::plan::{Node, NodeId, NodeKind, Plan, SinkPlan};

/// Opens a table for reading.
pub type Open<'a> = dyn Fn(&ReadSpec) -> Result<Box<dyn Source>, ConnectorError> + 'a;

/// What a table holds after the job.
#[derive(Clone, Debug)]
pub struct SinkRows {
    /// The sink's node in the plan.
    pub node: NodeId,
    /// The table's name.
    pub table: String,
    /// Its rows, in no order; of an upserted table the last one for each key.
    pub rows: RecordBatch,
}

/// The batch answer to one sink, or why there is none.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The sink's node in the plan.
    pub node: NodeId,
    /// The table's name.
    pub table: String,
    /// As of [`SinkRows::rows`]; an error names what has no meaning in batch.
    pub rows: Result<RecordBatch, String>,
}

/// What each sink of `plan` holds in the end, computed in batch over the whole input, without the
/// rows of `excluded`.
///
/// # Errors
/// If an input has no end or can't be read, or DataFusion has no counterpart for a node.
pub fn recompute(
    plan: &Plan,
    excluded: &Excluded,
    open: &Open<'_>,
) -> Result<Vec<SinkRows>, OracleError> {
    let standing = Standing { excluded: excluded.clone(), cut: None };
    let known = |Answer { node, table, rows }| match rows {
        Ok(rows) => Ok(SinkRows { node, table, rows }),
        Err(reason) => Err(OracleError::Unsupported(reason)),
    };
    answers(plan, &standing, open)?.into_iter().map(known).collect()
}

/// What each sink of `plan` holds for a run that has come so far. What has no meaning in batch is
/// left out, with the sinks that it reaches.
///
/// # Errors
/// If an input can't be read, or the late rows contradict it.
pub fn answers(
    plan: &Plan,
    standing: &Standing,
    open: &Open<'_>,
) -> Result<Vec<Answer>, OracleError> {
    let query = Query::new()?;
    let mut done: Vec<Result<RecordBatch, String>> = Vec::with_capacity(plan.nodes.len());
    let mut answers = Vec::new();
    for (id, node) in plan.nodes.iter().enumerate() {
        let inputs = node.inputs.iter().map(|&input| done[input].clone());
        let rows = match inputs.collect::<Result<Vec<_>, String>>() {
            Err(reason) => Err(reason),
            Ok(inputs) => match step(&query, (id, node), inputs, standing, open) {
                Err(OracleError::Unsupported(reason)) => Err(reason),
                rows => Ok(rows?),
            },
        };
        if let NodeKind::Sink(sink) = &node.kind {
            answers.push(Answer { node: id, table: sink.table.name.clone(), rows: rows.clone() });
        }
        done.push(rows);
    }
    Ok(answers)
}

/// The rows of a node that have come out of it.
fn step(
    query: &Query,
    (id, node): (NodeId, &Node),
    inputs: Vec<RecordBatch>,
    standing: &Standing,
    open: &Open<'_>,
) -> Result<RecordBatch, OracleError> {
    let late = standing.excluded.of(id);
    let inputs = match &node.kind {
        // It takes them out of the windows that they missed.
        NodeKind::WindowAggregate(_) => inputs,
        _ => late.remove_from(inputs)?,
    };
    let watermark = standing.watermark(id, node);
    match &standing.cut {
        None => compute(query, node, &inputs, (late, watermark), &Reading { open, until: None }),
        Some(cut) => {
            let inputs = cut.due_inputs((id, node), inputs)?;
            let until = cut.positions.get(&id);
            let reading = Reading { open, until };
            let rows = compute(query, node, &inputs, (late, watermark), &reading)?;
            cut.due_rows((id, node), rows)
        }
    }
}

fn compute(
    query: &Query,
    node: &Node,
    inputs: &[RecordBatch],
    (late, watermark): (&LateRows, Watermark),
    reading: &Reading<'_>,
) -> Result<RecordBatch, OracleError> {
    let schema = &node.schema;
    if node.by_processing_time {
        let message = "windows of processing time have no batch answer";
        return Err(OracleError::Unsupported(message.to_owned()));
    }
    match &node.kind {
        NodeKind::Source(plan) => read::read(plan, schema, reading),
        NodeKind::Values(rows) => Ok(rows.clone()),
        // Reading took the last row of each key already.
        NodeKind::Normalize(_) => Ok(inputs[0].clone()),
        // An expression of processing time has no batch answer; all others ignore the zero.
        NodeKind::Map(spec) => Ok(applied(Map::new(spec.clone())?.apply(&all(&inputs[0]), 0)?)),
        NodeKind::Unnest(spec) => Ok(applied(Unnest::new(spec.clone()).apply(&all(&inputs[0]))?)),
        NodeKind::WindowAggregate(spec) => {
            group::window_aggregate(query, spec, &inputs[0], late, schema)
        }
        NodeKind::GroupAggregate(spec) => group::group_aggregate(query, spec, &inputs[0], schema),
        NodeKind::TopN(spec) => top_n::top_n(query, spec, &inputs[0], schema),
        NodeKind::Arrange(_) => Ok(inputs[0].clone()),
        NodeKind::Join(spec) => join::join(query, spec, both(inputs), schema),
        NodeKind::IntervalJoin(spec) => join::interval_join(query, spec, both(inputs), schema),
        // The window's end is among the keys: what remains is when, not what.
        NodeKind::WindowJoin(spec) => join::join(query, &spec.join, both(inputs), schema),
        // The history of versions is lost in a bag of rows.
        NodeKind::TemporalJoin(_) => Err(OracleError::Unsupported(
            "a temporal join has no batch counterpart here".to_owned(),
        )),
        NodeKind::LookupJoin(plan) => {
            let right = read::looked_up(plan, reading.open)?;
            join::join(query, &plan.join, [&inputs[0], &right], schema)
        }
        NodeKind::ConstantJoin(spec) => {
            join::join(query, &spec.join, [&inputs[0], &spec.rows], schema)
        }
        NodeKind::Over(spec) => over::over(query, spec, &inputs[0], schema),
        NodeKind::Pattern(spec) => pattern::matches(query, spec, &inputs[0], watermark, schema),
        NodeKind::TimeFilter(spec) => time_filter::at_the_end(spec, &inputs[0]),
        NodeKind::Union => {
            let parts =
                inputs.iter().map(|part| conform(schema, part.columns().to_vec(), part.num_rows()));
            Ok(concat_batches(schema, &parts.collect::<Result<Vec<_>, _>>()?)?)
        }
        NodeKind::Sink(sink) => sunk(sink, &inputs[0]),
    }
}

fn all(rows: &RecordBatch) -> Batch {
    Batch::append_only(rows.clone())
}

fn applied(rows: Batch) -> RecordBatch {
    rows.into_parts().0
}

fn both(inputs: &[RecordBatch]) -> [&RecordBatch; 2] {
    [&inputs[0], &inputs[1]]
}

fn sunk(sink: &SinkPlan, rows: &RecordBatch) -> Result<RecordBatch, OracleError> {
    match sink.changelog {
        Changelog::Upsert => latest_by_key(&rows.schema(), &[all(rows)], &sink.table.primary_key),
        Changelog::AppendOnly | Changelog::Retract => Ok(rows.clone()),
    }
}
