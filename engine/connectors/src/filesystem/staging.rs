//! What a job's checkpoints have to do with its parts: what is staged with one, and what is done
//! with that when the checkpoint stands, or when the job goes on from it.
//!
//! ```text
//!            seal                     commit                    recover
//! completed  bytes are on the disk    renamed                   renamed
//! open       bytes are on the disk    still being written       those bytes copied, renamed
//! ```
//!
//! An open part is shown as a copy: the process that wrote it may only seem to be dead, and what it
//! still writes must not get into a file that readers see.
//!
//! The invariant: **visible parts hold what the last committed checkpoint says, or less**, and
//! after [`Staging::recover`] exactly that. Everything here may be done again: a part that is
//! visible and as long as it was staged needs nothing.

use super::part::{self, failed};
use crate::source::ConnectorError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// One thing staged with a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// A part that will not grow any more.
    Completed(StagedPart),
    /// A part that goes on being written.
    Open(StagedPart),
    /// A partition that was written to, to be marked when all input has ended.
    Partition(String),
}

/// A part as it was when it was staged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct StagedPart {
    /// Its directory below the sink's, empty for that one itself.
    pub partition: String,
    pub name: String,
    pub bytes: u64,
}

impl Entry {
    /// As it is kept with the checkpoint.
    pub(super) fn text(&self) -> Result<String, ConnectorError> {
        serde_json::to_string(self).map_err(|e| malformed(&format!("{self:?}"), &e))
    }

    pub(super) fn parse(text: &str) -> Result<Entry, ConnectorError> {
        serde_json::from_str(text).map_err(|e| malformed(text, &e))
    }
}

fn malformed(text: &str, error: &serde_json::Error) -> ConnectorError {
    let what = format!("reading what a checkpoint staged: {text}");
    ConnectorError { what, cause: error.to_string() }
}

/// The parts of one job below one directory.
pub(super) struct Staging<'a> {
    pub sink: &'a Path,
    pub job: &'a str,
    /// How deep the directories of partitions lie.
    pub depth: usize,
}

impl Staging<'_> {
    /// Shows what the checkpoint completed.
    pub(super) fn commit(&self, staged: &[Entry]) -> Result<(), ConnectorError> {
        let completed = staged.iter().filter_map(|entry| match entry {
            Entry::Completed(part) => Some(part),
            Entry::Open(_) | Entry::Partition(_) => None,
        });
        self.show(completed)
    }

    /// Shows all that was written up to the checkpoint and removes what came after it.
    pub(super) fn recover(&self, staged: &[Entry]) -> Result<(), ConnectorError> {
        let parts = staged.iter().filter_map(|entry| match entry {
            Entry::Completed(part) | Entry::Open(part) => Some(part),
            Entry::Partition(_) => None,
        });
        for entry in staged {
            if let Entry::Open(part) = entry {
                self.detach(part)?;
            }
        }
        self.show(parts)?;
        let mut leftovers = vec![];
        self.find_hidden(self.sink, self.depth, &mut leftovers)
            .map_err(|e| failed("looking for what an earlier run left in", self.sink, &e))?;
        for leftover in leftovers {
            fs::remove_file(&leftover).map_err(|e| failed("removing", &leftover, &e))?;
        }
        Ok(())
    }

    fn show<'p>(&self, parts: impl Iterator<Item = &'p StagedPart>) -> Result<(), ConnectorError> {
        let mut touched = BTreeSet::new();
        for part in parts {
            self.show_part(part)?;
            touched.insert(part.partition.as_str());
        }
        touched.into_iter().try_for_each(|partition| part::sync_directory(self.sink, partition))
    }

    fn show_part(&self, staged: &StagedPart) -> Result<(), ConnectorError> {
        let directory = part::directory(self.sink, &staged.partition);
        let (hidden, visible) =
            (part::hidden(&directory, &staged.name), directory.join(&staged.name));
        let refused =
            |cause| ConnectorError { what: format!("completing '{}'", visible.display()), cause };
        let hidden_bytes = length(&hidden).map_err(|e| failed("reading", &hidden, &e))?;
        let visible_bytes = length(&visible).map_err(|e| failed("reading", &visible, &e))?;
        match next_step(staged.bytes, hidden_bytes, visible_bytes).map_err(refused)? {
            Step::Nothing => Ok(()),
            Step::Rename => part::show(&hidden, &visible),
            Step::CutAndRename => {
                cut(&hidden, staged.bytes).map_err(|e| failed("cutting", &hidden, &e))?;
                part::show(&hidden, &visible)
            }
        }
    }

    /// Puts a copy of what was staged of a hidden part into its place. If we die before that, the
    /// next recovery removes what there is of the copy.
    fn detach(&self, staged: &StagedPart) -> Result<(), ConnectorError> {
        let directory = part::directory(self.sink, &staged.partition);
        let hidden = part::hidden(&directory, &staged.name);
        let hidden_bytes = length(&hidden).map_err(|e| failed("reading", &hidden, &e))?;
        if hidden_bytes.is_none_or(|bytes| bytes < staged.bytes) {
            return Ok(()); // Showing it says what is the matter.
        }
        let aside = part::hidden(&directory, &format!("{}.copy", staged.name));
        copy_first(&hidden, &aside, staged.bytes).map_err(|e| failed("writing", &aside, &e))?;
        fs::rename(&aside, &hidden).map_err(|e| failed("replacing", &hidden, &e))
    }

    fn find_hidden(
        &self,
        directory: &Path,
        depth: usize,
        found: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        let entries = match fs::read_dir(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if part::is_hidden_part_of(&name, self.job) {
                found.push(entry.path());
            } else if depth > 0 && name.contains('=') && entry.file_type()?.is_dir() {
                self.find_hidden(&entry.path(), depth - 1, found)?;
            }
        }
        Ok(())
    }
}

/// What makes a staged part visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is.
    Nothing,
    Rename,
    CutAndRename,
}

/// Decides what to do about a part of which so many bytes were staged, from the lengths of what
/// is there under its two names.
fn next_step(staged: u64, hidden: Option<u64>, visible: Option<u64>) -> Result<Step, String> {
    match (hidden, visible) {
        (None, Some(bytes)) if bytes == staged => Ok(Step::Nothing),
        (None, Some(bytes)) => Err(format!(
            "the checkpoint has {staged} bytes of it, and there are {bytes}: it was changed, or \
             completed by a later checkpoint"
        )),
        (Some(bytes), None) if bytes < staged => Err(format!(
            "the checkpoint has {staged} bytes of it, and only {bytes} are there: the file was \
             damaged"
        )),
        (Some(bytes), None) if bytes == staged => Ok(Step::Rename),
        (Some(_), None) => Ok(Step::CutAndRename),
        (None, None) => Err(format!(
            "{staged} bytes of it belong to the checkpoint, and neither the part nor its hidden \
             file is there: put it back, or start anew"
        )),
        (Some(_), Some(_)) => Err("a file of this name is there, and is not ours".to_owned()),
    }
}

fn length(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Copies the first bytes of a file, for good.
fn copy_first(from: &Path, to: &Path, bytes: u64) -> io::Result<()> {
    let mut copy = File::create(to)?;
    io::copy(&mut File::open(from)?.take(bytes), &mut copy)?;
    copy.sync_all()
}

fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_about_a_part_follows_from_what_is_there() {
        for (hidden, visible, expected) in [
            (None, Some(5), Ok(Step::Nothing)),
            (Some(5), None, Ok(Step::Rename)),
            (Some(9), None, Ok(Step::CutAndRename)),
            (Some(4), None, Err("only 4")),
            (None, None, Err("neither")),
            (None, Some(9), Err("later checkpoint")),
            (Some(5), Some(5), Err("not ours")),
        ] {
            let step = next_step(5, hidden, visible);
            match expected {
                Ok(expected) => assert_eq!(step, Ok(expected), "{hidden:?} {visible:?}"),
                Err(expected) => assert!(step.as_ref().is_err_and(|e| e.contains(expected))),
            }
        }
    }

    #[test]
    fn entries_are_texts_that_come_back() {
        let part = StagedPart { partition: "d=1".to_owned(), name: "part-x".to_owned(), bytes: 7 };
        for entry in [
            Entry::Completed(part.clone()),
            Entry::Open(part),
            Entry::Partition("d=ä\"\n".to_owned()),
        ] {
            assert_eq!(Entry::parse(&entry.text().unwrap()).unwrap(), entry);
        }
        let open = Entry::parse(r#"{"open":{"partition":"","name":"part-x","bytes":7}}"#).unwrap();
        assert!(matches!(open, Entry::Open(_)), "kept on disks: not to be renamed");
        assert!(Entry::parse("{}").unwrap_err().to_string().contains("staged: {}"));
    }
}
