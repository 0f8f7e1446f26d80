//! Aggregates per window and key.
//!
//! ```text
//!   TUMBLE(10)   rows: (a, 3) (b, 7) (a, 12)          watermark 9 closes [0, 10):
//!                panes: [0, 10) a 1, b 1              +(a, 1, 0, 10)  +(b, 1, 0, 10)
//!                       [10, 20) a 1
//! ```
//!
//! The invariant: each window shows each of its keys once, under the epoch whose watermark closes
//! it, and windows show in the order of their ends. A row counts in those of its windows that are
//! open, and leaves as late if one is not; nothing else is ever dropped.

pub(crate) mod cut;
mod panes;
mod sessions;

use crate::aggregate::AggregateCall;
use crate::batch::Batch;
use crate::groups::{GroupLayout, batch};
use crate::operator::{EpochContext, LateRows, Operator, OperatorError, Output};
use crate::snapshot::{CHUNK_ROWS, Snapshot, SnapshotScope};
use crate::time::Watermark;
use crate::window::{self, WindowKind, Zone};
use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

/// What to window, to group and to aggregate.
///
/// Output columns: the keys, the aggregates, `window_start`, `window_end`
/// (`Timestamp(ms)` without zone: wall clock), `window_time` (the last millisecond of the window,
/// in the type of the time column: an instant for `TIMESTAMP_LTZ`).
#[derive(Clone, Debug)]
pub struct WindowAggregateSpec {
    /// How time is cut.
    pub window: WindowKind,
    /// Zone in which windows are aligned.
    pub zone: Zone,
    /// The time column: `Timestamp(ms)`. Not read by [`WindowKind::Attached`].
    pub time: usize,
    /// Key columns of the input, without the window's bounds.
    pub keys: Vec<usize>,
    /// The aggregates; none if only the groups are asked for.
    pub aggregates: Vec<AggregateCall>,
    /// Whether rows may be retracted.
    pub updating: bool,
    /// Column of arrival order, if an aggregate needs one.
    pub arrival: Option<usize>,
}

impl WindowAggregateSpec {
    pub(crate) fn layout(&self, input: &Schema) -> Result<GroupLayout, OperatorError> {
        let WindowAggregateSpec { keys, aggregates, updating, arrival, .. } = self;
        GroupLayout::new(keys, aggregates, *updating, *arrival, input)
    }
}

/// The operator of a [`WindowAggregateSpec`]. Rows come in at its first port; what a
/// [`Combiner`](crate::combine::Combiner) has made of other rows, at its second one. See the
/// [module](self).
pub struct WindowAggregate {
    state: State,
    schema: SchemaRef,
}

enum State {
    Panes(Box<panes::Panes>),
    Sessions(Box<sessions::Sessions>),
}

impl WindowAggregate {
    /// An operator without state, for rows of `input`.
    ///
    /// # Errors
    /// If the specification asks for columns, functions or windows that do not exist.
    pub fn new(spec: WindowAggregateSpec, input: SchemaRef) -> Result<Self, OperatorError> {
        let layout = spec.layout(&input)?;
        let mut fields = layout.result_fields();
        fields.extend(window::window_fields(spec.zone));
        let state = match spec.window {
            WindowKind::Session { gap_ms } => {
                State::Sessions(Box::new(sessions::Sessions::new(gap_ms, &spec, layout)?))
            }
            _ => State::Panes(Box::new(panes::Panes::new(&spec, layout)?)),
        };
        Ok(WindowAggregate { state, schema: Arc::new(Schema::new(fields)) })
    }

    /// Schema of the output: the keys, the aggregates, the bounds and the time of the window.
    pub fn output_schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Operator for WindowAggregate {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let mut ports = inputs.into_iter().map(|batches| {
            batches.into_iter().filter(|batch| !batch.is_empty()).collect::<Vec<Batch>>()
        });
        let rows = ports.next().unwrap_or_default();
        let partials = ports.next().unwrap_or_default();
        let mut results = Results::new(self.schema.clone());
        match &mut self.state {
            State::Panes(panes) => {
                let batches = (rows, partials);
                panes.apply(batches, context, &mut results, output)?;
            }
            State::Sessions(sessions) => {
                debug_assert!(partials.is_empty(), "sessions are not combined");
                sessions.apply(rows, context, &mut results, output)?;
            }
        }
        output.rows.extend(results.finish()?);
        Ok(())
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        match &mut self.state {
            State::Panes(panes) => panes.snapshot(scope),
            State::Sessions(sessions) => sessions.snapshot(scope),
        }
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        match &mut self.state {
            State::Panes(panes) => panes.restore(snapshot),
            State::Sessions(sessions) => sessions.restore(snapshot),
        }
    }

    fn state_bytes(&self) -> usize {
        match &self.state {
            State::Panes(panes) => panes.bytes(),
            State::Sessions(sessions) => sessions.bytes(),
        }
    }
}

/// Rows of the windows that fired. Many small windows leave as one batch.
struct Results {
    schema: SchemaRef,
    windows: Vec<Batch>,
}

impl Results {
    fn new(schema: SchemaRef) -> Self {
        Results { schema, windows: Vec::new() }
    }

    /// Adds rows of keys and aggregates, with the bounds of their windows.
    fn add(
        &mut self,
        mut columns: Vec<ArrayRef>,
        starts: Vec<i64>,
        ends: Vec<i64>,
        zone: Zone,
    ) -> Result<(), OperatorError> {
        let rows = starts.len();
        if rows > 0 {
            columns.extend(window::window_columns(starts, ends, zone));
            self.windows.push(Batch::append_only(batch(&self.schema, columns, rows)?));
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<Batch>, OperatorError> {
        let (mut batches, mut run, mut rows) = (Vec::new(), Vec::new(), 0);
        for window in self.windows {
            if rows + window.len() > CHUNK_ROWS && !run.is_empty() {
                batches.push(Batch::concat(&self.schema, &run)?);
                (run, rows) = (Vec::new(), 0);
            }
            rows += window.len();
            run.push(window);
        }
        if !run.is_empty() {
            batches.push(Batch::concat(&self.schema, &run)?);
        }
        Ok(batches)
    }
}

fn late(
    batch: &Batch,
    rows: Vec<u32>,
    watermark: Watermark,
    output: &mut Output,
) -> Result<(), OperatorError> {
    if !rows.is_empty() {
        let rows = batch.take(&UInt32Array::from(rows))?;
        output.late.push(LateRows { rows, watermark });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
