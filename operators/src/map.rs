//! The fused stateless operator: unfold into windows, filter, project; in that order.

use crate::expression::Expression;
use crate::window::{WindowKind, Zone};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// A stateless stretch of a plan.
#[derive(Clone, Debug)]
pub struct MapSpec {
    /// Repeats each row for each window it falls into, appending `window_start`, `window_end`
    /// and `window_time` (see [`crate::window_aggregate::WindowAggregateSpec`]).
    pub windows: Option<WindowUnfold>,
    /// Keeps the rows for which this is true, over the input's (and window's) columns.
    pub predicate: Option<Arc<dyn Expression>>,
    /// The output columns, over the same; `None` passes all of them.
    pub projection: Option<Vec<Arc<dyn Expression>>>,
    /// Schema of the output.
    pub schema: SchemaRef,
}

/// Which windows to unfold rows into. Sessions are not stateless and can't stand here.
#[derive(Clone, Debug)]
pub struct WindowUnfold {
    /// How time is cut.
    pub window: WindowKind,
    /// Zone in which windows are aligned.
    pub zone: Zone,
    /// The time column, `Timestamp(ms)`.
    pub time: usize,
}
