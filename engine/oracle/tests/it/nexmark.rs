//! The queries of the Nexmark bench over the built-in source, against the batch answer.

use crate::harness::{check_session, plan};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tidemill_sql::SourceText;

/// A few minutes of event time, so that windows of seconds close while the job runs.
const SOURCE: &str = "'connector' = 'nexmark', 'events.num' = '4000', 'first-event.rate' = '20', \
                      'seed' = '7'";

/// What is joined to bids, by the number of the auction: there are fewer auctions than this.
const SIDE_KEYS: usize = 2000;

fn text(name: &str) -> SourceText {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../benches/nexmark");
    let path = folder.join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    SourceText { name: name.to_owned(), text }
}

/// The session of a query.
fn session(query: &str) -> Vec<SourceText> {
    vec![text("ddl.sql"), text(&format!("{query}.sql"))]
}

/// What the sessions need to be told.
fn variables(folder: &Path) -> Vec<(&'static str, String)> {
    let side_input = folder.join("side_input.csv");
    let mut lines = String::new();
    (0..SIDE_KEYS).for_each(|key| writeln!(lines, "{key},{key}").expect("memory takes all"));
    fs::write(&side_input, lines).expect("a file in a temporary folder");
    vec![
        ("SOURCE", SOURCE.to_owned()),
        ("SIDE_INPUT", side_input.display().to_string()),
        // It is never opened, and unlike `blackhole` is told what is taken back.
        ("SINK", "'connector' = 'print'".to_owned()),
    ]
}

fn check(query: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check_session(&session(query), &variables(folder.path()));
}

/// One test for each query.
macro_rules! queries {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )+
    };
}

queries! { q0 q1 q2 q3 q4 q5 q6 q7 q8 q9 q10 q11 q13 q14 q15 q16 q17 q18 q19 q20 q21 q22 q23 }

/// No two runs of it read the same at the same time.
#[test]
fn q12_plans() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    plan(session("q12"), &variables(folder.path()), 1).expect("a plan");
}
