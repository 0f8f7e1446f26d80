//! Aggregates per window and key, by panes.

use crate::aggregate::AggregateCall;
use crate::window::{WindowKind, Zone};

/// What to window, to group and to aggregate.
///
/// Output columns: the keys, the aggregates, `window_start`, `window_end`
/// (`Timestamp(ms)` without zone: wall clock), `window_time` (the last millisecond of the window,
/// in the type of the time column: an instant for `TIMESTAMP_LTZ`).
#[derive(Clone, Debug)]
pub struct WindowAggregateSpec {
    /// How time is cut.
    pub window: WindowKind,
    /// Zone in which windows are aligned.
    pub zone: Zone,
    /// The time column: `Timestamp(ms)`. Not read by [`WindowKind::Attached`].
    pub time: usize,
    /// Key columns of the input, without the window's bounds.
    pub keys: Vec<usize>,
    /// The aggregates; none if only the groups are asked for.
    pub aggregates: Vec<AggregateCall>,
    /// Whether rows may be retracted.
    pub updating: bool,
    /// Column of arrival order, if an aggregate needs one.
    pub arrival: Option<usize>,
}
