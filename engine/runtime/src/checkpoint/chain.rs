//! [`Chain`]: the objects that make up a job's state, oldest first, and their compaction.
//!
//! Every checkpoint adds what changed. So that neither the chain nor a recovery grows with the
//! job's history, runs of neighbours are merged into one object in the background
//! ([`merge_from`](super::decision::merge_from) decides which), on a thread of its own: a
//! checkpoint never waits for a merge. What single checkpoints changed is bundled as it is: within
//! seconds little is said twice, and to read it would take a good part of a core. What was bundled
//! before is read and merged row by row. Objects are never changed, so that whoever recovers from
//! an older manifest still finds what it names.

use super::decision::{is_urgent, merge_from, written_anew};
use super::manifest::ObjectRef;
use super::object::{self, Snapshots};
use super::protocol::{checked_bytes, read_object};
use super::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
#[cfg(target_os = "linux")]
use thread_priority::ThreadPriority;
#[cfg(target_os = "linux")]
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use tidemill_operators::snapshot::{Link, merge};

/// The objects of a state.
pub(super) struct Chain {
    objects: Vec<ObjectRef>,
    /// What the state took in memory when the first objects were written, as far as is known.
    base_state_bytes: Option<u64>,
    merge: Option<Merge>,
    store: Arc<dyn Store>,
}

/// A merge under way.
struct Merge {
    /// Whether it waits for no idle time.
    is_urgent: bool,
    /// Whether nobody wants its outcome any more.
    is_given_up: Arc<AtomicBool>,
    /// The objects that are being merged: neighbours in the chain.
    parts: Vec<ObjectRef>,
    /// What all of the state took in memory when it began, if all of it is merged.
    state_bytes: Option<u64>,
    outcome: Receiver<Result<ObjectRef, String>>,
}

impl Chain {
    pub(super) fn new(objects: Vec<ObjectRef>, store: Arc<dyn Store>) -> Self {
        Chain { objects, base_state_bytes: None, merge: None, store }
    }

    /// All objects, in the order in which they are to be applied.
    pub(super) fn objects(&self) -> &[ObjectRef] {
        &self.objects
    }

    /// Adds what a checkpoint brought.
    pub(super) fn extend(&mut self, objects: impl IntoIterator<Item = ObjectRef>) {
        self.objects.extend(objects);
    }

    /// Puts a finished merge in the place of what it was made of.
    pub(super) fn take_merged(&mut self) {
        let Some(merge) = &self.merge else { return };
        let outcome = match merge.outcome.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err("it panicked".to_owned()),
            Ok(outcome) => outcome,
        };
        let Some(Merge { parts, state_bytes, .. }) = self.merge.take() else { return };
        match outcome {
            Ok(merged) => {
                let first = parts.first().and_then(|part| {
                    self.objects.iter().position(|object| object.name == part.name)
                });
                if let Some(first) = first {
                    self.objects.splice(first..first + parts.len(), [merged]);
                    self.base_state_bytes = state_bytes.or(self.base_state_bytes);
                }
            }
            // The chain is longer than it could be, and no less right.
            Err(problem) => tracing::warn!("merging state: {problem}"),
        }
    }

    /// Begins to merge if there is reason to, after a checkpoint at which the state took so many
    /// bytes in memory; `name` is the name of the new object. A merge under way is waited for, unless
    /// it waits for idle time itself while there is none to wait for any more.
    pub(super) fn merge(&mut self, state_bytes: u64, name: String) {
        let base_state_bytes = *self.base_state_bytes.get_or_insert(state_bytes);
        let links: Vec<&[ObjectRef]> =
            self.objects.chunk_by(|a, b| (a.first, a.last) == (b.first, b.last)).collect();
        let is_urgent = is_urgent(links.len());
        if self.merge.as_ref().is_some_and(|merge| merge.is_urgent || !is_urgent) {
            return;
        }
        let sizes: Vec<u64> =
            links.iter().map(|link| link.iter().map(|object| object.bytes).sum()).collect();
        let base = sizes.first().copied().unwrap_or(0);
        let state = written_anew(base, base_state_bytes, state_bytes);
        let Some(from) = merge_from(&sizes, state) else { return };
        if let Some(merge) = self.merge.take() {
            merge.is_given_up.store(true, Ordering::Relaxed);
        }
        let parts: Vec<ObjectRef> = links[from..].concat();
        let is_base = from == 0;
        let is_given_up = Arc::new(AtomicBool::new(false));
        let (sender, outcome) = channel();
        let (store, merging) = (self.store.clone(), parts.clone());
        let stop = is_given_up.clone();
        let thread = std::thread::Builder::new().name("compaction".to_owned());
        let spawned = thread.spawn(move || {
            step_back(is_urgent);
            let link = if is_base { Link::Base } else { Link::Delta };
            // Nobody listens any more when the job has ended.
            let _ = sender.send(merged(store.as_ref(), &merging, link, name, &stop));
        });
        match spawned {
            Ok(_) => {
                let state_bytes = is_base.then_some(state_bytes);
                self.merge = Some(Merge { is_urgent, is_given_up, parts, state_bytes, outcome });
            }
            Err(error) => tracing::warn!("merging state: {error}"),
        }
    }
}

/// How much nicer a thread that merges urgently is than the workers: it then has a third of a core
/// that a worker wants too, and all that nobody wants.
#[cfg(target_os = "linux")]
const NICENESS_URGENT: i32 = 3;

/// How nice a thread is that may not wait for idle time.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// Lets the workers go first, where threads have a priority of their own. One that is not urgent runs
/// while nobody else wants the core: the scheduler takes a core with such a thread for a free one. Were
/// it only nicer, two workers would share the other core for milliseconds.
fn step_back(is_urgent: bool) {
    #[cfg(not(target_os = "linux"))]
    let _ = is_urgent;
    #[cfg(target_os = "linux")]
    {
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let niceness = if is_urgent {
            NICENESS_URGENT
        } else {
            match set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
                Ok(()) => return,
                Err(_) => NICENESS,
            }
        };
        if let Err(error) = rustix::process::nice(niceness) {
            tracing::debug!("the priority of merging: {error}");
        }
    }
}

/// Merges objects into a new one.
fn merged(
    store: &dyn Store,
    parts: &[ObjectRef],
    link: Link,
    name: String,
    stop: &AtomicBool,
) -> Result<ObjectRef, String> {
    let go_on = || (!stop.load(Ordering::Relaxed)).then_some(()).ok_or("it was given up");
    let is_single = |part: &ObjectRef| part.first == part.last;
    let bytes = if link == Link::Delta && parts.iter().all(is_single) {
        bundled(store, parts, go_on)?
    } else {
        merged_rows(store, parts, link, go_on)?
    };
    go_on()?;
    store.put(&name, &bytes).map_err(|error| error.to_string())?;
    let first = match link {
        Link::Base => 0,
        Link::Delta => parts.first().map_or(0, |part| part.first),
    };
    let last = parts.last().map_or(0, |part| part.last);
    Ok(object_ref(name, &bytes, first, last))
}

/// Objects as one, as they are.
fn bundled(
    store: &dyn Store,
    parts: &[ObjectRef],
    go_on: impl Fn() -> Result<(), &'static str>,
) -> Result<Vec<u8>, String> {
    let mut objects = Vec::with_capacity(parts.len());
    for part in parts {
        go_on()?;
        objects.push(checked_bytes(store, part).map_err(|error| error.to_string())??);
    }
    object::bundle(&objects).map_err(|error| error.to_string())
}

/// Objects as one in which nothing is said twice.
fn merged_rows(
    store: &dyn Store,
    parts: &[ObjectRef],
    link: Link,
    go_on: impl Fn() -> Result<(), &'static str>,
) -> Result<Vec<u8>, String> {
    let mut by_operator = BTreeMap::<u64, Vec<_>>::new();
    for part in parts {
        go_on()?;
        let said = read_object(store, part).map_err(|error| error.to_string())??;
        for (operator, snapshot) in said.into_iter().flatten() {
            by_operator.entry(operator).or_default().push(snapshot);
        }
    }
    let mut snapshots = Snapshots::new();
    for (operator, parts) in by_operator {
        go_on()?;
        let merged = merge(&parts, link).map_err(|error| error.to_string())?;
        snapshots.insert(operator, merged);
    }
    object::encode(&snapshots).map_err(|error| error.to_string())
}

/// What a manifest says of an object.
pub(super) fn object_ref(name: String, bytes: &[u8], first: u64, last: u64) -> ObjectRef {
    let checksum = crc32fast::hash(bytes);
    ObjectRef { name, bytes: bytes.len() as u64, checksum, first, last }
}

#[cfg(test)]
mod tests {
    use super::super::store::LocalStore;
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt8Array};
    use std::time::Duration;
    use tidemill_operators::snapshot::{Snapshot, SnapshotTable};

    const OPERATOR: u64 = 7;

    fn rows(numbers: &[i64], values: Option<&[i64]>) -> RecordBatch {
        let groups: ArrayRef = Arc::new(UInt8Array::from(vec![0; numbers.len()]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        let mut columns = vec![("key_group", groups), ("key", numbers)];
        if let Some(values) = values {
            columns.push(("value", Arc::new(Int64Array::from(values.to_vec()))));
        }
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn snapshot(deletes: Option<RecordBatch>, upserts: RecordBatch) -> Snapshot {
        let (name, upserts) = ("t".to_owned(), Some(upserts));
        Snapshot { tables: vec![SnapshotTable { name, key_width: 2, deletes, upserts }] }
    }

    /// The first writes so much that the later ones are little beside it; they write a key of their own
    /// and one of all, and delete the one before.
    fn checkpoint(number: i64) -> Snapshot {
        if number == 1 {
            let keys: Vec<i64> = (10_000..210_000).collect();
            let values: Vec<i64> =
                keys.iter().map(|key| key.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)).collect();
            return snapshot(None, rows(&keys, Some(&values)));
        }
        let deletes = rows(&[number - 1], None);
        snapshot(Some(deletes), rows(&[number, -1], Some(&[number, number])))
    }

    /// What a chain says, in the order of its keys.
    fn said(chain: &Chain) -> String {
        let mut parts = Vec::new();
        for object in chain.objects() {
            for mut snapshots in read_object(chain.store.as_ref(), object).unwrap().unwrap() {
                parts.push(snapshots.remove(&OPERATOR).unwrap());
            }
        }
        format!("{:?}", merge(&parts, Link::Base).unwrap())
    }

    #[test]
    fn a_chain_stays_short_and_goes_on_saying_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(LocalStore::new(folder.path()));
        let mut chain = Chain::new(Vec::new(), store.clone());
        let (mut all, mut longest) = (Vec::new(), 0);
        for number in 1..=1200u64 {
            let snapshot = checkpoint(number as i64);
            let bytes = object::encode(&Snapshots::from([(OPERATOR, snapshot.clone())])).unwrap();
            let name = format!("state/{number}");
            store.put(&name, &bytes).unwrap();
            all.push(snapshot);
            chain.extend([object_ref(name, &bytes, number, number)]);
            chain.merge(1, format!("state/{number}-m"));
            while chain.merge.is_some() {
                // It waits for a core that nobody wants.
                std::thread::sleep(Duration::from_micros(100));
                chain.take_merged();
            }
            longest = longest.max(chain.objects().len());
        }
        assert!(longest < 128, "{longest} objects");
        assert_eq!(said(&chain), format!("{:?}", merge(&all, Link::Base).unwrap()));
        let spans: Vec<u64> = chain.objects().iter().map(|o| o.last - o.first).collect();
        assert_eq!(spans[0], 0, "there is no reason to write the first anew");
        assert!(spans.iter().any(|&span| span > 100), "bundles were merged too: {spans:?}");
    }
}
