//! [`Batch`]: Arrow columns with optional weights, the one currency of the dataflow.
//!
//! A batch is a slice of a Z-set. Weight `+1` inserts a row, `-1` deletes one; an update is a
//! deletion and an insertion. No weights at all means that every row is an insertion, which is
//! what append-only streams carry and what lets operators skip the question.

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::compute;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use std::iter::repeat_n;
use std::sync::Arc;

/// Rows in columns, and how often each of them counts.
#[derive(Clone, Debug)]
pub struct Batch {
    columns: RecordBatch,
    weights: Option<ScalarBuffer<i64>>,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { columns: RecordBatch::new_empty(Arc::new(Schema::empty())), weights: None }
    }
}

impl From<RecordBatch> for Batch {
    fn from(columns: RecordBatch) -> Self {
        Batch { columns, weights: None }
    }
}

impl Batch {
    /// An append-only batch: every row has weight one.
    pub fn append_only(columns: RecordBatch) -> Self {
        columns.into()
    }

    /// A batch whose rows carry the given weights; `None` means all `+1`.
    ///
    /// # Panics
    /// If there is not exactly one weight for each row.
    pub fn new(columns: RecordBatch, weights: Option<ScalarBuffer<i64>>) -> Self {
        if let Some(weights) = &weights {
            assert_eq!(columns.num_rows(), weights.len(), "one weight for each row");
        }
        Batch { columns, weights }
    }

    /// What an operator that counts rows says of them. Where all are insertions, a row that counts
    /// more than once is repeated: of inputs that only grow it gives plain rows, without weights.
    pub fn of_changes(columns: RecordBatch, weights: Vec<i64>) -> Result<Batch, ArrowError> {
        if weights.iter().all(|&weight| weight == 1) {
            return Ok(columns.into());
        }
        if weights.iter().any(|&weight| weight <= 0) {
            return Ok(Batch::new(columns, Some(weights.into())));
        }
        let repeated = (0u32..).zip(weights).flat_map(|(row, n)| repeat_n(row, n as usize));
        let repeated: UInt32Array = repeated.collect::<Vec<_>>().into();
        Ok(compute::take_record_batch(&columns, &repeated)?.into())
    }

    /// Number of rows, not their sum of weights.
    pub fn len(&self) -> usize {
        self.columns.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns.
    pub fn columns(&self) -> &RecordBatch {
        &self.columns
    }

    /// The column at `index`.
    pub fn column(&self, index: usize) -> &ArrayRef {
        self.columns.column(index)
    }

    /// The schema of the columns.
    pub fn schema(&self) -> SchemaRef {
        self.columns.schema()
    }

    /// The weights, or `None` if every row counts `+1`.
    pub fn weights(&self) -> Option<&[i64]> {
        self.weights.as_deref()
    }

    /// The weights as a shared buffer.
    pub fn weights_buffer(&self) -> Option<&ScalarBuffer<i64>> {
        self.weights.as_ref()
    }

    /// The weight of one row.
    pub fn weight(&self, row: usize) -> i64 {
        self.weights.as_ref().map_or(1, |w| w[row])
    }

    /// Columns and weights, apart.
    pub fn into_parts(self) -> (RecordBatch, Option<ScalarBuffer<i64>>) {
        (self.columns, self.weights)
    }

    /// Other columns under the same weights.
    pub fn with_columns(&self, columns: RecordBatch) -> Batch {
        Batch::new(columns, self.weights.clone())
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &UInt32Array) -> Result<Batch, ArrowError> {
        let columns = compute::take_record_batch(&self.columns, indices)?;
        let weights = self
            .weights
            .as_ref()
            .map(|w| indices.values().iter().map(|&i| w[i as usize]).collect());
        Ok(Batch { columns, weights })
    }

    /// The rows for which `keep` is true (NULL drops, as in SQL).
    pub fn filter(&self, keep: &BooleanArray) -> Result<Batch, ArrowError> {
        let columns = compute::filter_record_batch(&self.columns, keep)?;
        let weights = match &self.weights {
            None => None,
            Some(w) => {
                let w = compute::filter(&Int64Array::new(w.clone(), None), keep)?;
                let w = w.as_any().downcast_ref::<Int64Array>().expect("filter keeps the type");
                Some(w.values().clone())
            }
        };
        Ok(Batch { columns, weights })
    }

    /// A zero-copy slice of rows.
    pub fn slice(&self, offset: usize, length: usize) -> Batch {
        Batch {
            columns: self.columns.slice(offset, length),
            weights: self.weights.as_ref().map(|w| w.slice(offset, length)),
        }
    }

    /// The columns at `indices`, under the same weights.
    pub fn project(&self, indices: &[usize]) -> Result<Batch, ArrowError> {
        Ok(Batch { columns: self.columns.project(indices)?, weights: self.weights.clone() })
    }

    /// All rows of `batches` in one batch, in order. Weights appear if any part has them.
    pub fn concat(schema: &SchemaRef, batches: &[Batch]) -> Result<Batch, ArrowError> {
        if let [one] = batches {
            return Ok(one.clone());
        }
        let columns = compute::concat_batches(schema, batches.iter().map(|b| &b.columns))?;
        let weights = batches.iter().any(|b| b.weights.is_some()).then(|| {
            let mut all = Vec::with_capacity(columns.num_rows());
            for batch in batches {
                match &batch.weights {
                    Some(w) => all.extend_from_slice(w),
                    None => all.resize(all.len() + batch.len(), 1),
                }
            }
            all.into()
        });
        Ok(Batch { columns, weights })
    }

    /// Bytes held by the columns and weights, for backpressure and memory accounting.
    pub fn bytes(&self) -> usize {
        let weights = self.weights.as_ref().map_or(0, |w| w.len() * size_of::<i64>());
        self.columns.columns().iter().map(|c| c.get_array_memory_size()).sum::<usize>() + weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Int64Type};

    fn numbers(values: &[i64], weights: Option<Vec<i64>>) -> Batch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        Batch::new(RecordBatch::try_new(schema, vec![column]).unwrap(), weights.map(Into::into))
    }

    #[test]
    fn concat_of_weighted_and_plain_rows_gives_the_plain_ones_weight_one() {
        let (a, b) = (numbers(&[1, 2], None), numbers(&[3], Some(vec![-1])));
        let all = Batch::concat(&a.schema(), &[a.clone(), b]).unwrap();
        assert_eq!(all.weights(), Some(&[1, 1, -1][..]));
        assert_eq!(all.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    }

    #[test]
    fn filter_and_take_keep_weights_with_their_rows() {
        let batch = numbers(&[1, 2, 3], Some(vec![1, -1, 2]));
        let kept = batch.filter(&BooleanArray::from(vec![Some(true), None, Some(true)])).unwrap();
        assert_eq!(kept.weights(), Some(&[1, 2][..]));
        let taken = batch.take(&UInt32Array::from(vec![2, 1])).unwrap();
        assert_eq!(taken.weights(), Some(&[2, -1][..]));
    }
}
