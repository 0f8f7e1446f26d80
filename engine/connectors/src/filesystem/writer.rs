//! Writing files: one directory, part files of each worker.
//!
//! A part is written under a hidden name, `.part-WORKER-N.inprogress`, and renamed to `part-WORKER-N`
//! when it is complete, so that whoever reads the directory never sees half a file. Numbers go on
//! where an earlier run has stopped: nothing that stands there is overwritten.

use super::paths;
use crate::options::{bytes, duration, required};
use crate::sink::{Sink, Writer};
use crate::source::ConnectorError;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tidemill_formats::{Encoded, Encoder, FormatRole, Table, encoder};
use tidemill_operators::{Batch, Epoch};

/// Flink's default size of a part.
const PART_BYTES: u64 = 128 << 20;

/// Flink's default age of a part.
const PART_AGE: Duration = Duration::from_secs(30 * 60);

/// A directory to write parts into.
pub(crate) struct Directory {
    table: Table,
    path: PathBuf,
    rolling: Rolling,
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
        Ok(Directory { table, path, rolling })
    }
}

impl Sink for Directory {
    fn writer(&self, worker: usize, _workers: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        fs::create_dir_all(&self.path).map_err(|e| failed("creating", &self.path, &e))?;
        let next = next_part(&self.path, worker).map_err(|e| failed("listing", &self.path, &e))?;
        Ok(Box::new(PartWriter {
            encoder: encoder(&self.table, FormatRole::Value)?,
            encoded: Encoded::default(),
            directory: self.path.clone(),
            rolling: self.rolling,
            worker,
            next,
            part: None,
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

struct PartWriter {
    encoder: Box<dyn Encoder>,
    encoded: Encoded,
    directory: PathBuf,
    rolling: Rolling,
    worker: usize,
    next: u64,
    part: Option<Part>,
}

impl PartWriter {
    fn part(&mut self) -> Result<&mut Part, ConnectorError> {
        if self.part.is_none() {
            let name = format!("part-{}-{}", self.worker, self.next);
            let hidden = self.directory.join(format!(".{name}.inprogress"));
            let file = File::create(&hidden).map_err(|e| failed("creating", &hidden, &e))?;
            self.next += 1;
            self.part = Some(Part {
                file: BufWriter::with_capacity(256 * 1024, file),
                hidden,
                visible: self.directory.join(name),
                bytes: 0,
                since: Instant::now(),
            });
        }
        Ok(self.part.as_mut().expect("just made"))
    }

    fn complete(&mut self) -> Result<(), ConnectorError> {
        let Some(part) = self.part.take() else { return Ok(()) };
        let finish = || {
            let file = part.file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&part.hidden, &part.visible)
        };
        finish().map_err(|e| failed("completing", &part.visible, &e))
    }
}

impl Writer for PartWriter {
    fn write(&mut self, _epoch: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        for batch in rows.iter().filter(|batch| !batch.is_empty()) {
            encoded.clear();
            self.encoder.encode(batch, &mut encoded).map_err(|bad| ConnectorError {
                what: format!("writing '{}'", self.directory.display()),
                cause: bad.reason,
            })?;
            let part = self.part()?;
            let write = |part: &mut Part| {
                for record in encoded.iter() {
                    part.file.write_all(record)?;
                    part.file.write_all(b"\n")?;
                }
                Ok(())
            };
            write(part).map_err(|e| failed("writing", &part.hidden, &e))?;
            part.bytes += (encoded.bytes.len() + encoded.ends.len()) as u64;
        }
        self.encoded = encoded;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        let rolling = self.rolling;
        if self.part.as_ref().is_some_and(|p| rolling.is_due(p.bytes, p.since.elapsed())) {
            self.complete()?;
        }
        Ok(())
    }

    fn pending_bytes(&self) -> usize {
        0
    }

    fn finish(&mut self) -> Result<(), ConnectorError> {
        self.complete()
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
}
