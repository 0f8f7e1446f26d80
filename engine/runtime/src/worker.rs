//! The loop of one worker: read, send, move on with the epoch, let the dataflow work.
//!
//! ```text
//!  announce lanes ─► reading ──(all sources ended, or stop)──► draining ─► finishing the sinks
//!                       └────────────(anybody failed)────────────► hold still, leave together
//! ```
//!
//! The invariant under failure: a worker that sees the job fail never steps again and keeps its
//! inputs until every worker has left its loop. Dropping an input into a live peer would close an
//! epoch that is only half fed, and the peer would take it for complete.

use crate::error::JobError;
use crate::graph::{self, Built};
use crate::input::SourceDriver;
use crate::job::Shared;
use crate::output::SinkDriver;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemill_connectors::source::Reader;
use tidemill_operators::Epoch;
use tidemill_operators::dataflow::{Probe, Report, ReportInput, Seat, Worker};
use tidemill_sql::plan::NodeId;

/// A worker with nothing to do looks again after this time, doubled each time …
const PATIENCE_MIN: Duration = Duration::from_micros(500);
/// … up to this: well within an epoch, so that an idle job costs little and wakes soon.
const PATIENCE_MAX: Duration = Duration::from_millis(4);
/// Sinks and dead letters are looked after this often even if nothing is written.
const CHORES_INTERVAL: Duration = Duration::from_millis(100);

/// Runs one worker to the end of the job. Failures are told to the job's poison.
pub(crate) fn run(index: usize, seat: Seat, readers: Readers, shared: &Arc<Shared>) {
    let mut worker = None;
    let mut kept = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let worker = worker.insert(seat.take());
        let running = kept.insert(Running::start(index, worker, readers, shared)?);
        running.run(worker, shared)
    }));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => shared.poison.fail(error),
        Err(panic) => {
            let message = panic_message(panic.as_ref());
            shared.poison.fail(JobError::Panic { worker: index, message });
        }
    }
    // Only now may anything be dropped: nobody steps any more.
    shared.leave_together();
    if shared.poison.has_failed() {
        // Destructors of a half-done dataflow have nothing left to do right.
        let _ = catch_unwind(AssertUnwindSafe(|| drop((kept, worker))));
    }
}

/// This worker's readers, each with its node.
pub(crate) type Readers = Vec<(NodeId, Box<dyn Reader>)>;

struct Running {
    index: usize,
    epoch: Epoch,
    sources: Vec<SourceDriver>,
    sinks: Vec<Rc<RefCell<SinkDriver>>>,
    reports: Option<ReportInput>,
    probe: Probe,
    chores_done: Instant,
}

impl Running {
    /// Builds the dataflow and takes part in the first epoch.
    fn start(
        index: usize,
        worker: &mut Worker,
        readers: Readers,
        shared: &Arc<Shared>,
    ) -> Result<Self, JobError> {
        let Built { sources, values, sinks, reports, probe } =
            graph::build(index, worker, readers, shared)?;
        let epoch = shared.coordinator.first();
        let mut running = Running {
            index,
            epoch,
            sources,
            sinks,
            reports: Some(reports),
            probe,
            chores_done: Instant::now(),
        };
        running.enter(epoch);
        let mut news: Vec<Report> = values.into_iter().map(|values| values.give(epoch)).collect();
        for source in &mut running.sources {
            source.announce();
            source.report(&mut news);
        }
        running.reports.as_mut().expect("just made").send(&news);
        Ok(running)
    }

    fn run(&mut self, worker: &mut Worker, shared: &Shared) -> Result<(), JobError> {
        let mut patience = PATIENCE_MIN;
        while self.is_reading() && !shared.stops() {
            if shared.poison.has_failed() {
                return Ok(());
            }
            if self.turn(shared)? > 0 {
                patience = PATIENCE_MIN;
                worker.step(Duration::ZERO);
            } else {
                worker.step(patience);
                patience = (patience * 2).min(PATIENCE_MAX);
            }
            self.do_chores(shared)?;
        }
        self.leave_epoch();
        self.sources.iter_mut().for_each(SourceDriver::close);
        self.reports = None;
        while worker.is_running() {
            if shared.poison.has_failed() {
                return Ok(());
            }
            worker.step(PATIENCE_MAX);
            self.do_chores(shared)?;
        }
        for sink in &self.sinks {
            sink.borrow_mut().finish()?;
        }
        Ok(())
    }

    fn is_reading(&self) -> bool {
        self.sources.iter().any(SourceDriver::is_open)
    }

    /// Moves on with the epoch and reads what may be read. Says how many rows.
    fn turn(&mut self, shared: &Shared) -> Result<usize, JobError> {
        let epoch = shared.coordinator.epoch(self.probe.frontier());
        if epoch > self.epoch {
            self.leave_epoch();
            self.enter(epoch);
            shared.metrics.set_epoch(epoch);
        }
        let mut rows = 0;
        for source in &mut self.sources {
            let rows_max = shared.coordinator.rows_left();
            if rows_max == 0 || shared.coordinator.sinks_are_behind() {
                break;
            }
            rows += source.poll(self.epoch, rows_max, shared)?;
        }
        // Whoever was served first now comes last.
        if self.sources.len() > 1 {
            self.sources.rotate_left(1);
        }
        Ok(rows)
    }

    /// Tells everybody what the epoch brought.
    fn leave_epoch(&mut self) {
        let mut news = Vec::new();
        self.sources.iter_mut().for_each(|source| source.report(&mut news));
        if let Some(reports) = &mut self.reports {
            reports.send(&news);
        }
    }

    fn enter(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.sources.iter_mut().for_each(|source| source.advance_to(epoch));
        if let Some(reports) = &mut self.reports {
            reports.advance_to(epoch);
        }
    }

    fn do_chores(&mut self, shared: &Shared) -> Result<(), JobError> {
        let is_time = self.chores_done.elapsed() >= CHORES_INTERVAL;
        if is_time {
            self.chores_done = Instant::now();
            if self.index == 0 {
                shared.dead_letters.flush();
            }
        }
        let mut pending_bytes = 0;
        for sink in &self.sinks {
            let mut sink = sink.borrow_mut();
            if is_time {
                sink.flush()?;
            }
            pending_bytes += sink.pending_bytes();
        }
        shared.coordinator.sinks_hold(self.index, pending_bytes);
        Ok(())
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}
