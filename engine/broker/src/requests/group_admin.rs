//! `ListGroups`, `DescribeGroups`, `DeleteGroups`: groups as tools see them.
//!
//! A group is there if it has members or committed offsets.

use super::errors::{Code, code_of};
use super::{Context, text};
use crate::groups::group::{Group, GroupError, Phase};
use crate::groups::member::Member;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

/// The state of a group that there is not.
const DEAD: &str = "Dead";

/// The only type of group here.
const CLASSIC: &str = "classic";

pub(super) fn list(context: &Context<'_>, request: ListGroupsRequest) -> ListGroupsResponse {
    let node = context.node;
    let mut groups = node
        .groups
        .look_at_all(|(name, group)| (name.clone(), group.protocol_type.clone(), group.phase));
    for name in node.coordinator.groups_with_offsets() {
        if !groups.iter().any(|(listed, ..)| *listed == name) {
            groups.push((name, String::new(), Phase::Empty));
        }
    }
    let is_named = |filter: &[StrBytes], name: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let is_wanted = |phase: Phase| {
        is_named(&request.states_filter, phase.name()) && is_named(&request.types_filter, CLASSIC)
    };
    let groups = groups.into_iter().filter(|(_, _, phase)| is_wanted(*phase));
    let listed = groups.map(|(name, protocol_type, phase)| {
        ListedGroup::default()
            .with_group_id(GroupId(text(name)))
            .with_protocol_type(text(protocol_type))
            .with_group_state(text(phase.name()))
            .with_group_type(text(CLASSIC))
    });
    ListGroupsResponse::default().with_groups(listed.collect())
}

pub(super) fn describe(
    context: &Context<'_>,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(|name| {
        let described = context.node.groups.look(&name, |group| describe_one(context, group));
        let without_members = || {
            let is_known = context.node.coordinator.has_offsets(&name);
            let state = if is_known { Phase::Empty.name() } else { DEAD };
            DescribedGroup::default().with_group_state(text(state))
        };
        described.unwrap_or_else(without_members).with_group_id(name)
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn describe_one(context: &Context<'_>, group: &Group) -> DescribedGroup {
    let member = |member: &Member| {
        DescribedGroupMember::default()
            .with_member_id(text(&member.request.member_id))
            .with_group_instance_id(match context.version {
                4.. => member.request.instance_id.as_ref().map(text),
                _ => None,
            })
            .with_client_id(text(&member.request.client_id))
            .with_client_host(text(&member.request.client_host))
            .with_member_metadata(member.metadata(&group.protocol))
            .with_member_assignment(member.assignment.clone())
    };
    DescribedGroup::default()
        .with_group_state(text(group.phase.name()))
        .with_protocol_type(text(&group.protocol_type))
        .with_protocol_data(text(&group.protocol))
        .with_members(group.members.values().map(member).collect())
}

pub(super) fn delete(context: &Context<'_>, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|name| {
        let code = match delete_one(context, &name) {
            Ok(deleted) => code_of(&deleted),
            Err(error) => error.code(),
        };
        DeletableGroupResult::default().with_group_id(name).with_error_code(code)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}

fn delete_one(context: &Context<'_>, name: &str) -> Result<std::io::Result<()>, GroupError> {
    match context.node.groups.remove(name) {
        Err(GroupError::UnknownGroup) if context.node.coordinator.has_offsets(name) => {}
        removed => removed?,
    }
    Ok(context.node.coordinator.delete_group(name))
}
