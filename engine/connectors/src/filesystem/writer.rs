//! Writing files: one directory, part files of each worker.
//!
//! A part is written under a hidden name, `.part-WORKER-N.inprogress`, and renamed to `part-WORKER-N`
//! when it is complete, so that whoever reads the directory never sees half a file. Numbers go on
//! where an earlier run has stopped: nothing that stands there is overwritten. With `PARTITIONED BY`
//! this holds in each partition's directory.

use super::partition::{Commit, Partitioning};
use super::paths;
use crate::options::{bytes, duration, required};
use crate::sink::{Sink, Writer};
use crate::source::ConnectorError;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemill_formats::{Encoded, Encoder, FormatRole, Table, encoder};
use tidemill_operators::{Batch, Epoch};

/// Flink's default size of a part.
const PART_BYTES: u64 = 128 << 20;

/// Flink's default age of a part.
const PART_AGE: Duration = Duration::from_secs(30 * 60);

/// Parts that a writer has open at most; then the oldest is completed.
const OPEN_PARTS_MAX: usize = 128;

/// A directory to write parts into.
pub(crate) struct Directory {
    table: Table,
    path: PathBuf,
    rolling: Rolling,
    commit: Arc<Commit>,
}

/// When a part is complete.
#[derive(Clone, Copy, Debug)]
struct Rolling {
    bytes: u64,
    age: Duration,
}

impl Rolling {
    fn is_due(self, bytes: u64, age: Duration) -> bool {
        bytes > 0 && (bytes >= self.bytes || age >= self.age)
    }
}

impl Directory {
    pub(crate) fn new(table: Table) -> Result<Self, ConnectorError> {
        let path = paths::local(required(&table, "path")?)?;
        let rolling = Rolling {
            bytes: bytes(&table, "sink.rolling-policy.file-size")?.unwrap_or(PART_BYTES),
            age: duration(&table, "sink.rolling-policy.rollover-interval")?.unwrap_or(PART_AGE),
        };
        let commit = Arc::new(Commit::new(&table)?);
        Ok(Directory { table, path, rolling, commit })
    }
}

impl Sink for Directory {
    fn writer(&self, worker: usize, _workers: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        fs::create_dir_all(&self.path).map_err(|e| failed("creating", &self.path, &e))?;
        self.commit.open();
        Ok(Box::new(PartWriter {
            encoder: encoder(&self.table, FormatRole::Value)?,
            encoded: Encoded::default(),
            partitioning: Partitioning::new(&self.table),
            commit: self.commit.clone(),
            directory: self.path.clone(),
            rolling: self.rolling,
            worker,
            parts: BTreeMap::new(),
        }))
    }
}

/// The number behind the highest that a worker of this number has used.
fn next_part(directory: &Path, worker: usize) -> io::Result<u64> {
    let prefix = format!("part-{worker}-");
    let mut next = 0;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
        next = next.max(number.map_or(0, |number: u64| number + 1));
    }
    Ok(next)
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> ConnectorError {
    ConnectorError { what: format!("{doing} '{}'", path.display()), cause: error.to_string() }
}

/// A part being written.
struct Part {
    file: BufWriter<File>,
    hidden: PathBuf,
    visible: PathBuf,
    bytes: u64,
    since: Instant,
}

impl Part {
    /// Begins the next part of a directory.
    fn create(directory: &Path, worker: usize) -> Result<Part, ConnectorError> {
        fs::create_dir_all(directory).map_err(|e| failed("creating", directory, &e))?;
        let number = next_part(directory, worker).map_err(|e| failed("listing", directory, &e))?;
        let name = format!("part-{worker}-{number}");
        let hidden = directory.join(format!(".{name}.inprogress"));
        let file = File::create(&hidden).map_err(|e| failed("creating", &hidden, &e))?;
        Ok(Part {
            file: BufWriter::with_capacity(256 * 1024, file),
            hidden,
            visible: directory.join(name),
            bytes: 0,
            since: Instant::now(),
        })
    }

    fn write(&mut self, records: &Encoded) -> Result<(), ConnectorError> {
        let mut write = || {
            for record in records.iter() {
                self.file.write_all(record)?;
                self.file.write_all(b"\n")?;
            }
            Ok(())
        };
        write().map_err(|e| failed("writing", &self.hidden, &e))?;
        self.bytes += (records.bytes.len() + records.ends.len()) as u64;
        Ok(())
    }

    fn complete(self) -> Result<(), ConnectorError> {
        let finish = || {
            let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&self.hidden, &self.visible)
        };
        finish().map_err(|e| failed("completing", &self.visible, &e))
    }
}

struct PartWriter {
    encoder: Box<dyn Encoder>,
    encoded: Encoded,
    partitioning: Partitioning,
    commit: Arc<Commit>,
    directory: PathBuf,
    rolling: Rolling,
    worker: usize,
    /// The open part of each partition, by its directory below ours.
    parts: BTreeMap<String, Part>,
}

impl PartWriter {
    fn part(&mut self, partition: String) -> Result<&mut Part, ConnectorError> {
        if !self.parts.contains_key(&partition) && self.parts.len() >= OPEN_PARTS_MAX {
            let oldest = self.parts.iter().min_by_key(|(_, part)| part.since);
            if let Some(part) =
                oldest.map(|(key, _)| key.clone()).and_then(|k| self.parts.remove(&k))
            {
                part.complete()?;
            }
        }
        match self.parts.entry(partition) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let directory = match entry.key().as_str() {
                    "" => self.directory.clone(),
                    partition => self.directory.join(partition),
                };
                self.commit.wrote(&directory);
                Ok(entry.insert(Part::create(&directory, self.worker)?))
            }
        }
    }

    fn write_batch(&mut self, batch: &Batch) -> Result<(), ConnectorError> {
        for (partition, rows) in self.partitioning.split(batch)? {
            let mut encoded = std::mem::take(&mut self.encoded);
            encoded.clear();
            self.encoder.encode(&rows, &mut encoded).map_err(|bad| ConnectorError {
                what: format!("writing '{}'", self.directory.display()),
                cause: bad.reason,
            })?;
            self.part(partition)?.write(&encoded)?;
            self.encoded = encoded;
        }
        Ok(())
    }
}

impl Writer for PartWriter {
    fn write(&mut self, _epoch: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        rows.iter().filter(|batch| !batch.is_empty()).try_for_each(|batch| self.write_batch(batch))
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        let rolling = self.rolling;
        let is_due = |_: &String, part: &mut Part| rolling.is_due(part.bytes, part.since.elapsed());
        let due: Vec<Part> = self.parts.extract_if(.., is_due).map(|(_, part)| part).collect();
        due.into_iter().try_for_each(Part::complete)
    }

    fn pending_bytes(&self) -> usize {
        0
    }

    fn finish(&mut self) -> Result<(), ConnectorError> {
        std::mem::take(&mut self.parts).into_values().try_for_each(Part::complete)?;
        self.commit.finish().map_err(|e| failed("marking partitions below", &self.directory, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::open_sink;
    use crate::testing::{numbers, table, write_spec};

    fn visible(dir: &Path) -> Vec<(String, String)> {
        let files = paths::input_files(dir).unwrap();
        let read = |f: paths::InputFile| {
            let name = f.path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&f.path).unwrap())
        };
        files.into_iter().map(read).collect()
    }

    fn sink(dir: &Path, more: &[(&str, &str)]) -> Box<dyn Sink> {
        let path = dir.to_str().unwrap();
        let mut options = vec![("connector", "filesystem"), ("path", path), ("format", "csv")];
        options.extend_from_slice(more);
        open_sink(&write_spec(table(&options))).unwrap()
    }

    #[test]
    fn a_part_is_hidden_until_it_is_complete_and_nothing_is_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("made/on/demand");
        for run in 0..2 {
            let sink = sink(&dir, &[]);
            let mut writer = sink.writer(3, 4).unwrap();
            writer.write(1, &[numbers(&[1, 2])]).unwrap();
            writer.flush().unwrap();
            assert_eq!(visible(&dir).len(), run);
            writer.finish().unwrap();
        }
        let text = "1,n1\n2,n2\n".to_owned();
        assert_eq!(visible(&dir), [("part-3-0".into(), text.clone()), ("part-3-1".into(), text)]);
    }

    #[test]
    fn a_writer_without_rows_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = sink(dir.path(), &[]).writer(0, 1).unwrap();
        writer.write(1, &[numbers(&[])]).unwrap();
        writer.finish().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_part_that_has_grown_enough_is_completed_at_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(dir.path(), &[("sink.rolling-policy.file-size", "4 b")]);
        let mut writer = sink.writer(0, 1).unwrap();
        for n in [1, 2] {
            writer.write(1, &[numbers(&[n])]).unwrap();
            writer.flush().unwrap();
        }
        let names: Vec<String> = visible(dir.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["part-0-0", "part-0-1"]);
        writer.finish().unwrap();
    }

    #[test]
    fn partitions_get_directories_and_are_marked_when_all_writers_are_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let kind = ("sink.partition-commit.policy.kind", "success-file");
        let mut table =
            table(&[("connector", "filesystem"), ("path", path), ("format", "csv"), kind]);
        table.partitioned_by = vec![1];
        let sink = open_sink(&write_spec(table)).unwrap();
        let mut writers = [sink.writer(0, 2).unwrap(), sink.writer(1, 2).unwrap()];
        writers[0].write(1, &[numbers(&[1, 2, 1])]).unwrap();
        writers[1].write(1, &[numbers(&[1])]).unwrap();
        let marker = dir.path().join("name=n1/_SUCCESS");
        writers[0].finish().unwrap();
        assert!(!marker.exists());
        writers[1].finish().unwrap();
        assert!(marker.exists() && dir.path().join("name=n2/_SUCCESS").exists());
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(read("name=n1/part-0-0"), "1\n1\n");
        assert_eq!(read("name=n1/part-1-0"), "1\n");
    }
}
