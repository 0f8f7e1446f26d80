//! [`RemoteStore`]: checkpoints in an object store, such as S3, by URL.
//!
//! Credentials and endpoints come from the environment, under the names that the cloud's own tools
//! use (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `AWS_REGION`, …). The library repeats calls that fail
//! in passing; what it gives up on fails the checkpoint, and with it this attempt of the job.

use super::store::{Created, LocalStore, Name, Store, StoreError};
use crate::error::JobError;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;
use url::Url;

/// The store at a place that a person named: a directory, `file://…`, or the URL of an object
/// store. Each job has a folder of its own there.
///
/// # Errors
/// If there is no such kind of store, or what it needs is not in the environment.
pub(crate) fn open_store(place: &str, job: &str) -> Result<Arc<dyn Store>, JobError> {
    let refused = |problem: String| JobError::State { path: PathBuf::from(place), problem };
    let url = match Url::parse(place) {
        Ok(url) if url.scheme() == "file" => {
            let path = url.to_file_path().map_err(|()| refused("it is no local path".into()))?;
            return Ok(Arc::new(LocalStore::new(path.join(job))));
        }
        Ok(url) => url,
        Err(_) => return Ok(Arc::new(LocalStore::new(PathBuf::from(place).join(job)))),
    };
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        Some((name.to_str()?.to_ascii_lowercase(), value.into_string().ok()?))
    });
    let opened = object_store::parse_url_opts(&url, environment);
    let (store, prefix) = opened.map_err(|error| refused(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| refused(error.to_string()))?;
    Ok(Arc::new(RemoteStore {
        store: store.into(),
        prefix: prefix.join(job),
        runtime,
        place: format!("{}/{job}", place.trim_end_matches('/')),
    }))
}

/// An object store, used by threads that may wait.
struct RemoteStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Runtime,
    place: String,
}

impl RemoteStore {
    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    fn failed(&self, doing: &'static str, name: &str, error: &object_store::Error) -> StoreError {
        let (name, place) = (name.to_owned(), self.place.clone());
        StoreError { doing, name, place, problem: error.to_string() }
    }

    fn write(&self, name: &str, bytes: &[u8], mode: PutMode) -> object_store::Result<()> {
        let payload = PutPayload::from(bytes.to_vec());
        let options = PutOptions { mode, ..PutOptions::default() };
        self.runtime.block_on(self.store.put_opts(&self.path(name), payload, options)).map(drop)
    }
}

impl Store for RemoteStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.write(name, bytes, PutMode::Overwrite);
        written.map_err(|error| self.failed("writing", name, &error))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        match self.write(name, bytes, PutMode::Create) {
            Ok(()) => Ok(Created::New),
            // A call that was repeated finds what it wrote itself the first time.
            Err(object_store::Error::AlreadyExists { .. }) => {
                let ours = self.get(name)?.is_some_and(|found| found == bytes);
                Ok(if ours { Created::New } else { Created::Existed })
            }
            Err(error) => Err(self.failed("creating", name, &error)),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = async {
            let found = self.store.get(&self.path(name)).await?;
            found.bytes().await
        };
        match self.runtime.block_on(read) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("reading", name, &error)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<Name>, StoreError> {
        let path = self.path(folder);
        let listed = self.runtime.block_on(self.store.list(Some(&path)).try_collect::<Vec<_>>());
        let listed = listed.map_err(|error| self.failed("listing", folder, &error))?;
        let names = listed.iter().filter_map(|object| object.location.filename());
        let mut names: Vec<Name> = names.map(|name| format!("{folder}/{name}")).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.runtime.block_on(self.store.delete(&self.path(name))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("deleting", name, &error)),
        }
    }

    fn describe(&self) -> String {
        self.place.clone()
    }
}
