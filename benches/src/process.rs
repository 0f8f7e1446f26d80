//! Contestants: processes, and what each used of the machine.

use anyhow::{Context, ensure};
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// As its first argument it makes this binary `tidemill` itself.
pub const ENGINE: &str = "tidemill";

/// What a process used, from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time that passed.
    pub wall: Duration,
    /// Processor time of all its threads, user and system.
    pub cpu: Duration,
    /// The most memory it held.
    pub peak_bytes: u64,
}

impl Usage {
    /// That of less processor time, with the less wall time of both.
    #[must_use]
    pub fn cheaper(self, other: Self) -> Self {
        let best = if other.cpu < self.cpu { other } else { self };
        Usage { wall: self.wall.min(other.wall), ..best }
    }
}

/// What a contestant used over all rows, and over the few that only measure starting.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// Over all rows.
    pub full: Usage,
    /// Over few.
    pub start: Usage,
}

impl Runs {
    /// The cheaper run of each kind.
    #[must_use]
    pub fn cheaper(self, other: Self) -> Self {
        Runs { full: self.full.cheaper(other.full), start: self.start.cheaper(other.start) }
    }

    /// Microseconds of processor time for each of so many more rows.
    pub fn cpu_us(&self, rows: u64) -> f64 {
        self.full.cpu.saturating_sub(self.start.cpu).as_secs_f64() * 1e6 / rows as f64
    }

    /// Microseconds that passed for each of so many more rows.
    pub fn wall_us(&self, rows: u64) -> f64 {
        self.full.wall.saturating_sub(self.start.wall).as_secs_f64() * 1e6 / rows as f64
    }
}

/// The geometric mean of some ratios.
pub fn geometric_mean(ratios: &[f64]) -> f64 {
    (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp()
}

/// What the engine says of its run.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Summary {
    /// Rows read.
    pub rows_in: u64,
    /// Rows written.
    pub rows_out: u64,
    /// Rows that came too late.
    pub late_rows: u64,
    /// State held at the end.
    #[serde(default)]
    pub state_bytes: u64,
    /// Epochs that the rows were read in.
    #[serde(default)]
    pub epochs: u64,
}

impl Summary {
    /// Reads what a run has left.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Makes sure that all events counted.
    pub fn check(&self, events: u64) -> anyhow::Result<()> {
        ensure!(self.rows_in == events, "not all was read: {self:?}");
        ensure!(self.late_rows == 0, "rows were late: {self:?}");
        Ok(())
    }
}

/// Removes what a run has written.
pub fn clear(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// A command for the engine: another build of it, or this one.
pub fn engine(other: Option<&PathBuf>) -> anyhow::Result<Command> {
    if let Some(path) = other {
        return Ok(Command::new(path));
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(ENGINE);
    Ok(command)
}

/// Runs a process to its end. If it fails, the error shows what it said.
pub fn measure(command: &mut Command) -> anyhow::Result<Usage> {
    let mut log = tempfile::tempfile()?;
    let to_log = |log: &File| anyhow::Ok(Stdio::from(log.try_clone()?));
    command.stdin(Stdio::null()).stdout(to_log(&log)?).stderr(to_log(&log)?);
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
    let (status, mut usage) = wait(child.id())?;
    usage.wall = started.elapsed();
    if status != 0 {
        let mut said = String::new();
        log.rewind()?;
        log.read_to_string(&mut said)?;
        ensure!(status == 0, "{command:?} ended with status {status}: {said}");
    }
    Ok(usage)
}

/// Processor time that this thread has used.
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it points to memory of the right type that outlives the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "every thread has this clock");
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Waits for a child process: its exit status, and what the system says it used.
fn wait(pid: u32) -> anyhow::Result<(i32, Usage)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both point to memory of the right type that outlives the call, and zeros are a
    // valid `rusage`, should the call not fill it.
    let (waited, usage) = unsafe {
        let waited = libc::wait4(pid.cast_signed(), &mut status, 0, usage.as_mut_ptr());
        (waited, usage.assume_init())
    };
    ensure!(waited == pid.cast_signed(), "waiting: {}", std::io::Error::last_os_error());
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs())
            + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    let cpu = time(usage.ru_utime) + time(usage.ru_stime);
    let peak_bytes = usage.ru_maxrss.unsigned_abs() * 1024;
    let status = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
    Ok((status, Usage { wall: Duration::ZERO, cpu, peak_bytes }))
}
