//! `GROUP BY`, with windows as two more keys.

use crate::aggregate::{self, Scope};
use crate::error::OracleError;
use crate::excluded::LateRows;
use crate::query::{Query, columns, conform, row_numbers};
use crate::window::{Windowed, bounds, has_slices, windowed};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidemill_operators::aggregate::AggregateCall;
use tidemill_operators::group_aggregate::GroupAggregateSpec;
use tidemill_operators::window::window_columns;
use tidemill_operators::window_aggregate::WindowAggregateSpec;

/// The rows of a [`GroupAggregateSpec`].
pub(crate) fn group_aggregate(
    query: &Query,
    spec: &GroupAggregateSpec,
    rows: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, OracleError> {
    let input = rows.columns().to_vec();
    let answer = grouped(query, input, &spec.keys, &spec.aggregates, spec.arrival)?;
    let rows = answer.first().map_or(0, |column| column.len());
    conform(schema, answer, rows)
}

/// The rows of a [`WindowAggregateSpec`]. Rows that are late for some of their windows count in the
/// others.
pub(crate) fn window_aggregate(
    query: &Query,
    spec: &WindowAggregateSpec,
    rows: &RecordBatch,
    late: &LateRows,
    schema: &SchemaRef,
) -> Result<RecordBatch, OracleError> {
    let Windowed { rows, start, end } = match has_slices(spec) {
        true => late.remove_from_windows(windowed(spec, rows)?, spec.zone)?,
        false => windowed(spec, &late.remove_from(vec![rows.clone()])?[0])?,
    };
    let mut input = rows.columns().to_vec();
    let mut keys = vec![input.len(), input.len() + 1];
    keys.extend(&spec.keys);
    input.extend([start, end]);
    let mut answer = grouped(query, input, &keys, &spec.aggregates, spec.arrival)?;
    let results = answer.split_off(2);
    let (starts, ends) = (bounds(&answer[0]), bounds(&answer[1]));
    let rows = starts.len();
    let windows = window_columns(starts, ends, spec.zone);
    conform(schema, results.into_iter().chain(windows).collect(), rows)
}

/// The keys, then the aggregates. No rows give no groups, even without keys: nothing has been
/// said yet about a stream that has not begun.
pub(crate) fn grouped(
    query: &Query,
    mut input: Vec<ArrayRef>,
    keys: &[usize],
    aggregates: &[AggregateCall],
    arrival: Option<usize>,
) -> Result<Vec<ArrayRef>, OracleError> {
    let rows = input.first().map_or(0, |column| column.len());
    let order = columns(arrival.into_iter().chain([input.len()])).join(", ");
    input.push(row_numbers(rows));
    let scope = Scope::Group { order };
    let mut selected = columns(keys.iter().copied());
    let mut widths = Vec::new();
    for call in aggregates {
        let sql = aggregate::sql(call, &scope)?;
        widths.push(sql.len());
        selected.extend(sql);
    }
    let mut names = selected.iter().enumerate().map(|(i, sql)| format!("{sql} AS r{i}"));
    let selected = names.by_ref().collect::<Vec<_>>().join(", ");
    let keyed = columns(keys.iter().copied()).join(", ");
    let sql = match keys {
        [] => format!("SELECT {selected} FROM t HAVING COUNT(*) > 0"),
        _ => format!("SELECT {selected} FROM t GROUP BY {keyed}"),
    };
    let answer = query.run(&[("t", input)], &sql)?;
    let (key_columns, mut rest) = answer.split_at(keys.len());
    let mut results = key_columns.to_vec();
    for (call, width) in aggregates.iter().zip(widths) {
        let (own, others) = rest.split_at(width);
        results.push(aggregate::result(call, own)?);
        rest = others;
    }
    Ok(results)
}
