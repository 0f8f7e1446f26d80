//! [`Table`]: what a `CREATE TABLE` says about the outside world, in plain values.
//!
//! The SQL crate makes it, connectors and formats read it. It knows physical columns only:
//! computed columns and watermarks are the planner's.

use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;

/// A table as its connector and format see it.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name, as written.
    pub name: String,
    /// The physical columns in the order of declaration. Types map from SQL as in
    /// ARCHITECTURE.md: `TIMESTAMP(0..=3)` is `Timestamp(ms)`, `(4..=6)` µs, `(7..=9)` ns,
    /// `TIMESTAMP_LTZ` the same with zone `"UTC"`, `TIME` is `Time32(ms)`, `DATE` is `Date32`,
    /// `STRING` is `Utf8`, `BYTES` is `Binary`, `DECIMAL(p, s)` is `Decimal128`,
    /// `ROW` is `Struct`, `ARRAY` is `List`, `MAP` is `Map`.
    pub schema: SchemaRef,
    /// Metadata columns: name in the table, metadata key (`offset`, `timestamp`, …), type in
    /// `schema` order after the physical columns. Not part of `schema`.
    pub metadata: Vec<MetadataColumn>,
    /// Columns of the primary key, as indices into `schema`; empty if there is none.
    pub primary_key: Vec<usize>,
    /// Columns named by `PARTITIONED BY`, as indices into `schema`.
    pub partitioned_by: Vec<usize>,
    /// The `WITH` options, keys as written.
    pub options: BTreeMap<String, String>,
}

/// A column that comes from the record's surroundings rather than from its value.
#[derive(Clone, Debug)]
pub struct MetadataColumn {
    /// Name of the column.
    pub name: String,
    /// Which metadata: `topic`, `partition`, `offset`, `timestamp`, `timestamp-type`, `headers`,
    /// `leader-epoch` of Kafka; `file.path`, `file.name`, `file.size`, … of files.
    pub key: String,
    /// Its type.
    pub data_type: arrow::datatypes::DataType,
    /// Read only: not written by a sink.
    pub is_virtual: bool,
}

impl Table {
    /// The value of an option, if it is set.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    /// A boolean option, with Flink's spelling rules.
    pub fn bool_option(&self, key: &str, default: bool) -> Result<bool, OptionError> {
        match self.option(key) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(OptionError {
                option: key.to_owned(),
                problem: format!("'{text}' is no boolean"),
                hint: "write 'true' or 'false'".to_owned(),
            }),
        }
    }
}

/// What kind of rows a table gives or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Changelog {
    /// Insertions only.
    AppendOnly,
    /// Insertions, deletions, and updates as a deletion and an insertion.
    Retract,
    /// The latest row for each primary key, and deletions by key.
    Upsert,
}

/// What a connector can do with a table, as the planner needs to know before anything runs.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// How it can be read, if it can.
    pub source: Option<SourceCapability>,
    /// What it can be sent, most capable kind first; empty if it can't be written.
    /// [`Changelog::Upsert`] needs a primary key.
    pub sink: Vec<Changelog>,
    /// How rows can be looked up in it, if they can.
    pub lookup: Option<LookupKind>,
}

/// How the rows of some keys are found in a table while a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LookupKind {
    /// It is read whole, and held in memory.
    Whole,
    /// It is asked for the keys that are wanted, which must be columns of it as they stand.
    ByKey,
}

/// How a table can be read.
#[derive(Clone, Debug)]
pub struct SourceCapability {
    /// Whether the input ends.
    pub is_bounded: bool,
    /// What kind of rows it gives.
    pub changelog: Changelog,
    /// Metadata keys that it offers, with their types.
    pub metadata: Vec<(String, arrow::datatypes::DataType)>,
    /// Whether a `ROW` may be declared without some of its fields and its others still be found:
    /// then those that nobody reads are left out.
    pub skips_fields: bool,
}

/// The connectors, as the planner sees them.
pub trait Connectors {
    /// Checks the options of `table` and says what its connector can do with it.
    ///
    /// # Errors
    /// If the connector is unknown, or an option is unknown, missing or wrong.
    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError>;
}

/// An option that is unknown, missing, or has a value of the wrong kind.
#[derive(Clone, Debug, thiserror::Error)]
#[error("option '{option}': {problem}")]
pub struct OptionError {
    /// The key, so that the place in the job file can be found.
    pub option: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub hint: String,
}
