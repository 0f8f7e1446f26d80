//! Window functions: `ROW_NUMBER() OVER (…)` and aggregates over frames.

use super::Binder;
use super::call::Arguments;
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::planner::expr::{Expr, ExprKind};
use crate::types::SqlType;
use sqlparser::ast::{self, NamedWindowExpr, WindowType};

/// A rank of the rows of a partition.
#[derive(Clone, Debug)]
pub(crate) struct OverExpr {
    pub partition: Vec<Expr>,
    /// Value, whether descending, whether NULLs come first.
    pub order: Vec<(Expr, bool, bool)>,
    pub at: At,
}

impl Binder<'_, '_> {
    pub(super) fn over(
        &mut self,
        name: &str,
        args: &Arguments<'_>,
        over: &WindowType,
        at: At,
    ) -> Planned<Expr> {
        self.check_clause(ErrorKind::MisplacedAggregate, "a window function", at)?;
        if name != "ROW_NUMBER" {
            return Err(unsupported(name, at));
        }
        if !args.values.is_empty() {
            return Err(super::call::wrong_count(name, "no arguments", args.values.len(), at));
        }
        let spec = self.window_spec(over, at)?;
        let partition = self.all(&spec.partition_by)?;
        if spec.order_by.is_empty() {
            let message = "ROW_NUMBER needs an ORDER BY in its OVER clause";
            return Err(Refusal::new(ErrorKind::Unsupported, at, message));
        }
        let order = (spec.order_by.iter())
            .map(|term| {
                let (descending, nulls_first) = direction(&term.options);
                Ok((self.bind(&term.expr)?, descending, nulls_first))
            })
            .collect::<Planned<_>>()?;
        self.overs.push(OverExpr { partition, order, at });
        Ok(Expr::new(ExprKind::Over(self.overs.len() - 1), SqlType::BigInt, at))
    }

    fn window_spec(&self, over: &WindowType, at: At) -> Planned<ast::WindowSpec> {
        let name = match over {
            WindowType::WindowSpec(spec) => return Ok(spec.clone()),
            WindowType::NamedWindow(name) => name,
        };
        let found = self.named_windows.iter().find(|w| w.0.value.eq_ignore_ascii_case(&name.value));
        match found.map(|w| &w.1) {
            Some(NamedWindowExpr::WindowSpec(spec)) => Ok(spec.clone()),
            Some(NamedWindowExpr::NamedWindow(other)) => {
                self.window_spec(&WindowType::NamedWindow(other.clone()), at)
            }
            None => {
                let message = format!("there is no window '{}'", name.value);
                Err(Refusal::new(ErrorKind::UnknownTable, at, message)
                    .hint("define it with WINDOW name AS (…)"))
            }
        }
    }
}

/// Whether a term of an order descends, and whether its NULLs come first. NULL is the least value.
pub(super) fn direction(options: &ast::OrderByOptions) -> (bool, bool) {
    let descending = options.asc == Some(false);
    (descending, options.nulls_first.unwrap_or(!descending))
}

fn unsupported(name: &str, at: At) -> Box<Refusal> {
    let message = format!("{name} with an OVER clause is not supported");
    let refusal = Refusal::new(ErrorKind::Unsupported, at, message);
    match name {
        "RANK" | "DENSE_RANK" => refusal.hint("ROW_NUMBER is; add a column that decides ties"),
        _ => refusal.hint("only ROW_NUMBER, kept to its first ranks by a WHERE around it, is"),
    }
}
