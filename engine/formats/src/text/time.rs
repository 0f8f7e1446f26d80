//! Dates, times and timestamps as text, by hand: a general parser costs more than the rest of a
//! record.
//!
//! Values count from 1970 in the proleptic Gregorian calendar and are floored to the column's
//! precision, so that the order of texts is the order of values on both sides of 1970.

use arrow::datatypes::TimeUnit;

/// Which of Flink's two standards timestamps follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimestampStyle {
    /// `2020-12-30 12:13:14.123`
    Sql,
    /// `2020-12-30T12:13:14.123`
    Iso,
}

impl TimestampStyle {
    fn separator(self) -> u8 {
        match self {
            TimestampStyle::Sql => b' ',
            TimestampStyle::Iso => b'T',
        }
    }
}

const SECONDS_PER_DAY: i64 = 86_400;

/// A timestamp without a zone.
pub(crate) fn timestamp(text: &[u8], style: TimestampStyle, unit: TimeUnit) -> Option<i64> {
    let (date, time) = split(text, style)?;
    let (second, nanos) = clock(time, style)?;
    in_unit(i64::from(days(date)?) * SECONDS_PER_DAY + second, nanos, unit)
}

/// A timestamp with the zone `Z`, or an offset like `+02:00`.
pub(crate) fn instant(text: &[u8], style: TimestampStyle, unit: TimeUnit) -> Option<i64> {
    let (text, offset_seconds) = match text {
        [text @ .., b'Z'] => (text, 0),
        [text @ .., sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(*h1, *h2)?, two(*m1, *m2)?);
            if hours > 18 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
            (text, if *sign == b'-' { -seconds } else { seconds })
        }
        _ => return None,
    };
    let (date, time) = split(text, style)?;
    let (second, nanos) = clock(time, style)?;
    in_unit(i64::from(days(date)?) * SECONDS_PER_DAY + second - offset_seconds, nanos, unit)
}

/// A date, as days since 1970.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    days(text)
}

/// A time of day in milliseconds.
pub(crate) fn time(text: &[u8]) -> Option<i32> {
    let (second, nanos) = clock(text, TimestampStyle::Sql)?;
    i32::try_from(second * 1000 + i64::from(nanos / 1_000_000)).ok()
}

/// Date and time around the separator.
#[inline(always)]
fn split(text: &[u8], style: TimestampStyle) -> Option<(&[u8], &[u8])> {
    let separator = style.separator();
    if text.get(10) == Some(&separator) {
        return Some((&text[..10], &text[11..]));
    }
    let at = text.iter().position(|&b| b == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

#[inline(always)]
fn in_unit(seconds: i64, nanos: u32, unit: TimeUnit) -> Option<i64> {
    let (per_second, fraction) = match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, nanos / 1_000_000),
        TimeUnit::Microsecond => (1_000_000, nanos / 1_000),
        TimeUnit::Nanosecond => (1_000_000_000, nanos),
    };
    seconds.checked_mul(per_second)?.checked_add(i64::from(fraction))
}

/// Two digits.
#[inline(always)]
fn two(tens: u8, ones: u8) -> Option<u8> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then_some(tens * 10 + ones)
}

/// Reads eight bytes of a shape like `00:00:00`, where 0 stands for a digit: a byte of the result is
/// the number that the digits here and behind it make.
#[inline(always)]
fn pairs(text: [u8; 8], shape: &[u8; 8]) -> Option<[u8; 8]> {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // What makes the highest bit of a byte of what may not stand there.
    let excess = shape.map(|byte| if byte == b'0' { 0x7f - 9 } else { 0x7f });
    let values = u64::from_le_bytes(text) ^ u64::from_le_bytes(*shape);
    let excesses = ((values & LOW_BITS) + u64::from_le_bytes(excess)) | values;
    (excesses & !LOW_BITS == 0).then(|| (values * 10 + (values >> 8)).to_le_bytes())
}

/// `yyyy-MM-dd`, the year with a sign if it has more than four digits.
#[inline(always)]
fn days(text: &[u8]) -> Option<i32> {
    if let Some((&year_and_month, &[d1, d2])) = text.split_first_chunk()
        && let Some([century, _, year, _, _, month, ..]) = pairs(year_and_month, b"0000-00-")
    {
        return civil_days(i64::from(century) * 100 + i64::from(year), month, two(d1, d2)?);
    }
    let (sign, rest) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] if rest.len() > 10 => (1, rest),
        _ => return None,
    };
    let [year @ .., b'-', m1, m2, b'-', d1, d2] = rest else {
        return None;
    };
    if !(4..=9).contains(&year.len()) || !year.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let year = year.iter().fold(0, |value, d| value * 10 + i64::from(d - b'0'));
    civil_days(sign * year, two(*m1, *m2)?, two(*d1, *d2)?)
}

/// `HH:mm:ss` and up to nine digits of a fraction; the ISO style may leave out the seconds.
#[inline(always)]
fn clock(text: &[u8], style: TimestampStyle) -> Option<(i64, u32)> {
    let (hour, minute, second, fraction) = match (text.split_first_chunk(), text) {
        (Some((&whole, fraction)), _) => {
            let [hour, _, _, minute, _, _, second, _] = pairs(whole, b"00:00:00")?;
            (hour, minute, second, fraction)
        }
        (None, &[h1, h2, b':', m1, m2]) if style == TimestampStyle::Iso => {
            (two(h1, h2)?, two(m1, m2)?, 0, &[][..])
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = match fraction {
        [] => 0,
        [b'.', digits @ ..] => nanos(digits)?,
        _ => return None,
    };
    Some((i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second), nanos))
}

#[inline(always)]
fn nanos(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut value = 0;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u32::from(digit);
    }
    const TENS: [u32; 10] =
        [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
    Some(value * TENS[9 - digits.len()])
}

/// Days since 1970 of a date of the Gregorian calendar; the year starts in March here, so that
/// the leap day is its last.
#[inline(always)]
fn civil_days(year: i64, month: u8, day: u8) -> Option<i32> {
    if !(1..=12).contains(&month) || day < 1 || (day > 28 && day > days_in_month(year, month)) {
        return None;
    }
    // Nothing is negative when so many years are added, whole periods of the calendar.
    const YEARS_ADDED: i64 = 1_000_000_000;
    const DAYS_ADDED: i64 = YEARS_ADDED / 400 * 146_097 + 719_468;
    let is_before_march = month <= 2;
    let year = (year + YEARS_ADDED - i64::from(is_before_march)) as u32;
    let month_from_march = u32::from(if is_before_march { month + 9 } else { month - 3 });
    let day_of_year = (153 * month_from_march + 2) / 5 + u32::from(day) - 1;
    let century = year / 100;
    let leap_days = year / 4 - century + century / 4;
    let days = i64::from(year) * 365 + i64::from(leap_days + day_of_year);
    i32::try_from(days - DAYS_ADDED).ok()
}

fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Year, month and day of a day since 1970: the opposite of [`civil_days`].
fn civil(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month as u8, day)
}

/// Appends a date.
pub(crate) fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil(days);
    if (0..=9999).contains(&year) {
        push_two(out, (year / 100) as u8);
        push_two(out, (year % 100) as u8);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(year.unsigned_abs());
        out.resize(out.len() + 4usize.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(digits.as_bytes());
    }
    out.push(b'-');
    push_two(out, month);
    out.push(b'-');
    push_two(out, day);
}

/// Appends a time of day in milliseconds, the fraction without trailing zeros.
pub(crate) fn write_time(out: &mut Vec<u8>, millis: i32) {
    let millis = i64::from(millis).rem_euclid(SECONDS_PER_DAY * 1000);
    write_clock(out, millis / 1000, (millis % 1000) as u32 * 1_000_000);
}

/// Appends a timestamp, the fraction without trailing zeros.
pub(crate) fn write_timestamp(
    out: &mut Vec<u8>,
    value: i64,
    unit: TimeUnit,
    style: TimestampStyle,
) {
    let (per_second, nanos_per_unit) = match unit {
        TimeUnit::Second => (1, 1_000_000_000),
        TimeUnit::Millisecond => (1_000, 1_000_000),
        TimeUnit::Microsecond => (1_000_000, 1_000),
        TimeUnit::Nanosecond => (1_000_000_000, 1),
    };
    let seconds = value.div_euclid(per_second);
    let nanos = value.rem_euclid(per_second) * nanos_per_unit;
    write_date(out, seconds.div_euclid(SECONDS_PER_DAY));
    out.push(style.separator());
    write_clock(out, seconds.rem_euclid(SECONDS_PER_DAY), nanos as u32);
}

fn write_clock(out: &mut Vec<u8>, second_of_day: i64, nanos: u32) {
    push_two(out, (second_of_day / 3600) as u8);
    out.push(b':');
    push_two(out, (second_of_day / 60 % 60) as u8);
    out.push(b':');
    push_two(out, (second_of_day % 60) as u8);
    if nanos != 0 {
        out.push(b'.');
        let mut rest = nanos;
        let mut unit = 100_000_000;
        while rest != 0 {
            out.push(b'0' + (rest / unit) as u8);
            rest %= unit;
            unit /= 10;
        }
    }
}

fn push_two(out: &mut Vec<u8>, value: u8) {
    out.extend_from_slice(&[b'0' + value / 10, b'0' + value % 10]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, NaiveDate, NaiveDateTime};
    use proptest::prelude::*;

    const MILLIS: TimeUnit = TimeUnit::Millisecond;

    #[test]
    fn fractions_are_floored_on_both_sides_of_1970() {
        let read = |text: &str| timestamp(text.as_bytes(), TimestampStyle::Sql, MILLIS);
        assert_eq!(read("1970-01-01 00:00:00.0019"), Some(1));
        assert_eq!(read("1969-12-31 23:59:59.9999"), Some(-1));
        assert_eq!(read("1969-12-31 23:59:59"), Some(-1000));
    }

    #[test]
    fn what_the_style_does_not_allow_is_refused() {
        use TimestampStyle::{Iso, Sql};
        for (text, style) in [
            ("2020-01-01T00:00:00", Sql),
            ("2020-01-01 00:00:00", Iso),
            ("2020-01-01 00:00", Sql),
            ("2020-01-01 00:00:00Z", Sql),
            ("2020-02-30 00:00:00", Sql),
            ("2020-13-01 00:00:00", Sql),
            ("2020-01-01 24:00:00", Sql),
            ("2020-01-01 00:00:00.", Sql),
            ("2020-01-01 00:00:00.1234567890", Sql),
            ("2020-01-01", Sql),
            ("", Sql),
        ] {
            assert_eq!(timestamp(text.as_bytes(), style, MILLIS), None, "{text}");
        }
        assert_eq!(timestamp(b"1970-01-01T00:01", Iso, MILLIS), Some(60_000));
        assert_eq!(instant(b"1970-01-01T01:00:00+01:00", Iso, MILLIS), Some(0));
        assert_eq!(instant(b"1970-01-01 00:00:00Z", Sql, MILLIS), Some(0));
        assert_eq!(instant(b"1970-01-01 00:00:00", Sql, MILLIS), None);
        assert_eq!(timestamp(b"2300-01-01 00:00:00", Sql, TimeUnit::Nanosecond), None);
    }

    #[test]
    fn years_that_no_date_holds_are_refused() {
        for text in ["-999999999-01-01", "-999999999-12-31", "+999999999-02-28", "+5881581-01-01"] {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
        assert_eq!(date(b"+5881580-07-11"), Some(i32::MAX));
        assert_eq!(date(b"-5877641-06-23"), Some(i32::MIN));
    }

    #[test]
    fn years_beyond_four_digits_come_back_with_their_sign() {
        for text in ["+12345-01-01", "-0001-12-31", "0000-01-01", "9999-12-31"] {
            let mut out = vec![];
            write_date(&mut out, date(text.as_bytes()).unwrap().into());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    proptest! {
        #![proptest_config(crate::testing::budget(256))]

        #[test]
        fn every_millisecond_is_read_and_written_as_chrono_does(
            millis in -62_135_596_800_000i64..253_402_300_800_000
        ) {
            let expected = DateTime::from_timestamp_millis(millis).unwrap().naive_utc();
            let mut text = vec![];
            write_timestamp(&mut text, millis, MILLIS, TimestampStyle::Iso);
            let written = String::from_utf8(text.clone()).unwrap();
            let parsed = NaiveDateTime::parse_from_str(&written, "%Y-%m-%dT%H:%M:%S%.f").unwrap();
            prop_assert_eq!(parsed, expected);
            prop_assert_eq!(timestamp(&text, TimestampStyle::Iso, MILLIS), Some(millis));
        }

        #[test]
        fn exactly_the_dates_of_the_calendar_are_read(
            year in 0i32..9999, month in 0u32..14, day in 0u32..33
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}");
            let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
            let expected = NaiveDate::from_ymd_opt(year, month, day)
                .map(|date| (date - epoch).num_days() as i32);
            prop_assert_eq!(date(text.as_bytes()), expected);
        }

        #[test]
        fn garbage_is_refused_without_panic(text in proptest::collection::vec(any::<u8>(), 0..32)) {
            let _ = timestamp(&text, TimestampStyle::Sql, TimeUnit::Nanosecond);
            let _ = instant(&text, TimestampStyle::Iso, TimeUnit::Nanosecond);
        }
    }
}
