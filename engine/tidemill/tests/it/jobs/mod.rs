//! The shipped jobs on a few lines of input, written by hand for the edges of their definitions.
//!
//! The SQL is what is shipped, word for word, but for the options of its tables: inputs are files,
//! results are printed. Each job runs with one worker and with two, which must say the same.

mod customers;
mod experiments;
mod game;
mod machines;
mod shop;
mod stores;

use crate::support::{finish, tidemill};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use tidemill_jobs::Job;

/// Lines of an input topic.
type Lines<'a> = (&'a str, &'a [String]);

/// What a job has done with a small input.
struct Done {
    /// The printed changes in their order: `TABLE> +I[…]`.
    changes: Vec<String>,
}

/// Runs a job on lines of its input topics.
fn run(job: &str, inputs: &[Lines<'_>]) -> Done {
    let one = run_with(job, inputs, &["--workers", "1"]);
    let two = run_with(job, inputs, &["--workers", "2"]);
    assert_eq!(one.folded(), two.folded(), "one worker and two");
    one
}

/// Runs a job row by row, so that every change of its results is seen.
fn run_row_by_row(job: &str, inputs: &[Lines<'_>]) -> Done {
    run_with(job, inputs, &["--workers", "1", "-D", "tidemill.epoch.max-rows=1"])
}

fn run_with(job: &str, inputs: &[Lines<'_>], how: &[&str]) -> Done {
    let shipped = tidemill_jobs::find(job).expect("a shipped job");
    let folder = tempfile::tempdir().expect("a folder");
    for topic in shipped.inputs {
        let lines = inputs.iter().find(|(name, _)| *name == topic.name);
        let text: String = lines.map(|(_, lines)| lines.join("\n")).unwrap_or_default();
        fs::write(folder.path().join(format!("{}.jsonl", topic.name)), text).expect("an input");
    }
    fs::write(folder.path().join("job.sql"), on_files(shipped)).expect("a job file");
    let mut command = tidemill();
    command.args(["run", "job.sql"]).args(how).current_dir(folder.path());
    let output = finish(command, Duration::from_secs(60)).unwrap_or_else(|error| panic!("{error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("text");
    Done { changes: printed.lines().map(str::to_owned).collect() }
}

/// The job's SQL with files for its inputs, and with results that are printed.
fn on_files(job: &Job) -> String {
    let mut sql = job.sql.to_owned();
    let mut connect = |name: &str, options: &str| {
        let table = sql.find(&format!("CREATE TABLE {name} (")).expect("its table");
        let from = table + sql[table..].find(") WITH (").expect("its options");
        let to = from + sql[from..].find(");").expect("their end");
        sql.replace_range(from..to, &format!(") WITH ({options}"));
    };
    for input in job.inputs {
        let format = match input.key {
            [] => "'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'",
            _ => "'format' = 'debezium-json'",
        };
        let path = format!("'connector' = 'filesystem', 'path' = '{}.jsonl'", input.name);
        connect(input.name, &format!("{path}, {format}"));
    }
    for result in job.results {
        let options = format!("'connector' = 'print', 'print-identifier' = '{}'", result.name);
        connect(result.name, &options);
    }
    sql
}

impl Done {
    /// The rows of each table in the end, and how often they are there.
    fn folded(&self) -> BTreeMap<(&str, &str), i64> {
        let mut rows = BTreeMap::new();
        for line in &self.changes {
            let (table, change) = line.split_once("> ").expect("a table and a change");
            let (op, row) = change.split_at(2);
            let sign = if matches!(op, "+I" | "+U") { 1 } else { -1 };
            *rows.entry((table, row)).or_insert(0) += sign;
        }
        rows.retain(|_, count| *count != 0);
        rows
    }

    /// What a table holds in the end, sorted.
    fn rows(&self, table: &str) -> Vec<&str> {
        let rows = self.folded().into_iter().filter(|((of, _), _)| *of == table);
        let mut found = Vec::new();
        for ((_, row), count) in rows {
            assert_eq!(count, 1, "{table}: {row}");
            found.push(row.trim_matches(['[', ']']));
        }
        found
    }

    /// The changes of a table, in their order. Updates of columns that the table doesn't have,
    /// which an upserting sink doesn't write either, are left out.
    fn changes(&self, table: &str) -> Vec<&str> {
        let changes = self.changes.iter().filter_map(|line| line.split_once("> "));
        let mut kept: Vec<&str> = Vec::new();
        for (_, change) in changes.filter(|(of, _)| *of == table) {
            let is_back = |before: &&str| before[..2] == *"-U" && before[2..] == change[2..];
            if kept.pop_if(|before| is_back(&&**before)).is_none() {
                kept.push(change);
            }
        }
        kept
    }
}

/// A JSON record: `ts` from `2026-01-05 08:00:00` or with milliseconds, the other fields as they are.
fn record(at: &str, fields: &str) -> String {
    let ts = at.replace(' ', "T");
    let millis = if ts.contains('.') { "" } else { ".000" };
    format!(r#"{{{fields},"ts":"{ts}{millis}Z"}}"#)
}

/// A click, with further fields if there are any.
fn click(at: &str, user: &str, kind: &str, more: &str) -> String {
    record(at, &format!(r#""user_id":"{user}","event_type":"{kind}"{more}"#))
}

fn order(at: &str, id: u64, user: &str, amount: &str) -> String {
    record(at, &format!(r#""order_id":{id},"user_id":"{user}","product_id":7,"amount":{amount}"#))
}
