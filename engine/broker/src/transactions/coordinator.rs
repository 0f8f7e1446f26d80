//! [`Coordinator`]: transactions, producer ids and committed offsets, made durable and carried out.
//!
//! Everything that must survive is an entry of one journal, written before anybody is told. A
//! transaction is decided by one entry, `Committing` or `Aborting`, with the offsets that it
//! commits; then its markers are written into the partitions, and an entry says that it is done. A
//! process that is killed in between leaves the decision, and the next one carries it out before it
//! answers anybody. So each transaction is wholly committed or wholly aborted.

use super::offsets::{Commits, Committed, Offsets, TopicPartition};
use super::state::{End, Introduction, Phase, Transaction, TransactionError, check_timeout};
use crate::clock::now_ms;
use crate::journal::{Flush, Journal};
use crate::log::batch::{Outcome, ProducerEpoch};
use crate::topics::catalog::Catalog;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const JOURNAL_FILE: &str = "coordinator.journal";

/// As many producer ids are made durable at once.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// What is kept.
#[derive(Serialize, Deserialize)]
enum Entry {
    /// No id below was given to anybody after this entry.
    ProducerIds {
        next: i64,
    },
    Transaction {
        id: String,
        state: Transaction,
    },
    TransactionForgotten {
        id: String,
    },
    Offsets {
        group: String,
        commits: Commits,
    },
    OffsetsDeleted {
        group: String,
        partitions: Vec<TopicPartition>,
    },
    GroupDeleted {
        group: String,
    },
    TopicDeleted {
        topic: String,
    },
}

/// Whether a group's offsets may still change by a transaction that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stability {
    Stable,
    Undecided,
}

/// The one place of decisions.
#[derive(Debug)]
pub(crate) struct Coordinator {
    catalog: Arc<Catalog>,
    flush: Flush,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    transactions: BTreeMap<String, Transaction>,
    offsets: Offsets,
    next_producer_id: i64,
    /// Ids below are made durable as given.
    reserved_producer_ids: i64,
}

impl State {
    /// Makes an entry durable, and true.
    fn enter(&mut self, entry: Entry) -> io::Result<()> {
        self.journal.append(&entry)?;
        self.apply(entry);
        if self.journal.has_grown() {
            self.rewrite()?;
        }
        Ok(())
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::ProducerIds { next } => self.reserved_producer_ids = next,
            Entry::Transaction { id, state } => {
                if state.phase == Phase::Committing {
                    for (group, commits) in &state.groups {
                        self.offsets.commit(group, commits.clone());
                    }
                }
                self.transactions.insert(id, state);
            }
            Entry::TransactionForgotten { id } => drop(self.transactions.remove(&id)),
            Entry::Offsets { group, commits } => self.offsets.commit(&group, commits),
            Entry::OffsetsDeleted { group, partitions } => self.offsets.delete(&group, &partitions),
            Entry::GroupDeleted { group } => self.offsets.delete_group(&group),
            Entry::TopicDeleted { topic } => self.offsets.delete_topic(&topic),
        }
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let next = self.reserved_producer_ids;
        let offsets = self.offsets.groups().map(|group| {
            let commits = self.offsets.of_group(group);
            Entry::Offsets { group: group.clone(), commits }
        });
        // Before the offsets: one that is being committed has them committed again as it is read.
        let transactions = self.transactions.iter();
        let transactions = transactions
            .map(|(id, state)| Entry::Transaction { id: id.clone(), state: state.clone() });
        let entries = [Entry::ProducerIds { next }].into_iter().chain(transactions).chain(offsets);
        let entries: Vec<Entry> = entries.collect();
        self.journal.rewrite(entries.iter())
    }

    fn new_producer_id(&mut self) -> io::Result<i64> {
        if self.next_producer_id >= self.reserved_producer_ids {
            let next = self.next_producer_id + PRODUCER_ID_BLOCK;
            self.enter(Entry::ProducerIds { next })?;
        }
        self.next_producer_id += 1;
        Ok(self.next_producer_id - 1)
    }

    fn transaction(&self, id: &str) -> Result<&Transaction, TransactionError> {
        self.transactions.get(id).ok_or(TransactionError::UnknownProducer)
    }
}

impl Coordinator {
    /// Reads the journal and carries out what it decides.
    pub(crate) fn open(
        directory: &Path,
        catalog: Arc<Catalog>,
        flush: Flush,
    ) -> io::Result<Coordinator> {
        let (journal, entries) = Journal::open(&directory.join(JOURNAL_FILE), flush)?;
        let mut state = State {
            journal,
            transactions: BTreeMap::new(),
            offsets: Offsets::default(),
            next_producer_id: 0,
            reserved_producer_ids: 0,
        };
        entries.into_iter().for_each(|entry| state.apply(entry));
        state.next_producer_id = state.reserved_producer_ids;
        let coordinator = Coordinator { catalog, flush, state: Mutex::new(state) };
        coordinator.carry_on()?;
        Ok(coordinator)
    }

    /// After a start: what was decided is carried out, what was open is open again, and records
    /// of transactions that nobody knows of are aborted.
    fn carry_on(&self) -> io::Result<()> {
        let mut state = self.lock();
        self.finish_decided(&mut state)?;
        let mut known = HashSet::new();
        for transaction in state.transactions.values().filter(|t| t.phase == Phase::Ongoing) {
            self.enrol(transaction);
            known.extend(transaction.partitions.iter().map(|p| (p, transaction.producer())));
        }
        for topic in self.catalog.all() {
            let rules = topic.config().append_rules();
            for (index, partition) in topic.partitions().into_iter().enumerate() {
                let place = TopicPartition { topic: topic.name.clone(), partition: index as i32 };
                for open in partition.open_transactions() {
                    if !known.contains(&(&place, open)) {
                        partition.end_transaction(open, Outcome::Abort, rules, now_ms())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A producer introduces itself: it gets an id and an epoch, and all who had the transactional
    /// id before it are out.
    pub(crate) fn introduce(
        &self,
        id: Option<&str>,
        held: Option<ProducerEpoch>,
        timeout_ms: i64,
    ) -> Result<ProducerEpoch, TransactionError> {
        let mut state = self.lock();
        let Some(id) = id else {
            return Ok(ProducerEpoch { id: state.new_producer_id()?, epoch: 0 });
        };
        let timeout_ms = check_timeout(timeout_ms)?;
        // The producer that is being fenced no longer has its epoch once that is carried out.
        let mut held = held;
        loop {
            let known = match state.transactions.get(id) {
                Some(known) => known.introduce(held, timeout_ms, now_ms())?,
                None => Introduction::NewId,
            };
            match known {
                Introduction::Repeated(producer) => return Ok(producer),
                Introduction::Finish(decided) => {
                    self.finish(&mut state, id, decided)?;
                    held = None;
                }
                Introduction::Begin(next) => return Ok(self.begin(&mut state, id, next)?),
                Introduction::NewId => {
                    let producer_id = state.new_producer_id()?;
                    let next = Transaction::new(producer_id, timeout_ms, now_ms());
                    return Ok(self.begin(&mut state, id, next)?);
                }
            }
        }
    }

    fn begin(&self, state: &mut State, id: &str, next: Transaction) -> io::Result<ProducerEpoch> {
        let producer = next.producer();
        state.enter(Entry::Transaction { id: id.to_owned(), state: next })?;
        Ok(producer)
    }

    /// Takes partitions into a transaction. From then on they take the producer's batches.
    pub(crate) fn add_partitions(
        &self,
        id: &str,
        producer: ProducerEpoch,
        partitions: Vec<TopicPartition>,
    ) -> Result<(), TransactionError> {
        let mut state = self.lock();
        let known = state.transaction(id)?;
        if let Some(next) = known.with_partitions(producer, partitions, now_ms())? {
            state.enter(Entry::Transaction { id: id.to_owned(), state: next.clone() })?;
            self.enrol(&next);
        }
        Ok(())
    }

    /// Takes a group into a transaction.
    pub(crate) fn add_group(
        &self,
        id: &str,
        producer: ProducerEpoch,
        group: &str,
    ) -> Result<(), TransactionError> {
        let mut state = self.lock();
        match state.transaction(id)?.with_group(producer, group, now_ms())? {
            Some(next) => Ok(state.enter(Entry::Transaction { id: id.to_owned(), state: next })?),
            None => Ok(()),
        }
    }

    /// Takes a group's offsets into a transaction: they count once it is committed.
    pub(crate) fn add_offsets(
        &self,
        id: &str,
        producer: ProducerEpoch,
        group: &str,
        commits: Commits,
    ) -> Result<(), TransactionError> {
        let mut state = self.lock();
        let next = state.transaction(id)?.with_offsets(producer, group, commits, now_ms())?;
        Ok(state.enter(Entry::Transaction { id: id.to_owned(), state: next })?)
    }

    /// Ends a transaction. When this returns its records and offsets are there, or gone.
    pub(crate) fn end(
        &self,
        id: &str,
        producer: ProducerEpoch,
        outcome: Outcome,
    ) -> Result<(), TransactionError> {
        let mut state = self.lock();
        match state.transaction(id)?.end(producer, outcome, now_ms())? {
            End::Repeated => Ok(()),
            End::Finish(decided) => Ok(self.finish(&mut state, id, decided)?),
        }
    }

    /// Makes a decision durable, carries it out, and notes that.
    fn finish(&self, state: &mut State, id: &str, decided: Transaction) -> io::Result<()> {
        let outcome = decided.decision().expect("a decision");
        if state.transactions.get(id) != Some(&decided) {
            let entry = Entry::Transaction { id: id.to_owned(), state: decided.clone() };
            state.enter(entry)?;
        }
        for TopicPartition { topic, partition } in &decided.partitions {
            // A topic that was deleted meanwhile took its part of the transaction with it.
            let Some(topic) = self.catalog.by_name(topic) else { continue };
            let Some(partition) = topic.partition(*partition) else { continue };
            let rules = topic.config().append_rules();
            partition.end_transaction(decided.producer(), outcome, rules, now_ms())?;
            if self.flush == Flush::Always {
                // Once it counts as done, nobody would write a marker that was lost.
                partition.flush()?;
            }
        }
        state.enter(Entry::Transaction { id: id.to_owned(), state: decided.finished() })
    }

    fn finish_decided(&self, state: &mut State) -> io::Result<()> {
        let decided = state.transactions.iter().filter(|(_, t)| t.decision().is_some());
        let decided: Vec<_> = decided.map(|(id, t)| (id.clone(), t.clone())).collect();
        decided.into_iter().try_for_each(|(id, decided)| self.finish(state, &id, decided))
    }

    /// What time does: overdue transactions are aborted, idle ones forgotten. A decision that
    /// could not be carried out, for instance on a full disk, is tried again.
    pub(crate) fn tick(&self, now_ms: i64) -> io::Result<()> {
        let mut state = self.lock();
        self.finish_decided(&mut state)?;
        let overdue = state.transactions.iter().filter(|(_, t)| t.is_overdue(now_ms));
        let overdue: Vec<_> = overdue.map(|(id, t)| (id.clone(), t.fenced(now_ms))).collect();
        for (id, fenced) in overdue {
            tracing::info!("transaction '{id}' took too long and is aborted");
            self.finish(&mut state, &id, fenced)?;
        }
        let forgotten = state.transactions.iter().filter(|(_, t)| t.is_forgotten(now_ms));
        let forgotten: Vec<_> = forgotten.map(|(id, _)| id.clone()).collect();
        forgotten.into_iter().try_for_each(|id| state.enter(Entry::TransactionForgotten { id }))
    }

    fn enrol(&self, transaction: &Transaction) {
        for TopicPartition { topic, partition } in &transaction.partitions {
            if let Some(partition) = self.catalog.partition(topic, *partition) {
                partition.enrol(transaction.producer(), now_ms());
            }
        }
    }

    /// Commits a group's offsets.
    pub(crate) fn commit_offsets(&self, group: &str, commits: Commits) -> io::Result<()> {
        self.lock().enter(Entry::Offsets { group: group.to_owned(), commits })
    }

    pub(crate) fn committed(&self, group: &str, partition: &TopicPartition) -> Option<Committed> {
        self.lock().offsets.get(group, partition).cloned()
    }

    pub(crate) fn all_committed(&self, group: &str) -> Commits {
        self.lock().offsets.of_group(group)
    }

    /// Whether a transaction under way is going to commit an offset for the partition.
    pub(crate) fn stability(&self, group: &str, partition: &TopicPartition) -> Stability {
        let state = self.lock();
        let mut open = state.transactions.values().filter(|t| t.phase == Phase::Ongoing);
        let touches = |t: &Transaction| {
            let pending = t.groups.get(group);
            pending.is_some_and(|commits| commits.iter().any(|(held, _)| held == partition))
        };
        if open.any(touches) { Stability::Undecided } else { Stability::Stable }
    }

    /// Groups that have committed offsets.
    pub(crate) fn groups_with_offsets(&self) -> Vec<String> {
        self.lock().offsets.groups().cloned().collect()
    }

    pub(crate) fn has_offsets(&self, group: &str) -> bool {
        self.lock().offsets.has_group(group)
    }

    pub(crate) fn delete_offsets(
        &self,
        group: &str,
        partitions: Vec<TopicPartition>,
    ) -> io::Result<()> {
        self.lock().enter(Entry::OffsetsDeleted { group: group.to_owned(), partitions })
    }

    pub(crate) fn delete_group(&self, group: &str) -> io::Result<()> {
        self.lock().enter(Entry::GroupDeleted { group: group.to_owned() })
    }

    /// A topic was deleted: offsets into it mean nothing for a later one of that name.
    pub(crate) fn forget_topic(&self, topic: &str) -> io::Result<()> {
        self.lock().enter(Entry::TopicDeleted { topic: topic.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
