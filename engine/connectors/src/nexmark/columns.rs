//! [`Columns`]: events as Arrow columns, only those that are wanted and of them only the declared
//! fields.
//!
//! A kind's column is a `ROW` that is NULL where an event is of another kind. What it hides there
//! is NULL as well: whoever reads a field need not look at the row.

use super::fields::{self, Value};
use super::market::{Event, Kind, Market, Run};
use super::text::Texts;
use crate::numbered::Generate;
use crate::options::{closest, listed, wrong};
use arrow::array::{
    Array, ArrayRef, BooleanBufferBuilder, Int32Array, Int64Array, StructArray,
    TimestampMillisecondArray, make_array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use std::ops::Range;
use std::sync::Arc;
use tidemill_formats::OptionError;

/// A kind of event: its number in the column `event_type`, and its own column.
const KINDS: [(i32, &str, Kind); 3] =
    [(0, "person", Kind::Person), (1, "auction", Kind::Auction), (2, "bid", Kind::Bid)];
/// Which kind an event is.
const EVENT_TYPE: &str = "event_type";

/// A guess of how much room strings take.
const BYTES_PER_TEXT: usize = 32;

/// Makes events.
#[derive(Clone)]
pub(super) struct Columns {
    pub market: Market,
    pub columns: Vec<Column>,
}

/// A column, as declared.
#[derive(Clone)]
pub(super) enum Column {
    EventType,
    Event(Kind, Fields, Vec<Value>),
}

impl Generate for Columns {
    fn columns(&self, rows: Range<u64>) -> Vec<ArrayRef> {
        self.columns.iter().map(|column| self.column(column, &rows)).collect()
    }
}

impl Columns {
    fn column(&self, column: &Column, rows: &Range<u64>) -> ArrayRef {
        let count = (rows.end - rows.start) as usize;
        match column {
            Column::EventType => Arc::new(self.event_types(rows, count)),
            Column::Event(kind, fields, values) => {
                let runs = self.market.proportions.runs(*kind, rows);
                let nulls = nulls(&runs, count);
                let column = |(value, field): (&Value, &Arc<Field>)| {
                    with_nulls(self.values(*value, &runs, count), &nulls, field.data_type())
                };
                let columns: Vec<ArrayRef> = values.iter().zip(fields).map(column).collect();
                let rows =
                    StructArray::try_new_with_length(fields.clone(), columns, Some(nulls), count);
                Arc::new(rows.expect("columns of the declared types, as long as the row"))
            }
        }
    }

    fn event_types(&self, rows: &Range<u64>, count: usize) -> Int32Array {
        let mut types = vec![0; count];
        for (number, _, kind) in KINDS {
            for run in self.market.proportions.runs(kind, rows) {
                types[run.row..run.row + run.length].fill(number);
            }
        }
        types.into()
    }

    /// The values of a field, with something in place of those of other kinds.
    fn values(&self, value: Value, runs: &[Run], count: usize) -> ArrayRef {
        match value {
            Value::Integer(make) => Arc::new(Int64Array::from(self.numbers(make, runs, count))),
            Value::Time(make) => {
                Arc::new(TimestampMillisecondArray::from(self.numbers(make, runs, count)))
            }
            Value::Text(make) => {
                let mut texts = Texts::with_capacity(count, count * BYTES_PER_TEXT);
                for run in runs {
                    texts.pad(run.row);
                    for event in run.events() {
                        texts.push(|out| make(&self.market, event, out));
                    }
                }
                texts.pad(count);
                Arc::new(texts.finish())
            }
        }
    }

    fn numbers(&self, make: fn(&Market, Event) -> i64, runs: &[Run], count: usize) -> Vec<i64> {
        let mut numbers = vec![0; count];
        for run in runs {
            for (number, event) in numbers[run.row..].iter_mut().zip(run.events()) {
                *number = make(&self.market, event);
            }
        }
        numbers
    }
}

/// Where rows hold an event of the runs.
fn nulls(runs: &[Run], count: usize) -> NullBuffer {
    let mut valid = BooleanBufferBuilder::new(count);
    for run in runs {
        valid.append_n(run.row - valid.len(), false);
        valid.append_n(run.length, true);
    }
    valid.append_n(count - valid.len(), false);
    NullBuffer::new(valid.finish())
}

/// The same values, of the declared type, and NULL where the row is.
fn with_nulls(values: ArrayRef, nulls: &NullBuffer, declared: &DataType) -> ArrayRef {
    let data = values.to_data().into_builder().nulls(Some(nulls.clone())).build();
    let values = data.map(make_array).expect("as many as rows");
    if values.data_type() == declared {
        return values;
    }
    // Times of another precision; whether they can be cast was asked when the table was described.
    cast(&values, declared).unwrap_or_else(|_| new_null_array(declared, values.len()))
}

impl Column {
    /// What a declared column holds.
    pub(super) fn new(field: &Field) -> Result<Self, OptionError> {
        if field.name() == EVENT_TYPE {
            expect_type(EVENT_TYPE, field.data_type(), &DataType::Int32, "INT")?;
            return Ok(Column::EventType);
        }
        let Some((_, name, kind)) = KINDS.iter().find(|(_, name, _)| name == field.name()) else {
            let names = KINDS.map(|(_, name, _)| name).into_iter().chain([EVENT_TYPE]);
            return Err(unknown("column", field.name(), names));
        };
        let DataType::Struct(fields) = field.data_type() else {
            return Err(mistyped(name, "a ROW of its fields"));
        };
        let values = fields.iter().map(|field| value(name, *kind, field));
        Ok(Column::Event(*kind, fields.clone(), values.collect::<Result<_, _>>()?))
    }
}

/// How a declared field is made.
fn value(column: &str, kind: Kind, field: &Field) -> Result<Value, OptionError> {
    let known = fields::of(kind);
    let Some((_, value)) = known.iter().find(|(name, _)| name == field.name()) else {
        let what = format!("field of '{column}' called");
        return Err(unknown(&what, field.name(), known.iter().map(|(name, _)| *name)));
    };
    let place = format!("{column}.{}", field.name());
    match value {
        Value::Integer(_) => expect_type(&place, field.data_type(), &DataType::Int64, "BIGINT")?,
        Value::Text(_) => expect_type(&place, field.data_type(), &DataType::Utf8, "STRING")?,
        Value::Time(_) if matches!(field.data_type(), DataType::Timestamp(..)) => {}
        Value::Time(_) => return Err(mistyped(&place, "a TIMESTAMP(3)")),
    }
    Ok(*value)
}

fn expect_type(
    place: &str,
    declared: &DataType,
    made: &DataType,
    name: &str,
) -> Result<(), OptionError> {
    if declared == made { Ok(()) } else { Err(mistyped(place, name)) }
}

fn mistyped(place: &str, name: &str) -> OptionError {
    let problem = format!("'nexmark' can't make '{place}' of another type than {name}");
    wrong("connector", problem, format!("declare it as {name}"))
}

fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> OptionError {
    let hint = match closest(name, known.clone()) {
        Some(close) => format!("did you mean '{close}'?"),
        None => format!("it has {}", listed(known)),
    };
    wrong("connector", format!("'nexmark' has no {what} '{name}'"), hint)
}
