//! What a running job shows: a live line or a picture on a terminal, a log line now and then
//! otherwise.

use crate::picture::{Picture, Screen, Size};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidemill_operators::Watermark;
use tidemill_runtime::{Metrics, Totals};

/// The live line is drawn anew after this time …
const LINE_INTERVAL: Duration = Duration::from_millis(250);
/// … a picture after this …
const PICTURE_INTERVAL: Duration = Duration::from_millis(125);
/// … and a log line is written after this.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The last picture leaves room for what is said at the end.
const LINES_BELOW: usize = 5;
/// Rows per second are those of the last seconds: steadier than those of the last moment.
const PACE_SPAN: Duration = Duration::from_secs(2);

/// How a job shows what it does.
#[derive(Clone, Debug)]
pub(crate) enum Display {
    /// By its counters alone.
    Counters,
    /// By its results, on standard output.
    Picture(Arc<Picture>),
}

/// What moves on the terminal of this process, if anything does.
static LIVE: RwLock<Option<Live>> = RwLock::new(None);

enum Live {
    Line(ProgressBar),
    Picture(Arc<Picture>, Mutex<Screen>),
}

/// Does something to the terminal while what is live steps aside.
pub(crate) fn aside<R>(write: impl FnOnce() -> R) -> R {
    match LIVE.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
        Some(Live::Line(line)) => line.suspend(write),
        Some(Live::Picture(_, screen)) => {
            screen.lock().unwrap_or_else(PoisonError::into_inner).aside(write)
        }
        None => write(),
    }
}

fn set_live(live: Option<Live>) {
    *LIVE.write().unwrap_or_else(PoisonError::into_inner) = live;
}

/// Shows a job's counters until it is dropped.
#[derive(Debug)]
pub(crate) struct Status {
    over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Status {
    /// Starts to show the counters, and what else the display shows.
    pub(crate) fn show(metrics: Arc<Metrics>, display: &Display) -> Self {
        let interval = match display {
            Display::Picture(picture) => {
                set_live(Some(Live::Picture(picture.clone(), Mutex::new(Screen::new()))));
                PICTURE_INTERVAL
            }
            Display::Counters if std::io::stderr().is_terminal() => {
                set_live(Some(Live::Line(line())));
                LINE_INTERVAL
            }
            Display::Counters => LOG_INTERVAL,
        };
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = over.clone();
        let thread = std::thread::spawn(move || draw(interval, &metrics, &watched));
        Status { over, thread: Some(thread) }
    }
}

fn line() -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        line.set_style(style);
    }
    line
}

impl Drop for Status {
    fn drop(&mut self) {
        *self.over.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(Live::Line(line)) = &*LIVE.read().unwrap_or_else(PoisonError::into_inner) {
            line.finish_and_clear();
        }
        set_live(None);
    }
}

fn draw(interval: Duration, metrics: &Metrics, over: &(Mutex<bool>, Condvar)) {
    let mut pace = Pace::new(Instant::now());
    let mut shown = Instant::now();
    let mut is_over = over.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !*is_over {
        let waited = over.1.wait_timeout(is_over, interval);
        is_over = waited.unwrap_or_else(PoisonError::into_inner).0;
        if !*is_over && shown.elapsed() < interval {
            continue;
        }
        shown = Instant::now();
        let totals = metrics.totals();
        let rows_per_second = pace.after(shown, totals.rows_in);
        match LIVE.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(Live::Picture(picture, screen)) => {
                let mut screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
                // Between the wish to stop and the end the terminal is left alone: a second
                // signal ends the process at any moment.
                if *is_over || !picture.is_stopping() {
                    let size = Screen::size();
                    let lines = if *is_over {
                        size.lines - LINES_BELOW.min(size.lines)
                    } else {
                        size.lines
                    };
                    let room = Size { lines, ..size };
                    screen.draw(picture.lines(&totals, rows_per_second, room), size);
                }
                if *is_over || picture.is_stopping() {
                    screen.leave();
                }
            }
            Some(Live::Line(line)) if !*is_over => {
                line.set_message(describe(&totals, rows_per_second));
                line.tick();
            }
            None if !*is_over => tracing::info!("{}", describe(&totals, rows_per_second)),
            Some(Live::Line(_)) | None => {}
        }
    }
}

/// How fast rows have come in lately.
struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    fn new(started: Instant) -> Self {
        Pace(VecDeque::from([(started, 0)]))
    }

    /// Rows per second, so many having come in by `now`.
    fn after(&mut self, now: Instant, rows: u64) -> f64 {
        while self.0.len() > 1 && now.duration_since(self.0[1].0) >= PACE_SPAN {
            self.0.pop_front();
        }
        let (since, before) = self.0[0];
        self.0.push_back((now, rows));
        rows.saturating_sub(before) as f64 / now.duration_since(since).as_secs_f64().max(1e-3)
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
    if let Some(age) = totals.checkpoint_age {
        parts.push(format!("checkpoint {:.1} s ago", age.as_secs_f64()));
    }
    if totals.restarts > 0 {
        parts.push(format!("restarts {}", grouped(totals.restarts)));
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
pub(crate) fn instant(watermark: Watermark) -> String {
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
    fn the_pace_is_that_of_the_last_seconds() {
        let started = Instant::now();
        let at = |ms| started + Duration::from_millis(ms);
        let mut pace = Pace::new(started);
        assert_eq!(pace.after(at(500), 100), 200.0);
        assert_eq!(pace.after(at(1000), 200), 200.0);
        assert_eq!(pace.after(at(3000), 1000), 400.0, "since the first second");
        assert_eq!(pace.after(at(13_000), 1000), 0.0);
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
