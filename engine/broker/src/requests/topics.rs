//! `CreateTopics`, `DeleteTopics`, `CreatePartitions`, `DeleteRecords`.

use super::errors::{Code, NONE, code_of};
use super::{Context, Effect, text};
use crate::topics::catalog::{Topic, TopicError};
use crate::topics::config::{ConfigError, TopicConfig};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    TopicName,
};
use std::sync::Arc;
use thiserror::Error;

/// Why a topic is not made as it was asked for.
#[derive(Debug, Error)]
enum CreateError {
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0} replicas: this broker is alone")]
    Replicas(i16),
    #[error("partitions can only be assigned to this broker, from 0 on")]
    Assignment,
}

impl Code for CreateError {
    fn error(&self) -> ResponseError {
        match self {
            CreateError::Topic(error) => error.error(),
            CreateError::Config(error) => error.error(),
            CreateError::Replicas(_) => ResponseError::InvalidReplicationFactor,
            CreateError::Assignment => ResponseError::InvalidReplicaAssignment,
        }
    }
}

pub(super) fn create(context: &Context<'_>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let result = |wanted: CreatableTopic| {
        let result = CreatableTopicResult::default().with_name(wanted.name.clone());
        match create_one(context, &wanted, Effect::of(request.validate_only)) {
            Ok(made) => describe_made(result, made),
            Err(error) => result
                .with_error_code(error.code())
                .with_error_message(Some(text(&error)))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        }
    };
    CreateTopicsResponse::default().with_topics(request.topics.into_iter().map(result).collect())
}

/// A topic that was made, or that could be.
struct Made {
    topic: Option<Arc<Topic>>,
    partitions: i64,
    config: TopicConfig,
}

fn create_one(
    context: &Context<'_>,
    wanted: &CreatableTopic,
    effect: Effect,
) -> Result<Made, CreateError> {
    // -1 is as many as the broker thinks fit.
    if !matches!(wanted.replication_factor, -1 | 1) {
        return Err(CreateError::Replicas(wanted.replication_factor));
    }
    let mut assigned: Vec<i32> = wanted.assignments.iter().map(|a| a.partition_index).collect();
    assigned.sort_unstable();
    let is_ours = wanted.assignments.iter().all(|a| a.broker_ids == [crate::node::NODE_ID]);
    if !is_ours || assigned.iter().zip(0..).any(|(index, expected)| *index != expected) {
        return Err(CreateError::Assignment);
    }
    let partitions = match wanted.num_partitions {
        -1 if !assigned.is_empty() => assigned.len() as i64,
        -1 => i64::from(context.node.default_partitions),
        given => i64::from(given),
    };
    let mut config = TopicConfig::default();
    for option in &wanted.configs {
        if let Some(value) = &option.value {
            config.set(&option.name, value)?;
        }
    }
    if effect == Effect::JudgeOnly {
        context.node.catalog.check_new(&wanted.name, partitions)?;
        return Ok(Made { topic: None, partitions, config });
    }
    let topic = context.node.catalog.create(&wanted.name, partitions, config.clone())?;
    Ok(Made { topic: Some(topic), partitions, config })
}

fn describe_made(result: CreatableTopicResult, made: Made) -> CreatableTopicResult {
    let option = |described: super::configs::Described| {
        CreatableTopicConfigs::default()
            .with_name(text(described.name))
            .with_value(Some(text(described.value)))
            .with_config_source(described.source)
    };
    let configs = super::configs::describe_topic(&made.config).map(option).collect();
    result
        .with_topic_id(made.topic.map(|topic| topic.id).unwrap_or_default())
        .with_num_partitions(made.partitions as i32)
        .with_replication_factor(1)
        .with_configs(Some(configs))
}

pub(super) fn delete(context: &Context<'_>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = request.topic_names.into_iter().map(|name| delete_named(context, name));
    let by_state = request.topics.into_iter().map(|state| match state.name {
        Some(name) => delete_named(context, name),
        None => match context.node.catalog.by_id(state.topic_id) {
            Some(topic) => delete_named(context, TopicName(text(&topic.name))),
            None => DeletableTopicResult::default()
                .with_name(None)
                .with_topic_id(state.topic_id)
                .with_error_code(ResponseError::UnknownTopicId.code()),
        },
    });
    DeleteTopicsResponse::default().with_responses(by_name.chain(by_state).collect())
}

fn delete_named(context: &Context<'_>, name: TopicName) -> DeletableTopicResult {
    let id = context.node.catalog.by_name(&name).map(|topic| topic.id).unwrap_or_default();
    let deleted = context.node.catalog.delete(&name);
    let deleted = deleted.and_then(|()| Ok(context.node.coordinator.forget_topic(&name)?));
    DeletableTopicResult::default()
        .with_topic_id(id)
        .with_error_code(code_of(&deleted))
        .with_error_message(deleted.err().map(text))
        .with_name(Some(name))
}

pub(super) fn grow(
    context: &Context<'_>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let result = |wanted: CreatePartitionsTopic| {
        let grown = grow_one(context, &wanted, Effect::of(request.validate_only));
        CreatePartitionsTopicResult::default()
            .with_error_code(code_of(&grown))
            .with_error_message(grown.err().map(text))
            .with_name(wanted.name)
    };
    let results = request.topics.into_iter().map(result).collect();
    CreatePartitionsResponse::default().with_results(results)
}

fn grow_one(
    context: &Context<'_>,
    wanted: &CreatePartitionsTopic,
    effect: Effect,
) -> Result<(), TopicError> {
    let unknown = || TopicError::Unknown(wanted.name.to_string());
    let topic = context.node.catalog.by_name(&wanted.name).ok_or_else(unknown)?;
    let invalid = |_| TopicError::Partitions(i64::from(wanted.count));
    let count = u32::try_from(wanted.count).map_err(invalid)?;
    match effect {
        Effect::Apply => topic.grow(count),
        Effect::JudgeOnly => topic.check_growth(count),
    }
}

pub(super) fn delete_records(
    context: &Context<'_>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partition = |index: i32, offset: i64| {
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
            match delete_before(context, &topic.name, index, offset) {
                Ok(start) => result.with_low_watermark(start).with_error_code(NONE),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            }
        };
        let partitions = topic.partitions.iter();
        let partitions = partitions.map(|p| partition(p.partition_index, p.offset)).collect();
        DeleteRecordsTopicResult::default().with_partitions(partitions).with_name(topic.name)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn delete_before(
    context: &Context<'_>,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<i64, ResponseError> {
    let partition = context.node.catalog.partition(topic, index);
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let end = partition.bounds().end;
    // -1 is everything.
    let offset = if offset == -1 { end } else { offset };
    if !(0..=end).contains(&offset) {
        return Err(ResponseError::OffsetOutOfRange);
    }
    partition.delete_before(offset).map_err(|error| error.error())
}
