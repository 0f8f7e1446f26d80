//! Random histories of producers, transactions, readers, kills and restarts, against a model.
//!
//! The model is what a client may expect: a list of values for each partition, each plain or of a
//! transaction, and for each transaction whether it is open, committed or aborted. After every step
//! both kinds of readers must see exactly what the model says. A kill leaves the files as they were
//! at some instant: between a decision and its markers, for instance, or with a torn tail.

use super::coordinator::Coordinator;
use super::offsets::{Committed, TopicPartition};
use crate::clock::now_ms;
use crate::journal::Flush;
use crate::log::batch::tests::{sent, values};
use crate::log::batch::{Header, Kind, Outcome, ProducerEpoch, marked_outcome};
use crate::log::partition_log::{Isolation, Oversized};
use crate::topics::catalog::Catalog;
use crate::topics::config::TopicConfig;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const TOPIC: &str = "topic";
const GROUP: &str = "group";
const PARTITIONS: i32 = 2;
const IDS: [&str; 2] = ["one", "two"];
const TIMEOUT_MS: i64 = 60_000;

/// What may happen. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// A producer takes a transactional id over.
    Introduce {
        id: usize,
    },
    /// A producer, the current one of its id or a zombie, takes a partition in.
    AddPartition {
        producer: usize,
        partition: i32,
    },
    /// It sends records, once or twice the same.
    Send {
        producer: usize,
        partition: i32,
        records: usize,
        times: usize,
    },
    /// It takes an offset in.
    AddOffset {
        producer: usize,
    },
    End {
        producer: usize,
        outcome: Outcome,
    },
    /// It ends its transaction, and the broker is killed before some of the markers are written.
    EndAndKill {
        producer: usize,
        outcome: Outcome,
        unmarked: [bool; 2],
        decided: bool,
    },
    SendPlain {
        partition: i32,
    },
    /// A producer without transactions sends records, the same ones twice, and a batch too early.
    SendIdempotent {
        partition: i32,
    },
    /// So much time passes that transactions are overdue.
    Wait,
    Tidy,
    Kill {
        torn: Vec<u8>,
    },
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let producer = 0usize..6;
    let partition = 0..PARTITIONS;
    let outcome = prop_oneof![3 => Just(Outcome::Commit), 2 => Just(Outcome::Abort)];
    prop_oneof![
        3 => (0usize..2).prop_map(|id| Step::Introduce { id }),
        6 => (producer.clone(), partition.clone())
            .prop_map(|(producer, partition)| Step::AddPartition { producer, partition }),
        12 => (producer.clone(), partition.clone(), 1usize..4, 1usize..3).prop_map(
            |(producer, partition, records, times)| Step::Send { producer, partition, records, times }
        ),
        2 => producer.clone().prop_map(|producer| Step::AddOffset { producer }),
        5 => (producer.clone(), outcome.clone())
            .prop_map(|(producer, outcome)| Step::End { producer, outcome }),
        2 => (producer, outcome, any::<[bool; 2]>(), any::<bool>()).prop_map(
            |(producer, outcome, unmarked, decided)| Step::EndAndKill {
                producer, outcome, unmarked, decided
            }
        ),
        3 => partition.clone().prop_map(|partition| Step::SendPlain { partition }),
        2 => partition.prop_map(|partition| Step::SendIdempotent { partition }),
        1 => Just(Step::Wait),
        1 => Just(Step::Tidy),
        2 => proptest::collection::vec(any::<u8>(), 0..90).prop_map(|torn| Step::Kill { torn }),
        1 => Just(Step::Stop),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

/// A producer, and what it believes.
#[derive(Debug)]
struct Producer {
    id: usize,
    held: ProducerEpoch,
    next_sequence: [i32; 2],
}

/// A transactional id, as the model has it.
#[derive(Debug, Default)]
struct Current {
    /// The producer that has it, unless that was fenced by time.
    producer: Option<usize>,
    open: Option<Open>,
    /// How the last transaction of this producer ended.
    last: Option<Outcome>,
}

#[derive(Debug, Default)]
struct Open {
    number: usize,
    partitions: BTreeSet<i32>,
    offset: Option<i64>,
}

/// What should be so.
#[derive(Debug, Default)]
struct Model {
    /// Values, with the numbers of their transactions.
    logs: [Vec<(u64, Option<usize>)>; 2],
    fates: Vec<Fate>,
    current: [Current; 2],
    offset: Option<i64>,
    next_value: u64,
}

impl Model {
    fn new_values(&mut self, count: usize) -> Vec<u64> {
        self.next_value += count as u64;
        (self.next_value - count as u64..self.next_value).collect()
    }

    fn open(&mut self, id: usize) -> &mut Open {
        let fates = &mut self.fates;
        self.current[id].open.get_or_insert_with(|| {
            fates.push(Fate::Open);
            Open { number: fates.len() - 1, ..Open::default() }
        })
    }

    fn end(&mut self, id: usize, outcome: Outcome) {
        let current = &mut self.current[id];
        current.last = Some(outcome);
        let Some(open) = current.open.take() else { return };
        self.fates[open.number] = match outcome {
            Outcome::Commit => Fate::Committed,
            Outcome::Abort => Fate::Aborted,
        };
        if outcome == Outcome::Commit {
            self.offset = open.offset.or(self.offset);
        }
    }

    fn visible(&self, partition: usize, isolation: Isolation) -> Vec<u64> {
        let log = &self.logs[partition];
        let fate = |number: &Option<usize>| number.map_or(Fate::Committed, |n| self.fates[n]);
        let end = match isolation {
            Isolation::ReadUncommitted => return log.iter().map(|(value, _)| *value).collect(),
            Isolation::ReadCommitted => log.iter().position(|(_, n)| fate(n) == Fate::Open),
        };
        let decided = &log[..end.unwrap_or(log.len())];
        decided.iter().filter(|(_, n)| fate(n) == Fate::Committed).map(|(v, _)| *v).collect()
    }
}

/// The broker's core, and the model beside it.
struct History {
    directory: TempDir,
    catalog: Arc<Catalog>,
    coordinator: Option<Coordinator>,
    producers: Vec<Producer>,
    idempotent: Option<(ProducerEpoch, [i32; 2])>,
    model: Model,
}

impl History {
    fn begin() -> History {
        // Where waiting for the disk takes no time, if there is such a place.
        let directory = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let catalog = Catalog::open(&directory.path().join("topics")).unwrap();
        let mut config = TopicConfig::default();
        // Small, so that histories go over many.
        config.set("segment.bytes", "400").unwrap();
        catalog.create(TOPIC, i64::from(PARTITIONS), config).unwrap();
        let catalog = Arc::new(catalog);
        let coordinator = Coordinator::open(directory.path(), Arc::clone(&catalog), Flush::Lazy);
        History {
            directory,
            catalog,
            coordinator: Some(coordinator.unwrap()),
            producers: Vec::new(),
            idempotent: None,
            model: Model::default(),
        }
    }

    fn reopen(&mut self) {
        drop(self.coordinator.take());
        let catalog = Catalog::open(&self.directory.path().join("topics")).unwrap();
        self.catalog = Arc::new(catalog);
        let catalog = Arc::clone(&self.catalog);
        let coordinator = Coordinator::open(self.directory.path(), catalog, Flush::Lazy);
        self.coordinator = Some(coordinator.unwrap());
    }

    fn coordinator(&self) -> &Coordinator {
        self.coordinator.as_ref().expect("a coordinator")
    }

    fn chosen(&self, producer: usize) -> Option<usize> {
        // Late ones are more likely to be current.
        let count = self.producers.len();
        (count > 0).then(|| count - 1 - producer.min(count - 1))
    }

    fn is_current(&self, producer: usize) -> bool {
        self.model.current[self.producers[producer].id].producer == Some(producer)
    }

    fn send(&self, partition: i32, batch: bytes::Bytes) -> Result<i64, String> {
        let topic = self.catalog.by_name(TOPIC).unwrap();
        let partition = topic.partition(partition).unwrap();
        let appended = partition.append(batch, &topic.config(), now_ms());
        appended.map(|a| a.base_offset).map_err(|e| e.to_string())
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Introduce { id } => self.introduce(*id),
            Step::AddPartition { producer, partition } => {
                if let Some(producer) = self.chosen(*producer) {
                    self.add_partition(producer, *partition);
                }
            }
            Step::Send { producer, partition, records, times } => {
                if let Some(producer) = self.chosen(*producer) {
                    self.send_transactional(producer, *partition, *records, *times);
                }
            }
            Step::AddOffset { producer } => {
                if let Some(producer) = self.chosen(*producer) {
                    self.add_offset(producer);
                }
            }
            Step::End { producer, outcome } => {
                if let Some(producer) = self.chosen(*producer) {
                    self.end(producer, *outcome);
                }
            }
            Step::EndAndKill { producer, outcome, unmarked, decided } => {
                if let Some(producer) = self.chosen(*producer) {
                    self.end_and_kill(producer, *outcome, *unmarked, *decided);
                }
            }
            Step::SendPlain { partition } => {
                let values = self.model.new_values(2);
                self.send(*partition, sent(None, Kind::Plain, &values)).unwrap();
                self.model.logs[*partition as usize].extend(values.iter().map(|v| (*v, None)));
            }
            Step::SendIdempotent { partition } => self.send_idempotent(*partition),
            Step::Wait => {
                self.coordinator().tick(now_ms() + TIMEOUT_MS + 1).unwrap();
                for id in 0..IDS.len() {
                    if self.model.current[id].open.is_some() {
                        self.model.end(id, Outcome::Abort);
                        self.model.current[id].producer = None;
                    }
                }
            }
            Step::Tidy => self.tidy(),
            Step::Kill { torn } => {
                for file in self.last_logs() {
                    OpenOptions::new().append(true).open(file).unwrap().write_all(torn).unwrap();
                }
                let journal = OpenOptions::new().append(true).open(self.journal());
                journal.unwrap().write_all(torn).unwrap();
                self.reopen();
            }
            Step::Stop => {
                let topic = self.catalog.by_name(TOPIC).unwrap();
                topic.partitions().iter().for_each(|partition| partition.close().unwrap());
                self.reopen();
            }
        }
    }

    fn introduce(&mut self, id: usize) {
        let held = self.coordinator().introduce(Some(IDS[id]), None, TIMEOUT_MS).unwrap();
        if self.model.current[id].open.is_some() {
            self.model.end(id, Outcome::Abort);
        }
        self.producers.push(Producer { id, held, next_sequence: [0; 2] });
        let producer = Some(self.producers.len() - 1);
        self.model.current[id] = Current { producer, ..Current::default() };
    }

    fn add_partition(&mut self, producer: usize, partition: i32) {
        let Producer { id, held, .. } = self.producers[producer];
        let places = vec![TopicPartition { topic: TOPIC.to_owned(), partition }];
        let added = self.coordinator().add_partitions(IDS[id], held, places);
        assert_eq!(added.is_ok(), self.is_current(producer), "{added:?}");
        if added.is_ok() {
            self.model.open(id).partitions.insert(partition);
        }
    }

    fn send_transactional(
        &mut self,
        producer: usize,
        partition: i32,
        records: usize,
        times: usize,
    ) {
        let Producer { id, held, next_sequence } = &self.producers[producer];
        let (id, place) = (*id, partition as usize);
        let values = self.model.new_values(records);
        let batch = sent(Some((*held, next_sequence[place])), Kind::Transactional, &values);
        let open = self.model.current[id].open.as_ref();
        let open = open.filter(|open| open.partitions.contains(&partition)).map(|o| o.number);
        let results: Vec<_> = (0..times).map(|_| self.send(partition, batch.clone())).collect();
        let is_allowed = open.is_some() && self.is_current(producer);
        assert_eq!(results[0].is_ok(), is_allowed, "{results:?}");
        assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
        if is_allowed {
            self.producers[producer].next_sequence[place] += records as i32;
            self.model.logs[place].extend(values.into_iter().map(|value| (value, open)));
        }
    }

    fn send_idempotent(&mut self, partition: i32) {
        let introduced = || (self.coordinator().introduce(None, None, 0).unwrap(), [0; 2]);
        let (held, mut next) = self.idempotent.unwrap_or_else(introduced);
        let (place, values) = (partition as usize, self.model.new_values(2));
        let batch = |sequence| sent(Some((held, sequence)), Kind::Plain, &values);
        let first = self.send(partition, batch(next[place])).unwrap();
        assert_eq!(self.send(partition, batch(next[place])), Ok(first), "the same twice");
        assert!(self.send(partition, batch(next[place] + 3)).is_err(), "one left out");
        next[place] += 2;
        self.idempotent = Some((held, next));
        self.model.logs[place].extend(values.iter().map(|value| (*value, None)));
    }

    fn add_offset(&mut self, producer: usize) {
        let Producer { id, held, .. } = self.producers[producer];
        let offset = self.model.next_value as i64;
        let committed = Committed { offset, leader_epoch: 0, metadata: offset.to_string() };
        let coordinator = self.coordinator();
        let added = coordinator.add_group(IDS[id], held, GROUP).and_then(|()| {
            coordinator.add_offsets(IDS[id], held, GROUP, vec![(place_of_offsets(), committed)])
        });
        assert_eq!(added.is_ok(), self.is_current(producer), "{added:?}");
        if added.is_ok() {
            self.model.open(id).offset = Some(offset);
        }
    }

    /// Ends a transaction; says whether it was one that could be ended so.
    fn end(&mut self, producer: usize, outcome: Outcome) -> bool {
        let Producer { id, held, .. } = self.producers[producer];
        let ended = self.coordinator().end(IDS[id], held, outcome);
        let current = &self.model.current[id];
        let is_open = current.open.is_some();
        let is_possible = is_open || current.last == Some(outcome);
        assert_eq!(ended.is_ok(), self.is_current(producer) && is_possible, "{ended:?}");
        if ended.is_ok() {
            self.model.end(id, outcome);
        }
        ended.is_ok() && is_open
    }

    /// Goes back to the files of the instant after the decision, with some markers missing, or of
    /// the instant before the decision.
    fn end_and_kill(
        &mut self,
        producer: usize,
        outcome: Outcome,
        unmarked: [bool; 2],
        decided: bool,
    ) {
        let before: Vec<_> = self.partition_directories().iter().map(|d| contents(d)).collect();
        let journal_before = fs::read(self.journal()).unwrap();
        let model_before = self.model_of_open(producer);
        if !self.end(producer, outcome) {
            return;
        }
        drop(self.coordinator.take());
        let journal_after = fs::read(self.journal()).unwrap();
        let lines_before = journal_before.split_inclusive(|&b| b == b'\n').count();
        let kept = lines_before + usize::from(decided);
        let kept = journal_after.split_inclusive(|&b| b == b'\n').take(kept).flatten();
        fs::write(self.journal(), kept.copied().collect::<Vec<u8>>()).unwrap();
        for (index, directory) in self.partition_directories().iter().enumerate() {
            if unmarked[index] || !decided {
                restore(directory, &before[index]);
            }
        }
        if !decided {
            self.reinstate(producer, model_before);
        }
        self.reopen();
    }

    fn model_of_open(&mut self, producer: usize) -> Option<(Open, Option<i64>, Option<Outcome>)> {
        let current = &self.model.current[self.producers[producer].id];
        let open = current.open.as_ref()?;
        let (number, partitions) = (open.number, open.partitions.clone());
        let open = Open { number, partitions, offset: open.offset };
        Some((open, self.model.offset, current.last))
    }

    fn reinstate(&mut self, producer: usize, before: Option<(Open, Option<i64>, Option<Outcome>)>) {
        let Some((open, offset, last)) = before else { return };
        self.model.fates[open.number] = Fate::Open;
        self.model.offset = offset;
        let current = &mut self.model.current[self.producers[producer].id];
        (current.open, current.last) = (Some(open), last);
    }

    fn tidy(&self) {
        let topic = self.catalog.by_name(TOPIC).unwrap();
        let retention = topic.config().retention();
        for partition in topic.partitions() {
            partition.write_summaries().unwrap();
            partition.apply_retention(retention, 0).unwrap();
        }
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("coordinator.journal")
    }

    fn partition_directories(&self) -> Vec<PathBuf> {
        let id = self.catalog.by_name(TOPIC).unwrap().id.to_string();
        let topic = self.directory.path().join("topics").join(id);
        (0..PARTITIONS).map(|index| topic.join(index.to_string())).collect()
    }

    fn last_logs(&self) -> Vec<PathBuf> {
        let last = |directory: &PathBuf| {
            let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|path| path.extension().is_some_and(|e| e == "log")).max().unwrap()
        };
        self.partition_directories().iter().map(last).collect()
    }

    fn check(&self) {
        for partition in 0..PARTITIONS {
            for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
                let seen = self.read(partition, isolation);
                let expected = self.model.visible(partition as usize, isolation);
                assert_eq!(seen, expected, "partition {partition}, {isolation:?}");
            }
        }
        let committed = self.coordinator().committed(GROUP, &place_of_offsets());
        assert_eq!(committed.as_ref().map(|c| c.offset), self.model.offset);
    }

    /// Reads as clients do, who leave out what was aborted.
    fn read(&self, partition: i32, isolation: Isolation) -> Vec<u64> {
        let partition = self.catalog.partition(TOPIC, partition).unwrap();
        let (mut seen, mut offset) = (Vec::new(), 0);
        loop {
            let (read, bounds) = partition.read(offset, 300, isolation, Oversized::Given).unwrap();
            let Some(batches) = read.batches else {
                assert_eq!(offset, bounds.readable_end(isolation));
                return seen;
            };
            let mut aborted: BTreeMap<i64, i64> = BTreeMap::new();
            let mut bytes = batches.read().unwrap();
            while !bytes.is_empty() {
                let header = Header::read(&bytes).unwrap();
                assert!(header.has_checksum_of(&bytes[..header.total_bytes]));
                assert_eq!(header.base_offset, offset);
                let rest = bytes.split_off(header.total_bytes);
                for begun in read.aborted.iter().filter(|a| a.first_offset <= offset) {
                    if begun.last_offset >= offset {
                        aborted.insert(begun.producer_id, begun.first_offset);
                    }
                }
                let id = header.producer().map(|producer| producer.id);
                match (header.kind(), id) {
                    (Kind::Control, Some(id)) => {
                        assert!(marked_outcome(&bytes).is_some());
                        aborted.remove(&id);
                    }
                    (Kind::Transactional, Some(id)) if aborted.contains_key(&id) => {}
                    _ => seen.extend(values(&bytes)),
                }
                offset = header.next_offset();
                bytes = rest;
            }
        }
    }
}

fn place_of_offsets() -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition: 0 }
}

fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn restore(directory: &Path, files: &[(PathBuf, Vec<u8>)]) {
    for (path, _) in contents(directory) {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn readers_see_what_the_model_says_over_any_history() {
    let scale = std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    // Some minute where every change is judged, some seconds where one is being made.
    let histories = if std::env::var_os("CI").is_some() { 10_000 } else { 1_000 };
    let config = Config { cases: histories * scale, ..Config::default() };
    let histories = proptest::collection::vec(step(), 1..60);
    TestRunner::new(config)
        .run(&histories, |steps| {
            let mut history = History::begin();
            for step in &steps {
                history.take(step);
                history.check();
            }
            Ok(())
        })
        .unwrap();
}
