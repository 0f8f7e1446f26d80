//! A filter by the time it is: its results change as time passes, without a row coming in.
//!
//! ```text
//! clock < row.time + 1 h                   clock >= row.time + 7 d
//! +row when it comes, −row an hour later   +row seven days later
//! ```
//!
//! The invariant: after every epoch the output so far adds up to exactly those rows of the input so
//! far that are valid at the clock's value of that epoch. That value is the watermark with which
//! the epoch ends, or its processing time. A row's times are its own, so when it is valid is known
//! when it comes: from then on it is held while a change of it is to come, and no longer. A row that
//! is taken back takes back what was said of it, whenever that is: nothing if its time is still to
//! come, or over.
//!
//! All rows that are equal meet at one worker, for a retraction must find its row.

mod held;
mod snapshot;
#[cfg(test)]
mod tests;
mod validity;

use crate::batch::Batch;
use crate::expression::Expression;
use crate::operator::{EpochContext, Operator, OperatorError, Output};
use crate::snapshot::{Snapshot, SnapshotScope};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use held::HeldRows;
use std::sync::Arc;
use validity::{Standing, Validity};

/// Which rows are let through, and when. The output's columns are the input's.
#[derive(Clone, Debug)]
pub struct TimeFilterSpec {
    /// The clock that is compared.
    pub clock: Clock,
    /// What must hold of the clock for a row to be among the results: all of it.
    pub bounds: Vec<TimeBound>,
    /// All columns of the input, for they are the key by which rows are exchanged.
    pub columns: Vec<usize>,
}

impl TimeFilterSpec {
    /// Whether rows may be taken back again because time has passed.
    pub fn takes_back(&self) -> bool {
        self.bounds.iter().any(|bound| bound.clock_is.is_upper())
    }
}

/// A clock that goes on from epoch to epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The watermark with which an epoch ends. While there is none, no row is valid; when the
    /// input has ended, all times have come and all ends too.
    Watermark,
    /// The epoch's processing time.
    ProcessingTime,
}

/// A comparison of the clock with a time of the row.
#[derive(Clone, Debug)]
pub struct TimeBound {
    /// The row's time, a `Timestamp` of milliseconds or finer. Without one a row is never valid.
    pub time: Arc<dyn Expression>,
    /// What is added to it, in milliseconds.
    pub shift_ms: i64,
    /// How the clock must be to that time.
    pub clock_is: ClockIs,
}

/// How the clock is to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockIs {
    /// `clock < time`
    Before,
    /// `clock <= time`
    NotAfter,
    /// `clock > time`
    After,
    /// `clock >= time`
    NotBefore,
}

impl ClockIs {
    /// Whether it is true until a time, and not from one on.
    pub fn is_upper(self) -> bool {
        matches!(self, ClockIs::Before | ClockIs::NotAfter)
    }
}

/// Rows in one output batch, at most.
const OUTPUT_ROWS_MAX: usize = 16_384;

/// The operator. See the [module](self).
#[derive(Debug)]
pub struct TimeFilter {
    spec: TimeFilterSpec,
    schema: SchemaRef,
    held: HeldRows,
    /// Of the rows at hand.
    validities: Vec<Validity>,
}

impl TimeFilter {
    /// An operator without state.
    ///
    /// # Errors
    /// If rows of this schema can't be held.
    pub fn new(spec: TimeFilterSpec, schema: SchemaRef) -> Result<Self, OperatorError> {
        let held = HeldRows::new(schema.clone())?;
        Ok(TimeFilter { spec, schema, held, validities: Vec::new() })
    }

    fn now(&self, context: &EpochContext) -> i64 {
        match self.spec.clock {
            Clock::Watermark => context.watermark_after.0,
            Clock::ProcessingTime => context.now_ms,
        }
    }

    /// Finds out when each of `rows` is valid.
    fn judge(&mut self, rows: &RecordBatch, now_ms: i64) -> Result<(), OperatorError> {
        validity::of_rows(&self.spec.bounds, rows, now_ms, &mut self.validities)
    }

    /// Lets the epoch's rows through, or holds them, or both.
    fn arrive(
        &mut self,
        rows: Batch,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let now = self.now(context);
        self.judge(rows.columns(), context.now_ms)?;
        // A row that was shown in this very epoch may be taken back in it: they have to meet.
        let may_cancel = self.held.is_touched() && rows.weights().is_some();
        let (mut through, mut hold) = (Vec::new(), Vec::new());
        for (row, validity) in (0u32..).zip(&self.validities) {
            if validity.is_over(now) {
                continue;
            }
            let standing = validity.standing(now);
            let is_for_good =
                standing == Standing::Shown && validity.next_change(standing).is_none();
            if is_for_good && !may_cancel { through.push(row) } else { hold.push(row) }
        }
        self.hold(&rows, hold, now)?;
        match through.len() {
            0 => {}
            all if all == rows.len() => output.rows.push(rows),
            _ => output.rows.push(rows.take(&through.into())?),
        }
        Ok(())
    }

    fn hold(&mut self, rows: &Batch, hold: Vec<u32>, now: i64) -> Result<(), OperatorError> {
        if hold.is_empty() {
            return Ok(());
        }
        let hold: UInt32Array = hold.into();
        let encoded = match hold.len() == rows.len() {
            true => self.held.codec.encode(rows.columns().columns())?,
            false => {
                let columns = take_record_batch(rows.columns(), &hold)?;
                self.held.codec.encode(columns.columns())?
            }
        };
        self.held.begin(rows.columns().clone());
        for (place, &row) in hold.values().iter().enumerate() {
            let validity = self.validities[row as usize];
            let weight = rows.weight(row as usize);
            self.held.add((encoded.get(place), validity), (weight, row), now);
        }
        Ok(())
    }

    /// Says what has become of held rows.
    fn emit(&self, output: &mut Output) -> Result<(), OperatorError> {
        for changes in self.held.changes().chunks(OUTPUT_ROWS_MAX) {
            let rows = self.held.gather(changes)?;
            let weights = changes.iter().map(|&(_, delta)| delta).collect();
            output.rows.push(Batch::of_changes(rows, weights)?);
        }
        Ok(())
    }
}

impl Operator for TimeFilter {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        self.held.fire(self.now(context));
        let mut batches: Vec<Batch> = inputs.into_iter().flatten().collect();
        batches.retain(|batch| !batch.is_empty());
        if !batches.is_empty() {
            self.arrive(Batch::concat(&self.schema, &batches)?, context, output)?;
        }
        self.emit(output)?;
        self.held.settle();
        Ok(())
    }

    fn due_ms(&self) -> Option<i64> {
        match self.spec.clock {
            Clock::Watermark => None,
            Clock::ProcessingTime => self.held.next_due(),
        }
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        self.take_snapshot(scope)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        self.restore_snapshot(snapshot)
    }

    fn state_bytes(&self) -> usize {
        self.held.state_bytes()
    }
}
