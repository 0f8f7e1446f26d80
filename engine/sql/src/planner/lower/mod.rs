//! From relations to the nodes of a plan.
//!
//! Lowering works from the sinks up and asks each relation only for the columns that are needed,
//! so that pruning needs no pass of its own. It runs twice: the first time only to learn which
//! columns of each table anybody needs, and which fields of them, for a table is read once; and
//! which columns of what has state, for what several queries read is computed once.

mod aggregate;
mod constant;
mod join;
mod lookup;
mod meaning;
mod pattern;
mod rank;
mod reads;
mod source;
mod stateless;
mod time_filter;

use super::canonical;
use super::compile::Compiled;
use super::expr::Expr;
use super::relation::{Column, JoinTime, Op, Relation, WindowInfo};
use super::rewrite::JoinOrder;
use super::sink::{BoundInsert, rewrite_all};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::plan::{Node, NodeId, NodeKind, Plan, SinkPlan};
use crate::types::SqlType;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rank::runs_with_time;
use reads::Reads;
use stateless::Stretch;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tidemill_formats::{Changelog, parse_duration};
use tidemill_operators::Expression;
use tidemill_operators::map::{MapSpec, WindowUnfold};
use tidemill_operators::window::WindowKind;
use tidemill_operators::window_aggregate::WindowAggregateSpec;

/// The hidden column that orders rows of one epoch.
const ARRIVAL: &str = "__arrival";

/// Lowers all inserts of a session into one plan.
pub(crate) fn lower(
    mut inserts: Vec<BoundInsert>,
    windows: &[WindowInfo],
    options: BTreeMap<String, String>,
) -> Planned<Plan> {
    // What is forgotten of a join depends on what it joins.
    let ttl_ms = state_ttl_ms(&options);
    let order = if ttl_ms.is_some() { JoinOrder::AsWritten } else { JoinOrder::GrowingFirst };
    rewrite_all(&mut inserts, order);
    let (mut needs, mut demands) = (BTreeMap::new(), BTreeMap::new());
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let mut lowering = Lowering::new(windows, ttl_ms, needs, demands);
        for insert in &inserts {
            lowering.insert(insert)?;
        }
        (needs, demands, nodes) = (lowering.needs, lowering.demands, lowering.nodes);
    }
    Ok(Plan { nodes, options })
}

/// The option that says for how long idle state is kept.
pub(crate) const STATE_TTL: &str = "table.exec.state.ttl";

/// What [`STATE_TTL`] says; it is a duration, which was checked when it was set. 0 means for ever.
fn state_ttl_ms(options: &BTreeMap<String, String>) -> Option<i64> {
    let ttl = parse_duration(options.get(STATE_TTL)?)?;
    i64::try_from(ttl.as_millis()).ok().filter(|&ms| ms > 0)
}

/// What anybody needs of a table.
#[derive(Default)]
struct Needs {
    reads: Reads,
    arrival: bool,
}

/// What anybody demands of a relation that has state.
#[derive(Clone, Default)]
struct Demand {
    columns: BTreeSet<usize>,
    retractions: bool,
}

struct Lowering<'w> {
    windows: &'w [WindowInfo],
    /// For how long idle state is kept, where no hint says otherwise; `None` for ever.
    state_ttl_ms: Option<i64>,
    needs: BTreeMap<String, Needs>,
    /// By the relation's canonical text.
    demands: BTreeMap<String, Demand>,
    nodes: Vec<Node>,
    /// How far each node's output may lie behind its sources' watermark, in milliseconds.
    lags: Vec<i64>,
    /// The nodes that there are, by what they are, so that equal ones are one.
    known: HashMap<String, NodeId>,
    /// The nodes that only leave out columns of another one, with that.
    narrowed_from: HashMap<NodeId, NodeId>,
}

/// A relation as a node.
#[derive(Clone, Debug)]
struct Lowered {
    node: NodeId,
    /// Where the relation's columns are in the node's; those that were not asked for may be
    /// nowhere.
    columns: Vec<Option<usize>>,
    arrival: Option<usize>,
}

impl Lowered {
    /// The place of a column that was asked for.
    fn at(&self, column: usize) -> usize {
        self.columns[column].expect("the column was asked for")
    }

    fn all(&self, columns: &[usize]) -> Vec<usize> {
        columns.iter().map(|&c| self.at(c)).collect()
    }
}

impl<'w> Lowering<'w> {
    fn new(
        windows: &'w [WindowInfo],
        state_ttl_ms: Option<i64>,
        needs: BTreeMap<String, Needs>,
        demands: BTreeMap<String, Demand>,
    ) -> Self {
        Lowering {
            windows,
            state_ttl_ms,
            needs,
            demands,
            nodes: Vec::new(),
            lags: Vec::new(),
            known: HashMap::new(),
            narrowed_from: HashMap::new(),
        }
    }

    /// For how long idle state is kept: what a hint says, or else the session; none is for ever.
    fn lifetime(&self, hinted: Option<i64>) -> Option<i64> {
        hinted.or(self.state_ttl_ms).filter(|&ttl_ms| ttl_ms > 0)
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Adds a node, or finds the one that is the same already.
    fn add(
        &mut self,
        kind: NodeKind,
        inputs: Vec<NodeId>,
        schema: SchemaRef,
        updating: bool,
    ) -> NodeId {
        let rows = match &kind {
            NodeKind::Values(rows) => canonical::rows(rows),
            NodeKind::ConstantJoin(spec) => canonical::rows(&spec.rows),
            _ => String::new(),
        };
        let text = format!("{kind:?} {inputs:?} {rows}");
        if let Some(&id) = self.known.get(&text)
            && !matches!(kind, NodeKind::Sink(_))
        {
            return id;
        }
        let operator_id = self.operator_id(&kind, &inputs);
        let id = self.nodes.len();
        let sources = match &kind {
            NodeKind::Source(_) | NodeKind::Values(_) => vec![id],
            _ => {
                let all = inputs.iter().flat_map(|&i| self.nodes[i].sources.iter().copied());
                all.collect::<BTreeSet<_>>().into_iter().collect()
            }
        };
        let changelog = match &kind {
            NodeKind::Source(source) => source.changelog,
            _ if updating => Changelog::Retract,
            _ => Changelog::AppendOnly,
        };
        let delay_ms = inputs.iter().map(|&i| self.lags[i]).max().unwrap_or(0);
        self.lags.push(delay_ms + own_lag(&kind));
        self.nodes.push(Node {
            kind,
            inputs,
            schema,
            changelog,
            sources,
            delay_ms,
            by_processing_time: false,
            operator_id,
        });
        self.known.insert(text, id);
        id
    }

    /// Adds a node whose state is that of windows, which close by their clock.
    fn add_windowed(
        &mut self,
        kind: NodeKind,
        inputs: Vec<NodeId>,
        schema: SchemaRef,
        number: usize,
    ) -> NodeId {
        let node = self.add(kind, inputs, schema, false);
        self.nodes[node].by_processing_time = self.windows[number].by_processing_time;
        node
    }

    /// A hash of a node's meaning and of all that is upstream of it, but for columns that are left
    /// out on the way: whether there are any depends on what other queries read. Where two nodes
    /// mean the same and are not one (a table is written twice), the second counts on.
    fn operator_id(&self, kind: &NodeKind, inputs: &[NodeId]) -> u64 {
        let upstream: Vec<&Node> = inputs.iter().map(|&input| &self.nodes[input]).collect();
        let mut hash = Fnv::default();
        hash.write(meaning::of(kind, &upstream).as_bytes());
        for input in inputs {
            let whole = self.narrowed_from.get(input).unwrap_or(input);
            hash.write(&self.nodes[*whole].operator_id.to_le_bytes());
        }
        while self.nodes.iter().any(|node| node.operator_id == hash.0) {
            hash.write(b"again");
        }
        hash.0
    }

    fn insert(&mut self, insert: &BoundInsert) -> Planned<()> {
        let relation = &insert.relation;
        let all = (0..relation.columns.len()).collect();
        let overwrites = insert.changelog == Changelog::Upsert
            && replaces_by(relation, &insert.table.primary_key);
        let lowered = self.lower(relation, &all, false, !overwrites && !insert.discards)?;
        let input = self.exactly(&lowered, relation, false)?;
        let kind =
            NodeKind::Sink(SinkPlan { table: insert.table.clone(), changelog: insert.changelog });
        let schema = self.node(input).schema.clone();
        self.add(kind, vec![input], schema, relation.updating);
        Ok(())
    }

    /// A node whose columns are exactly the relation's, in order, then the arrival if asked for.
    fn exactly(
        &mut self,
        lowered: &Lowered,
        relation: &Relation,
        arrival: bool,
    ) -> Planned<NodeId> {
        let exact = lowered.columns.iter().enumerate().all(|(i, c)| *c == Some(i));
        let width = relation.columns.len() + usize::from(arrival);
        if exact && self.node(lowered.node).schema.fields().len() == width {
            return Ok(lowered.node);
        }
        let exprs = relation.all_columns(At::default());
        let exprs: Vec<Expr> = exprs.iter().map(|e| e.remap(&|i| lowered.at(i))).collect();
        let names = relation.names();
        let arrival = lowered.arrival.filter(|_| arrival);
        self.map(lowered.node, None, None, exprs, &names, arrival, relation.updating)
    }

    /// Adds a stateless stretch over `input`; expressions are over its columns.
    #[allow(clippy::too_many_arguments)]
    fn map(
        &mut self,
        input: NodeId,
        windows: Option<WindowUnfold>,
        predicate: Option<Expr>,
        exprs: Vec<Expr>,
        names: &[String],
        arrival: Option<usize>,
        updating: bool,
    ) -> Planned<NodeId> {
        let mut schema = self.node(input).schema.clone();
        if let Some(unfold) = &windows {
            schema = with_window_columns(&schema, unfold.time);
        }
        let compile =
            |e: &Expr| -> Planned<Arc<dyn Expression>> { Ok(Arc::new(Compiled::new(e, &schema)?)) };
        let predicate = predicate.as_ref().map(compile).transpose()?;
        let mut projection = exprs.iter().map(compile).collect::<Planned<Vec<_>>>()?;
        let mut fields: Vec<Field> = exprs
            .iter()
            .zip(names)
            .map(|(e, name)| Field::new(name, e.data_type.arrow(), true))
            .collect();
        if let Some(arrival) = arrival {
            projection.push(compile(&Expr::column(arrival, SqlType::BigInt, At::default()))?);
            fields.push(Field::new(ARRIVAL, DataType::Int64, true));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let passes = |column| exprs.iter().any(|e| e.as_column() == Some(column));
        let passes_all = (0..self.node(input).schema.fields().len()).all(passes);
        let spec = MapSpec {
            windows,
            predicate,
            projection: Some(projection),
            has_idle_updates: updating && !passes_all,
            schema: schema.clone(),
        };
        Ok(self.add(NodeKind::Map(spec), vec![input], schema, updating))
    }

    /// Lowers a relation so that at least the `needed` columns come out. `arrival` asks for the
    /// order of arrival where there is one; `retractions` says whether old rows are needed when
    /// new ones replace them.
    fn lower(
        &mut self,
        relation: &Relation,
        needed: &BTreeSet<usize>,
        arrival: bool,
        retractions: bool,
    ) -> Planned<Lowered> {
        let Demand { columns: needed, retractions } = self.demand(relation, needed, retractions);
        let needed = &needed;
        match &relation.op {
            Op::Scan(scan) => self.scan(scan, relation, &Reads::of(needed), arrival),
            Op::Values(batch) => Ok(self.values(batch, relation, arrival)),
            Op::Project { .. } | Op::Filter { .. } | Op::Window { .. } => {
                self.stateless(relation, needed, arrival, retractions)
            },
            Op::TimeFilter { input, clock, bounds } => {
                self.time_filter(relation, input, (*clock, bounds), needed, arrival)
            },
            Op::Aggregate { input, keys, calls, window: None, ttl_ms, at } => {
                aggregate::check_takes_back(calls, input, *at)?;
                let ttl_ms = self.lifetime(*ttl_ms);
                self.group_aggregate(relation, input, (keys, calls, ttl_ms), needed, retractions)
            },
            Op::Aggregate { input, keys, calls, window: Some(number), at, .. } => {
                aggregate::check_takes_back(calls, input, *at)?;
                self.window_aggregate(relation, input, keys, calls, *number)
            },
            Op::RowNumber { input, partition, order, .. } if runs_with_time(input, order) => {
                self.running_number(relation, input, partition, order[0].column, needed)
            }
            Op::Over { input, partition, time, frame, calls } => {
                self.over(relation, input, partition, *time, *frame, calls, needed)
            }
            Op::Pattern { input, partition, time, ties, search } => {
                self.pattern(relation, input, (partition, *time, ties), search, needed)
            }
            Op::Unnest { input, collection, outer, ordinality } => {
                let step = (*collection, *outer, *ordinality);
                self.unnest(relation, input, step, needed, arrival, retractions)
            }
            Op::RowNumber { at, .. } => Err(Refusal::new(
                ErrorKind::Unsupported,
                *at,
                "ROW_NUMBER of all rows is not supported",
            )
            .hint("keep the first ranks only: SELECT … FROM (SELECT …, ROW_NUMBER() OVER (…) AS rn …) WHERE rn <= 10")),
            Op::TopN { input, partition, order, first, last, window } => {
                self.top_n(relation, input, partition, order, (*first, *last), *window, needed)
            },
            Op::Join { .. } => self.join(relation, needed, arrival),
            Op::Union { inputs } => self.union(relation, inputs, needed, arrival, retractions),
        }
    }

    /// The same with no other columns, for those who keep whole rows: what somebody else reads of
    /// the same node would be kept for nothing.
    fn lower_narrow(
        &mut self,
        relation: &Relation,
        needed: &BTreeSet<usize>,
        arrival: bool,
        retractions: bool,
    ) -> Planned<Lowered> {
        let lowered = self.lower(relation, needed, arrival, retractions)?;
        let arrival = lowered.arrival.filter(|_| arrival);
        // Several columns may be one of the node's.
        let kept: BTreeMap<usize, usize> = needed.iter().map(|&c| (lowered.at(c), c)).collect();
        let width = kept.len() + usize::from(arrival.is_some());
        if self.node(lowered.node).schema.fields().len() == width {
            return Ok(lowered);
        }
        let column = |(&place, &column): (&usize, &usize)| {
            Expr::column(place, relation.columns[column].data_type.clone(), At::default())
        };
        let exprs = kept.iter().map(column).collect();
        let schema = self.node(lowered.node).schema.clone();
        let names: Vec<String> = kept.keys().map(|&p| schema.field(p).name().clone()).collect();
        let updating = relation.updating;
        let node = self.map(lowered.node, None, None, exprs, &names, arrival, updating)?;
        self.narrowed_from.insert(node, lowered.node);
        let place = |column: Option<usize>| kept.keys().position(|&place| Some(place) == column);
        let columns = lowered.columns.iter().map(|&column| place(column)).collect();
        Ok(Lowered { node, columns, arrival: arrival.map(|_| kept.len()) })
    }

    /// What this reader and all others demand of a relation, as far as they are known.
    fn demand(
        &mut self,
        relation: &Relation,
        needed: &BTreeSet<usize>,
        retractions: bool,
    ) -> Demand {
        if !has_state(&relation.op) {
            return Demand { columns: needed.clone(), retractions };
        }
        let demand = self.demands.entry(canonical::text(relation)).or_default();
        demand.columns.extend(needed);
        demand.retractions |= retractions;
        demand.clone()
    }
}

/// Whether it keeps rows, so that it had better be one for all its readers.
fn has_state(op: &Op) -> bool {
    match op {
        Op::Join { time: JoinTime::Constant, .. } => false,
        Op::Aggregate { .. }
        | Op::RowNumber { .. }
        | Op::Over { .. }
        | Op::Pattern { .. }
        | Op::TopN { .. }
        | Op::Join { .. } => true,
        Op::Scan(_)
        | Op::Values(_)
        | Op::Project { .. }
        | Op::Filter { .. }
        | Op::TimeFilter { .. }
        | Op::Window { .. }
        | Op::Unnest { .. }
        | Op::Union { .. } => false,
    }
}

/// Whether each row that replaces another has the same `primary_key`: then a sink that overwrites
/// by that key needs no old rows. Groups replace their rows, so the key must follow from theirs.
fn replaces_by(relation: &Relation, primary_key: &[usize]) -> bool {
    let stretch = Stretch::of(relation);
    let Op::Aggregate { keys, window: None, .. } = &stretch.base.op else { return false };
    // A new row that a filter drops would overwrite nothing.
    let mut follows = stretch.predicate.is_none() && stretch.window.is_none();
    for &column in primary_key {
        stretch.exprs[column].columns(&mut |read| follows &= read < keys.len());
    }
    follows
}

/// How far a node's rows may lie behind the watermark that its input had.
fn own_lag(kind: &NodeKind) -> i64 {
    match kind {
        NodeKind::IntervalJoin(spec) => spec.upper_ms.max(-spec.lower_ms).max(0),
        // A row at a session's end belongs to it: it waits for that millisecond too.
        NodeKind::WindowAggregate(WindowAggregateSpec {
            window: WindowKind::Session { .. },
            ..
        }) => 1,
        _ => 0,
    }
}

fn with_window_columns(schema: &Schema, time: usize) -> SchemaRef {
    let bound = SqlType::Timestamp(3).arrow();
    let mut fields = fields_of(schema);
    let time_type = schema.field(time).data_type().clone();
    fields.push(Field::new("window_start", bound.clone(), true));
    fields.push(Field::new("window_end", bound, true));
    fields.push(Field::new("window_time", time_type, true));
    Arc::new(Schema::new(fields))
}

/// FNV-1a, whose results are the same everywhere and always.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The fields of a schema, to add some to.
fn fields_of(schema: &Schema) -> Vec<Field> {
    schema.fields().iter().map(|f| f.as_ref().clone()).collect()
}

/// The field that carries a relation's column.
fn field_of(column: &Column) -> Field {
    Field::new(&column.name, column.data_type.arrow(), true)
}
