//! [`Generator`]: the values of one column, each a pure function of its row's number.

use crate::numbered::random::{mix, of_row, unit};
use crate::options::{choice, closest, duration, number, required, wrong};
use arrow::array::*;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tidemill_formats::{OptionError, Table};

/// What can be said of a field.
const FIELD_OPTIONS: &[&str] =
    &["kind", "min", "max", "start", "end", "length", "var-len", "max-past", "null-rate"];

/// Flink's default length of a random string.
const STRING_LENGTH: u64 = 100;

/// Makes the values of one column.
#[derive(Clone, Debug)]
pub(crate) struct Generator {
    values: Values,
    data_type: DataType,
    null_rate: f64,
    /// Makes columns differ from each other.
    seed: u64,
}

#[derive(Clone, Debug)]
enum Values {
    /// `start + row`.
    Sequence {
        start: i64,
        end: i64,
    },
    /// Whole numbers of a range, both ends included.
    Integers {
        min: i64,
        max: i64,
    },
    /// Numbers of a range.
    Floats {
        min: f64,
        max: f64,
    },
    Booleans,
    /// Hexadecimal digits.
    Strings {
        length: usize,
    },
    Bytes {
        length: usize,
    },
    /// Milliseconds: now, or up to so long ago.
    Instants {
        past_ms: i64,
    },
}

/// Refuses `fields.NAME.…` for an unknown name or with an unknown end.
pub(crate) fn refuse_unknown_field_option(table: &Table, key: &str) -> Result<(), OptionError> {
    let Some(rest) = key.strip_prefix("fields.") else { return Ok(()) };
    let Some((name, option)) = rest.rsplit_once('.') else {
        return Err(wrong(key, "names no field's option", "write 'fields.NAME.kind'"));
    };
    if table.schema.field_with_name(name).is_err() {
        let names = table.schema.fields().iter().map(|field| field.name().as_str());
        return Err(wrong(
            key,
            format!("the table has no column '{name}'"),
            match closest(name, names) {
                Some(close) => format!("did you mean 'fields.{close}.{option}'?"),
                None => "write the name of a column".to_owned(),
            },
        ));
    }
    if !FIELD_OPTIONS.contains(&option) {
        let hint = match closest(option, FIELD_OPTIONS.iter().copied()) {
            Some(close) => format!("did you mean 'fields.{name}.{close}'?"),
            None => format!("write one of {}", FIELD_OPTIONS.join(", ")),
        };
        return Err(wrong(key, "is not known", hint));
    }
    Ok(())
}

impl Generator {
    /// Reads the options of a column.
    pub(crate) fn new(table: &Table, field: &Field) -> Result<Self, OptionError> {
        let key = |option: &str| format!("fields.{}.{option}", field.name());
        let is_sequence =
            choice(table, &key("kind"), &[("random", false), ("sequence", true)], false)?;
        let values = if is_sequence { sequence(table, field)? } else { random(table, field)? };
        let null_rate: f64 = number(table, &key("null-rate"))?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&null_rate) {
            return Err(wrong(&key("null-rate"), "is no share", "write a number from 0 to 1"));
        }
        let seed = field.name().bytes().fold(0x7469_6465, |h, b| mix(h ^ u64::from(b)));
        Ok(Generator { values, data_type: field.data_type().clone(), null_rate, seed })
    }

    /// How many rows there can be: a sequence ends.
    pub(crate) fn rows(&self) -> Option<u64> {
        match self.values {
            Values::Sequence { start, end } => Some((end - start + 1).max(0) as u64),
            _ => None,
        }
    }

    /// The values of rows.
    pub(crate) fn column(&self, rows: &[u64]) -> ArrayRef {
        let plain = self.plain(rows);
        // Bounds were checked against the type, so that the cast can't fail; if it did, NULLs.
        let typed = cast(&plain, &self.data_type)
            .unwrap_or_else(|_| new_null_array(&self.data_type, rows.len()));
        if self.null_rate == 0.0 {
            return typed;
        }
        let share = |&row: &u64| unit(self.random(row, 1));
        let nulls: BooleanArray = rows.iter().map(|r| Some(share(r) < self.null_rate)).collect();
        arrow::compute::nullif(&typed, &nulls).unwrap_or(typed)
    }

    fn plain(&self, rows: &[u64]) -> ArrayRef {
        let random = |&row: &u64| self.random(row, 0);
        match self.values {
            Values::Sequence { start, .. } => {
                let values = rows.iter().map(|&row| start + row as i64);
                Arc::new(PrimitiveArray::<Int64Type>::from_iter_values(values))
            }
            Values::Integers { min, max } => {
                let span = (i128::from(max) - i128::from(min) + 1) as u128;
                let value = |r| (i128::from(min) + (u128::from(random(r)) % span) as i128) as i64;
                Arc::new(PrimitiveArray::<Int64Type>::from_iter_values(rows.iter().map(value)))
            }
            Values::Floats { min, max } => {
                let value = |r| min + unit(random(r)) * (max - min);
                Arc::new(PrimitiveArray::<Float64Type>::from_iter_values(rows.iter().map(value)))
            }
            Values::Booleans => {
                Arc::new(rows.iter().map(|r| Some(random(r) & 1 == 1)).collect::<BooleanArray>())
            }
            Values::Strings { length } => {
                Arc::new(StringArray::from_iter_values(rows.iter().map(|r| hex(random(r), length))))
            }
            Values::Bytes { length } => {
                let bytes = rows.iter().map(|r| hex(random(r), length).into_bytes());
                Arc::new(BinaryArray::from_iter_values(bytes))
            }
            Values::Instants { past_ms } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let now = now.as_millis() as i64;
                let value = |r| now - (random(r) % (past_ms as u64 + 1)) as i64;
                let values = Int64Array::from_iter_values(rows.iter().map(value));
                let unit = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None);
                let millis = cast(&values, &unit);
                millis.unwrap_or_else(|_| new_null_array(&unit, rows.len()))
            }
        }
    }

    /// A random number for a row and a purpose.
    fn random(&self, row: u64, purpose: u64) -> u64 {
        of_row(self.seed, purpose, row)
    }
}

fn hex(mut random: u64, length: usize) -> String {
    let mut text = String::with_capacity(length);
    for i in 0..length {
        if i % 16 == 15 {
            random = mix(random);
        }
        text.push(char::from(b"0123456789abcdef"[(random >> (i % 16 * 4)) as usize & 15]));
    }
    text
}

fn sequence(table: &Table, field: &Field) -> Result<Values, OptionError> {
    let key = |option: &str| format!("fields.{}.{option}", field.name());
    required(table, &key("start"))?;
    required(table, &key("end"))?;
    let (start, end) = (number(table, &key("start"))?, number(table, &key("end"))?);
    let (start, end): (i64, i64) = (start.unwrap_or(0), end.unwrap_or(0));
    let (least, most) = whole_range(field.data_type()).unwrap_or((i64::MIN, i64::MAX));
    if !(least..=most).contains(&start) || !(least..=most).contains(&end) {
        return Err(wrong(&key("end"), "is out of the column's range", "choose a wider type"));
    }
    Ok(Values::Sequence { start, end })
}

/// The range of a type of whole numbers.
fn whole_range(data_type: &DataType) -> Option<(i64, i64)> {
    Some(match data_type {
        DataType::Int8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        DataType::Int64 => (i64::MIN, i64::MAX),
        DataType::Date32 => (0, 36_524),
        DataType::Time32(_) => (0, 86_399_999),
        _ => return None,
    })
}

fn random(table: &Table, field: &Field) -> Result<Values, OptionError> {
    let key = |option: &str| format!("fields.{}.{option}", field.name());
    let length = number(table, &key("length"))?.unwrap_or(STRING_LENGTH) as usize;
    let data_type = field.data_type();
    if let Some((least, most)) = whole_range(data_type) {
        let min = number(table, &key("min"))?.unwrap_or(least);
        let max = number(table, &key("max"))?.unwrap_or(most);
        if min < least || max > most || min > max {
            return Err(wrong(
                &key("max"),
                "the range from min to max is empty or too wide",
                "fix it",
            ));
        }
        return Ok(Values::Integers { min, max });
    }
    Ok(match data_type {
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => {
            let most = widest(data_type);
            let min = number(table, &key("min"))?.unwrap_or(-most);
            let max = number(table, &key("max"))?.unwrap_or(most);
            if !(-most..=most).contains(&min) || !(min..=most).contains(&max) {
                return Err(wrong(
                    &key("max"),
                    "the range from min to max is empty or too wide",
                    "fix it",
                ));
            }
            Values::Floats { min, max }
        }
        DataType::Boolean => Values::Booleans,
        DataType::Utf8 => Values::Strings { length },
        DataType::Binary => Values::Bytes { length },
        DataType::Timestamp(..) => {
            let past = duration(table, &key("max-past"))?.unwrap_or_default();
            Values::Instants { past_ms: past.as_millis() as i64 }
        }
        other => {
            return Err(wrong(
                "connector",
                format!("'datagen' can't make column '{}' of type {other}", field.name()),
                "leave the column out, or compute it",
            ));
        }
    })
}

/// The largest number that surely fits.
fn widest(data_type: &DataType) -> f64 {
    match data_type {
        DataType::Decimal128(precision, scale) => {
            let digits = i32::from(*precision) - i32::from(*scale);
            10f64.powi(digits) * (1.0 - 1e-9) - 1.0
        }
        DataType::Float32 => f64::from(<Float32Type as ArrowPrimitiveType>::Native::MAX) / 2.0,
        _ => f64::MAX / 4.0,
    }
}
