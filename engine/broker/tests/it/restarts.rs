//! A broker that stops and starts.

use crate::clients::{TestBroker, produce};
use std::time::{Duration, Instant};
use tidemill_broker::{Broker, BrokerError, Config};

#[test]
fn a_second_broker_on_a_directory_is_refused() {
    let broker = TestBroker::start();
    let second = Broker::start(Config::new(broker.directory.path()));
    assert!(matches!(second, Err(BrokerError::InUse { .. })));
}

#[tokio::test]
async fn a_broker_can_be_held_and_dropped_by_those_who_have_a_runtime_of_their_own() {
    let mut broker = TestBroker::start();
    broker.restart();
    drop(broker);
}

#[test]
fn producers_and_readers_outlive_a_restart() {
    let mut broker = TestBroker::start();
    let producer = broker.producer(&[("enable.idempotence", "true")]);
    for round in 0..3 {
        let values: Vec<String> = (0..500).map(|n| format!("{round}-{n:03}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        produce(&producer, "kept", 0, &values);
        broker.restart();
    }
    let values = broker.read("kept", 0, "read_committed");
    assert_eq!(values.len(), 1_500);
    assert!(values.is_sorted());
}

#[test]
fn a_broker_is_ready_soon() {
    let mut broker = TestBroker::start();
    let producer = broker.producer(&[]);
    let value = "x".repeat(10_000);
    for _ in 0..100 {
        produce(&producer, "much", 0, &[value.as_str(); 20]);
    }
    let start = Instant::now();
    broker.restart();
    // Some 20 ms; the rest is for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
