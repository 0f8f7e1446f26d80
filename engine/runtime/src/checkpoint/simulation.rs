//! The protocol in a simulated world, in which each single call to the store or to the outputs
//! fails, is done though it seems to fail, is done twice, is torn, or is the last thing that its
//! process does; and in which a process thought dead goes on later.
//!
//! The job is the simplest that can be wrong: it copies the numbers 0, 1, 2 … to its output. After
//! any schedule, once nothing fails any more, the visible output must be exactly those numbers,
//! each once, in order; or the job must refuse to go on, where a torn write left nothing to go on
//! from. A schedule is made of a seed, so one that fails is a test case.

use super::decision::Visibility;
use super::manifest::{FORMAT, Manifest, ObjectRef, SinkState, SourceState};
use super::protocol::{CheckpointError, Errand, Outputs, Protocol, Recovered, Runner};
use super::store::{Created, Name, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tidemill_connectors::source::ConnectorError;

/// Schedules for each way of making output visible, times `TIDEMILL_TEST_SCALE`.
const SCHEDULES: u64 = 40_000;
/// Numbers that are to be copied.
const NUMBERS: i64 = 24;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// How the job's output becomes visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transaction,
    Staged,
    Both,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    /// It is not done, and says so.
    Refused,
    /// It is done, and its answer is lost.
    Unanswered,
    /// It is done twice.
    Repeated,
    /// Its process dies before it.
    DiesBefore,
    /// Its process dies after it.
    DiesAfter,
    /// Its process dies in the midst of it.
    Torn,
}

/// Everything that outlives processes.
struct World {
    chance: Chance,
    kind: Kind,
    is_calm: bool,
    objects: BTreeMap<Name, Vec<u8>>,
    /// Which process holds the transaction.
    holder: u64,
    open: Vec<i64>,
    committed: Vec<i64>,
    marker: Option<u64>,
    /// Files by name: numbers, and whether they are visible.
    files: BTreeMap<String, (Vec<i64>, bool)>,
    dead: Vec<u64>,
}

impl World {
    fn fate(&mut self, process: u64) -> Fate {
        if self.dead.contains(&process) {
            return Fate::DiesBefore;
        }
        if self.is_calm || !self.chance.one_in(12) {
            return Fate::Done;
        }
        let fates = [
            Fate::Refused,
            Fate::Unanswered,
            Fate::Repeated,
            Fate::DiesBefore,
            Fate::DiesAfter,
            Fate::Torn,
        ];
        let fate = fates[self.chance.below(fates.len() as u64) as usize];
        if matches!(fate, Fate::DiesBefore | Fate::DiesAfter | Fate::Torn) {
            self.dead.push(process);
        }
        fate
    }
}

/// A process's hand on the world.
#[derive(Clone)]
struct Hand {
    process: u64,
    world: Arc<Mutex<World>>,
}

struct Lost;

impl Hand {
    /// Does `call` as fate has it; `torn` is what is left of it if it is torn.
    fn call<R>(
        &self,
        mut call: impl FnMut(&mut World) -> R,
        torn: impl FnOnce(&mut World),
    ) -> Result<R, Lost> {
        let mut world = self.world.lock().unwrap();
        match world.fate(self.process) {
            Fate::Done => Ok(call(&mut world)),
            Fate::Refused | Fate::DiesBefore => Err(Lost),
            Fate::Unanswered | Fate::DiesAfter => {
                call(&mut world);
                Err(Lost)
            }
            Fate::Repeated => {
                call(&mut world);
                Ok(call(&mut world))
            }
            Fate::Torn => {
                torn(&mut world);
                Err(Lost)
            }
        }
    }

    fn connector_error(_: Lost) -> ConnectorError {
        ConnectorError { what: "simulated".to_owned(), cause: "fate".to_owned() }
    }

    /// A call that only the holder of the transaction may make.
    fn as_holder<R>(&self, call: impl FnMut(&mut World) -> R) -> Result<R, ConnectorError> {
        let fenced = || ConnectorError { what: "simulated".into(), cause: "fenced".into() };
        let mut call = call;
        let done = self.call(|world| (world.holder == self.process).then(|| call(world)), |_| ());
        done.map_err(Hand::connector_error)?.ok_or_else(fenced)
    }

    fn has_transaction(&self) -> bool {
        self.world.lock().unwrap().kind != Kind::Staged
    }

    fn write(&self, numbers: &[i64]) -> Result<(), ConnectorError> {
        if !self.has_transaction() {
            return Ok(());
        }
        // A record that is sent twice is told from a new one by its sequence number.
        self.as_holder(|world| {
            let is_new = |number: &&i64| !world.open.contains(number);
            let new: Vec<i64> = numbers.iter().filter(is_new).copied().collect();
            world.open.extend(new);
        })
    }

    /// Writes a hidden file that a checkpoint may publish.
    fn stage(&self, file: &str, numbers: &[i64]) -> Result<(), ConnectorError> {
        let staged = (numbers.to_vec(), false);
        let half = (numbers[..numbers.len() / 2].to_vec(), false);
        let done = self.call(
            |world| drop(world.files.insert(file.to_owned(), staged.clone())),
            |world| drop(world.files.insert(file.to_owned(), half)),
        );
        done.map_err(Hand::connector_error)
    }
}

impl Store for Hand {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let half = bytes[..bytes.len() / 2].to_vec();
        let done = self.call(
            |world| drop(world.objects.insert(name.to_owned(), bytes.to_vec())),
            |world| drop(world.objects.insert(name.to_owned(), half)),
        );
        done.map_err(|_| lost(name))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let half = bytes[..bytes.len() / 2].to_vec();
        let create = |world: &mut World, bytes: Vec<u8>| {
            if world.objects.contains_key(name) {
                return Created::Existed;
            }
            world.objects.insert(name.to_owned(), bytes);
            Created::New
        };
        let done =
            self.call(|world| create(world, bytes.to_vec()), |world| _ = create(world, half));
        done.map_err(|_| lost(name))
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.call(|world| world.objects.get(name).cloned(), |_| ()).map_err(|_| lost(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<Name>, StoreError> {
        let prefix = format!("{folder}/");
        let names = |world: &mut World| {
            let names = world.objects.keys().filter(|name| name.starts_with(&prefix));
            names.cloned().collect()
        };
        self.call(names, |_| ()).map_err(|_| lost(folder))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.call(|world| drop(world.objects.remove(name)), |_| ()).map_err(|_| lost(name))
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }
}

fn lost(name: &str) -> StoreError {
    StoreError {
        doing: "doing something with",
        name: name.to_owned(),
        place: "simulated".to_owned(),
        problem: "fate".to_owned(),
    }
}

impl Outputs for Hand {
    fn visibility(&self, marker: Option<u64>) -> Visibility {
        match self.has_transaction() {
            true => Visibility::Transaction(marker),
            false => Visibility::Staged,
        }
    }

    fn transactions(&self) -> Vec<String> {
        if self.has_transaction() { vec!["job".to_owned()] } else { vec![] }
    }

    fn recover(&self) -> Result<Option<u64>, ConnectorError> {
        if !self.has_transaction() {
            return Ok(None);
        }
        let recover = |world: &mut World| {
            world.holder = self.process;
            world.open.clear();
            world.marker
        };
        self.call(recover, |_| ()).map_err(Hand::connector_error)
    }

    fn flush(&self) -> Result<(), ConnectorError> {
        if self.has_transaction() { self.as_holder(|_| ()) } else { Ok(()) }
    }

    fn commit(&self, checkpoint: u64) -> Result<(), ConnectorError> {
        if !self.has_transaction() {
            return Ok(());
        }
        self.as_holder(|world| {
            let rows = std::mem::take(&mut world.open);
            world.committed.extend(rows);
            world.marker = Some(checkpoint);
        })
    }

    fn publish(&self, staged: &[SinkState]) -> Result<(), ConnectorError> {
        for file in staged.iter().flat_map(|sink| &sink.staged) {
            let publish = |world: &mut World| match world.files.get_mut(file) {
                Some((_, is_visible)) => *is_visible = true,
                None => panic!("{file} is to be published and is not there"),
            };
            self.call(publish, |_| ()).map_err(Hand::connector_error)?;
        }
        Ok(())
    }

    fn roll_back(&self, staged: &[SinkState]) -> Result<(), ConnectorError> {
        self.publish(staged)?;
        self.call(|world| world.files.retain(|_, file| file.1), |_| ())
            .map_err(Hand::connector_error)
    }
}

/// Runs errands one after the other, in an order that chance decides.
impl Runner for Hand {
    fn run(&self, mut errands: Vec<Errand<'_>>) -> Result<(), CheckpointError> {
        let mut outcome = Ok(());
        while !errands.is_empty() {
            let next = self.world.lock().unwrap().chance.below(errands.len() as u64);
            outcome = outcome.and(errands.swap_remove(next as usize)());
        }
        outcome
    }
}

/// A checkpoint whose state has not been uploaded.
struct Taken {
    manifest: Manifest,
    state: Vec<u8>,
}

/// A process that runs the job.
struct Process {
    hand: Hand,
    protocol: Protocol,
    next: i64,
    number: u64,
    generation: u64,
}

/// Why a process ended.
#[derive(Debug)]
enum Ended {
    /// It failed or died: another one may be started.
    Failed,
    /// It refused to go on.
    Refused(String),
}

impl From<CheckpointError> for Ended {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Refused(refusal) => Ended::Refused(refusal.to_string()),
            _ => Ended::Failed,
        }
    }
}

impl Process {
    fn start(process: u64, world: &Arc<Mutex<World>>) -> Result<Process, Ended> {
        let hand = Hand { process, world: world.clone() };
        let (store, outputs) = (Arc::new(hand.clone()), Arc::new(hand.clone()));
        let mut protocol = Protocol::new(store, outputs, 2).with_runner(hand.clone());
        let Recovered { manifest, last_number, generation, .. } = protocol.recover(0)?;
        let next = manifest.as_ref().map_or(0, |manifest| manifest.sources[0].positions["numbers"]);
        if let Some(manifest) = &manifest {
            assert_eq!(manifest.epoch, next as u64, "state and position are of one moment");
        }
        Ok(Process { hand, protocol, next, number: last_number, generation })
    }

    /// Takes a checkpoint.
    fn take(&mut self, Taken { manifest, state }: &Taken) -> Result<(), CheckpointError> {
        let upload = || Ok(self.hand.put(&manifest.objects[0].name, state)?);
        self.protocol.commit(manifest, vec![Box::new(upload)])?;
        self.protocol.conclude(manifest.number)
    }

    /// Copies some numbers and hands over the checkpoint that holds them.
    fn copy(&mut self, count: i64) -> Result<Taken, Ended> {
        let numbers: Vec<i64> = (self.next..(self.next + count).min(NUMBERS)).collect();
        self.number += 1;
        self.next += numbers.len() as i64;
        let failed = |_| Ended::Failed;
        self.hand.write(&numbers).map_err(failed)?;
        let kind = self.hand.world.lock().unwrap().kind;
        let mut staged = Vec::new();
        if kind != Kind::Transaction {
            let file = format!("part-{}-{}", self.hand.process, self.number);
            self.hand.stage(&file, &numbers).map_err(failed)?;
            staged.push(file);
        }
        let name = format!("state/{:012}-{}", self.number, self.hand.process);
        let bytes = super::object::encode(&BTreeMap::new()).expect("nothing is easy to write");
        let object: ObjectRef = super::chain::object_ref(name, &bytes, self.number, self.number);
        let source = SourceState {
            positions: BTreeMap::from([("numbers".to_owned(), self.next)]),
            ..SourceState::default()
        };
        let manifest = Manifest {
            format: FORMAT,
            job: "job".to_owned(),
            number: self.number,
            generation: self.generation,
            epoch: self.next as u64,
            workers: 1,
            created_ms: 0,
            is_finished: false,
            transactions: self.hand.transactions(),
            sources: vec![source],
            steps: Vec::new(),
            sinks: vec![SinkState { staged, ..SinkState::default() }],
            objects: vec![object],
            dead_letters: BTreeMap::new(),
        };
        Ok(Taken { manifest, state: bytes })
    }
}

/// What a schedule came to.
#[derive(Debug, Default)]
struct Tally {
    finished: u64,
    refused: u64,
    deaths: u64,
    ghosts: u64,
}

fn run(seed: u64, kind: Kind, tally: &mut Tally) {
    let world = Arc::new(Mutex::new(World {
        chance: Chance(seed),
        kind,
        is_calm: false,
        objects: BTreeMap::new(),
        holder: 0,
        open: Vec::new(),
        committed: Vec::new(),
        marker: None,
        files: BTreeMap::new(),
        dead: Vec::new(),
    }));
    let mut ghost: Option<(Process, Taken)> = None;
    for process in 1..60 {
        world.lock().unwrap().is_calm = process > 40;
        let outcome = live(process, &world, &mut ghost, tally);
        match outcome {
            Ok(()) => {
                tally.finished += 1;
                return check(&world.lock().unwrap(), seed);
            }
            Err(Ended::Failed) => tally.deaths += 1,
            Err(Ended::Refused(why)) => {
                // Only a write that was torn leaves nothing to go on from.
                assert!(why.contains("damaged"), "seed {seed} {kind:?}: {why}");
                tally.refused += 1;
                return;
            }
        }
    }
    panic!("seed {seed} {kind:?}: the job never finished");
}

/// One process, from its start to its end or to the end of the job.
fn live(
    process: u64,
    world: &Arc<Mutex<World>>,
    ghost: &mut Option<(Process, Taken)>,
    tally: &mut Tally,
) -> Result<(), Ended> {
    let mut job = Process::start(process, world)?;
    while job.next < NUMBERS {
        let count = 1 + world.lock().unwrap().chance.below(5) as i64;
        let taken = job.copy(count)?;
        let draw = |bound| {
            let mut world = world.lock().unwrap();
            !world.is_calm && world.chance.one_in(bound)
        };
        if draw(4)
            && let Some((mut before, taken)) = ghost.take()
        {
            // A process thought dead goes on, and whatever it does must not matter.
            tally.ghosts += 1;
            let _ = before.take(&taken);
        }
        if draw(10) {
            *ghost = Some((job, taken));
            return Err(Ended::Failed);
        }
        job.take(&taken)?;
    }
    Ok(())
}

fn check(world: &World, seed: u64) {
    let expected: Vec<i64> = (0..NUMBERS).collect();
    let kind = world.kind;
    if kind != Kind::Staged {
        assert_eq!(world.committed, expected, "seed {seed} {kind:?}");
    }
    if kind != Kind::Transaction {
        let visible = world.files.values().filter(|(_, is_visible)| *is_visible);
        let mut numbers: Vec<i64> = visible.flat_map(|(numbers, _)| numbers.clone()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, expected, "seed {seed} {kind:?}");
    }
    let kept = world.objects.keys().filter(|name| name.starts_with("manifests/")).count();
    assert!(kept <= 60, "old checkpoints are deleted");
}

#[test]
fn whatever_fails_and_whenever_each_number_is_copied_once() {
    let scale = std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|scale| scale.parse().ok());
    let schedules = SCHEDULES * scale.unwrap_or(1);
    for kind in [Kind::Transaction, Kind::Staged, Kind::Both] {
        let mut tally = Tally::default();
        for seed in 0..schedules {
            run(seed, kind, &mut tally);
        }
        println!("{kind:?}: {tally:?}");
        assert!(tally.finished > schedules / 2 && tally.deaths > schedules, "{tally:?}");
        assert!(tally.ghosts > schedules / 20, "{tally:?}");
    }
}
