//! `InitProducerId`, `AddPartitionsToTxn`, `AddOffsetsToTxn`, `TxnOffsetCommit`, `EndTxn`.

use super::Context;
use super::errors::{Code, NONE};
use super::offsets::commits;
use crate::groups::group::Claim;
use crate::log::batch::{Outcome, ProducerEpoch};
use crate::transactions::offsets::TopicPartition;
use crate::transactions::state::TransactionError;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, ProducerId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

fn producer(id: ProducerId, epoch: i16) -> ProducerEpoch {
    ProducerEpoch { id: id.0, epoch }
}

/// The code of an error for a version: before `since`, fenced producers knew another one.
fn code(error: &TransactionError, version: i16, since: i16) -> i16 {
    match error {
        TransactionError::Fenced if version < since => ResponseError::InvalidProducerEpoch.code(),
        error => error.code(),
    }
}

pub(super) fn introduce(
    context: &Context<'_>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let held = producer(request.producer_id, request.producer_epoch);
    let held = (held.id >= 0).then_some(held);
    let id = request.transactional_id.as_ref().map(|id| &***id);
    let response = InitProducerIdResponse::default();
    if id == Some("") {
        return response.with_error_code(ResponseError::InvalidRequest.code());
    }
    let timeout_ms = i64::from(request.transaction_timeout_ms);
    match context.node.coordinator.introduce(id, held, timeout_ms) {
        Ok(producer) => {
            response.with_producer_id(ProducerId(producer.id)).with_producer_epoch(producer.epoch)
        }
        Err(error) => response
            .with_error_code(code(&error, context.version, 4))
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

pub(super) fn add_partitions(
    context: &Context<'_>,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let producer = producer(request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
    let topics = request.v3_and_below_topics;
    let is_known = |place: &TopicPartition| {
        context.node.catalog.partition(&place.topic, place.partition).is_some()
    };
    let places: Vec<TopicPartition> = topics.iter().flat_map(places).collect();
    let all_known = places.iter().all(is_known);
    // All or none.
    let added = match all_known {
        true => {
            let id = &request.v3_and_below_transactional_id;
            let added = context.node.coordinator.add_partitions(id, producer, places);
            added.err().map_or(NONE, |error| code(&error, context.version, 2))
        }
        false => ResponseError::OperationNotAttempted.code(),
    };
    let result = |place: &TopicPartition| {
        let code = match is_known(place) {
            true => added,
            false => ResponseError::UnknownTopicOrPartition.code(),
        };
        AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(place.partition)
            .with_partition_error_code(code)
    };
    let results = topics.iter().map(|topic| {
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(places_of(topic).iter().map(result).collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

fn places(topic: &AddPartitionsToTxnTopic) -> impl Iterator<Item = TopicPartition> + '_ {
    let name = topic.name.to_string();
    topic.partitions.iter().map(move |&partition| TopicPartition { topic: name.clone(), partition })
}

fn places_of(topic: &AddPartitionsToTxnTopic) -> Vec<TopicPartition> {
    places(topic).collect()
}

pub(super) fn add_group(
    context: &Context<'_>,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let producer = producer(request.producer_id, request.producer_epoch);
    let (id, group) = (&request.transactional_id, &request.group_id);
    let added = context.node.coordinator.add_group(id, producer, group);
    let code = added.err().map_or(NONE, |error| code(&error, context.version, 2));
    AddOffsetsToTxnResponse::default().with_error_code(code)
}

pub(super) fn add_offsets(
    context: &Context<'_>,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let producer = producer(request.producer_id, request.producer_epoch);
    let claim = Claim {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        generation: request.generation_id,
    };
    let commits = commits(request.topics.iter().flat_map(|topic| {
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
    }));
    // A producer that is no consumer claims nothing, and may do so beside the group's members.
    let claims_nothing = claim.generation < 0 && claim.member_id.is_empty();
    let member = match claims_nothing {
        true => Ok(()),
        false => context.node.groups.check_commit(&request.group_id, &claim),
    };
    let code = match (member, commits) {
        (Err(error), _) => error.code(),
        (_, Err(error)) => error.code(),
        (Ok(()), Ok(commits)) => {
            let (id, group) = (&request.transactional_id, &request.group_id);
            let added = context.node.coordinator.add_offsets(id, producer, group, commits);
            added.err().map_or(NONE, |error| code(&error, context.version, i16::MAX))
        }
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partition = |index| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code)
        };
        TxnOffsetCommitResponseTopic::default()
            .with_partitions(
                topic.partitions.iter().map(|p| partition(p.partition_index)).collect(),
            )
            .with_name(topic.name)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

pub(super) fn end(context: &Context<'_>, request: EndTxnRequest) -> EndTxnResponse {
    let producer = producer(request.producer_id, request.producer_epoch);
    let outcome = if request.committed { Outcome::Commit } else { Outcome::Abort };
    let ended = context.node.coordinator.end(&request.transactional_id, producer, outcome);
    let code = ended.err().map_or(NONE, |error| code(&error, context.version, 2));
    EndTxnResponse::default().with_error_code(code)
}
