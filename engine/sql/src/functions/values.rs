//! How kernels read their arguments and build their results.
//!
//! An argument is read row by row through a small view that knows whether it is a constant, so
//! that a constant pattern or unit is never copied once per row. Results are built into one
//! buffer: no row allocates.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, PrimitiveArray,
    StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use chrono_tz::Tz;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::ColumnarValue;
use std::sync::Arc;

/// A call over a batch of rows.
pub(super) struct Call<'a> {
    /// The function's name, for messages.
    pub name: &'a str,
    /// The arguments.
    pub args: &'a [ColumnarValue],
    /// How many rows the result has.
    pub rows: usize,
    /// The session's time zone.
    pub zone: Tz,
    /// The result's type.
    pub gives: &'a DataType,
}

/// An argument of strings.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    /// The same for all rows.
    Constant(Option<&'a str>),
    /// One for each row.
    Rows(&'a StringArray),
}

impl<'a> Text<'a> {
    /// The value at `row`.
    #[inline]
    pub fn get(self, row: usize) -> Option<&'a str> {
        match self {
            Text::Constant(value) => value,
            Text::Rows(rows) => rows.is_valid(row).then(|| rows.value(row)),
        }
    }
}

/// An argument of bytes; a string is its UTF-8.
#[derive(Clone, Copy)]
pub(super) enum Bytes<'a> {
    /// The same for all rows.
    Constant(Option<&'a [u8]>),
    /// Bytes for each row.
    Rows(&'a BinaryArray),
    /// A string for each row.
    Texts(&'a StringArray),
}

impl<'a> Bytes<'a> {
    /// The value at `row`.
    #[inline]
    pub fn get(self, row: usize) -> Option<&'a [u8]> {
        match self {
            Bytes::Constant(value) => value,
            Bytes::Rows(rows) => rows.is_valid(row).then(|| rows.value(row)),
            Bytes::Texts(rows) => rows.is_valid(row).then(|| rows.value(row).as_bytes()),
        }
    }
}

/// An argument of numbers.
#[derive(Clone, Copy)]
pub(super) enum Numbers<'a, T: ArrowPrimitiveType> {
    /// The same for all rows.
    Constant(Option<T::Native>),
    /// One for each row.
    Rows(&'a PrimitiveArray<T>),
}

impl<T: ArrowPrimitiveType> Numbers<'_, T> {
    /// The value at `row`.
    #[inline]
    pub fn get(&self, row: usize) -> Option<T::Native> {
        match self {
            Numbers::Constant(value) => *value,
            Numbers::Rows(rows) => rows.is_valid(row).then(|| rows.value(row)),
        }
    }
}

/// An argument of booleans.
#[derive(Clone, Copy)]
pub(super) enum Booleans<'a> {
    /// The same for all rows.
    Constant(Option<bool>),
    /// One for each row.
    Rows(&'a BooleanArray),
}

impl Booleans<'_> {
    /// The value at `row`.
    #[inline]
    pub fn get(self, row: usize) -> Option<bool> {
        match self {
            Booleans::Constant(value) => value,
            Booleans::Rows(rows) => rows.is_valid(row).then(|| rows.value(row)),
        }
    }
}

impl<'a> Call<'a> {
    /// How many arguments there are.
    pub fn count(&self) -> usize {
        self.args.len()
    }

    /// Argument `index` as a column of as many rows as the result.
    pub fn column(&self, index: usize) -> Result<ArrayRef> {
        match &self.args[index] {
            ColumnarValue::Array(rows) => Ok(Arc::clone(rows)),
            ColumnarValue::Scalar(value) => value.to_array_of_size(self.rows),
        }
    }

    /// The type of argument `index`.
    pub fn data_type(&self, index: usize) -> DataType {
        self.args[index].data_type()
    }

    /// Argument `index` as strings.
    pub fn text(&self, index: usize) -> Result<Text<'a>> {
        match &self.args[index] {
            ColumnarValue::Scalar(value) if value.is_null() => Ok(Text::Constant(None)),
            ColumnarValue::Scalar(value) => match value.try_as_str() {
                Some(text) => Ok(Text::Constant(text)),
                None => self.unexpected(index),
            },
            ColumnarValue::Array(rows) => match rows.as_string_opt::<i32>() {
                Some(rows) => Ok(Text::Rows(rows)),
                None if rows.data_type().is_null() => Ok(Text::Constant(None)),
                None => self.unexpected(index),
            },
        }
    }

    /// Argument `index` as strings, or `default` if the call has no such argument.
    pub fn text_or(&self, index: usize, default: &'a str) -> Result<Text<'a>> {
        if index < self.args.len() { self.text(index) } else { Ok(Text::Constant(Some(default))) }
    }

    /// Argument `index`, a string or bytes, as bytes.
    pub fn bytes(&self, index: usize) -> Result<Bytes<'a>> {
        match &self.args[index] {
            ColumnarValue::Scalar(value) if value.is_null() => Ok(Bytes::Constant(None)),
            ColumnarValue::Scalar(ScalarValue::Binary(value)) => {
                Ok(Bytes::Constant(value.as_deref()))
            }
            ColumnarValue::Scalar(value) => match value.try_as_str() {
                Some(text) => Ok(Bytes::Constant(text.map(str::as_bytes))),
                None => self.unexpected(index),
            },
            ColumnarValue::Array(rows) => {
                if let Some(rows) = rows.as_binary_opt::<i32>() {
                    return Ok(Bytes::Rows(rows));
                }
                match rows.as_string_opt::<i32>() {
                    Some(rows) => Ok(Bytes::Texts(rows)),
                    None if rows.data_type().is_null() => Ok(Bytes::Constant(None)),
                    None => self.unexpected(index),
                }
            }
        }
    }

    /// Argument `index` as numbers of type `T`, which it must have.
    pub fn numbers<T: ArrowPrimitiveType>(&self, index: usize) -> Result<Numbers<'a, T>> {
        match &self.args[index] {
            ColumnarValue::Scalar(value) if value.is_null() => Ok(Numbers::Constant(None)),
            ColumnarValue::Scalar(value) => {
                let one = value.to_array_of_size(1)?;
                match one.as_primitive_opt::<T>() {
                    Some(one) => Ok(Numbers::Constant(Some(one.value(0)))),
                    None => self.unexpected(index),
                }
            }
            ColumnarValue::Array(rows) => match rows.as_primitive_opt::<T>() {
                Some(rows) => Ok(Numbers::Rows(rows)),
                None if rows.data_type().is_null() => Ok(Numbers::Constant(None)),
                None => self.unexpected(index),
            },
        }
    }

    /// Argument `index` as integers.
    pub fn integers(&self, index: usize) -> Result<Numbers<'a, Int64Type>> {
        self.numbers(index)
    }

    /// Argument `index` as integers, or `default` if the call has no such argument.
    pub fn integers_or(&self, index: usize, default: i64) -> Result<Numbers<'a, Int64Type>> {
        if index < self.args.len() {
            self.integers(index)
        } else {
            Ok(Numbers::Constant(Some(default)))
        }
    }

    /// Argument `index` as floating-point numbers.
    pub fn doubles(&self, index: usize) -> Result<Numbers<'a, Float64Type>> {
        self.numbers(index)
    }

    /// Argument `index` as booleans.
    pub fn booleans(&self, index: usize) -> Result<Booleans<'a>> {
        match &self.args[index] {
            ColumnarValue::Scalar(ScalarValue::Boolean(value)) => Ok(Booleans::Constant(*value)),
            ColumnarValue::Scalar(value) if value.is_null() => Ok(Booleans::Constant(None)),
            ColumnarValue::Scalar(_) => self.unexpected(index),
            ColumnarValue::Array(rows) => match rows.as_boolean_opt() {
                Some(rows) => Ok(Booleans::Rows(rows)),
                None if rows.data_type().is_null() => Ok(Booleans::Constant(None)),
                None => self.unexpected(index),
            },
        }
    }

    fn unexpected<T>(&self, index: usize) -> Result<T> {
        let got = self.args[index].data_type();
        internal_err!("{}: argument {} came as {got}", self.name, index + 1)
    }

    /// A result of strings, each written into a buffer; NULL where `write` gives `None`.
    pub fn texts(&self, mut write: impl FnMut(usize, &mut String) -> Option<()>) -> ArrayRef {
        let mut built = StringBuilder::with_capacity(self.rows, self.rows * 16);
        let mut text = String::new();
        for row in 0..self.rows {
            text.clear();
            match write(row, &mut text) {
                Some(()) => built.append_value(&text),
                None => built.append_null(),
            }
        }
        Arc::new(built.finish())
    }

    /// The same, where a row may fail.
    pub fn try_texts(
        &self,
        mut write: impl FnMut(usize, &mut String) -> Result<Option<()>>,
    ) -> Result<ArrayRef> {
        let mut failure = None;
        let built = self.texts(|row, text| match write(row, text) {
            Ok(written) => written,
            Err(error) => {
                failure.get_or_insert(error);
                None
            }
        });
        failure.map_or(Ok(built), Err)
    }

    /// A result of strings that stand in the arguments.
    pub fn slices<'b>(&self, mut slice: impl FnMut(usize) -> Option<&'b str>) -> ArrayRef {
        let mut built = StringBuilder::with_capacity(self.rows, self.rows * 16);
        for row in 0..self.rows {
            built.append_option(slice(row));
        }
        Arc::new(built.finish())
    }

    /// A result of numbers.
    pub fn collect<T: ArrowPrimitiveType>(
        &self,
        value: impl FnMut(usize) -> Option<T::Native>,
    ) -> ArrayRef {
        let built: PrimitiveArray<T> = (0..self.rows).map(value).collect();
        Arc::new(built)
    }

    /// A result of numbers, where a row may fail.
    pub fn try_collect<T: ArrowPrimitiveType>(
        &self,
        value: impl FnMut(usize) -> Result<Option<T::Native>>,
    ) -> Result<ArrayRef> {
        let built = (0..self.rows).map(value).collect::<Result<PrimitiveArray<T>>>()?;
        Ok(Arc::new(built))
    }

    /// A result of booleans.
    pub fn collect_booleans(&self, value: impl FnMut(usize) -> Option<bool>) -> ArrayRef {
        let built: BooleanArray = (0..self.rows).map(value).collect();
        Arc::new(built)
    }
}
