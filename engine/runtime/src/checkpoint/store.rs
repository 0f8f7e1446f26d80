//! [`Store`]: a place for checkpoints, as little as the protocol asks of one.
//!
//! ```text
//! manifests/00000012          what checkpoint 12 consists of; created once, never changed
//! committed/00000012          its output is visible: it stands for good
//! aborted/00000012            its output never became visible and never will
//! state/00000012-3-w0         what worker 0 handed over for it, in generation 3
//! ```
//!
//! The invariant: **an object is there whole or not at all**, whatever dies while it is written,
//! and [`Store::create`] never replaces one.

use super::remote_store::RemoteStore;
use crate::error::JobError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of objects, relative to the store, with `/` between folders.
pub type Name = String;

/// Whether an object was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is ours.
    New,
    /// Somebody else's stands there, untouched.
    Existed,
}

/// A store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{doing} '{name}' in {place}: {problem}")]
pub struct StoreError {
    /// What was being done.
    pub doing: &'static str,
    /// With which object.
    pub name: Name,
    /// In which store.
    pub place: String,
    /// What went wrong.
    pub problem: String,
}

/// A place for checkpoints. Calls block until what they did is durable.
pub trait Store: Send + Sync {
    /// Writes an object, replacing what stood there.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Writes an object unless there is one of that name. No two makers ever write the same
    /// bytes: a store may take an object that differs in nothing for one whose maker was not told.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, StoreError>;

    /// As [`Store::create`], but of an object that the loss of power takes before this returns there
    /// may be a part. It may need less time.
    fn claim(&self, name: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        self.create(name, bytes)
    }

    /// Reads an object; `None` if there is none.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// The names in a folder, in ascending order.
    fn list(&self, folder: &str) -> Result<Vec<Name>, StoreError>;

    /// Removes an object; none is fine.
    fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Where it is, for people.
    fn describe(&self) -> String;
}

/// A directory of this machine.
///
/// Every object is written under a hidden name and then given its own, so that nobody sees half of
/// it, and both are flushed to the disk before it is said to be there: it survives the loss of
/// power, not only of the process.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    /// Makes hidden names differ within the process.
    next: AtomicU64,
}

impl LocalStore {
    /// The store below `root`, which is made when something is first written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        LocalStore { root: root.into(), next: AtomicU64::new(0) }
    }

    fn failed(&self, doing: &'static str, name: &str, error: &io::Error) -> StoreError {
        StoreError {
            doing,
            name: name.to_owned(),
            place: self.describe(),
            problem: error.to_string(),
        }
    }

    /// Writes `bytes` under a hidden name beside `path`, and hands them to `publish`, which gives
    /// them their own.
    fn write<R>(
        &self,
        path: &Path,
        bytes: &[u8],
        publish: impl FnOnce(&File, &Path) -> io::Result<R>,
    ) -> io::Result<R> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let hidden = folder.join(format!(".{}-{number}.tmp", std::process::id()));
        let mut file = File::create(&hidden)?;
        let published = file.write_all(bytes).and_then(|()| publish(&file, &hidden));
        if published.is_err() {
            let _ = fs::remove_file(&hidden);
        }
        let published = published?;
        File::open(folder)?.sync_all()?;
        Ok(published)
    }
}

impl Store for LocalStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(name);
        // Named first and then flushed, all at once: who knows the name waits until it is said to
        // be there.
        let written = self.write(&path, bytes, |file, hidden| {
            fs::rename(hidden, &path)?;
            file.sync_all()
        });
        written.map_err(|error| self.failed("writing", name, &error))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let path = self.root.join(name);
        // A link, unlike a rename, refuses to replace. Whoever finds the name must find all of it.
        let created = self.write(&path, bytes, |file, hidden| {
            file.sync_all()?;
            link(hidden, &path)
        });
        created.map_err(|error| self.failed("creating", name, &error))
    }

    fn claim(&self, name: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let path = self.root.join(name);
        // Both are flushed at once.
        let created = self.write(&path, bytes, |file, hidden| {
            let created = link(hidden, &path)?;
            file.sync_all()?;
            Ok(created)
        });
        created.map_err(|error| self.failed("creating", name, &error))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(self.root.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("reading", name, &error)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<Name>, StoreError> {
        let names = || -> io::Result<Vec<Name>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.root.join(folder))? {
                let name = entry?.file_name();
                let name = name.to_string_lossy();
                if !name.starts_with('.') {
                    names.push(format!("{folder}/{name}"));
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        match names() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names.map_err(|error| self.failed("listing", folder, &error)),
        }
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.root.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("deleting", name, &error))
            }
            _ => Ok(()),
        }
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

/// Gives a hidden file its name, if nobody has it.
fn link(hidden: &Path, path: &Path) -> io::Result<Created> {
    let created = match fs::hard_link(hidden, path) {
        Ok(()) => Created::New,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Created::Existed,
        Err(error) => return Err(error),
    };
    fs::remove_file(hidden)?;
    Ok(created)
}

/// The store at a place that a person named: a directory, or a URL. Each job has a folder of its
/// own there.
///
/// # Errors
/// If nobody knows that kind of place.
pub(crate) fn open_store(place: &str, job: &str) -> Result<Arc<dyn Store>, JobError> {
    let path = match place.split_once("://") {
        None => place,
        Some(("file", path)) => path,
        Some(_) => {
            let url = format!("{}/{job}", place.trim_end_matches('/'));
            let store = RemoteStore::new(&url);
            let store = store.map_err(|problem| JobError::State {
                path: PathBuf::from(place),
                problem: format!(
                    "no place for checkpoints: {problem}; name a directory, or a URL such as \
                     s3://BUCKET/FOLDER"
                ),
            });
            return Ok(Arc::new(store?));
        }
    };
    Ok(Arc::new(LocalStore::new(Path::new(path).join(job))))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What every store promises, tried on an empty one.
    pub(crate) fn keeps_its_promises(store: &dyn Store) {
        assert_eq!(store.list("manifests").unwrap(), [] as [Name; 0]);
        assert_eq!(store.get("manifests/1").unwrap(), None);
        assert_eq!(store.create("manifests/1", b"one").unwrap(), Created::New);
        assert_eq!(store.create("manifests/1", b"two").unwrap(), Created::Existed);
        assert_eq!(store.claim("manifests/1", b"two").unwrap(), Created::Existed);
        assert_eq!(store.get("manifests/1").unwrap().unwrap(), b"one");
        store.put("manifests/1", b"three").unwrap();
        assert_eq!(store.claim("manifests/0", b"zero").unwrap(), Created::New);
        store.put("manifests/0", b"").unwrap();
        store.put("state/0", b"").unwrap();
        assert_eq!(store.get("manifests/1").unwrap().unwrap(), b"three");
        assert_eq!(store.list("manifests").unwrap(), ["manifests/0", "manifests/1"]);
        store.delete("manifests/1").unwrap();
        store.delete("manifests/1").unwrap();
        assert_eq!(store.list("manifests").unwrap(), ["manifests/0"]);
    }

    #[test]
    fn what_is_there_is_never_replaced_by_create_and_always_by_put() {
        let folder = tempfile::tempdir().unwrap();
        keeps_its_promises(&LocalStore::new(folder.path().join("deep/down")));
    }

    #[test]
    fn nothing_is_left_of_a_write_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        fs::create_dir_all(folder.path().join("state/taken")).unwrap();
        let error = store.put("state/taken", b"x").unwrap_err();
        assert!(error.to_string().contains("writing 'state/taken'"), "{error}");
        assert_eq!(fs::read_dir(folder.path().join("state")).unwrap().count(), 1);
    }
}
