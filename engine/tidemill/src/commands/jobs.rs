//! `tidemill jobs`: what is shipped, and, with `show JOB`, its SQL to copy and edit.

use super::generate;
use crate::console::StandardOutput;
use crate::failure::Failure;
use clap::{Args, Subcommand};
use std::fmt::Write;
use tidemill_connectors::sink::Console;
use tidemill_jobs::Topic;

/// The arguments of `tidemill jobs`.
#[derive(Debug, Args)]
pub(crate) struct JobsArguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the SQL of a shipped job: as `tidemill run JOB` runs it, to be copied and edited.
    Show {
        /// The shipped job.
        job: String,
    },
}

pub(crate) fn execute(arguments: &JobsArguments) -> Result<(), Failure> {
    let text = match &arguments.action {
        None => describe(),
        Some(Action::Show { job }) => generate::find(job)?.sql.to_owned(),
    };
    Ok(StandardOutput.write(text.as_bytes())?)
}

fn describe() -> String {
    let mut text = String::new();
    for job in tidemill_jobs::all() {
        let _ = writeln!(text, "{}\n    {}", job.name, job.description);
        topics(&mut text, "reads", job.inputs);
        topics(&mut text, "writes", job.results);
        text.push('\n');
    }
    text.push_str(
        "Try one: tidemill demo JOB. Its SQL: tidemill jobs show JOB. On your own Kafka: \
         tidemill run JOB --brokers ADDR\n",
    );
    text
}

fn topics(text: &mut String, verb: &str, topics: &[Topic]) {
    for topic in topics {
        let _ = writeln!(text, "    {verb:<6} {:<18} {}", topic.name, topic.meaning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_listed_with_its_topics() {
        let text = describe();
        for job in tidemill_jobs::all() {
            assert!(text.contains(job.description), "{}", job.name);
            for topic in job.inputs.iter().chain(job.results) {
                assert!(text.contains(topic.meaning), "{}", topic.name);
            }
        }
    }
}
