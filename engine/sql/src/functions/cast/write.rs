//! Casts to strings, which is also how nested values are written.

use super::{CastSpec, TextLength, digits_of};
use crate::functions::function::sql_type_name;
use crate::functions::strings::{byte_of_char, count_chars};
use crate::functions::time::local::{Local, Moments, SECOND_NS};
use crate::functions::time::pattern::write_number;
use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, DurationMillisecondType, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTimeType,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use chrono_tz::Tz;
use datafusion::common::{Result, exec_err};
use std::fmt::Write;
use std::sync::Arc;

/// Casts a column to strings.
pub(super) fn to_text(rows: &ArrayRef, spec: &CastSpec) -> Result<ArrayRef> {
    let writer = Writer::new(rows, spec.from_precision, spec.zone)?;
    let mut built = StringBuilder::with_capacity(rows.len(), rows.len() * 16);
    let mut text = String::new();
    for row in 0..rows.len() {
        if rows.is_null(row) {
            built.append_null();
            continue;
        }
        text.clear();
        writer.write(row, &mut text);
        fit(&mut text, spec.length);
        built.append_value(&text);
    }
    Ok(Arc::new(built.finish()))
}

/// Cuts or fills a string to its declared length.
fn fit(text: &mut String, length: TextLength) {
    match length {
        TextLength::Any => {}
        TextLength::AtMost(count) => text.truncate(byte_of_char(text, count)),
        TextLength::Exactly(count) => {
            text.truncate(byte_of_char(text, count));
            text.extend(std::iter::repeat_n(' ', count - count_chars(text)));
        }
    }
}

/// A column made ready to be written value by value.
enum Writer<'a> {
    Nothing,
    Boolean(&'a arrow::array::BooleanArray),
    Integer(Box<dyn Fn(usize) -> i64 + 'a>),
    Decimal(&'a arrow::array::Decimal128Array, i8),
    Double(&'a arrow::array::Float64Array),
    Float(&'a arrow::array::Float32Array),
    Text(&'a arrow::array::StringArray),
    Bytes(&'a arrow::array::BinaryArray),
    Date(Moments),
    Time(Moments, Option<u8>),
    Timestamp(Moments, u8),
    Months(Box<dyn Fn(usize) -> i64 + 'a>),
    Millis(Box<dyn Fn(usize) -> i64 + 'a>),
    List(&'a arrow::array::ListArray, Box<Nested<'a>>),
    Map(&'a arrow::array::MapArray, Box<Nested<'a>>, Box<Nested<'a>>),
    Row(Vec<Nested<'a>>),
}

/// A column inside another one.
struct Nested<'a> {
    rows: &'a ArrayRef,
    writer: Writer<'a>,
}

impl<'a> Nested<'a> {
    fn new(rows: &'a ArrayRef, zone: Tz) -> Result<Self> {
        Ok(Nested { rows, writer: Writer::new(rows, None, zone)? })
    }

    fn write(&self, row: usize, out: &mut String) {
        if self.rows.is_null(row) {
            out.push_str("NULL");
        } else {
            self.writer.write(row, out);
        }
    }
}

fn integers<'a, T>(rows: &'a ArrayRef) -> Box<dyn Fn(usize) -> i64 + 'a>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let rows = rows.as_primitive::<T>();
    Box::new(move |row| rows.value(row).into())
}

impl<'a> Writer<'a> {
    fn new(rows: &'a ArrayRef, precision: Option<u8>, zone: Tz) -> Result<Self> {
        use DataType as T;
        Ok(match rows.data_type() {
            T::Null => Writer::Nothing,
            T::Boolean => Writer::Boolean(rows.as_boolean()),
            T::Int8 => Writer::Integer(integers::<Int8Type>(rows)),
            T::Int16 => Writer::Integer(integers::<Int16Type>(rows)),
            T::Int32 => Writer::Integer(integers::<Int32Type>(rows)),
            T::Int64 => Writer::Integer(integers::<Int64Type>(rows)),
            T::Decimal128(_, scale) => {
                Writer::Decimal(rows.as_primitive::<Decimal128Type>(), *scale)
            }
            T::Float32 => Writer::Float(rows.as_primitive::<Float32Type>()),
            T::Float64 => Writer::Double(rows.as_primitive::<Float64Type>()),
            T::Utf8 => Writer::Text(rows.as_string::<i32>()),
            T::Binary => Writer::Bytes(rows.as_binary::<i32>()),
            T::Date32 => Writer::Date(Moments::new(rows, zone)?),
            T::Time32(_) | T::Time64(_) => Writer::Time(Moments::new(rows, zone)?, precision),
            T::Timestamp(unit, _) => {
                let digits = precision.unwrap_or(digits_of(*unit));
                Writer::Timestamp(Moments::new(rows, zone)?, digits)
            }
            T::Interval(IntervalUnit::YearMonth) => {
                Writer::Months(integers::<IntervalYearMonthType>(rows))
            }
            T::Interval(IntervalUnit::DayTime) => {
                let rows = rows.as_primitive::<IntervalDayTimeType>();
                Writer::Millis(Box::new(move |row| {
                    let value = rows.value(row);
                    i64::from(value.days) * 86_400_000 + i64::from(value.milliseconds)
                }))
            }
            T::Interval(IntervalUnit::MonthDayNano) => {
                let rows = rows.as_primitive::<IntervalMonthDayNanoType>();
                Writer::Millis(Box::new(move |row| {
                    let value = rows.value(row);
                    i64::from(value.days) * 86_400_000 + value.nanoseconds / 1_000_000
                }))
            }
            T::Duration(TimeUnit::Millisecond) => {
                Writer::Millis(integers::<DurationMillisecondType>(rows))
            }
            T::List(_) => {
                let list = rows.as_list::<i32>();
                Writer::List(list, Box::new(Nested::new(list.values(), zone)?))
            }
            T::Map(..) => {
                let map = rows.as_map();
                let keys = Box::new(Nested::new(map.keys(), zone)?);
                Writer::Map(map, keys, Box::new(Nested::new(map.values(), zone)?))
            }
            T::Struct(_) => {
                let columns = rows.as_struct().columns().iter();
                Writer::Row(columns.map(|rows| Nested::new(rows, zone)).collect::<Result<_>>()?)
            }
            other => return exec_err!("CAST: {} can't become STRING", sql_type_name(other)),
        })
    }

    fn write(&self, row: usize, out: &mut String) {
        match self {
            Writer::Nothing => out.push_str("NULL"),
            Writer::Boolean(rows) => out.push_str(if rows.value(row) { "TRUE" } else { "FALSE" }),
            Writer::Integer(value) => write_integer(value(row), out),
            Writer::Decimal(rows, scale) => write_decimal(rows.value(row), *scale, out),
            Writer::Double(rows) => write_double(rows.value(row), out),
            Writer::Float(rows) => write_float(rows.value(row), out),
            Writer::Text(rows) => out.push_str(rows.value(row)),
            Writer::Bytes(rows) => out.push_str(&String::from_utf8_lossy(rows.value(row))),
            Writer::Date(moments) => {
                if let Some(local) = moments.get(row) {
                    write_date(local, out);
                }
            }
            Writer::Time(moments, digits) => {
                if let Some(local) = moments.get(row) {
                    let shown = if local.nanos % SECOND_NS == 0 { 0 } else { 3 };
                    write_time(local, digits.unwrap_or(shown), out);
                }
            }
            Writer::Timestamp(moments, digits) => {
                if let Some(local) = moments.get(row) {
                    write_timestamp(local, *digits, out);
                }
            }
            Writer::Months(value) => write_months(value(row), out),
            Writer::Millis(value) => write_millis(value(row), out),
            Writer::List(list, values) => {
                let range =
                    list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
                separated(out, '[', range, |at, out| values.write(at, out), ']');
            }
            Writer::Map(map, keys, values) => {
                let range =
                    map.value_offsets()[row] as usize..map.value_offsets()[row + 1] as usize;
                let entry = |at, out: &mut String| {
                    keys.write(at, out);
                    out.push('=');
                    values.write(at, out);
                };
                separated(out, '{', range, entry, '}');
            }
            Writer::Row(columns) => {
                let column = |at: usize, out: &mut String| columns[at].write(row, out);
                separated(out, '(', 0..columns.len(), column, ')');
            }
        }
    }
}

fn separated(
    out: &mut String,
    open: char,
    range: std::ops::Range<usize>,
    write: impl Fn(usize, &mut String),
    close: char,
) {
    out.push(open);
    let first = range.start;
    for at in range {
        if at > first {
            out.push_str(", ");
        }
        write(at, out);
    }
    out.push(close);
}

/// Appends formatted text to a string, which can't fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {{
        let written = write!($out, $($arg)*);
        debug_assert!(written.is_ok(), "writing to a string can't fail");
    }};
}

fn write_integer(value: i64, out: &mut String) {
    put!(out, "{value}");
}

/// All digits of the scale, no exponent.
pub(in crate::functions) fn write_decimal(value: i128, scale: i8, out: &mut String) {
    let scale = scale.max(0) as usize;
    if value < 0 {
        out.push('-');
    }
    let start = out.len();
    put!(out, "{:0width$}", value.unsigned_abs(), width = scale + 1);
    debug_assert!(out.len() - start > scale);
    if scale > 0 {
        out.insert(out.len() - scale, '.');
    }
}

/// The shortest digits that read back, in Java's form: `1.0`, `1.0E10`, `NaN`.
pub(in crate::functions) fn write_double(value: f64, out: &mut String) {
    let magnitude = value.abs();
    if value.is_finite() && (magnitude == 0.0 || (1e-3..1e7).contains(&magnitude)) {
        put!(out, "{value:?}");
    } else {
        special_or_exponent(value, &format!("{value:E}"), out);
    }
}

/// The same for a `FLOAT`, which has fewer digits.
pub(in crate::functions) fn write_float(value: f32, out: &mut String) {
    let magnitude = value.abs();
    if value.is_finite() && (magnitude == 0.0 || (1e-3..1e7).contains(&magnitude)) {
        put!(out, "{value:?}");
    } else {
        special_or_exponent(f64::from(value), &format!("{value:E}"), out);
    }
}

fn special_or_exponent(value: f64, exponent_form: &str, out: &mut String) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if exponent_form.contains('.') {
        out.push_str(exponent_form);
    } else {
        out.push_str(&exponent_form.replacen('E', ".0E", 1));
    }
}

/// `yyyy-MM-dd`.
pub(in crate::functions) fn write_date(local: Local, out: &mut String) {
    let date = local.date();
    write_number(date.year, 4, out);
    out.push('-');
    write_number(date.month, 2, out);
    out.push('-');
    write_number(date.day, 2, out);
}

fn write_time(local: Local, digits: u8, out: &mut String) {
    let second = local.nanos / SECOND_NS;
    write_number(second / 3600, 2, out);
    out.push(':');
    write_number(second / 60 % 60, 2, out);
    out.push(':');
    write_number(second % 60, 2, out);
    if digits > 0 {
        out.push('.');
        let fraction = local.nanos % SECOND_NS / 10_i64.pow(9 - u32::from(digits));
        write_number(fraction, usize::from(digits), out);
    }
}

/// `yyyy-MM-dd HH:mm:ss`, and as many digits of the second's fraction as asked for.
pub(in crate::functions) fn write_timestamp(local: Local, digits: u8, out: &mut String) {
    write_date(local, out);
    out.push(' ');
    write_time(local, digits, out);
}

fn write_months(months: i64, out: &mut String) {
    let sign = if months < 0 { '-' } else { '+' };
    let months = months.abs();
    put!(out, "{sign}{}-{:02}", months / 12, months % 12);
}

fn write_millis(millis: i64, out: &mut String) {
    let sign = if millis < 0 { '-' } else { '+' };
    let millis = millis.unsigned_abs();
    let seconds = millis / 1000;
    put!(
        out,
        "{sign}{} {:02}:{:02}:{:02}.{:03}",
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        millis % 1000
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        let cases = [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (1_234_567.5, "1234567.5"),
            (1e7, "1.0E7"),
            (1.5e300, "1.5E300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, expected) in cases {
            let mut out = String::new();
            write_double(value, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn decimals_show_their_scale() {
        for (value, scale, expected) in
            [(5, 3, "0.005"), (-5, 3, "-0.005"), (1234, 2, "12.34"), (-7, 0, "-7")]
        {
            let mut out = String::new();
            write_decimal(value, scale, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn intervals_show_their_sign() {
        let mut out = String::new();
        write_months(-13, &mut out);
        out.push(' ');
        write_millis(93_784_005, &mut out);
        assert_eq!(out, "-1-01 +1 02:03:04.005");
    }
}
