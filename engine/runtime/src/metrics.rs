//! [`Metrics`]: what a job counts while it runs, for the status line and the summary.
//!
//! Counters are atomics that workers add to once per batch; whoever looks sees a moment's value.

use crate::checkpoint::Restored;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidemill_operators::{Epoch, Watermark};
use tidemill_sql::plan::{NodeKind, Plan};

/// What kind of step a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Rows come in here.
    Source,
    /// Rows are worked on.
    Step,
    /// Rows leave here.
    Sink,
}

/// Counters of one node, over all workers.
#[derive(Debug)]
pub struct NodeMetrics {
    /// What a person would call it: `source clicks`, `window aggregate 3`.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Rows that came in.
    pub rows_in: AtomicU64,
    /// Rows that went out.
    pub rows_out: AtomicU64,
    /// Bytes that a source has read, as columns in memory.
    pub bytes: AtomicU64,
    /// Of the rows that came in those that were added to another one of their key before the exchange.
    pub rows_combined: AtomicU64,
    /// Rows dropped because they came too late.
    pub late_rows: AtomicU64,
    /// Records that could not be decoded.
    pub bad_records: AtomicU64,
    /// Its watermark; `i64::MIN` while there is none.
    pub watermark_ms: AtomicI64,
    state_bytes: Vec<AtomicUsize>,
    lag: Vec<AtomicI64>,
}

impl NodeMetrics {
    fn new(name: String, role: Role, workers: usize) -> Self {
        NodeMetrics {
            name,
            role,
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            rows_combined: AtomicU64::new(0),
            late_rows: AtomicU64::new(0),
            bad_records: AtomicU64::new(0),
            watermark_ms: AtomicI64::new(i64::MIN),
            state_bytes: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            lag: (0..workers).map(|_| AtomicI64::new(-1)).collect(),
        }
    }

    pub(crate) fn set_state_bytes(&self, worker: usize, bytes: usize) {
        self.state_bytes[worker].store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_lag(&self, worker: usize, records: Option<u64>) {
        let records = records.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
        self.lag[worker].store(records, Ordering::Relaxed);
    }

    /// Bytes of state held on all workers.
    pub fn state_bytes(&self) -> usize {
        self.state_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// Records not yet read, where the source knows.
    pub fn lag(&self) -> Option<u64> {
        let known = self.lag.iter().map(|lag| lag.load(Ordering::Relaxed));
        known.filter_map(|lag| u64::try_from(lag).ok()).reduce(u64::saturating_add)
    }
}

/// The counters of a job.
#[derive(Debug)]
pub struct Metrics {
    /// One entry for each node of the plan.
    pub nodes: Vec<NodeMetrics>,
    epoch: AtomicU64,
    epochs: AtomicU64,
    checkpoints: AtomicU64,
    /// Of all checkpoints together.
    checkpoint_micros: AtomicU64,
    checkpoint_bytes: AtomicU64,
    checkpoint: Mutex<Option<CheckpointMetrics>>,
    restarts: AtomicU64,
}

/// The checkpoint that came to stand last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointMetrics {
    /// Its number.
    pub number: u64,
    /// How long it took from the first worker's part until its output was visible.
    pub took: Duration,
    /// Bytes of changed state that were written for it.
    pub bytes: u64,
    /// When it came to stand.
    pub at: Instant,
}

/// Sums over a job's nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows read by all sources.
    pub rows_in: u64,
    /// Rows given to all sinks.
    pub rows_out: u64,
    /// Rows dropped as late.
    pub late_rows: u64,
    /// Records that could not be decoded.
    pub bad_rows: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Epochs that all workers together have left behind or are in.
    pub epochs: u64,
    /// Checkpoints taken since the process was started.
    pub checkpoints: u64,
    /// How long each of them took, on average.
    pub checkpoint_mean: Duration,
    /// Bytes of changed state that each of them wrote, on average.
    pub checkpoint_bytes: u64,
    /// How long ago the last checkpoint came to stand.
    pub checkpoint_age: Option<Duration>,
    /// How often the job was started again after a failure.
    pub restarts: u64,
    /// Records not yet read, where sources know.
    pub lag: Option<u64>,
    /// The least watermark of all steps that have one.
    pub watermark: Option<Watermark>,
}

impl Metrics {
    /// Counters for `plan` on `workers` workers, all zero.
    pub fn new(plan: &Plan, workers: usize) -> Self {
        let nodes = plan.nodes.iter().enumerate().map(|(node, step)| {
            let (name, role) = name_and_role(node, &step.kind);
            NodeMetrics::new(name, role, workers)
        });
        Metrics {
            nodes: nodes.collect(),
            epoch: AtomicU64::new(0),
            epochs: AtomicU64::new(0),
            checkpoints: AtomicU64::new(0),
            checkpoint_micros: AtomicU64::new(0),
            checkpoint_bytes: AtomicU64::new(0),
            checkpoint: Mutex::new(None),
            restarts: AtomicU64::new(0),
        }
    }

    pub(crate) fn checkpointed(&self, number: u64, took: Duration, bytes: u64) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.checkpoint_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        self.checkpoint_bytes.fetch_add(bytes, Ordering::Relaxed);
        let news = CheckpointMetrics { number, took, bytes, at: Instant::now() };
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(news);
    }

    /// The checkpoint that came to stand last, if any did.
    pub fn checkpoint(&self) -> Option<CheckpointMetrics> {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts on from a checkpoint: what came after it is counted again.
    pub(crate) fn resume(&self, plan: &Plan, restored: &Restored) {
        let sinks = restored.manifest.as_ref().map_or(&[][..], |manifest| &manifest.sinks);
        for (metrics, node) in self.nodes.iter().zip(&plan.nodes) {
            let id = node.operator_id;
            let source = restored.source(id);
            let step = restored.step(id);
            let sink = sinks.iter().find(|sink| sink.id == id);
            metrics.rows_out.store(source.map_or(0, |source| source.rows), Ordering::Relaxed);
            let bad_records = source.map_or(0, |source| source.bad_records);
            metrics.bad_records.store(bad_records, Ordering::Relaxed);
            metrics.late_rows.store(step.map_or(0, |step| step.late_rows), Ordering::Relaxed);
            metrics.rows_in.store(sink.map_or(0, |sink| sink.rows), Ordering::Relaxed);
        }
    }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_epoch(&self, epoch: Epoch) {
        if self.epoch.fetch_max(epoch, Ordering::Relaxed) < epoch {
            self.epochs.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The latest epoch that a worker entered.
    pub fn epoch(&self) -> Epoch {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Sums at this moment.
    pub fn totals(&self) -> Totals {
        let epochs = self.epochs.load(Ordering::Relaxed);
        let checkpoints = self.checkpoints.load(Ordering::Relaxed);
        let restarts = self.restarts.load(Ordering::Relaxed);
        let checkpoint_age = self.checkpoint().map(|checkpoint| checkpoint.at.elapsed());
        let mean = |sum: &AtomicU64| sum.load(Ordering::Relaxed) / checkpoints.max(1);
        let mut totals = Totals {
            epochs,
            checkpoints,
            checkpoint_mean: Duration::from_micros(mean(&self.checkpoint_micros)),
            checkpoint_bytes: mean(&self.checkpoint_bytes),
            checkpoint_age,
            restarts,
            ..Totals::default()
        };
        for node in &self.nodes {
            match node.role {
                Role::Source => totals.rows_in += node.rows_out.load(Ordering::Relaxed),
                Role::Sink => totals.rows_out += node.rows_in.load(Ordering::Relaxed),
                Role::Step => {}
            }
            totals.late_rows += node.late_rows.load(Ordering::Relaxed);
            totals.bad_rows += node.bad_records.load(Ordering::Relaxed);
            totals.state_bytes += node.state_bytes() as u64;
            if let Some(lag) = node.lag() {
                totals.lag = Some(totals.lag.unwrap_or(0).saturating_add(lag));
            }
            let watermark = Watermark(node.watermark_ms.load(Ordering::Relaxed));
            if watermark != Watermark::MIN {
                totals.watermark = Some(totals.watermark.unwrap_or(watermark).min(watermark));
            }
        }
        totals
    }
}

fn name_and_role(node: usize, kind: &NodeKind) -> (String, Role) {
    match kind {
        NodeKind::Source(source) => (format!("source {}", source.table.name), Role::Source),
        NodeKind::Values(_) => (format!("values {node}"), Role::Source),
        NodeKind::Map(_) => (format!("map {node}"), Role::Step),
        NodeKind::WindowAggregate(_) => (format!("window aggregate {node}"), Role::Step),
        NodeKind::GroupAggregate(_) => (format!("group aggregate {node}"), Role::Step),
        NodeKind::TopN(_) => (format!("top-n {node}"), Role::Step),
        NodeKind::Arrange(_) => (format!("arrange {node}"), Role::Step),
        NodeKind::Join(_) => (format!("join {node}"), Role::Step),
        NodeKind::IntervalJoin(_) => (format!("interval join {node}"), Role::Step),
        NodeKind::TemporalJoin(_) => (format!("temporal join {node}"), Role::Step),
        NodeKind::LookupJoin(_) => (format!("lookup join {node}"), Role::Step),
        NodeKind::ConstantJoin(_) => (format!("constant join {node}"), Role::Step),
        NodeKind::WindowJoin(_) => (format!("window join {node}"), Role::Step),
        NodeKind::Normalize(_) => (format!("normalize {node}"), Role::Step),
        NodeKind::Over(_) => (format!("over {node}"), Role::Step),
        NodeKind::Pattern(_) => (format!("pattern {node}"), Role::Step),
        NodeKind::TimeFilter(_) => (format!("time filter {node}"), Role::Step),
        NodeKind::Unnest(_) => (format!("unnest {node}"), Role::Step),
        NodeKind::Union => (format!("union {node}"), Role::Step),
        NodeKind::Sink(sink) => (format!("sink {}", sink.table.name), Role::Sink),
    }
}
