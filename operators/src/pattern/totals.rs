//! [`Total`]: an aggregate over the rows of a match that is under way.
//!
//! A condition such as `AVG(A.price) < 10` is asked of each row with that row counted in. So a total
//! goes along with each way that is followed, takes each row once, and can say what it would be
//! with one more. Its results are those of [`crate::aggregate`].

use super::formula::Width;
use super::value::Value;
use crate::aggregate::{AggregateCall, AggregateFunction, rescale_decimal};
use crate::operator::OperatorError;
use arrow::datatypes::{DataType, i256};
use std::cmp::Ordering;

/// How a total is kept and read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TotalKind {
    CountRows,
    Count,
    Integer { is_average: bool, width: Width },
    Float { is_average: bool, is_single: bool },
    Decimal { is_average: bool, from: i8, to: i8 },
    Extreme { better: Ordering },
}

impl TotalKind {
    pub(super) fn of(call: &AggregateCall) -> Result<TotalKind, OperatorError> {
        use AggregateFunction::{Avg, Count, CountRows, Max, Min, Sum};
        let is_average = call.function == Avg;
        let unknown = || {
            let text = format!("{:?} of {} in a condition", call.function, call.input_type);
            Err(OperatorError::Data(format!("{text} is not defined")))
        };
        Ok(match (&call.function, &call.output_type) {
            _ if call.distinct => return unknown(),
            (CountRows, _) => TotalKind::CountRows,
            (Count, _) => TotalKind::Count,
            (Min, _) => TotalKind::Extreme { better: Ordering::Less },
            (Max, _) => TotalKind::Extreme { better: Ordering::Greater },
            (Sum | Avg, DataType::Float64) => TotalKind::Float { is_average, is_single: false },
            (Sum | Avg, DataType::Float32) => TotalKind::Float { is_average, is_single: true },
            (Sum | Avg, DataType::Decimal128(_, to)) => match call.input_type {
                DataType::Decimal128(_, from) => TotalKind::Decimal { is_average, from, to: *to },
                _ => return unknown(),
            },
            (Sum | Avg, output) => match integer_width(output) {
                Some(width) => TotalKind::Integer { is_average, width },
                None => return unknown(),
            },
            _ => return unknown(),
        })
    }
}

fn integer_width(data_type: &DataType) -> Option<Width> {
    match data_type {
        DataType::Int8 => Some(Width::Bits8),
        DataType::Int16 => Some(Width::Bits16),
        DataType::Int32 => Some(Width::Bits32),
        DataType::Int64 => Some(Width::Bits64),
        _ => None,
    }
}

/// What has been added so far.
#[derive(Clone, Debug)]
pub(super) struct Total {
    count: i64,
    sum: Sum,
}

#[derive(Clone, Debug)]
enum Sum {
    Nothing,
    Integer(i64),
    Float(f64),
    Decimal(i256),
    Extreme(Value),
}

impl Total {
    pub(super) fn new(kind: TotalKind) -> Total {
        let sum = match kind {
            TotalKind::CountRows | TotalKind::Count => Sum::Nothing,
            TotalKind::Integer { .. } => Sum::Integer(0),
            TotalKind::Float { .. } => Sum::Float(0.0),
            TotalKind::Decimal { .. } => Sum::Decimal(i256::ZERO),
            TotalKind::Extreme { .. } => Sum::Extreme(Value::Null),
        };
        Total { count: 0, sum }
    }

    /// Counts a row in. The value is NULL where there is no argument.
    pub(super) fn add(&mut self, kind: TotalKind, value: &Value) {
        if kind == TotalKind::CountRows {
            self.count += 1;
            return;
        }
        if *value == Value::Null {
            return;
        }
        self.count += 1;
        match (&mut self.sum, value, kind) {
            (Sum::Integer(sum), Value::Integer(value), _) => *sum = sum.wrapping_add(*value),
            (Sum::Float(sum), Value::Float(value), TotalKind::Float { is_average, is_single }) => {
                *sum += value;
                // A sum is added in single precision, as its type promises; an average is not.
                if is_single && !is_average {
                    *sum = f64::from(*sum as f32);
                }
            }
            (Sum::Decimal(sum), Value::Decimal(value), _) => {
                *sum = sum.wrapping_add(i256::from_i128(*value));
            }
            (Sum::Extreme(best), value, TotalKind::Extreme { better })
                if value.compare(best).is_none_or(|order| order == better) =>
            {
                *best = value.clone();
            }
            _ => {}
        }
    }

    /// The result over all rows.
    pub(super) fn read(&self, kind: TotalKind) -> Value {
        if let TotalKind::CountRows | TotalKind::Count = kind {
            return Value::Integer(self.count);
        }
        if self.count == 0 {
            return Value::Null;
        }
        match (&self.sum, kind) {
            (Sum::Integer(sum), TotalKind::Integer { is_average, width }) => {
                let divisor = if is_average { self.count } else { 1 };
                Value::Integer(width.wrap(sum / divisor))
            }
            (Sum::Float(sum), TotalKind::Float { is_average, is_single }) => {
                let result = if is_average { sum / self.count as f64 } else { *sum };
                Value::Float(if is_single { f64::from(result as f32) } else { result })
            }
            (Sum::Decimal(sum), TotalKind::Decimal { is_average, from, to }) => {
                let divisor = if is_average { self.count } else { 1 };
                let result = sum.to_i128().and_then(|sum| rescale_decimal(sum, divisor, from, to));
                result.map_or(Value::Null, Value::Decimal)
            }
            (Sum::Extreme(best), _) => best.clone(),
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Retraction, Rows, create};
    use crate::pattern::value::ValueCodec;
    use arrow::array::{Array, ArrayRef, Decimal128Array, Float64Array, Int32Array, StringArray};
    use arrow::compute::concat;
    use std::sync::Arc;

    fn call(function: AggregateFunction, input: DataType, output: DataType) -> AggregateCall {
        AggregateCall {
            name: format!("{function:?}"),
            argument: (function != AggregateFunction::CountRows).then_some(0),
            function,
            filter: None,
            distinct: false,
            input_type: input,
            output_type: output,
        }
    }

    /// The results over the first row, the first two, and so on, as an aggregate gives them.
    fn expected(call: &AggregateCall, column: &ArrayRef) -> ArrayRef {
        let upto = |rows: usize| {
            let mut aggregate = create(call, Retraction::Never).unwrap();
            aggregate.resize(1);
            let values = column.slice(0, rows);
            let rows = Rows {
                groups: &vec![0; rows],
                values: call.argument.map(|_| &values),
                weights: None,
                filter: None,
                epoch: 0,
                arrival: None,
            };
            aggregate.update(&rows).unwrap();
            aggregate.read(&[0]).unwrap()
        };
        let all: Vec<ArrayRef> = (0..=column.len()).map(upto).collect();
        concat(&all.iter().map(|a| a.as_ref() as &dyn Array).collect::<Vec<_>>()).unwrap()
    }

    fn check(function: AggregateFunction, column: &ArrayRef, output: &DataType) {
        let call = call(function, column.data_type().clone(), output.clone());
        let kind = TotalKind::of(&call).unwrap();
        let (input, output) =
            (ValueCodec::new(column.data_type()).unwrap(), ValueCodec::new(output).unwrap());
        let mut total = Total::new(kind);
        let mut results = vec![output.column(&total.read(kind)).unwrap()];
        for value in input.read(column).unwrap() {
            total.add(kind, &value);
            results.push(output.column(&total.read(kind)).unwrap());
        }
        let results: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
        assert_eq!(&concat(&results).unwrap(), &expected(&call, column), "{call:?}");
    }

    #[test]
    fn a_total_is_what_the_aggregate_gives_over_the_same_rows() {
        use AggregateFunction::{Avg, Count, CountRows, Max, Min, Sum};
        let ints: ArrayRef =
            Arc::new(Int32Array::from(vec![None, Some(7), Some(i32::MAX), Some(-3)]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-2.5)]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("a")]));
        let limit = 10i128.pow(38) - 1;
        let decimals = Decimal128Array::from(vec![None, Some(limit), Some(limit), Some(-limit)]);
        let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(38, 2).unwrap());
        for (column, sum, average) in [
            (&ints, DataType::Int32, DataType::Int32),
            (&floats, DataType::Float64, DataType::Float64),
            (&decimals, DataType::Decimal128(38, 2), DataType::Decimal128(38, 6)),
        ] {
            check(Sum, column, &sum);
            check(Avg, column, &average);
        }
        for column in [&ints, &floats, &texts, &decimals] {
            check(CountRows, column, &DataType::Int64);
            check(Count, column, &DataType::Int64);
            check(Min, column, column.data_type());
            check(Max, column, column.data_type());
        }
    }
}
