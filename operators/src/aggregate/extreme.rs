//! `MIN` and `MAX`.
//!
//! Of rows that only come, the best value so far is all there is to keep. If rows may go again,
//! every value is kept with its count, in order, so that the next best is at hand.

use super::codec::{Codec, ints};
use super::distinct::{list_column, list_parts, list_type};
use super::{Aggregate, ByValue, Entries, Retraction, Rows, Values};
use crate::operator::OperatorError;
use crate::snapshot::{CHUNK_ROWS, SnapshotScope};
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
        Retraction::Possible => Box::new(Counted {
            codec,
            side,
            groups: Vec::new(),
            held: 0,
            changed: None,
            removed: Vec::new(),
        }),
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

/// How often a value is there.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Not zero; negative while a deletion waits for its insertion.
    count: i64,
    /// Whether the last snapshot, or an earlier one, has it.
    is_saved: bool,
    is_changed: bool,
}

#[derive(Debug)]
struct Counted<C: Codec> {
    codec: C,
    side: Side,
    groups: Vec<BTreeMap<C::Value, Held>>,
    held: usize,
    /// Values that changed since the last snapshot; none before the first. Those that went since
    /// have no mark of it any more, so one that came again may be listed twice but is marked once.
    changed: Option<Vec<(u32, C::Value)>>,
    /// Values that the last snapshot has and that are gone, while their groups are not.
    removed: Vec<(u32, C::Value)>,
}

impl<C: Codec> Counted<C> {
    fn entry_bytes(value: &C::Value) -> usize {
        size_of::<(C::Value, Held)>() + C::heap(value)
    }

    fn best(&self, group: u32) -> Option<&C::Value> {
        let values = self.groups[group as usize].iter();
        let mut present = values.filter(|(_, held)| held.count > 0).map(|(value, _)| value);
        match self.side {
            Side::Least => present.next(),
            Side::Greatest => present.next_back(),
        }
    }

    /// Reads of each group where a lookup begins, and nothing else, so that their cache misses
    /// overlap.
    fn touch(&self, groups: &[u32]) {
        let first = |&group: &u32| self.groups[group as usize].first_key_value();
        let counts = groups.iter().filter_map(first).map(|(_, held)| held.count);
        std::hint::black_box(counts.fold(0, |all, count| all ^ count));
    }

    /// Takes a value away.
    fn remove(&mut self, group: usize, value: &C::View) {
        if let Some((value, held)) = self.groups[group].remove_entry(value) {
            self.held -= Self::entry_bytes(&value);
            if held.is_saved {
                self.removed.push((group as u32, value));
            }
        }
    }

    /// Counts a value more or less often.
    fn add(&mut self, group: usize, value: &C::View, weight: i64) {
        match self.groups[group].get_mut(value) {
            Some(held) if held.count + weight == 0 => return self.remove(group, value),
            Some(held) => held.count += weight,
            None if weight == 0 => return,
            None => {
                let (value, count) = (C::own(value), weight);
                self.held += Self::entry_bytes(&value);
                let held = Held { count, is_saved: false, is_changed: false };
                self.groups[group].insert(value, held);
            }
        }
        let Some(changed) = &mut self.changed else { return };
        let held = self.groups[group].get_mut(value).expect("just counted");
        if !std::mem::replace(&mut held.is_changed, true) {
            changed.push((group as u32, C::own(value)));
        }
    }

    /// The values that a snapshot has to write, in any order.
    fn take_listed(&mut self, scope: SnapshotScope) -> Vec<(u32, C::Value)> {
        match (self.changed.replace(Vec::new()), scope) {
            (Some(changed), SnapshotScope::Changed) => changed,
            _ => {
                let groups = self.groups.iter_mut().enumerate();
                let all = groups.flat_map(|(group, values)| {
                    values.iter_mut().map(move |(value, held)| {
                        held.is_changed = true;
                        (group as u32, value.clone())
                    })
                });
                all.collect()
            }
        }
    }

    fn values(&self, of: &[(u32, C::Value)]) -> Result<Values, OperatorError> {
        let groups = of.iter().map(|&(group, _)| group).collect();
        let values = self.codec.array(&mut of.iter().map(|(_, value)| Some(value)))?;
        Ok(Values { groups, values })
    }
}

impl<C: Codec> Aggregate for Counted<C> {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, BTreeMap::new);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let column = self.codec.column(values)?;
        let mask = rows.mask();
        self.touch(rows.groups);
        rows.each(mask.as_ref(), |row, group, weight| {
            let value = self.codec.get(&column, row);
            self.add(group, value, weight);
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
        let counts: Int64Array = held().flat_map(|g| g.values().map(|held| held.count)).collect();
        Ok(vec![list_column(held().map(BTreeMap::len), vec![values, Arc::new(counts)])?])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        self.codec.array(&mut groups.iter().map(|&g| self.best(g)))
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            let values = std::mem::take(&mut self.groups[group as usize]);
            self.held -= values.keys().map(Self::entry_bytes).sum::<usize>();
        }
    }

    fn bytes(&self) -> usize {
        let changed = self.changed.as_ref().map_or(0, Vec::capacity);
        self.groups.capacity() * size_of::<BTreeMap<C::Value, Held>>()
            + self.held
            + changed * size_of::<(u32, C::Value)>()
    }

    fn by_value(&self) -> Option<&dyn ByValue> {
        Some(self)
    }

    fn by_value_mut(&mut self) -> Option<&mut dyn ByValue> {
        Some(self)
    }
}

impl<C: Codec> ByValue for Counted<C> {
    fn value_type(&self) -> &DataType {
        self.codec.data_type()
    }

    fn width(&self) -> usize {
        1
    }

    fn take_changed(&mut self, scope: SnapshotScope) -> Result<Vec<Entries>, OperatorError> {
        let (mut changed, mut counts) = (Vec::new(), Vec::new());
        for (group, value) in self.take_listed(scope) {
            let held = self.groups[group as usize].get_mut(value.borrow());
            let Some(held) = held.filter(|held| held.is_changed) else { continue };
            *held = Held { is_saved: true, is_changed: false, ..*held };
            counts.push(held.count);
            changed.push((group, value));
        }
        let chunks = changed.chunks(CHUNK_ROWS).zip(counts.chunks(CHUNK_ROWS));
        let entries = chunks.map(|(changed, counts)| {
            let counts: ArrayRef = Arc::new(Int64Array::from(counts.to_vec()));
            Ok(Entries { of: self.values(changed)?, counts: vec![counts] })
        });
        entries.collect()
    }

    fn take_removed(&mut self) -> Result<Vec<Values>, OperatorError> {
        let removed = std::mem::take(&mut self.removed);
        removed.chunks(CHUNK_ROWS).map(|removed| self.values(removed)).collect()
    }

    fn load(&mut self, entries: &Entries) -> Result<(), OperatorError> {
        let Entries { of: Values { groups, values }, counts } = entries;
        self.changed.get_or_insert_default();
        let column = self.codec.column(values)?;
        for (row, (&group, &count)) in groups.iter().zip(ints(&counts[0])).enumerate() {
            let value = C::own(self.codec.get(&column, row));
            let bytes = Self::entry_bytes(&value);
            let held = Held { count, is_saved: true, is_changed: false };
            if self.groups[group as usize].insert(value, held).is_none() {
                self.held += bytes;
            }
        }
        Ok(())
    }

    fn forget(&mut self, gone: &Values) -> Result<(), OperatorError> {
        let column = self.codec.column(&gone.values)?;
        for (row, &group) in gone.groups.iter().enumerate() {
            let value = C::own(self.codec.get(&column, row));
            self.remove(group as usize, value.borrow());
        }
        self.removed.clear();
        Ok(())
    }
}
