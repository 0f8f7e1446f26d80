//! [`Expr`]: an expression whose names are resolved and whose types are known.

use crate::error::At;
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Operator, ScalarUDF};
use std::fmt;
use std::sync::Arc;

/// A typed expression over the columns of one relation.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub kind: ExprKind,
    pub data_type: SqlType,
    /// Where it stands in the text, for refusals.
    pub at: At,
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    /// A column of the relation below.
    Column(usize),
    /// A column of the query around a sub-query, until the sub-query is made a join.
    Outer(usize),
    Literal(ScalarValue),
    Call(Arc<ScalarUDF>, Vec<Expr>),
    /// `AND`, `OR` and comparisons of operands of one type.
    Binary(Operator, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>),
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    /// A cast that Arrow does exactly as Flink does.
    Widen(Box<Expr>),
    Like {
        negated: bool,
        case_insensitive: bool,
        text: Box<Expr>,
        pattern: Box<Expr>,
    },
    In {
        negated: bool,
        value: Box<Expr>,
        list: Vec<Expr>,
    },
    /// The n-th aggregate of the select that is being bound.
    Aggregate(usize),
    /// The n-th window function of the select that is being bound.
    Over(usize),
    /// The n-th scalar sub-query of the clause that is being bound.
    Subquery(usize),
}

impl Expr {
    pub fn new(kind: ExprKind, data_type: SqlType, at: At) -> Expr {
        Expr { kind, data_type, at }
    }

    pub fn column(index: usize, data_type: SqlType, at: At) -> Expr {
        Expr::new(ExprKind::Column(index), data_type, at)
    }

    pub fn literal(value: ScalarValue, data_type: SqlType, at: At) -> Expr {
        Expr::new(ExprKind::Literal(value), data_type, at)
    }

    pub fn text(value: &str, at: At) -> Expr {
        Expr::literal(ScalarValue::Utf8(Some(value.to_owned())), SqlType::String, at)
    }

    pub fn boolean(value: bool, at: At) -> Expr {
        Expr::literal(ScalarValue::Boolean(Some(value)), SqlType::Boolean, at)
    }

    pub fn and(self, other: Expr) -> Expr {
        let at = self.at;
        let kind = ExprKind::Binary(Operator::And, Box::new(self), Box::new(other));
        Expr::new(kind, SqlType::Boolean, at)
    }

    pub fn compare(op: Operator, left: Expr, right: Expr) -> Expr {
        let at = left.at;
        Expr::new(ExprKind::Binary(op, Box::new(left), Box::new(right)), SqlType::Boolean, at)
    }

    pub fn negate(self) -> Expr {
        let at = self.at;
        Expr::new(ExprKind::Not(Box::new(self)), SqlType::Boolean, at)
    }

    #[expect(clippy::wrong_self_convention, reason = "builds SQL's IS NULL, asks nothing")]
    pub fn is_null(self) -> Expr {
        let at = self.at;
        Expr::new(ExprKind::IsNull(Box::new(self)), SqlType::Boolean, at)
    }

    /// The column, if it is nothing else.
    pub fn as_column(&self) -> Option<usize> {
        match self.kind {
            ExprKind::Column(index) => Some(index),
            _ => None,
        }
    }

    pub fn as_literal(&self) -> Option<&ScalarValue> {
        match &self.kind {
            ExprKind::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The same call of other arguments of the same types; itself if it is no call.
    pub fn with_arguments(&self, args: Vec<Expr>) -> Expr {
        match &self.kind {
            ExprKind::Call(udf, _) => {
                Expr { kind: ExprKind::Call(udf.clone(), args), ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Call(_, args) => args.iter().collect(),
            ExprKind::Binary(_, a, b) => vec![a, b],
            ExprKind::Not(e) | ExprKind::IsNull(e) | ExprKind::Widen(e) => vec![e],
            ExprKind::Case { branches, otherwise } => branches
                .iter()
                .flat_map(|(when, then)| [when, then])
                .chain(otherwise.as_deref())
                .collect(),
            ExprKind::Like { text, pattern, .. } => vec![text, pattern],
            ExprKind::In { value, list, .. } => {
                std::iter::once(value.as_ref()).chain(list).collect()
            }
            ExprKind::Column(_)
            | ExprKind::Outer(_)
            | ExprKind::Literal(_)
            | ExprKind::Aggregate(_)
            | ExprKind::Over(_)
            | ExprKind::Subquery(_) => Vec::new(),
        }
    }

    /// Whether `test` holds for it or for anything inside it.
    pub fn any(&self, test: &mut dyn FnMut(&Expr) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|child| child.any(test))
    }

    /// Visits it and what is inside it, from the top, but nothing inside of what `visit` says yes
    /// to.
    pub fn visit(&self, visit: &mut dyn FnMut(&Expr) -> bool) {
        if !visit(self) {
            self.children().into_iter().for_each(|child| child.visit(visit));
        }
    }

    /// Calls `visit` for each column that it reads.
    pub fn columns(&self, visit: &mut dyn FnMut(usize)) {
        self.any(&mut |e| {
            if let ExprKind::Column(index) = e.kind {
                visit(index);
            }
            false
        });
    }

    /// Rebuilds it from the top: where `replace` gives an expression, that stands instead.
    pub fn replace(&self, replace: &mut dyn FnMut(&Expr) -> Option<Expr>) -> Expr {
        if let Some(other) = replace(self) {
            return other;
        }
        let mut boxed = |e: &Expr| Box::new(e.replace(replace));
        let kind = match &self.kind {
            ExprKind::Call(udf, args) => {
                ExprKind::Call(udf.clone(), args.iter().map(|a| *boxed(a)).collect())
            }
            ExprKind::Binary(op, a, b) => ExprKind::Binary(*op, boxed(a), boxed(b)),
            ExprKind::Not(e) => ExprKind::Not(boxed(e)),
            ExprKind::IsNull(e) => ExprKind::IsNull(boxed(e)),
            ExprKind::Widen(e) => ExprKind::Widen(boxed(e)),
            ExprKind::Case { branches, otherwise } => ExprKind::Case {
                branches: branches.iter().map(|(w, t)| (*boxed(w), *boxed(t))).collect(),
                otherwise: otherwise.as_ref().map(|e| boxed(e)),
            },
            ExprKind::Like { negated, case_insensitive, text, pattern } => ExprKind::Like {
                negated: *negated,
                case_insensitive: *case_insensitive,
                text: boxed(text),
                pattern: boxed(pattern),
            },
            ExprKind::In { negated, value, list } => ExprKind::In {
                negated: *negated,
                value: boxed(value),
                list: list.iter().map(|e| *boxed(e)).collect(),
            },
            leaf => leaf.clone(),
        };
        Expr { kind, data_type: self.data_type.clone(), at: self.at }
    }

    /// The same over other columns.
    pub fn remap(&self, column: &dyn Fn(usize) -> usize) -> Expr {
        self.replace(&mut |e| match e.kind {
            ExprKind::Column(index) => {
                Some(Expr { kind: ExprKind::Column(column(index)), ..e.clone() })
            }
            _ => None,
        })
    }

    /// The same with each column replaced by the expression that computes it.
    pub fn substitute(&self, columns: &[Expr]) -> Expr {
        self.replace(&mut |e| match e.kind {
            ExprKind::Column(index) => Some(Expr { at: e.at, ..columns[index].clone() }),
            _ => None,
        })
    }

    /// Its conjuncts: `a AND b AND c` as three.
    pub fn conjuncts(self) -> Vec<Expr> {
        match self.kind {
            ExprKind::Binary(Operator::And, a, b) => {
                let mut all = a.conjuncts();
                all.extend(b.conjuncts());
                all
            }
            _ => vec![self],
        }
    }

    /// The conjunction of all; none if there is nothing to hold.
    pub fn all(conjuncts: impl IntoIterator<Item = Expr>) -> Option<Expr> {
        conjuncts.into_iter().reduce(Expr::and)
    }

    /// Its text with columns called by `name`. Two expressions of equal text over equal columns
    /// are equal.
    pub fn describe<'a>(&'a self, name: &'a dyn Fn(usize) -> String) -> Described<'a> {
        Described { expr: self, name }
    }

    /// Whether both compute the same from the same columns.
    pub fn is(&self, other: &Expr) -> bool {
        self.data_type == other.data_type && self.gives_same(other)
    }

    /// Whether both give the same values, which may go by several types: a `VARCHAR(5)` is a
    /// `STRING` without anything being computed.
    pub fn gives_same(&self, other: &Expr) -> bool {
        let name = |i| format!("${i}");
        self.data_type.arrow() == other.data_type.arrow()
            && self.describe(&name).to_string() == other.describe(&name).to_string()
    }
}

/// An expression with the names of its columns, ready to be written.
pub(crate) struct Described<'a> {
    expr: &'a Expr,
    name: &'a dyn Fn(usize) -> String,
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |expr| Described { expr, name: self.name };
        match &self.expr.kind {
            ExprKind::Column(index) => f.write_str(&(self.name)(*index)),
            ExprKind::Outer(index) => write!(f, "outer${index}"),
            ExprKind::Literal(value) => write_literal(f, value),
            ExprKind::Call(udf, args) if operator(udf.name()).is_some() && args.len() == 2 => {
                let symbol = operator(udf.name()).unwrap_or_default();
                write!(f, "({} {symbol} {})", of(&args[0]), of(&args[1]))
            }
            ExprKind::Call(udf, args) => {
                write!(f, "{}(", udf.name())?;
                for (i, arg) in args.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, of(arg))?;
                }
                f.write_str(")")
            }
            ExprKind::Binary(op, a, b) => write!(f, "({} {op} {})", of(a), of(b)),
            ExprKind::Not(e) => write!(f, "NOT {}", of(e)),
            ExprKind::IsNull(e) => write!(f, "{} IS NULL", of(e)),
            ExprKind::Widen(e) => write!(f, "CAST({} AS {})", of(e), self.expr.data_type),
            ExprKind::Case { branches, otherwise } => {
                f.write_str("CASE")?;
                for (when, then) in branches {
                    write!(f, " WHEN {} THEN {}", of(when), of(then))?;
                }
                if let Some(otherwise) = otherwise {
                    write!(f, " ELSE {}", of(otherwise))?;
                }
                f.write_str(" END")
            }
            ExprKind::Like { negated, case_insensitive, text, pattern } => {
                let not = if *negated { "NOT " } else { "" };
                let like = if *case_insensitive { "ILIKE" } else { "LIKE" };
                write!(f, "{} {not}{like} {}", of(text), of(pattern))
            }
            ExprKind::In { negated, value, list } => {
                write!(f, "{} {}IN (", of(value), if *negated { "NOT " } else { "" })?;
                for (i, item) in list.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, of(item))?;
                }
                f.write_str(")")
            }
            ExprKind::Aggregate(n) => write!(f, "aggregate#{n}"),
            ExprKind::Over(n) => write!(f, "over#{n}"),
            ExprKind::Subquery(n) => write!(f, "subquery#{n}"),
        }
    }
}

/// The operator that a function of ours computes.
fn operator(name: &str) -> Option<&'static str> {
    Some(match name {
        "FLINK_ADD" | "FLINK_TIME_ADD" => "+",
        "FLINK_SUB" | "FLINK_TIME_SUB" => "-",
        "FLINK_MUL" => "*",
        "FLINK_DIV" => "/",
        "FLINK_MOD" => "%",
        _ => return None,
    })
}

fn write_literal(f: &mut fmt::Formatter<'_>, value: &ScalarValue) -> fmt::Result {
    match value {
        ScalarValue::Utf8(Some(text)) => write!(f, "'{}'", text.replace('\'', "''")),
        ScalarValue::DurationMillisecond(Some(ms)) if ms % 1000 == 0 => {
            write!(f, "INTERVAL '{}' SECOND", ms / 1000)
        }
        ScalarValue::DurationMillisecond(Some(ms)) => write!(f, "INTERVAL '{ms}' MILLISECOND"),
        ScalarValue::IntervalYearMonth(Some(months)) => write!(f, "INTERVAL '{months}' MONTH"),
        value if value.is_null() => f.write_str("NULL"),
        value => write!(f, "{value}"),
    }
}
