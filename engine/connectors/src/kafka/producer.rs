//! [`Producer`]: the one producer of a process for a cluster, shared by all workers and tables
//! that write there with the same properties and, if they write exactly once, for the same job.
//!
//! A record that could not be delivered is not forgotten: the failure stays, and every later
//! [`Producer::check`] reports it, so that a job can't end as if all had arrived.

use super::client::{Log, failed};
use super::partitions::{REQUEST_TIMEOUT, STARTUP_TIMEOUT, retry};
use super::settings::Settings;
use crate::source::ConnectorError;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka_sys::{rd_kafka_flush, rd_kafka_resp_err_t, rd_kafka_t};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How long a full queue, or the last flush, may take.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// A record on its way.
pub(crate) type Record<'a> = BaseRecord<'a, [u8], [u8]>;

/// What a record takes besides key and value, about.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// What makes two tables share a producer: their properties, and their transaction if they have
/// one.
type Key = (BTreeMap<String, String>, Option<String>);

static PRODUCERS: Mutex<BTreeMap<Key, Weak<Producer>>> = Mutex::new(BTreeMap::new());

/// Sends records.
pub(crate) struct Producer {
    inner: ThreadedProducer<Deliveries>,
    deliveries: Arc<Outcome>,
    brokers: String,
    is_abandoned: AtomicBool,
}

/// What became of the records.
#[derive(Default)]
struct Outcome {
    writers: AtomicUsize,
    /// Records handed over, and their bytes.
    records: AtomicU64,
    bytes: AtomicU64,
    failure: Mutex<Option<String>>,
}

pub(super) struct Deliveries(Arc<Outcome>);

/// One writer's hand on the producer.
pub(crate) struct Share(Arc<Producer>);

impl Share {
    /// This writer's share of the bytes not yet acknowledged: whose they are is not known one by
    /// one, and all writers' shares together are all the bytes. Nor is it known how large those
    /// are that are still on their way: as large as all were on average.
    pub(crate) fn pending_bytes(&self) -> usize {
        let Outcome { writers, records, bytes, .. } = &*self.0.deliveries;
        let in_flight = self.0.inner.in_flight_count().max(0).unsigned_abs() as u64;
        let records = records.load(Ordering::Relaxed).max(1);
        let size = bytes.load(Ordering::Relaxed).div_ceil(records);
        (in_flight * size) as usize / writers.load(Ordering::Relaxed).max(1)
    }
}

impl Deref for Share {
    type Target = Producer;

    fn deref(&self) -> &Producer {
        &self.0
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.deliveries.writers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long somebody has been waiting for room in a full queue.
pub(super) struct Patience<'p> {
    producer: &'p Producer,
    deadline: Option<Instant>,
}

impl Patience<'_> {
    /// Waits a little, unless something else is the matter, as `cause` says, or it has been too
    /// long.
    pub(super) fn wait(
        &mut self,
        is_full: bool,
        cause: impl FnOnce() -> String,
    ) -> Result<(), ConnectorError> {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + DELIVERY_TIMEOUT);
        if !is_full || Instant::now() >= deadline {
            return Err(self.producer.failed(&cause()));
        }
        self.producer.check()?;
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Log.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let mut failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| format!("topic '{}': {error}", message.topic()));
        }
    }
}

impl Producer {
    /// The producer for these properties, and for this transaction if there is one.
    pub(crate) fn shared(
        settings: &Settings,
        transactional_id: Option<&str>,
    ) -> Result<Arc<Producer>, ConnectorError> {
        let mut producers = PRODUCERS.lock().unwrap_or_else(PoisonError::into_inner);
        producers.retain(|_, producer| producer.strong_count() > 0);
        let key = (settings.properties.clone(), transactional_id.map(str::to_owned));
        let known = producers.get(&key).and_then(Weak::upgrade);
        if let Some(producer) = known.filter(|producer| !producer.is_abandoned()) {
            return Ok(producer);
        }
        let producer = Arc::new(Producer::new(settings, transactional_id)?);
        producers.insert(key, Arc::downgrade(&producer));
        Ok(producer)
    }

    fn new(
        settings: &Settings,
        transactional_id: Option<&str>,
    ) -> Result<Producer, ConnectorError> {
        let deliveries = Arc::new(Outcome::default());
        let mut config = ClientConfig::new();
        config.set("enable.idempotence", "true");
        config.set("queue.buffering.max.messages", "0");
        config.set("queue.buffering.max.kbytes", "524288");
        config.set("batch.size", "262144");
        config.set("linger.ms", "5");
        // To hear of each record that arrived takes more time than to encode it.
        config.set("delivery.report.only.error", "true");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
        }
        let not_ours = ["group.id", "isolation.level", "transactional.id"];
        let properties =
            settings.properties.iter().filter(|(k, _)| !not_ours.contains(&k.as_str()));
        config.extend(properties.map(|(k, v)| (k.clone(), v.clone())));
        // As Java clients partition, so that records of a key meet those that others wrote.
        config.set("partitioner", "murmur2_random");
        let inner = config
            .create_with_context(Deliveries(deliveries.clone()))
            .map_err(|e| failed(settings, "connecting to write", &e))?;
        let (brokers, is_abandoned) = (settings.brokers().to_owned(), AtomicBool::new(false));
        Ok(Producer { inner, deliveries, brokers, is_abandoned })
    }

    /// The number of partitions of a topic, once it is there. Asking makes the brokers create it,
    /// if they are configured so.
    pub(crate) fn partitions(
        &self,
        topic: &str,
        settings: &Settings,
    ) -> Result<i32, ConnectorError> {
        retry(Instant::now() + STARTUP_TIMEOUT, settings, || self.partitions_now(topic))
    }

    /// The number of partitions of a topic as a broker says; what is wrong, if none does.
    pub(super) fn partitions_now(&self, topic: &str) -> Result<i32, String> {
        let client = self.inner.client();
        let metadata = client.fetch_metadata(Some(topic), REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|e| e.to_string())?;
        let topics = metadata.topics().iter();
        match topics.map(|topic| topic.partitions().len()).next() {
            Some(partitions) if partitions > 0 => Ok(partitions as i32),
            _ => Err(format!("there is no topic '{topic}', and the brokers don't create it")),
        }
    }

    /// Hands a record to librdkafka, which copies it. Waits only while its queue is full.
    pub(crate) fn send(&self, record: Record<'_>) -> Result<(), ConnectorError> {
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        self.count(1, length(record.key) + length(record.payload));
        let mut record = record;
        let mut patience = self.patience();
        loop {
            let (error, refused) = match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let is_full = error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            patience.wait(is_full, || format!("topic '{}': {error}", refused.topic))?;
            record = refused;
        }
    }

    /// Counts records that are handed over, whose keys and values have so many bytes.
    pub(super) fn count(&self, records: usize, bytes: usize) {
        let bytes = bytes + records * RECORD_OVERHEAD_BYTES;
        self.deliveries.records.fetch_add(records as u64, Ordering::Relaxed);
        self.deliveries.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How long a full queue is waited for.
    pub(super) fn patience(&self) -> Patience<'_> {
        Patience { producer: self, deadline: None }
    }

    /// Counts a writer, until it is dropped.
    pub(crate) fn writer(self: &Arc<Self>) -> Share {
        self.deliveries.writers.fetch_add(1, Ordering::Relaxed);
        Share(self.clone())
    }

    /// Whether everything so far was delivered or is on its way.
    pub(crate) fn check(&self) -> Result<(), ConnectorError> {
        let failure = self.deliveries.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().map_or(Ok(()), |failure| Err(self.failed(failure)))
    }

    /// Waits until everything was delivered, and no longer: rdkafka's own way to wait looks only
    /// each 100 ms where nothing is reported of what arrived.
    pub(crate) fn finish(&self) -> Result<(), ConnectorError> {
        let timeout_ms = DELIVERY_TIMEOUT.as_millis() as i32;
        // SAFETY: the client lives as long as this producer.
        let outcome = unsafe { rd_kafka_flush(self.client(), timeout_ms) };
        if outcome != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(self.failed(&RDKafkaErrorCode::from(outcome).to_string()));
        }
        self.check()
    }

    /// Gives the producer up: whoever wants one from now on gets another.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }

    /// Whether it was given up.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    /// librdkafka's client.
    pub(super) fn client(&self) -> *mut rd_kafka_t {
        self.inner.client().native_ptr()
    }

    /// librdkafka's own producer, for what concerns all of its records.
    pub(super) fn inner(&self) -> &impl rdkafka::producer::Producer<Deliveries> {
        &self.inner
    }

    pub(super) fn failed(&self, cause: &str) -> ConnectorError {
        let what = format!("writing to Kafka at {}", self.brokers);
        ConnectorError { what, cause: cause.to_owned() }
    }
}
