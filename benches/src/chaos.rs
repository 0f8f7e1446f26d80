//! The shipped jobs, killed with SIGKILL again and again, on Apache Kafka and on the embedded
//! broker: readers of committed records must see the batch answer each time.

use crate::kafka::find_broker;
use crate::process::engine;
use anyhow::ensure;
use clap::Args;

/// How the suite is run.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Kills in all, dealt out to jobs and brokers.
    #[arg(long, default_value_t = 1_000)]
    kills: u32,
    /// Records of each job for each of its lives.
    #[arg(long, default_value_t = 20_000)]
    events_per_life: u64,
    /// A broker in place of Apache Kafka's; without, one is started.
    #[arg(long)]
    brokers: Option<String>,
    /// The embedded broker alone.
    #[arg(long, conflicts_with = "brokers")]
    embedded: bool,
}

/// Runs the suite. Each line that is printed stands for a job that survived.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let kafka = match arguments.embedded {
        true => None,
        false => Some(find_broker(arguments.brokers.as_ref())?),
    };
    let brokers: Vec<Option<&str>> = match &kafka {
        Some(kafka) => vec![Some(kafka), None],
        None => vec![None],
    };
    let jobs = tidemill_jobs::all();
    let kills = arguments.kills.div_ceil((jobs.len() * brokers.len()) as u32);
    let events = arguments.events_per_life * u64::from(kills + 1);
    for broker in brokers {
        for (seed, job) in (1..).zip(jobs) {
            println!("{} on {}", job.name, broker.unwrap_or("the embedded broker"));
            let mut command = engine(None)?;
            command.args(["demo", job.name, "--chaos", "--kills", &kills.to_string()]);
            command.args(["--events", &events.to_string(), "--seed", &seed.to_string()]);
            command.args(broker.iter().flat_map(|broker| ["--brokers", broker]));
            let status = command.status()?;
            ensure!(status.success(), "{} did not survive: {status}", job.name);
        }
    }
    Ok(())
}
