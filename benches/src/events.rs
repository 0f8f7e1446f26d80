//! The events: what visitors of a shop do, seeded, the same bytes for the same numbers.
//!
//! 100,000 users and 10,000 products, both by Zipf's law. Event time moves on by a millisecond
//! with each event; each event is up to two seconds older than that, so that nothing is late for
//! a watermark of two seconds.

use anyhow::Context;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use tidemill_jobs::random::{Popularity, Random};

const USERS: u32 = 100_000;
const PRODUCTS: u32 = 10_000;
const USER_EXPONENT: f64 = 1.05;
const PRODUCT_EXPONENT: f64 = 0.9;
/// Events are out of order by less than this.
pub const DISORDER_MS: u64 = 2000;

/// A stream of events.
pub struct Events {
    random: Random,
    users: Popularity,
    products: Popularity,
    prices: Vec<String>,
    number: u64,
}

impl Events {
    /// The stream of a seed, from its beginning.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let weights = |count: u32, exponent: f64| {
            (1..=count).map(move |rank| f64::from(rank).powf(-exponent))
        };
        let users = Popularity::weighted(weights(USERS, USER_EXPONENT), &mut random);
        let products = Popularity::weighted(weights(PRODUCTS, PRODUCT_EXPONENT), &mut random);
        let prices = (0..PRODUCTS).map(|_| price(random.between(100, 20_000))).collect();
        Events { random, users, products, prices, number: 0 }
    }

    /// Writes the next event as JSON, without a line's end.
    pub fn write(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        let random = &mut self.random;
        let user = self.users.pick(random);
        let product = self.products.pick(random);
        let kinds = [("view", 70), ("click", 20), ("add_to_cart", 7), ("purchase", 3)];
        let kind = random.weighted(&kinds);
        let hint = random.below(100);
        let ms = self.number.saturating_sub(random.below(DISORDER_MS));
        let price = &self.prices[product as usize];
        write!(
            out,
            "{{\"event_id\":{},\"user_id\":\"u-{user:06}\",\"session_hint\":{hint},\
             \"event_type\":\"{kind}\",\"page\":\"/product/{product}\",\"product_id\":{product},\
             \"price\":{price},\"ts\":\"",
            self.number
        )?;
        write_time(ms, out)?;
        out.write_all(b"\"}")?;
        self.number += 1;
        Ok(())
    }
}

/// Cents as a number in JSON, as short as others write it.
fn price(cents: u64) -> String {
    format!("{:?}", cents as f64 / 100.0)
}

/// Day, hour, minute, second and millisecond of what is so many milliseconds after the beginning of
/// January 2026, within that month.
pub fn in_january(ms: u64) -> [u64; 5] {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let (days, hours) = (hours / 24, hours % 24);
    [days + 1, hours, minutes, seconds, ms]
}

fn write_time(ms: u64, out: &mut impl Write) -> std::io::Result<()> {
    let [day, hours, minutes, seconds, ms] = in_january(ms);
    write!(out, "2026-01-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
}

/// Makes a file of `count` events, unless it is there already.
pub fn prepare(path: &Path, count: u64, seed: u64) -> anyhow::Result<()> {
    make(path, &format!("{count} events"), |out| {
        let mut events = Events::new(seed);
        for _ in 0..count {
            events.write(out)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Makes a file, unless it is there already; whole or not at all.
pub fn make(
    path: &Path,
    what: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    eprintln!("generating {what}: {}", path.display());
    let work = path.with_extension("part");
    let file = File::create(&work).with_context(|| format!("creating {}", work.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out)?;
    out.flush()?;
    drop(out);
    Ok(fs::rename(work, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_flat_json_and_the_seed_decides_it() {
        let line = |seed| {
            let mut line = Vec::new();
            let mut events = Events::new(seed);
            events.write(&mut line).unwrap();
            line
        };
        let event: serde_json::Value = serde_json::from_slice(&line(7)).unwrap();
        assert_eq!(event["ts"], "2026-01-01T00:00:00.000Z");
        assert_eq!(event.as_object().unwrap().len(), 8);
        assert_eq!(line(7), line(7));
        assert_ne!(line(7), line(8));
    }
}
