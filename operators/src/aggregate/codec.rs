//! [`Codec`]: owned, ordered values for aggregates that hold values rather than sums.
//!
//! Three codecs serve every type, so that each aggregate is compiled three times and not thirty:
//! 64-bit integers (all integers, dates, times and, by an order-preserving change of bits, floats),
//! 128-bit integers (decimals), and bytes (strings as they are, everything else in Arrow's row
//! format). Each keeps the order of SQL.

use crate::key;
use crate::key_table::canonical;
use crate::operator::OperatorError;
use arrow::array::{
    ArrayRef, AsArray, BinaryArray, Decimal128Array, Float64Array, Int64Array, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use arrow::row::{RowConverter, Rows, SortField};
use std::borrow::Borrow;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

/// Turns the values of a column into owned, ordered ones, and back.
pub(super) trait Codec: Debug + 'static {
    /// An owned value, not NULL.
    type Value: Borrow<Self::View> + Clone + Ord + Hash + Debug + 'static;
    /// A borrowed one.
    type View: Ord + ?Sized;
    /// A column made ready for reading.
    type Column;

    /// Makes a column ready.
    fn column(&self, column: &ArrayRef) -> Result<Self::Column, OperatorError>;

    /// One value; whether it is NULL has been asked before.
    fn get<'a>(&self, column: &'a Self::Column, row: usize) -> &'a Self::View;

    /// An owned copy of a value.
    fn own(value: &Self::View) -> Self::Value;

    /// Values as a column of the codec's type.
    fn array(
        &self,
        values: &mut dyn Iterator<Item = Option<&Self::Value>>,
    ) -> Result<ArrayRef, OperatorError>;

    /// The type of the columns.
    fn data_type(&self) -> &DataType;

    /// Bytes that a value holds beside its own size.
    fn heap(value: &Self::Value) -> usize;
}

/// Calls a generic constructor with the codec of a call's argument.
macro_rules! with_codec {
    ($call:expr, $codec:ident => $create:expr) => {{
        use $crate::aggregate::codec::{Bytes, Codec, Int64, Int128};
        let kind = &$call.input_type;
        if Int64::serves(kind) {
            let $codec = Int64::new(kind);
            $create
        } else if Int128::serves(kind) {
            let $codec = Int128::new(kind);
            $create
        } else {
            let $codec = Bytes::new(kind)?;
            debug_assert_eq!($codec.data_type(), kind);
            $create
        }
    }};
}
pub(super) use with_codec;

/// Integers, dates, times and floats.
#[derive(Debug)]
pub(super) struct Int64 {
    kind: DataType,
}

impl Int64 {
    pub(super) fn serves(kind: &DataType) -> bool {
        kind.is_floating() || key::as_integer(kind).is_some()
    }

    pub(super) fn new(kind: &DataType) -> Self {
        Int64 { kind: kind.clone() }
    }
}

/// The integer that has the same place among integers as the float has among floats; its own
/// inverse.
#[inline]
fn ordered(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

impl Codec for Int64 {
    type Value = i64;
    type View = i64;
    type Column = Int64Array;

    fn column(&self, column: &ArrayRef) -> Result<Int64Array, OperatorError> {
        if !self.kind.is_floating() {
            return Ok(key::to_int64(column));
        }
        let wide = cast(column, &DataType::Float64)?;
        Ok(wide.as_primitive::<Float64Type>().unary(|v| ordered(v.to_bits() as i64)))
    }

    #[inline]
    fn get<'a>(&self, column: &'a Int64Array, row: usize) -> &'a i64 {
        &column.values()[row]
    }

    #[inline]
    fn own(value: &i64) -> i64 {
        *value
    }

    fn array(
        &self,
        values: &mut dyn Iterator<Item = Option<&i64>>,
    ) -> Result<ArrayRef, OperatorError> {
        let column: Int64Array = values.map(|v| v.copied()).collect();
        if !self.kind.is_floating() {
            return Ok(key::from_int64(&column, &self.kind)?);
        }
        let floats: Float64Array =
            column.unary::<_, Float64Type>(|v| f64::from_bits(ordered(v) as u64));
        Ok(cast(&(Arc::new(floats) as ArrayRef), &self.kind)?)
    }

    fn data_type(&self) -> &DataType {
        &self.kind
    }

    fn heap(_: &i64) -> usize {
        0
    }
}

/// Decimals.
#[derive(Debug)]
pub(super) struct Int128 {
    kind: DataType,
}

impl Int128 {
    pub(super) fn serves(kind: &DataType) -> bool {
        matches!(kind, DataType::Decimal128(..))
    }

    pub(super) fn new(kind: &DataType) -> Self {
        Int128 { kind: kind.clone() }
    }
}

impl Codec for Int128 {
    type Value = i128;
    type View = i128;
    type Column = Decimal128Array;

    fn column(&self, column: &ArrayRef) -> Result<Decimal128Array, OperatorError> {
        Ok(column.as_primitive::<Decimal128Type>().clone())
    }

    #[inline]
    fn get<'a>(&self, column: &'a Decimal128Array, row: usize) -> &'a i128 {
        &column.values()[row]
    }

    #[inline]
    fn own(value: &i128) -> i128 {
        *value
    }

    fn array(
        &self,
        values: &mut dyn Iterator<Item = Option<&i128>>,
    ) -> Result<ArrayRef, OperatorError> {
        let column: Decimal128Array = values.map(|v| v.copied()).collect();
        Ok(Arc::new(column.with_data_type(self.kind.clone())))
    }

    fn data_type(&self) -> &DataType {
        &self.kind
    }

    fn heap(_: &i128) -> usize {
        0
    }
}

/// Strings and bytes as they are, anything else in row format.
#[derive(Debug)]
pub(super) struct Bytes {
    kind: DataType,
    converter: Option<RowConverter>,
}

/// A column whose values are bytes.
pub(super) enum ByteColumn {
    Strings(StringArray),
    Binary(BinaryArray),
    Rows(Rows),
}

impl Bytes {
    pub(super) fn new(kind: &DataType) -> Result<Self, OperatorError> {
        let converter = match kind {
            DataType::Utf8 | DataType::Binary => None,
            kind => Some(RowConverter::new(vec![SortField::new(kind.clone())])?),
        };
        Ok(Bytes { kind: kind.clone(), converter })
    }
}

impl Codec for Bytes {
    type Value = Box<[u8]>;
    type View = [u8];
    type Column = ByteColumn;

    fn column(&self, column: &ArrayRef) -> Result<ByteColumn, OperatorError> {
        Ok(match (&self.converter, &self.kind) {
            (Some(converter), _) => {
                ByteColumn::Rows(converter.convert_columns(&[canonical(column)])?)
            }
            (None, DataType::Utf8) => ByteColumn::Strings(column.as_string::<i32>().clone()),
            (None, _) => ByteColumn::Binary(column.as_binary::<i32>().clone()),
        })
    }

    #[inline]
    fn get<'a>(&self, column: &'a ByteColumn, row: usize) -> &'a [u8] {
        match column {
            ByteColumn::Strings(strings) => strings.value(row).as_bytes(),
            ByteColumn::Binary(bytes) => bytes.value(row),
            ByteColumn::Rows(rows) => rows.row(row).data(),
        }
    }

    #[inline]
    fn own(value: &[u8]) -> Box<[u8]> {
        value.into()
    }

    fn array(
        &self,
        values: &mut dyn Iterator<Item = Option<&Box<[u8]>>>,
    ) -> Result<ArrayRef, OperatorError> {
        let Some(converter) = &self.converter else {
            let bytes: BinaryArray = values.map(|v| v.map(|v| &v[..])).collect();
            return Ok(cast(&(Arc::new(bytes) as ArrayRef), &self.kind)?);
        };
        let null = converter.convert_columns(&[arrow::array::new_null_array(&self.kind, 1)])?;
        let null = null.row(0).data().to_vec();
        let parser = converter.parser();
        let values: Vec<_> = values.map(|v| v.map_or(&null[..], |v| &v[..])).collect();
        let mut columns = converter.convert_rows(values.into_iter().map(|v| parser.parse(v)))?;
        Ok(columns.remove(0))
    }

    fn data_type(&self) -> &DataType {
        &self.kind
    }

    fn heap(value: &Box<[u8]>) -> usize {
        value.len()
    }
}

/// The values of an integer state column.
pub(super) fn ints(column: &ArrayRef) -> &[i64] {
    column.as_primitive::<Int64Type>().values()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, BooleanArray, Float32Array, StructArray};
    use arrow::datatypes::{Field, Fields};

    fn round_trip<C: Codec>(codec: &C, column: &ArrayRef) -> ArrayRef {
        let ready = codec.column(column).unwrap();
        let values: Vec<Option<C::Value>> = (0..column.len())
            .map(|row| column.is_valid(row).then(|| C::own(codec.get(&ready, row))))
            .collect();
        codec.array(&mut values.iter().map(Option::as_ref)).unwrap()
    }

    #[test]
    fn floats_keep_their_order_as_integers() {
        let values = [f64::NEG_INFINITY, -1.5, -0.0, 0.0, 1e-300, 2.0, f64::INFINITY, f64::NAN];
        let moved = values.map(|v| ordered(v.to_bits() as i64));
        assert!(moved.is_sorted());
        assert_eq!(
            moved.map(|v| f64::from_bits(ordered(v) as u64).to_bits()),
            values.map(f64::to_bits)
        );
    }

    #[test]
    fn values_of_every_kind_come_back() -> Result<(), OperatorError> {
        let fields = Fields::from(vec![Field::new("a", DataType::Int64, true)]);
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]));
        let columns: Vec<ArrayRef> = vec![
            ints.clone(),
            Arc::new(Float32Array::from(vec![Some(-1.5), None, Some(2.0)])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Arc::new(Decimal128Array::from(vec![Some(5), None, Some(-7)])),
            Arc::new(StringArray::from(vec![Some("b"), None, Some("")])),
            Arc::new(StructArray::new(fields, vec![ints], None)),
        ];
        struct Call {
            input_type: DataType,
        }
        for column in columns {
            let call = Call { input_type: column.data_type().clone() };
            let back = with_codec!(call, codec => round_trip(&codec, &column));
            assert_eq!(&back, &column);
        }
        Ok(())
    }
}
