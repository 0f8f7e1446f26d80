//! How fast this machine is: what it takes `serde_json` to decode the events.
//!
//! Figures of another engine that were measured elsewhere are only worth something beside the time
//! that the same plain work took there and takes here, in the same run as ours.

use crate::process::thread_cpu;
use anyhow::Context;
use serde::Deserialize;
use std::borrow::Cow;
use std::hint::black_box;
use std::path::Path;

/// Seconds per byte on the machine of Flink's figures: 0.3 us for a record of 166 bytes.
pub(super) const REFERENCE: f64 = 0.3e-6 / 166.0;
/// The fastest of so many passes counts.
const PASSES: usize = 20;

/// An event, as a program would hold it.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "decoded to see what that takes")]
struct Event<'a> {
    event_type: i32,
    #[serde(borrow)]
    person: Option<Person<'a>>,
    #[serde(borrow)]
    auction: Option<Auction<'a>>,
    #[serde(borrow)]
    bid: Option<Bid<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "decoded to see what that takes")]
struct Person<'a> {
    id: i64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    email_address: Cow<'a, str>,
    #[serde(borrow)]
    credit_card: Cow<'a, str>,
    #[serde(borrow)]
    city: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    date_time: Cow<'a, str>,
    #[serde(borrow)]
    extra: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "decoded to see what that takes")]
struct Auction<'a> {
    id: i64,
    #[serde(borrow)]
    item_name: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
    initial_bid: i64,
    reserve: i64,
    #[serde(borrow)]
    date_time: Cow<'a, str>,
    #[serde(borrow)]
    expires: Cow<'a, str>,
    seller: i64,
    category: i64,
    #[serde(borrow)]
    extra: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "decoded to see what that takes")]
struct Bid<'a> {
    auction: i64,
    bidder: i64,
    price: i64,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    date_time: Cow<'a, str>,
    #[serde(borrow)]
    extra: Cow<'a, str>,
}

/// How many times as long as on the machine of Flink's figures plain work takes here.
pub(super) fn slowness(sample: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read(sample).with_context(|| format!("reading {}", sample.display()))?;
    let mut fastest = f64::INFINITY;
    for _ in 0..PASSES {
        let started = thread_cpu();
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            black_box(serde_json::from_slice::<Event<'_>>(line)?);
        }
        fastest = fastest.min((thread_cpu() - started).as_secs_f64());
    }
    Ok(fastest / text.len() as f64 / REFERENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_nexmarks_form_is_decoded() {
        let line = br#"{"event_type":2,"person":null,"auction":null,"bid":{"auction":1000,
            "bidder":1001,"price":457,"channel":"Google","url":"https://","dateTime":
            "2026-01-01 00:00:00","extra":"x\ty"}}"#;
        let event: Event<'_> = serde_json::from_slice(line).unwrap();
        assert_eq!(event.bid.map(|bid| bid.extra.into_owned()).as_deref(), Some("x\ty"));
    }
}
