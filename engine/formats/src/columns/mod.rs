//! [`Column`]: a column under construction whose last rows can be taken back.
//!
//! Arrow's own builders only grow. A decoder learns that a record is bad in its middle, and must
//! then remove what it has appended; so these are plain vectors with a [`Column::truncate`].
//! Invariant: between two records all columns of a decoder have the same length, and
//! [`Column::finish`] never fails, for a value is checked against its type before it is appended.

mod bytes;

pub(crate) use bytes::Bytes;

use crate::record::BadRecord;
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, ListArray, MapArray,
    NullBufferBuilder, PrimitiveArray, StringArray, StructArray, new_empty_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, FieldRef, Fields,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    Time32MillisecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::sync::Arc;
use tidemill_operators::Batch;

/// Which values of a column are NULL; costs nothing while none is.
pub(crate) struct Validity(NullBufferBuilder);

impl Validity {
    fn new() -> Self {
        Validity(NullBufferBuilder::new(1024))
    }

    fn finish(&mut self) -> Option<NullBuffer> {
        self.0.finish()
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

    pub(crate) fn push(&mut self, value: T) {
        self.values.push(value);
        self.validity.0.append_non_null();
    }

    fn push_null(&mut self) {
        self.values.push(T::default());
        self.validity.0.append_null();
    }

    fn truncate(&mut self, rows: usize) {
        if rows < self.values.len() {
            self.values.truncate(rows);
            self.validity.0.truncate(rows);
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
        self.validity.0.append_non_null();
    }
}

/// A `ROW`: one column for each of its fields.
pub(crate) struct Row {
    pub(crate) fields: Fields,
    pub(crate) columns: Vec<Column>,
    validity: Validity,
}

impl Row {
    /// Number of complete rows.
    pub(crate) fn len(&self) -> usize {
        self.validity.0.len()
    }

    /// Completes a row whose fields have been appended.
    pub(crate) fn push(&mut self) {
        self.validity.0.append_non_null();
    }
}

/// An `ARRAY`.
pub(crate) struct List {
    pub(crate) field: FieldRef,
    pub(crate) items: Box<Column>,
    ends: Vec<i32>,
    validity: Validity,
}

impl List {
    /// Completes an array whose items have been appended.
    pub(crate) fn push(&mut self) {
        self.ends.push(offset(self.items.len()));
        self.validity.0.append_non_null();
    }
}

/// A `MAP`. Entries stand in the order of appearance.
pub(crate) struct Map {
    entries: FieldRef,
    sorted: bool,
    pub(crate) key_field: FieldRef,
    pub(crate) value_field: FieldRef,
    pub(crate) keys: Box<Column>,
    pub(crate) values: Box<Column>,
    ends: Vec<i32>,
    validity: Validity,
}

impl Map {
    /// Completes a map whose entries have been appended.
    pub(crate) fn push(&mut self) {
        self.ends.push(offset(self.keys.len()));
        self.validity.0.append_non_null();
    }
}

/// A column of any type that tables have.
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
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|f| Column::new(f.data_type()));
                let columns = columns.collect::<Result<_, _>>()?;
                Column::Row(Row { fields: fields.clone(), columns, validity: Validity::new() })
            }
            DataType::List(field) => Column::List(List {
                field: field.clone(),
                items: Box::new(Column::new(field.data_type())?),
                ends: vec![],
                validity: Validity::new(),
            }),
            DataType::Map(entries, sorted) => Column::map(entries, *sorted)?,
            other => return Err(other.clone()),
        })
    }

    fn map(entries: &FieldRef, sorted: bool) -> Result<Column, DataType> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(entries.data_type().clone());
        };
        let [key, value] = fields.as_ref() else {
            return Err(entries.data_type().clone());
        };
        Ok(Column::Map(Map {
            entries: entries.clone(),
            sorted,
            key_field: key.clone(),
            value_field: value.clone(),
            keys: Box::new(Column::new(key.data_type())?),
            values: Box::new(Column::new(value.data_type())?),
            ends: vec![],
            validity: Validity::new(),
        }))
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
            Column::Row(c) => c.validity.0.len(),
            Column::List(c) => c.ends.len(),
            Column::Map(c) => c.ends.len(),
        }
    }

    /// Appends NULL.
    pub(crate) fn push_null(&mut self) {
        match self {
            Column::Boolean(c) => {
                c.values.append(false);
                c.validity.0.append_null();
            }
            Column::Int8(c) => c.push_null(),
            Column::Int16(c) => c.push_null(),
            Column::Int32(c) | Column::Date(c) | Column::Time(c) => c.push_null(),
            Column::Int64(c) | Column::Timestamp { values: c, .. } => c.push_null(),
            Column::Float32(c) => c.push_null(),
            Column::Float64(c) => c.push_null(),
            Column::Decimal { values, .. } => values.push_null(),
            Column::Text(c) | Column::Binary(c) => c.push_null(),
            Column::Row(c) => {
                // Fields that are never NULL are NULL here: Arrow allows it where the row hides it.
                c.columns.iter_mut().for_each(Column::push_null);
                c.validity.0.append_null();
            }
            Column::List(c) => {
                c.ends.push(offset(c.items.len()));
                c.validity.0.append_null();
            }
            Column::Map(c) => {
                c.ends.push(offset(c.keys.len()));
                c.validity.0.append_null();
            }
        }
    }

    /// Takes back all rows from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match self {
            Column::Boolean(c) => {
                if rows < c.values.len() {
                    c.values.truncate(rows);
                    c.validity.0.truncate(rows);
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
            Column::Row(c) => {
                c.columns.iter_mut().for_each(|field| field.truncate(rows));
                c.validity.0.truncate(rows.min(c.validity.0.len()));
            }
            Column::List(c) => {
                c.ends.truncate(rows);
                c.items.truncate(last_end(&c.ends));
                c.validity.0.truncate(rows.min(c.validity.0.len()));
            }
            Column::Map(c) => {
                c.ends.truncate(rows);
                c.keys.truncate(last_end(&c.ends));
                c.values.truncate(last_end(&c.ends));
                c.validity.0.truncate(rows.min(c.validity.0.len()));
            }
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

impl Row {
    fn finish(&mut self) -> ArrayRef {
        let rows = self.validity.0.len();
        let columns = self.columns.iter_mut().zip(&self.fields);
        let columns = columns.map(|(column, field)| column.finish(field.data_type())).collect();
        let validity = self.validity.finish();
        let fields = self.fields.clone();
        let array = StructArray::try_new_with_length(fields, columns, validity, rows);
        Arc::new(array.expect("fields are appended together and checked for NULL"))
    }
}

impl List {
    fn finish(&mut self) -> ArrayRef {
        let items = self.items.finish(self.field.data_type());
        let offsets = take_offsets(&mut self.ends);
        let array = ListArray::try_new(self.field.clone(), offsets, items, self.validity.finish());
        Arc::new(array.expect("items are checked for NULL"))
    }
}

impl Map {
    fn finish(&mut self) -> ArrayRef {
        let keys = self.keys.finish(self.key_field.data_type());
        let values = self.values.finish(self.value_field.data_type());
        let fields: Fields = vec![self.key_field.clone(), self.value_field.clone()].into();
        let entries = StructArray::new(fields, vec![keys, values], None);
        let offsets = take_offsets(&mut self.ends);
        let validity = self.validity.finish();
        let array =
            MapArray::try_new(self.entries.clone(), offsets, entries, validity, self.sorted);
        Arc::new(array.expect("keys and values are checked for NULL"))
    }
}

/// A length as Arrow counts it. [`Columns`] keeps batches far below the bound.
fn offset(length: usize) -> i32 {
    i32::try_from(length).expect("a batch holds fewer than 2^31 items")
}

fn last_end(ends: &[i32]) -> usize {
    ends.last().map_or(0, |&end| end as usize)
}

fn take_offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.append(ends);
    OffsetBuffer::new(offsets.into())
}

/// Bytes of records that one batch takes at most. No format makes more bytes or items of a record
/// than it has bytes, so that offsets of 31 bits suffice.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// The columns of a decoder's output, with weights if its format has deletions.
pub(crate) struct Columns {
    schema: SchemaRef,
    pub(crate) columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    weights: Option<Vec<i64>>,
}

impl Columns {
    /// Empty columns of insertions.
    ///
    /// # Panics
    /// If the schema holds a type that no table has: it has been checked when the table was.
    pub(crate) fn new(schema: SchemaRef) -> Self {
        let column = |f: &FieldRef| Column::new(f.data_type()).expect("the table was checked");
        let columns = schema.fields().iter().map(column).collect();
        Columns { schema, columns, rows: 0, bytes: 0, weights: None }
    }

    /// The same with weights.
    pub(crate) fn with_weights(mut self) -> Self {
        self.weights = Some(vec![]);
        self
    }

    /// Number of complete rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Completes a row: whatever has not been appended is NULL.
    pub(crate) fn push_row(&mut self, weight: i64) {
        for column in &mut self.columns {
            if column.len() == self.rows {
                column.push_null();
            }
        }
        self.rows += 1;
        if let Some(weights) = &mut self.weights {
            weights.push(weight);
        }
    }

    /// Completes a row of which every column has been appended.
    pub(crate) fn push_full_row(&mut self) {
        debug_assert!(self.columns.iter().all(|c| c.len() == self.rows + 1));
        self.rows += 1;
        if let Some(weights) = &mut self.weights {
            weights.push(1);
        }
    }

    /// Takes back all rows from `rows` on, and values of an incomplete one.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        self.rows = rows;
        if let Some(weights) = &mut self.weights {
            weights.truncate(rows);
        }
    }

    /// Asks for room for a record.
    pub(crate) fn admit(&mut self, record: &[u8]) -> Result<(), BadRecord> {
        self.bytes += record.len();
        if self.bytes <= BATCH_BYTES_MAX {
            return Ok(());
        }
        self.bytes -= record.len();
        let reason = format!(
            "the record of {} bytes does not fit into a batch of at most {BATCH_BYTES_MAX}",
            record.len()
        );
        Err(BadRecord { reason })
    }

    /// Hands over the rows.
    pub(crate) fn finish(&mut self) -> Batch {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let columns = self.columns.iter_mut().zip(self.schema.fields());
        let columns = columns.map(|(c, f)| match rows {
            0 => new_empty_array(f.data_type()),
            _ => c.finish(f.data_type()),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch =
            RecordBatch::try_new_with_options(self.schema.clone(), columns.collect(), &options);
        let batch = batch.expect("columns are as long as there are rows, of the schema's types");
        debug_assert!(batch.columns().iter().all(|c| c.len() == rows));
        let weights = self.weights.as_mut().map(std::mem::take);
        Batch::new(batch, weights.map(ScalarBuffer::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::Field;

    #[test]
    fn what_is_truncated_leaves_no_trace_in_nested_columns() {
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let row = DataType::Struct(vec![Field::new("a", DataType::List(item), true)].into());
        let mut column = Column::new(&row).unwrap();
        for text in ["one", "two"] {
            let Column::Row(row) = &mut column else { panic!() };
            let Column::List(list) = &mut row.columns[0] else { panic!() };
            let Column::Text(items) = list.items.as_mut() else { panic!() };
            items.push(text.as_bytes());
            list.push();
            row.push();
        }
        column.push_null();
        column.truncate(1);
        column.push_null();
        let array = column.finish(&row);
        assert_eq!(array.len(), 2);
        assert!(array.is_valid(0) && array.is_null(1));
        let list = array.as_struct().column(0).as_list::<i32>().value(0);
        assert_eq!(list.as_string::<i32>().value(0), "one");
        assert_eq!(list.len(), 1);
    }
}
