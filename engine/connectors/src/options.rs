//! Reading a table's options, and saying what is wrong with them.
//!
//! Every option of a table is accounted for: it belongs to its connector, to its format, or it is
//! an error that names the closest known one. A silently ignored option would be a job that does
//! something else than its text says.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;
use tidemill_formats::{OptionError, Table, parse_bytes, parse_duration};

const BAD_RECORDS_TOPIC: &str = "scan.bad-records.topic";

/// Options that every connector accepts: the engine reads them, not the connector.
pub const ENGINE_OPTIONS: &[&str] = &[
    "connector",
    "scan.bad-records",
    BAD_RECORDS_TOPIC,
    "scan.parallelism",
    "sink.parallelism",
    "scan.watermark.alignment.group",
    "scan.watermark.alignment.max-drift",
    "scan.watermark.alignment.update-interval",
    "scan.watermark.emit.strategy",
    "scan.watermark.emit.on-event.gap",
    "scan.watermark.idle-timeout",
];

/// The options that a connector knows.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Keys, in full.
    pub keys: &'static [&'static str],
    /// Beginnings of keys, such as `properties.`.
    pub prefixes: &'static [&'static str],
}

/// Refuses the first option that is known neither to the connector nor to the engine, nor named
/// in `format` (what the table's format has consumed).
pub(crate) fn refuse_unknown(
    table: &Table,
    known: &Known,
    format: &BTreeSet<String>,
) -> Result<(), OptionError> {
    for key in table.options.keys() {
        let is_known = known.keys.contains(&key.as_str())
            || ENGINE_OPTIONS.contains(&key.as_str())
            || known.prefixes.iter().any(|prefix| key.starts_with(prefix))
            || format.contains(key);
        if !is_known {
            return Err(unknown(table, key, known, format));
        }
    }
    check_bad_records(table)
}

/// What becomes of bad records; a topic for them is written by the transaction of the brokers that the
/// table is on.
fn check_bad_records(table: &Table) -> Result<(), OptionError> {
    if table.option(BAD_RECORDS_TOPIC).is_some() && !is_kafka(table) {
        let problem = "only a table that is read from Kafka has a topic for its bad records";
        let hint = "leave it out: they are kept in DIR/dead-letters of the state directory";
        return Err(wrong(BAD_RECORDS_TOPIC, problem, hint));
    }
    let policies = [("dead-letter", ()), ("fail", ()), ("skip", ())];
    choice(table, "scan.bad-records", &policies, ())
}

/// Says which options of a table that is read are understood and not yet obeyed.
pub(crate) fn warn_of_unused(table: &Table) {
    for key in table.options.keys().filter(|key| is_unused(table, key)) {
        tracing::warn!("table '{}': option '{key}' has no effect yet", table.name);
    }
}

fn is_kafka(table: &Table) -> bool {
    table.option("connector").is_some_and(|name| name.ends_with("kafka"))
}

fn is_unused(table: &Table, key: &str) -> bool {
    let has_partitions = is_kafka(table);
    let is_of_partitions =
        key.starts_with("scan.watermark.alignment.") || key == "scan.watermark.idle-timeout";
    (is_of_partitions && !has_partitions)
        || key.starts_with("scan.watermark.emit.")
        || key == "scan.parallelism"
}

fn unknown(table: &Table, key: &str, known: &Known, format: &BTreeSet<String>) -> OptionError {
    let own = known.keys.iter().copied().chain(ENGINE_OPTIONS.iter().copied());
    let all: Vec<&str> = own.chain(format.iter().map(String::as_str)).collect();
    let connector = table.option("connector").unwrap_or_default();
    OptionError {
        option: key.to_owned(),
        problem: format!("is not known to the connector '{connector}' or its format"),
        hint: match closest(key, all) {
            Some(close) => format!("did you mean '{close}'?"),
            None => format!("it knows {}", listed(known.keys.iter().copied())),
        },
    }
}

/// `'a', 'b', 'c'`.
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(", ")
}

/// The candidate that `word` was probably meant to be: the one of the fewest edits, if they
/// touch no more than a third of it.
pub(crate) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(2);
    let close = candidates.into_iter().map(|c| (edits(word, c), c)).min_by_key(|(d, _)| *d)?;
    (close.0 <= limit).then_some(close.1)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The value of an option that must be set.
pub(crate) fn required<'a>(table: &'a Table, key: &str) -> Result<&'a str, OptionError> {
    table.option(key).ok_or_else(|| OptionError {
        option: key.to_owned(),
        problem: "is missing".to_owned(),
        hint: format!("the connector '{}' needs it", table.option("connector").unwrap_or("?")),
    })
}

/// An option that names one of a few choices (in any case), or `default`.
pub(crate) fn choice<T: Copy>(
    table: &Table,
    key: &str,
    choices: &[(&str, T)],
    default: T,
) -> Result<T, OptionError> {
    let Some(text) = table.option(key) else { return Ok(default) };
    match choices.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
        Some((_, choice)) => Ok(*choice),
        None => Err(OptionError {
            option: key.to_owned(),
            problem: format!("'{text}' is none of its values"),
            hint: format!("write one of {}", listed(choices.iter().map(|(name, _)| *name))),
        }),
    }
}

/// A number, if the option is set.
pub(crate) fn number<T: FromStr>(table: &Table, key: &str) -> Result<Option<T>, OptionError> {
    let Some(text) = table.option(key) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| OptionError {
        option: key.to_owned(),
        problem: format!("'{text}' is no number, or not one in range"),
        hint: "write a plain number".to_owned(),
    })
}

/// A duration as Flink writes it: `5 s`, `100ms`, `1 min`; a bare number is milliseconds.
pub(crate) fn duration(table: &Table, key: &str) -> Result<Option<Duration>, OptionError> {
    let Some(text) = table.option(key) else { return Ok(None) };
    parse_duration(text).map(Some).ok_or_else(|| OptionError {
        option: key.to_owned(),
        problem: format!("'{text}' is no duration"),
        hint: "write a number and a unit, such as '500 ms', '5 s', '10 min', '1 h'".to_owned(),
    })
}

/// A size in bytes as Flink writes it: `128MB`, `64 kb`; a bare number is bytes. Units are powers
/// of 1,024.
pub(crate) fn bytes(table: &Table, key: &str) -> Result<Option<u64>, OptionError> {
    let Some(text) = table.option(key) else { return Ok(None) };
    parse_bytes(text).map(Some).ok_or_else(|| OptionError {
        option: key.to_owned(),
        problem: format!("'{text}' is no size"),
        hint: "write a number and a unit, such as '128 MB' or '64 kb'".to_owned(),
    })
}

/// A list as Flink writes it: `a;b;c`.
pub(crate) fn list(text: &str) -> Vec<&str> {
    text.split(';').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// An option whose value is wrong.
pub(crate) fn wrong(key: &str, problem: impl Into<String>, hint: impl Into<String>) -> OptionError {
    OptionError { option: key.to_owned(), problem: problem.into(), hint: hint.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;

    #[test]
    fn an_unknown_option_is_refused_and_the_closest_known_one_named() {
        let known =
            Known { keys: &["path", "source.monitor-interval"], prefixes: &["properties."] };
        let ok = table(&[("path", "x"), ("properties.any", "y"), ("connector", "z")]);
        assert!(refuse_unknown(&ok, &known, &BTreeSet::new()).is_ok());
        let error = refuse_unknown(&table(&[("pth", "x")]), &known, &BTreeSet::new()).unwrap_err();
        assert_eq!((error.option.as_str(), error.hint.as_str()), ("pth", "did you mean 'path'?"));
    }

    #[test]
    fn only_what_is_read_from_kafka_has_a_topic_for_bad_records() {
        let known = Known { keys: &[], prefixes: &[] };
        let of = |connector| {
            let options = [("connector", connector), ("scan.bad-records.topic", "bad")];
            refuse_unknown(&table(&options), &known, &BTreeSet::new())
        };
        assert!(of("kafka").is_ok() && of("upsert-kafka").is_ok());
        let error = of("filesystem").unwrap_err();
        assert_eq!(error.option, "scan.bad-records.topic");
        assert!(error.problem.contains("read from Kafka"), "{error}");
    }

    #[test]
    fn what_only_partitions_have_is_said_to_have_no_effect_elsewhere() {
        let idle = ("scan.watermark.idle-timeout", "1 s");
        let unused = |name| is_unused(&table(&[("connector", name), idle]), idle.0);
        assert!(unused("filesystem"));
        assert!(!unused("upsert-kafka"));
    }

    #[test]
    fn a_word_far_from_all_candidates_has_no_closest() {
        assert_eq!(closest("kafak", ["kafka", "print"]), Some("kafka"));
        assert_eq!(closest("nosuch", ["kafka", "print"]), None);
    }
}
