//! The arithmetic operators with Flink's meaning.
//!
//! Integers wrap silently and give the wider of their types (a remainder: that of the divisor);
//! dividing them by zero fails. Decimals get the precision that Flink derives, are rounded half
//! up, and are NULL where 38 digits don't suffice. A decimal with a FLOAT or DOUBLE is a DOUBLE.
//! On a wall clock, months keep to the calendar and a TIME goes round at midnight.

use super::cast::{rescale, round_div};
use super::conditional::{as_decimal, common_type};
use super::function::{Definition, Function, Kind, Shape, Takes, gives_first, sql_type_name};
use super::time::local::{DAY_NS, Local, MILLISECOND_NS, Moments, column_of};
use super::values::{Call, Numbers};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Datum, Decimal128Array, PrimitiveArray,
};
use arrow::buffer::ScalarBuffer;
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMillisecondType, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit,
    IntervalYearMonthType, TimeUnit, TimestampMillisecondType, i256,
};
use chrono_tz::Tz;
use datafusion::common::{Result, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, Operator, ScalarUDF};
use std::sync::Arc;

/// The most digits of a decimal.
const MAX_PRECISION: u8 = 38;
/// How many digits behind the point survive when digits must go.
const KEPT_SCALE: u8 = 6;

const ADD: Definition = Definition::new("FLINK_ADD", Takes::Custom(coerce_numbers), gives_sum, add);
const SUB: Definition =
    Definition::new("FLINK_SUB", Takes::Custom(coerce_numbers), gives_sum, subtract);
const MUL: Definition =
    Definition::new("FLINK_MUL", Takes::Custom(coerce_numbers), gives_product, multiply);
const DIV: Definition =
    Definition::new("FLINK_DIV", Takes::Custom(coerce_numbers), gives_quotient, divide);
const MOD: Definition =
    Definition::new("FLINK_MOD", Takes::Custom(coerce_remainder), gives_remainder, remainder);

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] = &[
    ADD,
    SUB,
    MUL,
    DIV,
    MOD,
    Definition::new("MOD", Takes::Custom(coerce_remainder), gives_remainder, remainder),
    Definition::new("FLINK_NEG", Takes::Fixed(&[Kind::Number], &[]), gives_first, negate),
    Definition::new("FLINK_TIME_ADD", Takes::Custom(coerce_time), gives_first, time_add),
    Definition::new("FLINK_TIME_SUB", Takes::Custom(coerce_time), gives_first, time_subtract),
];

static OPERATORS: [(Operator, Definition); 5] = [
    (Operator::Plus, ADD),
    (Operator::Minus, SUB),
    (Operator::Multiply, MUL),
    (Operator::Divide, DIV),
    (Operator::Modulo, MOD),
];

/// The function that computes an operator over two numbers as Flink does; `None` if the operator
/// is no arithmetic one.
pub fn arithmetic(operator: Operator) -> Option<Arc<ScalarUDF>> {
    let (_, definition) = OPERATORS.iter().find(|(known, _)| *known == operator)?;
    Some(Arc::new(Function::udf(definition, Tz::UTC)))
}

fn symbol(name: &str) -> &'static str {
    match name {
        "FLINK_ADD" | "FLINK_TIME_ADD" => "+",
        "FLINK_SUB" | "FLINK_TIME_SUB" => "-",
        "FLINK_MUL" => "*",
        "FLINK_DIV" => "/",
        _ => "%",
    }
}

/// Two numbers, NULL being one.
fn two_numbers(name: &str, given: &[DataType]) -> Result<[DataType; 2]> {
    let number = |given: &DataType| match given {
        DataType::Null => Some(DataType::Int32),
        given if given.is_numeric() => Some(given.clone()),
        _ => None,
    };
    match given {
        [left, right] => match (number(left), number(right)) {
            (Some(left), Some(right)) => Ok([left, right]),
            _ => plan_err!(
                "'{}' can't be applied to {} and {}: both must be numbers",
                symbol(name),
                sql_type_name(left),
                sql_type_name(right)
            ),
        },
        _ => plan_err!("{name} takes 2 arguments (a number, a number), not {}", given.len()),
    }
}

/// Both of one kind: the same integer or floating-point type, or each a decimal.
fn coerce_numbers(name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
    let [left, right] = two_numbers(name, given)?;
    let is_decimal = |given: &DataType| matches!(given, DataType::Decimal128(..));
    let is_exact = |given: &DataType| is_decimal(given) || given.is_integer();
    if (is_decimal(&left) || is_decimal(&right)) && is_exact(&left) && is_exact(&right) {
        let decimal = |given: &DataType| {
            let (precision, scale) = as_decimal(given)?;
            Some(DataType::Decimal128(precision, scale))
        };
        if let (Some(left), Some(right)) = (decimal(&left), decimal(&right)) {
            return Ok(vec![left, right]);
        }
    }
    match common_type(&[left.clone(), right]) {
        Some(common) => Ok(vec![common.clone(), common]),
        None => internal_err!("{name}: no common type of numbers with {left}"),
    }
}

/// Integers stay as they are, because the remainder has the divisor's type.
fn coerce_remainder(name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
    let [left, right] = two_numbers(name, given)?;
    if left.is_integer() && right.is_integer() {
        return Ok(vec![left, right]);
    }
    coerce_numbers(name, &[left, right])
}

/// A decimal type with as many digits as there may be, giving up digits behind the point first.
fn adjusted(precision: i16, scale: i16) -> DataType {
    let most = i16::from(MAX_PRECISION);
    if precision <= most {
        return DataType::Decimal128(precision as u8, scale as i8);
    }
    let scale = (most - (precision - scale)).max(scale.min(i16::from(KEPT_SCALE)));
    DataType::Decimal128(MAX_PRECISION, scale as i8)
}

/// The type of a result whose decimals' digits `derive` says from (p1, s1, p2, s2).
fn gives_decimal(
    shape: &Shape<'_>,
    derive: impl Fn(i16, i16, i16, i16) -> (i16, i16),
) -> Result<DataType> {
    match (&shape.types[0], &shape.types[1]) {
        (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) => {
            let (p, s) = derive((*p1).into(), (*s1).into(), (*p2).into(), (*s2).into());
            Ok(adjusted(p, s))
        }
        (_, right) => Ok(right.clone()),
    }
}

fn gives_sum(shape: &Shape<'_>) -> Result<DataType> {
    gives_decimal(shape, |p1, s1, p2, s2| {
        let scale = s1.max(s2);
        ((p1 - s1).max(p2 - s2) + scale + 1, scale)
    })
}

fn gives_product(shape: &Shape<'_>) -> Result<DataType> {
    gives_decimal(shape, |p1, s1, p2, s2| (p1 + p2 + 1, s1 + s2))
}

fn gives_quotient(shape: &Shape<'_>) -> Result<DataType> {
    gives_decimal(shape, |p1, s1, p2, s2| {
        let scale = (s1 + p2 + 1).max(KEPT_SCALE.into());
        (p1 - s1 + s2 + scale, scale)
    })
}

fn gives_remainder(shape: &Shape<'_>) -> Result<DataType> {
    gives_decimal(shape, |p1, s1, p2, s2| {
        let scale = s1.max(s2);
        ((p1 - s1).min(p2 - s2) + scale, scale)
    })
}

/// Runs an arrow kernel, which takes constants as they are.
fn kernel(
    call: &Call<'_>,
    run: fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, arrow::error::ArrowError>,
) -> Result<ArrayRef> {
    use ColumnarValue::{Array, Scalar};
    Ok(match (&call.args[0], &call.args[1]) {
        (Array(left), Array(right)) => run(left, right)?,
        (Array(left), Scalar(right)) => run(left, &right.to_scalar()?)?,
        (Scalar(left), Array(right)) => run(&left.to_scalar()?, right)?,
        (Scalar(_), Scalar(_)) => run(&call.column(0)?, &call.column(1)?)?,
    })
}

fn add(call: &Call<'_>) -> Result<ArrayRef> {
    if !matches!(call.gives, DataType::Decimal128(..)) {
        return kernel(call, numeric::add_wrapping);
    }
    decimals(call, |left, right| aligned(left, right, i128::checked_add, i256::checked_add))
}

fn subtract(call: &Call<'_>) -> Result<ArrayRef> {
    if !matches!(call.gives, DataType::Decimal128(..)) {
        return kernel(call, numeric::sub_wrapping);
    }
    decimals(call, |left, right| aligned(left, right, i128::checked_sub, i256::checked_sub))
}

fn multiply(call: &Call<'_>) -> Result<ArrayRef> {
    if !matches!(call.gives, DataType::Decimal128(..)) {
        return kernel(call, numeric::mul_wrapping);
    }
    decimals(call, |left, right| {
        let scale = left.scale + right.scale;
        match left.value.checked_mul(right.value) {
            Some(value) => Some(Wide::Narrow(value, scale)),
            None => {
                let product =
                    i256::from_i128(left.value).checked_mul(i256::from_i128(right.value))?;
                Some(Wide::Wide(product, scale))
            }
        }
    })
}

fn divide(call: &Call<'_>) -> Result<ArrayRef> {
    match call.gives {
        DataType::Int8 => integers::<Int8Type>(call, i8::wrapping_div),
        DataType::Int16 => integers::<Int16Type>(call, i16::wrapping_div),
        DataType::Int32 => integers::<Int32Type>(call, i32::wrapping_div),
        DataType::Int64 => integers::<Int64Type>(call, i64::wrapping_div),
        DataType::Decimal128(_, scale) => decimal_quotient(call, *scale),
        _ => kernel(call, numeric::div),
    }
}

fn division_by_zero<T>() -> Result<T> {
    exec_err!("division by zero; NULLIF(divisor, 0) avoids it")
}

fn integers<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    compute: impl Fn(T::Native, T::Native) -> T::Native,
) -> Result<ArrayRef> {
    let (left, right) = (call.numbers::<T>(0)?, call.numbers::<T>(1)?);
    let zero = T::Native::default();
    if let Numbers::Constant(Some(divisor)) = right
        && divisor != zero
    {
        return Ok(call.collect::<T>(|row| Some(compute(left.get(row)?, divisor))));
    }
    call.try_collect::<T>(|row| match (left.get(row), right.get(row)) {
        (Some(_), Some(divisor)) if divisor == zero => division_by_zero(),
        (Some(dividend), Some(divisor)) => Ok(Some(compute(dividend, divisor))),
        _ => Ok(None),
    })
}

/// The remainder has the sign of the dividend.
fn remainder(call: &Call<'_>) -> Result<ArrayRef> {
    match call.gives {
        gives if gives.is_integer() => integer_remainder(call),
        DataType::Float32 => float_remainder::<Float32Type>(call, |a, b| a % b),
        DataType::Float64 => float_remainder::<Float64Type>(call, |a, b| a % b),
        _ => decimals_checked(call, |left, right| {
            let by_zero = right.value == 0;
            if by_zero {
                return division_by_zero();
            }
            Ok(aligned(left, right, i128::checked_rem, i256::checked_rem))
        }),
    }
}

fn integer_remainder(call: &Call<'_>) -> Result<ArrayRef> {
    let wide = |arg: &ColumnarValue| arg.cast_to(&DataType::Int64, None);
    let args = call.args.iter().map(wide).collect::<Result<Vec<_>>>()?;
    let rests = integers::<Int64Type>(&Call { args: &args, ..*call }, i64::wrapping_rem)?;
    // The remainder is smaller than the divisor, so it fits the divisor's type.
    Ok(arrow::compute::cast(&rests, call.gives)?)
}

fn float_remainder<T: ArrowPrimitiveType>(
    call: &Call<'_>,
    compute: impl Fn(T::Native, T::Native) -> T::Native,
) -> Result<ArrayRef> {
    let (left, right) = (call.numbers::<T>(0)?, call.numbers::<T>(1)?);
    Ok(call.collect::<T>(|row| Some(compute(left.get(row)?, right.get(row)?))))
}

fn negate(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(numeric::neg_wrapping(&call.column(0)?)?)
}

/// A decimal value.
#[derive(Clone, Copy)]
struct Decimal {
    value: i128,
    scale: i8,
}

/// A decimal on its way to the result's type.
enum Wide {
    Narrow(i128, i8),
    Wide(i256, i8),
}

impl Wide {
    /// In the result's type, rounded half up; `None` if it doesn't fit.
    fn finish(self, precision: u8, scale: i8) -> Option<i128> {
        match self {
            Wide::Narrow(value, from) => rescale(value, from, precision, scale),
            Wide::Wide(value, from) => {
                let surplus = u32::try_from(from - scale).ok()?;
                let unit = i256::from_i128(10).checked_pow(surplus)?;
                rescale(round_div_wide(value, unit)?.to_i128()?, scale, precision, scale)
            }
        }
    }
}

fn round_div_wide(value: i256, divisor: i256) -> Option<i256> {
    let quotient = value.checked_div(divisor)?;
    let rest = value.checked_rem(divisor)?;
    let twice = rest.wrapping_abs().checked_mul(i256::from_i128(2))?;
    if twice < divisor.wrapping_abs() {
        return Some(quotient);
    }
    let is_negative = value.is_negative() != divisor.is_negative();
    quotient.checked_add(if is_negative { i256::MINUS_ONE } else { i256::ONE })
}

/// Computes over two decimals brought to the larger of their scales.
fn aligned(
    left: Decimal,
    right: Decimal,
    narrow: fn(i128, i128) -> Option<i128>,
    wide: fn(i256, i256) -> Option<i256>,
) -> Option<Wide> {
    let scale = left.scale.max(right.scale);
    let unit = |decimal: Decimal| 10_i128.pow((scale - decimal.scale) as u32);
    let both = (left.value.checked_mul(unit(left)), right.value.checked_mul(unit(right)));
    if let (Some(a), Some(b)) = both
        && let Some(value) = narrow(a, b)
    {
        return Some(Wide::Narrow(value, scale));
    }
    let widened = |decimal: Decimal| {
        i256::from_i128(decimal.value).checked_mul(i256::from_i128(unit(decimal)))
    };
    Some(Wide::Wide(wide(widened(left)?, widened(right)?)?, scale))
}

fn scale_of(call: &Call<'_>, index: usize) -> Result<i8> {
    match call.data_type(index) {
        DataType::Decimal128(_, scale) => Ok(scale),
        other => internal_err!("{}: {other} is no decimal", call.name),
    }
}

/// The arguments and the result of a call over decimals.
struct Decimals<'a> {
    left: Numbers<'a, Decimal128Type>,
    left_scale: i8,
    right: Numbers<'a, Decimal128Type>,
    right_scale: i8,
    precision: u8,
    scale: i8,
}

impl<'a> Decimals<'a> {
    fn new(call: &Call<'a>) -> Result<Self> {
        let DataType::Decimal128(precision, scale) = *call.gives else {
            return internal_err!("{}: {} is no decimal", call.name, call.gives);
        };
        Ok(Decimals {
            left: call.numbers(0)?,
            left_scale: scale_of(call, 0)?,
            right: call.numbers(1)?,
            right_scale: scale_of(call, 1)?,
            precision,
            scale,
        })
    }

    fn get(&self, row: usize) -> Option<(Decimal, Decimal)> {
        let left = Decimal { value: self.left.get(row)?, scale: self.left_scale };
        Some((left, Decimal { value: self.right.get(row)?, scale: self.right_scale }))
    }

    fn column(&self, values: Decimal128Array) -> Result<ArrayRef> {
        Ok(Arc::new(values.with_precision_and_scale(self.precision, self.scale)?))
    }
}

fn decimals(
    call: &Call<'_>,
    compute: impl Fn(Decimal, Decimal) -> Option<Wide>,
) -> Result<ArrayRef> {
    let decimals = Decimals::new(call)?;
    let value = |row| {
        let (left, right) = decimals.get(row)?;
        compute(left, right)?.finish(decimals.precision, decimals.scale)
    };
    decimals.column((0..call.rows).map(value).collect())
}

fn decimals_checked(
    call: &Call<'_>,
    compute: impl Fn(Decimal, Decimal) -> Result<Option<Wide>>,
) -> Result<ArrayRef> {
    let decimals = Decimals::new(call)?;
    let value = |row| {
        let Some((left, right)) = decimals.get(row) else { return Ok(None) };
        let value = compute(left, right)?;
        Ok(value.and_then(|value| value.finish(decimals.precision, decimals.scale)))
    };
    decimals.column((0..call.rows).map(value).collect::<Result<_>>()?)
}

/// Unlike a sum, a quotient has digits without end: it is rounded once, at the result's scale.
fn decimal_quotient(call: &Call<'_>, scale: i8) -> Result<ArrayRef> {
    let shift = u32::try_from(scale + scale_of(call, 1)? - scale_of(call, 0)?).unwrap_or(0);
    decimals_checked(call, |left, right| {
        if right.value == 0 {
            return division_by_zero();
        }
        let narrow = 10_i128.checked_pow(shift).and_then(|unit| left.value.checked_mul(unit));
        if let Some(dividend) = narrow {
            // Rounding wants a positive divisor.
            let (dividend, divisor) = match right.value.checked_neg() {
                Some(divisor) if right.value < 0 => (-dividend, divisor),
                _ => (dividend, right.value),
            };
            return Ok(Some(Wide::Narrow(round_div(dividend, divisor), scale)));
        }
        let quotient = || {
            let unit = i256::from_i128(10).checked_pow(shift)?;
            let dividend = i256::from_i128(left.value).checked_mul(unit)?;
            round_div_wide(dividend, i256::from_i128(right.value))?.to_i128()
        };
        Ok(quotient().map(|value| Wide::Narrow(value, scale)))
    })
}

/// A moment and an interval, in either order if they are added.
fn coerce_time(name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
    use DataType as T;
    let is_moment =
        |given: &DataType| matches!(given, T::Date32 | T::Time32(_) | T::Timestamp(..) | T::Null);
    let is_interval = |given: &DataType| {
        matches!(given, T::Interval(_) | T::Duration(TimeUnit::Millisecond) | T::Null)
    };
    match given {
        [moment, interval] if is_moment(moment) && is_interval(interval) => {
            let moment = match moment {
                T::Null => T::Timestamp(TimeUnit::Millisecond, None),
                moment => moment.clone(),
            };
            Ok(vec![moment, interval.clone()])
        }
        [left, right] => plan_err!(
            "'{}' can't be applied to {} and {}: it takes a date, a time or a timestamp, and an \
             interval",
            symbol(name),
            sql_type_name(left),
            sql_type_name(right)
        ),
        _ => plan_err!("{name} takes 2 arguments (a moment, an interval), not {}", given.len()),
    }
}

/// An interval: months by the calendar, the rest by the clock.
#[derive(Clone, Copy, Default)]
struct Span {
    months: i64,
    nanos: i128,
}

impl Span {
    fn after(self, local: Local, sign: i64) -> Local {
        let moved = if self.months == 0 { local } else { local.plus_months(sign * self.months) };
        if self.nanos == 0 { moved } else { moved.plus_nanos(i128::from(sign) * self.nanos) }
    }
}

/// Intervals row by row; `None` is NULL.
fn spans(call: &Call<'_>, index: usize) -> Result<Box<dyn Fn(usize) -> Option<Span>>> {
    let column = match &call.args[index] {
        ColumnarValue::Array(rows) => Arc::clone(rows),
        ColumnarValue::Scalar(value) => value.to_array_of_size(1)?,
    };
    let is_constant = matches!(call.args[index], ColumnarValue::Scalar(_));
    let nulls = column.logical_nulls();
    let at = move |row: usize| {
        let row = if is_constant { 0 } else { row };
        nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then_some(row)
    };
    let milli = i128::from(MILLISECOND_NS);
    let day = i128::from(DAY_NS);
    Ok(match column.data_type() {
        DataType::Null => Box::new(|_| None),
        DataType::Interval(IntervalUnit::YearMonth) => {
            let values = values_of::<IntervalYearMonthType>(&column);
            Box::new(move |row| Some(Span { months: values[at(row)?].into(), nanos: 0 }))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let values = values_of::<IntervalDayTimeType>(&column);
            Box::new(move |row| {
                let value = values[at(row)?];
                let nanos = i128::from(value.days) * day + i128::from(value.milliseconds) * milli;
                Some(Span { months: 0, nanos })
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = values_of::<IntervalMonthDayNanoType>(&column);
            Box::new(move |row| {
                let value = values[at(row)?];
                let nanos = i128::from(value.days) * day + i128::from(value.nanoseconds);
                Some(Span { months: value.months.into(), nanos })
            })
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            let values = values_of::<DurationMillisecondType>(&column);
            Box::new(move |row| {
                Some(Span { months: 0, nanos: i128::from(values[at(row)?]) * milli })
            })
        }
        other => return internal_err!("{}: {other} is no interval", call.name),
    })
}

fn values_of<T: ArrowPrimitiveType>(column: &ArrayRef) -> ScalarBuffer<T::Native> {
    column.as_primitive::<T>().values().clone()
}

fn time_add(call: &Call<'_>) -> Result<ArrayRef> {
    time_shift(call, 1)
}

fn time_subtract(call: &Call<'_>) -> Result<ArrayRef> {
    time_shift(call, -1)
}

/// An instant (TIMESTAMP_LTZ) is moved in UTC, as Flink does.
fn time_shift(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    if let Some(shifted) = shift_by_milliseconds(call, sign)? {
        return Ok(shifted);
    }
    let utc = Call { zone: Tz::UTC, args: call.args, ..*call };
    let moments = Moments::argument(&utc, 0)?;
    let spans = spans(call, 1)?;
    let shifted = |row| Some(spans(row)?.after(moments.get(row)?, sign));
    column_of(call.gives, Tz::UTC, (0..call.rows).map(shifted))
}

/// What every watermark does, `ts - INTERVAL '2' SECOND`, is one addition for each row. `None` if
/// the types or the interval ask for more than that.
fn shift_by_milliseconds(call: &Call<'_>, sign: i64) -> Result<Option<ArrayRef>> {
    let (ColumnarValue::Array(moments), ColumnarValue::Scalar(_)) = (&call.args[0], &call.args[1])
    else {
        return Ok(None);
    };
    let is_plain = matches!(call.gives, DataType::Timestamp(TimeUnit::Millisecond, _));
    if !is_plain || moments.data_type() != call.gives {
        return Ok(None);
    }
    let Some(Span { months: 0, nanos }) = spans(call, 1)?(0) else { return Ok(None) };
    let milli = i128::from(MILLISECOND_NS);
    let Ok(shift) = i64::try_from(i128::from(sign) * nanos / milli) else { return Ok(None) };
    if nanos % milli != 0 {
        return Ok(None);
    }
    let moments = moments.as_primitive::<TimestampMillisecondType>();
    let shifted: PrimitiveArray<TimestampMillisecondType> =
        moments.unary_opt(|moment| moment.checked_add(shift));
    Ok(Some(Arc::new(shifted.with_data_type(call.gives.clone()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_get_the_precision_flink_derives() {
        let of = |precision, scale| DataType::Decimal128(precision, scale);
        let cases = [
            (gives_sum as fn(&Shape<'_>) -> Result<DataType>, of(10, 3), of(3, 0), of(11, 3)),
            (gives_product, of(10, 3), of(19, 0), of(30, 3)),
            (gives_product, of(10, 2), of(10, 0), of(21, 2)),
            (gives_product, of(4, 3), of(19, 0), of(24, 3)),
            (gives_product, of(38, 10), of(38, 10), of(38, 6)),
            (gives_quotient, of(3, 0), of(10, 3), of(17, 11)),
            (gives_remainder, of(10, 3), of(5, 1), of(7, 3)),
        ];
        for (gives, left, right, expected) in cases {
            let types = [left, right];
            let shape = Shape { name: "x", types: &types, literals: &[] };
            assert_eq!(gives(&shape).unwrap(), expected, "{types:?}");
        }
    }

    proptest! {
        #[test]
        fn wide_rounding_agrees_with_narrow(value in any::<i64>(), divisor in 1_i64..) {
            let narrow = round_div(value.into(), divisor.into());
            let wide =
                round_div_wide(i256::from_i128(value.into()), i256::from_i128(divisor.into()));
            prop_assert_eq!(wide.and_then(i256::to_i128), Some(narrow));
        }
    }
}
