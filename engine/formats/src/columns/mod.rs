//! The columns of a decoder's output while they grow, with a way back.
//!
//! Arrow's own builders only grow. A decoder learns that a record is bad in its middle, and must
//! then remove what it has appended; so these are plain vectors with a [`Column::truncate`].
//! Invariant: between two records all columns of a decoder have the same length, and
//! [`Columns::finish`] never fails, for a value is checked against its type before it is appended.

mod bytes;
mod column;
mod nested;

pub(crate) use column::Column;
pub(crate) use nested::Map;

use crate::record::BadRecord;
use arrow::array::{Array, new_empty_array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use tidemill_operators::Batch;

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
    use arrow::datatypes::{DataType, Field, Int64Type};
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn what_is_truncated_leaves_no_trace_in_nested_columns() {
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let row = DataType::Struct(vec![Field::new("a", DataType::List(item), true)].into());
        let mut column = Column::new(&row).unwrap();
        for text in ["one", "two"] {
            let Column::Row(row) = &mut column else { panic!() };
            let Column::List(list) = &mut row.open()[0] else { panic!() };
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

    /// What is done to a column of rows, each with one field.
    #[derive(Clone, Debug)]
    enum Step {
        /// A row whose field has this value.
        Row(Option<i64>),
        Nulls(usize),
        /// A row whose field is there, but which is not completed.
        Unfinished,
        /// So many rows are taken back.
        Truncate(usize),
        Finish,
    }

    proptest! {
        #![proptest_config(crate::testing::budget(256))]

        #[test]
        fn runs_of_nulls_are_where_they_were_pushed(steps in proptest::collection::vec(
            prop_oneof![
                4 => any::<Option<i64>>().prop_map(Step::Row),
                4 => (1usize..4).prop_map(Step::Nulls),
                1 => Just(Step::Unfinished),
                2 => (0usize..4).prop_map(Step::Truncate),
                1 => Just(Step::Finish),
            ],
            0..40,
        )) {
            let data_type =
                DataType::Struct(vec![Field::new("x", DataType::Int64, true)].into());
            let mut column = Column::new(&data_type).unwrap();
            let mut expected: Vec<Option<Option<i64>>> = vec![];
            for step in steps.into_iter().chain([Step::Finish]) {
                let Column::Row(row) = &mut column else { panic!() };
                match step {
                    Step::Row(value) => {
                        push(&mut row.open()[0], value);
                        row.push();
                        expected.push(Some(value));
                    }
                    Step::Nulls(count) => {
                        row.push_nulls(count);
                        expected.resize(expected.len() + count, None);
                    }
                    Step::Unfinished => {
                        push(&mut row.open()[0], Some(7));
                        column.truncate(column.len());
                    }
                    Step::Truncate(count) => {
                        expected.truncate(expected.len().saturating_sub(count));
                        column.truncate(expected.len());
                    }
                    Step::Finish => {
                        let array = column.finish(&data_type);
                        let values = array.as_struct().column(0).as_primitive::<Int64Type>();
                        let value = |row| values.is_valid(row).then(|| values.value(row));
                        let found = (0..array.len()).map(|r| array.is_valid(r).then(|| value(r)));
                        prop_assert_eq!(found.collect::<Vec<_>>(), std::mem::take(&mut expected));
                    }
                }
                prop_assert_eq!(column.len(), expected.len());
            }
        }
    }

    fn push(column: &mut Column, value: Option<i64>) {
        match (column, value) {
            (Column::Int64(values), Some(value)) => values.push(value),
            (column, _) => column.push_null(),
        }
    }
}
