//! One job, run by the engine and computed in batch, on random input.
//!
//! Many runs fail on the way, at any write or commit, and go on from their last checkpoint with
//! another number of workers, as often as it takes. What was written and not committed is lost
//! then, as it would be outside.

use crate::data::{Data, TABLES, data};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidemill_connectors::sink::{Console, Marker, Sink, Transaction, WriteSpec, Writer};
use tidemill_connectors::source::{ConnectorError, ReadSpec, Source};
use tidemill_connectors::{Registry, open_source};
use tidemill_operators::{Batch, Epoch};
use tidemill_oracle::{Capture, Excluded, difference, recompute};
use tidemill_runtime::checkpoint::CheckpointError;
use tidemill_runtime::{
    Fit, JobError, Metrics, Outside, RunOptions, Start, StateDirectory, Summary, run,
};
use tidemill_sql::plan::{NodeKind, Plan};
use tidemill_sql::{SourceText, plan_session};

/// Random inputs for each job, times `TIDEMILL_TEST_SCALE`.
const CASES: u32 = 16;

/// So many rounds of them are made until one has gone on from a checkpoint.
const ROUNDS_MAX: usize = 4;

/// The size of epochs of a session that names its input itself.
const SESSION_EPOCH_ROWS: usize = 200;

/// How a job may be given its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// In several files, whose rows have no order between them.
    Files,
    /// In one file: the job's answer depends on the order of arrival.
    OneFile,
    /// In several files, with rows that are late: the batch answer leaves out those that the run
    /// dropped.
    Late,
}

/// How the engine runs.
#[derive(Clone, Debug)]
struct Run {
    workers: usize,
    epoch_rows_max: usize,
    /// Each attempt but the last one fails so.
    failures: Vec<Fuse>,
}

/// When an attempt fails.
#[derive(Clone, Copy, Debug)]
struct Fuse {
    /// After so many writes and commits …
    left: u16,
    /// … from its first commit on, and not from its start.
    waits_for_commit: bool,
}

/// Checks that the engine's answer to `job` is the batch answer, whatever the input, the number
/// of workers and the size of epochs.
pub fn check(job: &str, input: Input) {
    let scale = std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|scale| scale.parse().ok());
    let config = Config {
        cases: CASES * scale.unwrap_or(1),
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    // Behind a commit little is left to do for a job on so few rows.
    let fuse = prop_oneof![
        (1u16..20).prop_map(|left| Fuse { left, waits_for_commit: false }),
        (1u16..5).prop_map(|left| Fuse { left, waits_for_commit: true }),
    ];
    let failures = prop::collection::vec(fuse, 0..5);
    let run = (1usize..=4, prop_oneof![10usize..200, 200usize..2000], failures)
        .prop_map(|(workers, epoch_rows_max, failures)| Run { workers, epoch_rows_max, failures });
    let (rows_compared, resumed) = (Cell::new(0), Cell::new(0));
    let inputs = (data(), run);
    let test = |(data, run): (Data, Run)| {
        let data = match input {
            Input::Files => data,
            Input::OneFile => data.in_one_file(),
            Input::Late => data.with_late_rows(),
        };
        let compared = compare(job, input, &data, run).map_err(TestCaseError::fail)?;
        rows_compared.set(rows_compared.get() + compared.rows);
        resumed.set(resumed.get() + compared.resumed);
        Ok(())
    };
    // Once in a long while chance restores nothing.
    for _ in 0..ROUNDS_MAX {
        if let Err(error) = TestRunner::new(config.clone()).run(&inputs, test) {
            panic!("{job}\n{error}");
        }
        if resumed.get() > 0 {
            break;
        }
    }
    assert!(rows_compared.get() > 0, "{job}\ngave no rows on any input: it tests nothing");
    assert!(resumed.get() > 0, "{job}\nnever went on from a checkpoint: none was restored");
}

/// How much was compared.
struct Compared {
    rows: usize,
    /// Starts that went on from a checkpoint.
    resumed: usize,
}

/// Compares what both sides give.
fn compare(job: &str, input: Input, data: &Data, options: Run) -> Result<Compared, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    data.write(folder.path());
    let text = SourceText { name: "job.sql".to_owned(), text: format!("{TABLES}\n{job}") };
    let variables = [("DATA", folder.path().display().to_string())];
    let plan = plan(vec![text], &variables, options.epoch_rows_max)?;
    compare_plan(&plan, input, &options, folder.path())
}

/// Checks that the engine's answer to a session, which names its input itself, is the batch answer
/// on one, two and four workers, also if runs fail on the way and go on with other numbers.
pub fn check_session(texts: &[SourceText], variables: &[(&str, String)]) {
    let mut compared = Compared { rows: 0, resumed: 0 };
    for _ in 0..ROUNDS_MAX {
        for workers in [1, 2, 4] {
            let fuse = Fuse { left: 4, waits_for_commit: true };
            let run = Run { workers, epoch_rows_max: SESSION_EPOCH_ROWS, failures: vec![fuse; 2] };
            let folder = tempfile::tempdir().expect("a folder");
            let plan = plan(texts.to_vec(), variables, run.epoch_rows_max);
            let plan = plan.unwrap_or_else(|error| panic!("{error}"));
            match compare_plan(&plan, Input::Files, &run, folder.path()) {
                Ok(more) => {
                    compared.rows += more.rows;
                    compared.resumed += more.resumed;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if compared.resumed > 0 {
            break;
        }
    }
    assert!(compared.rows > 0, "no rows: it tests nothing");
    assert!(compared.resumed > 0, "never went on from a checkpoint: none was restored");
}

/// Runs a plan and compares what both sides give.
fn compare_plan(
    plan: &Plan,
    input: Input,
    options: &Run,
    folder: &Path,
) -> Result<Compared, String> {
    let outside = Captured::default();
    let excluded = run_on(plan, options, folder, &outside)?;
    if input != Input::Late && !excluded.is_empty() {
        return Err(format!("{} late rows, {options:?}", excluded.len()));
    }
    let resumed = outside.0.lock().expect("nobody panicked").resumed;
    let mut compared = Compared { rows: 0, resumed };
    let expected = recompute(plan, &excluded, &open_source);
    for sink in expected.map_err(|error| error.to_string())? {
        let NodeKind::Sink(sink_plan) = &plan.nodes[sink.node].kind else { continue };
        let captured = outside.captured(&sink.table);
        let actual = captured.folded(sink_plan, &sink.rows.schema());
        let actual = actual.map_err(|error| error.to_string())?;
        let difference = difference(&sink.rows, &actual).map_err(|error| error.to_string())?;
        if let Some(difference) = difference {
            return Err(format!("{}, {options:?}:\n{difference}", sink.table));
        }
        compared.rows += actual.num_rows();
    }
    Ok(compared)
}

/// Plans a session so that checkpoints come often and epochs are short.
pub fn plan(
    texts: Vec<SourceText>,
    variables: &[(&str, String)],
    epoch_rows_max: usize,
) -> Result<Plan, String> {
    let options = [
        ("tidemill.epoch.max-rows", epoch_rows_max.to_string()),
        ("execution.checkpointing.interval", "2 ms".to_owned()),
        ("restart-strategy.type", "none".to_owned()),
    ];
    let all = variables.iter().chain(&options);
    let all = all.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let planned = plan_session(texts, &all, &Registry);
    Ok(planned.map_err(|error| error.to_string())?.plan)
}

/// Runs the job and says what it dropped as late.
fn run_on(plan: &Plan, how: &Run, folder: &Path, outside: &Captured) -> Result<Excluded, String> {
    let dead_letters = folder.join("state/dead-letters");
    let metrics = Arc::new(Metrics::new(plan, 4));
    let attempt = |workers: usize| -> Result<Summary, JobError> {
        let directory = StateDirectory::open(&folder.join("state"), Start::Resume)?;
        let options = RunOptions {
            workers,
            dead_letters: directory.dead_letters(),
            state: Some(directory.job_state(&plan.options, Fit::Exact)?),
            memory_limit: None,
            stop: Arc::default(),
            console: Arc::new(Silence),
            metrics: metrics.clone(),
        };
        run(plan, options, outside)
    };
    let mut finished = None;
    for (i, &fuse) in how.failures.iter().enumerate() {
        outside.0.lock().expect("nobody panicked").fuse = Some(fuse);
        match attempt(1 + (how.workers + i) % 4) {
            // It had less to write than that.
            Ok(summary) => {
                finished = Some(summary);
                break;
            }
            Err(
                JobError::Connector(error)
                | JobError::Checkpoint(CheckpointError::Connector(error)),
            ) if error.cause == FAILURE => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    outside.0.lock().expect("nobody panicked").fuse = None;
    let summary = match finished {
        Some(summary) => summary,
        None => attempt(how.workers).map_err(|error| error.to_string())?,
    };
    let mut excluded = Excluded::default();
    if summary.late_rows > 0 {
        let text = fs::read_to_string(dead_letters.join("late.jsonl"));
        for line in text.map_err(|error| error.to_string())?.lines() {
            let letter: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
            let step = metrics.nodes.iter().position(|node| letter["step"] == node.name.as_str());
            let row = serde_json::from_value(letter["row"].clone());
            excluded.add(step.ok_or("no such step")?, row.map_err(|error| error.to_string())?);
        }
    }
    match summary.bad_rows {
        0 if excluded.len() as u64 == summary.late_rows => Ok(excluded),
        bad => Err(format!("{} late and {bad} bad rows", summary.late_rows)),
    }
}

#[derive(Debug)]
struct Silence;

impl Console for Silence {
    fn write(&self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// How long a write takes.
const WRITE_TIME: Duration = Duration::from_micros(500);

/// The cause of failures that are made.
const FAILURE: &str = "the fuse has burnt down";

/// Real sources, and a world of its own for what is written.
#[derive(Clone, Debug, Default)]
struct Captured(Arc<Mutex<World>>);

/// What was written, and whether it is committed.
#[derive(Debug, Default)]
struct World {
    committed: BTreeMap<String, Capture>,
    open: Vec<(String, Vec<Batch>)>,
    marker: Option<Marker>,
    /// Starts that found a marker.
    resumed: usize,
    /// Whether anything was committed since the last start.
    has_committed: bool,
    /// When the next failure comes.
    fuse: Option<Fuse>,
}

impl World {
    /// One step more; the last one fails.
    fn burn(&mut self) -> Result<(), ConnectorError> {
        let Some(fuse) = &mut self.fuse else { return Ok(()) };
        if fuse.waits_for_commit && !self.has_committed {
            return Ok(());
        }
        fuse.left = fuse.left.saturating_sub(1);
        match fuse.left {
            0 => Err(ConnectorError { what: "a test".to_owned(), cause: FAILURE.to_owned() }),
            _ => Ok(()),
        }
    }
}

impl Captured {
    fn captured(&self, table: &str) -> Capture {
        let mut world = self.0.lock().expect("nobody panicked");
        world.committed.entry(table.to_owned()).or_default().clone()
    }
}

impl Outside for Captured {
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        open_source(spec)
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(Box::new(Table { name: spec.table.name.clone(), outside: self.clone() }))
    }
}

/// A table that is written, by all workers or by one of them.
#[derive(Clone)]
struct Table {
    name: String,
    outside: Captured,
}

impl Sink for Table {
    fn writer(&self, _: usize, _: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }

    fn transaction(&self) -> Option<Arc<dyn Transaction>> {
        Some(Arc::new(self.outside.clone()))
    }
}

impl Writer for Table {
    fn write(&mut self, _: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        let mut world = self.outside.0.lock().expect("nobody panicked");
        world.burn()?;
        world.open.push((self.name.clone(), rows.to_vec()));
        drop(world);
        // Or all would be over before the first checkpoint stands.
        std::thread::sleep(WRITE_TIME);
        Ok(())
    }
}

impl Transaction for Captured {
    fn id(&self) -> String {
        "world".to_owned()
    }

    fn recover(&self) -> Result<Option<Marker>, ConnectorError> {
        let mut world = self.0.lock().expect("nobody panicked");
        world.open.clear();
        world.resumed += usize::from(world.marker.is_some());
        world.has_committed = false;
        Ok(world.marker.clone())
    }

    fn flush(&self) -> Result<(), ConnectorError> {
        self.0.lock().expect("nobody panicked").burn()
    }

    fn commit(&self, marker: &Marker) -> Result<(), ConnectorError> {
        let mut world = self.0.lock().expect("nobody panicked");
        world.burn()?;
        for (table, rows) in std::mem::take(&mut world.open) {
            world.committed.entry(table).or_default().write(0, &rows)?;
        }
        world.marker = Some(marker.clone());
        world.has_committed = true;
        // Done, and the answer is lost.
        world.burn()
    }
}
