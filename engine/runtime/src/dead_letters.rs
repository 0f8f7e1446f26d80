//! [`DeadLetters`]: what could not be used is kept, where a person can look at it.
//!
//! One file of JSON lines for each table, and one for late rows, bounded in lines and bytes:
//! beyond the bound letters are only counted, and that is said once. Keeping a letter never
//! fails the job; a disk that refuses is said once as well.
//!
//! Letters are part of checkpoints. A letter waits in memory under its epoch until a checkpoint
//! takes the epoch in ([`DeadLetters::settle`]); only then is it written, and the checkpoint, which
//! stands no sooner than they are on the disk ([`DeadLetters::sync`]), notes how long each file
//! is. A job that goes on from a checkpoint first cuts its files to those lengths, so that each
//! letter stands there exactly once.

use crate::checkpoint::LetterFileState;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tidemill_connectors::source::BadInput;
use tidemill_operators::{Batch, Epoch};

/// A file takes so many letters …
const LETTERS_MAX: usize = 10_000;
/// … and so many bytes.
const BYTES_MAX: usize = 64 << 20;
/// So many letters of each file are shown as well.
const SHOWN_MAX: usize = 5;

/// How long each file of dead letters is, by its name without the ending.
pub(crate) type Lengths = BTreeMap<String, LetterFileState>;

/// The dead letters of a job.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    folder: PathBuf,
    kept: Mutex<Kept>,
    /// A lock of its own: no worker waits for a disk.
    files: Mutex<BTreeMap<String, LetterFile>>,
}

/// What workers hand over.
#[derive(Debug, Default)]
struct Kept {
    /// By the file's name.
    counts: BTreeMap<String, Count>,
    /// Letters of epochs that no checkpoint has taken in: file and line, in order of arrival.
    waiting: BTreeMap<Epoch, Vec<(String, String)>>,
}

/// What was kept for a file, including what waits.
#[derive(Debug, Default)]
struct Count {
    letters: usize,
    bytes: usize,
    shown: usize,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct LetterFile {
    out: Option<BufWriter<File>>,
    written: LetterFileState,
    /// Whether some of it may not be on the disk.
    is_dirty: bool,
}

impl DeadLetters {
    /// Letters in `folder`, whose files are cut to the lengths that they had when the job stood
    /// where it now goes on.
    ///
    /// # Errors
    /// If a file can't be cut, or is shorter than it was.
    pub(crate) fn resume(folder: PathBuf, lengths: &Lengths) -> io::Result<Self> {
        let (mut files, mut kept) = (BTreeMap::new(), Kept::default());
        for name in kept_files(&folder)? {
            let state = lengths.get(&name).copied().unwrap_or_default();
            let path = letter_file(&folder, &name);
            if state.letters == 0 {
                fs::remove_file(&path)?;
                continue;
            }
            let file = File::options().write(true).open(&path)?;
            if file.metadata()?.len() < state.bytes {
                let problem = format!("{} is shorter than a checkpoint says", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
            file.set_len(state.bytes)?;
            let (letters, bytes) = (state.letters as usize, state.bytes as usize);
            kept.counts.insert(name.clone(), Count { letters, bytes, ..Count::default() });
            files.insert(name, LetterFile { written: state, ..LetterFile::default() });
        }
        Ok(DeadLetters { folder, kept: Mutex::new(kept), files: Mutex::new(files) })
    }

    /// How long the files in a folder are.
    ///
    /// # Errors
    /// If they can't be read.
    pub(crate) fn lengths(folder: &Path) -> io::Result<Lengths> {
        let mut lengths = Lengths::new();
        for name in kept_files(folder)? {
            let bytes = fs::read(letter_file(folder, &name))?;
            let letters = memchr::memchr_iter(b'\n', &bytes).count() as u64;
            lengths.insert(name, LetterFileState { bytes: bytes.len() as u64, letters });
        }
        Ok(lengths)
    }

    /// Keeps a record that could not be decoded, and shows the first ones.
    pub(crate) fn bad(&self, table: &str, epoch: Epoch, bad: &BadInput) {
        let BadInput { place, position, reason, record } = bad;
        let record = String::from_utf8_lossy(record);
        let letter =
            json!({"place": place, "position": position, "reason": reason, "record": record});
        if self.keep(table, epoch, &letter) {
            tracing::warn!("bad record in {table} at {place}:{position}: {reason}");
        }
    }

    /// Keeps rows that came too late, and shows the first ones.
    pub(crate) fn late(&self, step: &str, epoch: Epoch, rows: &Batch, watermark_ms: i64) {
        for row in 0..rows.len() {
            let row = readable(rows, row);
            let shown = Value::Object(row.clone()).to_string();
            let letter = json!({"step": step, "watermark_ms": watermark_ms, "row": row});
            if self.keep("late", epoch, &letter) {
                tracing::warn!("row too late for {step} at watermark {watermark_ms}: {shown}");
            }
        }
    }

    /// Writes all letters of epochs before `before`, and says how long the files are then. They
    /// may not be on the disk yet.
    pub(crate) fn settle(&self, before: Epoch) -> Lengths {
        let due = {
            let mut kept = self.kept();
            let later = kept.waiting.split_off(&before);
            std::mem::replace(&mut kept.waiting, later)
        };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, line) in due.into_values().flatten() {
            let file = files.entry(name.clone()).or_default();
            if let Err(error) = file.append(&self.folder, &name, line.as_bytes()) {
                self.kept().counts.entry(name.clone()).or_default().is_closed = true;
                tracing::warn!("dead letters of {name} can't be kept: {error}");
            }
        }
        for (name, file) in &mut *files {
            if let Some(Err(error)) = file.out.as_mut().map(BufWriter::flush) {
                tracing::warn!("dead letters of {name} can't be kept: {error}");
            }
        }
        files.iter().map(|(name, file)| (name.clone(), file.written)).collect()
    }

    /// Brings to the disk what was written.
    pub(crate) fn sync(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, file) in files.iter_mut().filter(|(_, file)| file.is_dirty) {
            file.is_dirty = false;
            if let Some(Err(error)) = file.out.as_ref().map(|out| out.get_ref().sync_data()) {
                tracing::warn!("dead letters of {name} can't be kept: {error}");
            }
        }
    }

    /// Whether no letter was kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept().counts.is_empty()
    }

    /// Keeps a letter; says whether it is one of the first, to be shown.
    fn keep(&self, name: &str, epoch: Epoch, letter: &Value) -> bool {
        let name = file_name(name);
        let mut kept = self.kept();
        let Kept { counts, waiting } = &mut *kept;
        let count = counts.entry(name.clone()).or_default();
        if count.is_closed {
            return false;
        }
        let mut line = letter.to_string();
        line.push('\n');
        if count.letters >= LETTERS_MAX || count.bytes + line.len() > BYTES_MAX {
            count.is_closed = true;
            tracing::warn!("dead letters of {name}: enough kept, the rest is only counted");
            return false;
        }
        count.letters += 1;
        count.bytes += line.len();
        count.shown += 1;
        let is_first = count.shown <= SHOWN_MAX;
        waiting.entry(epoch).or_default().push((name, line));
        is_first
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LetterFile {
    fn append(&mut self, folder: &Path, name: &str, line: &[u8]) -> io::Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            None => {
                fs::create_dir_all(folder)?;
                let path = letter_file(folder, name);
                let file = File::options().create(true).append(true).open(path)?;
                self.out.insert(BufWriter::new(file))
            }
        };
        self.is_dirty = true;
        out.write_all(line)?;
        self.written.bytes += line.len() as u64;
        self.written.letters += 1;
        Ok(())
    }
}

/// The file of a table's letters, or of the `late` ones.
pub(crate) fn letter_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.jsonl"))
}

/// The names of the files of dead letters in a folder, without their ending.
fn kept_files(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        names.extend(name.map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
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

    fn fresh(folder: &Path) -> DeadLetters {
        DeadLetters::resume(folder.to_owned(), &Lengths::new()).unwrap()
    }

    #[test]
    fn letters_say_where_they_come_from_and_stay_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let letters = fresh(&folder.path().join("dead-letters"));
        assert!(letters.is_empty());
        letters.bad("../clicks", 1, &bad(7));
        letters.settle(Epoch::MAX);
        let text = fs::read_to_string(folder.path().join("dead-letters/_clicks.jsonl")).unwrap();
        let letter: Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(letter["position"], 7);
        assert_eq!(letter["record"], "{\"a\":x}");
    }

    #[test]
    fn beyond_the_bound_nothing_more_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let letters = fresh(folder.path());
        for position in 0..LETTERS_MAX as i64 + 5 {
            letters.bad("clicks", 1, &bad(position));
        }
        letters.settle(Epoch::MAX);
        let text = fs::read_to_string(folder.path().join("clicks.jsonl")).unwrap();
        assert_eq!(text.lines().count(), LETTERS_MAX);
    }

    #[test]
    fn a_late_row_is_kept_with_its_values() {
        let folder = tempfile::tempdir().unwrap();
        let letters = fresh(folder.path());
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![Some(5), None]))),
            ("s", Arc::new(StringArray::from(vec!["a", "b"]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap().into();
        letters.late("window aggregate 2", 1, &rows, 9);
        letters.settle(Epoch::MAX);
        let text = fs::read_to_string(folder.path().join("late.jsonl")).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["row"], json!({"n": null, "s": "b"}));
        assert_eq!(last["watermark_ms"], 9);
    }

    #[test]
    fn letters_stand_once_whichever_checkpoint_the_job_goes_on_from() {
        let folder = tempfile::tempdir().unwrap();
        let positions = || -> Vec<i64> {
            let text = fs::read_to_string(folder.path().join("clicks.jsonl")).unwrap_or_default();
            let letters = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            letters.map(|letter| letter["position"].as_i64().unwrap()).collect()
        };
        let letters = fresh(folder.path());
        // Epochs arrive in any order of workers.
        for (epoch, position) in [(2, 20), (1, 10), (3, 30), (2, 21)] {
            letters.bad("clicks", epoch, &bad(position));
        }
        let first = letters.settle(2);
        assert_eq!(positions(), [10]);
        let second = letters.settle(3);
        assert_eq!(positions(), [10, 20, 21]);
        letters.settle(4);
        drop(letters);

        let letters = DeadLetters::resume(folder.path().to_owned(), &second).unwrap();
        assert_eq!(positions(), [10, 20, 21]);
        letters.bad("clicks", 9, &bad(30));
        letters.bad("views", 9, &bad(31));
        letters.settle(Epoch::MAX);
        assert_eq!(positions(), [10, 20, 21, 30]);
        drop(letters);

        DeadLetters::resume(folder.path().to_owned(), &first).unwrap();
        assert_eq!(positions(), [10]);
        assert!(!folder.path().join("views.jsonl").exists());
        assert_eq!(DeadLetters::lengths(folder.path()).unwrap(), first);
        fresh(folder.path());
        assert_eq!(positions(), [] as [i64; 0]);
    }
}
