//! Those who mean no good, or no Kafka.

use crate::clients::{TestBroker, produce};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn connect(broker: &TestBroker) -> TcpStream {
    let stream = TcpStream::connect(broker.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Sends bytes and says what came back before the broker closed.
fn exchange(broker: &TestBroker, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(broker);
    let mut answer = Vec::new();
    if stream.write_all(bytes).is_ok() {
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut answer);
    }
    answer
}

fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend_from_slice(&key.to_be_bytes());
    request.extend_from_slice(&version.to_be_bytes());
    request.extend_from_slice(&77i32.to_be_bytes());
    request.extend_from_slice(&(-1i16).to_be_bytes());
    request.extend_from_slice(body);
    let mut frame = (request.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&request);
    frame
}

fn is_well(broker: &TestBroker) {
    produce(&broker.producer(&[]), "well", 0, &["x"]);
}

#[test]
fn nonsense_ends_its_connection_and_harms_nobody() {
    let broker = TestBroker::start();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"[..],
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00],
        &[0; 64],
        &[0xff; 64],
        &0x7fff_ffffi32.to_be_bytes(),
        &[0, 0, 0, 3, 1, 2, 3],
        &[],
    ] {
        assert!(exchange(&broker, bytes).is_empty(), "{bytes:?}");
    }
    is_well(&broker);
}

#[test]
fn unknown_requests_end_the_connection_and_unknown_versions_are_told_the_known_ones() {
    let broker = TestBroker::start();
    assert!(exchange(&broker, &request(999, 0, &[])).is_empty());
    assert!(exchange(&broker, &request(0, 99, &[])).is_empty());
    let answer = exchange(&broker, &request(18, 99, &[]));
    let error_code = i16::from_be_bytes(answer[8..10].try_into().unwrap());
    assert_eq!((i32::from_be_bytes(answer[4..8].try_into().unwrap()), error_code), (77, 35));
}

#[test]
fn lengths_that_claim_the_world_get_nothing() {
    let broker = TestBroker::start();
    // Metadata for two thousand million topics, and a Fetch of as many.
    assert!(exchange(&broker, &request(3, 1, &0x7fff_ffffi32.to_be_bytes())).is_empty());
    let mut fetch = vec![0; 17];
    fetch.extend_from_slice(&0x7fff_ffffi32.to_be_bytes());
    assert!(exchange(&broker, &request(1, 4, &fetch)).is_empty());
    is_well(&broker);
}

#[test]
fn many_open_connections_that_say_nothing_leave_room_for_others() {
    let broker = TestBroker::start();
    let idle: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = connect(&broker);
            // The beginning of a request of 90 MB.
            stream.write_all(&(90_000_000i32).to_be_bytes()).unwrap();
            stream
        })
        .collect();
    is_well(&broker);
    drop(idle);
}

/// The memory that this process, which the broker is part of, holds now, in MiB.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// A fetch of all that one answer may hold of a topic's first partition.
fn fetch(topic: &str) -> Vec<u8> {
    let mut body = Vec::new();
    // Replica, longest wait, least and most bytes; isolation.
    for number in [-1i32, 100, 1, 50 << 20] {
        body.extend_from_slice(&number.to_be_bytes());
    }
    body.push(0);
    body.extend_from_slice(&1i32.to_be_bytes());
    body.extend_from_slice(&(topic.len() as i16).to_be_bytes());
    body.extend_from_slice(topic.as_bytes());
    // One partition: its number, an offset, most bytes.
    body.extend_from_slice(&1i32.to_be_bytes());
    body.extend_from_slice(&0i32.to_be_bytes());
    body.extend_from_slice(&0i64.to_be_bytes());
    body.extend_from_slice(&(50i32 << 20).to_be_bytes());
    request(1, 4, &body)
}

#[test]
fn those_who_ask_for_much_and_read_nothing_hold_up_nobody_and_no_memory() {
    let broker = TestBroker::start();
    let value = "x".repeat(100_000);
    produce(&broker.producer(&[]), "much", 0, &vec![value.as_str(); 200]);
    let before = memory_mib();
    let asked = fetch("much");
    let greedy: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = connect(&broker);
            (0..20).for_each(|_| stream.write_all(&asked).unwrap());
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    is_well(&broker);
    let grown = memory_mib().saturating_sub(before);
    // They have asked for 16 GB.
    assert!(grown < 300, "{grown} MiB more");
    drop(greedy);
    is_well(&broker);
}

#[test]
fn random_bytes_after_any_header_are_survived() {
    let broker = TestBroker::start();
    let cases = std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut runner = TestRunner::new(Config { cases: 400 * cases, ..Config::default() });
    let bytes = (0i16..80, 0i16..14, proptest::collection::vec(any::<u8>(), 0..200));
    runner
        .run(&bytes, |(key, version, body)| {
            exchange(&broker, &request(key, version, &body));
            Ok(())
        })
        .unwrap();
    is_well(&broker);
}
