//! Whether and when a failed job is started again: `restart-strategy.*`, with Flink's names.
//!
//! | `restart-strategy.type` | options, with their defaults |
//! |---|---|
//! | `none` (also `off`, `disable`) | |
//! | `fixed-delay` | `fixed-delay.attempts` (1), `fixed-delay.delay` (1 s) |
//! | `exponential-delay` | `exponential-delay.initial-backoff` (1 s), `.max-backoff` (1 min), `.backoff-multiplier` (1.5), `.reset-backoff-threshold` (1 h), `.attempts-before-reset-backoff` (no limit) |
//!
//! Without a type a job whose input does not end is started again, by `exponential-delay`; one
//! whose input ends fails, for somebody waits for it. Only what may pass is tried again: a broker
//! that is away, a disk that is full, a bug. A row that no expression can digest will not be
//! digested by the next attempt either.

use crate::error::JobError;
use crate::options::{duration, number, value, wrong};
use std::collections::BTreeMap;
use std::time::Duration;

/// When a failed job is started again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Strategy {
    Never,
    Fixed { attempts_max: u32, delay: Duration },
    Exponential(Exponential),
}

/// Waiting longer after each failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exponential {
    initial: Duration,
    max: Duration,
    multiplier: f64,
    /// A job that ran for so long had recovered.
    reset_after: Duration,
    attempts_max: u32,
}

const TYPE: &str = "restart-strategy.type";

/// What the session's options say; `is_bounded` decides if they don't.
pub(crate) fn strategy(
    options: &BTreeMap<String, String>,
    is_bounded: bool,
) -> Result<Strategy, JobError> {
    let key = |name: &str| format!("restart-strategy.{name}");
    match value(options, TYPE).or_else(|| value(options, "restart-strategy")) {
        None if is_bounded => Ok(Strategy::Never),
        Some("none" | "off" | "disable") => Ok(Strategy::Never),
        Some("fixed-delay" | "fixeddelay") => Ok(Strategy::Fixed {
            attempts_max: number(options, &key("fixed-delay.attempts"), 1)?,
            delay: duration(options, &key("fixed-delay.delay"), Duration::from_secs(1))?,
        }),
        None | Some("exponential-delay" | "exponentialdelay") => {
            let name = |name: &str| key(&format!("exponential-delay.{name}"));
            let seconds = Duration::from_secs;
            Ok(Strategy::Exponential(Exponential {
                initial: duration(options, &name("initial-backoff"), seconds(1))?,
                max: duration(options, &name("max-backoff"), seconds(60))?,
                multiplier: number(options, &name("backoff-multiplier"), 1.5)?,
                reset_after: duration(options, &name("reset-backoff-threshold"), seconds(3600))?,
                attempts_max: number(options, &name("attempts-before-reset-backoff"), u32::MAX)?,
            }))
        }
        Some(other) => {
            Err(wrong(TYPE, other, "write 'exponential-delay', 'fixed-delay' or 'none'"))
        }
    }
}

/// Counts failures.
#[derive(Debug)]
pub(crate) struct Restarts {
    strategy: Strategy,
    failures: u32,
}

impl Restarts {
    pub(crate) fn new(strategy: Strategy) -> Self {
        Restarts { strategy, failures: 0 }
    }

    /// How long to wait before the next attempt, after one that ran for `ran`; `None` if there
    /// is none.
    pub(crate) fn next(&mut self, ran: Duration) -> Option<Duration> {
        if let Strategy::Exponential(Exponential { reset_after, .. }) = self.strategy
            && ran >= reset_after
        {
            self.failures = 0;
        }
        let before = self.failures;
        self.failures += 1;
        match self.strategy {
            Strategy::Never => None,
            Strategy::Fixed { attempts_max, delay } => (before < attempts_max).then_some(delay),
            Strategy::Exponential(Exponential {
                initial, max, multiplier, attempts_max, ..
            }) => {
                let exponent = i32::try_from(before).unwrap_or(i32::MAX);
                let delay = initial.as_secs_f64() * multiplier.max(1.0).powi(exponent);
                let delay = Duration::from_secs_f64(delay.min(max.as_secs_f64()));
                (before < attempts_max).then_some(delay)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarts(options: &[(&str, &str)]) -> Restarts {
        let options = options.iter().map(|(k, v)| (format!("restart-strategy.{k}"), v.to_string()));
        Restarts::new(strategy(&options.collect(), false).unwrap())
    }

    fn waits_ms(restarts: &mut Restarts, attempts: usize) -> Vec<Option<u128>> {
        let wait = |_| restarts.next(Duration::ZERO).map(|wait| wait.as_millis());
        (0..attempts).map(wait).collect()
    }

    #[test]
    fn waits_grow_up_to_a_bound_and_start_over_after_a_good_run() {
        let mut restarts = restarts(&[
            ("exponential-delay.initial-backoff", "100 ms"),
            ("exponential-delay.max-backoff", "300 ms"),
            ("exponential-delay.backoff-multiplier", "2"),
        ]);
        assert_eq!(waits_ms(&mut restarts, 4), [Some(100), Some(200), Some(300), Some(300)]);
        let after_a_day = restarts.next(Duration::from_secs(86_400)).unwrap();
        assert_eq!(after_a_day, Duration::from_millis(100));
    }

    #[test]
    fn a_fixed_number_of_attempts_is_made_and_no_more() {
        let mut restarts = restarts(&[("type", "fixed-delay"), ("fixed-delay.attempts", "2")]);
        assert_eq!(waits_ms(&mut restarts, 3), [Some(1000), Some(1000), None]);
    }

    #[test]
    fn without_a_type_only_a_job_whose_input_does_not_end_is_started_again() {
        assert_eq!(strategy(&BTreeMap::new(), true).unwrap(), Strategy::Never);
        assert!(matches!(strategy(&BTreeMap::new(), false).unwrap(), Strategy::Exponential(_)));
        let options = BTreeMap::from([(TYPE.to_owned(), "failure-rate".to_owned())]);
        let error = strategy(&options, false).unwrap_err().to_string();
        assert!(error.contains("'fixed-delay'"), "{error}");
    }
}
