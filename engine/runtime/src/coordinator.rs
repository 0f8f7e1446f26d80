//! [`Coordinator`]: the one clock of ingest epochs, and the one place of backpressure.
//!
//! All workers stamp what they read with the published number, so that they never drift apart. A
//! number is published when the last one has been open long enough or is full, *and* few enough
//! epochs are in flight. As a full epoch takes no more rows, that bounds everything under way:
//! epochs in flight times rows in an epoch.
//!
//! Numbers are microseconds since 1970 and only ever rise; see
//! [`processing_time_ms`](tidemill_operators::dataflow::processing_time_ms).

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidemill_operators::Epoch;

/// When an epoch ends and reading pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An epoch is closed after this time at the latest.
    pub epoch_interval: Duration,
    /// An epoch takes about so many rows.
    pub epoch_rows_max: usize,
    /// An epoch takes about so many bytes.
    pub epoch_bytes_max: usize,
    /// So many epochs may be under way between the sources and the sinks.
    pub epochs_in_flight_max: usize,
    /// Sinks may have accepted so many bytes that are not yet acknowledged outside.
    pub sink_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            epoch_interval: Duration::from_millis(10),
            epoch_rows_max: 16_384,
            epoch_bytes_max: 32 << 20,
            epochs_in_flight_max: 6,
            sink_bytes_max: 64 << 20,
        }
    }
}

/// Publishes the epoch number of a job.
#[derive(Debug)]
pub(crate) struct Coordinator {
    limits: Limits,
    first: Epoch,
    published: AtomicU64,
    rows: AtomicUsize,
    bytes: AtomicUsize,
    /// Unacknowledged bytes of each worker's sinks.
    sink_bytes: Vec<AtomicUsize>,
    opened: Mutex<Opened>,
}

#[derive(Debug)]
struct Opened {
    at: Instant,
    /// Published and perhaps not yet through all sinks, oldest first.
    in_flight: VecDeque<Epoch>,
}

impl Coordinator {
    pub(crate) fn new(limits: Limits, workers: usize, first: Epoch) -> Self {
        Coordinator {
            limits,
            first,
            published: AtomicU64::new(first),
            rows: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            sink_bytes: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            opened: Mutex::new(Opened { at: Instant::now(), in_flight: VecDeque::from([first]) }),
        }
    }

    /// The first epoch of the job. Every worker takes part in it, whatever is published by the
    /// time it starts: there each source's lanes become known before any row is judged.
    pub(crate) fn first(&self) -> Epoch {
        self.first
    }

    /// The number to stamp rows with. Publishes the next one if it is time; `frontier` is how
    /// far the caller saw the sinks come.
    pub(crate) fn epoch(&self, frontier: Option<Epoch>) -> Epoch {
        let published = self.published.load(Ordering::Acquire);
        let Ok(mut opened) = self.opened.try_lock() else { return published };
        let published = self.published.load(Ordering::Acquire);
        let is_full = self.rows_left() == 0;
        if !is_full && opened.at.elapsed() < self.limits.epoch_interval {
            return published;
        }
        retire(&mut opened.in_flight, frontier);
        if opened.in_flight.len() >= self.limits.epochs_in_flight_max {
            return published;
        }
        let next = wall_clock_epoch().max(published + 1);
        opened.at = Instant::now();
        opened.in_flight.push_back(next);
        self.rows.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.published.store(next, Ordering::Release);
        next
    }

    /// Rows that may still be read under the published epoch.
    pub(crate) fn rows_left(&self) -> usize {
        if self.bytes.load(Ordering::Relaxed) >= self.limits.epoch_bytes_max {
            return 0;
        }
        self.limits.epoch_rows_max.saturating_sub(self.rows.load(Ordering::Relaxed))
    }

    /// Whether sinks are far behind: then nothing should be read.
    pub(crate) fn sinks_are_behind(&self) -> bool {
        let held: usize = self.sink_bytes.iter().map(|b| b.load(Ordering::Relaxed)).sum();
        held > self.limits.sink_bytes_max
    }

    /// Notes what was read.
    pub(crate) fn read(&self, rows: usize, bytes: usize) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes what a worker's sinks hold.
    pub(crate) fn sinks_hold(&self, worker: usize, bytes: usize) {
        self.sink_bytes[worker].store(bytes, Ordering::Relaxed);
    }
}

/// Forgets the epochs that are through all sinks.
fn retire(in_flight: &mut VecDeque<Epoch>, frontier: Option<Epoch>) {
    while in_flight.front().is_some_and(|&epoch| frontier.is_none_or(|f| epoch < f)) {
        in_flight.pop_front();
    }
}

/// The epoch number of this moment.
pub(crate) fn wall_clock_epoch() -> Epoch {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinator(epoch_interval: Duration) -> Coordinator {
        let limits = Limits {
            epoch_interval,
            epoch_rows_max: 10,
            epochs_in_flight_max: 3,
            ..Limits::default()
        };
        Coordinator::new(limits, 2, 1)
    }

    #[test]
    fn a_full_epoch_is_followed_at_once_and_takes_no_more_rows() {
        let coordinator = coordinator(Duration::from_secs(3600));
        assert_eq!(coordinator.epoch(Some(0)), 1);
        coordinator.read(7, 70);
        assert_eq!((coordinator.epoch(Some(0)), coordinator.rows_left()), (1, 3));
        coordinator.read(7, 70);
        assert_eq!(coordinator.rows_left(), 0);
        assert!(coordinator.epoch(Some(0)) > 1);
        assert_eq!(coordinator.rows_left(), 10);
    }

    #[test]
    fn numbers_stop_while_too_many_epochs_are_in_flight() {
        let coordinator = coordinator(Duration::ZERO);
        let second = coordinator.epoch(Some(0));
        let third = coordinator.epoch(Some(0));
        assert!(1 < second && second < third);
        assert_eq!(coordinator.epoch(Some(1)), third);
        assert!(coordinator.epoch(Some(second)) > third);
    }

    #[test]
    fn sinks_hold_reading_back_together() {
        let coordinator = coordinator(Duration::ZERO);
        coordinator.sinks_hold(0, 40 << 20);
        assert!(!coordinator.sinks_are_behind());
        coordinator.sinks_hold(1, 40 << 20);
        assert!(coordinator.sinks_are_behind());
    }
}
