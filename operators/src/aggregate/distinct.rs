//! `DISTINCT`: lets each value through to an aggregate once, when its count leaves zero, and takes
//! it back when the count returns there.

use super::codec::ints;
use super::{Aggregate, Rows};
use crate::key_table::KeyTable;
use crate::operator::OperatorError;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{filter, take};
use arrow::datatypes::{DataType, Field, Fields};
use std::sync::Arc;

const NONE: u32 = u32::MAX;

/// How often each group holds each value; NULLs are not values.
///
/// One table serves all groups; the values of a group are a linked list through it, so that a
/// group can be listed and dropped.
#[derive(Debug)]
pub(super) struct ValueCounts {
    table: KeyTable,
    /// By value number: its count, never zero between two calls.
    counts: Vec<i64>,
    /// By value number: the neighbours in its group's list.
    links: Vec<Link>,
    /// By group: its first value.
    heads: Vec<u32>,
    value_type: DataType,
    scratch: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
    is_listed: bool,
}

/// What a batch changed: row `rows[i]` put a value into `groups[i]` (`weights[i]` one) or took
/// the last of it away (minus one).
#[derive(Debug, Default)]
pub(super) struct Changes {
    groups: Vec<u32>,
    rows: Vec<u32>,
    weights: Vec<i64>,
}

impl ValueCounts {
    pub(super) fn new(value_type: &DataType) -> Result<Self, OperatorError> {
        Ok(ValueCounts {
            table: KeyTable::with_owners(std::slice::from_ref(value_type))?,
            counts: Vec::new(),
            links: Vec::new(),
            heads: Vec::new(),
            value_type: value_type.clone(),
            scratch: Vec::new(),
        })
    }

    pub(super) fn resize(&mut self, groups: usize) {
        self.heads.resize(groups, NONE);
    }

    /// Counts values without NULLs.
    fn count(
        &mut self,
        groups: &[u32],
        values: &ArrayRef,
        weight: impl Fn(usize) -> i64,
    ) -> Result<Changes, OperatorError> {
        let mut numbers = std::mem::take(&mut self.scratch);
        let columns = std::slice::from_ref(values);
        self.table.insert_owned(Some(groups), columns, values.len(), &mut numbers)?;
        self.counts.resize(self.table.slots(), 0);
        self.links.resize(self.table.slots(), Link { before: NONE, after: NONE, is_listed: false });
        let (mut changes, mut emptied) = (Changes::default(), Vec::new());
        for (row, (&number, &group)) in numbers.iter().zip(groups).enumerate() {
            if !self.links[number as usize].is_listed {
                self.link(group, number);
            }
            let count = &mut self.counts[number as usize];
            let before = *count;
            *count += weight(row);
            if *count == 0 {
                emptied.push(number);
            }
            if (before > 0) != (*count > 0) {
                changes.groups.push(group);
                changes.rows.push(row as u32);
                changes.weights.push(if before > 0 { -1 } else { 1 });
            }
        }
        emptied.sort_unstable();
        emptied.dedup();
        emptied.retain(|&number| self.counts[number as usize] == 0);
        for &number in &emptied {
            self.unlink(number);
        }
        self.table.remove(&emptied);
        self.scratch = numbers;
        Ok(changes)
    }

    /// Counts the values of `rows` that are not NULL, and says what that changed, together with
    /// the values that [`Changes::rows`] points to.
    pub(super) fn update(&mut self, rows: &Rows<'_>) -> Result<(Changes, ArrayRef), OperatorError> {
        let Some(values) = rows.values else {
            return Err(super::foreign_state("DISTINCT without an argument"));
        };
        let Some(mask) = rows.mask() else {
            let weight = |row: usize| rows.weights.map_or(1, |w| w[row]);
            return Ok((self.count(rows.groups, values, weight)?, values.clone()));
        };
        let groups: Vec<u32> = mask.set_indices().map(|row| rows.groups[row]).collect();
        let kept: Vec<usize> = mask.set_indices().collect();
        let values = filter(values, &arrow::array::BooleanArray::new(mask, None))?;
        let weight = |row: usize| rows.weights.map_or(1, |w| w[kept[row]]);
        Ok((self.count(&groups, &values, weight)?, values))
    }

    fn link(&mut self, group: u32, number: u32) {
        let head = std::mem::replace(&mut self.heads[group as usize], number);
        self.links[number as usize] = Link { before: NONE, after: head, is_listed: true };
        if head != NONE {
            self.links[head as usize].before = number;
        }
    }

    fn unlink(&mut self, number: u32) {
        let Link { before, after, .. } = self.links[number as usize];
        match before {
            NONE => self.heads[self.table.owner(number) as usize] = after,
            before => self.links[before as usize].after = after,
        }
        if after != NONE {
            self.links[after as usize].before = before;
        }
        self.links[number as usize].is_listed = false;
    }

    fn numbers(&self, group: u32) -> impl Iterator<Item = u32> {
        let some = |number: u32| (number != NONE).then_some(number);
        std::iter::successors(some(self.heads[group as usize]), move |&number| {
            some(self.links[number as usize].after)
        })
    }

    /// The values of each group with their counts: lengths, values, counts.
    pub(super) fn list(
        &self,
        groups: &[u32],
    ) -> Result<(Vec<usize>, ArrayRef, Vec<i64>), OperatorError> {
        let (mut all, mut lengths) = (Vec::new(), Vec::with_capacity(groups.len()));
        for &group in groups {
            let before = all.len();
            all.extend(self.numbers(group));
            lengths.push(all.len() - before);
        }
        let counts = all.iter().map(|&n| self.counts[n as usize]).collect();
        Ok((lengths, self.table.keys(&all)?.remove(0), counts))
    }

    pub(super) fn state_type(&self) -> DataType {
        list_type(&[self.value_type.clone(), DataType::Int64])
    }

    pub(super) fn state(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let (lengths, values, counts) = self.list(groups)?;
        list_column(lengths.into_iter(), vec![values, Arc::new(Int64Array::from(counts))])
    }

    /// Adds the values of a state column, and says what that changed.
    pub(super) fn merge(
        &mut self,
        groups: &[u32],
        state: &ArrayRef,
    ) -> Result<(Changes, ArrayRef), OperatorError> {
        let (groups, columns) = list_parts(groups, state)?;
        let counts = ints(&columns[1]);
        Ok((self.count(&groups, &columns[0], |row| counts[row])?, columns[0].clone()))
    }

    pub(super) fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            let numbers: Vec<u32> = self.numbers(group).collect();
            for &number in &numbers {
                self.links[number as usize].is_listed = false;
                self.counts[number as usize] = 0;
            }
            self.table.remove(&numbers);
            self.heads[group as usize] = NONE;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.table.bytes()
            + self.counts.capacity() * size_of::<i64>()
            + self.links.capacity() * size_of::<Link>()
            + self.heads.capacity() * size_of::<u32>()
    }
}

/// An aggregate over the different values of its argument. What the inner one holds follows from
/// the counts, so the counts alone are the state.
pub(super) struct Distinct {
    values: ValueCounts,
    inner: Box<dyn Aggregate>,
}

impl Distinct {
    pub(super) fn new(
        value_type: &DataType,
        inner: Box<dyn Aggregate>,
    ) -> Result<Self, OperatorError> {
        Ok(Distinct { values: ValueCounts::new(value_type)?, inner })
    }

    fn pass_on(&mut self, changes: &Changes, values: &ArrayRef) -> Result<(), OperatorError> {
        if changes.rows.is_empty() {
            return Ok(());
        }
        let changed = take(values, &UInt32Array::from(changes.rows.clone()), None)?;
        self.inner.update(&Rows {
            groups: &changes.groups,
            values: Some(&changed),
            weights: Some(&changes.weights),
            filter: None,
            epoch: 0,
            arrival: None,
        })
    }
}

impl Aggregate for Distinct {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups);
        self.inner.resize(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let (changes, values) = self.values.update(rows)?;
        self.pass_on(&changes, &values)
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let (changes, values) = self.values.merge(groups, &state[0])?;
        self.pass_on(&changes, &values)
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.values.state_type()]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        Ok(vec![self.values.state(groups)?])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        self.inner.read(groups)
    }

    fn reset(&mut self, groups: &[u32]) {
        self.values.reset(groups);
        self.inner.reset(groups);
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.inner.bytes()
    }
}

fn part_fields(types: &[DataType]) -> Fields {
    let names = ["a", "b", "c", "d"];
    types.iter().zip(names).map(|(t, name)| Field::new(name, t.clone(), true)).collect()
}

/// The type of a state column that holds a list of records for each group.
pub(super) fn list_type(types: &[DataType]) -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(part_fields(types)), false)))
}

/// A list of records for each group: `lengths` of them each, in `columns` behind one another.
pub(super) fn list_column(
    lengths: impl Iterator<Item = usize>,
    columns: Vec<ArrayRef>,
) -> Result<ArrayRef, OperatorError> {
    let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
    let records = StructArray::try_new(part_fields(&types), columns, None)?;
    let field = Arc::new(Field::new("item", records.data_type().clone(), false));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(records), None)?))
}

/// The way back: the group of each record, and the records' columns.
pub(super) fn list_parts(
    groups: &[u32],
    column: &ArrayRef,
) -> Result<(Vec<u32>, Vec<ArrayRef>), OperatorError> {
    let lists = column.as_list_opt::<i32>().ok_or_else(|| super::foreign_state("an aggregate"))?;
    let offsets = lists.value_offsets();
    let (first, last) = (offsets[0] as usize, offsets[lists.len()] as usize);
    let records = lists.values().as_struct();
    let columns = records.columns().iter().map(|c| c.slice(first, last - first)).collect();
    let mut owners = Vec::with_capacity(last - first);
    for (&group, pair) in groups.iter().zip(offsets.windows(2)) {
        owners.resize(owners.len() + (pair[1] - pair[0]) as usize, group);
    }
    Ok((owners, columns))
}
