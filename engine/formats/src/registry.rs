//! Which format serves a table: [`check`], [`decoder`], [`encoder`].
//!
//! A new format is one line in [`NAMES`] and one arm in each function here.

use crate::columns::Column;
use crate::options::{FormatOptions, closest};
use crate::record::{Decoder, Encoder};
use crate::table::{Changelog, OptionError, Table};
use crate::{csv, debezium, json, raw};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The formats.
pub const NAMES: [&str; 4] = ["json", "csv", "debezium-json", "raw"];

/// The options of a format, by their names behind its own; none of a format that there is not.
pub fn options(format: &str) -> &'static [&'static str] {
    match format {
        "json" => &json::OPTIONS,
        "csv" => &csv::OPTIONS,
        "debezium-json" => &debezium::OPTIONS,
        "raw" => &raw::OPTIONS,
        _ => &[],
    }
}

/// Which part of a record a format serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FormatRole {
    /// The value of a Kafka message, a line of a file: `format` or `value.format`.
    Value,
    /// The key of a Kafka message: `key.format`.
    Key,
}

/// What [`check`] found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatInfo {
    /// What kind of rows the format gives when it is read.
    pub changelog_in: Changelog,
    /// What kinds of rows it can write, most capable first.
    pub changelog_out: Vec<Changelog>,
    /// The keys of the options that belong to formats and have been checked, `format` included.
    pub options: BTreeSet<String>,
    /// Whether fields of a `ROW` are found by name, and any of them may be passed over.
    pub skips_fields: bool,
}

/// A format with its options.
enum Format {
    Json(json::Options),
    Csv(csv::Options),
    Debezium(debezium::Options),
    Raw(raw::Options),
}

impl Format {
    fn skips_fields(&self) -> bool {
        matches!(self, Format::Json(_) | Format::Debezium(_))
    }
}

/// A field of a record: its name there, its index in the table and its type.
#[derive(Clone, Debug)]
pub(crate) struct RecordField {
    /// Name in the record (without `key.fields-prefix`).
    pub name: String,
    /// Index of the column in the table.
    pub index: usize,
    /// Column of the table, nullable.
    pub field: FieldRef,
}

/// Makes the decoder of a table's values or keys. It gives the columns at `columns` (indices into
/// the table's schema), in that order, all of them nullable; other fields are passed over.
///
/// # Errors
/// If the format or an option is unknown or wrong, or the format can't hold a column.
pub fn decoder(
    table: &Table,
    role: FormatRole,
    columns: &[usize],
) -> Result<Box<dyn Decoder>, OptionError> {
    let layout = Layout::new(table, role, columns)?;
    Ok(match resolve(table, role)?.0 {
        Format::Json(options) => Box::new(json::JsonDecoder::new(&layout, options)),
        Format::Csv(options) => Box::new(csv::CsvDecoder::new(&layout, options)),
        Format::Debezium(options) => Box::new(debezium::DebeziumDecoder::new(&layout, options)),
        Format::Raw(options) => Box::new(raw::RawDecoder::new(&layout, options)),
    })
}

/// Makes the encoder of a table's values or keys. It takes batches of the table's schema.
///
/// Values of an append-only format refuse a deletion. Keys pass over the sign of weights, so that
/// the n-th key always belongs to the n-th value (or tombstone).
///
/// # Errors
/// If the format or an option is unknown or wrong, or the format can't hold a column.
pub fn encoder(table: &Table, role: FormatRole) -> Result<Box<dyn Encoder>, OptionError> {
    let fields = record_fields(table, role)?;
    Ok(match resolve(table, role)?.0 {
        Format::Json(options) => Box::new(json::JsonEncoder::new(fields, role, options)),
        Format::Csv(options) => Box::new(csv::CsvEncoder::new(fields, role, options)),
        Format::Debezium(options) => Box::new(debezium::DebeziumEncoder::new(fields, options)),
        Format::Raw(options) => Box::new(raw::RawEncoder::new(fields, role, options)),
    })
}

/// Checks the format of a table, of its keys too if they have one, and all their options.
///
/// # Errors
/// If the format is missing or unknown, an option of it is unknown or wrong, or the format can't
/// hold a column.
pub fn check(table: &Table) -> Result<FormatInfo, OptionError> {
    let (format, mut options) = resolve(table, FormatRole::Value)?;
    record_fields(table, FormatRole::Value)?;
    let mut skips_fields = format.skips_fields();
    if table.option("key.format").is_some() {
        let (key_format, mut key_options) = resolve(table, FormatRole::Key)?;
        skips_fields &= key_format.skips_fields();
        options.append(&mut key_options);
        record_fields(table, FormatRole::Key)?;
    }
    let (changelog_in, changelog_out) = match format {
        Format::Debezium(_) => {
            (Changelog::Retract, vec![Changelog::Retract, Changelog::AppendOnly])
        }
        _ => (Changelog::AppendOnly, vec![Changelog::AppendOnly]),
    };
    Ok(FormatInfo { changelog_in, changelog_out, options, skips_fields })
}

/// The format in a role with its options, and the keys it takes.
fn resolve(table: &Table, role: FormatRole) -> Result<(Format, BTreeSet<String>), OptionError> {
    let key = format_key(table, role)?;
    let name = table.option(key).unwrap_or_default();
    let scope = match role {
        FormatRole::Value => "value.",
        FormatRole::Key => "key.",
    };
    let read = |known: &[&str]| FormatOptions::new(table, scope, name, known);
    let (format, options) = match name {
        "json" => {
            let options = read(&json::OPTIONS)?;
            (Format::Json(json::Options::new(&options)?), options)
        }
        "csv" => {
            let options = read(&csv::OPTIONS)?;
            let fields = record_fields(table, role)?;
            (Format::Csv(csv::Options::new(&options, &fields, key)?), options)
        }
        "debezium-json" if role == FormatRole::Key => {
            return Err(OptionError {
                option: key.to_owned(),
                problem: "a change can't be a key".to_owned(),
                hint: "write 'json'".to_owned(),
            });
        }
        "debezium-json" => {
            let options = read(&debezium::OPTIONS)?;
            (Format::Debezium(debezium::Options::new(&options)?), options)
        }
        "raw" => {
            let options = read(&raw::OPTIONS)?;
            let fields = record_fields(table, role)?;
            (Format::Raw(raw::Options::new(&options, &fields, key)?), options)
        }
        _ => return Err(unknown_format(key, name)),
    };
    let mut consumed = options.consumed();
    consumed.insert(key.to_owned());
    Ok((format, consumed))
}

/// The option that names the format in a role.
fn format_key(table: &Table, role: FormatRole) -> Result<&'static str, OptionError> {
    let set = |key| table.option(key).is_some();
    match role {
        FormatRole::Key if set("key.format") => Ok("key.format"),
        FormatRole::Key => Err(missing_format("key.format")),
        FormatRole::Value => match (set("format"), set("value.format")) {
            (true, true) => Err(OptionError {
                option: "value.format".to_owned(),
                problem: "'format' is set too, and means the same".to_owned(),
                hint: "leave one of them out".to_owned(),
            }),
            (true, false) => Ok("format"),
            (false, true) => Ok("value.format"),
            (false, false) => Err(missing_format("format")),
        },
    }
}

fn missing_format(key: &str) -> OptionError {
    OptionError {
        option: key.to_owned(),
        problem: "is missing".to_owned(),
        hint: format!("add for example '{key}' = 'json'; formats are: {}", NAMES.join(", ")),
    }
}

fn unknown_format(key: &str, name: &str) -> OptionError {
    let guess =
        closest(name, &NAMES).map(|near| format!("did you mean '{near}'? ")).unwrap_or_default();
    OptionError {
        option: key.to_owned(),
        problem: format!("there is no format '{name}'"),
        hint: format!("{guess}formats are: {}", NAMES.join(", ")),
    }
}

/// The fields of a record in a role, in the order of positional formats: for keys `key.fields` or
/// else the primary key; for values all columns, without those of the key if
/// `value.fields-include` says so, and without those that a file's path holds.
fn record_fields(table: &Table, role: FormatRole) -> Result<Vec<RecordField>, OptionError> {
    let keys = key_fields(table)?;
    let prefix = table.option("key.fields-prefix").unwrap_or_default();
    let indices: Vec<usize> = match role {
        FormatRole::Key => keys,
        FormatRole::Value => {
            let except = match table.option("value.fields-include") {
                None => vec![],
                Some(text) if text.eq_ignore_ascii_case("ALL") => vec![],
                Some(text) if text.eq_ignore_ascii_case("EXCEPT_KEY") => keys,
                Some(text) => {
                    return Err(OptionError {
                        option: "value.fields-include".to_owned(),
                        problem: format!("'{text}' is none of its values"),
                        hint: "write 'ALL' or 'EXCEPT_KEY'".to_owned(),
                    });
                }
            };
            let outside = |i: &usize| except.contains(i) || table.partitioned_by.contains(i);
            (0..table.schema.fields().len()).filter(|i| !outside(i)).collect()
        }
    };
    let mut fields = Vec::with_capacity(indices.len());
    for index in indices {
        let field = held(table, role, index)?;
        let name = match role {
            FormatRole::Key => field.name().strip_prefix(prefix).unwrap_or(field.name()),
            FormatRole::Value => field.name(),
        };
        fields.push(RecordField { name: name.to_owned(), index, field });
    }
    Ok(fields)
}

/// A column of a table, nullable, if formats can hold its type.
fn held(table: &Table, role: FormatRole, index: usize) -> Result<FieldRef, OptionError> {
    let field = table.schema.field(index);
    match Column::new(field.data_type()) {
        Ok(_) => Ok(Arc::new(Field::clone(field).with_nullable(true))),
        Err(kind) => Err(OptionError {
            option: format_key(table, role)?.to_owned(),
            problem: format!("no format holds column '{}' of type {kind}", field.name()),
            hint: "cast it to STRING".to_owned(),
        }),
    }
}

/// Indices of the columns that make the key of a record.
fn key_fields(table: &Table) -> Result<Vec<usize>, OptionError> {
    let Some(names) = table.option("key.fields") else {
        return Ok(table.primary_key.clone());
    };
    let mut indices = vec![];
    for name in names.split(';').map(str::trim).filter(|name| !name.is_empty()) {
        let index = table.schema.index_of(name).map_err(|_| OptionError {
            option: "key.fields".to_owned(),
            problem: format!("the table has no physical column '{name}'"),
            hint: "write the names of columns, separated by ';'".to_owned(),
        })?;
        indices.push(index);
    }
    Ok(indices)
}

/// Fields of a record, and which of them go where in the output.
pub(crate) struct Layout {
    /// All fields of the record, in order.
    pub fields: Vec<RecordField>,
    /// For each of `fields`: its column in `schema`, if it is wanted.
    pub outputs: Vec<Option<usize>>,
    /// How many of `fields` are really in the record; the others can only be found by name.
    pub positions: usize,
    /// What the decoder gives.
    pub schema: SchemaRef,
}

impl Layout {
    fn new(table: &Table, role: FormatRole, columns: &[usize]) -> Result<Self, OptionError> {
        let mut fields = record_fields(table, role)?;
        let positions = fields.len();
        // A value without its key columns can still be asked for them: whoever writes them there
        // meant it, and positions are not disturbed at the end.
        for &index in columns {
            if fields.iter().all(|f| f.index != index) {
                let field = held(table, role, index)?;
                fields.push(RecordField { name: field.name().clone(), index, field });
            }
        }
        let output = |f: &RecordField| columns.iter().position(|&c| c == f.index);
        let outputs = fields.iter().map(output).collect();
        let wanted = columns.iter().map(|&c| table.schema.field(c).clone().with_nullable(true));
        let schema = Arc::new(Schema::new(wanted.collect::<Vec<_>>()));
        Ok(Layout { fields, outputs, positions, schema })
    }
}
