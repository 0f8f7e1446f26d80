//! A broker that goes away for a while and comes back: the job goes on where it was.

use super::Job;
use super::broker::{Broker, own_broker};
use super::topics::Topic;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Runs a copy job, does something to its broker in the middle, and looks at the copy.
fn copy_through(name: &str, outage: impl FnOnce(&mut Broker)) {
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
           'topic' = 'copy', 'format' = 'json'
         );
         INSERT INTO copy SELECT n FROM numbers;",
        brokers = broker.address
    ));
    let numbers = |range: std::ops::Range<i64>| range.map(|n| json!({ "n": n }));
    let mut running = job.start();
    input.send_values(&numbers(0..1000).collect::<Vec<_>>());
    running.wait_for("the copy before", || (output.records().len() == 1000).then_some(()));
    outage(&mut broker);
    input.send_values(&numbers(1000..2000).collect::<Vec<_>>());
    running.wait_for("the copy after", || (output.records().len() >= 2000).then_some(()));
    running.stop();
    let values = output.values();
    let mut copied: Vec<i64> = values.iter().filter_map(|v: &Value| v["n"].as_i64()).collect();
    copied.sort_unstable();
    copied.dedup();
    assert_eq!(copied, (0..2000).collect::<Vec<_>>());
    assert_eq!(job.summary()["exit"], "stopped");
}

#[test]
fn a_broker_that_dies_and_comes_back_is_read_and_written_on() {
    copy_through("dies", |broker| {
        broker.kill();
        std::thread::sleep(Duration::from_secs(20));
        broker.start_again();
    });
}

#[test]
fn a_broker_that_hangs_for_a_while_is_waited_for() {
    copy_through("hangs", |broker| {
        broker.pause();
        std::thread::sleep(Duration::from_secs(8));
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
