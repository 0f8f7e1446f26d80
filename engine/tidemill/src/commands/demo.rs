//! `tidemill demo`: a shipped job, end to end, on generated input.
//!
//! Without `--brokers` nothing else is needed: a broker is started in this process, for as long as
//! the demo lasts. Everything goes over Kafka in any case, and what is shown is what the result
//! topics hold for a reader of committed records.
//!
//! ```text
//! generator ─► input topics ─► job ─► result topics ─► results ─► ┌ a picture, on a terminal
//!                                                                 └ a line a change, elsewhere
//! ```

use super::generate::{self, EVENTS_DEFAULT, Topics};
use super::run::{JobArguments, Run};
use crate::chaos::{self, Chaos};
use crate::console::StandardOutput;
use crate::failure::Failure;
use crate::picture::{Looks, Picture, Screen};
use crate::results::{Extent, Results, connect};
use crate::session::{self, SessionArguments};
use crate::signals;
use crate::stage::{self, Stage};
use crate::status::{Display, Status, grouped};
use crate::verify::{Seen, compare};
use anyhow::{Context, anyhow};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tidemill_connectors::Registry;
use tidemill_connectors::sink::{Console, WriteSpec};
use tidemill_jobs::{Generator, Job, Settings};
use tidemill_runtime::{Exit, Summary};
use tidemill_sql::plan::Plan;

/// Without `--rate` and an end, so many records a second: all jobs move visibly, be it that
/// minutes pass in seconds or that days do.
const RATE_DEFAULT: f64 = 2000.0;

/// How often results become visible, unless `-D` says otherwise: often enough to seem to move.
const CHECKPOINT_INTERVAL: &str = "200 ms";

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
    /// Use this Kafka instead of a broker that lasts as long as the demo.
    #[arg(long, value_name = "ADDR")]
    brokers: Option<String>,
    /// Stands before the name of each topic, so that several demos stand side by side.
    #[arg(long, value_name = "P", default_value = "")]
    topic_prefix: String,
    /// Afterwards compute the answer once more, in batch, and compare it with what the result
    /// topics hold.
    #[arg(long, conflicts_with = "state")]
    verify: bool,
    /// Kill the job with SIGKILL while it works, again and again, and verify that nothing was
    /// lost and nothing counted twice.
    #[arg(long, conflicts_with_all = ["state", "fresh", "summary", "metrics"])]
    chaos: bool,
    /// How often to kill it.
    #[arg(long, value_name = "N", requires = "chaos", default_value_t = 20)]
    kills: u32,
    #[command(flatten)]
    how: JobArguments,
}

pub(crate) fn execute(arguments: DemoArguments) -> Result<(), Failure> {
    let job = generate::find(&arguments.job)?;
    if arguments.how.state.is_some() && arguments.brokers.is_none() {
        let why =
            "--state goes with --brokers: the demo's own broker forgets everything at its end";
        return Err(Failure::CommandLine(why.to_owned()));
    }
    let stop = signals::stop_flag().context("listening to signals")?;
    let is_compared = arguments.verify || arguments.chaos;
    let topics = if is_compared { stage::Topics::New } else { stage::Topics::Named };
    let prefix = &arguments.topic_prefix;
    let stage = Stage::open(job, arguments.brokers.as_deref(), topics, prefix)?;
    tell_where(job, &stage);
    let results = Results::of(job, &stage)?;
    let name = format!("demo-{prefix}{}", job.name);
    let looks = Screen::looks();
    let demo = Demo { job, arguments: &arguments, name, looks, results, stage: &stage, stop };
    let summary = match (arguments.chaos, arguments.events()) {
        (true, _) => return demo.under_fire(),
        (false, Some(events)) => demo.to_its_end(events)?,
        (false, None) => demo.until_stopped()?,
    };
    let is_on_stage = demo.state() == Some(stage.state());
    if is_on_stage && summary.is_some_and(|summary| summary.has_dead_letters) {
        // The run has told where they are.
        stage.keep_dead_letters();
    }
    Ok(())
}

impl DemoArguments {
    /// How many records, if they have an end; what is to be compared must have one.
    fn events(&self) -> Option<u64> {
        self.events.or(self.verify.then_some(EVENTS_DEFAULT))
    }
}

fn tell_where(job: &Job, stage: &Stage) {
    let (brokers, prefix) = (stage.brokers(), stage.prefix());
    let names = job.inputs.iter().chain(job.results);
    let names: Vec<String> = names.map(|topic| format!("{prefix}{}", topic.name)).collect();
    tracing::info!("topics {} are at {brokers}", names.join(", "));
    if let Some(result) = job.results.first() {
        tracing::info!("look at them: kcat -b {brokers} -t {prefix}{} -C", result.name);
    }
}

/// A shipped job and what is wanted of it.
struct Demo<'a> {
    job: &'static Job,
    arguments: &'a DemoArguments,
    name: String,
    /// How to draw; lines are printed where nothing can be drawn.
    looks: Option<Looks>,
    results: Results,
    stage: &'a Stage,
    stop: Arc<AtomicBool>,
}

/// Where results that are read go.
#[derive(Clone, Copy)]
enum Shown<'a> {
    InPicture(&'a Picture),
    AsLines,
}

impl Demo<'_> {
    /// Generates while the job runs, and shows what comes of it.
    fn until_stopped(&self) -> Result<Option<Summary>, Failure> {
        let plan = self.plan(Extent::Ongoing)?;
        let picture = self.picture(&plan);
        let rate = self.arguments.rate.unwrap_or(RATE_DEFAULT);
        let shown = shown_in(picture.as_deref());
        self.while_sending(None, rate, &plan, picture.clone(), Some(shown))
    }

    /// Lets the job work off so many records, and verifies its answer if that is asked for.
    fn to_its_end(&self, events: u64) -> Result<Option<Summary>, Failure> {
        let plan = self.plan(Extent::Now)?;
        let picture = self.picture(&plan);
        match self.arguments.rate {
            None => self.send(self.records(Some(events)), None)?,
            Some(rate) => {
                // Lines are printed at the end, each once.
                let shown = picture.as_deref().map(Shown::InPicture);
                let ongoing = self.plan(Extent::Ongoing)?;
                self.while_sending(Some(events), rate, &ongoing, picture.clone(), shown)?;
            }
        }
        let seen = Seen::of(&plan);
        let complete = || {
            picture.iter().for_each(|picture| picture.clear());
            self.read(Extent::Now, shown_in(picture.as_deref()), &seen, Arc::default())
        };
        let summary = self.run(&plan, picture.clone(), self.stop.clone(), complete)?;
        if let (true, Some(summary)) = (self.arguments.verify, &summary) {
            self.verify(&plan, summary, &seen)?;
        }
        Ok(summary)
    }

    /// Runs the job for as long as records are sent, or until it is stopped, and shows its results
    /// meanwhile.
    fn while_sending(
        &self,
        events: Option<u64>,
        rate: f64,
        plan: &Plan,
        picture: Option<Arc<Picture>>,
        shown: Option<Shown<'_>>,
    ) -> Result<Option<Summary>, Failure> {
        let (sent, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        thread::scope(|threads| {
            let sending = threads.spawn(|| {
                let outcome = self.send(self.records(events), Some(rate));
                sent.store(true, Ordering::Release);
                outcome
            });
            let watching = threads.spawn(|| {
                let Some(shown) = shown else { return Ok(()) };
                let read = self.read(Extent::Ongoing, shown, &Seen::default(), over.clone());
                self.stop.fetch_or(read.is_err(), Ordering::AcqRel);
                read
            });
            let outcome = self.run(plan, picture, sent.clone(), || Ok(()));
            over.store(true, Ordering::Release);
            // If it was the job that ended, nobody reads what is sent.
            self.stop.fetch_or(outcome.is_err(), Ordering::AcqRel);
            let others = [sending, watching].map(|thread| thread.join().unwrap_or(Ok(())));
            let summary = outcome?;
            others.into_iter().collect::<Result<(), Failure>>()?;
            Ok(summary)
        })
    }

    /// Kills the job again and again while it works, and says what that has done to its results.
    fn under_fire(&self) -> Result<(), Failure> {
        let arguments = self.arguments;
        let chaos = Chaos {
            job: self.job,
            stage: self.stage,
            results: &self.results,
            workers: arguments.how.workers,
            kills: arguments.kills,
            seed: arguments.seed,
            stop: &self.stop,
        };
        let events = arguments.events.unwrap_or(chaos::EVENTS_DEFAULT);
        let Some(outcome) = chaos.run(events, self.records(Some(events)))? else { return Ok(()) };
        let plan = self.plan(Extent::Now)?;
        let seen = Seen::of(&plan);
        let silent = |spec: &WriteSpec| Ok(seen.tee(&spec.table.name, connect(spec, "blackhole")?));
        self.results.read(Extent::Now, &silent, &self.stage.state(), Arc::default())?;
        let dead_letters = self.stage.state().join("dead-letters");
        let comparison = compare(&plan, &Registry, outcome.late_rows, &dead_letters, &seen)?;
        let line = format!("{}\n", outcome.describe(events, &comparison));
        StandardOutput.write(line.as_bytes())?;
        comparison.check()
    }

    fn verify(&self, plan: &Plan, summary: &Summary, seen: &Seen) -> Result<(), Failure> {
        if summary.exit != Exit::Finished {
            return Err(anyhow!("not verified: the job was stopped before its end").into());
        }
        let dead_letters = self.stage.state().join("dead-letters");
        let comparison = compare(plan, &Registry, summary.late_rows, &dead_letters, seen)?;
        comparison.check()?;
        let rows = grouped(comparison.rows as u64);
        let line = format!("verified: {rows} rows equal the batch answer\n");
        Ok(StandardOutput.write(line.as_bytes())?)
    }

    /// All generated records there are, or so many.
    fn records(&self, events: Option<u64>) -> Generator {
        let settings = Settings { seed: self.arguments.seed, ..Settings::default() };
        let records = (self.job.generator)(settings);
        match events.and_then(|events| usize::try_from(events).ok()) {
            Some(events) => Box::new(records.take(events)),
            None => records,
        }
    }

    fn send(&self, records: Generator, rate: Option<f64>) -> Result<(), Failure> {
        let mut topics = Topics::open(self.job, self.stage.brokers(), self.stage.prefix())?;
        generate::send(records, rate, &mut topics, &self.stop)
    }

    /// Runs the job; `complete` completes what is shown before it is shown for the last time.
    fn run(
        &self,
        plan: &Plan,
        picture: Option<Arc<Picture>>,
        stop: Arc<AtomicBool>,
        complete: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Option<Summary>, Failure> {
        let how = JobArguments { state: self.state(), ..self.arguments.how.clone() };
        let Some(run) = Run::open(&self.name, plan, &how)? else { return Ok(None) };
        let display = picture.map_or(Display::Counters, Display::Picture);
        let status = Status::show(run.metrics(), &display);
        let outcome = run.work(&Registry, stop);
        let completed = if outcome.is_ok() { complete() } else { Ok(()) };
        drop(status);
        let summary = run.close(outcome)?;
        completed.map(|()| Some(summary))
    }

    /// Where the job's state is kept. On the user's brokers a job without an end goes on the next
    /// time, as it would without the demo.
    fn state(&self) -> Option<PathBuf> {
        let is_passing = self.stage.is_own() || self.arguments.events().is_some();
        let on_stage = || is_passing.then(|| self.stage.state());
        self.arguments.how.state.clone().or_else(on_stage)
    }

    fn plan(&self, input: Extent) -> Result<Plan, Failure> {
        let session = session(self.job, self.stage, input);
        let texts = vec![session::shipped(self.job)];
        session::plan_texts(texts, &session::variables(&session)).map(|planned| planned.plan)
    }

    fn picture(&self, plan: &Plan) -> Option<Arc<Picture>> {
        Some(Arc::new(Picture::of(self.job, plan, self.looks?, self.stop.clone())))
    }

    /// Reads the results and shows them.
    fn read(
        &self,
        extent: Extent,
        shown: Shown<'_>,
        seen: &Seen,
        stop: Arc<AtomicBool>,
    ) -> Result<(), Failure> {
        let show = |spec: &WriteSpec| {
            let table = &spec.table.name;
            let sink = match shown {
                Shown::InPicture(picture) => picture.watching(table, connect(spec, "blackhole")?),
                Shown::AsLines => connect(spec, "print")?,
            };
            Ok(seen.tee(table, sink))
        };
        self.results.read(extent, &show, &self.stage.state(), stop)
    }
}

fn shown_in(picture: Option<&Picture>) -> Shown<'_> {
    picture.map_or(Shown::AsLines, Shown::InPicture)
}

/// The session of a job on a stage, whose input ends now or never.
fn session(job: &Job, stage: &Stage, input: Extent) -> SessionArguments {
    let definitions = [
        ("BOUNDED", input.bounded_mode()),
        ("execution.checkpointing.interval", CHECKPOINT_INTERVAL),
    ];
    let definitions = definitions.map(|(name, value)| (name.to_owned(), value.to_owned()));
    SessionArguments {
        files: vec![job.name.to_owned()],
        definitions: definitions.into(),
        brokers: Some(stage.brokers().to_owned()),
        topic_prefix: stage.prefix().to_owned(),
    }
}
