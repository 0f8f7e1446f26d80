//! From the moment something happens to the moment its record arrives: delays, retries, damage.
//!
//! A [`World`] makes records in the order of event time; [`Arrivals`] gives them in the order in
//! which a broker would receive them. The promise to the job's watermark: a record that is not
//! deliberately late arrives less than [`Faults::delay_ms`] after it happened, so that its event
//! time is always greater than the greatest event time seen before it less that bound.

use crate::Record;
use crate::random::Random;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What goes wrong on the way, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Every record on time arrives in less than this after it happened.
    pub delay_ms: u64,
    /// One in so many records is late.
    pub late_one_in: u64,
    /// A late record arrives at least so long after it happened …
    pub late_min_ms: u64,
    /// … and at most so long.
    pub late_max_ms: u64,
    /// One in so many records is sent twice, because its acknowledgement was lost; 0 means none.
    pub duplicate_one_in: u64,
    /// One in so many records arrives damaged.
    pub broken_one_in: u64,
}

/// Something that makes records in the order of event time.
pub trait World {
    /// Event time, in milliseconds. Never falls.
    fn now_ms(&self) -> i64;

    /// Lets the next thing happen: moves event time on and sends what that causes.
    fn step(&mut self, network: &mut Network);
}

/// What is under way between the makers of records and the broker.
#[derive(Debug)]
pub struct Network {
    faults: Faults,
    random: Random,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    sent: u64,
}

/// A record with its time of arrival. The order is by time, and by sending where that is equal.
#[derive(Debug, PartialEq, Eq)]
struct UnderWay {
    arrival_ms: i64,
    sent: u64,
    record: Record,
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.arrival_ms, self.sent).cmp(&(other.arrival_ms, other.sent))
    }
}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Network {
    /// Sends a record that happened at `now_ms`, with everything that may go wrong.
    pub fn send(&mut self, now_ms: i64, topic: &'static str, key: Vec<u8>, value: Vec<u8>) {
        let duplicates = self.faults.duplicate_one_in;
        self.send_retried(duplicates, now_ms, topic, key, value);
    }

    /// Sends a record whose sender doesn't ask whether it arrived, and so never sends it twice.
    pub fn send_once(&mut self, now_ms: i64, topic: &'static str, key: Vec<u8>, value: Vec<u8>) {
        self.send_retried(0, now_ms, topic, key, value);
    }

    fn send_retried(
        &mut self,
        duplicate_one_in: u64,
        now_ms: i64,
        topic: &'static str,
        key: Vec<u8>,
        mut value: Vec<u8>,
    ) {
        let Faults { late_one_in, late_min_ms, late_max_ms, .. } = self.faults;
        if self.random.one_in(self.faults.broken_one_in) {
            damage(&mut value, &mut self.random);
        }
        if self.random.one_in(late_one_in) {
            let delay_ms = self.random.between(late_min_ms, late_max_ms);
            return self.deliver(now_ms, delay_ms, topic, key, value);
        }
        if duplicate_one_in > 0 && self.random.one_in(duplicate_one_in) {
            let delay_ms = self.delay_ms();
            self.deliver(now_ms, delay_ms, topic, key.clone(), value.clone());
        }
        let delay_ms = self.delay_ms();
        self.deliver(now_ms, delay_ms, topic, key, value);
    }

    /// Sends a record that arrives at once, whole and exactly once: a database's change log,
    /// whose order matters, travels so.
    pub fn send_in_order(
        &mut self,
        now_ms: i64,
        topic: &'static str,
        key: Vec<u8>,
        value: Vec<u8>,
    ) {
        self.deliver(now_ms, 0, topic, key, value);
    }

    fn deliver(
        &mut self,
        now_ms: i64,
        delay_ms: u64,
        topic: &'static str,
        key: Vec<u8>,
        value: Vec<u8>,
    ) {
        let arrival_ms = now_ms + delay_ms as i64;
        let record = Record { topic, key, value, timestamp_ms: arrival_ms };
        self.under_way.push(Reverse(UnderWay { arrival_ms, sent: self.sent, record }));
        self.sent += 1;
    }

    /// Mostly a few hundredths of the bound, now and then nearly all of it.
    fn delay_ms(&mut self) -> u64 {
        let skewed = self.random.unit() * self.random.unit() * self.random.unit();
        (skewed * self.faults.delay_ms as f64) as u64
    }

    /// The next record that has arrived before anything new can: one that arrives now may still
    /// be overtaken by nothing, since later sendings have greater numbers.
    fn arrived(&mut self, now_ms: i64) -> Option<Record> {
        let Reverse(first) = self.under_way.peek()?;
        if first.arrival_ms >= now_ms {
            return None;
        }
        self.under_way.pop().map(|Reverse(under_way)| under_way.record)
    }
}

/// Spoils a record so that no decoder can take it for a row.
fn damage(value: &mut Vec<u8>, random: &mut Random) {
    match random.below(4) {
        0 => value.truncate(value.len() / 2),
        1 => *value = b"<html><body>502 Bad Gateway</body></html>".to_vec(),
        2 => value[1] = 0xff,
        _ => {
            let text = String::from_utf8_lossy(value).replace("\"ts\":\"", "\"ts\":\"about ");
            *value = text.into_bytes();
        }
    }
}

/// The records of a world in the order of their arrival. Never ends.
#[derive(Debug)]
pub struct Arrivals<W> {
    world: W,
    network: Network,
}

impl<W: World> Arrivals<W> {
    /// Puts a network with these faults behind a world.
    pub fn new(world: W, faults: Faults, seed: u64) -> Self {
        let random = Random::new(seed, 0xa221);
        let network = Network { faults, random, under_way: BinaryHeap::new(), sent: 0 };
        Arrivals { world, network }
    }
}

impl<W: World> Iterator for Arrivals<W> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.network.arrived(self.world.now_ms()) {
                return Some(record);
            }
            self.world.step(&mut self.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(i64);

    impl World for Counter {
        fn now_ms(&self) -> i64 {
            self.0
        }

        fn step(&mut self, network: &mut Network) {
            self.0 += 1;
            let value = format!("{{\"n\":{},\"ts\":\"now\"}}", self.0).into_bytes();
            network.send(self.0, "numbers", Vec::new(), value);
        }
    }

    const FAULTS: Faults = Faults {
        delay_ms: 50,
        late_one_in: 100,
        late_min_ms: 200,
        late_max_ms: 300,
        duplicate_one_in: 50,
        broken_one_in: 25,
    };

    fn number(record: &Record) -> Option<i64> {
        let value: serde_json::Value = serde_json::from_slice(&record.value).ok()?;
        if value["ts"] != "now" {
            return None;
        }
        value["n"].as_i64()
    }

    #[test]
    fn arrivals_are_in_order_of_arrival_and_nothing_gets_lost() {
        let records: Vec<Record> = Arrivals::new(Counter(0), FAULTS, 1).take(20_000).collect();
        assert!(records.is_sorted_by_key(|record| record.timestamp_ms));
        let mut numbers: Vec<i64> = records.iter().filter_map(number).collect();
        numbers.sort_unstable();
        let twice = numbers.windows(2).filter(|pair| pair[0] == pair[1]).count();
        numbers.dedup();
        let broken = records.iter().filter(|record| number(record).is_none()).count();
        assert!((280..520).contains(&twice), "{twice}");
        assert!((650..1000).contains(&broken), "{broken}");
        let whole = 20_000 - twice - broken;
        assert_eq!(numbers.len(), whole);
    }

    #[test]
    fn only_late_records_break_the_bound_of_disorder() {
        let mut greatest = 0;
        let mut late = 0;
        for record in Arrivals::new(Counter(0), FAULTS, 2).take(20_000) {
            let Some(number) = number(&record) else { continue };
            if number <= greatest - FAULTS.delay_ms as i64 {
                late += 1;
                assert!(record.timestamp_ms - number >= FAULTS.late_min_ms as i64);
            }
            greatest = greatest.max(number);
        }
        assert!((150..250).contains(&late), "{late}");
    }

    #[test]
    fn every_kind_of_damage_makes_a_record_undecodable() {
        let mut random = Random::new(3, 0);
        for _ in 0..100 {
            let mut value = b"{\"n\":1,\"ts\":\"now\"}".to_vec();
            damage(&mut value, &mut random);
            let record = Record { topic: "numbers", key: Vec::new(), value, timestamp_ms: 0 };
            assert_eq!(number(&record), None);
        }
    }
}
