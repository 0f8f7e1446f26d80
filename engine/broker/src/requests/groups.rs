//! `JoinGroup`, `SyncGroup`, `Heartbeat`, `LeaveGroup`: members of groups.

use super::errors::{Code, NONE, code_of};
use super::{Context, text};
use crate::groups::group::{Claim, GroupError};
use crate::groups::member::{JoinRequest, Joined, JoinedMember, NewIds};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

pub(super) async fn join(context: &Context<'_>, request: JoinGroupRequest) -> JoinGroupResponse {
    let session_timeout_ms = i64::from(request.session_timeout_ms);
    let protocols = request.protocols.into_iter();
    let join = JoinRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        client_id: context.client_id.clone(),
        client_host: context.peer.client_host.clone(),
        session_timeout_ms,
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            given if given > 0 => i64::from(given),
            _ => session_timeout_ms,
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.map(|p| (p.name.to_string(), p.metadata)).collect(),
        new_ids: if context.version >= 4 { NewIds::Announce } else { NewIds::Join },
    };
    let pending = context.node.groups.join(&request.group_id, join);
    // Whoever was to answer is gone when the member is.
    let answer = pending.await.unwrap_or(Err(GroupError::UnknownMember));
    match answer {
        Ok(joined) => joined_response(context, joined),
        Err(error) => {
            let member_id = match &error {
                GroupError::MemberIdRequired(id) => text(id),
                _ => request.member_id,
            };
            JoinGroupResponse::default()
                .with_error_code(error.code())
                .with_generation_id(-1)
                .with_protocol_name((context.version < 7).then(StrBytes::new))
                .with_member_id(member_id)
        }
    }
}

fn joined_response(context: &Context<'_>, joined: Joined) -> JoinGroupResponse {
    let member = |member: JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(match context.version {
                5.. => member.instance_id.map(text),
                _ => None,
            })
            .with_metadata(member.metadata)
    };
    JoinGroupResponse::default()
        .with_error_code(NONE)
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(text(joined.protocol_type)))
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect())
}

fn claim(member_id: &str, instance_id: Option<&StrBytes>, generation: i32) -> Claim {
    let instance_id = instance_id.map(ToString::to_string);
    Claim { member_id: member_id.to_owned(), instance_id, generation }
}

pub(super) async fn sync(context: &Context<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    let instance = request.group_instance_id.as_ref();
    let claim = claim(&request.member_id, instance, request.generation_id);
    let shares = request.assignments.into_iter();
    let shares = shares.map(|share| (share.member_id.to_string(), share.assignment)).collect();
    let pending = context.node.groups.sync(&request.group_id, &claim, shares);
    match pending.await.unwrap_or(Err(GroupError::UnknownMember)) {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(Some(text(synced.protocol_type)))
            .with_protocol_name(Some(text(synced.protocol)))
            .with_assignment(synced.assignment),
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
    }
}

pub(super) fn heartbeat(context: &Context<'_>, request: HeartbeatRequest) -> HeartbeatResponse {
    let instance = request.group_instance_id.as_ref();
    let claim = claim(&request.member_id, instance, request.generation_id);
    let result = context.node.groups.heartbeat(&request.group_id, &claim);
    HeartbeatResponse::default().with_error_code(code_of(&result))
}

pub(super) fn leave(context: &Context<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let groups = &context.node.groups;
    if context.version < 3 {
        let left = groups.leave(&request.group_id, &request.member_id, None);
        return LeaveGroupResponse::default().with_error_code(code_of(&left));
    }
    let members = request.members.into_iter().map(|member| {
        let instance = member.group_instance_id.as_deref();
        let left = groups.leave(&request.group_id, &member.member_id, instance);
        MemberResponse::default()
            .with_error_code(code_of(&left))
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
