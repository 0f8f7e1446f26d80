//! Aggregate calls as DataFusion's SQL, and its answers in the engine's types.
//!
//! Integer and decimal sums are made in 38 digits and only then brought into the type of the
//! result, as the engine defines it: integers wrap, averages of integers are cut towards zero,
//! those of decimals rounded half up.

use crate::error::OracleError;
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use std::sync::Arc;
use tidemill_operators::aggregate::{AggregateCall, AggregateFunction};

/// What a call is computed over.
pub(crate) enum Scope {
    /// A group whose rows came in the order of this expression.
    Group { order: String },
    /// The frame of a row: what stands behind `OVER`.
    Frame { over: String },
}

/// The SQL of a call: one column, or two for an average, which is a sum and a count.
pub(crate) fn sql(call: &AggregateCall, scope: &Scope) -> Result<Vec<String>, OracleError> {
    use AggregateFunction::*;
    let argument = call.argument.map_or_else(|| "*".to_owned(), |column| format!("c{column}"));
    let distinct = if call.distinct { "DISTINCT " } else { "" };
    let exact = format!("CAST({argument} AS DECIMAL(38, {}))", scale(&call.input_type));
    let plain = |name: &str| simple(call, scope, &format!("{name}({distinct}{argument})"));
    Ok(match &call.function {
        CountRows => vec![simple(call, scope, "COUNT(*)")],
        Count => vec![plain("COUNT")],
        Sum if is_exact(&call.output_type) => {
            vec![simple(call, scope, &format!("SUM({distinct}{exact})"))]
        }
        Avg if is_exact(&call.output_type) => {
            let sum = simple(call, scope, &format!("SUM({distinct}{exact})"));
            vec![sum, plain("COUNT")]
        }
        Sum => vec![plain("SUM")],
        Avg => vec![plain("AVG")],
        Min | SingleValue => vec![plain("MIN")],
        Max => vec![plain("MAX")],
        VarPop => vec![plain("VAR_POP")],
        VarSamp => vec![plain("VAR_SAMP")],
        StddevPop => vec![plain("STDDEV_POP")],
        StddevSamp => vec![plain("STDDEV_SAMP")],
        First => vec![ordered(call, scope, &argument, "FIRST_VALUE")],
        Last => vec![ordered(call, scope, &argument, "LAST_VALUE")],
        ListAgg { separator } => {
            let separator = separator.replace('\'', "''");
            vec![in_order(call, scope, "STRING_AGG", &format!("{argument}, '{separator}'"))?]
        }
        ArrayAgg => vec![in_order(call, scope, "ARRAY_AGG", &argument)?],
        ApproxCountDistinct => {
            let reason = "APPROX_COUNT_DISTINCT is an estimate: there is no one right answer";
            return Err(OracleError::Unsupported(reason.to_owned()));
        }
        Collect => {
            return Err(OracleError::Unsupported("COLLECT has no batch counterpart".to_owned()));
        }
    })
}

fn simple(call: &AggregateCall, scope: &Scope, function: &str) -> String {
    let filter =
        call.filter.map_or_else(String::new, |column| format!(" FILTER (WHERE c{column})"));
    match scope {
        Scope::Group { .. } => format!("{function}{filter}"),
        Scope::Frame { over } => format!("{function}{filter} OVER ({over})"),
    }
}

/// The first or the last value that is not NULL.
fn ordered(call: &AggregateCall, scope: &Scope, argument: &str, function: &str) -> String {
    let counted = call.filter.map_or_else(String::new, |column| format!(" AND c{column}"));
    match scope {
        Scope::Group { order } => format!(
            "{function}({argument} ORDER BY {order}) FILTER (WHERE {argument} IS NOT NULL{counted})"
        ),
        Scope::Frame { over } => format!(
            "{function}(CASE WHEN true{counted} THEN {argument} END) IGNORE NULLS OVER ({over})"
        ),
    }
}

fn in_order(
    call: &AggregateCall,
    scope: &Scope,
    function: &str,
    arguments: &str,
) -> Result<String, OracleError> {
    match scope {
        Scope::Group { order } if !call.distinct => {
            Ok(simple(call, scope, &format!("{function}({arguments} ORDER BY {order})")))
        }
        _ => Err(OracleError::Unsupported(format!("{function} of distinct values or in OVER"))),
    }
}

/// The result of a call from the columns that its SQL gave.
pub(crate) fn result(call: &AggregateCall, columns: &[ArrayRef]) -> Result<ArrayRef, OracleError> {
    use AggregateFunction::{Avg, Sum};
    let is_exact = matches!(call.function, Sum | Avg) && is_exact(&call.output_type);
    if !is_exact {
        return Ok(cast(&columns[0], &call.output_type)?);
    }
    let totals = cast(&columns[0], &DataType::Decimal128(38, scale(&call.input_type)))?;
    let totals = totals.as_primitive::<Decimal128Type>();
    let counts = columns.get(1).map(|counts| counts.as_primitive::<Int64Type>());
    match call.output_type {
        DataType::Decimal128(_, to) => {
            let from = scale(&call.input_type);
            Ok(Arc::new(
                decimals(totals, counts, from, to).with_data_type(call.output_type.clone()),
            ))
        }
        _ => integers(totals, counts, &call.output_type),
    }
}

/// Whether a sum or average in this type is exact arithmetic.
fn is_exact(output: &DataType) -> bool {
    output.is_integer() || matches!(output, DataType::Decimal128(..))
}

fn scale(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

fn value<T: arrow::datatypes::ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    row: usize,
) -> Option<T::Native> {
    values.is_valid(row).then(|| values.value(row))
}

fn decimals(
    totals: &Decimal128Array,
    counts: Option<&Int64Array>,
    from: i8,
    to: i8,
) -> Decimal128Array {
    let rows = 0..totals.len();
    let result = |row| {
        let total = value(totals, row)?;
        let raised = |places: i8| 10i128.checked_pow(u32::from(places.max(0).unsigned_abs()));
        let numerator = total.checked_mul(raised(to - from)?)?;
        let count = counts.map_or(1, |counts| i128::from(counts.value(row)));
        let denominator = count.checked_mul(raised(from - to)?)?;
        let half = if numerator < 0 { -(denominator / 2) } else { denominator / 2 };
        numerator.checked_add(half)?.checked_div(denominator)
    };
    rows.map(result).collect()
}

fn integers(
    totals: &Decimal128Array,
    counts: Option<&Int64Array>,
    output: &DataType,
) -> Result<ArrayRef, OracleError> {
    let bits = match output {
        DataType::Int8 => 8,
        DataType::Int16 => 16,
        DataType::Int32 => 32,
        _ => 64,
    };
    let rows = 0..totals.len();
    let result = |row| {
        let total = value(totals, row)? as i64;
        let whole = match counts {
            Some(counts) => total.checked_div(counts.value(row))?,
            None => total,
        };
        // Keeps the low bits and extends their sign.
        Some(whole << (64 - bits) >> (64 - bits))
    };
    let wide: ArrayRef = Arc::new(rows.map(result).collect::<Int64Array>());
    Ok(cast(&wide, output)?)
}
