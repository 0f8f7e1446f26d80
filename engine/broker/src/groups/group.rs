//! [`Group`]: the state machine by which consumers share partitions.
//!
//! ```text
//!           first joins              all joined                    leader shared out
//!   Empty ─────────────► Joining ───────────────► Syncing ───────────────► Stable
//!                           ▲      generation + 1    │                        │
//!                           └────────────────────────┴────────────────────────┘
//!                              somebody joins anew, leaves, or is not heard of
//! ```
//!
//! The broker only keeps the members together; which of them reads what, eagerly or cooperatively,
//! the leader decides, and the broker never looks into it. Time is an argument, answers go to
//! whoever waits for them: the machine neither sleeps nor sends.

use super::member::{
    JoinAnswer, JoinRequest, Joined, JoinedMember, Member, NewIds, SyncAnswer, Synced, Waiting,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use thiserror::Error;
use uuid::Uuid;

/// Consumers may ask for more; nobody waits for them longer.
const SESSION_TIMEOUT_MS_MAX: i64 = 30 * 60 * 1000;

/// The most members of a group.
const MEMBERS_MAX: usize = 1_000;

/// Why a member's request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum GroupError {
    #[error("not a member of the group")]
    UnknownMember,
    #[error("ask again as member {0}")]
    MemberIdRequired(String),
    #[error("not the group's current generation")]
    IllegalGeneration,
    #[error("the group is being joined")]
    RebalanceInProgress,
    #[error("the members have no protocol in common")]
    InconsistentProtocol,
    #[error("another member has taken over the instance")]
    FencedInstance,
    #[error("the session timeout is not between 1 ms and {SESSION_TIMEOUT_MS_MAX} ms")]
    SessionTimeout,
    #[error("a group has at most {MEMBERS_MAX} members")]
    Full,
    #[error("the group has members")]
    NotEmpty,
    #[error("there is no such group")]
    UnknownGroup,
    #[error("the name of a group is empty")]
    InvalidName,
    #[error("members subscribe to the topic")]
    Subscribed,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Empty,
    Joining,
    Syncing,
    Stable,
}

impl Phase {
    /// The name that tools know.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::Joining => "PreparingRebalance",
            Phase::Syncing => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }
}

/// Who asks: a member as it sees itself.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation: i32,
}

/// A group of consumers.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) phase: Phase,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    /// How partitions are shared in this generation.
    pub(crate) protocol: String,
    leader: String,
    pub(crate) members: BTreeMap<String, Member>,
    /// Ids that were given out and not yet used, and until when they hold.
    announced: BTreeMap<String, i64>,
    /// When joining, or sharing out, goes on without those who are missing.
    phase_deadline_ms: i64,
}

impl Group {
    /// A consumer joins, or joins anew.
    pub(crate) fn join(&mut self, mut request: JoinRequest, answer: JoinAnswer, now_ms: i64) {
        match self.admit(&mut request, now_ms) {
            Err(error) => drop(answer.send(Err(error))),
            Ok(()) => self.rejoin(request, answer, now_ms),
        }
    }

    /// Checks a request to join, and sees that it has a member id.
    fn admit(&mut self, request: &mut JoinRequest, now_ms: i64) -> Result<(), GroupError> {
        if !(1..=SESSION_TIMEOUT_MS_MAX).contains(&request.session_timeout_ms) {
            return Err(GroupError::SessionTimeout);
        }
        if !self.has_common_protocol(request) {
            return Err(GroupError::InconsistentProtocol);
        }
        if !request.member_id.is_empty() {
            let is_announced = self.announced.remove(&request.member_id).is_some();
            let is_known = self.members.contains_key(&request.member_id);
            self.check_instance(&request.member_id, request.instance_id.as_deref())?;
            return if is_announced || is_known { Ok(()) } else { Err(GroupError::UnknownMember) };
        }
        if self.members.len() + self.announced.len() >= MEMBERS_MAX {
            return Err(GroupError::Full);
        }
        let prefix = request.instance_id.as_deref().unwrap_or(&request.client_id);
        request.member_id = format!("{prefix}-{}", Uuid::new_v4());
        match &request.instance_id {
            Some(instance) => self.replace_instance(&instance.clone()),
            None if request.new_ids == NewIds::Announce => {
                let until_ms = now_ms + request.session_timeout_ms;
                self.announced.insert(request.member_id.clone(), until_ms);
                return Err(GroupError::MemberIdRequired(request.member_id.clone()));
            }
            None => {}
        }
        Ok(())
    }

    fn has_common_protocol(&self, request: &JoinRequest) -> bool {
        let mut others = self.members.values().filter(|m| m.request.member_id != request.member_id);
        let supported = |(name, _): &(String, Bytes)| {
            others.all(|m| m.request.protocols.iter().any(|(other, _)| other == name))
        };
        let is_alone = self.members.keys().all(|id| *id == request.member_id);
        let same_type = is_alone || request.protocol_type == self.protocol_type;
        same_type && request.protocols.iter().any(supported)
    }

    /// The member that had the instance before is out: it is told so.
    fn replace_instance(&mut self, instance: &str) {
        let held = |m: &&Member| m.request.instance_id.as_deref() == Some(instance);
        let before = self.members.values().find(held).map(|m| m.request.member_id.clone());
        if let Some(mut before) = before.and_then(|id| self.members.remove(&id)) {
            before.refuse(&GroupError::FencedInstance);
        }
    }

    /// An instance belongs to the member that has used it last.
    fn check_instance(&self, member_id: &str, instance: Option<&str>) -> Result<(), GroupError> {
        let Some(instance) = instance else { return Ok(()) };
        let held = |m: &&Member| m.request.instance_id.as_deref() == Some(instance);
        match self.members.values().find(held) {
            Some(holder) if holder.request.member_id != member_id => {
                Err(GroupError::FencedInstance)
            }
            _ => Ok(()),
        }
    }

    fn rejoin(&mut self, request: JoinRequest, answer: JoinAnswer, now_ms: i64) {
        let id = request.member_id.clone();
        let unchanged = self.members.get(&id).is_some_and(|known| {
            let is_leader_again = self.phase == Phase::Stable && id == self.leader;
            known.request.protocols == request.protocols && !is_leader_again
        });
        if self.members.is_empty() {
            self.protocol_type = request.protocol_type.clone();
        }
        let fresh = || Member::new(request.clone(), now_ms);
        let member = self.members.entry(id.clone()).or_insert_with(fresh);
        member.request = request;
        member.touch(now_ms);
        member.refuse(&GroupError::RebalanceInProgress);
        if unchanged && matches!(self.phase, Phase::Syncing | Phase::Stable) {
            // It has missed the answer, or only asks how things stand.
            drop(answer.send(Ok(self.joined(&id))));
            return;
        }
        member.waiting = Waiting::Join(answer);
        if self.phase != Phase::Joining {
            self.begin_joining(now_ms);
        }
        self.complete_joining_if_all_are_here(now_ms);
    }

    /// Everybody is to join anew.
    fn begin_joining(&mut self, now_ms: i64) {
        self.phase = Phase::Joining;
        let longest = self.members.values().map(|m| m.request.rebalance_timeout_ms).max();
        self.phase_deadline_ms = now_ms + longest.unwrap_or(0);
        for member in self.members.values_mut().filter(|m| !m.is_joining()) {
            member.refuse(&GroupError::RebalanceInProgress);
        }
    }

    fn complete_joining_if_all_are_here(&mut self, now_ms: i64) {
        let all_are_here = self.members.values().all(Member::is_joining);
        if self.phase == Phase::Joining && all_are_here && self.announced.is_empty() {
            self.complete_joining(now_ms);
        }
    }

    /// A new generation begins with those who are here.
    fn complete_joining(&mut self, now_ms: i64) {
        self.members.retain(|_, member| member.is_joining());
        self.generation += 1;
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.protocol.clear();
            self.leader.clear();
            return;
        }
        self.phase = Phase::Syncing;
        self.protocol = elect(self.members.values());
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().expect("a member").clone();
        }
        let longest = self.members.values().map(|m| m.request.rebalance_timeout_ms).max();
        self.phase_deadline_ms = now_ms + longest.expect("a member");
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let joined = self.joined(&id);
            let member = self.members.get_mut(&id).expect("a member");
            member.touch(now_ms);
            member.assignment = Bytes::new();
            if let Waiting::Join(answer) = std::mem::take(&mut member.waiting) {
                let _ = answer.send(Ok(joined));
            }
        }
    }

    fn joined(&self, member_id: &str) -> Joined {
        let describe = |member: &Member| JoinedMember {
            member_id: member.request.member_id.clone(),
            instance_id: member.request.instance_id.clone(),
            metadata: member.metadata(&self.protocol),
        };
        let is_leader = member_id == self.leader;
        let members = self.members.values().filter(|_| is_leader).map(describe).collect();
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: member_id.to_owned(),
            members,
        }
    }

    /// A member asks for its share; the leader brings everybody's.
    pub(crate) fn sync(
        &mut self,
        claim: &Claim,
        shares: Vec<(String, Bytes)>,
        answer: SyncAnswer,
        now_ms: i64,
    ) {
        if let Err(error) = self.check(claim, now_ms) {
            return drop(answer.send(Err(error)));
        }
        match self.phase {
            Phase::Empty | Phase::Joining => {
                drop(answer.send(Err(GroupError::RebalanceInProgress)));
            }
            Phase::Stable => drop(answer.send(Ok(self.synced(&claim.member_id)))),
            Phase::Syncing => {
                let member = self.members.get_mut(&claim.member_id).expect("a checked member");
                member.refuse(&GroupError::RebalanceInProgress);
                member.waiting = Waiting::Sync(answer);
                if claim.member_id == self.leader {
                    self.share_out(shares, now_ms);
                }
            }
        }
    }

    fn share_out(&mut self, shares: Vec<(String, Bytes)>, now_ms: i64) {
        for (id, share) in shares {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = share;
            }
        }
        self.phase = Phase::Stable;
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let synced = self.synced(&id);
            let member = self.members.get_mut(&id).expect("a member");
            if let Waiting::Sync(answer) = std::mem::take(&mut member.waiting) {
                member.touch(now_ms);
                let _ = answer.send(Ok(synced));
            }
        }
    }

    fn synced(&self, member_id: &str) -> Synced {
        let assignment = self.members.get(member_id).map(|member| member.assignment.clone());
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_default(),
        }
    }

    /// A member says that it is there, and learns if it must join anew.
    pub(crate) fn heartbeat(&mut self, claim: &Claim, now_ms: i64) -> Result<(), GroupError> {
        self.check(claim, now_ms)?;
        match self.phase {
            Phase::Joining => Err(GroupError::RebalanceInProgress),
            Phase::Empty | Phase::Syncing | Phase::Stable => Ok(()),
        }
    }

    /// Says whether a member may commit offsets. Those who assign partitions to themselves claim
    /// no generation, and may as long as nobody is in the group.
    pub(crate) fn check_commit(&mut self, claim: &Claim, now_ms: i64) -> Result<(), GroupError> {
        if claim.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check(claim, now_ms)?;
        match self.phase {
            Phase::Syncing => Err(GroupError::RebalanceInProgress),
            Phase::Empty | Phase::Joining | Phase::Stable => Ok(()),
        }
    }

    /// Checks that a member is one, and hears of it.
    fn check(&mut self, claim: &Claim, now_ms: i64) -> Result<(), GroupError> {
        self.check_instance(&claim.member_id, claim.instance_id.as_deref())?;
        let member = self.members.get_mut(&claim.member_id).ok_or(GroupError::UnknownMember)?;
        if claim.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        member.touch(now_ms);
        Ok(())
    }

    /// A member leaves, by its id or, if that is empty, by its instance.
    pub(crate) fn leave(
        &mut self,
        member_id: &str,
        instance: Option<&str>,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        let held = |m: &&Member| instance.is_some() && m.request.instance_id.as_deref() == instance;
        let holder = self.members.values().find(held).map(|m| m.request.member_id.clone());
        let id = match holder {
            Some(holder) if member_id.is_empty() || holder == member_id => holder,
            Some(_) => return Err(GroupError::FencedInstance),
            None => member_id.to_owned(),
        };
        if self.announced.remove(&id).is_some() {
            self.complete_joining_if_all_are_here(now_ms);
            return Ok(());
        }
        let mut member = self.members.remove(&id).ok_or(GroupError::UnknownMember)?;
        member.refuse(&GroupError::UnknownMember);
        self.after_loss(now_ms);
        Ok(())
    }

    fn after_loss(&mut self, now_ms: i64) {
        if matches!(self.phase, Phase::Syncing | Phase::Stable) {
            self.begin_joining(now_ms);
        }
        self.complete_joining_if_all_are_here(now_ms);
    }

    /// What time does: members that were not heard of are out, and nobody waits for ever.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        self.announced.retain(|_, until_ms| *until_ms >= now_ms);
        let before = self.members.len();
        self.members.retain(|_, member| !member.is_expired(now_ms));
        if self.members.len() < before {
            self.after_loss(now_ms);
        }
        match self.phase {
            Phase::Joining if now_ms > self.phase_deadline_ms => self.complete_joining(now_ms),
            Phase::Joining => self.complete_joining_if_all_are_here(now_ms),
            Phase::Syncing if now_ms > self.phase_deadline_ms => {
                // Who doesn't ask for its share by now is not going to; the leader among them.
                self.members.retain(|_, member| matches!(member.waiting, Waiting::Sync(_)));
                self.after_loss(now_ms);
            }
            _ => {}
        }
    }

    /// Whether nobody is here and nobody comes.
    pub(crate) fn is_deserted(&self) -> bool {
        self.members.is_empty() && self.announced.is_empty()
    }
}

/// The protocol that most members prefer, of those that all support.
fn elect<'a>(members: impl Iterator<Item = &'a Member> + Clone) -> String {
    let supports =
        |m: &Member, name: &str| m.request.protocols.iter().any(|(other, _)| other == name);
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members.clone() {
        let mut names = member.request.protocols.iter().map(|(name, _)| name.as_str());
        if let Some(name) = names.find(|name| members.clone().all(|m| supports(m, name))) {
            *votes.entry(name).or_default() += 1;
        }
    }
    votes.into_iter().max_by_key(|(_, count)| *count).map_or(String::new(), |(n, _)| n.to_owned())
}
