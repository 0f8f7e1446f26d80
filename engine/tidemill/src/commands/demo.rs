//! `tidemill demo`: a shipped job, end to end, on generated input.
//!
//! Without `--brokers` nothing else is needed: the generator's records take the place of the
//! job's input topics, and what the job writes to its result topics is shown. The job itself is
//! the shipped one, unchanged. With `--brokers` it runs on that Kafka.
//!
//! ```text
//! generator ─► files, all at once        ┐          ┌ a picture, on a terminal
//!           └► feeds, so many a second   ├─► job ─► ┤
//!           └► topics                    ┘          └ a line for each change, elsewhere
//! ```

use super::generate::{self, EVENTS_DEFAULT, Feeds, Files, Target, Topics};
use super::run::{JobArguments, run_job};
use crate::console::StandardOutput;
use crate::failure::Failure;
use crate::picture::{Looks, Picture, Screen};
use crate::session::{self, SessionArguments};
use crate::signals;
use crate::status::{Display, grouped};
use crate::verify::Verification;
use anyhow::Context;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tidemill_connectors::sink::{Console, Sink, WriteSpec};
use tidemill_connectors::source::{ConnectorError, ReadSpec, Source};
use tidemill_connectors::{Registry, open_sink, open_source};
use tidemill_formats::Table;
use tidemill_jobs::{Generator, Job, Settings};
use tidemill_runtime::{Outside, Summary};
use tidemill_sql::plan::Plan;
use tidemill_sql::{Planned, SourceText};

/// Without `--rate` and an end, so many records a second: all three jobs move visibly, hours
/// pass in half a minute and minutes in seconds.
const RATE_DEFAULT: f64 = 2000.0;

/// The arguments of `tidemill demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// The shipped job.
    #[arg(default_value = "leaderboard")]
    job: String,
    /// How many records to generate; then the job ends by itself. Without, it runs until it is
    /// stopped.
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// How many records a second [default: 2000; with --events as fast as it goes]. Event time
    /// has a pace of its own: twice as many records a second let it pass twice as fast.
    #[arg(long, value_name = "R", value_parser = generate::rate)]
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
    let demo = Demo { job, arguments: &arguments, looks: Screen::looks(), stop };
    match (&arguments.brokers, arguments.events, arguments.rate) {
        (Some(brokers), Some(events), _) => demo.on_kafka_to_an_end(brokers, events),
        (Some(brokers), None, _) => demo.on_kafka(brokers),
        // What is compared afterwards is read again, and files can be.
        (None, events, _) if arguments.verify => demo.on_files(events.unwrap_or(EVENTS_DEFAULT)),
        (None, Some(events), None) => demo.on_files(events),
        (None, _, _) => demo.on_feeds(),
    }
}

/// A shipped job and what is wanted of it.
struct Demo<'a> {
    job: &'static Job,
    arguments: &'a DemoArguments,
    /// How to draw; lines are printed where nothing can be drawn.
    looks: Option<Looks>,
    stop: Arc<AtomicBool>,
}

impl Demo<'_> {
    /// Everything is generated first.
    fn on_files(&self, events: u64) -> Result<(), Failure> {
        let planned = plan(self.job, None, "latest-offset")?;
        let folder = tempfile::tempdir().context("making a folder for the input")?;
        let mut files = Files::create(self.job, folder.path(), "")?;
        generate::send(self.records(Some(events)), None, &mut files, &self.stop)?;
        self.run(planned.plan, &self.without_kafka(Input::Files(folder.path().to_owned())))
    }

    /// Generates while the job runs.
    fn on_feeds(&self) -> Result<(), Failure> {
        // For the planner the input ends, and sometimes it does: `--events`.
        let planned = plan(self.job, None, "latest-offset")?;
        let feeds = Feeds::of(self.job);
        let outside = self.without_kafka(Input::Feeds(feeds.clone()));
        let sender = || Ok(Box::new(feeds.clone()) as Box<dyn Target>);
        self.while_sending(sender, || self.run(planned.plan, &outside))
    }

    fn on_kafka(&self, brokers: &str) -> Result<(), Failure> {
        if self.arguments.verify {
            let hint = "--verify needs an end: say --events N as well";
            return Err(Failure::CommandLine(hint.to_owned()));
        }
        let planned = plan(self.job, Some(brokers), "unbounded")?;
        let sender = || Ok(Box::new(Topics::open(self.job, brokers, "")?) as Box<dyn Target>);
        self.while_sending(sender, || self.run(planned.plan, &Registry))
    }

    /// Everything is sent first, and the job reads what there is.
    fn on_kafka_to_an_end(&self, brokers: &str, events: u64) -> Result<(), Failure> {
        let planned = plan(self.job, Some(brokers), "latest-offset")?;
        let mut topics = Topics::open(self.job, brokers, "")?;
        let records = self.records(Some(events));
        generate::send(records, self.arguments.rate, &mut topics, &self.stop)?;
        self.run(planned.plan, &Registry)
    }

    fn without_kafka(&self, input: Input) -> WithoutKafka {
        let output = if self.looks.is_some() { "blackhole" } else { "print" };
        WithoutKafka { input, output }
    }

    fn records(&self, events: Option<u64>) -> Generator {
        let settings = Settings { seed: self.arguments.seed, ..Settings::default() };
        let records = (self.job.generator)(settings);
        let events = events.and_then(|events| usize::try_from(events).ok());
        match events {
            Some(events) => Box::new(records.take(events)),
            None => records,
        }
    }

    /// Sends records to a target, made on a thread of its own, for as long as `run` takes.
    fn while_sending(
        &self,
        target: impl FnOnce() -> Result<Box<dyn Target>, Failure> + Send,
        run: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let records = self.records(self.arguments.events);
        let rate = Some(self.arguments.rate.unwrap_or(RATE_DEFAULT));
        let stop = self.stop.as_ref();
        thread::scope(|threads| {
            let sending = threads.spawn(move || {
                let sent = target()
                    .and_then(|mut target| generate::send(records, rate, target.as_mut(), stop));
                // Without input there is nothing to wait for.
                stop.fetch_or(sent.is_err(), Ordering::AcqRel);
                sent
            });
            let outcome = run();
            stop.store(true, Ordering::Release);
            let sent = sending.join().unwrap_or(Ok(()));
            outcome.and(sent)
        })
    }

    /// Runs the job, shows what it writes, and verifies its answer if that is asked for.
    fn run(&self, plan: Plan, outside: &dyn Outside) -> Result<(), Failure> {
        match self.arguments.verify {
            true => self.run_and_verify(plan, outside),
            false => self.run_and_show(&plan, &self.arguments.how, outside).map(drop),
        }
    }

    fn run_and_verify(&self, mut plan: Plan, outside: &dyn Outside) -> Result<(), Failure> {
        let prefix = format!("tidemill-{}-", self.name());
        let state = tempfile::Builder::new().prefix(&prefix).tempdir();
        let state = state.context("making a folder for the late rows")?;
        let state_path = Some(state.path().to_owned());
        let how = JobArguments { state: state_path, ..self.arguments.how.clone() };
        plan.options.insert("tidemill.late-rows".to_owned(), "dead-letter".to_owned());
        let verification = Verification::of(outside);
        let Some(summary) = self.run_and_show(&plan, &how, &verification)? else { return Ok(()) };
        let verified = verification.verify(&plan, &summary, &state.path().join("dead-letters"));
        if summary.has_dead_letters {
            // The run has told where they are.
            let _ = state.keep();
        }
        let rows = verified?;
        let line = format!("verified: {} rows equal the batch answer\n", grouped(rows as u64));
        Ok(StandardOutput.write(line.as_bytes())?)
    }

    fn run_and_show(
        &self,
        plan: &Plan,
        how: &JobArguments,
        outside: &dyn Outside,
    ) -> Result<Option<Summary>, Failure> {
        let (name, stop) = (self.name(), self.stop.clone());
        let Some(looks) = self.looks else {
            return run_job(&name, plan, how, outside, stop);
        };
        let picture = Arc::new(Picture::of(self.job, plan, looks, stop.clone()));
        let how = JobArguments { display: Display::Picture(picture.clone()), ..how.clone() };
        run_job(&name, plan, &how, &picture.watching(outside), stop)
    }

    fn name(&self) -> String {
        format!("demo-{}", self.job.name)
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

/// The ends of a job that has no Kafka: generated records in place of input topics, a connector
/// that needs nothing in place of result topics.
struct WithoutKafka {
    input: Input,
    output: &'static str,
}

/// Where generated records are.
enum Input {
    /// In files of this folder.
    Files(PathBuf),
    Feeds(Feeds),
}

/// A table's format and its options stay, the rest is about Kafka.
fn about_format(table: &Table) -> BTreeMap<String, String> {
    let kept = table.options.iter().filter(|(key, _)| {
        let name = key.strip_prefix("value.").unwrap_or(key);
        name == "format" || name.contains("json.") || name.starts_with("scan.bad-records")
    });
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Outside for WithoutKafka {
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        let topic = spec.table.option("topic").unwrap_or(&spec.table.name);
        let mut options = about_format(&spec.table);
        match &self.input {
            Input::Files(folder) => {
                let path = folder.join(format!("{topic}.jsonl"));
                options.insert("connector".to_owned(), "filesystem".to_owned());
                options.insert("path".to_owned(), path.display().to_string());
                let table = Table { options, ..spec.table.clone() };
                open_source(&ReadSpec { table, ..spec.clone() })
            }
            Input::Feeds(feeds) => {
                let feed = feeds.topic(topic).ok_or_else(|| ConnectorError {
                    what: format!("reading topic {topic}"),
                    cause: "the job's generator has no such topic".to_owned(),
                })?;
                let table = Table { options, ..spec.table.clone() };
                Ok(feed.source(&ReadSpec { table, ..spec.clone() }))
            }
        }
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        let mut options = BTreeMap::from([("connector".to_owned(), self.output.to_owned())]);
        if self.output == "print" {
            options.insert("print-identifier".to_owned(), spec.table.name.clone());
        }
        let table = Table { options, ..spec.table.clone() };
        open_sink(&WriteSpec { table, ..spec.clone() })
    }
}
