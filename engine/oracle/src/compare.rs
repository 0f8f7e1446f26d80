//! [`difference`]: whether two bags of rows are the same.
//!
//! Floating point sums depend on the order of their terms, which no engine promises: such values
//! are the same if they agree in some nine digits. Everything else must be equal as text.

use crate::error::OracleError;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// How far apart equal floats may lie, relatively.
const TOLERANCE: f64 = 1e-9;
/// So many rows of a difference are shown.
const SHOWN_MAX: usize = 10;

/// Where two bags of rows differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Rows that only the expected bag has.
    pub missing: Vec<String>,
    /// Rows that only the actual bag has.
    pub unexpected: Vec<String>,
    /// Rows of the actual bag with what the expected one has under the same key.
    pub different: Vec<(String, String)>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, rows) in [("missing", &self.missing), ("unexpected", &self.unexpected)] {
            if rows.is_empty() {
                continue;
            }
            writeln!(f, "{} {what}:", rows.len())?;
            for row in rows.iter().take(SHOWN_MAX) {
                writeln!(f, "  {row}")?;
            }
        }
        if !self.different.is_empty() {
            writeln!(f, "{} different:", self.different.len())?;
            for (actual, expected) in self.different.iter().take(SHOWN_MAX) {
                writeln!(f, "  {actual} for {expected}")?;
            }
        }
        Ok(())
    }
}

/// How `actual` differs from `expected`, if it does. The order of rows doesn't matter.
///
/// # Errors
/// If the columns are of no kind that can be compared.
pub fn difference(
    expected: &RecordBatch,
    actual: &RecordBatch,
) -> Result<Option<Difference>, OracleError> {
    difference_by_key(expected, actual, &[])
}

/// The same, where rows that differ and have the same `key` columns are one difference.
///
/// # Errors
/// As of [`difference`].
pub fn difference_by_key(
    expected: &RecordBatch,
    actual: &RecordBatch,
    key: &[usize],
) -> Result<Option<Difference>, OracleError> {
    let (mut missing, mut unexpected) = unmatched(expected, actual)?;
    if missing.is_empty() && unexpected.is_empty() {
        return Ok(None);
    }
    let mut different = Vec::new();
    if !key.is_empty() {
        let key_of = |rows: &RecordBatch, row: usize| -> Vec<Option<String>> {
            key.iter().map(|&column| text(rows.column(column), row)).collect()
        };
        let mut wanted: HashMap<_, usize> =
            missing.iter().map(|&row| (key_of(expected, row), row)).collect();
        let mut paired = HashSet::new();
        unexpected.retain(|&row| match wanted.remove(&key_of(actual, row)) {
            None => true,
            Some(of) => {
                different.push((show(actual, row), show(expected, of)));
                !paired.insert(of)
            }
        });
        missing.retain(|row| !paired.contains(row));
    }
    Ok(Some(Difference {
        missing: missing.into_iter().map(|row| show(expected, row)).collect(),
        unexpected: unexpected.into_iter().map(|row| show(actual, row)).collect(),
        different,
    }))
}

/// The rows of either bag that the other one doesn't have.
fn unmatched(
    expected: &RecordBatch,
    actual: &RecordBatch,
) -> Result<(Vec<usize>, Vec<usize>), OracleError> {
    let mut wanted = Row::all(expected)?;
    let mut found = Row::all(actual)?;
    wanted.sort_by(Row::order);
    found.sort_by(Row::order);
    let (mut missing, mut unexpected) = (Vec::new(), Vec::new());
    let (mut wanted, mut found) = (wanted.into_iter().peekable(), found.into_iter().peekable());
    loop {
        let order = match (wanted.peek(), found.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) if a.is_close_to(b) => Ordering::Equal,
            (Some(a), Some(b)) => a.order(b),
        };
        if order != Ordering::Greater
            && let Some(row) = wanted.next()
            && order == Ordering::Less
        {
            missing.push(row.number);
        }
        if order != Ordering::Less
            && let Some(row) = found.next()
            && order == Ordering::Greater
        {
            unexpected.push(row.number);
        }
    }
    Ok((missing, unexpected))
}

struct Row {
    number: usize,
    exact: Vec<Option<String>>,
    floats: Vec<Option<f64>>,
}

impl Row {
    fn all(rows: &RecordBatch) -> Result<Vec<Row>, OracleError> {
        let is_float = |c: &&ArrayRef| c.data_type().is_floating();
        let floats = rows.columns().iter().filter(is_float);
        let floats = floats.map(|column| cast(column, &DataType::Float64));
        let floats = floats.collect::<Result<Vec<_>, _>>()?;
        let row = |number: usize| Row {
            number,
            exact: rows
                .columns()
                .iter()
                .filter(|column| !is_float(column))
                .map(|column| text(column, number))
                .collect(),
            floats: floats
                .iter()
                .map(|column| {
                    let values = column.as_primitive::<Float64Type>();
                    values.is_valid(number).then(|| values.value(number))
                })
                .collect(),
        };
        Ok((0..rows.num_rows()).map(row).collect())
    }

    fn order(&self, other: &Row) -> Ordering {
        let floats = || {
            let pairs = self.floats.iter().zip(&other.floats);
            let mut orders = pairs.map(|pair| match pair {
                (Some(a), Some(b)) => a.total_cmp(b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            });
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        self.exact.cmp(&other.exact).then_with(floats)
    }

    fn is_close_to(&self, other: &Row) -> bool {
        let close = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
            (Some(a), Some(b)) => {
                a == b
                    || (a.is_nan() && b.is_nan())
                    || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0)
            }
            (a, b) => a.is_none() && b.is_none(),
        };
        self.exact == other.exact && self.floats.iter().zip(&other.floats).all(close)
    }
}

/// A value as text; none for NULL.
pub(crate) fn text(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match ArrayFormatter::try_new(column, &FormatOptions::default()) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(error) => error.to_string(),
    })
}

/// A row for people.
pub(crate) fn show(rows: &RecordBatch, row: usize) -> String {
    let cells = rows.columns().iter().map(|column| text(column, row));
    let cells: Vec<String> = cells.map(|c| c.unwrap_or_else(|| "NULL".to_owned())).collect();
    format!("({})", cells.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};
    use std::sync::Arc;

    fn rows(values: &[(i64, f64)]) -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("a", Arc::new(values.iter().map(|v| Some(v.0)).collect::<Int64Array>())),
            ("b", Arc::new(values.iter().map(|v| Some(v.1)).collect::<Float64Array>())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn bags_are_compared_whatever_their_order_and_floats_nearly() {
        let expected = rows(&[(1, 0.3), (2, 5.0), (1, 0.3)]);
        let actual = rows(&[(1, 0.1 + 0.2), (1, 0.3), (2, 5.0)]);
        assert_eq!(difference(&expected, &actual).unwrap(), None);
    }

    #[test]
    fn a_row_too_many_or_too_few_is_told() {
        let difference = difference(&rows(&[(1, 0.0), (1, 0.0)]), &rows(&[(1, 0.0), (3, 1.0)]));
        let difference = difference.unwrap().unwrap();
        assert_eq!(difference.missing, ["(1, 0.0)"]);
        assert_eq!(difference.unexpected, ["(3, 1.0)"]);
    }
}
