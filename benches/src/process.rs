//! Contestants: processes, and what each used of the machine.

use anyhow::{Context, ensure};
use std::fs::File;
use std::io::{Read, Seek};
use std::mem::MaybeUninit;
use std::path::PathBuf;
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
