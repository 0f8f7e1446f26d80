//! [`Gather`]: output columns from rows that are held as bytes and rows of the epoch at hand.
//!
//! A join names its output row by row, but builds it column by column: rows of the current epoch
//! are still there as columns and are copied from them; only rows from before are decoded, each
//! once however often it is named.

use crate::row_codec::RowCodec;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

const HELD: usize = 0;
const EPOCH: usize = 1;
const NULL: usize = 2;

/// Names rows, in the order of the output.
#[derive(Debug, Default)]
pub(crate) struct Gather<'a> {
    held: Vec<&'a [u8]>,
    places: Vec<(usize, usize)>,
    used: [bool; 3],
}

impl<'a> Gather<'a> {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Gather { places: Vec::with_capacity(rows), ..Gather::default() }
    }

    /// A row of NULLs.
    pub(crate) fn null(&mut self) {
        self.place(NULL, 0);
    }

    /// A row of the epoch's input.
    pub(crate) fn epoch(&mut self, row: u32) {
        self.place(EPOCH, row as usize);
    }

    /// A row by its bytes; gives a number by which to name it [again](Self::again).
    pub(crate) fn held(&mut self, bytes: &'a [u8]) -> u32 {
        self.held.push(bytes);
        let number = self.held.len() - 1;
        self.place(HELD, number);
        number as u32
    }

    /// A row that was named before.
    pub(crate) fn again(&mut self, number: u32) {
        self.place(HELD, number as usize);
    }

    fn place(&mut self, source: usize, row: usize) {
        self.used[source] = true;
        self.places.push((source, row));
    }

    /// The columns of all rows named.
    pub(crate) fn columns(
        self,
        codec: &'a RowCodec,
        schema: &Schema,
        epoch: Option<&RecordBatch>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let epoch = epoch.map_or(&[][..], |rows| rows.columns());
        match self.used {
            [true, false, false] if self.held.len() == self.places.len() => codec.decode(self.held),
            [true, true, _] => {
                let decoded = codec.decode(self.held)?;
                let sources = decoded.iter().zip(epoch).zip(schema.fields());
                let mixed = |((held, epoch), field): (
                    (&ArrayRef, &ArrayRef),
                    &arrow::datatypes::FieldRef,
                )| {
                    let null = new_null_array(field.data_type(), 1);
                    interleave(&[held.as_ref(), epoch.as_ref(), null.as_ref()], &self.places)
                };
                sources.map(mixed).collect()
            }
            [true, false, _] => Self::pick(&codec.decode(self.held)?, &self.places),
            [false, true, _] => Self::pick(epoch, &self.places),
            [false, false, _] => {
                let rows = self.places.len();
                Ok(schema.fields().iter().map(|f| new_null_array(f.data_type(), rows)).collect())
            }
        }
    }

    /// Rows of one source, and NULLs.
    fn pick(columns: &[ArrayRef], places: &[(usize, usize)]) -> Result<Vec<ArrayRef>, ArrowError> {
        let indices: UInt32Array =
            places.iter().map(|&(from, row)| (from != NULL).then_some(row as u32)).collect();
        columns.iter().map(|column| take(column.as_ref(), &indices, None)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field};
    use std::sync::Arc;

    #[test]
    fn rows_of_all_sources_come_in_the_order_named() {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let codec = RowCodec::of_schema(&schema).unwrap();
        let numbers = |n: [i64; 2]| -> ArrayRef { Arc::new(Int64Array::from(n.to_vec())) };
        let bytes = codec.encode(&[numbers([1, 2])]).unwrap();
        let epoch = RecordBatch::try_new(Arc::new(schema.clone()), vec![numbers([3, 4])]).unwrap();
        let mut gather = Gather::with_capacity(5);
        gather.epoch(1);
        let two = gather.held(bytes.get(1));
        gather.null();
        gather.again(two);
        let columns = gather.columns(&codec, &schema, Some(&epoch)).unwrap();
        let expected = Int64Array::from(vec![Some(4), Some(2), None, Some(2)]);
        assert_eq!(columns[0].as_ref(), &expected as &dyn arrow::array::Array);
    }
}
