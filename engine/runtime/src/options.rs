//! What the session's options (`SET 'key' = 'value'`) mean to the runtime.

use crate::coordinator::Limits;
use crate::error::JobError;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;
use tidemill_formats::{Table, parse_duration};

/// What becomes of input that can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Policy {
    /// Counted, shown and kept aside.
    #[default]
    DeadLetter,
    /// Counted only.
    Skip,
    /// The job fails.
    Fail,
}

/// The policy for records of `table` that can't be decoded: `'scan.bad-records'`.
pub(crate) fn bad_records(table: &Table) -> Result<Policy, JobError> {
    policy("scan.bad-records", table.option("scan.bad-records"), "skip")
}

/// The policy for rows that come too late: `'tidemill.late-rows'`.
pub(crate) fn late_rows(options: &BTreeMap<String, String>) -> Result<Policy, JobError> {
    let option = "tidemill.late-rows";
    policy(option, value(options, option), "drop")
}

fn policy(option: &str, value: Option<&str>, skip: &str) -> Result<Policy, JobError> {
    match value {
        None | Some("dead-letter") => Ok(Policy::DeadLetter),
        Some("fail") => Ok(Policy::Fail),
        Some(value) if value == skip => Ok(Policy::Skip),
        Some(value) => {
            Err(wrong(option, value, &format!("write 'dead-letter', '{skip}' or 'fail'")))
        }
    }
}

/// When epochs end and reading pauses: `'tidemill.epoch.*'`, and what mini-batches make of that.
pub(crate) fn limits(options: &BTreeMap<String, String>) -> Result<Limits, JobError> {
    let default = mini_batches(options)?;
    let interval_ms = default.epoch_interval.as_millis() as u64;
    let interval_ms = number(options, "tidemill.epoch.interval-ms", interval_ms)?;
    Ok(Limits {
        epoch_interval: Duration::from_millis(interval_ms),
        epoch_rows_max: number(options, "tidemill.epoch.max-rows", default.epoch_rows_max)?.max(1),
        epoch_bytes_max: number(options, "tidemill.epoch.max-bytes", default.epoch_bytes_max)?
            .max(1),
        ..default
    })
}

/// `'table.exec.mini-batch.*'`: an epoch says each change once, so an epoch is a mini-batch. While
/// one may wait for more rows none ends early.
fn mini_batches(options: &BTreeMap<String, String>) -> Result<Limits, JobError> {
    let (enabled, latency, size) = (
        "table.exec.mini-batch.enabled",
        "table.exec.mini-batch.allow-latency",
        "table.exec.mini-batch.size",
    );
    let default = Limits::default();
    match options.get(enabled).map(|value| value.trim().to_ascii_lowercase()).as_deref() {
        None | Some("false") => return Ok(default),
        Some("true") => {}
        Some(value) => return Err(wrong(enabled, value, "write 'true' or 'false'")),
    }
    let waits = duration(options, latency, Duration::ZERO)?;
    let rows = number(options, size, 0)?;
    if waits.is_zero() {
        return Err(wrong(latency, "0", "mini-batches need a time to wait, such as '2 s'"));
    }
    if rows == 0 {
        return Err(wrong(size, "0", "mini-batches need a number of rows, such as '5000'"));
    }
    Ok(Limits { epoch_interval: waits, epoch_min: waits, epoch_rows_max: rows, ..default })
}

/// When checkpoints are taken and how many are kept: `'execution.checkpointing.*'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointOptions {
    /// How often; `None` only when the job ends or stops.
    pub interval: Option<Duration>,
    /// How many that stand are kept.
    pub retained: usize,
}

/// What the session says of checkpoints.
pub(crate) fn checkpoints(
    options: &BTreeMap<String, String>,
) -> Result<CheckpointOptions, JobError> {
    let default = Duration::from_secs(1);
    let interval = duration(options, "execution.checkpointing.interval", default)?;
    let retained = number(options, "state.checkpoints.num-retained", 2)?;
    Ok(CheckpointOptions {
        interval: (!interval.is_zero()).then_some(interval),
        retained: retained.max(2),
    })
}

/// The number of workers that the session asks for: `'parallelism.default'`.
pub fn parallelism(options: &BTreeMap<String, String>) -> Result<Option<usize>, JobError> {
    let option = "parallelism.default";
    match value(options, option) {
        None => Ok(None),
        Some(_) => match number(options, option, 0)? {
            0 => Err(wrong(option, "0", "write a number from 1 to 256")),
            workers => Ok(Some(workers)),
        },
    }
}

pub(crate) fn duration(
    options: &BTreeMap<String, String>,
    option: &str,
    default: Duration,
) -> Result<Duration, JobError> {
    let Some(value) = value(options, option) else { return Ok(default) };
    let expected = "write a number and a unit, such as '500 ms', '5 s', '10 min'";
    parse_duration(value).ok_or_else(|| wrong(option, value, expected))
}

pub(crate) fn number<N: FromStr>(
    options: &BTreeMap<String, String>,
    option: &str,
    default: N,
) -> Result<N, JobError> {
    let Some(value) = value(options, option) else { return Ok(default) };
    value.trim().parse().map_err(|_| wrong(option, value, "write a whole number"))
}

/// What the session says of an option. Those that mean something are listed, so that people can
/// be told of them.
pub(crate) fn value<'a>(options: &'a BTreeMap<String, String>, option: &str) -> Option<&'a str> {
    debug_assert!(tidemill_sql::OPTIONS.contains(&option), "'{option}' is not listed");
    options.get(option).map(String::as_str)
}

pub(crate) fn wrong(option: &str, value: &str, expected: &str) -> JobError {
    JobError::Option {
        option: option.to_owned(),
        value: value.to_owned(),
        expected: expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn late_rows_are_kept_unless_the_job_says_otherwise() {
        assert_eq!(late_rows(&BTreeMap::new()).unwrap(), Policy::DeadLetter);
        assert_eq!(late_rows(&options("tidemill.late-rows", "drop")).unwrap(), Policy::Skip);
        assert_eq!(late_rows(&options("tidemill.late-rows", "fail")).unwrap(), Policy::Fail);
        let error = late_rows(&options("tidemill.late-rows", "skip")).unwrap_err();
        assert!(error.to_string().contains("'drop'"), "{error}");
    }

    #[test]
    fn a_mini_batch_is_an_epoch_that_waits() {
        let mut options = options("table.exec.mini-batch.enabled", "true");
        let error = limits(&options).expect_err("it does not say how long").to_string();
        assert!(error.contains("allow-latency"), "{error}");
        options.insert("table.exec.mini-batch.allow-latency".to_owned(), "2 s".to_owned());
        let error = limits(&options).expect_err("it does not say how many rows").to_string();
        assert!(error.contains("mini-batch.size"), "{error}");
        options.insert("table.exec.mini-batch.size".to_owned(), "5000".to_owned());
        let limits = |options: &BTreeMap<String, String>| limits(options).expect("all is said");
        let waits = Duration::from_secs(2);
        let expected = Limits {
            epoch_interval: waits,
            epoch_min: waits,
            epoch_rows_max: 5000,
            ..Limits::default()
        };
        assert_eq!(limits(&options), expected);
        options.insert("table.exec.mini-batch.enabled".to_owned(), "false".to_owned());
        assert_eq!(limits(&options), Limits::default());
    }

    #[test]
    fn checkpoints_are_taken_each_second_unless_the_job_says_otherwise() {
        let default = CheckpointOptions { interval: Some(Duration::from_secs(1)), retained: 2 };
        assert_eq!(checkpoints(&BTreeMap::new()).unwrap(), default);
        let interval = |text| checkpoints(&options("execution.checkpointing.interval", text));
        assert_eq!(interval("100 ms").unwrap().interval, Some(Duration::from_millis(100)));
        assert_eq!(interval("0").unwrap().interval, None);
        assert!(interval("often").unwrap_err().to_string().contains("'500 ms'"));
        let retained = checkpoints(&options("state.checkpoints.num-retained", "1"));
        assert_eq!(retained.unwrap().retained, 2, "the one before may be needed");
    }

    #[test]
    fn a_number_that_is_none_is_refused_with_its_option() {
        let error = limits(&options("tidemill.epoch.max-rows", "many")).unwrap_err();
        assert!(error.to_string().contains("tidemill.epoch.max-rows"), "{error}");
        assert_eq!(parallelism(&options("parallelism.default", "3")).unwrap(), Some(3));
        assert!(parallelism(&options("parallelism.default", "0")).is_err());
    }
}
