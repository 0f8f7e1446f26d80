//! [`Cells`]: an array with its type found out once per batch, and its values' text.

use super::number::{Notation, write_decimal};
use super::{TimestampStyle, base64, time};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, ListArray, MapArray, PrimitiveArray,
    StringArray, StructArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use std::cell::RefCell;

/// How numbers and timestamps are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Which standard timestamps follow.
    pub timestamps: TimestampStyle,
    /// How small decimals are written.
    pub decimals: Notation,
}

/// The timestamp written last, and its text: the rows of a window share their bounds.
#[derive(Default)]
pub(crate) struct Last {
    value: i64,
    text: Vec<u8>,
}

/// The values of an array, by type. All of them are written in one style.
pub(crate) enum Cells<'a> {
    Boolean(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>, i8),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time32MillisecondType>),
    Timestamp {
        array: &'a ArrayRef,
        values: &'a [i64],
        unit: TimeUnit,
        is_zoned: bool,
        last: RefCell<Last>,
    },
    Row {
        array: &'a StructArray,
        fields: Vec<(&'a FieldRef, Cells<'a>)>,
    },
    List {
        array: &'a ListArray,
        items: Box<Cells<'a>>,
    },
    Map {
        array: &'a MapArray,
        keys: Box<Cells<'a>>,
        values: Box<Cells<'a>>,
    },
}

impl<'a> Cells<'a> {
    /// Looks at an array of a type that tables have.
    ///
    /// # Panics
    /// If no table has its type: the table's schema has been checked.
    pub(crate) fn new(array: &'a ArrayRef) -> Cells<'a> {
        match array.data_type() {
            DataType::Boolean => Cells::Boolean(array.as_boolean()),
            DataType::Int8 => Cells::Int8(array.as_primitive()),
            DataType::Int16 => Cells::Int16(array.as_primitive()),
            DataType::Int32 => Cells::Int32(array.as_primitive()),
            DataType::Int64 => Cells::Int64(array.as_primitive()),
            DataType::Float32 => Cells::Float32(array.as_primitive()),
            DataType::Float64 => Cells::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Cells::Decimal(array.as_primitive(), *scale),
            DataType::Utf8 => Cells::Text(array.as_string()),
            DataType::Binary => Cells::Binary(array.as_binary()),
            DataType::Date32 => Cells::Date(array.as_primitive()),
            DataType::Time32(TimeUnit::Millisecond) => Cells::Time(array.as_primitive()),
            DataType::Timestamp(unit, zone) => Cells::Timestamp {
                array,
                values: timestamps(array, *unit),
                unit: *unit,
                is_zoned: zone.is_some(),
                last: RefCell::default(),
            },
            DataType::Struct(fields) => {
                let array = array.as_struct();
                let cells = array.columns().iter().map(Cells::new);
                Cells::Row { array, fields: fields.iter().zip(cells).collect() }
            }
            DataType::List(_) => {
                let array = array.as_list();
                Cells::List { array, items: Box::new(Cells::new(array.values())) }
            }
            DataType::Map(_, _) => {
                let array = array.as_map();
                let keys = Box::new(Cells::new(array.keys()));
                Cells::Map { array, keys, values: Box::new(Cells::new(array.values())) }
            }
            other => unreachable!("no table has a column of type {other}"),
        }
    }

    /// Whether the value of a row is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Cells::Boolean(a) => a.is_null(row),
            Cells::Int8(a) => a.is_null(row),
            Cells::Int16(a) => a.is_null(row),
            Cells::Int32(a) => a.is_null(row),
            Cells::Int64(a) => a.is_null(row),
            Cells::Float32(a) => a.is_null(row),
            Cells::Float64(a) => a.is_null(row),
            Cells::Decimal(a, _) => a.is_null(row),
            Cells::Text(a) => a.is_null(row),
            Cells::Binary(a) => a.is_null(row),
            Cells::Date(a) => a.is_null(row),
            Cells::Time(a) => a.is_null(row),
            Cells::Timestamp { array, .. } => array.is_null(row),
            Cells::Row { array, .. } => array.is_null(row),
            Cells::List { array, .. } => array.is_null(row),
            Cells::Map { array, .. } => array.is_null(row),
        }
    }

    /// Appends the text of a scalar that is not NULL; nothing for nested values, whose text is
    /// the format's own.
    pub(crate) fn write(&self, out: &mut Vec<u8>, row: usize, style: Style) {
        match self {
            Cells::Boolean(a) => {
                out.extend_from_slice(if a.value(row) { b"true" } else { b"false" })
            }
            Cells::Int8(a) => write_integer(out, a.value(row)),
            Cells::Int16(a) => write_integer(out, a.value(row)),
            Cells::Int32(a) => write_integer(out, a.value(row)),
            Cells::Int64(a) => write_integer(out, a.value(row)),
            Cells::Float32(a) => write_float(out, a.value(row), f64::from(a.value(row))),
            Cells::Float64(a) => write_float(out, a.value(row), a.value(row)),
            Cells::Decimal(a, scale) => write_decimal(out, a.value(row), *scale, style.decimals),
            Cells::Text(a) => out.extend_from_slice(a.value(row).as_bytes()),
            Cells::Binary(a) => base64::encode(a.value(row), out),
            Cells::Date(a) => time::write_date(out, a.value(row).into()),
            Cells::Time(a) => time::write_time(out, a.value(row)),
            Cells::Timestamp { values, unit, is_zoned, last, .. } => {
                let Last { value, text } = &mut *last.borrow_mut();
                if text.is_empty() || *value != values[row] {
                    *value = values[row];
                    text.clear();
                    time::write_timestamp(text, *value, *unit, style.timestamps);
                    if *is_zoned {
                        text.push(b'Z');
                    }
                }
                out.extend_from_slice(text);
            }
            Cells::Row { .. } | Cells::List { .. } | Cells::Map { .. } => {}
        }
    }

    /// Whether a row holds a number that JSON can't write: NaN or an infinity.
    pub(crate) fn is_not_finite(&self, row: usize) -> bool {
        match self {
            Cells::Float32(a) => !a.value(row).is_finite(),
            Cells::Float64(a) => !a.value(row).is_finite(),
            _ => false,
        }
    }
}

/// The items of a list or map that belong to a row.
pub(crate) fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

fn timestamps(array: &ArrayRef, unit: TimeUnit) -> &[i64] {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values(),
    }
}

fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The shortest text that reads back as the same number, with Java's names for the special ones.
fn write_float(out: &mut Vec<u8>, value: impl zmij::Float, wide: f64) {
    if wide.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if wide.is_infinite() {
        out.extend_from_slice(if wide > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    }
}
