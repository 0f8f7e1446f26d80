//! [`Node`]: the state of a broker, apart from its connections.

use crate::clock::now_ms;
use crate::config::{AutoCreate, Config};
use crate::error::BrokerError;
use crate::files::write_atomically;
use crate::groups::registry::Groups;
use crate::journal::Flush;
use crate::topics::catalog::{Catalog, Topic, TopicError};
use crate::topics::config::TopicConfig;
use crate::topics::partition::Partition;
use crate::transactions::coordinator::Coordinator;
use crate::transactions::state::FORGOTTEN_AFTER_MS;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// The one node of the cluster.
pub(crate) const NODE_ID: i32 = 1;

const LOCK_FILE: &str = "lock";
const IDENTITY_FILE: &str = "broker.json";
const TOPICS_DIRECTORY: &str = "topics";

/// The layout of the data directory that this version reads and writes.
const FORMAT: u32 = 1;

/// What a data directory says of itself.
#[derive(Serialize, Deserialize)]
struct Identity {
    format: u32,
    cluster_id: String,
}

/// The state of a broker.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) cluster_id: String,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) coordinator: Coordinator,
    pub(crate) groups: Groups,
    pub(crate) auto_create: AutoCreate,
    pub(crate) default_partitions: u32,
    pub(crate) flush: Flush,
    /// Held as long as the data directory is in use.
    _lock: File,
}

impl Node {
    /// Opens a data directory, which nobody else may have open.
    pub(crate) fn open(config: &Config) -> Result<Node, BrokerError> {
        let directory = config.data_directory.as_path();
        let failed = |source| BrokerError::Data { directory: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = File::create(directory.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BrokerError::InUse { directory: directory.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let cluster_id = identity(directory).map_err(failed)?;
        let catalog = Catalog::open(&directory.join(TOPICS_DIRECTORY)).map_err(failed)?;
        let catalog = Arc::new(catalog);
        let coordinator = Coordinator::open(directory, Arc::clone(&catalog), config.flush);
        Ok(Node {
            cluster_id,
            catalog,
            coordinator: coordinator.map_err(failed)?,
            groups: Groups::default(),
            auto_create: config.auto_create,
            default_partitions: config.default_partitions,
            flush: config.flush,
            _lock: lock,
        })
    }

    /// A topic, made now if that is what happens to unknown ones.
    pub(crate) fn topic_or_new(
        &self,
        name: &str,
        wish: AutoCreate,
    ) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.catalog.by_name(name) {
            return Ok(topic);
        }
        let partitions = i64::from(self.default_partitions);
        if (self.auto_create, wish) != (AutoCreate::On, AutoCreate::On) {
            self.catalog.check_new(name, partitions)?;
            return Err(TopicError::Unknown(name.to_owned()));
        }
        match self.catalog.create(name, partitions, TopicConfig::default()) {
            // Somebody else was faster.
            Err(TopicError::Exists(_)) => {
                self.catalog.by_name(name).ok_or_else(|| TopicError::Unknown(name.to_owned()))
            }
            created => created,
        }
    }

    /// Writes summaries, so that a start needn't read what they cover.
    pub(crate) fn summarise(&self) {
        self.for_each_partition(|_, partition| partition.write_summaries());
    }

    /// Deletes what is too old or too much, and forgets producers that don't come back.
    pub(crate) fn apply_retention(&self) {
        let now_ms = now_ms();
        self.for_each_partition(|topic, partition| {
            partition.forget_producers(now_ms - FORGOTTEN_AFTER_MS);
            partition.apply_retention(topic.config().retention(), now_ms)
        });
    }

    /// Leaves everything such that the next start has nothing to read again.
    pub(crate) fn close(&self) {
        self.for_each_partition(|_, partition| partition.close());
    }

    /// Does something everywhere. A failure is told, and the rest is done all the same.
    fn for_each_partition(&self, work: impl Fn(&Topic, &Partition) -> io::Result<()>) {
        for topic in self.catalog.all() {
            for partition in topic.partitions() {
                let worked = work(&topic, &partition);
                if let Err(error) = worked.or_else(|error| self.unless_deleted(&topic, error)) {
                    tracing::warn!("topic '{}': {error}", topic.name);
                }
            }
        }
    }

    fn unless_deleted(&self, topic: &Topic, error: io::Error) -> io::Result<()> {
        if self.catalog.by_id(topic.id).is_some() { Err(error) } else { Ok(()) }
    }
}

fn identity(directory: &Path) -> io::Result<String> {
    let path = directory.join(IDENTITY_FILE);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let cluster_id = Uuid::new_v4().simple().to_string();
            let text = serde_json::to_vec(&Identity { format: FORMAT, cluster_id })?;
            write_atomically(&path, &text)?;
            text
        }
        text => text?,
    };
    let identity: Identity = serde_json::from_slice(&text)?;
    match identity.format {
        FORMAT => Ok(identity.cluster_id),
        other => Err(io::Error::other(format!("format {other}; this version knows {FORMAT}"))),
    }
}
