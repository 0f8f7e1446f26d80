//! The command line, as clap reads it.

use crate::commands::bench::BenchArguments;
use crate::commands::broker::BrokerArguments;
use crate::commands::checkpoints::CheckpointsArguments;
use crate::commands::demo::DemoArguments;
use crate::commands::generate::GenerateArguments;
use crate::commands::jobs::JobsArguments;
use crate::commands::run::RunArguments;
use crate::commands::topics::TopicsArguments;
use crate::commands::verify::VerifyArguments;
use crate::session::SessionArguments;
use clap::{Parser, Subcommand, ValueEnum};

/// A real-time stream processing engine: Flink SQL jobs, from Kafka to Kafka, in one binary.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// How what is said on standard error looks.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a job, a shipped one or one's own files, until its inputs end or it is stopped.
    #[command(after_help = "Examples:\n  \
        tidemill run job.sql\n  \
        tidemill run tables.sql query.sql -D BROKERS=localhost:9092 --workers 4\n  \
        tidemill run leaderboard --brokers localhost:9092\n  \
        echo \"SELECT 1 + 1\" | tidemill run -")]
    Run(RunArguments),
    /// Parse and plan only: exit status 0, or one error and 2.
    #[command(after_help = "Examples:\n  \
        tidemill check job.sql\n  \
        tidemill check tables.sql query.sql -D BROKERS=localhost:9092")]
    Check(SessionArguments),
    /// Show the dataflow of a job: its operators, what each keeps, what it reads.
    #[command(after_help = "Examples:\n  \
        tidemill explain job.sql\n  \
        tidemill explain leaderboard")]
    Explain(SessionArguments),
    /// Run a shipped job, end to end, on generated input: nothing else to install.
    #[command(after_help = "Examples:\n  \
        tidemill demo\n  \
        tidemill demo inventory --events 20000 --verify\n  \
        tidemill demo --chaos --kills 10 --events 200000\n  \
        tidemill demo clickstream --brokers localhost:9092")]
    Demo(DemoArguments),
    /// List the shipped jobs, what each answers, its topics; print the SQL of one.
    #[command(after_help = "Examples:\n  \
        tidemill jobs\n  \
        tidemill jobs show leaderboard > mine.sql")]
    Jobs(JobsArguments),
    /// Generate the input of a shipped job.
    #[command(after_help = "Examples:\n  \
        tidemill generate leaderboard --events 100000 --to /tmp/catches\n  \
        tidemill generate inventory --rate 1000 --brokers localhost:9092")]
    Generate(GenerateArguments),
    /// Show the checkpoints that a state directory holds, check them, take one out.
    #[command(after_help = "Examples:\n  \
        tidemill checkpoints tidemill-state/live\n  \
        tidemill checkpoints tidemill-state/live --verify\n  \
        tidemill checkpoints tidemill-state/live --export before-the-upgrade")]
    Checkpoints(CheckpointsArguments),
    /// Run a Kafka-compatible broker of one node, for development and tests.
    #[command(after_help = "Examples:\n  \
        tidemill broker\n  \
        tidemill broker --listen 127.0.0.1:0 --data /tmp/topics\n  \
        tidemill broker --listen 0.0.0.0:9092 --expose --advertise kafka:9092")]
    Broker(BrokerArguments),
    /// Measure what a job costs: rate, processor time, memory, checkpoints, recovery.
    #[command(after_help = "Examples:\n  \
        tidemill bench leaderboard\n  \
        tidemill bench inventory --events 5000000 --workers 1 --recovery\n  \
        tidemill bench job.sql -D INPUT=clicks.jsonl --json")]
    Bench(BenchArguments),
    /// Look at the topics of a Kafka, make some, read and write them.
    #[command(after_help = "Examples:\n  \
        tidemill topics --brokers localhost:9092\n  \
        tidemill topics create clicks --partitions 8 -o retention.ms=3600000\n  \
        tidemill topics tail clicks --last 10\n  \
        echo '{\"user_id\": 1}' | tidemill topics produce clicks")]
    Topics(TopicsArguments),
    /// Compute a job's answer once more, in batch over the same input, and show where its result
    /// tables differ.
    #[command(
        after_help = "The job must not run meanwhile: stop it, verify, and go on.\n\nExamples:\n  \
        tidemill verify job.sql\n  \
        tidemill verify leaderboard --brokers localhost:9092 --state tidemill-state/live"
    )]
    Verify(VerifyArguments),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_definition_has_a_name_and_a_value() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let cli = parse("tidemill check job.sql -D A=b=c -D parallelism.default=2").unwrap();
        let Command::Check(arguments) = cli.command else { panic!("{cli:?}") };
        let expected = [("A", "b=c"), ("parallelism.default", "2")];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(arguments.definitions, expected);
        assert!(parse("tidemill check job.sql -D A").is_err());
        assert!(parse("tidemill check").is_err());
    }
}
