//! librdkafka as we set it, and where its log goes.

use super::settings::Settings;
use crate::source::ConnectorError;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Prefetched bytes of all consumers of a source together.
const PREFETCH_KIB: usize = 64 * 1024;

/// Prefetched bytes of one consumer at least.
const PREFETCH_KIB_MIN: usize = 8 * 1024;

/// Sends librdkafka's log and errors to ours.
#[derive(Debug)]
pub(crate) struct Log;

impl ClientContext for Log {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "kafka", "{facility}: {message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "kafka", "{facility}: {message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "kafka", "{facility}: {message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "kafka", "{facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is news to its reader, and arrives here when it was fetched
        // before the partition had a queue of its own.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!(target: "kafka", "{error}: {reason}");
        }
    }
}

impl ConsumerContext for Log {}

/// A consumer as we use them.
pub(crate) type Consumer = BaseConsumer<Log>;

/// Makes a consumer, one of `consumers` that share the budget for prefetching.
pub(crate) fn consumer(settings: &Settings, consumers: usize) -> Result<Consumer, ConnectorError> {
    consumer_config(settings, consumers)
        .create_with_context(Log)
        .map_err(|e| failed(settings, "connecting", &e))
}

fn consumer_config(settings: &Settings, consumers: usize) -> ClientConfig {
    let prefetch = (PREFETCH_KIB / consumers.max(1)).max(PREFETCH_KIB_MIN);
    let mut config = ClientConfig::new();
    // librdkafka assigns partitions only to members of some group; nothing is committed in it.
    config.set("group.id", "tidemill");
    config.set("queued.min.messages", "1000000");
    config.set("queued.max.messages.kbytes", prefetch.to_string());
    config.set("fetch.message.max.bytes", "10485760");
    // A partition that was left out of a fetch, its queue being full, and the news that there is
    // no more wait for that fetch to return.
    config.set("fetch.wait.max.ms", "100");
    // By default a full queue is not refilled for a second, in which it runs empty.
    config.set("fetch.queue.backoff.ms", "10");
    config.set("check.crcs", "false");
    config.extend(settings.properties.clone());
    // Not to be changed by properties: a lost offset is an error, ends are noticed, and positions
    // are kept by the job's checkpoints.
    config.set("auto.offset.reset", "error");
    config.set("enable.partition.eof", "true");
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config
}

/// What went wrong with a cluster.
pub(crate) fn failed(settings: &Settings, doing: &str, error: &KafkaError) -> ConnectorError {
    ConnectorError {
        what: format!("{doing} {} at {}", settings.topics.describe(), settings.brokers()),
        cause: error.to_string(),
    }
}
