//! [`SqlError`]: one clear refusal, with its place in the job's text and what to do about it.
//!
//! Inside the crate a refusal is a [`Refusal`], which knows a place by file number; the session,
//! which alone has the texts, turns it into the message that a person reads.

use std::fmt;

/// What kind of mistake a job file contains. The kinds are stable: tests and tools go by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text does not follow the grammar.
    Parse,
    /// A column, or a field of a row, that is not there.
    UnknownColumn,
    /// A column name that several inputs have.
    AmbiguousColumn,
    /// A table or view that is not there.
    UnknownTable,
    /// A function that is not there.
    UnknownFunction,
    /// A data type that is not there.
    UnknownType,
    /// The wrong number or types of arguments.
    WrongArguments,
    /// Operands, branches or columns whose types don't fit together.
    TypeMismatch,
    /// Queries whose numbers of columns differ.
    ColumnCount,
    /// A column that is neither grouped nor aggregated.
    NotGrouped,
    /// An aggregate where none may stand.
    MisplacedAggregate,
    /// Updates that a sink can't take.
    AppendOnlySink,
    /// A column without a watermark where event time is needed.
    MissingWatermark,
    /// A key that is needed and not declared, or declared in a way that can't be kept.
    MissingPrimaryKey,
    /// A window whose sizes don't fit.
    BadWindow,
    /// A `MATCH_RECOGNIZE` pattern that can't be.
    BadPattern,
    /// An option that is unknown, missing or has a wrong value.
    BadOption,
    /// A table or view that exists already, or a column named twice.
    DuplicateName,
    /// More than one row time where there can be only one.
    AmbiguousTimeAttribute,
    /// `${NAME}` without a value.
    MissingVariable,
    /// Good SQL that this engine does not run.
    Unsupported,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::Parse => "parse",
            ErrorKind::UnknownColumn => "unknown column",
            ErrorKind::AmbiguousColumn => "ambiguous column",
            ErrorKind::UnknownTable => "unknown table",
            ErrorKind::UnknownFunction => "unknown function",
            ErrorKind::UnknownType => "unknown type",
            ErrorKind::WrongArguments => "wrong arguments",
            ErrorKind::TypeMismatch => "type mismatch",
            ErrorKind::ColumnCount => "column count",
            ErrorKind::NotGrouped => "not grouped",
            ErrorKind::MisplacedAggregate => "aggregate misplaced",
            ErrorKind::AppendOnlySink => "unsupported update to append-only sink",
            ErrorKind::MissingWatermark => "missing watermark",
            ErrorKind::MissingPrimaryKey => "missing primary key",
            ErrorKind::BadWindow => "bad window",
            ErrorKind::BadPattern => "bad pattern",
            ErrorKind::BadOption => "bad option",
            ErrorKind::DuplicateName => "duplicate name",
            ErrorKind::AmbiguousTimeAttribute => "ambiguous time attribute",
            ErrorKind::MissingVariable => "missing variable",
            ErrorKind::Unsupported => "unsupported",
        })
    }
}

/// A place in the texts of a session: which file, and line and column from one.
/// Line zero means that no place is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct At {
    /// Number of the file in the session.
    pub file: usize,
    /// Line, from one.
    pub line: u64,
    /// Column in characters, from one.
    pub column: u64,
}

/// A refusal on its way out of the planner.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its kind.
    pub kind: ErrorKind,
    /// What is wrong, without a place.
    pub message: String,
    /// What to do, if anything sensible can be said.
    pub hint: Option<String>,
    /// Where.
    pub at: At,
}

/// The result of planning something.
pub type Planned<T> = Result<T, Box<Refusal>>;

impl Refusal {
    /// A refusal without a hint.
    pub fn new(kind: ErrorKind, at: At, message: impl Into<String>) -> Box<Refusal> {
        Box::new(Refusal { kind, message: message.into(), hint: None, at })
    }

    /// The same with a hint.
    pub fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Refusal> {
        self.hint = Some(hint.into());
        self
    }
}

/// Why a session was refused. Its `Display` is the whole message:
/// `FILE:LINE:COLUMN: error: …`, the line itself, a caret, a hint.
#[derive(Clone, Debug, thiserror::Error)]
pub struct SqlError {
    /// Its kind.
    pub kind: ErrorKind,
    /// The file's name as given, its line and column from one.
    pub file: String,
    /// Line in the file, from one.
    pub line: usize,
    /// Column in characters, from one.
    pub column: usize,
    /// The text of the line.
    pub text: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SqlError { file, line, column, text, message, hint, kind } = self;
        write!(f, "{file}:{line}:{column}: error: {kind}: {message}")?;
        show_line(f, text, *column)?;
        match hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// What is right in a session, and yet probably not meant. Its `Display` is the whole message, as
/// that of a [`SqlError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlWarning {
    /// The file's name as given, its line and column from one.
    pub file: String,
    /// Line in the file, from one.
    pub line: usize,
    /// Column in characters, from one.
    pub column: usize,
    /// The text of the line.
    pub text: String,
    /// What is surprising.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for SqlWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SqlWarning { file, line, column, text, message, hint } = self;
        write!(f, "{file}:{line}:{column}: warning: {message}")?;
        show_line(f, text, *column)?;
        write!(f, "\n  hint: {hint}")
    }
}

/// A line of a file, if it is known, with a caret below a column.
fn show_line(f: &mut fmt::Formatter<'_>, text: &str, column: usize) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    // Tabs stay tabs, so that the caret stands below its character in any terminal.
    let indent: String = (text.chars())
        .take(column.saturating_sub(1))
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    write!(f, "\n  {text}\n  {indent}^")
}

/// The name among `known` that `name` was probably meant to be.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    known
        .into_iter()
        .map(|k| {
            (
                datafusion::common::utils::datafusion_strsim::levenshtein(
                    &wanted,
                    &k.to_lowercase(),
                ),
                k,
            )
        })
        .filter(|(distance, k)| *distance <= 1 + k.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_place_shows_the_line_and_says_what_to_do() {
        let error = SqlError {
            kind: ErrorKind::UnknownColumn,
            file: "job.sql".into(),
            line: 3,
            column: 8,
            text: "SELECT nope FROM t".into(),
            message: "column 'nope' is not there".into(),
            hint: Some("columns: a, b".into()),
        };
        assert_eq!(
            error.to_string(),
            "job.sql:3:8: error: unknown column: column 'nope' is not there\n  \
             SELECT nope FROM t\n         ^\n  hint: columns: a, b"
        );
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour_and_a_strange_one_none() {
        assert_eq!(did_you_mean("custmer", ["customer", "price"]), Some("customer"));
        assert_eq!(did_you_mean("xyz", ["customer", "price"]), None);
    }
}
