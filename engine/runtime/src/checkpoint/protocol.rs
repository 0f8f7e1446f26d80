//! [`Protocol`]: the order of steps by which a checkpoint comes to stand, and by which a job goes
//! on from one.
//!
//! ```text
//! commit    state uploaded, output flushed ─► manifest n created ─► transaction n committed with
//!           its marker ─► staged output published ─► n noted as committed ─► old ones deleted
//!
//!           where there is a marker, the first two at once: whoever finds a manifest without its
//!           state learns from the marker that nothing of it is visible, and gives it up
//!
//! recover   transactions of whoever came before ended, marker read ─► next number fenced
//!           ─► decide (see `decision`) ─► what was given up is noted ─► the commit of what stands
//!           is done once more, and what was staged beyond it is removed
//! ```
//!
//! The invariants, whatever dies between or within any two steps:
//! * output becomes visible only after the manifest that it belongs to was created;
//! * manifest n+1 is created only after n is decided: committed, or noted as given up;
//! * of two processes that take themselves for the job, only one can do either: the transaction
//!   shuts the older one out; a manifest is never created twice, nor counts behind a later one;
//!   and whoever starts takes the number that an older one would use next, before it removes
//!   anything that one had staged.
//!
//! Everything here blocks, and knows its surroundings by two traits, so that a test can put a
//! simulated world around it in which each single call fails, is delayed or dies halfway.

use super::decision::{self, Condition, Found, Refusal, Resume, Visibility};
use super::manifest::{Manifest, ManifestError, ObjectRef, SinkState};
use super::object::{self, ObjectError, Snapshots};
use super::store::{Created, Store, StoreError};
use crate::unique::unique_name;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;
use tidemill_connectors::source::ConnectorError;

/// Everything outside that a checkpoint makes visible.
pub(crate) trait Outputs: Send + Sync {
    /// How that happens; `marker` is what [`Outputs::recover`] found.
    fn visibility(&self, marker: Option<u64>) -> Visibility;

    /// The names of the transactions, if there are any.
    fn transactions(&self) -> Vec<String>;

    /// Shuts out whoever came before, and says which checkpoint its transaction made visible
    /// last.
    fn recover(&self) -> Result<Option<u64>, ConnectorError>;

    /// Waits until all output written so far has arrived outside.
    fn flush(&self) -> Result<(), ConnectorError>;

    /// Makes it visible, with the checkpoint's number as the marker.
    fn commit(&self, checkpoint: u64) -> Result<(), ConnectorError>;

    /// Publishes what was staged. May be asked for the same again.
    fn publish(&self, staged: &[SinkState]) -> Result<(), ConnectorError>;

    /// Publishes what was staged for the checkpoint that the job goes on from, and takes back
    /// what was written beyond it.
    fn roll_back(&self, staged: &[SinkState]) -> Result<(), ConnectorError>;
}

/// A checkpoint could not be taken, or none could be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sink failed.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// State can't be written or read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The job can't go on.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody else works on the same checkpoints.
    #[error(
        "checkpoint {number} in {place} was made by another process: two run this job, and this \
         one ends"
    )]
    Zombie {
        /// The number that both wanted.
        number: u64,
        /// Where.
        place: String,
    },
    /// A checkpoint that is needed is not as it was written.
    #[error("checkpoint {number}: {problem}")]
    Damaged {
        /// Its number.
        number: u64,
        /// What is wrong.
        problem: String,
    },
    /// A checkpoint was made by a newer binary.
    #[error("checkpoint {number}: {error}")]
    TooNew {
        /// Its number.
        number: u64,
        /// What it says of itself.
        error: ManifestError,
    },
}

/// What a job goes on with.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The checkpoint that it goes on from; none at the beginning.
    pub manifest: Option<Manifest>,
    /// Its state: for each operator the snapshots to restore, oldest first.
    pub state: BTreeMap<u64, Vec<tidemill_operators::Snapshot>>,
    /// The number of the last checkpoint that was ever begun.
    pub last_number: u64,
    /// Which start of the job this is, counting from 1.
    pub generation: u64,
    /// What a person should be told.
    pub notes: Vec<String>,
}

/// Something that a checkpoint waits for.
pub(super) type Errand<'a> = Box<dyn FnOnce() -> Result<(), CheckpointError> + Send + 'a>;

/// Who runs errands that wait for a disk or a broker, in any order.
pub(super) trait Runner: Send + Sync {
    /// Runs all of them. If some fail, it says of one of them how.
    fn run(&self, errands: Vec<Errand<'_>>) -> Result<(), CheckpointError>;
}

/// Runs all errands at once, each on a thread of its own.
struct Threads;

impl Runner for Threads {
    fn run(&self, errands: Vec<Errand<'_>>) -> Result<(), CheckpointError> {
        std::thread::scope(|threads| {
            let running: Vec<_> = errands.into_iter().map(|errand| threads.spawn(errand)).collect();
            // After the first failure the scope waits for the others.
            running
                .into_iter()
                .try_for_each(|errand| errand.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }
}

/// The protocol, bound to a store and to the job's output.
pub(crate) struct Protocol {
    store: Arc<dyn Store>,
    outputs: Arc<dyn Outputs>,
    runner: Box<dyn Runner>,
    /// Whether a marker was ever committed, and was not lost when the job was started.
    has_marker: bool,
    /// How many committed checkpoints are kept.
    retained: usize,
    /// Checkpoints in the store, and the objects that each names.
    known: BTreeMap<u64, Known>,
    /// Objects of expired checkpoints that are needed still.
    shared: BTreeSet<String>,
}

#[derive(Debug)]
struct Known {
    found: Found,
    objects: Vec<String>,
}

/// What begins that which stands in the place of a manifest whose number is not to be used: by
/// whoever comes after the process that would have used it. Its maker's name follows, so that of
/// two that start at once each knows its own.
const FENCE: &[u8] = b"fence";

/// Whether a number was taken so that nobody else uses it.
pub(super) fn is_fence(bytes: &[u8]) -> bool {
    bytes.starts_with(FENCE)
}

/// What the note says that a checkpoint's output is visible.
pub(super) const COMMITTED: &[u8] = b"committed\n";

pub(super) fn manifest_name(number: u64) -> String {
    format!("manifests/{number:012}")
}

pub(super) fn note_name(note: &str, number: u64) -> String {
    format!("{note}/{number:012}")
}

/// A number that was taken so that nobody else uses it.
fn fenced(number: u64) -> Found {
    Found { number, condition: Condition::Damaged, is_committed: false, is_aborted: true }
}

pub(super) fn number_in(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.parse().ok()
}

impl Protocol {
    pub(crate) fn new(store: Arc<dyn Store>, outputs: Arc<dyn Outputs>, retained: usize) -> Self {
        Protocol {
            store,
            outputs,
            runner: Box::new(Threads),
            has_marker: false,
            retained,
            known: BTreeMap::new(),
            shared: BTreeSet::new(),
        }
    }

    /// The same with somebody else who runs errands.
    #[cfg(test)]
    pub(super) fn with_runner(self, runner: impl Runner + 'static) -> Self {
        Protocol { runner: Box::new(runner), ..self }
    }

    /// The store that checkpoints are in.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Finds what to go on from and finishes its commit.
    pub(crate) fn recover(&mut self, now_ms: i64) -> Result<Recovered, CheckpointError> {
        let marker = self.outputs.recover()?;
        self.has_marker = marker.is_some();
        let (mut manifests, fence) = self.fence(now_ms)?;
        let mut recovered = Recovered { last_number: fence, ..Recovered::default() };
        let generations = manifests.values().map(|manifest| manifest.generation);
        recovered.generation = generations.max().unwrap_or(0) + 1;
        let visibility = self.outputs.visibility(marker);
        loop {
            let found: Vec<Found> = self.known.values().map(|known| known.found).collect();
            let (number, recommit, given_up) = match decision::resume(&found, visibility) {
                Resume::Refuse(refusal) => return Err(refusal.into()),
                Resume::Beginning { given_up } => (0, false, given_up),
                Resume::From { number, recommit, given_up } => (number, recommit, given_up),
            };
            if let Some(manifest) = manifests.get(&number) {
                match self.load(manifest)? {
                    Ok(state) => recovered.state = state,
                    Err(problem) => {
                        let note = format!("checkpoint {number} can't be used: {problem}");
                        recovered.notes.push(note);
                        if let Some(known) = self.known.get_mut(&number) {
                            known.found.condition = Condition::Damaged;
                        }
                        continue;
                    }
                }
            }
            recovered.manifest = manifests.remove(&number);
            self.go_on(recovered.manifest.as_ref(), recommit, &given_up)?;
            for number in given_up {
                let note = format!("checkpoint {number} never became visible and is given up");
                recovered.notes.push(note);
            }
            self.sweep()?;
            return Ok(recovered);
        }
    }

    /// Does what was decided, in the order that keeps the decision the same if it is cut short.
    fn go_on(
        &mut self,
        manifest: Option<&Manifest>,
        recommit: bool,
        given_up: &[u64],
    ) -> Result<(), CheckpointError> {
        for &number in given_up {
            self.store.put(&note_name("aborted", number), b"aborted\n")?;
            if let Some(known) = self.known.get_mut(&number) {
                known.found.is_aborted = true;
            }
        }
        let staged = manifest.map_or(&[][..], |manifest| &manifest.sinks);
        self.outputs.roll_back(staged)?;
        if let Some(manifest) = manifest.filter(|_| recommit) {
            self.note_committed(manifest.number)?;
        }
        Ok(())
    }

    /// Reads what there is, and takes the next number, so that no process that was started before
    /// can add to it. That number is given as well.
    fn fence(&mut self, now_ms: i64) -> Result<(BTreeMap<u64, Manifest>, u64), CheckpointError> {
        loop {
            let manifests = self.find(now_ms)?;
            let number = self.known.keys().next_back().copied().unwrap_or(0) + 1;
            let fence = [FENCE, b" ", unique_name().as_bytes(), b"\n"].concat();
            if self.store.create(&manifest_name(number), &fence)? == Created::New {
                let found = fenced(number);
                self.known.insert(number, Known { found, objects: Vec::new() });
                return Ok((manifests, number));
            }
        }
    }

    /// Reads all manifests and notes.
    fn find(&mut self, now_ms: i64) -> Result<BTreeMap<u64, Manifest>, CheckpointError> {
        let numbers = |folder: &str| -> Result<BTreeSet<u64>, StoreError> {
            let names = self.store.list(folder)?;
            Ok(names.iter().filter_map(|name| number_in(name)).collect())
        };
        let (committed, aborted) = (numbers("committed")?, numbers("aborted")?);
        let mut manifests = BTreeMap::new();
        for number in numbers("manifests")? {
            let bytes = self.store.get(&manifest_name(number))?.unwrap_or_default();
            if is_fence(&bytes) {
                self.known.insert(number, Known { found: fenced(number), objects: Vec::new() });
                continue;
            }
            let (condition, objects) = match Manifest::decode(&bytes) {
                Ok(manifest) => {
                    let age_ms = now_ms.saturating_sub(manifest.created_ms).max(0);
                    let age = Duration::from_millis(age_ms.unsigned_abs());
                    let has_transaction = !manifest.transactions.is_empty();
                    let names = manifest.objects.iter().map(|object| object.name.clone());
                    let names = names.collect();
                    manifests.insert(number, manifest);
                    (Condition::Intact { has_transaction, age }, names)
                }
                Err(error @ ManifestError::TooNew { .. }) => {
                    return Err(CheckpointError::TooNew { number, error });
                }
                Err(ManifestError::Damaged(_)) => (Condition::Damaged, Vec::new()),
            };
            let found = Found {
                number,
                condition,
                is_committed: committed.contains(&number),
                is_aborted: aborted.contains(&number),
            };
            self.known.insert(number, Known { found, objects });
        }
        Ok(manifests)
    }

    /// Reads and checks all state of a checkpoint. The inner error says what is damaged.
    #[allow(clippy::type_complexity)]
    fn load(
        &self,
        manifest: &Manifest,
    ) -> Result<Result<BTreeMap<u64, Vec<tidemill_operators::Snapshot>>, String>, StoreError> {
        let mut state: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for object in &manifest.objects {
            match read_object(self.store.as_ref(), object)? {
                Ok(parts) => {
                    for (operator, snapshot) in parts.into_iter().flatten() {
                        state.entry(operator).or_default().push(snapshot);
                    }
                }
                Err(problem) => return Ok(Err(problem)),
            }
        }
        Ok(Ok(state))
    }

    /// Takes a checkpoint: afterwards it stands, and its output is visible. `errands` bring out what
    /// it consists of beside its manifest and output. [`Protocol::conclude`] is to follow, and
    /// nobody needs to wait for that.
    ///
    /// After an error nobody knows whether it stands: only [`Protocol::recover`] tells.
    pub(crate) fn commit(
        &mut self,
        manifest: &Manifest,
        errands: Vec<Errand<'_>>,
    ) -> Result<(), CheckpointError> {
        let number = manifest.number;
        let created = self.bring_out(manifest, errands)?;
        if created == Created::Existed || self.is_outrun(number)? {
            return Err(CheckpointError::Zombie { number, place: self.store.describe() });
        }
        let has_transaction = !manifest.transactions.is_empty();
        let condition = Condition::Intact { has_transaction, age: Duration::ZERO };
        let found = Found { number, condition, is_committed: false, is_aborted: false };
        let objects = manifest.objects.iter().map(|object| object.name.clone()).collect();
        self.known.insert(number, Known { found, objects });
        slow_down("manifest");
        self.outputs.commit(number)?;
        self.has_marker = has_transaction;
        slow_down("commit");
        Ok(self.outputs.publish(&manifest.sinks)?)
    }

    /// Creates a manifest, and all that it stands for: before it, or at once with it if the marker
    /// tells whoever comes after that this one is not visible.
    fn bring_out(
        &self,
        manifest: &Manifest,
        errands: Vec<Errand<'_>>,
    ) -> Result<Created, CheckpointError> {
        let (name, bytes) = (manifest_name(manifest.number), manifest.encode());
        let mut created = Created::Existed;
        let mut all: Vec<Errand<'_>> = errands;
        all.push(Box::new(|| Ok(self.outputs.flush()?)));
        if self.has_marker {
            all.push(Box::new(|| {
                created = self.store.claim(&name, &bytes)?;
                Ok(())
            }));
            self.runner.run(all)?;
            return Ok(created);
        }
        self.runner.run(all)?;
        Ok(self.store.create(&name, &bytes)?)
    }

    /// Whether there is a later manifest. What stood in our number's place may have been deleted
    /// since, but whoever put it there has a later one.
    fn is_outrun(&self, number: u64) -> Result<bool, StoreError> {
        let manifests = self.store.list("manifests")?;
        Ok(manifests.iter().filter_map(|name| number_in(name)).any(|later| later > number))
    }

    fn note_committed(&mut self, number: u64) -> Result<(), StoreError> {
        self.store.put(&note_name("committed", number), COMMITTED)?;
        if let Some(known) = self.known.get_mut(&number) {
            known.found.is_committed = true;
        }
        Ok(())
    }

    /// Notes that a checkpoint stands, and forgets those that are no longer retained.
    pub(crate) fn conclude(&mut self, number: u64) -> Result<(), CheckpointError> {
        self.note_committed(number)?;
        self.forget_expired();
        Ok(())
    }

    /// Deletes checkpoints that are no longer retained, and the objects that only they named.
    /// What can't be deleted now is found again at the next start.
    fn forget_expired(&mut self) {
        let found: Vec<Found> = self.known.values().map(|known| known.found).collect();
        for number in decision::expired(&found, self.retained) {
            let Some(known) = self.known.remove(&number) else { continue };
            self.shared.extend(known.objects);
            // The manifest goes first: what it names must not go while it stands.
            let _ = self.store.delete(&manifest_name(number));
            let _ = self.store.delete(&note_name("committed", number));
            let _ = self.store.delete(&note_name("aborted", number));
        }
        let live: BTreeSet<&String> =
            self.known.values().flat_map(|known| &known.objects).collect();
        let unused: Vec<String> =
            self.shared.iter().filter(|name| !live.contains(name)).cloned().collect();
        for name in &unused {
            let _ = self.store.delete(name);
        }
        self.shared.clear();
    }

    /// Deletes objects that no checkpoint names: what processes that died had uploaded.
    fn sweep(&self) -> Result<(), StoreError> {
        let live: BTreeSet<&String> =
            self.known.values().flat_map(|known| &known.objects).collect();
        let names = self.store.list("state")?;
        names
            .iter()
            .filter(|name| !live.contains(name))
            .try_for_each(|name| self.store.delete(name))
    }
}

/// Reads an object and checks that it is the one that was written. The inner error says what is
/// wrong with it.
pub(crate) fn read_object(
    store: &dyn Store,
    object: &ObjectRef,
) -> Result<Result<Vec<Snapshots>, String>, StoreError> {
    let bytes = match checked_bytes(store, object)? {
        Ok(bytes) => bytes,
        Err(problem) => return Ok(Err(problem)),
    };
    let name = &object.name;
    Ok(object::decode(&bytes).map_err(|error| format!("its object {name}: {error}")))
}

/// The bytes of an object, if they are those that were written.
pub(super) fn checked_bytes(
    store: &dyn Store,
    object: &ObjectRef,
) -> Result<Result<Vec<u8>, String>, StoreError> {
    let name = &object.name;
    let Some(bytes) = store.get(name)? else {
        return Ok(Err(format!("its object {name} is missing")));
    };
    if bytes.len() as u64 != object.bytes || crc32fast::hash(&bytes) != object.checksum {
        return Ok(Err(format!("its object {name} is damaged")));
    }
    Ok(Ok(bytes))
}

/// Test builds linger at the places where a death matters most, if they are asked to:
/// `TIDEMILL_TEST_SLOW_MS` is how long.
pub(crate) fn slow_down(_place: &str) {
    #[cfg(debug_assertions)]
    {
        let slow_ms = std::env::var("TIDEMILL_TEST_SLOW_MS").ok();
        if let Some(slow_ms) = slow_ms.and_then(|text| text.parse().ok()) {
            tracing::info!("lingering behind {_place} for {slow_ms} ms");
            std::thread::sleep(Duration::from_millis(slow_ms));
        }
    }
}
