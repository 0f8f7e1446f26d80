//! Flink's `CAST` and `TRY_CAST`.
//!
//! Where they differ from DataFusion's: integers wrap when narrowed, a decimal that doesn't fit
//! is NULL, strings are trimmed before they are read, booleans are written in capitals,
//! timestamps show the digits of their precision, and a TIMESTAMP_LTZ is read and written by the
//! session's clock. A cast that has no result fails the job and says so; `TRY_CAST` gives NULL.

mod number;
mod parse;
mod write;

pub(in crate::functions) use number::{rescale, round_div};
pub(in crate::functions) use parse::{
    Digits, parse_boolean, parse_date, parse_decimal, parse_double, parse_integer, parse_timestamp,
};
pub(in crate::functions) use write::{
    write_date, write_decimal, write_double, write_float, write_timestamp,
};

use super::function::sql_type_name;
use super::time::local::{Local, Moments, column_of};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use chrono_tz::Tz;
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use std::sync::Arc;

/// What a cast does with a value that has no counterpart in the target type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// `CAST`: the job fails.
    Fail,
    /// `TRY_CAST`: the result is NULL.
    Null,
}

/// The length that `CHAR(n)` and `VARCHAR(n)` give a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextLength {
    /// `STRING`: as it is.
    Any,
    /// `VARCHAR(n)`: cut.
    AtMost(usize),
    /// `CHAR(n)`: cut or filled with spaces.
    Exactly(usize),
}

/// A cast.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CastSpec {
    /// The type of the result.
    pub to: DataType,
    /// If it is a string: its length.
    pub length: TextLength,
    /// If it is a time or timestamp: how many digits of the second's fraction to keep. None: as
    /// many as the type holds.
    pub precision: Option<u8>,
    /// If the argument is a time or timestamp: how many digits it is declared with, which is how
    /// many a string shows. None: as many as its type holds, and none for a TIME.
    pub from_precision: Option<u8>,
    /// `CAST` or `TRY_CAST`.
    pub on_failure: OnFailure,
    /// The session's time zone.
    pub zone: Tz,
}

impl CastSpec {
    /// A cast to `to`, with nothing more said about it.
    pub fn new(to: DataType, on_failure: OnFailure, zone: Tz) -> Self {
        let length = TextLength::Any;
        CastSpec { to, length, precision: None, from_precision: None, on_failure, zone }
    }

    fn name(&self) -> &'static str {
        match self.on_failure {
            OnFailure::Fail => "CAST",
            OnFailure::Null => "TRY_CAST",
        }
    }
}

/// The cast as a function of one argument.
pub fn cast_udf(spec: CastSpec) -> Arc<ScalarUDF> {
    let name = format!("{} AS {}", spec.name(), sql_type_name(&spec.to));
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(CastFunction { spec, name, signature }))
}

/// Whether a function is a [cast](cast_udf).
pub(super) fn is_cast(function: &dyn ScalarUDFImpl) -> bool {
    function.is::<CastFunction>()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CastFunction {
    spec: CastSpec,
    name: String,
    signature: Signature,
}

impl ScalarUDFImpl for CastFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(self.spec.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let given = args.arg_fields[0].data_type();
        if !is_possible(given, &self.spec.to) {
            let hint = hint(given, &self.spec.to);
            return plan_err!(
                "{}: {} can't become {}{hint}",
                self.spec.name(),
                sql_type_name(given),
                sql_type_name(&self.spec.to)
            );
        }
        Ok(Arc::new(Field::new(&self.name, self.spec.to.clone(), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match &args.args[0] {
            ColumnarValue::Array(rows) => Ok(ColumnarValue::Array(cast(rows, &self.spec)?)),
            ColumnarValue::Scalar(value) => {
                let result = cast(&value.to_array_of_size(1)?, &self.spec)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
            }
        }
    }
}

/// What else to do instead of a cast that doesn't exist.
fn hint(from: &DataType, to: &DataType) -> &'static str {
    match (from, to) {
        (from, DataType::Timestamp(_, None)) if from.is_numeric() => {
            "; CAST(TO_TIMESTAMP_LTZ(x, 3) AS TIMESTAMP(3)) reads milliseconds"
        }
        (from, DataType::Timestamp(_, Some(_))) if from.is_numeric() => {
            "; TO_TIMESTAMP_LTZ(x, 3) reads milliseconds"
        }
        (DataType::Timestamp(..), to) if to.is_numeric() => {
            "; UNIX_TIMESTAMP(CAST(x AS STRING)) gives seconds"
        }
        _ => "",
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether there is a cast between two types.
pub(in crate::functions) fn is_possible(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Null, _) => true,
        (T::List(from), T::List(to)) => is_possible(from.data_type(), to.data_type()),
        (T::Map(from, _), T::Map(to, _)) => is_possible(from.data_type(), to.data_type()),
        (T::Struct(from), T::Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(f, t)| is_possible(f.data_type(), t.data_type()))
        }
        (T::Date32, T::Date32 | T::Timestamp(..)) => true,
        (T::Time32(_), T::Time32(_) | T::Timestamp(..)) => true,
        (T::Timestamp(..), T::Timestamp(..) | T::Date32 | T::Time32(_)) => true,
        (from, T::Utf8) => !matches!(from, T::Union(..) | T::Dictionary(..)),
        (from, T::Boolean | T::Binary | T::Date32 | T::Time32(_) | T::Timestamp(..))
            if is_text(from) =>
        {
            true
        }
        (T::Boolean, T::Boolean) => true,
        (from, T::Boolean) => from.is_numeric(),
        (from, to) if to.is_numeric() => from.is_numeric() || is_text(from) || *from == T::Boolean,
        (from, to) => from == to,
    }
}

/// Casts a column.
pub(in crate::functions) fn cast(rows: &ArrayRef, spec: &CastSpec) -> Result<ArrayRef> {
    use DataType as T;
    let count = rows.len();
    match (rows.data_type(), &spec.to) {
        (T::Null, to) => Ok(new_null_array(to, count)),
        (T::LargeUtf8 | T::Utf8View, _) => {
            cast(&arrow::compute::cast(rows, &DataType::Utf8)?, spec)
        }
        (T::Utf8, T::Utf8) if spec.length == TextLength::Any => Ok(Arc::clone(rows)),
        (_, T::Utf8) => write::to_text(rows, spec),
        (T::Utf8, T::Binary) => Ok(arrow::compute::cast(rows, &DataType::Binary)?),
        (T::Utf8, _) => parse::from_text(rows.as_string::<i32>(), spec),
        (T::Date32 | T::Time32(_) | T::Timestamp(..), _) => moment(rows, spec),
        (T::List(_), T::List(item)) => list(rows.as_list::<i32>(), item, spec),
        (T::Map(..), T::Map(entries, _)) => map(rows.as_map(), entries, spec),
        (T::Struct(_), T::Struct(fields)) => row(rows.as_struct(), fields, spec),
        (from, to) if from == to => Ok(Arc::clone(rows)),
        (from, to) if from.is_numeric() || *from == T::Boolean || to.is_numeric() => {
            number::cast_number(rows, to)
        }
        (from, to) => internal_err!("no cast from {from} to {to}"),
    }
}

fn moment(rows: &ArrayRef, spec: &CastSpec) -> Result<ArrayRef> {
    let moments = Moments::new(rows, spec.zone)?;
    let is_time = matches!(spec.to, DataType::Time32(_));
    let cut = |local: Local| {
        let local = if is_time { Local { day: 0, ..local } } else { local };
        cut_fraction(local, spec.precision)
    };
    column_of(&spec.to, spec.zone, (0..rows.len()).map(|row| moments.get(row).map(cut)))
}

/// Keeps `precision` digits of the second's fraction.
pub(in crate::functions) fn cut_fraction(local: Local, precision: Option<u8>) -> Local {
    let unit = 10_i64.pow(9 - u32::from(precision.unwrap_or(9).min(9)));
    Local { nanos: local.nanos - local.nanos % unit, ..local }
}

/// How many digits of the second's fraction a unit holds.
pub(in crate::functions) fn digits_of(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// The same cast to the type of an element.
fn inner(spec: &CastSpec, to: &Field) -> CastSpec {
    let on_failure = spec.on_failure;
    CastSpec::new(to.data_type().clone(), on_failure, spec.zone)
}

fn list(rows: &ListArray, item: &FieldRef, spec: &CastSpec) -> Result<ArrayRef> {
    let values = cast(rows.values(), &inner(spec, item))?;
    let (offsets, nulls) = (rows.offsets().clone(), rows.nulls().cloned());
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
}

fn map(rows: &MapArray, entries: &FieldRef, spec: &CastSpec) -> Result<ArrayRef> {
    let DataType::Struct(fields) = entries.data_type() else {
        return internal_err!("a map's entries are no rows");
    };
    let columns = columns(rows.entries(), fields, spec)?;
    let nulls = rows.entries().nulls().cloned();
    let cast_entries = StructArray::try_new(fields.clone(), columns, nulls)?;
    let (offsets, nulls) = (rows.offsets().clone(), rows.nulls().cloned());
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, cast_entries, nulls, false)?))
}

fn row(rows: &StructArray, fields: &Fields, spec: &CastSpec) -> Result<ArrayRef> {
    let columns = columns(rows, fields, spec)?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, rows.nulls().cloned())?))
}

fn columns(rows: &StructArray, fields: &Fields, spec: &CastSpec) -> Result<Vec<ArrayRef>> {
    rows.columns().iter().zip(fields).map(|(column, to)| cast(column, &inner(spec, to))).collect()
}

/// A value that has no counterpart: NULL, or the failure of the job.
fn failed<T>(spec: &CastSpec, value: &str) -> Result<Option<T>> {
    match spec.on_failure {
        OnFailure::Null => Ok(None),
        OnFailure::Fail => exec_err!(
            "CAST: '{value}' is no {}; TRY_CAST gives NULL instead",
            sql_type_name(&spec.to)
        ),
    }
}
