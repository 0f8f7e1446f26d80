//! `MIN` and `MAX`.
//!
//! Of rows that only come, the best value so far is all there is to keep. If rows may go again,
//! every value is kept with its count, in order, so that the next best is at hand.

use super::codec::{Codec, ints};
use super::distinct::{list_column, list_parts, list_type};
use super::{Aggregate, Retraction, Rows};
use crate::operator::OperatorError;
use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which end of the order wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Least,
    Greatest,
}

impl Side {
    fn wins(self) -> Ordering {
        match self {
            Side::Least => Ordering::Less,
            Side::Greatest => Ordering::Greater,
        }
    }
}

pub(super) fn create<C: Codec>(codec: C, side: Side, retraction: Retraction) -> Box<dyn Aggregate> {
    match retraction {
        Retraction::Never => Box::new(Best { codec, side, best: Vec::new(), heap: 0 }),
        Retraction::Possible => Box::new(Counted { codec, side, groups: Vec::new(), held: 0 }),
    }
}

#[derive(Debug)]
struct Best<C: Codec> {
    codec: C,
    side: Side,
    best: Vec<Option<C::Value>>,
    heap: usize,
}

impl<C: Codec> Best<C> {
    fn apply(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let column = self.codec.column(values)?;
        let Best { codec, side, best, heap } = self;
        let wins = side.wins();
        let mask = rows.mask();
        rows.each(mask.as_ref(), |row, group, weight| {
            debug_assert!(weight > 0, "rows of an append-only stream do not go");
            let value = codec.get(&column, row);
            match &mut best[group] {
                Some(held) if value.cmp((*held).borrow()) != wins => {}
                slot => {
                    *heap -= slot.as_ref().map_or(0, C::heap);
                    let value = C::own(value);
                    *heap += C::heap(&value);
                    *slot = Some(value);
                }
            }
        });
        Ok(())
    }
}

impl<C: Codec> Aggregate for Best<C> {
    fn resize(&mut self, groups: usize) {
        self.best.resize(groups, None);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        self.apply(rows)
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        self.apply(&Rows {
            groups,
            values: Some(&state[0]),
            weights: None,
            filter: None,
            epoch: 0,
            arrival: None,
        })
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.codec.data_type().clone()]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        Ok(vec![self.read(groups)?])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        self.codec.array(&mut groups.iter().map(|&g| self.best[g as usize].as_ref()))
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            if let Some(value) = self.best[group as usize].take() {
                self.heap -= C::heap(&value);
            }
        }
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<Option<C::Value>>() + self.heap
    }
}

#[derive(Debug)]
struct Counted<C: Codec> {
    codec: C,
    side: Side,
    /// Values with their counts, none of which is zero; negative while a deletion waits for its
    /// insertion.
    groups: Vec<BTreeMap<C::Value, i64>>,
    held: usize,
}

impl<C: Codec> Counted<C> {
    fn entry_bytes(value: &C::Value) -> usize {
        size_of::<(C::Value, i64)>() + C::heap(value)
    }

    fn best(&self, group: u32) -> Option<&C::Value> {
        let mut present =
            self.groups[group as usize].iter().filter(|&(_, &count)| count > 0).map(|(v, _)| v);
        match self.side {
            Side::Least => present.next(),
            Side::Greatest => present.next_back(),
        }
    }
}

impl<C: Codec> Aggregate for Counted<C> {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, BTreeMap::new);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let column = self.codec.column(values)?;
        let Counted { codec, groups, held, .. } = self;
        let mask = rows.mask();
        rows.each(mask.as_ref(), |row, group, weight| {
            let (counts, value) = (&mut groups[group], codec.get(&column, row));
            match counts.get_mut(value) {
                Some(count) if *count + weight == 0 => {
                    if let Some((value, _)) = counts.remove_entry(value) {
                        *held -= Self::entry_bytes(&value);
                    }
                }
                Some(count) => *count += weight,
                None if weight == 0 => {}
                None => {
                    let value = C::own(value);
                    *held += Self::entry_bytes(&value);
                    counts.insert(value, weight);
                }
            }
        });
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let (groups, columns) = list_parts(groups, &state[0])?;
        self.update(&Rows {
            groups: &groups,
            values: Some(&columns[0]),
            weights: Some(ints(&columns[1])),
            filter: None,
            epoch: 0,
            arrival: None,
        })
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(&[self.codec.data_type().clone(), DataType::Int64])]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let held = || groups.iter().map(|&g| &self.groups[g as usize]);
        let values = self.codec.array(&mut held().flat_map(|g| g.keys().map(Some)))?;
        let counts: Int64Array = held().flat_map(|g| g.values().copied()).collect();
        Ok(vec![list_column(held().map(BTreeMap::len), vec![values, Arc::new(counts)])?])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        self.codec.array(&mut groups.iter().map(|&g| self.best(g)))
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            let counts = std::mem::take(&mut self.groups[group as usize]);
            self.held -= counts.keys().map(Self::entry_bytes).sum::<usize>();
        }
    }

    fn bytes(&self) -> usize {
        self.groups.capacity() * size_of::<BTreeMap<C::Value, i64>>() + self.held
    }
}
