//! The binary against a real Kafka broker: records in, records out, what was promised in between.

#[path = "../../../../connectors/tests/kafka/broker.rs"]
mod broker;
mod demo;
mod exactly_once;
mod outages;
mod results;
mod shipped_jobs;
mod topics;
mod verify;
mod wrong_input;

use crate::support::{finish, tidemill};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing here takes longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A job in a folder of its own, which goes with it.
struct Job {
    folder: TempDir,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Job {
    /// A job file of this text, run by two workers.
    fn new(sql: &str) -> Job {
        Job::with_workers_from_session(sql).define("parallelism.default", "2")
    }

    /// A job file of this text.
    fn with_workers_from_session(sql: &str) -> Job {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("job.sql"), sql).expect("a job file");
        let arguments = ["run", "job.sql"].map(String::from).into();
        Job { folder, arguments, environment: Vec::new() }
    }

    /// One of the jobs that are shipped.
    fn shipped(name: &str) -> Job {
        let mut job = Job::new("");
        job.arguments[1] = name.to_owned();
        job
    }

    fn argument(mut self, argument: &str) -> Job {
        self.arguments.push(argument.to_owned());
        self
    }

    fn define(self, name: &str, value: &str) -> Job {
        self.argument("-D").argument(&format!("{name}={value}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = tidemill();
        command
            .args(&self.arguments)
            .args(["--state", "state", "--summary", "summary.json"])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path());
        command
    }

    /// Runs the job to its end; it must be `code`. Returns what was said.
    fn run(&self, code: i32) -> String {
        let output = finish(self.command(), PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }

    /// Starts a job that does not end by itself.
    fn start(&self) -> Running {
        self.start_as(self.command())
    }

    /// Starts it with so many workers, lingering for so long at the places in a checkpoint's
    /// commit where a death matters most.
    fn start_slow(&self, workers: u64, slow_ms: u64) -> Running {
        let mut command = self.command();
        command.args(["-D", &format!("parallelism.default={workers}")]);
        command.env("TIDEMILL_TEST_SLOW_MS", slow_ms.to_string());
        self.start_as(command)
    }

    fn start_as(&self, mut command: Command) -> Running {
        let path = self.path("stderr");
        let stderr = File::create(&path).expect("a file");
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().expect("a job");
        Running { child, said: path }
    }

    /// The summary that the last run wrote.
    fn summary(&self) -> Value {
        let text = fs::read_to_string(self.path("summary.json")).expect("a summary");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Dead letters of a table, or `late` ones.
    fn dead_letters(&self, name: &str) -> Vec<Value> {
        let path = self.path("state/dead-letters").join(format!("{name}.jsonl"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

/// A job at work. Dropping it kills it.
struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    /// Asks until there is an answer; fails if the job ends before.
    fn wait_for<T>(&mut self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            let status = self.child.try_wait().expect("a status");
            assert!(
                status.is_none(),
                "the job ended with {status:?} before {what}: {}",
                self.said()
            );
            assert!(Instant::now() < deadline, "waiting for {what}: {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends SIGTERM and waits for the end, which must be clean. Returns what was said.
    fn stop(&mut self) -> String {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("a signal");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not stop: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0), "{}", self.said());
        self.said()
    }

    /// Sends SIGKILL.
    fn kill(&mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("a status");
    }

    /// Fails if it has ended.
    fn assert_running(&mut self) {
        let status = self.child.try_wait().expect("a status");
        assert!(status.is_none(), "the job ended with {status:?}: {}", self.said());
    }

    fn said(&self) -> String {
        fs::read_to_string(Path::new(&self.said)).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
