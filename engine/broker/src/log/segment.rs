//! [`Segment`]: one file of a partition's log, with its index.
//!
//! `size` is where the next batch goes. Everything before it is whole batches in offset order;
//! whatever may lie behind it, after a write that failed or a crash, is not part of the log and is
//! cut off before the next append. Readers hold the file, and read only before a `size` that they
//! were told, so neither appends nor deletion disturb them.

use super::batch::{HEADER_BYTES, Header, Kind};
use super::index::{Entry, SparseIndex};
use super::producers::Aborted;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A part of a segment's file.
#[derive(Clone, Debug)]
pub(crate) struct FileSlice {
    pub(crate) file: Arc<File>,
    pub(crate) position: u64,
    pub(crate) bytes: usize,
}

impl FileSlice {
    /// Reads all of it into memory.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes];
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes)
    }
}

/// A file of batches.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) size: u32,
    /// Of all records.
    pub(crate) max_timestamp_ms: i64,
    /// Of all records and markers: what retention goes by.
    pub(crate) latest_ms: i64,
    pub(crate) index: SparseIndex,
    /// Transactions whose abort marker is in this segment.
    pub(crate) aborted: Vec<Aborted>,
    pub(crate) file: Arc<File>,
    path: PathBuf,
}

/// The path of a file that belongs to the segment with this base offset.
pub(crate) fn path_of(directory: &Path, base_offset: i64, extension: &str) -> PathBuf {
    directory.join(format!("{base_offset:020}.{extension}"))
}

impl Segment {
    /// Opens the segment's file, or makes an empty one.
    pub(crate) fn open(directory: &Path, base_offset: i64) -> io::Result<Segment> {
        let path = path_of(directory, base_offset, "log");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        Ok(Segment {
            base_offset,
            next_offset: base_offset,
            size: 0,
            max_timestamp_ms: i64::MIN,
            latest_ms: i64::MIN,
            index: SparseIndex::default(),
            aborted: Vec::new(),
            file: Arc::new(file),
            path,
        })
    }

    /// Writes a batch behind the others. On an error the segment is as before.
    pub(crate) fn append(
        &mut self,
        header: &[u8; HEADER_BYTES],
        records: &[u8],
        parsed: &Header,
        max_timestamp_ms: i64,
    ) -> io::Result<()> {
        if let Err(error) = write_all_at(&self.file, header, records, u64::from(self.size)) {
            // What was written of it lies behind `size`, where the next append overwrites it; cut
            // it off all the same, so that a crash finds no half of a batch.
            let _ = self.file.set_len(u64::from(self.size));
            return Err(error);
        }
        let base_offset = i64::from_be_bytes(header[..8].try_into().expect("8 bytes"));
        self.note(&parsed.at(base_offset), max_timestamp_ms);
        Ok(())
    }

    /// Notes a batch that is in the file at `size`.
    pub(crate) fn note(&mut self, header: &Header, max_timestamp_ms: i64) {
        debug_assert!(header.base_offset >= self.next_offset);
        self.index.offer(Entry {
            relative_offset: (header.base_offset - self.base_offset) as u32,
            position: self.size,
            max_timestamp_before_ms: self.max_timestamp_ms,
        });
        self.size += header.total_bytes as u32;
        self.next_offset = header.next_offset();
        self.latest_ms = self.latest_ms.max(max_timestamp_ms);
        if header.kind() != Kind::Control {
            self.max_timestamp_ms = self.max_timestamp_ms.max(max_timestamp_ms);
        }
    }

    /// The first batch whose header satisfies `is_sought`, at or after a position that the index
    /// gave.
    pub(crate) fn find(
        &self,
        from: u32,
        is_sought: impl Fn(&Header) -> bool,
    ) -> io::Result<Option<(u32, Header)>> {
        let mut position = from;
        while position < self.size {
            let header = self.header_at(position)?;
            if is_sought(&header) {
                return Ok(Some((position, header)));
            }
            position += header.total_bytes as u32;
        }
        Ok(None)
    }

    /// The place of the batch that holds an offset, or of the first one after it.
    pub(crate) fn position_of(&self, offset: i64) -> io::Result<u32> {
        if offset >= self.next_offset {
            return Ok(self.size);
        }
        let relative_offset = (offset - self.base_offset).max(0) as u32;
        let from = self.index.position_for_offset(relative_offset);
        let found = self.find(from, |header| header.next_offset() > offset)?;
        Ok(found.map_or(self.size, |(position, _)| position))
    }

    pub(crate) fn header_at(&self, position: u32) -> io::Result<Header> {
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, u64::from(position))?;
        Header::read(&bytes).map_err(io::Error::other)
    }

    pub(crate) fn slice(&self, position: u32, bytes: usize) -> FileSlice {
        FileSlice { file: Arc::clone(&self.file), position: u64::from(position), bytes }
    }

    /// Cuts off what lies behind the last whole batch. Returns how much that was.
    pub(crate) fn cut_tail(&self) -> io::Result<u64> {
        let tail = self.file.metadata()?.len().saturating_sub(u64::from(self.size));
        if tail > 0 {
            self.file.set_len(u64::from(self.size))?;
        }
        Ok(tail)
    }

    /// Deletes the file and what belongs to it. Those who are reading it read on.
    pub(crate) fn delete(self) -> io::Result<()> {
        let _ = fs::remove_file(self.path.with_extension("summary"));
        fs::remove_file(&self.path)
    }
}

fn write_all_at(file: &File, header: &[u8], records: &[u8], position: u64) -> io::Result<()> {
    let slices = [IoSlice::new(header), IoSlice::new(records)];
    let written = loop {
        match rustix::io::pwritev(file, &slices, position) {
            Ok(written) => break written,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    // The rest, if the call fell short, without a second vectored one.
    let rest = written.max(header.len()) - header.len();
    if written < header.len() {
        file.write_all_at(&header[written..], position + written as u64)?;
    }
    file.write_all_at(&records[rest..], position + (header.len() + rest) as u64)
}
