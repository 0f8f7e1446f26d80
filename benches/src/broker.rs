//! What a broker costs: this project's beside Apache Kafka, with the same client, in turn.
//!
//! What is compared is the processor time of the broker's process for each record that it takes
//! or gives, and how fast the client gets on. Records go in plainly and in transactions; both
//! kinds are read back, committed ones alone. How long each takes to be ready, and the memory it
//! holds idle and at most, is told as well.

use crate::consumer::BatchConsumer;
use crate::kafka::broker::{Broker as Apache, own_broker};
use crate::kafka::{broker, send, topic};
use crate::process::engine;
use anyhow::{Context, ensure};
use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 2;
/// Records of a transaction.
const TRANSACTION: u64 = 10_000;
/// How long a broker is left alone before its memory counts as that of an idle one.
const REST: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(60);

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Records of each kind.
    #[arg(long, default_value_t = 2_000_000)]
    records: u64,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 176)]
    bytes: usize,
    /// How often each is measured; the cheapest counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// A broker at work. It ends with this.
pub enum Broker {
    Apache(Apache),
    Own(Child, String, #[allow(dead_code)] tempfile::TempDir),
}

impl Broker {
    /// Where it listens.
    pub fn address(&self) -> &str {
        match self {
            Broker::Apache(broker) => &broker.address,
            Broker::Own(_, address, _) => address,
        }
    }

    fn process(&self) -> anyhow::Result<u32> {
        match self {
            Broker::Apache(broker) => broker.process().context("Apache Kafka's process"),
            Broker::Own(child, ..) => Ok(child.id()),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Broker::Own(child, ..) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts an embedded broker, as a process of its own.
pub fn start_own() -> anyhow::Result<Broker> {
    let folder = tempfile::tempdir()?;
    let mut command = engine(None)?;
    command.args(["broker", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut address = String::new();
    BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut address)?;
    Ok(Broker::Own(child, address.trim().to_owned(), folder))
}

fn start_apache() -> anyhow::Result<Broker> {
    own_broker("bench").map(Broker::Apache).context("no Apache Kafka: see what was said above")
}

/// What something cost: the broker's processor time, and the time that passed, for each record.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu_us: f64,
    wall_us: f64,
}

#[derive(Debug, Default)]
struct Costs([Option<Cost>; 4]);

const KINDS: [&str; 4] = ["produce", "fetch", "produce, transactions", "fetch, transactions"];

/// Runs the suite and prints the ratios.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let (apache, apache_ready) = ready(start_apache)?;
    let (own, own_ready) = ready(start_own)?;
    thread::sleep(REST);
    let idle = [memory(&own, "VmRSS")?, memory(&apache, "VmRSS")?];
    let (mut own_costs, mut apache_costs) = (Costs::default(), Costs::default());
    for round in 0..arguments.rounds.max(1) {
        own_costs.measure(&own, round, arguments)?;
        apache_costs.measure(&apache, round, arguments)?;
    }
    println!("{} records of {} bytes, {PARTITIONS} partitions", arguments.records, arguments.bytes);
    for (kind, (own, apache)) in KINDS.iter().zip(own_costs.0.iter().zip(apache_costs.0)) {
        let (own, apache) = (own.context("no round")?, apache.context("no round")?);
        println!(
            "{kind:<22} {:.3} us CPU/record, {:>9.0} records/s; Apache Kafka {:.3} us, {:>9.0}/s: \
             {:.2} of its CPU, {:.2} times its rate",
            own.cpu_us,
            1e6 / own.wall_us,
            apache.cpu_us,
            1e6 / apache.wall_us,
            own.cpu_us / apache.cpu_us,
            apache.wall_us / own.wall_us,
        );
    }
    let ms = |time: Duration| time.as_millis();
    println!("ready after            {} ms; Apache Kafka {} ms", ms(own_ready), ms(apache_ready));
    println!("idle memory            {} MB; Apache Kafka {} MB", idle[0] >> 20, idle[1] >> 20);
    let most = [memory(&own, "VmHWM")?, memory(&apache, "VmHWM")?];
    println!("most memory            {} MB; Apache Kafka {} MB", most[0] >> 20, most[1] >> 20);
    Ok(())
}

/// Starts a broker: how long until a client can talk to it.
fn ready(start: impl FnOnce() -> anyhow::Result<Broker>) -> anyhow::Result<(Broker, Duration)> {
    let started = Instant::now();
    let broker = start()?;
    let client: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.address()).create()?;
    client.client().fetch_metadata(None, TIMEOUT)?;
    Ok((broker, started.elapsed()))
}

impl Costs {
    fn measure(
        &mut self,
        broker: &Broker,
        round: usize,
        arguments: &Arguments,
    ) -> anyhow::Result<()> {
        let plain = topic(&format!("plain-{round}"));
        let transactional = topic(&format!("transactional-{round}"));
        for name in [&plain, &transactional] {
            broker::create_topic(broker.address(), name, PARTITIONS);
        }
        let costs = [
            cost(broker, arguments, || produce(broker, &plain, arguments))?,
            cost(broker, arguments, || fetch(broker, &plain, arguments))?,
            cost(broker, arguments, || produce_in_transactions(broker, &transactional, arguments))?,
            cost(broker, arguments, || fetch(broker, &transactional, arguments))?,
        ];
        for (least, cost) in self.0.iter_mut().zip(costs) {
            if least.is_none_or(|least| cost.cpu_us < least.cpu_us) {
                *least = Some(cost);
            }
        }
        Ok(())
    }
}

fn cost(
    broker: &Broker,
    arguments: &Arguments,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Cost> {
    let process = broker.process()?;
    let (before, started) = (cpu(process)?, Instant::now());
    work()?;
    let (wall, used) = (started.elapsed(), cpu(process)?.saturating_sub(before));
    let each = |time: Duration| time.as_secs_f64() * 1e6 / arguments.records as f64;
    Ok(Cost { cpu_us: each(used), wall_us: each(wall) })
}

fn producer(broker: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.address())
        .set("linger.ms", "5")
        .set("queue.buffering.max.messages", "500000");
    config
}

fn send_range(
    producer: &BaseProducer,
    topic: &str,
    numbers: std::ops::Range<u64>,
    bytes: usize,
) -> anyhow::Result<()> {
    let payload = vec![b'x'; bytes];
    for number in numbers {
        let partition = (number % PARTITIONS as u64) as i32;
        let record = || BaseRecord::<(), _>::to(topic).partition(partition).payload(&payload);
        send(producer, record)?;
        if number.is_multiple_of(1000) {
            producer.poll(Duration::ZERO);
        }
    }
    Ok(())
}

fn produce(broker: &Broker, topic: &str, arguments: &Arguments) -> anyhow::Result<()> {
    let producer: BaseProducer = producer(broker).create()?;
    send_range(&producer, topic, 0..arguments.records, arguments.bytes)?;
    Ok(producer.flush(TIMEOUT)?)
}

fn produce_in_transactions(
    broker: &Broker,
    topic: &str,
    arguments: &Arguments,
) -> anyhow::Result<()> {
    let mut config = producer(broker);
    let producer: BaseProducer = config.set("transactional.id", topic).create()?;
    producer.init_transactions(TIMEOUT)?;
    let mut sent = 0;
    while sent < arguments.records {
        let end = (sent + TRANSACTION).min(arguments.records);
        producer.begin_transaction()?;
        send_range(&producer, topic, sent..end, arguments.bytes)?;
        producer.commit_transaction(TIMEOUT)?;
        sent = end;
    }
    Ok(())
}

fn fetch(broker: &Broker, topic: &str, arguments: &Arguments) -> anyhow::Result<()> {
    let mut consumer = BatchConsumer::new(broker.address(), topic)?;
    let (mut read, started) = (0, Instant::now());
    while read < arguments.records {
        read += consumer.poll(|_| {}) as u64;
        ensure!(started.elapsed() < 5 * TIMEOUT, "{read} of {} were read", arguments.records);
    }
    Ok(())
}

/// Processor time that a process has used.
fn cpu(process: u32) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Behind the name, which may hold anything, stand the state and then numbers.
    let (_, rest) = text.rsplit_once(')').context("a process's state")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let used = ticks().zip(ticks()).map(|(user, system)| user + system);
    // SAFETY: the call reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let seconds = used.context("a process's time")? as f64 / per_second as f64;
    Ok(Duration::from_secs_f64(seconds))
}

/// A figure of a process's memory, in bytes.
fn memory(broker: &Broker, what: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", broker.process()?))?;
    let line = text.lines().find(|line| line.starts_with(what)).context("a process's memory")?;
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    Ok(kib.context("a number")? << 10)
}
