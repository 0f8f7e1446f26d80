//! [`Turns`]: which rows a worker gives next.
//!
//! The invariant: **the rows given under epochs before `e` are the first ones, without a gap**. So
//! a worker whose epoch is older than one already served gets nothing, and asks again with a newer
//! one.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tidemill_operators::Epoch;

/// All rows of a source, shared by its readers.
pub(super) struct Turns {
    given: Mutex<Given>,
    first: u64,
    /// How many there are, if they end.
    rows: Option<u64>,
    rows_per_second: f64,
    started: Instant,
}

struct Given {
    /// The number of the next row.
    next: u64,
    served: Epoch,
}

/// What a worker got.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Rows(Range<u64>),
    /// No row is due, or the worker's epoch is behind.
    Nothing,
    /// All rows were given.
    Finished,
}

impl Turns {
    /// Rows from number `first` on, that many a second.
    pub(super) fn new(first: u64, rows: Option<u64>, rows_per_second: f64) -> Self {
        let given = Mutex::new(Given { next: first, served: 0 });
        Turns { given, first, rows, rows_per_second, started: Instant::now() }
    }

    /// The next rows that are due, up to `max`.
    pub(super) fn take(&self, epoch: Epoch, max: u64) -> Taken {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch < given.served {
            return Taken::Nothing;
        }
        if self.rows.is_some_and(|rows| given.next >= rows) {
            return Taken::Finished;
        }
        let end = self.due().min(given.next.saturating_add(max));
        if end <= given.next {
            return Taken::Nothing;
        }
        given.served = epoch;
        let rows = given.next..end;
        given.next = end;
        Taken::Rows(rows)
    }

    /// The number behind the last row that is due: the first one at once.
    fn due(&self) -> u64 {
        let by_rate = (self.started.elapsed().as_secs_f64() * self.rows_per_second) as u64;
        let due = self.first.saturating_add(by_rate.max(1));
        self.rows.map_or(due, |rows| due.min(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_whose_epoch_is_behind_gets_nothing_and_is_not_told_of_the_end() {
        let turns = Turns::new(7, Some(10), 1e12);
        assert_eq!(turns.take(5, 2), Taken::Rows(7..9));
        assert_eq!(turns.take(4, 2), Taken::Nothing);
        assert_eq!(turns.take(6, 2), Taken::Rows(9..10));
        assert_eq!(turns.take(5, 2), Taken::Nothing);
        assert_eq!(turns.take(6, 2), Taken::Finished);
    }

    #[test]
    fn rows_come_at_their_rate() {
        let turns = Turns::new(0, None, 0.001);
        assert_eq!(turns.take(1, 9), Taken::Rows(0..1), "the first one at once");
        assert_eq!(turns.take(1, 9), Taken::Nothing);
    }
}
