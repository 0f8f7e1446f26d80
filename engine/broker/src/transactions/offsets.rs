//! [`Offsets`]: how far each group has come, as it has committed.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A partition of a topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TopicPartition {
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
}

/// Offsets to commit together.
pub(crate) type Commits = Vec<(TopicPartition, Committed)>;

/// The committed offsets of all groups.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    by_group: BTreeMap<String, BTreeMap<TopicPartition, Committed>>,
}

impl Offsets {
    pub(crate) fn commit(&mut self, group: &str, commits: Commits) {
        if !commits.is_empty() {
            self.by_group.entry(group.to_owned()).or_default().extend(commits);
        }
    }

    pub(crate) fn get(&self, group: &str, partition: &TopicPartition) -> Option<&Committed> {
        self.by_group.get(group)?.get(partition)
    }

    /// All of a group's offsets.
    pub(crate) fn of_group(&self, group: &str) -> Commits {
        let offsets = self.by_group.get(group).into_iter().flatten();
        offsets.map(|(partition, committed)| (partition.clone(), committed.clone())).collect()
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &String> {
        self.by_group.keys()
    }

    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.by_group.contains_key(group)
    }

    pub(crate) fn delete(&mut self, group: &str, partitions: &[TopicPartition]) {
        if let Some(offsets) = self.by_group.get_mut(group) {
            offsets.retain(|partition, _| !partitions.contains(partition));
            if offsets.is_empty() {
                self.by_group.remove(group);
            }
        }
    }

    pub(crate) fn delete_group(&mut self, group: &str) {
        self.by_group.remove(group);
    }

    pub(crate) fn delete_topic(&mut self, topic: &str) {
        self.by_group.retain(|_, offsets| {
            offsets.retain(|partition, _| partition.topic != topic);
            !offsets.is_empty()
        });
    }
}
