//! Functions over dates, times and timestamps.
//!
//! All of them see the wall clock (`local::Local`): of the session's zone for a TIMESTAMP_LTZ,
//! as it stands for the others. Before 1970, where Flink cuts some fields toward zero, these
//! round down, as its documentation says.

mod fields;
mod format;
pub(super) mod local;
mod now;
pub(super) mod pattern;
mod shift;
pub mod unit;
pub mod zone;

use super::function::{Definition, Kind, Shape, Takes, gives_bigint, gives_first, gives_text};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;

use Kind::{Any, Integer, Moment, MomentOrText, Text};

const NONE: Takes = Takes::Fixed(&[], &[]);
const ONE: Takes = Takes::Fixed(&[Moment], &[]);
const READ: Takes = Takes::Fixed(&[Text], &[Text]);
const OF_UNIT: Takes = Takes::Fixed(&[Text, Moment], &[]);
const TO_UNIT: Takes = Takes::Fixed(&[Moment, Text], &[]);

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("EXTRACT", OF_UNIT, fields::gives_field, fields::extract),
    Definition::new("DATE_PART", OF_UNIT, fields::gives_field, fields::extract),
    Definition::new("YEAR", ONE, gives_bigint, fields::year),
    Definition::new("QUARTER", ONE, gives_bigint, fields::quarter),
    Definition::new("MONTH", ONE, gives_bigint, fields::month),
    Definition::new("WEEK", ONE, gives_bigint, fields::week),
    Definition::new("DAYOFYEAR", ONE, gives_bigint, fields::day_of_year),
    Definition::new("DAYOFMONTH", ONE, gives_bigint, fields::day_of_month),
    Definition::new("DAYOFWEEK", ONE, gives_bigint, fields::day_of_week),
    Definition::new("HOUR", ONE, gives_bigint, fields::hour),
    Definition::new("MINUTE", ONE, gives_bigint, fields::minute),
    Definition::new("SECOND", ONE, gives_bigint, fields::second),
    Definition::new("FLOOR_TO", TO_UNIT, fields::gives_floored, fields::floor),
    Definition::new("CEIL_TO", TO_UNIT, fields::gives_floored, fields::ceil),
    Definition::new(
        "TIMESTAMPADD",
        Takes::Fixed(&[Text, Integer, Moment], &[]),
        shift::gives_shifted,
        shift::timestamp_add,
    ),
    Definition::new(
        "TIMESTAMPDIFF",
        Takes::Fixed(&[Text, Moment, Moment], &[]),
        shift::gives_difference,
        shift::timestamp_diff,
    ),
    Definition::new(
        "DATE_FORMAT",
        Takes::Fixed(&[MomentOrText, Text], &[]),
        format::gives_formatted,
        format::date_format,
    ),
    Definition::new("TO_TIMESTAMP", READ, format::gives_timestamp, format::to_timestamp),
    Definition::new(
        "TO_TIMESTAMP_LTZ",
        Takes::Custom(format::coerce_to_timestamp_ltz),
        gives_instant,
        format::to_timestamp_ltz,
    ),
    Definition::new("TO_DATE", READ, format::gives_date, format::to_date),
    Definition::new(
        "UNIX_TIMESTAMP",
        Takes::Fixed(&[], &[Text, Text]),
        format::gives_unix_timestamp,
        format::unix_timestamp,
    )
    .changing(),
    Definition::new(
        "FROM_UNIXTIME",
        Takes::Fixed(&[Integer], &[Text]),
        format::gives_formatted,
        format::from_unixtime,
    ),
    Definition::new(
        "CONVERT_TZ",
        Takes::Fixed(&[Text, Text, Text], &[]),
        gives_text,
        format::convert_tz,
    ),
    Definition::new("NOW", NONE, gives_instant, now::instant).changing(),
    Definition::new("CURRENT_TIMESTAMP", NONE, gives_instant, now::instant).changing(),
    Definition::new("CURRENT_ROW_TIMESTAMP", NONE, gives_instant, now::instant).changing(),
    Definition::new("PROCTIME", NONE, gives_instant, now::instant).changing(),
    Definition::new("LOCALTIMESTAMP", NONE, gives_wall_clock, now::wall_clock).changing(),
    Definition::new("CURRENT_DATE", NONE, gives_day, now::wall_clock).changing(),
    Definition::new("CURRENT_TIME", NONE, gives_time, now::wall_clock).changing(),
    Definition::new("LOCALTIME", NONE, gives_time, now::wall_clock).changing(),
    Definition::new("CURRENT_UNIX_TIMESTAMP", NONE, gives_bigint, now::unix_seconds).changing(),
    Definition::new(
        "CURRENT_WATERMARK",
        Takes::Fixed(&[Any], &[]),
        gives_first,
        now::current_watermark,
    )
    .changing(),
];

/// `TIMESTAMP_LTZ(3)`.
fn gives_instant(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())))
}

/// `TIMESTAMP(3)`.
fn gives_wall_clock(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Timestamp(TimeUnit::Millisecond, None))
}

fn gives_day(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Date32)
}

fn gives_time(_: &Shape<'_>) -> Result<DataType> {
    Ok(DataType::Time32(TimeUnit::Millisecond))
}
