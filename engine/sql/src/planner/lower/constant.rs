//! Joins with constants: the right side is no node of the dataflow but rows of the join, which are
//! computed here.

use super::{Lowered, Lowering};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::plan::{Node, NodeKind};
use crate::planner::relation::{Op, Relation};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::collections::{BTreeMap, BTreeSet};
use tidemill_operators::constant_join::ConstantJoin;
use tidemill_operators::group_aggregate::{GroupAggregate, GroupAggregateSpec};
use tidemill_operators::map::Map;
use tidemill_operators::{Batch, EpochContext, Operator, OperatorError, Output, Watermark};

/// Rows that stand in the text, and where the relation's columns are in them.
pub(super) struct Constants {
    pub(super) rows: RecordBatch,
    pub(super) place: Lowered,
}

impl Lowering<'_> {
    /// The rows of a [constant](crate::planner::constant::is_constant), with the `needed` columns.
    pub(super) fn constants(
        &self,
        relation: &Relation,
        needed: &BTreeSet<usize>,
    ) -> Planned<Constants> {
        let mut alone = Lowering::new(self.windows, None, BTreeMap::new(), BTreeMap::new());
        let place = alone.lower_narrow(relation, needed, false, true)?;
        let mut done: Vec<RecordBatch> = Vec::with_capacity(alone.nodes.len());
        let refuse = |error: OperatorError| {
            let at = place_of(relation).unwrap_or_default();
            let message = format!("the rows of a constant table can't be computed: {error}");
            Refusal::new(ErrorKind::WrongArguments, at, message)
        };
        for node in &alone.nodes {
            let inputs: Vec<&RecordBatch> = node.inputs.iter().map(|&i| &done[i]).collect();
            done.push(computed(node, &inputs).map_err(refuse)?);
        }
        Ok(Constants { rows: done.swap_remove(place.node), place })
    }
}

/// All rows that a node ever gives for all rows of its inputs.
fn computed(node: &Node, inputs: &[&RecordBatch]) -> Result<RecordBatch, OperatorError> {
    let all = || Batch::append_only(inputs[0].clone());
    let rows = match &node.kind {
        NodeKind::Values(rows) => Batch::append_only(rows.clone()),
        NodeKind::Map(spec) => Map::new(spec.clone())?.apply(&all(), 0)?,
        NodeKind::Union => concat_batches(&node.schema, inputs.iter().copied())?.into(),
        NodeKind::GroupAggregate(spec) => grouped(spec, all())?,
        NodeKind::ConstantJoin(spec) => {
            ConstantJoin::new(spec, &inputs[0].schema())?.apply(&all(), 0)?
        }
        other => unreachable!("{other:?} is no part of a constant"),
    };
    debug_assert!((0..rows.len()).all(|row| rows.weight(row) == 1), "nothing was taken back");
    Ok(rows.into_parts().0)
}

/// The groups of all rows: what the operator gives for the only epoch.
fn grouped(spec: &GroupAggregateSpec, rows: Batch) -> Result<Batch, OperatorError> {
    let mut operator = GroupAggregate::new(spec.clone(), rows.schema())?;
    let (watermark_before, watermark_after) = (Watermark::MIN, Watermark::MIN);
    let context = EpochContext { epoch: 0, now_ms: 0, watermark_before, watermark_after };
    let mut output = Output::default();
    operator.apply(vec![vec![rows]], &context, &mut output)?;
    Ok(Batch::concat(&operator.output_schema(), &output.rows)?)
}

/// Where something of a relation stands in the text.
fn place_of(relation: &Relation) -> Option<At> {
    let own = match &relation.op {
        Op::Project { exprs, .. } => exprs.iter().map(|expr| expr.at).find(|at| at.line > 0),
        Op::Filter { predicate, .. } => Some(predicate.at),
        Op::Aggregate { at, .. } => Some(*at),
        _ => None,
    };
    let is_known = |at: &At| at.line > 0;
    own.filter(is_known).or_else(|| relation.inputs().into_iter().find_map(place_of))
}
