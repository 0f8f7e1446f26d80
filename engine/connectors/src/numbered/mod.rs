//! [`Numbered`]: a source that makes its rows up, each a pure function of its number.
//!
//! All workers together give the rows in order, each some at a time, so that where they stand is
//! one number, from which any number of workers can go on. They are one lane.

pub(crate) mod random;
mod turns;

use crate::source::{
    BadInputs, ConnectorError, Lane, LaneRows, LaneState, Poll, Positions, ReadSpec, Reader, Source,
};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::ops::Range;
use std::sync::Arc;
use tidemill_operators::{Batch, Epoch};
use turns::{Taken, Turns};

/// All rows.
const LANE: Lane = 0;

/// Their name in positions.
const LANE_NAME: &str = "rows";

/// What makes the rows up.
pub(crate) trait Generate: Clone + Send + 'static {
    /// The wanted columns of the rows with these numbers.
    fn columns(&self, rows: Range<u64>) -> Vec<ArrayRef>;
}

/// How many rows there are, and how fast they come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Amount {
    /// All of them, if there is a last one.
    pub rows: Option<u64>,
    /// Whether the input ends behind the last row, or stays open and gives nothing more.
    pub is_bounded: bool,
    /// Infinite: as fast as they are taken.
    pub rows_per_second: f64,
}

/// Such a source.
pub(crate) struct Numbered<G> {
    generator: G,
    amount: Amount,
    schema: SchemaRef,
    arrival: bool,
    /// The number of the first row to give.
    first: u64,
}

impl<G: Generate> Numbered<G> {
    /// The rows that `spec` asks for; `generator` makes its columns.
    pub(crate) fn new(spec: &ReadSpec, amount: Amount, generator: G) -> Self {
        let positions = spec.positions.as_ref();
        let first = positions.and_then(|p| p.get(LANE_NAME)).map_or(0, |&next| next as u64);
        let field = |&column: &usize| spec.table.schema.field(column).clone().with_nullable(true);
        let mut fields: Vec<Field> = spec.columns.iter().map(field).collect();
        if spec.arrival {
            fields.push(Field::new("__arrival", DataType::Int64, false));
        }
        let schema = Arc::new(Schema::new(fields));
        Numbered { generator, amount, schema, arrival: spec.arrival, first }
    }
}

impl<G: Generate> Source for Numbered<G> {
    fn is_bounded(&self) -> bool {
        self.amount.is_bounded
    }

    fn readers(&self, workers: usize) -> Result<Vec<Box<dyn Reader>>, ConnectorError> {
        let Amount { rows, rows_per_second, is_bounded } = self.amount;
        let turns = Arc::new(Turns::new(self.first, rows, rows_per_second));
        let reader = |_| {
            Box::new(NumberedReader {
                generator: self.generator.clone(),
                schema: self.schema.clone(),
                arrival: self.arrival,
                turns: turns.clone(),
                is_bounded,
                next: self.first,
                is_finished: false,
                announced: None,
            }) as Box<dyn Reader>
        };
        Ok((0..workers).map(reader).collect())
    }
}

struct NumberedReader<G> {
    generator: G,
    schema: SchemaRef,
    arrival: bool,
    turns: Arc<Turns>,
    is_bounded: bool,
    /// The number behind the last row that this worker gave.
    next: u64,
    is_finished: bool,
    announced: Option<LaneState>,
}

impl<G: Generate> NumberedReader<G> {
    fn generate(&self, rows: Range<u64>) -> Result<Batch, ConnectorError> {
        let count = (rows.end - rows.start) as usize;
        let mut columns = self.generator.columns(rows.clone());
        if self.arrival {
            columns.push(Arc::new(Int64Array::from_iter_values(rows.map(|row| row as i64))));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options);
        batch.map(Batch::from).map_err(|e| ConnectorError {
            what: "generating rows".to_owned(),
            cause: e.to_string(),
        })
    }
}

impl<G: Generate> Reader for NumberedReader<G> {
    fn poll(&mut self, epoch: Epoch, max_rows: usize) -> Result<Poll, ConnectorError> {
        match self.turns.take(epoch, max_rows as u64) {
            Taken::Nothing => Ok(Poll::Pending),
            Taken::Finished if !self.is_bounded => Ok(Poll::Pending),
            Taken::Finished => {
                self.is_finished = true;
                Ok(Poll::Finished)
            }
            Taken::Rows(rows) => {
                self.next = rows.end;
                let rows = self.generate(rows)?;
                Ok(Poll::Rows(vec![LaneRows { lane: LANE, rows }]))
            }
        }
    }

    fn lanes(&mut self) -> Vec<(Lane, LaneState)> {
        let state = if self.is_finished { LaneState::Finished } else { LaneState::Active };
        if self.announced == Some(state) {
            return vec![];
        }
        self.announced = Some(state);
        vec![(LANE, state)]
    }

    fn take_bad(&mut self) -> BadInputs {
        BadInputs::default()
    }

    fn positions(&self) -> Positions {
        Positions::from([(LANE_NAME.to_owned(), self.next as i64)])
    }

    fn lane_name(&self, _lane: Lane) -> String {
        LANE_NAME.to_owned()
    }
}
