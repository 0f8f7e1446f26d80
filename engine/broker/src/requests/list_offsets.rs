//! `ListOffsets` and `OffsetForLeaderEpoch`: where logs begin and end, and what is where in time.

use super::Context;
use super::errors::Code;
use crate::log::batch::LEADER_EPOCH;
use crate::log::partition_log::Isolation;
use crate::log::records::Timed;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const GREATEST_TIMESTAMP: i64 = -3;

/// In the place of an offset or a time that there is not.
const NOTHING: i64 = -1;

pub(super) fn list(context: &Context<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = match request.isolation_level {
        0 => Isolation::ReadUncommitted,
        _ => Isolation::ReadCommitted,
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
            match find(context, &topic.name, index, partition.timestamp, isolation) {
                Ok(timed) => response
                    .with_offset(timed.offset)
                    .with_timestamp(timed.timestamp_ms)
                    .with_leader_epoch(if context.version >= 4 { LEADER_EPOCH } else { -1 }),
                Err(error) => response
                    .with_error_code(error.code())
                    .with_offset(NOTHING)
                    .with_timestamp(NOTHING)
                    .with_leader_epoch(-1),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_partitions(partitions).with_name(topic.name)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find(
    context: &Context<'_>,
    topic: &str,
    index: i32,
    timestamp_ms: i64,
    isolation: Isolation,
) -> Result<Timed, ResponseError> {
    let partition = context.node.catalog.partition(topic, index);
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let bounds = partition.bounds();
    let at = |offset| Timed { offset, timestamp_ms: NOTHING };
    let found = match timestamp_ms {
        LATEST => return Ok(at(bounds.readable_end(isolation))),
        EARLIEST => return Ok(at(bounds.start)),
        GREATEST_TIMESTAMP => partition.find_latest_time(isolation),
        time_ms if time_ms >= 0 => partition.find_time(time_ms, isolation),
        _ => return Err(ResponseError::UnsupportedVersion),
    };
    Ok(found.map_err(|error| error.error())?.unwrap_or(at(NOTHING)))
}

pub(super) fn for_leader_epoch(
    context: &Context<'_>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = EpochEndOffset::default().with_partition(partition.partition);
            match end_of_epoch(context, &topic.topic, partition) {
                Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_partitions(partitions).with_topic(topic.topic)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// The one epoch ends where the log does; of others nothing is known.
fn end_of_epoch(
    context: &Context<'_>,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    let partition = context.node.catalog.partition(topic, asked.partition);
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err(ResponseError::UnknownLeaderEpoch);
    }
    match asked.leader_epoch {
        LEADER_EPOCH => Ok((LEADER_EPOCH, partition.bounds().end)),
        _ => Ok((-1, NOTHING)),
    }
}
