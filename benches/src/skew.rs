//! Aggregates on two workers where most rows have one key, or all do, beside those where none has
//! more than others: combined before the exchange, and not.
//!
//! Rows come from `datagen` and go into `blackhole`, so what is measured is the aggregate, with its
//! exchange, and the making of the rows. Time is what passes, less that of a run over a few rows. The
//! contestants take turns, and of several rounds the fastest counts.

use crate::process::{Runs, Summary, Usage, clear, engine, measure};
use anyhow::{Context, ensure};
use clap::Args;
use std::fs;
use std::path::PathBuf;

const ROWS: &str = include_str!("../skew/rows.sql");
/// So many rows are read by a run that measures starting.
const FEW_ROWS: u64 = 20_000;

/// What is aggregated, by its name.
const QUERIES: [(&str, &str); 6] = [
    (
        "nine rows of ten have one key",
        "SELECT k, COUNT(*), SUM(v), AVG(v), MAX(v) FROM hot GROUP BY k",
    ),
    ("no key", "SELECT 0, COUNT(*), SUM(v), AVG(v), MAX(v) FROM made_up"),
    (
        "ten keys alike",
        "SELECT k, COUNT(*), SUM(v), AVG(v), MAX(v)
         FROM (SELECT k % 10 AS k, v FROM made_up) AS t GROUP BY k",
    ),
    ("a million keys alike", "SELECT k, COUNT(*), SUM(v), AVG(v), MAX(v) FROM made_up GROUP BY k"),
    (
        "windows, nine rows of ten have one key",
        "SELECT k, COUNT(*), SUM(v), AVG(v), MAX(v)
         FROM TABLE(TUMBLE(TABLE hot, DESCRIPTOR(at), INTERVAL '10' SECOND))
         GROUP BY k, window_start, window_end",
    ),
    (
        "windows, a million keys alike",
        "SELECT k, COUNT(*), SUM(v), AVG(v), MAX(v)
         FROM TABLE(TUMBLE(TABLE made_up, DESCRIPTOR(at), INTERVAL '10' SECOND))
         GROUP BY k, window_start, window_end",
    ),
];

/// Workers and the strategy of each contestant; what comes first is what the others are held against.
const CONTESTANTS: [(usize, &str); 4] =
    [(1, "AUTO"), (2, "ONE_PHASE"), (2, "AUTO"), (2, "TWO_PHASE")];

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many rows.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// How often each query is run; the fastest run counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only those queries whose names have this in them.
    #[arg(long)]
    only: Option<String>,
    /// Another build of the engine.
    #[arg(long)]
    engine: Option<PathBuf>,
    /// Where jobs are kept.
    #[arg(long, default_value = "target/benches/skew")]
    directory: PathBuf,
}

/// Runs the suite and prints a line a query.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(arguments.rows > FEW_ROWS, "more than {FEW_ROWS} rows are needed");
    fs::create_dir_all(&arguments.directory)?;
    println!("{} rows; the fastest of {} rounds, in ns a row", arguments.rows, arguments.rounds);
    println!("| | one worker | two, one phase | two, auto | two, two phases | auto / one phase |");
    println!("|---|---|---|---|---|---|");
    let is_wanted = |(name, _): &&(&str, &str)| {
        arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    };
    for (name, query) in QUERIES.iter().filter(is_wanted) {
        let mut best: [Option<Runs>; CONTESTANTS.len()] = Default::default();
        for _ in 0..arguments.rounds.max(1) {
            for (best, contestant) in best.iter_mut().zip(CONTESTANTS) {
                let runs = arguments.race(query, contestant).with_context(|| (*name).to_owned())?;
                *best = Some(best.map_or(runs, |best: Runs| best.cheaper(runs)));
            }
        }
        let more = arguments.rows - FEW_ROWS;
        let ns: Vec<f64> = best.iter().flatten().map(|runs| runs.wall_us(more) * 1e3).collect();
        let figures: Vec<String> =
            ns.iter().map(|of| format!("{of:.0} ({:.2} ×)", ns[0] / of)).collect();
        println!("| {name} | {} | {:.2} × |", figures.join(" | "), ns[1] / ns[2]);
    }
    Ok(())
}

impl Arguments {
    fn race(&self, query: &str, contestant: (usize, &str)) -> anyhow::Result<Runs> {
        let run = |rows| self.run(query, contestant, rows);
        Ok(Runs { start: run(FEW_ROWS)?, full: run(self.rows)? })
    }

    fn run(
        &self,
        query: &str,
        (workers, strategy): (usize, &str),
        rows: u64,
    ) -> anyhow::Result<Usage> {
        let path = |name: &str| self.directory.join(name);
        let (job, state, summary) = (path("job.sql"), path("state"), path("summary.json"));
        fs::write(&job, format!("{ROWS}\nINSERT INTO nothing {query};\n"))?;
        let mut command = engine(self.engine.as_ref())?;
        command.arg("run").arg(&job).args(["--workers", &workers.to_string()]);
        command.arg("--state").arg(&state).arg("--summary").arg(&summary);
        command.args(["-D", &format!("ROWS={rows}")]);
        command.args(["-D", &format!("table.optimizer.agg-phase-strategy={strategy}")]);
        command.args(["-D", "execution.checkpointing.interval=10s"]);
        let usage = measure(&mut command)?;
        Summary::read(&summary)?.check(rows)?;
        clear(&state)?;
        Ok(usage)
    }
}
