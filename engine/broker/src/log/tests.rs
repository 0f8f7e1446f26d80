//! The log against its files: cut, restarted, searched, aged.

use super::batch::tests::{sent, values};
use super::batch::{Header, Kind, Outcome, ProducerEpoch};
use super::partition_log::*;
use super::recovery;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NOW_MS: i64 = 1_000_000;
const RULES: AppendRules = AppendRules { segment_bytes: 4096, timestamps: Timestamps::Created };
const WRITER: ProducerEpoch = ProducerEpoch { id: 4, epoch: 0 };

fn open(directory: &TempDir) -> PartitionLog {
    recovery::open(directory.path(), NOW_MS).unwrap()
}

fn append(log: &mut PartitionLog, values: &[u64]) -> i64 {
    append_as(log, None, Kind::Plain, values)
}

fn append_as(
    log: &mut PartitionLog,
    producer: Option<(ProducerEpoch, i32)>,
    kind: Kind,
    values: &[u64],
) -> i64 {
    let batch = sent(producer, kind, values);
    let header = Header::read(&batch).unwrap();
    log.append(&header, &batch, RULES, NOW_MS).unwrap()
}

/// All values that a reader sees who starts at the beginning, with those of aborted transactions.
fn read_all(log: &PartitionLog, isolation: Isolation, max_bytes: usize) -> Vec<u64> {
    let (mut seen, mut offset) = (Vec::new(), log.bounds().start);
    while let Some(batches) =
        log.read(offset, max_bytes, isolation, Oversized::Given).unwrap().batches
    {
        let mut bytes = batches.read().unwrap();
        while !bytes.is_empty() {
            let header = Header::read(&bytes).unwrap();
            assert_eq!(header.base_offset, offset, "no gap and nothing twice");
            offset = header.next_offset();
            let rest = bytes.split_off(header.total_bytes);
            if header.kind() != Kind::Control {
                seen.extend(values(&bytes));
            }
            bytes = rest;
        }
    }
    seen
}

fn last_file(directory: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == extension)).max().unwrap()
}

#[test]
fn what_was_appended_is_read_in_reads_of_any_size() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let expected: Vec<u64> = (0..3000).collect();
    for batch in expected.chunks(30) {
        append(&mut log, batch);
    }
    for max_bytes in [1, 100, 600, 5_000, 1 << 20] {
        assert_eq!(read_all(&log, Isolation::ReadUncommitted, max_bytes), expected);
    }
}

#[test]
fn a_restart_finds_everything_with_and_without_summaries() {
    let directory = TempDir::new().unwrap();
    let expected: Vec<u64> = (0..2000).collect();
    let mut log = open(&directory);
    for batch in expected.chunks(10) {
        append(&mut log, batch);
    }
    drop(log);
    let log = open(&directory);
    assert_eq!(read_all(&log, Isolation::ReadUncommitted, 1 << 20), expected);
    log.checkpoint().write().unwrap();
    let mut log = open(&directory);
    append(&mut log, &[2000]);
    for sealed in log.take_due() {
        sealed.write().unwrap();
    }
    let log = open(&directory);
    assert_eq!(log.bounds().end, 2001);
    assert_eq!(read_all(&log, Isolation::ReadUncommitted, 1 << 20).len(), 2001);
}

#[test]
fn a_torn_tail_is_cut_wherever_it_is_torn() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    append(&mut log, &[1, 2]);
    append(&mut log, &[3]);
    drop(log);
    let path = last_file(directory.path(), "log");
    let whole = fs::read(&path).unwrap();
    let first = Header::read(&whole).unwrap().total_bytes;
    for end in first..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let mut log = open(&directory);
        assert_eq!(log.bounds().end, 2, "cut at {end}");
        append(&mut log, &[9]);
        assert_eq!(read_all(&log, Isolation::ReadUncommitted, 1 << 20), [1, 2, 9]);
    }
    let mut torn = whole.clone();
    let last = torn.len() - 1;
    torn[last] ^= 1;
    fs::write(&path, &torn).unwrap();
    assert_eq!(open(&directory).bounds().end, 2, "a changed byte");
}

#[test]
fn a_segment_that_is_being_written_is_summarised_as_it_grows() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let rules = AppendRules { segment_bytes: 1 << 30, ..RULES };
    let mut batch = sent(None, Kind::Plain, &[1]).to_vec();
    // As if it were a large one; nobody looks into it.
    batch.resize(1 << 20, 0);
    batch[8..12].copy_from_slice(&((1i32 << 20) - 12).to_be_bytes());
    let header = Header::read(&batch).unwrap();
    let mut summaries = Vec::new();
    for _ in 0..20 {
        log.append(&header, &batch, rules, NOW_MS).unwrap();
        summaries.push(log.take_due().len());
    }
    assert_eq!(summaries.iter().sum::<usize>(), 2, "{summaries:?}");
}

#[test]
fn a_summary_of_more_than_is_there_is_not_believed() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    append(&mut log, &[1]);
    append(&mut log, &[2]);
    log.checkpoint().write().unwrap();
    drop(log);
    let path = last_file(directory.path(), "log");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    assert_eq!(read_all(&open(&directory), Isolation::ReadUncommitted, 1 << 20), [1]);
    fs::write(last_file(directory.path(), "summary"), b"nonsense").unwrap();
    assert_eq!(read_all(&open(&directory), Isolation::ReadUncommitted, 1 << 20), [1]);
}

#[test]
fn producers_and_open_transactions_survive_a_restart() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    append(&mut log, &[0]);
    log.producers_mut().enrol(WRITER, NOW_MS);
    append_as(&mut log, Some((WRITER, 0)), Kind::Transactional, &[1, 2]);
    for _ in 0..2 {
        let before = log.producers().clone();
        log = open(&directory);
        assert_eq!(log.bounds(), Bounds { start: 0, last_stable: 1, end: 3 });
        assert_eq!(log.producers().open(), before.open());
        let batch = sent(Some((WRITER, 0)), Kind::Transactional, &[1, 2]);
        let verdict = log.producers().judge(&Header::read(&batch).unwrap());
        assert!(matches!(verdict, Ok(super::producers::Verdict::Duplicate(_))));
        log.checkpoint().write().unwrap();
    }
    log.end_transaction(WRITER, Outcome::Abort, RULES, NOW_MS).unwrap();
    let log = open(&directory);
    assert_eq!(log.bounds(), Bounds { start: 0, last_stable: 4, end: 4 });
    let read = log.read(1, 1 << 20, Isolation::ReadCommitted, Oversized::Given).unwrap();
    let aborted: Vec<_> = read.aborted.iter().map(|a| (a.producer_id, a.first_offset)).collect();
    assert_eq!(aborted, [(WRITER.id, 1)]);
}

#[test]
fn retention_by_size_and_by_time_deletes_whole_segments_and_nothing_undecided() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let by_bytes = |bytes| Retention { time_ms: None, bytes: Some(bytes) };
    for batch in (0..3000).collect::<Vec<_>>().chunks(10) {
        append(&mut log, batch);
    }
    let before = log.total_bytes();
    log.apply_retention(by_bytes(20_000), NOW_MS).unwrap();
    assert!(log.total_bytes() >= 20_000 && log.total_bytes() < 25_000, "of {before}");
    let start = log.bounds().start;
    assert!(start > 0);
    assert_eq!(read_all(&log, Isolation::ReadUncommitted, 1 << 20)[0], start as u64);
    assert!(matches!(
        log.read(0, 1, Isolation::ReadUncommitted, Oversized::Given),
        Err(ReadError::OutOfRange { .. })
    ));
    log.producers_mut().enrol(WRITER, NOW_MS);
    append_as(&mut log, Some((WRITER, 0)), Kind::Transactional, &[1]);
    let by_time = Retention { time_ms: Some(1), bytes: None };
    log.apply_retention(by_time, NOW_MS).unwrap();
    assert!(log.bounds().start <= log.bounds().last_stable);
    log.end_transaction(WRITER, Outcome::Commit, RULES, NOW_MS).unwrap();
    log.apply_retention(by_time, NOW_MS + 2).unwrap();
    let bounds = log.bounds();
    assert_eq!((bounds.start, log.total_bytes()), (bounds.end, 0));
    let log = open(&directory);
    assert_eq!(log.bounds(), bounds);
    assert_eq!(log.producers().iter().len(), 1, "producers outlive their records");
}

#[test]
fn records_before_an_offset_can_be_deleted_for_good() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    for batch in (0..2000).collect::<Vec<_>>().chunks(10) {
        append(&mut log, batch);
    }
    log.delete_before(1234).unwrap();
    assert_eq!(log.bounds().start, 1234);
    assert_eq!(open(&directory).bounds().start, 1234);
}

#[test]
fn a_time_is_found_in_its_batch() {
    let directory = TempDir::new().unwrap();
    let mut log = open(&directory);
    let rules = AppendRules { timestamps: Timestamps::Appended, ..RULES };
    for time in 0..300 {
        let batch = sent(None, Kind::Plain, &[1, 2, 3]);
        log.append(&Header::read(&batch).unwrap(), &batch, rules, 10 * time).unwrap();
    }
    let offset = |time, log: &PartitionLog| {
        log.find_time(time, Isolation::ReadCommitted).unwrap().map(|timed| timed.offset)
    };
    for log in [log, open(&directory)] {
        assert_eq!(offset(0, &log), Some(0));
        assert_eq!(offset(11, &log), Some(6));
        assert_eq!(offset(2_990, &log), Some(897));
        assert_eq!(offset(2_991, &log), None);
        let latest = log.find_latest_time(Isolation::ReadCommitted).unwrap().unwrap();
        assert_eq!((latest.offset, latest.timestamp_ms), (897, 2_990));
    }
}
