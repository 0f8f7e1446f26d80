//! [`Excluded`]: the rows that a run dropped as late.
//!
//! Which rows are late depends on how a run cut its epochs, so the batch answer can only be
//! compared without exactly those. A run says them in its dead letters, as text, step by step.

use crate::compare::text;
use crate::error::OracleError;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use std::collections::{BTreeMap, HashMap};
use tidemill_sql::plan::NodeId;

/// A row by the names of its columns; NULL is none.
pub type TextRow = BTreeMap<String, Option<String>>;

/// Rows that nodes did not count.
#[derive(Clone, Debug, Default)]
pub struct Excluded {
    by_node: BTreeMap<NodeId, Vec<TextRow>>,
}

impl Excluded {
    /// Says that `node` dropped `row`, one of its inputs' rows.
    pub fn add(&mut self, node: NodeId, row: TextRow) {
        self.by_node.entry(node).or_default().push(row);
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.by_node.values().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// A node's inputs without the rows it dropped.
    pub(crate) fn remove(
        &self,
        node: NodeId,
        inputs: Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>, OracleError> {
        let Some(rows) = self.by_node.get(&node) else { return Ok(inputs) };
        let mut wanted: HashMap<&TextRow, usize> = HashMap::new();
        rows.iter().for_each(|row| *wanted.entry(row).or_default() += 1);
        let mut left = Vec::with_capacity(inputs.len());
        for input in inputs {
            let keep =
                (0..input.num_rows()).map(|row| match wanted.get_mut(&readable(&input, row)) {
                    Some(count) if *count > 0 => {
                        *count -= 1;
                        false
                    }
                    _ => true,
                });
            let keep: BooleanArray = keep.map(Some).collect();
            left.push(filter_record_batch(&input, &keep)?);
        }
        match wanted.iter().find(|(_, count)| **count > 0) {
            None => Ok(left),
            Some((row, _)) => Err(OracleError::Inconsistent(format!(
                "step {node} dropped a late row that it never had: {row:?}"
            ))),
        }
    }
}

fn readable(rows: &RecordBatch, row: usize) -> TextRow {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    columns.map(|(field, column)| (field.name().clone(), text(column, row))).collect()
}
