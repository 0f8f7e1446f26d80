//! Joins: DataFusion finds the pairs, and what has none is padded here.
//!
//! Every kind of join is the pairs of the inner one, less those that fail the residual condition,
//! and the rows that are then left without a partner.

use crate::error::OracleError;
use crate::query::{Query, conform, row_numbers};
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, filter, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use std::sync::Arc;
use tidemill_operators::interval_join::IntervalJoinSpec;
use tidemill_operators::join::{JoinKind, JoinSpec, Residual};
use tidemill_operators::window::bound_type;

/// The rows of a [`JoinSpec`].
pub(crate) fn join(
    query: &Query,
    spec: &JoinSpec,
    [left, right]: [&RecordBatch; 2],
    schema: &SchemaRef,
) -> Result<RecordBatch, OracleError> {
    let sides = [side(left, &spec.left_keys), side(right, &spec.right_keys)];
    let condition = condition(spec.left_keys.len(), None);
    let pairs = pairs(query, sides, &condition)?;
    let pairs = Pairs { left, right, rows: pairs }.fulfil(spec.residual.as_ref())?;
    pairs.assemble(spec.kind, schema)
}

/// The rows of an [`IntervalJoinSpec`].
pub(crate) fn interval_join(
    query: &Query,
    spec: &IntervalJoinSpec,
    [left, right]: [&RecordBatch; 2],
    schema: &SchemaRef,
) -> Result<RecordBatch, OracleError> {
    let mut sides = [side(left, &spec.left_keys), side(right, &spec.right_keys)];
    sides[0].push(milliseconds(left.column(spec.left_time))?);
    sides[1].push(milliseconds(right.column(spec.right_time))?);
    let condition = condition(spec.left_keys.len(), Some((spec.lower_ms, spec.upper_ms)));
    let pairs = pairs(query, sides, &condition)?;
    let pairs = Pairs { left, right, rows: pairs }.fulfil(spec.residual.as_ref())?;
    pairs.assemble(spec.kind, schema)
}

fn milliseconds(times: &ArrayRef) -> Result<ArrayRef, OracleError> {
    Ok(cast(&cast(times, &bound_type())?, &DataType::Int64)?)
}

/// A side as DataFusion sees it: row numbers, then keys.
fn side(rows: &RecordBatch, keys: &[usize]) -> Vec<ArrayRef> {
    let keys = keys.iter().map(|&key| rows.column(key).clone());
    [row_numbers(rows.num_rows())].into_iter().chain(keys).collect()
}

fn condition(keys: usize, interval: Option<(i64, i64)>) -> String {
    let equal = (1..=keys).map(|key| format!("l.c{key} = r.c{key}"));
    let time = keys + 1;
    let near = interval
        .map(|(lower, upper)| format!("l.c{time} - r.c{time} BETWEEN ({lower}) AND ({upper})"));
    let terms: Vec<String> = equal.chain(near).collect();
    if terms.is_empty() { "true".to_owned() } else { terms.join(" AND ") }
}

fn pairs(
    query: &Query,
    [left, right]: [Vec<ArrayRef>; 2],
    condition: &str,
) -> Result<[UInt32Array; 2], OracleError> {
    let sql = format!("SELECT l.c0 AS a, r.c0 AS b FROM l JOIN r ON {condition}");
    let answer = query.run(&[("l", left), ("r", right)], &sql)?;
    let numbers = |column: &ArrayRef| {
        let numbers = cast(column, &DataType::UInt32)?;
        Ok::<_, OracleError>(numbers.as_primitive::<UInt32Type>().clone())
    };
    Ok([numbers(&answer[0])?, numbers(&answer[1])?])
}

/// Rows of both sides, by their numbers.
struct Pairs<'a> {
    left: &'a RecordBatch,
    right: &'a RecordBatch,
    rows: [UInt32Array; 2],
}

impl Pairs<'_> {
    /// Only the pairs for which the condition is true.
    fn fulfil(self, residual: Option<&Residual>) -> Result<Self, OracleError> {
        let Some(residual) = residual else { return Ok(self) };
        let [left, right] = &self.rows;
        let columns = [taken(self.left, left)?, taken(self.right, right)?].concat();
        let fields = self
            .left
            .schema()
            .fields()
            .iter()
            .chain(self.right.schema().fields())
            .map(|field| Field::new(field.name(), field.data_type().clone(), true))
            .collect::<Vec<_>>();
        let pairs = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let keep = residual.condition.evaluate(&pairs.project(&residual.reads)?, 0)?;
        let keep = keep.as_boolean();
        let of = |numbers: &UInt32Array| {
            Ok::<_, OracleError>(filter(numbers, keep)?.as_primitive::<UInt32Type>().clone())
        };
        let rows = [of(left)?, of(right)?];
        Ok(Pairs { rows, ..self })
    }

    fn assemble(&self, kind: JoinKind, schema: &SchemaRef) -> Result<RecordBatch, OracleError> {
        let met = [self.met(0, self.left.num_rows()), self.met(1, self.right.num_rows())];
        let alone = |side: usize, met_is: bool| -> Vec<u32> {
            (0..met[side].len()).filter(|&row| met[side][row] == met_is).map(|r| r as u32).collect()
        };
        if matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti) {
            let rows = UInt32Array::from(alone(0, kind == JoinKind::LeftSemi));
            return conform(schema, taken(self.left, &rows)?, rows.len());
        }
        let mut lefts: Vec<Option<u32>> = self.rows[0].iter().collect();
        let mut rights: Vec<Option<u32>> = self.rows[1].iter().collect();
        if matches!(kind, JoinKind::Left | JoinKind::Full) {
            lefts.extend(alone(0, false).into_iter().map(Some));
            rights.resize(lefts.len(), None);
        }
        if matches!(kind, JoinKind::Right | JoinKind::Full) {
            rights.extend(alone(1, false).into_iter().map(Some));
            lefts.resize(rights.len(), None);
        }
        let rows = lefts.len();
        let left = taken(self.left, &UInt32Array::from(lefts))?;
        let right = taken(self.right, &UInt32Array::from(rights))?;
        conform(schema, [left, right].concat(), rows)
    }

    /// Which rows of a side have a partner.
    fn met(&self, side: usize, rows: usize) -> Vec<bool> {
        let mut met = vec![false; rows];
        self.rows[side].values().iter().for_each(|&row| met[row as usize] = true);
        met
    }
}

fn taken(rows: &RecordBatch, numbers: &UInt32Array) -> Result<Vec<ArrayRef>, OracleError> {
    rows.columns().iter().map(|column| Ok(take(column, numbers, None)?)).collect()
}
