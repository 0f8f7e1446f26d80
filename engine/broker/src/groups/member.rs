//! [`Member`]: one member of a group, and what it may be waiting for.

use super::group::GroupError;
use bytes::Bytes;
use tokio::sync::oneshot;

/// What a consumer says when it joins.
#[derive(Clone, Debug)]
pub(crate) struct JoinRequest {
    /// Empty if it has none yet.
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout_ms: i64,
    pub(crate) rebalance_timeout_ms: i64,
    pub(crate) protocol_type: String,
    /// How it can share partitions, the preferred way first, and what it wants by each.
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) new_ids: NewIds,
}

/// What becomes of a consumer that has no member id yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewIds {
    /// It is in, as older clients expect.
    Join,
    /// It is told its id and asks again, so that an answer that is lost leaves no dead member.
    Announce,
}

/// What a member learns when all have joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    /// For the leader, who shares out: all members with what they want.
    pub(crate) members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) metadata: Bytes,
}

/// What a member learns when the leader has shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

pub(crate) type JoinAnswer = oneshot::Sender<Result<Joined, GroupError>>;
pub(crate) type SyncAnswer = oneshot::Sender<Result<Synced, GroupError>>;

/// What a member waits for.
#[derive(Debug, Default)]
pub(crate) enum Waiting {
    #[default]
    Nothing,
    /// That all have joined.
    Join(JoinAnswer),
    /// That the leader has shared out.
    Sync(SyncAnswer),
}

/// A member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) request: JoinRequest,
    pub(crate) assignment: Bytes,
    /// When it counts as gone, unless it is heard of.
    pub(crate) deadline_ms: i64,
    pub(crate) waiting: Waiting,
}

impl Member {
    pub(crate) fn new(request: JoinRequest, now_ms: i64) -> Member {
        let deadline_ms = now_ms + request.session_timeout_ms;
        Member { request, assignment: Bytes::new(), deadline_ms, waiting: Waiting::Nothing }
    }

    pub(crate) fn is_joining(&self) -> bool {
        matches!(self.waiting, Waiting::Join(_))
    }

    /// The member has been heard of.
    pub(crate) fn touch(&mut self, now_ms: i64) {
        self.deadline_ms = now_ms + self.request.session_timeout_ms;
    }

    /// A member that waits is there.
    pub(crate) fn is_expired(&self, now_ms: i64) -> bool {
        matches!(self.waiting, Waiting::Nothing) && now_ms > self.deadline_ms
    }

    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.request.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Answers whatever it waits for with an error.
    pub(crate) fn refuse(&mut self, error: &GroupError) {
        match std::mem::take(&mut self.waiting) {
            Waiting::Nothing => {}
            Waiting::Join(answer) => drop(answer.send(Err(error.clone()))),
            Waiting::Sync(answer) => drop(answer.send(Err(error.clone()))),
        }
    }
}
