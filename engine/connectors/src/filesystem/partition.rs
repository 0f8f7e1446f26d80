//! `PARTITIONED BY`: columns that stand in the path instead of the file, as Hive writes them:
//! `dt=2024-01-01/hm=23%3A56/part-0-0`.

use crate::options::{list, wrong};
use crate::print::value_text;
use crate::source::ConnectorError;
use arrow::array::{Array, ArrayRef, UInt32Array};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tidemill_formats::{OptionError, Table};
use tidemill_operators::key_table::KeyTable;
use tidemill_operators::{Batch, OperatorError};

/// What stands in the path for NULL and for an empty string.
const NULL_NAME: &str = "__DEFAULT_PARTITION__";

/// What stands in a table's paths for NULL.
pub(crate) fn null_name(table: &Table) -> &str {
    table.option("partition.default-name").unwrap_or(NULL_NAME)
}

/// Which directories rows belong in.
#[derive(Clone, Debug)]
pub(crate) struct Partitioning {
    /// The columns, by index, and their names as they stand in the path.
    columns: Vec<(usize, String)>,
    null_name: String,
}

impl Partitioning {
    pub(crate) fn new(table: &Table) -> Self {
        let name = |&column: &usize| (column, escaped(table.schema.field(column).name()));
        Partitioning {
            columns: table.partitioned_by.iter().map(name).collect(),
            null_name: null_name(table).to_owned(),
        }
    }

    /// The rows of each directory (relative, empty without partition columns), in order.
    pub(crate) fn split(&self, batch: &Batch) -> Result<Vec<(String, Batch)>, ConnectorError> {
        if self.columns.is_empty() {
            return Ok(vec![(String::new(), batch.clone())]);
        }
        let failed = |cause: OperatorError| ConnectorError {
            what: "dividing rows into partitions".to_owned(),
            cause: cause.to_string(),
        };
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut directories: Vec<(String, Vec<u32>)> = vec![];
        // By number of the row's values. Other values may stand in the same directory.
        let mut place_of: Vec<usize> = vec![];
        for (row, number) in self.numbers(batch).map_err(failed)?.into_iter().enumerate() {
            if number as usize == place_of.len() {
                let directory = self.directory(batch, row);
                place_of.push(*places.entry(directory).or_insert_with_key(|directory| {
                    directories.push((directory.clone(), vec![]));
                    directories.len() - 1
                }));
            }
            directories[place_of[number as usize]].1.push(row as u32);
        }
        let taken = |(directory, rows): (String, Vec<u32>)| {
            let rows = batch.take(&UInt32Array::from(rows)).map_err(|e| failed(e.into()))?;
            Ok((directory, rows))
        };
        directories.into_iter().map(taken).collect()
    }

    /// Numbers the values of the partition columns, from zero as they come.
    fn numbers(&self, batch: &Batch) -> Result<Vec<u32>, OperatorError> {
        let columns: Vec<ArrayRef> =
            self.columns.iter().map(|&(column, _)| batch.column(column).clone()).collect();
        let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
        let mut numbers = vec![];
        KeyTable::new(&types)?.insert(&columns, batch.len(), &mut numbers)?;
        Ok(numbers)
    }

    fn directory(&self, batch: &Batch, row: usize) -> String {
        let part = |(column, name): &(usize, String)| {
            let column = batch.column(*column);
            let value = if column.is_null(row) { None } else { Some(value_text(column, row)) };
            let value = value.filter(|value| !value.is_empty());
            format!("{name}={}", escaped(value.as_deref().unwrap_or(&self.null_name)))
        };
        self.columns.iter().map(part).collect::<Vec<_>>().join("/")
    }
}

/// A name or value as it stands in a path: what a path or Hive gives a meaning is percent-coded.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_control() || "\"#%'*/:=?\\{[]^".contains(c) {
            out.push_str(&format!("%{:02X}", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) if code.is_ascii() => {
                out.push(char::from(code));
                rest = &after[2..];
            }
            _ => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The value of a column in a file's path.
pub(crate) fn value_in_path(path: &Path, column: &str) -> Option<String> {
    let value = |part: std::path::Component<'_>| {
        let part = part.as_os_str().to_str()?.to_owned();
        let (name, value) = part.split_once('=')?;
        (unescaped(name) == column).then(|| unescaped(value))
    };
    path.parent()?.components().rev().find_map(value)
}

/// What tells readers that a partition is complete. It is told when the input has ended and all
/// workers have written what they had, by the last of them.
#[derive(Debug)]
pub(crate) struct Commit {
    success_file: Option<String>,
    state: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    partitions: BTreeSet<String>,
    writers: usize,
    finished: usize,
}

impl Commit {
    pub(crate) fn new(table: &Table) -> Result<Self, OptionError> {
        let key = "sink.partition-commit.policy.kind";
        let kinds = table.option(key).unwrap_or_default();
        let mut kinds = kinds.split([',', ';']).flat_map(list);
        let mut success_file = None;
        if let Some(unknown) = kinds.clone().find(|kind| *kind != "success-file") {
            return Err(wrong(
                key,
                format!("'{unknown}' is not supported"),
                "write 'success-file'",
            ));
        }
        if kinds.next().is_some() && !table.partitioned_by.is_empty() {
            let name = table.option("sink.partition-commit.success-file.name");
            success_file = Some(name.unwrap_or("_SUCCESS").to_owned());
        }
        Ok(Commit { success_file, state: Mutex::new(Written::default()) })
    }

    /// Counts a writer.
    pub(crate) fn open(&self) {
        self.state().writers += 1;
    }

    /// Notes that a partition has been written to, and says whether it will be marked.
    pub(crate) fn wrote(&self, partition: &str) -> bool {
        if self.success_file.is_some() {
            self.state().partitions.insert(partition.to_owned());
        }
        self.success_file.is_some()
    }

    /// The partitions that are to be marked.
    pub(crate) fn partitions(&self) -> BTreeSet<String> {
        self.state().partitions.clone()
    }

    /// Forgets all writers: the job goes on, and had written to these partitions before.
    pub(crate) fn begin_anew(&self, partitions: impl Iterator<Item = String>) {
        let partitions = partitions.collect();
        *self.state() = Written { partitions, ..Written::default() };
    }

    /// Counts a writer that has written everything; the last one marks all partitions.
    pub(crate) fn finish(&self, directory: impl Fn(&str) -> PathBuf) -> std::io::Result<()> {
        let mut state = self.state();
        state.finished += 1;
        if let (Some(name), true) = (&self.success_file, state.finished == state.writers) {
            for partition in &state.partitions {
                fs::write(directory(partition).join(name), "")?;
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, Written> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{numbers, table};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_value_comes_back_from_the_path(value in "[ -~äß€\n]{1,20}") {
            let path = format!("/a/day={}/part-0-0", escaped(&value));
            prop_assert_eq!(value_in_path(Path::new(&path), "day"), Some(value));
        }
    }

    #[test]
    fn rows_are_divided_by_their_partition_and_keep_their_order() {
        let mut table = table(&[]);
        table.partitioned_by = vec![1];
        let batch = numbers(&[1, 2, 1]);
        let parts = Partitioning::new(&table).split(&batch).unwrap();
        let shape: Vec<_> = parts.iter().map(|(dir, rows)| (dir.as_str(), rows.len())).collect();
        assert_eq!(shape, [("name=n1", 2), ("name=n2", 1)]);
        assert_eq!(escaped("23:56"), "23%3A56");
    }
}
