//! `SUM` and `AVG`: a running total and a count of values for each group.
//!
//! The total is kept so that taking a value back leaves what was there before: integers wrap,
//! decimals keep their carry beyond 128 bits, and floats keep NaN and infinities apart from the
//! finite sum, which they would otherwise spoil for good.

use super::{Aggregate, AggregateCall, Rows, undefined};
use crate::operator::OperatorError;
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, i256};
use hashbrown::HashMap;
use std::sync::Arc;

/// What is made of a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Sum,
    Average,
}

pub(super) fn create(
    call: &AggregateCall,
    reading: Reading,
) -> Result<Box<dyn Aggregate>, OperatorError> {
    use DataType::*;
    let output = call.output_type.clone();
    Ok(match (&call.input_type, &output) {
        (Int8 | Int16 | Int32 | Int64, Int8 | Int16 | Int32 | Int64) => {
            Box::new(Integers { cells: Vec::new(), reading, output })
        }
        (Decimal128(_, from), Decimal128(_, to)) => {
            Box::new(Decimals { cells: Vec::new(), scale: *from, reading, to: *to, output })
        }
        (Int8 | Int16 | Int32 | Int64, Decimal128(_, to)) => {
            Box::new(Decimals { cells: Vec::new(), scale: 0, reading, to: *to, output })
        }
        (input, Float32 | Float64) if input.is_numeric() => {
            Box::new(Floats { cells: Vec::new(), odd: HashMap::new(), reading, output })
        }
        _ => return Err(undefined(call)),
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell<T> {
    total: T,
    count: i64,
}

/// Integers wrap in 64 bits; narrower output types take the low ones, which is how they wrap.
#[derive(Debug)]
struct Integers {
    cells: Vec<Cell<i64>>,
    reading: Reading,
    output: DataType,
}

impl Aggregate for Integers {
    fn resize(&mut self, groups: usize) {
        self.cells.resize(groups, Cell::default());
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let wide = cast(values, &DataType::Int64)?;
        let values = wide.as_primitive::<Int64Type>().values();
        let cells = &mut self.cells;
        let mask = rows.mask();
        rows.each(mask.as_ref(), |row, group, weight| {
            let cell = &mut cells[group];
            cell.total = cell.total.wrapping_add(values[row].wrapping_mul(weight));
            cell.count += weight;
        });
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let totals = state[0].as_primitive::<Int64Type>().values();
        let counts = state[1].as_primitive::<Int64Type>().values();
        for (i, &group) in groups.iter().enumerate() {
            let cell = &mut self.cells[group as usize];
            cell.total = cell.total.wrapping_add(totals[i]);
            cell.count += counts[i];
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Int64]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let cells = || groups.iter().map(|&g| self.cells[g as usize]);
        Ok(vec![
            Arc::new(Int64Array::from_iter_values(cells().map(|c| c.total))),
            Arc::new(Int64Array::from_iter_values(cells().map(|c| c.count))),
        ])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let values = groups.iter().map(|&g| {
            let Cell { total, count } = self.cells[g as usize];
            (count > 0).then(|| match self.reading {
                Reading::Sum => total,
                Reading::Average => total / count,
            })
        });
        Ok(match self.output {
            DataType::Int8 => Arc::new(values.map(|v| v.map(|v| v as i8)).collect::<Int8Array>()),
            DataType::Int16 => {
                Arc::new(values.map(|v| v.map(|v| v as i16)).collect::<Int16Array>())
            }
            DataType::Int32 => {
                Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>())
            }
            _ => Arc::new(values.collect::<Int64Array>()),
        })
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            self.cells[group as usize] = Cell::default();
        }
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell<i64>>()
    }
}

/// How often each of the values that are no finite number was added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Odd {
    nans: i64,
    infinities: i64,
    negative_infinities: i64,
}

impl Odd {
    fn add(&mut self, value: f64, weight: i64) {
        match value {
            v if v.is_nan() => self.nans += weight,
            v if v > 0.0 => self.infinities += weight,
            _ => self.negative_infinities += weight,
        }
    }

    /// The sum of these and a finite number.
    fn plus(&self, finite: f64) -> f64 {
        match (self.nans, self.infinities, self.negative_infinities) {
            (0, 0, 0) => finite,
            (0, 1.., 0) => f64::INFINITY,
            (0, 0, 1..) => f64::NEG_INFINITY,
            _ => f64::NAN,
        }
    }
}

#[derive(Debug)]
struct Floats {
    cells: Vec<Cell<f64>>,
    /// Groups that hold NaN or an infinity: few, usually none.
    odd: HashMap<u32, Odd>,
    reading: Reading,
    output: DataType,
}

impl Floats {
    /// `SUM` of `FLOAT` is added in single precision, as its type promises.
    #[inline]
    fn round(single: bool, total: f64) -> f64 {
        if single { f64::from(total as f32) } else { total }
    }

    fn is_single(&self) -> bool {
        self.reading == Reading::Sum && self.output == DataType::Float32
    }
}

impl Aggregate for Floats {
    fn resize(&mut self, groups: usize) {
        self.cells.resize(groups, Cell::default());
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let wide = cast(values, &DataType::Float64)?;
        let values = wide.as_primitive::<Float64Type>().values();
        let single = self.is_single();
        let Floats { cells, odd, .. } = self;
        let mask = rows.mask();
        rows.each(mask.as_ref(), |row, group, weight| {
            let (cell, value) = (&mut cells[group], values[row]);
            cell.count += weight;
            if !value.is_finite() {
                odd.entry(group as u32).or_default().add(value, weight);
            } else {
                let addend = if weight == 1 { value } else { value * weight as f64 };
                cell.total = Floats::round(single, cell.total + addend);
            }
        });
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let totals = state[0].as_primitive::<Float64Type>().values();
        let int = |i: usize| state[i].as_primitive::<Int64Type>().values();
        let (counts, nans, above, below) = (int(1), int(2), int(3), int(4));
        let single = self.is_single();
        for (i, &group) in groups.iter().enumerate() {
            let cell = &mut self.cells[group as usize];
            cell.total = Floats::round(single, cell.total + totals[i]);
            cell.count += counts[i];
            if (nans[i], above[i], below[i]) != (0, 0, 0) {
                let odd = self.odd.entry(group).or_default();
                odd.nans += nans[i];
                odd.infinities += above[i];
                odd.negative_infinities += below[i];
            }
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        let int = DataType::Int64;
        vec![DataType::Float64, int.clone(), int.clone(), int.clone(), int]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let cells = || groups.iter().map(|&g| self.cells[g as usize]);
        let odd = || groups.iter().map(|g| self.odd.get(g).copied().unwrap_or_default());
        Ok(vec![
            Arc::new(Float64Array::from_iter_values(cells().map(|c| c.total))),
            Arc::new(Int64Array::from_iter_values(cells().map(|c| c.count))),
            Arc::new(Int64Array::from_iter_values(odd().map(|o| o.nans))),
            Arc::new(Int64Array::from_iter_values(odd().map(|o| o.infinities))),
            Arc::new(Int64Array::from_iter_values(odd().map(|o| o.negative_infinities))),
        ])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let values = groups.iter().map(|g| {
            let Cell { total, count } = self.cells[*g as usize];
            let total = self.odd.get(g).map_or(total, |odd| odd.plus(total));
            (count > 0).then(|| match self.reading {
                Reading::Sum => total,
                Reading::Average => total / count as f64,
            })
        });
        let values: ArrayRef = Arc::new(values.collect::<Float64Array>());
        Ok(cast(&values, &self.output)?)
    }

    fn reset(&mut self, groups: &[u32]) {
        for group in groups {
            self.cells[*group as usize] = Cell::default();
            self.odd.remove(group);
        }
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell<f64>>() + self.odd.allocation_size()
    }
}

/// A 128-bit total and how often it overflowed: the true total is `low + carry * 2^128`.
#[derive(Clone, Copy, Debug, Default)]
struct Wide {
    low: i128,
    carry: i64,
}

impl Wide {
    #[inline]
    fn add(&mut self, value: i128) {
        let (low, overflowed) = self.low.overflowing_add(value);
        self.low = low;
        if overflowed {
            self.carry += if value > 0 { 1 } else { -1 };
        }
    }

    /// Adds a value `weight` times; weights are nearly always one or minus one.
    #[inline]
    fn add_weighted(&mut self, value: i128, weight: i64) {
        match value.checked_mul(i128::from(weight)) {
            Some(product) => self.add(product),
            None => {
                let step = if weight > 0 { value } else { -value };
                (0..weight.unsigned_abs()).for_each(|_| self.add(step));
            }
        }
    }
}

#[derive(Debug)]
struct Decimals {
    cells: Vec<Cell<Wide>>,
    /// Digits after the point of the total.
    scale: i8,
    reading: Reading,
    /// Digits after the point of the result.
    to: i8,
    output: DataType,
}

/// The largest magnitude of 38 digits, plus one.
const LIMIT: i128 = 10i128.pow(38);

impl Decimals {
    fn result(&self, cell: Cell<Wide>) -> Option<i128> {
        let Cell { total, count } = cell;
        if count <= 0 || total.carry != 0 {
            return None;
        }
        let divisor = match self.reading {
            Reading::Sum => 1,
            Reading::Average => count,
        };
        rescale_decimal(total.low, divisor, self.scale, self.to)
    }
}

/// `total / divisor`, moved from one scale to another, rounded half away from zero; none if
/// the total or the result does not fit 38 digits.
pub(crate) fn rescale_decimal(total: i128, divisor: i64, from: i8, to: i8) -> Option<i128> {
    if total <= -LIMIT || total >= LIMIT {
        return None;
    }
    if divisor == 1 && from == to {
        return Some(total);
    }
    let (mut dividend, mut divisor) = (i256::from_i128(total), i256::from_i128(divisor.into()));
    let shift = i256::from_i128(10).checked_pow(u32::from(from.abs_diff(to)))?;
    match to >= from {
        true => dividend = dividend.checked_mul(shift)?,
        false => divisor = divisor.checked_mul(shift)?,
    }
    let twice = dividend.wrapping_abs().checked_mul(i256::from_i128(2))?;
    let rounded =
        (twice.checked_add(divisor)?).checked_div(divisor.checked_mul(i256::from_i128(2))?)?;
    let rounded = rounded.to_i128().filter(|&r| r < LIMIT)?;
    Some(if total < 0 { -rounded } else { rounded })
}

impl Aggregate for Decimals {
    fn resize(&mut self, groups: usize) {
        self.cells.resize(groups, Cell::default());
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let wide = match values.data_type() {
            DataType::Decimal128(..) => values.clone(),
            _ => cast(values, &DataType::Decimal128(38, 0))?,
        };
        let values = wide.as_primitive::<Decimal128Type>().values();
        let cells = &mut self.cells;
        let mask = rows.mask();
        rows.each(mask.as_ref(), |row, group, weight| {
            let cell = &mut cells[group];
            cell.count += weight;
            if weight == 1 {
                cell.total.add(values[row]);
            } else {
                cell.total.add_weighted(values[row], weight);
            }
        });
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let totals = state[0].as_primitive::<Decimal128Type>().values();
        let carries = state[1].as_primitive::<Int64Type>().values();
        let counts = state[2].as_primitive::<Int64Type>().values();
        for (i, &group) in groups.iter().enumerate() {
            let cell = &mut self.cells[group as usize];
            cell.total.add(totals[i]);
            cell.total.carry += carries[i];
            cell.count += counts[i];
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Decimal128(38, 0), DataType::Int64, DataType::Int64]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let cells = || groups.iter().map(|&g| self.cells[g as usize]);
        let totals = Decimal128Array::from_iter_values(cells().map(|c| c.total.low));
        Ok(vec![
            Arc::new(totals.with_data_type(DataType::Decimal128(38, 0))),
            Arc::new(Int64Array::from_iter_values(cells().map(|c| c.total.carry))),
            Arc::new(Int64Array::from_iter_values(cells().map(|c| c.count))),
        ])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let values = groups.iter().map(|&g| self.result(self.cells[g as usize]));
        let values: Decimal128Array = values.collect();
        Ok(Arc::new(values.with_data_type(self.output.clone())))
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            self.cells[group as usize] = Cell::default();
        }
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell<Wide>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::AggregateFunction;

    fn call(reading: Reading, input: DataType, output: DataType) -> Box<dyn Aggregate> {
        let call = AggregateCall {
            function: AggregateFunction::Sum,
            argument: Some(0),
            filter: None,
            distinct: false,
            input_type: input,
            output_type: output,
            name: "total".into(),
        };
        let mut aggregate = create(&call, reading).unwrap();
        aggregate.resize(1);
        aggregate
    }

    fn add(aggregate: &mut dyn Aggregate, values: ArrayRef, weights: &[i64]) {
        let groups = vec![0; values.len()];
        let rows = Rows {
            groups: &groups,
            values: Some(&values),
            weights: Some(weights),
            filter: None,
            epoch: 0,
            arrival: None,
        };
        aggregate.update(&rows).unwrap();
    }

    fn decimals(values: &[i128], scale: i8) -> ArrayRef {
        let values = Decimal128Array::from(values.to_vec());
        Arc::new(values.with_precision_and_scale(38, scale).unwrap())
    }

    #[test]
    fn a_sum_of_bytes_wraps_in_a_byte() {
        let mut sum = call(Reading::Sum, DataType::Int8, DataType::Int8);
        add(&mut *sum, Arc::new(Int8Array::from(vec![100, 100])), &[1, 1]);
        assert_eq!(sum.read(&[0]).unwrap().as_ref(), &Int8Array::from(vec![-56]) as &dyn Array);
    }

    #[test]
    fn a_decimal_sum_beyond_38_digits_is_null_until_it_fits_again() {
        let kind = DataType::Decimal128(38, 2);
        let mut sum = call(Reading::Sum, kind.clone(), kind);
        let huge = 9 * 10i128.pow(37);
        add(&mut *sum, decimals(&[huge, huge, huge, 5], 2), &[1, 1, 1, 1]);
        assert!(sum.read(&[0]).unwrap().is_null(0));
        add(&mut *sum, decimals(&[huge, huge], 2), &[-2, -1]);
        assert_eq!(sum.read(&[0]).unwrap().as_ref(), decimals(&[5], 2).as_ref());
    }

    #[test]
    fn a_decimal_average_rounds_half_away_from_zero() {
        let (input, output) = (DataType::Decimal128(10, 2), DataType::Decimal128(38, 3));
        for (values, expected) in [([1, 0, 0, 1], 5), ([1, 0, 0, 0], 3), ([-1, 0, 0, 0], -3)] {
            let mut average = call(Reading::Average, input.clone(), output.clone());
            add(&mut *average, decimals(&values, 2), &[1; 4]);
            assert_eq!(average.read(&[0]).unwrap().as_ref(), decimals(&[expected], 3).as_ref());
        }
    }

    #[test]
    fn an_infinity_that_is_taken_back_leaves_the_finite_sum() {
        let mut sum = call(Reading::Sum, DataType::Float64, DataType::Float64);
        add(&mut *sum, Arc::new(Float64Array::from(vec![1.5, f64::INFINITY])), &[1, 1]);
        let read =
            |sum: &dyn Aggregate| sum.read(&[0]).unwrap().as_primitive::<Float64Type>().value(0);
        assert_eq!(read(&*sum), f64::INFINITY);
        add(&mut *sum, Arc::new(Float64Array::from(vec![f64::NEG_INFINITY])), &[1]);
        assert!(read(&*sum).is_nan());
        let both = vec![f64::INFINITY, f64::NEG_INFINITY];
        add(&mut *sum, Arc::new(Float64Array::from(both)), &[-1, -1]);
        assert_eq!(read(&*sum), 1.5);
    }
}
