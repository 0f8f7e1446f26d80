//! [`LookupRows`]: rows and an index of them by key, made once and then only read.

use crate::key::all_valid;
use crate::key_table::KeyTable;
use crate::operator::OperatorError;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;

/// Rows by key. Workers may share them.
#[derive(Debug)]
pub struct LookupRows {
    rows: RecordBatch,
    keys: KeyTable,
    /// Where the rows of each key begin in `order`, by the key's number; and the end.
    starts: Vec<u32>,
    /// Rows, those of one key together.
    order: Vec<u32>,
    /// Rows of one key, at most.
    partners_max: usize,
}

impl LookupRows {
    /// An index of `rows` by the columns `keys`. Rows with a NULL in their key are left out: it
    /// equals nothing.
    ///
    /// # Errors
    /// If a key's type can't be compared.
    pub fn new(rows: &RecordBatch, keys: &[usize]) -> Result<Self, OperatorError> {
        let columns = |rows: &RecordBatch| -> Vec<ArrayRef> {
            keys.iter().map(|&key| rows.column(key).clone()).collect()
        };
        let rows = match all_valid(&columns(rows)) {
            Some(valid) => {
                filter_record_batch(rows, &BooleanArray::new(valid.inner().clone(), None))?
            }
            None => rows.clone(),
        };
        let columns = columns(&rows);
        let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
        let (mut table, mut numbers) = (KeyTable::new(&types)?, Vec::new());
        table.insert(&columns, rows.num_rows(), &mut numbers)?;
        let (starts, order) = sorted(&numbers, table.slots());
        let counts = starts.windows(2).map(|bounds| (bounds[1] - bounds[0]) as usize);
        let partners_max = counts.max().unwrap_or(0);
        Ok(LookupRows { rows, keys: table, starts, order, partners_max })
    }

    /// The rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// How many rows one key has, at most.
    pub(super) fn partners_max(&self) -> usize {
        self.partners_max
    }

    /// Bytes held, roughly.
    pub fn bytes(&self) -> usize {
        let index = (self.starts.len() + self.order.len()) * size_of::<u32>();
        self.rows.get_array_memory_size() + self.keys.bytes() + index
    }

    /// The pairs of `count` left rows with these keys and their right rows, in the order of the
    /// left ones.
    pub(super) fn pairs(
        &self,
        keys: &[ArrayRef],
        count: usize,
    ) -> Result<(UInt32Array, UInt32Array), OperatorError> {
        let valid = all_valid(keys);
        let found = self.keys.find(None, keys, count)?;
        let (mut lefts, mut rights) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (left, key) in found.into_iter().enumerate() {
            let Some(key) = key.filter(|_| valid.as_ref().is_none_or(|v| v.is_valid(left))) else {
                continue;
            };
            let [start, end] = [key, key + 1].map(|at| self.starts[at as usize] as usize);
            for &right in &self.order[start..end] {
                lefts.push(left as u32);
                rights.push(right);
            }
        }
        Ok((UInt32Array::from(lefts), UInt32Array::from(rights)))
    }
}

/// The rows of each number one behind the other, and where each number's begin.
fn sorted(numbers: &[u32], count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0; count + 1];
    numbers.iter().for_each(|&number| starts[number as usize + 1] += 1);
    for number in 0..count {
        starts[number + 1] += starts[number];
    }
    let (mut next, mut order) = (starts.clone(), vec![0; numbers.len()]);
    for (row, &number) in numbers.iter().enumerate() {
        order[next[number as usize] as usize] = row as u32;
        next[number as usize] += 1;
    }
    (starts, order)
}
