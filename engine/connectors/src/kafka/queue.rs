//! [`MessageQueue`]: messages as librdkafka holds them, thousands at a time, without a copy.
//!
//! Only this module and [`outbox`](super::outbox) handle pointers to messages. The invariant: **a
//! [`Message`] lives no longer than the [`Messages`] it came from**, which gives all of them back to
//! librdkafka at once, and a queue lives no longer than its consumer.
//!
//! All partitions of a consumer arrive in one queue, unless they are set apart: then each has its
//! own and can be left alone. (librdkafka's way to pause a partition throws away what it has
//! fetched of it, megabytes each time.) What is left alone costs what is fetched ahead, no more.

use super::client::Consumer;
use rdkafka::consumer::Consumer as _;
use rdkafka_sys as sys;
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use sys::rd_kafka_resp_err_t as Code;

/// The queues in which a consumer's partitions arrive.
pub(crate) struct MessageQueue {
    // Queues are declared before the consumer, for fields are dropped in this order.
    common: Queue,
    apart: Vec<Apart>,
    /// Which of those is asked first.
    turn: usize,
    consumer: Consumer,
    pointers: Vec<*mut sys::rd_kafka_message_t>,
}

/// A partition's own queue.
struct Apart {
    queue: Queue,
    is_held: bool,
}

/// Which of the partitions set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApartId(usize);

/// A reference to one of librdkafka's queues.
struct Queue(NonNull<sys::rd_kafka_queue_t>);

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: we hold this reference to the queue and give it up once.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

// SAFETY: librdkafka's queues and consumers may be used from any thread; messages can't leave
// `Messages`, which borrows the queue.
unsafe impl Send for MessageQueue {}

impl MessageQueue {
    /// The queue of a consumer, to be read up to `capacity` messages at a time.
    pub(crate) fn new(consumer: Consumer, capacity: usize) -> Option<Self> {
        // SAFETY: the consumer's handle is valid while the consumer lives, which we own.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let common = Queue(NonNull::new(queue)?);
        let pointers = Vec::with_capacity(capacity);
        Some(MessageQueue { common, apart: vec![], turn: 0, consumer, pointers })
    }

    /// The consumer, to assign and ask.
    pub(crate) fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// Gives a partition a queue of its own. It must not have been assigned before, or some of
    /// its messages go the common way.
    pub(crate) fn set_apart(&mut self, topic: &str, partition: i32) -> Option<ApartId> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the handle and the name are valid. Forwarding to nowhere is how a queue is
        // separated, and a later assignment respects it.
        let queue = unsafe {
            let client = self.consumer.client().native_ptr();
            let queue = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            let queue = Queue(NonNull::new(queue)?);
            sys::rd_kafka_queue_forward(queue.0.as_ptr(), std::ptr::null_mut());
            queue
        };
        self.apart.push(Apart { queue, is_held: false });
        Some(ApartId(self.apart.len() - 1))
    }

    /// Leaves these partitions alone, and no others.
    pub(crate) fn hold(&mut self, held: impl Iterator<Item = ApartId>) {
        self.apart.iter_mut().for_each(|apart| apart.is_held = false);
        held.for_each(|ApartId(i)| self.apart[i].is_held = true);
    }

    /// The messages that are there, up to `max` and the capacity. Does not wait.
    pub(crate) fn poll(&mut self, max: usize) -> Messages<'_> {
        let max = max.min(self.pointers.capacity());
        take(&self.common, &mut self.pointers, max);
        for i in 0..self.apart.len() {
            let apart = &self.apart[(self.turn + i) % self.apart.len()];
            if !apart.is_held {
                take(&apart.queue, &mut self.pointers, max);
            }
        }
        // Whoever was asked first now comes last.
        self.turn = self.turn.wrapping_add(1);
        Messages { pointers: &mut self.pointers }
    }

    /// The end of a partition, as the last fetch has told.
    pub(crate) fn known_end(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = CString::new(topic).ok()?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the handle and the name are valid; the answer comes from memory.
        let code = unsafe {
            let client = self.consumer.client().native_ptr();
            let topic = topic.as_ptr();
            sys::rd_kafka_get_watermark_offsets(client, topic, partition, &mut low, &mut high)
        };
        (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

/// Adds what a queue holds, up to `max` messages in all.
fn take(queue: &Queue, pointers: &mut Vec<*mut sys::rd_kafka_message_t>, max: usize) {
    let there_are = pointers.len();
    debug_assert!(max <= pointers.capacity(), "room for as many");
    if there_are >= max {
        return;
    }
    // SAFETY: the buffer has room for `max` pointers; librdkafka says how many it has written.
    unsafe {
        let buffer = pointers.as_mut_ptr().add(there_are);
        let count = sys::rd_kafka_consume_batch_queue(queue.0.as_ptr(), 0, buffer, max - there_are);
        pointers.set_len(there_are + usize::try_from(count).unwrap_or(0));
    }
}

/// Messages on loan.
pub(crate) struct Messages<'a> {
    pointers: &'a mut Vec<*mut sys::rd_kafka_message_t>,
}

impl Messages<'_> {
    pub(crate) fn len(&self) -> usize {
        self.pointers.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        // SAFETY: librdkafka gave us these messages and they are not given back before `drop`.
        self.pointers.iter().map(|&message| Message(unsafe { &*message }))
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for message in self.pointers.drain(..) {
            // SAFETY: each message is ours and given back once; no `Message` outlives `self`.
            unsafe { sys::rd_kafka_message_destroy(message) }
        }
    }
}

/// A message, or an event of a partition, in librdkafka's memory.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a>(&'a sys::rd_kafka_message_t);

/// What a [`Message`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A record.
    Record,
    /// The partition has been read to its end for now; the offset is the next one.
    End,
    /// Something that reading can't go on after.
    Fatal,
    /// Something that librdkafka deals with.
    Passing,
}

/// When a record was made, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timestamp {
    Unknown,
    Created(i64),
    Appended(i64),
}

impl<'a> Message<'a> {
    pub(crate) fn event(self) -> Event {
        match self.0.err {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Event::Record,
            Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Event::End,
            Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
            | Code::RD_KAFKA_RESP_ERR__FATAL
            | Code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE
            | Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => Event::Fatal,
            _ => Event::Passing,
        }
    }

    /// What librdkafka says of an event that is no record.
    pub(crate) fn error_text(self) -> String {
        // SAFETY: both calls give a string that lives as long as the message.
        let text = unsafe { sys::rd_kafka_message_errstr(self.0) };
        if text.is_null() {
            return rdkafka::error::RDKafkaErrorCode::from(self.0.err).to_string();
        }
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// The value; `None` for a tombstone.
    pub(crate) fn value(self) -> Option<&'a [u8]> {
        bytes(self.0.payload, self.0.len)
    }

    pub(crate) fn key(self) -> Option<&'a [u8]> {
        bytes(self.0.key, self.0.key_len)
    }

    pub(crate) fn offset(self) -> i64 {
        self.0.offset
    }

    pub(crate) fn partition(self) -> i32 {
        self.0.partition
    }

    /// A number that stands for the topic as long as the consumer lives.
    pub(crate) fn topic_id(self) -> usize {
        self.0.rkt as usize
    }

    pub(crate) fn topic(self) -> String {
        if self.0.rkt.is_null() {
            return String::new();
        }
        // SAFETY: the topic's handle is kept by the message, its name by the handle.
        let name = unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(self.0.rkt)) };
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn timestamp(self) -> Timestamp {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid, `kind` is written.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.0, &mut kind) };
        match kind {
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => {
                Timestamp::Created(millis)
            }
            sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => {
                Timestamp::Appended(millis)
            }
            _ => Timestamp::Unknown,
        }
    }

    pub(crate) fn leader_epoch(self) -> i32 {
        // SAFETY: the message is valid.
        unsafe { sys::rd_kafka_message_leader_epoch(self.0) }
    }

    /// The headers, in order.
    pub(crate) fn headers(self) -> Vec<(&'a str, Option<&'a [u8]>)> {
        let mut found = vec![];
        let mut headers = std::ptr::null_mut();
        // SAFETY: the headers belong to the message and live as long.
        unsafe {
            if sys::rd_kafka_message_headers(self.0, &mut headers)
                != Code::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                return found;
            }
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            while sys::rd_kafka_header_get_all(
                headers,
                found.len(),
                &mut name,
                &mut value,
                &mut size,
            ) == Code::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                let name = CStr::from_ptr(name).to_str().unwrap_or("\u{fffd}");
                found.push((name, bytes(value, size)));
            }
        }
        found
    }
}

fn bytes<'a>(start: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka's pointer and length go together; the callers bind the lifetime.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), len) })
}
