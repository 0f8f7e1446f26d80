//! Which files a `path` means.

use crate::options::wrong;
use crate::source::ConnectorError;
use std::path::{Path, PathBuf};
use tidemill_formats::OptionError;

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputFile {
    /// Its path.
    pub path: PathBuf,
    /// Its size in bytes, compressed if it is.
    pub size: u64,
}

/// The local path that an option means, without its scheme.
pub(crate) fn local(path: &str) -> Result<PathBuf, OptionError> {
    if let Some(rest) = path.strip_prefix("file:") {
        // file:/a, file:///a and file://a: what follows the slashes of the scheme.
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        return Ok(PathBuf::from(rest));
    }
    match path.split_once("://") {
        Some((scheme, _)) => Err(wrong(
            "path",
            format!("'{scheme}://' is not supported yet"),
            "write the path of a local file or directory",
        )),
        None => Ok(PathBuf::from(path)),
    }
}

/// The files of a path, sorted: the file itself, all files below a directory, or all that a glob
/// pattern matches. What begins with `.` or `_` is somebody's unfinished business and passed over.
pub(crate) fn input_files(path: &Path) -> Result<Vec<InputFile>, ConnectorError> {
    let mut files = vec![];
    if path.exists() {
        collect(path, &mut files)?;
    } else {
        let matches = matching(path)?;
        if matches.is_empty() {
            return Err(failed(path, "there is no such file or directory"));
        }
        for path in matches {
            collect(&path, &mut files)?;
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    Ok(files)
}

fn matching(path: &Path) -> Result<Vec<PathBuf>, ConnectorError> {
    let text = path.to_string_lossy();
    if !text.contains(['*', '?', '[']) {
        return Ok(vec![]);
    }
    let paths = glob::glob(&text).map_err(|e| failed(path, &e.to_string()))?;
    let visible = |path: &PathBuf| path.file_name().is_some_and(|name| !is_hidden(name));
    let mut found = vec![];
    for entry in paths {
        found.push(entry.map_err(|e| failed(path, &e.to_string()))?);
    }
    found.retain(visible);
    Ok(found)
}

fn collect(path: &Path, files: &mut Vec<InputFile>) -> Result<(), ConnectorError> {
    let metadata = path.metadata().map_err(|e| failed(path, &e.to_string()))?;
    if !metadata.is_dir() {
        files.push(InputFile { path: path.to_owned(), size: metadata.len() });
        return Ok(());
    }
    for entry in path.read_dir().map_err(|e| failed(path, &e.to_string()))? {
        let entry = entry.map_err(|e| failed(path, &e.to_string()))?;
        if !is_hidden(&entry.file_name()) {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_'))
}

fn failed(path: &Path, cause: &str) -> ConnectorError {
    ConnectorError { what: format!("reading '{}'", path.display()), cause: cause.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let files = input_files(path).unwrap();
        files.iter().map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_directory_means_all_visible_files_below_it_in_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::create_dir(dir.path().join("_temporary")).unwrap();
        for name in ["b.json", "a.json", ".hidden", "_SUCCESS", "sub/c.json", "_temporary/d.json"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        assert_eq!(names(dir.path()), ["a.json", "b.json", "c.json"]);
        assert_eq!(names(&dir.path().join("*.json")), ["a.json", "b.json"]);
        assert_eq!(names(&dir.path().join("b.json")), ["b.json"]);
    }

    #[test]
    fn a_path_that_means_nothing_is_an_error_that_names_it() {
        for path in ["/nowhere/at/all", "/nowhere/*.json"] {
            let error = input_files(Path::new(path)).unwrap_err();
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[test]
    fn schemes_are_those_of_local_files_only() {
        assert_eq!(local("file:///a/b").unwrap(), Path::new("/a/b"));
        assert_eq!(local("file:/a/b").unwrap(), Path::new("/a/b"));
        assert_eq!(local("a/b").unwrap(), Path::new("a/b"));
        assert!(local("s3://bucket/a").unwrap_err().problem.contains("s3://"));
    }
}
