//! Sessions: the rows of a key in the order of time, cut where they are silent for too long.

use crate::bag::row_keys;
use crate::error::OracleError;
use arrow::array::{ArrayRef, RecordBatch, TimestampMillisecondArray};
use std::sync::Arc;
use tidemill_operators::window::{Zone, times, zone};

/// The start and the end of each row's session.
pub(crate) fn bounds(
    gap_ms: i64,
    time: usize,
    zone: Zone,
    keys: &[usize],
    rows: &RecordBatch,
) -> Result<(ArrayRef, ArrayRef), OracleError> {
    let times = zone::to_local(&times(rows, time)?, zone);
    let keys = row_keys(rows.project(keys)?.columns(), rows.num_rows())?;
    let mut order: Vec<usize> = (0..rows.num_rows()).collect();
    order.sort_by(|&a, &b| (&keys[a], times[a]).cmp(&(&keys[b], times[b])));
    let (mut starts, mut ends) = (vec![0; order.len()], vec![0; order.len()]);
    // Rows exactly a gap apart share a session.
    let goes_on = |a: &usize, b: &usize| keys[*a] == keys[*b] && times[*b] - times[*a] <= gap_ms;
    for session in order.chunk_by(goes_on) {
        let (first, last) = (session[0], session[session.len() - 1]);
        for &row in session {
            starts[row] = times[first];
            ends[row] = times[last] + gap_ms;
        }
    }
    Ok((
        Arc::new(TimestampMillisecondArray::from(starts)),
        Arc::new(TimestampMillisecondArray::from(ends)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::TimestampMillisecondType;

    #[test]
    fn a_silence_longer_than_the_gap_ends_a_session_of_its_key() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", Arc::new(Int64Array::from(vec![1, 2, 1, 1, 1]))),
            ("ts", Arc::new(TimestampMillisecondArray::from(vec![25, 5, 0, 10, 14]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let (starts, ends) = bounds(10, 1, None, &[0], &rows).unwrap();
        let of = |a: &ArrayRef| a.as_primitive::<TimestampMillisecondType>().values().to_vec();
        assert_eq!(of(&starts), [25, 5, 0, 0, 0]);
        assert_eq!(of(&ends), [35, 15, 24, 24, 24]);
    }
}
