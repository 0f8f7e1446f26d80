//! The `csv` format: fields by position, one line per record, no header.
//!
//! An `ARRAY` or `ROW` of scalars is one field whose parts are separated by
//! `csv.array-element-delimiter`; deeper nesting has no form here.

mod decoder;
mod encoder;
mod split;
#[cfg(test)]
mod tests;

pub(crate) use decoder::CsvDecoder;
pub(crate) use encoder::CsvEncoder;

use crate::json::OnError;
use crate::options::FormatOptions;
use crate::registry::RecordField;
use crate::table::OptionError;
use crate::text::number::Notation;
use arrow::datatypes::DataType;

/// Names of the options.
pub(crate) const OPTIONS: [&str; 9] = [
    "field-delimiter",
    "disable-quote-character",
    "quote-character",
    "allow-comments",
    "ignore-parse-errors",
    "array-element-delimiter",
    "escape-character",
    "null-literal",
    "write-bigdecimal-in-scientific-notation",
];

/// Characters with a meaning, as the bytes they have in UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    pub delimiter: Vec<u8>,
    pub quote: Option<Vec<u8>>,
    pub escape: Option<Vec<u8>>,
}

/// What a line that starts with `#` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comments {
    /// A row like any other.
    Rows,
    /// No row.
    Skipped,
}

/// The options of the format.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub marks: Marks,
    pub comments: Comments,
    pub on_error: OnError,
    pub item_delimiter: Vec<u8>,
    pub null_literal: Option<Vec<u8>>,
    pub decimals: Notation,
}

impl Options {
    pub(crate) fn new(
        options: &FormatOptions,
        fields: &[RecordField],
        key: &str,
    ) -> Result<Self, OptionError> {
        let bytes = |c: char| c.to_string().into_bytes();
        let delimiter = match options.get("field-delimiter").and_then(java_escape) {
            Some(character) => character,
            None => options.character("field-delimiter")?.unwrap_or(','),
        };
        let quote = options.character("quote-character")?;
        let has_quotes = !options.bool("disable-quote-character", false)?;
        if quote.is_some() && !has_quotes {
            return Err(options.error(
                "quote-character",
                "contradicts 'disable-quote-character'".to_owned(),
                "leave one of them out".to_owned(),
            ));
        }
        let escape = options.character("escape-character")?;
        let has_comments = options.bool("allow-comments", false)?;
        let ignores = options.bool("ignore-parse-errors", false)?;
        let is_scientific = options.bool("write-bigdecimal-in-scientific-notation", true)?;
        if let Some(field) = fields.iter().find(|f| !is_flat(f.field.data_type())) {
            return Err(OptionError {
                option: key.to_owned(),
                problem: format!("CSV has no form for column '{}'", field.name),
                hint: "write 'json', or use scalars and arrays or rows of scalars".to_owned(),
            });
        }
        Ok(Options {
            marks: Marks {
                delimiter: bytes(delimiter),
                quote: has_quotes.then(|| bytes(quote.unwrap_or('"'))),
                escape: escape.map(bytes),
            },
            comments: if has_comments { Comments::Skipped } else { Comments::Rows },
            on_error: if ignores { OnError::Ignore } else { OnError::Refuse },
            item_delimiter: options
                .get("array-element-delimiter")
                .filter(|text| !text.is_empty())
                .unwrap_or(";")
                .as_bytes()
                .to_vec(),
            null_literal: options.get("null-literal").map(|text| text.as_bytes().to_vec()),
            decimals: if is_scientific { Notation::Scientific } else { Notation::Plain },
        })
    }
}

/// The character that an escape of Java's stands for: Flink takes delimiters in this form too.
fn java_escape(text: &str) -> Option<char> {
    match text.strip_prefix('\\')? {
        "t" => Some('\t'),
        "\\" => Some('\\'),
        unicode => char::from_u32(u32::from_str_radix(unicode.strip_prefix('u')?, 16).ok()?),
    }
}

/// Whether a value is one field of a line.
fn is_flat(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => !item.data_type().is_nested(),
        DataType::Struct(fields) => fields.iter().all(|f| !f.data_type().is_nested()),
        other => !other.is_nested(),
    }
}
