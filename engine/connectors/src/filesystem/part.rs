//! [`Part`]: one file being written, hidden until it is complete.
//!
//! ```text
//! .part-0-3.inprogress                 being written     part-0-3             complete
//! .part-5c0fb2a1-0-3.inprogress        … by a job whose checkpoints commit it
//! ```
//!
//! A number is never used twice in a directory: not if a part of it stands there, hidden or not. A
//! job's mark in the names keeps jobs that write into the same directory apart, so that each can
//! tell what it left behind itself.

use crate::source::ConnectorError;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tidemill_formats::Encoded;

const HIDDEN_END: &str = ".inprogress";

/// What the names of a writer's parts begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartNames(String);

impl PartNames {
    /// The names of a worker's parts, for a job whose checkpoints commit them or for none.
    pub(super) fn new(job: Option<&str>, worker: usize) -> Self {
        PartNames(format!("{}{worker}-", of_job(job)))
    }

    fn name(&self, number: u64) -> String {
        format!("{}{number}", self.0)
    }

    /// The number behind the highest that stands in a directory.
    fn next(&self, directory: &Path) -> io::Result<u64> {
        let mut next = 0;
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let number = visible_name(name).unwrap_or(name).strip_prefix(&self.0);
            let number = number.and_then(|number| number.parse::<u64>().ok());
            next = next.max(number.map_or(0, |number| number + 1));
        }
        Ok(next)
    }
}

fn of_job(job: Option<&str>) -> String {
    match job {
        Some(job) => format!("part-{}-", mark(job)),
        None => "part-".to_owned(),
    }
}

/// A short form of a job's identity: 32 bits of its FNV-1a hash.
fn mark(job: &str) -> String {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = job.bytes().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{:08x}", (hash >> 32) as u32 ^ hash as u32)
}

/// Whether this is the name of a hidden part of a job.
pub(super) fn is_hidden_part_of(name: &str, job: &str) -> bool {
    visible_name(name).is_some_and(|name| name.starts_with(&of_job(Some(job))))
}

/// The name that a hidden part will have.
fn visible_name(hidden: &str) -> Option<&str> {
    hidden.strip_prefix('.')?.strip_suffix(HIDDEN_END)
}

/// Where a part of this name is while it is hidden.
pub(super) fn hidden(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!(".{name}{HIDDEN_END}"))
}

/// A part being written.
pub(super) struct Part {
    file: BufWriter<File>,
    sink: PathBuf,
    /// Its directory below the sink's, empty for that one itself.
    pub(super) partition: String,
    pub(super) name: String,
    pub(super) bytes: u64,
    /// How many of them are on the disk for good.
    durable_bytes: u64,
    pub(super) since: Instant,
}

impl Part {
    /// Begins the next part of a partition.
    pub(super) fn create(
        sink: &Path,
        partition: String,
        names: &PartNames,
    ) -> Result<Part, ConnectorError> {
        let directory = directory(sink, &partition);
        fs::create_dir_all(&directory).map_err(|e| failed("creating", &directory, &e))?;
        let number = names.next(&directory).map_err(|e| failed("listing", &directory, &e))?;
        let name = names.name(number);
        let hidden = hidden(&directory, &name);
        let file = File::create_new(&hidden).map_err(|e| failed("creating", &hidden, &e))?;
        Ok(Part {
            file: BufWriter::with_capacity(256 * 1024, file),
            sink: sink.to_owned(),
            partition,
            name,
            bytes: 0,
            durable_bytes: 0,
            since: Instant::now(),
        })
    }

    pub(super) fn write(&mut self, records: &Encoded) -> Result<(), ConnectorError> {
        let mut write = || {
            for record in records.iter() {
                self.file.write_all(record)?;
                self.file.write_all(b"\n")?;
            }
            Ok(())
        };
        write().map_err(|e| failed("writing", &self.hidden(), &e))?;
        self.bytes += (records.bytes.len() + records.ends.len()) as u64;
        Ok(())
    }

    /// Whether there is something in it that [`Part::sync`] has not brought to the disk.
    pub(super) fn is_dirty(&self) -> bool {
        self.durable_bytes < self.bytes
    }

    /// Brings everything written to the disk for good.
    pub(super) fn sync(&mut self) -> Result<(), ConnectorError> {
        if !self.is_dirty() {
            return Ok(());
        }
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|e| failed("writing", &self.hidden(), &e))?;
        if self.durable_bytes == 0 {
            // A file whose name is lost is lost itself.
            sync_directory(&self.sink, &self.partition)?;
        }
        self.durable_bytes = self.bytes;
        Ok(())
    }

    /// Completes the part and shows it.
    pub(super) fn show(mut self) -> Result<(), ConnectorError> {
        self.sync()?;
        show(&self.hidden(), &directory(&self.sink, &self.partition).join(&self.name))?;
        sync_directory(&self.sink, &self.partition)
    }

    fn hidden(&self) -> PathBuf {
        hidden(&directory(&self.sink, &self.partition), &self.name)
    }
}

/// The directory of a partition.
pub(super) fn directory(sink: &Path, partition: &str) -> PathBuf {
    if partition.is_empty() { sink.to_owned() } else { sink.join(partition) }
}

/// Gives a hidden part its name. What has that name already is never overwritten.
pub(super) fn show(hidden: &Path, visible: &Path) -> Result<(), ConnectorError> {
    let taken = || io::Error::new(io::ErrorKind::AlreadyExists, "a file of this name is there");
    let show = || match visible.try_exists()? {
        true => Err(taken()),
        false => fs::rename(hidden, visible),
    };
    show().map_err(|e| failed("completing", visible, &e))
}

/// Brings the names in a partition's directory, and its own, to the disk for good.
pub(super) fn sync_directory(sink: &Path, partition: &str) -> Result<(), ConnectorError> {
    let mut directory = directory(sink, partition);
    loop {
        let synced = File::open(&directory).and_then(|directory| directory.sync_all());
        synced.map_err(|e| failed("writing", &directory, &e))?;
        if directory == sink || !directory.pop() {
            return Ok(());
        }
    }
}

pub(super) fn failed(doing: &str, path: &Path, error: &io::Error) -> ConnectorError {
    ConnectorError { what: format!("{doing} '{}'", path.display()), cause: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_behind_the_highest_whether_it_is_hidden_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let names = PartNames::new(None, 1);
        assert_eq!(names.next(dir.path()).unwrap(), 0);
        for name in ["part-1-4", "part-1-x", "part-12-30", ".part-1-6.inprogress", "_SUCCESS"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(names.next(dir.path()).unwrap(), 7);
    }

    #[test]
    fn a_job_knows_its_hidden_parts_from_those_of_others() {
        let name = |job| PartNames::new(job, 0).name(5);
        let hidden = |job| format!(".{}{HIDDEN_END}", name(job));
        assert!(is_hidden_part_of(&hidden(Some("job a")), "job a"));
        assert!(!is_hidden_part_of(&hidden(Some("job b")), "job a"));
        assert!(!is_hidden_part_of(&hidden(None), "job a"));
        assert!(!is_hidden_part_of(&name(Some("job a")), "job a"), "visible");
        assert_eq!(name(None), "part-0-5");
    }
}
