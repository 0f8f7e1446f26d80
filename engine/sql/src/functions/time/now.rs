//! The functions that read the epoch's clock.

use super::super::cast::cut_fraction;
use super::super::clock;
use super::super::values::Call;
use super::local::{Local, column_of};
use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono_tz::Tz;
use datafusion::common::Result;

fn utc() -> Local {
    Local::from_units(clock::now_ms(), TimeUnit::Millisecond)
}

pub(super) fn instant(call: &Call<'_>) -> Result<ArrayRef> {
    column_of(call.gives, Tz::UTC, std::iter::repeat_n(Some(utc()), call.rows))
}

/// The date, the time, or both, on the session's wall clock. A TIME has no fraction.
pub(super) fn wall_clock(call: &Call<'_>) -> Result<ArrayRef> {
    let now = utc().in_zone(call.zone);
    let now = match call.gives {
        DataType::Time32(_) => cut_fraction(now, Some(0)),
        _ => now,
    };
    column_of(call.gives, call.zone, std::iter::repeat_n(Some(now), call.rows))
}

pub(super) fn unix_seconds(call: &Call<'_>) -> Result<ArrayRef> {
    let now = utc().seconds();
    Ok(call.collect::<Int64Type>(|_| Some(now)))
}

/// Always NULL, as where Flink has seen no watermark yet: an expression can't see watermarks.
pub(super) fn current_watermark(call: &Call<'_>) -> Result<ArrayRef> {
    Ok(new_null_array(call.gives, call.rows))
}
