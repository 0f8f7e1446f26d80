//! How old news is when it arrives: an updating count per key, beside a bare copy from topic to
//! topic.
//!
//! An event says when it was *due*, not when it was sent, so that a producer that is held up
//! doesn't hide what its events had to wait (coordinated omission). A count's row says when the
//! newest event in it was due. The rate is half of the highest one that the job keeps up with,
//! which is looked for first: the rate is raised until news gets older and older, then narrowed
//! down.

use crate::consumer::BatchConsumer;
use crate::kafka::{broker, find_broker, send, topic};
use crate::process::engine;
use anyhow::{Context, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde::Deserialize;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const COUNT_SQL: &str = include_str!("../kafka/count.sql");
const KEYS: u64 = 10_000;
/// Both the job and the copy hold output back for so long at most, to send more at once.
const LINGER_MS: &str = "1";
/// The first seconds of a run are not measured.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long each rate is tried while the highest one is looked for.
const TRIAL: Duration = Duration::from_secs(8);
/// The first rate that is tried.
const RATE_FIRST: u64 = 100_000;
/// Rates are raised so long, to this at most: no producer here makes more.
const RATE_MAX: u64 = 3_000_000;
/// Whoever keeps up is no more than this older in the second half of a trial than in the first …
const AGING_MS_MAX: f64 = 50.0;
/// … and never this old.
const AGE_MS_MAX: f64 = 1000.0;

/// What waits for longer than ten minutes is taken to have waited for so long.
const LATENCY_US_MAX: u64 = 600_000_000;

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Events per second; without, half of the highest rate.
    #[arg(long)]
    rate: Option<u64>,
    /// How long each is measured.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many workers.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// A broker; without, one is started.
    #[arg(long)]
    brokers: Option<String>,
    /// Make results visible by checkpoints, so often, instead of at least once and at once.
    #[arg(long, value_name = "MS")]
    exactly_once_each_ms: Option<u64>,
}

/// What the bare copy copies.
#[derive(Debug, Args)]
pub struct CopyArguments {
    brokers: String,
    from: String,
    to: String,
}

/// Who takes part.
#[derive(Clone, Copy, Debug)]
pub enum Contestant {
    /// The updating count: at least once, or exactly once by checkpoints so often.
    Count {
        /// How many workers.
        workers: usize,
        /// The interval of checkpoints.
        exactly_once_each_ms: Option<u64>,
    },
    /// The bare copy.
    Copy,
}

/// Runs the suite and prints the latencies.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let brokers = find_broker(arguments.brokers.as_ref())?;
    let count = Contestant::Count {
        workers: arguments.workers,
        exactly_once_each_ms: arguments.exactly_once_each_ms,
    };
    let rate = match arguments.rate {
        Some(rate) => rate,
        None => {
            let highest = highest(|rate| {
                let seen = run(&brokers, count, rate, TRIAL)?;
                seen.print(&format!("at {rate}"));
                Ok(seen.keeps_up(rate))
            })?;
            println!("highest rate that the job keeps up with: {highest} events/s");
            (highest / 2).max(1)
        }
    };
    println!("{rate} events/s of {KEYS} keys for {} s; milliseconds:", arguments.seconds);
    let time = Duration::from_secs(arguments.seconds);
    // In turn, for the machine is not the same from one minute to the next.
    let (mut copies_ms, mut counts_ms) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds.max(1) {
        let copy = run(&brokers, Contestant::Copy, rate, time)?;
        copy.print("bare copy");
        copies_ms.push(quantile_ms(&copy.latencies_us(), 0.99));
        let count = run(&brokers, count, rate, time)?;
        count.print("updating count");
        counts_ms.push(quantile_ms(&count.latencies_us(), 0.99));
    }
    let (copy_ms, count_ms) = (median(copies_ms), median(counts_ms));
    let above = count_ms - copy_ms;
    println!(
        "medians of p99: copy {copy_ms:.1}, count {count_ms:.1}: {above:.1} ms above the copy"
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The highest rate at which it keeps up, found within a tenth.
fn highest(mut keeps_up: impl FnMut(u64) -> anyhow::Result<bool>) -> anyhow::Result<u64> {
    let mut low = RATE_FIRST;
    while !keeps_up(low)? {
        low /= 2;
        ensure!(low > 0, "it keeps up with no rate at all");
    }
    let mut high = low;
    while high == low {
        high = (low + low / 2).min(RATE_MAX);
        if high == low {
            return Ok(low);
        }
        if keeps_up(high)? {
            low = high;
        }
    }
    while high - low > (low / 10).max(1) {
        let middle = low.midpoint(high);
        if keeps_up(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

struct Seen {
    /// How old rows were in the first and in the second half of the time.
    halves_us: [Histogram<u64>; 2],
    /// Events that were taken in while it was measured.
    events: u64,
    time: Duration,
}

impl Seen {
    fn rate(&self) -> u64 {
        (self.events as f64 / self.time.as_secs_f64()) as u64
    }

    /// Whether what is due comes out, and no older at the end than at the beginning.
    fn keeps_up(&self, rate: u64) -> bool {
        let [first, second] = self.halves_us.each_ref().map(|half| quantile_ms(half, 0.5));
        let takes_in_all = self.rate() as f64 > 0.97 * rate as f64;
        takes_in_all && second < first + AGING_MS_MAX && second < AGE_MS_MAX
    }

    fn latencies_us(&self) -> Histogram<u64> {
        let [first, second] = &self.halves_us;
        let mut all = first.clone();
        all.add(second).expect("both have the same bounds");
        all
    }

    fn print(&self, name: &str) {
        let all = self.latencies_us();
        println!(
            "{name:<15} p50 {:>6.1}  p90 {:>6.1}  p99 {:>6.1}  p99.9 {:>6.1}  max {:>6.1}  ({} rows, {} events/s)",
            quantile_ms(&all, 0.5),
            quantile_ms(&all, 0.9),
            quantile_ms(&all, 0.99),
            quantile_ms(&all, 0.999),
            all.max() as f64 / 1000.0,
            all.len(),
            self.rate(),
        );
    }
}

fn quantile_ms(latencies_us: &Histogram<u64>, quantile: f64) -> f64 {
    latencies_us.value_at_quantile(quantile) as f64 / 1000.0
}

/// Runs one contestant: events at a rate on one side, what comes out on the other.
fn run(brokers: &str, contestant: Contestant, rate: u64, time: Duration) -> anyhow::Result<Seen> {
    // Each run has topics of its own: it would read what another left.
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let (input, output) = (topic(&format!("in-{number}")), topic(&format!("out-{number}")));
    broker::create_topic(brokers, &input, 1);
    broker::create_topic(brokers, &output, 1);
    let directory = tempfile::tempdir()?;
    let mut command = command(brokers, contestant, &input, &output, directory.path())?;
    let mut process = Process(command.stdin(Stdio::null()).spawn()?);
    // It is up as soon as it has answered.
    let is_over = AtomicBool::new(false);
    let seen = thread::scope(|threads| {
        let producer = threads.spawn(|| produce(brokers, &input, rate, &is_over));
        let seen = watch(brokers, &output, time);
        is_over.store(true, Ordering::Release);
        let produced = producer.join();
        produced.map_err(|_| anyhow::anyhow!("the producer failed"))??;
        seen
    });
    process.stop()?;
    seen
}

/// The process of a contestant; what it keeps is in `directory`.
pub fn command(
    brokers: &str,
    contestant: Contestant,
    input: &str,
    output: &str,
    directory: &std::path::Path,
) -> anyhow::Result<Command> {
    let Contestant::Count { workers, exactly_once_each_ms } = contestant else {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["copy", brokers, input, output]);
        return Ok(command);
    };
    let path = directory.join("count.sql");
    std::fs::write(&path, COUNT_SQL)?;
    let mut command = engine(None)?;
    command.arg("run").arg(path).args(["--workers", &workers.to_string()]);
    command.arg("--state").arg(directory.join("state"));
    let guarantee = exactly_once_each_ms.map_or("at-least-once", |_| "exactly-once");
    let interval = exactly_once_each_ms.map_or("1 s".to_owned(), |ms| format!("{ms} ms"));
    let variables = [
        ("BROKERS", brokers),
        ("INPUT", input),
        ("OUTPUT", output),
        ("LINGER_MS", LINGER_MS),
        ("GUARANTEE", guarantee),
        ("execution.checkpointing.interval", &interval),
    ];
    for (name, value) in variables {
        command.arg("-D").arg(format!("{name}={value}"));
    }
    Ok(command)
}

/// A contestant's process, ended with this value.
struct Process(Child);

impl Process {
    fn stop(&mut self) -> anyhow::Result<()> {
        // SAFETY: the process is our child and has not been waited for, so the number is its own.
        unsafe { libc::kill(self.0.id().cast_signed(), libc::SIGTERM) };
        let status = self.0.wait()?;
        // The copy knows no end but this one.
        let was_told = std::os::unix::process::ExitStatusExt::signal(&status).is_some();
        ensure!(status.success() || was_told, "it failed: {status}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends events as they are due, until it is over.
fn produce(brokers: &str, topic: &str, rate: u64, is_over: &AtomicBool) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "200000")
        .create()?;
    let (started, started_us) = (Instant::now(), now_us());
    let mut sent = 0;
    let mut payload = String::new();
    while !is_over.load(Ordering::Acquire) {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        // In small steps, or the end would not be seen when far behind.
        let end = due.min(sent + 1000);
        while sent < end {
            use std::fmt::Write;
            let created = started_us + (sent as f64 * 1e6 / rate as f64) as u64;
            payload.clear();
            // A step that is prime to the number of keys visits all of them.
            let key = sent.wrapping_mul(7919) % KEYS;
            write!(payload, "{{\"k\":{key},\"created\":{created}}}")?;
            send(&producer, || BaseRecord::to(topic).payload(payload.as_bytes()))?;
            sent += 1;
        }
        if sent >= due {
            thread::sleep(Duration::from_micros(500));
        }
        producer.poll(Duration::ZERO);
    }
    producer.purge(rdkafka::producer::PurgeConfig::default().queue());
    let _ = producer.flush(Duration::from_secs(10));
    Ok(())
}

/// Takes what comes out, for some time from the first row and the warm-up on.
fn watch(brokers: &str, topic: &str, time: Duration) -> anyhow::Result<Seen> {
    #[derive(Deserialize)]
    struct Row {
        created: u64,
        k: u64,
        /// Of a count; a copy has one row for each event.
        n: Option<u64>,
    }
    let mut consumer = BatchConsumer::new(brokers, topic)?;
    let empty = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
    let mut halves_us = [empty.clone(), empty];
    let mut counts = vec![0; KEYS as usize];
    let (mut events, mut bad) = (0, None);
    let (asked, mut begun) = (Instant::now(), None::<Instant>);
    loop {
        let measured = begun.and_then(|begun| begun.elapsed().checked_sub(WARM_UP));
        let half = measured.map(|measured| usize::from(measured >= time / 2));
        let now = now_us();
        let read = consumer.poll(|payload| match serde_json::from_slice::<Row>(payload) {
            Err(error) => bad = Some(error),
            Ok(row) => {
                let count = &mut counts[row.k as usize];
                let n = row.n.unwrap_or(*count + 1);
                if let Some(half) = half {
                    events += n.saturating_sub(*count);
                    halves_us[half]
                        .saturating_record(now_us().max(now).saturating_sub(row.created));
                }
                *count = n;
            }
        });
        if let Some(error) = bad {
            return Err(error).context("a row that came out");
        }
        if read > 0 {
            begun.get_or_insert_with(Instant::now);
        }
        match begun {
            None => ensure!(asked.elapsed() < Duration::from_secs(60), "nothing comes out"),
            Some(begun) if begun.elapsed() >= WARM_UP + time => break,
            Some(_) => {}
        }
    }
    Ok(Seen { halves_us, events, time })
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Copies a topic, message by message, until it is killed.
pub fn copy(arguments: &CopyArguments) -> anyhow::Result<()> {
    let mut consumer = BatchConsumer::new(&arguments.brokers, &arguments.from)?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &arguments.brokers)
        .set("linger.ms", LINGER_MS)
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    loop {
        let mut failed = None;
        consumer.poll(|payload| {
            let sent = send(&producer, || BaseRecord::to(&arguments.to).payload(payload));
            failed = failed.take().or(sent.err());
        });
        if let Some(error) = failed {
            return Err(error);
        }
        producer.poll(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_within_a_tenth() {
        for limit in [3, 70_000, 100_000, 333_333, 1_000_000, RATE_MAX] {
            let mut trials = 0;
            let found = highest(|rate| {
                trials += 1;
                Ok(rate <= limit)
            });
            let found = found.expect("there is one");
            assert!(found <= limit && limit - found <= found / 10 + 1, "{limit}: {found}");
            assert!(trials < 25, "{limit}: {trials} trials");
        }
        assert!(highest(|_| Ok(false)).is_err());
    }

    #[test]
    fn who_gets_older_does_not_keep_up() {
        let seen = |first_ms: u64, second_ms: u64, events: u64| {
            let mut halves_us = [(); 2].map(|()| Histogram::new(3).expect("a histogram"));
            halves_us[0].record(first_ms * 1000).expect("in bounds");
            halves_us[1].record(second_ms * 1000).expect("in bounds");
            Seen { halves_us, events, time: Duration::from_secs(1) }
        };
        assert!(seen(10, 12, 1000).keeps_up(1000));
        assert!(!seen(10, 12, 900).keeps_up(1000), "it takes in too little");
        assert!(!seen(10, 200, 1000).keeps_up(1000), "it gets older");
        assert!(!seen(2000, 2000, 1000).keeps_up(1000), "it is too old");
    }
}
