//! Top-N and deduplication: `ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) <= n`.

/// One term of an `ORDER BY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SortTerm {
    /// Input column.
    pub column: usize,
    /// Largest first.
    pub descending: bool,
    /// Whether NULLs come before everything else.
    pub nulls_first: bool,
}

/// Which rows to keep per partition, and how to show their rank.
///
/// Output columns: the input's, then `Int64` rank if `rank_output`.
#[derive(Clone, Debug)]
pub struct TopNSpec {
    /// Partition columns; none for one global ranking.
    pub partition: Vec<usize>,
    /// The order; ties go to the earlier arrival.
    pub order: Vec<SortTerm>,
    /// First rank kept, from 1.
    pub first: u64,
    /// Last rank kept, inclusive.
    pub last: u64,
    /// Whether the rank is a column of the output.
    pub rank_output: bool,
    /// Whether rows may be retracted: then every row is held, else only those that can still
    /// be of the first `last`.
    pub updating: bool,
    /// Whether later arrivals win ties (deduplication by row time keeping the last row).
    pub ties_to_last: bool,
    /// `window_end` column, if the ranking is per window: state is dropped and the final ranking
    /// emitted once, append-only, when the watermark closes the window.
    pub window_end: Option<usize>,
    /// Zone of the window's bounds.
    pub zone: crate::window::Zone,
    /// Column of arrival order, if known; else the order in which rows reach the operator.
    pub arrival: Option<usize>,
}
