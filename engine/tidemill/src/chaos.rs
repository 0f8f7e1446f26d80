//! [`Chaos`]: a job that is killed with SIGKILL again and again, and recovers.
//!
//! Each of its lives is a process of its own, with a number of workers of its own, that is sent a
//! share of the input while it works. Some lives end while they still recover, the others at a
//! random instant after their first result became visible. The last one runs to the input's end.

use crate::commands::generate::{self, Topics};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::results::{Extent, Results, connect};
use crate::stage::Stage;
use crate::status::grouped;
use crate::verify::Comparison;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use tidemill_connectors::sink::WriteSpec;
use tidemill_connectors::{Watcher, tee};
use tidemill_jobs::random::Random;
use tidemill_jobs::{Generator, Job, Record};
use tidemill_operators::Batch;

/// Without `--events`, so many.
pub(crate) const EVENTS_DEFAULT: u64 = 1_000_000;

/// How often results become visible: so often, for that is when a death matters most.
const CHECKPOINT_INTERVAL: &str = "100 ms";

/// A life's share of the input is sent evenly over so long.
const LIFE: Duration = Duration::from_millis(800);

/// A life ends at most so long after its first result …
const RESULT_TO_DEATH_MS_MAX: u64 = 700;
/// … and one life of so many ends before …
const EARLY_DEATH_ONE_IN: u64 = 4;
/// … this long after its start.
const EARLY_DEATH_MS_MAX: u64 = 400;

/// Who restarts a dead process needs so long to notice.
const RESTART_DELAY: Duration = Duration::from_millis(100);

/// A life that shows no result for so long is given up.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// How often to look at whether something has happened.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// A job under fire.
pub(crate) struct Chaos<'a> {
    pub(crate) job: &'a Job,
    pub(crate) stage: &'a Stage,
    pub(crate) results: &'a Results,
    /// How many workers each life has; without, another number each time.
    pub(crate) workers: Option<u16>,
    pub(crate) kills: u32,
    pub(crate) seed: u64,
    pub(crate) stop: &'a AtomicBool,
}

/// What the job went through.
#[derive(Debug)]
pub(crate) struct Survival {
    kills: u32,
    /// From the start of a process to the first result that it made visible, ascending. Lives
    /// that ended before have none.
    recoveries: Vec<Duration>,
    /// Late rows of all lives together, each counted once.
    pub(crate) late_rows: u64,
}

impl Survival {
    /// A quantile of the time to recover; `None` if no life did.
    pub(crate) fn recovery(&self, quantile: f64) -> Option<Duration> {
        let last = self.recoveries.len().checked_sub(1)?;
        self.recoveries.get((last as f64 * quantile).round() as usize).copied()
    }

    /// All of it in a few words.
    pub(crate) fn describe(&self, events: u64, comparison: &Comparison) -> String {
        let faults = comparison.faults();
        let quantile = |q: f64| {
            let recovery = self.recovery(q);
            recovery.map_or("unknown".to_owned(), |time| format!("{} ms", time.as_millis()))
        };
        format!(
            "killed {} times: {} events in, {} lost, {} duplicated, {} wrong of {} result rows; \
             recovery p50 {}, p99 {}",
            self.kills,
            grouped(events),
            grouped(faults.lost as u64),
            grouped(faults.duplicated as u64),
            grouped(faults.wrong as u64),
            grouped(comparison.rows as u64),
            quantile(0.5),
            quantile(0.99),
        )
    }
}

impl Chaos<'_> {
    /// Sends all records while the job lives and dies, then lets it finish. `None` if somebody
    /// stopped it.
    pub(crate) fn run(&self, events: u64, records: Generator) -> Result<Option<Survival>, Failure> {
        let visible = Arc::new(Visible::default());
        let over = Arc::new(AtomicBool::new(false));
        let outcome = thread::scope(|threads| {
            let watching = threads.spawn(|| self.watch(&visible, over.clone()));
            let outcome = self.lives(events, records, &visible);
            over.store(true, Ordering::Release);
            let watched = watching.join().unwrap_or(Ok(()));
            outcome.and_then(|recoveries| watched.map(|()| recoveries))
        });
        let Some(mut recoveries) = outcome? else { return Ok(None) };
        recoveries.sort();
        let Some(late_rows) = self.last_life()? else { return Ok(None) };
        Ok(Some(Survival { kills: self.kills, recoveries, late_rows }))
    }

    /// Counts the changes that readers of committed records see.
    fn watch(&self, visible: &Arc<Visible>, over: Arc<AtomicBool>) -> Result<(), Failure> {
        let show = |spec: &WriteSpec| Ok(tee(connect(spec, "blackhole")?, visible.clone()));
        self.results.read(Extent::Ongoing, &show, &self.stage.state(), over)
    }

    /// All lives but the last one: how long those that recovered took to.
    fn lives(
        &self,
        events: u64,
        mut records: Generator,
        visible: &Visible,
    ) -> Result<Option<Vec<Duration>>, Failure> {
        let mut chance = Random::new(self.seed, 0xdead);
        let share = usize::try_from(events / u64::from(self.kills + 1)).unwrap_or(usize::MAX);
        let mut recoveries = Vec::new();
        let progress = progress(self.kills);
        for _ in 0..self.kills {
            let of_life: Vec<Record> = records.by_ref().take(share).collect();
            let recovery = self.life(of_life, visible, &mut chance)?;
            recoveries.extend(recovery);
            if self.stop.load(Ordering::Acquire) {
                return Ok(None);
            }
            progress.inc(1);
            sleep(RESTART_DELAY);
        }
        progress.finish_and_clear();
        self.send(records, None)?;
        Ok(Some(recoveries))
    }

    /// One life, from start to death.
    fn life(
        &self,
        records: Vec<Record>,
        visible: &Visible,
        chance: &mut Random,
    ) -> Result<Option<Duration>, Failure> {
        let seen_before = visible.changes();
        let started = Instant::now();
        let workers = self.workers.unwrap_or_else(|| chance.between(1, 3) as u16);
        let mut engine = self.engine(Extent::Ongoing, workers)?;
        let rate = records.len() as f64 / LIFE.as_secs_f64();
        let early_death = chance.one_in(EARLY_DEATH_ONE_IN);
        let early_death = early_death.then(|| chance.below(EARLY_DEATH_MS_MAX));
        let result_to_death = chance.below(RESULT_TO_DEATH_MS_MAX);
        thread::scope(|threads| {
            let sending = threads.spawn(|| self.send(Box::new(records.into_iter()), Some(rate)));
            let recovery = match early_death {
                Some(millis) => {
                    sleep(Duration::from_millis(millis));
                    Ok(None)
                }
                None => self.recovery(&mut engine, started, || visible.changes() > seen_before),
            };
            if let Ok(Some(_)) = recovery {
                sleep(Duration::from_millis(result_to_death));
            }
            let dead = engine.kill();
            let sent = sending.join().unwrap_or(Ok(()));
            let recovery = recovery?;
            dead.and(sent).map(|()| recovery)
        })
    }

    fn send(&self, records: Generator, rate: Option<f64>) -> Result<(), Failure> {
        let mut topics = Topics::open(self.job, self.stage.brokers(), self.stage.prefix())?;
        generate::send(records, rate, &mut topics, self.stop)
    }

    /// Waits for a life's first result; how long that took.
    fn recovery(
        &self,
        engine: &mut Engine,
        started: Instant,
        has_result: impl Fn() -> bool,
    ) -> Result<Option<Duration>, Failure> {
        while !has_result() {
            if self.stop.load(Ordering::Acquire) {
                return Ok(None);
            }
            engine.check_alive()?;
            if started.elapsed() > RECOVERY_MAX {
                let what = format!("no result within {} s", RECOVERY_MAX.as_secs());
                return Err(engine.failed(&what));
            }
            sleep(LOOK_INTERVAL);
        }
        Ok(Some(started.elapsed()))
    }

    /// The life that is not taken: how many late rows there were in all.
    fn last_life(&self) -> Result<Option<u64>, Failure> {
        let mut engine = self.engine(Extent::Now, self.workers.unwrap_or(2))?;
        while !engine.has_finished()? {
            if self.stop.load(Ordering::Acquire) {
                return Ok(None);
            }
            sleep(LOOK_INTERVAL);
        }
        Ok(Some(engine.summary::<Totals>()?.late_rows))
    }

    /// A process of the job, whose input ends now or never.
    fn engine(&self, input: Extent, workers: u16) -> Result<Engine, Failure> {
        let workers = workers.to_string();
        let arguments = ["--brokers", self.stage.brokers(), "--workers", &workers];
        let definitions = [
            ("BOUNDED", input.bounded_mode()),
            ("TOPIC_PREFIX", self.stage.prefix()),
            ("execution.checkpointing.interval", CHECKPOINT_INTERVAL),
        ];
        let job = [self.job.name.to_owned()];
        Engine::start(&job, &arguments, &definitions, &self.stage.state())
    }
}

/// What is taken from the summary of the last life.
#[derive(Deserialize)]
struct Totals {
    late_rows: u64,
}

fn progress(kills: u32) -> ProgressBar {
    let bar = ProgressBar::new(kills.into());
    let style = ProgressStyle::with_template("{spinner} killed {pos} of {len} times, {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// How many changes of results are visible.
#[derive(Debug, Default)]
struct Visible(AtomicU64);

impl Visible {
    fn changes(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Watcher for Visible {
    fn see(&self, rows: &[Batch]) {
        let changes: usize = rows.iter().map(Batch::len).sum();
        self.0.fetch_add(changes as u64, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Seen;
    use std::path::Path;

    #[test]
    fn a_survival_is_told_in_one_line() {
        let survival = Survival {
            kills: 3,
            recoveries: [120, 180, 400].map(Duration::from_millis).into(),
            late_rows: 0,
        };
        let plan = tidemill_sql::plan::Plan::default();
        let seen = Seen::default();
        let registry = tidemill_connectors::Registry;
        let comparison = crate::verify::compare(&plan, &registry, 0, Path::new("none"), &seen);
        assert_eq!(
            survival.describe(1_000_000, &comparison.expect("nothing equals nothing")),
            "killed 3 times: 1,000,000 events in, 0 lost, 0 duplicated, 0 wrong of 0 result rows; \
             recovery p50 180 ms, p99 400 ms"
        );
    }
}
