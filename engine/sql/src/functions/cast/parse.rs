//! Casts from strings. Spaces around the value don't count.

use super::number::{rescale, round_div};
use super::{CastSpec, cut_fraction, failed};
use crate::functions::time::local::{DAY_NS, Date, Local, SECOND_NS, column_of, days_of_month};
use crate::functions::time::pattern::digits;
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, Decimal128Array, PrimitiveArray, StringArray,
};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result, internal_err};
use std::sync::Arc;

/// Casts a column of strings.
pub(super) fn from_text(rows: &StringArray, spec: &CastSpec) -> Result<ArrayRef> {
    use DataType as T;
    match &spec.to {
        T::Boolean => {
            let values = each(rows, spec, parse_boolean).collect::<Result<BooleanArray>>()?;
            Ok(Arc::new(values))
        }
        T::Int8 => integers::<Int8Type>(rows, spec),
        T::Int16 => integers::<Int16Type>(rows, spec),
        T::Int32 => integers::<Int32Type>(rows, spec),
        T::Int64 => integers::<Int64Type>(rows, spec),
        T::Float32 => primitives::<Float32Type>(rows, spec, |text| {
            let text = decimal_number(text)?;
            text.parse().ok()
        }),
        T::Float64 => primitives::<Float64Type>(rows, spec, parse_double),
        T::Decimal128(precision, scale) => decimals(rows, spec, *precision, *scale),
        T::Date32 => moments(rows, spec, |text| parse_date(text).map(Local::midnight)),
        T::Time32(_) => {
            moments(rows, spec, |text| parse_time(text).map(|nanos| Local { day: 0, nanos }))
        }
        T::Timestamp(..) => moments(rows, spec, parse_timestamp),
        other => internal_err!("no cast from STRING to {other}"),
    }
}

/// The values of all rows, trimmed and read by `parse`.
fn each<'a, T>(
    rows: &'a StringArray,
    spec: &'a CastSpec,
    parse: impl Fn(&str) -> Option<T> + 'a,
) -> impl Iterator<Item = Result<Option<T>>> + 'a {
    rows.iter().map(move |text| {
        let Some(text) = text else { return Ok(None) };
        match parse(text.trim_matches(' ')) {
            Some(value) => Ok(Some(value)),
            None => failed(spec, text),
        }
    })
}

fn primitives<T: ArrowPrimitiveType>(
    rows: &StringArray,
    spec: &CastSpec,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> Result<ArrayRef> {
    Ok(Arc::new(each(rows, spec, parse).collect::<Result<PrimitiveArray<T>>>()?))
}

fn integers<T: ArrowPrimitiveType>(rows: &StringArray, spec: &CastSpec) -> Result<ArrayRef>
where
    T::Native: TryFrom<i64>,
{
    primitives::<T>(rows, spec, |text| T::Native::try_from(parse_integer(text)?).ok())
}

/// A fraction is cut off if it consists of digits.
pub(in crate::functions) fn parse_integer(text: &str) -> Option<i64> {
    match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            whole.parse().ok()
        }
        Some(_) => None,
        None => text.parse().ok(),
    }
}

/// As Java reads a `double`: its names of infinity and NaN, an `f` or `d` after the digits.
pub(in crate::functions) fn parse_double(text: &str) -> Option<f64> {
    decimal_number(text)?.parse().ok()
}

/// The part of `text` that Rust reads as Java would read the whole; `None` if Java wouldn't.
fn decimal_number(text: &str) -> Option<&str> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        "NaN" | "Infinity" => Some(text),
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            Some(text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text))
        }
        _ => None,
    }
}

/// The words that Flink takes for truth values.
pub(in crate::functions) fn parse_boolean(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "t", "yes", "y", "1"]) {
        Some(true)
    } else if is(&["false", "f", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// A decimal number that doesn't fit is NULL even for `CAST`; one that is no number fails.
fn decimals(rows: &StringArray, spec: &CastSpec, precision: u8, scale: i8) -> Result<ArrayRef> {
    let values = each(rows, spec, parse_decimal)
        .map(|value| Ok(value?.and_then(|value| value.with_scale(precision, scale))))
        .collect::<Result<Decimal128Array>>()?;
    Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
}

/// Digits and a power of ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::functions) struct Digits {
    /// The digits.
    pub value: i128,
    /// The power of ten.
    pub exponent: i32,
}

impl Digits {
    /// The number with `scale` digits behind the point, rounded half up; `None` if it needs more
    /// than `precision` digits.
    pub fn with_scale(self, precision: u8, scale: i8) -> Option<i128> {
        if self.value == 0 {
            return Some(0);
        }
        let shift = self.exponent + i32::from(scale);
        if shift >= 0 {
            let unit = 10_i128.checked_pow(shift as u32)?;
            return rescale(self.value.checked_mul(unit)?, scale, precision, scale);
        }
        let rounded = 10_i128.checked_pow(shift.unsigned_abs());
        let rounded = rounded.map_or(0, |unit| round_div(self.value, unit));
        rescale(rounded, scale, precision, scale)
    }
}

/// Reads a decimal number with an optional exponent. Digits beyond the 38th can't matter for any
/// result but their place.
pub(in crate::functions) fn parse_decimal(text: &str) -> Option<Digits> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (is_negative, unsigned) = match mantissa.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mut value, mut exponent, mut is_fraction, mut count) = (0_i128, exponent, false, 0);
    for byte in unsigned {
        match byte {
            b'.' if !is_fraction => is_fraction = true,
            b'0'..=b'9' => {
                count += 1;
                let is_kept = value < 10_i128.pow(37);
                if is_kept {
                    value = value * 10 + i128::from(byte - b'0');
                }
                exponent =
                    exponent.saturating_add(i32::from(!is_kept)).saturating_sub(is_fraction.into());
            }
            _ => return None,
        }
    }
    let value = if is_negative { -value } else { value };
    (count > 0).then_some(Digits { value, exponent })
}

fn moments(
    rows: &StringArray,
    spec: &CastSpec,
    parse: impl Fn(&str) -> Option<Local>,
) -> Result<ArrayRef> {
    let mut failure = Ok(());
    let values = each(rows, spec, parse).map(|value| match value {
        Ok(value) => value.map(|local| cut_fraction(local, spec.precision)),
        Err(error) => {
            failure = Err(error);
            None
        }
    });
    let column = column_of(&spec.to, spec.zone, values)?;
    failure.map(|()| column)
}

/// `yyyy-M-d`, also without the day or the month; what follows a space doesn't count.
pub(in crate::functions) fn parse_date(text: &str) -> Option<Date> {
    let mut rest = text.split(' ').next()?;
    let year = digits(&mut rest, 1, 9)?;
    let mut part = || match rest.strip_prefix('-') {
        Some(after) => {
            rest = after;
            digits(&mut rest, 1, 2)
        }
        None => Some(1),
    };
    let (month, day) = (part()?, part()?);
    let is_valid = rest.is_empty()
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day);
    is_valid.then_some(Date { year, month, day })
}

/// `H`, `H:m`, `H:m:s` or `H:m:s.f`, in nanoseconds.
fn parse_time(text: &str) -> Option<i64> {
    let mut rest = text;
    let hour = digits(&mut rest, 1, 2)?;
    let mut part = || match rest.strip_prefix(':') {
        Some(after) => {
            rest = after;
            digits(&mut rest, 1, 2)
        }
        None => Some(0),
    };
    let (minute, second) = (part()?, part()?);
    let fraction = fraction(&mut rest)?;
    let is_valid = rest.is_empty() && hour < 24 && minute < 60 && second < 60;
    is_valid.then_some((hour * 3600 + minute * 60 + second) * SECOND_NS + fraction)
}

/// `yyyy-M-d`, or `yyyy-M-d H:m:s` with up to nine digits of a fraction. The 31st of a shorter
/// month is its last.
pub(in crate::functions) fn parse_timestamp(text: &str) -> Option<Local> {
    let mut rest = text;
    let year = digits(&mut rest, 4, 4)?;
    rest = rest.strip_prefix('-')?;
    let month = digits(&mut rest, 1, 2)?;
    rest = rest.strip_prefix('-')?;
    let day = digits(&mut rest, 1, 2)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let nanos = match rest.strip_prefix(' ') {
        Some(time) if time.bytes().filter(|byte| *byte == b':').count() == 2 => parse_time(time)?,
        None if rest.is_empty() => 0,
        _ => return None,
    };
    debug_assert!(nanos < DAY_NS);
    let day = day.min(days_of_month(year, month));
    Some(Local { day: Date { year, month, day }.to_days(), nanos })
}

/// Up to nine digits behind a point, in nanoseconds.
fn fraction(rest: &mut &str) -> Option<i64> {
    let Some(mut after) = rest.strip_prefix('.') else { return Some(0) };
    let count = after.bytes().take(9).take_while(u8::is_ascii_digit).count();
    *rest = &after[count..];
    if count == 0 {
        return Some(0);
    }
    Some(digits(&mut after, 1, 9)? * 10_i64.pow(9 - count as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_flink_reads_them() {
        let cases = [
            ("42", Some(42)),
            ("-17", Some(-17)),
            ("+3", Some(3)),
            ("12.7", Some(12)),
            ("12.x", None),
            ("1e3", None),
            ("", None),
            ("9223372036854775808", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_integer(text), expected, "{text}");
        }
    }

    #[test]
    fn decimals_keep_their_digits() {
        let cases = [
            ("1.50", 4, 2, Some(150)),
            ("-0.005", 4, 2, Some(-1)),
            ("1e3", 6, 2, Some(100_000)),
            ("1e400", 6, 2, None),
            ("1e-400", 6, 2, Some(0)),
            ("99.995", 4, 2, None),
            (
                "12345678901234567890123456789012345678",
                38,
                0,
                Some(12345678901234567890123456789012345678),
            ),
        ];
        for (text, precision, scale, expected) in cases {
            let got = parse_decimal(text).unwrap().with_scale(precision, scale);
            assert_eq!(got, expected, "{text}");
        }
        assert_eq!(parse_decimal("x"), None);
        assert_eq!(parse_decimal("."), None);
        assert_eq!(parse_decimal(""), None);
    }

    #[test]
    fn doubles_are_read_as_java_reads_them() {
        for (text, expected) in
            [("1.5", Some(1.5)), (".5", Some(0.5)), ("1e3", Some(1000.0)), ("2d", Some(2.0))]
        {
            assert_eq!(parse_double(text), expected, "{text}");
        }
        assert_eq!(parse_double("-Infinity"), Some(f64::NEG_INFINITY));
        for text in ["inf", "nan", "tRuE", "", "1 2"] {
            assert_eq!(parse_double(text), None, "{text}");
        }
    }

    #[test]
    fn moments_are_read_as_flink_reads_them() {
        let at = |year, month, day, nanos| {
            Some(Local { day: Date { year, month, day }.to_days(), nanos })
        };
        let hms = (3600 + 2 * 60 + 3) * SECOND_NS;
        assert_eq!(parse_timestamp("2024-02-29"), at(2024, 2, 29, 0));
        assert_eq!(parse_timestamp("2024-02-29 1:2:3"), at(2024, 2, 29, hms));
        assert_eq!(parse_timestamp("2024-2-9 01:02:03.5"), at(2024, 2, 9, hms + 500_000_000));
        assert_eq!(parse_timestamp("2024-02-29T01:02:03"), None);
        assert_eq!(parse_timestamp("2024-02-29 01:02"), None);
        assert_eq!(parse_timestamp("3.14"), None);
        assert_eq!(parse_date("2024-2-9"), Some(Date { year: 2024, month: 2, day: 9 }));
        assert_eq!(parse_date("2024"), Some(Date { year: 2024, month: 1, day: 1 }));
        assert_eq!(parse_date("2023-02-29"), None);
        assert_eq!(parse_time("1:2:3.25"), Some(hms + 250_000_000));
        assert_eq!(parse_time("24:00"), None);
    }
}
