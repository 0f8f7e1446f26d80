//! Instants and wall clocks: windows of `TIMESTAMP_LTZ` are aligned to the clock on the wall.
//!
//! Everything behind [`to_local`] is wall-clock time, in which windows are plain arithmetic. The
//! clock goes back once a year, so an instant has one wall-clock time, but a wall-clock time may
//! have two instants (the doubled hour, which is one window) or none (the hour that is skipped).

use super::Zone;
use crate::time::Watermark;
use arrow::buffer::ScalarBuffer;
use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;

/// All changes of clocks happen on a multiple of this, so one look-up serves the stretch.
const STRETCH_MS: i64 = 900_000;

fn naive(ms: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_millis(ms).map(|t| t.naive_utc())
}

/// What the zone adds to UTC at an instant. Instants beyond chrono's years are taken as UTC.
fn offset_ms(instant_ms: i64, zone: Tz) -> i64 {
    naive(instant_ms).map_or(0, |utc| {
        i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * 1000
    })
}

/// The wall-clock time of each instant.
pub fn to_local(instants: &ScalarBuffer<i64>, zone: Zone) -> ScalarBuffer<i64> {
    let Some(zone) = zone else { return instants.clone() };
    let (mut stretch, mut offset) = (0..0, 0);
    let local = |&instant: &i64| {
        if !stretch.contains(&instant) {
            let start = instant.saturating_sub(instant.rem_euclid(STRETCH_MS));
            let end = start.saturating_add(STRETCH_MS);
            offset = offset_ms(instant, zone);
            let is_one = offset_ms(start, zone) == offset_ms(end.saturating_sub(1), zone);
            stretch = if is_one { start..end } else { 0..0 };
        }
        instant.saturating_add(offset)
    };
    instants.iter().map(local).collect()
}

/// The wall-clock time of an instant.
pub fn local(instant_ms: i64, zone: Zone) -> i64 {
    zone.map_or(instant_ms, |zone| instant_ms.saturating_add(offset_ms(instant_ms, zone)))
}

/// The instant of a wall-clock time: the earlier one of two; within a skipped hour the instant
/// that a clock which was not put forward would show.
pub fn to_instant(local_ms: i64, zone: Zone) -> i64 {
    let Some(zone) = zone else { return local_ms };
    let Some(wall) = naive(local_ms) else { return local_ms };
    match zone.offset_from_local_datetime(&wall).earliest() {
        Some(offset) => local_ms - i64::from(offset.fix().local_minus_utc()) * 1000,
        None => {
            // Look at the clock well before: no place skips an hour twice within a day or so.
            let before = offset_ms(local_ms - 36 * 3_600_000, zone);
            local_ms - before
        }
    }
}

/// The watermark on the wall clock: no row still to come shows a wall-clock time at or before it.
///
/// Before a doubled hour is over, rows of its second pass are still to come, so the wall-clock
/// watermark waits at its start.
///
/// ```
/// # use tidemill_operators::{Watermark, window::zone::local_watermark};
/// let berlin = Some(chrono_tz::Europe::Berlin);
/// // 2024-10-27T00:30:00Z is 02:30 for the first time: 02:00 comes again.
/// let two_o_clock = 1_729_994_400_000;
/// assert_eq!(local_watermark(Watermark(1_729_989_000_000), berlin), Watermark(two_o_clock - 1));
/// // An hour later it is 02:30 for the second time.
/// let later = local_watermark(Watermark(1_729_992_600_000), berlin);
/// assert_eq!(later, Watermark(two_o_clock + 1_800_000));
/// ```
pub fn local_watermark(watermark: Watermark, zone: Zone) -> Watermark {
    let Some(tz) = zone else { return watermark };
    if watermark == Watermark::MIN || watermark == Watermark::MAX {
        return watermark;
    }
    let next = watermark.0.saturating_add(1);
    let next_local = local(next, zone);
    let instants = naive(next_local).map(|wall| tz.from_local_datetime(&wall));
    let earliest_to_come = match instants {
        Some(chrono::LocalResult::Ambiguous(first, second)) if next <= first.timestamp_millis() => {
            let (before, after) = (first.timestamp_millis(), second.timestamp_millis());
            local(change(before, after, tz), zone)
        }
        _ => next_local,
    };
    Watermark(earliest_to_come - 1)
}

/// The instant in `(before, after]` at which the clock changes.
fn change(mut before: i64, mut after: i64, zone: Tz) -> i64 {
    let old = offset_ms(before, zone);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if offset_ms(middle, zone) == old {
            before = middle;
        } else {
            after = middle;
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZONES: [Tz; 6] = [
        Tz::Europe__Berlin,
        Tz::America__New_York,
        Tz::Asia__Kolkata,
        Tz::Australia__Lord_Howe,
        Tz::America__St_Johns,
        Tz::UTC,
    ];

    /// Instants near a change of clocks in 2024, in the first zones.
    fn instants() -> impl Strategy<Value = i64> {
        let near = prop_oneof![
            Just(1_729_990_800_000i64),
            Just(1_711_846_800_000),
            Just(1_730_613_600_000),
            Just(1_710_054_000_000),
            Just(1_728_142_200_000),
            Just(0),
        ];
        (near, -10_000_000i64..10_000_000).prop_map(|(near, by)| near + by)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn the_wall_clock_watermark_is_what_no_later_row_undercuts(
            watermark in instants(), zone in prop::sample::select(&ZONES[..]),
        ) {
            let zone = Some(zone);
            let wall = local_watermark(Watermark(watermark), zone).0;
            // Clocks change on whole minutes: the earliest wall-clock time to come stands at one
            // of them or right behind the watermark.
            let minute = 60_000;
            let later = (watermark / minute + 1..watermark / minute + 180).map(|m| m * minute);
            let earliest = later.chain([watermark + 1]).map(|t| local(t, zone)).min().unwrap();
            prop_assert_eq!(wall, earliest - 1);
        }

        #[test]
        fn a_column_moves_as_its_values_do(
            times in prop::collection::vec(instants(), 0..40), zone in prop::sample::select(&ZONES[..]),
        ) {
            let expected: Vec<i64> = times.iter().map(|&t| local(t, Some(zone))).collect();
            let moved = to_local(&times.into(), Some(zone));
            prop_assert_eq!(&moved[..], &expected[..]);
        }

        #[test]
        fn a_wall_clock_time_that_exists_comes_back(
            instant in instants(), zone in prop::sample::select(&ZONES[..]),
        ) {
            let back = to_instant(local(instant, Some(zone)), Some(zone));
            prop_assert!(back <= instant);
            prop_assert_eq!(local(back, Some(zone)), local(instant, Some(zone)));
        }
    }

    #[test]
    fn a_time_within_the_skipped_hour_moves_forward() {
        // 2024-03-31 02:30 does not exist in Berlin; it is taken as 03:30, 01:30 UTC.
        let skipped = 1_711_852_200_000;
        assert_eq!(to_instant(skipped, Some(Tz::Europe__Berlin)), skipped - 3_600_000);
    }
}
