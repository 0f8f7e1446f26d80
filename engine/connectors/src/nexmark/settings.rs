//! [`settings`]: what the options of a table say.

use super::market::{Market, Proportions};
use crate::numbered::Amount;
use crate::options::{Known, number, refuse_unknown, wrong};
use chrono::NaiveDateTime;
use std::collections::BTreeSet;
use tidemill_formats::{OptionError, Table};

/// Nexmark's names, and two of our own: `seed` and `base-time`.
///
/// | option | default | |
/// |---|---|---|
/// | `events.num` | 0 | how many events there are; 0: without end |
/// | `stop-at` | -1 | the input stops before the event of this number, whatever `events.num` says; -1: it doesn't |
/// | `keep-alive` | `false` | behind the last event the input stays open |
/// | `first-event.rate`, `next-event.rate` | 10000 | events a second of event time; two names of one number, for a rate that changes is not supported |
/// | `max-emit-speed` | whether there is a last event | `true`: events come as fast as they are taken; `false`: at the rate of their event time |
/// | `person.proportion`, `auction.proportion`, `bid.proportion` | 1, 3, 46 | how many of each kind follow each other |
/// | `base-time` | `2026-01-01 00:00:00` | when the first event happens; a number is milliseconds since 1970 |
/// | `seed` | 0 | which events |
pub(super) const KNOWN: Known = Known {
    keys: &[
        EVENTS_NUM,
        STOP_AT,
        "keep-alive",
        FIRST_RATE,
        NEXT_RATE,
        "max-emit-speed",
        "person.proportion",
        "auction.proportion",
        BID_PROPORTION,
        BASE_TIME,
        "seed",
    ],
    prefixes: &[],
};
const EVENTS_NUM: &str = "events.num";
const STOP_AT: &str = "stop-at";
const FIRST_RATE: &str = "first-event.rate";
const NEXT_RATE: &str = "next-event.rate";
const BID_PROPORTION: &str = "bid.proportion";
const BASE_TIME: &str = "base-time";

/// Events a second.
const RATE: u64 = 10_000;
/// The first of January 2026, in milliseconds since 1970.
const START_MS: i64 = 1_767_225_600_000;
/// So many events, or of a kind in a round, are more than anybody waits for; below it numbers of
/// events can be multiplied by a thousand.
const NUMBER_MAX: u64 = 1_000_000_000_000_000;

/// Reads all options.
pub(super) fn settings(table: &Table) -> Result<(Market, Amount), OptionError> {
    refuse_unknown(table, &KNOWN, &BTreeSet::new())?;
    let market = Market {
        proportions: proportions(table)?,
        events_per_second: rate(table)?,
        start_ms: base_time(table)?,
        seed: number(table, "seed")?.unwrap_or(0),
    };
    Ok((market, amount(table, market.events_per_second)?))
}

fn amount(table: &Table, events_per_second: u64) -> Result<Amount, OptionError> {
    let all = count(table, EVENTS_NUM)?.filter(|&events| events > 0);
    let stop: Option<i64> = number(table, STOP_AT)?;
    let stop = stop.and_then(|event| u64::try_from(event).ok());
    let rows = all.into_iter().chain(stop).min();
    let keeps_alive = table.bool_option("keep-alive", false)?;
    let is_unpaced = table.bool_option("max-emit-speed", rows.is_some())?;
    let rows_per_second = if is_unpaced { f64::INFINITY } else { events_per_second as f64 };
    Ok(Amount { rows, is_bounded: rows.is_some() && !keeps_alive, rows_per_second })
}

fn rate(table: &Table) -> Result<u64, OptionError> {
    let (first, next) = (count(table, FIRST_RATE)?, count(table, NEXT_RATE)?);
    if let (Some(first), Some(next)) = (first, next)
        && first != next
    {
        let problem = format!("'{next}' is another rate than '{FIRST_RATE}' says");
        return Err(wrong(NEXT_RATE, problem, "a rate can't change yet: write one number"));
    }
    match first.or(next).unwrap_or(RATE) {
        0 => Err(wrong(NEXT_RATE, "time would stand still", "write a number from 1 on")),
        rate => Ok(rate),
    }
}

fn proportions(table: &Table) -> Result<Proportions, OptionError> {
    let proportions = Proportions {
        persons: count(table, "person.proportion")?.unwrap_or(1),
        auctions: count(table, "auction.proportion")?.unwrap_or(3),
        bids: count(table, BID_PROPORTION)?.unwrap_or(46),
    };
    if proportions.round() == 0 {
        return Err(wrong(BID_PROPORTION, "there would be no events", "make one of them positive"));
    }
    Ok(proportions)
}

/// A number that isn't too large to reckon with.
fn count(table: &Table, key: &str) -> Result<Option<u64>, OptionError> {
    let count: Option<u64> = number(table, key)?;
    if count.is_some_and(|count| count > NUMBER_MAX) {
        return Err(wrong(key, "is too large", format!("write at most {NUMBER_MAX}")));
    }
    Ok(count)
}

fn base_time(table: &Table) -> Result<i64, OptionError> {
    let Some(text) = table.option(BASE_TIME) else { return Ok(START_MS) };
    let text = text.trim();
    let time = || NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok();
    let ms = text.parse().ok().or_else(|| time().map(|time| time.and_utc().timestamp_millis()));
    ms.ok_or_else(|| {
        let problem = format!("'{text}' is no point in time");
        wrong(BASE_TIME, problem, "write it as '2026-01-01 00:00:00'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;

    fn amount_of(options: &[(&str, &str)]) -> Amount {
        settings(&table(options)).unwrap().1
    }

    #[test]
    fn an_input_with_an_end_goes_as_fast_as_it_can_and_one_without_at_its_rate() {
        let endless = Amount { rows: None, is_bounded: false, rows_per_second: 10_000.0 };
        assert_eq!(amount_of(&[]), endless);
        assert_eq!(amount_of(&[("events.num", "0"), ("stop-at", "-1")]), endless);
        let fast = Amount { rows: Some(9), is_bounded: true, rows_per_second: f64::INFINITY };
        assert_eq!(amount_of(&[("events.num", "9"), (NEXT_RATE, "5")]), fast);
        let paced = [("events.num", "9"), (NEXT_RATE, "5"), ("max-emit-speed", "false")];
        assert_eq!(amount_of(&paced), Amount { rows_per_second: 5.0, ..fast });
        let kept = [("events.num", "12"), ("stop-at", "9"), ("keep-alive", "true")];
        assert_eq!(amount_of(&kept), Amount { is_bounded: false, ..fast });
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |options: &[(&str, &str)]| settings(&table(options)).unwrap_err().option;
        assert_eq!(refused(&[("event.num", "5")]), "event.num");
        assert_eq!(refused(&[(FIRST_RATE, "5"), (NEXT_RATE, "6")]), NEXT_RATE);
        assert_eq!(refused(&[(FIRST_RATE, "0")]), NEXT_RATE);
        assert_eq!(refused(&[(BASE_TIME, "noon")]), BASE_TIME);
        let none = [("person.proportion", "0"), ("auction.proportion", "0"), (BID_PROPORTION, "0")];
        assert_eq!(refused(&none), BID_PROPORTION);
    }

    #[test]
    fn a_base_time_is_text_or_milliseconds() {
        let start = |text| settings(&table(&[(BASE_TIME, text)])).unwrap().0.start_ms;
        assert_eq!(start("2026-01-01 00:00:00"), START_MS);
        assert_eq!(start("1970-01-01 00:00:01.5"), 1500);
        assert_eq!(start("-7"), -7);
    }
}
