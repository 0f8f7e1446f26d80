//! `GROUP BY` without a window: one updating row for each key.

use crate::aggregate::AggregateCall;

/// What to group and to aggregate. Output columns: the keys, then the aggregates.
#[derive(Clone, Debug)]
pub struct GroupAggregateSpec {
    /// Key columns of the input; none for a global aggregate.
    pub keys: Vec<usize>,
    /// The aggregates; none for `SELECT DISTINCT`.
    pub aggregates: Vec<AggregateCall>,
    /// Whether rows may be retracted; an append-only input keeps less.
    pub updating: bool,
    /// Whether a reader needs the old rows back (`-old` beside `+new`); a blackhole or upsert
    /// sink right behind does not.
    pub emit_retractions: bool,
    /// Column of arrival order, if an aggregate needs one (`FIRST_VALUE`, `LISTAGG` …).
    pub arrival: Option<usize>,
    /// Keys idle for this long are forgotten; none keeps them for ever.
    pub ttl_ms: Option<i64>,
}
