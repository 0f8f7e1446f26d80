//! [`Column`]: a column of any type under construction.

use super::bytes::Bytes;
use super::nested::{List, Map, Row};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, NullBufferBuilder, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use std::sync::Arc;

/// Which values of a column are NULL; costs nothing while none is. Most values are like the one
/// before in this, so they are only counted until there is another.
pub(super) struct Validity {
    builder: NullBufferBuilder,
    /// So many more, all of them NULL or none.
    run: usize,
    is_run_valid: bool,
}

impl Validity {
    pub(super) fn new() -> Self {
        Validity { builder: NullBufferBuilder::new(1024), run: 0, is_run_valid: true }
    }

    pub(super) fn len(&self) -> usize {
        self.builder.len() + self.run
    }

    #[inline(always)]
    pub(super) fn push_valid(&mut self) {
        if !self.is_run_valid {
            self.end_run();
            self.is_run_valid = true;
        }
        self.run += 1;
    }

    #[inline(always)]
    pub(super) fn push_nulls(&mut self, count: usize) {
        if self.is_run_valid {
            self.end_run();
            self.is_run_valid = false;
        }
        self.run += count;
    }

    #[inline(never)]
    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if self.is_run_valid {
            self.builder.append_n_non_nulls(run);
        } else {
            self.builder.append_n_nulls(run);
        }
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if rows < self.len() {
            self.end_run();
            self.builder.truncate(rows);
        }
    }

    pub(super) fn finish(&mut self) -> Option<NullBuffer> {
        self.end_run();
        self.builder.finish()
    }
}

/// Values of a fixed width.
pub(crate) struct Values<T> {
    values: Vec<T>,
    validity: Validity,
}

impl<T: ArrowNativeType + Default> Values<T> {
    fn new() -> Self {
        Values { values: vec![], validity: Validity::new() }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, value: T) {
        self.values.push(value);
        self.validity.push_valid();
    }

    fn push_nulls(&mut self, count: usize) {
        self.values.resize(self.values.len() + count, T::default());
        self.validity.push_nulls(count);
    }

    fn truncate(&mut self, rows: usize) {
        if rows < self.values.len() {
            self.values.truncate(rows);
            self.validity.truncate(rows);
        }
    }

    fn finish<A: ArrowPrimitiveType<Native = T>>(&mut self, data_type: &DataType) -> ArrayRef {
        let next = Vec::with_capacity(self.values.len());
        let values = ScalarBuffer::from(std::mem::replace(&mut self.values, next));
        let array = PrimitiveArray::<A>::new(values, self.validity.finish());
        Arc::new(array.with_data_type(data_type.clone()))
    }
}

/// Booleans.
pub(crate) struct Booleans {
    values: BooleanBufferBuilder,
    validity: Validity,
}

impl Booleans {
    pub(crate) fn push(&mut self, value: bool) {
        self.values.append(value);
        self.validity.push_valid();
    }
}

/// A column of any type that tables have. Which it is stands in a byte by itself, for that is asked
/// with every value.
#[repr(u8)]
pub(crate) enum Column {
    Boolean(Booleans),
    Int8(Values<i8>),
    Int16(Values<i16>),
    Int32(Values<i32>),
    Int64(Values<i64>),
    Float32(Values<f32>),
    Float64(Values<f64>),
    Decimal { values: Values<i128>, precision: u8, scale: i8 },
    Text(Bytes),
    Binary(Bytes),
    Date(Values<i32>),
    Time(Values<i32>),
    Timestamp { values: Values<i64>, unit: TimeUnit, zone: Option<Arc<str>> },
    Row(Row),
    List(List),
    Map(Map),
}

impl Column {
    /// An empty column.
    ///
    /// # Errors
    /// With the type itself, or the part of it, that no table column has.
    pub(crate) fn new(data_type: &DataType) -> Result<Column, DataType> {
        Ok(match data_type {
            DataType::Boolean => Column::Boolean(Booleans {
                values: BooleanBufferBuilder::new(1024),
                validity: Validity::new(),
            }),
            DataType::Int8 => Column::Int8(Values::new()),
            DataType::Int16 => Column::Int16(Values::new()),
            DataType::Int32 => Column::Int32(Values::new()),
            DataType::Int64 => Column::Int64(Values::new()),
            DataType::Float32 => Column::Float32(Values::new()),
            DataType::Float64 => Column::Float64(Values::new()),
            DataType::Decimal128(precision, scale) if *scale >= 0 => {
                Column::Decimal { values: Values::new(), precision: *precision, scale: *scale }
            }
            DataType::Utf8 => Column::Text(Bytes::new()),
            DataType::Binary => Column::Binary(Bytes::new()),
            DataType::Date32 => Column::Date(Values::new()),
            DataType::Time32(TimeUnit::Millisecond) => Column::Time(Values::new()),
            DataType::Timestamp(unit, zone) => {
                Column::Timestamp { values: Values::new(), unit: *unit, zone: zone.clone() }
            }
            DataType::Struct(fields) => Column::Row(Row::new(fields)?),
            DataType::List(field) => Column::List(List::new(field)?),
            DataType::Map(entries, sorted) => Column::Map(Map::new(entries, *sorted)?),
            other => return Err(other.clone()),
        })
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        match self {
            Column::Boolean(c) => c.values.len(),
            Column::Int8(c) => c.values.len(),
            Column::Int16(c) => c.values.len(),
            Column::Int32(c) | Column::Date(c) | Column::Time(c) => c.values.len(),
            Column::Int64(c) | Column::Timestamp { values: c, .. } => c.values.len(),
            Column::Float32(c) => c.values.len(),
            Column::Float64(c) => c.values.len(),
            Column::Decimal { values, .. } => values.values.len(),
            Column::Text(c) | Column::Binary(c) => c.len(),
            Column::Row(c) => c.len(),
            Column::List(c) => c.len(),
            Column::Map(c) => c.len(),
        }
    }

    /// Appends NULL.
    pub(crate) fn push_null(&mut self) {
        self.push_nulls(1);
    }

    /// Appends NULL so many times.
    pub(crate) fn push_nulls(&mut self, count: usize) {
        match self {
            Column::Boolean(c) => {
                c.values.append_n(count, false);
                c.validity.push_nulls(count);
            }
            Column::Int8(c) => c.push_nulls(count),
            Column::Int16(c) => c.push_nulls(count),
            Column::Int32(c) | Column::Date(c) | Column::Time(c) => c.push_nulls(count),
            Column::Int64(c) | Column::Timestamp { values: c, .. } => c.push_nulls(count),
            Column::Float32(c) => c.push_nulls(count),
            Column::Float64(c) => c.push_nulls(count),
            Column::Decimal { values, .. } => values.push_nulls(count),
            Column::Text(c) | Column::Binary(c) => c.push_nulls(count),
            Column::Row(c) => c.push_nulls(count),
            Column::List(c) => c.push_nulls(count),
            Column::Map(c) => c.push_nulls(count),
        }
    }

    /// Takes back all rows from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match self {
            Column::Boolean(c) => {
                if rows < c.values.len() {
                    c.values.truncate(rows);
                    c.validity.truncate(rows);
                }
            }
            Column::Int8(c) => c.truncate(rows),
            Column::Int16(c) => c.truncate(rows),
            Column::Int32(c) | Column::Date(c) | Column::Time(c) => c.truncate(rows),
            Column::Int64(c) | Column::Timestamp { values: c, .. } => c.truncate(rows),
            Column::Float32(c) => c.truncate(rows),
            Column::Float64(c) => c.truncate(rows),
            Column::Decimal { values, .. } => values.truncate(rows),
            Column::Text(c) | Column::Binary(c) => c.truncate(rows),
            Column::Row(c) => c.truncate(rows),
            Column::List(c) => c.truncate(rows),
            Column::Map(c) => c.truncate(rows),
        }
    }

    /// The rows as an array; the column starts anew.
    pub(crate) fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        match self {
            Column::Boolean(c) => {
                let values = c.values.finish();
                Arc::new(BooleanArray::new(values, c.validity.finish()))
            }
            Column::Int8(c) => c.finish::<Int8Type>(data_type),
            Column::Int16(c) => c.finish::<Int16Type>(data_type),
            Column::Int32(c) => c.finish::<Int32Type>(data_type),
            Column::Int64(c) => c.finish::<Int64Type>(data_type),
            Column::Float32(c) => c.finish::<Float32Type>(data_type),
            Column::Float64(c) => c.finish::<Float64Type>(data_type),
            Column::Decimal { values, .. } => values.finish::<Decimal128Type>(data_type),
            Column::Date(c) => c.finish::<Date32Type>(data_type),
            Column::Time(c) => c.finish::<Time32MillisecondType>(data_type),
            Column::Timestamp { values, unit, .. } => match unit {
                TimeUnit::Second => values.finish::<TimestampSecondType>(data_type),
                TimeUnit::Millisecond => values.finish::<TimestampMillisecondType>(data_type),
                TimeUnit::Microsecond => values.finish::<TimestampMicrosecondType>(data_type),
                TimeUnit::Nanosecond => values.finish::<TimestampNanosecondType>(data_type),
            },
            Column::Text(c) => {
                let (offsets, bytes, validity) = c.finish();
                // SAFETY: text is appended as `&str`, each value is whole, so every offset is on
                // a character's boundary, and offsets rise.
                Arc::new(unsafe { StringArray::new_unchecked(offsets, bytes, validity) })
            }
            Column::Binary(c) => {
                let (offsets, bytes, validity) = c.finish();
                Arc::new(BinaryArray::new(offsets, bytes, validity))
            }
            Column::Row(c) => c.finish(),
            Column::List(c) => c.finish(),
            Column::Map(c) => c.finish(),
        }
    }
}
