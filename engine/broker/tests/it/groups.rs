//! Groups of real consumers.

use crate::clients::{PATIENCE, TestBroker, produce};
use rdkafka::Message;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn member(broker: &TestBroker, strategy: &str) -> BaseConsumer {
    let consumer: BaseConsumer = broker
        .client(&[
            ("group.id", "group"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "200"),
            ("partition.assignment.strategy", strategy),
            ("topic.metadata.refresh.interval.ms", "500"),
        ])
        .create()
        .unwrap();
    consumer.subscribe(&["shared"]).unwrap();
    consumer
}

fn assigned(consumer: &BaseConsumer) -> Vec<i32> {
    let places = consumer.assignment().unwrap();
    let mut partitions: Vec<i32> = places.elements().iter().map(|e| e.partition()).collect();
    partitions.sort_unstable();
    partitions
}

/// Polls all members until their assignments satisfy a condition; gives what they read meanwhile.
fn poll_until(
    members: &[&BaseConsumer],
    mut condition: impl FnMut(&[Vec<i32>], &[String]) -> bool,
) -> Vec<String> {
    let (mut values, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    loop {
        for member in members {
            if let Some(Ok(message)) = member.poll(Duration::from_millis(20)) {
                values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
            }
        }
        let assignments: Vec<_> = members.iter().map(|member| assigned(member)).collect();
        if condition(&assignments, &values) {
            return values;
        }
        assert!(Instant::now() < deadline, "{assignments:?} {values:?}");
    }
}

fn is_shared_out(assignments: &[Vec<i32>]) -> bool {
    let all: BTreeSet<i32> = assignments.iter().flatten().copied().collect();
    let count: usize = assignments.iter().map(Vec::len).sum();
    all.len() == 4 && count == 4 && assignments.iter().all(|a| !a.is_empty())
}

#[test]
fn members_share_partitions_eagerly_and_cooperatively() {
    for strategy in ["range", "roundrobin", "cooperative-sticky"] {
        let broker = TestBroker::start();
        let producer = broker.producer(&[]);
        (0..4).for_each(|partition| produce(&producer, "shared", partition, &["x"]));
        let first = member(&broker, strategy);
        poll_until(&[&first], |a, _| is_shared_out(a));
        let second = member(&broker, strategy);
        poll_until(&[&first, &second], |a, _| is_shared_out(a));
        drop(first);
        poll_until(&[&second], |a, _| is_shared_out(a));
    }
}

#[test]
fn a_group_goes_on_where_it_has_committed_even_after_a_restart() {
    let mut broker = TestBroker::start();
    let producer = broker.producer(&[]);
    produce(&producer, "shared", 0, &["a", "b"]);
    let consumer = member(&broker, "range");
    let values = poll_until(&[&consumer], |_, values| values.len() == 2);
    assert_eq!(values, ["a", "b"]);
    consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    drop(consumer);
    broker.restart();
    produce(&broker.producer(&[]), "shared", 0, &["c"]);
    let consumer = member(&broker, "range");
    let values = poll_until(&[&consumer], |_, values| !values.is_empty());
    assert_eq!(values, ["c"]);
}

#[test]
fn members_find_each_other_again_after_a_restart() {
    let mut broker = TestBroker::start();
    produce(&broker.producer(&[]), "shared", 0, &["x"]);
    let (first, second) = (member(&broker, "range"), member(&broker, "range"));
    poll_until(&[&first, &second], |a, _| is_shared_out(a));
    broker.restart();
    let producer = broker.producer(&[]);
    let after = ["after 0", "after 1", "after 2", "after 3"];
    (0..4).for_each(|partition| {
        produce(&producer, "shared", partition, &[after[partition as usize]])
    });
    // Nothing is committed, so whoever is given a partition anew reads it again.
    poll_until(&[&first, &second], |a, values| {
        is_shared_out(a) && after.iter().all(|value| values.iter().any(|read| read == value))
    });
}

#[test]
fn new_partitions_are_shared_out_too() {
    use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
    let broker = TestBroker::start();
    produce(&broker.producer(&[]), "shared", 0, &["x"]);
    let consumer = member(&broker, "range");
    poll_until(&[&consumer], |a, _| a[0].len() == 4);
    let admin: AdminClient<_> = broker.client(&[]).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let new = [NewPartitions::new("shared", 6)];
    runtime.block_on(admin.create_partitions(&new, &AdminOptions::new())).unwrap();
    poll_until(&[&consumer], |a, _| a[0].len() == 6);
}

#[test]
fn groups_are_listed_and_described() {
    let broker = TestBroker::start();
    produce(&broker.producer(&[]), "shared", 0, &["x"]);
    let consumer = member(&broker, "range");
    poll_until(&[&consumer], |a, _| is_shared_out(a));
    let groups = consumer.fetch_group_list(None, PATIENCE).unwrap();
    let group = groups.groups().iter().find(|group| group.name() == "group").unwrap();
    assert_eq!((group.state(), group.members().len()), ("Stable", 1));
}

#[test]
fn offsets_without_members_are_kept() {
    let broker = TestBroker::start();
    produce(&broker.producer(&[]), "shared", 0, &["x"]);
    let consumer: BaseConsumer = broker.client(&[("group.id", "alone")]).create().unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition_offset("shared", 0, rdkafka::Offset::Offset(1)).unwrap();
    consumer.commit(&places, CommitMode::Sync).unwrap();
    let found = consumer.committed_offsets(places, PATIENCE).unwrap();
    assert_eq!(found.elements()[0].offset(), rdkafka::Offset::Offset(1));
}
