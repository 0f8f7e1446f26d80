//! `OffsetCommit`, `OffsetFetch`, `OffsetDelete`: how far groups have come.

use super::errors::{Code, NONE, code_of};
use super::{Context, text};
use crate::groups::group::{Claim, GroupError};
use crate::transactions::coordinator::Stability;
use crate::transactions::offsets::{Commits, Committed, TopicPartition};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use std::collections::BTreeMap;

/// The longest text beside an offset, as in Apache Kafka.
const METADATA_BYTES_MAX: usize = 4096;

/// Of a partition for which nothing was committed.
const NO_OFFSET: i64 = -1;

/// Offsets as they come in requests: topic, partition, offset, leader epoch, metadata.
type Sent<'a> = (&'a str, i32, i64, i32, &'a str);

/// Offsets as they are kept, if all of them can be.
pub(super) fn commits<'a>(sent: impl Iterator<Item = Sent<'a>>) -> Result<Commits, ResponseError> {
    let commit = |(topic, partition, offset, leader_epoch, metadata): Sent<'_>| {
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        let place = TopicPartition { topic: topic.to_owned(), partition };
        Ok((place, Committed { offset, leader_epoch, metadata: metadata.to_owned() }))
    };
    sent.map(commit).collect()
}

pub(super) fn commit(context: &Context<'_>, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let code = commit_all(context, &request).err().map_or(NONE, |error| error.code());
    let is_known = |topic: &str, index| context.node.catalog.partition(topic, index).is_some();
    let topics = request.topics.into_iter().map(|topic| {
        let partition = |index| {
            let code = match is_known(&topic.name, index) {
                true => code,
                false => ResponseError::UnknownTopicOrPartition.code(),
            };
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code)
        };
        let partitions = topic.partitions.iter().map(|p| partition(p.partition_index)).collect();
        OffsetCommitResponseTopic::default().with_partitions(partitions).with_name(topic.name)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Commits the offsets of partitions that there are.
fn commit_all(context: &Context<'_>, request: &OffsetCommitRequest) -> Result<(), ResponseError> {
    let claim = Claim {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        generation: request.generation_id_or_member_epoch,
    };
    context.node.groups.check_commit(&request.group_id, &claim).map_err(|e| e.error())?;
    let sent = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|p| {
            let metadata = p.committed_metadata.as_deref().unwrap_or_default();
            (
                topic.name.as_str(),
                p.partition_index,
                p.committed_offset,
                p.committed_leader_epoch,
                metadata,
            )
        })
    });
    let mut commits = commits(sent)?;
    commits.retain(|(place, _)| {
        context.node.catalog.partition(&place.topic, place.partition).is_some()
    });
    let committed = context.node.coordinator.commit_offsets(&request.group_id, commits);
    committed.map_err(|error| {
        tracing::warn!("committing offsets: {error}");
        ResponseError::CoordinatorNotAvailable
    })
}

/// Which offsets the client can do with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    /// None that a transaction under way is about to change.
    Stable,
}

/// Which partitions of a group are asked for.
enum Asked {
    All,
    These(Vec<(TopicName, Vec<i32>)>),
}

/// A group's offset for a partition, or why there is none.
struct Answered {
    partition: i32,
    result: Result<Option<Committed>, ResponseError>,
}

pub(super) fn fetch(context: &Context<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let wanted = if request.require_stable { Wanted::Stable } else { Wanted::Any };
    if context.version >= 8 {
        let groups = request.groups.into_iter().map(|group| {
            let asked = group.topics.map_or(Asked::All, |topics| {
                Asked::These(topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect())
            });
            let topics = look_up(context, &group.group_id, asked, wanted);
            OffsetFetchResponseGroup::default()
                .with_topics(topics.into_iter().map(in_group).collect())
                .with_group_id(group.group_id)
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let asked = request.topics.map_or(Asked::All, |topics| {
        Asked::These(topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect())
    });
    let topics = look_up(context, &request.group_id, asked, wanted);
    OffsetFetchResponse::default().with_topics(topics.into_iter().map(alone).collect())
}

fn look_up(
    context: &Context<'_>,
    group: &str,
    asked: Asked,
    wanted: Wanted,
) -> Vec<(TopicName, Vec<Answered>)> {
    let coordinator = &context.node.coordinator;
    let topics = match asked {
        Asked::These(topics) => topics,
        Asked::All => {
            let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
            for (place, _) in coordinator.all_committed(group) {
                topics.entry(place.topic).or_default().push(place.partition);
            }
            topics.into_iter().map(|(topic, p)| (TopicName(text(topic)), p)).collect()
        }
    };
    let answer = |topic: &TopicName, partition| {
        let place = TopicPartition { topic: topic.to_string(), partition };
        let result = match coordinator.stability(group, &place) {
            Stability::Undecided if wanted == Wanted::Stable => {
                Err(ResponseError::UnstableOffsetCommit)
            }
            _ => Ok(coordinator.committed(group, &place)),
        };
        Answered { partition, result }
    };
    let answer_topic = |(topic, partitions): (TopicName, Vec<i32>)| {
        let answers = partitions.into_iter().map(|partition| answer(&topic, partition)).collect();
        (topic, answers)
    };
    topics.into_iter().map(answer_topic).collect()
}

/// Offset, leader epoch, metadata and error, as they are told.
fn told(result: Result<Option<Committed>, ResponseError>) -> (i64, i32, String, i16) {
    match result {
        Ok(Some(found)) => (found.offset, found.leader_epoch, found.metadata, NONE),
        Ok(None) => (NO_OFFSET, -1, String::new(), NONE),
        Err(error) => (NO_OFFSET, -1, String::new(), error.code()),
    }
}

fn in_group((topic, answers): (TopicName, Vec<Answered>)) -> OffsetFetchResponseTopics {
    let partitions = answers.into_iter().map(|answered| {
        let (offset, leader_epoch, metadata, code) = told(answered.result);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(answered.partition)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(leader_epoch)
            .with_metadata(Some(text(metadata)))
            .with_error_code(code)
    });
    OffsetFetchResponseTopics::default().with_partitions(partitions.collect()).with_name(topic)
}

fn alone((topic, answers): (TopicName, Vec<Answered>)) -> OffsetFetchResponseTopic {
    let partitions = answers.into_iter().map(|answered| {
        let (offset, leader_epoch, metadata, code) = told(answered.result);
        OffsetFetchResponsePartition::default()
            .with_partition_index(answered.partition)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(leader_epoch)
            .with_metadata(Some(text(metadata)))
            .with_error_code(code)
    });
    OffsetFetchResponseTopic::default().with_partitions(partitions.collect()).with_name(topic)
}

pub(super) fn delete(context: &Context<'_>, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let node = context.node;
    let is_known = node.coordinator.has_offsets(&request.group_id);
    let has_members = node.groups.look(&request.group_id, |group| !group.members.is_empty());
    let refused = match has_members {
        // What members subscribe to is known to them alone, so any topic may be theirs.
        Some(true) => Some(GroupError::Subscribed),
        None if !is_known => {
            let code = GroupError::UnknownGroup.code();
            return OffsetDeleteResponse::default().with_error_code(code);
        }
        _ => None,
    };
    let places = request.topics.iter().flat_map(|topic| {
        topic
            .partitions
            .iter()
            .map(|p| TopicPartition { topic: topic.name.to_string(), partition: p.partition_index })
    });
    let code = match refused {
        Some(error) => error.code(),
        None => code_of(&node.coordinator.delete_offsets(&request.group_id, places.collect())),
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partition = |index| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code)
        };
        let partitions = topic.partitions.iter().map(|p| partition(p.partition_index)).collect();
        OffsetDeleteResponseTopic::default().with_partitions(partitions).with_name(topic.name)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
