//! The binary with its checkpoints in a bucket: whatever the bucket does, and whenever the process
//! dies, a job gives what it would have given without, or refuses and says what helps.

use crate::s3::{Bucket, Faults, URL};
use crate::watching::{Running, Setting, rows, run, said};
use std::fs;
use std::process::Output;
use std::time::Duration;

/// A job that keeps its checkpoints in a bucket.
fn setting_in(bucket: &Bucket) -> Setting {
    let mut setting = Setting::new();
    setting.environment = bucket.environment();
    setting.options.push(format!("state.checkpoints.dir={}", bucket.url()));
    setting
}

/// Looks at every byte of the checkpoints.
fn verify(setting: &Setting) -> Output {
    run(setting.command(&["checkpoints", "state", "--verify", "--from", URL]))
}

/// Kills the job again and again, each time when it has written to the bucket, and lets it finish.
fn endure(faults: Faults, kills: usize) {
    let bucket = Bucket::open();
    let mut setting = setting_in(&bucket);
    bucket.set(faults);
    for life in 0..kills {
        setting.click(3);
        let before = bucket.names("manifests");
        let mut running = setting.start();
        // Each start leaves a mark among them. Lives end at different distances from a checkpoint.
        let is_written = |_: &Running| {
            let now = bucket.names("manifests");
            let mut new = now.iter().filter(|name| !before.contains(name));
            new.any(|name| bucket.read(name).is_some_and(|bytes| !bytes.starts_with(b"fence")))
        };
        running.wait_until("a checkpoint", is_written);
        std::thread::sleep(Duration::from_millis(37 * life as u64));
        running.kill();
    }
    setting.click(2);
    setting.close_windows();
    let mut running = setting.start();
    running.wait_until("all results", |_| setting.is_complete());
    running.stop();
    setting.check();
    let output = verify(&setting);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(": committed") && !printed.contains("DAMAGED"), "{printed}");
}

#[test]
fn a_job_with_its_checkpoints_in_a_bucket_is_exact_however_often_it_is_killed() {
    endure(Faults::default(), 6);
}

#[test]
fn a_bucket_that_refuses_some_requests_and_leaves_others_unanswered_makes_nothing_wrong() {
    let (refuses_each, leaves_unanswered_each) = (Some(7), Some(5));
    endure(Faults { refuses_each, leaves_unanswered_each, ..Faults::default() }, 6);
}

#[test]
fn a_slow_bucket_makes_results_late_and_not_wrong() {
    endure(Faults { delay: Duration::from_millis(250), ..Faults::default() }, 2);
}

/// A job without end that has shown all its results.
fn begun(setting: &mut Setting) -> Running {
    setting.click(3);
    setting.close_windows();
    let mut running = setting.start();
    running.wait_until("results", |_| setting.is_complete());
    running
}

/// Gives it one more page.
fn feed_the_rest(setting: &mut Setting) {
    setting.feed("{\"page\":\"p9\",\"ts\":\"2026-01-03 00:00:00\"}\n".to_owned());
}

/// Whether that page is visible.
fn shows_the_rest(setting: &Setting) -> bool {
    rows(&setting.path("pages")).iter().any(|row| row["page"] == "p9")
}

#[test]
fn a_job_without_end_waits_for_a_bucket_that_is_down_and_goes_on() {
    let bucket = Bucket::open();
    let mut setting = setting_in(&bucket);
    let mut running = begun(&mut setting);
    bucket.set(Faults { is_down: true, ..Faults::default() });
    feed_the_rest(&mut setting);
    running.wait_to_hear("starting again in");
    assert!(!shows_the_rest(&setting), "it is visible without a checkpoint");
    bucket.set(Faults::default());
    running.wait_until("the rest", |_| shows_the_rest(&setting));
    running.stop();
    setting.check();
}

/// Runs a job whose input ends while something is wrong with the bucket: it must fail, say some
/// things and show nothing; and when nothing is wrong any more, it must give its results.
fn fails_until_it_is_mended(faults: Faults, says: &[&str]) {
    let bucket = Bucket::open();
    let mut setting = setting_in(&bucket);
    setting.click(3);
    bucket.set(faults);
    let output = run(setting.job("state"));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for part in says {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    assert_eq!(rows(&setting.path("views")), [serde_json::Value::Null; 0]);
    bucket.set(Faults::default());
    let output = run(setting.job("state"));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(setting.is_complete(), "{}", said(&output));
    setting.check();
}

#[test]
fn a_job_whose_bucket_is_full_says_so_and_goes_on_when_there_is_room() {
    let says = [URL, "QuotaExceeded", "its quota"];
    fails_until_it_is_mended(Faults { is_full: true, ..Faults::default() }, &says);
}

#[test]
fn a_job_whose_bucket_is_down_says_so_and_goes_on_when_it_is_back() {
    let says = [URL, "AWS_ENDPOINT", "start the job again"];
    fails_until_it_is_mended(Faults { is_down: true, ..Faults::default() }, &says);
}

#[test]
fn a_bucket_that_fills_up_under_a_job_takes_back_nothing_that_was_shown() {
    let bucket = Bucket::open();
    let mut setting = setting_in(&bucket);
    let mut running = begun(&mut setting);
    bucket.set(Faults { is_full: true, ..Faults::default() });
    feed_the_rest(&mut setting);
    running.wait_to_hear("starting again in");
    running.kill();
    setting.check();
    bucket.set(Faults::default());
    let mut running = setting.start();
    running.wait_until("the rest", |_| shows_the_rest(&setting));
    running.stop();
    setting.check();
}

#[test]
fn a_bucket_that_is_not_there_or_not_ours_is_refused_with_what_helps() {
    let bucket = Bucket::open();
    let mut setting = setting_in(&bucket);
    setting.click(1);
    let mut stranger = setting.job("state");
    stranger.env("AWS_ACCESS_KEY_ID", "stranger");
    let mut lost = setting.job("state");
    lost.args(["-D", "state.checkpoints.dir=s3://elsewhere/deep"]);
    for (command, helps) in [(stranger, "AWS_ACCESS_KEY_ID"), (lost, "there is no such bucket")] {
        let output = run(command);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(helps), "{}", said(&output));
    }
}

#[test]
fn a_bucket_is_no_state_directory() {
    let bucket = Bucket::open();
    let setting = setting_in(&bucket);
    let output = run(setting.command(&["run", "clicks.sql", "--state", "s3://bucket/deep"]));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("state.checkpoints.dir"), "{}", said(&output));
    let output = run(setting.command(&["checkpoints", "s3://bucket/deep"]));
    assert!(said(&output).contains("--from"), "{}", said(&output));
    assert!(!setting.path("s3:").exists(), "no folder of that name is made");
}

#[test]
fn damage_in_a_bucket_is_found_and_never_gone_on_from() {
    let bucket = Bucket::open();
    let mut setting = setting_in(&bucket);
    setting.click(3);
    let mut running = setting.start();
    running.wait_until("a checkpoint", |_| !bucket.names("committed").is_empty());
    running.stop();
    for folder in ["manifests", "state"] {
        let name = bucket.names(folder).pop().expect("an object");
        let whole = bucket.read(&name).expect("it is there still");
        let (mut flipped, cut) = (whole.clone(), whole[..whole.len() / 2].to_vec());
        flipped[whole.len() / 3] ^= 1;
        for damaged in [flipped, cut] {
            bucket.replace(&name, damaged);
            let output = verify(&setting);
            assert_eq!(output.status.code(), Some(1), "{folder}: {}", said(&output));
            assert!(String::from_utf8_lossy(&output.stdout).contains("DAMAGED"), "{folder}");
            let output = run(setting.endless_job("state"));
            assert_eq!(output.status.code(), Some(1), "{folder}: {}", said(&output));
            assert!(said(&output).contains("is damaged"), "{folder}: {}", said(&output));
        }
        bucket.replace(&name, whole);
    }
    setting.close_windows();
    let mut running = setting.start();
    running.wait_until("all results", |_| setting.is_complete());
    running.stop();
    setting.check();
}

/// The job's directory on another machine: all that is left of the old one is its identity.
fn other_machine(setting: &Setting, state: &str) {
    fs::create_dir(setting.path(state)).expect("a folder");
    let identity = |state: &str| setting.path(state).join("job");
    fs::copy(identity("state"), identity(state)).expect("copied");
}

#[test]
fn a_job_goes_on_on_another_machine_from_its_bucket_and_its_identity() {
    let bucket = Bucket::open();
    let mut setting = setting_in(&bucket);
    setting.click(3);
    let mut running = setting.start();
    running.wait_until("a checkpoint", |_| !bucket.names("committed").is_empty());
    running.kill();
    other_machine(&setting, "elsewhere");
    fs::remove_dir_all(setting.path("state")).expect("gone");
    setting.click(2);
    setting.close_windows();
    let mut running = Running::start(setting.endless_job("elsewhere"));
    running.wait_until("all results", |_| setting.is_complete());
    assert!(running.stop().contains("going on from checkpoint"), "{}", running.said());
    setting.check();
}

#[test]
fn of_two_machines_that_run_one_job_the_older_one_ends_and_nothing_is_written_twice() {
    let bucket = Bucket::open();
    let mut setting = setting_in(&bucket);
    setting.click(3);
    // It keeps its parts open, so that it could go on writing to what the newer one has shown.
    let mut keeps_open = setting.endless_job("state");
    keeps_open.env("PART", "128 MB");
    let mut older = Running::start(keeps_open);
    older.wait_until("a checkpoint", |_| !bucket.names("committed").is_empty());
    other_machine(&setting, "elsewhere");
    let mut newer = Running::start(setting.endless_job("elsewhere"));
    newer.wait_to_hear("going on from checkpoint");
    setting.click(2);
    setting.close_windows();
    let said = older.wait_for_end(1);
    assert!(said.contains("two run this job"), "{said}");
    newer.wait_until("all results", |_| setting.is_complete());
    newer.stop();
    setting.check();
}
