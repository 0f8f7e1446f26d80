//! What a join's condition says about time: an interval between row times, or equal windows.

use crate::planner::expr::{Expr, ExprKind};
use crate::planner::relation::{JoinTime, Relation, Role};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;

/// Takes the bounds on `left time - right time` out of the conjuncts, if there are a lower and an
/// upper one for one pair of row times.
pub(super) fn interval_bounds(
    left: &Relation,
    right: &Relation,
    conjuncts: Vec<Expr>,
) -> (JoinTime, Vec<Expr>) {
    let width = left.columns.len();
    let is_time = |i: usize| {
        let column = if i < width { &left.columns[i] } else { &right.columns[i - width] };
        column.role.is_row_time()
    };
    let bounds: Vec<Option<Bound>> = conjuncts
        .iter()
        .map(|c| Bound::of(c, width).filter(|b| is_time(b.left) && is_time(b.right + width)))
        .collect();
    let Some(first) = bounds.iter().flatten().next() else {
        return (JoinTime::Unbounded, conjuncts);
    };
    let (left, right) = (first.left, first.right);
    let same = |b: &&Bound| b.left == left && b.right == right;
    let lower_ms = bounds.iter().flatten().filter(same).filter_map(|b| b.lower_ms).max();
    let upper_ms = bounds.iter().flatten().filter(same).filter_map(|b| b.upper_ms).min();
    let (Some(lower_ms), Some(upper_ms)) = (lower_ms, upper_ms) else {
        return (JoinTime::Unbounded, conjuncts);
    };
    let rest = conjuncts
        .into_iter()
        .zip(&bounds)
        .filter(|(_, bound)| !bound.as_ref().is_some_and(|b| same(&b)))
        .map(|(conjunct, _)| conjunct)
        .collect();
    (JoinTime::Interval { left, right, lower_ms, upper_ms }, rest)
}

/// One comparison of two row times.
struct Bound {
    left: usize,
    right: usize,
    lower_ms: Option<i64>,
    upper_ms: Option<i64>,
}

impl Bound {
    fn of(conjunct: &Expr, width: usize) -> Option<Bound> {
        let ExprKind::Binary(op, a, b) = &conjunct.kind else { return None };
        let ((a, shift_a), (b, shift_b)) = (shifted(a)?, shifted(b)?);
        // a + shift_a op b + shift_b, brought to: left - right op difference
        let (op, left, right, difference) = match (a < width, b < width) {
            (true, false) => (*op, a, b - width, shift_b.checked_sub(shift_a)?),
            (false, true) => (op.swap()?, b, a - width, shift_a.checked_sub(shift_b)?),
            _ => return None,
        };
        let (lower_ms, upper_ms) = match op {
            Operator::Eq => (Some(difference), Some(difference)),
            Operator::GtEq => (Some(difference), None),
            Operator::Gt => (Some(difference + 1), None),
            Operator::LtEq => (None, Some(difference)),
            Operator::Lt => (None, Some(difference - 1)),
            _ => return None,
        };
        Some(Bound { left, right, lower_ms, upper_ms })
    }
}

/// A column and what is added to it, in milliseconds.
fn shifted(expr: &Expr) -> Option<(usize, i64)> {
    match &expr.kind {
        ExprKind::Column(index) => Some((*index, 0)),
        ExprKind::Call(udf, args) => {
            let sign = match udf.name() {
                "FLINK_TIME_ADD" => 1,
                "FLINK_TIME_SUB" => -1,
                _ => return None,
            };
            let [time, interval] = &args[..] else { return None };
            let (column, shift) = shifted(time)?;
            match interval.as_literal()? {
                ScalarValue::DurationMillisecond(Some(ms)) => {
                    Some((column, shift.checked_add(ms.checked_mul(sign)?)?))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether the keys of a join hold both bounds of windows on both sides.
pub(super) fn window_bounds(
    left: &Relation,
    right: &Relation,
    left_keys: &[usize],
    right_keys: &[usize],
) -> JoinTime {
    let roles = left_keys
        .iter()
        .zip(right_keys)
        .map(|(&l, &r)| (left.columns[l].role, right.columns[r].role, l, r));
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for role in roles {
        match role {
            (Role::WindowStart(a), Role::WindowStart(b), ..) => starts.push((a, b)),
            (Role::WindowEnd(a), Role::WindowEnd(b), l, r) => ends.push((a, b, l, r)),
            _ => {}
        }
    }
    let both = ends.iter().find(|(a, b, ..)| starts.contains(&(*a, *b)));
    both.map_or(JoinTime::Unbounded, |&(number, _, left_end, right_end)| JoinTime::Window {
        left_end,
        right_end,
        number,
    })
}
