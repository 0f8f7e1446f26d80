//! All jobs as one session: names that several of them have are told apart.

use super::Arguments;
use crate::broker::start_own;
use crate::process::{Summary, engine, measure};
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use tidemill_jobs::Job;

/// Runs all jobs in one process, from topics loaded beforehand; says how it went.
pub(super) fn run(jobs: &[&Job], arguments: &Arguments) -> anyhow::Result<String> {
    let own = match arguments.brokers {
        Some(_) => None,
        None => Some(start_own()?),
    };
    let brokers = own.as_ref().map(|broker| broker.address().to_owned());
    let brokers = brokers.or_else(|| arguments.brokers.clone()).context("an address")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("all.sql");
    let texts: Vec<String> = jobs.iter().map(|job| apart(job)).collect();
    std::fs::write(&file, texts.join("\n"))?;
    for job in jobs {
        let mut generate = engine(None)?;
        generate.args(["generate", job.name, "--events", &arguments.events.to_string()]);
        generate.args(["--brokers", &brokers, "--topic-prefix", &prefix(job)]);
        let status = generate.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "generating the input of {}: {status}", job.name);
    }
    let summary = folder.path().join("summary.json");
    let mut command: Command = engine(None)?;
    command.arg("run").arg(&file).args(["--workers", &arguments.workers.to_string()]);
    command.arg("--state").arg(folder.path().join("state")).arg("--summary").arg(&summary);
    command.args(["-D", &format!("BROKERS={brokers}"), "-D", "BOUNDED=latest-offset"]);
    let usage = measure(&mut command)?;
    let summary = Summary::read(&summary)?;
    Ok(format!(
        "{} jobs in one process: {} events in {:.1} s, {:.0} events/s, {:.2} us CPU/event, \
         {} rows out, {} MiB at most",
        jobs.len(),
        summary.rows_in,
        usage.wall.as_secs_f64(),
        summary.rows_in as f64 / usage.wall.as_secs_f64(),
        usage.cpu.as_secs_f64() * 1e6 / summary.rows_in.max(1) as f64,
        summary.rows_out,
        usage.peak_bytes >> 20,
    ))
}

fn prefix(job: &Job) -> String {
    format!("{}-", job.name)
}

/// The job's text with topics of its own, and with its name before all that it creates.
fn apart(job: &Job) -> String {
    let text = job.sql.replace("${TOPIC_PREFIX:-}", &prefix(job));
    let created = created(&text);
    let mut renamed = String::with_capacity(text.len());
    for piece in pieces(&text) {
        if created.contains(piece) {
            renamed.push_str(job.name);
            renamed.push('_');
        }
        renamed.push_str(piece);
    }
    renamed
}

/// What the statements of a text create.
fn created(text: &str) -> BTreeSet<&str> {
    let words: Vec<&str> = pieces(text).filter(|piece| is_word(piece)).collect();
    let creations = words
        .windows(3)
        .filter(|words| words[0] == "CREATE" && ["TABLE", "VIEW", "FUNCTION"].contains(&words[1]));
    creations.map(|words| words[2]).collect()
}

fn is_word(piece: &str) -> bool {
    piece.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Words, literals and comments, each in one piece, and what stands between them.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let closed = |skip: usize, end: &str| {
            rest[skip..].find(end).map_or(rest.len(), |at| skip + at + end.len())
        };
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = match first {
            '\'' => closed(1, "'"),
            '-' if rest.starts_with("--") => closed(2, "\n"),
            _ if is_part(first) => rest.find(|c| !is_part(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_creates_is_called_after_it_and_nothing_else_is() {
        let text = "-- orders\nCREATE TABLE orders (id INT) WITH ('topic' = 'orders');\n\
                    CREATE VIEW v AS SELECT o.id FROM orders AS o;";
        let names: Vec<&str> = created(text).into_iter().collect();
        assert_eq!(names, ["orders", "v"]);
        assert_eq!(pieces(text).collect::<String>(), text);
        let leaderboard = tidemill_jobs::find("leaderboard").expect("it is shipped");
        let apart = apart(leaderboard);
        assert!(apart.contains("CREATE TABLE leaderboard_catches ("), "{apart}");
        assert!(apart.contains("'topic' = 'leaderboard-catches'"), "{apart}");
    }
}
