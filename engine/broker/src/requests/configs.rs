//! `DescribeConfigs`, `AlterConfigs`, `IncrementalAlterConfigs`: options of topics. The broker has
//! options too, given at its start; they are shown and can't be changed.

use super::errors::{Code, NONE};
use super::{Context, Effect, text};
use crate::config::AutoCreate;
use crate::node::NODE_ID;
use crate::topics::catalog::{Topic, TopicError};
use crate::topics::config::{ConfigError, OPTIONS, OptionType, TopicConfig};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, alter_configs_response,
    incremental_alter_configs_response,
};
use std::io;
use std::sync::Arc;
use thiserror::Error;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

const SET: i8 = 0;
const DELETE: i8 = 1;

/// Why options are not shown or changed.
#[derive(Debug, Error)]
enum AlterError {
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("only topics have options that can be changed, not resources of type {0}")]
    Resource(i8),
    #[error("'{0}' is no list to which values could be added")]
    NoList(String),
    #[error("writing the topic's options: {0}")]
    Io(#[from] io::Error),
}

impl Code for AlterError {
    fn error(&self) -> ResponseError {
        match self {
            AlterError::Topic(error) => error.error(),
            AlterError::Config(error) => error.error(),
            AlterError::Resource(_) => ResponseError::InvalidRequest,
            AlterError::NoList(_) => ResponseError::InvalidConfig,
            AlterError::Io(error) => error.error(),
        }
    }
}

/// An option with the value that counts, and where that is from.
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) source: i8,
    option_type: OptionType,
    meaning: &'static str,
}

/// All options of a topic.
pub(super) fn describe_topic(config: &TopicConfig) -> impl Iterator<Item = Described> + '_ {
    OPTIONS.iter().map(|option| {
        let given = config.given(option.name);
        Described {
            name: option.name,
            value: given.unwrap_or(option.default).to_owned(),
            source: if given.is_some() { SOURCE_TOPIC } else { SOURCE_DEFAULT },
            option_type: option.option_type,
            meaning: option.meaning,
        }
    })
}

fn describe_broker(context: &Context<'_>) -> Vec<Described> {
    let node = context.node;
    let described = |name, option_type, value: String, meaning| Described {
        name,
        value,
        source: SOURCE_STATIC_BROKER,
        option_type,
        meaning,
    };
    let creates = (node.auto_create == AutoCreate::On).to_string();
    vec![
        described("auto.create.topics.enable", OptionType::Text, creates, "topics on first use"),
        described(
            "num.partitions",
            OptionType::Int,
            node.default_partitions.to_string(),
            "partitions of a topic that doesn't say",
        ),
        described("node.id", OptionType::Int, NODE_ID.to_string(), "the one node"),
    ]
}

pub(super) fn describe(
    context: &Context<'_>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let result = |resource: DescribeConfigsResource| {
        let found = match resource.resource_type {
            TOPIC => topic(context, &resource.resource_name)
                .map(|topic| describe_topic(&topic.config()).collect()),
            BROKER => Ok(describe_broker(context)),
            other => Err(AlterError::Resource(other)),
        };
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match found {
            Ok(described) => result.with_configs(select(described, &resource)),
            Err(error) => {
                result.with_error_code(error.code()).with_error_message(Some(text(error)))
            }
        }
    };
    let results = request.resources.into_iter().map(result).collect();
    DescribeConfigsResponse::default().with_results(results)
}

fn select(
    described: Vec<Described>,
    resource: &DescribeConfigsResource,
) -> Vec<DescribeConfigsResourceResult> {
    let is_wanted = |described: &Described| {
        let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
        keys.is_none_or(|keys| keys.iter().any(|key| &**key == described.name))
    };
    let result = |described: Described| {
        DescribeConfigsResourceResult::default()
            .with_name(text(described.name))
            .with_value(Some(text(described.value)))
            .with_read_only(described.source == SOURCE_STATIC_BROKER)
            .with_config_source(described.source)
            .with_config_type(described.option_type as i8)
            .with_documentation(Some(text(described.meaning)))
    };
    described.into_iter().filter(is_wanted).map(result).collect()
}

fn topic(context: &Context<'_>, name: &str) -> Result<Arc<Topic>, AlterError> {
    let unknown = || TopicError::Unknown(name.to_owned());
    Ok(context.node.catalog.by_name(name).ok_or_else(unknown)?)
}

/// One change of an option.
struct Change<'a> {
    name: &'a str,
    operation: i8,
    value: Option<&'a str>,
}

fn apply<'a>(
    context: &Context<'_>,
    (resource_type, name): (i8, &str),
    base: impl FnOnce(&Topic) -> TopicConfig,
    changes: impl Iterator<Item = Change<'a>>,
    effect: Effect,
) -> Result<(), AlterError> {
    if resource_type != TOPIC {
        return Err(AlterError::Resource(resource_type));
    }
    let topic = topic(context, name)?;
    let mut config = base(&topic);
    for change in changes {
        match (change.operation, change.value) {
            (SET, Some(value)) => config.set(change.name, value)?,
            (SET | DELETE, _) => config.reset(change.name)?,
            _ => return Err(AlterError::NoList(change.name.to_owned())),
        }
    }
    match effect {
        Effect::Apply => Ok(topic.reconfigure(config)?),
        Effect::JudgeOnly => Ok(()),
    }
}

/// Replaces all options of a topic.
pub(super) fn alter(context: &Context<'_>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let changes = resource.configs.iter().map(|config| Change {
            name: &config.name,
            operation: SET,
            value: config.value.as_deref(),
        });
        let place = (resource.resource_type, &*resource.resource_name);
        let base = |_: &Topic| TopicConfig::default();
        let (error_code, error_message) =
            told(apply(context, place, base, changes, Effect::of(request.validate_only)));
        alter_configs_response::AlterConfigsResourceResponse::default()
            .with_error_code(error_code)
            .with_error_message(error_message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

/// Changes some options of a topic.
pub(super) fn alter_incrementally(
    context: &Context<'_>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let changes = resource.configs.iter().map(|config| Change {
            name: &config.name,
            operation: config.config_operation,
            value: config.value.as_deref(),
        });
        let place = (resource.resource_type, &*resource.resource_name);
        let base = |topic: &Topic| TopicConfig::clone(&topic.config());
        let (error_code, error_message) =
            told(apply(context, place, base, changes, Effect::of(request.validate_only)));
        incremental_alter_configs_response::AlterConfigsResourceResponse::default()
            .with_error_code(error_code)
            .with_error_message(error_message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn told(result: Result<(), AlterError>) -> (i16, Option<kafka_protocol::protocol::StrBytes>) {
    match result {
        Ok(()) => (NONE, None),
        Err(error) => (error.code(), Some(text(error))),
    }
}
