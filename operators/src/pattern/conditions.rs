//! [`Conditions`]: what rows are asked, ready to be asked.

use super::automaton::VariableSet;
use super::held::{Answers, HeldRows};
use super::search::{Judge, Way};
use super::spec::{Condition, Operand, PatternSpec, Reading, Test};
use super::totals::{Total, TotalKind};
use super::value::{Value, ValueCodec};
use crate::aggregate::AggregateCall;
use crate::expression::{Expression, RowError};
use crate::operator::OperatorError;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

/// The tests of all variables, and what they read.
#[derive(Debug)]
pub(super) struct Conditions {
    tests: Vec<Asked>,
    /// Columns that are held as values beside each row.
    columns: Vec<(usize, ValueCodec)>,
    totals: Vec<TotalOf>,
}

#[derive(Debug)]
enum Asked {
    Always,
    /// Column by column: the answer is a bit of the row.
    Before(usize),
    /// The same, but some rows have no answer.
    OfRow(Arc<dyn Expression>),
    /// Boxed, for most variables ask no such thing.
    Now(Box<AskedNow>),
}

#[derive(Debug)]
struct AskedNow {
    condition: Condition,
    reads: Vec<Read>,
    schema: SchemaRef,
}

/// An operand, by the values that are held.
#[derive(Clone, Copy, Debug)]
struct Read {
    variable: Option<usize>,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    First { value: usize, offset: usize },
    Last { value: usize, offset: usize },
    Total(usize),
}

/// An aggregate that goes along with each way.
#[derive(Debug)]
struct TotalOf {
    variable: Option<usize>,
    call: AggregateCall,
    kind: TotalKind,
    argument: Option<usize>,
    filter: Option<usize>,
    codec: ValueCodec,
}

impl Conditions {
    pub(super) fn new(spec: &PatternSpec, input: &Schema) -> Result<Self, OperatorError> {
        let mut conditions =
            Conditions { tests: Vec::new(), columns: Vec::new(), totals: Vec::new() };
        for variable in &spec.variables {
            let asked = match &variable.test {
                Test::Always => Asked::Always,
                Test::Column(column) => Asked::Before(*column),
                Test::Row(condition) => Asked::OfRow(condition.clone()),
                Test::Condition(condition) => {
                    Asked::Now(Box::new(conditions.asked_now(condition, input)?))
                }
            };
            conditions.tests.push(asked);
        }
        Ok(conditions)
    }

    fn asked_now(
        &mut self,
        condition: &Condition,
        input: &Schema,
    ) -> Result<AskedNow, OperatorError> {
        let reads = condition.operands.iter().map(|operand| self.read(operand, input));
        let reads = reads.collect::<Result<Vec<_>, _>>()?;
        let fields = reads.iter().enumerate().map(|(number, read)| {
            Field::new(format!("operand{number}"), self.codec(read.what).data_type().clone(), true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(AskedNow { condition: condition.clone(), reads, schema })
    }

    fn read(&mut self, operand: &Operand, input: &Schema) -> Result<Read, OperatorError> {
        let variable = operand.variable;
        let what = match &operand.reading {
            Reading::First { column, offset } => {
                What::First { value: self.value(*column, input)?, offset: *offset }
            }
            Reading::Last { column, offset } => {
                What::Last { value: self.value(*column, input)?, offset: *offset }
            }
            Reading::Aggregate(call) => What::Total(self.total(variable, call, input)?),
        };
        Ok(Read { variable, what })
    }

    /// The place of a column among the values of a row.
    fn value(&mut self, column: usize, input: &Schema) -> Result<usize, OperatorError> {
        if let Some(known) = self.columns.iter().position(|(known, _)| *known == column) {
            return Ok(known);
        }
        self.columns.push((column, ValueCodec::new(input.field(column).data_type())?));
        Ok(self.columns.len() - 1)
    }

    fn total(
        &mut self,
        variable: Option<usize>,
        call: &AggregateCall,
        input: &Schema,
    ) -> Result<usize, OperatorError> {
        let same = |known: &TotalOf| {
            known.variable == variable
                && AggregateCall { name: call.name.clone(), ..known.call.clone() } == *call
        };
        if let Some(known) = self.totals.iter().position(same) {
            return Ok(known);
        }
        let argument = call.argument.map(|column| self.value(column, input)).transpose()?;
        let filter = call.filter.map(|column| self.value(column, input)).transpose()?;
        let (kind, codec) = (TotalKind::of(call)?, ValueCodec::new(&call.output_type)?);
        let call = call.clone();
        self.totals.push(TotalOf { variable, call, kind, argument, filter, codec });
        Ok(self.totals.len() - 1)
    }

    fn codec(&self, what: What) -> &ValueCodec {
        match what {
            What::First { value, .. } | What::Last { value, .. } => &self.columns[value].1,
            What::Total(total) => &self.totals[total].codec,
        }
    }

    /// The variables whose tests look at earlier rows.
    pub(super) fn look_back(&self) -> VariableSet {
        let tests = self.tests.iter().enumerate();
        let back = tests.filter(|(_, asked)| matches!(asked, Asked::Now(_)));
        back.fold(0, |set, (variable, _)| set | 1 << variable)
    }

    /// How many values are held beside a row.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The values of rows, column by column.
    pub(super) fn values(&self, rows: &RecordBatch) -> Result<Vec<Vec<Value>>, OperatorError> {
        self.columns.iter().map(|(column, codec)| codec.read(rows.column(*column))).collect()
    }

    /// What is known of each row before it has its turn.
    pub(super) fn answers(&self, rows: &RecordBatch) -> Result<Vec<Answers>, OperatorError> {
        let mut answers = vec![Answers::default(); rows.num_rows()];
        for (variable, asked) in self.tests.iter().enumerate() {
            let mut note = |row: usize, answer| answers[row].note(variable, answer);
            match asked {
                Asked::Before(column) => {
                    let column = rows.column(*column).as_boolean();
                    (0..rows.num_rows()).for_each(|row| note(row, Ok(is_true(column, row))));
                }
                Asked::OfRow(condition) => ask_each(condition, rows, 0, &mut note)?,
                Asked::Always | Asked::Now(_) => {}
            }
        }
        Ok(answers)
    }
}

/// What a condition says of each row, the first of which has this number. It is evaluated over all of
/// them at once; if that fails, over each half, until it is known which rows are to blame.
fn ask_each(
    condition: &Arc<dyn Expression>,
    rows: &RecordBatch,
    first: usize,
    note: &mut dyn FnMut(usize, Result<bool, RowError>),
) -> Result<(), OperatorError> {
    match condition.evaluate(rows, NO_TIME) {
        _ if rows.num_rows() == 0 => {}
        Ok(answer) => {
            let answer = boolean(condition, &answer)?;
            (0..rows.num_rows()).for_each(|row| note(first + row, Ok(is_true(answer, row))));
        }
        Err(error) if rows.num_rows() == 1 => note(first, Err(error)),
        Err(_) => {
            let half = rows.num_rows() / 2;
            ask_each(condition, &rows.slice(0, half), first, note)?;
            let rest = rows.slice(half, rows.num_rows() - half);
            ask_each(condition, &rest, first + half, note)?;
        }
    }
    Ok(())
}

/// What reads the row alone doesn't ask for the time of day.
const NO_TIME: i64 = 0;

fn boolean<'a>(
    condition: &Arc<dyn Expression>,
    answer: &'a ArrayRef,
) -> Result<&'a BooleanArray, OperatorError> {
    answer.as_boolean_opt().ok_or_else(|| {
        let text = condition.describe();
        OperatorError::Data(format!("the condition {text} is not a boolean"))
    })
}

fn is_true(answer: &BooleanArray, row: usize) -> bool {
    answer.is_valid(row) && answer.value(row)
}

/// The rows of a partition, asked for a search that begins with the first one.
pub(super) struct PartitionRows<'a> {
    pub(super) conditions: &'a Conditions,
    pub(super) held: &'a HeldRows,
    pub(super) ids: &'a VecDeque<u32>,
    pub(super) now_ms: i64,
}

impl PartitionRows<'_> {
    fn value(&self, row: usize, value: usize) -> &Value {
        self.held.value(self.ids[row], value)
    }

    fn operand(&self, read: &Read, way: &Way, tested: usize) -> Cow<'_, Value> {
        let counts = read.variable.is_none_or(|variable| variable == tested);
        let (row, value) = match read.what {
            What::Total(number) => return Cow::Owned(self.total(number, way, counts)),
            What::First { value, offset } => match way.path.first(read.variable, offset) {
                Ok(row) => (Some(row), value),
                Err(0) if counts => (Some(way.path.len()), value),
                Err(_) => (None, value),
            },
            What::Last { value, offset: 0 } if counts => (Some(way.path.len()), value),
            What::Last { value, offset } => {
                (way.path.last(read.variable, offset - usize::from(counts)), value)
            }
        };
        row.map_or(Cow::Owned(Value::Null), |row| Cow::Borrowed(self.value(row, value)))
    }

    fn total(&self, number: usize, way: &Way, counts: bool) -> Value {
        let of = &self.conditions.totals[number];
        let total = &way.totals[number];
        if !counts {
            return total.read(of.kind);
        }
        let mut total = total.clone();
        self.add(of, &mut total, way.path.len());
        total.read(of.kind)
    }

    fn add(&self, of: &TotalOf, total: &mut Total, row: usize) {
        let passes = |filter| *self.value(row, filter) == Value::Boolean(true);
        if of.filter.is_none_or(passes) {
            let value = of.argument.map_or(&Value::Null, |argument| self.value(row, argument));
            total.add(of.kind, value);
        }
    }

    /// What an expression over columns says of one row.
    fn evaluate(
        &self,
        asked: &AskedNow,
        operand: impl Fn(usize) -> Result<ArrayRef, OperatorError>,
    ) -> Result<bool, OperatorError> {
        let columns = (0..asked.reads.len()).map(operand).collect::<Result<Vec<_>, _>>()?;
        let row = RecordBatch::try_new(asked.schema.clone(), columns)?;
        let answer = asked.condition.expression.evaluate(&row, self.now_ms)?;
        Ok(is_true(boolean(&asked.condition.expression, &answer)?, 0))
    }
}

impl Judge for PartitionRows<'_> {
    fn may_take(&mut self, way: &Way, variable: usize) -> Result<bool, OperatorError> {
        let asked = match &self.conditions.tests[variable] {
            Asked::Always => return Ok(true),
            Asked::Before(_) | Asked::OfRow(_) => {
                let row = self.held.row(self.ids[way.path.len()]);
                return Ok(row.answers.of(variable)?);
            }
            Asked::Now(asked) => asked,
        };
        let operand = |number: usize| self.operand(&asked.reads[number], way, variable);
        match &asked.condition.formula {
            Some(formula) => Ok(formula.holds(&operand)),
            None => self.evaluate(asked, |number| {
                self.conditions.codec(asked.reads[number].what).column(&operand(number))
            }),
        }
    }

    fn begin(&self, way: &mut Way) {
        way.totals.extend(self.conditions.totals.iter().map(|of| Total::new(of.kind)));
    }

    fn count(&self, way: &mut Way, variable: usize) {
        let row = way.path.len();
        for (of, total) in self.conditions.totals.iter().zip(&mut way.totals) {
            if of.variable.is_none_or(|v| v == variable) {
                self.add(of, total, row);
            }
        }
    }
}

/// The type of what a reading gives.
pub(super) fn reading_type(reading: &Reading, input: &Schema) -> DataType {
    match reading {
        Reading::First { column, .. } | Reading::Last { column, .. } => {
            input.field(*column).data_type().clone()
        }
        Reading::Aggregate(call) => call.output_type.clone(),
    }
}
