//! The binary on a machine whose clock is set forth and back by hours and days, between its runs and
//! under it: results are what they are on any other, and epochs only rise.
//!
//! The clock is `libfaketime`'s, which stands between a process and the system; it is asked anew for
//! each call, so a test sets it by writing a file. Without the library the tests say that they are
//! skipped, and fail where `CI` is set. Only the time of day jumps, as on a real machine: what measures
//! how long something takes goes on.

use crate::watching::{Running, Setting};
use std::fs;
use std::path::PathBuf;

/// The library, or `None` where there is none and tests may be skipped.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let files = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let library = files.into_iter().find(|path| path.exists());
    if library.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no libfaketime: install the package faketime");
        eprintln!("skipped: no libfaketime");
    }
    library
}

/// A job whose clock is what the file `clock` says it is, such as `-5h`.
fn setting_with_clock() -> Option<Setting> {
    let library = library()?;
    let mut setting = Setting::new();
    let clock = setting.path("clock");
    setting.environment = vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    Some(setting)
}

/// Sets the clock, in one piece.
fn set_clock(setting: &Setting, offset: &str) {
    fs::write(setting.path("next-clock"), offset).expect("written");
    fs::rename(setting.path("next-clock"), setting.path("clock")).expect("moved");
}

/// Number, epoch and time of the newest checkpoint that can be read.
fn newest(setting: &Setting) -> Option<(u64, u64, i64)> {
    let manifests = fs::read_dir(setting.path("state/checkpoints/manifests"));
    let manifests = manifests.into_iter().flatten().flatten();
    let manifests = manifests.filter(|file| !file.file_name().to_string_lossy().starts_with('.'));
    let read = |text: String| {
        let manifest: serde_json::Value = serde_json::from_str(text.lines().next()?).ok()?;
        let (number, epoch) = (manifest["number"].as_u64()?, manifest["epoch"].as_u64()?);
        Some((number, epoch, manifest["created_ms"].as_i64()?))
    };
    manifests.filter_map(|file| read(fs::read_to_string(file.path()).ok()?)).max()
}

/// Moves a file in and waits for a checkpoint, whose epoch must be a later one.
fn click(setting: &mut Setting, running: &mut Running, last: &mut (u64, u64, i64)) {
    let before = *last;
    setting.click(2);
    running.wait_until("a checkpoint", |_| newest(setting).is_some_and(|now| now.0 > before.0));
    *last = newest(setting).expect("a checkpoint");
    assert!(last.1 > before.1, "epochs fell: {before:?} {last:?}");
}

#[test]
fn a_clock_that_jumps_between_runs_and_under_them_changes_no_result() {
    let Some(mut setting) = setting_with_clock() else { return };
    let mut last = (0, 0, 0);
    let mut times_ms = Vec::new();
    // Each run begins at the one, and goes on at the other.
    let runs = [("+0h", "+7h"), ("-9h", "-30h"), ("+40d", "-2d"), ("-1h", "+400d"), ("+0h", "-5h")];
    for (at_first, then) in runs {
        set_clock(&setting, at_first);
        let mut running = setting.start();
        click(&mut setting, &mut running, &mut last);
        times_ms.push(last.2);
        set_clock(&setting, then);
        click(&mut setting, &mut running, &mut last);
        click(&mut setting, &mut running, &mut last);
        times_ms.push(last.2);
        running.kill();
    }
    let jumps = times_ms.windows(2).filter(|pair| (pair[1] - pair[0]).abs() > 3_000_000).count();
    assert_eq!(jumps, times_ms.len() - 1, "the clock did not jump: {times_ms:?}");
    setting.close_windows();
    let mut running = setting.start();
    running.wait_until("all results", |_| setting.is_complete());
    running.stop();
    setting.check();
}
