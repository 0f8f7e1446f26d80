//! [`Plan`]: what the runtime builds a dataflow from. Plain data.
//!
//! One plan is one session: all of its `INSERT`s together, each table read once. Nodes stand in
//! topological order, inputs before their readers.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemill_formats::{Changelog, LookupKind, Table};
use tidemill_operators::Expression;
use tidemill_operators::constant_join::ConstantJoinSpec;
use tidemill_operators::group_aggregate::GroupAggregateSpec;
use tidemill_operators::interval_join::IntervalJoinSpec;
use tidemill_operators::join::{ArrangeSpec, JoinSpec};
use tidemill_operators::map::MapSpec;
use tidemill_operators::normalize::NormalizeSpec;
use tidemill_operators::over::{Frame, OverFunction, OverSpec};
use tidemill_operators::pattern::PatternSpec;
use tidemill_operators::temporal_join::TemporalJoinSpec;
use tidemill_operators::time_filter::{Clock, TimeFilterSpec};
use tidemill_operators::top_n::TopNSpec;
use tidemill_operators::unnest::UnnestSpec;
use tidemill_operators::window_aggregate::WindowAggregateSpec;
use tidemill_operators::window_join::WindowJoinSpec;

/// Index of a node in [`Plan::nodes`].
pub type NodeId = usize;

/// The dataflow of a session.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The nodes, inputs first.
    pub nodes: Vec<Node>,
    /// The session's options (`SET 'key' = 'value'`).
    pub options: BTreeMap<String, String>,
}

/// One step of the dataflow.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it does.
    pub kind: NodeKind,
    /// Where its rows come from, port by port.
    pub inputs: Vec<NodeId>,
    /// Its output columns.
    pub schema: SchemaRef,
    /// Whether its output only grows.
    pub changelog: Changelog,
    /// The sources upstream of it: their least watermark is its watermark.
    pub sources: Vec<NodeId>,
    /// How far its input may lie behind their watermark, in milliseconds: see
    /// [`tidemill_operators::retimed`].
    pub delay_ms: i64,
    /// Whether its windows close by the clock on the wall, not by the watermark: see
    /// [`tidemill_operators::retimed`].
    pub by_processing_time: bool,
    /// A hash of its canonical meaning, so that unrelated edits of a job keep its state.
    pub operator_id: u64,
}

impl Plan {
    /// Who reads a node's rows, and at which port.
    pub fn readers(&self, id: NodeId) -> impl Iterator<Item = (NodeId, usize)> {
        let ports = self.nodes.iter().enumerate().flat_map(|(reader, node)| {
            node.inputs.iter().enumerate().map(move |(port, &input)| (reader, port, input))
        });
        ports.filter(move |(_, _, input)| *input == id).map(|(reader, port, _)| (reader, port))
    }
}

impl Node {
    /// Whether it has something to do when its processing time has come, though nothing comes in.
    pub fn waits_for_processing_time(&self) -> bool {
        let is_clocked = |kind: &NodeKind| matches!(kind, NodeKind::TimeFilter(spec) if spec.clock == Clock::ProcessingTime);
        self.by_processing_time || is_clocked(&self.kind)
    }
}

/// What a node does.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// Reads a table.
    Source(SourcePlan),
    /// Rows that stand in the job's text: given once, by one worker, in the first epoch; then it
    /// is a source that has ended.
    Values(RecordBatch),
    /// Makes a changelog of an upsert stream.
    Normalize(NormalizeSpec),
    /// Filters, projects, unfolds into windows; keeps nothing.
    Map(MapSpec),
    /// Aggregates per window and key.
    WindowAggregate(WindowAggregateSpec),
    /// Aggregates per key, updating.
    GroupAggregate(GroupAggregateSpec),
    /// Ranks and deduplicates.
    TopN(TopNSpec),
    /// Holds rows under a key, for joins.
    Arrange(ArrangeSpec),
    /// Joins two changing inputs, which are arranged unless the join
    /// [holds them itself](JoinSpec::is_arranged).
    Join(JoinSpec),
    /// Joins two append-only inputs by closeness in time.
    IntervalJoin(IntervalJoinSpec),
    /// Joins rows with the versions of their time.
    TemporalJoin(TemporalJoinSpec),
    /// Joins rows with what a table outside of the dataflow holds for their key.
    LookupJoin(LookupJoinPlan),
    /// Joins rows with rows of the job's text, which every worker holds; keeps nothing.
    ConstantJoin(ConstantJoinSpec),
    /// Joins two append-only inputs window by window.
    WindowJoin(WindowJoinSpec),
    /// Aggregates over frames of rows in the order of their time.
    Over(OverSpec),
    /// Looks for patterns in rows in the order of their time.
    Pattern(PatternSpec),
    /// Compares a clock with the rows: its results change as time passes.
    TimeFilter(TimeFilterSpec),
    /// Repeats rows for the items of a collection; keeps nothing.
    Unnest(UnnestSpec),
    /// Puts its inputs' rows together.
    Union,
    /// Writes a table.
    Sink(SinkPlan),
}

impl NodeKind {
    /// Whether it keeps state between epochs, which checkpoints have to hold.
    pub fn keeps_state(&self) -> bool {
        match self {
            NodeKind::WindowAggregate(_)
            | NodeKind::GroupAggregate(_)
            | NodeKind::TopN(_)
            | NodeKind::Arrange(_)
            | NodeKind::IntervalJoin(_)
            | NodeKind::TemporalJoin(_)
            // Only its watermark.
            | NodeKind::LookupJoin(_)
            // That, too, if its inputs are arranged.
            | NodeKind::Join(_)
            | NodeKind::WindowJoin(_)
            | NodeKind::Over(_)
            | NodeKind::Pattern(_)
            | NodeKind::TimeFilter(_)
            | NodeKind::Normalize(_) => true,
            NodeKind::Source(_)
            | NodeKind::Values(_)
            | NodeKind::Map(_)
            | NodeKind::ConstantJoin(_)
            | NodeKind::Unnest(_)
            | NodeKind::Union
            | NodeKind::Sink(_) => false,
        }
    }

    /// Whether what it keeps grows with its keys or its rows for ever, for no time bounds it.
    pub fn keeps_for_ever(&self) -> bool {
        match self {
            NodeKind::Arrange(_) | NodeKind::TemporalJoin(_) | NodeKind::Normalize(_) => true,
            NodeKind::Join(spec) => !spec.is_arranged() && spec.ttl_ms.iter().any(Option::is_none),
            NodeKind::GroupAggregate(spec) => spec.ttl_ms.is_none() && !spec.keys.is_empty(),
            NodeKind::TopN(spec) => spec.window_end.is_none() && spec.ttl_ms.is_none(),
            // A stretch of time passes for each key; other frames wait for its next row.
            NodeKind::Over(spec) => {
                let is_framed = |f: &OverFunction| matches!(f, OverFunction::Aggregate(_));
                let is_timed = matches!(spec.frame, Frame::Range { preceding_ms: Some(_) });
                !is_timed || !spec.functions.iter().all(is_framed)
            }
            // A search that nothing ends waits for the next row of its key.
            NodeKind::Pattern(spec) => spec.within_ms.is_none(),
            NodeKind::WindowAggregate(_)
            | NodeKind::IntervalJoin(_)
            | NodeKind::WindowJoin(_)
            | NodeKind::LookupJoin(_)
            | NodeKind::ConstantJoin(_)
            | NodeKind::TimeFilter(_)
            | NodeKind::Source(_)
            | NodeKind::Values(_)
            | NodeKind::Map(_)
            | NodeKind::Unnest(_)
            | NodeKind::Union
            | NodeKind::Sink(_) => false,
        }
    }

    /// The key columns by which input `port` must be exchanged; `None` if any worker may have
    /// any row. An empty key sends everything to one worker.
    pub fn exchange(&self, port: usize) -> Option<&[usize]> {
        match self {
            NodeKind::Source(_)
            | NodeKind::Values(_)
            | NodeKind::Map(_)
            | NodeKind::Unnest(_)
            | NodeKind::LookupJoin(_)
            | NodeKind::ConstantJoin(_)
            | NodeKind::Union => None,
            NodeKind::Normalize(spec) => Some(&spec.keys),
            NodeKind::WindowAggregate(spec) => Some(&spec.keys),
            NodeKind::GroupAggregate(spec) => Some(&spec.keys),
            NodeKind::TopN(spec) => Some(&spec.partition),
            NodeKind::Arrange(spec) => Some(&spec.keys),
            NodeKind::Join(spec) if spec.is_arranged() => None,
            NodeKind::Join(spec) => Some(spec.keys(port)),
            NodeKind::IntervalJoin(spec) if port == 0 => Some(&spec.left_keys),
            NodeKind::IntervalJoin(spec) => Some(&spec.right_keys),
            NodeKind::TemporalJoin(spec) if port == 0 => Some(&spec.left_keys),
            NodeKind::TemporalJoin(spec) => Some(&spec.right_keys),
            NodeKind::WindowJoin(spec) => Some(spec.join.keys(port)),
            NodeKind::Over(spec) => Some(&spec.partition),
            NodeKind::Pattern(spec) => Some(&spec.partition),
            NodeKind::TimeFilter(spec) => Some(&spec.columns),
            NodeKind::Sink(sink) => match sink.changelog {
                Changelog::Upsert => Some(&sink.table.primary_key),
                Changelog::AppendOnly | Changelog::Retract => None,
            },
        }
    }
}

/// How a table is read.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// The table.
    pub table: Table,
    /// Wanted columns, ascending: indices into the physical columns followed by the metadata
    /// columns. They are the node's output, followed by `__arrival` if asked for.
    pub columns: Vec<usize>,
    /// Whether the order of arrival is needed, as a last column `__arrival` (`Int64`).
    pub arrival: bool,
    /// The watermark, as an expression over the node's output columns whose maximum (in
    /// milliseconds, a `Timestamp(ms)`) is the lane's watermark. None if none is declared.
    pub watermark: Option<Arc<dyn Expression>>,
    /// What kind of rows the table gives.
    pub changelog: Changelog,
}

/// How rows are joined with those of a table that is looked up.
#[derive(Debug, Clone)]
pub struct LookupJoinPlan {
    /// The keys, and what else a pair must fulfil; an inner or a left join. The right columns are
    /// those of `schema`.
    pub join: JoinSpec,
    /// The table.
    pub table: Table,
    /// How it is looked up.
    pub kind: LookupKind,
    /// Physical columns that are read, ascending.
    pub columns: Vec<usize>,
    /// Stateless steps from those to the columns of `schema`.
    pub steps: Vec<MapSpec>,
    /// The right columns of the join.
    pub schema: SchemaRef,
    /// The physical columns that are the keys, if each is one as it stands.
    pub key_columns: Option<Vec<usize>>,
}

/// How a table is written. Its input has exactly the table's columns and types.
#[derive(Debug, Clone)]
pub struct SinkPlan {
    /// The table.
    pub table: Table,
    /// What the table is sent: insertions only, retractions too, or the latest row for each
    /// primary key (then consolidated per epoch and key, with a deletion as weight `-1`).
    pub changelog: Changelog,
}
