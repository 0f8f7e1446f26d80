//! Whose kernels the parts of an expression run on, read off the bound expression. The reference of
//! functions says it of each, and a test holds that against what is read here.

use super::expr::{Expr, ExprKind};
use crate::functions::{self, Kernel};

/// The parts of an expression that compute something, outermost first: their names, if they are
/// functions, and whose kernels they are.
pub(crate) fn kernels(expr: &Expr) -> Vec<(String, Kernel)> {
    let mut found = Vec::new();
    expr.any(&mut |part| {
        found.extend(kernel(part));
        false
    });
    found
}

fn kernel(part: &Expr) -> Option<(String, Kernel)> {
    match &part.kind {
        ExprKind::Call(function, _) => {
            Some((function.name().to_owned(), functions::kernel(function)))
        }
        // Physical expressions of DataFusion's: see `compile`; the conditions of a `choice` are.
        ExprKind::Binary(..)
        | ExprKind::Not(_)
        | ExprKind::IsNull(_)
        | ExprKind::Case { .. }
        | ExprKind::Widen(_)
        | ExprKind::Like { .. }
        | ExprKind::In { .. } => Some((String::new(), Kernel::DataFusion)),
        ExprKind::Column(_)
        | ExprKind::Outer(_)
        | ExprKind::Literal(_)
        | ExprKind::Aggregate(_)
        | ExprKind::Over(_)
        | ExprKind::Subquery(_) => None,
    }
}
