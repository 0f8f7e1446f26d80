//! Tidemill side by side with others, on one machine, in one run.
//!
//! Times differ from machine to machine; what is worth quoting are ratios from one run. Every
//! contestant is a process of its own, and what is compared is the processor time of that whole
//! process, helper threads and start-up included. Nothing counts unless the answers are equal.
//!
//! ```text
//! cargo run --release -p tidemill-benches -- clickstream    six queries: DuckDB, a plain Rust loop
//! cargo run --release -p tidemill-benches -- nexmark        Nexmark's queries against Flink's figures
//! cargo run --release -p tidemill-benches -- skew           aggregates with a hot key, on two workers
//! cargo run --release -p tidemill-benches -- patterns       MATCH_RECOGNIZE, beside Flink
//! cargo run --release -p tidemill-benches -- kafka          Kafka to Kafka against a bare consumer
//! cargo run --release -p tidemill-benches -- latency        an updating count against a bare copy
//! cargo run --release -p tidemill-benches -- join           the join against differential's
//! cargo run --release -p tidemill-benches -- broker         the embedded broker against Apache Kafka
//! cargo run --release -p tidemill-benches -- recovery       from a job's death to its next result
//! cargo run --release -p tidemill-benches -- chaos          the shipped jobs, killed 1,000 times
//! cargo run --release -p tidemill-benches -- jobs           the shipped jobs, alone and together
//! ```

mod answer;
mod baseline;
mod broker;
mod chaos;
mod clickstream;
mod consumer;
mod events;
mod jobs;
mod join;
mod kafka;
mod latency;
mod nexmark;
mod patterns;
mod process;
mod recovery;
mod skew;

use clap::{Parser, Subcommand};

/// The engine's own binary uses the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "Tidemill side by side with other engines")]
struct Arguments {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// Six queries over clickstream events, from file to file
    Clickstream(clickstream::Arguments),
    /// Nexmark's queries, from JSON and from the built-in source
    Nexmark(nexmark::Arguments),
    /// Aggregates with a hot key, combined before the exchange and not
    Skew(skew::Arguments),
    /// Patterns of rows, beside Apache Flink
    Patterns(patterns::Arguments),
    /// A tumbling count from topic to topic
    Kafka(kafka::Arguments),
    /// How old an updating count is
    Latency(latency::Arguments),
    /// The join of two changing inputs, beside differential dataflow's
    Join(join::Arguments),
    /// The embedded broker, beside Apache Kafka
    Broker(broker::Arguments),
    /// From a job's death to its next result
    Recovery(recovery::Arguments),
    /// The shipped jobs, killed again and again
    Chaos(chaos::Arguments),
    /// The shipped jobs from topic to topic, alone and together
    Jobs(jobs::Arguments),
    /// One of the six queries as a plain loop
    #[command(hide = true)]
    Loop(baseline::Arguments),
    /// A consumer that does nothing
    #[command(hide = true)]
    Consume(kafka::ConsumeArguments),
    /// A copy from topic to topic
    #[command(hide = true)]
    Copy(latency::CopyArguments),
    /// One of the joins
    #[command(hide = true)]
    JoinContestant(join::ContestantArguments),
}

fn main() -> anyhow::Result<()> {
    // As the engine, this binary is the engine: `target/release/tidemill` may be an older one.
    let first = std::env::args_os().nth(1);
    let is_engine = |name: &str| first.as_ref().is_some_and(|first| first == name);
    // And that starts itself anew, as what it takes for its own program, to be killed.
    if is_engine(process::ENGINE) || is_engine("run") {
        let named = usize::from(is_engine(process::ENGINE));
        let arguments = tidemill::Cli::parse_from(std::env::args_os().skip(named));
        let code = tidemill::execute(arguments);
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
    match Arguments::parse().suite {
        Suite::Clickstream(arguments) => clickstream::execute(&arguments),
        Suite::Nexmark(arguments) => nexmark::execute(&arguments),
        Suite::Skew(arguments) => skew::execute(&arguments),
        Suite::Patterns(arguments) => patterns::execute(&arguments),
        Suite::Kafka(arguments) => kafka::execute(&arguments),
        Suite::Latency(arguments) => latency::execute(&arguments),
        Suite::Join(arguments) => join::execute(&arguments),
        Suite::Broker(arguments) => broker::execute(&arguments),
        Suite::Recovery(arguments) => recovery::execute(&arguments),
        Suite::Chaos(arguments) => chaos::execute(&arguments),
        Suite::Jobs(arguments) => jobs::execute(&arguments),
        Suite::JoinContestant(arguments) => join::contestant(&arguments),
        Suite::Loop(arguments) => baseline::execute(&arguments),
        Suite::Consume(arguments) => kafka::consume(&arguments),
        Suite::Copy(arguments) => latency::copy(&arguments),
    }
}
