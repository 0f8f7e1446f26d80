//! A consumer that does nothing but take what is there, thousands of messages at a time: as fast
//! as librdkafka can be read.

use anyhow::{Context, anyhow};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys as sys;
use std::ptr::NonNull;
use std::slice;
use std::time::Duration;

/// As many messages are taken at a time.
const BATCH: usize = 4096;

/// Reads all partitions of a topic from their beginning.
pub struct BatchConsumer {
    queue: NonNull<sys::rd_kafka_queue_t>,
    // Destroyed behind the queue.
    _consumer: BaseConsumer,
    buffer: Vec<*mut sys::rd_kafka_message_t>,
}

impl BatchConsumer {
    /// Starts to fetch.
    pub fn new(brokers: &str, topic: &str) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "tidemill-benches")
            .set("enable.auto.commit", "false")
            .set("queued.min.messages", "1000000")
            .set("queued.max.messages.kbytes", "131072")
            .set("fetch.message.max.bytes", "10485760")
            .set("fetch.wait.max.ms", "5")
            .set("check.crcs", "false")
            .create()?;
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30))?;
        let found = metadata.topics().first().context("no such topic")?;
        let mut partitions = TopicPartitionList::new();
        for partition in found.partitions() {
            partitions.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        // SAFETY: the handle is valid while the consumer lives, which we own.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| anyhow!("the consumer has no queue"))?;
        Ok(BatchConsumer { queue, _consumer: consumer, buffer: Vec::with_capacity(BATCH) })
    }

    /// Calls `each` with the payloads that are there, and says how many; waits a little for some.
    pub fn poll(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        // SAFETY: the buffer has room for `BATCH` pointers, and librdkafka says how many it wrote.
        unsafe {
            let buffer = self.buffer.as_mut_ptr();
            let count = sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 1, buffer, BATCH);
            self.buffer.set_len(usize::try_from(count).unwrap_or(0));
        }
        let mut count = 0;
        for message in self.buffer.drain(..) {
            // SAFETY: messages are valid until destroyed, here, once; payloads as long as they say.
            unsafe {
                let m = &*message;
                if m.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    count += 1;
                    if !m.payload.is_null() {
                        each(slice::from_raw_parts(m.payload.cast(), m.len));
                    }
                }
                sys::rd_kafka_message_destroy(message);
            }
        }
        count
    }
}

impl Drop for BatchConsumer {
    fn drop(&mut self) {
        // SAFETY: this reference to the queue is ours and given up once.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}
