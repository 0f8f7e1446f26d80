//! Rankings: `ROW_NUMBER()`, and the ranks that are asked for.

use crate::error::OracleError;
use crate::query::{Query, columns, conform, partition_by, row_numbers};
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef, UInt32Type};
use tidemill_operators::top_n::TopNSpec;

/// The rows of a [`TopNSpec`].
pub(crate) fn top_n(
    query: &Query,
    spec: &TopNSpec,
    rows: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, OracleError> {
    let mut input = rows.columns().to_vec();
    let number = input.len();
    input.push(row_numbers(rows.num_rows()));
    let window = format!("{}ORDER BY {}", partition_by(&spec.partition), order(spec, number));
    let (first, last) = (spec.first, spec.last.min(i64::MAX as u64));
    let sql = format!(
        "SELECT c{number}, place FROM \
         (SELECT c{number}, CAST(ROW_NUMBER() OVER ({window}) AS BIGINT) AS place FROM t) \
         WHERE place BETWEEN {first} AND {last}"
    );
    let answer = query.run(&[("t", input)], &sql)?;
    let kept = cast(&answer[0], &DataType::UInt32)?;
    let mut ranked: Vec<ArrayRef> =
        take_record_batch(rows, kept.as_primitive::<UInt32Type>())?.columns().to_vec();
    ranked.extend(spec.rank_output.then(|| answer[1].clone()));
    conform(schema, ranked, kept.len())
}

fn order(spec: &TopNSpec, number: usize) -> String {
    let terms = spec.order.iter().map(|term| {
        let direction = if term.descending { "DESC" } else { "ASC" };
        let nulls = if term.nulls_first { "FIRST" } else { "LAST" };
        format!("c{} {direction} NULLS {nulls}", term.column)
    });
    let ties = if spec.ties_to_last { "DESC" } else { "ASC" };
    let arrivals = columns(spec.arrival.into_iter().chain([number]));
    let arrivals = arrivals.into_iter().map(|column| format!("{column} {ties}"));
    terms.chain(arrivals).collect::<Vec<_>>().join(", ")
}
