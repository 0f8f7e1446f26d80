//! `tidemill jobs`: what is shipped.

use crate::console::StandardOutput;
use crate::failure::Failure;
use std::fmt::Write;
use tidemill_connectors::sink::Console;
use tidemill_jobs::Topic;

pub(crate) fn execute() -> Result<(), Failure> {
    Ok(StandardOutput.write(describe().as_bytes())?)
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
        "Try one: tidemill demo JOB. On your own Kafka: tidemill run JOB --brokers ADDR\n",
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
