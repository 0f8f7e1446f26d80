//! `tidemill run`: a job in the foreground.

use crate::console::StandardOutput;
use crate::exposition::Exposition;
use crate::failure::Failure;
use crate::session::{self, SessionArguments};
use crate::signals;
use crate::status::{Display, Status, grouped};
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tidemill_connectors::Registry;
use tidemill_connectors::sink::Console;
use tidemill_formats::Connectors as _;
use tidemill_runtime::{
    Exit, Fit, JobError, Metrics, Outside, RunOptions, Start, StateDirectory, Summary, Usage,
    parallelism,
};
use tidemill_sql::plan::{NodeKind, Plan};

/// The arguments of `tidemill run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) session: SessionArguments,
    #[command(flatten)]
    pub(crate) job: JobArguments,
}

/// How a job is run.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct JobArguments {
    /// Number of workers, each a thread [default: the number of cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// Where the job's identity, state and dead letters live.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Start anew, whatever the state directory holds.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Go on even if the job has changed: with the state that fits, without the rest.
    #[arg(long, conflicts_with = "fresh")]
    pub(crate) allow_non_restored_state: bool,
    /// Write a summary of the run to this file, as one JSON object.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    /// Serve metrics for Prometheus at http://ADDR/metrics; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<String>,
    /// What is shown meanwhile.
    #[arg(skip)]
    pub(crate) display: Display,
}

impl JobArguments {
    fn fit(&self) -> Fit {
        if self.allow_non_restored_state { Fit::WhatFits } else { Fit::Exact }
    }
}

pub(crate) fn execute(arguments: RunArguments) -> Result<(), Failure> {
    let planned = session::plan(&arguments.session)?;
    for output in &planned.outputs {
        StandardOutput.write(format!("{}\n", output.trim_end_matches('\n')).as_bytes())?;
    }
    if !planned.plan.nodes.iter().any(|node| matches!(node.kind, NodeKind::Sink(_))) {
        return Ok(());
    }
    let name = session::job_name(&arguments.session.files);
    let stop = signals::stop_flag().context("listening to signals")?;
    run_job(&name, &planned.plan, &arguments.job, &Registry, stop).map(drop)
}

/// Runs a plan in the foreground, with everything around it: its state directory, its status
/// line, its summary. `None` if it had come to its end in an earlier run.
pub(crate) fn run_job(
    name: &str,
    plan: &Plan,
    arguments: &JobArguments,
    outside: &dyn Outside,
    stop: Arc<AtomicBool>,
) -> Result<Option<Summary>, Failure> {
    let workers = workers(plan, arguments)?;
    let home = Home::open(name, plan, arguments)?;
    if home.directory.is_finished() {
        let path = home.directory.path().display();
        tracing::info!("{name} has finished already: {path} says so; --fresh starts anew");
        return Ok(None);
    }
    let metrics = Arc::new(Metrics::new(plan, workers));
    let serve = |address: &String| Exposition::serve(address, name, metrics.clone());
    let exposition = arguments.metrics.as_ref().map(serve).transpose()?;
    let options = RunOptions {
        workers,
        dead_letters: home.directory.dead_letters(),
        state: Some(home.directory.job_state(&plan.options, arguments.fit())?),
        stop,
        console: Arc::new(StandardOutput),
        metrics: metrics.clone(),
    };
    let started = Instant::now();
    let status = Status::show(metrics.clone(), &arguments.display);
    let outcome = tidemill_runtime::run(plan, options, outside);
    drop((status, exposition));
    let summary = match &outcome {
        Ok(summary) => summary.clone(),
        Err(_) => failed(&metrics, started.elapsed()),
    };
    if let Some(path) = &arguments.summary {
        write_summary(path, &summary)?;
    }
    outcome?;
    tell(name, &summary);
    home.close(&summary)?;
    Ok(Some(summary))
}

fn failed(metrics: &Metrics, elapsed: Duration) -> Summary {
    Summary::new(Exit::Failed, &metrics.totals(), elapsed, Usage::now())
}

fn write_summary(path: &Path, summary: &Summary) -> Result<(), Failure> {
    let mut json = serde_json::to_string(summary).context("the summary")?;
    json.push('\n');
    let written = std::fs::write(path, json);
    Ok(written.with_context(|| format!("writing the summary to {}", path.display()))?)
}

fn tell(name: &str, summary: &Summary) {
    let how = match summary.exit {
        Exit::Finished => "finished",
        Exit::Stopped => "stopped",
        Exit::Failed => "failed",
    };
    let mut line = format!(
        "{name} {how}: {} rows in, {} rows out, {:.1} s, {} rows/s",
        grouped(summary.rows_in),
        grouped(summary.rows_out),
        summary.seconds,
        grouped(summary.rows_per_second as u64),
    );
    if summary.late_rows > 0 {
        line.push_str(&format!(", {} late", grouped(summary.late_rows)));
    }
    if summary.bad_rows > 0 {
        line.push_str(&format!(", {} bad", grouped(summary.bad_rows)));
    }
    tracing::info!("{line}");
}

/// What the command line says, then the session, then the machine.
fn workers(plan: &Plan, arguments: &JobArguments) -> Result<usize, Failure> {
    if let Some(workers) = arguments.workers {
        return Ok(workers.into());
    }
    let wrong = |error: JobError| Failure::JobFile(format!("error: {error}"));
    if let Some(workers) = parallelism(&plan.options).map_err(wrong)? {
        return Ok(workers);
    }
    Ok(std::thread::available_parallelism().map_or(1, Into::into))
}

/// A job's state directory. A bounded job without one of its own has a temporary one, which
/// success removes, unless it holds dead letters.
struct Home {
    directory: StateDirectory,
    temporary: Option<TempDir>,
}

impl Home {
    fn open(name: &str, plan: &Plan, arguments: &JobArguments) -> Result<Self, Failure> {
        let start = if arguments.fresh { Start::Fresh } else { Start::Resume };
        let open = |path: &Path| StateDirectory::open(path, start);
        if let Some(path) = &arguments.state {
            return Ok(Home { directory: open(path)?, temporary: None });
        }
        if !is_bounded(plan) {
            let path = Path::new("tidemill-state").join(name);
            return Ok(Home { directory: open(&path)?, temporary: None });
        }
        let temporary = tempfile::Builder::new().prefix(&format!("tidemill-{name}-")).tempdir();
        let temporary = temporary.context("making a temporary state directory")?;
        Ok(Home { directory: open(temporary.path())?, temporary: Some(temporary) })
    }

    fn close(self, summary: &Summary) -> Result<(), Failure> {
        if summary.exit == Exit::Finished {
            self.directory.finish()?;
        }
        let dead_letters = self.directory.dead_letters();
        if summary.has_dead_letters {
            tracing::info!("dead letters are in {}", dead_letters.display());
            self.temporary.map(TempDir::keep);
        }
        Ok(())
    }
}

/// Whether all inputs end by themselves.
pub(crate) fn is_bounded(plan: &Plan) -> bool {
    plan.nodes.iter().all(|node| match &node.kind {
        NodeKind::Source(source) => {
            let described = Registry.describe(&source.table).ok();
            described.and_then(|known| known.source).is_some_and(|source| source.is_bounded)
        }
        _ => true,
    })
}
