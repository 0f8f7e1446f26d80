//! Numbers as text, without loss: integers, floats and decimals of any length and exponent.
//!
//! Integers accept `1.0` and `1e2`, which are integral, and refuse `1.5` and whatever their type
//! can't hold; decimals round half up to their scale, as Flink does, and refuse what does not fit
//! their precision.

use super::Expected;

const INTEGER: Expected = "an integer";
const BIGINT: Expected = "an integer from -9223372036854775808 to 9223372036854775807";
const NUMBER: Expected = "a number";
const FITTING: Expected = "a number that fits the precision of the DECIMAL";

/// Powers of ten that `f64` holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// An integer, also when written with a fraction of zeros or an exponent.
pub(crate) fn integer(text: &[u8]) -> Result<i64, Expected> {
    let (negative, digits) = sign(text);
    // Eighteen digits never overflow.
    if (1..=18).contains(&digits.len()) {
        let mut value = 0i64;
        if digits.iter().all(|&d| {
            value = value * 10 + i64::from(d.wrapping_sub(b'0'));
            d.is_ascii_digit()
        }) {
            return Ok(if negative { -value } else { value });
        }
    }
    let parts = Parts::new(text).ok_or(INTEGER)?;
    match parts.scaled(0) {
        Some((value, Exactness::Exact)) => i64::try_from(value).map_err(|_| BIGINT),
        Some(_) => Err(INTEGER),
        None => Err(BIGINT),
    }
}

/// A decimal, as an integer of `10^-scale`.
pub(crate) fn decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, Expected> {
    let scale_places = usize::try_from(scale).unwrap_or(0);
    if let Some((negative, mantissa, places)) = short(text).filter(|s| s.2 <= scale_places)
        && scale_places - places <= 18
    {
        // At most 19 digits times 10^18 is far from the end of i128.
        let value = i128::from(mantissa) * i128::from(10u64.pow((scale_places - places) as u32));
        let fits = value < 10i128.pow(u32::from(precision));
        return if fits { Ok(if negative { -value } else { value }) } else { Err(FITTING) };
    }
    let parts = Parts::new(text).ok_or(NUMBER)?;
    let (value, _) = parts.scaled(i64::from(scale)).ok_or(FITTING)?;
    let fits = value.unsigned_abs() < 10u128.pow(u32::from(precision));
    if fits { Ok(value) } else { Err(FITTING) }
}

/// A `DOUBLE`.
pub(crate) fn float64(text: &[u8]) -> Result<f64, Expected> {
    if let Some(value) = short_float(text) {
        return Ok(value);
    }
    match fast_float2::parse::<f64, _>(text) {
        Ok(value) if value.is_infinite() && has_digit(text) => Err("a number within DOUBLE"),
        Ok(value) => Ok(value),
        Err(_) => Err(NUMBER),
    }
}

/// A `FLOAT`.
pub(crate) fn float32(text: &[u8]) -> Result<f32, Expected> {
    match fast_float2::parse::<f32, _>(text) {
        Ok(value) if value.is_infinite() && has_digit(text) => Err("a number within FLOAT"),
        Ok(value) => Ok(value),
        Err(_) => Err(NUMBER),
    }
}

fn has_digit(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit)
}

/// A number of up to 18 digits without exponent, as nearly all are: sign, digits without the point,
/// and how many of them stand behind it.
#[inline]
fn short(text: &[u8]) -> Option<(bool, u64, usize)> {
    let (negative, digits) = sign(text);
    if digits.len() > 19 || digits.is_empty() {
        return None;
    }
    let mut mantissa = 0u64;
    let mut point = None;
    for (i, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() && i > 0 && i + 1 < digits.len() => point = Some(i),
            _ => return None,
        }
    }
    Some((negative, mantissa, point.map_or(0, |at| digits.len() - at - 1)))
}

/// Both the digits and the power of ten are exact as `f64`, so their quotient is rounded once,
/// that is correctly.
fn short_float(text: &[u8]) -> Option<f64> {
    let (negative, mantissa, places) =
        short(text).filter(|(_, mantissa, _)| *mantissa < 1 << 53)?;
    Some(quotient(negative, mantissa, places))
}

/// A number of so many decimal places from all of its digits, which must be less than 2^53, as
/// [`short_float`] says.
#[inline]
pub(crate) fn quotient(negative: bool, digits: u64, places: usize) -> f64 {
    let value = digits as f64 / EXACT_POWERS[places];
    if negative { -value } else { value }
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Whether digits were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exactness {
    Exact,
    Rounded,
}

/// The parts of a number's text.
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Parts<'a> {
    fn new(text: &'a [u8]) -> Option<Self> {
        let (negative, rest) = sign(text);
        let (mantissa, exponent) = match rest.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&rest[..at], exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|&b| b == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let digits = || whole.iter().chain(fraction);
        let is_number = digits().next().is_some() && digits().all(u8::is_ascii_digit);
        is_number.then_some(Parts { negative, whole, fraction, exponent })
    }

    /// The number times `10^scale`, rounded half up (away from zero); `None` if it has more
    /// digits than any decimal.
    fn scaled(&self, scale: i64) -> Option<(i128, Exactness)> {
        let mut value: u128 = 0;
        let mut exactness = Exactness::Exact;
        // Digits before this many belong to the result.
        let keep = self.whole.len() as i64 + self.exponent + scale;
        let mut seen = 0i64;
        let mut up = false;
        for &digit in self.whole.iter().chain(self.fraction) {
            let digit = u128::from(digit - b'0');
            if seen < keep {
                value = value.checked_mul(10)?.checked_add(digit)?;
            } else if digit != 0 {
                exactness = Exactness::Rounded;
                up |= seen == keep && digit >= 5;
            }
            seen += 1;
        }
        if value != 0 && keep > seen {
            let zeros = u32::try_from(keep - seen).ok()?;
            value = value.checked_mul(10u128.checked_pow(zeros)?)?;
        }
        let value = i128::try_from(value + u128::from(up)).ok()?;
        Some((if self.negative { -value } else { value }, exactness))
    }
}

/// An exponent, cut to where it makes no difference any more.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |value: i64, d: &u8| (value * 10 + i64::from(d - b'0')).min(1_000_000_000);
    let value = digits.iter().fold(0i64, add);
    Some(if negative { -value } else { value })
}

/// Appends a decimal. Not `plain` it is written as Java's `BigDecimal` does: very small ones with
/// an exponent.
pub(crate) fn write_decimal(out: &mut Vec<u8>, value: i128, scale: i8, notation: Notation) {
    if value < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    let scale = usize::try_from(scale).unwrap_or(0);
    // Digits before the point in d.ddd form, counted from the first one: below 10^-6 an exponent.
    let magnitude = digits.len() as i64 - 1 - scale as i64;
    if notation == Notation::Scientific && magnitude < -6 {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(b"E");
        out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
        return;
    }
    if scale == 0 {
        out.extend_from_slice(digits);
    } else if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

/// How decimals near zero are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    /// `0.000000027`
    Plain,
    /// `2.7E-8`
    Scientific,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_may_be_written_in_any_integral_way() {
        for (text, value) in [
            ("0", 0),
            ("-9223372036854775808", i64::MIN),
            ("9223372036854775807", i64::MAX),
            ("1.0", 1),
            ("12e2", 1200),
            ("1200e-2", 12),
            ("000000000000000000007", 7),
        ] {
            assert_eq!(integer(text.as_bytes()), Ok(value), "{text}");
        }
        for text in ["9223372036854775808", "1e400", "1e999999999999"] {
            assert_eq!(integer(text.as_bytes()), Err(BIGINT), "{text}");
        }
        for text in ["", "-", "1.5", "1e-1", "abc", "1 2", ".", "1e", "1e+", "0x1"] {
            assert_eq!(integer(text.as_bytes()), Err(INTEGER), "{text}");
        }
    }

    #[test]
    fn decimals_round_half_away_from_zero_and_never_lose_whole_digits() {
        for (text, value) in [
            ("1.5", Ok(150)),
            ("-0.005", Ok(-1)),
            ("0.0049", Ok(0)),
            ("1e2", Ok(10000)),
            ("123456e-4", Ok(1235)),
            ("999.99", Ok(99999)),
            ("999.995", Err(FITTING)),
            ("1e30", Err(FITTING)),
            ("1e-999999999999", Ok(0)),
            ("x", Err(NUMBER)),
        ] {
            assert_eq!(decimal(text.as_bytes(), 5, 2), value, "{text}");
        }
        let nines = "9".repeat(38);
        assert_eq!(decimal(nines.as_bytes(), 38, 0), Ok(10i128.pow(38) - 1));
        assert_eq!(decimal("9".repeat(39).as_bytes(), 38, 0), Err(FITTING));
    }

    #[test]
    fn small_decimals_are_written_as_java_does() {
        for (value, scale, scientific, plain) in [
            (27, 9, "2.7E-8", "0.000000027"),
            (1, 7, "1E-7", "0.0000001"),
            (1, 6, "0.000001", "0.000001"),
            (-12345, 2, "-123.45", "-123.45"),
            (0, 2, "0.00", "0.00"),
            (5, 0, "5", "5"),
        ] {
            for (notation, text) in [(Notation::Scientific, scientific), (Notation::Plain, plain)] {
                let mut out = vec![];
                write_decimal(&mut out, value, scale, notation);
                assert_eq!(String::from_utf8(out).unwrap(), text);
            }
        }
    }

    proptest! {
        #![proptest_config(crate::testing::budget(256))]

        #[test]
        fn floats_are_read_as_the_standard_library_reads_them(
            mantissa in any::<i64>(), digits in 0u32..19, places in 0usize..20
        ) {
            let text = format!("{:.places$}", (mantissa / 10i64.pow(digits)) as f64 / 7.0);
            let expected: f64 = text.parse().unwrap();
            prop_assert_eq!(float64(text.as_bytes()).unwrap().to_bits(), expected.to_bits());
            let expected: f32 = text.parse().unwrap();
            prop_assert_eq!(float32(text.as_bytes()).unwrap().to_bits(), expected.to_bits());
        }

        #[test]
        fn decimals_come_back(value in -(10i128.pow(38) - 1)..10i128.pow(38), scale in 0i8..=38) {
            for notation in [Notation::Scientific, Notation::Plain] {
                let mut text = vec![];
                write_decimal(&mut text, value, scale, notation);
                prop_assert_eq!(decimal(&text, 38, scale), Ok(value));
            }
        }
    }
}
