//! [`DeadLetters`]: what could not be used is kept, where a person can look at it.
//!
//! One file of JSON lines for each table, and one for late rows, bounded in lines and bytes:
//! beyond the bound letters are only counted, and that is said once. Keeping a letter never
//! fails the job; a disk that refuses is said once as well.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tidemill_connectors::source::BadInput;
use tidemill_operators::Batch;

/// A file takes so many letters …
const LETTERS_MAX: usize = 10_000;
/// … and so many bytes.
const BYTES_MAX: usize = 64 << 20;
/// So many letters of each file are shown as well.
const SHOWN_MAX: usize = 5;

/// The dead letters of a job.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    folder: PathBuf,
    files: Mutex<BTreeMap<String, LetterFile>>,
}

#[derive(Debug, Default)]
struct LetterFile {
    out: Option<BufWriter<File>>,
    letters: usize,
    bytes: usize,
    is_closed: bool,
}

impl DeadLetters {
    pub(crate) fn new(folder: PathBuf) -> Self {
        DeadLetters { folder, files: Mutex::default() }
    }

    /// Keeps a record that could not be decoded, and shows the first ones.
    pub(crate) fn bad(&self, table: &str, bad: &BadInput) {
        let BadInput { place, position, reason, record } = bad;
        let record = String::from_utf8_lossy(record);
        let letter =
            json!({"place": place, "position": position, "reason": reason, "record": record});
        if self.keep(table, &letter) {
            tracing::warn!("bad record in {table} at {place}:{position}: {reason}");
        }
    }

    /// Keeps rows that came too late, and shows the first ones.
    pub(crate) fn late(&self, step: &str, rows: &Batch, watermark_ms: i64) {
        for row in 0..rows.len() {
            let row = readable(rows, row);
            let shown = Value::Object(row.clone()).to_string();
            let letter = json!({"step": step, "watermark_ms": watermark_ms, "row": row});
            if self.keep("late", &letter) {
                tracing::warn!("late row dropped by {step} at watermark {watermark_ms}: {shown}");
            }
        }
    }

    /// Writes everything out.
    pub(crate) fn flush(&self) {
        let mut files = self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for out in files.values_mut().filter_map(|file| file.out.as_mut()) {
            let _ = out.flush();
        }
    }

    /// Whether any letter was kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_empty()
    }

    /// Keeps a letter; says whether it is one of the first, to be shown.
    fn keep(&self, name: &str, letter: &Value) -> bool {
        let mut files = self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let file = files.entry(name.to_owned()).or_default();
        if file.is_closed {
            return false;
        }
        let mut line = letter.to_string();
        line.push('\n');
        if file.letters >= LETTERS_MAX || file.bytes + line.len() > BYTES_MAX {
            file.is_closed = true;
            tracing::warn!("dead letters of {name}: enough kept, the rest is only counted");
            return false;
        }
        if let Err(error) = file.append(&self.folder, name, line.as_bytes()) {
            file.is_closed = true;
            tracing::warn!("dead letters of {name} can't be kept: {error}");
        }
        file.letters += 1;
        file.bytes += line.len();
        file.letters <= SHOWN_MAX
    }
}

impl LetterFile {
    fn append(&mut self, folder: &Path, name: &str, line: &[u8]) -> std::io::Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            None => {
                fs::create_dir_all(folder)?;
                let path = folder.join(format!("{}.jsonl", file_name(name)));
                let file = File::options().create(true).append(true).open(path)?;
                self.out.insert(BufWriter::new(file))
            }
        };
        out.write_all(line)
    }
}

/// A table's name as a file's: nothing that leaves the folder.
fn file_name(table: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    table.chars().map(plain).collect::<String>().trim_start_matches('.').to_owned()
}

/// A row as a person reads it: column names and values as text.
fn readable(rows: &Batch, row: usize) -> Map<String, Value> {
    let schema = rows.schema();
    let options = FormatOptions::default();
    let columns = schema.fields().iter().zip(rows.columns().columns());
    let cells = columns.map(|(field, column)| {
        let text = match ArrayFormatter::try_new(column, &options) {
            _ if column.is_null(row) => Value::Null,
            Ok(formatter) => Value::String(formatter.value(row).to_string()),
            Err(error) => Value::String(error.to_string()),
        };
        (field.name().clone(), text)
    });
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use std::sync::Arc;

    fn bad(position: i64) -> BadInput {
        BadInput {
            place: "clicks/3".to_owned(),
            position,
            reason: "expected a number".to_owned(),
            record: b"{\"a\":x}".to_vec(),
        }
    }

    #[test]
    fn letters_say_where_they_come_from_and_stay_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path().join("dead-letters"));
        assert!(letters.is_empty());
        letters.bad("../clicks", &bad(7));
        letters.flush();
        let text = fs::read_to_string(folder.path().join("dead-letters/_clicks.jsonl")).unwrap();
        let letter: Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(letter["position"], 7);
        assert_eq!(letter["record"], "{\"a\":x}");
    }

    #[test]
    fn beyond_the_bound_nothing_more_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path().to_owned());
        for position in 0..LETTERS_MAX as i64 + 5 {
            letters.bad("clicks", &bad(position));
        }
        letters.flush();
        let text = fs::read_to_string(folder.path().join("clicks.jsonl")).unwrap();
        assert_eq!(text.lines().count(), LETTERS_MAX);
    }

    #[test]
    fn a_late_row_is_kept_with_its_values() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path().to_owned());
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![Some(5), None]))),
            ("s", Arc::new(StringArray::from(vec!["a", "b"]))),
        ];
        letters.late("window aggregate 2", &RecordBatch::try_from_iter(columns).unwrap().into(), 9);
        letters.flush();
        let text = fs::read_to_string(folder.path().join("late.jsonl")).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["row"], json!({"n": null, "s": "b"}));
        assert_eq!(last["watermark_ms"], 9);
    }
}
