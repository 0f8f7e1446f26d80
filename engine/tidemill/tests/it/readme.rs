//! The README is true: its job files plan, and its first job gives what it shows. What it,
//! ARCHITECTURE.md and the pages of `docs` point to is there.

use crate::pages::{anchors, between, blocks, links, page, pages, root};
use crate::support::{finish, tidemill};
use std::fs;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn job_files(readme: &str) -> Vec<&str> {
    let blocks = blocks(readme).into_iter();
    blocks.filter(|block| block.language == "sql").map(|block| block.text).collect()
}

#[test]
fn the_job_files_of_the_readme_can_be_planned() {
    let readme = page("README.md");
    let folder = tempfile::tempdir().unwrap();
    let jobs = job_files(&readme);
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
    let readme = page("README.md");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("orders.csv"), between(&readme, "cat > orders.csv", "END"))
        .unwrap();
    fs::write(folder.path().join("first.sql"), job_files(&readme)[0]).unwrap();
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
fn the_places_that_the_documents_point_to_are_there() {
    let documents = ["README.md", "ARCHITECTURE.md"].map(str::to_owned);
    for document in documents.into_iter().chain(pages("docs")) {
        let text = page(&document);
        for link in links(&text) {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let beside = Path::new(&document).parent().expect("a page lies in a folder");
            let target = match file {
                "" => root().join(&document),
                file => root().join(beside).join(file),
            };
            assert!(target.exists(), "{document} points to {link}, which is not there");
            if place.is_empty() {
                continue;
            }
            let headings = anchors(&fs::read_to_string(&target).unwrap());
            let is_there = headings.iter().any(|heading| heading == place);
            assert!(is_there, "{document} points to {link}, and there is no such heading");
        }
        let folders = ["engine/", "operators/", "jobs/", "benches/"];
        let quoted = text.split('`').skip(1).step_by(2);
        for path in quoted.filter(|path| folders.iter().any(|folder| path.starts_with(folder))) {
            assert!(root().join(path).exists(), "{document} names {path}, which is not there");
        }
    }
}
