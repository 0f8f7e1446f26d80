//! Sub-queries: `EXISTS`, `IN` and scalar ones become joins.
//!
//! A sub-query is bound with the columns around it visible as [`ExprKind::Outer`]. Conditions on
//! them are then lifted out of the sub-query's own filter into the join's.

use super::from::join;
use super::{Binder, Clause, Context};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::planner::Planner;
use crate::planner::expr::{Expr, ExprKind};
use crate::planner::relation::{Aggregation, Op, Relation};
use crate::types::SqlType;
use datafusion::logical_expr::Operator;
use sqlparser::ast::{self, Expr as Ast};
use tidemill_operators::aggregate::AggregateFunction;
use tidemill_operators::join::JoinKind;

/// A sub-query of a clause.
#[derive(Clone, Debug)]
pub(crate) struct SubqueryExpr {
    pub relation: Relation,
    pub kind: SubqueryKind,
    pub at: At,
}

#[derive(Clone, Debug)]
pub(crate) enum SubqueryKind {
    /// `[NOT] EXISTS`
    Exists { negated: bool },
    /// `value [NOT] IN`
    In { value: Expr, negated: bool },
    /// A value.
    Scalar,
}

impl Binder<'_, '_> {
    fn subquery(&mut self, query: &ast::Query) -> Planned<Relation> {
        let scope = self.scope.clone();
        let context = Context { outer: Some(&scope), ..self.context };
        self.planner.query(query, context)
    }

    fn collect(&mut self, relation: Relation, kind: SubqueryKind, of: SqlType, at: At) -> Expr {
        self.subqueries.push(SubqueryExpr { relation, kind, at });
        Expr::new(ExprKind::Subquery(self.subqueries.len() - 1), of, at)
    }

    pub(super) fn exists(&mut self, query: &ast::Query, negated: bool, at: At) -> Planned<Expr> {
        let relation = self.subquery(query)?;
        Ok(self.collect(relation, SubqueryKind::Exists { negated }, SqlType::Boolean, at))
    }

    pub(super) fn in_subquery(
        &mut self,
        value: &Ast,
        query: &ast::Query,
        negated: bool,
        at: At,
    ) -> Planned<Expr> {
        let value = self.bind(value)?;
        let mut relation = self.subquery(query)?;
        if let ExprKind::Call(udf, fields) = &value.kind
            && udf.name() == "named_struct"
        {
            // `(a, b) IN (SELECT c, d …)`: a row of values against as many columns.
            let fields: Vec<Expr> = fields.iter().skip(1).step_by(2).cloned().collect();
            return self.row_in(fields, relation, negated, at);
        }
        one_column(&relation, at)?;
        let column = Expr::column(0, relation.columns[0].data_type.clone(), at);
        let Some(common) = value.data_type.common(&column.data_type) else {
            let message =
                format!("a {} can't be compared with a {}", value.data_type, column.data_type);
            return Err(Refusal::new(ErrorKind::TypeMismatch, at, message));
        };
        if column.data_type != common {
            let names = relation.names();
            let cast = self.planner.cast(column, &common)?;
            relation = Relation::project(relation, vec![cast], names);
        }
        let value = self.planner.cast(value, &common)?;
        Ok(self.collect(relation, SubqueryKind::In { value, negated }, SqlType::Boolean, at))
    }

    fn row_in(
        &mut self,
        fields: Vec<Expr>,
        relation: Relation,
        negated: bool,
        at: At,
    ) -> Planned<Expr> {
        if negated {
            let message = "NOT IN with a row of values is not supported";
            return Err(Refusal::new(ErrorKind::Unsupported, at, message).hint("use NOT EXISTS"));
        }
        if fields.len() != relation.columns.len() {
            let message = format!(
                "a row of {} values is compared with {} columns",
                fields.len(),
                relation.columns.len()
            );
            return Err(Refusal::new(ErrorKind::ColumnCount, at, message));
        }
        // EXISTS (SELECT 1 FROM relation WHERE c = outer a AND …)
        let mut conditions = Vec::new();
        for (i, field) in fields.into_iter().enumerate() {
            let outer = field.replace(&mut |e| match e.kind {
                ExprKind::Column(c) => Some(Expr { kind: ExprKind::Outer(c), ..e.clone() }),
                _ => None,
            });
            let column = Expr::column(i, relation.columns[i].data_type.clone(), at);
            conditions.push(self.compare(Operator::Eq, column, outer, at)?);
        }
        let filtered = Relation::filter(relation, Expr::all(conditions).expect("some fields"));
        let kind = SubqueryKind::Exists { negated: false };
        Ok(self.collect(filtered, kind, SqlType::Boolean, at))
    }

    pub(super) fn scalar_subquery(&mut self, query: &ast::Query, at: At) -> Planned<Expr> {
        if let Clause::Rows(clause @ ("GROUP BY" | "VALUES" | "PARTITION BY")) = self.clause {
            let message = format!("a sub-query can't stand in {clause}");
            return Err(Refusal::new(ErrorKind::Unsupported, at, message));
        }
        let relation = self.subquery(query)?;
        one_column(&relation, at)?;
        let data_type = relation.columns[0].data_type.clone();
        Ok(self.collect(relation, SubqueryKind::Scalar, data_type, at))
    }
}

fn one_column(relation: &Relation, at: At) -> Planned<()> {
    if relation.columns.len() == 1 {
        return Ok(());
    }
    let message =
        format!("the sub-query has {} columns where one is wanted", relation.columns.len());
    Err(Refusal::new(ErrorKind::ColumnCount, at, message))
}

impl Planner<'_> {
    /// Filters `input` by a condition with sub-queries in it.
    pub(super) fn filter_with_subqueries(
        &mut self,
        mut input: Relation,
        condition: Expr,
        subqueries: Vec<SubqueryExpr>,
    ) -> Planned<Relation> {
        let width = input.columns.len();
        let mut scalars: Vec<(usize, SubqueryExpr)> = Vec::new();
        let mut rest = Vec::new();
        for conjunct in condition.conjuncts() {
            let (number, flip) = match &conjunct.kind {
                ExprKind::Subquery(n) => (Some(*n), false),
                ExprKind::Not(inner) => match inner.kind {
                    ExprKind::Subquery(n) => (Some(n), true),
                    _ => (None, false),
                },
                _ => (None, false),
            };
            match number.map(|n| &subqueries[n]) {
                Some(subquery) if !matches!(subquery.kind, SubqueryKind::Scalar) => {
                    input = semi_join(input, subquery.clone(), flip)?;
                }
                _ => rest.push(conjunct),
            }
        }
        let Some(condition) = Expr::all(rest) else { return Ok(input) };
        condition.any(&mut |e| {
            if let ExprKind::Subquery(n) = e.kind {
                scalars.push((n, subqueries[n].clone()));
            }
            false
        });
        let mut columns: Vec<(usize, usize)> = Vec::new();
        for (number, subquery) in scalars {
            let (joined, column) = self.scalar_column(input, subquery)?;
            input = joined;
            columns.push((number, column));
        }
        let condition = condition.replace(&mut |e| match e.kind {
            ExprKind::Subquery(n) => {
                let column = columns.iter().find(|(number, _)| *number == n)?.1;
                Some(Expr::column(column, e.data_type.clone(), e.at))
            }
            _ => None,
        });
        Ok(self.keep(input, condition)?.keep_first(width))
    }

    /// Appends the values of scalar sub-queries; says in which columns they are.
    pub(super) fn scalar_columns(
        &mut self,
        mut input: Relation,
        subqueries: Vec<SubqueryExpr>,
    ) -> Planned<(Relation, Vec<usize>)> {
        let mut columns = Vec::new();
        for subquery in subqueries {
            if !matches!(subquery.kind, SubqueryKind::Scalar) {
                let message = "EXISTS and IN with a sub-query are only supported in WHERE";
                return Err(Refusal::new(ErrorKind::Unsupported, subquery.at, message));
            }
            let (joined, column) = self.scalar_column(input, subquery)?;
            input = joined;
            columns.push(column);
        }
        Ok((input, columns))
    }

    /// Appends the value of one scalar sub-query: NULL where it has no row.
    fn scalar_column(
        &mut self,
        input: Relation,
        subquery: SubqueryExpr,
    ) -> Planned<(Relation, usize)> {
        let column = input.columns.len();
        let at = subquery.at;
        let is_single = matches!(&subquery.relation.op, Op::Project { input, .. }
            if matches!(&input.op, Op::Aggregate { keys, .. } if keys.is_empty()));
        let (relation, conditions) = lift(subquery.relation, at)?;
        if !conditions.is_empty() {
            if !is_single {
                let message =
                    "a scalar sub-query that reads the query around it must be one aggregate";
                return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                    .hint("take MAX or MIN of its column"));
            }
            let width = input.columns.len();
            let conditions = conditions.iter().map(|c| around(c, width));
            let condition = Expr::all(conditions.collect::<Vec<_>>());
            return Ok((join(input, relation, JoinKind::Left, condition), column));
        }
        let data_type = relation.columns[0].data_type.clone();
        let call = Aggregation {
            function: AggregateFunction::SingleValue,
            argument: Some(0),
            filter: None,
            distinct: false,
            data_type,
            name: "__value".into(),
        };
        let value = if is_single {
            relation
        } else {
            Relation::aggregate(relation, Vec::new(), vec![call], at)
        };
        let joined = join(input, value, JoinKind::Left, None);
        Ok((joined, column))
    }
}

/// The sub-queries of an expression as the columns that hold their values.
pub(super) fn replace_subqueries(expr: &Expr, columns: &[usize]) -> Expr {
    expr.replace(&mut |e| match e.kind {
        ExprKind::Subquery(n) => Some(Expr::column(columns[n], e.data_type.clone(), e.at)),
        _ => None,
    })
}

/// Joins a relation with a sub-query that may read its columns.
pub(super) fn lateral_join(
    input: Relation,
    subquery: Relation,
    kind: JoinKind,
    at: At,
) -> Planned<Relation> {
    let (width, visible) = (input.columns.len(), subquery.columns.len());
    let (relation, conditions) = lift(subquery, at)?;
    let conditions: Vec<Expr> = conditions.iter().map(|c| around(c, width)).collect();
    // Columns that only the conditions need stand behind those of the sub-query.
    Ok(join(input, relation, kind, Expr::all(conditions)).keep_first(width + visible))
}

fn semi_join(input: Relation, subquery: SubqueryExpr, flip: bool) -> Planned<Relation> {
    let width = input.columns.len();
    let at = subquery.at;
    let (relation, mut conditions) = lift(subquery.relation, at)?;
    // From columns of the sub-query and of what is around it to those of the join.
    for condition in &mut conditions {
        *condition = around(condition, width);
    }
    let negated = match subquery.kind {
        SubqueryKind::Exists { negated } => negated != flip,
        SubqueryKind::In { value, negated } => {
            let negated = negated != flip;
            let column = Expr::column(width, value.data_type.clone(), at);
            let equal = Expr::compare(Operator::Eq, value.clone(), column.clone());
            conditions.push(if negated {
                // NOT IN is only true if no comparison is true or unknown.
                let unknown = Expr::compare(Operator::Or, value.is_null(), column.is_null());
                Expr::compare(Operator::Or, equal, unknown)
            } else {
                equal
            });
            negated
        }
        SubqueryKind::Scalar => unreachable!("only EXISTS and IN come here"),
    };
    let kind = if negated { JoinKind::LeftAnti } else { JoinKind::LeftSemi };
    let joined = join(input, relation, kind, Expr::all(conditions));
    Ok(joined)
}

/// A lifted condition over the columns of a join of what is around with the sub-query.
fn around(condition: &Expr, width: usize) -> Expr {
    condition.replace(&mut |e| match e.kind {
        ExprKind::Column(i) => Some(Expr { kind: ExprKind::Column(i + width), ..e.clone() }),
        ExprKind::Outer(i) => Some(Expr { kind: ExprKind::Column(i), ..e.clone() }),
        _ => None,
    })
}

/// Lifts the conditions on columns around a sub-query out of it. They come back over the columns
/// of the relation that is left, which may have more columns than before.
fn lift(relation: Relation, at: At) -> Planned<(Relation, Vec<Expr>)> {
    if !reads_outer(&relation) {
        return Ok((relation, Vec::new()));
    }
    let Relation { op, columns, .. } = relation;
    match op {
        Op::Filter { input, predicate } => {
            let (input, mut lifted) = lift(*input, at)?;
            let (outer, own): (Vec<Expr>, Vec<Expr>) =
                predicate.conjuncts().into_iter().partition(is_outer);
            lifted.extend(outer);
            let relation = match Expr::all(own) {
                Some(own) => Relation::filter(input, own),
                None => input,
            };
            Ok((relation, lifted))
        }
        Op::TimeFilter { input, clock, bounds } => {
            let (input, lifted) = lift(*input, at)?;
            Ok((Relation::time_filter(input, clock, bounds), lifted))
        }
        Op::Project { input, exprs } => {
            if exprs.iter().any(is_outer) {
                let message = "a sub-query can read the query around it only in its WHERE";
                return Err(Refusal::new(ErrorKind::Unsupported, at, message));
            }
            let (input, lifted) = lift(*input, at)?;
            // What the conditions read is passed up beside the projected columns.
            let mut exprs = exprs;
            let mut names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
            let lifted = lifted
                .iter()
                .map(|condition| {
                    condition.replace(&mut |e| {
                        let index = e.as_column()?;
                        let place = exprs.iter().position(|x| x.as_column() == Some(index));
                        let place = place.unwrap_or_else(|| {
                            exprs.push(Expr::column(index, e.data_type.clone(), e.at));
                            names.push(format!("__outer{}", exprs.len()));
                            exprs.len() - 1
                        });
                        Some(Expr::column(place, e.data_type.clone(), e.at))
                    })
                })
                .collect();
            Ok((Relation::project(input, exprs, names), lifted))
        }
        Op::Aggregate { input, keys, calls, window: None, ttl_ms, at } => {
            let (input, lifted) = lift(*input, at)?;
            lift_through_groups(input, (keys, calls, ttl_ms), lifted, at)
        }
        _ => {
            let message = "this sub-query reads the query around it in a way that is not supported";
            Err(Refusal::new(ErrorKind::Unsupported, at, message).hint("write it as a join"))
        }
    }
}

/// An aggregate whose input is filtered by equality with columns around it is grouped by what is
/// compared with them; the comparison then stands above it.
fn lift_through_groups(
    input: Relation,
    (keys, calls, lifetime): (Vec<usize>, Vec<Aggregation>, Option<i64>),
    lifted: Vec<Expr>,
    at: At,
) -> Planned<(Relation, Vec<Expr>)> {
    let (mut inner, mut conditions) = (Vec::new(), Vec::new());
    let width = keys.len() + calls.len();
    for condition in lifted {
        let sides = match condition.kind {
            ExprKind::Binary(Operator::Eq, a, b) if is_outer(&a) != is_outer(&b) => {
                if is_outer(&a) { (*a, *b) } else { (*b, *a) }
            }
            _ => {
                let message = "an aggregate can be compared with the query around it by '=' only";
                return Err(Refusal::new(ErrorKind::Unsupported, at, message));
            }
        };
        let (outer, own) = sides;
        let column = Expr::column(width + inner.len(), own.data_type.clone(), at);
        conditions.push(Expr::compare(Operator::Eq, outer, column));
        inner.push(own);
    }
    let first = input.columns.len();
    let added = inner.len();
    let input = input.extend(inner);
    let old = keys.len();
    let all_keys = keys.into_iter().chain(first..first + added).collect();
    let mut grouped = Relation::aggregate(input, all_keys, calls, at);
    if let Op::Aggregate { ttl_ms, .. } = &mut grouped.op {
        *ttl_ms = lifetime;
    }
    // The columns as they were, then the new keys.
    let order = (0..old).chain(old + added..width + added).chain(old..old + added);
    let exprs: Vec<Expr> =
        order.map(|i| Expr::column(i, grouped.columns[i].data_type.clone(), at)).collect();
    let names = exprs.iter().filter_map(Expr::as_column).map(|i| grouped.columns[i].name.clone());
    let names = names.collect();
    Ok((Relation::project(grouped, exprs, names), conditions))
}

fn is_outer(expr: &Expr) -> bool {
    expr.any(&mut |e| matches!(e.kind, ExprKind::Outer(_)))
}

/// Whether any expression of a relation reads a column around it.
fn reads_outer(relation: &Relation) -> bool {
    let reads_itself = match &relation.op {
        Op::Project { exprs, .. } => exprs.iter().any(is_outer),
        Op::Filter { predicate, .. } => is_outer(predicate),
        Op::Join { residual, .. } => residual.as_ref().is_some_and(is_outer),
        _ => false,
    };
    reads_itself || relation.inputs().into_iter().any(reads_outer)
}
