//! `tidemill bench`: what a job costs.
//!
//! The job runs as a process of its own, from an input that is there beforehand: that of a shipped
//! job is generated and sent to topics first. Everything that the process used counts, its start
//! included. `--latency` then sends records as they are due to a process of the job that goes on,
//! and watches when readers see what they change.

use super::generate::{self, Topics};
use crate::chaos::{Chaos, Survival};
use crate::console::StandardOutput;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::latency::Watched;
use crate::results::{Extent, Results};
use crate::session::SessionArguments;
use crate::signals;
use crate::stage::{self, Stage};
use crate::status::grouped;
use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;
use tidemill_connectors::sink::Console;
use tidemill_jobs::{Generator, Job, Settings};

/// Lives that are ended to see how long the next one takes.
const KILLS: u32 = 8;

/// How often to look whether the job has finished.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The arguments of `tidemill bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    #[command(flatten)]
    session: SessionArguments,
    /// How many records of a shipped job to generate.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// The seed: the same gives the same records.
    #[arg(long, value_name = "S", default_value_t = Settings::default().seed)]
    seed: u64,
    /// Number of workers [default: the number of cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Then send records to a shipped job as they are due, and see how long it takes until a reader
    /// of committed records has what they change. -D execution.checkpointing.interval=100ms makes
    /// results visible so often.
    #[arg(long)]
    latency: bool,
    /// How many records a second --latency sends [default: half of what the job has taken].
    #[arg(long, value_name = "R", value_parser = generate::rate, requires = "latency")]
    rate: Option<f64>,
    /// Then kill a shipped job, again and again, to see how long it takes to recover.
    #[arg(long)]
    recovery: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// What a job cost.
#[derive(Debug, Serialize)]
struct Report {
    job: String,
    workers: usize,
    #[serde(flatten)]
    usage: Usage,
    cpu_us_per_row: f64,
    #[serde(flatten)]
    latency: Option<Latency>,
    recovery_p50_ms: Option<f64>,
    recovery_p99_ms: Option<f64>,
}

/// How old results were when readers saw them.
#[derive(Debug, Serialize)]
struct Latency {
    latency_rate: f64,
    latency_p50_ms: u64,
    latency_p99_ms: u64,
    latency_p999_ms: u64,
}

/// What is taken from the summary of a run.
#[derive(Debug, Deserialize, Serialize)]
struct Usage {
    rows_in: u64,
    rows_out: u64,
    seconds: f64,
    cpu_seconds: f64,
    rows_per_second: f64,
    peak_rss_bytes: u64,
    state_bytes: u64,
    checkpoints: u64,
    checkpoint_seconds: f64,
    checkpoint_bytes: u64,
}

pub(crate) fn execute(arguments: BenchArguments) -> Result<(), Failure> {
    let stop = signals::stop_flag().context("listening to signals")?;
    let report = match arguments.session.files.as_slice() {
        [name] if !Path::new(name).exists() => shipped(generate::find(name)?, &arguments, &stop)?,
        _ if arguments.recovery || arguments.latency => {
            let why = "--latency and --recovery take a shipped job: tidemill jobs lists them";
            return Err(Failure::CommandLine(why.to_owned()));
        }
        _ => files(&arguments, &stop)?,
    };
    let Some(report) = report else { return Ok(()) };
    let text = match arguments.json {
        true => serde_json::to_string(&report).context("the report")? + "\n",
        false => table(&report),
    };
    Ok(StandardOutput.write(text.as_bytes())?)
}

/// A job of the user's: its input is there, and ends.
fn files(arguments: &BenchArguments, stop: &AtomicBool) -> Result<Option<Report>, Failure> {
    let folder = tempfile::tempdir().context("making a folder for the job's state")?;
    let SessionArguments { definitions, topic_prefix, .. } = &arguments.session;
    let definitions = definitions.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let prefix = Some(topic_prefix.as_str()).filter(|prefix| !prefix.is_empty());
    let prefix = prefix.map(|prefix| ("TOPIC_PREFIX", prefix));
    let definitions: Vec<(&str, &str)> = prefix.into_iter().chain(definitions).collect();
    run(arguments, &definitions, None, &folder.path().join("state"), stop)
}

/// A shipped job, on a stage of its own.
fn shipped(
    job: &'static Job,
    arguments: &BenchArguments,
    stop: &Arc<AtomicBool>,
) -> Result<Option<Report>, Failure> {
    let session = &arguments.session;
    let (brokers, prefix) = (session.brokers.as_deref(), &session.topic_prefix);
    let open = || Stage::open(job, brokers, stage::Topics::New, prefix);
    let stage = open()?;
    load(job, &stage, arguments, stop)?;
    let own = session.definitions.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let stands = [("BOUNDED", Extent::Now.bounded_mode()), ("TOPIC_PREFIX", stage.prefix())];
    let definitions: Vec<(&str, &str)> = stands.into_iter().chain(own).collect();
    let brokers = Some(stage.brokers());
    let Some(mut report) = run(arguments, &definitions, brokers, &stage.state(), stop)? else {
        return Ok(None);
    };
    drop(stage);
    if arguments.latency {
        report.latency = latency(job, &open()?, &report, arguments, stop)?;
    }
    if arguments.recovery {
        let survival = survive(job, &open()?, arguments, stop)?;
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let recovery = |quantile| survival.as_ref().and_then(|s| s.recovery(quantile)).map(ms);
        (report.recovery_p50_ms, report.recovery_p99_ms) = (recovery(0.5), recovery(0.99));
    }
    Ok((!stop.load(Ordering::Acquire)).then_some(report))
}

/// Sends the job's input to its topics.
fn load(
    job: &Job,
    stage: &Stage,
    arguments: &BenchArguments,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let mut topics = Topics::open(job, stage.brokers(), stage.prefix())?;
    generate::send(records(job, arguments), None, &mut topics, stop)
}

/// Sends records at the rate that was asked for, or at half of the one that the job has shown.
fn latency(
    job: &Job,
    stage: &Stage,
    report: &Report,
    arguments: &BenchArguments,
    stop: &AtomicBool,
) -> Result<Option<Latency>, Failure> {
    let rate = arguments.rate.unwrap_or(report.usage.rows_per_second / 2.0).max(1.0);
    let watched = Watched {
        job,
        stage,
        workers: report.workers,
        definitions: &arguments.session.definitions,
        rate,
        stop,
    };
    // What the first run has written would be flushed to the disk in the middle of this one, and
    // checkpoints wait for the disk.
    rustix::fs::sync();
    // Made beforehand: that must not take the job's time.
    let records = generated(job, arguments.seed, Watched::events(rate)).collect();
    let Some(seen) = watched.measure(records)? else { return Ok(None) };
    if seen.is_empty() {
        return Err(anyhow::anyhow!("no result was seen: is the sink exactly once?").into());
    }
    Ok(Some(Latency {
        latency_rate: rate,
        latency_p50_ms: seen.value_at_quantile(0.5),
        latency_p99_ms: seen.value_at_quantile(0.99),
        latency_p999_ms: seen.value_at_quantile(0.999),
    }))
}

/// Kills the job, again and again.
fn survive(
    job: &Job,
    stage: &Stage,
    arguments: &BenchArguments,
    stop: &AtomicBool,
) -> Result<Option<Survival>, Failure> {
    let chaos = Chaos {
        job,
        stage,
        results: &Results::of(job, stage)?,
        workers: arguments.workers,
        kills: KILLS,
        seed: arguments.seed,
        stop,
    };
    chaos.run(arguments.events, records(job, arguments))
}

fn records(job: &Job, arguments: &BenchArguments) -> Generator {
    generated(job, arguments.seed, arguments.events)
}

fn generated(job: &Job, seed: u64, events: u64) -> Generator {
    let settings = Settings { seed, ..Settings::default() };
    let events = usize::try_from(events).unwrap_or(usize::MAX);
    Box::new((job.generator)(settings).take(events))
}

/// Runs the job to the end of its input. `None` if somebody stopped it.
fn run(
    arguments: &BenchArguments,
    definitions: &[(&str, &str)],
    brokers: Option<&str>,
    state: &Path,
    stop: &AtomicBool,
) -> Result<Option<Report>, Failure> {
    let files = &arguments.session.files;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = arguments.workers.map_or(cores, usize::from);
    let count = workers.to_string();
    let mut more = vec!["--workers", count.as_str()];
    more.extend(brokers.into_iter().flat_map(|brokers| ["--brokers", brokers]));
    let mut engine = Engine::start(files, &more, definitions, state)?;
    while !engine.has_finished()? {
        if stop.load(Ordering::Acquire) {
            return Ok(None);
        }
        sleep(LOOK_INTERVAL);
    }
    let usage: Usage = engine.summary()?;
    Ok(Some(Report {
        job: crate::session::job_name(&arguments.session),
        workers,
        cpu_us_per_row: usage.cpu_seconds * 1e6 / (usage.rows_in.max(1)) as f64,
        usage,
        latency: None,
        recovery_p50_ms: None,
        recovery_p99_ms: None,
    }))
}

fn table(report: &Report) -> String {
    let usage = &report.usage;
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let mut rows = vec![
        ("rows in", grouped(usage.rows_in)),
        ("rows out", grouped(usage.rows_out)),
        ("rows a second", grouped(usage.rows_per_second as u64)),
        ("processor time a row", format!("{:.3} us", report.cpu_us_per_row)),
        ("memory at most", mib(usage.peak_rss_bytes)),
        ("state at the end", mib(usage.state_bytes)),
        ("checkpoints", grouped(usage.checkpoints)),
        ("a checkpoint takes", format!("{:.1} ms", usage.checkpoint_seconds * 1000.0)),
        ("a checkpoint writes", mib(usage.checkpoint_bytes)),
    ];
    if let Some(latency) = &report.latency {
        let Latency { latency_p50_ms, latency_p99_ms, latency_p999_ms, .. } = latency;
        let rate = grouped(latency.latency_rate as u64);
        rows.push((
            "latency",
            format!("p50 {latency_p50_ms} ms, p99 {latency_p99_ms} ms, p99.9 {latency_p999_ms} ms"),
        ));
        rows.push(("  at rows a second", rate));
    }
    let recovery = report.recovery_p50_ms.zip(report.recovery_p99_ms);
    rows.extend(
        recovery.map(|(p50, p99)| ("recovery", format!("p50 {p50:.0} ms, p99 {p99:.0} ms"))),
    );
    let mut text = format!("{}, {} workers\n", report.job, report.workers);
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<22} {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table() {
        let usage = Usage {
            rows_in: 1_000_000,
            rows_out: 2_000,
            seconds: 2.0,
            cpu_seconds: 3.0,
            rows_per_second: 500_000.0,
            peak_rss_bytes: 100 << 20,
            state_bytes: 3 << 19,
            checkpoints: 3,
            checkpoint_seconds: 0.0042,
            checkpoint_bytes: 1 << 20,
        };
        let report = Report {
            job: "leaderboard".to_owned(),
            workers: 2,
            usage,
            cpu_us_per_row: 3.0,
            latency: Some(Latency {
                latency_rate: 250_000.0,
                latency_p50_ms: 70,
                latency_p99_ms: 140,
                latency_p999_ms: 190,
            }),
            recovery_p50_ms: Some(120.4),
            recovery_p99_ms: Some(180.0),
        };
        let expected = "\
leaderboard, 2 workers
  rows in                1,000,000
  rows out               2,000
  rows a second          500,000
  processor time a row   3.000 us
  memory at most         100.0 MiB
  state at the end       1.5 MiB
  checkpoints            3
  a checkpoint takes     4.2 ms
  a checkpoint writes    1.0 MiB
  latency                p50 70 ms, p99 140 ms, p99.9 190 ms
    at rows a second     250,000
  recovery               p50 120 ms, p99 180 ms
";
        assert_eq!(table(&report), expected);
    }
}
