//! Moments as strings and back.
//!
//! A string that isn't what the pattern says gives NULL; a pattern that is none fails, when the
//! job is planned if it is a constant.

use super::super::cast::{parse_date, parse_timestamp, write_timestamp};
use super::super::function::{Shape, sql_type_name};
use super::super::values::{Call, Text};
use super::local::{Local, Moments, column_of};
use super::pattern::Pattern;
use super::zone::parse_zone;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use chrono_tz::Tz;
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};

/// Checks a constant pattern as argument `index`.
fn check_pattern(shape: &Shape<'_>, index: usize) -> Result<()> {
    match shape.text(index).map(Pattern::new) {
        Some(Err(problem)) => plan_err!(
            "{}: '{}' is no pattern of a date and time: {problem}",
            shape.name,
            shape.text(index).unwrap_or("")
        ),
        _ => Ok(()),
    }
}

pub(super) fn gives_formatted(shape: &Shape<'_>) -> Result<DataType> {
    check_pattern(shape, 1)?;
    Ok(DataType::Utf8)
}

pub(super) fn gives_timestamp(shape: &Shape<'_>) -> Result<DataType> {
    check_pattern(shape, 1)?;
    Ok(DataType::Timestamp(TimeUnit::Millisecond, None))
}

pub(super) fn gives_date(shape: &Shape<'_>) -> Result<DataType> {
    check_pattern(shape, 1)?;
    Ok(DataType::Date32)
}

pub(super) fn gives_unix_timestamp(shape: &Shape<'_>) -> Result<DataType> {
    check_pattern(shape, 1)?;
    Ok(DataType::Int64)
}

/// The patterns of an argument, each compiled once as long as it doesn't change.
struct Patterns<'a> {
    name: &'a str,
    texts: Text<'a>,
    compiled: Option<(&'a str, Pattern)>,
    /// What was written last by this pattern, and of which unit of time.
    written: Option<((i64, i64), String)>,
}

impl<'a> Patterns<'a> {
    /// Argument `index`, if the call has it, or else `default`.
    fn new(call: &Call<'a>, index: usize, default: &'a str) -> Result<Self> {
        let texts = call.text_or(index, default)?;
        Ok(Patterns { name: call.name, texts, compiled: None, written: None })
    }

    fn get(&mut self, row: usize) -> Result<Option<&Pattern>> {
        let Some(text) = self.texts.get(row) else { return Ok(None) };
        if self.compiled.as_ref().is_none_or(|(compiled, _)| *compiled != text) {
            let name = self.name;
            let failed = |problem| {
                let text = format!("{name}: '{text}' is no pattern of a date and time: {problem}");
                DataFusionError::Execution(text)
            };
            self.compiled = Some((text, Pattern::new(text).map_err(failed)?));
            self.written = None;
        }
        Ok(self.compiled.as_ref().map(|(_, pattern)| pattern))
    }

    /// Writes a moment by the pattern of a row; nothing if there is none. Moments mostly come in
    /// order, and a day or a minute lasts for many rows: its text is written once.
    fn write(&mut self, row: usize, local: Local, out: &mut String) -> Result<Option<()>> {
        if self.get(row)?.is_none() {
            return Ok(None);
        }
        let Some((_, pattern)) = &self.compiled else { return Ok(None) };
        let unit = pattern.unit(local);
        match &self.written {
            Some((last, text)) if *last == unit => out.push_str(text),
            _ => {
                pattern.write(local, out);
                let (last, text) = self.written.get_or_insert_default();
                *last = unit;
                out.clone_into(text);
            }
        }
        Ok(Some(()))
    }
}

const SECONDS: &str = "yyyy-MM-dd HH:mm:ss";

pub(super) fn date_format(call: &Call<'_>) -> Result<ArrayRef> {
    let mut patterns = Patterns::new(call, 1, SECONDS)?;
    let local: Box<dyn Fn(usize) -> Option<Local>> = match call.data_type(0) {
        DataType::Utf8 => {
            let text = call.text(0)?;
            Box::new(move |row| parse_timestamp(text.get(row)?))
        }
        _ => {
            let moments = Moments::argument(call, 0)?;
            Box::new(move |row| moments.get(row))
        }
    };
    call.try_texts(|row, out| match local(row) {
        Some(local) => patterns.write(row, local, out),
        None => Ok(None),
    })
}

/// Reads the strings of argument 0 by the pattern in argument 1, or by `default`.
fn read(
    call: &Call<'_>,
    default: impl Fn(&str) -> Option<Local>,
    by_pattern: impl Fn(&Pattern, &str) -> Option<Local>,
) -> Result<Vec<Option<Local>>> {
    let text = call.text(0)?;
    if call.count() == 1 {
        return Ok((0..call.rows).map(|row| default(text.get(row)?)).collect());
    }
    let mut patterns = Patterns::new(call, 1, SECONDS)?;
    let one = |row| match (text.get(row), patterns.get(row)?) {
        (Some(text), Some(pattern)) => Ok(by_pattern(pattern, text)),
        _ => Ok(None),
    };
    (0..call.rows).map(one).collect()
}

pub(super) fn to_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let values = read(call, parse_timestamp, Pattern::read)?;
    column_of(call.gives, call.zone, values.into_iter())
}

pub(super) fn to_date(call: &Call<'_>) -> Result<ArrayRef> {
    let values = read(call, |text| parse_date(text.trim()).map(Local::midnight), Pattern::read)?;
    column_of(call.gives, call.zone, values.into_iter())
}

/// Seconds since 1970: now, or of a string on the session's wall clock. What follows the pattern
/// in the string doesn't count.
pub(super) fn unix_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    if call.count() == 0 {
        return super::now::unix_seconds(call);
    }
    let values = read(call, parse_timestamp, Pattern::read_start)?;
    Ok(call.collect::<Int64Type>(|row| Some(values[row]?.in_utc(call.zone).seconds())))
}

pub(super) fn from_unixtime(call: &Call<'_>) -> Result<ArrayRef> {
    let (seconds, mut patterns) = (call.integers(0)?, Patterns::new(call, 1, SECONDS)?);
    call.try_texts(|row, out| match seconds.get(row) {
        Some(seconds) => {
            let utc = Local::from_units(seconds, TimeUnit::Second);
            patterns.write(row, utc.in_zone(call.zone), out)
        }
        None => Ok(None),
    })
}

/// `TO_TIMESTAMP_LTZ(number [, precision])` or `(string [, pattern [, zone]])`.
pub(super) fn coerce_to_timestamp_ltz(name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
    use DataType as T;
    let is_text =
        |given: &DataType| matches!(given, T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Null);
    match given {
        [number] if number.is_numeric() => Ok(vec![number_type(number)]),
        [number, precision]
            if number.is_numeric() && (precision.is_integer() || precision.is_null()) =>
        {
            Ok(vec![number_type(number), T::Int64])
        }
        [T::Null, precision] if precision.is_integer() => Ok(vec![T::Int64, T::Int64]),
        [_] | [_, _] | [_, _, _] if given.iter().all(is_text) => Ok(vec![T::Utf8; given.len()]),
        _ => {
            let names: Vec<String> = given.iter().map(sql_type_name).collect();
            plan_err!(
                "{name} takes a number and its precision (0 for seconds, 3 for milliseconds), or a \
                 string, its pattern and its time zone, not {}",
                names.join(", ")
            )
        }
    }
}

fn number_type(number: &DataType) -> DataType {
    if number.is_integer() { DataType::Int64 } else { DataType::Float64 }
}

pub(super) fn to_timestamp_ltz(call: &Call<'_>) -> Result<ArrayRef> {
    match call.data_type(0) {
        DataType::Utf8 => instants_from_text(call),
        _ => instants_from_numbers(call),
    }
}

fn instants_from_numbers(call: &Call<'_>) -> Result<ArrayRef> {
    let precision = call.integers_or(1, 3)?;
    let per_unit = |row| match precision.get(row) {
        None => Ok(None),
        Some(0) => Ok(Some(1_000_i64)),
        Some(3) => Ok(Some(1)),
        Some(other) => exec_err!(
            "{}: the precision must be 0 (seconds) or 3 (milliseconds), not {other}",
            call.name
        ),
    };
    let millis = if call.data_type(0) == DataType::Int64 {
        let numbers = call.integers(0)?;
        call.try_collect::<Int64Type>(|row| {
            Ok(per_unit(row)?.and_then(|unit| numbers.get(row)?.checked_mul(unit)))
        })?
    } else {
        let numbers = call.numbers::<Float64Type>(0)?;
        call.try_collect::<Int64Type>(|row| {
            Ok(per_unit(row)?.and_then(|unit| Some((numbers.get(row)? * unit as f64) as i64)))
        })?
    };
    let millis = millis.as_primitive::<Int64Type>();
    let instants = millis.iter().map(|ms| Some(Local::from_units(ms?, TimeUnit::Millisecond)));
    column_of(call.gives, Tz::UTC, instants)
}

fn instants_from_text(call: &Call<'_>) -> Result<ArrayRef> {
    let values = read(call, parse_timestamp, Pattern::read)?;
    let zone = call.text_or(2, "UTC")?;
    let in_utc = |row: usize| {
        let local = values[row]?;
        Some(local.in_utc(parse_zone(zone.get(row)?)?))
    };
    column_of(call.gives, Tz::UTC, (0..call.rows).map(in_utc))
}

pub(super) fn convert_tz(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    Ok(call.texts(|row, out| {
        let local = parse_timestamp(text.get(row)?)?;
        let (from, to) = (parse_zone(from.get(row)?)?, parse_zone(to.get(row)?)?);
        write_timestamp(local.in_utc(from).in_zone(to), 0, out);
        Some(())
    }))
}
