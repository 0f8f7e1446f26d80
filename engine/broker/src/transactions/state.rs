//! [`Transaction`]: what is known of a transactional id, and how it may change.
//!
//! ```text
//!                    ┌──────────────────── first partition or group ───────────────────┐
//!                    ▼                                                                 │
//! Empty ─────► Ongoing ──┬── EndTxn(commit) ─────────────► Committing ── markers ──► Committed
//!                        └── EndTxn(abort), timeout, or ─► Aborting ──── markers ──► Aborted
//!                            a successor: epoch + 1
//! ```
//!
//! `Committing` and `Aborting` are decisions: once one is on the disk it is only ever carried out,
//! by whatever process comes next. All transitions are pure; they give the state to be made durable.

use super::offsets::{Commits, TopicPartition};
use crate::log::batch::{Outcome, ProducerEpoch};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use thiserror::Error;

/// The longest a transaction may be open, as in Apache Kafka.
const TIMEOUT_MS_MAX: i64 = 15 * 60 * 1000;

/// A transactional id that did nothing for so long is forgotten, as in Apache Kafka.
pub(crate) const FORGOTTEN_AFTER_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Why a request of a transactional producer was refused.
#[derive(Debug, Error)]
pub(crate) enum TransactionError {
    #[error("the transactional id doesn't have this producer id")]
    UnknownProducer,
    #[error("a later producer has taken the transactional id over")]
    Fenced,
    #[error("not while the transaction is {0:?}")]
    Phase(Phase),
    #[error("the transaction doesn't include the group")]
    UnknownGroup,
    #[error("a transaction may be open for 1 to {TIMEOUT_MS_MAX} ms, not {0}")]
    Timeout(i64),
    #[error("the transaction can't be written: {0}")]
    Io(#[from] io::Error),
}

/// Where a transactional id stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    Empty,
    Ongoing,
    Committing,
    Aborting,
    Committed,
    Aborted,
}

/// A transactional id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transaction {
    producer_id: i64,
    epoch: i16,
    /// The epoch before, of a producer that asked for a new one itself and may ask again.
    previous_epoch: Option<i16>,
    timeout_ms: i64,
    pub(crate) phase: Phase,
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// The groups whose offsets it commits, and the offsets.
    pub(crate) groups: BTreeMap<String, Commits>,
    started_ms: i64,
    pub(crate) used_ms: i64,
}

/// What a producer that introduces itself must get.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Introduction {
    /// First carry out what this decides.
    Finish(Transaction),
    /// It has asked before: the same answer, nothing to write.
    Repeated(ProducerEpoch),
    /// The new state, whose producer is the answer.
    Begin(Transaction),
    /// All epochs are used up: the same under a new producer id.
    NewId,
}

/// What a request to end a transaction comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It ended that way before.
    Repeated,
    /// Carry out this decision, which may have been made before.
    Finish(Transaction),
}

/// Checks a timeout that a producer asks for.
pub(crate) fn check_timeout(timeout_ms: i64) -> Result<i64, TransactionError> {
    let is_allowed = (1..=TIMEOUT_MS_MAX).contains(&timeout_ms);
    is_allowed.then_some(timeout_ms).ok_or(TransactionError::Timeout(timeout_ms))
}

impl Transaction {
    pub(crate) fn new(producer_id: i64, timeout_ms: i64, now_ms: i64) -> Transaction {
        Transaction {
            producer_id,
            epoch: 0,
            previous_epoch: None,
            timeout_ms,
            phase: Phase::Empty,
            partitions: BTreeSet::new(),
            groups: BTreeMap::new(),
            started_ms: 0,
            used_ms: now_ms,
        }
    }

    pub(crate) fn producer(&self) -> ProducerEpoch {
        ProducerEpoch { id: self.producer_id, epoch: self.epoch }
    }

    /// How it ends, if that is decided but perhaps not yet carried out.
    pub(crate) fn decision(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Committing => Some(Outcome::Commit),
            Phase::Aborting => Some(Outcome::Abort),
            _ => None,
        }
    }

    /// A producer introduces itself, with the identity that it had if it had one.
    pub(crate) fn introduce(
        &self,
        held: Option<ProducerEpoch>,
        timeout_ms: i64,
        now_ms: i64,
    ) -> Result<Introduction, TransactionError> {
        let previous = self.previous_epoch;
        match held {
            Some(held) if held.id != self.producer_id => return Err(TransactionError::Fenced),
            Some(held) if Some(held.epoch) == previous && self.phase != Phase::Ongoing => {
                return Ok(Introduction::Repeated(self.producer()));
            }
            Some(held) if held.epoch != self.epoch => return Err(TransactionError::Fenced),
            _ => {}
        }
        match self.phase {
            Phase::Ongoing => return Ok(Introduction::Finish(self.fenced(now_ms))),
            Phase::Committing | Phase::Aborting => return Ok(Introduction::Finish(self.clone())),
            Phase::Empty | Phase::Committed | Phase::Aborted => {}
        }
        if self.epoch >= i16::MAX - 1 {
            return Ok(Introduction::NewId);
        }
        let previous_epoch = held.map(|held| held.epoch);
        let fresh = Transaction::new(self.producer_id, timeout_ms, now_ms);
        Ok(Introduction::Begin(Transaction { epoch: self.epoch + 1, previous_epoch, ..fresh }))
    }

    /// The decision that ends a transaction whose producer is gone, and keeps it out.
    pub(crate) fn fenced(&self, now_ms: i64) -> Transaction {
        Transaction {
            epoch: self.epoch.saturating_add(1),
            previous_epoch: None,
            phase: Phase::Aborting,
            used_ms: now_ms,
            ..self.clone()
        }
    }

    /// Takes partitions into the transaction, which begins with the first. `None` if nothing is
    /// new.
    pub(crate) fn with_partitions(
        &self,
        producer: ProducerEpoch,
        partitions: Vec<TopicPartition>,
        now_ms: i64,
    ) -> Result<Option<Transaction>, TransactionError> {
        let mut next = self.going_on(producer, now_ms)?;
        next.partitions.extend(partitions);
        Ok((next.partitions != self.partitions || next.phase != self.phase).then_some(next))
    }

    /// Takes a group into the transaction, whose offsets it will commit.
    pub(crate) fn with_group(
        &self,
        producer: ProducerEpoch,
        group: &str,
        now_ms: i64,
    ) -> Result<Option<Transaction>, TransactionError> {
        let mut next = self.going_on(producer, now_ms)?;
        next.groups.entry(group.to_owned()).or_default();
        Ok((next.groups != self.groups || next.phase != self.phase).then_some(next))
    }

    /// Takes offsets into the transaction. Later ones for a partition replace earlier ones.
    pub(crate) fn with_offsets(
        &self,
        producer: ProducerEpoch,
        group: &str,
        commits: Commits,
        now_ms: i64,
    ) -> Result<Transaction, TransactionError> {
        let mut next = self.going_on(producer, now_ms)?;
        let pending = next.groups.get_mut(group).ok_or(TransactionError::UnknownGroup)?;
        pending.retain(|(held, _)| commits.iter().all(|(partition, _)| partition != held));
        pending.extend(commits);
        Ok(next)
    }

    /// Ends the transaction as its producer wishes.
    pub(crate) fn end(
        &self,
        producer: ProducerEpoch,
        outcome: Outcome,
        now_ms: i64,
    ) -> Result<End, TransactionError> {
        self.check(producer)?;
        let (deciding, done) = match outcome {
            Outcome::Commit => (Phase::Committing, Phase::Committed),
            Outcome::Abort => (Phase::Aborting, Phase::Aborted),
        };
        match self.phase {
            Phase::Ongoing => {
                let next = Transaction { phase: deciding, used_ms: now_ms, ..self.clone() };
                Ok(End::Finish(next))
            }
            phase if phase == deciding => Ok(End::Finish(self.clone())),
            phase if phase == done => Ok(End::Repeated),
            phase => Err(TransactionError::Phase(phase)),
        }
    }

    /// The state once a decision has been carried out.
    pub(crate) fn finished(&self) -> Transaction {
        debug_assert!(self.decision().is_some());
        let phase = match self.phase {
            Phase::Committing => Phase::Committed,
            _ => Phase::Aborted,
        };
        let (partitions, groups) = Default::default();
        Transaction { phase, partitions, groups, ..self.clone() }
    }

    /// Whether the producer has had its time.
    pub(crate) fn is_overdue(&self, now_ms: i64) -> bool {
        self.phase == Phase::Ongoing && now_ms - self.started_ms > self.timeout_ms
    }

    /// Whether nobody will miss it.
    pub(crate) fn is_forgotten(&self, now_ms: i64) -> bool {
        let is_open = self.phase == Phase::Ongoing || self.decision().is_some();
        !is_open && now_ms - self.used_ms > FORGOTTEN_AFTER_MS
    }

    fn going_on(
        &self,
        producer: ProducerEpoch,
        now_ms: i64,
    ) -> Result<Transaction, TransactionError> {
        self.check(producer)?;
        match self.phase {
            Phase::Ongoing => Ok(Transaction { used_ms: now_ms, ..self.clone() }),
            Phase::Committing | Phase::Aborting => Err(TransactionError::Phase(self.phase)),
            Phase::Empty | Phase::Committed | Phase::Aborted => Ok(Transaction {
                phase: Phase::Ongoing,
                started_ms: now_ms,
                used_ms: now_ms,
                ..self.clone()
            }),
        }
    }

    fn check(&self, producer: ProducerEpoch) -> Result<(), TransactionError> {
        match producer {
            ProducerEpoch { id, .. } if id != self.producer_id => {
                Err(TransactionError::UnknownProducer)
            }
            ProducerEpoch { epoch, .. } if epoch != self.epoch => Err(TransactionError::Fenced),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ongoing() -> Transaction {
        let fresh = Transaction::new(7, 1_000, 0);
        let partition = TopicPartition { topic: "t".to_owned(), partition: 0 };
        fresh.with_partitions(fresh.producer(), vec![partition], 10).unwrap().unwrap()
    }

    #[test]
    fn a_transaction_begins_with_its_first_partition_and_ends_once() {
        let open = ongoing();
        assert_eq!(open.phase, Phase::Ongoing);
        let producer = open.producer();
        let Ok(End::Finish(decided)) = open.end(producer, Outcome::Commit, 20) else { panic!() };
        assert_eq!(decided.decision(), Some(Outcome::Commit));
        // Until it is carried out the same may be asked again, and nothing else.
        assert!(matches!(decided.end(producer, Outcome::Commit, 21), Ok(End::Finish(_))));
        assert!(decided.end(producer, Outcome::Abort, 21).is_err());
        assert!(decided.with_group(producer, "g", 21).is_err());
        let done = decided.finished();
        assert_eq!(done.end(producer, Outcome::Commit, 22).unwrap(), End::Repeated);
        assert!(done.end(producer, Outcome::Abort, 22).is_err());
        assert!(done.partitions.is_empty());
    }

    #[test]
    fn an_empty_transaction_has_no_end() {
        let fresh = Transaction::new(7, 1_000, 0);
        assert!(fresh.end(fresh.producer(), Outcome::Commit, 1).is_err());
    }

    #[test]
    fn a_successor_aborts_and_fences_its_predecessor() {
        let open = ongoing();
        let Ok(Introduction::Finish(decided)) = open.introduce(None, 1_000, 20) else { panic!() };
        assert_eq!(decided.decision(), Some(Outcome::Abort));
        let Ok(Introduction::Begin(next)) = decided.finished().introduce(None, 5, 30) else {
            panic!()
        };
        assert!(next.producer().epoch > open.producer().epoch);
        for late in [
            next.end(open.producer(), Outcome::Commit, 40).map(drop),
            next.with_group(open.producer(), "g", 40).map(drop),
            next.introduce(Some(open.producer()), 5, 40).map(drop),
        ] {
            assert!(matches!(late, Err(TransactionError::Fenced)));
        }
    }

    #[test]
    fn a_producer_that_asks_twice_for_a_new_epoch_gets_one() {
        let fresh = Transaction::new(7, 1_000, 0);
        let held = Some(fresh.producer());
        let Ok(Introduction::Begin(next)) = fresh.introduce(held, 1_000, 1) else { panic!() };
        let again = next.introduce(held, 1_000, 2).unwrap();
        assert_eq!(again, Introduction::Repeated(next.producer()));
    }

    #[test]
    fn used_up_epochs_need_a_new_id() {
        let worn = Transaction { epoch: i16::MAX - 1, ..Transaction::new(7, 1_000, 0) };
        assert_eq!(worn.introduce(None, 1_000, 1).unwrap(), Introduction::NewId);
    }

    #[test]
    fn only_an_open_transaction_is_overdue() {
        let open = ongoing();
        assert!(!open.is_overdue(1_010));
        assert!(open.is_overdue(1_011));
        assert!(!open.fenced(1_011).finished().is_overdue(9_999));
    }
}
