//! Aggregates in a select: collected while its expressions are bound, then put below them.

use super::Binder;
use super::call::{Arguments, wrong_count};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::planner::expr::{Expr, ExprKind};
use crate::planner::functions::{AggregateName, aggregate_type};
use crate::types::SqlType;
use sqlparser::ast::Expr as Ast;
use tidemill_operators::aggregate::AggregateFunction;

/// An aggregate over the rows of the select's input.
#[derive(Clone, Debug)]
pub(crate) struct AggregateExpr {
    pub function: AggregateFunction,
    pub argument: Option<Expr>,
    pub filter: Option<Expr>,
    pub distinct: bool,
    pub data_type: SqlType,
    pub text: String,
}

impl AggregateExpr {
    pub(super) fn is(&self, other: &AggregateExpr) -> bool {
        let same = |a: &Option<Expr>, b: &Option<Expr>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => a.is(b),
            _ => false,
        };
        self.function == other.function
            && self.distinct == other.distinct
            && same(&self.argument, &other.argument)
            && same(&self.filter, &other.filter)
    }
}

impl Binder<'_, '_> {
    pub(super) fn aggregate(
        &mut self,
        function: AggregateName,
        name: &str,
        args: &Arguments<'_>,
        filter: Option<&Ast>,
        at: At,
    ) -> Planned<Expr> {
        self.check_clause(ErrorKind::MisplacedAggregate, &format!("the aggregate {name}"), at)?;
        if self.inside_aggregate {
            let message = "aggregates can't be nested";
            return Err(Refusal::new(ErrorKind::MisplacedAggregate, at, message)
                .hint("aggregate the inner one in a sub-query"));
        }
        self.inside_aggregate = true;
        let bound = self.aggregate_parts(function, name, args, filter, at);
        self.inside_aggregate = false;
        let bound = bound?;
        let number = self.aggregates.iter().position(|a| a.is(&bound)).unwrap_or_else(|| {
            self.aggregates.push(bound.clone());
            self.aggregates.len() - 1
        });
        Ok(Expr::new(ExprKind::Aggregate(number), bound.data_type, at))
    }

    /// The aggregate with its arguments checked.
    pub(super) fn aggregate_parts(
        &mut self,
        function: AggregateName,
        name: &str,
        args: &Arguments<'_>,
        filter: Option<&Ast>,
        at: At,
    ) -> Planned<AggregateExpr> {
        let filter = filter.map(|f| self.condition(f)).transpose()?;
        let text = format!("{name}({})", if args.star { "*" } else { "…" });
        if function == AggregateName::Count && args.star {
            return Ok(AggregateExpr {
                function: AggregateFunction::CountRows,
                argument: None,
                filter,
                distinct: false,
                data_type: SqlType::BigInt,
                text,
            });
        }
        let [first, rest @ ..] = args.values.as_slice() else {
            return Err(wrong_count(name, "1 argument", 0, at));
        };
        let argument = self.bind(first)?;
        let mut separator = None;
        match (function, rest) {
            (_, []) => {}
            (AggregateName::ListAgg, [second]) => {
                let bound = self.bind(second)?;
                let text = bound.as_literal().map(|v| v.to_string());
                separator = Some(text.ok_or_else(|| {
                    let message = "the separator of LISTAGG must be a constant string";
                    Refusal::new(ErrorKind::WrongArguments, bound.at, message)
                })?);
            }
            (AggregateName::Count, _) => {
                let message = "COUNT of several columns is not supported";
                return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                    .hint("count a ROW(…) of them, or COUNT(*)"));
            }
            _ => return Err(wrong_count(name, "1 argument", args.values.len(), at)),
        }
        let data_type = aggregate_type(function, name, &argument)?;
        let argument = match function {
            AggregateName::ListAgg => self.planner.cast(argument, &SqlType::String)?,
            _ if argument.data_type == SqlType::Null => {
                self.planner.cast(argument, &SqlType::Int)?
            }
            _ => argument,
        };
        let function = function.function(separator);
        // The least of distinct values is the least.
        let matters = !matches!(function, AggregateFunction::Min | AggregateFunction::Max);
        Ok(AggregateExpr {
            function,
            argument: Some(argument),
            filter,
            distinct: args.distinct && matters,
            data_type,
            text,
        })
    }

    /// `GROUPING(a, b)`: an aggregate in name only; the select replaces it.
    pub(super) fn grouping(&mut self, name: &str, args: &[&Ast], at: At) -> Planned<Expr> {
        self.check_clause(ErrorKind::MisplacedAggregate, name, at)?;
        let args = self.all(args.iter().copied())?;
        let udf = crate::planner::functions::grouping_marker();
        Ok(Expr::new(ExprKind::Call(udf, args), SqlType::BigInt, at))
    }
}
