//! What brings several inputs together: joins and unions.

use super::constant::Constants;
use super::lookup::{self, LookedUp};
use super::{Lowered, Lowering};
use crate::error::{At, Planned};
use crate::plan::{Node, NodeId, NodeKind};
use crate::planner::compile::Compiled;
use crate::planner::expr::Expr;
use crate::planner::relation::{JoinTime, Op, Relation};
use arrow::datatypes::{Field, Schema};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemill_formats::Changelog;
use tidemill_operators::constant_join::ConstantJoinSpec;
use tidemill_operators::interval_join::IntervalJoinSpec;
use tidemill_operators::join::{ArrangeSpec, JoinKind, JoinSpec, Residual};
use tidemill_operators::temporal_join::TemporalJoinSpec;
use tidemill_operators::window_join::WindowJoinSpec;

impl Lowering<'_> {
    pub(super) fn join(
        &mut self,
        relation: &Relation,
        needed: &BTreeSet<usize>,
        arrival: bool,
    ) -> Planned<Lowered> {
        let Op::Join { left, right, kind, left_keys, right_keys, residual, time, ttl_ms } =
            &relation.op
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
            JoinTime::Unbounded | JoinTime::Lookup | JoinTime::Constant => {}
            JoinTime::Interval { left, right, .. } | JoinTime::Temporal { left, right } => {
                wanted.extend([left, right + width]);
            }
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
        // Behind a join that keeps nothing, rows are still in the order in which they came.
        let arrival = arrival && *time == JoinTime::Constant;
        let l = self.lower_narrow(left, &from_left, arrival, true)?;
        let side = match time {
            JoinTime::Lookup => RightSide::LookedUp(self.looked_up(right, &from_right)?),
            JoinTime::Constant => RightSide::Constant(self.constants(right, &from_right)?),
            _ => RightSide::Node(self.lower_narrow(right, &from_right, false, true)?),
        };
        let r = side.place().clone();
        let left_schema = self.node(l.node).schema.clone();
        let right_schema = match &side {
            RightSide::Node(rows) => self.node(rows.node).schema.clone(),
            RightSide::LookedUp(table) => table.nodes[r.node].schema.clone(),
            RightSide::Constant(constants) => constants.rows.schema(),
        };
        let left_width = left_schema.fields().len();
        let pair: Vec<Field> = left_schema
            .fields()
            .iter()
            .chain(right_schema.fields().iter())
            .map(|f| f.as_ref().clone())
            .collect();
        let place = |i: usize| if i < width { l.at(i) } else { left_width + r.at(i - width) };
        let schema = Schema::new(pair.clone());
        let residual = residual.as_ref().map(|expr| reads_little(&expr.remap(&place), &schema));
        let residual = residual.transpose()?;
        let semi = matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti);
        let spec = JoinSpec {
            kind: *kind,
            left_keys: l.all(left_keys),
            right_keys: r.all(right_keys),
            residual,
            only_grows: [!left.updating, !right.updating],
            // What else bounds a join's state bounds it exactly.
            ttl_ms: match time {
                JoinTime::Unbounded => ttl_ms.map(|hinted| self.lifetime(hinted)),
                _ => [None, None],
            },
        };
        let schema = if semi { left_schema } else { Arc::new(Schema::new(pair)) };
        let mut inputs = vec![l.node];
        if let RightSide::Node(rows) = &side {
            inputs.push(rows.node);
        }
        let kind = match (*time, side) {
            (_, RightSide::LookedUp(table)) => lookup::plan(spec, table, right, right_keys)?,
            (_, RightSide::Constant(constants)) => {
                NodeKind::ConstantJoin(ConstantJoinSpec { join: spec, rows: constants.rows })
            }
            (JoinTime::Unbounded | JoinTime::Lookup | JoinTime::Constant, _) => {
                if spec.is_arranged() {
                    self.arrange(&mut inputs, &spec);
                }
                NodeKind::Join(spec)
            }
            (JoinTime::Interval { left, right, lower_ms, upper_ms }, _) => {
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
            (JoinTime::Temporal { left, right }, _) => NodeKind::TemporalJoin(TemporalJoinSpec {
                kind: spec.kind,
                left_keys: spec.left_keys,
                right_keys: spec.right_keys,
                left_time: l.at(left),
                right_time: r.at(right),
                residual: spec.residual,
            }),
            (JoinTime::Window { left_end, right_end, number }, _) => {
                NodeKind::WindowJoin(WindowJoinSpec {
                    join: spec,
                    left_window_end: l.at(left_end),
                    right_window_end: r.at(right_end),
                    zone: self.windows[number].zone,
                })
            }
        };
        let node = match *time {
            JoinTime::Window { number, .. } => self.add_windowed(kind, inputs, schema, number),
            _ => self.add(kind, inputs, schema, relation.updating),
        };
        let columns = (0..relation.columns.len())
            .map(|i| match i.checked_sub(width) {
                None => l.columns[i],
                Some(right) => r.columns[right].map(|c| c + left_width),
            })
            .collect();
        Ok(Lowered { node, columns, arrival: l.arrival.filter(|_| arrival) })
    }

    /// Puts an arrangement before each input of a join: the same one for all joins that need it.
    fn arrange(&mut self, inputs: &mut [NodeId], spec: &JoinSpec) {
        for (port, input) in inputs.iter_mut().enumerate() {
            let keys = spec.keys(port).to_vec();
            let arrange = ArrangeSpec { keys, only_grows: spec.only_grows[port] };
            let Node { schema, changelog, .. } = self.node(*input);
            let (schema, updating) = (schema.clone(), *changelog != Changelog::AppendOnly);
            *input = self.add(NodeKind::Arrange(arrange), vec![*input], schema, updating);
        }
    }

    pub(super) fn union(
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

/// Where the right side of a join has its rows from.
enum RightSide {
    /// A node of the dataflow.
    Node(Lowered),
    /// A table that is looked up.
    LookedUp(LookedUp),
    /// The text.
    Constant(Constants),
}

impl RightSide {
    /// Where the relation's columns are.
    fn place(&self) -> &Lowered {
        match self {
            RightSide::Node(rows) => rows,
            RightSide::LookedUp(table) => &table.rows,
            RightSide::Constant(constants) => &constants.place,
        }
    }
}

/// A condition over pairs of rows, compiled over the columns that it reads.
fn reads_little(condition: &Expr, pair: &Schema) -> Planned<Residual> {
    let mut reads = BTreeSet::new();
    condition.columns(&mut |column| {
        reads.insert(column);
    });
    let reads: Vec<usize> = reads.into_iter().collect();
    let place = |column| reads.binary_search(&column).expect("collected above");
    let schema = Schema::new(reads.iter().map(|&i| pair.field(i).clone()).collect::<Vec<_>>());
    let condition = Arc::new(Compiled::new(&condition.remap(&place), &schema)?);
    Ok(Residual { condition, reads })
}
