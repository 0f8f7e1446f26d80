//! [`RemoteStore`]: a bucket of an object store, such as S3 (`s3://`), Google's (`gs://`) or
//! Azure's (`az://`), or of anything that speaks like one of them.
//!
//! Whole or not at all is what object stores promise of each object. That one is not replaced is
//! asked of them (`If-None-Match: *`), which all three do.
//!
//! Credentials, regions and endpoints come from the environment, under the usual names:
//! `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP` …

use super::store::{Created, Name, Store, StoreError};
use object_store::path::Path;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, parse_url_opts,
};
use tokio::runtime::{Builder, Runtime};
use url::Url;

/// A folder in a bucket.
pub(crate) struct RemoteStore {
    bucket: Box<dyn ObjectStore>,
    folder: Path,
    place: String,
    /// Carries the requests. Whoever makes one waits for it.
    runtime: Runtime,
}

impl RemoteStore {
    /// The folder at `url`. Whether it can be reached is seen at the first request.
    ///
    /// # Errors
    /// If nobody knows such a kind of place, or the environment's settings contradict each other.
    pub(crate) fn new(url: &str) -> Result<Self, String> {
        let parsed = Url::parse(url).map_err(|error| error.to_string())?;
        // Only those that are text, and mean something to the kind of store.
        let settings = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?.to_ascii_lowercase(), value.into_string().ok()?))
        });
        let (bucket, folder) =
            parse_url_opts(&parsed, settings).map_err(|error| error.to_string())?;
        Self::of(bucket, folder, url).map_err(|error| error.to_string())
    }

    fn of(bucket: Box<dyn ObjectStore>, folder: Path, place: &str) -> std::io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("store").enable_all().build()?;
        Ok(RemoteStore { bucket, folder, place: place.to_owned(), runtime })
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.folder.clone(), |path, part| path.join(part))
    }

    fn failed(&self, doing: &'static str, name: &str, error: &Error) -> StoreError {
        StoreError {
            doing,
            name: name.to_owned(),
            place: self.place.clone(),
            problem: error.to_string(),
        }
    }
}

fn payload(bytes: &[u8]) -> PutPayload {
    PutPayload::from(bytes.to_vec())
}

impl Store for RemoteStore {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let put = self.runtime.block_on(self.bucket.put(&path, payload(bytes)));
        put.map(drop).map_err(|error| self.failed("writing", name, &error))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let path = self.path(name);
        let options = PutOptions::from(PutMode::Create);
        let put = self.bucket.put_opts(&path, payload(bytes), options);
        match self.runtime.block_on(put) {
            Ok(_) => Ok(Created::New),
            // A request whose answer was lost is made again, and then finds what it has made
            // itself: no two objects of one name that differ in nothing have different makers.
            Err(Error::AlreadyExists { .. }) => match self.get(name)? {
                Some(there) if there == bytes => Ok(Created::New),
                _ => Ok(Created::Existed),
            },
            Err(error) => Err(self.failed("creating", name, &error)),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(name);
        let got = self.runtime.block_on(async { self.bucket.get(&path).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("reading", name, &error)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<Name>, StoreError> {
        let path = self.path(folder);
        let listed = self.runtime.block_on(self.bucket.list_with_delimiter(Some(&path)));
        let listed = listed.map_err(|error| self.failed("listing", folder, &error))?;
        let names = listed.objects.iter().filter_map(|object| object.location.filename());
        let mut names: Vec<Name> = names.map(|name| format!("{folder}/{name}")).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match self.runtime.block_on(self.bucket.delete(&path)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("deleting", name, &error)),
        }
    }

    fn describe(&self) -> String {
        self.place.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::store::tests::keeps_its_promises;
    use object_store::memory::InMemory;

    fn bucket() -> RemoteStore {
        let folder = Path::from("deep/down");
        RemoteStore::of(Box::new(InMemory::new()), folder, "memory").unwrap()
    }

    #[test]
    fn what_is_there_is_never_replaced_by_create_and_always_by_put() {
        keeps_its_promises(&bucket());
    }

    #[test]
    fn what_a_lost_answer_left_behind_counts_as_made() {
        let store = bucket();
        assert_eq!(store.create("manifests/1", b"one").unwrap(), Created::New);
        assert_eq!(store.create("manifests/1", b"one").unwrap(), Created::New, "it is ours");
        assert_eq!(store.create("manifests/1", b"two").unwrap(), Created::Existed);
    }

    #[test]
    fn a_place_that_nobody_knows_is_refused() {
        for url in ["ftp://there/checkpoints", "nothing at all"] {
            assert!(RemoteStore::new(url).is_err(), "{url}");
        }
    }
}
