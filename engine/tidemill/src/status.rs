//! What a running job shows: a live line on a terminal, a log line now and then otherwise.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidemill_operators::Watermark;
use tidemill_runtime::{Metrics, Totals};

/// The live line is drawn anew after this time …
const DRAW_INTERVAL: Duration = Duration::from_millis(250);
/// … and a log line is written after this.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The one live line of the process, if there is one.
static LINE: RwLock<Option<ProgressBar>> = RwLock::new(None);

/// Does something to the terminal while the live line steps aside.
pub(crate) fn aside<R>(write: impl FnOnce() -> R) -> R {
    match LINE.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
        Some(line) => line.suspend(write),
        None => write(),
    }
}

/// Shows a job's counters until it is dropped.
#[derive(Debug)]
pub(crate) struct Status {
    over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Status {
    /// Starts to show the counters.
    pub(crate) fn show(metrics: Arc<Metrics>) -> Self {
        let is_live = std::io::stderr().is_terminal();
        if is_live {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                line.set_style(style);
            }
            *LINE.write().unwrap_or_else(PoisonError::into_inner) = Some(line);
        }
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = over.clone();
        let thread = std::thread::spawn(move || draw(is_live, &metrics, &watched));
        Status { over, thread: Some(thread) }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        *self.over.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(line) = LINE.write().unwrap_or_else(PoisonError::into_inner).take() {
            line.finish_and_clear();
        }
    }
}

fn draw(is_live: bool, metrics: &Metrics, over: &(Mutex<bool>, Condvar)) {
    let interval = if is_live { DRAW_INTERVAL } else { LOG_INTERVAL };
    let mut before = (Instant::now(), 0);
    let mut is_over = over.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !*is_over {
        let waited = over.1.wait_timeout(is_over, interval);
        is_over = waited.unwrap_or_else(PoisonError::into_inner).0;
        let elapsed = before.0.elapsed();
        if *is_over || elapsed < interval {
            continue;
        }
        let totals = metrics.totals();
        let rows = totals.rows_in.saturating_sub(before.1);
        before = (Instant::now(), totals.rows_in);
        let line = describe(&totals, rows as f64 / elapsed.as_secs_f64());
        match LINE.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(live) => {
                live.set_message(line);
                live.tick();
            }
            None => tracing::info!("{line}"),
        }
    }
}

/// The counters in one line; what is zero or unknown is left out.
fn describe(totals: &Totals, rows_per_second: f64) -> String {
    let mut parts = vec![
        format!("in {}", grouped(totals.rows_in)),
        format!("out {}", grouped(totals.rows_out)),
        format!("{}/s", grouped(rows_per_second as u64)),
    ];
    if let Some(watermark) = totals.watermark {
        parts.push(format!("watermark {}", instant(watermark)));
    }
    if let Some(lag) = totals.lag {
        parts.push(format!("lag {}", grouped(lag)));
    }
    let counts = [("late", totals.late_rows), ("bad", totals.bad_rows)];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    parts.extend(counts.map(|(name, count)| format!("{name} {}", grouped(*count))));
    if totals.state_bytes > 0 {
        parts.push(format!("state {}", bytes(totals.state_bytes)));
    }
    parts.join("  ")
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size a person can read.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// A watermark as time of day and date in UTC.
fn instant(watermark: Watermark) -> String {
    use arrow::temporal_conversions::timestamp_ms_to_datetime;
    match watermark {
        Watermark::MAX => "end".to_owned(),
        Watermark(ms) => match timestamp_ms_to_datetime(ms) {
            Some(time) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
            None => ms.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_leaves_out_what_there_is_not() {
        let totals = Totals { rows_in: 1_234_567, rows_out: 12, ..Totals::default() };
        assert_eq!(describe(&totals, 1000.4), "in 1,234,567  out 12  1,000/s");
        let totals = Totals {
            late_rows: 3,
            state_bytes: 3 << 20,
            watermark: Some(Watermark(1_767_600_000_000)),
            ..totals
        };
        assert_eq!(
            describe(&totals, 0.0),
            "in 1,234,567  out 12  0/s  watermark 2026-01-05 08:00:00  late 3  state 3.0 MiB"
        );
    }

    #[test]
    fn numbers_are_grouped_in_threes() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((bytes(512), bytes(1536)), ("512 B".to_owned(), "1.5 KiB".to_owned()));
    }
}
