//! `VAR_POP`, `VAR_SAMP`, `STDDEV_POP`, `STDDEV_SAMP`: count, sum and sum of squares.
//!
//! The result is `(sum(x*x) - sum(x)*sum(x)/n) / n`, of integers exactly and then cut. For floats
//! the sums are kept around the group's first value, which leaves the result as it is and saves it
//! from cancellation.

use super::{Aggregate, AggregateCall, AggregateFunction, Rows, undefined};
use crate::operator::OperatorError;
use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use std::sync::Arc;

pub(super) fn create(call: &AggregateCall) -> Result<Box<dyn Aggregate>, OperatorError> {
    let (function, output) = (call.function.clone(), call.output_type.clone());
    Ok(match (call.input_type.is_integer(), output.is_integer()) {
        (true, true) => Box::new(Integers { cells: Vec::new(), function, output }),
        _ if call.input_type.is_numeric() && output.is_numeric() => {
            Box::new(Floats { cells: Vec::new(), function, output })
        }
        _ => return Err(undefined(call)),
    })
}

/// What the sum of squared deviations is divided by; none if there is no result.
fn divisor(function: &AggregateFunction, count: i64) -> Option<i64> {
    use AggregateFunction::{StddevSamp, VarSamp};
    let divisor = if matches!(function, VarSamp | StddevSamp) { count - 1 } else { count };
    (divisor > 0).then_some(divisor)
}

fn is_root(function: &AggregateFunction) -> bool {
    matches!(function, AggregateFunction::StddevPop | AggregateFunction::StddevSamp)
}

#[derive(Clone, Copy, Debug, Default)]
struct Exact {
    count: i64,
    sum: i128,
    squares: i128,
}

#[derive(Debug)]
struct Integers {
    cells: Vec<Exact>,
    function: AggregateFunction,
    output: DataType,
}

impl Integers {
    fn result(&self, cell: Exact) -> Option<i64> {
        let Exact { count, sum, squares } = cell;
        let divisor = i128::from(divisor(&self.function, count)?);
        let count = i128::from(count);
        // n * sum(x*x) - sum(x)^2, over n times the divisor; NULL beyond 128 bits.
        let deviations = count.checked_mul(squares)?.checked_sub(sum.checked_mul(sum)?)?;
        let variance = deviations / count.checked_mul(divisor)?;
        let result = if is_root(&self.function) { variance.max(0).isqrt() } else { variance };
        Some(result as i64)
    }
}

impl Aggregate for Integers {
    fn resize(&mut self, groups: usize) {
        self.cells.resize(groups, Exact::default());
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let wide = cast(values, &DataType::Int64)?;
        let values = wide.as_primitive::<Int64Type>().values();
        let cells = &mut self.cells;
        let mask = rows.mask();
        rows.each(mask.as_ref(), |row, group, weight| {
            let (cell, value, weight128) =
                (&mut cells[group], i128::from(values[row]), i128::from(weight));
            cell.count += weight;
            cell.sum = cell.sum.wrapping_add(value.wrapping_mul(weight128));
            cell.squares = cell.squares.wrapping_add((value * value).wrapping_mul(weight128));
        });
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let counts = state[0].as_primitive::<Int64Type>().values();
        let sums = state[1].as_primitive::<Decimal128Type>().values();
        let squares = state[2].as_primitive::<Decimal128Type>().values();
        for (i, &group) in groups.iter().enumerate() {
            let cell = &mut self.cells[group as usize];
            cell.count += counts[i];
            cell.sum = cell.sum.wrapping_add(sums[i]);
            cell.squares = cell.squares.wrapping_add(squares[i]);
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        let wide = DataType::Decimal128(38, 0);
        vec![DataType::Int64, wide.clone(), wide]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let cells = || groups.iter().map(|&g| self.cells[g as usize]);
        let wide = |values: Decimal128Array| -> ArrayRef {
            Arc::new(values.with_data_type(DataType::Decimal128(38, 0)))
        };
        Ok(vec![
            Arc::new(Int64Array::from_iter_values(cells().map(|c| c.count))),
            wide(Decimal128Array::from_iter_values(cells().map(|c| c.sum))),
            wide(Decimal128Array::from_iter_values(cells().map(|c| c.squares))),
        ])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let results = groups.iter().map(|&g| self.result(self.cells[g as usize]));
        let results: ArrayRef = Arc::new(results.collect::<Int64Array>());
        Ok(cast(&results, &self.output)?)
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            self.cells[group as usize] = Exact::default();
        }
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Exact>()
    }
}

/// Sums of `x - origin` and its square.
#[derive(Clone, Copy, Debug, Default)]
struct Shifted {
    count: i64,
    origin: f64,
    sum: f64,
    squares: f64,
}

impl Shifted {
    /// Whether no value is in it. A count of zero alone doesn't say so: a deletion may come before
    /// its insertion.
    #[inline]
    fn is_empty(&self) -> bool {
        self.count == 0 && self.sum == 0.0 && self.squares == 0.0
    }

    #[inline]
    fn add(&mut self, value: f64, weight: i64) {
        if self.is_empty() {
            *self =
                Shifted { origin: if value.is_finite() { value } else { 0.0 }, ..Self::default() };
        }
        let (x, w) = (value - self.origin, weight as f64);
        self.count += weight;
        self.sum += x * w;
        self.squares += x * x * w;
    }

    /// The same values around another origin.
    fn moved_to(self, origin: f64) -> Shifted {
        let (by, n) = (self.origin - origin, self.count as f64);
        Shifted {
            count: self.count,
            origin,
            sum: self.sum + by * n,
            squares: self.squares + 2.0 * by * self.sum + by * by * n,
        }
    }
}

#[derive(Debug)]
struct Floats {
    cells: Vec<Shifted>,
    function: AggregateFunction,
    output: DataType,
}

impl Floats {
    fn result(&self, cell: Shifted) -> Option<f64> {
        let divisor = divisor(&self.function, cell.count)?;
        let deviations = cell.squares - cell.sum * cell.sum / cell.count as f64;
        // Rounding may leave a little less than nothing; NaN stays NaN.
        let variance = if deviations < 0.0 { 0.0 } else { deviations / divisor as f64 };
        Some(if is_root(&self.function) { variance.sqrt() } else { variance })
    }
}

impl Aggregate for Floats {
    fn resize(&mut self, groups: usize) {
        self.cells.resize(groups, Shifted::default());
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<(), OperatorError> {
        let Some(values) = rows.values else { return Ok(()) };
        let wide = cast(values, &DataType::Float64)?;
        let values = wide.as_primitive::<Float64Type>().values();
        let cells = &mut self.cells;
        let mask = rows.mask();
        rows.each(mask.as_ref(), |row, group, weight| cells[group].add(values[row], weight));
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<(), OperatorError> {
        let counts = state[0].as_primitive::<Int64Type>().values();
        let float = |i: usize| state[i].as_primitive::<Float64Type>().values();
        let (origins, sums, squares) = (float(1), float(2), float(3));
        for (i, &group) in groups.iter().enumerate() {
            let (count, origin) = (counts[i], origins[i]);
            let more = Shifted { count, origin, sum: sums[i], squares: squares[i] };
            let cell = &mut self.cells[group as usize];
            if cell.is_empty() {
                *cell = more;
            } else {
                let more = more.moved_to(cell.origin);
                cell.count += more.count;
                cell.sum += more.sum;
                cell.squares += more.squares;
            }
        }
        Ok(())
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64, DataType::Float64, DataType::Float64, DataType::Float64]
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        let cells = || groups.iter().map(|&g| self.cells[g as usize]);
        Ok(vec![
            Arc::new(Int64Array::from_iter_values(cells().map(|c| c.count))),
            Arc::new(Float64Array::from_iter_values(cells().map(|c| c.origin))),
            Arc::new(Float64Array::from_iter_values(cells().map(|c| c.sum))),
            Arc::new(Float64Array::from_iter_values(cells().map(|c| c.squares))),
        ])
    }

    fn read(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let results = groups.iter().map(|&g| self.result(self.cells[g as usize]));
        let results: ArrayRef = Arc::new(results.collect::<Float64Array>());
        Ok(cast(&results, &self.output)?)
    }

    fn reset(&mut self, groups: &[u32]) {
        for &group in groups {
            self.cells[group as usize] = Shifted::default();
        }
    }

    fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Shifted>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variance_of_integers_is_exact_before_it_is_cut() {
        let result = |function, values: &[i128]| {
            let cell = Exact {
                count: values.len() as i64,
                sum: values.iter().sum(),
                squares: values.iter().map(|v| v * v).sum(),
            };
            let output = DataType::Int64;
            Integers { cells: Vec::new(), function, output }.result(cell)
        };
        use AggregateFunction::{StddevPop, VarPop, VarSamp};
        // 8/9, though 4 - 4/3 cut to 4 - 1 would make it one.
        assert_eq!(result(VarPop, &[0, 0, 2]), Some(0));
        assert_eq!(result(VarSamp, &[0, 0, 2]), Some(1));
        assert_eq!(result(VarSamp, &[7]), None);
        assert_eq!(result(StddevPop, &[0, 10]), Some(5));
    }

    #[test]
    fn a_deletion_that_is_merged_before_its_insertion_takes_it_out() {
        let function = AggregateFunction::VarPop;
        let floats = || Floats {
            cells: vec![Shifted::default()],
            function: function.clone(),
            output: DataType::Float64,
        };
        let of = |rows: &[(f64, i64)]| {
            let mut floats = floats();
            rows.iter().for_each(|&(value, weight)| floats.cells[0].add(value, weight));
            floats.state(&[0]).unwrap()
        };
        let mut whole = floats();
        for part in [of(&[(3.0, 1), (5.0, -1)]), of(&[(5.0, 1), (7.0, 1)])] {
            whole.merge(&[0], &part).unwrap();
        }
        assert_eq!(whole.result(whole.cells[0]), Some(4.0));
    }

    #[test]
    fn far_values_close_together_keep_their_variance() {
        let mut cell = Shifted::default();
        let values = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0];
        values.iter().for_each(|&v| cell.add(v, 1));
        let function = AggregateFunction::VarPop;
        let floats = Floats { cells: Vec::new(), function, output: DataType::Float64 };
        assert_eq!(floats.result(cell), Some(22.5));
        cell.add(1e9 + 16.0, -1);
        cell.add(1e9 + 13.0, -1);
        assert_eq!(floats.result(cell), Some(2.25));
    }
}
