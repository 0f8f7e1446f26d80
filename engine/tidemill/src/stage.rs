//! [`Stage`]: the Kafka that a demo plays on, the user's own or a broker in this process.

use crate::failure::Failure;
use anyhow::Context;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tidemill_broker::{Broker, Config};
use tidemill_connectors::{Admin, ConnectorError};
use tidemill_jobs::Job;

/// Where a demo's topics are, and a folder for what it needs beside them.
pub(crate) struct Stage {
    brokers: String,
    /// What stands before the name of each topic.
    prefix: String,
    /// Goes before the folder that it keeps its topics in.
    own: Option<Broker>,
    folder: TempDir,
}

/// Whose topics a demo uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topics {
    /// Those that the job file names, whatever they hold already.
    Named,
    /// Its own, which nobody else writes.
    New,
}

impl Stage {
    /// Goes to these brokers, or starts one. The job's topics are there then. `prefix` stands
    /// before their names, and before what makes new ones new.
    pub(crate) fn open(
        job: &Job,
        brokers: Option<&str>,
        topics: Topics,
        prefix: &str,
    ) -> Result<Self, Failure> {
        let name = format!("tidemill-demo-{}-", job.name);
        let folder = tempfile::Builder::new().prefix(&name).tempdir();
        let folder = folder.context("making a folder for the demo")?;
        let own = match brokers {
            Some(_) => None,
            None => Some(start(folder.path())?),
        };
        let started = own.as_ref().map(|broker| broker.address().to_string());
        let brokers = started.or_else(|| brokers.map(str::to_owned)).unwrap_or_default();
        let prefix = match (&own, topics) {
            // Nobody else knows it.
            (Some(_), _) | (None, Topics::Named) => prefix.to_owned(),
            // As unlike any other as the folder's name.
            (None, Topics::New) => match folder.path().file_name() {
                Some(name) => {
                    format!("{prefix}{}-", name.to_string_lossy().trim_start_matches('.'))
                }
                None => name,
            },
        };
        let stage = Stage { brokers, prefix, own, folder };
        if stage.is_own() {
            stage.create_topics(job).map_err(anyhow::Error::from)?;
        }
        Ok(stage)
    }

    /// The address of the brokers.
    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// What stands before the name of each topic.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether the broker ends with the demo.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// A place for a job's state that goes with the stage.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Keeps the dead letters of a job whose state is here. Everything else goes.
    pub(crate) fn keep_dead_letters(self) {
        drop(self.own);
        let is_kept = |name: &str| name == "state" || name == "dead-letters";
        for folder in [self.folder.path().to_owned(), self.folder.path().join("state")] {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| !entry.file_name().to_str().is_some_and(is_kept)) {
                let path = entry.path();
                let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
            }
        }
        let _ = self.folder.keep();
    }

    fn create_topics(&self, job: &Job) -> Result<(), ConnectorError> {
        let admin = Admin::new(&self.brokers)?;
        for topic in job.inputs.iter().chain(job.results) {
            admin.create(&format!("{}{}", self.prefix, topic.name), None, &[])?;
        }
        Ok(())
    }
}

fn broker_data(folder: &Path) -> PathBuf {
    folder.join("topics")
}

fn start(folder: &Path) -> Result<Broker, Failure> {
    let broker = Broker::start(Config::new(broker_data(folder)));
    Ok(broker.context("starting a broker for the demo")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_the_topics_of_its_job_and_leaves_nothing_but_what_is_kept() {
        let job = tidemill_jobs::find("leaderboard").unwrap();
        let stage = Stage::open(job, None, Topics::Named, "x-").unwrap();
        let topics = Admin::new(stage.brokers()).unwrap().topics().unwrap();
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let expected = ["catches", "player_scores", "players", "top_by_minute", "top_players"];
        assert_eq!(names, expected.map(|name| format!("x-{name}")));
        let letters = stage.state().join("dead-letters");
        std::fs::create_dir_all(&letters).unwrap();
        std::fs::write(stage.state().join("job.json"), "{}").unwrap();
        let folder = stage.folder.path().to_owned();
        stage.keep_dead_letters();
        let left = |path: &Path| {
            let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            entries.collect::<Vec<_>>()
        };
        assert_eq!(left(&folder), ["state"]);
        assert_eq!(left(&folder.join("state")), ["dead-letters"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
