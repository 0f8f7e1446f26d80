//! [`RowCodec`]: rows as bytes and back, for state that is held row by row.
//!
//! Arrow's row format: the bytes of two rows compare as the rows do, column by column, under the
//! sort options of each. Equal bytes therefore mean equal rows (NULL equals NULL, `-0.0` is not
//! `0.0`, so rows are no keys), and a decoded row is the row that was encoded.

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, RowParser, Rows, SortField};

/// Encodes and decodes rows of one shape.
#[derive(Debug)]
pub(crate) struct RowCodec {
    converter: RowConverter,
    parser: RowParser,
    width: usize,
}

/// The rows of one [`RowCodec::encode`].
#[derive(Debug)]
pub(crate) struct RowBytes(Option<Rows>);

impl RowBytes {
    /// The bytes of one row.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> &[u8] {
        // Rows of no columns are all alike, and Arrow could not say how many there are.
        self.0.as_ref().map_or(&[], |rows| rows.row(row).data())
    }
}

impl RowCodec {
    /// A codec for columns of these types and orders.
    pub(crate) fn new(fields: Vec<SortField>) -> Result<Self, ArrowError> {
        let width = fields.len();
        let converter = RowConverter::new(fields)?;
        let parser = converter.parser();
        Ok(RowCodec { converter, parser, width })
    }

    /// A codec for whole rows.
    pub(crate) fn of_schema(schema: &Schema) -> Result<Self, ArrowError> {
        Self::new(schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect())
    }

    /// Encodes all rows of `columns`.
    pub(crate) fn encode(&self, columns: &[ArrayRef]) -> Result<RowBytes, ArrowError> {
        match self.width {
            0 => Ok(RowBytes(None)),
            _ => Ok(RowBytes(Some(self.converter.convert_columns(columns)?))),
        }
    }

    /// The columns of rows that this codec encoded.
    pub(crate) fn decode<'a>(
        &'a self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        if self.width == 0 {
            return Ok(Vec::new());
        }
        self.converter.convert_rows(rows.into_iter().map(|bytes| self.parser.parse(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};
    use std::sync::Arc;

    #[test]
    fn rows_decode_to_what_was_encoded() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]);
        let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]));
        let b: ArrayRef = Arc::new(StringArray::from(vec![None, Some(""), Some("größe")]));
        let codec = RowCodec::of_schema(&schema).unwrap();
        let rows = codec.encode(&[a.clone(), b.clone()]).unwrap();
        let back = codec.decode((0..3).map(|i| rows.get(i))).unwrap();
        assert_eq!(back, vec![a, b]);
    }
}
