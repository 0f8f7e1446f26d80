//! [`Setting`]: a job that watches a folder, counts pages in windows and lists those it met, into
//! files. What it has to give is counted by hand, so tests that ill-treat it know what is right.

use crate::support::{finish, tidemill};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nothing here takes longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(180);

const JOB: &str = "
CREATE TABLE clicks (page STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector' = 'filesystem', 'path' = 'in', 'format' = 'json'${WATCH:-});
CREATE TABLE views (page STRING, since TIMESTAMP(3), n BIGINT)
WITH ('connector' = 'filesystem', 'path' = 'views', 'format' = 'json',
      'sink.rolling-policy.file-size' = '${PART:-1 b}');
CREATE TABLE pages (page STRING)
WITH ('connector' = 'filesystem', 'path' = 'pages', 'format' = 'json',
      'sink.rolling-policy.file-size' = '${PART:-1 b}');
EXECUTE STATEMENT SET BEGIN
INSERT INTO views SELECT page, window_start, COUNT(*)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY page, window_start, window_end;
INSERT INTO pages SELECT DISTINCT page FROM clicks;
END;
";

/// Pages that are clicked in turn, one click each 100 ms.
const PAGES: usize = 5;
/// Clicks in a window: twenty on each page.
const WINDOW_CLICKS: usize = 100;

/// A job in a folder of its own.
pub struct Setting {
    folder: TempDir,
    /// Variables of every process.
    pub environment: Vec<(&'static str, String)>,
    /// Options of every run: `name=value`.
    pub options: Vec<String>,
    /// Clicks that are in the input.
    clicks: usize,
    files: usize,
}

impl Setting {
    pub fn new() -> Setting {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("clicks.sql"), JOB).expect("written");
        fs::create_dir(folder.path().join("in")).expect("a folder");
        let (environment, options) = (Vec::new(), Vec::new());
        Setting { folder, environment, options, clicks: 0, files: 0 }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Moves a file of so many windows of clicks in.
    pub fn click(&mut self, windows: usize) {
        let clicks = self.clicks..self.clicks + windows * WINDOW_CLICKS;
        self.clicks = clicks.end;
        let click = |i: usize| {
            let (page, at) = (i % PAGES, time(i * 100));
            format!("{{\"page\":\"p{page}\",\"ts\":\"{at}\"}}\n")
        };
        self.feed(clicks.map(click).collect());
    }

    /// Moves a click in that closes all windows.
    pub fn close_windows(&mut self) {
        self.feed("{\"page\":\"end\",\"ts\":\"2026-01-02 00:00:00\"}\n".to_owned());
    }

    pub fn feed(&mut self, text: String) {
        fs::write(self.path("next"), text).expect("written");
        let name = format!("in/{:04}.jsonl", self.files);
        fs::rename(self.path("next"), self.path(&name)).expect("moved");
        self.files += 1;
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tidemill();
        command.args(arguments).current_dir(self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The job, with its own files in the directory `state`.
    pub fn job(&self, state: &str) -> Command {
        let mut command = self.command(&["run", "clicks.sql", "--state", state, "--workers", "2"]);
        command.args(["-D", "execution.checkpointing.interval=50 ms"]);
        command.args(self.options.iter().flat_map(|option| ["-D", option.as_str()]));
        command
    }

    /// The job, which goes on for ever and waits little before it starts again.
    pub fn endless_job(&self, state: &str) -> Command {
        let mut command = self.job(state);
        command.env("WATCH", ", 'source.monitor-interval' = '20 ms'");
        command.args(["-D", "restart-strategy.exponential-delay.initial-backoff=100 ms"]);
        command
    }

    pub fn start(&self) -> Running {
        Running::start(self.endless_job("state"))
    }

    /// Whether everything has come out that can be told for certain.
    pub fn is_complete(&self) -> bool {
        rows(&self.path("views")).len() >= self.clicks / WINDOW_CLICKS * PAGES
            && rows(&self.path("pages")).len() >= PAGES
    }

    /// Fails unless each window of each page is there once with its clicks, and each page once.
    pub fn check(&self) {
        let mut counts = BTreeMap::new();
        for view in rows(&self.path("views")) {
            let [page, since] = ["page", "since"].map(|name| view[name].to_string());
            let before = counts.insert((page.clone(), since), view["n"].as_u64());
            assert_eq!(before, None, "a window is there twice: {view}");
            let expected = if page.contains("end") { 1 } else { WINDOW_CLICKS / PAGES };
            assert_eq!(view["n"], expected, "{view}");
        }
        counts.retain(|(page, _), _| !page.contains("end"));
        assert_eq!(counts.len(), self.clicks / WINDOW_CLICKS * PAGES, "windows are missing");
        let pages: Vec<String> =
            rows(&self.path("pages")).iter().map(|row| row["page"].to_string()).collect();
        let different: BTreeSet<&String> = pages.iter().collect();
        assert_eq!(different.len(), pages.len(), "a page is there twice: {pages:?}");
    }
}

/// A time of the first day of 2026.
fn time(ms: usize) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("2026-01-01 {hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}

/// The rows of all visible files of a folder.
pub fn rows(folder: &Path) -> Vec<serde_json::Value> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let visible = files.filter(|file| !file.file_name().to_string_lossy().starts_with(['.', '_']));
    let text: String = visible.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

pub fn run(command: Command) -> Output {
    finish(command, PATIENCE).unwrap_or_else(|error| panic!("{error}"))
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A job at work. Dropping it kills it.
pub struct Running {
    pub child: Child,
    heard: Arc<Mutex<Vec<u8>>>,
    /// Hears until the pipe closes.
    ear: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        let piped = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("a job");
        let mut stderr = child.stderr.take().expect("a pipe");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        let ear = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut bytes) {
                hears.lock().expect("nobody panics with it").extend_from_slice(&bytes[..read]);
            }
        });
        Running { child, heard, ear: Some(ear) }
    }

    pub fn said(&self) -> String {
        let heard = self.heard.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Waits until something is so; fails if the job ends before.
    pub fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&Running) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            let status = self.child.try_wait().expect("a status");
            assert!(status.is_none(), "{status:?} before {what}: {}", self.said());
            assert!(Instant::now() < deadline, "waiting for {what}: {}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it has said something.
    pub fn wait_to_hear(&mut self, what: &str) {
        self.wait_until(what, |running| running.said().contains(what));
    }

    /// Waits for the end, which must have this exit status, and gives all that was said.
    pub fn wait_for_end(&mut self, code: i32) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                self.ear.take().map(JoinHandle::join);
                assert_eq!(status.code(), Some(code), "{}", self.said());
                return self.said();
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM; the end must be clean.
    pub fn stop(&mut self) -> String {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("a signal");
        self.wait_for_end(0)
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("a status");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
