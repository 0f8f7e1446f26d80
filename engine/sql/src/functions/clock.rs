//! The processing-time clock that functions read: set once per epoch, so that all workers and
//! all expressions of an epoch agree, and nothing is folded into a constant at planning.

use std::cell::Cell;

thread_local! {
    static NOW_MS: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Sets this thread's processing time, in milliseconds since 1970-01-01T00:00:00Z.
pub fn set_now_ms(now_ms: i64) {
    NOW_MS.set(Some(now_ms));
}

/// This thread's processing time; the machine's clock where nobody set one.
pub fn now_ms() -> i64 {
    NOW_MS.get().unwrap_or_else(|| chrono::Utc::now().timestamp_millis())
}
