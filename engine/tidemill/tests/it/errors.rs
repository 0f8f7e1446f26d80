//! Job files that must be refused, or must fail while they run.

use crate::suite::{in_parallel, suite};
use crate::support::{finish, tidemill};
use std::fs;
use std::time::Duration;

/// A line of `errors.csv`.
struct Wrong {
    name: String,
    category: String,
    phase: String,
}

fn wrong_jobs() -> Vec<Wrong> {
    let text = fs::read_to_string(suite().join("errors.csv")).expect("the list");
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut cells = line.splitn(4, ',');
            Some(Wrong {
                name: cells.next()?.to_owned(),
                category: cells.next()?.to_owned(),
                phase: cells.next()?.to_owned(),
            })
        })
        .collect()
}

#[test]
fn wrong_job_files_are_refused_with_the_right_kind_of_error_and_a_place() {
    let jobs = wrong_jobs();
    let failures: Vec<String> =
        in_parallel(&jobs, |wrong| check(wrong).err().map(|e| format!("{}: {e}", wrong.name)))
            .into_iter()
            .flatten()
            .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check(wrong: &Wrong) -> Result<(), String> {
    let path = suite().join("errors").join(format!("{}.sql", wrong.name));
    let out = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut command = tidemill();
    command
        .arg("run")
        .arg(&path)
        .args(["-D", &format!("DATA={}", suite().join("data").display())])
        .args(["-D", &format!("OUT={}", out.path().join("out").display())])
        .arg("--state")
        .arg(out.path().join("state"))
        .current_dir(out.path());
    let output = finish(command, Duration::from_secs(60))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    match (wrong.phase.as_str(), wrong.category.as_str()) {
        // A record that can't be decoded goes to the dead letters.
        ("runtime", "runtime format") => expect(code == Some(0), "status 0", &text, code),
        ("runtime", _) => expect(code == Some(1), "status 1", &text, code),
        // What Flink does not run may run here; a reserved word may be a name.
        (_, "unsupported") if code == Some(0) => Ok(()),
        _ if wrong.name == "parse_reserved_alias" && code == Some(0) => Ok(()),
        (_, category) => {
            expect(code == Some(2), "status 2", &text, code)?;
            let first = text.lines().find(|l| l.contains("error:")).unwrap_or_default();
            let place = first.split(": error: ").next().unwrap_or_default();
            let numbers: Vec<&str> = place.rsplitn(3, ':').collect();
            let has_place = numbers.len() == 3
                && numbers[..2].iter().all(|n| n.parse::<u64>().is_ok_and(|n| n > 0));
            expect(has_place, "FILE:LINE:COLUMN", &text, code)?;
            // Some versions of tables are a later step: they are refused as unsupported.
            let kinds = match category {
                "unsupported" => vec!["unsupported", "missing watermark"],
                "missing primary key" => vec!["missing primary key", "unsupported"],
                category => vec![category],
            };
            let right = kinds.iter().any(|kind| first.contains(&format!("error: {kind}:")));
            expect(right, &format!("an error of the kind '{category}'"), &text, code)
        }
    }
}

fn expect(holds: bool, what: &str, text: &str, code: Option<i32>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("expected {what}, got status {code:?}: {text}")) }
}
