//! Conditions over single values, where they can be said so: see [`Formula`].

use super::compile::typed;
use super::expr::{Expr, ExprKind};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use tidemill_operators::pattern::{Arithmetic, Comparison, Formula, Value, Width};

/// The formula of an expression; none if anything in it has none. Columns are its operands.
pub(crate) fn formula(expr: &Expr) -> Option<Formula> {
    match &expr.kind {
        ExprKind::Column(number) => Some(Formula::Operand(*number)),
        ExprKind::Literal(value) => {
            value_of(&typed(value, &expr.data_type.arrow())).map(Formula::Constant)
        }
        ExprKind::Binary(Operator::And, a, b) => Some(Formula::And(both(a, b)?)),
        ExprKind::Binary(Operator::Or, a, b) => Some(Formula::Or(both(a, b)?)),
        ExprKind::Binary(op, a, b) => {
            let is_same = a.data_type.arrow() == b.data_type.arrow();
            let comparison = comparison(*op).filter(|_| is_same && is_plain(a))?;
            Some(Formula::Compare(comparison, both(a, b)?))
        }
        ExprKind::Not(inner) => Some(Formula::Not(Box::new(formula(inner)?))),
        ExprKind::IsNull(inner) => Some(Formula::IsNull(Box::new(formula(inner)?))),
        ExprKind::Widen(inner) if keeps_value(inner, expr) => formula(inner),
        ExprKind::Call(udf, args) => call(udf.name(), args, expr),
        _ => None,
    }
}

fn both(a: &Expr, b: &Expr) -> Option<Box<[Formula; 2]>> {
    Some(Box::new([formula(a)?, formula(b)?]))
}

fn comparison(op: Operator) -> Option<Comparison> {
    Some(match op {
        Operator::Eq => Comparison::Equal,
        Operator::NotEq => Comparison::NotEqual,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::NotGreater,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::NotLess,
        _ => return None,
    })
}

/// Whether values compare as they are held.
fn is_plain(expr: &Expr) -> bool {
    use DataType::*;
    match expr.data_type.arrow() {
        Boolean | Float32 | Float64 | Decimal128(..) | Utf8 | Binary | Date32 => true,
        Time32(_) | Timestamp(..) | Duration(_) => true,
        integer => width(&integer).is_some(),
    }
}

fn width(data_type: &DataType) -> Option<Width> {
    match data_type {
        DataType::Int8 => Some(Width::Bits8),
        DataType::Int16 => Some(Width::Bits16),
        DataType::Int32 => Some(Width::Bits32),
        DataType::Int64 => Some(Width::Bits64),
        _ => None,
    }
}

/// Whether a value is held in the same way in a wider type.
fn keeps_value(from: &Expr, to: &Expr) -> bool {
    match (from.data_type.arrow(), to.data_type.arrow()) {
        (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => from == to,
        (DataType::Float32, DataType::Float64) => true,
        (from, to) => width(&from).is_some() && width(&to).is_some(),
    }
}

fn call(name: &str, args: &[Expr], whole: &Expr) -> Option<Formula> {
    let [a, b] = args else { return None };
    let result = whole.data_type.arrow();
    let arithmetic = match name {
        "FLINK_ADD" | "FLINK_TIME_ADD" => Arithmetic::Add,
        "FLINK_SUB" | "FLINK_TIME_SUB" => Arithmetic::Subtract,
        "FLINK_MUL" => Arithmetic::Multiply,
        _ => return None,
    };
    let moment = DataType::Timestamp(TimeUnit::Millisecond, None);
    let length = DataType::Duration(TimeUnit::Millisecond);
    let width = match (a.data_type.arrow(), b.data_type.arrow()) {
        (a, b) if a == result && b == result => width(&result)?,
        (a, b) if a == result && result == moment && b == length => Width::Bits64,
        _ => return None,
    };
    Some(Formula::Arithmetic(arithmetic, width, both(a, b)?))
}

fn value_of(scalar: &ScalarValue) -> Option<Value> {
    use ScalarValue as S;
    Some(match scalar {
        null if null.is_null() => Value::Null,
        S::Boolean(Some(value)) => Value::Boolean(*value),
        S::Int8(Some(value)) => Value::Integer((*value).into()),
        S::Int16(Some(value)) => Value::Integer((*value).into()),
        S::Int32(Some(value)) | S::Date32(Some(value)) | S::Time32Millisecond(Some(value)) => {
            Value::Integer((*value).into())
        }
        S::Int64(Some(value))
        | S::DurationMillisecond(Some(value))
        | S::TimestampMillisecond(Some(value), _)
        | S::TimestampMicrosecond(Some(value), _)
        | S::TimestampNanosecond(Some(value), _) => Value::Integer(*value),
        S::Float32(Some(value)) => Value::Float((*value).into()),
        S::Float64(Some(value)) => Value::Float(*value),
        S::Decimal128(Some(value), ..) => Value::Decimal(*value),
        S::Utf8(Some(text)) => Value::Bytes(text.as_bytes().into()),
        S::Binary(Some(bytes)) => Value::Bytes(bytes.as_slice().into()),
        _ => return None,
    })
}
