//! `COUNT`: a number for each group.

use super::{Aggregate, Rows};
use crate::operator::OperatorError;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use std::sync::Arc;

/// Counts rows, or values that are not NULL: without an argument there is no NULL to skip.
#[derive(Debug, Default)]
pub(super) struct Count {
    counts: Vec<i64>,
}

impl Aggregate for Count {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let mask = rows.mask();
        rows.each(mask.as_ref(), |_, group, weight| self.counts[group] += weight);
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let counts = state[0].as_primitive::<Int64Type>().values();
        for (&group, count) in groups.iter().zip(counts) {
            self.counts[group as usize] += count;
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        Ok(vec![self.read(groups)?])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let counts = groups.iter().map(|&g| self.counts[g as usize]);
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            self.counts[group as usize] = 0;
        }
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
