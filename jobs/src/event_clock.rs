//! When things happen: event time that moves on with the rhythm of the day and of the week, and its
//! text.
//!
//! The clock counts microseconds of event time and only moves forward. It knows no wall clock: a
//! live demo starts it now and paces itself by the records' timestamps.

use crate::random::Random;
use chrono::{DateTime, Datelike, Timelike};
use std::io::Write;

/// How busy each hour of a UTC day is, in percent of the mean. The sum is 2400.
const BUSY_PERCENT: [u32; 24] = [
    45, 32, 24, 20, 22, 34, 58, 84, 104, 112, 114, 120, //
    130, 126, 116, 112, 116, 128, 148, 172, 182, 170, 136, 95,
];

/// How busy each day of the week is, Monday first, in percent of the mean. The sum is 700.
const BUSY_DAY_PERCENT: [u32; 7] = [97, 94, 95, 98, 106, 112, 98];

const DAY_US: i64 = 86_400_000_000;

/// Event time of a generated world.
#[derive(Clone, Debug)]
pub struct EventClock {
    now_us: i64,
    events_per_second: f64,
}

impl EventClock {
    /// A clock that stands at `start_ms` and lets `events_per_second` happen on average over a
    /// week. Rates below one event in a thousand seconds count as that.
    pub fn new(start_ms: i64, events_per_second: f64) -> Self {
        EventClock { now_us: start_ms * 1000, events_per_second: events_per_second.max(0.001) }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn now_ms(&self) -> i64 {
        self.now_us.div_euclid(1000)
    }

    /// Moves on by the time that `events` events take at this hour.
    pub fn advance(&mut self, events: u32, random: &mut Random) {
        let mean_us = 1e6 * f64::from(events) / (self.events_per_second * self.busy());
        self.now_us += (2.0 * mean_us * random.unit()) as i64;
    }

    /// How busy it is now, 1 being the mean: between the hours of the table a straight line.
    fn busy(&self) -> f64 {
        let hours = self.now_us.rem_euclid(DAY_US) as f64 / 3_600_000_000.0;
        let hour = hours as usize;
        let (from, to) = (BUSY_PERCENT[hour % 24], BUSY_PERCENT[(hour + 1) % 24]);
        let within = hours - hour as f64;
        let of_day = f64::from(from) * (1.0 - within) + f64::from(to) * within;
        // 1970 began on a Thursday.
        let weekday = (self.now_us.div_euclid(DAY_US) + 3).rem_euclid(7) as usize;
        of_day * f64::from(BUSY_DAY_PERCENT[weekday]) / 10_000.0
    }
}

/// Writes an instant as ISO 8601 in UTC with milliseconds: `2026-01-05T08:00:00.000Z`.
pub fn write_iso_8601(out: &mut Vec<u8>, instant_ms: i64) {
    let time = DateTime::from_timestamp_millis(instant_ms).unwrap_or_default();
    write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.timestamp_subsec_millis()
    )
    .expect("writing to memory doesn't fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_has_the_mean_rate_evenings_and_saturdays_are_busiest() {
        assert_eq!(BUSY_PERCENT.iter().sum::<u32>(), 2400);
        assert_eq!(BUSY_DAY_PERCENT.iter().sum::<u32>(), 700);
        let mut clock = EventClock::new(crate::START_MS, 0.5);
        let mut random = Random::new(1, 0);
        let (mut per_hour, mut per_day) = ([0u32; 24], [0u32; 7]);
        // It starts on a Monday at eight.
        let since_monday = |clock: &EventClock| clock.now_ms() - crate::START_MS + 8 * 3_600_000;
        while since_monday(&clock) < (7 * 24 + 8) * 3_600_000 {
            per_hour[(clock.now_ms() / 3_600_000) as usize % 24] += 1;
            per_day[(since_monday(&clock) / 86_400_000) as usize % 7] += 1;
            clock.advance(1, &mut random);
        }
        let total: u32 = per_hour.iter().sum();
        assert!((298_000..307_000).contains(&total), "{total}");
        assert!(per_hour[20] > 5 * per_hour[3], "{per_hour:?}");
        assert_eq!(per_day.iter().max(), Some(&per_day[5]), "{per_day:?}");
    }

    #[test]
    fn an_instant_is_written_with_milliseconds_and_zone() {
        let mut text = Vec::new();
        write_iso_8601(&mut text, 1_767_600_000_007);
        assert_eq!(text, b"2026-01-05T08:00:00.007Z");
    }
}
