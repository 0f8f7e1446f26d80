//! [`Settings`]: what the options of a Kafka table mean.
//!
//! `properties.*` are a Java client's, for the job files were written for one. Most have the same
//! name in librdkafka; some are called otherwise there; some mean nothing here. Any other is
//! refused by librdkafka itself, by name, when the table is planned.

use crate::options::{Known, choice, duration, list, number, refuse_unknown, required, wrong};
use crate::source::Alignment;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::time::Duration;
use tidemill_formats::{Changelog, OptionError, Table, check};

/// What belongs to the connector, whichever of the two.
pub(crate) const KNOWN: Known = Known {
    keys: &[
        "topic",
        "topic-pattern",
        "key.fields",
        "key.fields-prefix",
        "value.fields-include",
        "scan.startup.mode",
        "scan.startup.timestamp-millis",
        "scan.startup.specific-offsets",
        "scan.bounded.mode",
        "scan.bounded.timestamp-millis",
        "scan.bounded.specific-offsets",
        "scan.topic-partition-discovery.interval",
        "sink.partitioner",
        "sink.delivery-guarantee",
        "sink.transactional-id-prefix",
        "sink.buffer-flush.max-rows",
        "sink.buffer-flush.interval",
    ],
    prefixes: &["properties."],
};

/// How often new partitions are looked for.
pub(super) const DISCOVERY_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// How long a partition that has been read to its end still holds the watermark.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Properties of Java clients and of Flink that mean nothing here.
const IGNORED_PROPERTIES: &[&str] = &[
    "auto.commit.interval.ms",
    "client.id.prefix",
    "default.api.timeout.ms",
    "enable.auto.commit",
    "interceptor.classes",
    "key.deserializer",
    "key.serializer",
    "max.block.ms",
    "max.poll.interval.ms",
    "max.poll.records",
    "metric.reporters",
    "partition.discovery.interval.ms",
    "partition.assignment.strategy",
    "register.consumer.metrics",
    "value.deserializer",
    "value.serializer",
];

/// Properties of Java clients and what librdkafka calls them.
const RENAMED_PROPERTIES: &[(&str, &str)] = &[
    ("buffer.memory", "queue.buffering.max.bytes"),
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.request.size", "message.max.bytes"),
    ("request.timeout.ms", "socket.timeout.ms"),
    ("reconnect.backoff.max.ms", "reconnect.backoff.max.ms"),
];

/// What a table's rows are in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Records, or changes of a changelog format.
    Append,
    /// The latest value of each key.
    Upsert,
}

/// Which topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TopicNames {
    /// These.
    Listed(Vec<String>),
    /// All whose whole name matches.
    Pattern(String),
}

impl TopicNames {
    /// The topic, if there is exactly one.
    pub(crate) fn single(&self) -> Option<&str> {
        match self {
            TopicNames::Listed(names) if names.len() == 1 => Some(&names[0]),
            _ => None,
        }
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        match self {
            TopicNames::Listed(names) => format!("topic '{}'", names.join("', '")),
            TopicNames::Pattern(pattern) => format!("topics that match '{pattern}'"),
        }
    }
}

/// A place in each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first record that is still there.
    Earliest,
    /// Behind the last record at the moment the job starts.
    Latest,
    /// What the consumer group has committed, or else as `auto.offset.reset` says.
    Group(Option<Reset>),
    /// The first record of this time (milliseconds) or later.
    Timestamp(i64),
    /// Given offsets by partition.
    Offsets(BTreeMap<i32, i64>),
}

/// Where to start without a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// At the first record.
    Earliest,
    /// Behind the last.
    Latest,
}

/// To which partition a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Partitioner {
    /// By the hash of its key, as Java clients do; at random without a key.
    Default,
    /// Each worker to one.
    Fixed,
    /// In turn.
    RoundRobin,
}

/// What is promised of the records that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarantee {
    /// Each is visible once, with the checkpoint that it belongs to, whatever dies.
    ExactlyOnce,
    /// Each is visible at once, and perhaps again after a crash.
    AtLeastOnce,
    /// Each is visible at once; a crash may repeat or lose some.
    None,
}

/// A Kafka table's options, understood.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub flavour: Flavour,
    pub topics: TopicNames,
    pub start: Place,
    /// Where the input ends, if it does.
    pub stop: Option<Place>,
    pub discovery_interval: Option<Duration>,
    pub idle_timeout: Duration,
    pub alignment: Option<Alignment>,
    pub partitioner: Partitioner,
    pub guarantee: Guarantee,
    pub transactional_id_prefix: Option<String>,
    /// Whether the consumer group, if there is one, is told of checkpoints.
    pub commits_offsets: bool,
    /// `properties.*`, as librdkafka calls them.
    pub properties: BTreeMap<String, String>,
}

impl Settings {
    /// Reads and checks all options.
    pub(crate) fn new(table: &Table, flavour: Flavour) -> Result<Self, OptionError> {
        let format = check(table)?;
        refuse_unknown(table, &KNOWN, &format.options)?;
        check_key(table, flavour, format.changelog_in)?;
        let properties = properties(table)?;
        if !properties.contains_key("bootstrap.servers") {
            required(table, "properties.bootstrap.servers")?;
        }
        let discovery = duration(table, "scan.topic-partition-discovery.interval")?;
        let idle = duration(table, "scan.watermark.idle-timeout")?;
        Ok(Settings {
            flavour,
            topics: topic_names(table)?,
            start: start(table, flavour)?,
            stop: stop(table)?,
            discovery_interval: Some(discovery.unwrap_or(DISCOVERY_INTERVAL))
                .filter(|interval| !interval.is_zero()),
            idle_timeout: idle.unwrap_or(IDLE_TIMEOUT),
            alignment: alignment(table)?,
            partitioner: partitioner(table)?,
            guarantee: guarantee(table)?,
            transactional_id_prefix: table
                .option("sink.transactional-id-prefix")
                .map(str::to_owned),
            commits_offsets: table.bool_option(COMMITS_OFFSETS, true)?,
            properties,
        })
    }

    /// The name under which a job writes exactly once, if the table asks for that: its own at the
    /// brokers, so that whoever takes it later shuts this one out.
    pub(crate) fn transactional_id(&self, job: &str) -> Option<String> {
        if self.guarantee != Guarantee::ExactlyOnce {
            return None;
        }
        let prefix = self.transactional_id_prefix.as_deref();
        Some(prefix.map_or_else(|| format!("tidemill-{job}"), |prefix| format!("{prefix}-0")))
    }

    /// The brokers, for messages.
    pub(crate) fn brokers(&self) -> &str {
        self.properties.get("bootstrap.servers").map_or("?", String::as_str)
    }
}

fn alignment(table: &Table) -> Result<Option<Alignment>, OptionError> {
    // Lanes are compared at each epoch, which is more often than anybody asks for.
    duration(table, "scan.watermark.alignment.update-interval")?;
    let group = table.option("scan.watermark.alignment.group").map(str::to_owned);
    match duration(table, "scan.watermark.alignment.max-drift")? {
        Some(max_drift) => Ok(Some(Alignment { max_drift, group })),
        None if group.is_some() => Err(wrong(
            "scan.watermark.alignment.max-drift",
            "is missing beside 'scan.watermark.alignment.group'",
            "write how far partitions may drift apart, such as '1 min'",
        )),
        None => Ok(None),
    }
}

fn topic_names(table: &Table) -> Result<TopicNames, OptionError> {
    match (table.option("topic"), table.option("topic-pattern")) {
        (Some(_), Some(_)) => Err(wrong(
            "topic-pattern",
            "'topic' is set too",
            "leave one of them out: topics are listed or matched",
        )),
        (None, Some(pattern)) => match regex::Regex::new(pattern) {
            Ok(_) => Ok(TopicNames::Pattern(pattern.to_owned())),
            Err(e) => Err(wrong("topic-pattern", e.to_string(), "write a regular expression")),
        },
        _ => {
            let names = list(required(table, "topic")?);
            if names.is_empty() {
                return Err(wrong("topic", "names no topic", "write a name, or several with ';'"));
            }
            Ok(TopicNames::Listed(names.into_iter().map(str::to_owned).collect()))
        }
    }
}

fn check_key(table: &Table, flavour: Flavour, changes: Changelog) -> Result<(), OptionError> {
    let has_format = table.option("key.format").is_some();
    match flavour {
        Flavour::Upsert => {
            if table.primary_key.is_empty() {
                return Err(wrong(
                    "connector",
                    "'upsert-kafka' needs to know which columns are the key",
                    "declare PRIMARY KEY (…) NOT ENFORCED",
                ));
            }
            if table.option("key.fields").is_some() {
                return Err(wrong("key.fields", "is the primary key here", "leave it out"));
            }
            required(table, "key.format")?;
            if changes != Changelog::AppendOnly {
                return Err(wrong(
                    "value.format",
                    "a changelog format can't be the value of 'upsert-kafka'",
                    "write 'json', or use the connector 'kafka'",
                ));
            }
        }
        Flavour::Append => {
            if table.option("key.fields").is_some() != has_format {
                let (missing, other) = match has_format {
                    true => ("key.fields", "key.format"),
                    false => ("key.format", "key.fields"),
                };
                let problem = format!("is missing beside '{other}'");
                return Err(wrong(missing, problem, "set both, or neither"));
            }
            if !table.primary_key.is_empty() && changes == Changelog::AppendOnly {
                return Err(wrong(
                    "connector",
                    "'kafka' with an append-only format can't keep a primary key",
                    "use 'upsert-kafka', a changelog format, or leave PRIMARY KEY out",
                ));
            }
        }
    }
    Ok(())
}

fn guarantee(table: &Table) -> Result<Guarantee, OptionError> {
    let choices = [
        ("exactly-once", Guarantee::ExactlyOnce),
        ("at-least-once", Guarantee::AtLeastOnce),
        ("none", Guarantee::None),
    ];
    choice(table, "sink.delivery-guarantee", &choices, Guarantee::ExactlyOnce)
}

fn partitioner(table: &Table) -> Result<Partitioner, OptionError> {
    let choices = [
        ("default", Partitioner::Default),
        ("fixed", Partitioner::Fixed),
        ("round-robin", Partitioner::RoundRobin),
    ];
    choice(table, "sink.partitioner", &choices, Partitioner::Default)
}

/// The kinds of places, as the modes name them.
#[derive(Clone, Copy)]
enum Mode {
    Unbounded,
    Earliest,
    Latest,
    Group,
    Timestamp,
    Offsets,
}

fn start(table: &Table, flavour: Flavour) -> Result<Place, OptionError> {
    let choices = [
        ("earliest-offset", Mode::Earliest),
        ("latest-offset", Mode::Latest),
        ("group-offsets", Mode::Group),
        ("timestamp", Mode::Timestamp),
        ("specific-offsets", Mode::Offsets),
    ];
    let default = match flavour {
        Flavour::Append => Mode::Group,
        // A table is all of its keys' latest values, so reading begins at the beginning.
        Flavour::Upsert => Mode::Earliest,
    };
    let mode = choice(table, "scan.startup.mode", &choices, default)?;
    place(table, mode, "scan.startup")
}

fn stop(table: &Table) -> Result<Option<Place>, OptionError> {
    let choices = [
        ("unbounded", Mode::Unbounded),
        ("latest-offset", Mode::Latest),
        ("group-offsets", Mode::Group),
        ("timestamp", Mode::Timestamp),
        ("specific-offsets", Mode::Offsets),
    ];
    match choice(table, "scan.bounded.mode", &choices, Mode::Unbounded)? {
        Mode::Unbounded => Ok(None),
        mode => place(table, mode, "scan.bounded").map(Some),
    }
}

fn place(table: &Table, mode: Mode, scope: &str) -> Result<Place, OptionError> {
    Ok(match mode {
        Mode::Unbounded | Mode::Earliest => Place::Earliest,
        Mode::Latest => Place::Latest,
        Mode::Group => Place::Group(reset(table)?),
        Mode::Timestamp => {
            let key = format!("{scope}.timestamp-millis");
            required(table, &key)?;
            Place::Timestamp(number(table, &key)?.unwrap_or(0))
        }
        Mode::Offsets => {
            let key = format!("{scope}.specific-offsets");
            Place::Offsets(specific_offsets(&key, required(table, &key)?)?)
        }
    })
}

fn reset(table: &Table) -> Result<Option<Reset>, OptionError> {
    let choices = [
        ("earliest", Some(Reset::Earliest)),
        ("latest", Some(Reset::Latest)),
        ("none", None),
        ("error", None),
    ];
    choice(table, "properties.auto.offset.reset", &choices, None)
}

/// `partition:0,offset:42;partition:1,offset:300`.
fn specific_offsets(key: &str, text: &str) -> Result<BTreeMap<i32, i64>, OptionError> {
    let part = |item: &str| {
        let (partition, offset) = item.split_once(',')?;
        let partition = partition.trim().strip_prefix("partition:")?.trim().parse().ok()?;
        let offset = offset.trim().strip_prefix("offset:")?.trim().parse().ok()?;
        Some((partition, offset))
    };
    list(text).into_iter().map(part).collect::<Option<_>>().ok_or_else(|| {
        wrong(key, format!("'{text}' is no list of offsets"), "write 'partition:0,offset:42;…'")
    })
}

/// Flink's name for whether a checkpoint's offsets are committed for the consumer group.
const COMMITS_OFFSETS: &str = "properties.commit.offsets.on.checkpoint";

/// `properties.*` as librdkafka calls them, each known to it.
fn properties(table: &Table) -> Result<BTreeMap<String, String>, OptionError> {
    let mut properties = BTreeMap::new();
    for (key, value) in &table.options {
        let Some(java) = key.strip_prefix("properties.") else { continue };
        if key == COMMITS_OFFSETS
            || java == "auto.offset.reset"
            || IGNORED_PROPERTIES.contains(&java)
        {
            continue;
        }
        if java == "sasl.jaas.config" {
            properties.extend(jaas(key, value)?);
            continue;
        }
        let renamed = RENAMED_PROPERTIES.iter().find(|(from, _)| *from == java);
        let name = renamed.map_or(java, |(_, to)| *to);
        let (name, value) = match name {
            "queue.buffering.max.bytes" => {
                let bytes: u64 = number(table, key)?.unwrap_or(0);
                ("queue.buffering.max.kbytes", (bytes / 1024).max(1).to_string())
            }
            _ => (name, value.clone()),
        };
        check_property(key, name, &value)?;
        properties.insert(name.to_owned(), value);
    }
    Ok(properties)
}

fn check_property(key: &str, name: &str, value: &str) -> Result<(), OptionError> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, problem, ..)) => Err(wrong(
            key,
            problem,
            "properties are those of librdkafka, see its CONFIGURATION.md; \
             truststores are given as PEM: 'properties.ssl.ca.location'",
        )),
        Err(e) => Err(wrong(key, e.to_string(), "see librdkafka's CONFIGURATION.md")),
    }
}

/// User and password of `…LoginModule required username="…" password="…";`.
fn jaas(key: &str, text: &str) -> Result<[(String, String); 2], OptionError> {
    let value = |name: &str| {
        let (_, rest) = text.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    match (value("username"), value("password")) {
        (Some(user), Some(password)) => {
            Ok([("sasl.username".to_owned(), user), ("sasl.password".to_owned(), password)])
        }
        _ => Err(wrong(
            key,
            "names no username and password",
            "write 'properties.sasl.username' and 'properties.sasl.password'",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;

    fn kafka(options: &[(&str, &str)]) -> Result<Settings, OptionError> {
        let mut all = vec![
            ("connector", "kafka"),
            ("topic", "a"),
            ("format", "json"),
            ("properties.bootstrap.servers", "h:1"),
        ];
        all.extend_from_slice(options);
        Settings::new(&table(&all), Flavour::Append)
    }

    #[test]
    fn modes_and_what_they_need_are_read() {
        let start = |options: &[(&str, &str)]| kafka(options).unwrap().start;
        assert_eq!(start(&[]), Place::Group(None));
        assert_eq!(start(&[("properties.auto.offset.reset", "latest")]), {
            Place::Group(Some(Reset::Latest))
        });
        assert_eq!(start(&[("scan.startup.mode", "earliest-offset")]), Place::Earliest);
        let offsets = [
            ("scan.startup.mode", "specific-offsets"),
            ("scan.startup.specific-offsets", { "partition:0,offset:42; partition:1,offset:300" }),
        ];
        assert_eq!(start(&offsets), Place::Offsets([(0, 42), (1, 300)].into()));
        let missing = kafka(&[("scan.startup.mode", "timestamp")]).unwrap_err();
        assert_eq!(missing.option, "scan.startup.timestamp-millis");
        assert_eq!(kafka(&[]).unwrap().stop, None);
        let stop = kafka(&[("scan.bounded.mode", "latest-offset")]).unwrap().stop;
        assert_eq!(stop, Some(Place::Latest));
    }

    #[test]
    fn partitions_keep_together_only_if_a_drift_is_set() {
        assert_eq!(kafka(&[]).unwrap().alignment, None);
        let drift = ("scan.watermark.alignment.max-drift", "1 min");
        let group = ("scan.watermark.alignment.group", "g");
        let alignment = kafka(&[drift, group]).unwrap().alignment.unwrap();
        assert_eq!(alignment.max_drift, Duration::from_secs(60));
        assert_eq!(alignment.group.as_deref(), Some("g"));
        assert_eq!(kafka(&[group]).unwrap_err().option, drift.0);
        assert_eq!(kafka(&[(drift.0, "far")]).unwrap_err().option, drift.0);
    }

    #[test]
    fn java_properties_are_translated_ignored_or_refused() {
        let settings = kafka(&[
            ("properties.key.deserializer", "org.apache.kafka.x"),
            ("properties.max.request.size", "5000000"),
            ("properties.sasl.jaas.config", "X required username=\"u\" password=\"p\";"),
        ]);
        let properties = settings.unwrap().properties;
        let expected = ["bootstrap.servers", "message.max.bytes", "sasl.password", "sasl.username"];
        assert_eq!(properties.keys().collect::<Vec<_>>(), expected);
        let unknown = kafka(&[("properties.no.such", "1")]).unwrap_err();
        assert_eq!(unknown.option, "properties.no.such");
    }

    #[test]
    fn half_a_key_and_a_key_that_cannot_hold_are_refused() {
        assert_eq!(kafka(&[("key.format", "json")]).unwrap_err().option, "key.fields");
        assert_eq!(kafka(&[("key.fields", "id")]).unwrap_err().option, "key.format");
        assert_eq!(kafka(&[("topic-pattern", "a.*")]).unwrap_err().option, "topic-pattern");
        let mut keyed = table(&[
            ("connector", "kafka"),
            ("topic", "a"),
            ("format", "json"),
            ("properties.bootstrap.servers", "h:1"),
        ]);
        keyed.primary_key = vec![0];
        let error = Settings::new(&keyed, Flavour::Append).unwrap_err();
        assert!(error.hint.contains("upsert-kafka"), "{error}");
        assert_eq!(Settings::new(&keyed, Flavour::Upsert).unwrap_err().option, "key.format");
    }
}
