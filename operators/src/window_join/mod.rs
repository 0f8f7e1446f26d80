//! The join of two append-only inputs window by window.
//!
//! ```text
//! left  (k, a, 10:00-10:05)   right (k, x, 10:00-10:05)
//! watermark reaches 10:05:    +(k, a, 10:00-10:05, k, x, 10:00-10:05), and both are forgotten
//! ```
//!
//! The window's bounds are among the keys of the join, so rows of different windows never meet:
//! a window's rows wait, as columns, until the watermark closes it; then they go through a
//! [`Join`] of their own in one epoch, which says each pair and each row without partner once.
//! The output is append-only, and state lives as long as its window.

#[cfg(test)]
mod tests;
mod waiting;

use crate::batch::Batch;
use crate::join::{Join, JoinSpec};
use crate::key::{KeyGroup, hash_keys};
use crate::operator::{EpochContext, LateRows, Operator, OperatorError, Output};
use crate::snapshot::numbered::{self, Numbers};
use crate::snapshot::{self, Snapshot, SnapshotScope};
use crate::time::Watermark;
use crate::window::zone::local_watermark;
use crate::window::{Zone, times};
use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use waiting::Waiting;

const TABLES: [&str; 2] = ["left", "right"];

/// What to join. Output columns: as of [`JoinSpec`].
#[derive(Clone, Debug)]
pub struct WindowJoinSpec {
    /// How rows of one window are joined. The window's end must be among the keys.
    pub join: JoinSpec,
    /// The left input's column of the window's end, `Timestamp(ms)`.
    pub left_window_end: usize,
    /// The right input's.
    pub right_window_end: usize,
    /// Zone of the window's bounds.
    pub zone: Zone,
}

/// The operator: port 0 is the left input, port 1 the right. See the [module](self).
#[derive(Debug)]
pub struct WindowJoin {
    spec: WindowJoinSpec,
    schemas: [SchemaRef; 2],
    output: SchemaRef,
    /// By side: the rows of each open window, by its wall-clock end.
    windows: [BTreeMap<i64, Waiting>; 2],
    numbers: [Numbers; 2],
}

impl WindowJoin {
    /// An operator without state.
    ///
    /// # Errors
    /// If the window's end is no key, or the keys don't fit together.
    pub fn new(
        spec: WindowJoinSpec,
        left: SchemaRef,
        right: SchemaRef,
    ) -> Result<Self, OperatorError> {
        let keys = spec.join.left_keys.iter().zip(&spec.join.right_keys);
        let mut pairs = keys.map(|(&left, &right)| (left, right));
        if !pairs.any(|pair| pair == (spec.left_window_end, spec.right_window_end)) {
            return Err(OperatorError::Data(
                "a window join must have the window's end among its keys".into(),
            ));
        }
        let join = Join::new(spec.join.clone(), left.clone(), right.clone())?;
        Ok(WindowJoin {
            output: join.output_schema(),
            schemas: [left, right],
            windows: Default::default(),
            numbers: Default::default(),
            spec,
        })
    }

    /// As of [`Join::output_schema`].
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    fn keys(&self, port: usize) -> &[usize] {
        self.spec.join.keys(port)
    }

    fn ends(&self, port: usize, rows: &RecordBatch) -> Result<Vec<i64>, OperatorError> {
        let column = [self.spec.left_window_end, self.spec.right_window_end][port];
        Ok(times(rows, column)?.to_vec())
    }

    /// Puts an epoch's rows of one side to their windows.
    fn add(
        &mut self,
        port: usize,
        batches: &[Batch],
        watermark: Watermark,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let rows = Batch::concat(&self.schemas[port], batches)?;
        if rows.weights().is_some_and(|weights| weights.iter().any(|&w| w < 0)) {
            return Err(OperatorError::Data(
                "a window join was sent a deletion, but its inputs must only grow".into(),
            ));
        }
        let ends = self.ends(port, rows.columns())?;
        let wall = local_watermark(watermark, self.spec.zone);
        let is_late = |&end: &i64| wall.closes(end);
        if ends.iter().any(is_late) {
            let late: BooleanArray = ends.iter().map(|end| Some(is_late(end))).collect();
            output.late.push(LateRows { rows: rows.filter(&late)?, watermark });
        }
        let first = ends.first().copied().filter(|end| !is_late(end));
        if let (Some(first), None) = (first, rows.weights())
            && ends.iter().all(|&end| end == first)
        {
            return self.hold(port, first, rows.columns().clone());
        }
        let mut by_end: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, &end) in ends.iter().enumerate().filter(|(_, end)| !is_late(end)) {
            let copies = rows.weight(row) as usize;
            by_end.entry(end).or_default().extend(std::iter::repeat_n(row as u32, copies));
        }
        for (end, indices) in by_end {
            let rows =
                arrow::compute::take_record_batch(rows.columns(), &UInt32Array::from(indices))?;
            self.hold(port, end, rows)?;
        }
        Ok(())
    }

    fn hold(&mut self, port: usize, end: i64, rows: RecordBatch) -> Result<(), OperatorError> {
        let first = self.numbers[port].give_many(rows.num_rows());
        let numbers = (first..first + rows.num_rows() as i64).collect();
        self.windows[port].entry(end).or_default().push(rows, numbers)
    }

    /// Joins the windows that the watermark closes, and forgets them.
    fn fire(&mut self, context: &EpochContext, output: &mut Output) -> Result<(), OperatorError> {
        let wall = local_watermark(context.watermark_after, self.spec.zone);
        let mut closed: [Vec<Batch>; 2] = Default::default();
        for (port, closed) in closed.iter_mut().enumerate() {
            while let Some(window) = self.windows[port].first_entry()
                && wall.closes(*window.key())
            {
                let (rows, persisted) = window.remove().into_rows();
                for (rows, numbers) in persisted {
                    let groups = groups(&rows, self.keys(port));
                    let gone = groups.into_iter().zip(numbers);
                    gone.for_each(|(group, number)| self.numbers[port].removed(group, number));
                }
                closed.extend(rows.into_iter().map(Batch::from));
            }
        }
        if closed.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let [left, right] = self.schemas.clone();
        Join::new(self.spec.join.clone(), left, right)?.apply(closed.into(), context, output)
    }
}

/// The key group of each row.
fn groups(rows: &RecordBatch, keys: &[usize]) -> Vec<KeyGroup> {
    let mut hashes = Vec::new();
    hash_keys(rows, keys, &mut hashes);
    hashes.into_iter().map(KeyGroup::of).collect()
}

impl Operator for WindowJoin {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        for (port, mut batches) in inputs.into_iter().enumerate() {
            batches.retain(|batch| !batch.is_empty());
            if !batches.is_empty() {
                self.add(port, &batches, context.watermark_before, output)?;
            }
        }
        self.fire(context, output)
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        let mut snapshot = Snapshot::default();
        for (port, name) in TABLES.into_iter().enumerate() {
            let keys = self.keys(port).to_vec();
            let mut upserts = Vec::new();
            for window in self.windows[port].values_mut() {
                for (rows, numbers) in window.persist(scope)? {
                    upserts.push(waiting::upserts(&rows, &groups(&rows, &keys), numbers)?);
                }
            }
            let deletes = self.numbers[port].take(scope)?;
            let tables = snapshot::tables(name, numbered::KEY_WIDTH, &deletes, &upserts)?;
            snapshot.tables.extend(tables);
        }
        Ok(snapshot)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        for table in &snapshot.tables {
            let Some(port) = TABLES.iter().position(|name| *name == table.name) else { continue };
            if let Some(deletes) = &table.deletes {
                let gone = numbered::named(deletes);
                let keys = self.keys(port).to_vec();
                for window in self.windows[port].values_mut() {
                    window.remove(|rows| groups(rows, &keys), &gone)?;
                }
                self.windows[port].retain(|_, window| !window.is_empty());
            }
            if let Some(upserts) = &table.upserts {
                let width = self.schemas[port].fields().len();
                let rows = upserts.project(
                    &(numbered::KEY_WIDTH..numbered::KEY_WIDTH + width).collect::<Vec<_>>(),
                )?;
                let mut by_end: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
                for (row, end) in self.ends(port, &rows)?.into_iter().enumerate() {
                    by_end.entry(end).or_default().push(row as u32);
                }
                let numbers = numbered::numbers(upserts);
                numbers.iter().for_each(|&number| self.numbers[port].restored(number));
                for (end, indices) in by_end {
                    let numbers = indices.iter().map(|&row| numbers[row as usize]).collect();
                    let rows =
                        arrow::compute::take_record_batch(&rows, &UInt32Array::from(indices))?;
                    self.windows[port].entry(end).or_default().restore(rows, numbers);
                }
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.windows.iter().flat_map(BTreeMap::values).map(Waiting::bytes).sum()
    }
}
