//! `OVER` by row time: DataFusion's window functions.

use crate::aggregate::{self, Scope};
use crate::error::OracleError;
use crate::query::{Query, columns, conform, partition_by, row_numbers};
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef, UInt32Type};
use tidemill_operators::over::{Frame, Neighbour, OverFunction, OverSpec};
use tidemill_operators::window::bound_type;

/// The rows of an [`OverSpec`].
pub(crate) fn over(
    query: &Query,
    spec: &OverSpec,
    rows: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, OracleError> {
    let mut input = rows.columns().to_vec();
    let (time, number) = (input.len(), input.len() + 1);
    input.push(cast(&cast(rows.column(spec.time), &bound_type())?, &DataType::Int64)?);
    input.push(row_numbers(rows.num_rows()));
    let partition = partition_by(&spec.partition);
    let by_row = columns([time].into_iter().chain(spec.arrival).chain([number])).join(", ");
    let in_order = format!("{partition}ORDER BY {by_row}");
    let frame = Scope::Frame {
        over: match spec.frame {
            Frame::Rows { preceding } => format!("{in_order} ROWS {}", upto(preceding)),
            Frame::Range { preceding_ms } => {
                format!("{partition}ORDER BY c{time} RANGE {}", upto(preceding_ms))
            }
        },
    };
    let (mut selected, mut widths) = (Vec::new(), Vec::new());
    for function in &spec.functions {
        let sql = match function {
            OverFunction::Aggregate(call) => aggregate::sql(call, &frame)?,
            OverFunction::Lag(of) => vec![neighbour("LAG", of, number, &in_order)],
            OverFunction::Lead(of) => vec![neighbour("LEAD", of, number, &in_order)],
        };
        widths.push(sql.len());
        selected.extend(sql);
    }
    let selected = selected.iter().enumerate().map(|(i, sql)| format!(", {sql} AS r{i}"));
    let sql = format!("SELECT c{number}{} FROM t", selected.collect::<String>());
    let answer = query.run(&[("t", input)], &sql)?;
    let numbers = cast(&answer[0], &DataType::UInt32)?;
    let mut results: Vec<ArrayRef> =
        take_record_batch(rows, numbers.as_primitive::<UInt32Type>())?.columns().to_vec();
    let mut rest = &answer[1..];
    for (function, width) in spec.functions.iter().zip(widths) {
        let (own, others) = rest.split_at(width);
        results.push(match function {
            OverFunction::Aggregate(call) => aggregate::result(call, own)?,
            OverFunction::Lag(_) | OverFunction::Lead(_) => own[0].clone(),
        });
        rest = others;
    }
    conform(schema, results, numbers.len())
}

fn upto(preceding: Option<impl std::fmt::Display>) -> String {
    match preceding {
        None => "BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW".to_owned(),
        Some(n) => format!("BETWEEN {n} PRECEDING AND CURRENT ROW"),
    }
}

/// DataFusion takes only a constant for the default.
fn neighbour(side: &str, of: &Neighbour, number: usize, over: &str) -> String {
    let of_it = |column: usize| format!("{side}(c{column}, {}) OVER ({over})", of.offset);
    let value = of_it(of.argument);
    match of.default {
        None => value,
        // Only the value may be NULL, every row has a number.
        Some(default) => {
            format!("CASE WHEN {} IS NULL THEN c{default} ELSE {value} END", of_it(number))
        }
    }
}
