//! Aggregates that need all values in order of arrival: `LISTAGG`, `ARRAY_AGG`, the value of a
//! scalar sub-query, and `FIRST_VALUE` / `LAST_VALUE` of rows that may go again.
//!
//! A deletion takes away the earliest equal value, as Flink does. One that comes before its
//! insertion (possible within an epoch only) is remembered and swallows it.

use super::codec::{Codec, ints};
use super::distinct::{list_column, list_parts, list_type};
use super::{Aggregate, AggregateCall, AggregateFunction, Retraction, Rows};
use crate::operator::OperatorError;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, StringBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Epoch, arrival within it, and the order in which values were applied.
type Position = (i64, i64, u64);

pub(super) fn create<C: Codec>(
    codec: C,
    call: &AggregateCall,
    retraction: Retraction,
) -> Box<dyn Aggregate> {
    Box::new(Ordered {
        codec,
        call: call.clone(),
        retraction,
        groups: Vec::new(),
        clock: 0,
        held: 0,
    })
}

/// The values of one group. NULL is a value where the function keeps it.
#[derive(Debug)]
struct Sequence<V> {
    values: BTreeMap<Position, Option<V>>,
    /// Where each value stands; kept only if rows may go.
    places: HashMap<Option<V>, Places>,
}

#[derive(Debug, Default)]
struct Places {
    positions: BTreeSet<Position>,
    /// Deletions that wait for their insertion.
    owed: u64,
}

impl<V> Default for Sequence<V> {
    fn default() -> Self {
        Sequence { values: BTreeMap::new(), places: HashMap::new() }
    }
}

#[derive(Debug)]
struct Ordered<C: Codec> {
    codec: C,
    call: AggregateCall,
    retraction: Retraction,
    groups: Vec<Sequence<C::Value>>,
    clock: u64,
    held: usize,
}

impl<C: Codec> Ordered<C> {
    fn keeps_nulls(&self) -> bool {
        matches!(self.call.function, AggregateFunction::ArrayAgg | AggregateFunction::SingleValue)
    }

    fn entry_bytes(value: &Option<C::Value>) -> usize {
        size_of::<(Position, Option<C::Value>)>() + value.as_ref().map_or(0, C::heap)
    }

    fn insert(&mut self, group: usize, (epoch, arrival): (i64, i64), value: Option<C::Value>) {
        let position = (epoch, arrival, self.clock);
        self.clock += 1;
        let sequence = &mut self.groups[group];
        if self.retraction == Retraction::Possible {
            let places = sequence.places.entry(value.clone()).or_default();
            if places.owed > 0 {
                places.owed -= 1;
                if places.owed == 0 && places.positions.is_empty() {
                    sequence.places.remove(&value);
                }
                return;
            }
            places.positions.insert(position);
        }
        self.held += Self::entry_bytes(&value);
        sequence.values.insert(position, value);
    }

    fn remove(&mut self, group: usize, value: Option<C::Value>) {
        debug_assert_eq!(self.retraction, Retraction::Possible, "append-only rows do not go");
        let sequence = &mut self.groups[group];
        let places = sequence.places.entry(value.clone()).or_default();
        match places.positions.pop_first() {
            None => places.owed += 1,
            Some(position) => {
                self.held -= Self::entry_bytes(&value);
                sequence.values.remove(&position);
                if places.positions.is_empty() && places.owed == 0 {
                    sequence.places.remove(&value);
                }
            }
        }
    }

    /// The values of a group that show in its result.
    fn shown(&self, group: u32) -> Vec<Option<&C::Value>> {
        let values = self.groups[group as usize].values.values().map(Option::as_ref);
        if !self.call.distinct {
            return values.collect();
        }
        let mut seen = hashbrown::HashSet::new();
        values.filter(|v| seen.insert(*v)).collect()
    }

    /// One value, or none, for each group.
    fn single<'a>(
        &'a self,
        groups: &'a [u32],
        pick: impl Fn(&'a Sequence<C::Value>) -> Option<&'a Option<C::Value>> + 'a,
    ) -> Result<ArrayRef, OperatorError> {
        let picked = |&g: &u32| pick(&self.groups[g as usize]).and_then(Option::as_ref);
        self.codec.array(&mut groups.iter().map(picked))
    }

    fn list(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let shown: Vec<_> = groups.iter().map(|&g| self.shown(g)).collect();
        let values = self.codec.array(&mut shown.iter().flatten().copied())?;
        let offsets = OffsetBuffer::from_lengths(shown.iter().map(Vec::len));
        let nulls = NullBuffer::from_iter(shown.iter().map(|s| !s.is_empty()));
        let field = match &self.call.output_type {
            DataType::List(field) => field.clone(),
            _ => return Err(super::undefined(&self.call)),
        };
        Ok(Arc::new(ListArray::try_new(field, offsets, values, Some(nulls))?))
    }

    fn joined(&self, groups: &[u32], separator: &str) -> Result<ArrayRef, OperatorError> {
        let shown: Vec<_> = groups.iter().map(|&g| self.shown(g)).collect();
        let values = self.codec.array(&mut shown.iter().flatten().copied())?;
        let values = arrow::compute::cast(&values, &DataType::Utf8)?;
        let strings = values.as_string::<i32>();
        let mut rows = 0..strings.len();
        let mut result = StringBuilder::with_capacity(groups.len(), strings.value_data().len());
        let mut text = String::new();
        for group in &shown {
            text.clear();
            for (i, row) in rows.by_ref().take(group.len()).enumerate() {
                text.push_str(if i == 0 { "" } else { separator });
                text.push_str(strings.value(row));
            }
            result.append_option((!group.is_empty()).then_some(&text));
        }
        Ok(Arc::new(result.finish()))
    }
}

impl<C: Codec> Aggregate for Ordered<C> {
    fn resize(&mut self, groups: usize) {
        self.groups.resize_with(groups, Sequence::default);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let column = self.codec.column(values)?;
        let mask = if self.keeps_nulls() { rows.filter_mask() } else { rows.mask() };
        let nulls = values.logical_nulls();
        rows.each(mask.as_ref(), |row, group, weight| {
            let valid = nulls.as_ref().is_none_or(|n| n.is_valid(row));
            let value = valid.then(|| C::own(self.codec.get(&column, row)));
            for _ in 0..weight.unsigned_abs() {
                if weight > 0 {
                    self.insert(group, rows.position(row), value.clone());
                } else {
                    self.remove(group, value.clone());
                }
            }
        });
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let (groups, columns) = list_parts(groups, &state[0])?;
        let (epochs, arrivals, owed) = (ints(&columns[0]), ints(&columns[1]), ints(&columns[2]));
        let column = self.codec.column(&columns[3])?;
        for (row, &group) in groups.iter().enumerate() {
            let valid = columns[3].is_valid(row);
            let value = valid.then(|| C::own(self.codec.get(&column, row)));
            if owed[row] == 0 {
                self.insert(group as usize, (epochs[row], arrivals[row]), value);
            } else {
                (0..owed[row]).for_each(|_| self.remove(group as usize, value.clone()));
            }
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        let (int, value) = (DataType::Int64, self.codec.data_type().clone());
        vec![list_type(&[int.clone(), int.clone(), int, value])]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        // Epoch, arrival, how many deletions are owed (none for a value that is there), value.
        let mut parts: [Vec<i64>; 3] = Default::default();
        let (mut values, mut lengths) = (Vec::new(), Vec::with_capacity(groups.len()));
        for &group in groups {
            let sequence = &self.groups[group as usize];
            let before = values.len();
            let present = sequence.values.iter().map(|(p, v)| ((p.0, p.1, 0), v));
            let owed = sequence.places.iter().filter(|(_, p)| p.owed > 0);
            let owed = owed.map(|(value, places)| ((0, 0, places.owed as i64), value));
            for ((epoch, arrival, owed), value) in present.chain(owed) {
                parts[0].push(epoch);
                parts[1].push(arrival);
                parts[2].push(owed);
                values.push(value.as_ref());
            }
            lengths.push(values.len() - before);
        }
        let mut columns: Vec<ArrayRef> =
            parts.into_iter().map(|p| Arc::new(Int64Array::from(p)) as ArrayRef).collect();
        columns.push(self.codec.array(&mut values.into_iter())?);
        Ok(vec![list_column(lengths.into_iter(), columns)?])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        match &self.call.function {
            AggregateFunction::ListAgg { separator } => self.joined(groups, separator),
            AggregateFunction::ArrayAgg => self.list(groups),
            AggregateFunction::Last => {
                self.single(groups, |s| s.values.last_key_value().map(|(_, v)| v))
            }
            AggregateFunction::SingleValue
                if groups.iter().any(|&g| self.groups[g as usize].values.len() > 1) =>
            {
                Err(OperatorError::Data("a scalar sub-query returned more than one row".into()))
            }
            _ => self.single(groups, |s| s.values.first_key_value().map(|(_, v)| v)),
        }
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            let sequence = std::mem::take(&mut self.groups[group as usize]);
            self.held -= sequence.values.values().map(Self::entry_bytes).sum::<usize>();
        }
    }

    fn bytes(&self) -> usize {
        let copies = if self.retraction == Retraction::Possible { 2 } else { 1 };
        self.groups.capacity() * size_of::<Sequence<C::Value>>() + self.held * copies
    }
}
