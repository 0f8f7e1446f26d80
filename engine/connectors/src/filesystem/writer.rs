//! Writing files: one directory, part files of each worker.
//!
//! A part is hidden until it is complete, so that whoever reads the directory never sees half a
//! file. Numbers go on where an earlier run has stopped: nothing that stands there is overwritten.
//! With `PARTITIONED BY` this holds in each partition's directory.
//!
//! If checkpoints commit what is written, a part stays hidden until one has, complete or not:
//!
//! ```text
//!  write ─► open ──(large or old enough)──► completed ──► staged ─(the checkpoint stands)─► visible
//!             └──(at each checkpoint)──► staged as open, with its length: shown only by a recovery
//! ```

use super::part::{Part, PartNames, directory, failed};
use super::partition::{Commit, Partitioning};
use super::paths;
use super::staging::{Entry, StagedPart, Staging};
use crate::options::{bytes, duration, required};
use crate::sink::{Sink, Staged, WriteSpec, Writer};
use crate::source::ConnectorError;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidemill_formats::{Encoded, Encoder, FormatRole, Table, encoder};
use tidemill_operators::{Batch, Epoch};

/// Flink's default size of a part.
const PART_BYTES: u64 = 128 << 20;

/// Flink's default age of a part.
const PART_AGE: Duration = Duration::from_secs(30 * 60);

/// Parts that a writer has open at most; then the oldest is completed.
const OPEN_PARTS_MAX: usize = 128;

/// A directory to write parts into.
pub(crate) struct Directory {
    table: Table,
    path: PathBuf,
    rolling: Rolling,
    commit: Arc<Commit>,
    job: Option<Arc<str>>,
}

/// When a part is complete.
#[derive(Clone, Copy, Debug)]
struct Rolling {
    bytes: u64,
    age: Duration,
}

impl Rolling {
    fn is_due(self, bytes: u64, age: Duration) -> bool {
        bytes > 0 && (bytes >= self.bytes || age >= self.age)
    }
}

impl Directory {
    pub(crate) fn new(spec: &WriteSpec) -> Result<Self, ConnectorError> {
        let table = spec.table.clone();
        let path = paths::local(required(&table, "path")?)?;
        let rolling = Rolling {
            bytes: bytes(&table, "sink.rolling-policy.file-size")?.unwrap_or(PART_BYTES),
            age: duration(&table, "sink.rolling-policy.rollover-interval")?.unwrap_or(PART_AGE),
        };
        let commit = Arc::new(Commit::new(&table)?);
        Ok(Directory { table, path, rolling, commit, job: spec.job.clone() })
    }

    fn staging(&self) -> Option<Staging<'_>> {
        let depth = self.table.partitioned_by.len();
        self.job.as_deref().map(|job| Staging { sink: &self.path, job, depth })
    }
}

impl Sink for Directory {
    fn writer(&self, worker: usize, _workers: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        fs::create_dir_all(&self.path).map_err(|e| failed("creating", &self.path, &e))?;
        self.commit.open();
        let names = PartNames::new(self.job.as_deref(), worker);
        let inherited = if worker == 0 { self.commit.partitions() } else { BTreeSet::new() };
        Ok(Box::new(PartWriter {
            encoder: encoder(&self.table, FormatRole::Value)?,
            encoded: Encoded::default(),
            partitioning: Partitioning::new(&self.table),
            commit: self.commit.clone(),
            path: self.path.clone(),
            rolling: self.rolling,
            names,
            parts: BTreeMap::new(),
            staging: self.job.is_some().then(|| ToStage::new(inherited)),
        }))
    }

    fn is_staged(&self) -> bool {
        true
    }

    fn commit(&self, staged: &[String]) -> Result<(), ConnectorError> {
        let Some(staging) = self.staging() else { return Ok(()) };
        staging.commit(&parse(staged)?)
    }

    fn recover(&self, staged: &[String]) -> Result<(), ConnectorError> {
        let Some(staging) = self.staging() else { return Ok(()) };
        let staged = parse(staged)?;
        staging.recover(&staged)?;
        let partitions = staged.into_iter().filter_map(|entry| match entry {
            Entry::Partition(partition) => Some(partition),
            Entry::Completed(_) | Entry::Open(_) => None,
        });
        self.commit.begin_anew(partitions);
        Ok(())
    }
}

fn parse(staged: &[String]) -> Result<Vec<Entry>, ConnectorError> {
    staged.iter().map(|text| Entry::parse(text)).collect()
}

/// What a writer has to tell the next checkpoint.
struct ToStage {
    completed: Vec<StagedPart>,
    /// Those that it has written to and those that it answers for, since the job began.
    partitions: BTreeSet<String>,
}

impl ToStage {
    fn new(partitions: BTreeSet<String>) -> Self {
        ToStage { completed: vec![], partitions }
    }
}

struct PartWriter {
    encoder: Box<dyn Encoder>,
    encoded: Encoded,
    partitioning: Partitioning,
    commit: Arc<Commit>,
    path: PathBuf,
    rolling: Rolling,
    names: PartNames,
    /// The open part of each partition.
    parts: BTreeMap<String, Part>,
    /// None if parts are shown as soon as they are complete.
    staging: Option<ToStage>,
}

impl PartWriter {
    fn part(&mut self, partition: String) -> Result<&mut Part, ConnectorError> {
        if !self.parts.contains_key(&partition) && self.parts.len() >= OPEN_PARTS_MAX {
            let oldest = self.parts.iter().min_by_key(|(_, part)| part.since);
            let oldest = oldest.map(|(key, _)| key.clone());
            if let Some(part) = oldest.and_then(|key| self.parts.remove(&key)) {
                self.complete(part)?;
            }
        }
        match self.parts.entry(partition) {
            Slot::Occupied(slot) => Ok(slot.into_mut()),
            Slot::Vacant(slot) => {
                if self.commit.wrote(slot.key())
                    && let Some(staging) = &mut self.staging
                {
                    staging.partitions.insert(slot.key().clone());
                }
                let part = Part::create(&self.path, slot.key().clone(), &self.names)?;
                Ok(slot.insert(part))
            }
        }
    }

    fn complete(&mut self, mut part: Part) -> Result<(), ConnectorError> {
        let Some(staging) = &mut self.staging else { return part.show() };
        part.sync()?;
        staging.completed.push(staged(&part));
        Ok(())
    }

    fn write_batch(&mut self, batch: &Batch) -> Result<(), ConnectorError> {
        for (partition, rows) in self.partitioning.split(batch)? {
            let mut encoded = std::mem::take(&mut self.encoded);
            encoded.clear();
            self.encoder.encode(&rows, &mut encoded).map_err(|bad| ConnectorError {
                what: format!("writing '{}'", self.path.display()),
                cause: bad.reason,
            })?;
            self.part(partition)?.write(&encoded)?;
            self.encoded = encoded;
        }
        Ok(())
    }

    /// Whether there is something that no checkpoint knows of.
    fn has_unsealed(&self) -> bool {
        let has_completed = self.staging.as_ref().is_some_and(|s| !s.completed.is_empty());
        has_completed || self.parts.values().any(Part::is_dirty)
    }
}

fn staged(part: &Part) -> StagedPart {
    let (partition, name) = (part.partition.clone(), part.name.clone());
    StagedPart { partition, name, bytes: part.bytes }
}

impl Writer for PartWriter {
    fn write(&mut self, _epoch: Epoch, rows: &[Batch]) -> Result<(), ConnectorError> {
        rows.iter().filter(|batch| !batch.is_empty()).try_for_each(|batch| self.write_batch(batch))
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        let rolling = self.rolling;
        let is_due = |_: &String, part: &mut Part| rolling.is_due(part.bytes, part.since.elapsed());
        let due: Vec<Part> = self.parts.extract_if(.., is_due).map(|(_, part)| part).collect();
        due.into_iter().try_for_each(|part| self.complete(part))
    }

    fn pending_bytes(&self) -> usize {
        0
    }

    fn seal(&mut self) -> Result<Staged, ConnectorError> {
        let Some(staging) = &mut self.staging else { return Ok(Staged::new()) };
        self.parts.values_mut().try_for_each(Part::sync)?;
        let completed = std::mem::take(&mut staging.completed);
        let completed = completed.into_iter().map(Entry::Completed);
        let open = self.parts.values().filter(|part| part.bytes > 0);
        let open = open.map(|part| Entry::Open(staged(part)));
        let partitions = staging.partitions.iter().cloned().map(Entry::Partition);
        completed.chain(open).chain(partitions).map(|entry| entry.text()).collect()
    }

    fn finish(&mut self) -> Result<(), ConnectorError> {
        if self.staging.is_some() && self.has_unsealed() {
            return Err(ConnectorError {
                what: format!("finishing '{}'", self.path.display()),
                cause: "rows were written after the last checkpoint".to_owned(),
            });
        }
        std::mem::take(&mut self.parts).into_values().try_for_each(Part::show)?;
        let mark = |partition: &str| directory(&self.path, partition);
        self.commit.finish(mark).map_err(|e| failed("marking partitions below", &self.path, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::open_sink;
    use crate::testing::{numbers, numbers_named, table, write_spec};
    use proptest::prelude::*;
    use std::path::Path;

    fn visible(dir: &Path) -> Vec<(String, String)> {
        let files = paths::input_files(dir).unwrap();
        let read = |f: paths::InputFile| {
            let name = f.path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&f.path).unwrap())
        };
        files.into_iter().map(read).collect()
    }

    fn sink(dir: &Path, more: &[(&str, &str)]) -> Box<dyn Sink> {
        let path = dir.to_str().unwrap();
        let mut options = vec![("connector", "filesystem"), ("path", path), ("format", "csv")];
        options.extend_from_slice(more);
        open_sink(&write_spec(table(&options))).unwrap()
    }

    #[test]
    fn a_part_is_hidden_until_it_is_complete_and_nothing_is_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("made/on/demand");
        for run in 0..2 {
            let sink = sink(&dir, &[]);
            let mut writer = sink.writer(3, 4).unwrap();
            writer.write(1, &[numbers(&[1, 2])]).unwrap();
            writer.flush().unwrap();
            assert_eq!(visible(&dir).len(), run);
            writer.finish().unwrap();
        }
        let text = "1,n1\n2,n2\n".to_owned();
        assert_eq!(visible(&dir), [("part-3-0".into(), text.clone()), ("part-3-1".into(), text)]);
    }

    #[test]
    fn a_writer_without_rows_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = sink(dir.path(), &[]).writer(0, 1).unwrap();
        writer.write(1, &[numbers(&[])]).unwrap();
        writer.finish().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_part_that_has_grown_enough_is_completed_at_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(dir.path(), &[("sink.rolling-policy.file-size", "4 b")]);
        let mut writer = sink.writer(0, 1).unwrap();
        for n in [1, 2] {
            writer.write(1, &[numbers(&[n])]).unwrap();
            writer.flush().unwrap();
        }
        let names: Vec<String> = visible(dir.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["part-0-0", "part-0-1"]);
        writer.finish().unwrap();
    }

    #[test]
    fn partitions_get_directories_and_are_marked_when_all_writers_are_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let kind = ("sink.partition-commit.policy.kind", "success-file");
        let mut table =
            table(&[("connector", "filesystem"), ("path", path), ("format", "csv"), kind]);
        table.partitioned_by = vec![1];
        let sink = open_sink(&write_spec(table)).unwrap();
        let mut writers = [sink.writer(0, 2).unwrap(), sink.writer(1, 2).unwrap()];
        writers[0].write(1, &[numbers(&[1, 2, 1])]).unwrap();
        writers[1].write(1, &[numbers(&[1])]).unwrap();
        let marker = dir.path().join("name=n1/_SUCCESS");
        writers[0].finish().unwrap();
        assert!(!marker.exists());
        writers[1].finish().unwrap();
        assert!(marker.exists() && dir.path().join("name=n2/_SUCCESS").exists());
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(read("name=n1/part-0-0"), "1\n1\n");
        assert_eq!(read("name=n1/part-1-0"), "1\n");
    }

    /// A sink of a job, rolling its parts at every chance.
    fn committed_sink(dir: &Path, partitioned_by: &[usize]) -> Box<dyn Sink> {
        let path = dir.to_str().unwrap();
        let mut table = table(&[
            ("connector", "filesystem"),
            ("path", path),
            ("format", "csv"),
            ("sink.rolling-policy.file-size", "20 b"),
            ("sink.partition-commit.policy.kind", "success-file"),
        ]);
        table.partitioned_by = partitioned_by.to_vec();
        open_sink(&WriteSpec { job: Some("5c0f-1".into()), ..write_spec(table) }).unwrap()
    }

    /// The numbers that a reader of the directory sees, in order.
    fn visible_numbers(dir: &Path) -> Vec<i64> {
        let lines = visible(dir).into_iter().map(|(_, text)| text);
        let number = |line: &str| line.split(',').next().unwrap().parse::<i64>().unwrap();
        let mut all: Vec<i64> =
            lines.flat_map(|text| text.lines().map(number).collect::<Vec<_>>()).collect();
        all.sort();
        all
    }

    fn hidden_files(dir: &Path) -> Vec<PathBuf> {
        let all = glob::glob(&format!("{}/**/.*", dir.display())).unwrap();
        all.map(Result::unwrap).collect()
    }

    /// How far a checkpoint comes before the process dies.
    #[derive(Clone, Copy, Debug)]
    enum Crash {
        BeforeSeal,
        /// Sealed, and the checkpoint that stands is the one before.
        Undecided,
        /// The checkpoint stands, and nothing was done about it.
        BeforeCommit,
        /// So many of the things staged were dealt with.
        InCommit(usize),
        AfterCommit,
    }

    fn crash() -> impl Strategy<Value = Crash> {
        prop_oneof![
            Just(Crash::BeforeSeal),
            Just(Crash::Undecided),
            Just(Crash::BeforeCommit),
            (0usize..6).prop_map(Crash::InCommit),
            Just(Crash::AfterCommit),
        ]
    }

    /// What one process does: how many workers it has, how many rows each writes before each
    /// checkpoint and before it dies, and when that is.
    type Life = (usize, Vec<Vec<usize>>, Crash, bool);

    fn life() -> impl Strategy<Value = Life> {
        let rows = prop::collection::vec(0usize..12, 3);
        (1usize..=3, prop::collection::vec(rows, 1..4), crash(), any::<bool>())
    }

    /// What the last checkpoint that stands has.
    #[derive(Default)]
    struct Checkpoint {
        staged: Vec<String>,
        numbers: Vec<i64>,
    }

    /// Lives one life on from a checkpoint, dies, and gives the checkpoint that stands then.
    fn live(dir: &Path, partitioned_by: &[usize], life: &Life, from: Checkpoint) -> Checkpoint {
        let (workers, rounds, crash, is_flushed_by_death) = life;
        let sink = committed_sink(dir, partitioned_by);
        sink.recover(&from.staged).unwrap();
        let mut stands = from;
        let mut writers: Vec<_> =
            (0..*workers).map(|worker| sink.writer(worker, *workers).unwrap()).collect();
        let mut next = stands.numbers.last().map_or(0, |last| last + 1);
        for (round, rows) in rounds.iter().enumerate() {
            let is_last = round + 1 == rounds.len();
            for (writer, &rows) in writers.iter_mut().zip(rows) {
                for _ in 0..rows {
                    // Names, and so partitions, are few.
                    let batch = numbers_named(&[(next, next % 3)]);
                    writer.write(1, &[batch]).unwrap();
                    writer.flush().unwrap();
                    next += 1;
                }
            }
            let seen = visible_numbers(dir);
            assert!(seen.iter().all(|n| stands.numbers.contains(n)), "{seen:?} before a commit");
            if is_last && matches!(crash, Crash::BeforeSeal) {
                break;
            }
            let staged: Vec<String> = writers.iter_mut().flat_map(|w| w.seal().unwrap()).collect();
            if is_last && matches!(crash, Crash::Undecided) {
                break;
            }
            let numbers = (0..next).collect();
            stands = Checkpoint { staged, numbers };
            match crash {
                Crash::BeforeCommit if is_last => break,
                Crash::InCommit(done) if is_last => {
                    let done = (*done).min(stands.staged.len());
                    sink.commit(&stands.staged[..done]).unwrap();
                }
                _ => {
                    sink.commit(&stands.staged).unwrap();
                    sink.commit(&stands.staged).unwrap();
                }
            }
        }
        // What is in a buffer when a process dies may or may not have reached the file.
        match is_flushed_by_death {
            true => drop(writers),
            false => std::mem::forget(writers),
        }
        stands
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn wherever_a_process_dies_a_recovery_shows_exactly_the_checkpoint_that_stands(
            lives in prop::collection::vec(life(), 1..4), by_name in any::<bool>(),
        ) {
            let temp = tempfile::tempdir().unwrap();
            let dir = temp.path().join("out");
            let partitioned_by: &[usize] = if by_name { &[1] } else { &[] };
            let mut stands = Checkpoint::default();
            for life in &lives {
                stands = live(&dir, partitioned_by, life, stands);
                // The next life recovers once more, as after one that died in its recovery.
                committed_sink(&dir, partitioned_by).recover(&stands.staged).unwrap();
                prop_assert_eq!(&visible_numbers(&dir), &stands.numbers);
                prop_assert_eq!(hidden_files(&dir), Vec::<PathBuf>::new());
            }
            let markers = || glob::glob(&format!("{}/*/_SUCCESS", dir.display())).unwrap().count();
            prop_assert_eq!(markers(), 0);
            let sink = committed_sink(&dir, partitioned_by);
            sink.recover(&stands.staged).unwrap();
            let mut writers = [sink.writer(0, 2).unwrap(), sink.writer(1, 2).unwrap()];
            let staged: Vec<String> = writers.iter_mut().flat_map(|w| w.seal().unwrap()).collect();
            sink.commit(&staged).unwrap();
            writers.iter_mut().for_each(|writer| writer.finish().unwrap());
            prop_assert_eq!(&visible_numbers(&dir), &stands.numbers);
            prop_assert_eq!(markers(), if by_name { stands.numbers.len().min(3) } else { 0 });
        }
    }

    #[test]
    fn a_job_that_died_while_finishing_is_completed_by_a_recovery() {
        let temp = tempfile::tempdir().unwrap();
        let sink = committed_sink(temp.path(), &[]);
        let mut writers = [sink.writer(0, 2).unwrap(), sink.writer(1, 2).unwrap()];
        let mut staged = vec![];
        for (writer, number) in writers.iter_mut().zip([1, 2]) {
            writer.write(1, &[numbers(&[number])]).unwrap();
            staged.extend(writer.seal().unwrap());
        }
        sink.commit(&staged).unwrap();
        assert_eq!(visible_numbers(temp.path()), [0i64; 0], "both parts are open");
        writers[0].finish().unwrap();
        assert_eq!(visible_numbers(temp.path()), [1]);
        drop(writers);
        committed_sink(temp.path(), &[]).recover(&staged).unwrap();
        assert_eq!(visible_numbers(temp.path()), [1, 2]);
    }

    #[test]
    fn what_a_process_writes_that_was_thought_dead_is_not_seen() {
        let temp = tempfile::tempdir().unwrap();
        let mut ghost = committed_sink(temp.path(), &[]).writer(0, 1).unwrap();
        ghost.write(1, &[numbers(&[1])]).unwrap();
        let staged = ghost.seal().unwrap();
        committed_sink(temp.path(), &[]).recover(&staged).unwrap();
        assert_eq!(visible_numbers(temp.path()), [1]);
        ghost.write(2, &[numbers(&[2])]).unwrap();
        let _ = ghost.seal();
        assert_eq!(visible_numbers(temp.path()), [1]);
    }

    #[test]
    fn rows_that_no_checkpoint_has_are_not_shown_by_finishing() {
        let temp = tempfile::tempdir().unwrap();
        let mut writer = committed_sink(temp.path(), &[]).writer(0, 1).unwrap();
        writer.write(1, &[numbers(&[1])]).unwrap();
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("after the last checkpoint"), "{error}");
        assert_eq!(visible_numbers(temp.path()), [0i64; 0]);
    }

    #[test]
    fn a_recovery_leaves_the_hidden_files_of_others_alone() {
        let temp = tempfile::tempdir().unwrap();
        let mut other = sink(temp.path(), &[]).writer(0, 1).unwrap();
        other.write(1, &[numbers(&[1])]).unwrap();
        let mut ours = committed_sink(temp.path(), &[]).writer(0, 1).unwrap();
        ours.write(1, &[numbers(&[2])]).unwrap();
        assert_eq!(hidden_files(temp.path()).len(), 2);
        committed_sink(temp.path(), &[]).recover(&[]).unwrap();
        assert_eq!(hidden_files(temp.path()).len(), 1);
        other.finish().unwrap();
        assert_eq!(visible_numbers(temp.path()), [1]);
    }

    #[test]
    fn a_staged_part_that_is_gone_or_damaged_is_an_error_that_names_it() {
        let temp = tempfile::tempdir().unwrap();
        let sink = committed_sink(temp.path(), &[]);
        let mut writer = sink.writer(0, 1).unwrap();
        writer.write(1, &[numbers(&[1, 2, 3, 4, 5])]).unwrap();
        writer.flush().unwrap();
        let staged = writer.seal().unwrap();
        let hidden = hidden_files(temp.path()).remove(0);
        let error = |result: Result<(), ConnectorError>| result.unwrap_err().to_string();

        fs::write(&hidden, "1,").unwrap();
        let damaged = error(sink.recover(&staged));
        assert!(damaged.contains("-0-0'") && damaged.contains("damaged"), "{damaged}");
        fs::remove_file(&hidden).unwrap();
        let gone = error(sink.commit(&staged));
        assert!(gone.contains("-0-0'") && gone.contains("neither"), "{gone}");
    }
}
