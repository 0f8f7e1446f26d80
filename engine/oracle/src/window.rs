//! The windows of rows, as columns beside them.

use crate::error::OracleError;
use crate::session_window;
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::TimestampMillisecondType;
use tidemill_operators::Batch;
use tidemill_operators::map::WindowUnfold;
use tidemill_operators::window::{WindowKind, unfold};
use tidemill_operators::window_aggregate::WindowAggregateSpec;

/// Rows, each once for each of its windows, and the bounds of those.
pub(crate) struct Windowed {
    pub(crate) rows: RecordBatch,
    pub(crate) start: ArrayRef,
    pub(crate) end: ArrayRef,
}

pub(crate) fn windowed(
    spec: &WindowAggregateSpec,
    rows: &RecordBatch,
) -> Result<Windowed, OracleError> {
    match spec.window {
        WindowKind::Attached { start, end } => Ok(Windowed {
            rows: rows.clone(),
            start: rows.column(start).clone(),
            end: rows.column(end).clone(),
        }),
        WindowKind::Session { gap_ms } => {
            let (start, end) =
                session_window::bounds(gap_ms, spec.time, spec.zone, &spec.keys, rows)?;
            Ok(Windowed { rows: rows.clone(), start, end })
        }
        _ => {
            let spec =
                WindowUnfold { window: spec.window.clone(), zone: spec.zone, time: spec.time };
            let unfolded = unfold(&spec, &Batch::from(rows.clone()))?;
            let (columns, width) = (unfolded.columns(), rows.num_columns());
            Ok(Windowed {
                rows: columns.project(&(0..width).collect::<Vec<_>>())?,
                start: columns.column(width).clone(),
                end: columns.column(width + 1).clone(),
            })
        }
    }
}

/// Whether windows follow from time alone, so that one row may be in several.
pub(crate) fn has_slices(spec: &WindowAggregateSpec) -> bool {
    !matches!(spec.window, WindowKind::Attached { .. } | WindowKind::Session { .. })
}

/// The values of a column of bounds.
pub(crate) fn bounds(column: &ArrayRef) -> Vec<i64> {
    column.as_primitive::<TimestampMillisecondType>().values().to_vec()
}
