//! The broker as a process of its own, killed again and again while clients are at work.
//!
//! Afterwards: every record that was acknowledged is there, once; every transaction is there whole or
//! not at all, those that were acknowledged as their producers were told; and the offset that was
//! committed with a transaction tells the same.

use crate::clients::PATIENCE;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tidemill_broker::{Broker, Config};

const DIRECTORY: &str = "TIDEMILL_VICTIM_DIRECTORY";
const ADDRESS: &str = "TIDEMILL_VICTIM_ADDRESS";

/// Records of a transaction: two in each of two partitions.
const RECORDS_OF_TRANSACTION: usize = 4;

#[test]
#[ignore = "the process that another test kills"]
fn the_victim() {
    let (Ok(directory), Ok(address)) = (std::env::var(DIRECTORY), std::env::var(ADDRESS)) else {
        return;
    };
    let listen: SocketAddr = address.parse().unwrap();
    let _broker = Broker::start(Config { listen, ..Config::new(directory) }).unwrap();
    loop {
        thread::park();
    }
}

/// A broker in a process of its own.
pub struct Victim(Child);

impl Victim {
    pub fn start(directory: &Path, address: SocketAddr) -> Victim {
        let command = Command::new(std::env::current_exe().unwrap());
        Victim::start_by(command, directory, address)
    }

    /// A broker none of whose files may be longer than so many bytes: its disk is full then.
    pub fn start_on_small_disk(directory: &Path, address: SocketAddr, bytes: u64) -> Victim {
        let mut command = Command::new("bash");
        let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 1024);
        command.arg("-c").arg(limit).arg(std::env::current_exe().unwrap());
        Victim::start_by(command, directory, address)
    }

    fn start_by(mut command: Command, directory: &Path, address: SocketAddr) -> Victim {
        command
            .args(["--exact", "kills::the_victim", "--ignored"])
            .env(DIRECTORY, directory)
            .env(ADDRESS, address.to_string())
            .stdout(Stdio::null());
        let victim = Victim(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the broker doesn't start");
            thread::sleep(Duration::from_millis(2));
        }
        victim
    }

    pub fn kill(&mut self) {
        // SIGKILL, at whatever it is doing.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub fn client(address: SocketAddr, options: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address.to_string())
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "50")
        .set("retry.backoff.ms", "10");
    options.iter().for_each(|(key, value)| {
        config.set(*key, *value);
    });
    config
}

/// Keeps the numbers of the records that were acknowledged.
#[derive(Clone, Default)]
pub struct Acknowledged(pub Arc<Mutex<Vec<u64>>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u64>) {
        if result.is_ok() {
            self.0.lock().unwrap().push(*number);
        }
    }
}

/// Sends numbers until it is told to stop; gives those that were acknowledged.
fn send_numbers(address: SocketAddr, stop: &AtomicBool) -> Vec<u64> {
    let acknowledged = Acknowledged::default();
    let options = [("enable.idempotence", "true"), ("linger.ms", "1")];
    let producer: BaseProducer<Acknowledged> =
        client(address, &options).create_with_context(acknowledged.clone()).unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        for _ in 0..20 {
            let value = number.to_string();
            let record = BaseRecord::<str, str, _>::with_opaque_to("numbers", Box::new(number));
            if producer.send(record.partition(0).payload(&value)).is_ok() {
                number += 1;
            }
        }
        producer.poll(Duration::from_millis(1));
    }
    producer.flush(PATIENCE).unwrap();
    let numbers = acknowledged.0.lock().unwrap();
    numbers.clone()
}

/// What a producer of transactions was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Committed,
    Aborted,
    Nothing,
}

/// Runs transactions until it is told to stop; every third is aborted.
fn run_transactions(address: SocketAddr, stop: &AtomicBool, ended: &AtomicU64) -> Vec<Told> {
    let mut told = Vec::new();
    let consumer: BaseConsumer = client(address, &[("group.id", "group")]).create().unwrap();
    while !stop.load(Ordering::Acquire) {
        // A producer that has failed for good is replaced, as its clients are told to do.
        let producer: BaseProducer =
            client(address, &[("transactional.id", "transactions")]).create().unwrap();
        if producer.init_transactions(PATIENCE).is_err() {
            continue;
        }
        while !stop.load(Ordering::Acquire) {
            told.push(Told::Nothing);
            let number = told.len() - 1;
            match run_transaction(&producer, &consumer, number) {
                Ok(end) => {
                    told[number] = end;
                    ended.fetch_add(1, Ordering::AcqRel);
                }
                Err(()) => break,
            }
        }
    }
    told
}

fn run_transaction(
    producer: &BaseProducer,
    consumer: &BaseConsumer,
    number: usize,
) -> Result<Told, ()> {
    producer.begin_transaction().map_err(drop)?;
    for record in 0..RECORDS_OF_TRANSACTION {
        let (partition, value) = (record as i32 % 2, number.to_string());
        let record = BaseRecord::<str, str>::to("transactions").partition(partition);
        producer.send(record.payload(&value)).map_err(drop)?;
    }
    let mut places = TopicPartitionList::new();
    let offset = Offset::Offset(number as i64);
    places.add_partition_offset("transactions", 0, offset).map_err(drop)?;
    let group = consumer.group_metadata().ok_or(())?;
    producer.send_offsets_to_transaction(&places, &group, PATIENCE).map_err(drop)?;
    // Nobody else serves the producer's deliveries, for which the end of a transaction waits.
    producer.flush(PATIENCE).map_err(drop)?;
    if number % 3 == 2 {
        producer.abort_transaction(PATIENCE).map_err(drop)?;
        Ok(Told::Aborted)
    } else {
        producer.commit_transaction(PATIENCE).map_err(drop)?;
        Ok(Told::Committed)
    }
}

/// All committed numbers of a partition, in order.
pub fn read(address: SocketAddr, topic: &str, partition: i32) -> Vec<u64> {
    let options = [
        ("group.id", "reader"),
        ("enable.partition.eof", "true"),
        // The end is told once a fetch has waited for more.
        ("fetch.wait.max.ms", "10"),
        ("isolation.level", "read_committed"),
        ("check.crcs", "true"),
    ];
    let consumer: BaseConsumer = client(address, &options).create().unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    consumer.assign(&places).unwrap();
    let mut numbers = Vec::new();
    loop {
        match consumer.poll(PATIENCE).expect("the end of the topic") {
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return numbers,
            message => {
                let message = message.unwrap();
                let text = std::str::from_utf8(message.payload().unwrap()).unwrap();
                numbers.push(text.parse().unwrap());
            }
        }
    }
}

fn committed_offset(address: SocketAddr) -> Option<i64> {
    let consumer: BaseConsumer = client(address, &[("group.id", "group")]).create().unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition("transactions", 0);
    let found = consumer.committed_offsets(places, PATIENCE).unwrap();
    found.elements()[0].offset().to_raw()
}

fn check_transactions(address: SocketAddr, told: &[Told]) {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for partition in 0..2 {
        let numbers = read(address, "transactions", partition);
        assert!(numbers.is_sorted(), "transactions of one producer are in order");
        numbers.iter().for_each(|number| *counts.entry(*number).or_default() += 1);
    }
    for (number, told) in told.iter().enumerate() {
        let count = counts.get(&(number as u64)).copied().unwrap_or(0);
        let is_right = match told {
            Told::Committed => count == RECORDS_OF_TRANSACTION,
            Told::Aborted => count == 0,
            Told::Nothing => count == 0 || count == RECORDS_OF_TRANSACTION,
        };
        assert!(is_right, "transaction {number}: {told:?}, and {count} records are there");
    }
    let last = counts.keys().next_back().map(|number| *number as i64);
    assert_eq!(committed_offset(address), last, "the offset of the last transaction");
}

#[test]
fn a_broker_that_is_killed_under_load_keeps_its_word() {
    let scale = std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    // Half a minute where every change is judged, some seconds where one is being made.
    let kills = scale * if std::env::var_os("CI").is_some() { 100 } else { 10 };
    let directory = TempDir::new().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut victim = Victim::start(directory.path(), address);
    let (stop, ended) = (AtomicBool::new(false), AtomicU64::new(0));
    let victim_again = || Victim::start(directory.path(), address);
    let (numbers, told) = thread::scope(|scope| {
        let numbers = scope.spawn(|| send_numbers(address, &stop));
        let told = scope.spawn(|| run_transactions(address, &stop, &ended));
        for kill in 0..kills {
            // Once clients have found the broker again; then unevenly, so that it happens at
            // different points of what they do.
            let (before, deadline) = (ended.load(Ordering::Acquire), Instant::now() + PATIENCE);
            while ended.load(Ordering::Acquire) < before + 3 {
                if Instant::now() > deadline {
                    stop.store(true, Ordering::Release);
                    panic!("no transaction ends any more");
                }
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_micros(1_700 * (kill % 13)));
            victim.kill();
            victim = victim_again();
        }
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Release);
        (numbers.join().unwrap(), told.join().unwrap())
    });
    victim.kill();
    victim = victim_again();
    let there = read(address, "numbers", 0);
    let distinct: BTreeSet<u64> = there.iter().copied().collect();
    assert_eq!(distinct.len(), there.len(), "nothing twice");
    assert!(there.is_sorted());
    let lost: Vec<&u64> = numbers.iter().filter(|number| !distinct.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    check_transactions(address, &told);
    let committed = told.iter().filter(|told| **told == Told::Committed).count();
    eprintln!("{kills} kills, {} records, {committed} transactions committed", numbers.len());
    assert!(!numbers.is_empty() && committed > 0);
    victim.kill();
}
