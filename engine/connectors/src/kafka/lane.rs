//! [`Progress`]: how far a partition has been read, and so what it has to say about the watermark.
//!
//! A partition that never held a record is idle at once, one that has been read to its end is idle
//! after a while, one with unread data never is: otherwise a backlog would turn into late rows.

use crate::source::LaneState;
use std::time::{Duration, Instant};

/// How far a partition has been read.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The next offset to read, once it is known.
    next: Option<i64>,
    /// The offset at which reading ends, if it does.
    stop: Option<i64>,
    never_held_a_record: bool,
    /// When its end was reached, if nothing came since.
    at_end_since: Option<Instant>,
    is_finished: bool,
    /// Whether what comes is left unread for now.
    is_held: bool,
}

impl Progress {
    /// A partition that is read from `start` (unknown: from its beginning) up to `stop`.
    pub(crate) fn new(start: Option<i64>, stop: Option<i64>, is_empty: bool) -> Self {
        let is_finished = match (stop, start) {
            (Some(stop), Some(start)) => start >= stop,
            (Some(stop), None) => is_empty || stop <= 0,
            (None, _) => false,
        };
        Progress {
            next: start,
            stop,
            never_held_a_record: is_empty,
            at_end_since: None,
            is_finished,
            is_held: false,
        }
    }

    /// Takes note of a record and says whether it is to be read.
    pub(crate) fn record(&mut self, offset: i64) -> bool {
        if self.is_finished || self.stop.is_some_and(|stop| offset >= stop) {
            self.is_finished = true;
            return false;
        }
        self.next = Some(offset + 1);
        self.never_held_a_record = false;
        self.at_end_since = None;
        // The last offsets may belong to control records, which are never seen: then it is the
        // partition's end that tells.
        self.is_finished = self.stop.is_some_and(|stop| offset + 1 >= stop);
        true
    }

    /// Takes note that there is nothing to read before `offset`, for now.
    pub(crate) fn end(&mut self, offset: i64, now: Instant) {
        self.next = self.next.max(Some(offset));
        self.at_end_since.get_or_insert(now);
        self.is_finished |= self.stop.is_some_and(|stop| offset >= stop);
    }

    /// Takes note that what comes is left unread from now on. Nobody knows whether there is
    /// something, so it can't be idle.
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Takes note that it is read again, if it was not.
    pub(crate) fn release(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_held) {
            // What came in the meantime has yet to be looked for.
            self.at_end_since = self.at_end_since.map(|_| now);
        }
    }

    /// The next offset to read, once it is known.
    pub(crate) fn next(&self) -> Option<i64> {
        self.next
    }

    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Its state. `drained` is when the consumer was last found to have nothing for us: what it
    /// still holds is unread.
    pub(crate) fn state(&self, drained: Option<Instant>, idle_timeout: Duration) -> LaneState {
        let is_idle = match (self.at_end_since, drained) {
            _ if self.never_held_a_record => true,
            _ if self.is_held => false,
            (Some(end), Some(drained)) => drained.saturating_duration_since(end) >= idle_timeout,
            _ => false,
        };
        match (self.is_finished, is_idle) {
            (true, _) => LaneState::Finished,
            (false, true) => LaneState::Idle,
            (false, false) => LaneState::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn a_partition_is_idle_only_if_read_to_its_end_and_then_quiet() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lane = Progress::new(Some(10), None, false);
        assert_eq!(lane.state(Some(at(100)), TIMEOUT), LaneState::Active, "unread data");
        assert!(lane.record(10));
        lane.end(11, at(0));
        lane.end(11, at(3));
        assert_eq!(lane.state(Some(at(4)), TIMEOUT), LaneState::Active);
        assert_eq!(lane.state(None, TIMEOUT), LaneState::Active, "something may wait unread");
        assert_eq!(lane.state(Some(at(5)), TIMEOUT), LaneState::Idle);
        assert!(lane.record(11));
        assert_eq!(lane.state(Some(at(6)), TIMEOUT), LaneState::Active);
    }

    #[test]
    fn a_partition_that_is_held_is_not_idle_nor_is_one_just_released() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lane = Progress::new(Some(10), None, false);
        lane.record(10);
        lane.end(11, at(0));
        lane.hold();
        assert_eq!(lane.state(Some(at(100)), TIMEOUT), LaneState::Active);
        lane.release(at(100));
        lane.release(at(101));
        assert_eq!(lane.state(Some(at(104)), TIMEOUT), LaneState::Active);
        assert_eq!(lane.state(Some(at(105)), TIMEOUT), LaneState::Idle);
    }

    #[test]
    fn a_partition_that_never_held_a_record_is_idle_at_once() {
        let mut lane = Progress::new(None, None, true);
        assert_eq!(lane.state(None, TIMEOUT), LaneState::Idle);
        lane.record(0);
        assert_eq!(lane.state(None, TIMEOUT), LaneState::Active);
    }

    #[test]
    fn an_input_ends_by_position_whatever_takes_the_last_offsets() {
        let now = Instant::now();
        let mut by_record = Progress::new(Some(0), Some(2), false);
        assert!(by_record.record(0) && !by_record.is_finished());
        assert!(by_record.record(1) && by_record.is_finished());
        assert!(!by_record.record(2), "records behind the end are not read");

        let mut by_end = Progress::new(Some(0), Some(2), false);
        by_end.record(0);
        by_end.end(2, now);
        assert!(by_end.is_finished(), "a control record took offset 1");

        let mut by_a_later_record = Progress::new(Some(0), Some(2), false);
        by_a_later_record.record(0);
        assert!(!by_a_later_record.record(5) && by_a_later_record.is_finished());

        assert!(Progress::new(Some(2), Some(2), false).is_finished());
        assert!(Progress::new(None, Some(0), true).is_finished());
    }
}
