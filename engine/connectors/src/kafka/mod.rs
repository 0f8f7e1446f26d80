//! `kafka` and `upsert-kafka`: topics as tables.
//!
//! ```text
//! settings    what a table's options mean, checked before anything runs
//! client      librdkafka as we set it, and where its log goes
//! partitions  which partitions there are, where each starts and ends
//! queue       messages as librdkafka holds them, thousands at a time, without a copy
//! group       offsets of checkpoints, committed for whoever monitors a consumer group
//! lane        what a partition has to say about the watermark
//! reader      one worker's partitions, read and decoded on its own thread
//! producer    the one producer of a process and cluster
//! transaction what makes the records of a checkpoint visible at once
//! writer      one worker's records on their way out
//! outbox      … handed to librdkafka many at a time
//! admin       which topics a cluster has, and new ones
//! tail        the records of a topic, for somebody who looks
//! ```
//!
//! Partitions are assigned, never balanced by a group: who reads what must be known, and may not
//! change while the job runs. A partition is a lane.

mod admin;
mod client;
mod group;
mod lane;
mod metadata;
mod outbox;
mod partitions;
mod producer;
mod queue;
mod reader;
mod settings;
mod tail;
mod transaction;
mod writer;

pub use admin::{Admin, PartitionFacts, TopicFacts};
pub use tail::{Tail, TailFrom, TailRecord};

use crate::options::Known;
use crate::registry::Connector;
use crate::sink::{Sink, WriteSpec};
use crate::source::{ConnectorError, ReadSpec, Source};
use settings::{Flavour, Settings};
use tidemill_formats::{Capabilities, Changelog, OptionError, SourceCapability, Table, check};

/// The connector `kafka`: records are appended, or are changes in a changelog format.
pub(crate) struct Kafka;

/// The connector `upsert-kafka`: the latest record of a key is its row, a tombstone deletes it.
pub(crate) struct UpsertKafka;

impl Connector for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn known(&self) -> &'static Known {
        &settings::KNOWN
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        let settings = Settings::new(table, Flavour::Append)?;
        let format = check(table)?;
        let sink = if settings.topics.single().is_some() { format.changelog_out } else { vec![] };
        let source = source_capability(&settings, format.changelog_in, format.skips_fields);
        Ok(Capabilities { source: Some(source), sink, lookup: None })
    }

    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        let settings = Settings::new(&spec.table, Flavour::Append)?;
        Ok(Box::new(reader::Topics::new(spec.clone(), settings)))
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        let settings = Settings::new(&spec.table, Flavour::Append)?;
        Ok(Box::new(writer::Topic::new(spec, settings)?))
    }
}

impl Connector for UpsertKafka {
    fn name(&self) -> &'static str {
        "upsert-kafka"
    }

    fn known(&self) -> &'static Known {
        &settings::KNOWN
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        let settings = Settings::new(table, Flavour::Upsert)?;
        let format = check(table)?;
        let sink = settings.topics.single().map(|_| Changelog::Upsert);
        Ok(Capabilities {
            source: Some(source_capability(&settings, Changelog::Upsert, format.skips_fields)),
            sink: sink.into_iter().collect(),
            lookup: None,
        })
    }

    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        let settings = Settings::new(&spec.table, Flavour::Upsert)?;
        Ok(Box::new(reader::Topics::new(spec.clone(), settings)))
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        let settings = Settings::new(&spec.table, Flavour::Upsert)?;
        Ok(Box::new(writer::Topic::new(spec, settings)?))
    }
}

fn source_capability(
    settings: &Settings,
    changelog: Changelog,
    skips_fields: bool,
) -> SourceCapability {
    SourceCapability {
        is_bounded: settings.stop.is_some(),
        changelog,
        metadata: metadata::offered(),
        skips_fields,
    }
}
