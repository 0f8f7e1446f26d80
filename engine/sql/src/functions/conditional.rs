//! Functions that choose among their arguments, all of which they evaluate, and the common type
//! they choose in. Those that evaluate only what they need are no functions but `CASE`: see
//! `planner/bind/call.rs`.

use super::function::{Definition, Kind, Takes, gives_boolean, gives_first, sql_type_name};
use super::values::Call;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::kernels::cmp;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, plan_err};
use std::sync::Arc;

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("GREATEST", Takes::Custom(coerce_common), gives_first, greatest),
    Definition::new("LEAST", Takes::Custom(coerce_common), gives_first, least),
    Definition::new("IS_ALPHA", Takes::Fixed(&[Kind::Text], &[]), gives_boolean, is_alpha),
    Definition::new("IS_DECIMAL", Takes::Fixed(&[Kind::Text], &[]), gives_boolean, is_decimal),
    Definition::new("IS_DIGIT", Takes::Fixed(&[Kind::Text], &[]), gives_boolean, is_digit),
];

/// An exact number's digits, all and behind the point.
pub(super) fn as_decimal(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

/// The type that values of all these types can be brought to, as in Flink; `None` if there is
/// none. NULLs fit any.
pub(super) fn common_type(types: &[DataType]) -> Option<DataType> {
    let mut types = types.iter().filter(|data_type| !data_type.is_null());
    let Some(first) = types.next() else { return Some(DataType::Null) };
    types.try_fold(first.clone(), |left, right| common_of_two(&left, right))
}

fn common_of_two(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType as T;
    if left == right {
        return Some(left.clone());
    }
    let is_text = |given: &DataType| matches!(given, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    match (left, right) {
        _ if is_text(left) && is_text(right) => Some(T::Utf8),
        _ if left.is_numeric() && right.is_numeric() => Some(common_number(left, right)),
        (T::Timestamp(a, zone_a), T::Timestamp(b, zone_b)) => {
            // An instant and a wall clock's time meet as instants.
            let zone = zone_a.clone().or_else(|| zone_b.clone());
            Some(T::Timestamp(finer(*a, *b), zone))
        }
        (T::Date32, timestamp @ T::Timestamp(..)) | (timestamp @ T::Timestamp(..), T::Date32) => {
            Some(timestamp.clone())
        }
        (T::List(a), T::List(b)) => {
            Some(T::new_list(common_of_two(a.data_type(), b.data_type())?, true))
        }
        _ => None,
    }
}

fn common_number(left: &DataType, right: &DataType) -> DataType {
    use DataType as T;
    match (as_decimal(left), as_decimal(right)) {
        (Some(a), Some(b)) if left.is_integer() && right.is_integer() => {
            if a.0 >= b.0 {
                left.clone()
            } else {
                right.clone()
            }
        }
        (Some((p1, s1)), Some((p2, s2))) => {
            let scale = s1.max(s2);
            let whole = (p1 as i8 - s1).max(p2 as i8 - s2);
            T::Decimal128((whole + scale).min(38) as u8, scale)
        }
        (None, None) if left == right => left.clone(),
        // A FLOAT with an integer is a FLOAT; with a decimal or a DOUBLE it is a DOUBLE.
        (None, Some(_)) if *left == T::Float32 && right.is_integer() => T::Float32,
        (Some(_), None) if *right == T::Float32 && left.is_integer() => T::Float32,
        _ => T::Float64,
    }
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    use super::time::local::units_per_second;
    if units_per_second(a) >= units_per_second(b) { a } else { b }
}

fn common_or_error(name: &str, types: &[DataType]) -> Result<DataType> {
    match common_type(types) {
        Some(common) => Ok(common),
        None => {
            let names: Vec<String> = types.iter().map(sql_type_name).collect();
            plan_err!("{name}: no common type of {}; CAST them to one", names.join(", "))
        }
    }
}

fn coerce_common(name: &str, given: &[DataType]) -> Result<Vec<DataType>> {
    if given.is_empty() {
        return plan_err!("{name} takes 1 or more arguments, not 0");
    }
    Ok(vec![common_or_error(name, given)?; given.len()])
}

fn greatest(call: &Call<'_>) -> Result<ArrayRef> {
    extreme(call, |candidate, best| cmp::gt(candidate, best))
}

fn least(call: &Call<'_>) -> Result<ArrayRef> {
    extreme(call, |candidate, best| cmp::lt(candidate, best))
}

/// NULL if any argument is NULL, as in Flink.
fn extreme(
    call: &Call<'_>,
    is_better: impl Fn(&ArrayRef, &ArrayRef) -> Result<BooleanArray, arrow::error::ArrowError>,
) -> Result<ArrayRef> {
    let mut best = call.column(0)?;
    if best.data_type().is_null() {
        return Ok(best);
    }
    for index in 1..call.count() {
        let candidate = call.column(index)?;
        let better = is_better(&candidate, &best)?;
        let chosen = zip(&better, &candidate, &best)?;
        best = match better.nulls() {
            Some(_) => arrow::compute::nullif(&chosen, &arrow::compute::is_null(&better)?)?,
            None => chosen,
        };
    }
    debug_assert!(best.as_any_dictionary_opt().is_none());
    Ok(best)
}

fn test_text(call: &Call<'_>, test: impl Fn(&str) -> bool) -> Result<ArrayRef> {
    let text = call.text(0)?;
    // NULL passes no test; as in Flink, the answer is then FALSE.
    let passes: BooleanArray =
        (0..call.rows).map(|row| Some(text.get(row).is_some_and(&test))).collect();
    Ok(Arc::new(passes))
}

fn is_alpha(call: &Call<'_>) -> Result<ArrayRef> {
    test_text(call, |text| !text.is_empty() && text.chars().all(char::is_alphabetic))
}

fn is_digit(call: &Call<'_>) -> Result<ArrayRef> {
    test_text(call, |text| !text.is_empty() && text.chars().all(|c| c.is_numeric()))
}

fn is_decimal(call: &Call<'_>) -> Result<ArrayRef> {
    test_text(call, |text| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let is_shaped = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        is_shaped && digits.parse::<f64>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_meet_as_in_flink() {
        use DataType as T;
        let cases = [
            (vec![T::Int32, T::Int64], Some(T::Int64)),
            (vec![T::Null, T::Utf8], Some(T::Utf8)),
            (vec![T::Int32, T::Decimal128(10, 3)], Some(T::Decimal128(13, 3))),
            (vec![T::Float32, T::Int64], Some(T::Float32)),
            (vec![T::Float32, T::Decimal128(5, 2)], Some(T::Float64)),
            (vec![T::Utf8, T::Int32], None),
            (vec![T::Boolean, T::Int32], None),
        ];
        for (types, expected) in cases {
            assert_eq!(common_type(&types), expected, "{types:?}");
        }
    }
}
