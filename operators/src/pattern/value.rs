//! [`Value`]: one value of one row, for conditions that are judged row by row.
//!
//! A condition that looks back in a match reads a few values of a few rows. Columns would have to be
//! gathered for each of its evaluations, so the columns that such conditions read are held as
//! values beside the rows. The kinds are those of comparison: what has one type in SQL has one kind
//! here, and values of one kind compare as their columns do.

use crate::key;
use crate::operator::OperatorError;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use std::cmp::Ordering;
use std::sync::Arc;

/// A value of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// NULL, of any type.
    #[default]
    Null,
    /// `BOOLEAN`
    Boolean(bool),
    /// Integers, dates, times and lengths of time, in their own unit.
    Integer(i64),
    /// `FLOAT` and `DOUBLE`
    Float(f64),
    /// `DECIMAL`, without its point.
    Decimal(i128),
    /// Strings and bytes as they are; anything else in Arrow's row format.
    Bytes(Box<[u8]>),
}

impl Value {
    /// The order of two values of one type; none if either is NULL.
    #[inline]
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
            (Value::Float(a), Value::Float(b)) => Some(a.total_cmp(b)),
            (Value::Decimal(a), Value::Decimal(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Boolean(a), Value::Boolean(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// Bytes that it holds beside its own size.
    pub(super) fn heap(&self) -> usize {
        match self {
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

/// Makes values of a column, and columns of values.
#[derive(Debug)]
pub(super) struct ValueCodec {
    data_type: DataType,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Boolean,
    Integer,
    Float,
    Decimal,
    /// `Utf8` and `Binary`.
    Bytes,
    /// What has no kind of its own.
    Row(RowConverter),
}

impl ValueCodec {
    pub(super) fn new(data_type: &DataType) -> Result<Self, OperatorError> {
        let kind = match data_type {
            DataType::Boolean => Kind::Boolean,
            DataType::Float32 | DataType::Float64 => Kind::Float,
            DataType::Decimal128(..) => Kind::Decimal,
            DataType::Utf8 | DataType::Binary => Kind::Bytes,
            DataType::Duration(_) => Kind::Integer,
            integer if key::as_integer(integer).is_some() => Kind::Integer,
            other => Kind::Row(RowConverter::new(vec![SortField::new(other.clone())])?),
        };
        Ok(ValueCodec { data_type: data_type.clone(), kind })
    }

    pub(super) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// The values of a column.
    pub(super) fn read(&self, column: &ArrayRef) -> Result<Vec<Value>, OperatorError> {
        let nulls = column.logical_nulls();
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let values = |value: &dyn Fn(usize) -> Value| -> Vec<Value> {
            let value = |row| if is_null(row) { Value::Null } else { value(row) };
            (0..column.len()).map(value).collect()
        };
        Ok(match &self.kind {
            Kind::Boolean => {
                let column = column.as_boolean();
                values(&|row| Value::Boolean(column.value(row)))
            }
            Kind::Integer => {
                let column = match self.data_type {
                    DataType::Duration(_) => key::to_int64(&cast(column, &DataType::Int64)?),
                    _ => key::to_int64(column),
                };
                values(&|row| Value::Integer(column.value(row)))
            }
            Kind::Float => {
                let column = cast(column, &DataType::Float64)?;
                let column = column.as_primitive::<Float64Type>();
                values(&|row| Value::Float(column.value(row)))
            }
            Kind::Decimal => {
                let column = column.as_primitive::<Decimal128Type>();
                values(&|row| Value::Decimal(column.value(row)))
            }
            Kind::Bytes => {
                let column = cast(column, &DataType::Binary)?;
                let column = column.as_binary::<i32>();
                values(&|row| Value::Bytes(column.value(row).into()))
            }
            Kind::Row(converter) => {
                let rows = converter.convert_columns(std::slice::from_ref(column))?;
                values(&|row| Value::Bytes(rows.row(row).data().into()))
            }
        })
    }

    /// A column of one value.
    pub(super) fn column(&self, value: &Value) -> Result<ArrayRef, OperatorError> {
        let column: ArrayRef = match (value, &self.kind) {
            (Value::Null, _) => return Ok(new_null_array(&self.data_type, 1)),
            (Value::Boolean(value), _) => Arc::new(BooleanArray::from(vec![*value])),
            (Value::Integer(value), _) => {
                return Ok(key::from_int64(&Int64Array::from(vec![*value]), &self.data_type)?);
            }
            (Value::Float(value), _) => Arc::new(Float64Array::from(vec![*value])),
            (Value::Decimal(value), _) => {
                let column = Decimal128Array::from(vec![*value]);
                return Ok(Arc::new(column.with_data_type(self.data_type.clone())));
            }
            (Value::Bytes(bytes), Kind::Row(converter)) => {
                let parser = converter.parser();
                return Ok(converter.convert_rows([parser.parse(bytes)])?.remove(0));
            }
            (Value::Bytes(bytes), _) => Arc::new(BinaryArray::from(vec![&bytes[..]])),
        };
        Ok(cast(&column, &self.data_type)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Date32Array, DurationMillisecondArray, Float32Array, StringArray, StructArray,
    };
    use arrow::compute::concat;
    use arrow::datatypes::{Field, Fields};

    #[test]
    fn values_of_every_kind_come_back() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]));
        let fields = Fields::from(vec![Field::new("a", DataType::Int64, true)]);
        let decimals = Decimal128Array::from(vec![Some(5), None, Some(-7)]);
        let columns: Vec<ArrayRef> = vec![
            ints.clone(),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            Arc::new(Date32Array::from(vec![Some(3), None, Some(-1)])),
            Arc::new(DurationMillisecondArray::from(vec![Some(3), None, Some(-1)])),
            Arc::new(Float32Array::from(vec![Some(-1.5), None, Some(2.0)])),
            Arc::new(decimals.with_precision_and_scale(10, 2).unwrap()),
            Arc::new(StringArray::from(vec![Some("größe"), None, Some("")])),
            Arc::new(StructArray::new(fields, vec![ints], None)),
        ];
        for column in columns {
            let codec = ValueCodec::new(column.data_type()).unwrap();
            let values = codec.read(&column).unwrap();
            let back: Vec<ArrayRef> = values.iter().map(|v| codec.column(v).unwrap()).collect();
            let back: Vec<&dyn Array> = back.iter().map(AsRef::as_ref).collect();
            assert_eq!(&concat(&back).unwrap(), &column);
        }
    }

    #[test]
    fn null_has_no_place_in_the_order() {
        assert_eq!(Value::Integer(1).compare(&Value::Integer(2)), Some(Ordering::Less));
        assert_eq!(Value::Null.compare(&Value::Null), None);
    }
}
