//! The binary on a disk that fills up under it: what was shown stays, nothing else is, and it goes on by
//! itself when there is room.
//!
//! That a job whose input ends fails and goes on at its next start, that a damaged checkpoint is
//! refused, and that two processes don't share a state directory, is in `cli.rs`.

use crate::watching::{Running, Setting, rows, run, said};
use std::fs;
use std::process::Command;

/// Lets a process write files of so many bytes and no longer ones.
fn limit_files(running: &Running, bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    let pid = running.child.id() as libc::pid_t;
    // SAFETY: the limit is read while it is there, and the old one is not asked for.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// The job as a process that gets an error, not a signal, if a file may not grow.
fn start(setting: &Setting) -> Running {
    let job = setting.endless_job("state");
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    command.arg(job.get_program()).args(job.get_args()).current_dir(setting.path(""));
    let variables = job.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.envs(variables);
    Running::start(command)
}

#[test]
fn a_job_without_end_goes_on_by_itself_when_its_disk_has_room_again() {
    let mut setting = Setting::new();
    setting.click(3);
    setting.close_windows();
    let mut running = start(&setting);
    running.wait_until("results", |_| setting.is_complete());
    limit_files(&running, 0);
    setting.feed("{\"page\":\"p9\",\"ts\":\"2026-01-03 00:00:00\"}\n".to_owned());
    running.wait_to_hear("starting again in");
    assert!(running.said().contains("File too large"), "{}", running.said());
    setting.check();
    let is_there = |_: &Running| rows(&setting.path("pages")).iter().any(|row| row["page"] == "p9");
    assert!(!is_there(&running), "it is visible without a checkpoint");
    limit_files(&running, libc::RLIM_INFINITY);
    running.wait_until("the rest", is_there);
    running.stop();
    setting.check();
}

#[test]
fn a_damaged_identity_is_refused_and_never_replaced() {
    let mut setting = Setting::new();
    setting.click(1);
    let mut running = setting.start();
    running.wait_until("a checkpoint", |_| setting.path("state/checkpoints/committed").exists());
    running.stop();
    let identity = setting.path("state/job");
    let whole = fs::read(&identity).expect("an identity");
    for damaged in [&whole[..whole.len() / 2], b""] {
        fs::write(&identity, damaged).expect("written");
        let output = run(setting.endless_job("state"));
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("'job' is damaged"), "{}", said(&output));
        assert_eq!(fs::read(&identity).expect("still there"), damaged);
    }
    fs::write(&identity, whole).expect("written");
    setting.close_windows();
    let mut running = setting.start();
    running.wait_until("all results", |_| setting.is_complete());
    running.stop();
    setting.check();
}
