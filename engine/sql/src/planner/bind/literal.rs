//! Constants: numbers, strings, dates, intervals.

use super::Binder;
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::parser::string_value;
use crate::planner::expr::Expr;
use crate::types::SqlType;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use datafusion::common::ScalarValue;
use sqlparser::ast::{self, DateTimeField, Expr as Ast, UnaryOperator, Value};

/// Functions that are called without parentheses.
pub(super) fn is_nullary_function(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "CURRENT_DATE",
        "CURRENT_TIME",
        "CURRENT_TIMESTAMP",
        "LOCALTIME",
        "LOCALTIMESTAMP",
        "CURRENT_ROW_TIMESTAMP",
    ];
    NAMES.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// A number, a string, a boolean or NULL.
pub(super) fn value(value: &Value, at: At) -> Planned<Expr> {
    if let Some(text) = string_value(value) {
        let length = text.chars().count() as u32;
        let scalar = ScalarValue::Utf8(Some(text.to_owned()));
        return Ok(Expr::literal(scalar, SqlType::Char(length.max(1)), at));
    }
    match value {
        Value::Number(text, _) => number(text, at),
        Value::Boolean(b) => Ok(Expr::boolean(*b, at)),
        Value::Null => Ok(Expr::literal(ScalarValue::Null, SqlType::Null, at)),
        Value::HexStringLiteral(hex) => {
            let digits: Option<Vec<u8>> = (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok())
                .collect();
            let Some(bytes) = digits else {
                return Err(Refusal::new(ErrorKind::Parse, at, "not pairs of hexadecimal digits"));
            };
            Ok(Expr::literal(ScalarValue::Binary(Some(bytes)), SqlType::Bytes, at))
        }
        other => {
            Err(Refusal::new(ErrorKind::Parse, at, format!("'{other}' is not a constant here")))
        }
    }
}

/// A number: whole ones are `INT` or `BIGINT`, with a point `DECIMAL`, with an exponent `DOUBLE`.
fn number(text: &str, at: At) -> Planned<Expr> {
    let bad = || Refusal::new(ErrorKind::Parse, at, format!("'{text}' is out of range"));
    if text.contains(['e', 'E']) {
        let value: f64 = text.parse().map_err(|_| bad())?;
        return Ok(Expr::literal(ScalarValue::Float64(Some(value)), SqlType::Double, at));
    }
    if let Ok(value) = text.parse::<i32>() {
        return Ok(Expr::literal(ScalarValue::Int32(Some(value)), SqlType::Int, at));
    }
    if let Ok(value) = text.parse::<i64>() {
        return Ok(Expr::literal(ScalarValue::Int64(Some(value)), SqlType::BigInt, at));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction}");
    let value: i128 = digits.parse().map_err(|_| bad())?;
    // As many digits as are written: 0.908 is a DECIMAL(4, 3).
    if digits.len() > 38 {
        return Err(bad());
    }
    let (precision, scale) = (digits.len() as u8, fraction.len() as i8);
    let data_type = SqlType::Decimal(precision, scale);
    Ok(Expr::literal(ScalarValue::Decimal128(Some(value), precision, scale), data_type, at))
}

impl Binder<'_, '_> {
    /// `DATE '…'`, `TIME '…'`, `TIMESTAMP '…'`, `TIMESTAMP_LTZ '…'`.
    pub(super) fn typed_string(&mut self, typed: &ast::TypedString, at: At) -> Planned<Expr> {
        let text = string_value(&typed.value.value).unwrap_or_default().trim();
        let data_type = self.planner.data_type(&typed.data_type, at)?;
        let bad = |form: &str| {
            let message = format!("'{text}' is not a {} constant", typed.data_type);
            Refusal::new(ErrorKind::Parse, at, message).hint(format!("the form is '{form}'"))
        };
        let scalar = match data_type {
            SqlType::Date => {
                let date = NaiveDate::parse_from_str(text, "%Y-%m-%d");
                let date = date.map_err(|_| bad("2024-01-31"))?;
                ScalarValue::Date32(Some(days(date)))
            }
            SqlType::Time => {
                let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f")
                    .or_else(|_| NaiveTime::parse_from_str(text, "%H:%M"))
                    .map_err(|_| bad("13:45:00"))?;
                let ms = time.num_seconds_from_midnight() * 1000 + time.nanosecond() / 1_000_000;
                ScalarValue::Time32Millisecond(Some(ms as i32))
            }
            SqlType::Timestamp(_) | SqlType::TimestampLtz(_) => {
                let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
                    .or_else(|_| {
                        NaiveDate::parse_from_str(text, "%Y-%m-%d")
                            .map(|d| d.and_time(NaiveTime::MIN))
                    })
                    .map_err(|_| bad("2024-01-31 13:45:00.123"))?;
                return Ok(self.timestamp(text, time, &data_type, at));
            }
            _ => {
                let message = format!("there are no constants of type {}", typed.data_type);
                return Err(Refusal::new(ErrorKind::Parse, at, message));
            }
        };
        Ok(Expr::literal(scalar, data_type, at))
    }

    /// A timestamp of as many digits of a second as its text has.
    fn timestamp(&self, text: &str, time: NaiveDateTime, kind: &SqlType, at: At) -> Expr {
        let digits = text.rsplit_once('.').map_or(0, |(_, fraction)| fraction.len().min(9)) as u8;
        let instant = match kind {
            SqlType::TimestampLtz(_) => super::super::to_instant(time, self.planner.zone),
            _ => time.and_utc(),
        };
        let zone = matches!(kind, SqlType::TimestampLtz(_)).then(|| "UTC".into());
        let scalar = match digits {
            0..=3 => ScalarValue::TimestampMillisecond(Some(instant.timestamp_millis()), zone),
            4..=6 => ScalarValue::TimestampMicrosecond(Some(instant.timestamp_micros()), zone),
            _ => ScalarValue::TimestampNanosecond(instant.timestamp_nanos_opt(), zone),
        };
        let data_type = match kind {
            SqlType::TimestampLtz(_) => SqlType::TimestampLtz(digits),
            _ => SqlType::Timestamp(digits),
        };
        Expr::literal(scalar, data_type, at)
    }
}

/// `INTERVAL '5' SECOND`, `INTERVAL '1 02:03:04' DAY TO SECOND`, `INTERVAL '-3' MONTH` …
pub(super) fn interval(interval: &ast::Interval, at: At) -> Planned<Expr> {
    let mut sign = 1;
    let mut inner = interval.value.as_ref();
    if let Ast::UnaryOp { op: UnaryOperator::Minus, expr } = inner {
        (sign, inner) = (-1, expr);
    }
    let text = match inner {
        Ast::Value(v) => match &v.value {
            Value::Number(n, _) => n.clone(),
            v => string_value(v).unwrap_or_default().to_owned(),
        },
        other => {
            let message = format!("'{other}' is not a constant");
            return Err(
                Refusal::new(ErrorKind::Parse, at, message).hint("write INTERVAL '5' SECOND")
            );
        }
    };
    let Some(first) = &interval.leading_field else {
        return Err(Refusal::new(ErrorKind::Parse, at, "the interval has no unit")
            .hint("write INTERVAL '5' SECOND"));
    };
    let last = interval.last_field.as_ref();
    let amount = parse_interval(text.trim(), first, last).ok_or_else(|| {
        Refusal::new(ErrorKind::Parse, at, format!("'{text}' is no interval of that unit"))
    })?;
    Ok(match amount {
        Amount::Months(n) => {
            let scalar = ScalarValue::IntervalYearMonth(Some(sign * n));
            Expr::literal(scalar, SqlType::IntervalYearMonth, at)
        }
        Amount::Millis(n) => {
            let scalar = ScalarValue::DurationMillisecond(Some(i64::from(sign) * n));
            Expr::literal(scalar, SqlType::IntervalDayTime, at)
        }
    })
}

enum Amount {
    Months(i32),
    Millis(i64),
}

fn unit_ms(field: &DateTimeField) -> Option<i64> {
    Some(match field {
        DateTimeField::Second | DateTimeField::Seconds => 1_000,
        DateTimeField::Minute | DateTimeField::Minutes => 60_000,
        DateTimeField::Hour | DateTimeField::Hours => 3_600_000,
        DateTimeField::Day | DateTimeField::Days => 86_400_000,
        DateTimeField::Week(None) | DateTimeField::Weeks => 7 * 86_400_000,
        DateTimeField::Millisecond | DateTimeField::Milliseconds => 1,
        _ => return None,
    })
}

fn unit_months(field: &DateTimeField) -> Option<i32> {
    Some(match field {
        DateTimeField::Month | DateTimeField::Months => 1,
        DateTimeField::Quarter => 3,
        DateTimeField::Year | DateTimeField::Years => 12,
        _ => return None,
    })
}

fn parse_interval(
    text: &str,
    first: &DateTimeField,
    last: Option<&DateTimeField>,
) -> Option<Amount> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(months) = unit_months(first) {
        let total = match last {
            None => text.parse::<i32>().ok()?.checked_mul(months)?,
            Some(_) => {
                let (years, rest) = text.split_once('-')?;
                years.parse::<i32>().ok()?.checked_mul(12)? + rest.parse::<i32>().ok()?
            }
        };
        return Some(Amount::Months(if negative { -total } else { total }));
    }
    let mut unit = unit_ms(first)?;
    let total = match last {
        None => scaled(text, unit)?,
        Some(_) => {
            let mut total = 0i64;
            for part in text.split([' ', ':']) {
                total = total.checked_add(scaled(part, unit)?)?;
                unit = match unit {
                    86_400_000 => 3_600_000,
                    3_600_000 => 60_000,
                    _ => 1_000,
                };
            }
            total
        }
    };
    Some(Amount::Millis(if negative { -total } else { total }))
}

/// `text` units, where a fraction is only read to the millisecond.
fn scaled(text: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut total = whole.parse::<i64>().ok()?.checked_mul(unit)?;
    if !fraction.is_empty() {
        let digits = fraction.len().min(9) as u32;
        let value = fraction[..digits as usize].parse::<i64>().ok()?;
        total += value.checked_mul(unit)? / 10i64.pow(digits);
    }
    Some(total)
}

fn days(date: NaiveDate) -> i32 {
    date.signed_duration_since(NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date")).num_days()
        as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str, first: DateTimeField, last: Option<DateTimeField>) -> Option<i64> {
        match parse_interval(text, &first, last.as_ref())? {
            Amount::Millis(n) => Some(n),
            Amount::Months(_) => None,
        }
    }

    #[test]
    fn intervals_have_one_unit_or_a_range_of_them() {
        use DateTimeField::*;
        assert_eq!(millis("5", Second, None), Some(5_000));
        assert_eq!(millis("0.5", Second, None), Some(500));
        assert_eq!(millis("-20", Minute, None), Some(-1_200_000));
        assert_eq!(millis("1:30", Minute, Some(Second)), Some(90_000));
        assert_eq!(millis("1 02:03:04.5", Day, Some(Second)), Some(93_784_500));
        assert_eq!(millis("x", Day, None), None);
    }
}
