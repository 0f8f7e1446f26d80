//! Nexmark's queries over the events for which Apache Flink's answers are known, where those stand
//! beside the repository: in order and shuffled, by several numbers of workers, and killed.

use crate::rows::{Row, columns_of, compare, expected_rows, fold};
use crate::suite::in_parallel;
use crate::support::{finish, tidemill};
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// The folder of events and answers, if it is there.
fn nexmark() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/nexmark");
    let is_there = folder.join("expected").is_dir();
    if !is_there {
        eprintln!("skipped: {} is not there", folder.display());
    }
    is_there.then_some(folder)
}

/// The queries that have an answer, with it.
fn answers(nexmark: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(nexmark.join("expected")).expect("answers").flatten();
    let mut answers: Vec<(String, String)> = files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            let file = File::open(file.path()).expect("an answer");
            let mut text = String::new();
            let (query, read) = match name.strip_suffix(".csv.gz") {
                Some(query) => (query, GzDecoder::new(file).read_to_string(&mut text)),
                None => (name.trim_end_matches(".csv"), (&file).read_to_string(&mut text)),
            };
            read.expect("text");
            (query.to_owned(), text)
        })
        .collect();
    answers.sort();
    assert_eq!(answers.len(), 22);
    answers
}

/// One run of a query in a folder of its own.
struct Run<'a> {
    nexmark: &'a Path,
    query: &'a str,
    events: &'a str,
    folder: tempfile::TempDir,
}

impl<'a> Run<'a> {
    fn new(nexmark: &'a Path, query: &'a str, events: &'a str) -> Self {
        Run { nexmark, query, events, folder: tempfile::tempdir().expect("a folder") }
    }

    fn texts(&self) -> [PathBuf; 2] {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/nexmark");
        [own.join("ddl.sql"), own.join(format!("{}.sql", self.query))]
    }

    fn command(&self, workers: usize) -> Command {
        let file = |name: &str| self.nexmark.join(name).display().to_string();
        let table = |connector: &str, path: &str, format: &str| {
            format!("'connector' = '{connector}', 'path' = '{path}', 'format' = '{format}'")
        };
        let source = table("filesystem", &file(self.events), "json");
        let out = self.folder.path().join("out").display().to_string();
        let sink = table("filesystem", &out, "debezium-json");
        let mut command = tidemill();
        command.arg("run").args(self.texts()).current_dir(self.folder.path());
        command.args(["--state", "state", "--workers", &workers.to_string()]);
        let definitions = [
            ("SOURCE", source),
            ("SINK", sink),
            ("SIDE_INPUT", file("side_input.txt")),
            ("OUTPUT", out),
            ("tidemill.epoch.max-rows", "2000".to_owned()),
            ("execution.checkpointing.interval", "20 ms".to_owned()),
        ];
        for (name, value) in definitions {
            command.args(["-D", &format!("{name}={value}")]);
        }
        command
    }

    fn to_its_end(&self, workers: usize) -> Result<(), String> {
        let output = finish(self.command(workers), PATIENCE)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Starts the job and kills it as soon as it has a checkpoint. Says whether it came to that
    /// before its end.
    fn killed(&self, workers: usize) -> Result<bool, String> {
        let mut command = self.command(workers);
        let mut job = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        let is_killed = loop {
            if let Some(status) = job.try_wait().map_err(|e| e.to_string())? {
                if !status.success() {
                    return Err(format!("before it was killed: {status}"));
                }
                break false;
            }
            let manifests = fs::read_dir(self.folder.path().join("state/checkpoints/manifests"));
            if manifests.is_ok_and(|mut manifests| manifests.next().is_some()) {
                job.kill().map_err(|e| e.to_string())?;
                break true;
            }
            assert!(Instant::now() < deadline, "{} neither ends nor has a checkpoint", self.query);
            thread::sleep(Duration::from_millis(1));
        };
        job.wait().map_err(|e| e.to_string())?;
        Ok(is_killed)
    }

    fn compare(&self, answer: &str) -> Result<(), String> {
        let sql = fs::read_to_string(&self.texts()[1]).map_err(|e| e.to_string())?;
        let columns = columns_of(&sql, "answer");
        let out = self.folder.path().join("out");
        let rows = match self.query {
            "q10" => partitioned(&out, &columns)?,
            // Where nothing was written there is no folder.
            _ if !out.exists() => Default::default(),
            _ => fold(&out, &columns)?,
        };
        compare(&rows, &expected_rows(answer, &columns))
    }
}

/// The rows of a table in a folder for each day and minute, all of which must be committed.
fn partitioned(out: &Path, columns: &[(String, String)]) -> Result<BTreeMap<Row, i64>, String> {
    let folders = |of: &Path| -> Vec<PathBuf> {
        fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let value = |folder: &Path| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split_once('=').map(|(_, value)| value.replace("%3A", ":")).unwrap_or(name)
    };
    let mut text = "header\n".to_owned();
    for day in folders(out) {
        for minute in folders(&day) {
            if !minute.join("_SUCCESS").is_file() {
                return Err(format!("{} is not committed", minute.display()));
            }
            for part in folders(&minute).iter().filter(|path| !path.ends_with("_SUCCESS")) {
                let part = fs::read_to_string(part).map_err(|e| e.to_string())?;
                for line in part.lines() {
                    text += &format!("{line},{},{}\n", value(&day), value(&minute));
                }
            }
        }
    }
    Ok(expected_rows(&text, columns))
}

/// Fails with all that went wrong.
fn report(outcomes: Vec<(String, Result<(), String>)>) {
    let failures: Vec<String> = (outcomes.into_iter())
        .filter_map(|(run, outcome)| Some(format!("{run}: {}", outcome.err()?)))
        .collect();
    assert!(failures.is_empty(), "{} run(s) fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn queries_give_what_flink_gives() {
    let Some(nexmark) = nexmark() else { return };
    let answers = answers(&nexmark);
    let events = ["small.json.gz", "small_shuffled.json.gz"];
    let runs: Vec<_> = (answers.iter())
        .flat_map(|answer| events.map(|events| (answer, events)))
        .flat_map(|(answer, events)| [1, 2, 4].map(|workers| (answer, events, workers)))
        .collect();
    report(in_parallel(&runs, |((query, answer), events, workers)| {
        let run = Run::new(&nexmark, query, events);
        let outcome = run.to_its_end(*workers).and_then(|()| run.compare(answer));
        (format!("{query} over {events} by {workers}"), outcome)
    }));
}

#[test]
fn queries_that_are_killed_give_what_flink_gives() {
    let Some(nexmark) = nexmark() else { return };
    let answers = answers(&nexmark);
    let killed = AtomicUsize::new(0);
    report(in_parallel(&answers, |(query, answer)| {
        let run = Run::new(&nexmark, query, "small_shuffled.json.gz");
        let outcome = run.killed(2).and_then(|is_killed| {
            killed.fetch_add(usize::from(is_killed), Ordering::Relaxed);
            run.to_its_end(if query.as_str() < "q2" { 1 } else { 3 })
                .and_then(|()| run.compare(answer))
        });
        (format!("{query}, killed"), outcome)
    }));
    let killed = killed.into_inner();
    assert!(2 * killed > answers.len(), "only {killed} jobs were killed in the middle");
}
