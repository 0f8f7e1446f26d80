//! `Fetch`: batches leave the logs as they are, when there are enough of them.
//!
//! A reply is laid out by hand around the records, which stay in their files until they are sent.
//! Incremental sessions are declined: every request names all its partitions.

use super::errors::{Code, NONE};
use super::{Answer, Context, RequestError};
use crate::log::batch::LEADER_EPOCH;
use crate::log::partition_log::{Bounds, Isolation, Oversized, Read};
use crate::log::segment::FileSlice;
use crate::topics::partition::Partition;
use crate::wire::reply::ReplyBuilder;
use bytes::{BufMut, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The most that a reply holds, whatever the client asks for; as in Apache Kafka.
const REPLY_BYTES_MAX: usize = 55 << 20;

/// The longest that a client is let wait. It may ask again.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The first version whose lengths are of variable size.
const FLEXIBLE_SINCE: i16 = 12;

/// A partition that a client wants to read.
struct Wanted {
    partition: Result<Arc<Partition>, ResponseError>,
    request: FetchPartition,
}

/// What there is of it.
struct Found {
    data: PartitionData,
    batches: Option<FileSlice>,
}

/// All of a request, topic by topic.
type Topics<T> = Vec<(FetchTopic, Vec<T>)>;

pub(super) async fn answer(
    context: &Context<'_>,
    request: FetchRequest,
) -> Result<Answer, RequestError> {
    if request.session_id != 0 {
        // Of an earlier process, or made up.
        let code = ResponseError::FetchSessionIdNotFound.code();
        return context.reply(FetchResponse::default().with_error_code(code));
    }
    let limits = Limits::of(&request);
    let wanted = resolve(context, request.topics);
    let found = wait_for(&wanted, limits).await;
    Ok(Answer::Reply(encode(context, &wanted, found)?.finish()))
}

/// How much a client wants, and for how long it waits for it.
#[derive(Clone, Copy)]
struct Limits {
    isolation: Isolation,
    least_bytes: usize,
    most_bytes: usize,
    until: Instant,
}

impl Limits {
    fn of(request: &FetchRequest) -> Limits {
        let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
        Limits {
            isolation: match request.isolation_level {
                0 => Isolation::ReadUncommitted,
                _ => Isolation::ReadCommitted,
            },
            least_bytes: request.min_bytes.max(0) as usize,
            most_bytes: (request.max_bytes.max(0) as usize).min(REPLY_BYTES_MAX),
            until: Instant::now() + wait.min(WAIT_MAX),
        }
    }
}

fn resolve(context: &Context<'_>, topics: Vec<FetchTopic>) -> Topics<Wanted> {
    let is_by_id = context.version >= 13;
    let resolve_topic = |mut fetched: FetchTopic| {
        let (topic, missing) = match is_by_id {
            true => (context.node.catalog.by_id(fetched.topic_id), ResponseError::UnknownTopicId),
            false => (
                context.node.catalog.by_name(&fetched.topic),
                ResponseError::UnknownTopicOrPartition,
            ),
        };
        let wanted = std::mem::take(&mut fetched.partitions).into_iter().map(|request| {
            let partition = match &topic {
                None => Err(missing),
                // There has been one leader only.
                Some(_) if request.current_leader_epoch > LEADER_EPOCH => {
                    Err(ResponseError::UnknownLeaderEpoch)
                }
                Some(topic) => {
                    topic.partition(request.partition).ok_or(ResponseError::UnknownTopicOrPartition)
                }
            };
            Wanted { partition, request }
        });
        let wanted = wanted.collect();
        (fetched, wanted)
    };
    topics.into_iter().map(resolve_topic).collect()
}

/// Reads until there is enough, something is wrong, or the time is up.
async fn wait_for(wanted: &Topics<Wanted>, limits: Limits) -> Vec<Found> {
    let first = read(wanted, limits);
    if is_enough(&first, limits) {
        return first;
    }
    let change = Arc::new(Notify::new());
    loop {
        // To be told of whatever comes after the read.
        let partitions = wanted.iter().flat_map(|(_, wanted)| wanted);
        for partition in partitions.filter_map(|wanted| wanted.partition.as_ref().ok()) {
            partition.notify_on_change(&change);
        }
        let found = read(wanted, limits);
        let is_late = || Instant::now() >= limits.until;
        if is_enough(&found, limits) || is_late() {
            return found;
        }
        let _ = timeout_at(limits.until, change.notified()).await;
    }
}

fn is_enough(found: &[Found], limits: Limits) -> bool {
    let bytes: usize = found.iter().filter_map(|f| f.batches.as_ref()).map(|b| b.bytes).sum();
    bytes >= limits.least_bytes || found.iter().any(|found| found.data.error_code != NONE)
}

fn read(wanted: &Topics<Wanted>, limits: Limits) -> Vec<Found> {
    let (mut left, mut oversized) = (limits.most_bytes, Oversized::Given);
    let mut read_next = |wanted: &Wanted| {
        let found = read_one(wanted, left, limits.isolation, oversized);
        if let Some(batches) = &found.batches {
            left = left.saturating_sub(batches.bytes);
            oversized = Oversized::Refused;
        }
        found
    };
    wanted.iter().flat_map(|(_, wanted)| wanted).map(&mut read_next).collect()
}

fn read_one(wanted: &Wanted, left: usize, isolation: Isolation, oversized: Oversized) -> Found {
    let request = &wanted.request;
    let data = PartitionData::default()
        .with_partition_index(request.partition)
        .with_high_watermark(-1)
        .with_aborted_transactions(None)
        .with_records(None);
    let failed = |error: ResponseError| Found {
        data: data.clone().with_error_code(error.code()),
        batches: None,
    };
    let partition = match &wanted.partition {
        Ok(partition) => partition,
        Err(error) => return failed(*error),
    };
    let max_bytes = left.min(request.partition_max_bytes.max(0) as usize);
    match partition.read(request.fetch_offset, max_bytes, isolation, oversized) {
        Ok((Read { batches, aborted }, bounds)) => {
            let aborted = aborted.iter().map(|aborted| {
                AbortedTransaction::default()
                    .with_producer_id(aborted.producer_id.into())
                    .with_first_offset(aborted.first_offset)
            });
            let aborted = (isolation == Isolation::ReadCommitted).then(|| aborted.collect());
            Found { data: with_bounds(data, bounds).with_aborted_transactions(aborted), batches }
        }
        Err(error) => {
            let mut found = failed(error.error());
            found.data = with_bounds(found.data, partition.bounds());
            found
        }
    }
}

fn with_bounds(data: PartitionData, bounds: Bounds) -> PartitionData {
    data.with_high_watermark(bounds.end)
        .with_last_stable_offset(bounds.last_stable)
        .with_log_start_offset(bounds.start)
}

fn encode(
    context: &Context<'_>,
    wanted: &Topics<Wanted>,
    found: Vec<Found>,
) -> io::Result<ReplyBuilder> {
    let version = context.version;
    let mut reply =
        ReplyBuilder::new(context.correlation_id, FetchResponse::header_version(version));
    // Throttled for 0 ms; no error; no session.
    reply.bytes().put_i32(0);
    if version >= 7 {
        reply.bytes().put_i16(NONE);
        reply.bytes().put_i32(0);
    }
    put_count(reply.bytes(), wanted.len(), version);
    let mut found = found.into_iter();
    for (topic, wanted) in wanted {
        if version >= 13 {
            reply.bytes().put_slice(topic.topic_id.as_bytes());
        } else {
            put_text(reply.bytes(), &topic.topic, version);
        }
        put_count(reply.bytes(), wanted.len(), version);
        for found in found.by_ref().take(wanted.len()) {
            put_partition(&mut reply, found, version)?;
        }
        put_no_tagged_fields(reply.bytes(), version);
    }
    put_no_tagged_fields(reply.bytes(), version);
    Ok(reply)
}

/// A partition's data ends with its records, and the number of its tagged fields where a version
/// has them. It is encoded without records, and these put in the place of their absence.
fn put_partition(reply: &mut ReplyBuilder, found: Found, version: i16) -> io::Result<()> {
    found.data.encode(reply.bytes(), version).map_err(io::Error::other)?;
    let absence_bytes = if version >= FLEXIBLE_SINCE { 2 } else { 4 };
    let end = reply.bytes().len() - absence_bytes;
    reply.bytes().truncate(end);
    let bytes = found.batches.as_ref().map_or(0, |batches| batches.bytes);
    put_count(reply.bytes(), bytes, version);
    if let Some(batches) = found.batches {
        reply.put_file(batches)?;
    }
    put_no_tagged_fields(reply.bytes(), version);
    Ok(())
}

fn put_count(to: &mut BytesMut, count: usize, version: i16) {
    match version >= FLEXIBLE_SINCE {
        true => put_varint(to, count as u32 + 1),
        false => to.put_i32(count as i32),
    }
}

fn put_text(to: &mut BytesMut, text: &str, version: i16) {
    match version >= FLEXIBLE_SINCE {
        true => put_varint(to, text.len() as u32 + 1),
        false => to.put_i16(text.len() as i16),
    }
    to.put_slice(text.as_bytes());
}

fn put_no_tagged_fields(to: &mut BytesMut, version: i16) {
    if version >= FLEXIBLE_SINCE {
        to.put_u8(0);
    }
}

fn put_varint(to: &mut BytesMut, mut number: u32) {
    while number >= 0x80 {
        to.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    to.put_u8(number as u8);
}
