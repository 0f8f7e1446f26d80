//! Aggregates over groups: our own vectorised trait.
//!
//! A pane, a window or a changelog needs of an aggregate what a batch engine's accumulators do
//! not offer: reading a group without resetting it, taking rows back, dropping single groups and
//! a state layout that a later version can still read. Hence [`Aggregate`].

use crate::operator::OperatorError;
use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;

/// Which aggregate, as SQL names it; types are decided by the planner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// `COUNT(*)`: rows. Never NULL.
    CountRows,
    /// `COUNT(x)`: rows whose argument is not NULL. Never NULL.
    Count,
    /// `SUM(x)`: wraps in its output type for integers; NULL over no values. Decimals beyond 38
    /// digits give NULL.
    Sum,
    /// `AVG(x)`: cut towards zero for integers; NULL over no values.
    Avg,
    /// `MIN(x)`, of any ordered type.
    Min,
    /// `MAX(x)`, of any ordered type.
    Max,
    /// `FIRST_VALUE(x)`: the earliest arrival that is not NULL.
    First,
    /// `LAST_VALUE(x)`: the latest arrival that is not NULL.
    Last,
    /// `LISTAGG(x, separator)`: NULLs skipped, in order of arrival.
    ListAgg {
        /// What stands between two values.
        separator: String,
    },
    /// `ARRAY_AGG(x)`: keeps NULLs, in order of arrival.
    ArrayAgg,
    /// `COLLECT(x)`: a multiset, as a map from value to count; NULLs skipped.
    Collect,
    /// `VAR_POP(x)`
    VarPop,
    /// `VAR_SAMP(x)`: NULL of a single row.
    VarSamp,
    /// `STDDEV_POP(x)`
    StddevPop,
    /// `STDDEV_SAMP(x)`: NULL of a single row.
    StddevSamp,
    /// The value of a scalar sub-query: an error if there is a second row.
    SingleValue,
}

/// One aggregate of a query: `SUM(DISTINCT a) FILTER (WHERE f)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AggregateCall {
    /// Which function.
    pub function: AggregateFunction,
    /// The input column of its argument; none for `COUNT(*)`.
    pub argument: Option<usize>,
    /// A boolean input column that says which rows count.
    pub filter: Option<usize>,
    /// Whether equal values of the argument count once.
    pub distinct: bool,
    /// Type of the argument (`Null` if there is none).
    pub input_type: DataType,
    /// Type of the result, as the planner decided.
    pub output_type: DataType,
    /// Name of the result column.
    pub name: String,
}

/// The state of one aggregate for any number of groups, numbered from zero.
///
/// ```text
///   update(groups, values, weights)   rows in, or out again with negative weight
///   state(groups) -> columns          what the groups hold, as Arrow columns
///   merge(groups, columns)            the same columns back in: panes, exchange, restore
///   read(groups) -> column            the result, without changing anything
///   reset(groups)                     the groups become empty and may be numbered anew
/// ```
///
/// `merge(g, state(h))` must equal having applied `h`'s rows to `g` after `g`'s own.
pub trait Aggregate {
    /// Makes room for groups `0..groups`; new ones are empty.
    fn resize(&mut self, groups: usize);

    /// Applies row `i` to `groups[i]`. `values` is the argument (none for `COUNT(*)`), `weights`
    /// none means all `+1`, rows whose `filter` is not true do not count.
    fn update(
        &mut self,
        groups: &[u32],
        values: Option<&ArrayRef>,
        weights: Option<&[i64]>,
        filter: Option<&BooleanArray>,
    ) -> Result<(), OperatorError>;

    /// Merges state columns, as [`Aggregate::state`] wrote them, into `groups`.
    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError>;

    /// The types of the columns that [`Aggregate::state`] writes.
    fn state_types(&self) -> Vec<DataType>;

    /// What `groups` hold.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError>;

    /// The results of `groups`, in the call's output type.
    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError>;

    /// Empties `groups`.
    fn reset(&mut self, groups: &[u32]);

    /// Bytes held.
    fn bytes(&self) -> usize;
}
