//! [`Alignment`]: lanes that run far ahead of the slowest one are held until it has caught up.
//!
//! Partitions of a backlog are read as fast as each comes. Where one is ahead of the others by
//! hours of event time, every window of those hours is open at once. Holding it bounds that by the
//! drift that the table allows, whichever worker reads which partition: all of them tell each
//! other, once an epoch, where their lanes stand.
//!
//! The invariant: **the slowest lane is never held**, so that reading always goes on. A lane that
//! is idle or finished neither holds others nor is held.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tidemill_connectors::source::{Lane, LaneState, Source};
use tidemill_operators::Watermark;
use tidemill_sql::plan::NodeId;

/// The active lanes of sources that keep together, and where each stands.
type Lanes = BTreeMap<(NodeId, Lane), Watermark>;

/// What the workers tell each other of lanes that keep together.
#[derive(Debug)]
pub(crate) struct Alignment {
    max_drift_ms: i64,
    lanes: Mutex<Lanes>,
}

impl Alignment {
    fn new(max_drift_ms: i64) -> Self {
        Alignment { max_drift_ms, lanes: Mutex::default() }
    }

    /// Notes where a lane stands.
    pub(crate) fn note(&self, source: NodeId, lane: Lane, state: LaneState, watermark: Watermark) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            LaneState::Active => {
                let known = lanes.entry((source, lane)).or_insert(watermark);
                *known = watermark.max(*known);
            }
            LaneState::Idle | LaneState::Finished => drop(lanes.remove(&(source, lane))),
        }
    }

    /// The lanes of a source that are too far ahead.
    pub(crate) fn ahead(&self, source: NodeId) -> Vec<Lane> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = too_far_ahead(&lanes, self.max_drift_ms);
        ahead.filter(|(of, _)| *of == source).map(|(_, lane)| lane).collect()
    }
}

/// The lanes that are further ahead of the slowest than is allowed.
fn too_far_ahead(lanes: &Lanes, max_drift_ms: i64) -> impl Iterator<Item = (NodeId, Lane)> {
    let slowest = lanes.values().min().map_or(i64::MAX, |watermark| watermark.0);
    let limit = slowest.saturating_add(max_drift_ms);
    lanes.iter().filter(move |(_, at)| at.0 > limit).map(|(&lane, _)| lane)
}

/// The alignment of each source that asks for one; one for all that name the same group.
pub(crate) fn alignments(
    sources: &BTreeMap<NodeId, Box<dyn Source>>,
) -> BTreeMap<NodeId, Arc<Alignment>> {
    let mut groups: BTreeMap<String, Arc<Alignment>> = BTreeMap::new();
    let mut alignments = BTreeMap::new();
    for (&node, source) in sources {
        let Some(asked) = source.alignment() else { continue };
        let max_drift_ms = i64::try_from(asked.max_drift.as_millis()).unwrap_or(i64::MAX);
        let alone = || Arc::new(Alignment::new(max_drift_ms));
        let alignment = match asked.group {
            Some(group) => groups.entry(group).or_insert_with(alone).clone(),
            None => alone(),
        };
        alignments.insert(node, alignment);
    }
    alignments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(lanes: &[(Lane, Watermark)], max_drift_ms: i64) -> Vec<Lane> {
        let lanes = lanes.iter().map(|&(lane, watermark)| ((0, lane), watermark)).collect();
        too_far_ahead(&lanes, max_drift_ms).map(|(_, lane)| lane).collect()
    }

    #[test]
    fn lanes_beyond_the_slowest_and_the_drift_are_too_far_ahead() {
        let at = Watermark;
        for (lanes, drift, expected) in [
            (vec![], 10, vec![]),
            (vec![(0, at(5))], 0, vec![]),
            (vec![(0, at(5)), (1, at(15)), (2, at(16))], 10, vec![2]),
            (vec![(0, at(5)), (1, at(5))], 0, vec![]),
            (vec![(0, Watermark::MIN), (1, at(0)), (2, at(1))], 10, vec![1, 2]),
            (vec![(0, at(5)), (1, at(i64::MAX - 1))], i64::MAX, vec![]),
        ] {
            assert_eq!(ahead(&lanes, drift), expected, "{lanes:?} by {drift}");
        }
    }

    #[test]
    fn idle_and_finished_lanes_do_not_count() {
        let alignment = Alignment::new(10);
        alignment.note(0, 0, LaneState::Active, Watermark(0));
        alignment.note(0, 1, LaneState::Active, Watermark(100));
        alignment.note(7, 1, LaneState::Active, Watermark(100));
        assert_eq!((alignment.ahead(0), alignment.ahead(7)), (vec![1], vec![1]));
        alignment.note(0, 0, LaneState::Idle, Watermark(0));
        assert_eq!(alignment.ahead(0), [] as [Lane; 0]);
        alignment.note(0, 0, LaneState::Active, Watermark(0));
        alignment.note(0, 1, LaneState::Finished, Watermark(100));
        assert_eq!((alignment.ahead(0), alignment.ahead(7)), (vec![], vec![1]));
    }
}
