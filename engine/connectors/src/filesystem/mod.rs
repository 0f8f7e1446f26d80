//! `filesystem`: files of lines, read once and dealt to all workers, or written by each.
//!
//! A file is a lane. Several files are read interleaved; a file that has not been opened yet
//! holds the watermark, for nobody knows what it will say.

mod deal;
mod lines;
mod part;
mod partition;
mod paths;
mod place;
mod reader;
mod staging;
mod writer;

use crate::options::{Known, bytes, duration, refuse_unknown, required, wrong};
use crate::registry::Connector;
use crate::sink::{Sink, WriteSpec};
use crate::source::{ConnectorError, ReadSpec, Source};
use arrow::datatypes::DataType;
use tidemill_formats::{Capabilities, OptionError, SourceCapability, Table, check};

const KNOWN: Known = Known {
    keys: &[
        "path",
        "source.monitor-interval",
        "partition.default-name",
        "partition.time-extractor.kind",
        "partition.time-extractor.timestamp-pattern",
        "partition.time-extractor.timestamp-formatter",
        "sink.partition-commit.trigger",
        "sink.partition-commit.delay",
        "sink.partition-commit.policy.kind",
        "sink.partition-commit.success-file.name",
        "sink.partition-commit.watermark-time-zone",
        "sink.shuffle-by-partition.enable",
        "sink.rolling-policy.file-size",
        "sink.rolling-policy.rollover-interval",
        "sink.rolling-policy.check-interval",
        "sink.rolling-policy.inactivity-interval",
    ],
    prefixes: &[],
};

/// The connector `filesystem`.
pub(crate) struct Filesystem;

/// Metadata columns of a file.
fn metadata() -> Vec<(String, DataType)> {
    [("file.path", DataType::Utf8), ("file.name", DataType::Utf8), ("file.size", DataType::Int64)]
        .map(|(key, data_type)| (key.to_owned(), data_type))
        .into()
}

impl Connector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        let format = check(table)?;
        refuse_unknown(table, &KNOWN, &format.options)?;
        paths::local(required(table, "path")?)?;
        if duration(table, "source.monitor-interval")?.is_some() {
            return Err(wrong(
                "source.monitor-interval",
                "watching a directory for new files is not supported yet",
                "leave it out: the files that are there are read, and the input ends",
            ));
        }
        bytes(table, "sink.rolling-policy.file-size")?;
        duration(table, "sink.rolling-policy.rollover-interval")?;
        partition::Commit::new(table)?;
        Ok(Capabilities {
            source: Some(SourceCapability {
                is_bounded: true,
                changelog: format.changelog_in,
                metadata: metadata(),
            }),
            sink: format.changelog_out,
        })
    }

    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        self.describe(&spec.table)?;
        Ok(Box::new(reader::Files::new(spec.clone())))
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        self.describe(&spec.table)?;
        Ok(Box::new(writer::Directory::new(spec)?))
    }
}
