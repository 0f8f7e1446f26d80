//! `Produce`: batches go to the logs as they are.

use super::errors::{Code, NONE};
use super::{Answer, Context, RequestError, text};
use crate::clock::now_ms;
use crate::journal::Flush;
use crate::topics::catalog::Topic;
use crate::topics::partition::{AppendError, Appended, Partition};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use std::io;
use std::sync::Arc;

const NO_OFFSET: i64 = -1;
const NO_TIME: i64 = -1;

/// Why batches were not taken.
#[derive(Debug, thiserror::Error)]
enum ProduceError {
    #[error("there is no such partition")]
    Unknown,
    #[error("acknowledgements can be asked of none (0), the leader (1) or all (-1), not {0}")]
    Acks(i16),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Code for ProduceError {
    fn error(&self) -> ResponseError {
        match self {
            ProduceError::Unknown => ResponseError::UnknownTopicOrPartition,
            ProduceError::Acks(_) => ResponseError::InvalidRequiredAcks,
            ProduceError::Append(error) => error.error(),
        }
    }
}

pub(super) async fn answer(
    context: &Context<'_>,
    request: ProduceRequest,
) -> Result<Answer, RequestError> {
    let acks = request.acks;
    let (response, written) = append_all(context, request);
    if acks != 0 && context.node.flush == Flush::Always {
        flush_all(written).await?;
    }
    let failed = |topic: &TopicProduceResponse| {
        topic.partition_responses.iter().any(|partition| partition.error_code != NONE)
    };
    match acks {
        // The only way to tell: as its connection goes, the client looks where it stands.
        0 if response.responses.iter().any(failed) => Err(RequestError::Unheard),
        0 => Ok(Answer::Silence),
        _ => context.reply(response),
    }
}

fn append_all(
    context: &Context<'_>,
    request: ProduceRequest,
) -> (ProduceResponse, Vec<Arc<Partition>>) {
    let (now_ms, acks) = (now_ms(), request.acks);
    let mut written = Vec::new();
    let mut topic_response = |topic_data: TopicProduceData| {
        let topic = context.node.catalog.by_name(&topic_data.name);
        let mut response = |data: PartitionProduceData| {
            let index = data.index;
            let result = append(topic.as_deref(), data, acks, now_ms, &mut written);
            respond(index, result)
        };
        let responses = topic_data.partition_data.into_iter().map(&mut response).collect();
        TopicProduceResponse::default()
            .with_name(topic_data.name)
            .with_partition_responses(responses)
    };
    let responses = request.topic_data.into_iter().map(&mut topic_response).collect();
    (ProduceResponse::default().with_responses(responses), written)
}

fn append(
    topic: Option<&Topic>,
    data: PartitionProduceData,
    acks: i16,
    now_ms: i64,
    written: &mut Vec<Arc<Partition>>,
) -> Result<Appended, ProduceError> {
    if !matches!(acks, -1..=1) {
        return Err(ProduceError::Acks(acks));
    }
    let topic = topic.ok_or(ProduceError::Unknown)?;
    let partition = topic.partition(data.index).ok_or(ProduceError::Unknown)?;
    let records = data.records.unwrap_or_default();
    let appended = partition.append(records, &topic.config(), now_ms)?;
    written.push(partition);
    Ok(appended)
}

fn respond(index: i32, result: Result<Appended, ProduceError>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match result {
        Ok(appended) => response
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.append_time_ms.unwrap_or(NO_TIME))
            .with_log_start_offset(appended.start_offset),
        Err(error) => response
            .with_error_code(error.code())
            .with_error_message(Some(text(error)))
            .with_base_offset(NO_OFFSET)
            .with_log_append_time_ms(NO_TIME)
            .with_log_start_offset(NO_OFFSET),
    }
}

/// Waits for the disk, on threads that may.
async fn flush_all(partitions: Vec<Arc<Partition>>) -> io::Result<()> {
    let flush = move || partitions.iter().try_for_each(|partition| partition.flush());
    tokio::task::spawn_blocking(flush).await.map_err(io::Error::other)?
}
