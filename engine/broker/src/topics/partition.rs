//! [`Partition`]: a log behind a lock, and those who wait for it to grow.
//!
//! Checksums are computed before the lock is taken and batches are sent after it was released:
//! what happens under it is a look at the producers, one write, and a look at the index.

use crate::log::batch::{BatchError, Header, Outcome, ProducerEpoch, split_sent};
use crate::log::partition_log::{
    AppendRules, Bounds, Isolation, Oversized, PartitionLog, Read, ReadError, Retention, Sealed,
};
use crate::log::producers::{SequenceError, Verdict};
use crate::log::records::Timed;
use crate::log::recovery;
use crate::topics::config::TopicConfig;
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use thiserror::Error;
use tokio::sync::Notify;

/// Why a client's batches were not taken.
#[derive(Debug, Error)]
pub(crate) enum AppendError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("a batch of {bytes} bytes; the topic takes {max_bytes}")]
    TooLarge { bytes: usize, max_bytes: usize },
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error("the log can't be written: {0}")]
    Io(#[from] io::Error),
}

/// Where a client's batches are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// Set where it is this broker's time that counts.
    pub(crate) append_time_ms: Option<i64>,
    pub(crate) start_offset: i64,
}

/// One partition of a topic.
#[derive(Debug)]
pub(crate) struct Partition {
    log: Mutex<PartitionLog>,
    waiting: Mutex<Vec<Weak<Notify>>>,
    /// Everything before this offset has been brought to the disk.
    flushed: Mutex<i64>,
}

impl Partition {
    pub(crate) fn open(directory: &Path, now_ms: i64) -> io::Result<Partition> {
        let log = recovery::open(directory, now_ms)?;
        Ok(Partition { log: Mutex::new(log), waiting: Mutex::default(), flushed: Mutex::new(0) })
    }

    /// Appends what a client sent, all of it or, from the first batch that is refused, the rest
    /// not.
    pub(crate) fn append(
        &self,
        records: Bytes,
        config: &TopicConfig,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let batches = split_sent(records)?;
        let max_bytes = config.max_message_bytes();
        if let Some((header, _)) = batches.iter().find(|(h, _)| h.total_bytes > max_bytes) {
            return Err(AppendError::TooLarge { bytes: header.total_bytes, max_bytes });
        }
        let result = append_all(&mut self.log(), &batches, config.append_rules(), now_ms);
        self.wake();
        result
    }

    /// Ends a producer's transaction here, whether or not it has records here.
    pub(crate) fn end_transaction(
        &self,
        producer: ProducerEpoch,
        outcome: Outcome,
        rules: AppendRules,
        now_ms: i64,
    ) -> io::Result<()> {
        let result = self.log().end_transaction(producer, outcome, rules, now_ms);
        self.wake();
        result
    }

    /// Lets a producer's transactional batches in, until its transaction ends.
    pub(crate) fn enrol(&self, producer: ProducerEpoch, now_ms: i64) {
        self.log().producers_mut().enrol(producer, now_ms);
    }

    /// Producers with records here that are not decided.
    pub(crate) fn open_transactions(&self) -> Vec<ProducerEpoch> {
        self.log().producers().open()
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.log().bounds()
    }

    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        isolation: Isolation,
        oversized: Oversized,
    ) -> Result<(Read, Bounds), ReadError> {
        let log = self.log();
        Ok((log.read(offset, max_bytes, isolation, oversized)?, log.bounds()))
    }

    pub(crate) fn find_time(
        &self,
        timestamp_ms: i64,
        isolation: Isolation,
    ) -> io::Result<Option<Timed>> {
        self.log().find_time(timestamp_ms, isolation)
    }

    pub(crate) fn find_latest_time(&self, isolation: Isolation) -> io::Result<Option<Timed>> {
        self.log().find_latest_time(isolation)
    }

    pub(crate) fn delete_before(&self, offset: i64) -> io::Result<i64> {
        let mut log = self.log();
        log.delete_before(offset)?;
        Ok(log.bounds().start)
    }

    /// Brings everything that was appended before now to the disk. Those who come while another
    /// does it find it done.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let wanted = self.bounds().end;
        let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        if *flushed >= wanted {
            return Ok(());
        }
        let (end, file, due) = {
            let mut log = self.log();
            (log.bounds().end, log.active_file(), log.take_due())
        };
        due.iter().try_for_each(Sealed::write)?;
        file.sync_data()?;
        *flushed = end;
        Ok(())
    }

    /// Deletes what retention lets go.
    pub(crate) fn apply_retention(&self, retention: Retention, now_ms: i64) -> io::Result<()> {
        self.log().apply_retention(retention, now_ms)
    }

    /// Forgets producers that were last seen before a time.
    pub(crate) fn forget_producers(&self, before_ms: i64) {
        self.log().producers_mut().expire(before_ms);
    }

    /// Writes the summaries that are due. That takes as long as the disk: the log is free
    /// meanwhile, but a flush waits, for it counts on full segments being on the disk.
    pub(crate) fn write_summaries(&self) -> io::Result<()> {
        let _flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.log().take_due();
        due.iter().try_for_each(Sealed::write)
    }

    /// Leaves a summary of everything, so that the next start reads nothing else.
    pub(crate) fn close(&self) -> io::Result<()> {
        let (due, last) = {
            let mut log = self.log();
            (log.take_due(), log.checkpoint())
        };
        due.iter().chain([&last]).try_for_each(Sealed::write)
    }

    /// Has a reader told, once, of the next change. It is told of nothing after it was dropped.
    pub(crate) fn notify_on_change(&self, reader: &Arc<Notify>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|reader| reader.strong_count() > 0);
        waiting.push(Arc::downgrade(reader));
    }

    fn wake(&self) {
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        for reader in waiting.iter().filter_map(Weak::upgrade) {
            reader.notify_one();
        }
    }

    fn log(&self) -> MutexGuard<'_, PartitionLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append_all(
    log: &mut PartitionLog,
    batches: &[(Header, Bytes)],
    rules: AppendRules,
    now_ms: i64,
) -> Result<Appended, AppendError> {
    let mut first = None;
    for (header, batch) in batches {
        let (base_offset, timestamp_ms) = match log.producers().judge(header)? {
            Verdict::Append => (log.append(header, batch, rules, now_ms)?, now_ms),
            Verdict::Duplicate(written) => (written.base_offset, written.timestamp_ms),
        };
        first.get_or_insert((base_offset, timestamp_ms));
    }
    let (base_offset, timestamp_ms) = first.expect("at least one batch");
    let append_time_ms = rules.is_append_time().then_some(timestamp_ms);
    Ok(Appended { base_offset, append_time_ms, start_offset: log.bounds().start })
}
