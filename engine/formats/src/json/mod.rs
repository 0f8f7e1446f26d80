//! The `json` format: one object per record (or an array of objects), fields found by name.
//!
//! Both directions go straight between bytes and columns; no document is ever built. What is
//! accepted and what is written follow Flink's format of the same name, with one difference: a
//! value that does not fit its column is an error even where Java would cut it off.

mod block;
mod decoder;
mod encoder;
mod fault;
mod members;
mod padded;
mod scanner;
mod string;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use decoder::JsonDecoder;
pub(crate) use encoder::{JsonEncoder, ObjectWriter};
pub(crate) use fault::Fault;
pub(crate) use padded::Padded;
pub(crate) use scanner::Scanner;
pub(crate) use value::{ObjectReader, Reading};

use crate::options::FormatOptions;
use crate::table::OptionError;
use crate::text::TimestampStyle;
use crate::text::number::Notation;

/// Names of the options.
pub(crate) const OPTIONS: [&str; 8] = [
    "fail-on-missing-field",
    "ignore-parse-errors",
    "timestamp-format.standard",
    "map-null-key.mode",
    "map-null-key.literal",
    "encode.decimal-as-plain-number",
    "encode.ignore-null-fields",
    "decode.json-parser.enabled",
];

/// What becomes of a value that does not fit its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// The record is bad.
    Refuse,
    /// The value is NULL; a record that is no JSON at all is passed over.
    Ignore,
}

/// What a field is that the record does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnMissing {
    /// NULL.
    Null,
    /// An error.
    Refuse,
}

/// What becomes of a NULL key of a map, which JSON can't write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NullKey {
    /// The row is refused.
    Fail,
    /// The entry is left out.
    Drop,
    /// This text is its key.
    Literal(String),
}

/// What becomes of a NULL field when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NullFields {
    /// `"field":null`
    Written,
    /// Nothing.
    LeftOut,
}

/// The options of the format.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub on_error: OnError,
    pub on_missing: OnMissing,
    pub timestamps: TimestampStyle,
    pub null_key: NullKey,
    pub decimals: Notation,
    pub null_fields: NullFields,
}

impl Options {
    /// Reads the options of `json`, or the ones that `debezium-json` shares with it.
    pub(crate) fn new(options: &FormatOptions) -> Result<Self, OptionError> {
        let ignores = options.bool("ignore-parse-errors", false)?;
        let refuses = options.bool("fail-on-missing-field", false)?;
        if ignores && refuses {
            return Err(options.error(
                "fail-on-missing-field",
                "contradicts 'ignore-parse-errors'".to_owned(),
                "leave one of them out".to_owned(),
            ));
        }
        // Flink's switch between its two parsers: there is one here, with the answers of both.
        options.bool("decode.json-parser.enabled", true)?;
        let styles = [("SQL", TimestampStyle::Sql), ("ISO-8601", TimestampStyle::Iso)];
        let modes = [("FAIL", 0), ("DROP", 1), ("LITERAL", 2)];
        let null_key = match options.choice("map-null-key.mode", &modes)? {
            0 => NullKey::Fail,
            1 => NullKey::Drop,
            _ => NullKey::Literal(options.get("map-null-key.literal").unwrap_or("null").to_owned()),
        };
        let plain = options.bool("encode.decimal-as-plain-number", false)?;
        let leaves_out = options.bool("encode.ignore-null-fields", false)?;
        Ok(Options {
            on_error: if ignores { OnError::Ignore } else { OnError::Refuse },
            on_missing: if refuses { OnMissing::Refuse } else { OnMissing::Null },
            timestamps: options.choice("timestamp-format.standard", &styles)?,
            null_key,
            decimals: if plain { Notation::Plain } else { Notation::Scientific },
            null_fields: if leaves_out { NullFields::LeftOut } else { NullFields::Written },
        })
    }
}
