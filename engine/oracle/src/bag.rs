//! From changes to the bag of rows they add up to.

use crate::error::OracleError;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use std::collections::HashMap;
use tidemill_operators::Batch;

/// Rows of columns in a form that is equal and hashes equal where the values are.
pub(crate) fn row_keys(columns: &[ArrayRef], rows: usize) -> Result<Vec<Vec<u8>>, OracleError> {
    if columns.is_empty() {
        return Ok(vec![Vec::new(); rows]);
    }
    let encoded = encode(columns)?;
    Ok(encoded.iter().map(|row| row.data().to_vec()).collect())
}

fn encode(columns: &[ArrayRef]) -> Result<Rows, OracleError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    Ok(RowConverter::new(fields)?.convert_columns(columns)?)
}

/// The rows that are left when all of `changes` have been applied, each as often as it counts.
/// Two rows are the same if they agree in the first `compared` columns.
///
/// # Errors
/// If a row was taken back more often than it was given.
pub(crate) fn consolidate(
    schema: &SchemaRef,
    changes: &[Batch],
    compared: usize,
) -> Result<RecordBatch, OracleError> {
    let all = Batch::concat(schema, changes)?;
    let Some(weights) = all.weights().map(<[i64]>::to_vec) else {
        return Ok(all.into_parts().0);
    };
    let (rows, _) = all.into_parts();
    let keys = row_keys(&rows.columns()[..compared], rows.num_rows())?;
    let mut counts: HashMap<&[u8], i64> = HashMap::new();
    for (key, weight) in keys.iter().zip(&weights) {
        *counts.entry(key).or_default() += weight;
    }
    if let Some(row) = keys.iter().position(|key| counts[key.as_slice()] < 0) {
        let row = crate::compare::show(&rows, row);
        return Err(OracleError::Inconsistent(format!("{row} was taken back once too often")));
    }
    // Where a row came and went, the last of its arrivals stand.
    let mut kept = Vec::new();
    for row in (0..rows.num_rows()).rev().filter(|&row| weights[row] > 0) {
        let left = counts.get_mut(keys[row].as_slice()).expect("counted above");
        let times = weights[row].min(*left);
        *left -= times;
        kept.extend((0..times).map(|_| row as u32));
    }
    kept.reverse();
    Ok(take_record_batch(&rows, &UInt32Array::from(kept))?)
}

/// The last row of each key, unless it was a deletion.
pub(crate) fn latest_by_key(
    schema: &SchemaRef,
    changes: &[Batch],
    keys: &[usize],
) -> Result<RecordBatch, OracleError> {
    let all = Batch::concat(schema, changes)?;
    let key_columns = all.columns().project(keys)?;
    let mut latest: HashMap<Vec<u8>, u32> = HashMap::new();
    for (row, key) in row_keys(key_columns.columns(), all.len())?.into_iter().enumerate() {
        if all.weight(row) > 0 {
            latest.insert(key, row as u32);
        } else {
            latest.remove(&key);
        }
    }
    let mut rows: Vec<u32> = latest.into_values().collect();
    rows.sort_unstable();
    Ok(take_record_batch(all.columns(), &UInt32Array::from(rows))?)
}
