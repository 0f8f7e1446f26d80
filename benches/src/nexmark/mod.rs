//! Nexmark's queries, from a file of JSON lines and from the built-in source, beside Flink.
//!
//! Each run is a process of its own. What a query takes for an event is the processor time of the
//! whole process less that of a run of the same query over a few events, divided by the other
//! events; of several rounds the cheapest counts. All columns of an answer are built, and go
//! nowhere. Flink isn't run here: its figures are scaled by the [`yardstick`].

mod queries;
mod yardstick;

use crate::process::{Runs, Summary, Usage, clear, engine, geometric_mean, measure};
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use queries::{DDL, FILE, QUERIES, Query};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

/// So many events are read by a run that measures starting.
const FEW_EVENTS: u64 = 100;
/// So many lines are decoded to see how fast the machine is: few, for the system counts the most
/// memory that this process held among that of those it starts.
const SAMPLE_EVENTS: u64 = 10_000;
/// Keys of the side input.
const SIDE_KEYS: u64 = 10_000;
/// What is wanted of each query, and of their geometric mean: a share of Flink's time.
const WANTED: f64 = 0.2;
const WANTED_MEAN: f64 = 0.1;

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many events.
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// Which queries; all that plan if none is named.
    #[arg(long, value_delimiter = ',')]
    queries: Vec<String>,
    /// How often each is run; the cheapest run counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the events come from; both, if it isn't said.
    #[arg(long, value_delimiter = ',', default_value = "json,builtin")]
    source: Vec<SourceKind>,
    /// With how many workers.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    workers: Vec<usize>,
    /// How often there is a checkpoint; Flink's figures were measured with this one.
    #[arg(long, default_value = "10 s")]
    checkpoints: String,
    /// Where the events are kept.
    #[arg(long, default_value = "target/benches")]
    directory: PathBuf,
    /// Another build of the engine, to be measured instead of this one.
    #[arg(long)]
    other: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum SourceKind {
    Json,
    Builtin,
}

/// One way to run a query.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Way {
    source: SourceKind,
    workers: usize,
}

/// What was measured of one way: the cheapest full run, and the cheapest that only starts.
#[derive(Clone, Copy, Debug)]
struct Measured {
    way: Way,
    runs: Runs,
    summary: Summary,
}

impl Measured {
    /// Events that only the full run had.
    fn events(&self) -> u64 {
        self.summary.rows_in.saturating_sub(FEW_EVENTS).max(1)
    }

    fn cpu_us(&self) -> f64 {
        self.runs.cpu_us(self.events())
    }

    fn wall_us(&self) -> f64 {
        self.runs.wall_us(self.events())
    }
}

struct Suite<'a> {
    arguments: &'a Arguments,
    directory: PathBuf,
    /// How much slower this machine is than that of Flink's figures.
    slowness: f64,
}

/// Runs the suite and prints what it took.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(arguments.events > FEW_EVENTS, "more than {FEW_EVENTS} events are needed");
    fs::create_dir_all(&arguments.directory)?;
    let directory = fs::canonicalize(&arguments.directory)?;
    let mut suite = Suite { arguments, directory, slowness: 1.0 };
    suite.prepare()?;
    println!(
        "{} events; {} cores; the cheapest of {} rounds; JSON is decoded {:.2} times as slowly as \
         where Flink was measured",
        arguments.events,
        std::thread::available_parallelism().map_or(1, Into::into),
        arguments.rounds,
        suite.slowness,
    );
    let is_chosen = |query: &&Query| {
        arguments.queries.is_empty() || arguments.queries.iter().any(|name| name == query.name)
    };
    let mut ratios = vec![];
    for query in QUERIES.iter().filter(is_chosen) {
        ratios.extend(suite.run(query)?);
    }
    print_mean(&ratios);
    Ok(())
}

/// The geometric mean of Tidemill's shares of Flink's time.
fn print_mean(ratios: &[f64]) {
    if ratios.is_empty() {
        return;
    }
    let mean = geometric_mean(ratios);
    let held = ratios.iter().filter(|&&ratio| ratio <= WANTED).count();
    println!(
        "of Flink's CPU: {mean:.3} in geometric mean ({WANTED_MEAN} wanted); {held} of {} queries \
         take at most {WANTED}",
        ratios.len()
    );
}

impl Suite<'_> {
    /// Writes the files that runs read, and measures the machine.
    fn prepare(&mut self) -> anyhow::Result<()> {
        fs::write(self.directory.join("ddl.sql"), DDL)?;
        fs::write(self.directory.join("file.sql"), FILE)?;
        let mut side_input = String::new();
        for key in 0..SIDE_KEYS {
            writeln!(side_input, "{key},{key}")?;
        }
        fs::write(self.directory.join("side_input.csv"), side_input)?;
        let all = self.file(self.arguments.events);
        if !all.exists() {
            self.generate(&all)?;
        }
        let sample = SAMPLE_EVENTS.min(self.arguments.events);
        for events in [FEW_EVENTS, sample] {
            copy_lines(&all, &self.file(events), events)?;
        }
        self.slowness = yardstick::slowness(&self.file(sample))?;
        Ok(())
    }

    /// The file of so many events.
    fn file(&self, events: u64) -> PathBuf {
        self.directory.join(format!("nexmark-{events}.jsonl"))
    }

    /// Lets the built-in source fill a file.
    fn generate(&self, file: &Path) -> anyhow::Result<()> {
        eprintln!("generating {} events: {}", self.arguments.events, file.display());
        let folder = file.with_extension("parts");
        clear(&folder)?;
        let way = Way { source: SourceKind::Builtin, workers: 1 };
        let mut command = self.command("file.sql", way, self.arguments.events)?;
        command.arg("-D").arg(format!("OUTPUT={}", folder.display()));
        measure(&mut command)?;
        let parts: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
        ensure!(parts.len() == 1, "{} holds {} files", folder.display(), parts.len());
        fs::rename(parts[0].path(), file)?;
        clear(&folder)
    }

    /// The engine on a query.
    fn command(&self, query: &str, way: Way, events: u64) -> anyhow::Result<Command> {
        let source = match way.source {
            SourceKind::Builtin => format!("'connector' = 'nexmark', 'events.num' = '{events}'"),
            SourceKind::Json => format!(
                "'connector' = 'filesystem', 'format' = 'json', 'path' = '{}'",
                self.file(events).display()
            ),
        };
        let mut command = engine(self.arguments.other.as_ref())?;
        command.arg("run").args(["ddl.sql", query].map(|name| self.directory.join(name)));
        command.args(["--workers", &way.workers.to_string(), "--summary"]).arg(self.summary());
        let side_input = self.directory.join("side_input.csv").display().to_string();
        let interval = self.arguments.checkpoints.clone();
        for (name, value) in [
            ("SOURCE", source),
            ("SIDE_INPUT", side_input),
            ("execution.checkpointing.interval", interval),
        ] {
            command.arg("-D").arg(format!("{name}={value}"));
        }
        Ok(command)
    }

    fn summary(&self) -> PathBuf {
        self.directory.join("summary.json")
    }

    /// Measures a query in all ways. Gives its share of Flink's time, if that is known.
    fn run(&self, query: &Query) -> anyhow::Result<Option<f64>> {
        fs::write(self.directory.join("query.sql"), query.sql)?;
        let mut measured: Vec<Measured> = vec![];
        for _ in 0..self.arguments.rounds.max(1) {
            for &source in &self.arguments.source {
                for &workers in &self.arguments.workers {
                    let once = self.measure(Way { source, workers });
                    let once = once.with_context(|| format!("running {}", query.name))?;
                    keep_best(&mut measured, once);
                }
            }
        }
        check_answers(query, &measured)?;
        let mut ratio = None;
        for entry in &measured {
            let one = measured
                .iter()
                .find(|other| other.way.workers == 1 && other.way.source == entry.way.source);
            ratio = ratio.or(self.print(query, entry, one));
        }
        Ok(ratio)
    }

    /// Runs one way, over few events and over all.
    fn measure(&self, way: Way) -> anyhow::Result<Measured> {
        let (start, _) = self.measure_run(way, FEW_EVENTS)?;
        let (full, summary) = self.measure_run(way, self.arguments.events)?;
        Ok(Measured { way, runs: Runs { full, start }, summary })
    }

    fn measure_run(&self, way: Way, events: u64) -> anyhow::Result<(Usage, Summary)> {
        let output = self.directory.join("answer");
        let mut command = self.command("query.sql", way, events)?;
        command.arg("-D").arg(format!("OUTPUT={}", output.display()));
        clear(&output)?;
        let usage = measure(&mut command)?;
        clear(&output)?;
        let summary = Summary::read(&self.summary())?;
        summary.check(events)?;
        Ok((usage, summary))
    }

    /// Prints a way. Gives its share of Flink's time, which is of one worker and JSON.
    fn print(&self, query: &Query, entry: &Measured, one: Option<&Measured>) -> Option<f64> {
        let cpu_us = entry.cpu_us();
        print!(
            "{:<4} {:<8} {} worker(s)  {:>9} events/s  {cpu_us:>6.3} us CPU/event  start {:>3} ms  \
             {:>4} MB  state {}",
            query.name,
            format!("{:?}", entry.way.source).to_lowercase(),
            entry.way.workers,
            per_second(entry.wall_us()),
            entry.runs.start.cpu.as_millis(),
            entry.runs.full.peak_bytes >> 20,
            state(query, &entry.summary),
        );
        let is_comparable = entry.way == Way { source: SourceKind::Json, workers: 1 };
        let flink_us = query.flink_us.filter(|_| is_comparable).map(|us| us * self.slowness);
        let ratio = flink_us.map(|flink_us| cpu_us / flink_us);
        match (flink_us, ratio, one) {
            (Some(flink_us), Some(ratio), _) => println!("  {ratio:.3} of Flink's {flink_us:.2}"),
            (_, _, Some(one)) if entry.way.workers > 1 => {
                println!("  {:.2} times as fast", one.wall_us() / entry.wall_us())
            }
            _ => println!(),
        }
        ratio
    }
}

/// How many events a second that is; nothing, if there were too few to tell.
fn per_second(event_us: f64) -> String {
    if event_us > 0.0 { format!("{:.0}", 1e6 / event_us) } else { "?".to_owned() }
}

/// State at the end, and for each row that is kept.
fn state(query: &Query, summary: &Summary) -> String {
    let bytes = summary.state_bytes;
    let mut text = match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KB", bytes >> 10),
        _ => format!("{} MB", bytes >> 20),
    };
    if let Some(rows) = query.rows_kept(summary.rows_in) {
        let _ = write!(text, " ({:.0} B/row)", bytes as f64 / rows);
    }
    text
}

/// The runs of a query whose answer only grows wrote as many rows.
fn check_answers(query: &Query, measured: &[Measured]) -> anyhow::Result<()> {
    let (Some(first), true) = (measured.first(), query.is_append_only) else { return Ok(()) };
    for other in measured {
        let (rows, expected) = (other.summary.rows_out, first.summary.rows_out);
        let (way, first) = (other.way, first.way);
        ensure!(
            rows == expected,
            "{}: {rows} rows by {way:?}, {expected} by {first:?}",
            query.name
        );
    }
    Ok(())
}

fn keep_best(measured: &mut Vec<Measured>, once: Measured) {
    match measured.iter_mut().find(|best| best.way == once.way) {
        Some(best) => best.runs = best.runs.cheaper(once.runs),
        None => measured.push(once),
    }
}

/// Copies the first lines of a file, unless that was done before.
fn copy_lines(from: &Path, to: &Path, lines: u64) -> anyhow::Result<()> {
    if to.exists() {
        return Ok(());
    }
    let mut text = vec![];
    let mut file = BufReader::new(File::open(from)?);
    for _ in 0..lines {
        file.read_until(b'\n', &mut text)?;
    }
    Ok(fs::write(to, text)?)
}
