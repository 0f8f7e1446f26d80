//! A segment's summary: what would have to be read from all of its batches otherwise.
//!
//! It describes a prefix of the segment's file: up to `size` bytes, the index, the aborted
//! transactions, and the state of all producers at that point. Batches are only ever appended, so a
//! summary stays true of its prefix. At a start the rest is read, and nothing but the rest. It is
//! written after the prefix has reached the disk, under another name, and renamed; with a wrong
//! checksum it counts as absent.

use super::index::{Entry, SparseIndex};
use super::producers::{Aborted, Producer, Producers, Written};
use super::segment::{Segment, path_of};
use crate::files::write_atomically;
use bytes::{Buf, BufMut, TryGetError};
use std::fs;
use std::io;
use std::path::Path;

const MAGIC: u32 = 0x7469_6401;
const EXTENSION: &str = "summary";

/// What is known of a prefix of a segment, and of the producers at its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) size: u32,
    pub(crate) next_offset: i64,
    pub(crate) max_timestamp_ms: i64,
    pub(crate) latest_ms: i64,
    pub(crate) index: SparseIndex,
    pub(crate) aborted: Vec<Aborted>,
    pub(crate) producers: Producers,
}

impl Summary {
    /// Of all that a segment holds.
    pub(crate) fn of(segment: &Segment, producers: &Producers) -> Summary {
        Summary {
            size: segment.size,
            next_offset: segment.next_offset,
            max_timestamp_ms: segment.max_timestamp_ms,
            latest_ms: segment.latest_ms,
            index: segment.index.clone(),
            aborted: segment.aborted.clone(),
            producers: producers.clone(),
        }
    }

    /// Takes the place of reading the prefix.
    pub(crate) fn restore(self, segment: &mut Segment) -> Producers {
        segment.size = self.size;
        segment.next_offset = self.next_offset;
        segment.max_timestamp_ms = self.max_timestamp_ms;
        segment.latest_ms = self.latest_ms;
        segment.index = self.index;
        segment.aborted = self.aborted;
        self.producers
    }

    /// Writes it beside its segment.
    pub(crate) fn write(&self, directory: &Path, base_offset: i64) -> io::Result<()> {
        let body = self.encode();
        let mut bytes = Vec::with_capacity(body.len() + 8);
        bytes.put_u32_le(MAGIC);
        bytes.put_u32_le(crc32c::crc32c(&body));
        bytes.extend_from_slice(&body);
        write_atomically(&path_of(directory, base_offset, EXTENSION), &bytes)
    }

    /// Reads the summary of a segment, if there is one that can be trusted.
    pub(crate) fn read(directory: &Path, base_offset: i64) -> Option<Summary> {
        let bytes = fs::read(path_of(directory, base_offset, EXTENSION)).ok()?;
        let (mut head, body) = bytes.split_at_checked(8)?;
        let is_ours = head.get_u32_le() == MAGIC && head.get_u32_le() == crc32c::crc32c(body);
        if is_ours { decode(body).ok() } else { None }
    }

    fn encode(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(64 + 16 * self.index.entries().len());
        to.put_u32_le(self.size);
        to.put_i64_le(self.next_offset);
        to.put_i64_le(self.max_timestamp_ms);
        to.put_i64_le(self.latest_ms);
        to.put_u32_le(self.index.entries().len() as u32);
        for entry in self.index.entries() {
            to.put_u32_le(entry.relative_offset);
            to.put_u32_le(entry.position);
            to.put_i64_le(entry.max_timestamp_before_ms);
        }
        to.put_u32_le(self.aborted.len() as u32);
        for aborted in &self.aborted {
            to.put_i64_le(aborted.producer_id);
            to.put_i64_le(aborted.first_offset);
            to.put_i64_le(aborted.last_offset);
        }
        to.put_u32_le(self.producers.iter().len() as u32);
        for (id, producer) in self.producers.iter() {
            encode_producer(&mut to, id, producer);
        }
        to
    }
}

fn encode_producer(to: &mut Vec<u8>, id: i64, producer: &Producer) {
    to.put_i64_le(id);
    to.put_i16_le(producer.epoch);
    to.put_i64_le(producer.last_seen_ms);
    to.put_i64_le(producer.open_since.unwrap_or(-1));
    to.put_u8(producer.written.len() as u8);
    for written in &producer.written {
        to.put_i32_le(written.first_sequence);
        to.put_i32_le(written.last_sequence);
        to.put_i64_le(written.base_offset);
        to.put_i64_le(written.timestamp_ms);
    }
}

fn decode(mut from: &[u8]) -> Result<Summary, TryGetError> {
    let from = &mut from;
    Ok(Summary {
        size: from.try_get_u32_le()?,
        next_offset: from.try_get_i64_le()?,
        max_timestamp_ms: from.try_get_i64_le()?,
        latest_ms: from.try_get_i64_le()?,
        index: SparseIndex::from_entries(many(from, |from| {
            Ok(Entry {
                relative_offset: from.try_get_u32_le()?,
                position: from.try_get_u32_le()?,
                max_timestamp_before_ms: from.try_get_i64_le()?,
            })
        })?),
        aborted: many(from, |from| {
            Ok(Aborted {
                producer_id: from.try_get_i64_le()?,
                first_offset: from.try_get_i64_le()?,
                last_offset: from.try_get_i64_le()?,
            })
        })?,
        producers: decode_producers(from)?,
    })
}

fn many<T>(
    from: &mut &[u8],
    mut one: impl FnMut(&mut &[u8]) -> Result<T, TryGetError>,
) -> Result<Vec<T>, TryGetError> {
    (0..from.try_get_u32_le()?).map(|_| one(from)).collect()
}

fn decode_producers(from: &mut &[u8]) -> Result<Producers, TryGetError> {
    let mut producers = Producers::default();
    for _ in 0..from.try_get_u32_le()? {
        let id = from.try_get_i64_le()?;
        let epoch = from.try_get_i16_le()?;
        let last_seen_ms = from.try_get_i64_le()?;
        let open_since = Some(from.try_get_i64_le()?).filter(|&offset| offset >= 0);
        let written = (0..from.try_get_u8()?).map(|_| {
            Ok(Written {
                first_sequence: from.try_get_i32_le()?,
                last_sequence: from.try_get_i32_le()?,
                base_offset: from.try_get_i64_le()?,
                timestamp_ms: from.try_get_i64_le()?,
            })
        });
        let written = written.collect::<Result<_, TryGetError>>()?;
        let enrolled = false;
        producers.insert(id, Producer { epoch, written, last_seen_ms, open_since, enrolled });
    }
    Ok(producers)
}
