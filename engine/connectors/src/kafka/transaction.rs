//! [`TopicTransaction`]: what makes the records of a checkpoint visible at once, in all topics that
//! the job writes exactly once.
//!
//! The proof that it happened is an offset that nobody reads by: the checkpoint's number, with the
//! [`Marker`] as its metadata, committed in the same transaction for a group of the job's own on
//! partition 0 of a topic that it writes. (The offsets of the job's input could not serve: without
//! any, committing them does nothing, and says nothing of that.)
//!
//! librdkafka can't hand a transaction over to the process that comes next. What was open when
//! one died can only be aborted: that is what [`TopicTransaction::recover`] does first, and before
//! that the brokers would not say what the marker is.
//!
//! A commit is made on a thread of its own, and not waited for without end: when a broker leaves
//! the cluster and comes back, librdkafka may wait for the one that left, whatever timeout it was
//! given (its issues 5456 and 5511). Then the producer is abandoned and the job goes on with another
//! one, from the last checkpoint.

use super::client::Log;
use super::partitions::{REQUEST_TIMEOUT, RETRY_INTERVAL, STARTUP_TIMEOUT, retry};
use super::producer::Producer;
use super::settings::Settings;
use crate::sink::{Marker, Transaction};
use crate::source::ConnectorError;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// librdkafka's default of `transaction.timeout.ms`.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a commit may take, and is tried for while brokers are away. By then, unless they were
/// told otherwise, they have given the transaction up.
const COMMIT_TIMEOUT: Duration = TRANSACTION_TIMEOUT;

/// The transaction of a job at a cluster.
pub(crate) struct TopicTransaction {
    steps: Arc<Steps>,
    settings: Settings,
    /// The topic that the marker is about.
    topic: String,
    job: String,
    /// The group of the marker, as brokers want to hear it; there after recovery.
    group: Mutex<Option<Arc<ConsumerGroupMetadata>>>,
}

impl TopicTransaction {
    pub(crate) fn new(
        producer: Arc<Producer>,
        settings: &Settings,
        topic: String,
        job: &str,
        id: String,
    ) -> Self {
        let (settings, job, group) = (settings.clone(), job.to_owned(), Mutex::new(None));
        let steps = Arc::new(Steps { producer, id });
        TopicTransaction { steps, settings, topic, job, group }
    }

    /// A consumer of the marker's group: it never joins, it only asks.
    fn asker(&self) -> Result<BaseConsumer<Log>, ConnectorError> {
        let mut config = ClientConfig::new();
        config.extend(self.settings.properties.clone());
        config.set("group.id", format!("tidemill-{}", self.job));
        config.set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed");
        config.create_with_context(Log).map_err(|error| self.steps.failed("connecting", &error))
    }

    fn read_marker(&self, asker: &BaseConsumer<Log>) -> Result<Option<Marker>, ConnectorError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        let deadline = Instant::now() + STARTUP_TIMEOUT;
        let committed = retry(deadline, &self.settings, || {
            asker.committed_offsets(list.clone(), REQUEST_TIMEOUT).map_err(|e| e.to_string())
        })?;
        let elements = committed.elements();
        let Some(element) = elements.first() else { return Ok(None) };
        let Offset::Offset(checkpoint) = element.offset() else { return Ok(None) };
        let marker =
            (serde_json::from_str::<serde_json::Value>(element.metadata()).ok()).and_then(|text| {
                let job = text.get("job")?.as_str()?.to_owned();
                let generation = text.get("generation")?.as_u64()?;
                Some(Marker { job, checkpoint: u64::try_from(checkpoint).ok()?, generation })
            });
        marker.map(Some).ok_or_else(|| {
            let problem =
                format!("offset {checkpoint} of group 'tidemill-{}' is no marker", self.job);
            self.steps.producer.failed(&problem)
        })
    }

    fn marker_offset(&self, marker: &Marker) -> Result<TopicPartitionList, ConnectorError> {
        let Marker { job, checkpoint, generation } = marker;
        let text = serde_json::json!({"job": job, "generation": generation}).to_string();
        let offset = i64::try_from(*checkpoint).unwrap_or(i64::MAX);
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&self.topic, 0);
        element.set_metadata(text);
        element
            .set_offset(Offset::Offset(offset))
            .map_err(|error| self.steps.failed("marking a checkpoint", &error))?;
        Ok(list)
    }
}

/// The steps of a transaction, as they are made at the brokers.
struct Steps {
    producer: Arc<Producer>,
    /// The transaction's.
    id: String,
}

impl Steps {
    fn begin(&self) -> Result<(), ConnectorError> {
        let begun = self.producer.inner().begin_transaction();
        begun.map_err(|error| self.failed("beginning a transaction", &error))
    }

    fn commit(
        &self,
        marker: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), ConnectorError> {
        let producer = self.producer.inner();
        self.repeat("marking a checkpoint", COMMIT_TIMEOUT, || {
            producer.send_offsets_to_transaction(marker, group, REQUEST_TIMEOUT)
        })?;
        self.repeat("committing a transaction", COMMIT_TIMEOUT, || {
            producer.commit_transaction(REQUEST_TIMEOUT)
        })?;
        self.begin()
    }

    /// Repeats a step for as long as repeating is the answer to its failure, and somebody waits.
    fn repeat(
        &self,
        doing: &str,
        timeout: Duration,
        step: impl Fn() -> Result<(), KafkaError>,
    ) -> Result<(), ConnectorError> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.producer.is_abandoned() {
                return Err(self.producer.failed("nobody waits for it any more"));
            }
            let error = match step() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let may_pass = matches!(&error, KafkaError::Transaction(e) if e.is_retriable());
            if !may_pass || Instant::now() >= deadline {
                return Err(self.failed(doing, &error));
            }
            tracing::warn!("{doing}: {error}; trying again");
            std::thread::sleep(RETRY_INTERVAL);
        }
    }

    fn failed(&self, doing: &str, error: &KafkaError) -> ConnectorError {
        self.producer.failed(&format!("{doing} ('{}'): {error}", self.id))
    }
}

impl Transaction for TopicTransaction {
    fn id(&self) -> String {
        let mut properties = DefaultHasher::new();
        self.settings.properties.hash(&mut properties);
        let (id, brokers) = (&self.steps.id, self.settings.brokers());
        format!("{id} at {brokers} ({:08x})", properties.finish() >> 32)
    }

    fn timeout(&self) -> Option<Duration> {
        let said = self.settings.properties.get("transaction.timeout.ms");
        let said = said.and_then(|text| text.trim().parse().ok()).map(Duration::from_millis);
        Some(said.unwrap_or(TRANSACTION_TIMEOUT))
    }

    fn recover(&self) -> Result<Option<Marker>, ConnectorError> {
        // librdkafka looks for a coordinator at once, and if it isn't connected to any broker yet
        // only half a second later: so for a transaction, and so for a group.
        self.steps.producer.partitions(&self.topic, &self.settings)?;
        let producer = self.steps.producer.inner();
        self.steps.repeat("taking over the job's transaction", STARTUP_TIMEOUT, || {
            producer.init_transactions(REQUEST_TIMEOUT)
        })?;
        let asker = self.asker()?;
        retry(Instant::now() + STARTUP_TIMEOUT, &self.settings, || {
            let connected = asker.fetch_metadata(Some(&self.topic), REQUEST_TIMEOUT);
            connected.map(drop).map_err(|error| error.to_string())
        })?;
        let marker = self.read_marker(&asker)?;
        let group = asker.group_metadata().map(Arc::new);
        *self.group.lock().unwrap_or_else(PoisonError::into_inner) = group;
        self.steps.begin()?;
        Ok(marker)
    }

    fn flush(&self) -> Result<(), ConnectorError> {
        self.steps.producer.finish()
    }

    fn commit(&self, marker: &Marker) -> Result<(), ConnectorError> {
        let Steps { producer, id } = &*self.steps;
        let group = self.group.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(group) = group else {
            return Err(producer.failed("a transaction was committed before it was begun"));
        };
        let (steps, marker) = (self.steps.clone(), self.marker_offset(marker)?);
        let (answer, answered) = channel();
        let thread = std::thread::Builder::new().name("kafka-commit".to_owned());
        // Nobody listens any more once it was waited for long enough.
        let commit = thread.spawn(move || drop(answer.send(steps.commit(&marker, &group))));
        commit.map_err(|error| producer.failed(&error.to_string()))?;
        answered.recv_timeout(COMMIT_TIMEOUT).unwrap_or_else(|_| {
            producer.abandon();
            let waited = COMMIT_TIMEOUT.as_secs();
            let problem = format!("committing a transaction ('{id}'): no answer for {waited} s");
            Err(producer.failed(&problem))
        })
    }
}
