//! Patterns (`MATCH_RECOGNIZE`), each by Tidemill and, where it is installed, by Apache Flink.
//!
//! Both are given the same SQL over the same file and write their matches to files, which must be
//! the same. What a pattern takes for a row is the processor time of the whole process less that
//! of a run over a few rows, divided by the other rows: starting is left out. Flink runs both in a
//! JVM that has run the pattern over all rows before. The two take turns, and of several rounds
//! the cheapest counts.

mod flink;
mod ticks;

use crate::process::{Runs, Summary, Usage, clear, engine, geometric_mean, measure};
use anyhow::{Context, ensure};
use clap::Args;
use flink::Flink;
use std::fs;
use std::path::{Path, PathBuf};

const TICKS: &str = include_str!("../../patterns/ticks.sql");
const PATTERNS: [Pattern; 8] = [
    Pattern::new("v_shape", include_str!("../../patterns/v_shape.sql")),
    Pattern::new("optional", include_str!("../../patterns/optional.sql")),
    Pattern::new("plus_then_other", include_str!("../../patterns/plus_then_other.sql")),
    Pattern::new("reluctant", include_str!("../../patterns/reluctant.sql")),
    Pattern::new("skip_next", include_str!("../../patterns/skip_next.sql")),
    Pattern::new("skip_to_last", include_str!("../../patterns/skip_to_last.sql")),
    Pattern::new("average", include_str!("../../patterns/average.sql")),
    Pattern::new("within", include_str!("../../patterns/within.sql")),
];

/// The folder of an answer.
const OUTPUT: &str = "matches";
/// So many rows are read by a run that measures starting.
const FEW_ROWS: u64 = 20_000;

#[derive(Clone, Copy, Debug)]
struct Pattern {
    name: &'static str,
    sql: &'static str,
}

impl Pattern {
    const fn new(name: &'static str, sql: &'static str) -> Self {
        Pattern { name, sql }
    }
}

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many rows.
    #[arg(long, default_value_t = 520_000)]
    rows: u64,
    /// Which rows.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Which patterns; all, if none is named.
    #[arg(long, value_delimiter = ',')]
    patterns: Vec<String>,
    /// How often each is run; the cheapest run counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The folder of Flink's jars: `lib` of its distribution, or `pyflink/lib` of the wheel
    /// `apache-flink-libraries`. Without, Tidemill runs alone.
    #[arg(long)]
    flink: Option<PathBuf>,
    /// Where the rows are kept and answers are written.
    #[arg(long, default_value = "target/benches")]
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Contestant {
    Tidemill { workers: usize },
    Flink,
}

/// What was measured of a contestant: its cheapest runs over all rows and over few.
#[derive(Clone, Copy, Debug)]
struct Measured {
    contestant: Contestant,
    runs: Runs,
}

struct Suite<'a> {
    arguments: &'a Arguments,
    directory: PathBuf,
    flink: Option<Flink>,
}

/// Runs the suite and prints what each pattern took.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(arguments.rows > FEW_ROWS, "more than {FEW_ROWS} rows are needed");
    fs::create_dir_all(&arguments.directory)?;
    let directory = fs::canonicalize(&arguments.directory)?;
    let flink = arguments.flink.as_ref().map(|jars| Flink::install(jars, &directory));
    let suite = Suite { arguments, flink: flink.transpose()?, directory };
    for rows in [FEW_ROWS, arguments.rows] {
        ticks::prepare(&suite.input(rows), rows, arguments.seed)?;
    }
    println!("{} rows; the cheapest of {} rounds", arguments.rows, arguments.rounds);
    let is_chosen = |pattern: &&Pattern| {
        arguments.patterns.is_empty() || arguments.patterns.iter().any(|name| name == pattern.name)
    };
    let mut ratios = vec![];
    for pattern in PATTERNS.iter().filter(is_chosen) {
        ratios.extend(suite.run(pattern).with_context(|| pattern.name)?);
    }
    if !ratios.is_empty() {
        println!("of Flink's CPU: {:.3} in geometric mean", geometric_mean(&ratios));
    }
    Ok(())
}

impl Suite<'_> {
    /// The file of so many rows.
    fn input(&self, rows: u64) -> PathBuf {
        self.directory.join(format!("ticks-{rows}-{}.jsonl", self.arguments.seed))
    }

    /// The share of Flink's processor time, if it runs.
    fn run(&self, pattern: &Pattern) -> anyhow::Result<Option<f64>> {
        let mut contestants = vec![Contestant::Tidemill { workers: 1 }];
        contestants.extend(self.flink.as_ref().map(|_| Contestant::Flink));
        contestants.push(Contestant::Tidemill { workers: 2 });
        let mut measured: Vec<Measured> = vec![];
        let mut expected = None;
        for _ in 0..self.arguments.rounds.max(1) {
            for &contestant in &contestants {
                let (once, answer) = self.race(pattern, contestant)?;
                keep_best(&mut measured, once);
                let expected = expected.get_or_insert_with(|| answer.clone());
                ensure!(
                    *expected == answer,
                    "{contestant:?} answers otherwise: {} rows for {}",
                    answer.len(),
                    expected.len()
                );
            }
        }
        Ok(self.print(pattern, &measured, expected.map_or(0, |answer| answer.len())))
    }

    /// Runs one contestant once: what it used, and the lines it wrote, in order.
    fn race(
        &self,
        pattern: &Pattern,
        contestant: Contestant,
    ) -> anyhow::Result<(Measured, Vec<String>)> {
        let (few, all) = (FEW_ROWS, self.arguments.rows);
        let (start, full) = match contestant {
            Contestant::Tidemill { workers } => {
                (self.tidemill(pattern, workers, few)?, self.tidemill(pattern, workers, all)?)
            }
            Contestant::Flink => {
                let flink = self.flink.as_ref().context("Flink is not installed")?;
                let script = |rows, output| self.script(pattern, rows, output);
                let scripts = [script(all, "warm")?, script(few, "few")?, script(all, OUTPUT)?];
                let [_, start, full] = flink.run(&scripts)?;
                (start, full)
            }
        };
        let answer = lines_of(&self.directory.join(OUTPUT))?;
        ["warm", "few", OUTPUT].iter().try_for_each(|name| clear(&self.directory.join(name)))?;
        Ok((Measured { contestant, runs: Runs { full, start } }, answer))
    }

    /// The job over so many rows, which writes to a folder in which nothing is.
    fn script(&self, pattern: &Pattern, rows: u64, output: &str) -> anyhow::Result<String> {
        let output = self.directory.join(output);
        clear(&output)?;
        let script = format!("{TICKS}\n{}", pattern.sql);
        let script = script.replace("${INPUT}", &self.input(rows).display().to_string());
        Ok(script.replace("${OUTPUT}", &output.display().to_string()))
    }

    fn tidemill(&self, pattern: &Pattern, workers: usize, rows: u64) -> anyhow::Result<Usage> {
        let script = self.directory.join("pattern.sql");
        let summary = self.directory.join("summary.json");
        fs::write(&script, self.script(pattern, rows, OUTPUT)?)?;
        let mut command = engine(None)?;
        command.arg("run").arg(script).args(["--workers", &workers.to_string(), "--summary"]);
        command.arg(&summary).args(["-D", "execution.checkpointing.interval=10 s"]);
        let usage = measure(&mut command)?;
        Summary::read(&summary)?.check(rows)?;
        Ok(usage)
    }

    fn print(&self, pattern: &Pattern, measured: &[Measured], matches: usize) -> Option<f64> {
        let rows = self.arguments.rows - FEW_ROWS;
        let net = |entry: &Measured| (entry.runs.cpu_us(rows), entry.runs.wall_us(rows));
        let (own_cpu, own_wall) = net(&measured[0]);
        let mut ratio = None;
        for entry in measured {
            let (cpu, wall) = net(entry);
            print!(
                "{:<16} {:<22} {cpu:>7.3} us CPU/row  {wall:>7.3} us wall/row  {:>4} MB",
                pattern.name,
                entry.contestant.to_string(),
                entry.runs.full.peak_bytes >> 20,
            );
            match entry.contestant {
                Contestant::Tidemill { workers: 1 } => println!("  {matches} matches"),
                Contestant::Tidemill { .. } => println!("  {:.2} times as fast", own_wall / wall),
                Contestant::Flink => {
                    println!("  Tidemill takes {:.3} of its CPU", own_cpu / cpu);
                    ratio = Some(own_cpu / cpu);
                }
            }
        }
        ratio
    }
}

/// The lines of all files of a folder, sorted. Both engines write a row in the same way.
fn lines_of(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut lines = vec![];
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_file() {
            lines.extend(fs::read_to_string(path)?.lines().map(str::to_owned));
        }
    }
    lines.sort_unstable();
    Ok(lines)
}

fn keep_best(measured: &mut Vec<Measured>, once: Measured) {
    match measured.iter_mut().find(|best| best.contestant == once.contestant) {
        Some(best) => best.runs = best.runs.cheaper(once.runs),
        None => measured.push(once),
    }
}

impl std::fmt::Display for Contestant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Contestant::Tidemill { workers } => write!(f, "Tidemill, {workers} worker(s)"),
            Contestant::Flink => f.write_str("Flink, parallelism 1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_a_job_over_the_ticks() {
        for pattern in PATTERNS {
            assert!(pattern.sql.contains("FROM ticks MATCH_RECOGNIZE ("), "{}", pattern.name);
            assert!(pattern.sql.contains("'${OUTPUT}'"), "{}", pattern.name);
        }
    }
}
