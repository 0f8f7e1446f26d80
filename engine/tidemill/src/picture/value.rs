//! [`Value`]: what stands in a cell, fit to be compared and to be read by a person.

use crate::status::grouped;
use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimeUnit, TimestampMillisecondType};
use arrow::temporal_conversions::timestamp_ms_to_datetime;

/// A value of a row. Values of one column compare as SQL compares them, NULL being the least.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Whole(i64),
    /// The digits of a decimal and how many of them stand behind the point.
    Decimal(i128, i8),
    /// Milliseconds since 1970.
    Time(i64),
    Text(String),
}

impl Value {
    /// The value of a column at a row.
    pub(super) fn of(column: &dyn Array, row: usize) -> Value {
        if column.is_null(row) {
            return Value::Null;
        }
        match column.data_type() {
            DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).to_owned()),
            DataType::Boolean => Value::Flag(column.as_boolean().value(row)),
            DataType::Decimal128(_, scale) => {
                Value::Decimal(column.as_primitive::<Decimal128Type>().value(row), *scale)
            }
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                let one = cast(&column.slice(row, 1), &DataType::Int64);
                one.map_or(Value::Null, |one| {
                    Value::Whole(one.as_primitive::<Int64Type>().value(0))
                })
            }
            DataType::Timestamp(..) => {
                let ms = DataType::Timestamp(TimeUnit::Millisecond, None);
                let one = cast(&column.slice(row, 1), &ms);
                one.map_or(Value::Null, |one| {
                    Value::Time(one.as_primitive::<TimestampMillisecondType>().value(0))
                })
            }
            _ => {
                let text = arrow::util::display::array_value_to_string(column, row);
                Value::Text(text.unwrap_or_else(|error| error.to_string()))
            }
        }
    }

    /// As it stands in a cell: numbers in groups of three, the time of day alone.
    pub(super) fn in_cell(&self) -> String {
        match self {
            Value::Time(_) => self.time("%H:%M:%S"),
            _ => self.in_title(),
        }
    }

    /// As it stands behind a title: a time with its day, to the minute.
    pub(super) fn in_title(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Flag(true) => "yes".to_owned(),
            Value::Flag(false) => "no".to_owned(),
            Value::Whole(number) => signed(*number < 0, &grouped(number.unsigned_abs())),
            Value::Decimal(digits, scale) => decimal(*digits, *scale),
            Value::Time(_) => self.time("%Y-%m-%d %H:%M"),
            Value::Text(text) => text.clone(),
        }
    }

    /// How long its bar is beside others'.
    pub(super) fn length(&self) -> f64 {
        match self {
            Value::Whole(number) => *number as f64,
            Value::Decimal(digits, scale) => *digits as f64 / 10f64.powi((*scale).into()),
            _ => 0.0,
        }
    }

    fn time(&self, format: &str) -> String {
        let Value::Time(ms) = self else { return String::new() };
        match timestamp_ms_to_datetime(*ms) {
            Some(time) => time.format(format).to_string(),
            None => ms.to_string(),
        }
    }
}

fn signed(is_negative: bool, digits: &str) -> String {
    format!("{}{digits}", if is_negative { "-" } else { "" })
}

fn decimal(digits: i128, scale: i8) -> String {
    let ten = 10u128.pow(scale.max(0).unsigned_abs().into());
    let (whole, rest) = (digits.unsigned_abs() / ten, digits.unsigned_abs() % ten);
    let whole = grouped(u64::try_from(whole).unwrap_or(u64::MAX));
    let behind = scale.max(0).unsigned_abs().into();
    let text = if scale > 0 { format!("{whole}.{rest:0behind$}") } else { whole };
    signed(digits < 0, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Int32Array, TimestampMillisecondArray};

    #[test]
    fn values_are_read_by_people() {
        let decimals = Decimal128Array::from(vec![1_234_567, -5]);
        let decimals = decimals.with_precision_and_scale(10, 2).unwrap();
        assert_eq!(Value::of(&decimals, 0).in_cell(), "12,345.67");
        assert_eq!(Value::of(&decimals, 1).in_cell(), "-0.05");
        let whole = Int32Array::from(vec![Some(-1234), None]);
        assert_eq!(Value::of(&whole, 0).in_cell(), "-1,234");
        assert_eq!(Value::of(&whole, 1).in_cell(), "");
        let time = TimestampMillisecondArray::from(vec![1_767_600_061_000]).with_timezone("UTC");
        assert_eq!(Value::of(&time, 0).in_cell(), "08:01:01");
        assert_eq!(Value::of(&time, 0).in_title(), "2026-01-05 08:01");
    }

    #[test]
    fn null_is_the_least_value() {
        let column = Int32Array::from(vec![Some(i32::MIN), None]);
        assert!(Value::of(&column, 1) < Value::of(&column, 0));
    }
}
