//! Rows that wait for their turn in the order of time, as those of `OVER` and of patterns do: what
//! happens when they come.
//!
//! The invariant: a row that is let in has a time behind the watermark's, so that its turn is still
//! to come; one that has missed it is late, and said to be.

use crate::batch::Batch;
use crate::key_index::KeyIndex;
use crate::operator::{LateRows, OperatorError, Output};
use crate::time::Watermark;
use crate::window::times;
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};

/// The rows of an epoch whose turn is still to come, by the column `time`; the others are late.
///
/// # Errors
/// If a row is deleted: `step`, for people, takes rows of an input that only grows.
pub(crate) fn admit(
    step: &str,
    schema: &SchemaRef,
    batches: &[Batch],
    time: usize,
    watermark: Watermark,
    output: &mut Output,
) -> Result<Batch, OperatorError> {
    let rows = Batch::concat(schema, batches)?;
    if rows.weights().is_some_and(|weights| weights.iter().any(|&w| w < 0)) {
        let problem = format!("{step} was sent a deletion, but its input must only grow");
        return Err(OperatorError::Data(problem));
    }
    let row_times = times(rows.columns(), time)?;
    let is_late = |&time: &i64| watermark != Watermark::MIN && time <= watermark.0;
    if !row_times.iter().any(is_late) {
        return Ok(rows);
    }
    let split = |late: bool| -> BooleanArray {
        row_times.iter().map(|time| Some(is_late(time) == late)).collect()
    };
    output.late.push(LateRows { rows: rows.filter(&split(true))?, watermark });
    Ok(rows.filter(&split(false))?)
}

/// The order of arrival, if there is a column for it.
pub(crate) fn arrivals(
    rows: &RecordBatch,
    column: Option<usize>,
) -> Result<Option<Int64Array>, OperatorError> {
    let Some(column) = column else { return Ok(None) };
    let arrivals = cast(rows.column(column), &DataType::Int64)?;
    Ok(Some(arrivals.as_primitive::<Int64Type>().clone()))
}

/// The slot of each row's key, a new partition standing ready in each that is new.
pub(crate) fn assign<P: Default>(
    index: &mut KeyIndex,
    partitions: &mut Vec<P>,
    rows: &RecordBatch,
    keys: &[usize],
) -> Result<Vec<u32>, OperatorError> {
    let columns: Vec<ArrayRef> = keys.iter().map(|&key| rows.column(key).clone()).collect();
    let mut slots = Vec::new();
    index.assign(&columns, rows.num_rows(), None, &mut slots, |slot, _| {
        match partitions.get_mut(slot as usize) {
            Some(partition) => *partition = P::default(),
            None => partitions.push(P::default()),
        }
    })?;
    Ok(slots)
}
