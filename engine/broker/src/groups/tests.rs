//! Groups, with the clock in hand.

use super::group::{Claim, Group, GroupError, Phase};
use super::member::{JoinRequest, Joined, NewIds, Synced};
use bytes::Bytes;
use tokio::sync::oneshot::{self, Receiver};

const SESSION_MS: i64 = 1_000;
const REBALANCE_MS: i64 = 5_000;

fn request(member_id: &str, protocols: &[&str]) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".to_owned(),
        protocols: protocols.iter().map(|p| ((*p).to_owned(), Bytes::from("wants"))).collect(),
        new_ids: NewIds::Join,
    }
}

type Answer<T> = Receiver<Result<T, GroupError>>;

fn join(group: &mut Group, request: JoinRequest, now_ms: i64) -> Answer<Joined> {
    let (answer, pending) = oneshot::channel();
    group.join(request, answer, now_ms);
    pending
}

fn sync(group: &mut Group, joined: &Joined, shares: &[(&str, &'static str)]) -> Answer<Synced> {
    let (answer, pending) = oneshot::channel();
    let shares = shares.iter().map(|(id, s)| ((*id).to_owned(), Bytes::from(*s))).collect();
    group.sync(&claim(joined), shares, answer, 0);
    pending
}

fn claim(joined: &Joined) -> Claim {
    let (member_id, generation) = (joined.member_id.clone(), joined.generation);
    Claim { member_id, instance_id: None, generation }
}

fn now<T>(mut answer: Answer<T>) -> Result<T, GroupError> {
    answer.try_recv().expect("an answer by now")
}

/// A group of two in which everything is shared out.
fn stable() -> (Group, Joined, Joined) {
    let mut group = Group::default();
    let first = now(join(&mut group, request("", &["range"]), 0)).unwrap();
    let second = join(&mut group, request("", &["range"]), 0);
    let again = join(&mut group, request(&first.member_id, &["range"]), 0);
    let (first, second) = (now(again).unwrap(), now(second).unwrap());
    let (leader, other) = if first.members.is_empty() { (second, first) } else { (first, second) };
    let waiting = sync(&mut group, &other, &[]);
    let shares = [(leader.member_id.as_str(), "a"), (other.member_id.as_str(), "b")];
    assert_eq!(now(sync(&mut group, &leader, &shares)).unwrap().assignment, "a");
    assert_eq!(now(waiting).unwrap().assignment, "b");
    assert_eq!(group.phase, Phase::Stable);
    (group, leader, other)
}

#[test]
fn two_members_share_what_the_leader_has_shared_out() {
    let (mut group, leader, other) = stable();
    assert_eq!((leader.generation, other.generation), (2, 2));
    assert_eq!((leader.members.len(), other.members.len()), (2, 0));
    assert_eq!(group.heartbeat(&claim(&other), 10), Ok(()));
    assert_eq!(group.check_commit(&claim(&other), 10), Ok(()));
}

#[test]
fn a_newcomer_makes_the_others_join_anew() {
    let (mut group, leader, other) = stable();
    let third = join(&mut group, request("", &["range"]), 0);
    for member in [&leader, &other] {
        assert_eq!(group.heartbeat(&claim(member), 0), Err(GroupError::RebalanceInProgress));
    }
    let leader = join(&mut group, request(&leader.member_id, &["range"]), 0);
    let other = join(&mut group, request(&other.member_id, &["range"]), 0);
    for joined in [third, leader, other] {
        assert_eq!(now(joined).unwrap().generation, 3);
    }
}

#[test]
fn a_member_that_is_not_heard_of_is_out_and_one_that_does_not_rejoin_is_left_behind() {
    let (mut group, leader, other) = stable();
    group.heartbeat(&claim(&leader), SESSION_MS).unwrap();
    group.tick(SESSION_MS + 1);
    assert_eq!((group.phase, group.members.len()), (Phase::Joining, 1));
    assert_eq!(group.heartbeat(&claim(&other), 0), Err(GroupError::UnknownMember));
    let third = join(&mut group, request("", &["range"]), SESSION_MS + 1);
    // The leader lives but doesn't join.
    for time_ms in (SESSION_MS..2 * SESSION_MS + REBALANCE_MS).step_by(500) {
        let _ = group.heartbeat(&claim(&leader), time_ms);
        group.tick(time_ms);
    }
    let third = now(third).unwrap();
    assert_eq!((third.members.len(), &third.leader), (1, &third.member_id));
}

#[test]
fn an_announced_id_must_be_used_or_it_lapses() {
    let mut group = Group::default();
    let ask = JoinRequest { new_ids: NewIds::Announce, ..request("", &["range"]) };
    let Err(GroupError::MemberIdRequired(id)) = now(join(&mut group, ask.clone(), 0)) else {
        panic!("an id")
    };
    let joined = now(join(&mut group, JoinRequest { member_id: id, ..ask.clone() }, 0)).unwrap();
    assert_eq!(joined.generation, 1);
    let _never_used = join(&mut group, ask, 0);
    let again = join(&mut group, request(&joined.member_id, &["roundrobin", "range"]), 0);
    group.tick(SESSION_MS + 1);
    assert_eq!(now(again).unwrap().generation, 2);
}

#[test]
fn the_protocol_is_one_that_all_support() {
    let mut group = Group::default();
    let first = now(join(&mut group, request("", &["sticky", "range"]), 0)).unwrap();
    assert_eq!(first.protocol, "sticky");
    let stranger = join(&mut group, request("", &["roundrobin"]), 0);
    assert_eq!(now(stranger), Err(GroupError::InconsistentProtocol));
    let _second = join(&mut group, request("", &["range", "roundrobin"]), 0);
    let first = now(join(&mut group, request(&first.member_id, &["sticky", "range"]), 0)).unwrap();
    assert_eq!(first.protocol, "range");
}

#[test]
fn an_old_generation_and_a_stranger_commit_nothing() {
    let (mut group, leader, _) = stable();
    let old = Claim { generation: 1, ..claim(&leader) };
    assert_eq!(group.check_commit(&old, 0), Err(GroupError::IllegalGeneration));
    let nobody = Claim { member_id: String::new(), instance_id: None, generation: -1 };
    assert_eq!(group.check_commit(&nobody, 0), Err(GroupError::UnknownMember));
    assert_eq!(Group::default().check_commit(&nobody, 0), Ok(()));
}

#[test]
fn a_second_holder_of_an_instance_fences_the_first() {
    let mut group = Group::default();
    let named = JoinRequest { instance_id: Some("one".to_owned()), ..request("", &["range"]) };
    let first = now(join(&mut group, named.clone(), 0)).unwrap();
    let second = now(join(&mut group, named, 0)).unwrap();
    let instance_id = Some("one".to_owned());
    let old = Claim { instance_id: instance_id.clone(), ..claim(&first) };
    assert_eq!(group.heartbeat(&old, 0), Err(GroupError::FencedInstance));
    assert_eq!(group.heartbeat(&Claim { instance_id, ..claim(&second) }, 0), Ok(()));
}

#[test]
fn who_leaves_is_missed_at_once() {
    let (mut group, leader, other) = stable();
    group.leave(&leader.member_id, None, 0).unwrap();
    assert_eq!(group.phase, Phase::Joining);
    let joined = now(join(&mut group, request(&other.member_id, &["range"]), 0)).unwrap();
    assert_eq!(joined.leader, other.member_id);
    group.leave(&other.member_id, None, 0).unwrap();
    assert_eq!(group.phase, Phase::Empty);
    assert!(group.is_deserted());
}
