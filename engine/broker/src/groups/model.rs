//! Random histories of a group: members that join, share out, fall silent, leave and come back,
//! time that passes, and restarts of the broker.
//!
//! What must hold throughout: all members of a generation learn the same of it, the leader alone
//! learns who they are, each gets the share that the leader meant for it, and offsets are taken
//! from members of the current generation and from nobody else. And in the end, when those who
//! are left do their part, all of them are in one generation and nobody waits.

use super::group::{Claim, Group, GroupError, Phase};
use super::member::{JoinRequest, Joined, NewIds, Synced};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

const CLIENTS: usize = 4;
const SESSION_MS: i64 = 10_000;
const REBALANCE_MS: i64 = 30_000;

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    /// A client does what comes next for it.
    Act(usize),
    /// It says that it is there.
    Beat(usize),
    /// It leaves in good order.
    Leave(usize),
    /// Its process dies, and another takes its place.
    Die(usize),
    /// So many milliseconds pass.
    Wait(i64),
    /// The broker is started again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        20 => client.clone().prop_map(Step::Act),
        6 => client.clone().prop_map(Step::Beat),
        2 => client.clone().prop_map(Step::Leave),
        2 => client.prop_map(Step::Die),
        3 => prop_oneof![Just(100), Just(SESSION_MS + 1), Just(REBALANCE_MS + 1)]
            .prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

type Answer<T> = Receiver<Result<T, GroupError>>;

/// Where a client believes it stands.
#[derive(Debug, Default)]
enum Belief {
    #[default]
    Outside,
    /// Asked of the broker's start of this number.
    Joining(u32, Answer<Joined>),
    Joined(Joined),
    Syncing(Joined, Answer<Synced>),
    Stable(Joined),
}

#[derive(Debug, Default)]
struct Client {
    member_id: String,
    belief: Belief,
}

impl Client {
    fn claim(&self) -> Claim {
        let generation = match &self.belief {
            Belief::Joined(joined) | Belief::Syncing(joined, _) | Belief::Stable(joined) => {
                joined.generation
            }
            Belief::Outside | Belief::Joining(..) => -1,
        };
        Claim { member_id: self.member_id.clone(), instance_id: None, generation }
    }
}

/// What is known of a generation.
#[derive(Debug, Default)]
struct Generation {
    leader: String,
    /// As the leader was told, sorted.
    members: Vec<String>,
    /// Who has learnt of it.
    told: Vec<String>,
}

struct History {
    group: Group,
    clients: Vec<Client>,
    now_ms: i64,
    /// By the broker's start and the number.
    generations: BTreeMap<(u32, i32), Generation>,
    starts: u32,
}

/// The share of a member in a generation.
fn share(generation: i32, member_id: &str) -> Bytes {
    Bytes::from(format!("{generation}:{member_id}"))
}

impl History {
    fn begin() -> History {
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        let generations = BTreeMap::new();
        History { group: Group::default(), clients, now_ms: 1, generations, starts: 0 }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Act(client) => self.act(client),
            // Who is in no generation has nobody to say it to.
            Step::Beat(client) if self.clients[client].claim().generation < 0 => {}
            Step::Beat(client) => {
                let claim = self.clients[client].claim();
                if let Err(error) = self.group.heartbeat(&claim, self.now_ms) {
                    self.refused(client, &error);
                }
            }
            Step::Leave(client) => {
                let id = std::mem::take(&mut self.clients[client].member_id);
                let _ = self.group.leave(&id, None, self.now_ms);
                self.clients[client] = Client::default();
            }
            Step::Die(client) => self.clients[client] = Client::default(),
            Step::Wait(millis) => {
                self.now_ms += millis;
                self.group.tick(self.now_ms);
            }
            Step::Restart => {
                self.group = Group::default();
                self.starts += 1;
            }
        }
        self.check_commits();
    }

    /// What a client does when it is told no.
    fn refused(&mut self, client: usize, error: &GroupError) {
        let client = &mut self.clients[client];
        match error {
            GroupError::MemberIdRequired(id) => client.member_id.clone_from(id),
            GroupError::UnknownMember => client.member_id.clear(),
            GroupError::IllegalGeneration | GroupError::RebalanceInProgress => {}
            other => panic!("nobody asked for {other:?}"),
        }
        // It joins anew; but who waits for the others to join goes on waiting.
        if !matches!(client.belief, Belief::Joining(..)) {
            client.belief = Belief::Outside;
        }
    }

    fn act(&mut self, number: usize) {
        let belief = std::mem::take(&mut self.clients[number].belief);
        let belief = match belief {
            Belief::Outside => self.join(number),
            Belief::Joining(start, mut answer) => match answer.try_recv() {
                Ok(Ok(joined)) => self.joined(number, start, joined),
                Ok(Err(error)) => return self.refused(number, &error),
                Err(TryRecvError::Empty) => Belief::Joining(start, answer),
                // With the broker that it was asked of.
                Err(TryRecvError::Closed) => Belief::Outside,
            },
            Belief::Joined(joined) => self.sync(joined),
            Belief::Syncing(joined, mut answer) => match answer.try_recv() {
                Ok(Ok(synced)) => {
                    let expected = share(joined.generation, &joined.member_id);
                    assert_eq!(synced.assignment, expected, "another's share, or an old one");
                    assert_eq!(synced.protocol, joined.protocol);
                    Belief::Stable(joined)
                }
                Ok(Err(error)) => return self.refused(number, &error),
                Err(TryRecvError::Empty) => Belief::Syncing(joined, answer),
                Err(TryRecvError::Closed) => Belief::Outside,
            },
            Belief::Stable(joined) => Belief::Stable(joined),
        };
        self.clients[number].belief = belief;
    }

    fn join(&mut self, number: usize) -> Belief {
        let (answer, pending) = oneshot::channel();
        // Clients of two kinds, who have one protocol in common.
        let names: &[&str] =
            if number.is_multiple_of(2) { &["range", "sticky"] } else { &["sticky"] };
        let request = JoinRequest {
            member_id: self.clients[number].member_id.clone(),
            instance_id: None,
            client_id: format!("client-{number}"),
            client_host: "here".to_owned(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            protocol_type: "consumer".to_owned(),
            protocols: names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect(),
            new_ids: NewIds::Announce,
        };
        self.group.join(request, answer, self.now_ms);
        Belief::Joining(self.starts, pending)
    }

    fn joined(&mut self, number: usize, start: u32, joined: Joined) -> Belief {
        self.clients[number].member_id.clone_from(&joined.member_id);
        let known = self.generations.entry((start, joined.generation)).or_default();
        if known.told.is_empty() {
            known.leader.clone_from(&joined.leader);
        }
        assert_eq!(known.leader, joined.leader, "two leaders of one generation");
        known.told.push(joined.member_id.clone());
        let mut members: Vec<_> = joined.members.iter().map(|m| m.member_id.clone()).collect();
        members.sort();
        if joined.leader == joined.member_id {
            known.members = members;
        } else {
            assert!(members.is_empty(), "only the leader learns who is here");
        }
        Belief::Joined(joined)
    }

    fn sync(&mut self, joined: Joined) -> Belief {
        let (answer, pending) = oneshot::channel();
        let shares = joined.members.iter().map(|member| member.member_id.clone());
        let shares = shares.map(|id| (id.clone(), share(joined.generation, &id))).collect();
        let claim = Claim {
            member_id: joined.member_id.clone(),
            instance_id: None,
            generation: joined.generation,
        };
        self.group.sync(&claim, shares, answer, self.now_ms);
        Belief::Syncing(joined, pending)
    }

    /// Offsets are taken from current members and, of an empty group, from anybody who claims
    /// nothing.
    fn check_commits(&mut self) {
        for client in &self.clients {
            let claim = client.claim();
            let is_current = self.group.members.contains_key(&claim.member_id)
                && claim.generation == self.group.generation
                && self.group.phase != Phase::Syncing;
            let is_free = claim.generation < 0 && self.group.members.is_empty();
            // Asking is a sign of life, which must not make histories live longer.
            let deadlines: Vec<i64> =
                self.group.members.values().map(|member| member.deadline_ms).collect();
            let taken = self.group.check_commit(&claim, self.now_ms);
            for (member, deadline_ms) in self.group.members.values_mut().zip(deadlines) {
                member.deadline_ms = deadline_ms;
            }
            assert_eq!(taken.is_ok(), is_current || is_free, "{claim:?}: {taken:?}");
        }
        for generation in self.generations.values().filter(|g| !g.members.is_empty()) {
            let is_member = |id: &String| generation.members.contains(id);
            assert!(generation.told.iter().all(is_member), "{generation:?}");
        }
    }

    /// Everybody who is left does what it can, for as long as it may take.
    fn settle(&mut self) {
        for _ in 0..40 {
            for client in 0..CLIENTS {
                self.act(client);
                self.take(&Step::Beat(client));
            }
            self.take(&Step::Wait(SESSION_MS / 4));
        }
        assert_eq!(self.group.phase, Phase::Stable);
        assert_eq!(self.group.members.len(), CLIENTS, "the dead are out, the living are in");
        for client in &self.clients {
            let Belief::Stable(joined) = &client.belief else { panic!("{client:?} waits") };
            assert_eq!(joined.generation, self.group.generation);
            assert_eq!(joined.protocol, "sticky", "all know it");
        }
    }
}

#[test]
fn members_agree_over_any_history_and_come_to_rest() {
    let scale = std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let config = Config { cases: 10_000 * scale, ..Config::default() };
    TestRunner::new(config)
        .run(&proptest::collection::vec(step(), 1..80), |steps| {
            let mut history = History::begin();
            steps.iter().for_each(|step| history.take(step));
            history.settle();
            Ok(())
        })
        .unwrap();
}
