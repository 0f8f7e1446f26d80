//! [`Outbox`]: records of one topic, handed to librdkafka many at a time.
//!
//! One call for a batch looks up the topic and asks for the state of the transaction once, where a
//! call for each record does so for each; and if all records of a call are for one partition, that
//! is looked up once too. So records are dealt to their partitions here, which keeps the order within
//! each. librdkafka copies what it is given, so the invariant: **no pointer to a record outlives the
//! call that it was made for.**

use super::producer::Share;
use crate::source::ConnectorError;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use std::ffi::{CString, c_void};
use std::ptr::{NonNull, null, null_mut};
use sys::rd_kafka_resp_err_t::{
    RD_KAFKA_RESP_ERR__QUEUE_FULL as QUEUE_FULL, RD_KAFKA_RESP_ERR_NO_ERROR as NO_ERROR,
};

/// librdkafka is to say which partition.
const UNASSIGNED: i32 = -1;

/// A record on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) key: Option<&'a [u8]>,
    /// None: a tombstone.
    pub(super) value: Option<&'a [u8]>,
    /// None: as the key says.
    pub(super) partition: Option<i32>,
}

/// A writer's way to one topic.
pub(super) struct Outbox {
    // Declared before the producer, for fields are dropped in this order.
    topic: Topic,
    producer: Share,
    name: String,
    /// Room for a batch, by partition from [`UNASSIGNED`] on; empty between calls.
    dealt: Vec<Vec<sys::rd_kafka_message_t>>,
}

/// A reference to librdkafka's topic.
struct Topic(NonNull<sys::rd_kafka_topic_t>);

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: we hold this reference to the topic and give it up once.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

// SAFETY: librdkafka's topics may be used from any thread; there are no messages between calls.
unsafe impl Send for Outbox {}

impl Outbox {
    /// The way to `topic`.
    ///
    /// # Errors
    /// If that is no name of a topic.
    pub(super) fn new(producer: Share, topic: &str) -> Result<Self, ConnectorError> {
        let refused = || producer.failed(&format!("'{topic}' can't be the name of a topic"));
        let c_name = CString::new(topic).map_err(|_| refused())?;
        let client = producer.client();
        // SAFETY: the client lives as long as the producer, which we have a share in; without a
        // configuration the topic has that of the client.
        let made = unsafe { sys::rd_kafka_topic_new(client, c_name.as_ptr(), null_mut()) };
        let handle = Topic(NonNull::new(made).ok_or_else(refused)?);
        let name = topic.to_owned();
        Ok(Outbox { topic: handle, producer, name, dealt: Vec::new() })
    }

    /// The topic's name.
    pub(super) fn topic(&self) -> &str {
        &self.name
    }

    /// The producer.
    pub(super) fn producer(&self) -> &Share {
        &self.producer
    }

    /// Hands records to librdkafka, those of a partition in order. Waits only while its queue is full.
    pub(super) fn send<'a>(
        &mut self,
        records: impl Iterator<Item = Outgoing<'a>>,
    ) -> Result<(), ConnectorError> {
        let (mut count, mut bytes) = (0, 0);
        for record in records {
            let message = message(record);
            count += 1;
            bytes += message.key_len + message.len;
            let partition = record.partition.unwrap_or(UNASSIGNED);
            let place = usize::try_from(partition - UNASSIGNED).unwrap_or(0);
            if self.dealt.len() <= place {
                self.dealt.resize_with(place + 1, Vec::new);
            }
            self.dealt[place].push(message);
        }
        self.producer.count(count, bytes);
        let mut dealt = std::mem::take(&mut self.dealt);
        let mut by_partition = (UNASSIGNED..).zip(&mut dealt);
        let sent = by_partition.try_for_each(|(partition, all)| self.send_to(partition, all));
        dealt.iter_mut().for_each(Vec::clear);
        self.dealt = dealt;
        sent
    }

    /// Hands messages over for a partition.
    fn send_to(
        &self,
        partition: i32,
        messages: &mut [sys::rd_kafka_message_t],
    ) -> Result<(), ConnectorError> {
        let mut from = 0;
        let mut patience = self.producer.patience();
        loop {
            let rest = &mut messages[from..];
            if rest.is_empty() {
                return Ok(());
            }
            let length = i32::try_from(rest.len()).unwrap_or(i32::MAX);
            // SAFETY: topic and messages are valid, and what the messages point to is borrowed by
            // the iterator that gave them, which outlives this call.
            unsafe {
                sys::rd_kafka_produce_batch(
                    self.topic.0.as_ptr(),
                    partition,
                    sys::RD_KAFKA_MSG_F_COPY,
                    rest.as_mut_ptr(),
                    length,
                );
            }
            let rest = &rest[..length as usize];
            let refused = rest.iter().position(|message| message.err != NO_ERROR);
            from += refused.unwrap_or(rest.len());
            if let Some(first) = refused {
                // When one finds no room, none behind it is taken.
                let code = rest[first].err;
                let cause = || format!("topic '{}': {}", self.name, RDKafkaErrorCode::from(code));
                patience.wait(code == QUEUE_FULL, cause)?;
            }
        }
    }
}

/// The partition of a key among so many, as Java clients choose it.
pub(super) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    // SAFETY: this function of librdkafka's reads the key and nothing else.
    unsafe {
        sys::rd_kafka_msg_partitioner_murmur2(
            null(),
            key.as_ptr().cast::<c_void>(),
            key.len(),
            partitions,
            null_mut(),
            null_mut(),
        )
    }
}

/// A record as librdkafka wants it.
fn message(record: Outgoing<'_>) -> sys::rd_kafka_message_t {
    let start = |part: Option<&[u8]>| {
        part.map_or(null_mut(), |bytes| bytes.as_ptr().cast_mut().cast::<c_void>())
    };
    let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
    sys::rd_kafka_message_t {
        err: NO_ERROR,
        rkt: null_mut(),
        partition: UNASSIGNED,
        payload: start(record.value),
        len: length(record.value),
        key: start(record.key),
        key_len: length(record.key),
        offset: 0,
        _private: null_mut(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_java_clients_send_them() {
        // The hashes are those of the Java client's own tests.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("abc", 479_470_107_i32),
        ] {
            for partitions in [1, 7, 8] {
                let expected = (hash & 0x7fff_ffff) % partitions;
                assert_eq!(partition_of(key.as_bytes(), partitions), expected, "{key}");
            }
        }
    }
}
