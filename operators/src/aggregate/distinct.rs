//! `DISTINCT`: lets each value through to an aggregate once, when its count leaves zero, and takes
//! it back when the count returns there.
//!
//! Aggregates over different rows of one argument, as of `COUNT(DISTINCT x)` beside `COUNT(DISTINCT x)
//! FILTER (WHERE …)`, are a family: each value is looked up once for all of them.

use super::codec::ints;
use super::{Aggregate, ByValue, Entries, Rows, Values};
use crate::key_table::KeyTable;
use crate::operator::OperatorError;
use crate::snapshot::journal::Journal;
use crate::snapshot::{CHUNK_ROWS, SnapshotScope};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, StructArray, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::compute::{filter, take};
use arrow::datatypes::{DataType, Field, Fields};
use std::sync::Arc;

const NONE: u32 = u32::MAX;

/// How often each group holds each value, for each member of a family; NULLs are not values.
///
/// One table serves all groups; the values of a group are a linked list through it, so that a
/// group can be listed and dropped. A journal knows which values changed since the last snapshot.
#[derive(Debug)]
pub(super) struct ValueCounts {
    table: KeyTable,
    members: usize,
    /// By value number and member: the value's count. Between two calls one of them is not zero.
    counts: Vec<i64>,
    /// By value number: the neighbours in its group's list.
    links: Vec<Link>,
    /// By group: its first value.
    heads: Vec<u32>,
    journal: Journal,
    /// Values that the last snapshot has and that are gone, while their groups are not.
    removed: Vec<Values>,
    value_type: DataType,
    scratch: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
    is_listed: bool,
}

/// The values of some groups, those of one behind those of the other.
pub(super) struct Listed {
    /// How many each group has.
    pub(super) lengths: Vec<usize>,
    pub(super) values: ArrayRef,
    /// By member, how often it counts each value.
    pub(super) counts: Vec<Vec<i64>>,
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
    pub(super) fn new(value_type: &DataType, members: usize) -> Result<Self, OperatorError> {
        Ok(ValueCounts {
            table: KeyTable::with_owners(std::slice::from_ref(value_type))?,
            members,
            counts: Vec::new(),
            links: Vec::new(),
            heads: Vec::new(),
            journal: Journal::default(),
            removed: Vec::new(),
            value_type: value_type.clone(),
            scratch: Vec::new(),
        })
    }

    pub(super) fn resize(&mut self, groups: usize) {
        self.heads.resize(groups, NONE);
    }

    /// Numbers values without NULLs, whose counts are about to change.
    fn touch(&mut self, groups: &[u32], values: &ArrayRef) -> Result<Vec<u32>, OperatorError> {
        let numbers = self.number(groups, values)?;
        numbers.iter().for_each(|&number| self.journal.touch(number));
        Ok(numbers)
    }

    /// Numbers values without NULLs.
    fn number(&mut self, groups: &[u32], values: &ArrayRef) -> Result<Vec<u32>, OperatorError> {
        let mut numbers = std::mem::take(&mut self.scratch);
        let columns = std::slice::from_ref(values);
        self.table.insert_owned(Some(groups), columns, values.len(), &mut numbers)?;
        self.counts.resize(self.table.slots() * self.members, 0);
        self.links.resize(self.table.slots(), Link { before: NONE, after: NONE, is_listed: false });
        for (&number, &group) in numbers.iter().zip(groups) {
            if !self.links[number as usize].is_listed {
                self.link(group, number);
            }
        }
        Ok(numbers)
    }

    /// Counts rows, whose values have these numbers, for a member of the family.
    fn count(
        &mut self,
        member: usize,
        (groups, numbers): (&[u32], &[u32]),
        weighted: impl Iterator<Item = (usize, i64)>,
        emptied: &mut Vec<u32>,
    ) -> Changes {
        let mut changes = Changes::default();
        for (row, weight) in weighted {
            let number = numbers[row];
            let count = &mut self.counts[number as usize * self.members + member];
            let before = *count;
            *count += weight;
            if *count == 0 {
                emptied.push(number);
            }
            if (before > 0) != (*count > 0) {
                changes.groups.push(groups[row]);
                changes.rows.push(row as u32);
                changes.weights.push(if before > 0 { -1 } else { 1 });
            }
        }
        changes
    }

    fn counts(&self, number: u32) -> &[i64] {
        &self.counts[number as usize * self.members..][..self.members]
    }

    /// Forgets those values that nobody counts any more.
    fn forget_emptied(
        &mut self,
        mut emptied: Vec<u32>,
        numbers: Vec<u32>,
    ) -> Result<(), OperatorError> {
        self.scratch = numbers;
        emptied.sort_unstable();
        emptied.dedup();
        emptied.retain(|&number| self.counts(number).iter().all(|&count| count == 0));
        for &number in &emptied {
            self.unlink(number);
        }
        let is_saved = |number: &u32| self.journal.remove(*number);
        let saved: Vec<u32> = emptied.iter().copied().filter(is_saved).collect();
        if !saved.is_empty() {
            self.removed.push(self.values(&saved)?);
        }
        self.table.remove(&emptied);
        Ok(())
    }

    /// The values of these numbers, with their groups.
    fn values(&self, numbers: &[u32]) -> Result<Values, OperatorError> {
        let groups = numbers.iter().map(|&number| self.table.owner(number)).collect();
        Ok(Values { groups, values: self.table.keys(numbers)?.remove(0) })
    }

    /// Values with their counts.
    fn entries(&self, numbers: &[u32]) -> Result<Entries, OperatorError> {
        let column = |member: usize| -> ArrayRef {
            let counts = numbers.iter().map(|&number| self.counts(number)[member]);
            Arc::new(Int64Array::from_iter_values(counts))
        };
        let counts = (0..self.members).map(column).collect();
        Ok(Entries { of: self.values(numbers)?, counts })
    }

    /// See [`ByValue::take_changed`].
    pub(super) fn take_changed(
        &mut self,
        scope: SnapshotScope,
    ) -> Result<Vec<Entries>, OperatorError> {
        let changed = self.journal.take(scope, || self.table.groups());
        changed.chunks(CHUNK_ROWS).map(|numbers| self.entries(numbers)).collect()
    }

    /// See [`ByValue::take_removed`].
    pub(super) fn take_removed(&mut self) -> Vec<Values> {
        std::mem::take(&mut self.removed)
    }

    /// See [`ByValue::load`]. Says what that changed.
    pub(super) fn load(&mut self, entries: &Entries) -> Result<Vec<Changes>, OperatorError> {
        let Entries { of: Values { groups, values }, counts } = entries;
        let numbers = self.number(groups, values)?;
        let mut emptied = Vec::new();
        let mut changes = Vec::with_capacity(self.members);
        for (member, counts) in counts.iter().enumerate() {
            let before: Vec<i64> = numbers.iter().map(|&n| self.counts(n)[member]).collect();
            let more = ints(counts).iter().zip(before).map(|(now, before)| now - before);
            let more = more.enumerate().filter(|(_, more)| *more != 0);
            changes.push(self.count(member, (groups, &numbers), more, &mut emptied));
        }
        numbers.iter().for_each(|&number| self.journal.restored(number));
        self.forget_emptied(emptied, numbers)?;
        self.removed.clear();
        Ok(changes)
    }

    /// See [`ByValue::forget`]. Says what that changed, together with the values that it did that
    /// to.
    pub(super) fn forget(
        &mut self,
        gone: &Values,
    ) -> Result<(Vec<Changes>, ArrayRef), OperatorError> {
        let columns = std::slice::from_ref(&gone.values);
        let found = self.table.find(Some(&gone.groups), columns, gone.groups.len())?;
        let numbers: Vec<u32> = found.into_iter().flatten().collect();
        let Entries { of: Values { groups, values }, counts } = self.entries(&numbers)?;
        let mut emptied = Vec::new();
        let mut changes = Vec::with_capacity(self.members);
        for (member, counts) in counts.iter().enumerate() {
            let less = ints(counts).iter().map(|count| -count);
            let less = less.enumerate().filter(|(_, less)| *less != 0);
            changes.push(self.count(member, (&groups, &numbers), less, &mut emptied));
        }
        self.forget_emptied(emptied, numbers)?;
        self.removed.clear();
        Ok((changes, values))
    }

    /// Counts the values of `rows` that are not NULL, of each member those that its filter lets
    /// pass, and says what that changed, together with the values that [`Changes::rows`] points
    /// to.
    pub(super) fn update(
        &mut self,
        rows: &Rows<'_>,
        filters: &[Option<&BooleanArray>],
    ) -> Result<(Vec<Changes>, ArrayRef), OperatorError> {
        let Some(values) = rows.values else {
            return Err(super::foreign_state("DISTINCT without an argument"));
        };
        let masks: Vec<_> = filters.iter().map(|&filter| Rows { filter, ..*rows }.mask()).collect();
        let weight = |row: usize| rows.weights.map_or(1, |weights| weights[row]);
        let Some(counted) = union(&masks) else {
            let numbers = self.touch(rows.groups, values)?;
            return Ok((self.count_each(rows.groups, numbers, &masks, weight)?, values.clone()));
        };
        let kept: Vec<usize> = counted.set_indices().collect();
        let groups: Vec<u32> = kept.iter().map(|&row| rows.groups[row]).collect();
        let counted = BooleanArray::new(counted, None);
        let values = filter(values, &counted)?;
        let mut masks_of_kept = Vec::with_capacity(masks.len());
        for mask in masks.into_iter().flatten() {
            let mask = filter(&BooleanArray::new(mask, None), &counted)?;
            masks_of_kept.push(Some(mask.as_boolean().values().clone()));
        }
        let numbers = self.touch(&groups, &values)?;
        let weight = |row: usize| weight(kept[row]);
        Ok((self.count_each(&groups, numbers, &masks_of_kept, weight)?, values))
    }

    /// Counts rows for each member, of which it takes those in its mask.
    fn count_each(
        &mut self,
        groups: &[u32],
        numbers: Vec<u32>,
        masks: &[Option<BooleanBuffer>],
        weight: impl Fn(usize) -> i64,
    ) -> Result<Vec<Changes>, OperatorError> {
        let mut emptied = Vec::new();
        let values = (groups, numbers.as_slice());
        let changes = masks.iter().enumerate().map(|(member, mask)| match mask {
            None => {
                let all = (0..groups.len()).map(|row| (row, weight(row)));
                self.count(member, values, all, &mut emptied)
            }
            Some(mask) => {
                let some = mask.set_indices().map(|row| (row, weight(row)));
                self.count(member, values, some, &mut emptied)
            }
        });
        let changes = changes.collect();
        self.forget_emptied(emptied, numbers)?;
        Ok(changes)
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

    /// The values of each group with their counts.
    pub(super) fn list(&self, groups: &[u32]) -> Result<Listed, OperatorError> {
        let (mut all, mut lengths) = (Vec::new(), Vec::with_capacity(groups.len()));
        for &group in groups {
            let before = all.len();
            all.extend(self.numbers(group));
            lengths.push(all.len() - before);
        }
        let counts = |member: usize| all.iter().map(|&n| self.counts(n)[member]).collect();
        let counts = (0..self.members).map(counts).collect();
        Ok(Listed { lengths, values: self.table.keys(&all)?.remove(0), counts })
    }

    pub(super) fn value_type(&self) -> &DataType {
        &self.value_type
    }

    pub(super) fn state_type(&self) -> DataType {
        let counts = std::iter::repeat_n(DataType::Int64, self.members);
        list_type(&std::iter::once(self.value_type.clone()).chain(counts).collect::<Vec<_>>())
    }

    pub(super) fn state(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let Listed { lengths, values, counts } = self.list(groups)?;
        let counts =
            counts.into_iter().map(|counts| Arc::new(Int64Array::from(counts)) as ArrayRef);
        list_column(lengths.into_iter(), std::iter::once(values).chain(counts).collect())
    }

    /// Adds the values of a state column, and says what that changed.
    pub(super) fn merge(
        &mut self,
        groups: &[u32],
        state: &ArrayRef,
    ) -> Result<(Vec<Changes>, ArrayRef), OperatorError> {
        let (groups, columns) = list_parts(groups, state)?;
        let Some((values, counts)) = columns.split_first().filter(|c| c.1.len() == self.members)
        else {
            return Err(super::foreign_state("DISTINCT"));
        };
        let numbers = self.touch(&groups, values)?;
        let mut emptied = Vec::new();
        let mut changes = Vec::with_capacity(self.members);
        for (member, counts) in counts.iter().enumerate() {
            let weighted =
                ints(counts).iter().copied().enumerate().filter(|(_, count)| *count != 0);
            changes.push(self.count(member, (&groups, &numbers), weighted, &mut emptied));
        }
        self.forget_emptied(emptied, numbers)?;
        Ok((changes, values.clone()))
    }

    pub(super) fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            let numbers: Vec<u32> = self.numbers(group).collect();
            for &number in &numbers {
                self.links[number as usize].is_listed = false;
                self.counts[number as usize * self.members..][..self.members].fill(0);
                self.journal.remove(number);
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
            + self.journal.bytes()
    }
}

/// Rows that are in one of the masks, of which none means all.
fn union(masks: &[Option<BooleanBuffer>]) -> Option<BooleanBuffer> {
    let mut masks = masks.iter();
    let first = masks.next()?.clone()?;
    masks.try_fold(first, |union, mask| Some(&union | mask.as_ref()?))
}

/// Aggregates over the different values of one argument, each with a filter of its own. What they
/// hold follows from the counts, so the counts alone are the state.
pub(crate) struct Distinct {
    values: ValueCounts,
    members: Vec<Box<dyn Aggregate>>,
}

impl Distinct {
    pub(super) fn new(
        value_type: &DataType,
        members: Vec<Box<dyn Aggregate>>,
    ) -> Result<Self, OperatorError> {
        Ok(Distinct { values: ValueCounts::new(value_type, members.len())?, members })
    }

    /// Applies rows, of which each member takes those that its filter lets pass. The filter of
    /// `rows` does not count.
    pub(crate) fn update_each(
        &mut self,
        rows: &Rows<'_>,
        filters: &[Option<&BooleanArray>],
    ) -> Result<(), OperatorError> {
        let (changes, values) = self.values.update(rows, filters)?;
        self.pass_on(&changes, &values)
    }

    /// The results of each member.
    pub(crate) fn read_each(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        self.members.iter().map(|member| member.read(groups)).collect()
    }

    fn pass_on(&mut self, changes: &[Changes], values: &ArrayRef) -> Result<(), OperatorError> {
        for (member, changes) in self.members.iter_mut().zip(changes) {
            if changes.rows.is_empty() {
                continue;
            }
            let changed = take(values, &UInt32Array::from(changes.rows.clone()), None)?;
            member.update(&Rows {
                groups: &changes.groups,
                values: Some(&changed),
                weights: Some(&changes.weights),
                filter: None,
                epoch: 0,
                arrival: None,
            })?;
        }
        Ok(())
    }
}

/// As an aggregate it is its only member.
impl Aggregate for Distinct {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups);
        self.members.iter_mut().for_each(|member| member.resize(groups));
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        self.update_each(rows, &[rows.filter])
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
        self.members[0].read(groups)
    }

    fn reset(&mut self, groups: &[u32]) {
        self.values.reset(groups);
        self.members.iter_mut().for_each(|member| member.reset(groups));
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.members.iter().map(|member| member.bytes()).sum::<usize>()
    }

    fn by_value(&self) -> Option<&dyn ByValue> {
        Some(self)
    }

    fn by_value_mut(&mut self) -> Option<&mut dyn ByValue> {
        Some(self)
    }
}

impl ByValue for Distinct {
    fn value_type(&self) -> &DataType {
        self.values.value_type()
    }

    fn width(&self) -> usize {
        self.members.len()
    }

    fn take_changed(&mut self, scope: SnapshotScope) -> Result<Vec<Entries>, OperatorError> {
        self.values.take_changed(scope)
    }

    fn take_removed(&mut self) -> Result<Vec<Values>, OperatorError> {
        Ok(self.values.take_removed())
    }

    fn load(&mut self, entries: &Entries) -> Result<(), OperatorError> {
        let changes = self.values.load(entries)?;
        self.pass_on(&changes, &entries.of.values)
    }

    fn forget(&mut self, values: &Values) -> Result<(), OperatorError> {
        let (changes, values) = self.values.forget(values)?;
        self.pass_on(&changes, &values)
    }
}

fn part_fields(types: &[DataType]) -> Fields {
    let field = |(part, t): (usize, &DataType)| Field::new(format!("part_{part}"), t.clone(), true);
    types.iter().enumerate().map(field).collect()
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
