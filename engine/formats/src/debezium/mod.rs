//! The `debezium-json` format: changes as objects with `before`, `after` and `op`.
//!
//! Read: `c` and `r` insert `after`, `u` deletes `before` and inserts `after`, `d` deletes `before`.
//! Written as Flink does: an insertion is a `c`, a deletion a `d`, an update both.

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

pub(crate) use decoder::DebeziumDecoder;
pub(crate) use encoder::DebeziumEncoder;

use crate::json;
use crate::options::FormatOptions;
use crate::table::OptionError;

/// Names of the options.
pub(crate) const OPTIONS: [&str; 7] = [
    "schema-include",
    "ignore-parse-errors",
    "timestamp-format.standard",
    "map-null-key.mode",
    "map-null-key.literal",
    "encode.decimal-as-plain-number",
    "encode.ignore-null-fields",
];

/// Where in a record the change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// The record is the change.
    Plain,
    /// It is the record's `payload`, beside its `schema`.
    Payload,
}

/// The options of the format.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub envelope: Envelope,
    pub json: json::Options,
}

impl Options {
    pub(crate) fn new(options: &FormatOptions) -> Result<Self, OptionError> {
        let is_included = options.bool("schema-include", false)?;
        let envelope = if is_included { Envelope::Payload } else { Envelope::Plain };
        Ok(Options { envelope, json: json::Options::new(options)? })
    }
}
