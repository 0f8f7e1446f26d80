//! `JSON_STRING`, `JSON_OBJECT` and `JSON_ARRAY`, with `NULL ON NULL` and without: SQL values as JSON.
//!
//! An object or array that is made inside another is no text there: the planner marks it with
//! [`json`], whose result is a row of one field that nobody else can name.

use super::super::cast::{CastSpec, OnFailure, cast};
use super::super::cast::{write_date, write_decimal, write_double, write_float, write_timestamp};
use super::super::function::{Shape, sql_type_name};
use super::super::time::local::Moments;
use super::super::values::Call;
use super::text::quote;
use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type,
};
use chrono_tz::Tz;
use datafusion::common::{Result, exec_err, internal_err};
use std::fmt::Write;
use std::sync::Arc;

/// The field of a text that is JSON already.
const JSON: &str = "\0json";

pub(super) fn gives_json(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Struct(vec![Field::new(JSON, DataType::Utf8, true)].into()))
}

/// Marks a text as JSON.
pub(super) fn json(call: &Call<'_>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.gives else {
        return internal_err!("{} gives {}", call.name, call.gives);
    };
    let texts = call.column(0)?;
    let nulls = texts.nulls().cloned();
    Ok(Arc::new(StructArray::try_new(fields.clone(), vec![texts], nulls)?))
}

/// NULL is NULL, not `null`.
pub(super) fn json_string(call: &Call<'_>) -> Result<ArrayRef> {
    let values = Values::new(&call.column(0)?, call.zone)?;
    Ok(call.texts(|row, out| {
        if values.is_null(row) {
            return None;
        }
        values.write(row, out);
        Some(())
    }))
}

/// `JSON_OBJECT(key, value, …)`; a last argument without a partner says `NULL ON NULL` or
/// `ABSENT ON NULL`.
pub(super) fn json_object(call: &Call<'_>) -> Result<ArrayRef> {
    let pairs = call.count() / 2;
    let keys = (0..pairs).map(|at| call.text(at * 2)).collect::<Result<Vec<_>>>()?;
    let values = (0..pairs)
        .map(|at| Values::new(&call.column(at * 2 + 1)?, call.zone))
        .collect::<Result<Vec<_>>>()?;
    let has_clause = call.count() % 2 == 1 && call.rows > 0;
    let clause = if has_clause { call.text(pairs * 2)?.get(0) } else { None };
    let is_absent = clause.is_some_and(|clause| clause.eq_ignore_ascii_case("ABSENT ON NULL"));
    call.try_texts(|row, out| {
        out.push('{');
        let mut is_first = true;
        for (key, value) in keys.iter().zip(&values) {
            let Some(key) = key.get(row) else { return exec_err!("JSON_OBJECT: a key is NULL") };
            if is_absent && value.is_null(row) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(',');
            }
            quote(key, out);
            out.push(':');
            value.write(row, out);
        }
        out.push('}');
        Ok(Some(()))
    })
}

/// NULLs are left out.
pub(super) fn json_array(call: &Call<'_>) -> Result<ArrayRef> {
    array_of(call, |values, row| !values.is_null(row))
}

/// NULLs are `null`.
pub(super) fn json_array_of_all(call: &Call<'_>) -> Result<ArrayRef> {
    array_of(call, |_, _| true)
}

fn array_of(call: &Call<'_>, counts: impl Fn(&Values, usize) -> bool) -> Result<ArrayRef> {
    let values = (0..call.count())
        .map(|at| Values::new(&call.column(at)?, call.zone))
        .collect::<Result<Vec<_>>>()?;
    Ok(call.texts(|row, out| {
        out.push('[');
        let mut is_first = true;
        for value in values.iter().filter(|value| counts(value, row)) {
            if !std::mem::take(&mut is_first) {
                out.push(',');
            }
            value.write(row, out);
        }
        out.push(']');
        Some(())
    }))
}

/// A column made ready to be written value by value.
struct Values {
    column: ArrayRef,
    form: Form,
}

enum Form {
    Plain,
    Moment(Moments, MomentForm),
    /// Anything whose JSON form is its text in quotes.
    Quoted(ArrayRef),
    List(Box<Values>),
    Map(ArrayRef, Box<Values>),
    Row(Vec<(String, Values)>),
    /// JSON already.
    Json(ArrayRef),
}

#[derive(Clone, Copy)]
enum MomentForm {
    Date,
    Timestamp(u8),
}

impl Values {
    fn new(column: &ArrayRef, zone: Tz) -> Result<Self> {
        use DataType as T;
        let form = match column.data_type() {
            T::Null
            | T::Boolean
            | T::Int8
            | T::Int16
            | T::Int32
            | T::Int64
            | T::Float32
            | T::Float64
            | T::Decimal128(..) => Form::Plain,
            T::Date32 => Form::Moment(Moments::new(column, zone)?, MomentForm::Date),
            T::Timestamp(unit, _) => {
                let digits = super::super::cast::digits_of(*unit);
                Form::Moment(Moments::new(column, zone)?, MomentForm::Timestamp(digits))
            }
            T::Utf8 | T::Binary | T::Time32(_) => {
                let to_text = CastSpec::new(T::Utf8, OnFailure::Fail, zone);
                Form::Quoted(cast(column, &to_text)?)
            }
            T::List(_) => {
                Form::List(Box::new(Values::new(column.as_list::<i32>().values(), zone)?))
            }
            T::Map(..) => {
                let map = column.as_map();
                let to_text = CastSpec::new(T::Utf8, OnFailure::Fail, zone);
                let keys = cast(map.keys(), &to_text)?;
                Form::Map(keys, Box::new(Values::new(map.values(), zone)?))
            }
            T::Struct(fields) if matches!(&fields[..], [only] if only.name() == JSON) => {
                Form::Json(ArrayRef::clone(column.as_struct().column(0)))
            }
            T::Struct(fields) => {
                let columns = column.as_struct().columns().iter();
                let named = fields
                    .iter()
                    .zip(columns)
                    .map(|(field, column)| Ok((field.name().clone(), Values::new(column, zone)?)));
                Form::Row(named.collect::<Result<_>>()?)
            }
            other => return exec_err!("{} has no form in JSON", sql_type_name(other)),
        };
        Ok(Values { column: ArrayRef::clone(column), form })
    }

    fn is_null(&self, row: usize) -> bool {
        self.column.data_type().is_null() || self.column.is_null(row)
    }

    fn write(&self, row: usize, out: &mut String) {
        if self.is_null(row) {
            out.push_str("null");
            return;
        }
        match &self.form {
            Form::Plain => plain(&self.column, row, out),
            Form::Moment(moments, form) => moment(moments, *form, row, out),
            Form::Quoted(texts) => quote(texts.as_string::<i32>().value(row), out),
            Form::Json(texts) => out.push_str(texts.as_string::<i32>().value(row)),
            Form::List(values) => {
                let offsets = self.column.as_list::<i32>().value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                separated('[', ']', range, out, |at, out| values.write(at, out));
            }
            Form::Map(keys, values) => {
                let offsets = self.column.as_map().value_offsets();
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                separated('{', '}', range, out, |at, out| {
                    quote(keys.as_string::<i32>().value(at), out);
                    out.push(':');
                    values.write(at, out);
                });
            }
            Form::Row(fields) => separated('{', '}', 0..fields.len(), out, |at, out| {
                quote(&fields[at].0, out);
                out.push(':');
                fields[at].1.write(row, out);
            }),
        }
    }
}

fn separated(
    open: char,
    close: char,
    range: std::ops::Range<usize>,
    out: &mut String,
    write: impl Fn(usize, &mut String),
) {
    out.push(open);
    let first = range.start;
    for at in range {
        if at > first {
            out.push(',');
        }
        write(at, out);
    }
    out.push(close);
}

fn plain(column: &ArrayRef, row: usize, out: &mut String) {
    use DataType as T;
    let integer = match column.data_type() {
        T::Int8 => i64::from(column.as_primitive::<Int8Type>().value(row)),
        T::Int16 => i64::from(column.as_primitive::<Int16Type>().value(row)),
        T::Int32 => i64::from(column.as_primitive::<Int32Type>().value(row)),
        T::Int64 => column.as_primitive::<Int64Type>().value(row),
        T::Boolean => {
            out.push_str(if column.as_boolean().value(row) { "true" } else { "false" });
            return;
        }
        T::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            return finite(value.is_finite(), out, |out| write_float(value, out));
        }
        T::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            return finite(value.is_finite(), out, |out| write_double(value, out));
        }
        T::Decimal128(_, scale) => {
            return write_decimal(column.as_primitive::<Decimal128Type>().value(row), *scale, out);
        }
        _ => return out.push_str("null"),
    };
    let written = write!(out, "{integer}");
    debug_assert!(written.is_ok(), "writing to a string can't fail");
}

/// JSON has no infinity: it is written as a string.
fn finite(is_finite: bool, out: &mut String, write: impl Fn(&mut String)) {
    let quote = if is_finite { "" } else { "\"" };
    out.push_str(quote);
    write(out);
    out.push_str(quote);
}

/// In ISO form, with a `T`.
fn moment(moments: &Moments, form: MomentForm, row: usize, out: &mut String) {
    let Some(local) = moments.get(row) else { return out.push_str("null") };
    out.push('"');
    match form {
        MomentForm::Date => write_date(local, out),
        MomentForm::Timestamp(digits) => {
            let start = out.len();
            write_timestamp(local, digits, out);
            if let Some(space) = out[start..].find(' ') {
                out.replace_range(start + space..=start + space, "T");
            }
        }
    }
    out.push('"');
}
