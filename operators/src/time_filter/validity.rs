//! [`Validity`]: for which times of its clock a row is among the results.
//!
//! Every comparison of the clock with a time of the row bounds the same interval from one side, so
//! however many there are, a row has one interval, and it is computed once. Times are brought to
//! the clock's grain, the millisecond, by which side of a comparison they stand on: no row is there
//! a millisecond too long or too short.

use super::{ClockIs, TimeBound};
use crate::key::to_int64;
use crate::operator::OperatorError;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};

/// The clock before anything is known of the time: no row is valid.
pub(super) const UNKNOWN: i64 = i64::MIN;
/// No end. The end of all time, at which an input has ended, does not reach it.
const FOREVER: i64 = i64::MAX;

/// Whether a row is among the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its time is still to come.
    #[default]
    Waiting,
    /// It is.
    Shown,
}

/// The times from `from` on and before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    from: i64,
    until: i64,
}

impl Default for Validity {
    fn default() -> Self {
        Validity::ALWAYS
    }
}

impl Validity {
    /// As soon as there is a time.
    const ALWAYS: Validity = Validity { from: UNKNOWN + 1, until: FOREVER };
    /// Over from the beginning.
    const NEVER: Validity = Validity { from: FOREVER, until: UNKNOWN };

    /// Where a row that is not over stands.
    pub(super) fn standing(self, now: i64) -> Standing {
        if self.from <= now { Standing::Shown } else { Standing::Waiting }
    }

    pub(super) fn is_over(self, now: i64) -> bool {
        self.until != FOREVER && self.until <= now
    }

    /// When a row that stands so changes: it ends, or begins. None if it never does.
    pub(super) fn next_change(self, standing: Standing) -> Option<i64> {
        match standing {
            Standing::Waiting => Some(self.from),
            Standing::Shown => (self.until != FOREVER).then_some(self.until),
        }
    }

    /// What is left of it if the clock must also be thus to a time of so many units, of which
    /// `per_ms` are a millisecond.
    fn narrowed(self, bound: &TimeBound, time: i64, per_ms: i64) -> Validity {
        let (whole, rest) = (time.div_euclid(per_ms), time.rem_euclid(per_ms));
        let at_or_before = shifted(whole, bound.shift_ms);
        let at_or_after = shifted(whole + i64::from(rest > 0), bound.shift_ms);
        let Validity { mut from, mut until } = self;
        match bound.clock_is {
            ClockIs::Before => until = until.min(at_or_after),
            ClockIs::NotAfter => until = until.min(shifted(at_or_before, 1)),
            ClockIs::After => from = from.max(shifted(at_or_before, 1)),
            ClockIs::NotBefore => from = from.max(at_or_after),
        }
        if from < until { Validity { from, until } } else { Validity::NEVER }
    }
}

/// A time that is neither of the two that are no times.
fn shifted(ms: i64, by_ms: i64) -> i64 {
    ms.saturating_add(by_ms).clamp(UNKNOWN + 1, FOREVER - 1)
}

/// The validities of rows under all of `bounds`. A row that lacks a time is never valid.
pub(super) fn of_rows(
    bounds: &[TimeBound],
    rows: &RecordBatch,
    now_ms: i64,
    validities: &mut Vec<Validity>,
) -> Result<(), OperatorError> {
    validities.clear();
    validities.resize(rows.num_rows(), Validity::ALWAYS);
    for bound in bounds {
        let times = bound.time.evaluate(rows, now_ms)?;
        let per_ms = per_millisecond(times.data_type())?;
        let times = to_int64(&times);
        for (row, validity) in validities.iter_mut().enumerate() {
            *validity = match times.is_valid(row) {
                true => validity.narrowed(bound, times.value(row), per_ms),
                false => Validity::NEVER,
            };
        }
    }
    Ok(())
}

fn per_millisecond(data_type: &DataType) -> Result<i64, OperatorError> {
    match data_type {
        DataType::Timestamp(TimeUnit::Millisecond, _) => Ok(1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(1_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Ok(1_000_000),
        other => Err(OperatorError::Data(format!("a {other} can't be compared with a clock"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_filter::tests::Column;
    use std::sync::Arc;

    fn bound(clock_is: ClockIs, shift_ms: i64) -> TimeBound {
        TimeBound { time: Arc::new(Column(0)), shift_ms, clock_is }
    }

    #[test]
    fn a_bound_is_exact_to_the_millisecond_on_both_sides_of_a_time_between_two() {
        // 1.5 ms in microseconds: the clock is before it at 1 ms, and after it at 2 ms.
        let cases = [
            (ClockIs::Before, 1_500, 2),
            (ClockIs::NotAfter, 1_500, 2),
            (ClockIs::After, 1_500, 2),
            (ClockIs::NotBefore, 1_500, 2),
            (ClockIs::Before, 2_000, 2),
            (ClockIs::NotAfter, 2_000, 3),
            (ClockIs::After, 2_000, 3),
            (ClockIs::NotBefore, 2_000, 2),
            (ClockIs::Before, -1_500, -1),
            (ClockIs::After, -1_500, -1),
        ];
        for (clock_is, time, changes_at) in cases {
            let validity = Validity::ALWAYS.narrowed(&bound(clock_is, 0), time, 1_000);
            let change = if clock_is.is_upper() { validity.until } else { validity.from };
            assert_eq!(change, changes_at, "{clock_is:?} {time}");
        }
    }

    #[test]
    fn an_interval_without_a_millisecond_in_it_is_over_from_the_beginning() {
        let after = Validity::ALWAYS.narrowed(&bound(ClockIs::After, 10), 0, 1);
        assert_eq!(after, Validity { from: 11, until: FOREVER });
        let never = after.narrowed(&bound(ClockIs::Before, 11), 0, 1);
        assert!(never.is_over(UNKNOWN), "{never:?}");
    }

    #[test]
    fn the_end_of_time_ends_what_ends_and_begins_what_begins() {
        let far = Validity::ALWAYS.narrowed(&bound(ClockIs::Before, i64::MAX), i64::MAX, 1);
        assert!(far.is_over(i64::MAX) && !far.is_over(i64::MAX - 2));
        let late = Validity::ALWAYS.narrowed(&bound(ClockIs::After, i64::MAX), i64::MAX, 1);
        assert_eq!((late.standing(i64::MAX), late.is_over(i64::MAX)), (Standing::Shown, false));
        assert_eq!(Validity::ALWAYS.standing(UNKNOWN), Standing::Waiting);
        assert_eq!(Validity::ALWAYS.standing(UNKNOWN + 1), Standing::Shown);
    }
}
