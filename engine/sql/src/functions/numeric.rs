//! Functions over numbers.

use super::cast::{Digits, parse_decimal, rescale, write_double};
use super::function::{
    Definition, Kind, Shape, Takes, gives_double, gives_first, gives_int, gives_text,
};
use super::values::{Call, Numbers};
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type,
};
use datafusion::common::{Result, exec_err, internal_err};
use std::cell::Cell;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

const NUMBER: Takes = Takes::Fixed(&[Kind::Number], &[]);
const DOUBLE: Takes = Takes::Fixed(&[Kind::Double], &[]);
const ROUND: Takes = Takes::Fixed(&[Kind::Number], &[Kind::Integer]);
const NONE: Takes = Takes::Fixed(&[], &[]);

/// A function of one double.
macro_rules! double {
    ($name:literal, $compute:expr) => {
        Definition::new($name, DOUBLE, gives_double, |call| doubles(call, $compute))
    };
}

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("ABS", NUMBER, gives_first, abs),
    Definition::new("SIGN", NUMBER, gives_first, sign),
    Definition::new("FLOOR", NUMBER, gives_whole, floor),
    Definition::new("CEIL", NUMBER, gives_whole, ceil),
    Definition::new("CEILING", NUMBER, gives_whole, ceil),
    Definition::new("ROUND", ROUND, gives_rounded, round),
    Definition::new("TRUNCATE", ROUND, gives_rounded, truncate),
    Definition::new("POWER", Takes::Fixed(&[Kind::Double, Kind::Double], &[]), gives_double, power),
    Definition::new("ATAN2", Takes::Fixed(&[Kind::Double, Kind::Double], &[]), gives_double, atan2),
    Definition::new("LOG", Takes::Fixed(&[Kind::Double], &[Kind::Double]), gives_double, log),
    double!("SQRT", f64::sqrt),
    double!("EXP", f64::exp),
    double!("LN", f64::ln),
    double!("LOG10", f64::log10),
    double!("LOG2", f64::log2),
    double!("SIN", f64::sin),
    double!("COS", f64::cos),
    double!("TAN", f64::tan),
    double!("COT", |x| 1.0 / x.tan()),
    double!("ASIN", f64::asin),
    double!("ACOS", f64::acos),
    double!("ATAN", f64::atan),
    double!("SINH", f64::sinh),
    double!("COSH", f64::cosh),
    double!("TANH", f64::tanh),
    double!("DEGREES", f64::to_degrees),
    double!("RADIANS", f64::to_radians),
    Definition::new("PI", NONE, gives_double, |call| constant(call, std::f64::consts::PI)),
    Definition::new("E", NONE, gives_double, |call| constant(call, std::f64::consts::E)),
    Definition::new("RAND", Takes::Fixed(&[], &[Kind::Integer]), gives_double, rand).changing(),
    Definition::new(
        "RAND_INTEGER",
        Takes::Fixed(&[Kind::Integer], &[Kind::Integer]),
        gives_int,
        rand_integer,
    )
    .changing(),
    Definition::new("BIN", Takes::Fixed(&[Kind::Integer], &[]), gives_text, bin),
    Definition::new("HEX", Takes::Fixed(&[Kind::TextOrInteger], &[]), gives_text, hex),
    Definition::new("UNHEX", Takes::Fixed(&[Kind::Text], &[]), super::function::gives_bytes, unhex),
];

fn doubles(call: &Call<'_>, compute: impl Fn(f64) -> f64) -> Result<ArrayRef> {
    let value = call.doubles(0)?;
    Ok(call.collect::<Float64Type>(|row| Some(compute(value.get(row)?))))
}

fn constant(call: &Call<'_>, value: f64) -> Result<ArrayRef> {
    Ok(call.collect::<Float64Type>(|_| Some(value)))
}

fn two_doubles(call: &Call<'_>, compute: impl Fn(f64, f64) -> f64) -> Result<ArrayRef> {
    let (left, right) = (call.doubles(0)?, call.doubles(1)?);
    Ok(call.collect::<Float64Type>(|row| Some(compute(left.get(row)?, right.get(row)?))))
}

fn power(call: &Call<'_>) -> Result<ArrayRef> {
    two_doubles(call, f64::powf)
}

fn atan2(call: &Call<'_>) -> Result<ArrayRef> {
    two_doubles(call, f64::atan2)
}

/// `LOG(x)` or `LOG(base, x)`.
fn log(call: &Call<'_>) -> Result<ArrayRef> {
    if call.count() == 1 {
        doubles(call, f64::ln)
    } else {
        two_doubles(call, |b, x| x.ln() / b.ln())
    }
}

/// A function that is computed for each kind of number in its own way.
struct PerKind {
    integer: fn(i64) -> i64,
    double: fn(f64) -> f64,
    decimal: fn(i128, i128) -> i128,
}

impl PerKind {
    /// Decimals give the units of their scale, together with one whole.
    fn run(&self, call: &Call<'_>) -> Result<ArrayRef> {
        let column = call.column(0)?;
        fn unary<T: ArrowPrimitiveType>(
            column: &ArrayRef,
            compute: impl Fn(T::Native) -> T::Native,
        ) -> ArrayRef {
            Arc::new(column.as_primitive::<T>().unary::<_, T>(compute))
        }
        Ok(match (column.data_type(), call.gives) {
            (DataType::Int8, _) => unary::<Int8Type>(&column, |x| (self.integer)(x.into()) as i8),
            (DataType::Int16, _) => {
                unary::<Int16Type>(&column, |x| (self.integer)(x.into()) as i16)
            }
            (DataType::Int32, _) => {
                unary::<Int32Type>(&column, |x| (self.integer)(x.into()) as i32)
            }
            (DataType::Int64, _) => unary::<Int64Type>(&column, self.integer),
            (DataType::Float32, _) => {
                unary::<Float32Type>(&column, |x| (self.double)(x.into()) as f32)
            }
            (DataType::Float64, _) => unary::<Float64Type>(&column, self.double),
            (DataType::Decimal128(_, scale), DataType::Decimal128(precision, to_scale)) => {
                let unit = 10_i128.pow((*scale).max(0) as u32);
                let values = column.as_primitive::<Decimal128Type>();
                let values = values.unary_opt::<_, Decimal128Type>(|x| {
                    rescale((self.decimal)(x, unit), *scale, *precision, *to_scale)
                });
                Arc::new(values.with_precision_and_scale(*precision, *to_scale)?)
            }
            (other, _) => return internal_err!("{}: {other} is no number", call.name),
        })
    }
}

/// The least integer has no absolute value: it stays itself, as in Java.
fn abs(call: &Call<'_>) -> Result<ArrayRef> {
    let decimal = |x: i128, _| x.abs();
    PerKind { integer: i64::wrapping_abs, double: f64::abs, decimal }.run(call)
}

fn sign(call: &Call<'_>) -> Result<ArrayRef> {
    let double = |x: f64| if x == 0.0 || x.is_nan() { x } else { x.signum() };
    PerKind { integer: i64::signum, double, decimal: |x, unit| x.signum() * unit }.run(call)
}

fn floor(call: &Call<'_>) -> Result<ArrayRef> {
    let decimal = |x: i128, unit: i128| x.div_euclid(unit) * unit;
    PerKind { integer: |x| x, double: f64::floor, decimal }.run(call)
}

fn ceil(call: &Call<'_>) -> Result<ArrayRef> {
    let decimal = |x: i128, unit: i128| -(-x).div_euclid(unit) * unit;
    PerKind { integer: |x| x, double: f64::ceil, decimal }.run(call)
}

/// The same type; a decimal without a scale.
fn gives_whole(shape: &Shape<'_>) -> Result<DataType> {
    Ok(match &shape.types[0] {
        DataType::Decimal128(precision, _) => DataType::Decimal128(*precision, 0),
        other => other.clone(),
    })
}

/// The same type; a decimal with as many digits as the constant says.
fn gives_rounded(shape: &Shape<'_>) -> Result<DataType> {
    let DataType::Decimal128(precision, scale) = shape.types[0] else {
        return Ok(shape.types[0].clone());
    };
    let digits = if shape.types.len() == 1 { Some(0) } else { shape.integer(1) };
    Ok(match digits {
        Some(digits) if digits < i64::from(scale) => {
            let digits = digits.max(0) as i8;
            let whole = precision as i8 - scale;
            DataType::Decimal128((1 + whole + digits).min(38) as u8, digits)
        }
        _ => DataType::Decimal128(precision, scale),
    })
}

/// How digits are given up.
#[derive(Clone, Copy)]
enum Rounding {
    HalfUp,
    Down,
}

impl Rounding {
    /// `value` to a multiple of `unit`.
    fn to_multiple(self, value: i128, unit: i128) -> i128 {
        match self {
            Rounding::HalfUp => super::cast::round_div(value, unit).saturating_mul(unit),
            Rounding::Down => value / unit * unit,
        }
    }

    /// `value`, whose last `scale` digits are behind the point, to `digits` digits behind it.
    fn exact(self, value: i128, scale: i64, digits: i64) -> i128 {
        let surplus = scale.saturating_sub(digits);
        if surplus < 0 {
            return value;
        }
        let unit = u32::try_from(surplus).ok().and_then(|surplus| 10_i128.checked_pow(surplus));
        unit.map_or(0, |unit| self.to_multiple(value, unit))
    }

    /// A double is rounded by its shortest digits, as Flink does, so that 1.005 gives 1.01.
    fn double(self, value: f64, digits: i64, room: &mut String) -> f64 {
        if !value.is_finite() || value == 0.0 {
            return value;
        }
        if digits == 0 {
            return match self {
                Rounding::HalfUp => value.round(),
                Rounding::Down => value.trunc(),
            };
        }
        room.clear();
        write_double(value, room);
        let Some(Digits { value: mantissa, exponent }) = parse_decimal(room) else { return value };
        let rounded = self.exact(mantissa, -i64::from(exponent), digits);
        room.clear();
        match write!(room, "{rounded}e{exponent}") {
            Ok(()) => room.parse().unwrap_or(value),
            Err(_) => value,
        }
    }
}

fn round(call: &Call<'_>) -> Result<ArrayRef> {
    rounded(call, Rounding::HalfUp)
}

fn truncate(call: &Call<'_>) -> Result<ArrayRef> {
    rounded(call, Rounding::Down)
}

fn rounded(call: &Call<'_>, rounding: Rounding) -> Result<ArrayRef> {
    let digits = call.integers_or(1, 0)?;
    Ok(match call.gives {
        DataType::Int8 => rounded_integers::<Int8Type>(call, rounding, &digits)?,
        DataType::Int16 => rounded_integers::<Int16Type>(call, rounding, &digits)?,
        DataType::Int32 => rounded_integers::<Int32Type>(call, rounding, &digits)?,
        DataType::Int64 => rounded_integers::<Int64Type>(call, rounding, &digits)?,
        DataType::Float32 => {
            let (values, mut room) = (call.numbers::<Float32Type>(0)?, String::new());
            call.collect::<Float32Type>(|row| {
                let value = f64::from(values.get(row)?);
                Some(rounding.double(value, digits.get(row)?, &mut room) as f32)
            })
        }
        DataType::Float64 => {
            let (values, mut room) = (call.doubles(0)?, String::new());
            call.collect::<Float64Type>(|row| {
                Some(rounding.double(values.get(row)?, digits.get(row)?, &mut room))
            })
        }
        DataType::Decimal128(precision, to_scale) => {
            let values = call.numbers::<Decimal128Type>(0)?;
            let scale = match call.data_type(0) {
                DataType::Decimal128(_, scale) => scale,
                _ => *to_scale,
            };
            let values: PrimitiveArray<Decimal128Type> = (0..call.rows)
                .map(|row| {
                    let value = rounding.exact(values.get(row)?, scale.into(), digits.get(row)?);
                    rescale(value, scale, *precision, *to_scale)
                })
                .collect();
            Arc::new(values.with_precision_and_scale(*precision, *to_scale)?)
        }
        other => return internal_err!("{}: {other} is no number", call.name),
    })
}

fn rounded_integers<T>(
    call: &Call<'_>,
    rounding: Rounding,
    digits: &Numbers<'_, Int64Type>,
) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64> + TryFrom<i128>,
{
    let values = call.numbers::<T>(0)?;
    Ok(call.collect::<T>(|row| {
        let value: i64 = values.get(row)?.into();
        let value = rounding.exact(value.into(), 0, digits.get(row)?.min(0));
        T::Native::try_from(value).ok()
    }))
}

thread_local! {
    static RANDOM: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
}

/// Random bits; good enough for sampling, not for secrets.
pub(super) fn random_bits() -> u64 {
    RANDOM.with(|state| {
        state.set(state.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        mixed(state.get())
    })
}

/// SplitMix64's finaliser.
fn mixed(state: u64) -> u64 {
    let state = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ state >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ state >> 31
}

fn unit_interval(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// With a seed, the same sequence in each batch.
fn random_sequence(seed: Option<i64>) -> impl FnMut() -> u64 {
    let mut state = seed.map(i64::cast_unsigned);
    move || match &mut state {
        Some(state) => {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mixed(*state)
        }
        None => random_bits(),
    }
}

fn rand(call: &Call<'_>) -> Result<ArrayRef> {
    let seed = if call.count() > 0 { call.integers(0)?.get(0) } else { None };
    let mut next = random_sequence(seed);
    Ok(call.collect::<Float64Type>(|_| Some(unit_interval(next()))))
}

/// `RAND_INTEGER(bound)` or `RAND_INTEGER(seed, bound)`.
fn rand_integer(call: &Call<'_>) -> Result<ArrayRef> {
    let last = call.count() - 1;
    let seed = if last > 0 { call.integers(0)?.get(0) } else { None };
    let (bound, mut next) = (call.integers(last)?, random_sequence(seed));
    call.try_collect::<Int32Type>(|row| match bound.get(row) {
        Some(bound @ 1..) => Ok(Some((next() % bound.cast_unsigned()) as i32)),
        Some(bound) => exec_err!("RAND_INTEGER: the bound must be positive, not {bound}"),
        None => Ok(None),
    })
}

fn bin(call: &Call<'_>) -> Result<ArrayRef> {
    let value = call.integers(0)?;
    Ok(call.texts(|row, out| write!(out, "{:b}", value.get(row)?).ok()))
}

fn hex(call: &Call<'_>) -> Result<ArrayRef> {
    if call.data_type(0).is_integer() {
        let value = call.integers(0)?;
        return Ok(call.texts(|row, out| write!(out, "{:X}", value.get(row)?).ok()));
    }
    let bytes = call.bytes(0)?;
    Ok(call.texts(|row, out| {
        for byte in bytes.get(row)? {
            write!(out, "{byte:02X}").ok()?;
        }
        Some(())
    }))
}

/// NULL if it isn't hexadecimal; an odd digit at the front stands for a whole byte.
fn unhex(call: &Call<'_>) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let read = |row: usize| -> Option<Vec<u8>> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        let digits: Vec<u8> = text.get(row)?.as_bytes().iter().map(digit).collect::<Option<_>>()?;
        let (head, rest) = digits.split_at(digits.len() % 2);
        let pairs = rest.chunks(2).map(|pair| pair[0] << 4 | pair[1]);
        Some(head.iter().copied().chain(pairs).collect())
    };
    let bytes: arrow::array::BinaryArray = (0..call.rows).map(read).collect();
    Ok(Arc::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_round_by_their_shortest_digits() {
        let mut room = String::new();
        let cases = [
            (1.005, 2, 1.01, 1.0),
            (-2.5, 0, -3.0, -2.0),
            (123.456, -1, 120.0, 120.0),
            (155.0, -1, 160.0, 150.0),
            (0.1, 3, 0.1, 0.1),
            (1e300, 2, 1e300, 1e300),
        ];
        for (value, digits, half_up, down) in cases {
            assert_eq!(Rounding::HalfUp.double(value, digits, &mut room), half_up, "{value}");
            assert_eq!(Rounding::Down.double(value, digits, &mut room), down, "{value}");
        }
    }
}
