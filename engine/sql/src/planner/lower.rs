//! From relations to the nodes of a plan.
//!
//! Lowering works from the sinks up and asks each relation only for the columns that are needed,
//! so that pruning needs no pass of its own. It runs twice: the first time only to learn which
//! columns of each table anybody needs, for a table is read once.

use super::Scan;
use super::compile::Compiled;
use super::expr::Expr;
use super::functions::needs_arrival;
use super::relation::{Aggregation, JoinTime, Op, Ordering, OverCall, Relation, Role, WindowInfo};
use super::sink::BoundInsert;
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::plan::{Node, NodeId, NodeKind, Plan, SinkPlan, SourcePlan};
use crate::types::SqlType;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tidemill_formats::Changelog;
use tidemill_operators::Expression;
use tidemill_operators::aggregate::{AggregateCall, AggregateFunction};
use tidemill_operators::group_aggregate::GroupAggregateSpec;
use tidemill_operators::interval_join::IntervalJoinSpec;
use tidemill_operators::join::{JoinKind, JoinSpec};
use tidemill_operators::map::{MapSpec, WindowUnfold};
use tidemill_operators::normalize::NormalizeSpec;
use tidemill_operators::over::{Frame, OverFunction, OverSpec};
use tidemill_operators::top_n::{SortTerm, TopNSpec};
use tidemill_operators::unnest::UnnestSpec;
use tidemill_operators::window::WindowKind;
use tidemill_operators::window_aggregate::WindowAggregateSpec;
use tidemill_operators::window_join::WindowJoinSpec;

/// The hidden column that orders rows of one epoch.
const ARRIVAL: &str = "__arrival";

/// Lowers all inserts of a session into one plan.
pub(crate) fn lower(
    inserts: Vec<BoundInsert>,
    windows: &[WindowInfo],
    options: BTreeMap<String, String>,
) -> Planned<Plan> {
    let mut needs = BTreeMap::new();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let mut lowering =
            Lowering { windows, needs, nodes: Vec::new(), lags: Vec::new(), known: HashMap::new() };
        for insert in &inserts {
            lowering.insert(insert)?;
        }
        (needs, nodes) = (lowering.needs, lowering.nodes);
    }
    Ok(Plan { nodes, options })
}

/// What anybody needs of a table.
#[derive(Default)]
struct Needs {
    columns: BTreeSet<usize>,
    arrival: bool,
}

struct Lowering<'w> {
    windows: &'w [WindowInfo],
    needs: BTreeMap<String, Needs>,
    nodes: Vec<Node>,
    /// How far each node's output may lie behind its sources' watermark, in milliseconds.
    lags: Vec<i64>,
    /// Nodes by their meaning, so that equal ones are one.
    known: HashMap<u64, NodeId>,
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

impl Lowering<'_> {
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
        let mut meaning = Fnv::default();
        meaning.write(format!("{kind:?}").as_bytes());
        for &input in &inputs {
            meaning.write(&self.nodes[input].operator_id.to_le_bytes());
        }
        let operator_id = meaning.0;
        if let Some(&id) = self.known.get(&operator_id)
            && !matches!(kind, NodeKind::Sink(_))
        {
            return id;
        }
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
        self.nodes.push(Node { kind, inputs, schema, changelog, sources, delay_ms, operator_id });
        self.known.insert(operator_id, id);
        id
    }

    fn insert(&mut self, insert: &BoundInsert) -> Planned<()> {
        let relation = &insert.relation;
        let all = (0..relation.columns.len()).collect();
        // An upsert sink overwrites by key: it needs no old rows, as long as no filter stands
        // between it and the operator that would send them.
        let mut retractions = insert.changelog != Changelog::Upsert && !insert.discards;
        retractions |= matches!(relation.op, Op::Filter { .. });
        let lowered = self.lower(relation, &all, false, retractions)?;
        let input = self.arrange(&lowered, relation, false)?;
        let kind =
            NodeKind::Sink(SinkPlan { table: insert.table.clone(), changelog: insert.changelog });
        let schema = self.node(input).schema.clone();
        self.add(kind, vec![input], schema, relation.updating);
        Ok(())
    }

    /// A node whose columns are exactly the relation's, in order, then the arrival if asked for.
    fn arrange(
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
        let spec =
            MapSpec { windows, predicate, projection: Some(projection), schema: schema.clone() };
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
        match &relation.op {
            Op::Scan(scan) => self.scan(scan, relation, needed, arrival),
            Op::Values(batch) => Ok(self.values(batch, relation, arrival)),
            Op::Project { .. } | Op::Filter { .. } | Op::Window { .. } => {
                self.stateless(relation, needed, arrival, retractions)
            },
            Op::Aggregate { input, keys, calls, window: None, .. } => {
                self.group_aggregate(relation, input, keys, calls, needed, retractions)
            },
            Op::Aggregate { input, keys, calls, window: Some(number), .. } => {
                self.window_aggregate(relation, input, keys, calls, *number)
            },
            Op::RowNumber { input, partition, order, .. } if runs_with_time(input, order) => {
                self.running_number(relation, input, partition, order[0].column, needed)
            }
            Op::Over { input, partition, time, frame, calls } => {
                self.over(relation, input, partition, *time, *frame, calls, needed)
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
            Op::Join { .. } => self.join(relation, needed),
            Op::Union { inputs } => self.union(relation, inputs, needed, arrival, retractions),
        }
    }

    fn scan(
        &mut self,
        scan: &Arc<Scan>,
        relation: &Relation,
        needed: &BTreeSet<usize>,
        arrival: bool,
    ) -> Planned<Lowered> {
        let needs = self.needs.entry(scan.table.name.clone()).or_default();
        needs.columns.extend(needed);
        if let Some(watermark) = &scan.watermark {
            watermark.columns(&mut |i| {
                needs.columns.insert(i);
            });
        }
        let is_upsert = scan.changelog == Changelog::Upsert;
        if is_upsert {
            needs.columns.extend(&scan.table.primary_key);
        }
        // The rows of a normalised table come from its state, in no order of arrival.
        needs.arrival |= arrival && !is_upsert;
        let (columns, arrival): (Vec<usize>, bool) =
            (needs.columns.iter().copied().collect(), needs.arrival);
        let place = |i: usize| columns.iter().position(|&c| c == i);
        let mut fields: Vec<Field> = columns
            .iter()
            .map(|&c| {
                let column = &relation.columns[c];
                Field::new(&column.name, column.data_type.arrow(), true)
            })
            .collect();
        if arrival {
            fields.push(Field::new(ARRIVAL, DataType::Int64, true));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let watermark = match &scan.watermark {
            None => None,
            Some(expr) => {
                let expr = expr.remap(&|i| place(i).expect("added above"));
                let compiled: Arc<dyn Expression> = Arc::new(Compiled::new(&expr, &schema)?);
                Some(compiled)
            }
        };
        let kind = NodeKind::Source(SourcePlan {
            table: scan.table.clone(),
            columns: columns.clone(),
            arrival,
            watermark,
            changelog: scan.changelog,
        });
        let columns_at: Vec<Option<usize>> = (0..relation.columns.len()).map(place).collect();
        let mut node = self.add(kind, Vec::new(), schema.clone(), relation.updating);
        if is_upsert {
            let keys = scan.table.primary_key.iter().filter_map(|&k| columns_at[k]).collect();
            let kind = NodeKind::Normalize(NormalizeSpec { keys });
            node = self.add(kind, vec![node], schema, true);
        }
        Ok(Lowered { node, columns: columns_at, arrival: arrival.then_some(columns.len()) })
    }

    fn values(&mut self, batch: &RecordBatch, relation: &Relation, arrival: bool) -> Lowered {
        let width = relation.columns.len();
        let mut batch = batch.clone();
        if arrival {
            let order: ArrayRef =
                Arc::new(Int64Array::from_iter_values(0..batch.num_rows() as i64));
            let mut fields: Vec<Field> =
                batch.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
            fields.push(Field::new(ARRIVAL, DataType::Int64, true));
            let columns = batch.columns().iter().cloned().chain([order]).collect();
            batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
                .expect("one more column of as many rows");
        }
        let schema = batch.schema();
        let node = self.add(NodeKind::Values(batch), Vec::new(), schema, false);
        let columns = (0..width).map(Some).collect();
        Lowered { node, columns, arrival: arrival.then_some(width) }
    }

    fn stateless(
        &mut self,
        relation: &Relation,
        needed: &BTreeSet<usize>,
        arrival: bool,
        retractions: bool,
    ) -> Planned<Lowered> {
        let stretch = Stretch::of(relation);
        let retractions = retractions || stretch.predicate.is_some();
        let mut below = BTreeSet::new();
        let width = stretch.base.columns.len();
        let mut note = |i: usize| {
            if i < width {
                below.insert(i);
            }
        };
        needed.iter().for_each(|&n| stretch.exprs[n].columns(&mut note));
        stretch.predicate.iter().for_each(|p| p.columns(&mut note));
        if let Some(window) = &stretch.window {
            if matches!(window.kind, WindowKind::Session { .. }) {
                return Err(session_alone(window.at));
            }
            note(window.time);
        }
        let lowered = self.lower(stretch.base, &below, arrival, retractions)?;
        // Only columns, passed on as they are: no node at all.
        let plain = stretch.window.is_none() && stretch.predicate.is_none();
        let columns =
            |i: usize| needed.contains(&i).then(|| stretch.exprs[i].as_column()).flatten();
        if plain && needed.iter().all(|&n| stretch.exprs[n].as_column().is_some()) {
            let columns = (0..relation.columns.len())
                .map(|i| columns(i).and_then(|c| lowered.columns[c]))
                .collect();
            return Ok(Lowered { node: lowered.node, columns, arrival: lowered.arrival });
        }
        let node_width = self.node(lowered.node).schema.fields().len();
        let place = |i: usize| if i < width { lowered.at(i) } else { node_width + (i - width) };
        let unfold = stretch.window.as_ref().map(|w| WindowUnfold {
            window: w.kind.clone(),
            zone: w.zone,
            time: lowered.at(w.time),
        });
        let predicate = stretch.predicate.as_ref().map(|p| p.remap(&place));
        let wanted: Vec<usize> = needed.iter().copied().collect();
        let exprs = wanted.iter().map(|&n| stretch.exprs[n].remap(&place)).collect();
        let names: Vec<String> = wanted.iter().map(|&n| relation.columns[n].name.clone()).collect();
        let arrival = lowered.arrival.filter(|_| arrival);
        let node =
            self.map(lowered.node, unfold, predicate, exprs, &names, arrival, relation.updating)?;
        let columns =
            (0..relation.columns.len()).map(|i| wanted.iter().position(|&w| w == i)).collect();
        Ok(Lowered { node, columns, arrival: arrival.map(|_| wanted.len()) })
    }

    fn group_aggregate(
        &mut self,
        relation: &Relation,
        input: &Relation,
        keys: &[usize],
        calls: &[Aggregation],
        needed: &BTreeSet<usize>,
        retractions: bool,
    ) -> Planned<Lowered> {
        // What nobody reads is not computed; but a group with aggregates stays one, for its
        // rows come and go differently from those of SELECT DISTINCT.
        let used: Vec<usize> =
            (0..calls.len()).filter(|n| needed.contains(&(keys.len() + n))).collect();
        let kept: Vec<&Aggregation> = used.iter().map(|&n| &calls[n]).collect();
        let wants_arrival = kept.iter().any(|c| needs_arrival(&c.function));
        let below = inputs_of(keys, &kept);
        let lowered = self.lower(input, &below, wants_arrival, true)?;
        let spec = GroupAggregateSpec {
            keys: lowered.all(keys),
            aggregates: kept.iter().map(|c| self.aggregate_call(c, input, &lowered)).collect(),
            updating: input.updating,
            emit_retractions: retractions,
            arrival: lowered.arrival.filter(|_| wants_arrival),
            ttl_ms: None,
        };
        let fields: Vec<Field> = (0..keys.len())
            .chain(used.iter().map(|n| keys.len() + n))
            .map(|i| {
                let column = &relation.columns[i];
                Field::new(&column.name, column.data_type.arrow(), true)
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let updating = relation.updating;
        let node = self.add(NodeKind::GroupAggregate(spec), vec![lowered.node], schema, updating);
        let columns = (0..relation.columns.len())
            .map(|i| match i.checked_sub(keys.len()) {
                None => Some(i),
                Some(call) => used.iter().position(|&u| u == call).map(|p| p + keys.len()),
            })
            .collect();
        Ok(Lowered { node, columns, arrival: None })
    }

    fn aggregate_call(
        &self,
        call: &Aggregation,
        input: &Relation,
        lowered: &Lowered,
    ) -> AggregateCall {
        AggregateCall {
            function: call.function.clone(),
            argument: call.argument.map(|a| lowered.at(a)),
            filter: call.filter.map(|f| lowered.at(f)),
            distinct: call.distinct,
            input_type: call
                .argument
                .map_or(DataType::Null, |a| input.columns[a].data_type.arrow()),
            output_type: call.data_type.arrow(),
            name: call.name.clone(),
        }
    }

    fn window_aggregate(
        &mut self,
        relation: &Relation,
        input: &Relation,
        keys: &[usize],
        calls: &[Aggregation],
        number: usize,
    ) -> Planned<Lowered> {
        let bound = |i: usize| match relation.columns[i].role {
            Role::WindowStart(n) if n == number => Some(0),
            Role::WindowEnd(n) if n == number => Some(1),
            Role::WindowTime(n) if n == number => Some(2),
            _ => None,
        };
        let plain: Vec<usize> = (0..keys.len()).filter(|&i| bound(i).is_none()).collect();
        let plain_inputs: Vec<usize> = plain.iter().map(|&i| keys[i]).collect();
        let kept: Vec<&Aggregation> = calls.iter().collect();
        let wants_arrival = kept.iter().any(|c| needs_arrival(&c.function));
        let direct = Direct::of(input, &plain_inputs, &kept, number)?;
        let (base, window, zone, time, below);
        match &direct {
            Some(direct) => {
                base = &direct.input;
                below = inputs_of(&plain_inputs, &kept).into_iter().chain([direct.time]).collect();
                (window, zone, time) = (Some(direct.kind.clone()), direct.zone, Some(direct.time));
            }
            None => {
                base = input;
                let bounds = keys.iter().copied();
                below = inputs_of(&plain_inputs, &kept).into_iter().chain(bounds).collect();
                (window, zone, time) = (None, self.windows[number].zone, None);
            }
        }
        let lowered = self.lower(base, &below, wants_arrival, true)?;
        let window = window.unwrap_or_else(|| {
            let place = |wanted| {
                let key = (0..keys.len()).find(|&i| bound(i) == Some(wanted));
                lowered.at(keys[key.expect("the keys hold both bounds")])
            };
            WindowKind::Attached { start: place(0), end: place(1) }
        });
        let spec = WindowAggregateSpec {
            window,
            zone,
            time: time.map_or(0, |t| lowered.at(t)),
            keys: lowered.all(&plain_inputs),
            aggregates: kept.iter().map(|c| self.aggregate_call(c, base, &lowered)).collect(),
            updating: base.updating,
            arrival: lowered.arrival.filter(|_| wants_arrival),
        };
        let time_type = self.windows[number].time_type.arrow();
        let bounds = SqlType::Timestamp(3).arrow();
        let fields: Vec<Field> = plain
            .iter()
            .copied()
            .chain(keys.len()..relation.columns.len())
            .map(|i| {
                let column = &relation.columns[i];
                Field::new(&column.name, column.data_type.arrow(), true)
            })
            .chain([
                Field::new("window_start", bounds.clone(), true),
                Field::new("window_end", bounds, true),
                Field::new("window_time", time_type, true),
            ])
            .collect();
        let first_bound = fields.len() - 3;
        let schema = Arc::new(Schema::new(fields));
        let node = self.add(NodeKind::WindowAggregate(spec), vec![lowered.node], schema, false);
        let columns = (0..relation.columns.len())
            .map(|i| {
                if i >= keys.len() {
                    return Some(plain.len() + i - keys.len());
                }
                match bound(i) {
                    Some(bound) => Some(first_bound + bound),
                    None => plain.iter().position(|&p| p == i),
                }
            })
            .collect();
        Ok(Lowered { node, columns, arrival: None })
    }

    #[allow(clippy::too_many_arguments)]
    fn top_n(
        &mut self,
        relation: &Relation,
        input: &Relation,
        partition: &[usize],
        order: &[Ordering],
        (first, last): (u64, u64),
        window: Option<usize>,
        needed: &BTreeSet<usize>,
    ) -> Planned<Lowered> {
        let rank = input.columns.len();
        let below: BTreeSet<usize> = needed
            .iter()
            .copied()
            .filter(|&n| n != rank)
            .chain(partition.iter().copied())
            .chain(order.iter().map(|o| o.column))
            .collect();
        // A row and its retraction are equal but for their arrival, so rows that may be taken back
        // don't carry it.
        let lowered = self.lower(input, &below, !input.updating, true)?;
        let rank_output = needed.contains(&rank);
        let window_end = window.and_then(|number| {
            let ends =
                partition.iter().find(|&&p| input.columns[p].role == Role::WindowEnd(number));
            ends.map(|&p| lowered.at(p))
        });
        // The last row by row time is the one that came last, of several of equal time.
        let by_time = |o: &Ordering| o.descending && input.columns[o.column].role.is_row_time();
        let ties_to_last = last == 1 && matches!(order, [only] if by_time(only));
        let spec = TopNSpec {
            partition: lowered.all(partition),
            order: order
                .iter()
                .map(|o| SortTerm {
                    column: lowered.at(o.column),
                    descending: o.descending,
                    nulls_first: o.nulls_first,
                })
                .collect(),
            first,
            last,
            rank_output,
            updating: input.updating,
            ties_to_last,
            window_end,
            zone: window.and_then(|n| self.windows[n].zone),
            arrival: lowered.arrival,
        };
        let mut fields: Vec<Field> =
            self.node(lowered.node).schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let width = fields.len();
        if rank_output {
            fields.push(Field::new("__rank", DataType::Int64, true));
        }
        let schema = Arc::new(Schema::new(fields));
        let updating = relation.updating;
        let node = self.add(NodeKind::TopN(spec), vec![lowered.node], schema, updating);
        let mut columns = lowered.columns.clone();
        columns.push(rank_output.then_some(width));
        Ok(Lowered { node, columns, arrival: lowered.arrival })
    }

    fn join(&mut self, relation: &Relation, needed: &BTreeSet<usize>) -> Planned<Lowered> {
        let Op::Join { left, right, kind, left_keys, right_keys, residual, time } = &relation.op
        else {
            unreachable!("called for joins")
        };
        let width = left.columns.len();
        let mut wanted: BTreeSet<usize> = needed.clone();
        if let Some(residual) = residual {
            residual.columns(&mut |i| {
                wanted.insert(i);
            });
        }
        match *time {
            JoinTime::Unbounded => {}
            JoinTime::Interval { left, right, .. } => wanted.extend([left, right + width]),
            JoinTime::Window { left_end, right_end, .. } => {
                wanted.extend([left_end, right_end + width]);
            }
        }
        let side = |keys: &[usize], range: std::ops::Range<usize>| -> BTreeSet<usize> {
            let start = range.start;
            let read = wanted.iter().filter(|i| range.contains(i)).map(|i| i - start);
            read.chain(keys.iter().copied()).collect()
        };
        let from_left = side(left_keys, 0..width);
        let from_right = side(right_keys, width..width + right.columns.len());
        let l = self.lower(left, &from_left, false, true)?;
        let r = self.lower(right, &from_right, false, true)?;
        let (left_schema, right_schema) =
            (self.node(l.node).schema.clone(), self.node(r.node).schema.clone());
        let left_width = left_schema.fields().len();
        let pair: Vec<Field> = left_schema
            .fields()
            .iter()
            .chain(right_schema.fields().iter())
            .map(|f| f.as_ref().clone())
            .collect();
        let place = |i: usize| if i < width { l.at(i) } else { left_width + r.at(i - width) };
        let residual = match residual {
            None => None,
            Some(expr) => {
                let compiled = Compiled::new(&expr.remap(&place), &Schema::new(pair.clone()))?;
                let residual: Arc<dyn Expression> = Arc::new(compiled);
                Some(residual)
            }
        };
        let semi = matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti);
        let spec = JoinSpec {
            kind: *kind,
            left_keys: l.all(left_keys),
            right_keys: r.all(right_keys),
            residual,
        };
        let schema = if semi { left_schema } else { Arc::new(Schema::new(pair)) };
        let inputs = vec![l.node, r.node];
        let kind = match *time {
            JoinTime::Unbounded => NodeKind::Join(spec),
            JoinTime::Interval { left, right, lower_ms, upper_ms } => {
                NodeKind::IntervalJoin(IntervalJoinSpec {
                    kind: spec.kind,
                    left_keys: spec.left_keys,
                    right_keys: spec.right_keys,
                    left_time: l.at(left),
                    right_time: r.at(right),
                    lower_ms,
                    upper_ms,
                    residual: spec.residual,
                })
            }
            JoinTime::Window { left_end, right_end, number } => {
                NodeKind::WindowJoin(WindowJoinSpec {
                    join: spec,
                    left_window_end: l.at(left_end),
                    right_window_end: r.at(right_end),
                    zone: self.windows[number].zone,
                })
            }
        };
        let node = self.add(kind, inputs, schema, relation.updating);
        let columns = (0..relation.columns.len())
            .map(|i| match i.checked_sub(width) {
                None => l.columns[i],
                Some(right) => r.columns[right].map(|c| c + left_width),
            })
            .collect();
        Ok(Lowered { node, columns, arrival: None })
    }

    /// `ROW_NUMBER` in the order of time: a running count, for time never goes back.
    fn running_number(
        &mut self,
        relation: &Relation,
        input: &Relation,
        partition: &[usize],
        time: usize,
        needed: &BTreeSet<usize>,
    ) -> Planned<Lowered> {
        let count = OverCall::Aggregate(Aggregation {
            function: AggregateFunction::CountRows,
            argument: None,
            filter: None,
            distinct: false,
            data_type: SqlType::BigInt,
            name: "__rank".into(),
        });
        let frame = Frame::Rows { preceding: None };
        self.over(relation, input, partition, time, frame, &[count], needed)
    }

    #[allow(clippy::too_many_arguments)]
    fn over(
        &mut self,
        relation: &Relation,
        input: &Relation,
        partition: &[usize],
        time: usize,
        frame: Frame,
        calls: &[OverCall],
        needed: &BTreeSet<usize>,
    ) -> Planned<Lowered> {
        let width = input.columns.len();
        let arguments = calls.iter().flat_map(|call| match call {
            OverCall::Aggregate(a) => a.argument.into_iter().chain(a.filter),
            OverCall::Lag { argument, default, .. } => Some(*argument).into_iter().chain(*default),
        });
        let below: BTreeSet<usize> = needed
            .iter()
            .copied()
            .filter(|&n| n < width)
            .chain(partition.iter().copied())
            .chain([time])
            .chain(arguments)
            .collect();
        let lowered = self.lower(input, &below, true, true)?;
        let functions = calls
            .iter()
            .map(|call| match call {
                OverCall::Aggregate(a) => {
                    OverFunction::Aggregate(self.aggregate_call(a, input, &lowered))
                }
                OverCall::Lag { argument, offset, default, name } => OverFunction::Lag {
                    argument: lowered.at(*argument),
                    offset: *offset,
                    default: default.map(|d| lowered.at(d)),
                    name: name.clone(),
                },
            })
            .collect();
        let spec = OverSpec {
            partition: lowered.all(partition),
            time: lowered.at(time),
            frame,
            functions,
            arrival: lowered.arrival,
        };
        let mut fields: Vec<Field> =
            self.node(lowered.node).schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let first = fields.len();
        fields.extend(
            relation.columns[width..]
                .iter()
                .map(|column| Field::new(&column.name, column.data_type.arrow(), true)),
        );
        let schema = Arc::new(Schema::new(fields));
        let node = self.add(NodeKind::Over(spec), vec![lowered.node], schema, false);
        let mut columns = lowered.columns.clone();
        columns.extend((0..calls.len()).map(|i| Some(first + i)));
        Ok(Lowered { node, columns, arrival: lowered.arrival })
    }

    fn unnest(
        &mut self,
        relation: &Relation,
        input: &Relation,
        (collection, outer, ordinality): (usize, bool, bool),
        needed: &BTreeSet<usize>,
        arrival: bool,
        retractions: bool,
    ) -> Planned<Lowered> {
        let width = input.columns.len();
        let below: BTreeSet<usize> =
            needed.iter().copied().filter(|&n| n < width).chain([collection]).collect();
        let lowered = self.lower(input, &below, arrival, retractions)?;
        let mut fields: Vec<Field> =
            self.node(lowered.node).schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        let first = fields.len();
        fields.extend(
            relation.columns[width..]
                .iter()
                .map(|column| Field::new(&column.name, column.data_type.arrow(), true)),
        );
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let spec = UnnestSpec {
            collection: lowered.at(collection),
            is_multiset: matches!(input.columns[collection].data_type, SqlType::Multiset(_)),
            outer,
            ordinality,
            schema: schema.clone(),
        };
        let updating = relation.updating;
        let node = self.add(NodeKind::Unnest(spec), vec![lowered.node], schema, updating);
        let mut columns = lowered.columns.clone();
        columns.extend((width..relation.columns.len()).map(|i| Some(first + i - width)));
        Ok(Lowered { node, columns, arrival: lowered.arrival })
    }

    fn union(
        &mut self,
        relation: &Relation,
        inputs: &[Relation],
        needed: &BTreeSet<usize>,
        arrival: bool,
        retractions: bool,
    ) -> Planned<Lowered> {
        let wanted: Vec<usize> = needed.iter().copied().collect();
        let lowered = (inputs.iter())
            .map(|input| self.lower(input, needed, arrival, retractions))
            .collect::<Planned<Vec<_>>>()?;
        let arrival = arrival && lowered.iter().all(|l| l.arrival.is_some());
        let mut nodes = Vec::with_capacity(inputs.len());
        for (lowered, input) in lowered.iter().zip(inputs) {
            let exprs = wanted
                .iter()
                .map(|&w| {
                    let data_type = input.columns[w].data_type.clone();
                    Expr::column(lowered.at(w), data_type, At::default())
                })
                .collect();
            let names: Vec<String> =
                wanted.iter().map(|&w| relation.columns[w].name.clone()).collect();
            let arrival = lowered.arrival.filter(|_| arrival);
            let updating = input.updating;
            nodes.push(self.map(lowered.node, None, None, exprs, &names, arrival, updating)?);
        }
        let schema = self.node(nodes[0]).schema.clone();
        let node = self.add(NodeKind::Union, nodes, schema, relation.updating);
        let columns =
            (0..relation.columns.len()).map(|i| wanted.iter().position(|&w| w == i)).collect();
        Ok(Lowered { node, columns, arrival: arrival.then_some(wanted.len()) })
    }
}

/// How far a node's rows may lie behind the watermark that its input had.
fn own_lag(kind: &NodeKind) -> i64 {
    match kind {
        NodeKind::IntervalJoin(spec) => spec.upper_ms.max(-spec.lower_ms).max(0),
        _ => 0,
    }
}

/// Whether an order is that of time, so that ranks never change.
fn runs_with_time(input: &Relation, order: &[Ordering]) -> bool {
    let by_time = |o: &Ordering| !o.descending && input.columns[o.column].role.is_row_time();
    !input.updating && matches!(order, [only] if by_time(only))
}

fn inputs_of(keys: &[usize], calls: &[&Aggregation]) -> BTreeSet<usize> {
    keys.iter()
        .copied()
        .chain(calls.iter().flat_map(|c| c.argument.into_iter().chain(c.filter)))
        .collect()
}

fn with_window_columns(schema: &Schema, time: usize) -> SchemaRef {
    let bound = SqlType::Timestamp(3).arrow();
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    let time_type = schema.field(time).data_type().clone();
    fields.push(Field::new("window_start", bound.clone(), true));
    fields.push(Field::new("window_end", bound, true));
    fields.push(Field::new("window_time", time_type, true));
    Arc::new(Schema::new(fields))
}

fn session_alone(at: At) -> Box<Refusal> {
    Refusal::new(
        ErrorKind::Unsupported,
        at,
        "sessions without an aggregate over their bounds are not supported yet",
    )
    .hint("GROUP BY the partition keys, window_start and window_end")
}

/// A projection, a filter and a window assignment, as far as a relation has them, over a base.
struct Stretch<'r> {
    exprs: Vec<Expr>,
    predicate: Option<Expr>,
    window: Option<StretchWindow>,
    base: &'r Relation,
}

struct StretchWindow {
    kind: WindowKind,
    zone: tidemill_operators::window::Zone,
    time: usize,
    keys: Vec<usize>,
    number: usize,
    at: At,
}

impl<'r> Stretch<'r> {
    fn of(relation: &'r Relation) -> Stretch<'r> {
        let (exprs, mut base) = match &relation.op {
            Op::Project { input, exprs } => (exprs.clone(), input.as_ref()),
            _ => (relation.all_columns(At::default()), relation),
        };
        let mut predicate = None;
        if let Op::Filter { input, predicate: p } = &base.op {
            predicate = Some(p.clone());
            base = input;
        }
        let mut window = None;
        if let Op::Window { input, window: kind, zone, time, keys, number, at } = &base.op {
            window = Some(StretchWindow {
                kind: kind.clone(),
                zone: *zone,
                time: *time,
                keys: keys.clone(),
                number: *number,
                at: *at,
            });
            base = input;
        }
        Stretch { exprs, predicate, window, base }
    }
}

/// An aggregate's input that only assigns windows: the aggregate can do that itself.
struct Direct {
    /// The input without the windows; the row time is its last column.
    input: Relation,
    kind: WindowKind,
    zone: tidemill_operators::window::Zone,
    time: usize,
}

impl Direct {
    fn of(
        input: &Relation,
        keys: &[usize],
        calls: &[&Aggregation],
        number: usize,
    ) -> Planned<Option<Direct>> {
        let stretch = Stretch::of(input);
        let Some(window) = stretch.window.filter(|w| w.number == number) else {
            return Ok(None);
        };
        let width = stretch.base.columns.len();
        let reads_bounds = |e: &Expr| {
            let mut reads = false;
            e.columns(&mut |i| reads |= i >= width);
            reads
        };
        let session = matches!(window.kind, WindowKind::Session { .. });
        let used = inputs_of(keys, calls);
        let bounds = used.iter().any(|&i| reads_bounds(&stretch.exprs[i]))
            || stretch.predicate.as_ref().is_some_and(reads_bounds);
        if session {
            let partition: BTreeSet<usize> = window.keys.iter().copied().collect();
            let grouped: Option<BTreeSet<usize>> =
                keys.iter().map(|&k| stretch.exprs[k].as_column()).collect();
            let same = window.keys == [usize::MAX] || grouped == Some(partition);
            if bounds || stretch.predicate.is_some() || !same {
                return Err(Refusal::new(
                    ErrorKind::Unsupported,
                    window.at,
                    "sessions must be grouped by exactly their partition keys and bounds",
                )
                .hint("write SESSION(TABLE t PARTITION BY k, …) … GROUP BY k, window_start, window_end"));
            }
        }
        if bounds {
            return Ok(None);
        }
        let base = stretch.base.clone();
        let filtered = match stretch.predicate {
            Some(predicate) => Relation::filter(base, predicate),
            None => base,
        };
        // Columns keep their numbers; what is not used may be anything, so the time goes last.
        let time_type = filtered.columns[window.time].data_type.clone();
        let time = Expr::column(window.time, time_type, window.at);
        let exprs: Vec<Expr> = (stretch.exprs.iter())
            .map(|e| if reads_bounds(e) { time.clone() } else { e.clone() })
            .chain([time.clone()])
            .collect();
        let mut names = input.names();
        names.push("__time".into());
        let time = exprs.len() - 1;
        let input = Relation::project(filtered, exprs, names);
        Ok(Some(Direct { input, kind: window.kind, zone: window.zone, time }))
    }
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
