//! Values as text: what strings in JSON and fields in CSV have in common.
//!
//! Each type has one text form here, read by [`push`] and written by [`cells::Cells::write`], so that formats
//! can't disagree about what a timestamp looks like.

pub(crate) mod base64;
pub(crate) mod cells;
pub(crate) mod number;
pub(crate) mod time;

pub(crate) use time::TimestampStyle;

use crate::columns::Column;
use arrow::datatypes::TimeUnit;

/// What a value should have been, as it stands in an error: "a number", "true or false".
pub(crate) type Expected = &'static str;

/// Appends the value that a piece of UTF-8 text stands for. Anything but text is trimmed before.
/// On failure nothing has been appended.
pub(crate) fn push(
    column: &mut Column,
    text: &[u8],
    style: TimestampStyle,
) -> Result<(), Expected> {
    if let Column::Text(values) = column {
        values.push(text);
        return Ok(());
    }
    let text = text.trim_ascii();
    match column {
        Column::Text(_) => {}
        Column::Boolean(values) => values.push(boolean(text).ok_or("true or false")?),
        Column::Int8(_) | Column::Int16(_) | Column::Int32(_) | Column::Int64(_) => {
            let value = number::integer(text)?;
            return push_integer(column, value);
        }
        Column::Float32(values) => values.push(number::float32(text)?),
        Column::Float64(values) => values.push(number::float64(text)?),
        Column::Decimal { values, precision, scale } => {
            values.push(number::decimal(text, *precision, *scale)?);
        }
        Column::Binary(values) => {
            if base64::decode(text, values.open()).is_none() {
                values.abandon();
                return Err("base64");
            }
            values.complete();
        }
        Column::Date(values) => {
            values.push(time::date(text).ok_or("a date like 2020-12-30")?);
        }
        Column::Time(values) => {
            values.push(time::time(text).ok_or("a time like 12:13:14")?);
        }
        Column::Timestamp { values, unit, zone } => {
            values.push(timestamp(text, style, *unit, zone.is_some())?);
        }
        Column::Row(_) => return Err("an object"),
        Column::List(_) => return Err("an array"),
        Column::Map(_) => return Err("an object"),
    }
    Ok(())
}

fn timestamp(
    text: &[u8],
    style: TimestampStyle,
    unit: TimeUnit,
    is_zoned: bool,
) -> Result<i64, Expected> {
    let value = match is_zoned {
        true => time::instant(text, style, unit),
        false => time::timestamp(text, style, unit),
    };
    value.ok_or(match (style, is_zoned) {
        (TimestampStyle::Sql, false) => "a timestamp like 2020-12-30 12:13:14.123",
        (TimestampStyle::Sql, true) => "a timestamp like 2020-12-30 12:13:14.123Z",
        (TimestampStyle::Iso, false) => "a timestamp like 2020-12-30T12:13:14.123",
        (TimestampStyle::Iso, true) => "a timestamp like 2020-12-30T12:13:14.123Z",
    })
}

/// Appends an integer to an integer column that it fits.
pub(crate) fn push_integer(column: &mut Column, value: i64) -> Result<(), Expected> {
    match column {
        Column::Int8(values) => values.push(value.try_into().map_err(|_| TINYINT)?),
        Column::Int16(values) => values.push(value.try_into().map_err(|_| SMALLINT)?),
        Column::Int32(values) => values.push(value.try_into().map_err(|_| INT)?),
        Column::Int64(values) => values.push(value),
        _ => return Err("another type"),
    }
    Ok(())
}

const TINYINT: Expected = "an integer from -128 to 127";
const SMALLINT: Expected = "an integer from -32768 to 32767";
const INT: Expected = "an integer from -2147483648 to 2147483647";

/// `true` or `false`, in any case.
fn boolean(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}
