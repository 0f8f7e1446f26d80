//! What is shown of matches: one row for each, built column by column.

use super::PatternMatch;
use super::path::Path;
use super::spec::{Measure, Operand, Reading};
use crate::aggregate::{AggregateCall, Retraction, Rows, create};
use crate::key;
use crate::operator::{EpochContext, OperatorError, Output};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A match that is to be shown.
#[derive(Debug)]
pub(super) struct Match {
    path: Path,
    /// Its rows among those of all matches.
    rows: Range<usize>,
    /// When it was found.
    time: i64,
}

/// The matches that are to be shown.
#[derive(Debug, Default)]
pub(super) struct Matches {
    all: Vec<Match>,
    /// The rows of all of them.
    rows: Vec<u32>,
}

impl Matches {
    pub(super) fn push(&mut self, path: Path, rows: impl Iterator<Item = u32>, time: i64) {
        let start = self.rows.len();
        self.rows.extend(rows.take(path.len()));
        self.all.push(Match { path, rows: start..self.rows.len(), time });
    }

    /// How many rows they have.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }
}

/// The rows that are read, each decoded once.
#[derive(Default)]
struct Reads {
    ids: Vec<u32>,
    places: HashMap<u32, u32>,
}

impl Reads {
    fn place(&mut self, id: u32) -> u32 {
        *self.places.entry(id).or_insert_with(|| {
            self.ids.push(id);
            (self.ids.len() - 1) as u32
        })
    }
}

/// A column of the output, by the places of the rows that it is read from.
enum Column<'s> {
    /// A value of one row of each match.
    Picked {
        column: usize,
        rows: UInt32Array,
    },
    /// An aggregate over rows, each with the number of its match.
    Aggregated {
        call: &'s AggregateCall,
        matches: Vec<u32>,
        rows: Vec<u32>,
    },
    Time,
}

/// The partition's columns, then the measures.
pub(super) fn output_schema(spec: &super::PatternSpec, input: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> =
        spec.partition.iter().map(|&column| input.field(column).clone()).collect();
    fields.extend(spec.measures.iter().map(|measure| match measure {
        Measure::Operand { name, operand } => {
            let data_type = super::conditions::reading_type(&operand.reading, input);
            Field::new(name, data_type, true)
        }
        Measure::Time { name } => {
            Field::new(name, input.field(spec.time).data_type().clone(), true)
        }
    }));
    Arc::new(Schema::new(fields))
}

impl PatternMatch {
    /// Shows the matches that were found.
    pub(super) fn show(
        &mut self,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let matches = std::mem::take(&mut self.matches);
        if matches.all.is_empty() {
            return Ok(());
        }
        let mut reads = Reads::default();
        let columns = self.columns(&matches, &mut reads);
        let bytes = reads.ids.iter().map(|&id| self.held.row(id).bytes());
        let length = RecordBatchOptions::new().with_row_count(Some(reads.ids.len()));
        let decoded = self.codec.decode(bytes)?;
        let rows = RecordBatch::try_new_with_options(self.input.clone(), decoded, &length)?;
        let built = columns.into_iter().map(|column| match column {
            Column::Picked { column, rows: places } => {
                Ok(take(rows.column(column), &places, None)?)
            }
            Column::Aggregated { call, matches: groups, rows: places } => {
                aggregate(call, (&groups, matches.all.len()), &places.into(), &rows, context)
            }
            Column::Time => {
                let times = Int64Array::from_iter_values(matches.all.iter().map(|m| m.time));
                Ok(key::from_int64(&times, self.time_type())?)
            }
        });
        let built = built.collect::<Result<Vec<_>, OperatorError>>()?;
        let length = RecordBatchOptions::new().with_row_count(Some(matches.all.len()));
        let shown = RecordBatch::try_new_with_options(self.output.clone(), built, &length)?;
        output.rows.push(shown.into());
        Ok(())
    }

    fn time_type(&self) -> &DataType {
        self.input.field(self.spec.time).data_type()
    }

    fn columns(&self, matches: &Matches, reads: &mut Reads) -> Vec<Column<'_>> {
        let keys = self.spec.partition.iter().map(|&column| {
            let first = |m: &Match| reads.place(matches.rows[m.rows.start]);
            let rows = UInt32Array::from_iter_values(matches.all.iter().map(first));
            Column::Picked { column, rows }
        });
        let mut columns: Vec<Column<'_>> = keys.collect();
        columns.extend(self.spec.measures.iter().map(|measure| match measure {
            Measure::Operand { operand, .. } => column(operand, matches, reads),
            Measure::Time { .. } => Column::Time,
        }));
        columns
    }
}

fn column<'s>(operand: &'s Operand, matches: &Matches, reads: &mut Reads) -> Column<'s> {
    let mut picked = |column: usize, row: &dyn Fn(&Path) -> Option<usize>| {
        let rows = matches.all.iter().map(|m| {
            let row = row(&m.path)?;
            Some(reads.place(matches.rows[m.rows.start + row]))
        });
        Column::Picked { column, rows: rows.collect() }
    };
    match &operand.reading {
        Reading::First { column, offset } => {
            picked(*column, &|path| path.first(operand.variable, *offset).ok())
        }
        Reading::Last { column, offset } => {
            picked(*column, &|path| path.last(operand.variable, *offset))
        }
        Reading::Aggregate(call) => {
            let (mut groups, mut rows) = (Vec::new(), Vec::new());
            for (number, m) in matches.all.iter().enumerate() {
                let own = m.path.rows(operand.variable);
                rows.extend(own.map(|row| reads.place(matches.rows[m.rows.start + row])));
                groups.resize(rows.len(), number as u32);
            }
            Column::Aggregated { call, matches: groups, rows }
        }
    }
}

fn aggregate(
    call: &AggregateCall,
    (groups, matches): (&[u32], usize),
    places: &UInt32Array,
    rows: &RecordBatch,
    context: &EpochContext,
) -> Result<ArrayRef, OperatorError> {
    let column = |column: usize| take(rows.column(column), places, None);
    let values = call.argument.map(column).transpose()?;
    let filter = call.filter.map(column).transpose()?;
    let mut aggregate = create(call, Retraction::Never)?;
    aggregate.resize(matches);
    aggregate.update(&Rows {
        groups,
        values: values.as_ref(),
        weights: None,
        filter: filter.as_ref().map(|filter| filter.as_boolean()),
        epoch: context.epoch,
        arrival: None,
    })?;
    aggregate.read(&(0..matches as u32).collect::<Vec<_>>())
}
