//! [`Coordinator`]: the one clock of ingest epochs, the one place of backpressure, and who says
//! when a checkpoint cuts.
//!
//! All workers stamp what they read with the published number, so that they never drift apart. A
//! number is published when the last one has been open long enough or is full, *and* few enough
//! epochs are in flight. As a full epoch takes no more rows, that bounds everything under way:
//! epochs in flight times rows in an epoch. When a worker has read all there is and no earlier
//! epoch is under way, nobody is served by waiting, and the next number comes at once, unless what
//! is computed is seen no sooner for that. While earlier epochs are still under way the open one
//! lasts longer, for what a key goes through within an epoch is computed and written once: epochs
//! are short while the job keeps up, and grow with what it has to do.
//!
//! Numbers are microseconds since 1970 and only ever rise; see
//! [`processing_time_ms`](tidemill_operators::dataflow::processing_time_ms).
//!
//! A [`Cut`] is announced before its epoch is published, so no worker enters the epoch, or a
//! later one, without knowing of it. At most one is undecided. The last one comes when no worker
//! reads any more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidemill_operators::Epoch;

/// While the job is behind an epoch lasts for so long, unless it is full or may last longer anyway.
const EPOCH_BEHIND: Duration = Duration::from_millis(50);
/// The job is behind if more epochs than these are under way, the open one among them.
const EPOCHS_BEHIND: usize = 2;

/// How long a worker that found few rows lets more gather at most.
const REST_MAX: Duration = Duration::from_millis(2);

/// When an epoch ends and reading pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An epoch is closed after this time at the latest, unless the job is behind.
    pub epoch_interval: Duration,
    /// An epoch is open for so long at least, unless it is full.
    pub epoch_min: Duration,
    /// An epoch takes about so many rows.
    pub epoch_rows_max: usize,
    /// An epoch takes about so many bytes.
    pub epoch_bytes_max: usize,
    /// So many epochs may be under way between the sources and the sinks.
    pub epochs_in_flight_max: usize,
    /// Sinks may have accepted so many bytes that are not yet acknowledged outside.
    pub sink_bytes_max: usize,
    /// Nothing is read while a checkpoint waits for the epochs before its cut.
    pub cuts_first: bool,
}

impl Limits {
    /// For a job whose rows are seen only once a checkpoint stands, of which there is one at each
    /// `interval`: epochs that end early are in vain, and there are as few as may be. What is left
    /// to be computed when a checkpoint cuts is that of the last epoch, so there are some. And what
    /// is read while it waits for that is for the next one: it would only be in the way.
    #[must_use]
    pub fn unhurried(self, interval: Option<Duration>) -> Self {
        let part = interval.map_or(EPOCH_BEHIND, |interval| (interval / 4).min(EPOCH_BEHIND));
        let epoch_interval = self.epoch_interval.max(part);
        let epoch_min = self.epoch_min.max(epoch_interval);
        Limits { epoch_interval, epoch_min, cuts_first: true, ..self }
    }

    /// How long a worker that found few rows lets more gather before it reads again: what reading
    /// and passing on a batch takes hardly depends on its rows.
    pub(crate) fn rest(&self) -> Duration {
        (self.epoch_min / 4).min(REST_MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            epoch_interval: Duration::from_millis(10),
            epoch_min: Duration::from_millis(1),
            epoch_rows_max: 16_384,
            epoch_bytes_max: 32 << 20,
            epochs_in_flight_max: 6,
            sink_bytes_max: 64 << 20,
            cuts_first: false,
        }
    }
}

/// What a worker found when it last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supply {
    /// There may be more.
    More,
    /// It has read all there is: whoever waits for more rows makes those that came wait.
    Few,
    /// There was nothing.
    Nothing,
}

/// A checkpoint, announced: it holds everything before an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The checkpoint's number.
    pub checkpoint: u64,
    /// The first epoch that is not in it.
    pub epoch: Epoch,
    /// Why it is the last one, if it is.
    pub last: Option<End>,
}

impl Cut {
    /// Whether nobody goes on behind it: the inputs have ended, and all has come out that was
    /// ever to come of the state.
    pub(crate) fn is_end(&self) -> bool {
        self.last == Some(End::Finished)
    }
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All inputs have ended.
    Finished,
    /// The job was asked to stop.
    Stopped,
}

/// When checkpoints are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutPlan {
    /// How often; `None` only at the end.
    pub interval: Option<Duration>,
    /// The number of the last checkpoint that was ever begun.
    pub last_number: u64,
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
    /// Whether anything has happened since the last cut.
    is_changed: AtomicBool,
    /// The checkpoint decided last.
    decided: AtomicU64,
    cut: Mutex<Option<Cut>>,
    cut_plan: Option<CutPlan>,
    /// Why each worker that reads no more does so.
    ends: Mutex<Vec<Option<End>>>,
}

#[derive(Debug)]
struct Opened {
    at: Instant,
    /// Published and perhaps not yet through all sinks, oldest first.
    in_flight: VecDeque<Epoch>,
    /// When the last cut was announced, or the job was started.
    cut_at: Instant,
}

impl Coordinator {
    pub(crate) fn new(
        limits: Limits,
        workers: usize,
        first: Epoch,
        cut_plan: Option<CutPlan>,
    ) -> Self {
        let (at, in_flight) = (Instant::now(), VecDeque::from([first]));
        Coordinator {
            limits,
            first,
            published: AtomicU64::new(first),
            rows: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            sink_bytes: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            opened: Mutex::new(Opened { at, in_flight, cut_at: at }),
            is_changed: AtomicBool::new(false),
            decided: AtomicU64::new(cut_plan.map_or(0, |plan| plan.last_number)),
            cut: Mutex::new(None),
            cut_plan,
            ends: Mutex::new(vec![None; workers]),
        }
    }

    /// The first epoch of the job. Every worker takes part in it, whatever is published by the
    /// time it starts: there each source's lanes become known before any row is judged.
    pub(crate) fn first(&self) -> Epoch {
        self.first
    }

    /// The number to stamp rows with. Publishes the next one if it is time; `frontier` is how
    /// far the caller saw the sinks come.
    pub(crate) fn epoch(&self, frontier: Option<Epoch>, supply: Supply) -> Epoch {
        let published = self.published.load(Ordering::Acquire);
        let Ok(mut opened) = self.opened.try_lock() else { return published };
        let published = self.published.load(Ordering::Acquire);
        let due = self.due(opened.cut_at);
        retire(&mut opened.in_flight, frontier);
        let under_way = opened.in_flight.len();
        let is_behind = under_way > EPOCHS_BEHIND && due.is_none();
        let is_served = under_way <= 1 && supply != Supply::More && self.has_rows();
        let Limits { epoch_min, epoch_interval, .. } = self.limits;
        let lasts = match (is_behind, is_served) {
            (true, _) => epoch_interval.max(EPOCH_BEHIND),
            (_, true) => epoch_interval.min(epoch_min),
            _ => epoch_interval,
        };
        // Nobody waits for the end of an epoch that a checkpoint waits for.
        let is_over = self.rows_left() == 0 || due.is_some() || opened.at.elapsed() >= lasts;
        if !is_over || under_way >= self.limits.epochs_in_flight_max {
            return published;
        }
        let next = wall_clock_epoch().max(published + 1);
        opened.at = Instant::now();
        if let Some(last) = due {
            opened.cut_at = opened.at;
            self.announce(next, last);
        }
        opened.in_flight.push_back(next);
        self.rows.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.published.store(next, Ordering::Release);
        next
    }

    /// Whether it is time for a checkpoint, and why it is the last one if it is.
    fn due(&self, cut_at: Instant) -> Option<Option<End>> {
        let plan = self.cut_plan?;
        let before = self.cut();
        let is_decided = before.is_none_or(|cut| self.is_decided(cut.checkpoint));
        if !is_decided || before.is_some_and(|cut| cut.last.is_some()) {
            return None;
        }
        if let Some(end) = self.end() {
            return Some(Some(end));
        }
        let is_time = plan.interval.is_some_and(|interval| cut_at.elapsed() >= interval);
        (is_time && self.is_changed.load(Ordering::Acquire)).then_some(None)
    }

    /// Announces a checkpoint. What changes from here on, before the epoch is published, belongs
    /// to earlier epochs and so to this checkpoint.
    fn announce(&self, epoch: Epoch, last: Option<End>) {
        self.is_changed.store(false, Ordering::Release);
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match (*cut, self.cut_plan) {
            (Some(before), _) => before.checkpoint,
            (None, plan) => plan.map_or(0, |plan| plan.last_number),
        };
        *cut = Some(Cut { checkpoint: number + 1, epoch, last });
    }

    /// The checkpoint announced last, which may be decided already.
    pub(crate) fn cut(&self) -> Option<Cut> {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are checkpoints at all.
    pub(crate) fn has_cuts(&self) -> bool {
        self.cut_plan.is_some()
    }

    /// Notes that a checkpoint stands.
    pub(crate) fn decide(&self, checkpoint: u64) {
        self.decided.store(checkpoint, Ordering::Release);
    }

    /// Whether a checkpoint stands.
    pub(crate) fn is_decided(&self, checkpoint: u64) -> bool {
        self.decided.load(Ordering::Acquire) >= checkpoint
    }

    /// Notes that something happened that the next checkpoint has to hold.
    pub(crate) fn changed(&self) {
        if !self.is_changed.load(Ordering::Relaxed) {
            self.is_changed.store(true, Ordering::Release);
        }
    }

    /// Notes that a worker reads no more.
    pub(crate) fn stop_reading(&self, worker: usize, why: End) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends[worker].get_or_insert(why);
    }

    /// Why nobody reads any more; `None` while somebody does.
    pub(crate) fn end(&self) -> Option<End> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let ends: Option<Vec<End>> = ends.iter().copied().collect();
        let is_stopped = ends?.contains(&End::Stopped);
        Some(if is_stopped { End::Stopped } else { End::Finished })
    }

    /// Whether anything was read under the published epoch.
    fn has_rows(&self) -> bool {
        self.rows.load(Ordering::Relaxed) > 0
    }

    /// Rows that may still be read under the published epoch.
    pub(crate) fn rows_left(&self) -> usize {
        if self.bytes.load(Ordering::Relaxed) >= self.limits.epoch_bytes_max {
            return 0;
        }
        self.limits.epoch_rows_max.saturating_sub(self.rows.load(Ordering::Relaxed))
    }

    /// How long a worker that found few rows lets more gather.
    pub(crate) fn rest(&self) -> Duration {
        self.limits.rest()
    }

    /// Whether a checkpoint waits for epochs before its cut, as far as the caller saw the sinks
    /// come, and nothing should be read meanwhile.
    pub(crate) fn is_cutting(&self, frontier: Option<Epoch>) -> bool {
        let waits = |cut: Cut| frontier.is_some_and(|frontier| frontier < cut.epoch);
        self.limits.cuts_first && self.cut().is_some_and(waits)
    }

    /// Whether sinks are far behind: then nothing should be read.
    pub(crate) fn sinks_are_behind(&self) -> bool {
        let held: usize = self.sink_bytes.iter().map(|b| b.load(Ordering::Relaxed)).sum();
        held > self.limits.sink_bytes_max
    }

    /// Notes what was read.
    pub(crate) fn read(&self, rows: usize, bytes: usize) {
        self.changed();
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
        Coordinator::new(limits, 2, 1, None)
    }

    /// Checkpoints whenever something changed, after number 7.
    fn cutting() -> Coordinator {
        let limits = Limits { epoch_interval: Duration::ZERO, ..Limits::default() };
        let plan = CutPlan { interval: Some(Duration::ZERO), last_number: 7 };
        Coordinator::new(limits, 2, 1, Some(plan))
    }

    #[test]
    fn a_checkpoint_is_announced_with_its_epoch_if_there_is_news_and_none_is_undecided() {
        let coordinator = cutting();
        coordinator.epoch(None, Supply::More);
        assert_eq!(coordinator.cut(), None, "nothing has happened");
        coordinator.changed();
        let epoch = coordinator.epoch(None, Supply::More);
        let cut = Cut { checkpoint: 8, epoch, last: None };
        assert_eq!(coordinator.cut(), Some(cut));
        coordinator.changed();
        coordinator.epoch(None, Supply::More);
        assert_eq!(coordinator.cut(), Some(cut), "it is not decided yet");
        coordinator.decide(8);
        let epoch = coordinator.epoch(None, Supply::More);
        assert_eq!(coordinator.cut(), Some(Cut { checkpoint: 9, epoch, last: None }));
    }

    #[test]
    fn the_last_checkpoint_comes_when_nobody_reads_any_more_and_only_once() {
        let coordinator = cutting();
        coordinator.stop_reading(0, End::Finished);
        coordinator.epoch(None, Supply::More);
        assert_eq!((coordinator.cut(), coordinator.end()), (None, None));
        coordinator.stop_reading(1, End::Stopped);
        let epoch = coordinator.epoch(None, Supply::More);
        let last = Cut { checkpoint: 8, epoch, last: Some(End::Stopped) };
        assert_eq!(coordinator.cut(), Some(last));
        coordinator.decide(8);
        coordinator.epoch(None, Supply::More);
        assert_eq!(coordinator.cut(), Some(last));
    }

    #[test]
    fn a_full_epoch_is_followed_at_once_and_takes_no_more_rows() {
        let coordinator = coordinator(Duration::from_secs(3600));
        assert_eq!(coordinator.epoch(Some(0), Supply::More), 1);
        coordinator.read(7, 70);
        assert_eq!((coordinator.epoch(Some(0), Supply::More), coordinator.rows_left()), (1, 3));
        coordinator.read(7, 70);
        assert_eq!(coordinator.rows_left(), 0);
        assert!(coordinator.epoch(Some(0), Supply::More) > 1);
        assert_eq!(coordinator.rows_left(), 10);
    }

    #[test]
    fn numbers_stop_while_too_many_epochs_are_in_flight() {
        let coordinator = coordinator(Duration::ZERO);
        let second = coordinator.epoch(Some(0), Supply::More);
        let third = coordinator.epoch(Some(0), Supply::More);
        assert!(1 < second && second < third);
        assert_eq!(coordinator.epoch(Some(1), Supply::More), third);
        assert!(coordinator.epoch(Some(second), Supply::More) > third);
    }

    #[test]
    fn an_epoch_lasts_longer_while_the_job_is_behind_unless_a_checkpoint_waits() {
        let limits = Limits { epoch_interval: Duration::from_millis(1), ..Limits::default() };
        let plan = CutPlan { interval: Some(EPOCH_BEHIND / 2), last_number: 0 };
        let coordinator = Coordinator::new(limits, 2, 1, Some(plan));
        let (mut epoch, began) = (1, Instant::now());
        for _ in 0..EPOCHS_BEHIND {
            std::thread::sleep(limits.epoch_interval);
            let next = coordinator.epoch(Some(1), Supply::More);
            assert!(next > epoch);
            epoch = next;
        }
        std::thread::sleep(limits.epoch_interval);
        let same = coordinator.epoch(Some(1), Supply::More) == epoch;
        assert!(same || began.elapsed() >= EPOCH_BEHIND, "two before it are under way");
        coordinator.changed();
        std::thread::sleep(EPOCH_BEHIND / 2);
        assert!(coordinator.epoch(Some(1), Supply::More) > epoch, "a checkpoint is due");
    }

    #[test]
    fn sinks_hold_reading_back_together() {
        let coordinator = coordinator(Duration::ZERO);
        coordinator.sinks_hold(0, 40 << 20);
        assert!(!coordinator.sinks_are_behind());
        coordinator.sinks_hold(1, 40 << 20);
        assert!(coordinator.sinks_are_behind());
    }

    #[test]
    fn what_nobody_sees_sooner_is_not_computed_sooner() {
        let limits = Limits::default();
        for (interval_ms, epoch_ms) in [(10, 10), (100, 25), (1000, 50)] {
            let unhurried = limits.unhurried(Some(Duration::from_millis(interval_ms)));
            assert_eq!(unhurried.epoch_interval, Duration::from_millis(epoch_ms));
            assert_eq!(unhurried.epoch_min, unhurried.epoch_interval);
            assert!(limits.rest() < unhurried.rest() && unhurried.rest() <= REST_MAX);
        }
        let waits = Duration::from_secs(2);
        let waits = Limits { epoch_interval: waits, epoch_min: waits, ..limits };
        let unhurried = Limits { cuts_first: true, ..waits };
        assert_eq!((waits.unhurried(None), waits.rest()), (unhurried, REST_MAX));
    }

    #[test]
    fn what_is_for_the_next_checkpoint_waits_for_the_cut_of_this_one_where_nobody_sees_it_sooner() {
        for cuts_first in [true, false] {
            let limits = Limits { epoch_interval: Duration::ZERO, ..Limits::default() };
            let limits = if cuts_first { limits.unhurried(None) } else { limits };
            let plan = CutPlan { interval: Some(Duration::ZERO), last_number: 0 };
            let coordinator = Coordinator::new(limits, 2, 1, Some(plan));
            assert!(!coordinator.is_cutting(Some(1)), "nothing is cut");
            coordinator.changed();
            let epoch = coordinator.epoch(Some(1), Supply::More);
            assert_eq!(coordinator.is_cutting(Some(1)), cuts_first);
            assert!(!coordinator.is_cutting(Some(epoch)), "all before the cut is through");
            assert!(!coordinator.is_cutting(None), "so is everything");
        }
    }

    #[test]
    fn an_epoch_ends_when_a_checkpoint_is_due() {
        let hour = Duration::from_secs(3600);
        let limits = Limits { epoch_interval: hour, epoch_min: hour, ..Limits::default() };
        let plan = CutPlan { interval: Some(Duration::ZERO), last_number: 0 };
        let coordinator = Coordinator::new(limits, 2, 1, Some(plan));
        assert_eq!(coordinator.epoch(Some(1), Supply::More), 1, "nothing has happened");
        coordinator.changed();
        assert!(coordinator.epoch(Some(1), Supply::More) > 1);
    }

    #[test]
    fn an_epoch_ends_early_if_all_is_read_and_no_other_is_under_way() {
        let coordinator = coordinator(Duration::from_secs(3600));
        std::thread::sleep(coordinator.limits.epoch_min);
        assert_eq!(coordinator.epoch(Some(1), Supply::Few), 1, "it has no rows");
        coordinator.read(1, 10);
        assert_eq!(coordinator.epoch(Some(1), Supply::More), 1);
        let second = coordinator.epoch(Some(1), Supply::Few);
        assert!(second > 1);
        coordinator.read(1, 10);
        std::thread::sleep(coordinator.limits.epoch_min);
        assert_eq!(coordinator.epoch(Some(1), Supply::Few), second, "1 is under way");
        assert!(coordinator.epoch(Some(second), Supply::Few) > second);
    }
}
