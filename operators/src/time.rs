//! The two clocks of a job: the [`Epoch`], by which the dataflow makes progress, and the
//! [`Watermark`], by which event time does.

use std::fmt;

/// The timely timestamp of a job: the number of the ingest epoch in which a row was read.
/// Event time never enters progress tracking.
pub type Epoch = u64;

/// A promise about event time: every row still to come is later than this instant,
/// in milliseconds since 1970-01-01T00:00:00Z.
///
/// Watermarks only ever rise. A window that ends at `end` (exclusive) is closed once
/// `watermark >= end - 1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Nothing is known yet.
    pub const MIN: Watermark = Watermark(i64::MIN);
    /// The input has ended: every window is closed.
    pub const MAX: Watermark = Watermark(i64::MAX);

    /// Whether a window that ends at `end_ms` (exclusive) can receive no further row.
    ///
    /// ```
    /// # use tidemill_operators::Watermark;
    /// assert!(!Watermark(998).closes(1000));
    /// assert!(Watermark(999).closes(1000));
    /// assert!(!Watermark::MIN.closes(i64::MIN));
    /// ```
    pub fn closes(self, end_ms: i64) -> bool {
        self != Watermark::MIN && self.0 >= end_ms.saturating_sub(1)
    }
}

impl fmt::Debug for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Watermark::MIN => f.write_str("Watermark(MIN)"),
            Watermark::MAX => f.write_str("Watermark(MAX)"),
            Watermark(ms) => write!(f, "Watermark({ms})"),
        }
    }
}
