//! Window maths: which windows a row falls into, as pure functions over milliseconds.

use chrono_tz::Tz;

/// How time is cut into windows. All lengths are in milliseconds and positive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// Fixed, gapless windows of `size_ms`.
    Tumble {
        /// Length of a window.
        size_ms: i64,
        /// Shift of all windows against the epoch, may be negative.
        offset_ms: i64,
    },
    /// Windows of `size_ms` that start each `slide_ms`; `size_ms` is a multiple of `slide_ms`.
    Hop {
        /// Distance of window starts.
        slide_ms: i64,
        /// Length of a window.
        size_ms: i64,
        /// Shift of all windows against the epoch.
        offset_ms: i64,
    },
    /// Windows that share a start and grow by `step_ms` up to `max_ms`.
    Cumulate {
        /// Growth from one window to the next.
        step_ms: i64,
        /// Length of the longest window; a multiple of `step_ms`.
        max_ms: i64,
        /// Shift of all windows against the epoch.
        offset_ms: i64,
    },
    /// Windows that end `gap_ms` after the last row of a key. Rows exactly one gap apart share
    /// a session.
    Session {
        /// Silence that ends a session.
        gap_ms: i64,
    },
    /// Rows carry `window_start` and `window_end` already, from an operator before this one.
    Attached {
        /// Column of the window's start.
        start: usize,
        /// Column of the window's end.
        end: usize,
    },
}

/// The zone in which windows are aligned and their bounds are written.
///
/// `TIMESTAMP` columns are wall-clock already: `None`. `TIMESTAMP_LTZ` columns are instants that
/// are moved into the session's zone first; a doubled hour at the end of daylight saving is then
/// one window.
pub type Zone = Option<Tz>;
