//! Files that are there whole, or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file so that, whenever the process or the machine ends, either the old or the new
/// contents are found.
pub(crate) fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = File::create(&aside)?;
    file.write_all(contents)?;
    file.sync_data()?;
    fs::rename(&aside, path)?;
    sync_directory(path)
}

/// Makes the names in a path's directory survive a power cut.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
