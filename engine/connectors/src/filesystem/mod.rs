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

use crate::lookup::{self, LookupSpec, LookupTable};
use crate::options::{Known, bytes, duration, refuse_unknown, required, wrong};
use crate::registry::Connector;
use crate::sink::{Sink, WriteSpec};
use crate::source::{ConnectorError, ReadSpec, Source};
use arrow::datatypes::DataType;
use std::time::Duration;
use tidemill_formats::{
    Capabilities, Changelog, LookupKind, OptionError, SourceCapability, Table, check,
};

const KNOWN: Known = Known {
    keys: &[
        "path",
        "source.monitor-interval",
        lookup::options::CACHE,
        lookup::options::RELOAD_STRATEGY,
        lookup::options::RELOAD_INTERVAL,
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

/// How often new files are looked for, if they are.
fn monitor_interval(table: &Table) -> Result<Option<Duration>, OptionError> {
    let key = "source.monitor-interval";
    match duration(table, key)? {
        Some(Duration::ZERO) => {
            Err(wrong(key, "is no time at all", "write how often to look, such as '10 s'"))
        }
        interval => Ok(interval),
    }
}

/// Files that hold rows, not changes, and that are not watched, are read whole when they are
/// looked up.
fn can_be_looked_up(table: &Table, changelog: Changelog) -> Result<bool, OptionError> {
    lookup::options::reload_interval(table)?;
    Ok(changelog == Changelog::AppendOnly && monitor_interval(table)?.is_none())
}

impl Connector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn known(&self) -> &'static Known {
        &KNOWN
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        let format = check(table)?;
        refuse_unknown(table, &KNOWN, &format.options)?;
        paths::local(required(table, "path")?)?;
        let monitor_interval = monitor_interval(table)?;
        bytes(table, "sink.rolling-policy.file-size")?;
        duration(table, "sink.rolling-policy.rollover-interval")?;
        partition::Commit::new(table)?;
        Ok(Capabilities {
            source: Some(SourceCapability {
                is_bounded: monitor_interval.is_none(),
                changelog: format.changelog_in,
                metadata: metadata(),
                skips_fields: format.skips_fields,
            }),
            sink: format.changelog_out,
            lookup: can_be_looked_up(table, format.changelog_in)?.then_some(LookupKind::Whole),
        })
    }

    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        self.describe(&spec.table)?;
        Ok(Box::new(reader::Files::new(spec.clone(), monitor_interval(&spec.table)?)))
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        self.describe(&spec.table)?;
        Ok(Box::new(writer::Directory::new(spec)?))
    }

    fn lookup(&self, spec: &LookupSpec) -> Result<Box<dyn LookupTable>, ConnectorError> {
        self.describe(&spec.table)?;
        let reading = spec.reading();
        let open = Box::new(move || Filesystem.source(&reading));
        let interval = lookup::options::reload_interval(&spec.table)?;
        Ok(Box::new(lookup::Whole::new(spec.clone(), interval, open)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;

    #[test]
    fn files_end_unless_their_directory_is_watched() {
        let describe = |interval| {
            let mut options = vec![("connector", "filesystem"), ("path", "x"), ("format", "csv")];
            options.extend(interval);
            Filesystem.describe(&table(&options))
        };
        let is_bounded = |interval| describe(interval).unwrap().source.unwrap().is_bounded;
        assert!(is_bounded(None));
        assert!(!is_bounded(Some(("source.monitor-interval", "10 s"))));
        let error = describe(Some(("source.monitor-interval", "0 s"))).unwrap_err();
        assert_eq!(error.option, "source.monitor-interval");
    }
}
