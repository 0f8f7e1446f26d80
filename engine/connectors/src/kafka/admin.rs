//! [`Admin`]: which topics a cluster has, and new ones.

use super::client::Log;
use super::partitions::REQUEST_TIMEOUT;
use crate::source::ConnectorError;
use futures_executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a new topic is waited for until all of its partitions can be used.
const CREATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait before looking again.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Asks a cluster about its topics, and makes some.
pub struct Admin {
    client: AdminClient<Log>,
    brokers: String,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// Its name.
    pub name: String,
    /// Its partitions, ascending.
    pub partitions: Vec<PartitionFacts>,
}

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Its number.
    pub partition: i32,
    /// The node that leads it; none, if there is no such node at the moment.
    pub leader: Option<i32>,
    /// The offset of the first record that is still there.
    pub start: i64,
    /// The offset behind the last record.
    pub end: i64,
}

impl Admin {
    /// Prepares to ask the cluster at `brokers`, a list of `HOST:PORT`.
    ///
    /// # Errors
    /// If that is no such list. Whether somebody answers there is seen at the first question.
    pub fn new(brokers: &str) -> Result<Self, ConnectorError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        let client = config.create_with_context(Log);
        let client = client.map_err(|error| failed(brokers, "connecting", &error))?;
        Ok(Admin { client, brokers: brokers.to_owned() })
    }

    /// All topics but the cluster's own, by name.
    ///
    /// # Errors
    /// If the cluster doesn't answer.
    pub fn topics(&self) -> Result<Vec<TopicFacts>, ConnectorError> {
        let metadata = self.client.inner().fetch_metadata(None, REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|e| self.failed("listing the topics", &e))?;
        let listed = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
        let topics = listed.map(|topic| self.facts(topic)).collect::<KafkaResult<Vec<_>>>();
        let mut topics = topics.map_err(|e| self.failed("listing the topics", &e))?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic, if it is there. Asking doesn't make it.
    ///
    /// # Errors
    /// If the cluster doesn't answer.
    pub fn topic(&self, name: &str) -> Result<Option<TopicFacts>, ConnectorError> {
        // Asked for by name, a topic would be made by brokers that make what they don't know.
        Ok(self.topics()?.into_iter().find(|topic| topic.name == name))
    }

    /// What a topic is configured to, where that differs from the cluster's defaults.
    ///
    /// # Errors
    /// If the cluster doesn't answer, or has no such topic.
    pub fn options(&self, topic: &str) -> Result<Vec<(String, String)>, ConnectorError> {
        let doing = || format!("asking for the options of topic '{topic}'");
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = block_on(self.client.describe_configs(&asked, &options()));
        let answers = answers.map_err(|e| self.failed(&doing(), &e))?;
        let mut set = Vec::new();
        for answer in answers {
            let resource = answer.map_err(|code| self.failed(&doing(), &admin_error(code)))?;
            let own = resource.entries.into_iter();
            let own = own.filter(|entry| entry.source == ConfigSource::DynamicTopic);
            set.extend(own.map(|entry| (entry.name, entry.value.unwrap_or_default())));
        }
        set.sort();
        Ok(set)
    }

    /// Makes a topic, with so many partitions or the cluster's default, and waits until it can
    /// be used. Says whether it was made; otherwise it was there already.
    ///
    /// # Errors
    /// If the cluster doesn't answer or refuses.
    pub fn create(
        &self,
        topic: &str,
        partitions: Option<u32>,
        topic_options: &[(String, String)],
    ) -> Result<bool, ConnectorError> {
        let doing = || format!("making topic '{topic}'");
        let partitions = partitions.map_or(-1, |partitions| partitions as i32);
        // -1: as many copies as the cluster makes by default.
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        let new = topic_options.iter().fold(new, |new, (key, value)| new.set(key, value));
        let answers = block_on(self.client.create_topics([&new], &options()));
        for answer in answers.map_err(|e| self.failed(&doing(), &e))? {
            match answer {
                Ok(_) => {}
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return Ok(false),
                Err((_, code)) => return Err(self.failed(&doing(), &admin_error(code))),
            }
        }
        self.wait_for(topic).map_err(|e| self.failed(&doing(), &e))?;
        Ok(true)
    }

    /// Waits until all partitions of a topic have a leader.
    fn wait_for(&self, topic: &str) -> KafkaResult<()> {
        let deadline = Instant::now() + CREATION_TIMEOUT;
        loop {
            let metadata = self.client.inner().fetch_metadata(Some(topic), REQUEST_TIMEOUT)?;
            let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
            let leaders: Vec<bool> = partitions.map(|partition| partition.leader() >= 0).collect();
            if !leaders.is_empty() && leaders.iter().all(|&is_led| is_led) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(admin_error(RDKafkaErrorCode::LeaderNotAvailable));
            }
            sleep(LOOK_INTERVAL);
        }
    }

    fn facts(&self, topic: &MetadataTopic) -> KafkaResult<TopicFacts> {
        let client = self.client.inner();
        let facts = |partition: &rdkafka::metadata::MetadataPartition| {
            let leader = (partition.leader() >= 0).then_some(partition.leader());
            // Nobody knows the ends of a partition that nobody leads.
            let (start, end) = match leader {
                Some(_) => {
                    client.fetch_watermarks(topic.name(), partition.id(), REQUEST_TIMEOUT)?
                }
                None => (0, 0),
            };
            Ok(PartitionFacts { partition: partition.id(), leader, start, end })
        };
        let partitions = topic.partitions().iter().map(facts).collect::<KafkaResult<Vec<_>>>();
        let mut partitions = partitions?;
        partitions.sort_by_key(|facts| facts.partition);
        Ok(TopicFacts { name: topic.name().to_owned(), partitions })
    }

    fn failed(&self, doing: &str, error: &KafkaError) -> ConnectorError {
        failed(&self.brokers, doing, error)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT))
}

fn admin_error(code: RDKafkaErrorCode) -> KafkaError {
    KafkaError::AdminOp(code)
}

fn failed(brokers: &str, doing: &str, error: &KafkaError) -> ConnectorError {
    let cause = match error {
        KafkaError::AdminOp(code) => code.to_string(),
        error => error.to_string(),
    };
    ConnectorError { what: format!("{doing} at {brokers}"), cause }
}
