//! `Metadata`, `DescribeCluster`, `FindCoordinator`: one node, which is everything.

use super::errors::{Code, NONE};
use super::{Context, text};
use crate::config::AutoCreate;
use crate::log::batch::LEADER_EPOCH;
use crate::node::NODE_ID;
use crate::topics::catalog::Topic;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeClusterResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    MetadataRequest, MetadataResponse, TopicName,
};
use std::sync::Arc;

const NODE: BrokerId = BrokerId(NODE_ID);

pub(super) fn metadata(context: &Context<'_>, request: MetadataRequest) -> MetadataResponse {
    let peer = context.peer;
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE)
        .with_host(text(&peer.advertised_host))
        .with_port(i32::from(peer.advertised_port));
    let wish = match request.allow_auto_topic_creation || context.version < 4 {
        true => AutoCreate::On,
        false => AutoCreate::Off,
    };
    let topics = match request.topics {
        // In version 0 nothing named is everything.
        Some(named) if !named.is_empty() || context.version > 0 => {
            named.into_iter().map(|named| one(context, named, wish)).collect()
        }
        _ => context.node.catalog.all().iter().map(describe_topic).collect(),
    };
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(&context.node.cluster_id)))
        .with_controller_id(NODE)
        .with_topics(topics)
}

fn one(
    context: &Context<'_>,
    named: MetadataRequestTopic,
    wish: AutoCreate,
) -> MetadataResponseTopic {
    let Some(name) = named.name else {
        let unknown = || {
            MetadataResponseTopic::default()
                .with_name(None)
                .with_topic_id(named.topic_id)
                .with_error_code(ResponseError::UnknownTopicId.code())
        };
        let found = context.node.catalog.by_id(named.topic_id);
        return found.map_or_else(unknown, |topic| describe_topic(&topic));
    };
    match context.node.topic_or_new(&name, wish) {
        Ok(topic) => describe_topic(&topic),
        Err(error) => {
            MetadataResponseTopic::default().with_name(Some(name)).with_error_code(error.code())
        }
    }
}

fn describe_topic(topic: &Arc<Topic>) -> MetadataResponseTopic {
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(NODE)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE])
            .with_isr_nodes(vec![NODE])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(topic.id)
        .with_partitions((0..topic.partition_count() as i32).map(partition).collect())
}

pub(super) fn describe(context: &Context<'_>) -> DescribeClusterResponse {
    let peer = context.peer;
    let broker = DescribeClusterBroker::default()
        .with_broker_id(NODE)
        .with_host(text(&peer.advertised_host))
        .with_port(i32::from(peer.advertised_port));
    DescribeClusterResponse::default()
        .with_cluster_id(text(&context.node.cluster_id))
        .with_controller_id(NODE)
        .with_brokers(vec![broker])
}

/// Whoever looks for a coordinator, of a group or of transactions, has found it.
pub(super) fn find_coordinator(
    context: &Context<'_>,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let (host, port) = (text(&context.peer.advertised_host), context.peer.advertised_port);
    let port = i32::from(port);
    // Groups and transactions; there are no share groups here.
    let is_known = matches!(request.key_type, 0 | 1);
    let error_code = if is_known { NONE } else { ResponseError::InvalidRequest.code() };
    if context.version < 4 {
        return FindCoordinatorResponse::default()
            .with_error_code(error_code)
            .with_node_id(NODE)
            .with_host(host)
            .with_port(port);
    }
    let coordinator = |key| {
        Coordinator::default()
            .with_key(key)
            .with_error_code(error_code)
            .with_node_id(NODE)
            .with_host(host.clone())
            .with_port(port)
    };
    let coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}
