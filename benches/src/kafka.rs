//! A count per product and minute from topic to topic, beside a consumer that only reads the same
//! topic: exactly once with a checkpoint each second, and without both.
//!
//! The topic is loaded beforehand. All are processes of their own, started anew for each round;
//! connecting and finding out about the topic counts for all.

use crate::consumer::BatchConsumer;
use crate::events::Events;
use crate::process::{Usage, engine, measure};
use anyhow::{Context, bail, ensure};
use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[allow(clippy::all, missing_docs, unreachable_pub)]
#[path = "../../engine/connectors/tests/kafka/broker.rs"]
pub mod broker;

const TUMBLE_SQL: &str = include_str!("../kafka/tumble.sql");

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many events.
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// Which events.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many partitions.
    #[arg(long, default_value_t = 2)]
    partitions: i32,
    /// How many workers.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// How often each is run; the fastest run counts, and for processor time the cheapest.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A broker; without, one is started.
    #[arg(long)]
    brokers: Option<String>,
}

/// What the bare consumer reads.
#[derive(Debug, Args)]
pub struct ConsumeArguments {
    brokers: String,
    topic: String,
    events: u64,
}

/// The address of a broker that was named, or of one started here.
pub fn find_broker(named: Option<&String>) -> anyhow::Result<String> {
    match named {
        Some(brokers) => Ok(brokers.clone()),
        None => broker::brokers().map(str::to_owned).context("no broker: pass --brokers"),
    }
}

/// A name for topics of this run.
pub fn topic(name: &str) -> String {
    format!("tidemill-benches-{}-{name}", std::process::id())
}

/// Runs the suite and prints the ratio.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let brokers = find_broker(arguments.brokers.as_ref())?;
    let input = topic("events");
    broker::create_topic(&brokers, &input, arguments.partitions);
    load(&brokers, &input, arguments)?;
    let directory = tempfile::tempdir()?;
    let mut best: [Option<Usage>; 1 + MODES.len()] = [None; 1 + MODES.len()];
    for round in 0..arguments.rounds.max(1) {
        let mut consume = Command::new(std::env::current_exe()?);
        consume.args(["consume", &brokers, &input, &arguments.events.to_string()]);
        keep_best(&mut best[0], measure(&mut consume)?);
        for (mode, best) in MODES.iter().zip(&mut best[1..]) {
            let output = topic(&format!("counts-{round}-{}", mode.guarantee));
            broker::create_topic(&brokers, &output, 1);
            let mut job = mode.job(&brokers, &input, &output, arguments, directory.path())?;
            keep_best(best, measure(&mut job)?);
            let counted = sum_of_counts(&brokers, &output, arguments.events)?;
            ensure!(counted == arguments.events, "{counted} of {} were counted", arguments.events);
        }
    }
    let [Some(bare), Some(exact), Some(loose)] = best else { bail!("no round") };
    let events = arguments.events as f64;
    let show = |name: &str, usage: &Usage| {
        let (wall, cpu) = (usage.wall.as_secs_f64(), usage.cpu.as_secs_f64());
        println!(
            "{name:<32} {:>9.0} events/s  {:.3} us CPU/event  {} MB",
            events / wall,
            cpu * 1e6 / events,
            usage.peak_bytes >> 20
        );
    };
    println!("{} events, {} partitions", arguments.events, arguments.partitions);
    show("bare consumer", &bare);
    for (mode, usage) in MODES.iter().zip([&exact, &loose]) {
        show(mode.name, usage);
    }
    let rate = bare.wall.as_secs_f64() / exact.wall.as_secs_f64();
    let cost = exact.cpu.as_secs_f64() / loose.cpu.as_secs_f64();
    println!(
        "exactly once the count has {rate:.2} of the bare consumer's rate, and takes {cost:.2} of \
         the processor time that it takes without checkpoints; every event was counted"
    );
    Ok(())
}

/// What a count promises.
struct Mode {
    name: &'static str,
    guarantee: &'static str,
    interval: &'static str,
}

const MODES: [Mode; 2] = [
    Mode { name: "count, exactly once", guarantee: "exactly-once", interval: "1 s" },
    Mode { name: "count, without checkpoints", guarantee: "none", interval: "1 h" },
];

impl Mode {
    fn job(
        &self,
        brokers: &str,
        input: &str,
        output: &str,
        arguments: &Arguments,
        directory: &Path,
    ) -> anyhow::Result<Command> {
        let path = directory.join("tumble.sql");
        std::fs::write(&path, TUMBLE_SQL)?;
        let mut command = engine(None)?;
        command.arg("run").arg(path).args(["--workers", &arguments.workers.to_string()]);
        let interval = self.interval;
        command.args(["-D", &format!("execution.checkpointing.interval={interval}")]);
        let variables = [
            ("BROKERS", brokers),
            ("INPUT", input),
            ("OUTPUT", output),
            ("GUARANTEE", self.guarantee),
        ];
        for (name, value) in variables {
            command.arg("-D").arg(format!("{name}={value}"));
        }
        Ok(command)
    }
}

/// Reads a topic and does nothing.
pub fn consume(arguments: &ConsumeArguments) -> anyhow::Result<()> {
    let mut consumer = BatchConsumer::new(&arguments.brokers, &arguments.topic)?;
    let (mut read, mut bytes) = (0, 0);
    while read < arguments.events {
        read += consumer.poll(|payload| bytes += payload.len()) as u64;
    }
    ensure!(bytes > 0, "the events are empty");
    Ok(())
}

fn keep_best(best: &mut Option<Usage>, usage: Usage) {
    *best = Some(best.map_or(usage, |best| best.cheaper(usage)));
}

fn load(brokers: &str, topic: &str, arguments: &Arguments) -> anyhow::Result<()> {
    eprintln!("loading {} events", arguments.events);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "50")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "500000")
        .create()?;
    let mut events = Events::new(arguments.seed);
    let mut payload = Vec::new();
    for number in 0..arguments.events {
        payload.clear();
        events.write(&mut payload)?;
        // In turn, so that partitions keep in step: what is behind by more than the watermark's
        // bound would be late.
        let partition = (number % arguments.partitions.max(1) as u64) as i32;
        let record = || BaseRecord::<(), _>::to(topic).partition(partition).payload(&payload);
        send(&producer, record)?;
    }
    Ok(producer.flush(Duration::from_secs(60))?)
}

/// Sends a record, waiting while the producer's queue is full.
pub fn send<'a, P: rdkafka::message::ToBytes + ?Sized + 'a>(
    producer: &BaseProducer,
    record: impl Fn() -> BaseRecord<'a, (), P>,
) -> anyhow::Result<()> {
    loop {
        match producer.send(record()) {
            Ok(()) => break,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How many events the rows of a result stand for.
fn sum_of_counts(brokers: &str, topic: &str, expected: u64) -> anyhow::Result<u64> {
    #[derive(serde::Deserialize)]
    struct Count {
        n: u64,
    }
    let mut consumer = BatchConsumer::new(brokers, topic)?;
    let (mut sum, mut bad, mut idle) = (0, None, 0);
    while sum < expected && idle < 3000 {
        let read = consumer.poll(|payload| match serde_json::from_slice::<Count>(payload) {
            Ok(row) => sum += row.n,
            Err(error) => bad = Some(error),
        });
        idle = if read == 0 { idle + 1 } else { 0 };
    }
    bad.map_or(Ok(sum), |error| Err(error).context("a row of the result"))
}
