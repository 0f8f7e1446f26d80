//! [`PartitionLog`]: the segments of one partition, as one log.
//!
//! Offsets are without gaps: a batch begins where the one before it ended. What may be read ends
//! at the log's end or, for readers of committed records, at the **last stable offset**: the first
//! offset whose transaction is undecided.

use super::batch::{HEADER_BYTES, Header, Kind, Outcome, ProducerEpoch, marker};
use super::producers::{Aborted, Producers};
use super::records::{self, Timed};
use super::segment::{FileSlice, Segment};
use super::summary::Summary;
use crate::files::write_atomically;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

const START_FILE: &str = "start-offset";

/// A start after a crash reads at most about this much of a segment that is being written.
const UNSUMMARISED_BYTES_MAX: u32 = 8 << 20;

/// Which records a reader wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// Whether a read may come back empty because the next batch is larger than it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oversized {
    Refused,
    /// The first batch comes whole, whatever its size: else its reader would never get past it.
    Given,
}

/// How a topic wants its batches appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendRules {
    pub(crate) segment_bytes: u32,
    pub(crate) timestamps: Timestamps,
}

impl AppendRules {
    pub(crate) fn is_append_time(&self) -> bool {
        self.timestamps == Timestamps::Appended
    }
}

/// Whose clock a topic's timestamps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timestamps {
    Created,
    Appended,
}

/// How long a topic keeps what it has; `None` is for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) time_ms: Option<i64>,
    pub(crate) bytes: Option<u64>,
}

/// The offsets that clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: i64,
    pub(crate) last_stable: i64,
    pub(crate) end: i64,
}

impl Bounds {
    /// Where reading ends.
    pub(crate) fn readable_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.end,
            Isolation::ReadCommitted => self.last_stable,
        }
    }
}

/// What a read found.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Whole batches, the first of which holds the offset that was asked for.
    pub(crate) batches: Option<FileSlice>,
    pub(crate) aborted: Vec<Aborted>,
}

/// Why a read failed.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("offset {offset} is not between {} and {}", bounds.start, bounds.end)]
    OutOfRange { offset: i64, bounds: Bounds },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A segment, or what there is of it, whose summary is to be written.
#[derive(Debug)]
pub(crate) struct Sealed {
    directory: PathBuf,
    base_offset: i64,
    file: Arc<File>,
    summary: Summary,
}

impl Sealed {
    /// Brings the segment to the disk, and then its summary.
    pub(crate) fn write(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.summary.write(&self.directory, self.base_offset)
    }
}

/// A partition's log.
#[derive(Debug)]
pub(crate) struct PartitionLog {
    directory: PathBuf,
    /// By base offset; the last one takes the appends. Never empty.
    segments: VecDeque<Segment>,
    producers: Producers,
    start_offset: i64,
    sealed: Vec<Sealed>,
    /// How much of the active segment its last summary covers.
    summarised_bytes: u32,
}

impl PartitionLog {
    /// What recovery has found.
    pub(super) fn from_parts(
        directory: &Path,
        segments: VecDeque<Segment>,
        producers: Producers,
    ) -> PartitionLog {
        let first = segments.front().expect("a log has a segment").base_offset;
        let recorded = std::fs::read_to_string(directory.join(START_FILE)).ok();
        let recorded = recorded.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let end = segments.back().expect("a log has a segment").next_offset;
        PartitionLog {
            directory: directory.to_owned(),
            segments,
            producers,
            start_offset: first.max(recorded).min(end),
            sealed: Vec::new(),
            summarised_bytes: 0,
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let end = self.active().next_offset;
        let last_stable = self.producers.first_open_offset().unwrap_or(end);
        Bounds { start: self.start_offset, last_stable, end }
    }

    pub(crate) fn producers(&self) -> &Producers {
        &self.producers
    }

    pub(crate) fn producers_mut(&mut self) -> &mut Producers {
        &mut self.producers
    }

    /// The file that appends go to.
    pub(crate) fn active_file(&self) -> Arc<File> {
        Arc::clone(&self.active().file)
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.size)).sum()
    }

    /// Appends a batch that the producers' state has let pass. Returns its base offset.
    pub(crate) fn append(
        &mut self,
        header: &Header,
        sent: &[u8],
        rules: AppendRules,
        now_ms: i64,
    ) -> io::Result<i64> {
        self.make_room(header, rules.segment_bytes)?;
        let append_time_ms = rules.is_append_time().then_some(now_ms);
        let timestamp_ms = append_time_ms.unwrap_or(header.max_timestamp_ms);
        let base_offset = self.active().next_offset;
        let assigned = header.assigned(sent, base_offset, append_time_ms);
        let records = &sent[HEADER_BYTES..];
        self.active_mut().append(&assigned, records, header, timestamp_ms)?;
        if header.kind() != Kind::Control {
            self.producers.note(header, base_offset, timestamp_ms, now_ms);
        }
        Ok(base_offset)
    }

    /// Ends a producer's transaction here. Where it isn't part of one nothing is written, which
    /// makes it safe to repeat.
    pub(crate) fn end_transaction(
        &mut self,
        producer: ProducerEpoch,
        outcome: Outcome,
        rules: AppendRules,
        now_ms: i64,
    ) -> io::Result<()> {
        if !self.producers.is_in_transaction(producer.id) {
            return Ok(());
        }
        let batch = marker(producer, outcome, now_ms);
        let header = Header::read(&batch).expect("a marker is a batch");
        let rules = AppendRules { timestamps: Timestamps::Created, ..rules };
        let offset = self.append(&header, &batch, rules, now_ms)?;
        let aborted = self.producers.end(producer, outcome, offset, now_ms);
        self.active_mut().aborted.extend(aborted);
        Ok(())
    }

    /// Begins a new segment if the batch doesn't fit in the active one.
    fn make_room(&mut self, header: &Header, segment_bytes: u32) -> io::Result<()> {
        let active = self.active();
        let is_full = active.size as usize + header.total_bytes > segment_bytes as usize;
        let offsets = header.next_offset() - header.base_offset + active.next_offset;
        let is_out_of_offsets = offsets - active.base_offset > i64::from(u32::MAX);
        if active.size > 0 && (is_full || is_out_of_offsets) { self.roll() } else { Ok(()) }
    }

    fn roll(&mut self) -> io::Result<()> {
        let next = Segment::open(&self.directory, self.active().next_offset)?;
        // Left by a process that was killed right here, or by a write that failed: not of the log.
        next.cut_tail()?;
        let summary = Summary::of(self.active(), &self.producers);
        self.sealed.push(Sealed {
            directory: self.directory.clone(),
            base_offset: self.active().base_offset,
            file: self.active_file(),
            summary,
        });
        self.segments.push_back(next);
        self.summarised_bytes = 0;
        Ok(())
    }

    /// Summaries that are to be written, each told once: those of full segments, and that of the
    /// active one if it has grown much.
    pub(crate) fn take_due(&mut self) -> Vec<Sealed> {
        let mut due = std::mem::take(&mut self.sealed);
        if self.active().size - self.summarised_bytes >= UNSUMMARISED_BYTES_MAX {
            self.summarised_bytes = self.active().size;
            due.push(self.checkpoint());
        }
        due
    }

    /// The summary of the active segment as it is now: with it, the next start reads nothing.
    pub(crate) fn checkpoint(&self) -> Sealed {
        Sealed {
            directory: self.directory.clone(),
            base_offset: self.active().base_offset,
            file: self.active_file(),
            summary: Summary::of(self.active(), &self.producers),
        }
    }

    /// Finds batches from an offset on.
    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        isolation: Isolation,
        oversized: Oversized,
    ) -> Result<Read, ReadError> {
        let bounds = self.bounds();
        if offset < bounds.start || offset > bounds.end {
            return Err(ReadError::OutOfRange { offset, bounds });
        }
        let end = bounds.readable_end(isolation);
        if offset >= end {
            return Ok(Read::default());
        }
        let segment = self.segment_of(offset);
        let from = segment.position_of(offset)?;
        let until = segment.position_of(end)?;
        let Some(bytes) = whole_batches(segment, from, until, max_bytes, oversized)? else {
            return Ok(Read::default());
        };
        let aborted = match isolation {
            Isolation::ReadUncommitted => Vec::new(),
            Isolation::ReadCommitted => {
                let known = segment.index.offset_at_or_after(from + bytes as u32);
                let upper = known.map_or(end, |known| segment.base_offset + i64::from(known));
                self.aborted(offset, upper.min(end))
            }
        };
        Ok(Read { batches: Some(segment.slice(from, bytes)), aborted })
    }

    /// Aborted transactions that touch a range of offsets.
    fn aborted(&self, from: i64, until: i64) -> Vec<Aborted> {
        let touching = self.segments.iter().filter(|segment| segment.next_offset > from);
        let aborted = touching.flat_map(|segment| &segment.aborted);
        aborted.filter(|a| a.last_offset >= from && a.first_offset < until).copied().collect()
    }

    /// The first record at or after a time.
    pub(crate) fn find_time(
        &self,
        timestamp_ms: i64,
        isolation: Isolation,
    ) -> io::Result<Option<Timed>> {
        let bounds = self.bounds();
        let end = bounds.readable_end(isolation);
        let candidates = self.segments.iter().filter(|s| s.max_timestamp_ms >= timestamp_ms);
        for segment in candidates.filter(|segment| segment.next_offset > bounds.start) {
            let from = segment.index.position_for_time(timestamp_ms);
            let reaches = |header: &Header| {
                header.kind() != Kind::Control
                    && header.max_timestamp_ms >= timestamp_ms
                    && header.next_offset() > bounds.start
            };
            let Some((position, header)) = segment.find(from, reaches)? else { continue };
            let batch = segment.slice(position, header.total_bytes).read()?;
            let is_sought = |t: &Timed| t.timestamp_ms >= timestamp_ms && t.offset >= bounds.start;
            let found = records::first(&header, &batch, is_sought)?;
            return Ok(found.filter(|timed| timed.offset < end));
        }
        Ok(None)
    }

    /// The record with the greatest timestamp, the first one of several.
    pub(crate) fn find_latest_time(&self, isolation: Isolation) -> io::Result<Option<Timed>> {
        let greatest = self.segments.iter().map(|segment| segment.max_timestamp_ms).max();
        self.find_time(greatest.unwrap_or(i64::MAX), isolation)
    }

    /// Deletes whole segments that retention lets go. Those with undecided records stay.
    pub(crate) fn apply_retention(&mut self, retention: Retention, now_ms: i64) -> io::Result<()> {
        let expired = |segment: &Segment| {
            let oldest_ms = retention.time_ms.map_or(i64::MIN, |time_ms| now_ms - time_ms);
            segment.size > 0 && segment.latest_ms < oldest_ms
        };
        if self.segments.iter().all(expired) {
            self.roll()?;
        }
        let mut total = self.total_bytes();
        let last_stable = self.bounds().last_stable;
        while self.segments.len() > 1 {
            let first = &self.segments[0];
            let rest = total - u64::from(first.size);
            let is_beyond = retention.bytes.is_some_and(|bytes| rest >= bytes);
            if first.next_offset > last_stable || !(is_beyond || expired(first)) {
                break;
            }
            total = rest;
            self.delete_first()?;
        }
        Ok(())
    }

    /// Makes an offset the first one; segments before it are deleted.
    pub(crate) fn delete_before(&mut self, offset: i64) -> io::Result<()> {
        if offset <= self.start_offset {
            return Ok(());
        }
        write_atomically(&self.directory.join(START_FILE), offset.to_string().as_bytes())?;
        self.start_offset = offset;
        while self.segments.len() > 1 && self.segments[0].next_offset <= offset {
            self.delete_first()?;
        }
        Ok(())
    }

    fn delete_first(&mut self) -> io::Result<()> {
        if self.segments.len() == 2 {
            // The state of the producers must not go with the last summary that has it.
            self.checkpoint().write()?;
        }
        let first = self.segments.pop_front().expect("more than one segment");
        self.sealed.retain(|sealed| sealed.base_offset != first.base_offset);
        self.start_offset = self.start_offset.max(first.next_offset);
        first.delete()
    }

    /// The segment that an offset of the log is in, or would be.
    fn segment_of(&self, offset: i64) -> &Segment {
        let after = self.segments.partition_point(|segment| segment.base_offset <= offset);
        &self.segments[after.max(1) - 1]
    }

    fn active(&self) -> &Segment {
        self.segments.back().expect("a log has a segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.back_mut().expect("a log has a segment")
    }
}

/// How many bytes of `from..until` to hand out: whole batches, of at most `max_bytes` together but
/// for an oversized first one. `None` if that leaves nothing.
fn whole_batches(
    segment: &Segment,
    from: u32,
    until: u32,
    max_bytes: usize,
    oversized: Oversized,
) -> io::Result<Option<usize>> {
    let available = (until - from) as usize;
    if available <= max_bytes {
        return Ok((available > 0).then_some(available));
    }
    let limit = from + max_bytes as u32;
    if let Some(start) = segment.index.last_start(from, limit) {
        return Ok(Some((start - from) as usize));
    }
    let first = segment.header_at(from)?.total_bytes;
    Ok((first <= max_bytes || oversized == Oversized::Given).then_some(first))
}
