//! [`JobError`]: why a job ended, and [`Poison`], how all of its workers learn of it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// A bug: a worker panicked.
    #[error("worker {worker} panicked: {message} (this is a bug in Tidemill)")]
    Panic {
        /// Which worker.
        worker: usize,
        /// What it said.
        message: String,
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
    /// A bad record, if the reader remembers which.
    pub(crate) fn bad_record(table: &str, bad: Option<BadInput>) -> JobError {
        let (place, position, reason) = match bad {
            Some(bad) => (bad.place, bad.position, bad.reason),
            None => ("?".to_owned(), 0, "it could not be decoded".to_owned()),
        };
        JobError::BadRecord { table: table.to_owned(), place, position, reason }
    }
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
