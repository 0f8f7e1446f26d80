//! `TIMESTAMPADD` and `TIMESTAMPDIFF`.

use super::super::function::Shape;
use super::super::values::Call;
use super::local::{DAY_NS, Date, Local, Moments, column_of};
use super::unit::{self, Unit};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};
use chrono_tz::Tz;
use datafusion::common::{Result, plan_err};

fn counted(shape: &Shape<'_>) -> Result<Unit> {
    let unit = unit::planned(shape, 0)?;
    if unit.months().is_none() && unit.nanos().is_none() {
        return plan_err!("{}: nothing can be counted in that unit", shape.name);
    }
    Ok(unit)
}

/// A DATE stays one when whole days are added.
pub(super) fn gives_shifted(shape: &Shape<'_>) -> Result<DataType> {
    let unit = counted(shape)?;
    let is_whole_days = unit.months().is_some() || matches!(unit, Unit::Day | Unit::Week);
    Ok(match &shape.types[2] {
        DataType::Date32 if !is_whole_days => DataType::Timestamp(TimeUnit::Millisecond, None),
        other => other.clone(),
    })
}

pub(super) fn timestamp_add(call: &Call<'_>) -> Result<ArrayRef> {
    let (unit, count) = (unit::given(call, 0)?, call.integers(1)?);
    let moments = Moments::argument(call, 2)?;
    let shifted = |row| {
        let (count, local) = (count.get(row)?, moments.get(row)?);
        Some(match (unit.months(), unit.nanos()) {
            (Some(months), _) => local.plus_months(months.checked_mul(count)?),
            (_, Some(nanos)) => local.plus_nanos(i128::from(nanos) * i128::from(count)),
            _ => return None,
        })
    };
    column_of(call.gives, call.zone, (0..call.rows).map(shifted))
}

/// INT, but BIGINT for units of which an INT holds only minutes.
pub(super) fn gives_difference(shape: &Shape<'_>) -> Result<DataType> {
    Ok(match counted(shape)? {
        Unit::Microsecond | Unit::Nanosecond => DataType::Int64,
        _ => DataType::Int32,
    })
}

pub(super) fn timestamp_diff(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = unit::given(call, 0)?;
    let is_instant = |index| matches!(call.data_type(index), DataType::Timestamp(_, Some(_)));
    // Between two instants the time that passed counts, not what a wall clock showed.
    let zone = if is_instant(1) && is_instant(2) { Tz::UTC } else { call.zone };
    let call = Call { zone, args: call.args, ..*call };
    let (from, to) = (Moments::argument(&call, 1)?, Moments::argument(&call, 2)?);
    let difference = |row| Some(difference(unit, from.get(row)?, to.get(row)?));
    Ok(match call.gives {
        DataType::Int64 => call.collect::<Int64Type>(difference),
        _ => call.collect::<Int32Type>(|row| Some(difference(row)? as i32)),
    })
}

/// How many whole units lie between two moments.
fn difference(unit: Unit, from: Local, to: Local) -> i64 {
    if let Some(months) = unit.months() {
        return months_between(from, to) / months;
    }
    let nanos = |local: Local| i128::from(local.day) * i128::from(DAY_NS) + i128::from(local.nanos);
    let unit = i128::from(unit.nanos().unwrap_or(1));
    ((nanos(to) - nanos(from)) / unit) as i64
}

/// Calcite's count, which Flink uses: days first, then the time of the day takes one off if the
/// months lead to the very day.
fn months_between(from: Local, to: Local) -> i64 {
    let (first, last) = (from.date(), to.date());
    let months =
        if to.day < from.day { -whole_months(last, first) } else { whole_months(first, last) };
    let is_same_day = first.plus_months(months) == last;
    months - i64::from(is_same_day && to.nanos < from.nanos)
}

/// The most months that, added to `from`, don't lead beyond `to`, which isn't earlier.
fn whole_months(from: Date, to: Date) -> i64 {
    let months = (to.year - from.year) * 12 + to.month - from.month;
    months - i64::from(from.plus_months(months).day > to.day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_counted_as_calcite_counts_them() {
        let at =
            |year, month, day, nanos| Local { nanos, ..Local::midnight(Date { year, month, day }) };
        let cases = [
            (at(2024, 2, 29, 5), at(2000, 1, 31, 0), -289),
            (at(1970, 1, 1, 0), at(2000, 1, 31, 0), 360),
            (at(2000, 12, 31, 5), at(2000, 1, 31, 0), -12),
            (at(2023, 3, 1, 5), at(2000, 1, 31, 0), -277),
            (at(2000, 12, 31, 0), at(2001, 2, 28, 0), 2),
            (at(2023, 3, 1, 0), at(2001, 2, 28, 0), -264),
        ];
        for (from, to, expected) in cases {
            assert_eq!(months_between(from, to), expected, "{from:?} {to:?}");
        }
    }
}
