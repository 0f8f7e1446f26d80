//! How long a killed job takes until readers of committed records see its next result.
//!
//! The job is the updating count per key of the latency suite, exactly once, with a checkpoint each
//! 100 ms and a row of state for each of many keys. It is killed with SIGKILL, one more event is
//! sent, and it is started again: what counts is the time from there to the event's row.

use crate::consumer::BatchConsumer;
use crate::kafka::{broker, find_broker, send, topic};
use crate::latency::{Contestant, command};
use anyhow::{Context, ensure};
use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 2;
const CHECKPOINT_INTERVAL_MS: u64 = 100;
/// Between two deaths, so that checkpoints have come to rest.
const LIFE: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(120);

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Keys that the job holds.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// How often it is killed.
    #[arg(long, default_value_t = 7)]
    kills: usize,
    /// How many workers.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// A broker; without, one is started.
    #[arg(long)]
    brokers: Option<String>,
}

/// The job's process. It ends with this.
struct Job(Child);

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the suite and prints each recovery and the median.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let brokers = find_broker(arguments.brokers.as_ref())?;
    let (input, output) = (topic("recovery-events"), topic("recovery-counts"));
    for name in [&input, &output] {
        broker::create_topic(&brokers, name, PARTITIONS);
    }
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("queue.buffering.max.messages", "500000")
        .create()?;
    for key in 0..arguments.keys {
        produce(&producer, &input, key)?;
    }
    producer.flush(TIMEOUT)?;
    let folder = tempfile::tempdir()?;
    let count = Contestant::Count {
        workers: arguments.workers,
        exactly_once_each_ms: Some(CHECKPOINT_INTERVAL_MS),
    };
    let start = || -> anyhow::Result<Job> {
        let mut command = command(&brokers, count, &input, &output, folder.path())?;
        Ok(Job(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    };
    let mut job = start()?;
    let mut consumer = BatchConsumer::new(&brokers, &output)?;
    wait_for(&mut consumer, &mut job, arguments.keys)?;
    let mut recoveries = Vec::new();
    for key in 0..arguments.kills {
        sleep(LIFE);
        drop(job);
        while consumer.poll(|_| {}) > 0 {}
        produce(&producer, &input, key as u64)?;
        producer.flush(TIMEOUT)?;
        let started = Instant::now();
        job = start()?;
        wait_for(&mut consumer, &mut job, 1)?;
        recoveries.push(started.elapsed());
        println!("recovered after {} ms", started.elapsed().as_millis());
    }
    recoveries.sort();
    let median = recoveries.get(recoveries.len() / 2).context("no kill")?;
    println!("{} keys: recovery within {} ms, the median", arguments.keys, median.as_millis());
    Ok(())
}

fn produce(producer: &BaseProducer, topic: &str, key: u64) -> anyhow::Result<()> {
    let payload = format!("{{\"k\":{key},\"created\":0}}");
    send(producer, || BaseRecord::<(), _>::to(topic).payload(payload.as_bytes()))
}

/// Waits for so many rows of the result.
fn wait_for(consumer: &mut BatchConsumer, job: &mut Job, rows: u64) -> anyhow::Result<()> {
    let (mut seen, started) = (0, Instant::now());
    while seen < rows {
        seen += consumer.poll(|_| {}) as u64;
        ensure!(job.0.try_wait()?.is_none(), "the job has ended");
        ensure!(started.elapsed() < TIMEOUT, "{seen} of {rows} rows came");
    }
    Ok(())
}
