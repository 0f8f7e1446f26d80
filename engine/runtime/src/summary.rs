//! [`Summary`]: what a job did, as one JSON object.

use crate::metrics::Totals;
use serde::Serialize;
use std::time::Duration;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// All inputs ended.
    Finished,
    /// It was told to stop.
    Stopped,
    /// Something went wrong.
    Failed,
}

/// What a job did.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Rows read.
    pub rows_in: u64,
    /// Rows written.
    pub rows_out: u64,
    /// Rows dropped because they came too late.
    pub late_rows: u64,
    /// Records that could not be decoded.
    pub bad_rows: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// Processor time of the whole process.
    pub cpu_seconds: f64,
    /// Rows read per second.
    pub rows_per_second: f64,
    /// The most memory the process ever held.
    pub peak_rss_bytes: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// How long each took, on average, until its output was visible.
    pub checkpoint_seconds: f64,
    /// Bytes of changed state that each wrote, on average.
    pub checkpoint_bytes: u64,
    /// State held at the end.
    pub state_bytes: u64,
    /// Epochs that the rows were read in.
    pub epochs: u64,
    /// How it ended.
    pub exit: Exit,
    /// Whether something was kept as a dead letter.
    #[serde(skip)]
    pub has_dead_letters: bool,
}

impl Summary {
    /// Puts a summary together.
    pub fn new(exit: Exit, totals: &Totals, elapsed: Duration, usage: Usage) -> Self {
        let seconds = elapsed.as_secs_f64();
        Summary {
            rows_in: totals.rows_in,
            rows_out: totals.rows_out,
            late_rows: totals.late_rows,
            bad_rows: totals.bad_rows,
            seconds,
            cpu_seconds: usage.cpu_seconds,
            rows_per_second: totals.rows_in as f64 / seconds.max(1e-9),
            peak_rss_bytes: usage.peak_rss_bytes,
            checkpoints: totals.checkpoints,
            checkpoint_seconds: totals.checkpoint_mean.as_secs_f64(),
            checkpoint_bytes: totals.checkpoint_bytes,
            state_bytes: totals.state_bytes,
            epochs: totals.epochs,
            exit,
            has_dead_letters: false,
        }
    }
}

/// What this process has used of the machine so far; zeros where the system doesn't say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu_seconds: f64,
    /// The most memory ever held.
    pub peak_rss_bytes: u64,
    /// The memory held now.
    pub rss_bytes: u64,
}

impl Usage {
    /// Asks the system.
    pub fn now() -> Usage {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        Usage {
            cpu_seconds: cpu_seconds(&read("/proc/self/stat")).unwrap_or_default(),
            peak_rss_bytes: status_bytes(&status, "VmHWM:").unwrap_or_default(),
            rss_bytes: status_bytes(&status, "VmRSS:").unwrap_or_default(),
        }
    }
}

/// User and system time of `/proc/self/stat`, whose clock ticks 100 times a second on Linux. The
/// command's name, in parentheses, may hold anything: fields count from behind it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

/// A size in `/proc/self/status`.
fn status_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_full_of_brackets_does_not_shift_its_times() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        let status = "VmPeak:\t  9 kB\nVmHWM:\t  12 kB\n";
        assert_eq!(status_bytes(status, "VmHWM:"), Some(12 * 1024));
        assert_eq!((cpu_seconds(""), status_bytes(status, "VmRSS:")), (None, None));
    }

    #[test]
    fn the_summary_has_every_promised_field() {
        let summary =
            Summary::new(Exit::Finished, &Totals::default(), Duration::ZERO, Usage::default());
        let json = serde_json::to_value(summary).unwrap();
        let fields: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = vec![
            "rows_in",
            "rows_out",
            "late_rows",
            "bad_rows",
            "seconds",
            "cpu_seconds",
            "rows_per_second",
            "peak_rss_bytes",
            "checkpoints",
            "checkpoint_seconds",
            "checkpoint_bytes",
            "state_bytes",
            "epochs",
            "exit",
        ];
        expected.sort_unstable();
        let mut fields = fields;
        fields.sort_unstable();
        assert_eq!(fields, expected);
        assert_eq!(json["exit"], "finished");
    }
}
