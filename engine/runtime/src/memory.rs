//! [`MemoryLimit`]: how a job stays within the memory that it may use.
//!
//! Near the limit nothing is read until enough has been worked off and given back. Where that
//! doesn't happen, for it is state that fills the memory, reading on would end the process with
//! whatever the system does then: the job ends instead, and says why.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Reading pauses at so many percent of the limit …
const PAUSE_PERCENT: u64 = 90;
/// … and goes on below so many.
const RESUME_PERCENT: u64 = 80;
/// A job that had to pause for so long without a break will not get below again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A limit, and how close the job is to it.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    limit_bytes: u64,
    is_paused: AtomicBool,
    paused_at: Mutex<Option<Instant>>,
}

/// What to do about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is enough.
    Enough,
    /// Nothing may be read for now.
    Pause,
    /// There will not be enough again.
    Exhausted,
}

impl MemoryLimit {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        MemoryLimit { limit_bytes, is_paused: AtomicBool::new(false), paused_at: Mutex::default() }
    }

    /// The limit, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Whether nothing may be read.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Acquire)
    }

    /// Takes note of the memory that the process holds.
    pub(crate) fn holds(&self, used_bytes: u64, now: Instant) -> Room {
        let mut paused_at = self.paused_at.lock().unwrap_or_else(PoisonError::into_inner);
        let paused_for = paused_at.map(|at| now.saturating_duration_since(at));
        let room = room(used_bytes, self.limit_bytes, paused_for);
        match room {
            Room::Enough => *paused_at = None,
            Room::Pause | Room::Exhausted => drop(paused_at.get_or_insert(now)),
        }
        self.is_paused.store(room != Room::Enough, Ordering::Release);
        room
    }
}

fn room(used_bytes: u64, limit_bytes: u64, paused_for: Option<Duration>) -> Room {
    let percent = if paused_for.is_some() { RESUME_PERCENT } else { PAUSE_PERCENT };
    let is_enough = used_bytes < limit_bytes / 100 * percent;
    match paused_for {
        _ if is_enough => Room::Enough,
        Some(time) if time >= PAUSE_MAX => Room::Exhausted,
        _ => Room::Pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_pauses_near_the_limit_goes_on_well_below_and_ends_if_that_never_comes() {
        let (limit, start) = (MemoryLimit::new(1000), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((limit.holds(890, start), limit.is_paused()), (Room::Enough, false));
        assert_eq!((limit.holds(900, start), limit.is_paused()), (Room::Pause, true));
        assert_eq!(limit.holds(850, after(29)), Room::Pause, "not far enough below");
        assert_eq!((limit.holds(790, after(31)), limit.is_paused()), (Room::Enough, false));
        assert_eq!(limit.holds(900, after(31)), Room::Pause);
        assert_eq!(limit.holds(900, after(60)), Room::Pause, "it counts from the last pause on");
        assert_eq!(limit.holds(900, after(61)), Room::Exhausted);
    }
}
