//! Shipped jobs from topics to topics, on a real broker.

#[path = "../../../connectors/tests/kafka/broker.rs"]
mod broker;

use crate::support::{finish, tidemill};
use std::fs;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(120);

fn run(folder: &std::path::Path, arguments: &[&str]) -> String {
    let mut command = tidemill();
    command.current_dir(folder).args(arguments);
    let output = finish(command, WITHIN).expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_leaderboard_runs_from_a_generated_topic_to_its_result_topics() {
    let Some(brokers) = broker::brokers() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = "cli-leaderboard-";
    for topic in ["catches", "top_players", "top_by_minute"] {
        broker::create_topic(brokers, &format!("{prefix}{topic}"), 3);
    }
    let generate = ["generate", "leaderboard", "--events", "20000", "--brokers", brokers];
    run(folder.path(), &[&generate[..], &["--topic-prefix", prefix]].concat());
    let prefix_is = format!("TOPIC_PREFIX={prefix}");
    let job = ["run", "leaderboard", "--brokers", brokers, "-D", &prefix_is];
    let how = ["-D", "BOUNDED=latest-offset", "--workers", "2", "--summary", "summary.json"];
    run(folder.path(), &[&job[..], &how].concat());
    let summary = fs::read_to_string(folder.path().join("summary.json")).expect("written");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("json");
    let (read, bad) = (summary["rows_in"].as_u64(), summary["bad_rows"].as_u64());
    assert_eq!(read.zip(bad).map(|(read, bad)| read + bad), Some(20_000), "{summary}");

    let results = format!(
        "CREATE TABLE places (place BIGINT, player STRING, points BIGINT)
         WITH ('connector' = 'kafka', 'properties.bootstrap.servers' = '{brokers}',
               'topic' = '{prefix}top_players', 'scan.startup.mode' = 'earliest-offset',
               'scan.bounded.mode' = 'latest-offset', 'format' = 'json');
         SELECT place, MAX(points) FROM places GROUP BY place;"
    );
    fs::write(folder.path().join("results.sql"), results).expect("written");
    let printed = run(folder.path(), &["run", "results.sql"]);
    let places = printed.lines().filter(|line| line.starts_with("+I[")).count();
    assert_eq!(places, 100, "{printed}");
}
