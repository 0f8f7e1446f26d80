//! [`Tail`]: the records of a topic as they are, one after the other, for somebody who looks.

use super::admin::TopicFacts;
use super::client::Log;
use super::queue::{Event, MessageQueue};
use crate::source::ConnectorError;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::Duration;

/// So many records are passed over at once.
const PASSED_AT_ONCE: usize = 4_096;

/// Reads the records of a topic, committed ones alone, partition by partition in order.
pub struct Tail {
    queue: MessageQueue,
    topic: String,
    brokers: String,
    /// Partitions whose end has not been reached yet.
    behind: BTreeSet<i32>,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailFrom {
    /// With the first record that is there.
    Beginning,
    /// Behind the last one.
    End,
    /// So many offsets before the end of each partition.
    Last(u64),
}

/// A record as it is in its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was written, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none: a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Tail {
    /// Begins to read a topic of the cluster at `brokers`.
    ///
    /// # Errors
    /// If `brokers` are no addresses. Whether somebody answers there is seen later.
    pub fn open(brokers: &str, topic: &TopicFacts, from: TailFrom) -> Result<Self, ConnectorError> {
        let failed = |error: KafkaError| failed(brokers, &topic.name, error.to_string());
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        // librdkafka wants a name, and nothing is committed under it.
        config.set("group.id", "tidemill");
        config.set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true");
        // As soon as there is something.
        config.set("fetch.wait.max.ms", "100");
        let consumer: BaseConsumer<Log> = config.create_with_context(Log).map_err(failed)?;
        let mut places = TopicPartitionList::new();
        for facts in &topic.partitions {
            let offset = match from {
                TailFrom::Beginning => facts.start,
                TailFrom::End => facts.end,
                TailFrom::Last(count) => {
                    let count = i64::try_from(count).unwrap_or(i64::MAX);
                    facts.start.max(facts.end.saturating_sub(count))
                }
            };
            let place = Offset::Offset(offset);
            places.add_partition_offset(&topic.name, facts.partition, place).map_err(failed)?;
        }
        consumer.assign(&places).map_err(failed)?;
        let behind = topic.partitions.iter().map(|facts| facts.partition).collect();
        let queue = MessageQueue::new(consumer, PASSED_AT_ONCE).ok_or_else(|| {
            self::failed(brokers, &topic.name, "a consumer without a queue".into())
        })?;
        let (topic, brokers) = (topic.name.clone(), brokers.to_owned());
        Ok(Tail { queue, topic, brokers, behind })
    }

    /// Passes over the records that are there, and waits for the first of them until `timeout` has
    /// passed. Says how many there were.
    ///
    /// # Errors
    /// As [`Tail::next`].
    pub fn pass(&mut self, timeout: Duration) -> Result<u64, ConnectorError> {
        let mut records = u64::from(self.next(timeout)?.is_some());
        loop {
            let messages = self.queue.poll(PASSED_AT_ONCE);
            for message in messages.iter() {
                match message.event() {
                    Event::Record => records += 1,
                    Event::End => _ = self.behind.remove(&message.partition()),
                    Event::Passing => {}
                    Event::Fatal => {
                        return Err(failed(&self.brokers, &self.topic, message.error_text()));
                    }
                }
            }
            if messages.len() < PASSED_AT_ONCE {
                return Ok(records);
            }
        }
    }

    /// The next record, if there is one before `timeout` has passed.
    ///
    /// # Errors
    /// If the cluster refuses. That it doesn't answer is only logged: it may come back.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<TailRecord>, ConnectorError> {
        match self.queue.consumer().poll(timeout) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(TailRecord {
                partition: message.partition(),
                offset: message.offset(),
                timestamp_ms: message.timestamp().to_millis(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
            })),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.behind.remove(&partition);
                Ok(None)
            }
            Some(Err(error)) => Err(failed(&self.brokers, &self.topic, error.to_string())),
        }
    }

    /// Whether the end of each partition has been reached at some time.
    pub fn has_seen_all(&self) -> bool {
        self.behind.is_empty()
    }
}

fn failed(brokers: &str, topic: &str, cause: String) -> ConnectorError {
    let what = format!("reading topic '{topic}' at {brokers}");
    ConnectorError { what, cause }
}
