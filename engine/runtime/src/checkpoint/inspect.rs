//! [`inspect`]: what checkpoints a store holds, for people.

use super::manifest::{Manifest, ManifestError};
use super::protocol::{
    COMMITTED, CheckpointError, checked_bytes, is_fence, manifest_name, note_name, number_in,
    read_object,
};
use super::store::{Name, Store, StoreError};
use std::collections::BTreeSet;

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// At what manifests say.
    Manifests,
    /// At every byte that they name.
    Objects,
}

/// A checkpoint in a store.
#[derive(Clone, Debug)]
pub struct CheckpointInfo {
    /// Its number.
    pub number: u64,
    /// Whether its output is visible for certain.
    pub is_committed: bool,
    /// What it consists of, if that can be read.
    pub manifest: Option<Manifest>,
    /// What is damaged, if anything was found to be.
    pub problem: Option<String>,
}

/// Lists the checkpoints of a store, oldest first.
///
/// # Errors
/// If the store can't be read.
pub fn inspect(store: &dyn Store, depth: Inspection) -> Result<Vec<CheckpointInfo>, StoreError> {
    let mut found = Vec::new();
    let objects: BTreeSet<Name> = match depth {
        Inspection::Manifests => BTreeSet::new(),
        Inspection::Objects => store.list("state")?.into_iter().collect(),
    };
    for number in store.list("manifests")?.iter().filter_map(|name| number_in(name)) {
        let bytes = store.get(&manifest_name(number))?.unwrap_or_default();
        if is_fence(&bytes) {
            continue;
        }
        let (manifest, mut problem) = match Manifest::decode(&bytes) {
            Ok(manifest) => (Some(manifest), None),
            Err(error @ (ManifestError::Damaged(_) | ManifestError::TooNew { .. })) => {
                (None, Some(error.to_string()))
            }
        };
        let is_committed = store.get(&note_name("committed", number))?.is_some();
        if let (Some(manifest), Inspection::Objects) = (&manifest, depth) {
            // The manifest of a transaction may be there before what it names. Then it is in the
            // making, or was given up.
            let is_whole = manifest.objects.iter().all(|object| objects.contains(&object.name));
            let is_unfinished = !is_committed && !manifest.transactions.is_empty() && !is_whole;
            for object in manifest.objects.iter().filter(|_| !is_unfinished) {
                problem = problem.or(read_object(store, object)?.err());
            }
        }
        found.push(CheckpointInfo { number, is_committed, manifest, problem });
    }
    Ok(found)
}

/// Copies the newest checkpoint that stands for good, whole, into an empty store. `None` if there
/// is none.
pub(crate) fn copy_newest(
    from: &dyn Store,
    to: &dyn Store,
) -> Result<Option<Manifest>, CheckpointError> {
    let found = inspect(from, Inspection::Manifests)?;
    let newest = found.into_iter().rfind(|checkpoint| checkpoint.is_committed);
    let Some(newest) = newest else { return Ok(None) };
    let damaged = |problem| CheckpointError::Damaged { number: newest.number, problem };
    let manifest = match (newest.manifest, newest.problem) {
        (Some(manifest), None) => manifest,
        (_, problem) => return Err(damaged(problem.unwrap_or_default())),
    };
    for object in &manifest.objects {
        to.put(&object.name, &checked_bytes(from, object)?.map_err(damaged)?)?;
    }
    to.put(&manifest_name(manifest.number), &manifest.encode())?;
    to.put(&note_name("committed", manifest.number), COMMITTED)?;
    Ok(Some(manifest))
}

#[cfg(test)]
mod tests {
    use super::super::chain::object_ref;
    use super::super::manifest::example;
    use super::super::store::LocalStore;
    use super::*;

    #[test]
    fn a_transaction_without_its_state_is_in_the_making_until_it_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let manifest = |number, transactions: &[&str]| Manifest {
            transactions: transactions.iter().map(|&name| name.to_owned()).collect(),
            objects: vec![object_ref(format!("state/{number}"), b"state", number, number)],
            ..example(number)
        };
        for manifest in [manifest(1, &[]), manifest(2, &["job"]), manifest(3, &["job"])] {
            store.put(&manifest_name(manifest.number), &manifest.encode()).unwrap();
        }
        store.put(&note_name("committed", 2), COMMITTED).unwrap();
        let damaged = || -> Vec<u64> {
            let found = inspect(&store, Inspection::Objects).unwrap().into_iter();
            found.filter(|info| info.problem.is_some()).map(|info| info.number).collect()
        };
        assert_eq!(damaged(), [1, 2]);
        // What is there has to be what was written.
        store.put("state/3", b"stale").unwrap();
        assert_eq!(damaged(), [1, 2, 3]);
    }
}
