//! From the files of a partition to its log again, whatever the process was doing when it ended.
//!
//! Each segment is taken from its summary as far as that goes; what lies behind is read batch by
//! batch, with checksums. Where a batch is torn, wrong or out of order the log ends: the rest is
//! cut off, for it was never acknowledged. Appends leave nothing else behind, since they go to the
//! end of the last file.

use super::batch::{HEADER_BYTES, Header, Kind, marked_outcome};
use super::partition_log::PartitionLog;
use super::producers::Producers;
use super::segment::Segment;
use super::summary::Summary;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

const READ_BYTES: usize = 1 << 20;

/// Opens a partition's log, or begins one.
pub(crate) fn open(directory: &Path, now_ms: i64) -> io::Result<PartitionLog> {
    fs::create_dir_all(directory)?;
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut producers = Producers::default();
    for base_offset in base_offsets(directory)? {
        let mut segment = Segment::open(directory, base_offset)?;
        if segments.back().is_some_and(|before| before.next_offset != base_offset) {
            tracing::warn!("{}: offsets end before {base_offset}; dropped", directory.display());
            segment.delete()?;
            continue;
        }
        recover(directory, &mut segment, &mut producers, now_ms)?;
        segments.push_back(segment);
    }
    if segments.is_empty() {
        segments.push_back(Segment::open(directory, 0)?);
    }
    Ok(PartitionLog::from_parts(directory, segments, producers))
}

fn base_offsets(directory: &Path) -> io::Result<Vec<i64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".log"));
        found.extend(stem.and_then(|stem| stem.parse::<i64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

fn recover(
    directory: &Path,
    segment: &mut Segment,
    producers: &mut Producers,
    now_ms: i64,
) -> io::Result<()> {
    let file_bytes = segment.file.metadata()?.len();
    let summary = Summary::read(directory, segment.base_offset);
    if let Some(summary) = summary.filter(|s| u64::from(s.size) <= file_bytes) {
        *producers = summary.restore(segment);
    }
    if u64::from(segment.size) < file_bytes {
        read_rest(segment, producers, file_bytes, now_ms)?;
    }
    let torn_bytes = segment.cut_tail()?;
    if torn_bytes > 0 {
        let end = segment.next_offset;
        tracing::info!("{}: {torn_bytes} bytes cut at offset {end}", directory.display());
    }
    Ok(())
}

/// Reads on from the segment's size, until the file or what is whole in it ends.
fn read_rest(
    segment: &mut Segment,
    producers: &mut Producers,
    file_bytes: u64,
    now_ms: i64,
) -> io::Result<()> {
    let file = std::sync::Arc::clone(&segment.file);
    let mut reader = BufReader::with_capacity(READ_BYTES, &*file);
    reader.seek(SeekFrom::Start(u64::from(segment.size)))?;
    let mut batch = Vec::new();
    while let Some(header) = next(&mut reader, file_bytes - u64::from(segment.size), &mut batch)? {
        if header.base_offset != segment.next_offset || !header.has_checksum_of(&batch) {
            break;
        }
        segment.note(&header, header.max_timestamp_ms);
        match (header.kind(), header.producer(), marked_outcome(&batch)) {
            (Kind::Control, Some(producer), Some(outcome)) => {
                let ended = producers.end(producer, outcome, header.base_offset, now_ms);
                segment.aborted.extend(ended);
            }
            (Kind::Control, ..) => {}
            _ => producers.note(&header, header.base_offset, header.max_timestamp_ms, now_ms),
        }
    }
    Ok(())
}

/// Reads the next batch into `batch`, if it is whole.
fn next(reader: &mut impl Read, left: u64, batch: &mut Vec<u8>) -> io::Result<Option<Header>> {
    if left < HEADER_BYTES as u64 {
        return Ok(None);
    }
    batch.resize(HEADER_BYTES, 0);
    reader.read_exact(batch)?;
    let Ok(header) = Header::read(batch) else { return Ok(None) };
    if header.total_bytes as u64 > left {
        return Ok(None);
    }
    batch.resize(header.total_bytes, 0);
    reader.read_exact(&mut batch[HEADER_BYTES..])?;
    Ok(Some(header))
}
