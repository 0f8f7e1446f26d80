//! One job, run by the engine and computed in batch, on random input.
//!
//! Many runs fail on the way and go on from their last checkpoint: see [`world`](crate::world).

use crate::data::{Data, TABLES, data};
use crate::world::{Fuse, World, folder, run_through, scale};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::Cell;
use std::fs;
use std::path::Path;
use tidemill_connectors::sink::Writer as _;
use tidemill_connectors::{Registry, open_source};
use tidemill_oracle::{Capture, Excluded, difference, recompute};
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

/// Checks that the engine's answer to `job` is the batch answer, whatever the input, the number
/// of workers and the size of epochs.
pub fn check(job: &str, input: Input) {
    let scale = scale();
    let config = Config {
        cases: CASES * scale.unwrap_or(1),
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let failures = prop::collection::vec(Fuse::any(), 0..5);
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
    let folder = folder().map_err(|error| error.to_string())?;
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
            let fuse = Fuse::behind_a_commit(4);
            let run = Run { workers, epoch_rows_max: SESSION_EPOCH_ROWS, failures: vec![fuse; 2] };
            let folder = folder().expect("a folder");
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
    let world = World::new(open_source);
    let excluded = run_on(plan, options, folder, &world)?;
    if input != Input::Late && !excluded.is_empty() {
        return Err(format!("{} late rows, {options:?}", excluded.len()));
    }
    let mut compared = Compared { rows: 0, resumed: world.resumed() };
    let expected = recompute(plan, &excluded, &open_source);
    for sink in expected.map_err(|error| error.to_string())? {
        let NodeKind::Sink(sink_plan) = &plan.nodes[sink.node].kind else { continue };
        let actual = captured(&world, &sink.table)?.folded(sink_plan, &sink.rows.schema());
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

/// What a table was given.
fn captured(world: &World, table: &str) -> Result<Capture, String> {
    let mut capture = Capture::default();
    for write in world.committed().into_iter().filter(|write| write.table == table) {
        capture.write(write.epoch, &write.rows).map_err(|error| error.to_string())?;
    }
    Ok(capture)
}

/// Runs the job and says what it dropped as late.
fn run_on(plan: &Plan, how: &Run, folder: &Path, world: &World) -> Result<Excluded, String> {
    let (summary, metrics) = run_through(plan, (how.workers, &how.failures), folder, world)?;
    let mut excluded = Excluded::default();
    if summary.late_rows > 0 {
        let text = fs::read_to_string(folder.join("state/dead-letters/late.jsonl"));
        let node = |name: &str| metrics.nodes.iter().position(|node| node.name == name);
        excluded = Excluded::read(&text.map_err(|error| error.to_string())?, node)
            .map_err(|error| error.to_string())?;
    }
    match summary.bad_rows {
        0 if excluded.len() as u64 == summary.late_rows => Ok(excluded),
        bad => Err(format!("{} late and {bad} bad rows", summary.late_rows)),
    }
}
