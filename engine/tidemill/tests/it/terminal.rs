//! What a person sees: `tidemill demo` on a terminal of 80 columns and 24 lines, and elsewhere.

use crate::support::tidemill;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";

/// Both ends of a terminal: the process's and ours.
fn terminal() -> (OwnedFd, File) {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let null = std::ptr::null_mut();
    // SAFETY: the call writes two descriptors, which then are ours to own, and reads the size.
    unsafe {
        assert_eq!(libc::openpty(&mut ours, &mut theirs, null, null.cast(), &size), 0);
        (OwnedFd::from_raw_fd(theirs), File::from(OwnedFd::from_raw_fd(ours)))
    }
}

/// Starts a command on a terminal. What the terminal is sent can be read.
fn start(mut command: Command) -> (Child, File) {
    let (theirs, ours) = terminal();
    let end = || Stdio::from(theirs.try_clone().expect("a descriptor"));
    command.stdin(end()).stdout(end()).stderr(end());
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1");
    (command.spawn().expect("the binary starts"), ours)
}

/// Reads until the text appears, or to the end if it never does. The other end's closing is an
/// error of its own on a terminal.
fn read_until(terminal: &mut File, wanted: &str) -> String {
    let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(count) = terminal.read(&mut bytes) {
        seen.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&seen);
        if count == 0 || text.contains(wanted) {
            break;
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

fn demo(more: &[&str]) -> Command {
    let mut command = tidemill();
    command.arg("demo").args(more);
    command
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
}

#[test]
fn a_demo_with_an_end_leaves_its_last_picture_and_the_cursor_on_the_terminal() {
    let (mut child, mut terminal) = start(demo(&["--events", "20000"]));
    let seen = read_until(&mut terminal, "dead letters are in");
    assert!(child.wait().expect("it ends").success(), "{seen}");
    let (_, last) =
        seen.rsplit_once("tidemill demo leaderboard").unwrap_or_else(|| panic!("{seen}"));
    for shown in ["Best players of all time", "in the minute 2026-01-05 08:0", "███"] {
        assert!(last.contains(shown), "{shown:?} is not in {last:?}");
    }
    assert!(last.contains(" finished: "), "{last:?}");
    let (hidden, shown) = (seen.find(HIDE_CURSOR), seen.rfind(SHOW_CURSOR));
    assert!(hidden.is_some() && hidden < shown && shown > seen.rfind(HIDE_CURSOR), "{seen:?}");
    let is_result = |line: &str| line.contains("> +I[");
    assert!(!seen.lines().any(is_result), "nothing is printed: {seen:?}");
}

#[test]
fn a_demo_without_an_end_moves_until_it_is_stopped() {
    let (mut child, mut terminal) = start(demo(&["clickstream", "--rate", "5000"]));
    let mut seen = String::new();
    for _ in 0..5 {
        seen = read_until(&mut terminal, "Ctrl-C stops it");
        assert!(seen.contains("Ctrl-C"), "it moves: {seen:?}");
    }
    signal(&child, "-INT");
    seen += &read_until(&mut terminal, " stopped: ");
    assert!(seen.contains("Users on the site") && seen.contains(SHOW_CURSOR), "{seen:?}");
    // The terminal takes what is still said.
    drop(std::thread::spawn(move || read_until(&mut terminal, "the end")));
    assert!(child.wait().expect("it ends").success(), "{seen}");
}

#[test]
fn a_demo_without_a_terminal_prints_lines_until_it_is_stopped() {
    let mut command = demo(&["--rate", "5000"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let started = Instant::now();
    let mut printed = 0;
    // Longer than the records of a batch would last.
    while started.elapsed() < Duration::from_secs(2) || printed < 100 {
        let line = lines.next().expect("it goes on").expect("text");
        assert!(line.contains("> ") && !line.contains('\u{1b}'), "{line:?}");
        printed += 1;
    }
    signal(&child, "-TERM");
    assert!(lines.all(|line| line.is_ok()));
    assert!(child.wait().expect("it ends").success());
}
