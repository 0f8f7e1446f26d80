//! A broker that goes away for a while and comes back: the job goes on where it was.

use super::Job;
use super::broker::{Broker, own_broker};
use super::topics::Topic;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Runs a copy job, does something to its broker in the middle, and looks at the copy, which must
/// be exact. The job's transactions have `transaction_timeout_ms` to live.
fn copy_through(name: &str, transaction_timeout_ms: u32, outage: impl FnOnce(&mut Broker)) {
    let Some(mut broker) = own_broker(name) else { return };
    let input = Topic::create(&broker.address, "numbers", 2);
    let output = Topic::create(&broker.address, "copy", 1);
    let job = Job::new(&format!(
        "CREATE TABLE numbers (n BIGINT) WITH (
           'connector' = 'kafka', 'properties.bootstrap.servers' = '{brokers}',
           'topic' = 'numbers', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json'
         );
         CREATE TABLE copy (n BIGINT) WITH (
           'connector' = 'kafka', 'properties.bootstrap.servers' = '{brokers}',
           'topic' = 'copy', 'format' = 'json',
           'properties.transaction.timeout.ms' = '{transaction_timeout_ms}'
         );
         INSERT INTO copy SELECT n FROM numbers;",
        brokers = broker.address
    ))
    .define("execution.checkpointing.interval", "2 s");
    let numbers = |range: std::ops::Range<i64>| range.map(|n| json!({ "n": n }));
    let mut running = job.start();
    input.send_values(&numbers(0..1000).collect::<Vec<_>>());
    running.wait_for("the copy before", || (output.records().len() == 1000).then_some(()));
    // These are written to a transaction that is still open when the broker goes.
    input.send_values(&numbers(1000..1500).collect::<Vec<_>>());
    std::thread::sleep(Duration::from_millis(300));
    outage(&mut broker);
    input.send_values(&numbers(1500..2000).collect::<Vec<_>>());
    running.wait_for("the copy after", || (output.records().len() >= 2000).then_some(()));
    running.stop();
    let values = output.values();
    let mut copied: Vec<i64> = values.iter().filter_map(|v: &Value| v["n"].as_i64()).collect();
    copied.sort_unstable();
    assert_eq!(copied, (0..2000).collect::<Vec<_>>());
    assert_eq!(job.summary()["exit"], "stopped");
}

#[test]
fn a_broker_that_dies_and_comes_back_is_read_and_written_on() {
    copy_through("dies", 60_000, |broker| {
        broker.kill();
        std::thread::sleep(Duration::from_secs(20));
        broker.start_again();
    });
}

/// It hangs for longer than its cluster takes it for alive (9 s), so that it leaves and joins it.
#[test]
fn a_broker_that_hangs_for_a_while_is_waited_for() {
    copy_through("hangs", 60_000, |broker| {
        broker.pause();
        std::thread::sleep(Duration::from_secs(10));
        broker.resume();
    });
}

#[test]
fn an_outage_that_outlives_the_transaction_loses_nothing_and_repeats_nothing() {
    copy_through("outlives", 4_000, |broker| {
        broker.pause();
        std::thread::sleep(Duration::from_secs(12));
        broker.resume();
    });
}

#[test]
fn a_job_that_still_looks_for_its_broker_can_be_stopped() {
    let job = Job::new(
        "CREATE TABLE numbers (n BIGINT) WITH (
           'connector' = 'kafka', 'properties.bootstrap.servers' = '127.0.0.1:1',
           'topic' = 'numbers', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json'
         );
         SELECT n FROM numbers;",
    );
    let mut running = job.start();
    let said = job.path("stderr");
    running.wait_for("a complaint", || {
        let said = std::fs::read_to_string(&said).unwrap_or_default();
        said.contains("trying again").then_some(())
    });
    let asked = Instant::now();
    running.stop();
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert_eq!(job.summary()["exit"], "stopped");
}
