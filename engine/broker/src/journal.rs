//! [`Journal`]: a file of entries that are each there whole or not at all.
//!
//! An entry is a line: the checksum of its JSON, a space, the JSON. Entries are only appended, so
//! after a crash at most the last line is torn; it fails its checksum and is cut off, as is
//! whatever stands behind it. What the entries add up to can be written anew under another name and
//! renamed, which keeps the file small.

use crate::files::sync_directory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// When what was written is brought to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// When the operating system does it: a process that is killed loses nothing, a machine that
    /// loses power may lose the last seconds. As Apache Kafka has it.
    #[default]
    Lazy,
    /// Before anything is acknowledged.
    Always,
}

/// A file of entries.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// How long it was when it was last written anew.
    bytes_anew: u64,
    flush: Flush,
}

impl Journal {
    /// Opens a journal, or begins one, and gives what stands in it.
    pub(crate) fn open<T: DeserializeOwned>(
        path: &Path,
        flush: Flush,
    ) -> io::Result<(Journal, Vec<T>)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let contents = fs::read(path)?;
        let (entries, bytes) = decode(&contents)?;
        if bytes < contents.len() {
            tracing::info!("{}: {} bytes cut", path.display(), contents.len() - bytes);
            file.set_len(bytes as u64)?;
        }
        let bytes = bytes as u64;
        Ok((Journal { path: path.to_owned(), file, bytes, bytes_anew: bytes, flush }, entries))
    }

    /// Appends an entry. On an error it is as if nothing had been written.
    pub(crate) fn append(&mut self, entry: &impl Serialize) -> io::Result<()> {
        let mut line = Vec::with_capacity(256);
        encode(entry, &mut line)?;
        let written = self.file.write_all_at(&line, self.bytes).and_then(|()| match self.flush {
            Flush::Lazy => Ok(()),
            Flush::Always => self.file.sync_data(),
        });
        if let Err(error) = written {
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Whether it has grown so much that writing it anew is worth its while.
    pub(crate) fn has_grown(&self) -> bool {
        const SLACK_BYTES: u64 = 4 << 20;
        self.bytes > 2 * self.bytes_anew + SLACK_BYTES
    }

    /// Puts other entries in the place of all that stand in it.
    pub(crate) fn rewrite<T: Serialize>(
        &mut self,
        entries: impl Iterator<Item = T>,
    ) -> io::Result<()> {
        let mut contents = Vec::new();
        for entry in entries {
            encode(&entry, &mut contents)?;
        }
        let aside = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).open(&aside)?;
        file.write_all(&contents)?;
        file.sync_data()?;
        fs::rename(&aside, &self.path)?;
        sync_directory(&self.path)?;
        self.file = file;
        self.bytes = contents.len() as u64;
        self.bytes_anew = self.bytes;
        Ok(())
    }
}

fn encode(entry: &impl Serialize, to: &mut Vec<u8>) -> io::Result<()> {
    let json = serde_json::to_vec(entry)?;
    write!(to, "{:08x} ", crc32c::crc32c(&json))?;
    to.extend_from_slice(&json);
    to.push(b'\n');
    Ok(())
}

/// The entries, and up to where they are whole.
fn decode<T: DeserializeOwned>(contents: &[u8]) -> io::Result<(Vec<T>, usize)> {
    let (mut entries, mut end) = (Vec::new(), 0);
    for line in contents.split_inclusive(|&byte| byte == b'\n') {
        let Some(json) = checked(line) else { break };
        // With its checksum right, an entry that can't be read is one of another version.
        entries.push(serde_json::from_slice(json)?);
        end += line.len();
    }
    Ok((entries, end))
}

fn checked(line: &[u8]) -> Option<&[u8]> {
    let (checksum, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let checksum = std::str::from_utf8(checksum).ok()?.strip_suffix(' ')?;
    let is_right = u32::from_str_radix(checksum, 16) == Ok(crc32c::crc32c(json));
    is_right.then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_journal_cut_anywhere_gives_its_whole_entries_and_goes_on() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, _) = Journal::open::<String>(&path, Flush::Lazy).unwrap();
        for entry in ["one", "two\n2", "three"] {
            journal.append(&entry).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        for end in 0..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let (mut journal, entries) = Journal::open::<String>(&path, Flush::Lazy).unwrap();
            let expected = whole[..end].iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(entries.len(), expected, "cut at {end}");
            journal.append(&"last").unwrap();
            let (_, entries) = Journal::open::<String>(&path, Flush::Lazy).unwrap();
            assert_eq!((entries.len(), entries[expected].as_str()), (expected + 1, "last"));
        }
    }

    #[test]
    fn a_journal_written_anew_holds_the_new_entries_and_takes_more() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, _) = Journal::open::<u64>(&path, Flush::Always).unwrap();
        (0..100).for_each(|entry: u64| journal.append(&entry).unwrap());
        journal.rewrite([7, 8].iter()).unwrap();
        journal.append(&9).unwrap();
        assert_eq!(Journal::open::<u64>(&path, Flush::Lazy).unwrap().1, [7, 8, 9]);
    }
}
