//! `MATCH_RECOGNIZE`: all ways through a pattern, written out.
//!
//! The rows of a key are sorted, and from each row on all ways are followed that the pattern leaves
//! open, each as the variables of its rows and the parts of the pattern that are left. Conditions
//! are evaluated over one row that is put together for the purpose.

use crate::bag::row_keys;
use crate::error::OracleError;
use crate::group::grouped;
use crate::query::{Query, columns, conform, row_numbers};
use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
    new_null_array,
};
use arrow::compute::{cast, concat, take, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use std::collections::HashMap;
use std::sync::Arc;
use tidemill_operators::aggregate::{AggregateCall, AggregateFunction};
use tidemill_operators::pattern::{
    Condition, Measure, Operand, Pattern, PatternSpec, Preference, Reading, Skip, Test,
};
use tidemill_operators::time::Watermark;
use tidemill_operators::window::times;

/// What has been found by a watermark.
pub(crate) fn matches(
    query: &Query,
    spec: &PatternSpec,
    rows: &RecordBatch,
    watermark: Watermark,
    schema: &SchemaRef,
) -> Result<RecordBatch, OracleError> {
    let rows = sorted(query, spec, rows)?;
    let keys = row_keys(rows.project(&spec.partition)?.columns(), rows.num_rows())?;
    let mut found = Vec::new();
    let mut first = 0;
    for key in keys.chunk_by(|a, b| a == b) {
        let partition = rows.slice(first, key.len());
        found.extend(Search::new(query, spec, &partition)?.run(first, watermark)?);
        first += key.len();
    }
    let mut shown = Vec::new();
    let starts: UInt32Array = found.iter().map(|m| Some(m.first as u32)).collect();
    for &key in &spec.partition {
        shown.push(take(rows.column(key), &starts, None)?);
    }
    for measure in &spec.measures {
        shown.push(match measure {
            Measure::Operand { operand, .. } => value(query, operand, &rows, &found)?,
            Measure::Time { .. } => {
                let known_at = Int64Array::from_iter_values(found.iter().map(|m| m.known_at));
                let kind = rows.column(spec.time).data_type();
                cast(&(Arc::new(known_at) as ArrayRef), kind)?
            }
        });
    }
    conform(schema, shown, found.len())
}

/// The rows of a key side by side, each key's in order.
fn sorted(
    query: &Query,
    spec: &PatternSpec,
    rows: &RecordBatch,
) -> Result<RecordBatch, OracleError> {
    let number = rows.num_columns();
    let mut input = rows.columns().to_vec();
    input.push(row_numbers(rows.num_rows()));
    let mut order = columns(spec.partition.iter().copied().chain([spec.time]));
    order.extend(spec.ties.iter().map(|term| {
        let direction = if term.descending { "DESC" } else { "ASC" };
        let nulls = if term.nulls_first { "FIRST" } else { "LAST" };
        format!("c{} {direction} NULLS {nulls}", term.column)
    }));
    order.extend(columns(spec.arrival.into_iter().chain([number])));
    let sql = format!("SELECT c{number} FROM t ORDER BY {}", order.join(", "));
    let numbers = query.run(&[("t", input)], &sql)?;
    let numbers = cast(&numbers[0], &DataType::UInt32)?;
    Ok(take_record_batch(rows, numbers.as_primitive::<UInt32Type>())?)
}

/// Rows that match.
struct Found {
    first: usize,
    /// The variable of each row.
    variables: Vec<usize>,
    known_at: i64,
}

impl Found {
    /// The rows of a variable, or all.
    fn rows(&self, variable: Option<usize>) -> Vec<usize> {
        of(&self.variables, variable).map(|row| self.first + row).collect()
    }
}

fn of(variables: &[usize], variable: Option<usize>) -> impl Iterator<Item = usize> + '_ {
    let is_asked = move |(_, is): &(usize, &usize)| variable.is_none_or(|v| v == **is);
    variables.iter().enumerate().filter(is_asked).map(|(row, _)| row)
}

/// A measure of all matches.
fn value(
    query: &Query,
    operand: &Operand,
    rows: &RecordBatch,
    found: &[Found],
) -> Result<ArrayRef, OracleError> {
    let all: Vec<Vec<usize>> = found.iter().map(|m| m.rows(operand.variable)).collect();
    match &operand.reading {
        Reading::Aggregate(call) => aggregated(query, call, rows, &all),
        reading => {
            let picked: UInt32Array = all.iter().map(|own| pick(reading, own)).collect();
            Ok(take(rows.column(column_of(reading)), &picked, None)?)
        }
    }
}

/// The row that is asked for, of these.
fn pick(reading: &Reading, rows: &[usize]) -> Option<u32> {
    let place = match reading {
        Reading::First { offset, .. } => Some(*offset),
        Reading::Last { offset, .. } => rows.len().checked_sub(offset + 1),
        Reading::Aggregate(_) => None,
    };
    place.and_then(|place| rows.get(place)).map(|&row| row as u32)
}

fn column_of(reading: &Reading) -> usize {
    match reading {
        Reading::First { column, .. } | Reading::Last { column, .. } => *column,
        Reading::Aggregate(_) => unreachable!("an aggregate is of many rows"),
    }
}

/// An aggregate over rows, for each list of them.
fn aggregated(
    query: &Query,
    call: &AggregateCall,
    rows: &RecordBatch,
    lists: &[Vec<usize>],
) -> Result<ArrayRef, OracleError> {
    if let [list] = lists
        && let Some(answer) = plain(call, rows, list)?
    {
        return Ok(answer);
    }
    let flat: UInt32Array = lists.iter().flatten().map(|&row| Some(row as u32)).collect();
    let groups = lists.iter().enumerate().flat_map(|(n, list)| list.iter().map(move |_| n as i64));
    let mut input = take_record_batch(rows, &flat)?.columns().to_vec();
    let group = input.len();
    input.push(Arc::new(Int64Array::from_iter_values(groups)));
    let answer = grouped(query, input, &[group], std::slice::from_ref(call), None)?;
    let numbers = answer[0].as_primitive::<Int64Type>();
    let places: HashMap<i64, u32> = numbers.values().iter().copied().zip(0..).collect();
    // Nothing has been said of a list without rows.
    let nothing = empty(call)?;
    let all = concat(&[answer[1].as_ref(), nothing.as_ref()])?;
    let last = answer[1].len() as u32;
    let place = |n: i64| Some(places.get(&n).copied().unwrap_or(last));
    let places: UInt32Array = (0..lists.len() as i64).map(place).collect();
    Ok(take(&all, &places, None)?)
}

/// What an aggregate gives over no rows.
fn empty(call: &AggregateCall) -> Result<ArrayRef, OracleError> {
    match call.function {
        AggregateFunction::Count | AggregateFunction::CountRows => {
            let none: ArrayRef = Arc::new(Int64Array::from(vec![0]));
            Ok(cast(&none, &call.output_type)?)
        }
        _ => Ok(new_null_array(&call.output_type, 1)),
    }
}

/// An aggregate of 64-bit integers over the rows of a list, for which a query costs too much when a
/// condition asks for it again and again; none if it is no such aggregate.
fn plain(
    call: &AggregateCall,
    rows: &RecordBatch,
    list: &[usize],
) -> Result<Option<ArrayRef>, OracleError> {
    use AggregateFunction::{Avg, Count, CountRows, Max, Min, Sum};
    if call.filter.is_some() || call.distinct || call.output_type != DataType::Int64 {
        return Ok(None);
    }
    let values: Vec<i64> = match call.argument.map(|column| rows.column(column)) {
        None => Vec::new(),
        Some(column) => {
            let Some(column) = column.as_primitive_opt::<Int64Type>() else { return Ok(None) };
            let value = |&row: &usize| column.is_valid(row).then(|| column.value(row));
            list.iter().filter_map(value).collect()
        }
    };
    let count = values.len() as i64;
    let result = match call.function {
        CountRows => Some(list.len() as i64),
        Count => Some(count),
        _ if values.is_empty() => None,
        Sum => values.iter().copied().reduce(i64::wrapping_add),
        Avg => Some(values.iter().copied().fold(0, i64::wrapping_add) / count),
        Min => values.iter().min().copied(),
        Max => values.iter().max().copied(),
        _ => return Ok(None),
    };
    Ok(Some(Arc::new(Int64Array::from(vec![result]))))
}

/// A part of a pattern that is left.
#[derive(Clone)]
enum Left<'p> {
    Whole(&'p Pattern),
    /// A repetition: so many times at least and at most.
    Again {
        body: &'p Pattern,
        from: u32,
        to: Option<u32>,
        /// Whether it takes every row that it can.
        takes_all: bool,
        leaves_first: bool,
    },
}

/// The search through the rows of one key.
struct Search<'a> {
    query: &'a Query,
    spec: &'a PatternSpec,
    rows: &'a RecordBatch,
    times: Vec<i64>,
}

/// What is known of the matches that begin with a row.
enum Attempt {
    Match(Vec<usize>),
    None,
    Open,
}

impl<'a> Search<'a> {
    fn new(
        query: &'a Query,
        spec: &'a PatternSpec,
        rows: &'a RecordBatch,
    ) -> Result<Self, OracleError> {
        let times = times(rows, spec.time)?.to_vec();
        Ok(Search { query, spec, rows, times })
    }

    /// The matches, of rows that are numbered from `offset`.
    fn run(&self, offset: usize, watermark: Watermark) -> Result<Vec<Found>, OracleError> {
        let due = self.times.partition_point(|&time| time <= watermark.0);
        let (mut found, mut first, mut known_at) = (Vec::new(), 0, i64::MIN);
        while first < due {
            let deadline = self.spec.within_ms.map(|ms| self.times[first].saturating_add(ms));
            let is_within = |&time: &i64| deadline.is_none_or(|deadline| time < deadline);
            let end = first + self.times[first..due].iter().take_while(|t| is_within(t)).count();
            let (attempt, read) = self.attempt(first, end)?;
            known_at = known_at.max(self.times[read - 1]);
            match (attempt, deadline) {
                (Attempt::Match(variables), _) => {
                    let behind = self.behind(&variables)?;
                    found.push(Found { first: offset + first, variables, known_at });
                    first += behind;
                }
                (Attempt::None, _) => first += 1,
                (Attempt::Open, Some(deadline)) if end < due || watermark.closes(deadline) => {
                    known_at = known_at.max(deadline);
                    first += 1;
                }
                (Attempt::Open, _) => break,
            }
        }
        Ok(found)
    }

    fn behind(&self, variables: &[usize]) -> Result<usize, OracleError> {
        let target = match self.spec.skip {
            Skip::PastLastRow => return Ok(variables.len()),
            Skip::ToNextRow => return Ok(1),
            Skip::ToFirst(variable) => of(variables, Some(variable)).next(),
            Skip::ToLast(variable) => of(variables, Some(variable)).last(),
        };
        target.filter(|&row| row > 0).ok_or_else(|| {
            OracleError::Inconsistent("a match can't be skipped to where it is asked".to_owned())
        })
    }

    /// Looks for a match that begins with a row; also the row behind those that were read.
    fn attempt(&self, first: usize, end: usize) -> Result<(Attempt, usize), OracleError> {
        let mut ways = vec![(Vec::new(), vec![Left::Whole(&self.spec.pattern)])];
        for row in first..end {
            let mut next: Vec<(Vec<usize>, Vec<Left<'_>>)> = Vec::new();
            for (variables, left) in ways {
                let may_take = |variable| self.may_take(first, &variables, variable);
                for (variable, left) in takes(&left, &may_take)? {
                    let mut variables = variables.clone();
                    variables.push(variable);
                    if left.iter().all(can_be_left_out) {
                        return Ok((Attempt::Match(variables), row + 1));
                    }
                    next.push((variables, left));
                }
            }
            if next.is_empty() {
                return Ok((Attempt::None, row + 1));
            }
            ways = next;
        }
        Ok((Attempt::Open, end))
    }

    /// Whether the row behind some others may be taken as a variable.
    fn may_take(
        &self,
        first: usize,
        before: &[usize],
        variable: usize,
    ) -> Result<bool, OracleError> {
        let row = first + before.len();
        match &self.spec.variables[variable].test {
            Test::Always => Ok(true),
            Test::Column(column) => Ok(is_true(self.rows.column(*column), row)),
            Test::Row(condition) => {
                Ok(is_true(&condition.evaluate(&self.rows.slice(row, 1), 0)?, 0))
            }
            Test::Condition(condition) => {
                let variables = [before, &[variable]].concat();
                self.holds(condition, first, &variables)
            }
        }
    }

    fn holds(
        &self,
        condition: &Condition,
        first: usize,
        variables: &[usize],
    ) -> Result<bool, OracleError> {
        let all = [Found { first, variables: variables.to_vec(), known_at: 0 }];
        let operand = |operand: &Operand| value(self.query, operand, self.rows, &all);
        let operands = condition.operands.iter().map(operand).collect::<Result<Vec<_>, _>>()?;
        let field = |(n, column): (usize, &ArrayRef)| {
            Field::new(format!("operand{n}"), column.data_type().clone(), true)
        };
        let fields: Vec<Field> = operands.iter().enumerate().map(field).collect();
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let schema = Arc::new(Schema::new(fields));
        let row = RecordBatch::try_new_with_options(schema, operands, &one)?;
        Ok(is_true(&condition.expression.evaluate(&row, 0)?, 0))
    }
}

fn is_true(column: &ArrayRef, row: usize) -> bool {
    let column = column.as_boolean();
    column.is_valid(row) && column.value(row)
}

/// Which variables may take a row.
type MayTake<'f> = dyn Fn(usize) -> Result<bool, OracleError> + 'f;

/// As which variables the next row may be taken, the best first, and what is left then.
fn takes<'p>(
    left: &[Left<'p>],
    may_take: &MayTake<'_>,
) -> Result<Vec<(usize, Vec<Left<'p>>)>, OracleError> {
    let Some((part, rest)) = left.split_first() else { return Ok(Vec::new()) };
    let before_rest = |parts: &[Left<'p>]| [parts, rest].concat();
    match part {
        Left::Whole(Pattern::Variable(variable)) => Ok(match may_take(*variable)? {
            true => vec![(*variable, rest.to_vec())],
            false => Vec::new(),
        }),
        Left::Whole(Pattern::Sequence(parts)) => {
            takes(&before_rest(&parts.iter().map(Left::Whole).collect::<Vec<_>>()), may_take)
        }
        Left::Whole(Pattern::Alternatives(parts)) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(takes(&before_rest(&[Left::Whole(part)]), may_take)?);
            }
            Ok(all)
        }
        Left::Whole(Pattern::Repeat { pattern, from, to, preference }) => {
            // An optional variable leaves open whether it is there, greedy or not.
            let is_optional = *from == 0 && *to == Some(1);
            let is_greedy = *preference == Preference::Greedy;
            let again = Left::Again {
                body: pattern,
                from: *from,
                to: *to,
                takes_all: is_greedy && !is_optional,
                leaves_first: is_optional && !is_greedy,
            };
            takes(&before_rest(&[again]), may_take)
        }
        Left::Again { to: Some(0), .. } => takes(rest, may_take),
        &Left::Again { body, from, to, takes_all, leaves_first } => {
            let (less, fewer) = (from.saturating_sub(1), to.map(|to| to - 1));
            let again = Left::Again { body, from: less, to: fewer, takes_all, leaves_first };
            let mut inside = takes(&before_rest(&[Left::Whole(body), again]), may_take)?;
            if from > 0 || (takes_all && !inside.is_empty()) {
                return Ok(inside);
            }
            let mut behind = takes(rest, may_take)?;
            if leaves_first {
                std::mem::swap(&mut inside, &mut behind);
            }
            inside.extend(behind);
            Ok(inside)
        }
    }
}

fn can_be_left_out(part: &Left<'_>) -> bool {
    fn can_be_empty(pattern: &Pattern) -> bool {
        match pattern {
            Pattern::Variable(_) => false,
            Pattern::Sequence(parts) => parts.iter().all(can_be_empty),
            Pattern::Alternatives(parts) => parts.iter().any(can_be_empty),
            Pattern::Repeat { pattern, from, .. } => *from == 0 || can_be_empty(pattern),
        }
    }
    match part {
        Left::Whole(pattern) => can_be_empty(pattern),
        Left::Again { from, .. } => *from == 0,
    }
}
