//! `print`: rows as text, in Flink's form.
//!
//! ```text
//! +I[1, a]          an insertion
//! -U[1, a]          the old side of an update …
//! +U[1, b]          … and its new side
//! -D[1, b]          a deletion
//! ```
//!
//! Rows carry weights, not kinds. A deletion directly followed by an insertion is an update, if
//! both have the same primary key (or the table has none).

mod value;

use crate::options::{Known, refuse_unknown};
use crate::registry::Connector;
use crate::sink::{Console, Sink, WriteSpec, Writer};
use crate::source::ConnectorError;
use arrow::array::Array;
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemill_formats::{Capabilities, Changelog, OptionError, Table};
use tidemill_operators::{Batch, Epoch};

const KNOWN: Known = Known { keys: &["print-identifier", "standard-error"], prefixes: &[] };

/// The connector `print`.
pub(crate) struct Print;

impl Connector for Print {
    fn name(&self) -> &'static str {
        "print"
    }

    fn known(&self) -> &'static Known {
        &KNOWN
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        refuse_unknown(table, &KNOWN, &BTreeSet::new())?;
        table.bool_option("standard-error", false)?;
        let sink = vec![Changelog::Retract, Changelog::AppendOnly];
        Ok(Capabilities { source: None, sink, lookup: None })
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        self.describe(&spec.table)?;
        let prefix = spec.table.option("print-identifier").map(|id| format!("{id}> "));
        let console = match spec.table.bool_option("standard-error", false)? {
            true => Arc::new(StandardError),
            false => spec.console.clone(),
        };
        Ok(Box::new(Printed {
            console,
            prefix: prefix.unwrap_or_default(),
            primary_key: spec.table.primary_key.clone(),
        }))
    }
}

/// One value as `print` shows it.
pub(crate) fn value_text(column: &dyn Array, row: usize) -> String {
    let mut text = String::new();
    value::write(&mut text, column, row);
    text
}

#[derive(Debug)]
struct StandardError;

impl Console for StandardError {
    fn write(&self, lines: &[u8]) -> std::io::Result<()> {
        std::io::Write::write_all(&mut std::io::stderr().lock(), lines)
    }
}

#[derive(Clone)]
struct Printed {
    console: Arc<dyn Console>,
    prefix: String,
    primary_key: Vec<usize>,
}

impl Sink for Printed {
    fn writer(&self, _worker: usize, _workers: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

/// What a row is in Flink's changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowKind {
    Insert,
    UpdateBefore,
    UpdateAfter,
    Delete,
}

impl RowKind {
    fn text(self) -> &'static str {
        match self {
            RowKind::Insert => "+I",
            RowKind::UpdateBefore => "-U",
            RowKind::UpdateAfter => "+U",
            RowKind::Delete => "-D",
        }
    }
}

/// The kinds of a batch's rows.
fn kinds(batch: &Batch, same_key: impl Fn(usize, usize) -> bool) -> Vec<RowKind> {
    let mut kinds = Vec::with_capacity(batch.len());
    for row in 0..batch.len() {
        let follows_deletion = kinds.last() == Some(&RowKind::Delete);
        let kind = match batch.weight(row) {
            weight if weight < 0 => RowKind::Delete,
            _ if follows_deletion && same_key(row - 1, row) => {
                kinds[row - 1] = RowKind::UpdateBefore;
                RowKind::UpdateAfter
            }
            _ => RowKind::Insert,
        };
        kinds.push(kind);
    }
    kinds
}

impl Printed {
    /// One line for each row, `n` lines for a row of weight `n`.
    fn lines(&self, batch: &Batch) -> String {
        let columns = batch.columns().columns();
        let text = |column: usize, row| value_text(columns[column].as_ref(), row);
        let same_key =
            |a, b| self.primary_key.iter().all(|&column| text(column, a) == text(column, b));
        let mut lines = String::with_capacity(batch.len() * 32);
        let mut line = String::new();
        for (row, kind) in kinds(batch, same_key).into_iter().enumerate() {
            line.clear();
            line.push_str(&self.prefix);
            line.push_str(kind.text());
            line.push('[');
            for (i, column) in columns.iter().enumerate() {
                if i > 0 {
                    line.push_str(", ");
                }
                value::write(&mut line, column.as_ref(), row);
            }
            line.push_str("]\n");
            for _ in 0..batch.weight(row).unsigned_abs() {
                lines.push_str(&line);
            }
        }
        lines
    }
}

impl Writer for Printed {
    fn write(&mut self, _epoch: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        for batch in rows.iter().filter(|batch| !batch.is_empty()) {
            self.console.write(self.lines(batch).as_bytes()).map_err(|e| ConnectorError {
                what: "printing rows".to_owned(),
                cause: e.to_string(),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::open_sink;
    use crate::testing::{Lines, numbers, table};

    fn printed(table: Table, ids: &[i64], weights: &[i64]) -> Vec<String> {
        let console = Arc::new(Lines::default());
        let sink = open_sink(&WriteSpec { table, console: console.clone(), job: None }).unwrap();
        let batch = Batch::new(numbers(ids).columns().clone(), Some(weights.to_vec().into()));
        sink.writer(0, 1).unwrap().write(1, &[batch]).unwrap();
        console.lines()
    }

    #[test]
    fn a_deletion_followed_by_an_insertion_is_an_update() {
        let plain = table(&[("connector", "print")]);
        let lines = printed(plain, &[1, 1, 2, 3, 4], &[-1, 1, 1, -1, -1]);
        assert_eq!(lines, ["-U[1, n1]", "+U[1, n1]", "+I[2, n2]", "-D[3, n3]", "-D[4, n4]"]);
    }

    #[test]
    fn rows_of_two_keys_are_no_update() {
        let mut keyed = table(&[("connector", "print")]);
        keyed.primary_key = vec![0];
        assert_eq!(
            printed(keyed, &[1, 2, 2], &[-1, 1, -1]),
            ["-D[1, n1]", "+I[2, n2]", "-D[2, n2]"]
        );
    }

    #[test]
    fn the_identifier_comes_first_and_weights_repeat_a_row() {
        let named = table(&[("connector", "print"), ("print-identifier", "out")]);
        assert_eq!(printed(named, &[5], &[2]), ["out> +I[5, n5]", "out> +I[5, n5]"]);
    }
}
