//! Window maths: which windows a row falls into, as pure functions over milliseconds.
//!
//! Sliding windows overlap, so time is cut finer than into windows: a **pane** is the longest
//! stretch that no window's border divides. A row belongs to exactly one pane, a window is a run
//! of panes, and what is aggregated per pane serves every window over it.
//!
//! ```text
//!   HOP(slide 2, size 4)      panes:   |0 1|2 3|4 5|6 7|
//!                             windows: [0     4)
//!                                          [2     6)
//!                                              [4     8)
//! ```
//!
//! The invariant: of the windows over a pane no two end at one instant, so a window is known by
//! its end, and panes in ascending order have their next windows in ascending order. All times
//! here are local to the [`Zone`]; [`zone`] moves instants there and back.

pub mod zone;

use crate::batch::Batch;
use crate::map::WindowUnfold;
use crate::operator::OperatorError;
use crate::time::Watermark;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch, TimestampMillisecondArray,
    UInt32Array,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use chrono_tz::Tz;
use std::sync::Arc;

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

/// A [`WindowKind`] whose windows follow from time alone, cut into panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// Length of a pane.
    pub pane_ms: i64,
    /// Distance of the ends of windows.
    step_ms: i64,
    /// Length of the longest window.
    size_ms: i64,
    offset_ms: i64,
    /// Whether windows share a start until they have grown to `size_ms`.
    grows: bool,
}

impl Slices {
    /// The panes of `kind`; none for sessions and attached windows.
    ///
    /// # Errors
    /// If a length is not positive or does not fit its size.
    pub fn of(kind: &WindowKind) -> Result<Option<Slices>, OperatorError> {
        let (step_ms, size_ms, offset_ms, grows) = match *kind {
            WindowKind::Tumble { size_ms, offset_ms } => (size_ms, size_ms, offset_ms, false),
            WindowKind::Hop { slide_ms, size_ms, offset_ms } => {
                (slide_ms, size_ms, offset_ms, false)
            }
            WindowKind::Cumulate { step_ms, max_ms, offset_ms } => {
                (step_ms, max_ms, offset_ms, true)
            }
            WindowKind::Session { .. } | WindowKind::Attached { .. } => return Ok(None),
        };
        if step_ms <= 0 || size_ms < step_ms || (grows && size_ms % step_ms != 0) {
            return Err(OperatorError::Data(format!("windows {kind:?} cannot be cut")));
        }
        let pane_ms = gcd(step_ms, size_ms);
        Ok(Some(Slices { pane_ms, step_ms, size_ms, offset_ms, grows }))
    }

    /// Whether windows share a start and grow, rather than slide.
    pub fn grows(&self) -> bool {
        self.grows
    }

    /// Start of the pane that holds `time_ms`.
    #[inline]
    pub fn pane(&self, time_ms: i64) -> i64 {
        floor(time_ms, self.pane_ms, self.offset_ms)
    }

    /// End of the earliest window over the pane that starts at `pane`.
    pub fn first_end(&self, pane: i64) -> i64 {
        let least = pane.saturating_add(self.pane_ms);
        // Windows end on multiples of the step, moved by where a window of full length ends.
        let phase = if self.grows { 0 } else { self.size_ms };
        let shift = self.offset_ms.wrapping_add(phase) % self.step_ms;
        floor(least.saturating_sub(1), self.step_ms, shift).saturating_add(self.step_ms)
    }

    /// End of the last window over the pane that starts at `pane`.
    pub fn last_end(&self, pane: i64) -> i64 {
        let unit = if self.grows { self.size_ms } else { self.step_ms };
        floor(pane, unit, self.offset_ms).saturating_add(self.size_ms)
    }

    /// End of the earliest window over the pane that `watermark` has not closed; none if it has
    /// closed all of them.
    pub fn next_end(&self, pane: i64, watermark: Watermark) -> Option<i64> {
        let (first, last) = (self.first_end(pane), self.last_end(pane));
        if !watermark.closes(first) {
            return Some(first);
        }
        let closed_steps = watermark.0.saturating_add(1).saturating_sub(first) / self.step_ms;
        let next =
            first.saturating_add(closed_steps.saturating_add(1).saturating_mul(self.step_ms));
        (next <= last && !watermark.closes(last)).then_some(next)
    }

    /// Whether `watermark` has closed a window over the pane that starts at `pane`.
    pub fn misses(&self, pane: i64, watermark: Watermark) -> bool {
        let first = self.first_end(pane);
        first <= self.last_end(pane) && watermark.closes(first)
    }

    /// Start of the window that ends at `end`.
    pub fn start(&self, end: i64) -> i64 {
        if self.grows {
            floor(end.saturating_sub(1), self.size_ms, self.offset_ms)
        } else {
            end.saturating_sub(self.size_ms)
        }
    }

    /// All windows that hold `time_ms`, as start and end, by ascending end.
    ///
    /// ```
    /// # use tidemill_operators::window::{Slices, WindowKind};
    /// let hop = WindowKind::Hop { slide_ms: 2, size_ms: 4, offset_ms: 0 };
    /// let windows = Slices::of(&hop)?.unwrap().windows(-1).collect::<Vec<_>>();
    /// assert_eq!(windows, [(-4, 0), (-2, 2)]);
    /// # Ok::<(), tidemill_operators::OperatorError>(())
    /// ```
    pub fn windows(&self, time_ms: i64) -> impl Iterator<Item = (i64, i64)> + use<> {
        let slices = *self;
        let pane = self.pane(time_ms);
        let last = self.last_end(pane);
        let mut next = Some(self.first_end(pane));
        std::iter::from_fn(move || {
            let end = next.filter(|&end| end <= last)?;
            next = end.checked_add(slices.step_ms);
            Some((slices.start(end), end))
        })
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The largest `offset + k * unit` that is no larger than `value`.
#[inline]
fn floor(value: i64, unit: i64, offset: i64) -> i64 {
    value.saturating_sub(value.wrapping_sub(offset).rem_euclid(unit))
}

/// The type of `window_start` and `window_end`: wall clock in milliseconds.
pub fn bound_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// The type of `window_time`: an instant if windows stand in a zone, else wall clock.
pub fn window_time_type(zone: Zone) -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, zone.map(|_| "UTC".into()))
}

/// The fields that windowing adds to a row.
pub fn window_fields(zone: Zone) -> [Field; 3] {
    [
        Field::new("window_start", bound_type(), true),
        Field::new("window_end", bound_type(), true),
        Field::new("window_time", window_time_type(zone), true),
    ]
}

/// The columns of [`window_fields`] for windows of the given bounds.
pub fn window_columns(starts: Vec<i64>, ends: Vec<i64>, zone: Zone) -> [ArrayRef; 3] {
    let mut last: Option<(i64, i64)> = None;
    let times = ends.iter().map(|&end| match last {
        Some((of, time)) if of == end => time,
        _ => {
            let time = zone::to_instant(end.saturating_sub(1), zone);
            last = Some((end, time));
            time
        }
    });
    let times = TimestampMillisecondArray::from_iter_values(times);
    let times = if zone.is_some() { times.with_timezone("UTC") } else { times };
    [
        Arc::new(TimestampMillisecondArray::from(starts)),
        Arc::new(TimestampMillisecondArray::from(ends)),
        Arc::new(times),
    ]
}

/// The values of a time column, which may not be NULL where windows are made of it.
///
/// # Errors
/// If the column is no `Timestamp(ms)` or holds a NULL.
pub fn times(batch: &RecordBatch, column: usize) -> Result<ScalarBuffer<i64>, OperatorError> {
    let name = || batch.schema().field(column).name().clone();
    let times = batch.column(column);
    let Some(values) = times.as_primitive_opt::<TimestampMillisecondType>() else {
        return Err(OperatorError::Data(format!(
            "the row time '{}' is a {}, not a {}",
            name(),
            times.data_type(),
            TimestampMillisecondType::DATA_TYPE
        )));
    };
    if values.null_count() > 0 {
        return Err(OperatorError::Data(format!(
            "the row time '{}' must not be NULL; filter such rows out (WHERE {0} IS NOT NULL)",
            name()
        )));
    }
    Ok(values.values().clone())
}

/// Cuts time for [`unfold`], checked once.
#[derive(Clone, Debug)]
pub struct Unfold {
    slices: Slices,
    spec: WindowUnfold,
}

impl Unfold {
    /// Checks that the windows follow from time alone.
    pub fn new(spec: &WindowUnfold) -> Result<Self, OperatorError> {
        let slices = Slices::of(&spec.window)?.ok_or_else(|| {
            OperatorError::Data(format!("windows {:?} are not stateless", spec.window))
        })?;
        Ok(Unfold { slices, spec: spec.clone() })
    }

    /// The columns of `input` and those of its windows.
    pub fn schema(&self, input: &Schema) -> SchemaRef {
        let fields = input.fields().iter().cloned();
        let windows = window_fields(self.spec.zone).map(Arc::new);
        Arc::new(Schema::new(fields.chain(windows).collect::<Vec<_>>()))
    }

    /// Repeats each row for each window that holds it, by ascending end.
    pub fn apply(&self, batch: &Batch) -> Result<Batch, OperatorError> {
        let times = zone::to_local(&times(batch.columns(), self.spec.time)?, self.spec.zone);
        let (mut rows, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let is_tumbling = self.slices.step_ms == self.slices.size_ms;
        for (row, &time) in times.iter().enumerate() {
            for (start, end) in self.slices.windows(time) {
                if !is_tumbling {
                    rows.push(row as u32);
                }
                starts.push(start);
                ends.push(end);
            }
        }
        let repeated =
            if is_tumbling { batch.clone() } else { batch.take(&UInt32Array::from(rows))? };
        let mut columns = repeated.columns().columns().to_vec();
        columns.extend(window_columns(starts, ends, self.spec.zone));
        let columns = RecordBatch::try_new(self.schema(&batch.schema()), columns)?;
        Ok(repeated.with_columns(columns))
    }
}

/// Repeats each row of `batch` for each window that holds it; see [`Unfold`].
pub fn unfold(spec: &WindowUnfold, batch: &Batch) -> Result<Batch, OperatorError> {
    Unfold::new(spec)?.apply(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slices(kind: WindowKind) -> Slices {
        Slices::of(&kind).unwrap().unwrap()
    }

    /// Every window of a kind near `time`, by definition rather than by arithmetic.
    fn windows_around(kind: &WindowKind, time: i64) -> Vec<(i64, i64)> {
        let mut windows = Vec::new();
        for k in -200..200 {
            match *kind {
                WindowKind::Tumble { size_ms, offset_ms } => {
                    windows.push((k * size_ms + offset_ms, (k + 1) * size_ms + offset_ms));
                }
                WindowKind::Hop { slide_ms, size_ms, offset_ms } => {
                    windows.push((k * slide_ms + offset_ms, k * slide_ms + size_ms + offset_ms));
                }
                WindowKind::Cumulate { step_ms, max_ms, offset_ms } => {
                    let start = k * max_ms + offset_ms;
                    let ends = (1..=max_ms / step_ms).map(|n| (start, start + n * step_ms));
                    windows.extend(ends);
                }
                _ => unreachable!(),
            }
        }
        windows.retain(|&(start, end)| start <= time && time < end);
        windows.sort_by_key(|&(_, end)| end);
        windows
    }

    fn kinds() -> impl Strategy<Value = WindowKind> {
        let offset = -30i64..30;
        prop_oneof![
            (1i64..20, offset.clone())
                .prop_map(|(size_ms, offset_ms)| WindowKind::Tumble { size_ms, offset_ms }),
            (1i64..10, 0i64..30, offset.clone()).prop_map(|(slide_ms, more, offset_ms)| {
                WindowKind::Hop { slide_ms, size_ms: slide_ms + more, offset_ms }
            }),
            (1i64..10, 1i64..6, offset).prop_map(|(step_ms, n, offset_ms)| {
                WindowKind::Cumulate { step_ms, max_ms: n * step_ms, offset_ms }
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn a_row_falls_into_exactly_the_windows_that_hold_it(kind in kinds(), time in -100i64..100) {
            let windows: Vec<_> = slices(kind.clone()).windows(time).collect();
            prop_assert_eq!(windows, windows_around(&kind, time));
        }

        #[test]
        fn all_rows_of_a_pane_share_their_windows(kind in kinds(), time in -100i64..100) {
            let slices = slices(kind.clone());
            let pane = slices.pane(time);
            prop_assert!(pane <= time && time < pane + slices.pane_ms);
            for other in [pane, pane + slices.pane_ms - 1] {
                prop_assert_eq!(windows_around(&kind, other), windows_around(&kind, time));
            }
        }

        #[test]
        fn the_next_window_is_the_first_that_is_open(
            kind in kinds(), time in -100i64..100, watermark in -150i64..150,
        ) {
            let slices = slices(kind.clone());
            for watermark in [Watermark(watermark), Watermark::MIN, Watermark::MAX] {
                let open = windows_around(&kind, time).into_iter().map(|w| w.1);
                let open = open.filter(|&end| !watermark.closes(end)).min();
                prop_assert_eq!(slices.next_end(slices.pane(time), watermark), open);
            }
        }
    }

    #[test]
    fn times_at_the_ends_of_the_world_do_not_overflow() {
        let hop = slices(WindowKind::Hop { slide_ms: 7, size_ms: 21, offset_ms: 3 });
        for time in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
            assert!(hop.windows(time).count() <= 3);
        }
    }
}
