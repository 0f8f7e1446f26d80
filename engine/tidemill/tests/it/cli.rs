//! The binary as users meet it: exit statuses, what goes where, what stays behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const TABLES: &str = "
CREATE TABLE clicks (
  page STRING,
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = '${INPUT}', 'format' = 'json');
CREATE TABLE views (page STRING, n BIGINT, since TIMESTAMP(3))
WITH ('connector' = '${CONNECTOR:-print}');
";

const QUERY: &str = "
INSERT INTO views
SELECT page, COUNT(*), window_start
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY page, window_start, window_end;
";

const CLICKS: &str = r#"{"page":"a","ts":"2024-01-01 00:00:01"}
{"page":"b","ts":"2024-01-01 00:00:02"}
{"page":"a","ts":"2024-01-01 00:00:09"}
broken
{"page":"a","ts":"2024-01-01 00:00:12"}
"#;

/// A folder with a job in two files and its input.
struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("clicks.jsonl"), CLICKS).expect("written");
        fs::write(folder.path().join("tables.sql"), TABLES).expect("written");
        fs::write(folder.path().join("query.sql"), QUERY).expect("written");
        Setting { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.current_dir(self.path()).args(arguments).env("INPUT", "clicks.jsonl");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    fn summary(&self) -> serde_json::Value {
        let summary = fs::read_to_string(self.path().join("summary.json")).expect("written");
        serde_json::from_str(&summary).expect("json")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn rows_of_equal_time_share_their_rank() {
    let setting = Setting::new();
    let query = "
        CREATE TABLE ranks (page STRING, place BIGINT, dense BIGINT) WITH ('connector' = 'print');
        INSERT INTO ranks SELECT page, RANK() OVER w, DENSE_RANK() OVER w FROM clicks
        WINDOW w AS (ORDER BY ts);";
    fs::write(setting.path().join("ranks.sql"), query).expect("written");
    let clicks = [("a", 1), ("b", 1), ("c", 2), ("d", 5), ("e", 5), ("f", 5), ("g", 6)];
    let line = |(page, s): (&str, i32)| {
        format!("{{\"page\":\"{page}\",\"ts\":\"2024-01-01 00:00:0{s}\"}}\n")
    };
    fs::write(setting.path().join("clicks.jsonl"), clicks.map(line).concat()).expect("written");
    let output = setting.run(&["run", "tables.sql", "ranks.sql", "--workers", "1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("text");
    let mut lines: Vec<&str> = printed.lines().collect();
    lines.sort_unstable();
    let expected = [
        "+I[a, 1, 1]",
        "+I[b, 1, 1]",
        "+I[c, 3, 2]",
        "+I[d, 4, 3]",
        "+I[e, 4, 3]",
        "+I[f, 4, 3]",
        "+I[g, 7, 4]",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_bounded_job_prints_its_results_and_ends_with_a_summary() {
    let setting = Setting::new();
    let job = ["run", "tables.sql", "query.sql", "--state", "state"];
    let how = ["--workers", "2", "--summary", "summary.json"];
    let output = setting.run(&[&job[..], &how].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let printed = text(&output.stdout);
    let mut rows: Vec<&str> = printed.lines().collect();
    rows.sort_unstable();
    let expected = [
        "+I[a, 1, 2024-01-01T00:00:10]",
        "+I[a, 2, 2024-01-01T00:00]",
        "+I[b, 1, 2024-01-01T00:00]",
    ];
    assert_eq!(rows, expected);
    assert!(said.contains("clicks.jsonl:4"), "{said}");
    let summary = setting.summary();
    let counts = ["rows_in", "rows_out", "bad_rows", "late_rows"].map(|f| summary[f].as_u64());
    assert_eq!(counts, [4, 3, 1, 0].map(Some));
    assert_eq!(summary["exit"], "finished");
    assert!(setting.path().join("state/dead-letters/clicks.jsonl").exists());

    let again = setting.run(&job);
    assert_eq!((again.status.code(), text(&again.stdout)), (Some(0), String::new()));
    assert!(text(&again.stderr).contains("finished already"), "{}", text(&again.stderr));
    let fresh = setting.run(&[&job[..], &["--fresh"]].concat());
    assert_eq!(text(&fresh.stdout).lines().count(), 3);
}

#[test]
fn a_wrong_job_file_is_refused_with_its_place_and_status_two() {
    let setting = Setting::new();
    let wrong = "INSERT INTO views\nSELECT page, nope, ts FROM clicks;";
    fs::write(setting.path().join("wrong.sql"), wrong).expect("written");
    for subcommand in ["run", "check", "explain"] {
        let output = setting.run(&[subcommand, "tables.sql", "wrong.sql"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("wrong.sql:2:14: error: "), "{said}");
        assert_eq!(text(&output.stdout), "");
    }
    assert_eq!(setting.run(&["run", "nowhere.sql"]).status.code(), Some(2));
    assert_eq!(setting.run(&["run"]).status.code(), Some(2));
    assert_eq!(setting.run(&["check", "tables.sql", "query.sql"]).status.code(), Some(0));
}

#[test]
fn a_failed_job_has_status_one_and_one_message() {
    let setting = Setting::new();
    let mut command = setting.command(&["run", "tables.sql", "query.sql"]);
    command.args(["--summary", "summary.json"]).env("INPUT", "missing.jsonl");
    let output = command.output().expect("the binary starts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("missing.jsonl"), "{said}");
    assert_eq!(setting.summary()["exit"], "failed");
}

#[test]
fn definitions_come_before_the_environment_and_may_set_options() {
    let setting = Setting::new();
    let run = ["run", "tables.sql", "query.sql", "-D", "CONNECTOR=blackhole"];
    let output = setting.run(&[&run[..], &["-D", "parallelism.default=3"]].concat());
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
    let output = setting.run(&[&run[..], &["-D", "tidemill.late-rows=never"]].concat());
    assert_ne!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("tidemill.late-rows"), "{}", text(&output.stderr));
}

#[test]
fn the_sql_of_a_shipped_job_can_be_copied_and_run_from_the_copy() {
    let setting = Setting::new();
    for job in tidemill_jobs::all() {
        let shown = text(&setting.run(&["jobs", "show", job.name]).stdout);
        assert_eq!(shown, job.sql);
        fs::write(setting.path().join("mine.sql"), shown).expect("written");
        let output = setting.run(&["check", "mine.sql"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let output = setting.run(&["jobs", "show", "leaderbord"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there are leaderboard"), "{}", text(&output.stderr));
}

#[test]
fn the_shipped_jobs_plan_and_their_demo_ends_by_itself() {
    let setting = Setting::new();
    let listed = text(&setting.run(&["jobs"]).stdout);
    for job in tidemill_jobs::all().iter().map(|job| job.name) {
        assert!(listed.contains(job), "{listed}");
        let output = setting.run(&["check", job]);
        assert_eq!(output.status.code(), Some(0), "{job}: {}", text(&output.stderr));
        let demo = ["demo", job, "--events", "3000", "--workers", "2", "--verify"];
        let output = setting.run(&[&demo[..], &["--summary", "summary.json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{job}: {}", text(&output.stderr));
        let printed = text(&output.stdout);
        let last = printed.lines().last().unwrap_or_default();
        assert!(last.ends_with("rows equal the batch answer"), "{job}: {last}");
        let summary = setting.summary();
        let (read, bad) = (summary["rows_in"].as_u64(), summary["bad_rows"].as_u64());
        assert!(read.zip(bad).is_some_and(|(read, bad)| read + bad >= 3000), "{job}: {summary}");
    }
}

#[test]
fn sigterm_stops_an_endless_job_cleanly_and_nobody_else_runs_it_meanwhile() {
    let setting = Setting::new();
    let sql = "CREATE TABLE numbers (n BIGINT)
        WITH ('connector' = 'datagen', 'rows-per-second' = '100');
        CREATE TABLE seen (n BIGINT) WITH ('connector' = 'print');
        INSERT INTO seen SELECT n FROM numbers;";
    fs::write(setting.path().join("endless.sql"), sql).expect("written");
    let mut command = setting.command(&["run", "endless.sql", "--workers", "2"]);
    command.args(["--summary", "summary.json"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().expect("the binary starts");
    let identity = setting.path().join("tidemill-state/endless/job");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !identity.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = setting.run(&["run", "endless.sql"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another process"), "{}", text(&second.stderr));
    std::thread::sleep(Duration::from_millis(300));
    let killed = Command::new("kill").arg(running.id().to_string()).status().expect("kill");
    assert!(killed.success());
    assert_eq!(running.wait().expect("it ends").code(), Some(0));
    let summary = setting.summary();
    assert_eq!(summary["exit"], "stopped");
    assert_eq!(summary["rows_in"], summary["rows_out"]);
}

#[test]
fn a_checkpoint_that_was_taken_out_is_a_state_directory_of_its_own() {
    let setting = Setting::new();
    let run = |state: &str| {
        let run = ["run", "tables.sql", "query.sql", "--state", state];
        let output = setting.run(&[&run[..], &["--summary", "summary.json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(!run("state").is_empty());
    let output = setting.run(&["checkpoints", "state", "--export", "savepoint"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("--state savepoint"), "{}", text(&output.stdout));
    let output = setting.run(&["checkpoints", "savepoint", "--verify"]);
    assert!(text(&output.stdout).contains("committed"), "{}", text(&output.stdout));
    assert_eq!(run("savepoint"), "", "everything was written before");
    let letters = |state: &str| {
        fs::read_to_string(setting.path().join(state).join("dead-letters/clicks.jsonl")).ok()
    };
    assert!(letters("savepoint").is_some());
    assert_eq!(letters("savepoint"), letters("state"));
    let output = setting.run(&["checkpoints", "state", "--export", "savepoint"]);
    assert_eq!(output.status.code(), Some(1), "it is there already");
}

/// A job that watches a folder, stopped with its state kept.
fn stopped_watcher(setting: &Setting) {
    let sql = "CREATE TABLE clicks (page STRING, ts TIMESTAMP(3),
          WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
        WITH ('connector' = 'filesystem', 'path' = 'in', 'format' = 'json',
              'source.monitor-interval' = '50 ms');
        CREATE TABLE views (page STRING, n BIGINT)
        WITH ('connector' = 'filesystem', 'path' = 'out', 'format' = 'json');
        INSERT INTO views SELECT page, COUNT(*) FROM TABLE(
          TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
        GROUP BY page, window_start, window_end;";
    fs::write(setting.path().join("watch.sql"), sql).expect("written");
    fs::create_dir(setting.path().join("in")).expect("a folder");
    let click = r#"{"page":"a","ts":"2024-01-01 00:00:01"}"#;
    fs::write(setting.path().join("in/1.jsonl"), click).expect("written");
    let run = ["run", "watch.sql", "--state", "state", "--workers", "2"];
    let mut command = setting.command(&run);
    command.args(["-D", "execution.checkpointing.interval=50 ms"]).stderr(Stdio::null());
    let mut running = command.spawn().expect("the binary starts");
    let committed = setting.path().join("state/checkpoints/committed");
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_there = || fs::read_dir(&committed).is_ok_and(|mut notes| notes.next().is_some());
    while !is_there() {
        assert!(Instant::now() < deadline, "no checkpoint");
        std::thread::sleep(Duration::from_millis(10));
    }
    Command::new("kill").arg(running.id().to_string()).status().expect("kill");
    assert_eq!(running.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_damaged_checkpoint_is_refused_and_never_gone_on_from() {
    let setting = Setting::new();
    stopped_watcher(&setting);
    let folder = setting.path().join("state/checkpoints");
    let newest = |kind: &str| {
        let files = fs::read_dir(folder.join(kind)).expect("a folder");
        files.map(|file| file.expect("a file").path()).max().expect("one at least")
    };
    let flip = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        bytes
    };
    let cut = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [Damage; 2] = [flip, cut];
    for kind in ["manifests", "state"] {
        let path = newest(kind);
        let whole = fs::read(&path).expect("a file");
        for damage in damages {
            fs::write(&path, damage(&whole)).expect("written");
            let output = setting.run(&["run", "watch.sql", "--state", "state"]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{kind}: {said}");
            assert!(said.contains("is damaged") && said.contains("--fresh"), "{kind}: {said}");
            let output = setting.run(&["checkpoints", "state", "--verify"]);
            assert_eq!(output.status.code(), Some(1), "{kind}");
            assert!(text(&output.stdout).contains("DAMAGED"), "{}", text(&output.stdout));
        }
        fs::write(&path, whole).expect("written");
    }
    let output = setting.run(&["checkpoints", "state", "--verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

/// The lines of all visible files of a folder, sorted.
fn lines_of(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_visible = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with(['.', '_']);
    let files = files.filter(|file| is_visible(&file.file_name()));
    let text: String = files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_job_whose_disk_is_full_shows_nothing_and_goes_on_when_there_is_room() {
    let setting = Setting::new();
    // Several results, so that the manifest of a checkpoint is long.
    let result = |name: &str| {
        format!(
            "CREATE TABLE {name} (page STRING, n BIGINT) WITH
               ('connector' = 'filesystem', 'path' = '{name}', 'format' = 'json');
             INSERT INTO {name} SELECT page, COUNT(*) FROM TABLE(
               TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
             GROUP BY page, window_start, window_end;"
        )
    };
    let sql: String = ["out", "out2", "out3", "out4"].map(result).concat();
    let tables = TABLES.split("CREATE TABLE views").next().expect("the input's table");
    fs::write(setting.path().join("full.sql"), format!("{tables}{sql}")).expect("written");
    let run = ["run", "full.sql", "--state", "state", "--workers", "2"];
    // No file may be longer than a KiB: a checkpoint's manifest is.
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_tidemill")).args(run);
    command.current_dir(setting.path()).env("INPUT", "clicks.jsonl");
    let output = command.output().expect("bash starts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("manifests/") && said.contains("File too large"), "{said}");
    assert_eq!(lines_of(&setting.path().join("out")), [""; 0], "nothing is visible");
    let output = setting.run(&run);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let expected = [r#"{"page":"a","n":1}"#, r#"{"page":"a","n":2}"#, r#"{"page":"b","n":1}"#];
    assert_eq!(lines_of(&setting.path().join("out")), expected);
}

/// The answer to a request, status line and all.
fn http(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

#[test]
fn metrics_are_served_while_a_job_runs() {
    let setting = Setting::new();
    let demo = ["demo", "inventory", "--rate", "5000", "--metrics", "127.0.0.1:0"];
    let mut command = setting.command(&demo);
    let mut running =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut said = BufReader::new(running.stderr.take().expect("piped")).lines();
    let address = loop {
        let line = said.next().expect("it says where").expect("text");
        if let Some((_, rest)) = line.split_once("metrics are at http://") {
            break rest.trim_end_matches("/metrics").to_owned();
        }
    };
    let said = std::thread::spawn(move || said.count());
    let page = || http(&address, "GET /metrics HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
    let value = |page: &str, name: &str, step: &str| -> Option<f64> {
        // Behind the names of most steps stand their numbers.
        let series = format!("{name}{{job=\"demo-inventory\",step=\"{step}");
        let found = page.lines().find_map(|line| line.strip_prefix(&series))?;
        found.split_once("\"} ")?.1.parse().ok()
    };
    let expected = [
        ("tidemill_rows_out_total", "source pos_transactions", 1.0),
        ("tidemill_source_bytes_total", "source pos_transactions", 1.0),
        ("tidemill_bad_records_total", "source items", 0.0),
        ("tidemill_source_lag_records", "source items", 0.0),
        ("tidemill_rows_in_total", "sink stock_positions", 1.0),
        ("tidemill_watermark_seconds", "window aggregate", 1.7e9),
    ];
    // They come one after the other, as the job gets going.
    let missing = |page: &str| {
        expected.into_iter().find(|&(name, step, at_least)| {
            value(page, name, step).is_none_or(|value| value < at_least)
        })
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let page = loop {
        let page = page();
        if missing(&page).is_none() || Instant::now() > deadline {
            break page;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("text/plain; version=0.0.4"), "{page}");
    assert_eq!(missing(&page), None, "{page}");
    assert!(page.contains("process_resident_memory_bytes{job=\"demo-inventory\"}"), "{page}");
    let elsewhere = http(&address, "GET / HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n");
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
    let killed = Command::new("kill").arg(running.id().to_string()).status().expect("kill");
    assert!(killed.success());
    assert_eq!(running.wait().expect("it ends").code(), Some(0));
    said.join().expect("read to the end");
}

#[test]
fn an_address_where_nobody_can_listen_is_a_wrong_command_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address").to_string();
    let setting = Setting::new();
    for address in ["nonsense", "127.0.0.1", "256.0.0.1:80", &taken] {
        let output = setting.run(&["run", "tables.sql", "query.sql", "--metrics", address]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{address}: {said}");
        assert!(said.contains(address) && said.contains("HOST:PORT"), "{said}");
    }
}
