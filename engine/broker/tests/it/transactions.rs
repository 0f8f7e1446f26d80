//! Transactions of real producers.

use crate::clients::{PATIENCE, TestBroker, produce, send};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

const COMMITTED: &str = "read_committed";
const UNCOMMITTED: &str = "read_uncommitted";

fn group(broker: &TestBroker, name: &str) -> BaseConsumer {
    let options = [("group.id", name), ("isolation.level", COMMITTED)];
    broker.client(&options).create().unwrap()
}

fn metadata(consumer: &BaseConsumer) -> ConsumerGroupMetadata {
    consumer.group_metadata().unwrap()
}

fn offsets(topic: &str, offset: i64, text: &str) -> TopicPartitionList {
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    let mut place = places.find_partition(topic, 0).unwrap();
    place.set_metadata(text);
    places
}

fn committed(consumer: &BaseConsumer, topic: &str) -> (Offset, String) {
    let mut places = TopicPartitionList::new();
    places.add_partition(topic, 0);
    let found = consumer.committed_offsets(places, PATIENCE).unwrap();
    let place = found.find_partition(topic, 0).unwrap();
    (place.offset(), place.metadata().to_owned())
}

#[test]
fn committed_records_are_seen_and_aborted_ones_are_not() {
    let broker = TestBroker::start();
    let producer = broker.transactional("t");
    for (round, commits) in [true, false, true, false].into_iter().enumerate() {
        producer.begin_transaction().unwrap();
        for partition in 0..4 {
            produce(&producer, "topic", partition, &[&format!("{round}"), &format!("{round}+")]);
        }
        let end = if commits {
            producer.commit_transaction(PATIENCE)
        } else {
            producer.abort_transaction(PATIENCE)
        };
        end.unwrap();
    }
    for partition in 0..4 {
        assert_eq!(broker.read("topic", partition, COMMITTED), ["0", "0+", "2", "2+"]);
        assert_eq!(broker.read("topic", partition, UNCOMMITTED).len(), 8);
    }
}

#[test]
fn records_wait_for_the_decision_and_those_behind_them_wait_too() {
    let broker = TestBroker::start();
    let producer = broker.transactional("t");
    producer.begin_transaction().unwrap();
    produce(&producer, "topic", 0, &["open"]);
    produce(&broker.producer(&[]), "topic", 0, &["plain"]);
    assert!(broker.read("topic", 0, COMMITTED).is_empty());
    assert_eq!(broker.read("topic", 0, UNCOMMITTED), ["open", "plain"]);
    producer.commit_transaction(PATIENCE).unwrap();
    assert_eq!(broker.read("topic", 0, COMMITTED), ["open", "plain"]);
}

#[test]
fn a_successor_fences_and_what_its_predecessor_left_open_is_aborted() {
    let broker = TestBroker::start();
    let zombie = broker.transactional("t");
    zombie.begin_transaction().unwrap();
    produce(&zombie, "topic", 0, &["zombie"]);
    let successor = broker.transactional("t");
    send(&zombie, "topic", 0, &["zombie again"]);
    let late = zombie.commit_transaction(Duration::from_secs(5)).unwrap_err();
    assert!(matches!(late, KafkaError::Transaction(ref e) if e.is_fatal()), "{late}");
    successor.begin_transaction().unwrap();
    produce(&successor, "topic", 0, &["successor"]);
    successor.commit_transaction(PATIENCE).unwrap();
    assert_eq!(broker.read("topic", 0, COMMITTED), ["successor"]);
}

#[test]
fn offsets_are_committed_with_the_transaction_or_not_at_all() {
    let mut broker = TestBroker::start();
    let producer = broker.transactional("t");
    let consumer = group(&broker, "group");
    for (offset, commits) in [(1, true), (2, false), (3, true)] {
        producer.begin_transaction().unwrap();
        produce(&producer, "out", 0, &[&offset.to_string()]);
        let places = offsets("out", offset, &format!("generation {offset}"));
        producer.send_offsets_to_transaction(&places, &metadata(&consumer), PATIENCE).unwrap();
        let end = if commits {
            producer.commit_transaction(PATIENCE)
        } else {
            producer.abort_transaction(PATIENCE)
        };
        end.unwrap();
        let expected = if commits { offset } else { offset - 1 };
        let found = committed(&consumer, "out");
        assert_eq!(found, (Offset::Offset(expected), format!("generation {expected}")));
    }
    broker.restart();
    let found = committed(&group(&broker, "group"), "out");
    assert_eq!(found, (Offset::Offset(3), "generation 3".to_owned()));
    assert_eq!(broker.read("out", 0, COMMITTED), ["1", "3"]);
}

#[test]
fn who_asks_for_offsets_that_are_undecided_waits_for_the_decision() {
    let broker = TestBroker::start();
    let producer = broker.transactional("t");
    let consumer = group(&broker, "group");
    producer.begin_transaction().unwrap();
    produce(&producer, "out", 0, &["x"]);
    producer
        .send_offsets_to_transaction(&offsets("out", 1, "m"), &metadata(&consumer), PATIENCE)
        .unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition("out", 0);
    let asked = consumer.committed_offsets(places, Duration::from_secs(1));
    assert!(asked.is_err(), "{asked:?}");
    producer.commit_transaction(PATIENCE).unwrap();
    assert_eq!(committed(&consumer, "out").0, Offset::Offset(1));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let broker = TestBroker::start();
    let options = [("transactional.id", "t"), ("transaction.timeout.ms", "1000")];
    let producer = broker.producer(&options);
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    produce(&producer, "topic", 0, &["late"]);
    produce(&broker.producer(&[]), "topic", 0, &["behind"]);
    let deadline = Instant::now() + PATIENCE;
    while broker.read("topic", 0, COMMITTED).is_empty() {
        assert!(Instant::now() < deadline, "never aborted");
    }
    assert_eq!(broker.read("topic", 0, COMMITTED), ["behind"]);
    let late = producer.commit_transaction(Duration::from_secs(5)).unwrap_err();
    assert_ne!(late.rdkafka_error_code(), Some(RDKafkaErrorCode::NoError));
}

#[test]
fn a_transaction_goes_on_over_a_restart_of_the_broker() {
    let mut broker = TestBroker::start();
    let producer = broker.transactional("t");
    producer.begin_transaction().unwrap();
    produce(&producer, "topic", 0, &["before"]);
    broker.restart();
    produce(&producer, "topic", 0, &["after"]);
    assert!(broker.read("topic", 0, COMMITTED).is_empty());
    producer.commit_transaction(PATIENCE).unwrap();
    assert_eq!(broker.read("topic", 0, COMMITTED), ["before", "after"]);
    producer.begin_transaction().unwrap();
    produce(&producer, "topic", 0, &["aborted"]);
    producer.abort_transaction(PATIENCE).unwrap();
    broker.restart();
    assert_eq!(broker.read("topic", 0, COMMITTED), ["before", "after"]);
}
