//! Whole jobs between sources and sinks in memory.

use crate::{
    Exit, Fit, JobError, JobState, Metrics, Outside, RunOptions, Start, StateDirectory, Summary,
    run,
};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tidemill_connectors::sink::{Console, Sink, WriteSpec, Writer};
use tidemill_connectors::source::{
    Alignment, BadInput, BadInputs, ConnectorError, Lane, LaneRows, LaneState, Poll, Positions,
    ReadSpec, Reader, Source,
};
use tidemill_formats::{Changelog, Table};
use tidemill_operators::map::MapSpec;
use tidemill_operators::window::WindowKind;
use tidemill_operators::window_aggregate::WindowAggregateSpec;
use tidemill_operators::{Batch, Epoch, Expression, RowError};
use tidemill_sql::plan::{Node, NodeKind, Plan, SinkPlan, SourcePlan};

fn schema() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![field("key"), field("value")]))
}

fn rows(pairs: &[(i64, i64)]) -> RecordBatch {
    let column = |pick: fn(&(i64, i64)) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(pairs.iter().map(pick)))
    };
    RecordBatch::try_new(schema(), vec![column(|p| p.0), column(|p| p.1)]).unwrap()
}

fn table(name: &str, options: &[(&str, &str)]) -> Table {
    let options = options.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    Table {
        name: name.to_owned(),
        schema: schema(),
        metadata: Vec::new(),
        primary_key: vec![0],
        partitioned_by: Vec::new(),
        options,
    }
}

fn node(kind: NodeKind, inputs: Vec<usize>) -> Node {
    let changelog = Changelog::AppendOnly;
    Node {
        kind,
        inputs,
        schema: schema(),
        changelog,
        sources: vec![0],
        delay_ms: 0,
        by_processing_time: false,
        operator_id: 0,
    }
}

fn source(options: &[(&str, &str)]) -> Node {
    let plan = SourcePlan {
        table: table("numbers", options),
        columns: vec![0, 1],
        arrival: false,
        watermark: Some(Arc::new(ValueAsTime)),
        changelog: tidemill_formats::Changelog::AppendOnly,
    };
    node(NodeKind::Source(plan), vec![])
}

fn sink(changelog: Changelog, input: usize) -> Node {
    node(NodeKind::Sink(SinkPlan { table: table("results", &[]), changelog }), vec![input])
}

#[derive(Debug)]
struct ValueAsTime;

impl Expression for ValueAsTime {
    fn evaluate(&self, rows: &RecordBatch, _: i64) -> Result<ArrayRef, RowError> {
        let values = rows.column(1).as_primitive::<Int64Type>().values().clone();
        Ok(Arc::new(TimestampMillisecondArray::new(values, None)))
    }

    fn describe(&self) -> String {
        "value".to_owned()
    }
}

/// A row as it was written: its epoch, its columns, its weight.
type Written = (Epoch, i64, i64, i64);

/// How the world outside behaves, and what it was given.
#[derive(Clone, Default)]
struct World {
    /// Rows that each worker reads, batch by batch.
    inputs: Vec<Vec<Vec<(i64, i64)>>>,
    is_endless: bool,
    bad_records: u64,
    reader_panics: bool,
    writer_fails: bool,
    /// Whether nothing arrives outside for the next checkpoint.
    settling_fails: Arc<AtomicBool>,
    /// How far lanes may drift apart. Lane 0 is slow then.
    max_drift: Option<Duration>,
    /// What was read, in order: the lane and its greatest value so far.
    read: Arc<Mutex<Vec<(Lane, i64)>>>,
    written: Arc<Mutex<Vec<Written>>>,
    finished: Arc<Mutex<usize>>,
}

impl Outside for World {
    fn source(&self, _: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }

    fn sink(&self, _: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

impl Source for World {
    fn is_bounded(&self) -> bool {
        !self.is_endless
    }

    fn readers(&self, workers: usize) -> Result<Vec<Box<dyn Reader>>, ConnectorError> {
        Ok((0..workers)
            .map(|worker| {
                let mut batches = self.inputs.get(worker).cloned().unwrap_or_default();
                batches.reverse();
                let bad = self.bad_records;
                let (world, lane) = (self.clone(), worker as Lane);
                Box::new(MemoryReader { world, lane, batches, bad, polls: 0, is_held: false })
                    as Box<dyn Reader>
            })
            .collect())
    }

    fn alignment(&self) -> Option<Alignment> {
        self.max_drift.map(|max_drift| Alignment { max_drift, group: None })
    }
}

struct MemoryReader {
    world: World,
    lane: Lane,
    batches: Vec<Vec<(i64, i64)>>,
    bad: u64,
    polls: usize,
    is_held: bool,
}

impl MemoryReader {
    /// Whether it has to wait: held, or slow.
    fn waits(&mut self) -> bool {
        self.polls += 1;
        let is_slow = self.world.max_drift.is_some() && self.lane == 0;
        self.is_held || (is_slow && !self.polls.is_multiple_of(8))
    }
}

impl Reader for MemoryReader {
    fn poll(&mut self, _: Epoch, _: usize) -> Result<Poll, ConnectorError> {
        if self.world.reader_panics {
            panic!("lost my place");
        }
        if self.waits() {
            return Ok(Poll::Pending);
        }
        match self.batches.pop() {
            Some(pairs) => {
                let greatest = pairs.iter().map(|pair| pair.1).max().unwrap_or_default();
                self.world.read.lock().unwrap().push((self.lane, greatest));
                let rows = rows(&pairs).into();
                Ok(Poll::Rows(vec![LaneRows { lane: self.lane, rows }]))
            }
            None if self.world.is_endless => Ok(Poll::Pending),
            None => Ok(Poll::Finished),
        }
    }

    fn lanes(&mut self) -> Vec<(Lane, LaneState)> {
        vec![(self.lane, LaneState::Active)]
    }

    fn hold(&mut self, lanes: &[Lane]) {
        self.is_held = lanes.contains(&self.lane);
    }

    fn take_bad(&mut self) -> BadInputs {
        let count = std::mem::take(&mut self.bad);
        let bad = BadInput {
            place: "memory".to_owned(),
            position: 7,
            reason: "unreadable".to_owned(),
            record: b"?".to_vec(),
        };
        BadInputs { count, records: vec![bad; count as usize] }
    }

    fn positions(&self) -> Positions {
        Positions::new()
    }
}

impl Sink for World {
    fn writer(&self, _: usize, _: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }

    fn settle(&self) -> Result<(), ConnectorError> {
        match self.settling_fails.swap(false, Ordering::AcqRel) {
            true => Err(failure()),
            false => Ok(()),
        }
    }
}

fn failure() -> ConnectorError {
    ConnectorError { what: "writing results".to_owned(), cause: "disk full".to_owned() }
}

impl Writer for World {
    fn write(&mut self, epoch: Epoch, batches: &[Batch]) -> Result<(), ConnectorError> {
        if self.writer_fails {
            return Err(failure());
        }
        let mut written = self.written.lock().unwrap();
        for batch in batches {
            let keys = batch.column(0).as_primitive::<Int64Type>();
            let values = batch.column(1).as_primitive::<Int64Type>();
            let all =
                (0..keys.len()).map(|i| (epoch, keys.value(i), values.value(i), batch.weight(i)));
            written.extend(all);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ConnectorError> {
        *self.finished.lock().unwrap() += 1;
        Ok(())
    }
}

#[derive(Debug)]
struct Silence;

impl Console for Silence {
    fn write(&self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

struct Job {
    plan: Plan,
    world: World,
    stop: Arc<AtomicBool>,
}

impl Job {
    fn new(nodes: Vec<Node>, world: World) -> Self {
        let plan = Plan { nodes, options: BTreeMap::new() };
        Job { plan, world, stop: Arc::default() }
    }

    fn with_option(mut self, key: &str, value: &str) -> Self {
        self.plan.options.insert(key.to_owned(), value.to_owned());
        self
    }

    fn run(&self, workers: usize, folder: &Path) -> Result<Summary, JobError> {
        self.run_with(None, workers, folder)
    }

    fn run_with(
        &self,
        state: Option<JobState>,
        workers: usize,
        folder: &Path,
    ) -> Result<Summary, JobError> {
        let options = RunOptions {
            workers,
            dead_letters: folder.to_owned(),
            state,
            memory_limit: None,
            stop: self.stop.clone(),
            console: Arc::new(Silence),
            metrics: Arc::new(Metrics::new(&self.plan, workers)),
        };
        run(&self.plan, options, &self.world)
    }

    fn run_anywhere(&self, workers: usize) -> Result<Summary, JobError> {
        self.run(workers, tempfile::tempdir().unwrap().path())
    }

    fn pairs(&self) -> Vec<(i64, i64)> {
        let written = self.world.written.lock().unwrap();
        let mut pairs: Vec<(i64, i64)> = written.iter().map(|w| (w.1, w.2)).collect();
        pairs.sort_unstable();
        pairs
    }
}

fn world(inputs: Vec<Vec<Vec<(i64, i64)>>>) -> World {
    World { inputs, ..World::default() }
}

#[test]
fn every_row_read_is_written_by_any_number_of_workers() {
    for workers in 1..=4 {
        let inputs: Vec<Vec<Vec<(i64, i64)>>> = (0..workers as i64)
            .map(|w| (0..20).map(|b| (0..50).map(|i| (w, b * 50 + i)).collect()).collect())
            .collect();
        let mut expected: Vec<(i64, i64)> = inputs.iter().flatten().flatten().copied().collect();
        expected.sort_unstable();
        let job = Job::new(vec![source(&[]), sink(Changelog::AppendOnly, 0)], world(inputs));
        let summary = job.run_anywhere(workers).unwrap();
        assert_eq!(job.pairs(), expected);
        assert_eq!(
            (summary.rows_in, summary.rows_out),
            (1000 * workers as u64, 1000 * workers as u64)
        );
        assert_eq!(summary.exit, Exit::Finished);
        assert_eq!(*job.world.finished.lock().unwrap(), workers);
    }
}

#[test]
fn a_lane_far_ahead_of_the_slowest_is_held_until_that_one_has_caught_up() {
    let input = |lane| (0..100).map(|b| (0..10).map(|i| (lane, b * 10 + i)).collect()).collect();
    let world = World {
        inputs: vec![input(0), input(1)],
        max_drift: Some(Duration::from_millis(50)),
        ..World::default()
    };
    let job = Job::new(vec![source(&[]), sink(Changelog::AppendOnly, 0)], world)
        .with_option("tidemill.epoch.interval-ms", "1")
        .with_option("tidemill.epoch.max-rows", "10");
    job.run_anywhere(2).unwrap();
    assert_eq!(job.pairs().len(), 2000, "nothing is left behind");
    // Beyond the drift: what was read under one epoch, and, before both lanes are known, under as
    // many epochs as may be in flight.
    const ALLOWED: i64 = 50 + 8 * 20;
    let (mut slow, mut lead) = (0, 0);
    for &(lane, value) in job.world.read.lock().unwrap().iter() {
        match lane {
            0 => slow = value,
            _ => lead = lead.max(value - slow),
        }
    }
    assert!(lead <= ALLOWED, "{lead} ms ahead");
}

#[test]
fn values_are_given_once_whatever_the_number_of_workers() {
    let nodes = vec![
        node(NodeKind::Values(rows(&[(1, 1), (2, 2)])), vec![]),
        node(NodeKind::Values(rows(&[(3, 3)])), vec![]),
        node(NodeKind::Union, vec![0, 1]),
        sink(Changelog::AppendOnly, 2),
    ];
    let job = Job::new(nodes, World::default());
    job.run_anywhere(3).unwrap();
    assert_eq!(job.pairs(), [(1, 1), (2, 2), (3, 3)]);
}

#[test]
fn an_upserting_sink_gets_one_row_for_each_key_and_epoch() {
    let inputs = vec![vec![vec![(1, 10), (2, 20), (1, 11)]], vec![vec![(2, 20), (3, 30)]]];
    let job = Job::new(vec![source(&[]), sink(Changelog::Upsert, 0)], world(inputs));
    job.run_anywhere(2).unwrap();
    let mut keys: Vec<(Epoch, i64)> =
        job.world.written.lock().unwrap().iter().map(|w| (w.0, w.1)).collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all, "no key twice in an epoch");
    assert!(job.pairs().contains(&(1, 11)));
    assert!(!job.pairs().contains(&(1, 10)));
}

/// A job that copies two rows and waits for more, stopped once they were written.
fn stop_a_copy(
    world: &World,
    run: impl FnOnce(&Job) -> Result<Summary, JobError> + Send + 'static,
) -> (Arc<Job>, Result<Summary, JobError>) {
    let world = World { is_endless: true, ..world.clone() };
    let nodes = vec![source(&[]), sink(Changelog::AppendOnly, 0)];
    let job = Job::new(nodes, world).with_option("execution.checkpointing.interval", "1 h");
    let job = Arc::new(job);
    let running = std::thread::spawn({
        let job = job.clone();
        move || run(&job)
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while job.pairs().len() < 2 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    job.stop.store(true, Ordering::Release);
    let outcome = running.join().unwrap();
    (job, outcome)
}

#[test]
fn a_stopped_job_writes_what_it_has_read() {
    let world = world(vec![vec![vec![(1, 1)], vec![(2, 2)]]]);
    let (job, outcome) = stop_a_copy(&world, |job| job.run_anywhere(2));
    assert_eq!(outcome.unwrap().exit, Exit::Stopped);
    assert_eq!(job.pairs(), [(1, 1), (2, 2)]);
    assert_eq!(*job.world.finished.lock().unwrap(), 2);
}

#[test]
fn a_job_that_fails_as_it_stops_ends_at_its_last_checkpoint() {
    let world = world(vec![vec![vec![(1, 1)], vec![(2, 2)]]]);
    world.settling_fails.store(true, Ordering::Release);
    let (job, outcome) = stop_a_copy(&world, |job| {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(folder.path(), Start::Resume).unwrap();
        let state_of_job = state.job_state(&job.plan.options, Fit::Exact).unwrap();
        job.run_with(Some(state_of_job), 2, folder.path())
    });
    assert_eq!(outcome.unwrap().exit, Exit::Stopped);
    assert!(!job.world.settling_fails.load(Ordering::Acquire), "it did fail");
}

#[test]
fn whatever_fails_ends_the_job_with_one_message_and_finishes_no_sink() {
    let inputs = vec![vec![vec![(1, 1)]], vec![]];
    let cases: [(World, &str); 2] = [
        (World { writer_fails: true, ..world(inputs.clone()) }, "writing results: disk full"),
        (World { reader_panics: true, ..world(inputs) }, "lost my place"),
    ];
    for (world, message) in cases {
        let job = Job::new(vec![source(&[]), sink(Changelog::AppendOnly, 0)], world);
        let error = job.run_anywhere(2).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(*job.world.finished.lock().unwrap(), 0);
    }
}

#[test]
fn bad_records_are_kept_skipped_or_fatal_as_the_table_says() {
    let bad = || World { bad_records: 2, ..world(vec![vec![vec![(1, 1)]]]) };
    let job = |options: &[(&str, &str)]| {
        Job::new(vec![source(options), sink(Changelog::AppendOnly, 0)], bad())
    };
    let folder = tempfile::tempdir().unwrap();
    let summary = job(&[]).run(1, folder.path()).unwrap();
    assert_eq!((summary.bad_rows, summary.rows_out), (2, 1));
    let letters = std::fs::read_to_string(folder.path().join("numbers.jsonl")).unwrap();
    assert_eq!(letters.lines().count(), 2);

    let folder = tempfile::tempdir().unwrap();
    let summary = job(&[("scan.bad-records", "skip")]).run(1, folder.path()).unwrap();
    assert_eq!(summary.bad_rows, 2);
    assert!(!folder.path().join("numbers.jsonl").exists());

    let error = job(&[("scan.bad-records", "fail")]).run_anywhere(1).unwrap_err();
    assert!(error.to_string().contains("memory:7"), "{error}");
    let error = job(&[("scan.bad-records", "ignore")]).run_anywhere(1).unwrap_err();
    assert!(error.to_string().contains("dead-letter"), "{error}");
}

/// A count per ten milliseconds over a time column that is the value. Its window is closed when
/// the row with value 3 comes, an epoch after the one with value 25.
fn late_job() -> Job {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let timed = Arc::new(Schema::new(vec![Field::new("ts", time.clone(), true)]));
    let map = MapSpec {
        windows: None,
        predicate: None,
        projection: Some(vec![Arc::new(ValueAsTime)]),
        has_idle_updates: false,
        schema: timed.clone(),
    };
    let spec = WindowAggregateSpec {
        window: WindowKind::Tumble { size_ms: 10, offset_ms: 0 },
        zone: None,
        time: 0,
        keys: Vec::new(),
        aggregates: Vec::new(),
        updating: false,
        arrival: None,
    };
    let bounds = ["window_start", "window_end", "window_time"];
    let bounds = bounds.map(|name| Field::new(name, time.clone(), true));
    let windows = Arc::new(Schema::new(bounds.to_vec()));
    let as_pair = MapSpec {
        windows: None,
        predicate: None,
        projection: Some(vec![Arc::new(BoundAsNumber(0)), Arc::new(BoundAsNumber(1))]),
        has_idle_updates: false,
        schema: schema(),
    };
    let nodes = vec![
        source(&[]),
        Node { schema: timed, ..node(NodeKind::Map(map), vec![0]) },
        Node { schema: windows, ..node(NodeKind::WindowAggregate(spec), vec![1]) },
        node(NodeKind::Map(as_pair), vec![2]),
        sink(Changelog::AppendOnly, 3),
    ];
    let inputs = vec![vec![vec![(1, 1)], vec![(1, 25)], vec![(1, 3)], vec![(1, 26)]]];
    // One row fills an epoch, so each batch has an epoch of its own.
    Job::new(nodes, world(inputs)).with_option("tidemill.epoch.max-rows", "1")
}

#[derive(Debug)]
struct BoundAsNumber(usize);

impl Expression for BoundAsNumber {
    fn evaluate(&self, rows: &RecordBatch, _: i64) -> Result<ArrayRef, RowError> {
        let bounds = rows.column(self.0).as_primitive::<TimestampMillisecondType>();
        Ok(Arc::new(Int64Array::new(bounds.values().clone(), None)))
    }

    fn describe(&self) -> String {
        format!("bound {}", self.0)
    }
}

#[test]
fn late_rows_are_kept_dropped_or_fatal_as_the_session_says() {
    let folder = tempfile::tempdir().unwrap();
    let job = late_job();
    let summary = job.run(1, folder.path()).unwrap();
    assert_eq!(job.pairs(), [(0, 10), (20, 30)]);
    assert_eq!(summary.late_rows, 1);
    let letter = std::fs::read_to_string(folder.path().join("late.jsonl")).unwrap();
    assert!(letter.contains("window aggregate 2") && letter.contains("00:00:00.003"), "{letter}");

    let folder = tempfile::tempdir().unwrap();
    let job = late_job().with_option("tidemill.late-rows", "drop");
    assert_eq!(job.run(1, folder.path()).unwrap().late_rows, 1);
    assert!(!folder.path().join("late.jsonl").exists());

    let job = late_job().with_option("tidemill.late-rows", "fail");
    let error = job.run_anywhere(1).unwrap_err();
    assert!(error.to_string().contains("window aggregate 2"), "{error}");
    assert_eq!(*job.world.finished.lock().unwrap(), 0);
}
