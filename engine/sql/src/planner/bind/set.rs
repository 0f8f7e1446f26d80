//! `UNION`, `INTERSECT`, `EXCEPT`.
//!
//! All but `UNION ALL` group by all columns, so that NULLs equal each other as the standard
//! asks: each side's rows carry a mark, and the groups' counts of marks decide.

use super::select::distinct;
use super::{Clause, Context};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::planner::Planner;
use crate::planner::expr::{Expr, ExprKind};
use crate::planner::relation::{Aggregation, Column, Op, Relation};
use crate::planner::rewrite::absorb;
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use sqlparser::ast::{Expr as Ast, SetExpr, SetOperator, SetQuantifier, Spanned};
use tidemill_operators::aggregate::AggregateFunction;
use tidemill_operators::join::JoinKind;

impl Planner<'_> {
    /// Anything that a query can be made of.
    pub(super) fn set_expr(&mut self, body: &SetExpr, context: Context<'_>) -> Planned<Relation> {
        match body {
            SetExpr::Select(select) => {
                let selected = self.select(select, &[], context)?;
                Ok(selected.relation.keep_first(selected.visible))
            }
            SetExpr::Query(query) => self.query(query, context),
            SetExpr::Values(values) => self.values(values, context),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let at = context.at_span(right.span());
                let left = self.set_expr(left, context)?;
                let right = self.set_expr(right, context)?;
                let all = match set_quantifier {
                    SetQuantifier::All => true,
                    SetQuantifier::None | SetQuantifier::Distinct => false,
                    other => {
                        let message = format!("{op} {other} is not supported");
                        return Err(Refusal::new(ErrorKind::Unsupported, at, message));
                    }
                };
                let (left, right) = self.same_columns(left, right, &format!("{op}"), at)?;
                self.set_operation(*op, all, left, right, at)
            }
            other => {
                let at = context.at(other);
                let message = format!("'{other}' is not a query");
                Err(Refusal::new(ErrorKind::Unsupported, at, message))
            }
        }
    }

    /// Both sides with the same types of columns.
    fn same_columns(
        &mut self,
        left: Relation,
        right: Relation,
        op: &str,
        at: At,
    ) -> Planned<(Relation, Relation)> {
        let (l, r) = (left.columns.len(), right.columns.len());
        if l != r {
            let message = format!("the sides of {op} have {l} and {r} columns");
            return Err(Refusal::new(ErrorKind::ColumnCount, at, message));
        }
        let mut types = Vec::with_capacity(l);
        for (i, (a, b)) in left.columns.iter().zip(&right.columns).enumerate() {
            types.push(a.data_type.common(&b.data_type).ok_or_else(|| {
                let message = format!(
                    "column {} of {op} is a {} on one side and a {} on the other",
                    i + 1,
                    a.data_type,
                    b.data_type
                );
                Refusal::new(ErrorKind::TypeMismatch, at, message)
                    .hint("CAST one of them to the other's type")
            })?);
        }
        let names = left.names();
        let cast = |side: Relation| -> Planned<Relation> {
            if side.columns.iter().zip(&types).all(|(c, t)| c.data_type == *t) {
                return Ok(side);
            }
            let exprs = (side.all_columns(at).into_iter().zip(&types))
                .map(|(e, t)| self.cast(e, t))
                .collect::<Planned<_>>()?;
            Ok(Relation::project(side, exprs, names.clone()))
        };
        Ok((cast(left)?, cast(right)?))
    }

    fn set_operation(
        &mut self,
        op: SetOperator,
        all: bool,
        left: Relation,
        right: Relation,
        at: At,
    ) -> Planned<Relation> {
        if op == SetOperator::Union {
            let union = Relation::union(vec![left, right]);
            return Ok(if all { union } else { distinct(union, at) });
        }
        let width = left.columns.len();
        let marked = |side: Relation, mark: bool| {
            let bit = |set| Expr::boolean(set, at);
            side.extend(vec![bit(mark), bit(!mark)])
        };
        let union = Relation::union(vec![marked(left, true), marked(right, false)]);
        let count = |filter: usize, name: &str| Aggregation {
            function: AggregateFunction::CountRows,
            argument: None,
            filter: Some(filter),
            distinct: false,
            data_type: SqlType::BigInt,
            name: name.into(),
        };
        let calls = vec![count(width, "__left"), count(width + 1, "__right")];
        let grouped = Relation::aggregate(union, (0..width).collect(), calls, at);
        if all {
            return self.repeated(op, grouped, width, at);
        }
        let zero = || Expr::literal(ScalarValue::Int64(Some(0)), SqlType::BigInt, at);
        let side =
            |i: usize, op| Expr::compare(op, Expr::column(width + i, SqlType::BigInt, at), zero());
        let right = match op {
            SetOperator::Intersect => side(1, Operator::Gt),
            _ => side(1, Operator::Eq),
        };
        let kept = Relation::filter(grouped, side(0, Operator::Gt).and(right));
        Ok(kept.keep_first(width))
    }

    /// Each group as often as `ALL` wants it: the lesser count of both sides, or what the left has
    /// more than the right.
    fn repeated(
        &mut self,
        op: SetOperator,
        grouped: Relation,
        width: usize,
        at: At,
    ) -> Planned<Relation> {
        let count = |i: usize| Expr::column(width + i, SqlType::BigInt, at);
        let times = match op {
            SetOperator::Intersect => self.call("LEAST", vec![count(0), count(1)], at)?,
            _ => self.arithmetic("-", count(0), count(1), at)?,
        };
        let udf = datafusion::functions_nested::repeat::array_repeat_udf();
        let data_type = SqlType::Array(Box::new(SqlType::Boolean));
        let args = vec![Expr::boolean(true, at), times.clone()];
        let copies = Expr::new(ExprKind::Call(udf, args), data_type, at);
        let zero = Expr::literal(ScalarValue::Int64(Some(0)), SqlType::BigInt, at);
        let some = Relation::filter(grouped, Expr::compare(Operator::Gt, times, zero));
        let input = some.extend(vec![copies]);
        let collection = input.columns.len() - 1;
        let mut columns = input.columns.clone();
        columns.push(Column::plain("__copy", SqlType::Boolean));
        let updating = input.updating;
        let input = Box::new(input);
        let op = Op::Unnest { input, collection, outer: false, ordinality: false };
        Ok(Relation { op, columns, updating }.keep_first(width))
    }

    /// The condition of `WHERE`, with its sub-queries made joins.
    pub(super) fn filter(
        &mut self,
        input: Relation,
        scope: &crate::planner::scope::Scope,
        selection: &Ast,
        context: Context<'_>,
    ) -> Planned<Relation> {
        let mut binder = super::Binder::new(self, context, scope, Clause::Rows("WHERE"));
        let condition = binder.condition(selection)?;
        let subqueries = std::mem::take(&mut binder.subqueries);
        if subqueries.is_empty() {
            // `FROM a, b WHERE a.t BETWEEN b.t AND …` is a join on its condition: what that says
            // about time must be known to whoever reads the join.
            return self.keep_by(input, condition, |input, condition| match &input.op {
                Op::Join { kind: JoinKind::Inner, .. } => absorb(input, condition),
                _ => Relation::filter(input, condition),
            });
        }
        self.filter_with_subqueries(input, condition, subqueries)
    }
}
