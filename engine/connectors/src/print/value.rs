//! One value as Flink's `print` shows it, which is how Java shows it: `null`, `2020-01-01T00:00`,
//! `1.0E10`, `[1, 2]`, `{k=v}`.

use arrow::array::{Array, AsArray};
use arrow::datatypes::*;
use chrono::{DateTime, NaiveDate, NaiveTime, Timelike};
use std::fmt::{Display, Write};

/// Appends the value of `array` at `row`.
pub(crate) fn write(out: &mut String, array: &dyn Array, row: usize) {
    if array.is_null(row) {
        out.push_str("null");
        return;
    }
    match array.data_type() {
        DataType::Utf8 => out.push_str(array.as_string::<i32>().value(row)),
        DataType::Boolean => put(out, array.as_boolean().value(row)),
        DataType::Int8 => put(out, array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => put(out, array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => put(out, array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => put(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            float(out, f64::from(value), format!("{value:e}"));
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            float(out, value, format!("{value:e}"));
        }
        DataType::Decimal128(..) => {
            out.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(row));
        }
        DataType::Date32 => date(out, array.as_primitive::<Date32Type>().value(row)),
        DataType::Time32(TimeUnit::Millisecond) => {
            let millis = i64::from(array.as_primitive::<Time32MillisecondType>().value(row));
            time(out, millis.rem_euclid(86_400_000) * 1_000_000);
        }
        DataType::Timestamp(unit, zone) => timestamp(out, nanos(array, *unit, row), zone.is_some()),
        DataType::Binary => bytes(out, array.as_binary::<i32>().value(row)),
        DataType::List(_) => list(out, array.as_list::<i32>().value(row).as_ref()),
        DataType::Struct(_) => {
            out.push_str("+I");
            let columns = array.as_struct().columns();
            bracketed(out, columns.len(), |out, i| write(out, columns[i].as_ref(), row));
        }
        DataType::Map(..) => map(out, &array.as_map().value(row)),
        _ => out.push_str(&other(array, row)),
    }
}

fn put(out: &mut String, value: impl Display) {
    write!(out, "{value}").expect("a string takes everything");
}

fn bracketed(out: &mut String, count: usize, mut item: impl FnMut(&mut String, usize)) {
    out.push('[');
    for i in 0..count {
        if i > 0 {
            out.push_str(", ");
        }
        item(out, i);
    }
    out.push(']');
}

fn list(out: &mut String, items: &dyn Array) {
    bracketed(out, items.len(), |out, i| write(out, items, i));
}

fn bytes(out: &mut String, bytes: &[u8]) {
    bracketed(out, bytes.len(), |out, i| put(out, bytes[i] as i8));
}

fn map(out: &mut String, entries: &arrow::array::StructArray) {
    out.push('{');
    for i in 0..entries.len() {
        if i > 0 {
            out.push_str(", ");
        }
        write(out, entries.column(0).as_ref(), i);
        out.push('=');
        write(out, entries.column(1).as_ref(), i);
    }
    out.push('}');
}

/// A type that Flink doesn't have, in Arrow's words.
fn other(array: &dyn Array, row: usize) -> String {
    arrow::util::display::array_value_to_string(array, row).unwrap_or_else(|e| e.to_string())
}

/// Java's `Double.toString`, from the shortest digits in scientific form (`1.5e10`).
fn float(out: &mut String, value: f64, scientific: String) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let point = |text: &str| if text.contains('.') { String::new() } else { ".0".to_owned() };
    if value == 0.0 || (-3..7).contains(&exponent) {
        let (sign, digits) = match mantissa.strip_prefix('-') {
            Some(digits) => ("-", digits.replace('.', "")),
            None => ("", mantissa.replace('.', "")),
        };
        out.push_str(sign);
        plain(out, &digits, exponent);
    } else {
        put(out, format_args!("{mantissa}{}E{exponent}", point(mantissa)));
    }
}

/// `d.ddd` times a power of ten, written without one, with at least one digit on each side.
fn plain(out: &mut String, digits: &str, exponent: i32) {
    if exponent < 0 {
        out.push_str("0.");
        (1..-exponent).for_each(|_| out.push('0'));
        return out.push_str(digits);
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.push_str(digits);
        (digits.len()..whole).for_each(|_| out.push('0'));
        out.push_str(".0");
    } else {
        out.push_str(&digits[..whole]);
        out.push('.');
        out.push_str(&digits[whole..]);
    }
}

fn date(out: &mut String, days: i32) {
    match NaiveDate::from_epoch_days(days) {
        Some(date) => put(out, date),
        None => put(out, format_args!("{days} days")),
    }
}

fn nanos(array: &dyn Array, unit: TimeUnit, row: usize) -> (i64, u32) {
    let split = |value: i64, per_second: i64| {
        let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
        (value.div_euclid(per_second), nanos as u32)
    };
    match unit {
        TimeUnit::Second => split(array.as_primitive::<TimestampSecondType>().value(row), 1),
        TimeUnit::Millisecond => {
            split(array.as_primitive::<TimestampMillisecondType>().value(row), 1_000)
        }
        TimeUnit::Microsecond => {
            split(array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000)
        }
        TimeUnit::Nanosecond => {
            split(array.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000)
        }
    }
}

/// Java's `LocalDateTime.toString`, or `Instant.toString`, which always shows seconds.
fn timestamp(out: &mut String, (seconds, nanos): (i64, u32), is_instant: bool) {
    let Some(at) = DateTime::from_timestamp(seconds, nanos) else {
        return put(out, format_args!("{seconds}.{nanos:09} s"));
    };
    put(out, at.date_naive());
    out.push('T');
    clock(out, at.time(), is_instant);
    if is_instant {
        out.push('Z');
    }
}

fn time(out: &mut String, nanos_of_day: i64) {
    let (seconds, nanos) = (nanos_of_day / 1_000_000_000, nanos_of_day % 1_000_000_000);
    let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds as u32, nanos as u32);
    clock(out, time.unwrap_or_default(), false);
}

/// `00:00`, `00:00:01`, `00:00:01.500`, `….000001`, `….000000001`.
fn clock(out: &mut String, time: NaiveTime, always_seconds: bool) {
    put(out, format_args!("{:02}:{:02}", time.hour(), time.minute()));
    let nanos = time.nanosecond();
    if always_seconds || time.second() > 0 || nanos > 0 {
        put(out, format_args!(":{:02}", time.second()));
    }
    match nanos {
        0 => {}
        n if n % 1_000_000 == 0 => put(out, format_args!(".{:03}", n / 1_000_000)),
        n if n % 1_000 == 0 => put(out, format_args!(".{:06}", n / 1_000)),
        n => put(out, format_args!(".{n:09}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;

    fn shown(array: &dyn Array) -> Vec<String> {
        let show = |row| {
            let mut text = String::new();
            write(&mut text, array, row);
            text
        };
        (0..array.len()).map(show).collect()
    }

    #[test]
    fn floats_look_as_in_java() {
        let values = [1.0, -1.5, 0.001, 0.00015, 1234567.0, 12345678.0, 1e10, -0.0, 100.25];
        assert_eq!(
            shown(&Float64Array::from(values.to_vec())),
            [
                "1.0",
                "-1.5",
                "0.001",
                "1.5E-4",
                "1234567.0",
                "1.2345678E7",
                "1.0E10",
                "-0.0",
                "100.25"
            ]
        );
        let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(shown(&Float64Array::from(special.to_vec())), ["NaN", "Infinity", "-Infinity"]);
        assert_eq!(shown(&Float32Array::from(vec![0.1])), ["0.1"]);
    }

    #[test]
    fn times_look_as_in_java() {
        let millis = vec![0, 1_000, 1_577_836_800_123, -1];
        let local = TimestampMillisecondArray::from(millis.clone());
        assert_eq!(
            shown(&local),
            [
                "1970-01-01T00:00",
                "1970-01-01T00:00:01",
                "2020-01-01T00:00:00.123",
                "1969-12-31T23:59:59.999"
            ]
        );
        let instants = TimestampMillisecondArray::from(millis[..2].to_vec()).with_timezone("UTC");
        assert_eq!(shown(&instants), ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"]);
        assert_eq!(shown(&Date32Array::from(vec![18_262])), ["2020-01-01"]);
        assert_eq!(shown(&Time32MillisecondArray::from(vec![3_600_500])), ["01:00:00.500"]);
    }

    #[test]
    fn nulls_bytes_decimals_and_lists_look_as_in_java() {
        assert_eq!(shown(&Int64Array::from(vec![None, Some(-3)])), ["null", "-3"]);
        assert_eq!(shown(&BinaryArray::from(vec![&[1u8, 255][..]])), ["[1, -1]"]);
        let decimals = Decimal128Array::from(vec![12_345]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(shown(&decimals), ["123.45"]);
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
        assert_eq!(shown(&list), ["[1, null]"]);
    }
}
