//! Typed building blocks: casts, calls, arithmetic, `CASE`, rows.
//!
//! What an expression means is decided here, once, for every clause that can contain it.

use super::Planner;
use super::compile::{Compiled, typed};
use super::expr::{Expr, ExprKind};
use crate::error::{At, ErrorKind, Planned, Refusal, did_you_mean};
use crate::functions::Functions;
use crate::functions::cast::{CastSpec, OnFailure, TextLength, cast_udf};
use crate::parser::parse_type_name;
use crate::types::SqlType;
use arrow::array::{Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarUDF};
use sqlparser::ast;
use std::sync::Arc;
use tidemill_operators::Expression;

impl Planner<'_> {
    /// The type that a cast or a constant names.
    pub(crate) fn data_type(&self, name: &ast::DataType, at: At) -> Planned<SqlType> {
        let types = self.types.get(at.file).map_or(&[][..], Vec::as_slice);
        parse_type_name(&name.to_string(), types, at)
    }

    /// Brings a value to a type, as an assignment or a comparison does.
    pub(crate) fn cast(&self, expr: Expr, to: &SqlType) -> Planned<Expr> {
        if expr.data_type == *to {
            return Ok(expr);
        }
        if let Some(value) = expr.as_literal()
            && let Some(folded) = fold(value, &expr.data_type, to)
        {
            return Ok(Expr::literal(folded, to.clone(), expr.at));
        }
        let from = expr.data_type.arrow();
        if from == to.arrow() && !matches!(to, SqlType::Char(_) | SqlType::Varchar(_)) {
            return Ok(Expr { data_type: to.clone(), ..expr });
        }
        if widens(&expr.data_type, to) {
            let at = expr.at;
            return Ok(Expr::new(ExprKind::Widen(Box::new(expr)), to.clone(), at));
        }
        let at = expr.at;
        self.explicit_cast(expr, to, false, at)
    }

    /// `CAST(expr AS to)`
    pub(crate) fn explicit_cast(
        &self,
        expr: Expr,
        to: &SqlType,
        is_try: bool,
        at: At,
    ) -> Planned<Expr> {
        let from = expr.data_type.clone();
        let null = expr.as_literal().is_some_and(ScalarValue::is_null);
        if null || from == SqlType::Null {
            return Ok(Expr::literal(ScalarValue::Null, to.clone(), at));
        }
        let same = from == *to || (from.is_string() && *to == SqlType::String);
        if same {
            // A row time that is cast is a row time no more, even to its own type.
            return Ok(match to.is_timestamp() {
                true => Expr::new(ExprKind::Widen(Box::new(expr)), to.clone(), at),
                false => Expr { data_type: to.clone(), ..expr },
            });
        }
        if widens(&from, to) {
            return Ok(Expr::new(ExprKind::Widen(Box::new(expr)), to.clone(), at));
        }
        let on_failure = if is_try { OnFailure::Null } else { OnFailure::Fail };
        let mut spec = CastSpec::new(to.arrow(), on_failure, self.zone);
        spec.length = match to {
            SqlType::Char(n) => TextLength::Exactly(*n as usize),
            SqlType::Varchar(n) => TextLength::AtMost(*n as usize),
            _ => TextLength::Any,
        };
        let digits = |t: &SqlType| match t {
            SqlType::Timestamp(p) | SqlType::TimestampLtz(p) => Some(*p),
            _ => None,
        };
        (spec.precision, spec.from_precision) = (digits(to), digits(&from));
        if *to == SqlType::Time {
            spec.precision = Some(0); // TIME is TIME(0)
        }
        let udf = cast_udf(spec);
        // Asked for its type so that a cast that can't be is refused now.
        return_type(&udf, std::slice::from_ref(&expr)).map_err(|reason| {
            Refusal::new(ErrorKind::TypeMismatch, at, reason)
                .hint(format!("a {from} has no counterpart of type {to}"))
        })?;
        Ok(Expr::new(ExprKind::Call(udf, vec![expr]), to.clone(), at))
    }

    /// The names of all built-in functions.
    pub(crate) fn function_names(&self) -> Vec<String> {
        let others = super::functions::names().map(str::to_owned);
        self.functions.names().into_iter().chain(others).collect()
    }

    /// Calls a function by name.
    pub(crate) fn call(&self, name: &str, args: Vec<Expr>, at: At) -> Planned<Expr> {
        let Some(udf) = self.functions.scalar(name) else {
            let names = self.function_names();
            let refusal = Refusal::new(
                ErrorKind::UnknownFunction,
                at,
                format!("there is no function '{name}'"),
            );
            return Err(match did_you_mean(name, names.iter().map(String::as_str)) {
                Some(near) => refusal.hint(format!("did you mean {near}?")),
                None => refusal.hint("SHOW FUNCTIONS lists those that there are"),
            });
        };
        let args = match makes_json(name) {
            true => args.into_iter().map(|arg| self.as_json(arg)).collect(),
            false => Ok(args),
        };
        self.call_udf(&udf, args?, at)
    }

    /// An object or array that was made of values, as part of another one: not as text.
    fn as_json(&self, arg: Expr) -> Planned<Expr> {
        let at = arg.at;
        match &arg.kind {
            ExprKind::Call(udf, _) if makes_json(udf.name()) => {
                self.call("FLINK_JSON", vec![arg], at)
            }
            _ => Ok(arg),
        }
    }

    /// Calls a function, whose arguments are cast to what it takes.
    pub(crate) fn call_udf(&self, udf: &Arc<ScalarUDF>, args: Vec<Expr>, at: At) -> Planned<Expr> {
        let refuse = |reason: String| Refusal::new(ErrorKind::WrongArguments, at, reason);
        let types: Vec<DataType> = args.iter().map(|a| a.data_type.arrow()).collect();
        let wanted = if args.is_empty() { Ok(Vec::new()) } else { udf.coerce_types(&types) };
        let wanted = wanted.map_err(|e| refuse(reason(&e)))?;
        let args = (args.into_iter().zip(&wanted))
            .map(|(arg, wanted)| {
                if arg.data_type.arrow() == *wanted {
                    return Ok(arg);
                }
                self.cast(arg, &SqlType::of(wanted))
            })
            .collect::<Planned<Vec<_>>>()?;
        let result = return_type(udf, &args).map_err(refuse)?;
        // Arrow does not know CHAR(3) from STRING; what a function makes of either is a STRING.
        let data_type = match args.iter().find(|a| a.data_type.arrow() == result) {
            Some(arg) if !arg.data_type.is_string() => arg.data_type.clone(),
            _ => SqlType::of(&result),
        };
        Ok(Expr::new(ExprKind::Call(udf.clone(), args), data_type, at))
    }

    /// `left op right` for the operators `+ - * / %`.
    pub(crate) fn arithmetic(&self, op: &str, left: Expr, right: Expr, at: At) -> Planned<Expr> {
        let mismatch = |left: &Expr, right: &Expr| {
            let message =
                format!("'{op}' can't join a {} and a {}", left.data_type, right.data_type);
            Refusal::new(ErrorKind::TypeMismatch, at, message)
        };
        let is_time = |e: &Expr| {
            e.data_type.is_timestamp() || matches!(e.data_type, SqlType::Date | SqlType::Time)
        };
        let time = match op {
            "+" if is_time(&left) && right.data_type.is_interval() => {
                Some(("FLINK_TIME_ADD", [left.clone(), right.clone()]))
            }
            "+" if is_time(&right) && left.data_type.is_interval() => {
                Some(("FLINK_TIME_ADD", [right.clone(), left.clone()]))
            }
            "-" if is_time(&left) && right.data_type.is_interval() => {
                Some(("FLINK_TIME_SUB", [left.clone(), right.clone()]))
            }
            _ => None,
        };
        if let Some((name, args)) = time {
            let data_type = args[0].data_type.clone();
            let sum = self.call(name, args.into(), at)?;
            return Ok(Expr { data_type, ..sum });
        }
        let numeric = |e: &Expr| e.data_type.is_numeric() || e.data_type == SqlType::Null;
        if !numeric(&left) || !numeric(&right) {
            return Err(mismatch(&left, &right).hint(if is_time(&left) && is_time(&right) {
                "TIMESTAMPDIFF(unit, a, b) is the time between two instants"
            } else {
                "CAST both sides to numbers"
            }));
        }
        let name = match op {
            "+" => "FLINK_ADD",
            "-" => "FLINK_SUB",
            "*" => "FLINK_MUL",
            "/" => "FLINK_DIV",
            _ => "FLINK_MOD",
        };
        self.call(name, vec![left, right], at)
    }

    /// `-value`
    pub(crate) fn negative(&self, value: Expr, at: At) -> Planned<Expr> {
        if let Some(literal) = value.as_literal()
            && let Ok(negative) = literal.arithmetic_negate()
        {
            // A constant is read as a decimal, which has no negative zero.
            let negative = match negative {
                ScalarValue::Float64(Some(-0.0)) => ScalarValue::Float64(Some(0.0)),
                other => other,
            };
            return Ok(Expr::literal(negative, value.data_type.clone(), at));
        }
        self.call("FLINK_NEG", vec![value], at)
    }

    /// `CASE WHEN … THEN … ELSE … END`, with all results of one type.
    pub(crate) fn case(
        &self,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Expr>,
        at: At,
    ) -> Planned<Expr> {
        let mut common = SqlType::Null;
        for result in branches.iter().map(|(_, then)| then).chain(&otherwise) {
            common = common.common(&result.data_type).ok_or_else(|| {
                let message =
                    format!("the branches are of types {common} and {}", result.data_type);
                Refusal::new(ErrorKind::TypeMismatch, result.at, message)
                    .hint("CAST them to one type")
            })?;
        }
        let branches = (branches.into_iter())
            .map(|(when, then)| Ok((when, self.cast(then, &common)?)))
            .collect::<Planned<_>>()?;
        let otherwise = otherwise.map(|e| self.cast(e, &common)).transpose()?.map(Box::new);
        Ok(Expr::new(ExprKind::Case { branches, otherwise }, common, at))
    }

    /// `ROW(a, b)`
    pub(crate) fn row(&self, fields: Vec<Expr>, at: At) -> Expr {
        let named = |(i, field): (usize, Expr)| (format!("EXPR${i}"), field);
        let fields: Vec<(String, Expr)> = fields.into_iter().enumerate().map(named).collect();
        let data_type =
            SqlType::Row(fields.iter().map(|(n, f)| (n.clone(), f.data_type.clone())).collect());
        let args =
            fields.into_iter().flat_map(|(name, field)| [Expr::text(&name, at), field]).collect();
        let udf = datafusion::functions::core::named_struct();
        Expr::new(ExprKind::Call(udf, args), data_type, at)
    }

    /// `value.name`
    pub(crate) fn field(&self, value: Expr, name: &str, at: At) -> Planned<Expr> {
        let SqlType::Row(fields) = &value.data_type else {
            let message = format!("a {} has no field '{name}'", value.data_type);
            return Err(Refusal::new(ErrorKind::UnknownColumn, at, message));
        };
        let found = fields
            .iter()
            .find(|(f, _)| f == name)
            .or_else(|| fields.iter().find(|(f, _)| f.eq_ignore_ascii_case(name)));
        let Some((field, data_type)) = found.cloned() else {
            let known: Vec<&str> = fields.iter().map(|(f, _)| f.as_str()).collect();
            let message = format!("the row has no field '{name}'");
            return Err(Refusal::new(ErrorKind::UnknownColumn, at, message)
                .hint(format!("fields: {}", known.join(", "))));
        };
        let udf = datafusion::functions::core::get_field();
        let args = vec![value, Expr::text(&field, at)];
        Ok(Expr::new(ExprKind::Call(udf, args), data_type, at))
    }

    /// `array[index]`, `map[key]`
    pub(crate) fn item(&self, value: Expr, index: Expr, at: At) -> Planned<Expr> {
        let (data_type, index) = match value.data_type.clone() {
            SqlType::Array(item) => (*item, self.cast(index, &SqlType::Int)?),
            SqlType::Map(key, item) => (*item, self.cast(index, &key)?),
            other => {
                let message = format!("a {other} has no items");
                return Err(Refusal::new(ErrorKind::TypeMismatch, at, message));
            }
        };
        let item = self.call("ITEM", vec![value, index], at)?;
        Ok(Expr { data_type, ..item })
    }

    /// The value of an expression without columns.
    pub(crate) fn evaluate(&self, expr: &Expr) -> Planned<ScalarValue> {
        if let Some(value) = expr.as_literal() {
            return Ok(typed(value, &expr.data_type.arrow()));
        }
        let schema = Arc::new(Schema::new(vec![Field::new("_", DataType::Int32, true)]));
        let one: Arc<dyn arrow::array::Array> = Arc::new(Int32Array::from(vec![0]));
        let refuse = |reason: String| Refusal::new(ErrorKind::WrongArguments, expr.at, reason);
        let row =
            RecordBatch::try_new(schema.clone(), vec![one]).map_err(|e| refuse(e.to_string()))?;
        let compiled = Compiled::new(expr, &schema)?;
        let now = chrono::Utc::now().timestamp_millis();
        let array = compiled.evaluate(&row, now).map_err(|e| refuse(e.to_string()))?;
        ScalarValue::try_from_array(&array, 0).map_err(|e| refuse(reason(&e)))
    }
}

fn makes_json(function: &str) -> bool {
    matches!(function, "JSON_OBJECT" | "JSON_ARRAY" | "FLINK_JSON_ARRAY_OF_ALL")
}

/// A row time moved by some milliseconds, in the form in which a condition writes it.
pub(super) fn shift_time(time: Expr, ms: i64) -> Expr {
    let functions = Functions::new(chrono_tz::Tz::UTC);
    let add = functions.scalar("FLINK_TIME_ADD").expect("a function of ours");
    let (data_type, at) = (time.data_type.clone(), time.at);
    let interval = ScalarValue::DurationMillisecond(Some(ms));
    let interval = Expr::literal(interval, SqlType::IntervalDayTime, at);
    Expr::new(ExprKind::Call(add, vec![time, interval]), data_type, at)
}

/// Whether every value of `from` is a value of `to` and Arrow casts it so.
fn widens(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::*;
    let rank = |t: &SqlType| match t {
        TinyInt => Some(1),
        SmallInt => Some(2),
        Int => Some(3),
        BigInt => Some(4),
        _ => None,
    };
    match (from, to) {
        (a, b) if rank(a).is_some() && rank(b).is_some() => rank(a) <= rank(b),
        (a, Double) if rank(a).is_some_and(|r| r <= 3) => true,
        (BigInt, Double) => true,
        (Float, Double) => true,
        (a, Decimal(p, s)) if rank(a).is_some() => a
            .as_decimal()
            .is_some_and(|(whole, _)| i16::from(*p) - i16::from(*s) >= i16::from(whole)),
        (Decimal(p1, s1), Decimal(p2, s2)) => {
            s2 >= s1 && i16::from(*p2) - i16::from(*s2) >= i16::from(*p1) - i16::from(*s1)
        }
        (Timestamp(a), Timestamp(b)) | (TimestampLtz(a), TimestampLtz(b)) => a <= b,
        _ => false,
    }
}

/// A constant in another type, where that is plain.
fn fold(value: &ScalarValue, from: &SqlType, to: &SqlType) -> Option<ScalarValue> {
    if value.is_null() {
        return Some(ScalarValue::Null);
    }
    let plain = widens(from, to) || (from.is_string() && *to == SqlType::String);
    plain.then(|| value.cast_to(&to.arrow()).ok()).flatten()
}

/// The type of a function's result for these arguments.
pub(super) fn return_type(udf: &Arc<ScalarUDF>, args: &[Expr]) -> Result<DataType, String> {
    Ok(return_field(udf, args)?.data_type().clone())
}

pub(super) fn return_field(udf: &Arc<ScalarUDF>, args: &[Expr]) -> Result<FieldRef, String> {
    let fields: Vec<FieldRef> =
        (args.iter()).map(|a| Arc::new(Field::new("arg", a.data_type.arrow(), true))).collect();
    let scalars: Vec<Option<&ScalarValue>> = args.iter().map(Expr::as_literal).collect();
    udf.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &scalars })
        .map_err(|e| reason(&e))
}

/// What a library's error says, without its own kind of error in front.
pub(super) fn reason(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let kinds = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Cast error: ",
        "Compute error: ",
        "Invalid argument error: ",
    ];
    let mut text = text.as_str();
    while let Some(rest) = kinds.iter().find_map(|k| text.strip_prefix(k)) {
        text = rest;
    }
    text.to_owned()
}
