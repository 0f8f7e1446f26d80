//! Joins with tables that are looked up: the right side is no node of the dataflow but part of
//! the join.

use super::{Lowered, Lowering};
use crate::error::{ErrorKind, Planned, Refusal};
use crate::plan::{LookupJoinPlan, Node, NodeKind};
use crate::planner::Scan;
use crate::planner::relation::{Op, Relation};
use std::collections::{BTreeMap, BTreeSet};
use tidemill_formats::LookupKind;
use tidemill_operators::join::JoinSpec;
use tidemill_operators::map::MapSpec;

/// The right side of a lookup join: a table, and the stateless steps from its rows to those that
/// are joined.
pub(super) struct LookedUp {
    pub(super) nodes: Vec<Node>,
    pub(super) rows: Lowered,
}

impl Lowering<'_> {
    /// Lowers the right side by itself: once to learn which columns it needs, and then with those.
    pub(super) fn looked_up(
        &self,
        right: &Relation,
        needed: &BTreeSet<usize>,
    ) -> Planned<LookedUp> {
        let mut needs = BTreeMap::new();
        loop {
            let mut alone = Lowering::new(self.windows, None, needs, BTreeMap::new());
            let rows = alone.lower(right, needed, false, true)?;
            let is_complete = matches!(
                alone.nodes.first().map(|node| &node.kind),
                Some(NodeKind::Source(source))
                    if alone.needs.get(&source.table.name)
                        .is_some_and(|needs| needs.reads.columns().eq(source.columns.iter().copied()))
            );
            needs = alone.needs;
            if is_complete {
                return Ok(LookedUp { nodes: alone.nodes, rows });
            }
        }
    }
}

/// The node of a join with a table that is looked up, over the columns of `side`.
pub(super) fn plan(
    join: JoinSpec,
    side: LookedUp,
    right: &Relation,
    right_keys: &[usize],
) -> Planned<NodeKind> {
    let scan = table(right);
    let schema = side.nodes[side.rows.node].schema.clone();
    let mut nodes = side.nodes.into_iter();
    let Some(NodeKind::Source(source)) = nodes.next().map(|node| node.kind) else {
        unreachable!("a table that is looked up stands alone on the right side")
    };
    let steps = nodes.map(|node| match node.kind {
        NodeKind::Map(step) => step,
        other => unreachable!("{other:?} does not stand between a table and its lookup"),
    });
    let steps: Vec<MapSpec> = steps.collect();
    let kind = scan.lookup.expect("it was bound to be looked up");
    let key_columns: Option<Vec<usize>> =
        right_keys.iter().map(|&key| physical(right, key)).collect();
    if kind == LookupKind::ByKey && key_columns.is_none() {
        let at = right_keys.iter().find(|&&key| physical(right, key).is_none());
        let at = at.and_then(|&key| computed_at(right, key)).unwrap_or_default();
        let message = format!(
            "table '{}' is looked up by columns as they stand, not by what is computed of them",
            source.table.name
        );
        return Err(Refusal::new(ErrorKind::Unsupported, at, message)
            .hint("CAST the left side to the column's type, or compute there"));
    }
    let (table, columns) = (source.table, source.columns);
    Ok(NodeKind::LookupJoin(LookupJoinPlan {
        join,
        table,
        kind,
        columns,
        steps,
        schema,
        key_columns,
    }))
}

fn table(relation: &Relation) -> &Scan {
    match &relation.op {
        Op::Scan(scan) => scan,
        Op::Project { input, .. } | Op::Filter { input, .. } => table(input),
        other => unreachable!("{other:?} does not stand on a table that is looked up"),
    }
}

/// The table's column that a column is, if it is one as it stands.
fn physical(relation: &Relation, column: usize) -> Option<usize> {
    match &relation.op {
        Op::Scan(_) => Some(column),
        Op::Project { input, exprs } => physical(input, exprs[column].as_column()?),
        Op::Filter { input, .. } => physical(input, column),
        _ => None,
    }
}

/// Where a column is computed.
fn computed_at(relation: &Relation, column: usize) -> Option<crate::error::At> {
    match &relation.op {
        Op::Project { input, exprs } => match exprs[column].as_column() {
            Some(below) => computed_at(input, below),
            None => Some(exprs[column].at),
        },
        Op::Filter { input, .. } => computed_at(input, column),
        _ => None,
    }
}
