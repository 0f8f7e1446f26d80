//! Records of plain and idempotent producers.

use crate::clients::{PATIENCE, TestBroker, produce, send};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashSet;
use std::time::{Duration, Instant};

#[test]
fn a_topic_is_made_on_first_use_and_read_in_order() {
    let broker = TestBroker::start();
    let producer = broker.producer(&[]);
    produce(&producer, "first", 2, &["a", "b", "c"]);
    assert_eq!(broker.read("first", 2, "read_committed"), ["a", "b", "c"]);
    let metadata = producer.client().fetch_metadata(Some("first"), PATIENCE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 4);
}

#[test]
fn every_compression_and_acknowledgement_is_taken() {
    let broker = TestBroker::start();
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for acks in ["0", "1", "all"] {
            let topic = format!("{compression}-{acks}");
            broker.producer(&[]).client().fetch_metadata(Some(&topic), PATIENCE).unwrap();
            let options = [("compression.type", compression), ("acks", acks), ("linger.ms", "20")];
            let producer = broker.producer(&options);
            let values: Vec<String> = (0..200).map(|n| format!("value {n:05}")).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            produce(&producer, &topic, 0, &values);
            let deadline = Instant::now() + PATIENCE;
            // Without acknowledgements the producer doesn't know when they have arrived.
            while broker.read(&topic, 0, "read_uncommitted").len() < 200 {
                assert!(Instant::now() < deadline, "{topic}");
            }
            assert_eq!(broker.read(&topic, 0, "read_uncommitted"), values, "{topic}");
        }
    }
}

#[test]
fn an_idempotent_producer_writes_each_record_once() {
    let broker = TestBroker::start();
    let producer = broker.producer(&[("enable.idempotence", "true"), ("linger.ms", "0")]);
    let values: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    for part in values.chunks(100) {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        send(&producer, "once", 1, &part);
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(broker.read("once", 1, "read_committed"), values);
}

#[test]
fn keys_headers_and_times_come_back() {
    let broker = TestBroker::start();
    let producer = broker.producer(&[]);
    let header = rdkafka::message::Header { key: "h", value: Some("v") };
    let headers = rdkafka::message::OwnedHeaders::new().insert(header);
    let record = BaseRecord::to("whole")
        .partition(0)
        .key("k")
        .payload("p")
        .timestamp(1_234_567)
        .headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    let consumer: BaseConsumer = broker.client(&[("group.id", "g")]).create().unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition_offset("whole", 0, Offset::Beginning).unwrap();
    consumer.assign(&places).unwrap();
    let message = consumer.poll(PATIENCE).unwrap().unwrap().detach();
    assert_eq!((message.key(), message.payload()), (Some(&b"k"[..]), Some(&b"p"[..])));
    assert_eq!(message.timestamp().to_millis(), Some(1_234_567));
    assert!(message.headers().is_some());
}

#[test]
fn offsets_are_found_by_time() {
    let broker = TestBroker::start();
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let producer = broker.producer(&[("compression.type", compression), ("linger.ms", "50")]);
        for n in 0..100i64 {
            let record = BaseRecord::<str, str>::to(compression).partition(0).payload("some value");
            producer.send(record.timestamp(1_000 + 10 * n)).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        let consumer: BaseConsumer = broker.client(&[("group.id", "g")]).create().unwrap();
        let at = |time_ms| {
            let mut places = TopicPartitionList::new();
            places.add_partition_offset(compression, 0, Offset::Offset(time_ms)).unwrap();
            let found = consumer.offsets_for_times(places, PATIENCE).unwrap();
            found.find_partition(compression, 0).unwrap().offset()
        };
        assert_eq!(at(0), Offset::Offset(0), "{compression}");
        assert_eq!(at(1_415), Offset::Offset(42), "{compression}");
        assert_eq!(at(1_990), Offset::Offset(99), "{compression}");
        assert_eq!(at(1_991), Offset::End, "{compression}");
        assert_eq!(consumer.fetch_watermarks(compression, 0, PATIENCE).unwrap(), (0, 100));
    }
}

#[test]
fn a_reader_at_the_end_is_woken_by_the_next_record() {
    let broker = TestBroker::start();
    let producer = broker.producer(&[("linger.ms", "0")]);
    produce(&producer, "live", 0, &["first"]);
    let options = [("group.id", "g"), ("fetch.wait.max.ms", "20000")];
    let consumer: BaseConsumer = broker.client(&options).create().unwrap();
    let mut places = TopicPartitionList::new();
    for partition in 0..4 {
        places.add_partition_offset("live", partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&places).unwrap();
    // A client asks for the partitions whose start it has learned, so its first fetches may leave
    // some out, and one such fetch waits for the others alone: they talk until all were heard.
    let (mut heard, deadline) = (HashSet::new(), Instant::now() + PATIENCE);
    while heard.len() < 4 {
        assert!(Instant::now() < deadline, "only {heard:?} were heard");
        for partition in 0..4 {
            produce(&producer, "live", partition, &["warm"]);
        }
        while let Some(message) = consumer.poll(Duration::from_millis(200)) {
            heard.insert(message.unwrap().partition());
        }
    }
    let start = Instant::now();
    for n in 0..20 {
        produce(&producer, "live", n % 4, &["next"]);
        assert!(consumer.poll(PATIENCE).unwrap().is_ok());
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn large_records_pass_and_too_large_ones_are_refused() {
    let broker = TestBroker::start();
    let producer = broker.producer(&[("message.max.bytes", "4000000")]);
    let fits = "x".repeat(1_000_000);
    let values = vec![fits.as_str(); 30];
    produce(&producer, "large", 0, &values);
    assert_eq!(broker.read("large", 0, "read_uncommitted").len(), 30);
    send(&producer, "large", 0, &["y".repeat(2_000_000).as_str()]);
    producer.flush(PATIENCE).unwrap();
    assert_eq!(broker.read("large", 0, "read_uncommitted").len(), 30);
}
