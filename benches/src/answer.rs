//! [`Answer`]: what a contestant wrote, in a form that compares at once.
//!
//! Rows come in any order, and times and sums are written in more than one way. So each row is
//! normalised (times as milliseconds, sums in cents, for prices have two decimals) and hashed, and
//! the hashes are added up. Of a changelog, what was taken back is subtracted: what is left is the
//! table it leads to.

use anyhow::Context;
use serde::Deserialize;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A set of rows, in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How many rows.
    pub rows: i64,
    hashes: u64,
}

/// A row of any of the queries.
#[derive(Deserialize)]
struct Row<'a> {
    event_id: Option<i64>,
    user_id: Option<&'a str>,
    price: Option<f64>,
    #[serde(borrow)]
    ws: Option<Time<'a>>,
    product_id: Option<i64>,
    n: Option<i64>,
    s: Option<f64>,
    #[serde(borrow)]
    first: Option<Time<'a>>,
    #[serde(borrow)]
    last: Option<Time<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Time<'a> {
    Millis(i64),
    Text(&'a str),
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    before: Option<Row<'a>>,
    #[serde(borrow)]
    after: Option<Row<'a>>,
}

impl Answer {
    /// Reads a file of JSON lines, or a directory of such files.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut answer = Answer::default();
        if path.is_file() {
            answer.add_file(path)?;
            return Ok(answer);
        }
        for entry in fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
            let path = entry?.path();
            if path.is_file() {
                answer.add_file(&path)?;
            }
        }
        Ok(answer)
    }

    fn add_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let mut file = BufReader::with_capacity(1 << 20, fs::File::open(path)?);
        let mut line = String::new();
        while file.read_line(&mut line)? > 0 {
            self.add_line(&line).with_context(|| format!("{}: {line}", path.display()))?;
            line.clear();
        }
        Ok(())
    }

    fn add_line(&mut self, line: &str) -> anyhow::Result<()> {
        if line.starts_with("{\"before\":") {
            let change: Change<'_> = serde_json::from_str(line)?;
            if let Some(row) = change.before {
                self.rows -= 1;
                self.hashes = self.hashes.wrapping_sub(hash(&row)?);
            }
            if let Some(row) = change.after {
                self.add(&row)?;
            }
            return Ok(());
        }
        self.add(&serde_json::from_str(line)?)
    }

    fn add(&mut self, row: &Row<'_>) -> anyhow::Result<()> {
        self.rows += 1;
        self.hashes = self.hashes.wrapping_add(hash(row)?);
        Ok(())
    }
}

fn hash(row: &Row<'_>) -> anyhow::Result<u64> {
    let cents = |sum: Option<f64>| sum.map(|sum| (sum * 100.0).round() as i64);
    let time = |time: &Option<Time<'_>>| time.as_ref().map(milliseconds).transpose();
    let mut hasher = DefaultHasher::new();
    (row.event_id, row.user_id, cents(row.price), time(&row.ws)?).hash(&mut hasher);
    (row.product_id, row.n, cents(row.s)).hash(&mut hasher);
    (time(&row.first)?, time(&row.last)?).hash(&mut hasher);
    Ok(hasher.finish())
}

fn milliseconds(time: &Time<'_>) -> anyhow::Result<i64> {
    match time {
        Time::Millis(ms) => Ok(*ms),
        Time::Text(text) => parse(text).with_context(|| format!("not a time: {text}")),
    }
}

/// Milliseconds since 1970 of a time as engines write it: `2026-01-01T00:00:10.5Z`.
fn parse(text: &str) -> anyhow::Result<i64> {
    let utc: arrow::array::timezone::Tz = "+00:00".parse()?;
    let time = arrow::compute::kernels::cast_utils::string_to_datetime(&utc, text)?;
    Ok(time.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str]) -> Answer {
        let mut answer = Answer::default();
        lines.iter().for_each(|line| answer.add_line(line).unwrap());
        answer
    }

    #[test]
    fn neither_order_nor_spelling_matters() {
        let one = answer(&[r#"{"ws":1767225610000,"n":1,"s":0.30}"#, r#"{"ws":1767225620000}"#]);
        let other = answer(&[
            r#"{"ws":"2026-01-01T00:00:20Z"}"#,
            r#"{"s":0.30000000000000004,"n":1,"ws":"2026-01-01T00:00:10.000Z"}"#,
        ]);
        assert_eq!(one, other);
        assert_ne!(one, answer(&[r#"{"ws":1767225610000,"n":2,"s":0.30}"#]));
    }

    #[test]
    fn a_changelog_is_the_table_it_leads_to() {
        let changes = answer(&[
            r#"{"before":null,"after":{"user_id":"u","n":1},"op":"c"}"#,
            r#"{"before":{"user_id":"u","n":1},"after":null,"op":"d"}"#,
            r#"{"before":null,"after":{"user_id":"u","n":2},"op":"c"}"#,
        ]);
        assert_eq!(changes, answer(&[r#"{"user_id":"u","n":2}"#]));
    }
}
