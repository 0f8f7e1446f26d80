//! How old news is when it arrives: from the instant an event is due until a reader of committed
//! records sees all that it changed.
//!
//! ```text
//! due ─► sent ─► read in an epoch ─► checkpoint ─► its transaction ─► the reader has its last row
//! ```
//!
//! An event's record says when it was *due*, not when it was sent, so that a sender that is held
//! up doesn't hide what its events had to wait (coordinated omission). A checkpoint's manifest
//! says which records of the input it reflects, and how many rows each result topic holds with it;
//! a reader of the topic says when it had so many. An event that changes no result has no latency;
//! one whose results have not come when the measurement ends has waited until then.

use crate::commands::generate::{self, Topics};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::results::Extent;
use crate::stage::Stage;
use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidemill_connectors::{Admin, Tail, TailFrom};
use tidemill_jobs::{Job, Record};
use tidemill_runtime::checkpoint::{Inspection, Manifest, inspect};
use tidemill_runtime::store_of;

/// The first events are not measured: the job is still starting.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long events are measured.
const MEASURED: Duration = Duration::from_secs(15);

/// How often manifests are looked for: far more often than they are deleted.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// A reader waits so long at most before it looks whether it is over.
const POLL_TIMEOUT: Duration = Duration::from_millis(20);
/// After the last event has been sent results are awaited for so long.
const SETTLING: Duration = Duration::from_secs(5);
/// What waits for longer is taken to have waited for so long.
const LATENCY_MS_MAX: u64 = 600_000;

/// A job whose results are watched.
pub(crate) struct Watched<'a> {
    pub(crate) job: &'a Job,
    pub(crate) stage: &'a Stage,
    pub(crate) workers: usize,
    /// Definitions of the user's own, such as the interval of checkpoints.
    pub(crate) definitions: &'a [(String, String)],
    /// Events a second.
    pub(crate) rate: f64,
    pub(crate) stop: &'a AtomicBool,
}

/// A checkpoint as a reader of results meets it.
#[derive(Clone, Debug, Default)]
struct Cut {
    /// How far each partition of the input is reflected: the next offset, by `TOPIC/PARTITION`.
    positions: BTreeMap<String, i64>,
    /// Rows that each result table has been given, from the beginning.
    rows: BTreeMap<String, u64>,
}

/// When a reader had how many records of a topic, ascending.
#[derive(Clone, Debug, Default)]
struct Arrivals(Vec<(i64, u64)>);

impl Watched<'_> {
    /// How many records to generate for a measurement.
    pub(crate) fn events(rate: f64) -> u64 {
        ((WARM_UP + MEASURED).as_secs_f64() * rate).ceil() as u64
    }

    /// The latencies in milliseconds, an entry an event. `None` if somebody stopped it.
    pub(crate) fn measure(&self, records: Vec<Record>) -> Result<Option<Histogram<u64>>, Failure> {
        let state = self.stage.state().with_file_name("latency");
        let mut engine = self.engine(&state)?;
        let over = AtomicBool::new(false);
        let (started_ms, over_ms, cuts, arrivals) = thread::scope(|threads| {
            let cuts = threads.spawn(|| self.cuts(&state, &over));
            let readers = self.job.results.iter().map(|topic| {
                let reader = threads.spawn(|| self.arrivals(topic.name, &over));
                (topic.name.to_owned(), reader)
            });
            let readers: Vec<_> = readers.collect();
            let started_ms = now_ms();
            let sent = self.send(records).and_then(|()| engine.check_alive());
            sleep(SETTLING);
            let over_ms = now_ms();
            over.store(true, Ordering::Release);
            let panicked = |_| Failure::from(anyhow!("a reader of results failed"));
            let cuts = cuts.join().map_err(panicked)?;
            let mut arrivals = BTreeMap::new();
            for (topic, reader) in readers {
                arrivals.insert(topic, reader.join().map_err(panicked)??);
            }
            sent.map(|()| (started_ms, over_ms, cuts, arrivals))
        })?;
        if self.stop.load(Ordering::Acquire) {
            return Ok(None);
        }
        drop(engine);
        let from_ms = started_ms + WARM_UP.as_millis() as i64;
        Ok(Some(latencies(&cuts, &arrivals, &self.due()?, (from_ms, over_ms))))
    }

    fn engine(&self, state: &Path) -> Result<Engine, Failure> {
        let workers = self.workers.to_string();
        let arguments = ["--brokers", self.stage.brokers(), "--workers", &workers];
        let own = self.definitions.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let extent = ("BOUNDED", Extent::Ongoing.bounded_mode());
        let prefix = ("TOPIC_PREFIX", self.stage.prefix());
        let definitions: Vec<(&str, &str)> = [extent, prefix].into_iter().chain(own).collect();
        Engine::start(&[self.job.name.to_owned()], &arguments, &definitions, state)
    }

    fn send(&self, records: Vec<Record>) -> Result<(), Failure> {
        let mut topics = Topics::open(self.job, self.stage.brokers(), self.stage.prefix())?;
        generate::send(records.into_iter(), Some(self.rate), &mut topics, self.stop)
    }

    fn tail(&self, topic: &str) -> Result<Tail, Failure> {
        let (brokers, name) = (self.stage.brokers(), format!("{}{topic}", self.stage.prefix()));
        let facts = Admin::new(brokers).and_then(|admin| admin.topic(&name));
        let facts = facts.map_err(anyhow::Error::from)?;
        let facts = facts.with_context(|| format!("topic '{name}' is gone"))?;
        Ok(Tail::open(brokers, &facts, TailFrom::Beginning).map_err(anyhow::Error::from)?)
    }

    /// Reads a result topic until it is over.
    fn arrivals(&self, topic: &str, over: &AtomicBool) -> Result<Arrivals, Failure> {
        let mut tail = self.tail(topic)?;
        let mut arrivals = Arrivals::default();
        let mut records = 0;
        while !over.load(Ordering::Acquire) {
            let passed = tail.pass(POLL_TIMEOUT).map_err(anyhow::Error::from)?;
            if passed > 0 {
                records += passed;
                arrivals.add(now_ms(), records);
            }
        }
        Ok(arrivals)
    }

    /// Collects what the manifests of the job's checkpoints say until it is over, each once, in
    /// order.
    fn cuts(&self, state: &Path, over: &AtomicBool) -> Vec<Cut> {
        let place = self.definitions.iter().find(|(name, _)| name == "state.checkpoints.dir");
        let place = place.map(|(_, place)| place.as_str());
        let mut cuts = BTreeMap::new();
        while !over.load(Ordering::Acquire) {
            // It is there as soon as the job has begun.
            let store = store_of(state, place).ok();
            let found = store.and_then(|store| inspect(&*store, Inspection::Manifests).ok());
            for checkpoint in found.into_iter().flatten() {
                let Some(manifest) = checkpoint.manifest else { continue };
                cuts.entry(checkpoint.number).or_insert_with(|| Cut::of(&manifest));
            }
            sleep(LOOK_INTERVAL);
        }
        cuts.into_values().collect()
    }

    /// When each record of the input was due, by `TOPIC/PARTITION`, in the order of offsets.
    fn due(&self) -> Result<BTreeMap<String, Vec<i64>>, Failure> {
        let mut due: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for topic in self.job.inputs {
            let mut tail = self.tail(topic.name)?;
            while !tail.has_seen_all() {
                let record = tail.next(POLL_TIMEOUT).map_err(anyhow::Error::from)?;
                let Some(record) = record else { continue };
                let lane = format!("{}{}/{}", self.stage.prefix(), topic.name, record.partition);
                due.entry(lane).or_default().push(record.timestamp_ms.unwrap_or(i64::MAX));
            }
        }
        Ok(due)
    }
}

impl Arrivals {
    fn add(&mut self, at_ms: i64, records: u64) {
        match self.0.last_mut() {
            Some((last_ms, count)) if *last_ms == at_ms => *count = records,
            _ => self.0.push((at_ms, records)),
        }
    }

    /// When there were so many records, if there ever were.
    fn reached(&self, records: u64) -> Option<i64> {
        let place = self.0.partition_point(|&(_, count)| count < records);
        self.0.get(place).map(|&(at_ms, _)| at_ms)
    }
}

impl Cut {
    /// How many of the events of a lane that had so many are reflected.
    fn place(&self, lane: &str, events: usize) -> usize {
        let position = self.positions.get(lane).copied().unwrap_or(0);
        usize::try_from(position).unwrap_or(0).min(events)
    }

    fn of(manifest: &Manifest) -> Self {
        let sources = manifest.sources.iter().flat_map(|source| &source.positions);
        let positions = sources.map(|(lane, &position)| (lane.clone(), position)).collect();
        let mut rows: BTreeMap<String, u64> = BTreeMap::new();
        for sink in &manifest.sinks {
            let table = sink.name.trim_start_matches("sink ");
            *rows.entry(table.to_owned()).or_default() += sink.rows;
        }
        Cut { positions, rows }
    }

    /// When readers had all that changed since the checkpoint before.
    fn seen(&self, before: &Cut, arrivals: &BTreeMap<String, Arrivals>) -> Seen {
        let rows_before = |table: &String| before.rows.get(table).copied().unwrap_or(0);
        let changed = self.rows.iter().filter(|&(table, &rows)| rows > rows_before(table));
        let times: Option<Vec<i64>> =
            changed.map(|(table, &rows)| arrivals.get(table)?.reached(rows)).collect();
        match times.map(|times| times.into_iter().max()) {
            None => Seen::NotYet,
            Some(None) => Seen::Nothing,
            Some(Some(at_ms)) => Seen::At(at_ms),
        }
    }
}

/// When readers had what a checkpoint changed.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// It changed nothing.
    Nothing,
    At(i64),
    NotYet,
}

/// How long each event that was due at `from_ms` or later took to be seen, or at least took until
/// `over_ms`, in milliseconds.
fn latencies(
    cuts: &[Cut],
    arrivals: &BTreeMap<String, Arrivals>,
    due_ms: &BTreeMap<String, Vec<i64>>,
    (from_ms, over_ms): (i64, i64),
) -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, LATENCY_MS_MAX, 3).expect("the bounds are in order");
    let mut record = |events: &[i64], seen_ms: i64| {
        for due_ms in events.iter().filter(|&&due_ms| due_ms >= from_ms) {
            histogram.saturating_record(seen_ms.saturating_sub(*due_ms).max(0) as u64);
        }
    };
    let mut before = &Cut::default();
    for cut in cuts {
        let seen_ms = match cut.seen(before, arrivals) {
            Seen::Nothing => None,
            Seen::At(at_ms) => Some(at_ms),
            Seen::NotYet => Some(over_ms),
        };
        for (lane, due) in due_ms {
            let events = &due[before.place(lane, due.len())..cut.place(lane, due.len())];
            seen_ms.into_iter().for_each(|seen_ms| record(events, seen_ms));
        }
        before = cut;
    }
    for (lane, due) in due_ms {
        record(&due[before.place(lane, due.len())..], over_ms);
    }
    histogram
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(position: i64, rows: u64) -> Cut {
        Cut {
            positions: BTreeMap::from([("in/0".to_owned(), position)]),
            rows: BTreeMap::from([("out".to_owned(), rows)]),
        }
    }

    fn arrivals(seen: &[(i64, u64)]) -> BTreeMap<String, Arrivals> {
        BTreeMap::from([("out".to_owned(), Arrivals(seen.to_vec()))])
    }

    #[test]
    fn an_event_is_as_old_as_the_last_row_of_its_checkpoint_makes_it() {
        let due = BTreeMap::from([("in/0".to_owned(), vec![100, 110, 120, 130])]);
        // The second checkpoint's two rows are there at 200 and 210, the third has none.
        let cuts = [cut(1, 1), cut(3, 3), cut(4, 3)];
        let seen = arrivals(&[(150, 1), (200, 2), (210, 3)]);
        let values = |seen, from_ms| -> Vec<u64> {
            let all = latencies(&cuts, seen, &due, (from_ms, 1_000));
            all.iter_recorded().map(|at| at.value_iterated_to()).collect()
        };
        assert_eq!(values(&seen, 0), [50, 90, 100]);
        assert_eq!(values(&seen, 115), [90], "what came before is warm-up");
        // Nobody saw anything, and the last event changed nothing.
        assert_eq!(values(&arrivals(&[]), 0), [880, 890, 900]);
        let unread = BTreeMap::from([("in/0".to_owned(), vec![100, 110, 120, 130, 140])]);
        let late = latencies(&cuts, &seen, &unread, (140, 1_000));
        assert_eq!((late.len(), late.max()), (1, 860), "no checkpoint reflects it");
    }

    #[test]
    fn a_count_is_reached_when_at_least_so_many_were_there() {
        let mut arrivals = Arrivals::default();
        for (at_ms, records) in [(10, 1), (10, 2), (12, 3)] {
            arrivals.add(at_ms, records);
        }
        assert_eq!(arrivals.0, [(10, 2), (12, 3)]);
        assert_eq!([1, 2, 3, 4].map(|n| arrivals.reached(n)), [Some(10), Some(10), Some(12), None]);
    }
}
