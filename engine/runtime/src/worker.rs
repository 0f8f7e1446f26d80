//! The loop of one worker: read, send, move on with the epoch, let the dataflow work.
//!
//! ```text
//!  announce lanes ─► reading ──(all sources ended, or stop)──► waiting for the others and the last
//!                       │          checkpoint's cut ─► draining ─► that stands ─► finishing the sinks
//!                       └────────────(anybody failed)────────────► hold still, leave together
//! ```
//!
//! The invariant under failure: a worker that sees the job fail never steps again and keeps its
//! inputs until every worker has left its loop. Dropping an input into a live peer would close an
//! epoch that is only half fed, and the peer would take it for complete.

use crate::checkpoint::Part;
use crate::coordinator::{End, Supply};
use crate::error::{JobError, panic_message};
use crate::graph::{self, Built};
use crate::input::SourceDriver;
use crate::job::Shared;
use crate::memory::{MemoryLimit, Room};
use crate::output::SinkDriver;
use crate::summary::Usage;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemill_connectors::source::Reader;
use tidemill_operators::Epoch;
use tidemill_operators::dataflow::{Probe, Report, ReportInput, Seat, Worker};
use tidemill_sql::plan::{Node, NodeId};

/// A worker with nothing to do looks again after this time, which grows by a quarter each time …
const PATIENCE_MIN: Duration = Duration::from_micros(200);
/// … up to this: after some 15 ms without a row an idle job costs little, and wakes soon.
const PATIENCE_MAX: Duration = Duration::from_millis(4);
/// A worker that read so many rows at once reads on, one that found fewer lets more gather.
const ROWS_ENOUGH: usize = 256;
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
            shared.poison.fail(JobError::Panic { place: format!("worker {index}"), message });
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
    /// Nothing is read before.
    rests_until: Instant,
    is_reading: bool,
    /// Whether it has the clocks tick in every epoch, for somebody waits for a processing time.
    beats: bool,
    /// The last checkpoint, once this worker has entered the epoch that it cuts before.
    last_cut: Option<u64>,
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
        let waits = shared.plan.nodes.iter().any(Node::waits_for_processing_time);
        let mut running = Running {
            index,
            epoch,
            sources,
            sinks,
            reports: Some(reports),
            probe,
            chores_done: Instant::now(),
            rests_until: Instant::now(),
            is_reading: true,
            // One worker's beat is heard by all.
            beats: index == 0 && waits,
            last_cut: None,
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
        let (mut patience, mut supply) = (PATIENCE_MIN, Supply::More);
        while !self.has_read_all(shared) {
            if shared.poison.has_failed() {
                return Ok(());
            }
            supply = self.turn(supply, shared)?;
            match supply {
                Supply::More => worker.step(Duration::ZERO),
                Supply::Few => {
                    worker.step(self.rests_until.saturating_duration_since(Instant::now()));
                }
                Supply::Nothing => worker.step(patience),
            }
            patience = match supply {
                Supply::Nothing => (patience + patience / 4).min(PATIENCE_MAX),
                Supply::More | Supply::Few => PATIENCE_MIN,
            };
            self.do_chores(shared)?;
        }
        self.leave_epoch();
        self.sources.iter_mut().for_each(SourceDriver::close);
        self.reports = None;
        while worker.is_running() || !self.last_stands(shared) {
            if shared.poison.has_failed() {
                return Ok(());
            }
            worker.step(PATIENCE_MAX);
            self.do_chores(shared)?;
        }
        self.sources.iter_mut().try_for_each(SourceDriver::finish)?;
        self.sinks.iter().try_for_each(|sink| sink.borrow_mut().finish())
    }

    /// Whether this worker may leave the epochs: it reads no more, and has entered the one that
    /// the last checkpoint cuts before, if there are checkpoints.
    fn has_read_all(&mut self, shared: &Shared) -> bool {
        let coordinator = &shared.coordinator;
        if shared.stops() {
            coordinator.stop_reading(self.index, End::Stopped);
        } else if !self.sources.iter().any(SourceDriver::is_open) {
            coordinator.stop_reading(self.index, End::Finished);
        } else {
            return false;
        }
        self.is_reading = false;
        !coordinator.has_cuts() || self.last_cut.is_some()
    }

    /// Whether the last checkpoint, if there are any, stands.
    fn last_stands(&self, shared: &Shared) -> bool {
        self.last_cut.is_none_or(|checkpoint| shared.coordinator.is_decided(checkpoint))
    }

    /// Moves on with the epoch and reads what may be read. `supply` is what it found the last
    /// time; says what it found this time.
    fn turn(&mut self, supply: Supply, shared: &Shared) -> Result<Supply, JobError> {
        let frontier = self.probe.frontier();
        let epoch = shared.coordinator.epoch(frontier, supply);
        if epoch > self.epoch {
            self.leave_epoch();
            let before = self.epoch;
            self.enter(epoch);
            self.cut(before, shared)?;
            shared.metrics.set_epoch(epoch);
        }
        let is_paused = shared.memory.as_ref().is_some_and(MemoryLimit::is_paused);
        if !self.is_reading || is_paused || shared.coordinator.is_cutting(frontier) {
            return Ok(Supply::Nothing);
        }
        if Instant::now() < self.rests_until {
            return Ok(Supply::Few);
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
        let is_full = shared.coordinator.rows_left() == 0;
        Ok(match rows {
            0 => Supply::Nothing,
            1..ROWS_ENOUGH if !is_full => {
                self.rests_until = Instant::now() + shared.coordinator.rest();
                Supply::Few
            }
            _ => Supply::More,
        })
    }

    /// Tells everybody what the epoch brought.
    fn leave_epoch(&mut self) {
        let mut news = Vec::new();
        self.sources.iter_mut().for_each(|source| source.report(&mut news));
        if let Some(reports) = &mut self.reports {
            reports.send(&news);
            if self.beats {
                reports.beat();
            }
        }
    }

    /// If a checkpoint cuts between the last epoch and this one, hands over where sources stand,
    /// and tells everybody of the cut. Whoever published its epoch has entered exactly that one,
    /// so somebody tells it under the right epoch.
    fn cut(&mut self, before: Epoch, shared: &Shared) -> Result<(), JobError> {
        let Some(cut) = shared.coordinator.cut() else { return Ok(()) };
        if cut.epoch <= before || cut.epoch > self.epoch {
            return Ok(());
        }
        let mut sources = Vec::with_capacity(self.sources.len());
        for source in &mut self.sources {
            sources.push((source.node, source.cut(cut.checkpoint, shared)?));
        }
        shared.hand_over(Part::Sources(cut, sources));
        if let Some(reports) = self.reports.as_mut().filter(|_| cut.epoch == self.epoch) {
            reports.cut(cut.checkpoint);
        }
        self.last_cut = cut.last.map(|_| cut.checkpoint);
        Ok(())
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
                check_memory(shared)?;
                if !shared.coordinator.has_cuts() {
                    shared.dead_letters.settle(Epoch::MAX);
                }
            }
        }
        let mut pending_bytes = 0;
        for source in &mut self.sources {
            pending_bytes += source.catch_up(shared)?;
        }
        for sink in &self.sinks {
            let mut sink = sink.borrow_mut();
            sink.catch_up()?;
            if is_time {
                sink.flush()?;
            }
            pending_bytes += sink.pending_bytes();
        }
        shared.coordinator.sinks_hold(self.index, pending_bytes);
        Ok(())
    }
}

/// Looks at how much memory the process holds, if that is limited.
fn check_memory(shared: &Shared) -> Result<(), JobError> {
    let Some(limit) = &shared.memory else { return Ok(()) };
    let was_paused = limit.is_paused();
    let used_bytes = Usage::now().rss_bytes;
    match limit.holds(used_bytes, Instant::now()) {
        Room::Exhausted => Err(JobError::Memory {
            limit_bytes: limit.bytes(),
            used_bytes,
            state_bytes: shared.metrics.totals().state_bytes,
        }),
        Room::Pause if !was_paused => {
            let limit_bytes = limit.bytes();
            tracing::warn!(
                "{used_bytes} of {limit_bytes} bytes of memory are used: reading pauses"
            );
            Ok(())
        }
        Room::Pause | Room::Enough => Ok(()),
    }
}
