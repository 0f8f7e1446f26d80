//! From the command line's files and definitions to a planned session.

use crate::failure::Failure;
use clap::Args;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use tidemill_connectors::Registry;
use tidemill_jobs::Job;
use tidemill_sql::{Planned, SourceText, plan_session};

/// The files of a session and what is defined for them.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SessionArguments {
    /// A shipped job's name, or SQL files that make one session in this order; `-` is standard
    /// input.
    #[arg(required = true, value_name = "JOB|FILE")]
    pub(crate) files: Vec<String>,
    /// Replaces ${NAME} in the text (before the environment does); with a dotted name, sets a
    /// session option.
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = definition)]
    pub(crate) definitions: Vec<(String, String)>,
    /// The Kafka brokers of a shipped job: the same as -D BROKERS=ADDR.
    #[arg(long, value_name = "ADDR")]
    pub(crate) brokers: Option<String>,
    /// Stands before the name of each topic of a shipped job, so that several stand side by side:
    /// as -D TOPIC_PREFIX=P, and before the name of the job, too.
    #[arg(long, value_name = "P", default_value = "")]
    pub(crate) topic_prefix: String,
}

fn definition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Reads and plans a session.
pub(crate) fn plan(arguments: &SessionArguments) -> Result<Planned, Failure> {
    plan_texts(texts(arguments)?, &variables(arguments))
}

/// Says what in a session is probably not meant.
pub(crate) fn warn(planned: &Planned) {
    planned.warnings.iter().for_each(|warning| eprintln!("{warning}"));
}

/// Reads a session.
pub(crate) fn texts(arguments: &SessionArguments) -> Result<Vec<SourceText>, Failure> {
    arguments.files.iter().map(|file| read(file)).collect()
}

/// Plans a session whose texts are at hand.
pub(crate) fn plan_texts(
    texts: Vec<SourceText>,
    variables: &BTreeMap<String, String>,
) -> Result<Planned, Failure> {
    plan_session(texts, variables, &Registry).map_err(|error| Failure::JobFile(error.to_string()))
}

/// What the job of a session is called: a state directory's name.
pub(crate) fn job_name(arguments: &SessionArguments) -> String {
    format!("{}{}", arguments.topic_prefix, file_name(&arguments.files))
}

/// Where a job keeps its state, if nothing else is said.
pub(crate) fn state_directory(name: &str) -> PathBuf {
    Path::new("tidemill-state").join(name)
}

fn file_name(files: &[String]) -> String {
    let last = files.last().map(String::as_str).unwrap_or("job");
    let stem = Path::new(last).file_stem().and_then(|stem| stem.to_str());
    match stem {
        // `jobs/clicks/job.sql` is the job `clicks`.
        Some("job") => {
            let folder = Path::new(last).parent().and_then(Path::file_name);
            folder.and_then(|name| name.to_str()).unwrap_or("job").to_owned()
        }
        Some("-") | None => "job".to_owned(),
        Some(stem) => stem.to_owned(),
    }
}

/// The text of a shipped job.
pub(crate) fn shipped(job: &Job) -> SourceText {
    SourceText { name: format!("{}.sql", job.name), text: job.sql.to_owned() }
}

/// A shipped job wins over a file only where there is no such file.
fn read(file: &str) -> Result<SourceText, Failure> {
    if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(SourceText { name: "<stdin>".to_owned(), text });
    }
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(SourceText { name: file.to_owned(), text }),
        Err(error) => match tidemill_jobs::find(file) {
            Some(job) => Ok(shipped(job)),
            None => Err(Failure::CommandLine(unreadable(file, &error))),
        },
    }
}

fn unreadable(file: &str, error: &std::io::Error) -> String {
    let names: Vec<&str> = tidemill_jobs::all().iter().map(|job| job.name).collect();
    format!("{file}: {error}, and no shipped job is called so (there are {})", names.join(", "))
}

/// What `${NAME}` stands for: definitions first, then the environment. Definitions with a dotted
/// name are the session's options.
pub(crate) fn variables(arguments: &SessionArguments) -> BTreeMap<String, String> {
    let readable = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut variables: BTreeMap<String, String> =
        readable.filter(|(name, _)| !name.contains('.')).collect();
    let brokers = arguments.brokers.iter().map(|addr| ("BROKERS".to_owned(), addr.clone()));
    variables.extend(brokers);
    if !arguments.topic_prefix.is_empty() {
        variables.insert("TOPIC_PREFIX".to_owned(), arguments.topic_prefix.clone());
    }
    variables.extend(arguments.definitions.iter().cloned());
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_called_after_its_last_file_or_its_folder() {
        let name = |files: &[&str]| {
            let files = files.iter().map(|&file| file.to_owned()).collect();
            job_name(&SessionArguments { files, ..SessionArguments::default() })
        };
        assert_eq!(name(&["leaderboard"]), "leaderboard");
        assert_eq!(name(&["tables.sql", "queries/top.sql"]), "top");
        assert_eq!(name(&["jobs/clicks/job.sql"]), "clicks");
        assert_eq!(name(&["job.sql"]), "job");
        assert_eq!(name(&["-"]), "job");
    }

    #[test]
    fn definitions_come_before_the_brokers_argument_and_the_environment() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let definitions = vec![pair("a.b", "c"), pair("BROKERS", "two"), pair("PATH", "mine")];
        let arguments =
            SessionArguments { definitions, brokers: Some("one".to_owned()), ..Default::default() };
        let variables = variables(&arguments);
        assert_eq!((&*variables["BROKERS"], &*variables["PATH"]), ("two", "mine"));
        assert_eq!(variables["a.b"], "c");
    }
}
