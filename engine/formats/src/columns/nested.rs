//! Columns inside columns: [`Row`], [`List`] and [`Map`].
//!
//! A value is complete once its parent is pushed; parts that were appended before that belong to no
//! row yet and go away with the next truncation.

use super::column::{Column, Validity};
use arrow::array::{ArrayRef, ListArray, MapArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef, Fields};
use std::sync::Arc;

/// A `ROW`: one column for each of its fields.
pub(crate) struct Row {
    fields: Fields,
    columns: Vec<Column>,
    validity: Validity,
    /// So many NULL rows at the end are not in the columns yet: where most rows are NULL, as in a
    /// stream of several kinds of records, that is one step for a whole run of them.
    behind: usize,
}

impl Row {
    pub(super) fn new(fields: &Fields) -> Result<Self, DataType> {
        let columns = fields.iter().map(|field| Column::new(field.data_type()));
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(Row { fields: fields.clone(), columns, validity: Validity::new(), behind: 0 })
    }

    /// Number of complete rows.
    pub(crate) fn len(&self) -> usize {
        self.validity.len()
    }

    /// The columns, to which the fields of the next row are to be appended.
    pub(crate) fn open(&mut self) -> &mut [Column] {
        if self.behind > 0 {
            // Fields that are never NULL are NULL here: Arrow allows it where the row hides it.
            self.columns.iter_mut().for_each(|column| column.push_nulls(self.behind));
            self.behind = 0;
        }
        &mut self.columns
    }

    /// Completes a row whose fields have been appended.
    pub(crate) fn push(&mut self) {
        self.validity.push_valid();
    }

    /// Appends a NULL row; those of the one that is open must have been taken back.
    pub(crate) fn push_nulls(&mut self, count: usize) {
        self.validity.push_nulls(count);
        self.behind += count;
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        let in_columns = (self.len() - self.behind).min(rows);
        self.columns.iter_mut().for_each(|column| column.truncate(in_columns));
        self.behind = self.len().min(rows) - in_columns;
        self.validity.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let rows = self.len();
        self.open();
        let columns = self.columns.iter_mut().zip(&self.fields);
        let columns = columns.map(|(column, field)| column.finish(field.data_type())).collect();
        let validity = self.validity.finish();
        let fields = self.fields.clone();
        let array = StructArray::try_new_with_length(fields, columns, validity, rows);
        Arc::new(array.expect("fields are appended together and checked for NULL"))
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
    pub(super) fn new(field: &FieldRef) -> Result<Self, DataType> {
        let items = Box::new(Column::new(field.data_type())?);
        Ok(List { field: field.clone(), items, ends: vec![], validity: Validity::new() })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Completes an array whose items have been appended.
    pub(crate) fn push(&mut self) {
        self.ends.push(offset(self.items.len()));
        self.validity.push_valid();
    }

    pub(super) fn push_nulls(&mut self, count: usize) {
        self.ends.resize(self.ends.len() + count, offset(self.items.len()));
        self.validity.push_nulls(count);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.items.truncate(last_end(&self.ends));
        self.validity.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let items = self.items.finish(self.field.data_type());
        let offsets = take_offsets(&mut self.ends);
        let array = ListArray::try_new(self.field.clone(), offsets, items, self.validity.finish());
        Arc::new(array.expect("items are checked for NULL"))
    }
}

/// A `MAP`. Entries stand in the order of appearance.
pub(crate) struct Map {
    entries: FieldRef,
    sorted: bool,
    key_field: FieldRef,
    pub(crate) value_field: FieldRef,
    pub(crate) keys: Box<Column>,
    pub(crate) values: Box<Column>,
    ends: Vec<i32>,
    validity: Validity,
}

impl Map {
    pub(super) fn new(entries: &FieldRef, sorted: bool) -> Result<Self, DataType> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(entries.data_type().clone());
        };
        let [key, value] = fields.as_ref() else {
            return Err(entries.data_type().clone());
        };
        Ok(Map {
            entries: entries.clone(),
            sorted,
            key_field: key.clone(),
            value_field: value.clone(),
            keys: Box::new(Column::new(key.data_type())?),
            values: Box::new(Column::new(value.data_type())?),
            ends: vec![],
            validity: Validity::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Completes a map whose entries have been appended.
    pub(crate) fn push(&mut self) {
        self.ends.push(offset(self.keys.len()));
        self.validity.push_valid();
    }

    pub(super) fn push_nulls(&mut self, count: usize) {
        self.ends.resize(self.ends.len() + count, offset(self.keys.len()));
        self.validity.push_nulls(count);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows);
        self.keys.truncate(last_end(&self.ends));
        self.values.truncate(last_end(&self.ends));
        self.validity.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
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

/// A length as Arrow counts it. [`Columns`](super::Columns) keeps batches below the bound.
pub(super) fn offset(length: usize) -> i32 {
    i32::try_from(length).expect("a batch holds fewer than 2^31 items")
}

/// Where the last value ends.
pub(super) fn last_end(ends: &[i32]) -> usize {
    ends.last().map_or(0, |&end| end as usize)
}

/// Ends with the 0 before them, as Arrow wants them; the ends start anew.
pub(super) fn take_offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.append(ends);
    OffsetBuffer::new(offsets.into())
}
