//! `FIRST_VALUE` and `LAST_VALUE` of rows that only come: the value and where it stood.

use super::codec::{Codec, ints};
use super::{Aggregate, Rows};
use crate::operator::OperatorError;
use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use std::sync::Arc;

/// Which end of the order of arrival is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Earliest,
    Latest,
}

/// Epoch, and arrival within it.
type Position = (i64, i64);

pub(super) fn create<C: Codec>(codec: C, end: End) -> Box<dyn Aggregate> {
    Box::new(AtEnd { codec, end, held: Vec::new(), heap: 0 })
}

#[derive(Debug)]
struct AtEnd<C: Codec> {
    codec: C,
    end: End,
    held: Vec<Option<(Position, C::Value)>>,
    heap: usize,
}

impl<C: Codec> AtEnd<C> {
    /// Puts a value into its group if it stands nearer to the end. Of two at one position the
    /// one that is applied later counts as the later.
    #[inline]
    fn offer(&mut self, group: usize, position: Position, value: &C::View) {
        let slot = &mut self.held[group];
        let keeps = slot.as_ref().is_some_and(|(held, _)| match self.end {
            End::Earliest => *held <= position,
            End::Latest => *held > position,
        });
        if !keeps {
            self.heap -= slot.as_ref().map_or(0, |(_, v)| C::heap(v));
            let value = C::own(value);
            self.heap += C::heap(&value);
            *slot = Some((position, value));
        }
    }
}

impl<C: Codec> Aggregate for AtEnd<C> {
    fn resize(&mut self, groups: usize) {
        self.held.resize(groups, None);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let column = self.codec.column(values)?;
        let mask = rows.mask();
        rows.each(mask.as_ref(), |row, group, weight| {
            debug_assert!(weight > 0, "rows of an append-only stream do not go");
            let position = rows.position(row);
            let value = self.codec.get(&column, row);
            self.offer(group, position, value);
        });
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let (epochs, arrivals) = (ints(&state[0]), ints(&state[1]));
        let column = self.codec.column(&state[2])?;
        for (row, &group) in groups.iter().enumerate() {
            if state[0].is_valid(row) {
                let value = self.codec.get(&column, row);
                self.offer(group as usize, (epochs[row], arrivals[row]), value);
            }
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Int64, self.codec.data_type().clone()]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let positions = || {
            groups.iter().map(|&g| self.held[g as usize].as_ref().map(|(position, _)| *position))
        };
        Ok(vec![
            Arc::new(positions().map(|p| p.map(|p| p.0)).collect::<Int64Array>()),
            Arc::new(positions().map(|p| p.map(|p| p.1)).collect::<Int64Array>()),
            self.read(groups)?,
        ])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let held = |&g: &u32| self.held[g as usize].as_ref().map(|(_, value)| value);
        self.codec.array(&mut groups.iter().map(held))
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            if let Some((_, value)) = self.held[group as usize].take() {
                self.heap -= C::heap(&value);
            }
        }
    }

    fn bytes(&self) -> usize {
        self.held.capacity() * size_of::<Option<(Position, C::Value)>>() + self.heap
    }
}
