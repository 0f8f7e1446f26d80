//! Aggregates over groups: our own vectorised trait.
//!
//! A pane, a window or a changelog needs of an aggregate what a batch engine's accumulators do
//! not offer: reading a group without resetting it, taking rows back, dropping single groups and
//! a state layout that a later version can still read. Hence [`Aggregate`].

mod approximate;
mod codec;
mod collect;
mod count;
mod distinct;
mod extreme;
mod moments;
mod ordered;
mod position;
mod total;

use crate::operator::OperatorError;
use crate::snapshot::SnapshotScope;
use crate::time::Epoch;
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use codec::with_codec;
pub(crate) use distinct::Distinct;
pub(crate) use total::rescale_decimal;

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
    /// `APPROX_COUNT_DISTINCT(x)`: about how many distinct values, of rows that are never taken back.
    /// Never NULL.
    ApproxCountDistinct,
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

impl AggregateCall {
    /// Whether what it holds of a group are a few numbers, in whatever order the rows came: then it
    /// may be computed in parts, each of some of the rows, and little is told of a part.
    pub fn is_of_parts(&self, retraction: Retraction) -> bool {
        use AggregateFunction::*;
        match self.function {
            CountRows | Count | Sum | Avg | VarPop | VarSamp | StddevPop | StddevSamp => {
                !self.distinct
            }
            // Which value is next best only all of them say.
            Min | Max => retraction == Retraction::Never,
            First
            | Last
            | ListAgg { .. }
            | ArrayAgg
            | Collect
            | ApproxCountDistinct
            | SingleValue => false,
        }
    }
}

impl AggregateFunction {
    /// Whether rows can be taken back from it.
    pub fn takes_back(&self) -> bool {
        *self != AggregateFunction::ApproxCountDistinct
    }

    /// Whether the result depends on the order in which rows came.
    pub fn needs_order(&self) -> bool {
        use AggregateFunction::*;
        matches!(self, First | Last | ListAgg { .. } | ArrayAgg)
    }
}

/// Whether rows may be taken back. An aggregate that never has to keeps less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retraction {
    /// All weights are positive.
    Never,
    /// Weights may be negative.
    Possible,
}

impl Retraction {
    /// The value for a stream that is updating, or not.
    pub fn of(updating: bool) -> Self {
        if updating { Retraction::Possible } else { Retraction::Never }
    }
}

/// Rows on their way into an [`Aggregate`]: row `i` belongs to `groups[i]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The group of each row.
    pub groups: &'a [u32],
    /// The argument; none for `COUNT(*)`.
    pub values: Option<&'a ArrayRef>,
    /// How often each row counts; none means once.
    pub weights: Option<&'a [i64]>,
    /// Rows for which this is not true do not count.
    pub filter: Option<&'a BooleanArray>,
    /// The epoch in which the rows came.
    pub epoch: Epoch,
    /// Order of arrival within the epoch; none means as they stand here.
    pub arrival: Option<&'a Int64Array>,
}

impl Rows<'_> {
    /// Which rows count if NULLs do not; none if all do.
    fn mask(&self) -> Option<BooleanBuffer> {
        let valid = self.values.and_then(|v| v.logical_nulls()).map(|n| n.into_inner());
        match (self.filter_mask(), valid) {
            (Some(a), Some(b)) => Some(&a & &b),
            (a, b) => a.or(b),
        }
    }

    /// Which rows the filter lets pass; none if all.
    fn filter_mask(&self) -> Option<BooleanBuffer> {
        self.filter.map(|f| match f.nulls() {
            Some(nulls) => f.values() & nulls.inner(),
            None => f.values().clone(),
        })
    }

    /// When a row came: its epoch, and its place within that.
    #[inline]
    fn position(&self, row: usize) -> (i64, i64) {
        (self.epoch as i64, self.arrival.map_or(row as i64, |a| a.value(row)))
    }

    /// Calls `apply(row, group, weight)` for the rows of `mask`.
    #[inline]
    fn each(&self, mask: Option<&BooleanBuffer>, mut apply: impl FnMut(usize, usize, i64)) {
        let groups = self.groups;
        match (mask, self.weights) {
            (None, None) => {
                for (row, &group) in groups.iter().enumerate() {
                    apply(row, group as usize, 1);
                }
            }
            (None, Some(weights)) => {
                for (row, (&group, &weight)) in groups.iter().zip(weights).enumerate() {
                    apply(row, group as usize, weight);
                }
            }
            (Some(mask), weights) => {
                for row in mask.set_indices() {
                    apply(row, groups[row] as usize, weights.map_or(1, |w| w[row]));
                }
            }
        }
    }
}

/// The state of one aggregate for any number of groups, numbered from zero.
///
/// ```text
///   update(rows)                      rows in, or out again with negative weight
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

    /// Applies rows to their groups, or takes them out again if their weight is negative.
    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError>;

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

    /// The same as what it is if it holds single values.
    fn by_value(&self) -> Option<&dyn ByValue> {
        None
    }

    /// See [`Aggregate::by_value`].
    fn by_value_mut(&mut self) -> Option<&mut dyn ByValue> {
        None
    }
}

/// An [`Aggregate`] that holds counts of single values, of which a group may have any number.
///
/// In a checkpoint each value of a group is an entry of its own, so that a checkpoint costs the
/// values that changed: a group of a hundred thousand of which one is new is one entry. What the
/// aggregate holds beside the counts follows from them.
pub trait ByValue {
    /// The type of the values, none of which is NULL.
    fn value_type(&self) -> &DataType;

    /// How many counts each value has.
    fn width(&self) -> usize;

    /// The values that a snapshot has to write, which are saved from here on.
    fn take_changed(&mut self, scope: SnapshotScope) -> Result<Vec<Entries>, OperatorError>;

    /// Values that the last snapshot has and that are gone, though their groups were not
    /// [reset](Aggregate::reset).
    fn take_removed(&mut self) -> Result<Vec<Values>, OperatorError>;

    /// Takes entries over, in place of what was said of their values before. They are saved.
    fn load(&mut self, entries: &Entries) -> Result<(), OperatorError>;

    /// Forgets those values that are known.
    fn forget(&mut self, values: &Values) -> Result<(), OperatorError>;
}

/// Values of groups.
#[derive(Clone, Debug)]
pub struct Values {
    /// The group of each.
    pub groups: Vec<u32>,
    /// The values.
    pub values: ArrayRef,
}

/// Values of groups with their counts.
#[derive(Clone, Debug)]
pub struct Entries {
    /// The values.
    pub of: Values,
    /// So many columns as the aggregate is [wide](ByValue::width).
    pub counts: Vec<ArrayRef>,
}

/// An aggregate without groups, for `call`.
///
/// # Errors
/// If the function is not defined for the types of the call.
pub fn create(
    call: &AggregateCall,
    retraction: Retraction,
) -> Result<Box<dyn Aggregate>, OperatorError> {
    use AggregateFunction::*;
    Ok(match &call.function {
        Count | Sum | Avg | VarPop | VarSamp | StddevPop | StddevSamp if call.distinct => {
            Box::new(create_distinct(&[call], retraction)?)
        }
        CountRows | Count => Box::new(count::Count::default()),
        Sum => total::create(call, total::Reading::Sum)?,
        Avg => total::create(call, total::Reading::Average)?,
        VarPop | VarSamp | StddevPop | StddevSamp => moments::create(call)?,
        Min => with_codec!(call, codec => extreme::create(codec, extreme::Side::Least, retraction)),
        Max => {
            with_codec!(call, codec => extreme::create(codec, extreme::Side::Greatest, retraction))
        }
        First if retraction == Retraction::Never => {
            with_codec!(call, codec => position::create(codec, position::End::Earliest))
        }
        Last if retraction == Retraction::Never => {
            with_codec!(call, codec => position::create(codec, position::End::Latest))
        }
        First | Last | ListAgg { .. } | ArrayAgg | SingleValue => {
            with_codec!(call, codec => ordered::create(codec, call, retraction))
        }
        Collect => Box::new(collect::Collect::new(call)?),
        ApproxCountDistinct => Box::new(approximate::ApproxCountDistinct::new(call, retraction)?),
    })
}

/// Whether two calls are of one [family](Distinct): of the same values, perhaps of different rows.
pub(crate) fn are_family(a: &AggregateCall, b: &AggregateCall) -> bool {
    // What needs an order or a multiset of its own keeps its values itself.
    let is_counted = |call: &AggregateCall| {
        use AggregateFunction::*;
        let function = &call.function;
        call.distinct
            && matches!(function, Count | Sum | Avg | VarPop | VarSamp | StddevPop | StddevSamp)
    };
    is_counted(a) && is_counted(b) && a.argument == b.argument && a.input_type == b.input_type
}

/// A family without groups, for `calls`.
///
/// # Errors
/// As of [`create`].
pub(crate) fn create_distinct(
    calls: &[&AggregateCall],
    retraction: Retraction,
) -> Result<Distinct, OperatorError> {
    let plain = |call: &&AggregateCall| {
        create(&AggregateCall { distinct: false, ..AggregateCall::clone(call) }, retraction)
    };
    let members = calls.iter().map(plain).collect::<Result<_, _>>()?;
    Distinct::new(&calls[0].input_type, members)
}

/// The error for a function that is not defined for a type.
fn undefined(call: &AggregateCall) -> OperatorError {
    OperatorError::Data(format!(
        "{:?} of {} to {} is not defined ({})",
        call.function, call.input_type, call.output_type, call.name
    ))
}

/// The error for state columns that are not what [`Aggregate::state_types`] said.
fn foreign_state(what: &str) -> OperatorError {
    OperatorError::Data(format!("the state of {what} is not in the layout of this version"))
}
