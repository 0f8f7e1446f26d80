//! [`Catalog`]: all topics, in memory and as files.
//!
//! A topic is a directory named by its id, with a description and a directory for each partition. It
//! is there from the moment its description is, which is written last and taken away first: a
//! directory without one is what a crash left of a topic that was being made or deleted, and goes at
//! the next start. A topic that is made again under a name has another id, and nothing of the old.

use super::config::TopicConfig;
use super::partition::Partition;
use crate::clock::now_ms;
use crate::files::{sync_directory, write_atomically};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use thiserror::Error;
use uuid::Uuid;

const DESCRIPTION_FILE: &str = "topic.json";

/// The most partitions that a topic may have: each costs a file and some memory.
pub(crate) const PARTITIONS_MAX: u32 = 1_000;

/// The longest name, as in Apache Kafka.
const NAME_BYTES_MAX: usize = 249;

/// Why a topic was not made, changed or deleted.
#[derive(Debug, Error)]
pub(crate) enum TopicError {
    #[error("'{0}' is no name for a topic: letters, digits, '.', '_' and '-', at most 249 of them")]
    Name(String),
    #[error("topic '{0}' exists")]
    Exists(String),
    #[error("there is no topic '{0}'")]
    Unknown(String),
    #[error("{0} partitions: a topic has 1 to {PARTITIONS_MAX}, and never fewer than before")]
    Partitions(i64),
    #[error("topic files: {0}")]
    Io(#[from] io::Error),
}

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    directory: PathBuf,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<TopicConfig>,
    partitions: Vec<Arc<Partition>>,
}

/// What stands in a topic's file.
#[derive(Serialize, Deserialize)]
struct Description {
    name: String,
    id: String,
    partitions: u32,
    config: TopicConfig,
}

impl Topic {
    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.read().config)
    }

    pub(crate) fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        self.read().partitions.get(usize::try_from(index).ok()?).cloned()
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.read().partitions.clone()
    }

    pub(crate) fn partition_count(&self) -> u32 {
        self.read().partitions.len() as u32
    }

    /// Replaces the options.
    pub(crate) fn reconfigure(&self, config: TopicConfig) -> io::Result<()> {
        let mut state = self.write();
        self.describe(state.partitions.len() as u32, &config)?;
        state.config = Arc::new(config);
        Ok(())
    }

    /// Says whether the topic could have `count` partitions.
    pub(crate) fn check_growth(&self, count: u32) -> Result<(), TopicError> {
        check_growth(self.partition_count(), count)
    }

    /// Adds partitions until there are `count`.
    pub(crate) fn grow(&self, count: u32) -> Result<(), TopicError> {
        let mut state = self.write();
        check_growth(state.partitions.len() as u32, count)?;
        let added = self.open_partitions(state.partitions.len() as u32..count)?;
        self.describe(count, &state.config)?;
        state.partitions.extend(added);
        Ok(())
    }

    fn open_partitions(&self, indices: std::ops::Range<u32>) -> io::Result<Vec<Arc<Partition>>> {
        let directory = |index: u32| self.directory.join(index.to_string());
        indices.map(|index| Ok(Arc::new(Partition::open(&directory(index), now_ms())?))).collect()
    }

    fn describe(&self, partitions: u32, config: &TopicConfig) -> io::Result<()> {
        let (name, id) = (self.name.clone(), self.id.to_string());
        let description = Description { name, id, partitions, config: config.clone() };
        let text = serde_json::to_vec_pretty(&description)?;
        write_atomically(&self.directory.join(DESCRIPTION_FILE), &text)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Catalog {
    directory: PathBuf,
    topics: RwLock<Topics>,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Topics {
    fn insert(&mut self, topic: Arc<Topic>) {
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), topic);
    }
}

impl Catalog {
    /// Opens all topics of a directory.
    pub(crate) fn open(directory: &Path) -> io::Result<Catalog> {
        fs::create_dir_all(directory)?;
        let mut topics = Topics::default();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match fs::read(path.join(DESCRIPTION_FILE)) {
                Ok(text) => topics.insert(Arc::new(open_topic(&path, &text)?)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::remove_dir_all(&path)?,
                // Anything else may pass; nothing is to be lost by it.
                Err(error) => return Err(error),
            }
        }
        Ok(Catalog { directory: directory.to_owned(), topics: RwLock::new(topics) })
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.read().by_name.get(name).cloned()
    }

    pub(crate) fn by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.read().by_id.get(&id).cloned()
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Option<Arc<Partition>> {
        self.by_name(topic)?.partition(index)
    }

    /// All topics, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.read().by_name.values().cloned().collect()
    }

    /// Says whether a topic could be made.
    pub(crate) fn check_new(&self, name: &str, partitions: i64) -> Result<(), TopicError> {
        if !is_name(name) {
            return Err(TopicError::Name(name.to_owned()));
        }
        if self.by_name(name).is_some() {
            return Err(TopicError::Exists(name.to_owned()));
        }
        match (1..=i64::from(PARTITIONS_MAX)).contains(&partitions) {
            true => Ok(()),
            false => Err(TopicError::Partitions(partitions)),
        }
    }

    /// Makes a topic.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i64,
        config: TopicConfig,
    ) -> Result<Arc<Topic>, TopicError> {
        self.check_new(name, partitions)?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if topics.by_name.contains_key(name) {
            return Err(TopicError::Exists(name.to_owned()));
        }
        let id = Uuid::new_v4();
        let state = State { config: Arc::new(config), partitions: Vec::new() };
        let topic = Topic {
            name: name.to_owned(),
            id,
            directory: self.directory.join(id.to_string()),
            state: RwLock::new(state),
        };
        topic.grow(partitions as u32)?;
        let topic = Arc::new(topic);
        topics.insert(Arc::clone(&topic));
        Ok(topic)
    }

    /// Deletes a topic with all that it holds.
    pub(crate) fn delete(&self, name: &str) -> Result<(), TopicError> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = topics.by_name.remove(name) else {
            return Err(TopicError::Unknown(name.to_owned()));
        };
        topics.by_id.remove(&topic.id);
        let description = topic.directory.join(DESCRIPTION_FILE);
        fs::remove_file(&description)?;
        sync_directory(&description)?;
        Ok(fs::remove_dir_all(&topic.directory)?)
    }

    fn read(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_topic(directory: &Path, description: &[u8]) -> io::Result<Topic> {
    let description: Description = serde_json::from_slice(description)?;
    let state = State { config: Arc::new(description.config), partitions: Vec::new() };
    let topic = Topic {
        name: description.name,
        id: Uuid::parse_str(&description.id).map_err(io::Error::other)?,
        directory: directory.to_owned(),
        state: RwLock::new(state),
    };
    let partitions = topic.open_partitions(0..description.partitions)?;
    topic.write().partitions = partitions;
    Ok(topic)
}

fn check_growth(from: u32, to: u32) -> Result<(), TopicError> {
    let is_growth = to > from && to <= PARTITIONS_MAX;
    is_growth.then_some(()).ok_or(TopicError::Partitions(i64::from(to)))
}

fn is_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && name.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn topics_are_found_again_and_deleted_ones_are_not() {
        let directory = TempDir::new().unwrap();
        let catalog = Catalog::open(directory.path()).unwrap();
        let mut config = TopicConfig::default();
        config.set("retention.ms", "5").unwrap();
        let kept = catalog.create("kept", 3, config.clone()).unwrap();
        catalog.create("gone", 1, TopicConfig::default()).unwrap();
        catalog.delete("gone").unwrap();
        kept.grow(5).unwrap();
        assert!(kept.grow(4).is_err());
        let catalog = Catalog::open(directory.path()).unwrap();
        let found = catalog.by_name("kept").unwrap();
        assert_eq!((found.id, found.partition_count()), (kept.id, 5));
        assert_eq!(*found.config(), config);
        assert!(catalog.by_name("gone").is_none());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_left_of_a_topic_goes_at_the_next_start() {
        let directory = TempDir::new().unwrap();
        let half = directory.path().join("half-made/0");
        fs::create_dir_all(&half).unwrap();
        assert!(Catalog::open(directory.path()).unwrap().all().is_empty());
        assert!(!half.exists());
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        let directory = TempDir::new().unwrap();
        let catalog = Catalog::open(directory.path()).unwrap();
        for name in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
            let result = catalog.create(name, 1, TopicConfig::default());
            assert!(matches!(result, Err(TopicError::Name(_))), "{name}");
        }
        for partitions in [-1, 0, 1_001] {
            assert!(catalog.create("good", partitions, TopicConfig::default()).is_err());
        }
    }
}
