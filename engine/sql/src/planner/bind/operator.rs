//! Operators: comparisons, arithmetic, logic, `CASE`, `CAST`.

use super::{Binder, Clause};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::parser::string_value;
use crate::planner::expr::{Expr, ExprKind};
use crate::planner::misread;
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, Expr as Ast, TrimWhereField,
    UnaryOperator, ValueWithSpan,
};

impl Binder<'_, '_> {
    pub(super) fn binary(
        &mut self,
        left: &Ast,
        op: &BinaryOperator,
        right: &Ast,
        at: At,
    ) -> Planned<Expr> {
        let (left, right) = (self.bind(left)?, self.bind(right)?);
        match op {
            BinaryOperator::And | BinaryOperator::Or => {
                let op = if *op == BinaryOperator::And { Operator::And } else { Operator::Or };
                let (left, right) = (self.as_condition(left)?, self.as_condition(right)?);
                Ok(Expr { at, ..Expr::compare(op, left, right) })
            }
            BinaryOperator::Eq => self.compare(Operator::Eq, left, right, at),
            BinaryOperator::NotEq => self.compare(Operator::NotEq, left, right, at),
            BinaryOperator::Lt => self.compare(Operator::Lt, left, right, at),
            BinaryOperator::LtEq => self.compare(Operator::LtEq, left, right, at),
            BinaryOperator::Gt => self.compare(Operator::Gt, left, right, at),
            BinaryOperator::GtEq => self.compare(Operator::GtEq, left, right, at),
            BinaryOperator::StringConcat => {
                let text = |planner: &super::Planner<'_>, e: Expr| match e.data_type.is_string() {
                    true => Ok(e),
                    false => planner.cast(e, &SqlType::String),
                };
                let args = vec![text(self.planner, left)?, text(self.planner, right)?];
                self.planner.call("CONCAT", args, at)
            }
            BinaryOperator::Plus => self.planner.arithmetic("+", left, right, at),
            BinaryOperator::Minus => self.planner.arithmetic("-", left, right, at),
            BinaryOperator::Multiply => self.planner.arithmetic("*", left, right, at),
            BinaryOperator::Divide => self.planner.arithmetic("/", left, right, at),
            BinaryOperator::Modulo => self.planner.arithmetic("%", left, right, at),
            other => Err(Refusal::new(
                ErrorKind::Unsupported,
                at,
                format!("the operator '{other}' is not supported"),
            )),
        }
    }

    /// A comparison of two values that are first brought to one type.
    pub(super) fn compare(
        &mut self,
        op: Operator,
        left: Expr,
        right: Expr,
        at: At,
    ) -> Planned<Expr> {
        if op == Operator::Eq && matches!(self.clause, Clause::Rows("ON")) {
            self.planner.surprises.extend(misread(&left, &right));
        }
        let Some(common) = comparable(&left.data_type, &right.data_type) else {
            let message =
                format!("a {} can't be compared with a {}", left.data_type, right.data_type);
            return Err(Refusal::new(ErrorKind::TypeMismatch, at, message)
                .hint("CAST one of them to the other's type"));
        };
        let (left, right) = (self.planner.cast(left, &common)?, self.planner.cast(right, &common)?);
        Ok(Expr { at, ..Expr::compare(op, left, right) })
    }

    pub(super) fn unary(&mut self, op: &UnaryOperator, inner: &Ast, at: At) -> Planned<Expr> {
        match op {
            UnaryOperator::Not => Ok(Expr { at, ..self.condition(inner)?.negate() }),
            UnaryOperator::Plus => self.bind(inner),
            UnaryOperator::Minus => {
                // The least whole numbers have no positive counterpart.
                if let Ast::Value(v) = inner
                    && let sqlparser::ast::Value::Number(text, long) = &v.value
                    && !text.contains(['.', 'e', 'E'])
                {
                    let negative = sqlparser::ast::Value::Number(format!("-{text}"), *long);
                    return super::literal::value(&negative, at);
                }
                let value = self.bind(inner)?;
                self.planner.negative(value, at)
            }
            other => Err(Refusal::new(
                ErrorKind::Unsupported,
                at,
                format!("the operator '{other}' is not supported"),
            )),
        }
    }

    pub(super) fn is_truth(
        &mut self,
        inner: &Ast,
        wanted: Option<bool>,
        negated: bool,
    ) -> Planned<Expr> {
        let value = self.condition(inner)?;
        let at = value.at;
        let scalar = ScalarValue::Boolean(wanted);
        let wanted = Expr::literal(scalar, SqlType::Boolean, at);
        let op = if negated { Operator::IsDistinctFrom } else { Operator::IsNotDistinctFrom };
        Ok(Expr::compare(op, value, wanted))
    }

    pub(super) fn distinct(
        &mut self,
        left: &Ast,
        right: &Ast,
        distinct: bool,
        at: At,
    ) -> Planned<Expr> {
        let (left, right) = (self.bind(left)?, self.bind(right)?);
        let op = if distinct { Operator::IsDistinctFrom } else { Operator::IsNotDistinctFrom };
        self.compare(op, left, right, at)
    }

    pub(super) fn between(
        &mut self,
        value: &Ast,
        negated: bool,
        low: &Ast,
        high: &Ast,
        at: At,
    ) -> Planned<Expr> {
        let (value, low, high) = (self.bind(value)?, self.bind(low)?, self.bind(high)?);
        let above = self.compare(Operator::GtEq, value.clone(), low, at)?;
        let below = self.compare(Operator::LtEq, value, high, at)?;
        let inside = above.and(below);
        Ok(if negated { inside.negate() } else { inside })
    }

    pub(super) fn in_list(
        &mut self,
        value: &Ast,
        list: &[Ast],
        negated: bool,
        at: At,
    ) -> Planned<Expr> {
        let value = self.bind(value)?;
        let list = self.all(list)?;
        let mut common = value.data_type.clone();
        for item in &list {
            common = comparable(&common, &item.data_type).ok_or_else(|| {
                let message =
                    format!("a {} can't be compared with a {}", item.data_type, value.data_type);
                Refusal::new(ErrorKind::TypeMismatch, item.at, message)
            })?;
        }
        let value = Box::new(self.planner.cast(value, &common)?);
        let list: Vec<Expr> =
            list.into_iter().map(|i| self.planner.cast(i, &common)).collect::<Planned<_>>()?;
        if matches!(common, SqlType::Row(_)) {
            let equal = list.into_iter().map(|i| Expr::compare(Operator::Eq, (*value).clone(), i));
            let any = equal.reduce(|a, b| Expr::compare(Operator::Or, a, b)).expect("not empty");
            return Ok(if negated { any.negate() } else { any });
        }
        Ok(Expr::new(ExprKind::In { negated, value, list }, SqlType::Boolean, at))
    }

    pub(super) fn like(
        &mut self,
        negated: bool,
        case_insensitive: bool,
        text: &Ast,
        pattern: &Ast,
        escape: Option<&ValueWithSpan>,
        at: At,
    ) -> Planned<Expr> {
        let (text, pattern) = (self.bind(text)?, self.bind(pattern)?);
        for side in [&text, &pattern] {
            if !side.data_type.is_string() && side.data_type != SqlType::Null {
                let message = format!("LIKE takes strings, not a {}", side.data_type);
                return Err(Refusal::new(ErrorKind::WrongArguments, side.at, message));
            }
        }
        let escape = escape.and_then(|e| string_value(&e.value)).and_then(|s| s.chars().next());
        let pattern = match (pattern.as_literal(), escape) {
            (Some(ScalarValue::Utf8(Some(text))), escape) => {
                Expr::text(&arrow_pattern(text, escape), pattern.at)
            }
            (_, None) => self.planner.cast(pattern, &SqlType::String)?,
            (_, Some(_)) => {
                let message = "ESCAPE needs a constant pattern";
                return Err(Refusal::new(ErrorKind::Unsupported, pattern.at, message));
            }
        };
        let (text, pattern) =
            (Box::new(self.planner.cast(text, &SqlType::String)?), Box::new(pattern));
        let kind = ExprKind::Like { negated, case_insensitive, text, pattern };
        Ok(Expr::new(kind, SqlType::Boolean, at))
    }

    pub(super) fn case(
        &mut self,
        operand: Option<&Ast>,
        conditions: &[CaseWhen],
        otherwise: Option<&Ast>,
        at: At,
    ) -> Planned<Expr> {
        let operand = operand.map(|o| self.bind(o)).transpose()?;
        let mut branches = Vec::with_capacity(conditions.len());
        for CaseWhen { condition, result } in conditions {
            let when = match &operand {
                None => self.condition(condition)?,
                Some(operand) => {
                    let value = self.bind(condition)?;
                    self.compare(Operator::Eq, operand.clone(), value, at)?
                }
            };
            branches.push((when, self.bind(result)?));
        }
        let otherwise = otherwise.map(|o| self.bind(o)).transpose()?;
        self.planner.case(branches, otherwise, at)
    }

    pub(super) fn explicit_cast(
        &mut self,
        kind: &CastKind,
        inner: &Ast,
        data_type: &DataType,
        at: At,
    ) -> Planned<Expr> {
        let value = self.bind(inner)?;
        let target = self.planner.data_type(data_type, at)?;
        let is_try = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
        self.planner.explicit_cast(value, &target, is_try, at)
    }

    pub(super) fn round_to(
        &mut self,
        name: &str,
        value: &Ast,
        field: &CeilFloorKind,
        at: At,
    ) -> Planned<Expr> {
        let value = self.bind(value)?;
        match field {
            CeilFloorKind::DateTimeField(sqlparser::ast::DateTimeField::NoDateTime) => {
                self.planner.call(name, vec![value], at)
            }
            CeilFloorKind::DateTimeField(unit) => {
                let unit = Expr::text(&unit.to_string().to_ascii_uppercase(), at);
                self.planner.call(&format!("{name}_TO"), vec![value, unit], at)
            }
            CeilFloorKind::Scale(scale) => {
                let scale = super::literal::value(&scale.value, at)?;
                self.planner.call(name, vec![value, scale], at)
            }
        }
    }

    pub(super) fn trim(
        &mut self,
        side: Option<&TrimWhereField>,
        what: Option<&Ast>,
        text: &Ast,
        at: At,
    ) -> Planned<Expr> {
        let name = match side {
            None | Some(TrimWhereField::Both) => "BTRIM",
            Some(TrimWhereField::Leading) => "LTRIM",
            Some(TrimWhereField::Trailing) => "RTRIM",
        };
        let args: Vec<&Ast> = std::iter::once(text).chain(what).collect();
        self.call(name, &args, at)
    }
}

/// The type in which two values are compared: strings are read as what they are compared with.
fn comparable(left: &SqlType, right: &SqlType) -> Option<SqlType> {
    let readable = |t: &SqlType| {
        t.is_numeric()
            || t.is_timestamp()
            || matches!(t, SqlType::Date | SqlType::Time | SqlType::Boolean)
    };
    left.common(right).or_else(|| match (left, right) {
        (text, other) | (other, text) if text.is_string() && readable(other) => Some(other.clone()),
        (SqlType::Multiset(_), SqlType::Multiset(_)) => Some(left.clone()),
        _ => None,
    })
}

/// A pattern in which a backslash escapes, as Arrow reads it, for one in which `escape` does.
fn arrow_pattern(pattern: &str, escape: Option<char>) -> String {
    let mut text = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            if let Some(next) = chars.next() {
                text.push('\\');
                text.push(next);
            }
        } else if c == '\\' {
            text.push_str("\\\\");
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::arrow_pattern;

    #[test]
    fn patterns_are_rewritten_to_backslash_escapes() {
        assert_eq!(arrow_pattern("a!%b%", Some('!')), "a\\%b%");
        assert_eq!(arrow_pattern("a\\b", None), "a\\\\b");
    }
}
