//! The options `lookup.*` of a table, with Flink's names.

use crate::options::{choice, duration, number, wrong};
use std::time::Duration;
use tidemill_formats::{OptionError, Table};

/// What is kept of what was looked up.
pub(crate) const CACHE: &str = "lookup.cache";
/// When a table that is kept whole is read again.
pub(crate) const RELOAD_STRATEGY: &str = "lookup.full-cache.reload-strategy";
/// How often.
pub(crate) const RELOAD_INTERVAL: &str = "lookup.full-cache.periodic-reload.interval";

/// How often a table that is kept whole is read again, if it is.
pub(crate) fn reload_interval(table: &Table) -> Result<Option<Duration>, OptionError> {
    choice(table, CACHE, &[("FULL", ())], ())?;
    choice(table, RELOAD_STRATEGY, &[("PERIODIC", ())], ())?;
    match duration(table, RELOAD_INTERVAL)? {
        Some(Duration::ZERO) => {
            Err(wrong(RELOAD_INTERVAL, "is no time at all", "write a duration such as '10 min'"))
        }
        interval => Ok(interval),
    }
}

/// So many attempts are made after the first.
pub(crate) const MAX_RETRIES: &str = "lookup.max-retries";
/// Options of a cache of what was asked for.
pub(crate) const PARTIAL_MAX_ROWS: &str = "lookup.partial-cache.max-rows";
/// How long an answer may be used.
pub(crate) const PARTIAL_EXPIRE_WRITE: &str = "lookup.partial-cache.expire-after-write";
/// How long an answer that nobody uses is kept.
pub(crate) const PARTIAL_EXPIRE_ACCESS: &str = "lookup.partial-cache.expire-after-access";
/// Whether it is kept that a key has no rows.
pub(crate) const PARTIAL_MISSING_KEY: &str = "lookup.partial-cache.cache-missing-key";

/// How a table is asked for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    /// So many attempts are made after the first.
    pub retries: u32,
    /// What is kept of the answers, if anything is.
    pub cache: Option<CacheLimits>,
}

/// What a cache may hold, on each worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheLimits {
    /// Rows; a key without rows counts as one.
    pub rows_max: usize,
    /// Milliseconds since the answer came.
    pub after_write_ms: i64,
    /// Milliseconds since the answer was used.
    pub after_access_ms: i64,
    /// Whether it is kept that a key has no rows.
    pub has_missing_keys: bool,
}

impl Asking {
    /// What the table says.
    ///
    /// # Errors
    /// If it says something that can't be.
    pub(crate) fn new(table: &Table) -> Result<Self, OptionError> {
        let is_cached = choice(table, CACHE, &[("NONE", false), ("PARTIAL", true)], false)?;
        let millis = |key: &str| -> Result<i64, OptionError> {
            let limit = duration(table, key)?;
            Ok(limit.map_or(i64::MAX, |limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)))
        };
        let limits = CacheLimits {
            rows_max: number(table, PARTIAL_MAX_ROWS)?.unwrap_or(usize::MAX),
            after_write_ms: millis(PARTIAL_EXPIRE_WRITE)?,
            after_access_ms: millis(PARTIAL_EXPIRE_ACCESS)?,
            has_missing_keys: table.bool_option(PARTIAL_MISSING_KEY, true)?,
        };
        let unused = table.options.keys().find(|key| key.starts_with("lookup.partial-cache."));
        if let (false, Some(key)) = (is_cached, unused) {
            return Err(wrong(
                key,
                "has no effect without a cache",
                "set 'lookup.cache' = 'PARTIAL'",
            ));
        }
        let retries = number(table, MAX_RETRIES)?.unwrap_or(3);
        Ok(Asking { retries, cache: is_cached.then_some(limits) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;

    #[test]
    fn limits_of_a_cache_that_there_is_not_are_refused() {
        let asking = |options: &[(&str, &str)]| Asking::new(&table(options));
        assert_eq!(asking(&[]).unwrap(), Asking { retries: 3, cache: None });
        let limits = asking(&[(CACHE, "partial"), (PARTIAL_MAX_ROWS, "10")]).unwrap();
        assert_eq!(limits.cache.unwrap().rows_max, 10);
        let error = asking(&[(PARTIAL_MAX_ROWS, "10")]).unwrap_err();
        assert_eq!(error.option, PARTIAL_MAX_ROWS);
        assert!(asking(&[(CACHE, "FULL")]).is_err(), "what is asked by key is never read whole");
    }
}
