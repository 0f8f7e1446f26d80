//! The events: prices of shares, seeded, the same bytes for the same numbers.
//!
//! Each share's price is a random walk in small steps, and now and then a large one. Event time
//! moves on by ten milliseconds with each tick, and no two ticks have the same; in the file a tick
//! stands among those of the second around it, so that nothing is late for a watermark of two.

use crate::events::{in_january, make};
use std::io::Write;
use std::path::Path;
use tidemill_jobs::random::Random;

const SHARES: u64 = 1_000;
/// Between two ticks.
const STEP_MS: u64 = 10;
/// Ticks are out of order within blocks of so many.
const BLOCK: u64 = 100;

/// Makes a file of so many ticks, unless it is there already.
pub(super) fn prepare(path: &Path, count: u64, seed: u64) -> anyhow::Result<()> {
    make(path, &format!("{count} ticks"), |out| write(count, seed, out))
}

fn write(count: u64, seed: u64, out: &mut impl Write) -> std::io::Result<()> {
    let mut random = Random::new(seed, 1);
    let mut prices = vec![1_000_i64; SHARES as usize];
    let mut block: Vec<String> = vec![];
    for id in 0..count {
        let share = random.below(SHARES);
        let price = &mut prices[share as usize];
        *price = (*price + step(&mut random)).max(1);
        let kind = random.weighted(&[("view", 70), ("cart", 20), ("buy", 10)]);
        let (volume, time) = (random.below(41), time(id * STEP_MS));
        block.push(format!(
            "{{\"id\":{id},\"sym\":\"S{share:03}\",\"kind\":\"{kind}\",\"px\":{price},\
             \"vol\":{volume},\"ts\":\"{time}\"}}\n"
        ));
        if block.len() as u64 == BLOCK || id + 1 == count {
            shuffle(&mut block, &mut random);
            block.drain(..).try_for_each(|line| out.write_all(line.as_bytes()))?;
        }
    }
    Ok(())
}

/// By how much a price changes.
fn step(random: &mut Random) -> i64 {
    let spread = random.weighted(&[(6, 95), (150, 5)]);
    random.below(2 * spread + 1) as i64 - spread as i64
}

fn shuffle(lines: &mut [String], random: &mut Random) {
    for last in (1..lines.len()).rev() {
        lines.swap(last, random.below(last as u64 + 1) as usize);
    }
}

fn time(ms: u64) -> String {
    let [day, hours, minutes, seconds, ms] = in_january(ms);
    format!("2026-01-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ticks_are_there_none_late_and_the_seed_decides_them() {
        let text = |seed| {
            let mut out = vec![];
            write(250, seed, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let ids: Vec<u64> = text(7)
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|tick| tick["id"].as_u64().unwrap())
            .collect();
        let mut newest = 0;
        for &id in &ids {
            assert!(id + BLOCK > newest, "tick {id} came after {newest}");
            newest = newest.max(id);
        }
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..250).collect::<Vec<_>>());
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }
}
