//! Units of time, as `EXTRACT`, `FLOOR … TO`, `TIMESTAMPADD` and `TIMESTAMPDIFF` name them.

use super::super::function::Shape;
use super::super::values::Call;
use super::local::{DAY_NS, MILLISECOND_NS, SECOND_NS};
use datafusion::common::{Result, exec_err, plan_err};

/// A unit of time, or a field of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// A thousand years.
    Millennium,
    /// A hundred years.
    Century,
    /// Ten years.
    Decade,
    /// The year.
    Year,
    /// The year that the ISO week belongs to.
    IsoYear,
    /// Three months.
    Quarter,
    /// The month.
    Month,
    /// Seven days; as a field, the ISO week of the year.
    Week,
    /// The day; as a field, of the month.
    Day,
    /// The day of the week; Sunday is 1.
    DayOfWeek,
    /// The day of the week; Monday is 1.
    IsoDayOfWeek,
    /// The day of the year.
    DayOfYear,
    /// The hour.
    Hour,
    /// The minute.
    Minute,
    /// The second.
    Second,
    /// The thousandth of a second.
    Millisecond,
    /// The millionth of a second.
    Microsecond,
    /// The billionth of a second.
    Nanosecond,
    /// Seconds since 1970-01-01 00:00:00.
    Epoch,
}

impl Unit {
    /// The unit of a name, in any case, also with the prefix `SQL_TSI_` and in the plural.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_uppercase();
        let name = name.strip_prefix("SQL_TSI_").unwrap_or(&name);
        let singular = name.strip_suffix('S').unwrap_or(name);
        Some(match singular {
            "MILLENNIUM" => Unit::Millennium,
            "CENTURY" => Unit::Century,
            "DECADE" => Unit::Decade,
            "YEAR" => Unit::Year,
            "ISOYEAR" => Unit::IsoYear,
            "QUARTER" => Unit::Quarter,
            "MONTH" => Unit::Month,
            "WEEK" => Unit::Week,
            "DAY" => Unit::Day,
            "DOW" => Unit::DayOfWeek,
            "ISODOW" => Unit::IsoDayOfWeek,
            "DOY" => Unit::DayOfYear,
            "HOUR" => Unit::Hour,
            "MINUTE" => Unit::Minute,
            "SECOND" => Unit::Second,
            "MILLISECOND" => Unit::Millisecond,
            "MICROSECOND" => Unit::Microsecond,
            "NANOSECOND" | "FRAC_SECOND" => Unit::Nanosecond,
            "EPOCH" => Unit::Epoch,
            _ => return None,
        })
    }

    /// How many months it has, if it is counted in months.
    pub(super) fn months(self) -> Option<i64> {
        match self {
            Unit::Millennium => Some(12_000),
            Unit::Century => Some(1_200),
            Unit::Decade => Some(120),
            Unit::Year => Some(12),
            Unit::Quarter => Some(3),
            Unit::Month => Some(1),
            _ => None,
        }
    }

    /// How many nanoseconds it has, if it is counted in them.
    pub(super) fn nanos(self) -> Option<i64> {
        match self {
            Unit::Week => Some(7 * DAY_NS),
            Unit::Day => Some(DAY_NS),
            Unit::Hour => Some(3600 * SECOND_NS),
            Unit::Minute => Some(60 * SECOND_NS),
            Unit::Second => Some(SECOND_NS),
            Unit::Millisecond => Some(MILLISECOND_NS),
            Unit::Microsecond => Some(1_000),
            Unit::Nanosecond => Some(1),
            _ => None,
        }
    }
}

/// What to write instead of a name that is no unit.
const KNOWN: &str = "use YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND or MILLISECOND";

/// The unit that argument `index` names, when a call is planned.
pub(super) fn planned(shape: &Shape<'_>, index: usize) -> Result<Unit> {
    let Some(name) = shape.text(index) else {
        return plan_err!("{}: the unit of time must be a constant; {KNOWN}", shape.name);
    };
    match Unit::parse(name) {
        Some(unit) => Ok(unit),
        None => plan_err!("{}: '{name}' is no unit of time; {KNOWN}", shape.name),
    }
}

/// The unit that argument `index` names, when a call is computed.
pub(super) fn given(call: &Call<'_>, index: usize) -> Result<Unit> {
    match call.text(index)?.get(0).and_then(Unit::parse) {
        Some(unit) => Ok(unit),
        None => exec_err!("{}: argument {} is no unit of time; {KNOWN}", call.name, index + 1),
    }
}
