//! Fields of a date and time, and rounding to a unit.

use super::super::function::Shape;
use super::super::values::Call;
use super::local::{Date, Local, Moments, SECOND_NS, column_of};
use super::pattern::{iso_week, weekday};
use super::unit::{self, Unit};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, plan_err};

/// A field as Flink numbers it.
fn field(unit: Unit, local: Local) -> i64 {
    let date = || local.date();
    match unit {
        Unit::Millennium => (date().year + 999).div_euclid(1000),
        Unit::Century => (date().year + 99).div_euclid(100),
        Unit::Decade => date().year.div_euclid(10),
        Unit::Year => date().year,
        Unit::IsoYear => iso_week(local.day).0,
        Unit::Quarter => (date().month + 2) / 3,
        Unit::Month => date().month,
        Unit::Week => iso_week(local.day).1,
        Unit::Day => date().day,
        Unit::DayOfWeek => weekday(local.day) % 7 + 1,
        Unit::IsoDayOfWeek => weekday(local.day),
        Unit::DayOfYear => local.day - Date { month: 1, day: 1, ..date() }.to_days() + 1,
        Unit::Hour => local.nanos / (3600 * SECOND_NS),
        Unit::Minute => local.nanos / (60 * SECOND_NS) % 60,
        Unit::Second => local.nanos / SECOND_NS % 60,
        Unit::Millisecond => local.nanos % SECOND_NS / 1_000_000,
        Unit::Microsecond => local.nanos % SECOND_NS / 1_000,
        Unit::Nanosecond => local.nanos % SECOND_NS,
        Unit::Epoch => local.seconds(),
    }
}

fn fields(call: &Call<'_>, index: usize, unit: Unit) -> Result<ArrayRef> {
    let moments = Moments::argument(call, index)?;
    Ok(call.collect::<Int64Type>(|row| Some(field(unit, moments.get(row)?))))
}

pub(super) fn gives_field(shape: &Shape<'_>) -> Result<DataType> {
    unit::planned(shape, 0)?;
    Ok(DataType::Int64)
}

pub(super) fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 1, unit::given(call, 0)?)
}

pub(super) fn year(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::Year)
}

pub(super) fn quarter(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::Quarter)
}

pub(super) fn month(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::Month)
}

pub(super) fn week(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::Week)
}

pub(super) fn day_of_year(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::DayOfYear)
}

pub(super) fn day_of_month(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::Day)
}

pub(super) fn day_of_week(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::DayOfWeek)
}

pub(super) fn hour(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::Hour)
}

pub(super) fn minute(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::Minute)
}

pub(super) fn second(call: &Call<'_>) -> Result<ArrayRef> {
    fields(call, 0, Unit::Second)
}

/// The moment's own type; the unit must be one that can be rounded to.
pub(super) fn gives_floored(shape: &Shape<'_>) -> Result<DataType> {
    let unit = unit::planned(shape, 1)?;
    if unit.months().is_none() && unit.nanos().is_none() {
        return plan_err!("{}: nothing can be rounded to that unit", shape.name);
    }
    Ok(shape.types[0].clone())
}

fn to_unit(call: &Call<'_>, round: fn(Local, Unit) -> Local) -> Result<ArrayRef> {
    let (moments, unit) = (Moments::argument(call, 0)?, unit::given(call, 1)?);
    let rounded = |row| Some(round(moments.get(row)?, unit));
    column_of(call.gives, call.zone, (0..call.rows).map(rounded))
}

pub(super) fn floor(call: &Call<'_>) -> Result<ArrayRef> {
    to_unit(call, floor_to)
}

pub(super) fn ceil(call: &Call<'_>) -> Result<ArrayRef> {
    to_unit(call, ceil_to)
}

/// Weeks begin on Sunday here, unlike the ISO weeks that `EXTRACT` counts.
fn floor_to(local: Local, unit: Unit) -> Local {
    let date = local.date();
    match (unit, unit.months(), unit.nanos()) {
        (Unit::Week, ..) => Local { day: local.day - weekday(local.day) % 7, nanos: 0 },
        (Unit::Century | Unit::Millennium, Some(months), _) => {
            let years = months / 12;
            let year = (date.year - 1).div_euclid(years) * years + 1;
            Local::midnight(Date { year, month: 1, day: 1 })
        }
        (_, Some(months), _) => {
            let count = (date.year * 12 + date.month - 1).div_euclid(months) * months;
            let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
            Local::midnight(Date { year, month, day: 1 })
        }
        (_, _, Some(nanos)) => Local { nanos: local.nanos - local.nanos % nanos, ..local },
        _ => local,
    }
}

/// A month, or a longer unit, begins with its whole first day, as in Flink: any time of that day
/// is rounded up to its midnight.
fn ceil_to(local: Local, unit: Unit) -> Local {
    let floored = floor_to(local, unit);
    let is_whole = match unit.months() {
        Some(_) => floored.day == local.day,
        None => floored == local,
    };
    match (unit.months(), unit.nanos()) {
        _ if is_whole => floored,
        (Some(months), _) => floored.plus_months(months),
        (_, Some(nanos)) => floored.plus_nanos(nanos.into()),
        _ => local,
    }
}
