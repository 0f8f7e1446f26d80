//! Bytes to batches and back.
//!
//! A [`Decoder`] turns records (a Kafka message's value, a line of a file) into the columns that a
//! plan uses, and into those only; an [`Encoder`] does the opposite. Which one serves a table is
//! decided by its `format` option in [`decoder`] and [`encoder`]. The invariant of every decoder:
//! **a record either contributes all of its rows or none**, and a bad one never disturbs its
//! neighbours.

mod columns;
mod csv;
mod debezium;
mod json;
mod options;
mod raw;
pub mod record;
pub mod registry;
mod rows;
pub mod table;
#[cfg(test)]
mod testing;
mod text;
mod units;

pub use record::{BadRecord, Decoder, Encoded, Encoder};
pub use registry::{FormatInfo, FormatRole, check, decoder, encoder};
pub use table::{
    Capabilities, Changelog, Connectors, LookupKind, OptionError, SourceCapability, Table,
};
pub use units::{parse_bytes, parse_duration};
