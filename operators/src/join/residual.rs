//! [`Residual`]: what a pair of rows must fulfil beyond equal keys.

use super::{JoinKind, output_schema};
use crate::expression::Expression;
use crate::operator::OperatorError;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

/// A condition over pairs of rows. NULL is no match, as in SQL.
#[derive(Clone, Debug)]
pub struct Residual {
    /// The condition, over the columns that it reads and no others.
    pub condition: Arc<dyn Expression>,
    /// Which columns these are, ascending: of the left input's, then the right's.
    pub reads: Vec<usize>,
}

/// A [`Residual`] that knows its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    condition: Arc<dyn Expression>,
    schema: SchemaRef,
    /// The columns that it reads, of each side.
    pub(crate) reads: [Vec<usize>; 2],
    left_width: usize,
}

impl Test {
    /// `pair` has the left input's columns, `left_width` of them, then the right's.
    fn new(residual: &Residual, pair: &Schema, left_width: usize) -> Result<Self, OperatorError> {
        debug_assert!(residual.reads.is_sorted());
        let split = residual.reads.partition_point(|&column| column < left_width);
        let (left, right) = residual.reads.split_at(split);
        Ok(Test {
            condition: residual.condition.clone(),
            schema: Arc::new(pair.project(&residual.reads)?),
            reads: [left.to_vec(), right.iter().map(|column| column - left_width).collect()],
            left_width,
        })
    }

    /// The test of a join between these inputs, if it has a residual.
    ///
    /// # Errors
    /// If it reads a column that is not there.
    pub(crate) fn of(
        residual: Option<&Residual>,
        left: &SchemaRef,
        right: &SchemaRef,
    ) -> Result<Option<Self>, OperatorError> {
        let pair = output_schema(JoinKind::Inner, left, right);
        let new = |residual| Test::new(residual, &pair, left.fields().len());
        residual.map(new).transpose()
    }

    /// Which pairs pass, from all columns of both sides.
    pub(crate) fn passes_whole(
        &self,
        pair: &[ArrayRef],
        pairs: usize,
        now_ms: i64,
    ) -> Result<BooleanArray, OperatorError> {
        let (left, right) = pair.split_at(self.left_width);
        let read = |columns: &[ArrayRef], reads: &[usize]| {
            reads.iter().map(|&column| columns[column].clone()).collect()
        };
        let [of_left, of_right] = &self.reads;
        self.passes(read(left, of_left), read(right, of_right), pairs, now_ms)
    }

    /// Which pairs pass. `left` and `right` are the columns that are [read](Self::reads).
    pub(crate) fn passes(
        &self,
        mut left: Vec<ArrayRef>,
        right: Vec<ArrayRef>,
        pairs: usize,
        now_ms: i64,
    ) -> Result<BooleanArray, OperatorError> {
        left.extend(right);
        let length = RecordBatchOptions::new().with_row_count(Some(pairs));
        let read = RecordBatch::try_new_with_options(self.schema.clone(), left, &length)?;
        let passes = self.condition.evaluate(&read, now_ms)?;
        let Some(passes) = passes.as_boolean_opt() else {
            return Err(OperatorError::Data(format!(
                "the join condition {} is not a boolean",
                self.condition.describe()
            )));
        };
        Ok(match passes.nulls() {
            None => passes.clone(),
            Some(nulls) => BooleanArray::new(passes.values() & nulls.inner(), None),
        })
    }
}
