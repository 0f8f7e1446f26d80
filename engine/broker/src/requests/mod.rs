//! What each request means, one family a file.
//!
//! A request's bytes are checked against their layout, decoded, answered from the node's state, and
//! encoded again. What can't be answered at all ends the connection: there is no reply that its
//! sender would understand.
//!
//! * [`errors`]: the numbers of errors
//! * [`versions`], [`cluster`]: who is here and what it speaks
//! * [`topics`], [`configs`]: topics and their options
//! * [`produce`], [`fetch`], [`list_offsets`]: records
//! * [`transactions`]: producers and their transactions
//! * [`groups`], [`group_admin`], [`offsets`]: consumers and what they have committed

mod cluster;
mod configs;
mod errors;
mod fetch;
mod group_admin;
mod groups;
mod list_offsets;
mod offsets;
mod produce;
mod topics;
mod transactions;
mod versions;

use crate::node::Node;
use crate::wire::apis;
use crate::wire::layout::{self, LayoutError};
use crate::wire::reply::Reply;
use bytes::{Buf, Bytes};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use std::io;
use thiserror::Error;

/// What a request is answered with.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply(Reply),
    /// Nothing: the client doesn't expect an answer.
    Silence,
}

/// Why a connection can't go on.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    #[error("request {key} of version {version}, which is not known here")]
    Unknown { key: i16, version: i16 },
    #[error("request {key} of version {version}: {source}")]
    Layout { key: i16, version: i16, source: LayoutError },
    #[error("request {key} of version {version}: {reason}")]
    Decode { key: i16, version: i16, reason: String },
    #[error("a request without a header")]
    Header,
    #[error("a client that expects no answers sends records that can't be taken")]
    Unheard,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The client at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) client_host: String,
    /// Where it is told to find the broker.
    pub(crate) advertised_host: String,
    pub(crate) advertised_port: u16,
}

/// What a request says beside its body.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) node: &'a Node,
    pub(crate) peer: &'a Peer,
    pub(crate) version: i16,
    pub(crate) client_id: String,
    correlation_id: i32,
}

impl Context<'_> {
    fn reply<M: Encodable + HeaderVersion>(&self, message: M) -> Result<Answer, RequestError> {
        Ok(Answer::Reply(Reply::of(self.correlation_id, self.version, &message)?))
    }
}

/// Whether a change is made, or only judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Apply,
    JudgeOnly,
}

impl Effect {
    fn of(validate_only: bool) -> Effect {
        if validate_only { Effect::JudgeOnly } else { Effect::Apply }
    }
}

/// A text for a message.
fn text(text: impl ToString) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// Answers a request.
pub(crate) async fn answer(node: &Node, peer: &Peer, frame: Bytes) -> Result<Answer, RequestError> {
    let (key, version) = match frame.as_ref() {
        [a, b, c, d, _, _, _, _, ..] => {
            (i16::from_be_bytes([*a, *b]), i16::from_be_bytes([*c, *d]))
        }
        _ => return Err(RequestError::Header),
    };
    let Some(api) = apis::find(key, version) else {
        return unknown(node, peer, key, version, &frame);
    };
    let mut body = frame;
    let header = RequestHeader::decode(&mut body, api.key.request_header_version(version));
    let header = header.map_err(|_| RequestError::Header)?;
    layout::check(&body, api.fields, version, api.encoding(version))
        .map_err(|source| RequestError::Layout { key, version, source })?;
    let client_id = header.client_id.map(|id| id.to_string()).unwrap_or_default();
    let correlation_id = header.correlation_id;
    dispatch(&Context { node, peer, version, client_id, correlation_id }, api.key, body).await
}

/// A client that asks for versions in a version that is not known is told the oldest way. Others
/// have been told before.
fn unknown(
    node: &Node,
    peer: &Peer,
    key: i16,
    version: i16,
    frame: &Bytes,
) -> Result<Answer, RequestError> {
    if key != ApiKey::ApiVersions as i16 {
        return Err(RequestError::Unknown { key, version });
    }
    let correlation_id = (&frame[4..]).get_i32();
    let client_id = String::new();
    let context = Context { node, peer, version: 0, client_id, correlation_id };
    context.reply(versions::unsupported())
}

async fn dispatch(
    context: &Context<'_>,
    key: ApiKey,
    mut body: Bytes,
) -> Result<Answer, RequestError> {
    macro_rules! decode {
        ($request:ty) => {
            decode::<$request>(&mut body, key, context.version)?
        };
    }
    match key {
        ApiKey::ApiVersions => context.reply(versions::versions()),
        ApiKey::Metadata => context.reply(cluster::metadata(context, decode!(MetadataRequest))),
        ApiKey::DescribeCluster => context.reply(cluster::describe(context)),
        ApiKey::FindCoordinator => {
            context.reply(cluster::find_coordinator(context, decode!(FindCoordinatorRequest)))
        }
        ApiKey::CreateTopics => {
            context.reply(topics::create(context, decode!(CreateTopicsRequest)))
        }
        ApiKey::DeleteTopics => {
            context.reply(topics::delete(context, decode!(DeleteTopicsRequest)))
        }
        ApiKey::CreatePartitions => {
            context.reply(topics::grow(context, decode!(CreatePartitionsRequest)))
        }
        ApiKey::DeleteRecords => {
            context.reply(topics::delete_records(context, decode!(DeleteRecordsRequest)))
        }
        ApiKey::DescribeConfigs => {
            context.reply(configs::describe(context, decode!(DescribeConfigsRequest)))
        }
        ApiKey::AlterConfigs => {
            context.reply(configs::alter(context, decode!(AlterConfigsRequest)))
        }
        ApiKey::IncrementalAlterConfigs => {
            let request = decode!(IncrementalAlterConfigsRequest);
            context.reply(configs::alter_incrementally(context, request))
        }
        ApiKey::Produce => produce::answer(context, decode!(ProduceRequest)).await,
        ApiKey::Fetch => fetch::answer(context, decode!(FetchRequest)).await,
        ApiKey::ListOffsets => {
            context.reply(list_offsets::list(context, decode!(ListOffsetsRequest)))
        }
        ApiKey::OffsetForLeaderEpoch => {
            let request = decode!(OffsetForLeaderEpochRequest);
            context.reply(list_offsets::for_leader_epoch(context, request))
        }
        ApiKey::InitProducerId => {
            context.reply(transactions::introduce(context, decode!(InitProducerIdRequest)))
        }
        ApiKey::AddPartitionsToTxn => {
            let request = decode!(AddPartitionsToTxnRequest);
            context.reply(transactions::add_partitions(context, request))
        }
        ApiKey::AddOffsetsToTxn => {
            context.reply(transactions::add_group(context, decode!(AddOffsetsToTxnRequest)))
        }
        ApiKey::TxnOffsetCommit => {
            context.reply(transactions::add_offsets(context, decode!(TxnOffsetCommitRequest)))
        }
        ApiKey::EndTxn => context.reply(transactions::end(context, decode!(EndTxnRequest))),
        ApiKey::JoinGroup => context.reply(groups::join(context, decode!(JoinGroupRequest)).await),
        ApiKey::SyncGroup => context.reply(groups::sync(context, decode!(SyncGroupRequest)).await),
        ApiKey::Heartbeat => context.reply(groups::heartbeat(context, decode!(HeartbeatRequest))),
        ApiKey::LeaveGroup => context.reply(groups::leave(context, decode!(LeaveGroupRequest))),
        ApiKey::ListGroups => context.reply(group_admin::list(context, decode!(ListGroupsRequest))),
        ApiKey::DescribeGroups => {
            context.reply(group_admin::describe(context, decode!(DescribeGroupsRequest)))
        }
        ApiKey::DeleteGroups => {
            context.reply(group_admin::delete(context, decode!(DeleteGroupsRequest)))
        }
        ApiKey::OffsetCommit => {
            context.reply(offsets::commit(context, decode!(OffsetCommitRequest)))
        }
        ApiKey::OffsetFetch => context.reply(offsets::fetch(context, decode!(OffsetFetchRequest))),
        ApiKey::OffsetDelete => {
            context.reply(offsets::delete(context, decode!(OffsetDeleteRequest)))
        }
        other => Err(RequestError::Unknown { key: other as i16, version: context.version }),
    }
}

fn decode<M: Decodable>(body: &mut Bytes, key: ApiKey, version: i16) -> Result<M, RequestError> {
    M::decode(body, version).map_err(|error| {
        let (key, reason) = (key as i16, error.to_string());
        RequestError::Decode { key, version, reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::topics::config::TopicConfig;
    use crate::wire::apis::{APIS, Api};
    use crate::wire::layout::tests::example;
    use tempfile::TempDir;

    fn request(api: &Api, version: i16) -> Bytes {
        let mut frame = Vec::new();
        frame.extend_from_slice(&(api.key as i16).to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 7, 0, 1, b'c']);
        if api.key.request_header_version(version) == 2 {
            frame.push(0);
        }
        frame.extend_from_slice(&example(api.fields, version, api.encoding(version)));
        Bytes::from(frame)
    }

    /// The library refuses to encode fields that a version doesn't have.
    #[tokio::test]
    async fn every_request_is_answered_in_each_of_its_versions() {
        let peer = Peer {
            client_host: "/127.0.0.1".to_owned(),
            advertised_host: "localhost".to_owned(),
            advertised_port: 9092,
        };
        for api in APIS {
            for version in api.oldest..=api.newest {
                let directory = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
                let node = Node::open(&Config::new(directory.path())).unwrap();
                node.catalog.create("x", 1, TopicConfig::default()).unwrap();
                let answered = answer(&node, &peer, request(api, version)).await;
                let is_right = match api.key {
                    // Nothing is asked for, and nothing comes that could be taken.
                    ApiKey::Produce => matches!(answered, Err(RequestError::Unheard)),
                    _ => matches!(answered, Ok(Answer::Reply(_))),
                };
                assert!(is_right, "{:?} {version}: {answered:?}", api.key);
            }
        }
    }
}
