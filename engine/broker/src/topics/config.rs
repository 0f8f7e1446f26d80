//! [`TopicConfig`]: the options of a topic that mean something here.
//!
//! Each option is one entry of [`OPTIONS`]: its name, type, default and meaning. An option that is
//! not in the list is refused, by name, so that nobody relies on what isn't there.

use crate::log::partition_log::{AppendRules, Retention, Timestamps};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// Options that a topic was given, beside the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TopicConfig {
    given: BTreeMap<String, String>,
}

/// What an option's value may be. The numbers are the protocol's, for descriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OptionType {
    Text = 2,
    Int = 3,
    Long = 5,
    List = 7,
}

/// An option of topics.
#[derive(Debug)]
pub(crate) struct TopicOption {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) option_type: OptionType,
    pub(crate) meaning: &'static str,
    accepts: fn(&str) -> bool,
}

/// An option or a value that there is not.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ConfigError {
    #[error("there is no topic option '{0}' here")]
    Unknown(String),
    #[error("'{value}' is no value for the topic option '{name}': {meaning}")]
    Value { name: &'static str, value: String, meaning: &'static str },
}

/// The largest segment: positions in it are numbers of 32 bits.
const SEGMENT_BYTES_MAX: i64 = 1 << 30;

/// All options of topics.
pub(crate) const OPTIONS: &[TopicOption] = &[
    TopicOption {
        name: "cleanup.policy",
        default: "delete",
        option_type: OptionType::List,
        meaning: "'delete' drops old segments; 'compact' keeps all records, for nothing is \
                  compacted here",
        accepts: |value| value.split(',').all(|p| matches!(p.trim(), "delete" | "compact")),
    },
    TopicOption {
        name: "compression.type",
        default: "producer",
        option_type: OptionType::Text,
        meaning: "batches stay as the producer has compressed them",
        accepts: |value| value == "producer",
    },
    TopicOption {
        name: "max.message.bytes",
        default: "1048588",
        option_type: OptionType::Int,
        meaning: "the largest batch that is taken, in bytes",
        accepts: |value| is_within(value, 0, 64 << 20),
    },
    TopicOption {
        name: "message.timestamp.type",
        default: "CreateTime",
        option_type: OptionType::Text,
        meaning: "whose clock timestamps are: the producer's 'CreateTime' or this broker's \
                  'LogAppendTime'",
        accepts: |value| matches!(value, "CreateTime" | "LogAppendTime"),
    },
    TopicOption {
        name: "min.insync.replicas",
        default: "1",
        option_type: OptionType::Int,
        meaning: "one node, one replica",
        accepts: |value| is_within(value, 1, 1),
    },
    TopicOption {
        name: "retention.bytes",
        default: "-1",
        option_type: OptionType::Long,
        meaning: "how much a partition keeps, in bytes, whole segments; -1 is everything",
        accepts: |value| is_within(value, -1, i64::MAX),
    },
    TopicOption {
        name: "retention.ms",
        default: "604800000",
        option_type: OptionType::Long,
        meaning: "how long a segment is kept after its latest record, in milliseconds; -1 is for \
                  ever",
        accepts: |value| is_within(value, -1, i64::MAX),
    },
    TopicOption {
        name: "segment.bytes",
        default: "67108864",
        option_type: OptionType::Int,
        meaning: "how large a segment's file grows, in bytes",
        accepts: |value| is_within(value, 14, SEGMENT_BYTES_MAX),
    },
];

fn is_within(value: &str, least: i64, most: i64) -> bool {
    value.parse().is_ok_and(|number: i64| (least..=most).contains(&number))
}

impl TopicConfig {
    /// Gives an option a value, if both are known.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        let option = option(name)?;
        if !(option.accepts)(value) {
            let (name, meaning) = (option.name, option.meaning);
            return Err(ConfigError::Value { name, value: value.to_owned(), meaning });
        }
        self.given.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Gives an option its default back.
    pub(crate) fn reset(&mut self, name: &str) -> Result<(), ConfigError> {
        option(name)?;
        self.given.remove(name);
        Ok(())
    }

    /// The value that was given, if one was.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    pub(crate) fn max_message_bytes(&self) -> usize {
        self.number("max.message.bytes").max(0) as usize
    }

    pub(crate) fn append_rules(&self) -> AppendRules {
        let timestamps = match self.value("message.timestamp.type") {
            "LogAppendTime" => Timestamps::Appended,
            _ => Timestamps::Created,
        };
        AppendRules { segment_bytes: self.number("segment.bytes") as u32, timestamps }
    }

    /// What may be deleted. A topic that is only to be compacted keeps everything.
    pub(crate) fn retention(&self) -> Retention {
        let keeps_all = !self.value("cleanup.policy").contains("delete");
        let limit = |name| Some(self.number(name)).filter(|&limit| limit >= 0 && !keeps_all);
        let bytes = limit("retention.bytes").map(|bytes| bytes as u64);
        Retention { time_ms: limit("retention.ms"), bytes }
    }

    fn value(&self, name: &str) -> &str {
        self.given(name).unwrap_or_else(|| option(name).map_or("", |option| option.default))
    }

    fn number(&self, name: &str) -> i64 {
        self.value(name).parse().unwrap_or(-1)
    }
}

fn option(name: &str) -> Result<&'static TopicOption, ConfigError> {
    let found = OPTIONS.iter().find(|option| option.name == name);
    found.ok_or_else(|| ConfigError::Unknown(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_option() {
        for option in OPTIONS {
            assert!((option.accepts)(option.default), "{}", option.name);
        }
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let mut config = TopicConfig::default();
        let error = config.set("retention.hours", "3").unwrap_err();
        assert!(error.to_string().contains("retention.hours"));
        assert!(config.set("retention.ms", "soon").is_err());
        config.set("retention.ms", "-1").unwrap();
        assert_eq!(config.retention().time_ms, None);
        config.reset("retention.ms").unwrap();
        assert_eq!(config.retention().time_ms, Some(604_800_000));
    }
}
