//! [`EventClock`]: the watermarks of all sources, as every worker computes them from the same
//! reports.
//!
//! A source's watermark is the least of its lanes' that are neither idle nor finished, and a
//! lane's is the greatest that any worker reported. If there is no such lane, nothing holds back
//! what the finished ones have reached; and if some lane may go on later, the source is idle until
//! then. A source whose lanes are all finished is not idle: it is about to end, and what waits for
//! its end must not be overtaken by other sources. A watermark only ever rises. Applying the reports
//! of one epoch in any order of workers gives the same clock, which is what keeps workers agreed.

use super::report::{News, Report};
use crate::time::Watermark;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which source: its number among the nodes of a plan.
pub type SourceId = usize;

/// What time it is at a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceTime {
    /// Its watermark.
    pub watermark: Watermark,
    /// Whether it has nothing to read at the moment: then it does not hold other sources up.
    pub is_idle: bool,
}

impl Default for SourceTime {
    fn default() -> Self {
        SourceTime { watermark: Watermark::MIN, is_idle: false }
    }
}

/// What all steps of a worker have to know of an epoch besides its rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Tick {
    /// The time at all sources after the epoch.
    pub times: Arc<BTreeMap<SourceId, SourceTime>>,
    /// The checkpoint that cuts before the epoch, if one does.
    pub cut: Option<u64>,
}

/// The clocks of all sources of a job.
#[derive(Clone, Debug)]
pub struct EventClock {
    workers: usize,
    sources: BTreeMap<SourceId, Source>,
}

#[derive(Clone, Debug, Default)]
struct Source {
    lanes: BTreeMap<u32, Lane>,
    finished_workers: BTreeSet<usize>,
    time: SourceTime,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    watermark: Option<Watermark>,
    /// Who says that the lane has something to read.
    active: BTreeSet<usize>,
    is_finished: bool,
}

impl EventClock {
    /// The clock of a job of so many workers before its first epoch.
    pub fn new(workers: usize) -> Self {
        EventClock { workers, sources: BTreeMap::new() }
    }

    /// Takes note of the reports of one epoch.
    pub fn apply<'a>(&mut self, reports: impl IntoIterator<Item = &'a Report>) {
        let mut touched = BTreeSet::new();
        for report in reports {
            self.sources.entry(report.source).or_default().note(report);
            touched.insert(report.source);
        }
        for source in touched {
            let source = self.sources.get_mut(&source).expect("just touched");
            source.time = source.tell(self.workers);
        }
    }

    /// What time it is at each source that was ever heard of.
    pub fn times(&self) -> BTreeMap<SourceId, SourceTime> {
        self.sources.iter().map(|(&id, source)| (id, source.time)).collect()
    }
}

impl Source {
    fn note(&mut self, report: &Report) {
        match report.news {
            News::Active(lane, watermark) => {
                let lane = self.lanes.entry(lane).or_default();
                lane.watermark = lane.watermark.max(Some(watermark));
                lane.active.insert(report.worker);
            }
            News::Idle(lane) => {
                let lane = self.lanes.entry(lane).or_default();
                lane.active.remove(&report.worker);
            }
            News::LaneFinished(lane) => self.lanes.entry(lane).or_default().is_finished = true,
            News::WorkerFinished => {
                self.finished_workers.insert(report.worker);
            }
        }
    }

    fn tell(&self, workers: usize) -> SourceTime {
        if self.finished_workers.len() == workers {
            return SourceTime { watermark: Watermark::MAX, is_idle: false };
        }
        let lanes = || self.lanes.values();
        let finished = || lanes().filter(|lane| lane.is_finished);
        let active = || lanes().filter(|lane| !lane.is_finished && !lane.active.is_empty());
        let is_quiet = active().next().is_none();
        let is_idle = is_quiet && lanes().any(|lane| !lane.is_finished);
        let reached = match is_quiet {
            true => finished().filter_map(|lane| lane.watermark).max(),
            false => active().filter_map(|lane| lane.watermark).min(),
        };
        SourceTime {
            watermark: self.time.watermark.max(reached.unwrap_or(Watermark::MIN)),
            is_idle,
        }
    }
}

/// The watermark of an operator downstream of `upstream`, whose watermark was `before`: the
/// least of its sources that are not idle; if all of them are, the least of all.
pub(super) fn watermark_of(
    upstream: &[SourceId],
    times: &BTreeMap<SourceId, SourceTime>,
    before: Watermark,
) -> Watermark {
    let times = || upstream.iter().map(|source| times.get(source).copied().unwrap_or_default());
    let least = times().filter(|time| !time.is_idle).map(|time| time.watermark).min();
    let least_of_all = || times().map(|time| time.watermark).min();
    least.or_else(least_of_all).unwrap_or(before).max(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(worker: usize, news: News) -> Report {
        Report { source: 0, worker, news }
    }

    fn time(reports: &[(usize, News)]) -> SourceTime {
        let mut clock = EventClock::new(2);
        let reports: Vec<Report> = reports.iter().map(|&(w, news)| report(w, news)).collect();
        clock.apply(&reports);
        clock.times()[&0]
    }

    #[test]
    fn the_slowest_active_lane_holds_the_watermark() {
        use News::{Active, Idle, LaneFinished};
        let at = |ms| Watermark(ms);
        type Case<'a> = (&'a [(usize, News)], Watermark, bool);
        let cases: &[Case<'_>] = &[
            (&[(0, Active(0, at(5))), (1, Active(1, at(3)))], at(3), false),
            (&[(0, Active(0, at(5))), (1, Active(0, at(3)))], at(5), false),
            (&[(0, Active(0, at(5))), (1, Idle(1))], at(5), false),
            (&[(0, Active(0, at(5))), (1, Active(1, Watermark::MIN))], Watermark::MIN, false),
            (&[(0, Active(0, at(5))), (1, LaneFinished(1))], at(5), false),
            (&[(0, LaneFinished(0)), (1, Active(0, at(3)))], at(3), false),
            (&[(0, Active(0, at(5))), (0, LaneFinished(0)), (1, Idle(1))], at(5), true),
            (&[(0, Idle(0)), (1, Idle(1))], Watermark::MIN, true),
        ];
        for &(reports, watermark, is_idle) in cases {
            assert_eq!(time(reports), SourceTime { watermark, is_idle }, "{reports:?}");
        }
    }

    #[test]
    fn a_source_is_over_only_when_every_worker_says_so() {
        let one = [(0, News::Active(0, Watermark(5))), (0, News::WorkerFinished)];
        assert_eq!(time(&one).watermark, Watermark(5));
        let both = [(0, News::WorkerFinished), (1, News::WorkerFinished)];
        assert_eq!(time(&both).watermark, Watermark::MAX);
    }

    #[test]
    fn what_was_read_to_its_end_counts_in_full_once_nothing_holds_it_back() {
        let mut clock = EventClock::new(1);
        let two = [(0, 5), (1, 9)].map(|(lane, ms)| report(0, News::Active(lane, Watermark(ms))));
        clock.apply(&two);
        clock.apply(&[report(0, News::LaneFinished(1))]);
        assert_eq!(clock.times()[&0].watermark, Watermark(5), "the other may have more to say");
        clock.apply(&[report(0, News::LaneFinished(0))]);
        let time = clock.times()[&0];
        assert_eq!(time, SourceTime { watermark: Watermark(9), is_idle: false });
        assert_eq!(watermark_of(&[0], &clock.times(), Watermark(5)), Watermark(9));
    }

    #[test]
    fn a_source_that_is_about_to_end_is_not_overtaken() {
        let other = Report { source: 1, worker: 0, news: News::Active(0, Watermark(20)) };
        let mut clock = EventClock::new(2);
        clock.apply(&[report(0, News::Active(0, Watermark(9))), other]);
        clock.apply(&[report(0, News::LaneFinished(0)), report(0, News::WorkerFinished)]);
        assert_eq!(watermark_of(&[0, 1], &clock.times(), Watermark(5)), Watermark(9));
        clock.apply(&[report(1, News::WorkerFinished)]);
        assert_eq!(watermark_of(&[0, 1], &clock.times(), Watermark(9)), Watermark(20));
    }

    #[test]
    fn a_lane_that_comes_late_to_the_party_does_not_turn_the_watermark_back() {
        let mut clock = EventClock::new(1);
        clock.apply(&[report(0, News::Active(0, Watermark(9)))]);
        clock.apply(&[report(0, News::Active(1, Watermark(2)))]);
        assert_eq!(clock.times()[&0].watermark, Watermark(9));
    }

    #[test]
    fn an_idle_source_does_not_hold_up_another() {
        let at = |watermark, is_idle| SourceTime { watermark, is_idle };
        let times = BTreeMap::from([
            (0, at(Watermark(7), false)),
            (1, at(Watermark(2), true)),
            (2, at(Watermark(3), false)),
        ]);
        let of = |upstream: &[usize], before| watermark_of(upstream, &times, Watermark(before));
        assert_eq!(of(&[0, 1], 0), Watermark(7));
        assert_eq!(of(&[0, 1, 2], 0), Watermark(3));
        assert_eq!(of(&[1], 1), Watermark(2), "nobody else is there");
        assert_eq!(of(&[0, 2], 5), Watermark(5));
        assert_eq!(watermark_of(&[0, 9], &times, Watermark::MIN), Watermark::MIN);
    }
}
