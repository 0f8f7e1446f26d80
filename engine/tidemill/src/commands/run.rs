//! `tidemill run`: a job in the foreground.

use crate::console::StandardOutput;
use crate::embedded;
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
use tidemill_formats::{Connectors as _, parse_bytes};
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
    /// Stay within so much memory, such as 2GB: near it the sources wait, and a job whose state
    /// needs more fails with a message instead of being killed.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory_limit: Option<u64>,
    /// Write a summary of the run to this file, as one JSON object.
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
    /// Serve metrics for Prometheus at http://ADDR/metrics; port 0 takes any free one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<String>,
}

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).filter(|&bytes| bytes > 0).ok_or_else(|| "write a size, as in 2GB".to_owned())
}

impl JobArguments {
    fn fit(&self) -> Fit {
        if self.allow_non_restored_state { Fit::WhatFits } else { Fit::Exact }
    }
}

pub(crate) fn execute(arguments: RunArguments) -> Result<(), Failure> {
    let planned = session::plan(&arguments.session)?;
    planned.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    for output in &planned.outputs {
        StandardOutput.write(format!("{}\n", output.trim_end_matches('\n')).as_bytes())?;
    }
    if !planned.plan.nodes.iter().any(|node| matches!(node.kind, NodeKind::Sink(_))) {
        return Ok(());
    }
    let name = session::job_name(&arguments.session);
    let stop = signals::stop_flag().context("listening to signals")?;
    let Some(run) = Run::open(&name, &planned.plan, &arguments.job)? else { return Ok(()) };
    let outside = embedded::outside(&planned.plan)?;
    let status = Status::show(run.metrics(), &Display::Counters);
    let outcome = run.work(outside.as_ref(), stop);
    drop(status);
    run.close(outcome).map(drop)
}

/// A plan that is run in the foreground, with everything around it: its state directory, its
/// metrics, its summary. Whoever runs it shows how it goes.
pub(crate) struct Run<'a> {
    name: &'a str,
    plan: &'a Plan,
    arguments: &'a JobArguments,
    workers: usize,
    home: Home,
    metrics: Arc<Metrics>,
    exposition: Option<Exposition>,
    started: Instant,
}

impl<'a> Run<'a> {
    /// Makes ready to run a plan. `None` if it had come to its end in an earlier run.
    pub(crate) fn open(
        name: &'a str,
        plan: &'a Plan,
        arguments: &'a JobArguments,
    ) -> Result<Option<Self>, Failure> {
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
        let started = Instant::now();
        Ok(Some(Run { name, plan, arguments, workers, home, metrics, exposition, started }))
    }

    /// The counters.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Runs it until its inputs end or `stop` is set.
    pub(crate) fn work(
        &self,
        outside: &dyn Outside,
        stop: Arc<AtomicBool>,
    ) -> Result<Summary, Failure> {
        let options = RunOptions {
            workers: self.workers,
            dead_letters: self.home.directory.dead_letters(),
            state: Some(self.home.directory.job_state(&self.plan.options, self.arguments.fit())?),
            memory_limit: self.arguments.memory_limit,
            stop,
            console: Arc::new(StandardOutput),
            metrics: self.metrics.clone(),
        };
        Ok(tidemill_runtime::run(self.plan, options, outside)?)
    }

    /// Says and writes how it went.
    pub(crate) fn close(self, outcome: Result<Summary, Failure>) -> Result<Summary, Failure> {
        drop(self.exposition);
        if let Some(path) = &self.arguments.summary {
            let failed = || failed(&self.metrics, self.started.elapsed());
            write_summary(path, &outcome.as_ref().map_or_else(|_| failed(), Summary::clone))?;
        }
        let summary = outcome?;
        tell(self.name, &summary);
        self.home.close(&summary)?;
        Ok(summary)
    }
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
            return Ok(Home { directory: open(&session::state_directory(name))?, temporary: None });
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
