//! `COLLECT`: a multiset, as a map from value to count, in the order of the values.

use super::distinct::{Listed, ValueCounts};
use super::{Aggregate, AggregateCall, ByValue, Entries, Rows, Values, undefined};
use crate::operator::OperatorError;
use crate::snapshot::SnapshotScope;
use arrow::array::{Array, ArrayRef, Int64Array, MapArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, FieldRef};
use arrow::row::{RowConverter, SortField};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Collect {
    values: ValueCounts,
    /// Whether a value counts once however often it came.
    is_set: bool,
    entries: FieldRef,
}

impl Collect {
    pub(super) fn new(call: &AggregateCall) -> Result<Self, OperatorError> {
        let DataType::Map(entries, _) = &call.output_type else { return Err(undefined(call)) };
        let values = ValueCounts::new(&call.input_type, 1)?;
        Ok(Collect { values, is_set: call.distinct, entries: entries.clone() })
    }
}

/// The rows of `values`, each run of `lengths` of them sorted by value.
fn sorted(lengths: &[usize], values: &ArrayRef) -> Result<Vec<u32>, OperatorError> {
    let converter = RowConverter::new(vec![SortField::new(values.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(values))?;
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    let mut rest = &mut order[..];
    for &length in lengths {
        let (run, behind) = rest.split_at_mut(length);
        run.sort_unstable_by(|&a, &b| rows.row(a as usize).cmp(&rows.row(b as usize)));
        rest = behind;
    }
    Ok(order)
}

impl Aggregate for Collect {
    fn resize(&mut self, groups: usize) {
        self.values.resize(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        self.values.update(rows, &[rows.filter]).map(|_| ())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        self.values.merge(groups, &state[0]).map(|_| ())
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.values.state_type()]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        Ok(vec![self.values.state(groups)?])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let Listed { mut lengths, values, mut counts } = self.values.list(groups)?;
        let counts = counts.remove(0);
        let mut order = sorted(&lengths, &values)?;
        if counts.iter().any(|&c| c < 0) {
            // A deletion waits for its insertion: the value is not there.
            let mut row = 0;
            for length in &mut lengths {
                let run = &order[row..row + *length];
                row += *length;
                *length = run.iter().filter(|&&i| counts[i as usize] > 0).count();
            }
            order.retain(|&i| counts[i as usize] > 0);
        }
        let count = |&i: &u32| if self.is_set { 1 } else { counts[i as usize] };
        let counts: ArrayRef = Arc::new(order.iter().map(count).collect::<Int64Array>());
        let DataType::Struct(fields) = self.entries.data_type() else {
            return Err(super::foreign_state("COLLECT"));
        };
        let values = take(&values, &UInt32Array::from(order), None)?;
        let columns =
            vec![cast(&values, fields[0].data_type())?, cast(&counts, fields[1].data_type())?];
        let entries = StructArray::try_new(fields.clone(), columns, None)?;
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(MapArray::try_new(self.entries.clone(), offsets, entries, None, false)?))
    }

    fn reset(&mut self, groups: &[u32]) {
        self.values.reset(groups);
    }

    fn bytes(&self) -> usize {
        self.values.bytes()
    }

    fn by_value(&self) -> Option<&dyn ByValue> {
        Some(self)
    }

    fn by_value_mut(&mut self) -> Option<&mut dyn ByValue> {
        Some(self)
    }
}

impl ByValue for Collect {
    fn value_type(&self) -> &DataType {
        self.values.value_type()
    }

    fn width(&self) -> usize {
        1
    }

    fn take_changed(&mut self, scope: SnapshotScope) -> Result<Vec<Entries>, OperatorError> {
        self.values.take_changed(scope)
    }

    fn take_removed(&mut self) -> Result<Vec<Values>, OperatorError> {
        Ok(self.values.take_removed())
    }

    fn load(&mut self, entries: &Entries) -> Result<(), OperatorError> {
        self.values.load(entries).map(|_| ())
    }

    fn forget(&mut self, values: &Values) -> Result<(), OperatorError> {
        self.values.forget(values).map(|_| ())
    }
}
