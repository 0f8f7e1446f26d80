//! Which rows a time filter lets through in the end.
//!
//! When an input has ended its watermark is beyond all times: what begins has begun, and what ends
//! has ended. So there is nothing to compare; a row only needs to have all the times it is asked
//! for. What the processing time will have been has no batch answer.

use crate::error::OracleError;
use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{and, filter_record_batch, is_not_null};
use tidemill_operators::time_filter::{Clock, TimeFilterSpec};

pub(crate) fn at_the_end(
    spec: &TimeFilterSpec,
    rows: &RecordBatch,
) -> Result<RecordBatch, OracleError> {
    if spec.clock == Clock::ProcessingTime {
        let reason = "what is compared with the processing time has no batch answer";
        return Err(OracleError::Unsupported(reason.to_owned()));
    }
    let mut stays = BooleanArray::from(vec![!spec.takes_back(); rows.num_rows()]);
    for bound in &spec.bounds {
        let times = bound.time.evaluate(rows, 0)?;
        debug_assert_eq!(times.len(), rows.num_rows());
        stays = and(&stays, &is_not_null(&times)?)?;
    }
    Ok(filter_record_batch(rows, &stays)?)
}
