//! Constants: relations whose rows follow from the job's text alone.
//!
//! A join with one needs no state: see [`tidemill_operators::constant_join`]. What counts as one is
//! decided here by its shape; its rows are computed when the join is lowered
//! ([`lower/constant.rs`](super::lower)).

use super::expr::{Expr, ExprKind};
use super::relation::{JoinTime, Op, Relation};
use super::rewrite::is_volatile;
use super::time_filter::reads_clock;

/// So many rows are held by every worker, at most. A text hardly has that many; joined with
/// another, its rows may become as many.
const ROWS_MAX: usize = 65_536;
/// So many if each row of the other side meets all of them: a batch becomes one batch.
const ROWS_MET_MAX: usize = 256;

/// Whether all workers can be given the whole of a relation before anything runs; `meets_all` says
/// that each row that it is joined with may have all of its rows as partners.
pub(super) fn is_constant(relation: &Relation, meets_all: bool) -> bool {
    let most = if meets_all { ROWS_MET_MAX } else { ROWS_MAX };
    rows_max(relation).is_some_and(|rows| rows <= most)
}

/// How many rows a constant has at most; none if it is no constant.
fn rows_max(relation: &Relation) -> Option<usize> {
    match &relation.op {
        Op::Values(rows) => Some(rows.num_rows()),
        Op::Project { input, exprs } if exprs.iter().all(always_gives_the_same) => rows_max(input),
        Op::Filter { input, predicate } if always_gives_the_same(predicate) => rows_max(input),
        Op::Aggregate { input, window: None, .. } => rows_max(input),
        Op::Union { inputs } => {
            inputs.iter().map(rows_max).try_fold(0, |all: usize, rows| all.checked_add(rows?))
        }
        Op::Join { left, right, residual, time: JoinTime::Constant, .. }
            if residual.as_ref().is_none_or(always_gives_the_same) =>
        {
            rows_max(left)?.checked_mul(rows_max(right)?.max(1))
        }
        _ => None,
    }
}

/// Whether an expression gives the same for equal rows at any time and anywhere.
pub(super) fn always_gives_the_same(expr: &Expr) -> bool {
    let reads_around = |e: &Expr| matches!(e.kind, ExprKind::Outer(_) | ExprKind::Subquery(_));
    !is_volatile(expr) && !reads_clock(expr) && !expr.any(&mut |e| reads_around(e))
}
