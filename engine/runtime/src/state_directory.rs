//! [`StateDirectory`]: where a job's identity, its end and its dead letters live.
//!
//! ```text
//! DIR/lock             held by the one process that works on it
//! DIR/job              the job's identity
//! DIR/finished         there once a bounded job has come to its end
//! DIR/checkpoints/     the job's state, unless it is kept elsewhere
//! DIR/dead-letters/    what could not be used
//! ```
//!
//! The lock is the system's, not the file's mere existence: a process that dies leaves none.

use crate::checkpoint::{self, LocalStore, Store};
use crate::dead_letters::{DeadLetters, Lengths};
use crate::error::JobError;
use crate::job::{Fit, JobState};
use crate::options::value;
use crate::unique::unique_name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A state directory that this process holds.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    identity: Identity,
    /// The identity that a fresh start put an end to.
    replaced: Option<String>,
    /// Released when dropped.
    _lock: File,
}

/// Who a job is, from its first start on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    job: String,
    /// How long the files of dead letters were before it began.
    dead_letters: Lengths,
}

/// Whether to go on where an earlier run left off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Go on.
    Resume,
    /// Begin anew.
    Fresh,
}

impl StateDirectory {
    /// Takes hold of the directory, which is created if there is none.
    ///
    /// # Errors
    /// If another process holds it, or the disk refuses.
    pub fn open(path: &Path, start: Start) -> Result<Self, JobError> {
        let failed = |problem: String| JobError::State { path: path.to_owned(), problem };
        if let Some(url) = path.to_str().filter(|path| path.contains("://")) {
            return Err(failed(format!(
                "it is a directory of this machine, which holds the job's identity; for the \
                 checkpoints alone there is SET 'state.checkpoints.dir' = '{url}'"
            )));
        }
        fs::create_dir_all(path).map_err(|error| failed(error.to_string()))?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"));
        let lock = lock.map_err(|error| failed(error.to_string()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let help = "stop it, or give this one a directory of its own with --state";
                return Err(failed(format!("another process works on it: {help}")));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error.to_string())),
        }
        let prepared = prepare(path, start).map_err(|error| failed(error.to_string()))?;
        let (identity, replaced) = prepared;
        Ok(StateDirectory { path: path.to_owned(), identity, replaced, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The job's identity, made when the directory was.
    pub fn identity(&self) -> &str {
        &self.identity.job
    }

    /// What a run needs to keep its state here.
    ///
    /// # Errors
    /// If the place that the session names for checkpoints can't be used.
    pub fn job_state(
        &self,
        options: &BTreeMap<String, String>,
        fit: Fit,
    ) -> Result<JobState, JobError> {
        let store: Arc<dyn Store> = match value(options, "state.checkpoints.dir") {
            None => Arc::new(LocalStore::new(checkpoints(&self.path))),
            Some(place) => checkpoint::open_store(place, &self.identity.job)?,
        };
        Ok(JobState {
            identity: self.identity.job.clone(),
            replaced: self.replaced.clone(),
            store,
            dead_letters: self.identity.dead_letters.clone(),
            fit,
        })
    }

    /// Where dead letters go.
    pub fn dead_letters(&self) -> PathBuf {
        dead_letters(&self.path)
    }

    /// Whether the job came to its end in an earlier run.
    pub fn is_finished(&self) -> bool {
        self.path.join("finished").exists()
    }

    /// Notes that the job has come to its end.
    pub fn finish(&self) -> Result<(), JobError> {
        let path = self.path.join("finished");
        let problem = |error: std::io::Error| JobError::State {
            path: self.path.clone(),
            problem: error.to_string(),
        };
        let mut file = File::create(path).map_err(problem)?;
        file.write_all(b"finished\n").and_then(|()| file.sync_all()).map_err(problem)
    }
}

/// Where a directory's checkpoints are, unless they are kept elsewhere.
pub(crate) fn checkpoints(directory: &Path) -> PathBuf {
    directory.join("checkpoints")
}

/// Where a directory's dead letters are.
pub(crate) fn dead_letters(directory: &Path) -> PathBuf {
    directory.join("dead-letters")
}

fn identity_file(directory: &Path) -> PathBuf {
    directory.join("job")
}

/// The identity of the job whose state directory this is.
pub(crate) fn identity(directory: &Path) -> io::Result<String> {
    let text = fs::read_to_string(identity_file(directory))?;
    Ok(read_identity(&text)?.job)
}

/// What the file of an identity says.
fn read_identity(text: &str) -> io::Result<Identity> {
    serde_json::from_str(text).map_err(|error| {
        let problem = format!(
            "its file 'job' is damaged ({error}): bring it back, for it says whose checkpoints these \
             are, or name another directory"
        );
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })
}

/// Makes `target` a state directory of the same job.
pub(crate) fn copy_identity(directory: &Path, target: &Path) -> io::Result<()> {
    fs::copy(identity_file(directory), identity_file(target))?;
    File::open(identity_file(target))?.sync_all()
}

/// Takes over what a directory says of its job, or makes a new one of it.
fn prepare(path: &Path, start: Start) -> io::Result<(Identity, Option<String>)> {
    let file = identity_file(path);
    let known = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        text => Some(text?),
    };
    let known = known.map(|text| read_identity(&text)).transpose()?;
    let replaced = match (known, start) {
        (Some(identity), Start::Resume) => return Ok((identity, None)),
        (known, _) => known.map(|identity| identity.job),
    };
    if start == Start::Fresh {
        clear(path)?;
    }
    let dead_letters = DeadLetters::lengths(&dead_letters(path))?;
    let identity = Identity { job: unique_name(), dead_letters };
    let text = serde_json::to_string(&identity)?;
    // Whole or not at all: a directory without it is a new one.
    let hidden = path.join(".job.tmp");
    fs::write(&hidden, text + "\n")?;
    File::open(&hidden)?.sync_all()?;
    fs::rename(&hidden, &file)?;
    Ok((identity, replaced))
}

/// Forgets what earlier runs left, except dead letters: those are a person's.
fn clear(path: &Path) -> io::Result<()> {
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    gone(fs::remove_file(path.join("finished")))?;
    gone(fs::remove_dir_all(checkpoints(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_at_a_time_holds_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let held = StateDirectory::open(folder.path(), Start::Resume).unwrap();
        let error = StateDirectory::open(folder.path(), Start::Resume).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        drop(held);
        StateDirectory::open(folder.path(), Start::Resume).unwrap();
    }

    #[test]
    fn a_finished_job_stays_finished_until_it_is_started_afresh() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDirectory::open(folder.path(), Start::Resume).unwrap();
        assert!(!first.is_finished());
        first.finish().unwrap();
        let identity = first.identity().to_owned();
        drop(first);
        let second = StateDirectory::open(folder.path(), Start::Resume).unwrap();
        assert!(second.is_finished());
        assert_eq!(second.identity(), identity);
        drop(second);
        let third = StateDirectory::open(folder.path(), Start::Fresh).unwrap();
        assert!(!third.is_finished());
        assert_ne!(third.identity(), identity);
    }
}
