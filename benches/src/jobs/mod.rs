//! The shipped jobs from topic to topic, exactly once: each alone, then all of them in one process.
//!
//! Alone, a job is `tidemill bench JOB`: topics loaded beforehand, then, at half of the rate it has
//! shown, how old results are when a reader sees them. Together, they are one session in which
//! every job has names and topics of its own.

mod together;

use crate::process::engine;
use anyhow::{Context, ensure};
use clap::Args;
use serde::Deserialize;
use std::process::Stdio;
use tidemill_jobs::Job;

/// How often results become visible where latency is measured.
const CHECKPOINT_INTERVAL: &str = "execution.checkpointing.interval=100ms";

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// These jobs alone.
    jobs: Vec<String>,
    /// Records of each job.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How many workers.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// A broker; without, each job has an embedded one in the process that measures it.
    #[arg(long)]
    brokers: Option<String>,
    /// Leave out how old results are.
    #[arg(long)]
    no_latency: bool,
    /// Only all of them in one process.
    #[arg(long)]
    together: bool,
}

/// What `tidemill bench --json` says.
#[derive(Debug, Deserialize)]
struct Report {
    rows_per_second: f64,
    cpu_us_per_row: f64,
    rows_out: u64,
    peak_rss_bytes: u64,
    state_bytes: u64,
    latency_p50_ms: Option<u64>,
    latency_p99_ms: Option<u64>,
    latency_p999_ms: Option<u64>,
}

/// Runs the suite and prints a line a job.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let is_wanted = |job: &&Job| {
        arguments.jobs.is_empty() || arguments.jobs.iter().any(|name| name == job.name)
    };
    let jobs: Vec<&Job> = tidemill_jobs::all().iter().filter(is_wanted).collect();
    ensure!(!jobs.is_empty(), "none of the shipped jobs is called so");
    if !arguments.together {
        println!(
            "| job | events/s | CPU us/event | rows out | peak MiB | state MiB | latency p50, p99, p99.9 ms |"
        );
        println!("|---|---|---|---|---|---|---|");
        for job in &jobs {
            println!("{}", alone(job, arguments)?.line(job.name));
        }
    }
    if arguments.together || arguments.jobs.is_empty() {
        println!("{}", together::run(&jobs, arguments)?);
    }
    Ok(())
}

fn alone(job: &Job, arguments: &Arguments) -> anyhow::Result<Report> {
    let mut command = engine(None)?;
    command.args(["bench", job.name, "--json", "--events", &arguments.events.to_string()]);
    command.args(["--workers", &arguments.workers.to_string()]);
    command.args(arguments.brokers.iter().flat_map(|brokers| ["--brokers", brokers]));
    if !arguments.no_latency {
        command.args(["--latency", "-D", CHECKPOINT_INTERVAL]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{}: {}", job.name, output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("the report of {}", job.name))
}

impl Report {
    fn line(&self, name: &str) -> String {
        let mib = |bytes: u64| bytes / (1 << 20);
        let latencies = [self.latency_p50_ms, self.latency_p99_ms, self.latency_p999_ms];
        let latencies = latencies.map(|ms| ms.map_or("-".to_owned(), |ms| ms.to_string()));
        format!(
            "| {name} | {:.0} | {:.2} | {} | {} | {} | {} |",
            self.rows_per_second,
            self.cpu_us_per_row,
            self.rows_out,
            mib(self.peak_rss_bytes),
            mib(self.state_bytes),
            latencies.join(", "),
        )
    }
}
