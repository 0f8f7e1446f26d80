//! [`RemoteStore`]: a bucket of an object store, such as S3 (`s3://`), Google's (`gs://`) or
//! Azure's (`az://`), or of anything that speaks like one of them.
//!
//! Whole or not at all is what object stores promise of each object. That one is not replaced is
//! asked of them (`If-None-Match: *`), which all three do.
//!
//! A request that is refused for a while is made again for a while, and so is one that only reads
//! or replaces when its connection breaks. Creating and deleting are left to us, for whoever makes
//! them again must know what to think of finding the work done: here that is no surprise.
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
            problem: format!("{error}; {}", help(error)),
        }
    }

    /// Makes a request that may be made twice, once more if the first attempt has no answer.
    fn again<R>(&self, request: impl AsyncFn() -> Result<R, Error>) -> Result<R, Error> {
        match self.runtime.block_on(request()) {
            Err(Error::Generic { .. }) => self.runtime.block_on(request()),
            answer => answer,
        }
    }
}

/// What a person can do about an error.
fn help(error: &Error) -> &'static str {
    // Of a listing that is refused the library says so only in words.
    let text = error.to_string();
    let says = |status: &str| text.contains(status);
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => DENIED,
        _ if says("403 Forbidden") || says("401 Unauthorized") => DENIED,
        _ if says("NoSuchBucket") => {
            "there is no such bucket: make it, or name another one in state.checkpoints.dir"
        }
        _ => {
            "when the store works and can be reached (AWS_ENDPOINT, AWS_REGION …), start the job \
             again: it goes on from its last checkpoint"
        }
    }
}

const DENIED: &str = "the store refuses us: look at the credentials (AWS_ACCESS_KEY_ID …), at what \
                      they allow, and at its quota";

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
        let put = self.again(async || {
            let options = PutOptions::from(PutMode::Create);
            self.bucket.put_opts(&path, payload(bytes), options).await
        });
        match put {
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
        match self.again(async || self.bucket.delete(&path).await) {
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
    use crate::checkpoint::decision::Visibility;
    use crate::checkpoint::manifest::SinkState;
    use crate::checkpoint::protocol::{Outputs, Protocol};
    use crate::checkpoint::store::tests::keeps_its_promises;
    use object_store::memory::InMemory;
    use std::sync::{Arc, Mutex};
    use tidemill_connectors::source::ConnectorError;

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

    /// A job that writes files, of which there are none.
    struct NoFiles;

    impl Outputs for NoFiles {
        fn visibility(&self, _: Option<u64>) -> Visibility {
            Visibility::Staged
        }

        fn transactions(&self) -> Vec<String> {
            Vec::new()
        }

        fn recover(&self) -> Result<Option<u64>, ConnectorError> {
            Ok(None)
        }

        fn flush(&self) -> Result<(), ConnectorError> {
            Ok(())
        }

        fn commit(&self, _: u64) -> Result<(), ConnectorError> {
            Ok(())
        }

        fn publish(&self, _: &[SinkState]) -> Result<(), ConnectorError> {
            Ok(())
        }

        fn roll_back(&self, _: &[SinkState]) -> Result<(), ConnectorError> {
            Ok(())
        }
    }

    fn start(store: Arc<dyn Store>) -> u64 {
        Protocol::new(store, Arc::new(NoFiles), 1).recover(0).unwrap().last_number
    }

    /// A way to a store on which somebody else starts the job while our first object is under way.
    struct Crossed {
        store: Arc<RemoteStore>,
        others: Mutex<Option<u64>>,
    }

    impl Store for Crossed {
        fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
            self.store.put(name, bytes)
        }

        fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, StoreError> {
            self.others.lock().unwrap().get_or_insert_with(|| start(self.store.clone()));
            self.store.create(name, bytes)
        }

        fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
            self.store.get(name)
        }

        fn list(&self, folder: &str) -> Result<Vec<Name>, StoreError> {
            self.store.list(folder)
        }

        fn delete(&self, name: &str) -> Result<(), StoreError> {
            self.store.delete(name)
        }

        fn describe(&self) -> String {
            self.store.describe()
        }
    }

    #[test]
    fn of_two_that_start_at_once_each_takes_a_number_of_its_own() {
        let others = Mutex::new(None);
        let crossed = Arc::new(Crossed { store: Arc::new(bucket()), others });
        let ours = start(crossed.clone());
        assert_eq!((*crossed.others.lock().unwrap(), ours), (Some(1), 2));
    }

    #[test]
    fn a_place_that_nobody_knows_is_refused() {
        for url in ["ftp://there/checkpoints", "nothing at all"] {
            assert!(RemoteStore::new(url).is_err(), "{url}");
        }
    }
}
