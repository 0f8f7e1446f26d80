//! From syntax to relations: names are resolved, types are decided, sub-queries become joins.
//!
//! One file for each part of the grammar; [`Binder`] binds the expressions of one clause.

mod aggregate;
mod call;
mod from;
mod interval;
mod lifetime;
mod literal;
mod operator;
mod over;
mod pattern;
mod query;
mod select;
mod set;
mod subquery;
mod unheeded;
mod window;

pub(crate) use call::wrong_count;
pub(crate) use from::join as join_relations;
pub(crate) use lifetime::Lifetimes;

use super::Planner;
use super::expr::{Expr, ExprKind};
use super::scope::Scope;
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::types::SqlType;
use aggregate::AggregateExpr;
use over::OverExpr;
use pattern::PatternNames;
use sqlparser::ast::{self, Expr as Ast, Spanned};
use sqlparser::tokenizer::Span;
use std::rc::Rc;
use subquery::SubqueryExpr;
use unheeded::check_cast;

/// The views and named sub-queries that are visible, innermost first.
#[derive(Clone, Default)]
pub(crate) struct Names {
    /// `WITH` queries: name, columns, query.
    pub ctes: Vec<Rc<Cte>>,
}

/// A named sub-query, bound each time it is used.
pub(crate) struct Cte {
    pub name: String,
    pub columns: Vec<String>,
    pub query: ast::Query,
    /// What was visible where it was defined.
    pub names: Names,
}

/// Where a clause stands: what is visible around it.
#[derive(Clone, Copy)]
pub(crate) struct Context<'c> {
    /// The file of the text, for places.
    pub file: usize,
    pub names: &'c Names,
    /// The columns of the query around this one, if it is a sub-query.
    pub outer: Option<&'c Scope>,
}

impl Context<'_> {
    /// The place where a piece of syntax begins.
    pub fn at(&self, syntax: &impl Spanned) -> At {
        self.at_span(syntax.span())
    }

    pub fn at_span(&self, span: Span) -> At {
        At { file: self.file, line: span.start.line, column: span.start.column }
    }
}

/// What may stand in a clause beside plain expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    /// `SELECT`, `HAVING`, `ORDER BY`: aggregates and window functions.
    Select,
    /// A clause that sees single rows; its name, for messages.
    Rows(&'static str),
}

/// Binds the expressions of one clause.
pub(crate) struct Binder<'b, 'p> {
    pub planner: &'b mut Planner<'p>,
    pub context: Context<'b>,
    pub scope: &'b Scope,
    pub clause: Clause,
    pub aggregates: Vec<AggregateExpr>,
    pub overs: Vec<OverExpr>,
    pub subqueries: Vec<SubqueryExpr>,
    pub named_windows: &'b [ast::NamedWindowDefinition],
    /// The group windows of the select: their calls and the columns of their bounds.
    pub group_windows: &'b [window::GroupWindow],
    /// Inside the argument of an aggregate.
    pub inside_aggregate: bool,
    /// The names of a pattern, in `DEFINE` and `MEASURES`.
    pub pattern: Option<PatternNames>,
}

impl<'b, 'p> Binder<'b, 'p> {
    pub fn new(
        planner: &'b mut Planner<'p>,
        context: Context<'b>,
        scope: &'b Scope,
        clause: Clause,
    ) -> Self {
        Binder {
            planner,
            context,
            scope,
            clause,
            aggregates: Vec::new(),
            overs: Vec::new(),
            subqueries: Vec::new(),
            named_windows: &[],
            group_windows: &[],
            inside_aggregate: false,
            pattern: None,
        }
    }

    /// Binds an expression that must be a condition.
    pub fn condition(&mut self, ast: &Ast) -> Planned<Expr> {
        let expr = self.bind(ast)?;
        self.as_condition(expr)
    }

    fn as_condition(&self, expr: Expr) -> Planned<Expr> {
        match expr.data_type {
            SqlType::Boolean => Ok(expr),
            SqlType::Null => self.planner.cast(expr, &SqlType::Boolean),
            _ => {
                let message = format!("expected a condition, found a {}", expr.data_type);
                Err(Refusal::new(ErrorKind::TypeMismatch, expr.at, message)
                    .hint("compare it with something"))
            }
        }
    }

    /// Binds any expression.
    pub fn bind(&mut self, ast: &Ast) -> Planned<Expr> {
        let at = self.context.at(ast);
        if let Some(bound) = self.group_window_property(ast, at)? {
            return Ok(bound);
        }
        match ast {
            Ast::Identifier(ident) => self.name(std::slice::from_ref(ident), at),
            Ast::CompoundIdentifier(parts) => self.name(parts, at),
            Ast::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain, at),
            Ast::Nested(inner) => self.bind(inner),
            Ast::Value(value) => literal::value(&value.value, at),
            Ast::TypedString(typed) => self.typed_string(typed, at),
            Ast::Interval(interval) => literal::interval(interval, at),
            Ast::BinaryOp { left, op, right } => self.binary(left, op, right, at),
            Ast::UnaryOp { op, expr } => self.unary(op, expr, at),
            Ast::IsNull(e) => Ok(self.bind(e)?.is_null()),
            Ast::IsNotNull(e) => Ok(self.bind(e)?.is_null().negate()),
            Ast::IsTrue(e) => self.is_truth(e, Some(true), false),
            Ast::IsNotTrue(e) => self.is_truth(e, Some(true), true),
            Ast::IsFalse(e) => self.is_truth(e, Some(false), false),
            Ast::IsNotFalse(e) => self.is_truth(e, Some(false), true),
            Ast::IsUnknown(e) => self.is_truth(e, None, false),
            Ast::IsNotUnknown(e) => self.is_truth(e, None, true),
            Ast::IsDistinctFrom(a, b) => self.distinct(a, b, true, at),
            Ast::IsNotDistinctFrom(a, b) => self.distinct(a, b, false, at),
            Ast::Between { expr, negated, low, high } => {
                self.between(expr, *negated, low, high, at)
            }
            Ast::InList { expr, list, negated } => self.in_list(expr, list, *negated, at),
            Ast::Like { negated, expr, pattern, escape_char, .. } => {
                self.like(*negated, false, expr, pattern, escape_char.as_ref(), at)
            }
            Ast::ILike { negated, expr, pattern, escape_char, .. } => {
                self.like(*negated, true, expr, pattern, escape_char.as_ref(), at)
            }
            Ast::SimilarTo { negated, expr, pattern, escape_char } => {
                let mut args = self.all([expr.as_ref(), pattern.as_ref()])?;
                let escape = escape_char.as_ref().map(|escape| literal::value(&escape.value, at));
                args.extend(escape.transpose()?);
                let matched = self.planner.call("SIMILAR_TO", args, at)?;
                Ok(if *negated { matched.negate() } else { matched })
            }
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), at)
            }
            Ast::Cast { kind, expr, data_type, array, format } => {
                check_cast(*array, format.is_some(), at)?;
                self.explicit_cast(kind, expr, data_type, at)
            }
            Ast::Extract { field, expr, .. } => {
                let value = self.bind(expr)?;
                let unit = Expr::text(&field.to_string().to_ascii_uppercase(), at);
                self.planner.call("EXTRACT", vec![unit, value], at)
            }
            Ast::Ceil { expr, field } => self.round_to("CEIL", expr, field, at),
            Ast::Floor { expr, field } => self.round_to("FLOOR", expr, field, at),
            Ast::Position { expr, r#in } => self.call("POSITION", &[expr, r#in], at),
            Ast::Substring { expr, substring_from, substring_for, .. } => {
                let args: Vec<&Ast> = std::iter::once(expr.as_ref())
                    .chain(substring_from.as_deref())
                    .chain(substring_for.as_deref())
                    .collect();
                self.call("SUBSTRING", &args, at)
            }
            Ast::Trim { trim_where, trim_what, expr, .. } => {
                self.trim(trim_where.as_ref(), trim_what.as_deref(), expr, at)
            }
            Ast::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let args: Vec<&Ast> = [expr.as_ref(), overlay_what, overlay_from]
                    .into_iter()
                    .chain(overlay_for.as_deref())
                    .collect();
                self.call("OVERLAY", &args, at)
            }
            Ast::Array(array) => {
                let items = self.all(&array.elem)?;
                self.array(items, at)
            }
            Ast::Tuple(fields) => {
                let fields = self.all(fields)?;
                Ok(self.planner.row(fields, at))
            }
            Ast::Function(function) => self.function(function, at),
            Ast::Subquery(query) => self.scalar_subquery(query, at),
            Ast::Exists { subquery, negated } => self.exists(subquery, *negated, at),
            Ast::InSubquery { expr, subquery, negated } => {
                self.in_subquery(expr, subquery, *negated, at)
            }
            other => Err(Refusal::new(
                ErrorKind::Unsupported,
                at,
                format!("'{other}' is not supported here"),
            )),
        }
    }

    /// Binds several expressions.
    pub fn all<'x>(&mut self, asts: impl IntoIterator<Item = &'x Ast>) -> Planned<Vec<Expr>> {
        asts.into_iter().map(|ast| self.bind(ast)).collect()
    }

    /// Binds the arguments of a function and calls it.
    fn call(&mut self, name: &str, args: &[&Ast], at: At) -> Planned<Expr> {
        let args = self.all(args.iter().copied())?;
        self.planner.call(name, args, at)
    }

    /// A dotted name: a column, perhaps of the query around, and perhaps fields of it.
    fn name(&mut self, parts: &[ast::Ident], at: At) -> Planned<Expr> {
        if let Some(value) = self.pattern_column(parts, at)? {
            return Ok(value);
        }
        if let Some(found) = self.scope.resolve(parts, at)? {
            let column = self.scope.entries.iter().find(|e| e.index == found.index);
            let data_type = column.map_or(SqlType::Null, |e| e.column.data_type.clone());
            let root = Expr::column(found.index, data_type, at);
            return self.fields(root, &parts[found.used..]);
        }
        if let [only] = parts
            && only.quote_style.is_none()
            && literal::is_nullary_function(&only.value)
        {
            return self.planner.call(&only.value, Vec::new(), at);
        }
        if let Some(outer) = self.context.outer
            && let Some(found) = outer.resolve(parts, at)?
        {
            let column = outer.entries.iter().find(|e| e.index == found.index);
            let data_type = column.map_or(SqlType::Null, |e| e.column.data_type.clone());
            let root = Expr::new(ExprKind::Outer(found.index), data_type, at);
            return self.fields(root, &parts[found.used..]);
        }
        // A name that begins with a column names a field that is not there.
        if parts.len() > 1
            && let Some(found) = self.scope.resolve(&parts[..1], at)?
            && let Some(entry) = self.scope.entries.iter().find(|e| e.index == found.index)
        {
            let root = Expr::column(found.index, entry.column.data_type.clone(), at);
            return self.fields(root, &parts[1..]);
        }
        Err(self.scope.unknown(parts, at))
    }

    fn fields(&self, root: Expr, names: &[ast::Ident]) -> Planned<Expr> {
        names.iter().try_fold(root, |value, name| {
            let at = self.context.at_span(name.span);
            self.planner.field(value, &name.value, at)
        })
    }

    fn access(&mut self, root: &Ast, chain: &[ast::AccessExpr], at: At) -> Planned<Expr> {
        let mut chain = chain;
        let mut value = match root {
            // `t.row.field[1]`: the dotted part may begin with a table.
            Ast::Identifier(first) => {
                let mut parts = vec![first.clone()];
                while let [ast::AccessExpr::Dot(Ast::Identifier(next)), rest @ ..] = chain {
                    parts.push(next.clone());
                    chain = rest;
                }
                self.name(&parts, at)?
            }
            root => self.bind(root)?,
        };
        for step in chain {
            value = match step {
                ast::AccessExpr::Dot(Ast::Identifier(name)) => {
                    self.fields(value, std::slice::from_ref(name))?
                }
                ast::AccessExpr::Subscript(ast::Subscript::Index { index }) => {
                    let index = self.bind(index)?;
                    self.planner.item(value, index, at)?
                }
                other => {
                    let message = format!("'{other}' is not supported");
                    return Err(Refusal::new(ErrorKind::Unsupported, at, message));
                }
            };
        }
        Ok(value)
    }
}
