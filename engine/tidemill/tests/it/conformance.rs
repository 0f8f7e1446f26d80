//! The conformance suite: job files with the rows that Apache Flink gives.
//!
//! Each case runs with one worker and with two. What does not pass yet stands in `not-yet.txt`
//! with the reason; a case on that list that passes fails the test, so the list can only shrink.

use crate::rows::{columns_of, compare, expected_rows, fold};
use crate::suite::{in_parallel, suite};
use crate::support::{finish, tidemill};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

#[test]
fn cases_give_the_rows_that_flink_gives() {
    let cases = cases();
    let runs: Vec<(String, usize)> =
        cases.iter().flat_map(|case| [1, 2].map(|workers| (case.clone(), workers))).collect();
    let results = in_parallel(&runs, |(case, workers)| run(case, *workers));
    let mut failures: BTreeMap<&str, String> = BTreeMap::new();
    for ((case, workers), result) in runs.iter().zip(results) {
        if let Err(reason) = result {
            let reason = format!("{workers} worker(s): {reason}");
            failures.entry(case).or_insert(reason);
        }
    }
    report(&cases, &failures);
    let not_yet = not_yet();
    let unknown: Vec<_> = not_yet.iter().filter(|n| !cases.contains(n)).collect();
    assert!(unknown.is_empty(), "not-yet.txt names no case: {unknown:?}");
    let broken: Vec<String> = failures
        .iter()
        .filter(|(case, _)| !not_yet.contains(**case))
        .map(|(case, reason)| format!("{case}: {reason}"))
        .collect();
    assert!(broken.is_empty(), "{} case(s) fail:\n{}", broken.len(), broken.join("\n"));
    let passing: Vec<_> =
        not_yet.iter().filter(|case| !failures.contains_key(case.as_str())).collect();
    assert!(passing.is_empty(), "these pass: take them off not-yet.txt: {passing:?}");
}

/// The names of all cases, `group/name`.
fn cases() -> Vec<String> {
    let mut cases = Vec::new();
    for group in fs::read_dir(suite().join("cases")).expect("the suite").flatten() {
        for case in fs::read_dir(group.path()).expect("a group").flatten() {
            let name = case.file_name().to_string_lossy().replace(".sql", "");
            cases.push(format!("{}/{name}", group.file_name().to_string_lossy()));
        }
    }
    cases.sort();
    assert!(!cases.is_empty(), "the suite is there");
    cases
}

fn not_yet() -> BTreeSet<String> {
    let text = fs::read_to_string(suite().join("not-yet.txt")).expect("the list");
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').next().unwrap_or_default().trim().to_owned())
        .collect()
}

/// How many cases of each group pass.
fn report(cases: &[String], failures: &BTreeMap<&str, String>) {
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for case in cases {
        let group = case.split('/').next().unwrap_or_default();
        let (passed, all) = groups.entry(group).or_default();
        *all += 1;
        *passed += usize::from(!failures.contains_key(case.as_str()));
    }
    for (group, (passed, all)) in groups {
        println!("{group:8} {passed:3} of {all:3}");
    }
}

fn run(case: &str, workers: usize) -> Result<(), String> {
    let path = suite().join("cases").join(format!("{case}.sql"));
    let sql = fs::read_to_string(&path).map_err(|e| e.to_string())?;
    let out = tempfile::tempdir().map_err(|e| e.to_string())?;
    let results = out.path().join("out");
    fs::create_dir(&results).map_err(|e| e.to_string())?;
    let mut command = tidemill();
    command
        .arg("run")
        .arg(&path)
        .args(["--workers", &workers.to_string()])
        .args(["-D", "tidemill.epoch.max-rows=1000"])
        .args(["-D", &format!("DATA={}", suite().join("data").display())])
        .args(["-D", &format!("OUT={}", results.display())])
        .arg("--state")
        .arg(out.path().join("state"))
        .current_dir(out.path());
    let output = finish(command, Duration::from_secs(120))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let text: Vec<&str> = text.lines().filter(|l| !l.is_empty()).collect();
        return Err(format!("{}: {}", output.status, text.join(" | ")));
    }
    let columns = columns_of(&sql, "`result`");
    let actual = fold(&results, &columns)?;
    let expected = suite().join("expected").join(format!("{case}.csv"));
    let expected = fs::read_to_string(expected).map_err(|e| e.to_string())?;
    let expected = expected_rows(&expected, &columns);
    compare(&actual, &expected)
}
