//! [`export`]: a checkpoint taken out of a job's state directory, complete and on its own.
//!
//! What comes of it is a state directory like any other, with the newest checkpoint that stands
//! for good: a job that is given it goes on from there. It is the same job. Once the original has
//! made more of its output visible, the copy is out of date and the job refuses it.

use crate::checkpoint::{self, LocalStore, Manifest, Store};
use crate::dead_letters::letter_file;
use crate::error::JobError;
use crate::state_directory;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Where the job of a state directory keeps its checkpoints: in it, or at `place`, the value of
/// its option `state.checkpoints.dir`.
///
/// # Errors
/// If it is no state directory, or nobody knows that kind of place.
pub fn store_of(directory: &Path, place: Option<&str>) -> Result<Arc<dyn Store>, JobError> {
    let job = state_directory::identity(directory).map_err(|error| JobError::State {
        path: directory.to_owned(),
        problem: format!(
            "no state directory of a job: {error}; where the option state.checkpoints.dir is set, \
             name the job's directory and give that place with --from"
        ),
    })?;
    match place {
        None => Ok(Arc::new(LocalStore::new(state_directory::checkpoints(directory)))),
        Some(place) => checkpoint::open_store(place, &job),
    }
}

/// Copies the newest checkpoint of `store` that stands for good, and what else of the job's state
/// `directory` belongs to it, to `target`, which must not exist. Gives the checkpoint's manifest.
///
/// # Errors
/// If there is no such checkpoint or it is damaged, or the disk refuses.
pub fn export(directory: &Path, store: &dyn Store, target: &Path) -> Result<Manifest, JobError> {
    let failed = |problem: String| JobError::State { path: target.to_owned(), problem };
    if target.exists() {
        return Err(failed("it exists already: name a new directory".to_owned()));
    }
    // Aside first: a directory of this name is whole.
    let mut aside = target.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = Path::new(&aside);
    let written = write(directory, store, aside);
    let renamed = written.and_then(|manifest| {
        fs::rename(aside, target).map_err(|error| failed(error.to_string()))?;
        Ok(manifest)
    });
    if renamed.is_err() {
        let _ = fs::remove_dir_all(aside);
    }
    renamed
}

fn write(directory: &Path, store: &dyn Store, target: &Path) -> Result<Manifest, JobError> {
    let failed =
        |error: io::Error| JobError::State { path: target.to_owned(), problem: error.to_string() };
    fs::create_dir_all(target).map_err(failed)?;
    let to = LocalStore::new(state_directory::checkpoints(target));
    let manifest = checkpoint::copy_newest(store, &to).map_err(JobError::Checkpoint)?;
    let manifest = manifest.ok_or_else(|| {
        let problem = "there is no checkpoint whose output is visible for certain";
        JobError::State { path: directory.to_owned(), problem: problem.to_owned() }
    })?;
    copy_letters(directory, target, &manifest).map_err(failed)?;
    state_directory::copy_identity(directory, target).map_err(failed)?;
    Ok(manifest)
}

/// Dead letters as far as they belong to the checkpoint.
fn copy_letters(directory: &Path, target: &Path, manifest: &Manifest) -> io::Result<()> {
    let folders = [directory, target].map(state_directory::dead_letters);
    fs::create_dir_all(&folders[1])?;
    for (name, letters) in &manifest.dead_letters {
        let [from, to] = folders.each_ref().map(|folder| letter_file(folder, name));
        let mut part = File::open(from)?.take(letters.bytes);
        let copied = io::copy(&mut part, &mut File::create(to)?)?;
        if copied < letters.bytes {
            return Err(io::Error::other(format!("the dead letters '{name}' are too short")));
        }
    }
    Ok(())
}
