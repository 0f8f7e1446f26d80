//! Six queries over clickstream events, from a file to a file.
//!
//! Contestants take turns within each round, so that a neighbour on the machine disturbs all of
//! them alike, and of each one's rounds the cheapest counts. Tidemill runs as always: 10 ms
//! epochs, watermarks, changelogs. F keeps a changelog, which a batch engine has no word for: it
//! is timed into `blackhole` with all its columns built, and checked in a run of its own.

use crate::answer::Answer;
use crate::events;
use crate::process::{Summary, Usage, clear, engine, measure};
use anyhow::{Context, ensure};
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const INPUT_SQL: &str = include_str!("../clickstream/input.sql");
const DUCK: &str = include_str!("../clickstream/duck.py");
const QUERIES: [Query; 6] = [
    Query { name: "A", sql: include_str!("../clickstream/a.sql") },
    Query { name: "B", sql: include_str!("../clickstream/b.sql") },
    Query { name: "C", sql: include_str!("../clickstream/c.sql") },
    Query { name: "D", sql: include_str!("../clickstream/d.sql") },
    Query { name: "E", sql: include_str!("../clickstream/e.sql") },
    Query { name: "F", sql: include_str!("../clickstream/f.sql") },
];

/// F's answer is wanted as a changelog.
const CHANGELOG_SINK: &str = "'connector' = 'filesystem', 'format' = 'debezium-json', 'path' = ";

struct Query {
    name: &'static str,
    sql: &'static str,
}

impl Query {
    fn keeps_changelog(&self) -> bool {
        self.name == "F"
    }
}

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many events.
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// Which events.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Which queries, as letters.
    #[arg(long, default_value = "ABCDEF")]
    queries: String,
    /// How often each is run; the cheapest run counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the events are kept and answers are written.
    #[arg(long, default_value = "target/benches")]
    directory: PathBuf,
    /// A Python that has DuckDB; without, only the plain loop is compared with.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Another build of the engine to put beside this one.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Leave out what runs with two workers.
    #[arg(long)]
    alone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Contestant {
    Tidemill {
        workers: usize,
    },
    /// Another build.
    Beside,
    Duck,
    Loop,
}

struct Suite<'a> {
    arguments: &'a Arguments,
    directory: PathBuf,
    input: PathBuf,
    contestants: Vec<Contestant>,
}

/// Runs the suite and prints the ratios.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    fs::create_dir_all(&arguments.directory)?;
    let directory = fs::canonicalize(&arguments.directory)?;
    let input =
        directory.join(format!("clickstream-{}-{}.jsonl", arguments.events, arguments.seed));
    events::prepare(&input, arguments.events, arguments.seed)?;
    fs::write(directory.join("input.sql"), INPUT_SQL)?;
    fs::write(directory.join("duck.py"), DUCK)?;
    println!(
        "{} events of {} bytes; {} cores; the cheapest of {} rounds",
        arguments.events,
        fs::metadata(&input)?.len() / arguments.events.max(1),
        std::thread::available_parallelism().map_or(1, Into::into),
        arguments.rounds,
    );
    let contestants = contestants(arguments);
    let suite = Suite { arguments, directory, input, contestants };
    let chosen = |query: &&Query| arguments.queries.contains(query.name);
    QUERIES.iter().filter(chosen).try_for_each(|query| suite.run(query))
}

fn contestants(arguments: &Arguments) -> Vec<Contestant> {
    let mut contestants = vec![Contestant::Tidemill { workers: 1 }];
    if arguments.beside.is_some() {
        contestants.push(Contestant::Beside);
    }
    let duck = Command::new(&arguments.python).args(["-c", "import duckdb"]).output();
    if duck.is_ok_and(|output| output.status.success()) {
        contestants.push(Contestant::Duck);
    } else {
        eprintln!("without DuckDB: {} can't import it", arguments.python.display());
    }
    contestants.push(Contestant::Loop);
    if !arguments.alone {
        contestants.push(Contestant::Tidemill { workers: 2 });
    }
    contestants
}

/// A contestant's cheapest round.
struct Best {
    contestant: Contestant,
    usage: Usage,
}

impl Suite<'_> {
    fn run(&self, query: &Query) -> anyhow::Result<()> {
        fs::write(self.directory.join("query.sql"), query.sql)?;
        let mut best: Vec<Best> = Vec::new();
        let mut answers = Vec::new();
        for round in 0..self.arguments.rounds.max(1) {
            for &contestant in &self.contestants {
                let usage = self.race(query, contestant)?;
                keep_best(&mut best, contestant, usage);
                if round == 0 {
                    answers.push((contestant, self.answer(query, contestant)?));
                }
            }
        }
        self.print(query, &best);
        let (first, expected) = answers.pop().expect("there is always one contestant");
        for (other, answer) in answers {
            ensure!(
                answer == expected,
                "{}: {other:?} and {first:?} differ: {answer:?}, {expected:?}",
                query.name
            );
        }
        println!("   equal answers of {} rows", expected.rows);
        Ok(())
    }

    /// Runs one contestant once.
    fn race(&self, query: &Query, contestant: Contestant) -> anyhow::Result<Usage> {
        let output = self.output(contestant);
        clear(&output)?;
        let mut command = match contestant {
            Contestant::Duck => {
                let mut command = Command::new(&self.arguments.python);
                command.arg(self.directory.join("duck.py")).args([query.name, "1"]);
                command.arg(&self.input).arg(&output);
                command
            }
            Contestant::Loop => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["loop", query.name]).arg(&self.input).arg(&output);
                command
            }
            Contestant::Tidemill { .. } | Contestant::Beside => {
                self.tidemill(contestant, &[("OUTPUT", output.display().to_string())])?
            }
        };
        measure(&mut command)
    }

    fn tidemill(
        &self,
        contestant: Contestant,
        variables: &[(&str, String)],
    ) -> anyhow::Result<Command> {
        let workers = if let Contestant::Tidemill { workers } = contestant { workers } else { 1 };
        let beside = self.arguments.beside.as_ref();
        let mut command = engine(beside.filter(|_| contestant == Contestant::Beside))?;
        command.arg("run");
        command.args(["input.sql", "query.sql"].map(|name| self.directory.join(name)));
        command.args(["--workers", &workers.to_string(), "--summary"]);
        command.arg(self.directory.join("summary.json"));
        command.arg("-D").arg(format!("INPUT={}", self.input.display()));
        for (name, value) in variables {
            command.arg("-D").arg(format!("{name}={value}"));
        }
        Ok(command)
    }

    /// What a contestant has answered, or would have if it were asked to write it.
    fn answer(&self, query: &Query, contestant: Contestant) -> anyhow::Result<Answer> {
        let output = self.output(contestant);
        let is_engine = matches!(contestant, Contestant::Tidemill { .. } | Contestant::Beside);
        if is_engine {
            let summary = Summary::read(&self.directory.join("summary.json"))?;
            summary.check(self.arguments.events)?;
            println!(
                "{} {contestant}: {} rows out, {} epochs",
                query.name, summary.rows_out, summary.epochs
            );
        }
        if is_engine && query.keeps_changelog() {
            let sink = format!("{CHANGELOG_SINK}'{}'", output.display());
            measure(&mut self.tidemill(contestant, &[("SINK", sink)])?)?;
        }
        let answer =
            Answer::read(&output).with_context(|| format!("the answer of {contestant}"))?;
        clear(&output)?;
        Ok(answer)
    }

    fn output(&self, contestant: Contestant) -> PathBuf {
        let name = match contestant {
            Contestant::Tidemill { .. } | Contestant::Beside => "answer",
            Contestant::Duck | Contestant::Loop => "answer.jsonl",
        };
        self.directory.join(name)
    }

    fn print(&self, query: &Query, best: &[Best]) {
        let events = self.arguments.events as f64;
        let one = &best[0];
        for entry in best {
            let (cpu, wall) = (entry.usage.cpu.as_secs_f64(), entry.usage.wall.as_secs_f64());
            print!(
                "{} {:<22} {:>6.3} us CPU/event  {:>6.3} us wall/event  {:>4} MB",
                query.name,
                entry.contestant.to_string(),
                cpu * 1e6 / events,
                wall * 1e6 / events,
                entry.usage.peak_bytes >> 20,
            );
            match entry.contestant {
                Contestant::Tidemill { workers: 1 } => println!(),
                Contestant::Tidemill { .. } => {
                    println!("  {:.2} times as fast", one.usage.wall.as_secs_f64() / wall)
                }
                _ => {
                    println!("  Tidemill takes {:.2} of its CPU", one.usage.cpu.as_secs_f64() / cpu)
                }
            }
        }
    }
}

fn keep_best(best: &mut Vec<Best>, contestant: Contestant, usage: Usage) {
    match best.iter_mut().find(|entry| entry.contestant == contestant) {
        Some(entry) => entry.usage = entry.usage.cheaper(usage),
        None => best.push(Best { contestant, usage }),
    }
}

impl std::fmt::Display for Contestant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Contestant::Tidemill { workers } => write!(f, "Tidemill, {workers} worker(s)"),
            Contestant::Beside => f.write_str("Tidemill, other build"),
            Contestant::Duck => f.write_str("DuckDB, 1 thread"),
            Contestant::Loop => f.write_str("plain loop"),
        }
    }
}
