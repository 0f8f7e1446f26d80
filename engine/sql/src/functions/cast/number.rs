//! Casts among numbers and booleans.

use super::write::write_double;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, PrimitiveArray,
};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use datafusion::common::{Result, internal_err};
use std::sync::Arc;

/// Casts a column of numbers or booleans to a number or boolean.
pub(super) fn cast_number(rows: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    use DataType as T;
    match rows.data_type() {
        T::Boolean => from_boolean(rows.as_boolean(), to),
        T::Int8 => from_integer(rows.as_primitive::<Int8Type>(), to),
        T::Int16 => from_integer(rows.as_primitive::<Int16Type>(), to),
        T::Int32 => from_integer(rows.as_primitive::<Int32Type>(), to),
        T::Int64 => from_integer(rows.as_primitive::<Int64Type>(), to),
        T::Float32 => from_double(rows.as_primitive::<Float32Type>(), to),
        T::Float64 => from_double(rows.as_primitive::<Float64Type>(), to),
        T::Decimal128(_, scale) => from_decimal(rows.as_primitive(), *scale, to),
        // Unsigned numbers don't occur in Flink, but DataFusion's own functions give some.
        T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => {
            cast_number(&arrow::compute::cast(rows, &T::Int64)?, to)
        }
        other => internal_err!("{other} is no number"),
    }
}

fn from_boolean(rows: &BooleanArray, to: &DataType) -> Result<ArrayRef> {
    let numbers: PrimitiveArray<Int8Type> = rows.iter().map(|value| value.map(i8::from)).collect();
    from_integer(&numbers, to)
}

/// Integers wrap when narrowed, as in Java.
fn from_integer<T>(rows: &PrimitiveArray<T>, to: &DataType) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    use DataType as D;
    Ok(match to {
        D::Boolean => boolean(rows, |value| value.into() != 0),
        D::Int8 => Arc::new(rows.unary::<_, Int8Type>(|value| value.into() as i8)),
        D::Int16 => Arc::new(rows.unary::<_, Int16Type>(|value| value.into() as i16)),
        D::Int32 => Arc::new(rows.unary::<_, Int32Type>(|value| value.into() as i32)),
        D::Int64 => Arc::new(rows.unary::<_, Int64Type>(|value| value.into())),
        D::Float32 => Arc::new(rows.unary::<_, Float32Type>(|value| value.into() as f32)),
        D::Float64 => Arc::new(rows.unary::<_, Float64Type>(|value| value.into() as f64)),
        D::Decimal128(precision, scale) => decimal(rows, *precision, *scale, |value| {
            rescale(i128::from(value.into()), 0, *precision, *scale)
        })?,
        other => return internal_err!("{other} is no number"),
    })
}

/// Cut toward zero; what is too large for an INT or BIGINT is its largest, smaller integers wrap.
fn from_double<T>(rows: &PrimitiveArray<T>, to: &DataType) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64>,
{
    use DataType as D;
    Ok(match to {
        D::Boolean => boolean(rows, |value| value.into() != 0.0),
        D::Int8 => Arc::new(rows.unary::<_, Int8Type>(|value| value.into() as i32 as i8)),
        D::Int16 => Arc::new(rows.unary::<_, Int16Type>(|value| value.into() as i32 as i16)),
        D::Int32 => Arc::new(rows.unary::<_, Int32Type>(|value| value.into() as i32)),
        D::Int64 => Arc::new(rows.unary::<_, Int64Type>(|value| value.into() as i64)),
        D::Float32 => Arc::new(rows.unary::<_, Float32Type>(|value| value.into() as f32)),
        D::Float64 => Arc::new(rows.unary::<_, Float64Type>(|value| value.into())),
        D::Decimal128(precision, scale) => {
            let mut digits = String::new();
            decimal(rows, *precision, *scale, |value| {
                decimal_from_double(value.into(), *precision, *scale, &mut digits)
            })?
        }
        other => return internal_err!("{other} is no number"),
    })
}

fn from_decimal(rows: &Decimal128Array, from_scale: i8, to: &DataType) -> Result<ArrayRef> {
    use DataType as D;
    let unit = 10_i128.pow(from_scale.max(0) as u32);
    Ok(match to {
        D::Boolean => boolean(rows, |value| value != 0),
        D::Int8 => Arc::new(rows.unary::<_, Int8Type>(|value| (value / unit) as i8)),
        D::Int16 => Arc::new(rows.unary::<_, Int16Type>(|value| (value / unit) as i16)),
        D::Int32 => Arc::new(rows.unary::<_, Int32Type>(|value| (value / unit) as i32)),
        D::Int64 => Arc::new(rows.unary::<_, Int64Type>(|value| (value / unit) as i64)),
        D::Float32 => {
            let value = |value| decimal_to_double(value, from_scale) as f32;
            Arc::new(rows.unary::<_, Float32Type>(value))
        }
        D::Float64 => {
            let value = |value| decimal_to_double(value, from_scale);
            Arc::new(rows.unary::<_, Float64Type>(value))
        }
        D::Decimal128(precision, scale) => decimal(rows, *precision, *scale, |value| {
            rescale(value, from_scale, *precision, *scale)
        })?,
        other => return internal_err!("{other} is no number"),
    })
}

fn boolean<T: ArrowPrimitiveType>(
    rows: &PrimitiveArray<T>,
    is_true: impl Fn(T::Native) -> bool,
) -> ArrayRef {
    Arc::new(rows.iter().map(|value| value.map(&is_true)).collect::<BooleanArray>())
}

fn decimal<T: ArrowPrimitiveType>(
    rows: &PrimitiveArray<T>,
    precision: u8,
    scale: i8,
    mut value: impl FnMut(T::Native) -> Option<i128>,
) -> Result<ArrayRef> {
    let decimals: Decimal128Array = rows.iter().map(|row| value(row?)).collect();
    Ok(Arc::new(decimals.with_precision_and_scale(precision, scale)?))
}

/// The nearest double: exact division where both are exact.
pub(in crate::functions) fn decimal_to_double(value: i128, scale: i8) -> f64 {
    let unit = 10_i128.pow(scale.max(0) as u32);
    if value.unsigned_abs() < 1 << 53 && scale <= 22 {
        return value as f64 / unit as f64;
    }
    // Reading the digits rounds once; dividing two rounded numbers would round twice.
    format!("{value}e-{scale}").parse().unwrap_or(f64::NAN)
}

/// A decimal with another scale, rounded half away from zero; `None` if it needs more than
/// `precision` digits.
pub(in crate::functions) fn rescale(
    value: i128,
    from_scale: i8,
    precision: u8,
    scale: i8,
) -> Option<i128> {
    let shift = i32::from(scale) - i32::from(from_scale);
    let value = match u32::try_from(shift) {
        Ok(up) => value.checked_mul(10_i128.checked_pow(up)?)?,
        Err(_) => match 10_i128.checked_pow(shift.unsigned_abs()) {
            Some(unit) => round_div(value, unit),
            None => 0,
        },
    };
    (value.unsigned_abs() < 10_u128.pow(u32::from(precision))).then_some(value)
}

/// A quotient rounded half away from zero. The divisor is positive.
pub(in crate::functions) fn round_div(value: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (value / divisor, value % divisor);
    if rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs() && rest != 0 {
        quotient + value.signum()
    } else {
        quotient
    }
}

/// A double by its shortest digits, as Flink does it; `None` if it doesn't fit. `digits` is room
/// to work in.
pub(in crate::functions) fn decimal_from_double(
    value: f64,
    precision: u8,
    scale: i8,
    digits: &mut String,
) -> Option<i128> {
    if !value.is_finite() {
        return None;
    }
    digits.clear();
    write_double(value, digits);
    super::parse::parse_decimal(digits)?.with_scale(precision, scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_round_half_up_by_their_shortest_digits() {
        let mut room = String::new();
        let cases = [
            (2.5, 10, 0, Some(3)),
            (-2.5, 10, 0, Some(-3)),
            (0.1, 10, 0, Some(0)),
            (1.005, 10, 2, Some(101)),
            (1e10, 10, 0, None),
            (1e-30, 10, 3, Some(0)),
            (f64::NAN, 10, 3, None),
        ];
        for (value, precision, scale, expected) in cases {
            let got = decimal_from_double(value, precision, scale, &mut room);
            assert_eq!(got, expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_half_away_from_zero(value in -100_000_i128..100_000, places in 1_u32..4) {
            let unit = 10_i128.pow(places);
            let rounded = round_div(value, unit);
            let error = (rounded * unit - value) * 2;
            prop_assert!(error.abs() <= unit);
            prop_assert!(error.abs() < unit || rounded.abs() * unit > value.abs());
        }

        #[test]
        fn a_decimal_reads_back_from_its_double(value in -1_000_000_000_i128..1_000_000_000) {
            let double = decimal_to_double(value, 3);
            prop_assert_eq!(decimal_from_double(double, 20, 3, &mut String::new()), Some(value));
        }
    }
}
