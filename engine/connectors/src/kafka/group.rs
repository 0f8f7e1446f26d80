//! [`GroupReport`]: commits the offsets of checkpoints for the user's consumer group, so that
//! whoever monitors the group's lag sees that of the job.
//!
//! Nothing is ever read from there by a job that has checkpoints: if an offset doesn't arrive, a
//! monitor is wrong for a moment.

use super::client::{Log, failed};
use super::settings::Settings;
use crate::source::{ConnectorError, PositionReport, Positions};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// When the job ends, the last commit is waited for so long.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Commits offsets for a group of which it is no member.
pub(super) struct GroupReport {
    consumer: BaseConsumer<Commits>,
}

/// Knows of commits that nobody has answered yet.
#[derive(Default)]
struct Commits {
    under_way: AtomicUsize,
}

impl GroupReport {
    /// The report of a source, if its table names a group.
    pub(super) fn of(settings: &Settings) -> Result<Option<Self>, ConnectorError> {
        if !settings.commits_offsets || !settings.properties.contains_key("group.id") {
            return Ok(None);
        }
        let mut config = ClientConfig::new();
        config.extend(settings.properties.clone());
        config.set("enable.auto.commit", "false");
        let consumer = config.create_with_context(Commits::default());
        let consumer = consumer.map_err(|error| failed(settings, "connecting", &error))?;
        Ok(Some(GroupReport { consumer }))
    }

    fn commit(&self, positions: &Positions) -> Result<(), KafkaError> {
        let mut offsets = TopicPartitionList::new();
        for (name, &offset) in positions {
            if let Some((topic, partition)) = partition(name) {
                offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
            }
        }
        if offsets.count() == 0 {
            return Ok(());
        }
        self.consumer.commit(&offsets, CommitMode::Async)?;
        self.consumer.context().under_way.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Takes what the brokers have answered.
    fn answers(&self, timeout: Duration) {
        if let Some(Err(error)) = self.consumer.poll(timeout) {
            tracing::debug!(target: "kafka", "committing offsets: {error}");
        }
    }
}

/// The topic and the partition of a position; other positions have other names.
fn partition(name: &str) -> Option<(&str, i32)> {
    let (topic, partition) = name.rsplit_once('/')?;
    Some((topic, partition.parse().ok()?))
}

impl PositionReport for GroupReport {
    fn report(&mut self, positions: &Positions) {
        self.answers(Duration::ZERO);
        if let Err(error) = self.commit(positions) {
            tracing::warn!(target: "kafka", "committing the group's offsets: {error}");
        }
    }
}

impl Drop for GroupReport {
    fn drop(&mut self) {
        let asked = Instant::now();
        let commits = self.consumer.context();
        while commits.under_way.load(Ordering::Acquire) > 0 && asked.elapsed() < FAREWELL_MAX {
            self.answers(Duration::from_millis(20));
        }
    }
}

impl ClientContext for Commits {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Log.error(error, reason);
    }
}

impl ConsumerContext for Commits {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.under_way.fetch_sub(1, Ordering::AcqRel);
        if let Err(error) = result {
            tracing::warn!(target: "kafka", "committing the group's offsets: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::partition;

    #[test]
    fn only_names_of_partitions_are_partitions() {
        assert_eq!(partition("orders/3"), Some(("orders", 3)));
        assert_eq!(partition("orders/3/end"), None);
        assert_eq!(partition("orders"), None);
    }
}
