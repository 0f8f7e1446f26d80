//! [`StateDirectory`]: where a job's identity, its end and its dead letters live.
//!
//! ```text
//! DIR/lock             held by the one process that works on it
//! DIR/job              the job's identity
//! DIR/finished         there once a bounded job has come to its end
//! DIR/dead-letters/    what could not be used
//! ```
//!
//! The lock is the system's, not the file's mere existence: a process that dies leaves none.

use crate::error::JobError;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A state directory that this process holds.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    identity: String,
    /// Released when dropped.
    _lock: File,
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
        let mut directory =
            StateDirectory { path: path.to_owned(), identity: String::new(), _lock: lock };
        if start == Start::Fresh {
            directory.clear().map_err(|error| failed(error.to_string()))?;
        }
        directory.identity = directory.identify().map_err(|error| failed(error.to_string()))?;
        Ok(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The job's identity, made when the directory was.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Where dead letters go.
    pub fn dead_letters(&self) -> PathBuf {
        self.path.join("dead-letters")
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

    /// Forgets what earlier runs left, except dead letters: those are a person's.
    fn clear(&self) -> std::io::Result<()> {
        for name in ["finished", "job"] {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn identify(&self) -> std::io::Result<String> {
        let path = self.path.join("job");
        match fs::read_to_string(&path) {
            Ok(identity) => return Ok(identity.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let identity = new_identity();
        fs::write(&path, format!("{identity}\n"))?;
        Ok(identity)
    }
}

/// A name that no other job has: the moment and chance.
fn new_identity() -> String {
    use std::hash::{BuildHasher, RandomState};
    let moment = crate::coordinator::wall_clock_epoch();
    let chance = RandomState::new().hash_one((moment, std::process::id()));
    format!("{moment:x}-{chance:016x}")
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
