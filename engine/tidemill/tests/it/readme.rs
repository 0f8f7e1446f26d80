//! The README is true: its job files plan, and its first job gives what it shows. What it and
//! ARCHITECTURE.md point to is there.

use crate::support::{finish, tidemill};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("the README")
}

/// The README's blocks of a language, in order.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let inside = text.split(&fence).skip(1);
    inside.map(|rest| rest.split("```").next().expect("split gives something")).collect()
}

/// What stands between a line that holds `start` and the line `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start:?}"));
    let (_, rest) = rest.split_once('\n').expect("a line ends");
    &rest[..rest.find(end).unwrap_or_else(|| panic!("no {end:?} after {start:?}"))]
}

#[test]
fn the_job_files_of_the_readme_can_be_planned() {
    let readme = readme();
    let folder = tempfile::tempdir().unwrap();
    let jobs = blocks(&readme, "sql");
    assert!(!jobs.is_empty(), "it shows job files");
    for job in jobs {
        let file = folder.path().join("job.sql");
        fs::write(&file, job).unwrap();
        let mut command = tidemill();
        command.arg("check").arg(&file);
        let output = finish(command, PATIENCE).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_first_job_of_the_readme_gives_what_the_readme_shows() {
    let readme = readme();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("orders.csv"), between(&readme, "cat > orders.csv", "END"))
        .unwrap();
    fs::write(folder.path().join("first.sql"), blocks(&readme, "sql")[0]).unwrap();
    let mut command = tidemill();
    command.args(["run", "first.sql", "--state", "state"]).current_dir(folder.path());
    let output = finish(command, PATIENCE).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let said = String::from_utf8_lossy(&output.stderr);
    let warning = between(&readme, "$ tidemill run first.sql", "\n").trim_start_matches("… ");
    assert!(said.contains(warning.trim_start_matches("WARN ")), "{warning:?} is not in {said:?}");
    let mut rows: Vec<String> = Vec::new();
    for part in fs::read_dir(folder.path().join("sales")).unwrap() {
        let text = fs::read_to_string(part.unwrap().path()).unwrap();
        rows.extend(text.lines().map(str::to_owned));
    }
    rows.sort();
    let shown: Vec<&str> = between(&readme, "$ cat sales/*", "```").lines().collect();
    assert_eq!(rows, shown);
}

#[test]
fn the_files_that_the_documents_point_to_are_there() {
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let links = links.filter(|link| !link.is_empty() && !link.starts_with("http"));
        let folders = ["engine/", "operators/", "jobs/", "benches/"];
        let quoted = text.split('`').skip(1).step_by(2);
        let quoted = quoted.filter(|path| folders.iter().any(|folder| path.starts_with(folder)));
        for path in links.chain(quoted) {
            assert!(root().join(path).exists(), "{document} points to {path}, which is not there");
        }
    }
}
