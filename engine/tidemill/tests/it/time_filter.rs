//! Results that change or come as time passes, as users meet them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.current_dir(folder).args(arguments);
    command
}

/// What printed changes add up to.
fn folded(printed: &str) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    for line in printed.lines() {
        let (kind, row) = line.split_at(2);
        *rows.entry(row.to_owned()).or_default() +=
            if matches!(kind, "+I" | "+U") { 1 } else { -1 };
    }
    rows.retain(|_, count| *count != 0);
    rows
}

/// Who has not been seen for seven days: a user appears when the week is over, and is gone as soon
/// as there is a visit.
const NOT_SEEN: &str = "
CREATE TABLE visits (usr STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'filesystem', 'path' = 'visits.jsonl', 'format' = 'json');
CREATE TABLE inactive (usr STRING, last_seen TIMESTAMP(3), visits BIGINT) WITH ('connector' = 'print');
INSERT INTO inactive
SELECT usr, last_seen, visits
FROM (SELECT usr, MAX(ts) AS last_seen, COUNT(*) AS visits FROM visits GROUP BY usr) AS users
WHERE last_seen < CURRENT_WATERMARK(last_seen) - INTERVAL '7' DAY;
";

#[test]
fn users_appear_when_they_were_not_seen_for_seven_days_and_go_when_they_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let visits = r#"{"usr":"ann","ts":"2024-01-01 08:00:00"}
{"usr":"bob","ts":"2024-01-02 08:00:00"}
{"usr":"cid","ts":"2024-01-07 08:00:00"}
{"usr":"bob","ts":"2024-01-09 09:00:00"}
{"usr":"ann","ts":"2024-01-20 08:00:00"}
"#;
    fs::write(folder.path().join("visits.jsonl"), visits).expect("written");
    fs::write(folder.path().join("job.sql"), NOT_SEEN).expect("written");
    let run = ["run", "job.sql", "--workers", "2", "-D", "tidemill.epoch.max-rows=1"];
    let output = command(folder.path(), &run).output().expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The input has ended, and with it every week.
    let expected = [
        ("[ann, 2024-01-20T08:00, 2]", 1),
        ("[bob, 2024-01-09T09:00, 2]", 1),
        ("[cid, 2024-01-07T08:00, 1]", 1),
    ];
    let expected = expected.map(|(row, count)| (row.to_owned(), count));
    assert_eq!(folded(&String::from_utf8_lossy(&output.stdout)), BTreeMap::from(expected));
}

/// How often each page was read of late.
fn recent(seconds: u32) -> String {
    format!(
        "CREATE TABLE reads (page STRING, at_ms BIGINT, ts AS TO_TIMESTAMP_LTZ(at_ms, 3))
         WITH ('connector' = 'filesystem', 'path' = 'in', 'format' = 'json',
               'source.monitor-interval' = '20 ms');
         CREATE TABLE recent (page STRING, n BIGINT) WITH ('connector' = 'print');
         INSERT INTO recent SELECT page, COUNT(*) FROM reads
         WHERE ts > NOW() - INTERVAL '{seconds}' SECOND GROUP BY page;"
    )
}

/// A job that reads rows of this moment and is then left alone.
struct Idle {
    folder: tempfile::TempDir,
    read_at: Instant,
}

impl Idle {
    fn new(seconds: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("in")).expect("a folder");
        fs::write(folder.path().join("job.sql"), recent(seconds)).expect("written");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let row = format!("{{\"page\":\"a\",\"at_ms\":{}}}\n", now.as_millis());
        fs::write(folder.path().join("in/1.jsonl"), row.repeat(2)).expect("written");
        Idle { folder, read_at: Instant::now() }
    }

    fn start(&self) -> Child {
        let run = ["run", "job.sql", "--workers", "2", "--state", "state"];
        let mut command = command(self.folder.path(), &run);
        command.args(["-D", "execution.checkpointing.interval=50 ms"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts")
    }
}

/// Reads what a job prints until it adds up to `expected`.
fn read_until(job: &mut Child, printed: &mut String, expected: &[(&str, i64)]) {
    let expected = expected.iter().map(|&(row, count)| (row.to_owned(), count)).collect();
    let mut lines = BufReader::new(job.stdout.take().expect("a pipe"));
    let deadline = Instant::now() + PATIENCE;
    while folded(printed) != expected {
        assert!(Instant::now() < deadline, "{printed}");
        assert_ne!(lines.read_line(printed).expect("text"), 0, "it ended: {printed}");
    }
    job.stdout = Some(lines.into_inner());
}

fn stop(mut job: Child) {
    Command::new("kill").arg(job.id().to_string()).status().expect("kill");
    assert!(job.wait().expect("it ends").success());
}

#[test]
fn rows_of_the_last_seconds_go_though_nothing_comes_any_more() {
    let idle = Idle::new(6);
    let (mut job, mut printed) = (idle.start(), String::new());
    read_until(&mut job, &mut printed, &[("[a, 2]", 1)]);
    read_until(&mut job, &mut printed, &[]);
    assert!(idle.read_at.elapsed() >= Duration::from_secs(5), "not before their time");
    stop(job);
}

#[test]
fn rows_whose_time_passes_while_the_job_is_down_go_when_it_is_back() {
    let idle = Idle::new(10);
    let (mut job, mut printed) = (idle.start(), String::new());
    read_until(&mut job, &mut printed, &[("[a, 2]", 1)]);
    stop(job);
    std::thread::sleep(Duration::from_secs(10).saturating_sub(idle.read_at.elapsed()));
    let mut job = idle.start();
    read_until(&mut job, &mut printed, &[]);
    stop(job);
}

/// How many rows were read in each second of the clock.
const CLOCKED: &str = "
CREATE TABLE reads (page STRING, at AS PROCTIME())
WITH ('connector' = 'filesystem', 'path' = 'in', 'format' = 'json' ${WATCHED:-});
CREATE TABLE counts (page STRING, n BIGINT) WITH ('connector' = 'print');
INSERT INTO counts SELECT page, COUNT(*)
FROM TABLE(TUMBLE(TABLE reads, DESCRIPTOR(at), INTERVAL '1' SECOND))
GROUP BY page, window_start, window_end;
";

#[test]
fn windows_of_the_clock_close_though_nothing_comes_any_more_and_when_the_input_ends() {
    let idle = Idle::new(1);
    fs::write(idle.folder.path().join("job.sql"), CLOCKED).expect("written");
    let run = ["run", "job.sql", "--state", "ended"];
    let output = command(idle.folder.path(), &run).output().expect("the binary starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "+I[a, 2]\n");
    let watched = CLOCKED.replace("${WATCHED:-}", ", 'source.monitor-interval' = '20 ms'");
    fs::write(idle.folder.path().join("job.sql"), watched).expect("written");
    let (mut job, mut printed) = (idle.start(), String::new());
    read_until(&mut job, &mut printed, &[("[a, 2]", 1)]);
    stop(job);
    // The window was there once, and what was read is not read again.
    let mut job = idle.start();
    fs::write(idle.folder.path().join("in/2.jsonl"), "{\"page\":\"b\"}\n").expect("written");
    read_until(&mut job, &mut printed, &[("[a, 2]", 1), ("[b, 1]", 1)]);
    stop(job);
}
