//! Topics as the tests of jobs see them: records sent in, everything that is there taken out.

use super::broker::{create_topic, create_topic_with};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(60);

/// Whether brokers are away.
fn is_outage(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure};
    matches!(error.rdkafka_error_code(), Some(AllBrokersDown | BrokerTransportFailure))
}

/// A topic that exists.
#[derive(Clone, Debug)]
pub struct Topic {
    pub brokers: String,
    pub name: String,
    pub partitions: i32,
}

/// A record as it stands in a topic.
#[derive(Clone, Debug)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Record {
    pub fn value(&self) -> Value {
        serde_json::from_slice(self.value.as_deref().expect("no tombstone")).expect("JSON")
    }

    pub fn key(&self) -> Value {
        serde_json::from_slice(self.key.as_deref().expect("a key")).expect("JSON")
    }
}

impl Topic {
    pub fn create(brokers: &str, name: &str, partitions: i32) -> Topic {
        create_topic(brokers, name, partitions);
        Topic::named(brokers, name, partitions)
    }

    /// A topic that takes records of many megabytes.
    pub fn create_wide(brokers: &str, name: &str, partitions: i32) -> Topic {
        create_topic_with(brokers, name, partitions, &[("max.message.bytes", "16000000")]);
        Topic::named(brokers, name, partitions)
    }

    /// A topic that somebody else makes.
    pub fn named(brokers: &str, name: &str, partitions: i32) -> Topic {
        Topic { brokers: brokers.to_owned(), name: name.to_owned(), partitions }
    }

    /// Sends records: partition, key, value.
    pub fn send<'a, V: AsRef<[u8]>>(
        &self,
        records: impl IntoIterator<Item = (i32, Option<&'a str>, Option<V>)>,
    ) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("message.max.bytes", "16000000")
            .create()
            .expect("a producer");
        for (partition, key, value) in records {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.name).partition(partition);
            record.key = key.map(str::as_bytes);
            record.payload = value.as_ref().map(AsRef::as_ref);
            producer.send(record).map_err(|(e, _)| e).expect("room in the queue");
            producer.poll(Duration::ZERO);
        }
        producer.flush(WAIT).expect("delivery");
    }

    /// Sends JSON values without keys, value `i` to partition `i`, and round again.
    pub fn send_values(&self, values: &[Value]) {
        let records = values.iter().enumerate();
        self.send(records.map(|(i, v)| (i as i32 % self.partitions, None, Some(v.to_string()))));
    }

    /// Everything that is visible in the topic now, partition by partition.
    pub fn records(&self) -> Vec<Record> {
        self.placed_records().into_iter().map(|(_, record)| record).collect()
    }

    /// The same, each record with its partition.
    pub fn placed_records(&self) -> Vec<(i32, Record)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "check")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.name, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let (mut records, mut read) = (BTreeMap::new(), BTreeSet::new());
        while read.len() < self.partitions as usize {
            match consumer.poll(WAIT).expect("a record in time") {
                Err(KafkaError::PartitionEOF(partition)) => {
                    read.insert(partition);
                }
                // It connects again by itself.
                Err(error) if is_outage(&error) => {}
                message => {
                    let message = message.expect("a record");
                    let record = Record {
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                    };
                    records.insert((message.partition(), message.offset()), record);
                }
            }
        }
        records.into_iter().map(|((partition, _), record)| (partition, record)).collect()
    }

    /// What a consumer group has committed for each partition.
    pub fn committed(&self, group: &str) -> Vec<Option<i64>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", group)
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.name, 0, self.partitions - 1);
        let committed = consumer.committed_offsets(list, WAIT).expect("an answer");
        let offset = |partition| match committed.find_partition(&self.name, partition)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        (0..self.partitions).map(offset).collect()
    }

    /// The values of all records, as JSON.
    pub fn values(&self) -> Vec<Value> {
        self.records().iter().map(Record::value).collect()
    }

    /// The latest value of each key, as an `upsert-kafka` table holds it.
    pub fn table(&self) -> BTreeMap<String, Value> {
        let mut table = BTreeMap::new();
        for record in self.records() {
            let key = record.key().to_string();
            match record.value {
                Some(_) => table.insert(key, record.value()),
                None => table.remove(&key),
            };
        }
        table
    }
}
