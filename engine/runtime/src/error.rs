//! [`JobError`]: why a job ended, and [`Poison`], how all of its workers learn of it.

use crate::checkpoint::CheckpointError;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidemill_connectors::source::{BadInput, ConnectorError};
use tidemill_operators::{OperatorError, RowError};

/// Why a job could not go on. Every one of these ends it.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A source or sink gave up.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// A step of the dataflow could not be applied.
    #[error("{step}: {error}")]
    Operator {
        /// Which step.
        step: String,
        /// What happened.
        error: OperatorError,
    },
    /// The watermark of a table can't be computed.
    #[error("watermark of {table}: {error}")]
    Watermark {
        /// The table.
        table: String,
        /// What happened.
        error: RowError,
    },
    /// A record could not be decoded, and the table says that this is fatal.
    #[error(
        "bad record in {table} at {place}:{position}: {reason} \
         (the table sets 'scan.bad-records' = 'fail'; 'dead-letter' keeps such records aside)"
    )]
    BadRecord {
        /// The table.
        table: String,
        /// Topic and partition, or file.
        place: String,
        /// Offset or line.
        position: i64,
        /// Why.
        reason: String,
    },
    /// Rows came too late, and the job says that this is fatal.
    #[error(
        "{step}: {rows} rows came after the watermark {watermark_ms} had closed their window \
         ('tidemill.late-rows' is 'fail'; 'dead-letter' keeps such rows aside)"
    )]
    LateRows {
        /// Which step met them.
        step: String,
        /// How many there were.
        rows: usize,
        /// The watermark in force, milliseconds since 1970.
        watermark_ms: i64,
    },
    /// The job needs more memory than it may use.
    #[error(
        "the job holds {used_bytes} bytes of memory, {state_bytes} of them state, and stays near \
         its limit of {limit_bytes}: raise --memory-limit, or give the state a bound (a window, a \
         join bounded in time, 'table.exec.state.ttl')"
    )]
    Memory {
        /// What it may use.
        limit_bytes: u64,
        /// What the process holds.
        used_bytes: u64,
        /// What its operators hold.
        state_bytes: u64,
    },
    /// A bug: a thread of the job panicked.
    #[error("{place} panicked: {message} (this is a bug in Tidemill)")]
    Panic {
        /// Which thread.
        place: String,
        /// What it said.
        message: String,
    },
    /// A checkpoint could not be taken, or none could be gone on from.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The job is not the one that the state directory holds the state of.
    #[error(
        "the job has changed since checkpoint {checkpoint}, and its state no longer fits:\n  \
         {}\nrun it with --fresh to start anew, or with --allow-non-restored-state to go on \
         with what fits",
        differences.join("\n  ")
    )]
    PlanChanged {
        /// The checkpoint that it would go on from.
        checkpoint: u64,
        /// What differs, in words.
        differences: Vec<String>,
    },
    /// Two sinks write exactly once and can't be committed together.
    #[error(
        "the job writes exactly once to two Kafka clusters, or with two sets of 'properties.*': \
         they can't be committed together. Set 'sink.delivery-guarantee' = 'at-least-once' for \
         the tables of one of them"
    )]
    TwoTransactions,
    /// A sink writes exactly once, and there are no checkpoints that would commit it.
    #[error(
        "a table is written exactly once, which takes checkpoints: set \
         'execution.checkpointing.interval' to more than 0, or \
         'sink.delivery-guarantee' = 'at-least-once' for the table"
    )]
    NoCheckpoints,
    /// The brokers would give a transaction up before its checkpoint commits it.
    #[error(
        "a table is written exactly once, with a checkpoint each {interval:?}, and the brokers \
         give a transaction up after {timeout:?}: set 'execution.checkpointing.interval' to less, \
         or the table's 'properties.transaction.timeout.ms' to more"
    )]
    SlowCheckpoints {
        /// How often checkpoints are taken.
        interval: Duration,
        /// How long a transaction may take.
        timeout: Duration,
    },
    /// A session option has a value that makes no sense.
    #[error("option '{option}': '{value}' is wrong: {expected}")]
    Option {
        /// Its name.
        option: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// The state directory can't be used.
    #[error("state directory {}: {problem}", path.display())]
    State {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl JobError {
    /// Whether another attempt may succeed: what failed is outside, or a bug. What the job or
    /// its rows are to blame for will be the same the next time.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            JobError::Connector(_) | JobError::Panic { .. } => true,
            JobError::Checkpoint(error) => {
                matches!(error, CheckpointError::Store(_) | CheckpointError::Connector(_))
            }
            _ => false,
        }
    }

    /// A bad record, if the reader remembers which.
    pub(crate) fn bad_record(table: &str, bad: Option<BadInput>) -> JobError {
        let (place, position, reason) = match bad {
            Some(bad) => (bad.place, bad.position, bad.reason),
            None => ("?".to_owned(), 0, "it could not be decoded".to_owned()),
        };
        JobError::BadRecord { table: table.to_owned(), place, position, reason }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

/// The first failure of a job, seen by all of its workers.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    has_failed: AtomicBool,
    first: Mutex<Option<JobError>>,
}

impl Poison {
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// The first failure stands; later ones are mostly its echo.
    pub(crate) fn fail(&self, error: JobError) {
        let mut first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Option<JobError> {
        self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}
