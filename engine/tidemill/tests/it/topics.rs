//! `tidemill topics`, and jobs whose broker is in their own process.

use crate::broker::{start, stop};
use crate::support::{finish, tidemill};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command to its end, with these lines as its input; what it printed.
fn run(mut command: Command, lines: &str) -> String {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(lines.as_bytes()).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    command.stdin(Stdio::from(file));
    let output = finish(command, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn topics(address: &str, arguments: &[&str], lines: &str) -> String {
    let mut command = tidemill();
    command.arg("topics").args(arguments).args(["--brokers", address]);
    run(command, lines)
}

#[test]
fn topics_are_made_listed_shown_written_and_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, address) = start(&folder.path().join("data"));
    let create = ["create", "greetings", "--partitions", "2", "-o", "retention.ms=86400000"];
    topics(&address, &create, "");
    topics(&address, &["produce", "greetings", "--key-separator", "="], "de=hallo\nfr=salut\n");
    topics(&address, &["produce", "greetings"], "hello\n");
    let listed = topics(&address, &[], "");
    assert_eq!(listed.lines().nth(1).map(str::split_whitespace).map(Iterator::collect), {
        Some(vec!["greetings", "2", "3"])
    });
    let shown = topics(&address, &["show", "greetings"], "");
    assert!(shown.contains("retention.ms = 86400000"), "{shown}");
    let tail = ["tail", "greetings", "--from-beginning", "--no-follow"];
    let mut lines: Vec<String> = topics(&address, &tail, "").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["hallo", "hello", "salut"]);
    let json = topics(&address, &[&tail[..], &["--json"]].concat(), "");
    assert!(json.contains(r#""key":"de""#) && json.contains(r#""value":"hallo""#), "{json}");
    let hello = json.lines().find(|line| line.contains("hello")).expect("the line without a key");
    assert!(hello.contains(r#""key":null"#), "{hello}");

    let mut again = tidemill();
    again.args(["topics", "create", "greetings", "--brokers", &address]);
    let output = finish(again, PATIENCE).expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is there already"), "{said}");
    stop(broker);
}

#[test]
fn a_transaction_that_the_brokers_would_give_up_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, address) = start(&folder.path().join("data"));
    let job = format!(
        "CREATE TABLE t (n INT) WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json',
         'properties.bootstrap.servers' = '{address}', ${{MORE:-'sink.partitioner' = 'default'}});
         SET 'execution.checkpointing.interval' = '2 min'; INSERT INTO t SELECT 1;"
    );
    fs::write(folder.path().join("slow.sql"), job).expect("written");
    let run = |more: &[&str]| {
        let mut command = tidemill();
        command.args(["run", "slow.sql"]).args(more).current_dir(folder.path());
        finish(command, PATIENCE).expect("it ends")
    };
    let refused = run(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("each 120s") && said.contains("up after 60s"), "{said}");
    let longer = "MORE='properties.transaction.timeout.ms' = '300000'";
    assert!(run(&["-D", longer]).status.success());
    stop(broker);
}

#[test]
fn jobs_with_prefixes_stand_side_by_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, address) = start(&folder.path().join("data"));
    let on_broker = |arguments: &[&str]| {
        let mut command = tidemill();
        command.args(arguments).args(["--brokers", &address]).current_dir(folder.path());
        run(command, "")
    };
    on_broker(&["demo", "leaderboard", "--events", "2000", "--topic-prefix", "a-"]);
    on_broker(&["generate", "leaderboard", "--events", "2000", "--topic-prefix", "b-"]);
    let until_now = ["-D", "BOUNDED=latest-offset"];
    let with_prefix = ["run", "leaderboard", "--topic-prefix", "b-"];
    on_broker(&[&with_prefix[..], &until_now].concat());
    let listed = topics(&address, &[], "");
    let names: Vec<&str> =
        listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let job = tidemill_jobs::find("leaderboard").expect("shipped");
    let of_job: Vec<&str> = job.inputs.iter().chain(job.results).map(|topic| topic.name).collect();
    for prefix in ["a-", "b-"] {
        for name in &of_job {
            assert!(names.contains(&format!("{prefix}{name}").as_str()), "{listed}");
        }
    }
    assert!(!of_job.iter().any(|name| names.contains(name)), "{listed}");
    stop(broker);
}

const EMBEDDED: &str = "
CREATE TABLE orders (city STRING, amount BIGINT) WITH (
  'connector' = 'kafka', 'properties.bootstrap.servers' = 'embedded', 'topic' = 'orders',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset', 'format' = 'json'
);
CREATE TABLE sales (city STRING, amount BIGINT, PRIMARY KEY (city) NOT ENFORCED) WITH (
  'connector' = 'upsert-kafka', 'properties.bootstrap.servers' = 'embedded', 'topic' = 'sales',
  'scan.bounded.mode' = 'latest-offset', 'key.format' = 'json', 'value.format' = 'json'
);
";

fn embedded(folder: &Path, query: &str) -> String {
    fs::write(folder.join("job.sql"), format!("{EMBEDDED}{query}")).expect("written");
    let mut command = tidemill();
    command.args(["run", "job.sql", "--workers", "2"]).current_dir(folder);
    run(command, "")
}

#[test]
fn a_job_with_its_broker_in_itself_leaves_its_topics_to_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let insert = "INSERT INTO orders VALUES ('Oslo', 7), ('Berlin', 12), ('Berlin', 30);";
    embedded(folder.path(), insert);
    embedded(
        folder.path(),
        "INSERT INTO sales SELECT city, SUM(amount) FROM orders GROUP BY city;",
    );
    let printed = embedded(folder.path(), "SELECT * FROM sales;");
    let mut rows: Vec<&str> = printed.lines().collect();
    rows.sort_unstable();
    assert_eq!(rows, ["+I[Berlin, 42]", "+I[Oslo, 7]"]);
}
