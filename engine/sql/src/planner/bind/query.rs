//! Whole queries: `WITH`, set operations, `ORDER BY`, `LIMIT`.

use super::from::with_ctes;
use super::over::direction;
use super::unheeded::check_query;
use super::{Binder, Clause, Context};
use crate::error::{ErrorKind, Planned, Refusal};
use crate::planner::Planner;
use crate::planner::expr::Expr;
use crate::planner::relation::{Column, Op, Ordering, Relation};
use crate::planner::scope::Scope;
use crate::types::SqlType;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use sqlparser::ast::{self, Expr as Ast, LimitClause, OrderByExpr, OrderByKind, SetExpr, Spanned};
use std::sync::Arc;

impl Planner<'_> {
    /// Binds a query.
    pub(crate) fn query(&mut self, query: &ast::Query, context: Context<'_>) -> Planned<Relation> {
        check_query(query, context)?;
        let names = match &query.with {
            Some(with) if with.recursive => {
                let message = "WITH RECURSIVE is not supported";
                return Err(Refusal::new(ErrorKind::Unsupported, context.at(query), message));
            }
            Some(with) => with_ctes(with, context.names)?,
            None => context.names.clone(),
        };
        let context = Context { names: &names, ..context };
        let order_by: &[OrderByExpr] = match &query.order_by {
            None => &[],
            Some(order) => match &order.kind {
                OrderByKind::Expressions(terms) => terms,
                OrderByKind::All(_) => {
                    let message = "ORDER BY ALL is not supported";
                    return Err(Refusal::new(ErrorKind::Unsupported, context.at(query), message));
                }
            },
        };
        let range = self.rank_range(query, context)?;
        let (relation, visible, order) = match query.body.as_ref() {
            SetExpr::Select(select) => {
                let selected = self.select(select, order_by, context)?;
                (selected.relation, selected.visible, selected.order)
            }
            body => {
                let relation = self.set_expr(body, context)?;
                let order = self.order_outputs(&relation, order_by, context)?;
                (relation.clone(), relation.columns.len(), order)
            }
        };
        let Some((first, last)) = range else {
            if let Some(term) = order.first()
                && (term.descending || !relation.columns[term.column].role.is_row_time())
            {
                let at = context.at_span(order_by[0].span());
                let message = "a stream can't be sorted without a LIMIT, except by its row time";
                return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                    .hint("add LIMIT n, or leave ORDER BY out"));
            }
            return Ok(relation.keep_first(visible));
        };
        let mut columns = relation.columns.clone();
        columns.push(Column::plain("__rank", SqlType::BigInt));
        let op = Op::TopN {
            input: Box::new(relation),
            partition: Vec::new(),
            order,
            first,
            last,
            window: None,
        };
        Ok(Relation { op, columns, updating: true }.keep_first(visible))
    }

    /// First and last rank that `OFFSET`, `LIMIT` and `FETCH` leave; none if there is no limit.
    fn rank_range(
        &mut self,
        query: &ast::Query,
        context: Context<'_>,
    ) -> Planned<Option<(u64, u64)>> {
        let (mut limit, mut offset) = (None, None);
        match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit: l, offset: o, .. }) => {
                limit = l.as_ref();
                offset = o.as_ref().map(|o| &o.value);
            }
            Some(LimitClause::OffsetCommaLimit { offset: o, limit: l }) => {
                (limit, offset) = (Some(l), Some(o));
            }
            None => {}
        }
        if let Some(fetch) = &query.fetch {
            limit = fetch.quantity.as_ref();
        }
        let number = |ast: Option<&Ast>| match ast {
            None => Ok(None),
            Some(ast) => match ast.to_string().parse::<u64>() {
                Ok(n) => Ok(Some(n)),
                Err(_) => {
                    let message = format!("'{ast}' is not a whole number");
                    Err(Refusal::new(ErrorKind::Parse, context.at(ast), message))
                }
            },
        };
        let (limit, offset) = (number(limit)?, number(offset)?.unwrap_or(0));
        match limit {
            Some(limit) => Ok(Some((offset + 1, offset.saturating_add(limit)))),
            None if offset > 0 => Err(Refusal::new(
                ErrorKind::Unsupported,
                context.at(query),
                "OFFSET needs a LIMIT on a stream",
            )),
            None => Ok(None),
        }
    }

    /// An order over the columns of a set operation, by name or number.
    fn order_outputs(
        &mut self,
        relation: &Relation,
        order_by: &[OrderByExpr],
        context: Context<'_>,
    ) -> Planned<Vec<Ordering>> {
        let scope = Scope::of(relation, None);
        (order_by.iter())
            .map(|term| {
                let at = context.at_span(term.span());
                let (descending, nulls_first) = direction(&term.options);
                let mut binder = Binder::new(self, context, &scope, Clause::Rows("ORDER BY"));
                let expr = match term.expr.to_string().parse::<usize>() {
                    Ok(n) if (1..=relation.columns.len()).contains(&n) => {
                        Expr::column(n - 1, SqlType::Null, at)
                    }
                    _ => binder.bind(&term.expr)?,
                };
                let Some(column) = expr.as_column() else {
                    let message = "ORDER BY of a set operation takes its columns only";
                    return Err(Refusal::new(ErrorKind::Unsupported, at, message));
                };
                Ok(Ordering { column, descending, nulls_first })
            })
            .collect()
    }

    /// `VALUES (…), (…)`.
    pub(super) fn values(
        &mut self,
        values: &ast::Values,
        context: Context<'_>,
    ) -> Planned<Relation> {
        let scope = Scope::default();
        let mut rows: Vec<Vec<Expr>> = Vec::new();
        for row in &values.rows {
            let mut binder = Binder::new(self, context, &scope, Clause::Rows("VALUES"));
            // `VALUES ROW(1, 2)` is `VALUES (1, 2)`.
            rows.push(binder.all(&row.content)?);
        }
        let width = rows.first().map_or(0, Vec::len);
        let at = context.at(values);
        let mut columns = Vec::with_capacity(width);
        for index in 0..width {
            let mut common = SqlType::Null;
            for row in &rows {
                let Some(value) = row.get(index).filter(|_| row.len() == width) else {
                    let message = "the rows of VALUES differ in their numbers of columns";
                    return Err(Refusal::new(ErrorKind::ColumnCount, at, message));
                };
                common = common.common(&value.data_type).ok_or_else(|| {
                    let message = format!(
                        "column {} of VALUES holds a {common} and a {}",
                        index + 1,
                        value.data_type
                    );
                    Refusal::new(ErrorKind::TypeMismatch, value.at, message)
                })?;
            }
            columns.push(Column::plain(format!("EXPR${index}"), common));
        }
        let rows: Vec<Vec<ScalarValue>> = rows
            .into_iter()
            .map(|row| {
                row.into_iter()
                    .zip(&columns)
                    .map(|(value, column)| {
                        let value = self.cast(value, &column.data_type)?;
                        self.evaluate(&value)
                    })
                    .collect()
            })
            .collect::<Planned<_>>()?;
        let batch = batch_of(&columns, &rows)
            .map_err(|reason| Refusal::new(ErrorKind::Unsupported, at, reason))?;
        Ok(Relation { op: Op::Values(batch), columns, updating: false })
    }
}

/// Rows of constants as a batch.
pub(super) fn batch_of(
    columns: &[Column],
    rows: &[Vec<ScalarValue>],
) -> Result<RecordBatch, String> {
    let fields: Vec<Field> =
        columns.iter().map(|c| Field::new(&c.name, c.data_type.arrow(), true)).collect();
    let arrays = (columns.iter().enumerate())
        .map(|(i, column)| {
            let values = rows.iter().map(|row| row[i].clone());
            let array = ScalarValue::iter_to_array(values).map_err(|e| e.to_string())?;
            arrow::compute::cast(&array, &column.data_type.arrow()).map_err(|e| e.to_string())
        })
        .collect::<Result<Vec<_>, String>>()?;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|e| e.to_string())
}
