//! [`Cut`]: how rows find their panes, and panes their windows.

use super::WindowAggregateSpec;
use crate::batch::Batch;
use crate::groups::Intake;
use crate::operator::OperatorError;
use crate::time::Watermark;
use crate::window::{Slices, WindowKind, Zone, times, zone};
use hashbrown::HashMap;

/// Where a pane stands: its end, then its start. In this order panes fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PaneKey {
    pub(crate) end: i64,
    pub(crate) start: i64,
}

/// How rows find their panes, and panes their windows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// By the time of the row.
    Slices { slices: Slices, time: usize },
    /// By bounds that the row carries.
    Attached { start: usize, end: usize },
}

impl Cut {
    /// That of an aggregate.
    ///
    /// # Errors
    /// If its windows have no panes, as sessions.
    pub(crate) fn of(spec: &WindowAggregateSpec) -> Result<Self, OperatorError> {
        match (&spec.window, Slices::of(&spec.window)?) {
            (_, Some(slices)) => Ok(Cut::Slices { slices, time: spec.time }),
            (&WindowKind::Attached { start, end }, None) => Ok(Cut::Attached { start, end }),
            (window, None) => Err(OperatorError::Data(format!("windows {window:?} have no panes"))),
        }
    }

    /// The end of the earliest window over a pane that `watermark` has not closed.
    pub(crate) fn next_end(self, pane: PaneKey, watermark: Watermark) -> Option<i64> {
        match self {
            Cut::Slices { slices, .. } => slices.next_end(pane.start, watermark),
            Cut::Attached { .. } => (!watermark.closes(pane.end)).then_some(pane.end),
        }
    }

    /// Whether `watermark` has closed a window over a pane.
    pub(crate) fn misses(self, pane: PaneKey, watermark: Watermark) -> bool {
        match self {
            Cut::Slices { slices, .. } => slices.misses(pane.start, watermark),
            Cut::Attached { .. } => watermark.closes(pane.end),
        }
    }

    /// Whether the window that ends at `end` is the last one over a pane.
    pub(crate) fn is_last(self, pane: PaneKey, end: i64) -> bool {
        match self {
            Cut::Slices { slices, .. } => slices.last_end(pane.start) <= end,
            Cut::Attached { .. } => true,
        }
    }

    /// The panes of a batch's rows, each with its rows.
    pub(crate) fn parts(
        self,
        batch: &Batch,
        zone: Zone,
    ) -> Result<Vec<(PaneKey, Part)>, OperatorError> {
        match self {
            Cut::Slices { slices, time } => {
                let times = zone::to_local(&times(batch.columns(), time)?, zone);
                let key = |time: i64| {
                    let start = slices.pane(time);
                    PaneKey { end: start.saturating_add(slices.pane_ms), start }
                };
                let (least, greatest) = range(&times);
                if key(least) == key(greatest) {
                    return Ok(vec![(key(least), Part::All)]);
                }
                let mut current = key(times[0]);
                Ok(parts(times.iter().map(|&time| {
                    if time < current.start || time >= current.end {
                        current = key(time);
                    }
                    current
                })))
            }
            Cut::Attached { start, end } => {
                let starts = times(batch.columns(), start)?;
                let ends = times(batch.columns(), end)?;
                Ok(parts_by_bounds(&starts, &ends))
            }
        }
    }
}

/// Rows of a batch that fall into one pane, in order.
pub(crate) enum Part {
    All,
    Some(Vec<u32>),
}

impl Part {
    /// Its part of what comes in.
    pub(crate) fn of(&self, all: &Intake) -> Result<Intake, OperatorError> {
        match self {
            Part::All => Ok(all.clone()),
            Part::Some(rows) => match (rows.first(), rows.last()) {
                (Some(&first), Some(&last)) if (last - first) as usize + 1 == rows.len() => {
                    Ok(all.slice(first as usize, rows.len()))
                }
                _ => all.take(rows),
            },
        }
    }

    /// Calls `apply` with each row.
    pub(crate) fn each(&self, all: usize, mut apply: impl FnMut(usize)) {
        match self {
            Part::All => (0..all).for_each(apply),
            Part::Some(rows) => rows.iter().for_each(|&row| apply(row as usize)),
        }
    }

    pub(crate) fn rows(self, all: usize) -> Vec<u32> {
        match self {
            Part::All => (0..all as u32).collect(),
            Part::Some(rows) => rows,
        }
    }
}

/// Sorts rows by the bounds of their panes, of which there is at least one.
pub(crate) fn parts_by_bounds(starts: &[i64], ends: &[i64]) -> Vec<(PaneKey, Part)> {
    let first = PaneKey { start: starts[0], end: ends[0] };
    let keys = starts.iter().zip(ends).map(|(&start, &end)| PaneKey { end, start });
    match keys.clone().all(|key| key == first) {
        true => vec![(first, Part::All)],
        false => parts(keys),
    }
}

/// The least and the greatest of some values.
fn range(values: &[i64]) -> (i64, i64) {
    let all = values.iter();
    all.fold((i64::MAX, i64::MIN), |(least, greatest), &v| (least.min(v), greatest.max(v)))
}

/// Sorts rows by their panes. Neighbours are mostly of one pane.
fn parts(keys: impl Iterator<Item = PaneKey>) -> Vec<(PaneKey, Part)> {
    let mut parts: Vec<(PaneKey, Vec<u32>)> = Vec::new();
    let mut index: HashMap<PaneKey, usize> = HashMap::new();
    let mut current = usize::MAX;
    for (row, key) in keys.enumerate() {
        if parts.get(current).is_none_or(|(of, _)| *of != key) {
            current = *index.entry(key).or_insert_with(|| {
                parts.push((key, Vec::new()));
                parts.len() - 1
            });
        }
        parts[current].1.push(row as u32);
    }
    parts.into_iter().map(|(key, rows)| (key, Part::Some(rows))).collect()
}
