//! `tidemill topics`: the topics of a Kafka, looked at, made, read and written.
//!
//! Works with any broker, not only that of `tidemill broker`.

use super::generate::{RawRecord, raw_rows, raw_table};
use crate::console::StandardOutput;
use crate::failure::Failure;
use crate::signals::stop_flag;
use crate::status::grouped;
use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidemill_connectors::sink::{Console, WriteSpec};
use tidemill_connectors::{
    Admin, ConnectorError, Tail, TailFrom, TailRecord, TopicFacts, open_sink,
};

/// How long to wait for a record before looking whether somebody wants an end.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// So many lines are sent at once.
const LINES_MAX: usize = 1_000;

/// The arguments of `tidemill topics`.
#[derive(Debug, Args)]
pub(crate) struct TopicsArguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// The Kafka to ask.
    #[arg(long, global = true, value_name = "ADDR", default_value = "127.0.0.1:9092")]
    brokers: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the topics (what happens without a word as well).
    List,
    /// Show a topic: its partitions, what is in them, its options.
    Show {
        /// The topic.
        name: String,
    },
    /// Make a topic.
    Create {
        /// The topic.
        name: String,
        /// How many partitions [default: the broker's].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        partitions: Option<u32>,
        /// An option of the topic, such as retention.ms=3600000.
        #[arg(short, long = "option", value_name = "NAME=VALUE", value_parser = option)]
        options: Vec<(String, String)>,
    },
    /// Print a topic's records as they arrive, one a line.
    Tail {
        /// The topic.
        name: String,
        /// Begin so many records before the end of each partition.
        #[arg(long, value_name = "N", conflicts_with = "from_beginning")]
        last: Option<u64>,
        /// Begin with the first record there is.
        #[arg(long)]
        from_beginning: bool,
        /// Stop at the end instead of waiting for more.
        #[arg(long)]
        no_follow: bool,
        /// Print JSON: partition, offset, time and key as well, a tombstone as null.
        #[arg(long)]
        json: bool,
    },
    /// Write the lines of standard input as records.
    Produce {
        /// The topic.
        name: String,
        /// What stands before the first CHARACTERS of a line is the record's key.
        #[arg(long, value_name = "CHARACTERS")]
        key_separator: Option<String>,
    },
}

fn option(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn execute(arguments: TopicsArguments) -> Result<(), Failure> {
    let brokers = &arguments.brokers;
    match arguments.action.unwrap_or(Action::List) {
        Action::List => print(&list(&admin(brokers)?.topics().map_err(asked)?)),
        Action::Show { name } => {
            let admin = admin(brokers)?;
            let topic = find(&admin, &name, brokers)?;
            print(&show(&topic, &admin.options(&name).map_err(asked)?))
        }
        Action::Create { name, partitions, options } => {
            let made = admin(brokers)?.create(&name, partitions, &options).map_err(asked)?;
            match made {
                true => Ok(()),
                false => Err(anyhow!("topic '{name}' is there already").into()),
            }
        }
        Action::Tail { name, last, from_beginning, no_follow, json } => {
            let topic = find(&admin(brokers)?, &name, brokers)?;
            let from = match (last, from_beginning) {
                (Some(count), _) => TailFrom::Last(count),
                (None, true) => TailFrom::Beginning,
                (None, false) => TailFrom::End,
            };
            let tail = Tail::open(brokers, &topic, from).map_err(asked)?;
            let as_text = if json { as_json } else { as_line };
            let stop = stop_flag().context("listening to signals")?;
            follow(tail, no_follow, as_text, &stop)
        }
        Action::Produce { name, key_separator } => {
            produce(brokers, &name, key_separator.as_deref())
        }
    }
}

fn admin(brokers: &str) -> Result<Admin, Failure> {
    Admin::new(brokers).map_err(asked)
}

fn asked(error: ConnectorError) -> Failure {
    Failure::Job(error.into())
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(StandardOutput.write(text.as_bytes())?)
}

fn find(admin: &Admin, name: &str, brokers: &str) -> Result<TopicFacts, Failure> {
    let topic = admin.topic(name).map_err(asked)?;
    let missing = || anyhow!("there is no topic '{name}' at {brokers}; tidemill topics lists them");
    Ok(topic.ok_or_else(missing)?)
}

/// Offsets between a topic's ends: its records and, in transactions, their marks.
fn extent(topic: &TopicFacts) -> u64 {
    topic.partitions.iter().map(|facts| (facts.end - facts.start).max(0) as u64).sum()
}

fn list(topics: &[TopicFacts]) -> String {
    let width = topics.iter().map(|topic| topic.name.len()).max().unwrap_or(0).max("topic".len());
    let mut text = format!("{:<width$}  partitions         offsets\n", "topic");
    for topic in topics {
        let (partitions, offsets) = (topic.partitions.len(), grouped(extent(topic)));
        let _ = writeln!(text, "{:<width$}  {partitions:>10}  {offsets:>14}", topic.name);
    }
    text
}

fn show(topic: &TopicFacts, options: &[(String, String)]) -> String {
    let mut text = format!("{}\n\n", topic.name);
    text.push_str("partition  leader           start             end         offsets\n");
    for facts in &topic.partitions {
        let leader = facts.leader.map_or("none".to_owned(), |leader| leader.to_string());
        let offsets = |offset: i64| grouped(offset.max(0) as u64);
        let _ = writeln!(
            text,
            "{:>9}  {leader:>6}  {:>14}  {:>14}  {:>14}",
            facts.partition,
            offsets(facts.start),
            offsets(facts.end),
            offsets(facts.end - facts.start),
        );
    }
    for (number, (name, value)) in options.iter().enumerate() {
        let _ = writeln!(text, "{}{name} = {value}", if number == 0 { "\n" } else { "" });
    }
    text
}

fn follow(
    mut tail: Tail,
    stops_at_end: bool,
    as_text: fn(&TailRecord) -> String,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let is_over = |tail: &Tail| stops_at_end && tail.has_seen_all();
    while !stop.load(Ordering::Acquire) && !is_over(&tail) {
        if let Some(record) = tail.next(POLL_TIMEOUT).map_err(asked)? {
            print(&as_text(&record))?;
        }
    }
    Ok(())
}

/// The value alone. A tombstone has none.
fn as_line(record: &TailRecord) -> String {
    format!("{}\n", String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()))
}

fn as_json(record: &TailRecord) -> String {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => Value::from(String::from_utf8_lossy(bytes)),
        None => Value::Null,
    };
    let line = json!({
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": text(&record.key),
        "value": text(&record.value),
    });
    format!("{line}\n")
}

fn produce(brokers: &str, topic: &str, key_separator: Option<&str>) -> Result<(), Failure> {
    let table = raw_table(brokers, topic);
    let spec = WriteSpec { table, console: Arc::new(StandardOutput), job: None };
    let mut writer = open_sink(&spec).and_then(|sink| sink.writer(0, 1)).map_err(asked)?;
    let mut lines = stdin().lock().lines();
    loop {
        // What a person types is sent line by line, what a file holds in one go.
        let batch: Vec<String> = match lines.next() {
            None => break,
            Some(first) => std::iter::once(first)
                .chain(lines.by_ref().take(if is_interactive() { 0 } else { LINES_MAX }))
                .collect::<Result<_, _>>()
                .context("reading standard input")?,
        };
        let records = batch.iter().map(|line| keyed(line, key_separator));
        let Some(rows) = raw_rows(records) else { continue };
        writer.write(0, &[rows]).and_then(|()| writer.flush()).map_err(asked)?;
    }
    writer.finish().map_err(asked)
}

fn is_interactive() -> bool {
    use std::io::IsTerminal;
    stdin().is_terminal()
}

/// A line's key, if it has one, and its value.
fn keyed<'a>(line: &'a str, separator: Option<&str>) -> RawRecord<'a> {
    let parts = separator.and_then(|separator| line.split_once(separator));
    let (key, value) = parts.map_or((None, line), |(key, value)| (Some(key), value));
    RawRecord { key: key.map(str::as_bytes), value: value.as_bytes(), timestamp_ms: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_connectors::PartitionFacts;

    fn topic() -> TopicFacts {
        let facts =
            |partition, leader, start, end| PartitionFacts { partition, leader, start, end };
        let partitions = vec![facts(0, Some(1), 0, 1_234_567), facts(1, None, 5, 5)];
        TopicFacts { name: "clicks".to_owned(), partitions }
    }

    #[test]
    fn topics_are_listed_one_a_line() {
        let expected = "\
topic   partitions         offsets
clicks           2       1,234,567
";
        assert_eq!(list(&[topic()]), expected);
    }

    #[test]
    fn a_topic_is_shown_partition_by_partition() {
        let options = [("retention.ms".to_owned(), "1000".to_owned())];
        let expected = "\
clicks

partition  leader           start             end         offsets
        0       1               0       1,234,567       1,234,567
        1    none               5               5               0

retention.ms = 1000
";
        assert_eq!(show(&topic(), &options), expected);
    }

    #[test]
    fn a_record_is_a_line_or_an_object() {
        let mut record = TailRecord {
            partition: 1,
            offset: 7,
            timestamp_ms: Some(3),
            key: None,
            value: Some(b"hello".to_vec()),
        };
        assert_eq!(as_line(&record), "hello\n");
        record.value = None;
        let expected =
            r#"{"key":null,"offset":7,"partition":1,"timestamp_ms":3,"value":null}"#.to_owned();
        assert_eq!(as_json(&record), expected + "\n");
    }

    #[test]
    fn a_key_stands_before_the_separator() {
        let parts = |line, separator| {
            let RawRecord { key, value, .. } = keyed(line, separator);
            (key, value)
        };
        assert_eq!(parts("a:b:c", Some(":")), (Some(&b"a"[..]), &b"b:c"[..]));
        assert_eq!(parts("abc", Some(":")), (None, &b"abc"[..]));
        assert_eq!(parts("a:b", None), (None, &b"a:b"[..]));
    }
}
