//! `tidemill demo`: with nothing at hand, on a broker, and under fire.

use super::PATIENCE;
use super::broker::brokers;
use super::topics::Topic;
use crate::support::{finish, tidemill};
use std::collections::BTreeSet;

/// Runs a demo of so many events to its end; what it printed and what it said.
fn demo(job: &str, events: usize, more: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = tidemill();
    command.args(["demo", job, "--events", &events.to_string()]).args(more);
    command.current_dir(folder.path());
    let output = finish(command, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    (text(&output.stdout), said)
}

#[test]
fn each_demo_ends_with_results_of_each_of_its_views() {
    for job in tidemill_jobs::all() {
        let (printed, said) = demo(job.name, 20_000, &[]);
        for line in printed.lines() {
            let (view, change) = line.split_once("> ").unwrap_or_default();
            let is_result = job.results.iter().any(|result| result.name == view);
            let is_change = ["+I[", "-U[", "+U[", "-D["].iter().any(|op| change.starts_with(op));
            assert!(is_result && is_change && change.ends_with(']'), "{line}");
        }
        let views: BTreeSet<&str> =
            printed.lines().filter_map(|line| Some(line.split_once('>')?.0)).collect();
        let expected: BTreeSet<&str> = job.results.iter().map(|result| result.name).collect();
        assert_eq!(views, expected, "{said}");
        assert!(said.contains("finished"), "{said}");
    }
}

/// A demo that is killed again and again, and says what came of it.
fn killed(job: &str, kills: u32, more: &[&str]) {
    let kills = kills.to_string();
    let arguments = [&["--chaos", "--kills", &kills], more].concat();
    let (printed, said) = demo(job, 40_000, &arguments);
    let expected =
        format!("killed {kills} times: 40,000 events in, 0 lost, 0 duplicated, 0 wrong of ");
    assert!(printed.starts_with(&expected), "{job}: {printed}{said}");
    assert!(printed.contains("; recovery p50 "), "{job}: {printed}");
}

#[test]
fn every_shipped_job_under_fire_loses_nothing_and_counts_nothing_twice() {
    for job in tidemill_jobs::all() {
        killed(job.name, 2, &[]);
    }
}

#[test]
fn every_shipped_job_under_fire_on_a_broker_loses_nothing_and_counts_nothing_twice() {
    let Some(brokers) = brokers() else { return };
    for (job, workers) in tidemill_jobs::all().iter().zip(["1", "2"].iter().cycle()) {
        killed(job.name, 2, &["--brokers", brokers, "--workers", workers]);
    }
}

#[test]
fn a_demo_at_a_rate_goes_on_after_the_last_record_and_is_verified_on_a_broker() {
    let Some(brokers) = brokers() else { return };
    let (printed, said) =
        demo("leaderboard", 3000, &["--rate", "2000", "--brokers", brokers, "--verify"]);
    assert!(printed.ends_with("rows equal the batch answer\n"), "{printed}{said}");
}

#[test]
fn demos_run_on_a_broker_whose_topics_they_find_missing() {
    let Some(brokers) = brokers() else { return };
    for job in tidemill_jobs::all() {
        demo(job.name, 20_000, &["--brokers", brokers, "--workers", "2"]);
        for result in job.results {
            let records = Topic::named(brokers, result.name, 1).records();
            // The first hour of sales is fired at the end of the input, as all windows are.
            assert!(!records.is_empty(), "{}", result.name);
        }
    }
}
