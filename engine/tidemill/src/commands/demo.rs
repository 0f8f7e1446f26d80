//! `tidemill demo`: a shipped job, end to end, on generated input.
//!
//! Without `--brokers` nothing else is needed: the generator's records stand in files, which take
//! the place of the job's input topics, and what the job writes to its result topics is printed.
//! The job itself is the shipped one, unchanged. With `--brokers` it runs on that Kafka.

use super::generate::{self, EVENTS_DEFAULT, Files, Topics};
use super::run::{JobArguments, run_job};
use crate::console::StandardOutput;
use crate::failure::Failure;
use crate::session::{self, SessionArguments};
use crate::signals;
use crate::status::grouped;
use crate::verify::Verification;
use anyhow::Context;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tidemill_connectors::sink::{Console, Sink, WriteSpec};
use tidemill_connectors::source::{ConnectorError, ReadSpec, Source};
use tidemill_connectors::{open_sink, open_source};
use tidemill_formats::Table;
use tidemill_jobs::{Job, Settings};
use tidemill_runtime::Outside;
use tidemill_sql::plan::Plan;
use tidemill_sql::{Planned, SourceText};

/// The arguments of `tidemill demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// The shipped job.
    #[arg(default_value = "leaderboard")]
    job: String,
    /// How many records to generate; then the job ends by itself.
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// How many records a second.
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// The seed: the same gives the same records.
    #[arg(long, value_name = "S", default_value_t = Settings::default().seed)]
    seed: u64,
    /// Use this Kafka instead of none at all.
    #[arg(long, value_name = "ADDR")]
    brokers: Option<String>,
    /// Afterwards compute the answer once more, in batch, and compare. The job has to end by
    /// itself and keeps no state.
    #[arg(long, conflicts_with = "state")]
    verify: bool,
    #[command(flatten)]
    how: JobArguments,
}

pub(crate) fn execute(arguments: DemoArguments) -> Result<(), Failure> {
    let job = generate::find(&arguments.job)?;
    let stop = signals::stop_flag().context("listening to signals")?;
    match &arguments.brokers {
        None => on_files(job, &arguments, stop),
        Some(brokers) => on_kafka(job, brokers, &arguments, stop),
    }
}

fn plan(job: &Job, brokers: Option<&str>, bounded: &str) -> Result<Planned, Failure> {
    let session = SessionArguments {
        files: vec![job.name.to_owned()],
        definitions: vec![("BOUNDED".to_owned(), bounded.to_owned())],
        brokers: brokers.map(str::to_owned),
    };
    let text = SourceText { name: format!("{}.sql", job.name), text: job.sql.to_owned() };
    session::plan_texts(vec![text], &session::variables(&session))
}

fn settings(arguments: &DemoArguments) -> Settings {
    Settings { seed: arguments.seed, events_per_second: arguments.rate, ..Settings::default() }
}

fn on_files(job: &Job, arguments: &DemoArguments, stop: Arc<AtomicBool>) -> Result<(), Failure> {
    let planned = plan(job, None, "latest-offset")?;
    let folder = tempfile::tempdir().context("making a folder for the input")?;
    let events = arguments.events.unwrap_or(EVENTS_DEFAULT);
    let mut files = Files::create(job, folder.path(), "")?;
    let records = (job.generator)(settings(arguments));
    let records = records.take(usize::try_from(events).unwrap_or(usize::MAX));
    generate::send(records, None, &mut files, &stop)?;
    let outside = FilesForTopics { folder: folder.path().to_owned() };
    run(&format!("demo-{}", job.name), planned.plan, arguments, &outside, stop)
}

/// Runs the job over input that ends, and verifies its answer if that is asked for.
fn run(
    name: &str,
    mut plan: Plan,
    arguments: &DemoArguments,
    outside: &dyn Outside,
    stop: Arc<AtomicBool>,
) -> Result<(), Failure> {
    if !arguments.verify {
        return run_job(name, &plan, &arguments.how, outside, stop).map(drop);
    }
    let state = tempfile::Builder::new().prefix(&format!("tidemill-{name}-")).tempdir();
    let state = state.context("making a folder for the late rows")?;
    let how = JobArguments { state: Some(state.path().to_owned()), ..arguments.how.clone() };
    plan.options.insert("tidemill.late-rows".to_owned(), "dead-letter".to_owned());
    let verification = Verification::of(outside);
    let Some(summary) = run_job(name, &plan, &how, &verification, stop)? else { return Ok(()) };
    let verified = verification.verify(&plan, &summary, &state.path().join("dead-letters"));
    if summary.has_dead_letters {
        // The run has told where they are.
        let _ = state.keep();
    }
    let rows = verified?;
    let line = format!("verified: {} rows equal the batch answer\n", grouped(rows as u64));
    Ok(StandardOutput.write(line.as_bytes())?)
}

fn on_kafka(
    job: &'static Job,
    brokers: &str,
    arguments: &DemoArguments,
    stop: Arc<AtomicBool>,
) -> Result<(), Failure> {
    let bounded = if arguments.events.is_some() { "latest-offset" } else { "unbounded" };
    let planned = plan(job, Some(brokers), bounded)?;
    let records = (job.generator)(settings(arguments));
    let name = format!("demo-{}", job.name);
    if let Some(events) = arguments.events {
        let records = records.take(usize::try_from(events).unwrap_or(usize::MAX));
        let mut topics = Topics::open(job, brokers, "")?;
        generate::send(records, arguments.rate, &mut topics, &stop)?;
        return run(&name, planned.plan, arguments, &tidemill_connectors::Registry, stop);
    }
    if arguments.verify {
        let hint = "--verify needs an end: say --events N as well";
        return Err(Failure::CommandLine(hint.to_owned()));
    }
    let rate = arguments.rate.unwrap_or(1000.0);
    let sending = std::thread::spawn({
        let (stop, brokers) = (stop.clone(), brokers.to_owned());
        move || {
            let mut topics = Topics::open(job, &brokers, "")?;
            generate::send(records, Some(rate), &mut topics, &stop)
        }
    });
    let outcome =
        run_job(&name, &planned.plan, &arguments.how, &tidemill_connectors::Registry, stop.clone());
    stop.store(true, Ordering::Release);
    let sent = sending.join().unwrap_or_else(|_| Ok(()));
    outcome?;
    sent
}

/// Files of generated records in place of input topics, the console in place of result topics.
struct FilesForTopics {
    folder: PathBuf,
}

impl FilesForTopics {
    /// A table's format and its options stay, the rest is about Kafka.
    fn read(&self, table: &Table) -> Table {
        let topic = table.option("topic").unwrap_or(&table.name);
        let path = self.folder.join(format!("{topic}.jsonl"));
        let kept = table.options.iter().filter(|(key, _)| {
            let name = key.strip_prefix("value.").unwrap_or(key);
            name == "format" || name.contains("json.") || name.starts_with("scan.bad-records")
        });
        let mut options: BTreeMap<String, String> =
            kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        options.insert("connector".to_owned(), "filesystem".to_owned());
        options.insert("path".to_owned(), path.display().to_string());
        Table { options, ..table.clone() }
    }

    fn print(table: &Table) -> Table {
        let options = [("connector", "print"), ("print-identifier", &table.name)];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Table { options: BTreeMap::from(options), ..table.clone() }
    }
}

impl Outside for FilesForTopics {
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        open_source(&ReadSpec { table: self.read(&spec.table), ..spec.clone() })
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        open_sink(&WriteSpec { table: Self::print(&spec.table), ..spec.clone() })
    }
}
