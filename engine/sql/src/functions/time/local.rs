//! [`Local`], a date and a time of day as a wall clock shows them, and its ways from and to
//! columns and time zones.
//!
//! All time functions work on it, so that a DATE, a TIME, a TIMESTAMP of any precision and a
//! TIMESTAMP_LTZ are one case. Conversions between a zone's wall clock and UTC follow Java: an
//! hour that occurs twice is the earlier one, an hour that is skipped moves forward.

use super::super::values::Call;
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Int64Array, Time32MillisecondArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowTimestampType, DataType, Date32Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ColumnarValue;
use std::sync::Arc;

/// Nanoseconds of a second.
pub(in super::super) const SECOND_NS: i64 = 1_000_000_000;
/// Nanoseconds of a millisecond.
pub(in super::super) const MILLISECOND_NS: i64 = 1_000_000;
/// Nanoseconds of a day.
pub(in super::super) const DAY_NS: i64 = 86_400 * SECOND_NS;
/// Seconds of a day.
const DAY_S: i64 = 86_400;

/// A date and a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Local {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Nanoseconds since midnight, less than a day.
    pub nanos: i64,
}

/// A date of the (proleptic) Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Date {
    /// The year; 0 is the year before 1.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

/// Nobody means more months than these, eight million years, and no sum of them overflows.
const MONTHS_MAX: i64 = 100_000_000;

impl Date {
    /// The date of a number of days since 1970-01-01.
    pub fn from_days(days: i64) -> Self {
        // Years begin in March here, so that the leap day is the last of its year.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Date { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
    }

    /// The number of days since 1970-01-01.
    pub fn to_days(self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let march_month = (self.month + 9) % 12;
        let day_of_year = (153 * march_month + 2) / 5 + self.day - 1;
        let year_of_era = year.rem_euclid(400);
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        year.div_euclid(400) * 146_097 + day_of_era - 719_468
    }

    /// The same day of the month `months` later, or the last of that month if it is shorter.
    pub fn plus_months(self, months: i64) -> Self {
        let months = months.clamp(-MONTHS_MAX, MONTHS_MAX);
        let count = self.year * 12 + self.month - 1 + months;
        let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
        Date { year, month, day: self.day.min(days_of_month(year, month)) }
    }
}

/// How many days a month has.
pub(in super::super) fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// How many units of `unit` make a second.
pub(in super::super) fn units_per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

impl Local {
    /// Midnight of a date.
    pub fn midnight(date: Date) -> Self {
        Local { day: date.to_days(), nanos: 0 }
    }

    /// So many units of time after 1970-01-01 00:00:00.
    pub fn from_units(value: i64, unit: TimeUnit) -> Self {
        let per_second = units_per_second(unit);
        let per_day = DAY_S * per_second;
        let nanos = value.rem_euclid(per_day) * (SECOND_NS / per_second);
        Local { day: value.div_euclid(per_day), nanos }
    }

    /// The units of time after 1970-01-01 00:00:00, what is finer cut off; `None` if they are
    /// too many.
    pub fn to_units(self, unit: TimeUnit) -> Option<i64> {
        let per_second = units_per_second(unit);
        let days = self.day.checked_mul(DAY_S * per_second)?;
        days.checked_add(self.nanos / (SECOND_NS / per_second))
    }

    /// The date.
    pub fn date(self) -> Date {
        Date::from_days(self.day)
    }

    /// Whole seconds since 1970-01-01 00:00:00, rounded down.
    pub fn seconds(self) -> i64 {
        self.day * DAY_S + self.nanos / SECOND_NS
    }

    /// This much later.
    pub fn plus_nanos(self, nanos: i128) -> Self {
        let sum = i128::from(self.nanos) + nanos;
        let day = self.day + sum.div_euclid(i128::from(DAY_NS)) as i64;
        Local { day, nanos: sum.rem_euclid(i128::from(DAY_NS)) as i64 }
    }

    /// This much later, keeping to the calendar.
    pub fn plus_months(self, months: i64) -> Self {
        Local { day: self.date().plus_months(months).to_days(), nanos: self.nanos }
    }

    fn plus_seconds(self, seconds: i64) -> Self {
        self.plus_nanos(i128::from(seconds) * i128::from(SECOND_NS))
    }

    /// From UTC to the wall clock of `zone`.
    pub fn in_zone(self, zone: Tz) -> Self {
        if zone == Tz::UTC { self } else { self.plus_seconds(offset_s(zone, self.seconds())) }
    }

    /// From the wall clock of `zone` to UTC.
    pub fn in_utc(self, zone: Tz) -> Self {
        if zone == Tz::UTC {
            return self;
        }
        let local = self.seconds();
        let before = offset_s(zone, local - DAY_S);
        let after = offset_s(zone, local - before);
        // With the offset from before a change: either it still holds, or the clock has skipped
        // this time; otherwise the new one holds, if it gives this very time.
        let offset =
            if after != before && offset_s(zone, local - after) == after { after } else { before };
        self.plus_seconds(-offset)
    }
}

/// How far the clocks of `zone` are ahead of UTC, in seconds.
fn offset_s(zone: Tz, utc_s: i64) -> i64 {
    match DateTime::from_timestamp(utc_s, 0) {
        Some(utc) => {
            let offset = zone.offset_from_utc_datetime(&utc.naive_utc());
            i64::from(offset.fix().local_minus_utc())
        }
        None => 0,
    }
}

/// An argument of dates, times or timestamps.
pub(in super::super) struct Moments {
    values: Values,
    nulls: Option<NullBuffer>,
    is_constant: bool,
    /// The zone whose wall clock is read, for a TIMESTAMP_LTZ.
    zone: Option<Tz>,
}

enum Values {
    Days(ScalarBuffer<i32>),
    Short(ScalarBuffer<i32>, TimeUnit),
    Long(ScalarBuffer<i64>, TimeUnit),
    Nothing,
}

impl Moments {
    /// Reads a column; a TIMESTAMP_LTZ by the wall clock of `zone`.
    pub fn new(column: &dyn Array, zone: Tz) -> Result<Self> {
        use DataType as T;
        let values = match column.data_type() {
            T::Null => Values::Nothing,
            T::Date32 => Values::Days(column.as_primitive::<Date32Type>().values().clone()),
            T::Time32(TimeUnit::Second) => Values::Short(
                column.as_primitive::<Time32SecondType>().values().clone(),
                TimeUnit::Second,
            ),
            T::Time32(_) => Values::Short(
                column.as_primitive::<Time32MillisecondType>().values().clone(),
                TimeUnit::Millisecond,
            ),
            T::Time64(TimeUnit::Microsecond) => Values::Long(
                column.as_primitive::<Time64MicrosecondType>().values().clone(),
                TimeUnit::Microsecond,
            ),
            T::Time64(_) => Values::Long(
                column.as_primitive::<Time64NanosecondType>().values().clone(),
                TimeUnit::Nanosecond,
            ),
            T::Timestamp(unit, _) => {
                let values = match unit {
                    TimeUnit::Second => column.as_primitive::<TimestampSecondType>().values(),
                    TimeUnit::Millisecond => {
                        column.as_primitive::<TimestampMillisecondType>().values()
                    }
                    TimeUnit::Microsecond => {
                        column.as_primitive::<TimestampMicrosecondType>().values()
                    }
                    TimeUnit::Nanosecond => {
                        column.as_primitive::<TimestampNanosecondType>().values()
                    }
                };
                Values::Long(values.clone(), *unit)
            }
            other => return internal_err!("{other} is no moment"),
        };
        let is_instant = matches!(column.data_type(), T::Timestamp(_, Some(_)));
        Ok(Moments {
            values,
            nulls: column.nulls().cloned(),
            is_constant: false,
            zone: (is_instant && zone != Tz::UTC).then_some(zone),
        })
    }

    /// Reads argument `index` of a call, in the session's zone.
    pub fn argument(call: &Call<'_>, index: usize) -> Result<Self> {
        match &call.args[index] {
            ColumnarValue::Array(rows) => Moments::new(rows, call.zone),
            ColumnarValue::Scalar(value) => {
                let moments = Moments::new(&value.to_array_of_size(1)?, call.zone)?;
                Ok(Moments { is_constant: true, ..moments })
            }
        }
    }

    /// The value at `row`, as the wall clock shows it.
    #[inline]
    pub fn get(&self, row: usize) -> Option<Local> {
        let row = if self.is_constant { 0 } else { row };
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let local = match &self.values {
            Values::Days(days) => Local { day: i64::from(days[row]), nanos: 0 },
            Values::Short(values, unit) => Local::from_units(i64::from(values[row]), *unit),
            Values::Long(values, unit) => Local::from_units(values[row], *unit),
            Values::Nothing => return None,
        };
        Some(match self.zone {
            Some(zone) => local.in_zone(zone),
            None => local,
        })
    }
}

/// A column of type `gives` from what the wall clock of `zone` shows; NULL where a value doesn't
/// fit the type.
pub(in super::super) fn column_of(
    gives: &DataType,
    zone: Tz,
    values: impl Iterator<Item = Option<Local>>,
) -> Result<ArrayRef> {
    use DataType as T;
    Ok(match gives {
        T::Date32 => {
            let day = |local: Option<Local>| i32::try_from(local?.day).ok();
            Arc::new(values.map(day).collect::<Date32Array>())
        }
        T::Time32(TimeUnit::Millisecond) => {
            let time = |local: Option<Local>| Some((local?.nanos / MILLISECOND_NS) as i32);
            Arc::new(values.map(time).collect::<Time32MillisecondArray>())
        }
        T::Timestamp(unit, zoned) => {
            let units = |local: Option<Local>| match zoned {
                Some(_) => local?.in_utc(zone).to_units(*unit),
                None => local?.to_units(*unit),
            };
            let values: Int64Array = values.map(units).collect();
            match unit {
                TimeUnit::Second => timestamps::<TimestampSecondType>(&values, zoned),
                TimeUnit::Millisecond => timestamps::<TimestampMillisecondType>(&values, zoned),
                TimeUnit::Microsecond => timestamps::<TimestampMicrosecondType>(&values, zoned),
                TimeUnit::Nanosecond => timestamps::<TimestampNanosecondType>(&values, zoned),
            }
        }
        other => return internal_err!("{other} is no moment"),
    })
}

fn timestamps<T: ArrowTimestampType>(values: &Int64Array, zone: &Option<Arc<str>>) -> ArrayRef {
    Arc::new(values.reinterpret_cast::<T>().with_timezone_opt(zone.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn dates_agree_with_chrono(days in -1_000_000_i64..1_000_000) {
            let date = Date::from_days(days);
            let expected = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::Days::new(0)
                + chrono::TimeDelta::days(days);
            let got = (date.year, date.month, date.day);
            let year_month_day =
                (expected.year().into(), expected.month().into(), expected.day().into());
            prop_assert_eq!(got, year_month_day);
            prop_assert_eq!(date.to_days(), days);
        }

        #[test]
        fn a_wall_clock_reads_back(seconds in 0_i64..2_000_000_000) {
            let utc = Local::from_units(seconds, TimeUnit::Second);
            for zone in [Tz::America__New_York, Tz::Asia__Kolkata, Tz::Australia__Lord_Howe] {
                let local = utc.in_zone(zone);
                // The doubled hour reads back as the earlier one, which shows the same time.
                prop_assert_eq!(local.in_utc(zone).in_zone(zone), local);
            }
        }
    }

    #[test]
    fn doubled_and_skipped_hours_follow_java() {
        let at = |day, hour: i64, minute: i64| Local {
            day: Date { year: 2024, month: if day == 10 { 3 } else { 11 }, day }.to_days(),
            nanos: (hour * 3600 + minute * 60) * SECOND_NS,
        };
        let zone = Tz::America__New_York;
        assert_eq!(at(10, 2, 30).in_utc(zone), at(10, 7, 30), "skipped: as with the old offset");
        assert_eq!(at(10, 1, 30).in_utc(zone), at(10, 6, 30));
        assert_eq!(at(10, 3, 30).in_utc(zone), at(10, 7, 30));
        assert_eq!(at(3, 1, 30).in_utc(zone), at(3, 5, 30), "doubled: the earlier one");
        assert_eq!(at(3, 2, 30).in_utc(zone), at(3, 7, 30));
    }
}
