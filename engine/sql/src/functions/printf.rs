//! `PRINTF`, with the conversions of Java's formatter that SQL values have a use for:
//! `%s %d %x %X %o %f %e %c %b %n %%`, with width, precision and the flags `-`, `0`, `+`, `,`.
//!
//! A format that asks for what a value isn't gives NULL, as in Flink.

use super::cast::{CastSpec, OnFailure, cast};
use super::function::{Definition, Kind, Takes, gives_text};
use super::values::Call;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::Result;

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] =
    &[Definition::new("PRINTF", Takes::Many(&[Kind::Text], Kind::Any), gives_text, printf)];

/// The widest field: a typing error must not fill the memory.
const WIDTH_MAX: usize = 1_000;

/// An argument in the forms that conversions ask for.
struct Argument {
    texts: StringArray,
    integers: Option<Int64Array>,
    doubles: Option<Float64Array>,
}

impl Argument {
    fn new(call: &Call<'_>, index: usize) -> Result<Self> {
        let column = call.column(index)?;
        let to = |to| cast(&column, &CastSpec::new(to, OnFailure::Fail, call.zone));
        let is_integer = column.data_type().is_integer();
        let is_fraction = column.data_type().is_numeric() && !is_integer;
        let integers = if is_integer { Some(to(DataType::Int64)?) } else { None };
        let doubles = if is_fraction { Some(to(DataType::Float64)?) } else { None };
        Ok(Argument {
            texts: to(DataType::Utf8)?.as_string::<i32>().clone(),
            integers: integers.map(|column| column.as_primitive::<Int64Type>().clone()),
            doubles: doubles.map(|column| column.as_primitive::<Float64Type>().clone()),
        })
    }
}

/// One conversion of a format.
#[derive(Default)]
struct Conversion {
    is_left: bool,
    is_zero_padded: bool,
    is_signed: bool,
    is_grouped: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

impl Conversion {
    /// Reads what follows a `%`.
    fn read(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Self> {
        let mut conversion = Conversion::default();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+' | ',')) {
            match flag {
                '-' => conversion.is_left = true,
                '0' => conversion.is_zero_padded = true,
                '+' => conversion.is_signed = true,
                _ => conversion.is_grouped = true,
            }
        }
        conversion.width = number(chars)?.unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            conversion.precision = Some(number(chars)??);
        }
        conversion.letter = chars.next()?;
        Some(conversion)
    }

    /// The text of a value; `None` if it can't be converted so.
    fn text(&self, argument: &Argument, row: usize) -> Option<String> {
        if argument.texts.is_null(row) {
            return Some(if self.letter == 'b' { "false" } else { "null" }.to_owned());
        }
        let integer = || argument.integers.as_ref().map(|integers| integers.value(row));
        let double = || argument.doubles.as_ref().map(|doubles| doubles.value(row));
        let text = argument.texts.value(row);
        Some(match self.letter {
            's' | 'S' => {
                let cut: String = text.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
                if self.letter == 'S' { cut.to_uppercase() } else { cut }
            }
            'd' => self.signed(integer()?.to_string()),
            'x' => format!("{:x}", integer()?),
            'X' => format!("{:X}", integer()?),
            'o' => format!("{:o}", integer()?),
            'f' => self.signed(format!("{:.*}", self.precision.unwrap_or(6), double()?)),
            'e' => self.signed(exponential(double()?, self.precision.unwrap_or(6))),
            'c' => text.chars().next()?.to_string(),
            'b' => (!text.eq_ignore_ascii_case("false")).to_string(),
            _ => return None,
        })
    }

    fn signed(&self, digits: String) -> String {
        let digits = if self.is_grouped { grouped(&digits) } else { digits };
        if self.is_signed && !digits.starts_with('-') { format!("+{digits}") } else { digits }
    }

    fn push(&self, text: &str, out: &mut String) {
        let missing = self.width.saturating_sub(text.chars().count());
        let pad = |with: char, out: &mut String| out.extend(std::iter::repeat_n(with, missing));
        if self.is_left {
            out.push_str(text);
            pad(' ', out);
        } else if self.is_zero_padded && self.letter != 's' {
            let digits = text.trim_start_matches(['-', '+']);
            out.push_str(&text[..text.len() - digits.len()]);
            pad('0', out);
            out.push_str(digits);
        } else {
            pad(' ', out);
            out.push_str(text);
        }
    }
}

/// A number, if one follows; `None` if it is too large.
fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Option<usize>> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let value = number.unwrap_or(0) * 10 + digit as usize;
        if value > WIDTH_MAX {
            return None;
        }
        number = Some(value);
    }
    Some(number)
}

/// Java's exponent has a sign and at least two digits.
fn exponential(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        None => text,
    }
}

/// A comma before every three digits of the whole part.
fn grouped(digits: &str) -> String {
    let unsigned = digits.trim_start_matches('-');
    let (whole, fraction) = unsigned.split_at(unsigned.find('.').unwrap_or(unsigned.len()));
    let mut out = digits[..digits.len() - unsigned.len()].to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

fn printf(call: &Call<'_>) -> Result<ArrayRef> {
    let format = call.text(0)?;
    let arguments =
        (1..call.count()).map(|at| Argument::new(call, at)).collect::<Result<Vec<_>>>()?;
    Ok(call.texts(|row, out| {
        let mut chars = format.get(row)?.chars().peekable();
        let mut arguments = arguments.iter();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let conversion = Conversion::read(&mut chars)?;
            match conversion.letter {
                '%' => conversion.push("%", out),
                'n' => out.push('\n'),
                _ => {
                    let text = conversion.text(arguments.next()?, row)?;
                    conversion.push(&text, out);
                }
            }
        }
        Some(())
    }))
}
