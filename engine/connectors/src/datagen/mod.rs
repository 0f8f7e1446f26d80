//! `datagen`: rows out of nothing, as fast as asked for.
//!
//! Rows are numbered, and what is in them is a function of the number: two runs give the same rows
//! (but for points in time, which follow the clock). All workers together give them in order, each
//! some at a time, so that where they stand is one number. They are one lane. The input ends if
//! the number of rows is given, or when a sequence does.

mod field;
mod turn;

use crate::options::{Known, duration, number, refuse_unknown};
use crate::registry::{Connector, not_a_sink};
use crate::sink::{Sink, WriteSpec};
use crate::source::{
    BadInputs, ConnectorError, Lane, LaneRows, LaneState, Poll, Positions, ReadSpec, Reader, Source,
};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use field::Generator;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use tidemill_formats::{Capabilities, Changelog, OptionError, SourceCapability, Table};
use tidemill_operators::{Batch, Epoch};
use turn::{Taken, Turns};

const KNOWN: Known = Known { keys: &["rows-per-second", "number-of-rows"], prefixes: &["fields."] };

/// Flink's default rate.
const ROWS_PER_SECOND: u64 = 10_000;

/// All rows.
const LANE: Lane = 0;

/// Their name in positions.
const LANE_NAME: &str = "rows";

/// The connector `datagen`.
pub(crate) struct Datagen;

/// How many rows there are in all, if they end, and how fast they come.
#[derive(Clone, Copy, Debug)]
struct Amount {
    rows: Option<u64>,
    rows_per_second: u64,
}

fn amount(table: &Table, generators: &[Generator]) -> Result<Amount, OptionError> {
    let rows: Option<u64> = number(table, "number-of-rows")?;
    let sequences = generators.iter().filter_map(Generator::rows);
    Ok(Amount {
        rows: sequences.chain(rows).min(),
        rows_per_second: number(table, "rows-per-second")?.unwrap_or(ROWS_PER_SECOND),
    })
}

/// A generator for each physical column.
fn generators(table: &Table) -> Result<Vec<Generator>, OptionError> {
    for key in table.options.keys() {
        field::refuse_unknown_field_option(table, key)?;
    }
    table.schema.fields().iter().map(|field| Generator::new(table, field)).collect()
}

impl Connector for Datagen {
    fn name(&self) -> &'static str {
        "datagen"
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        refuse_unknown(table, &KNOWN, &BTreeSet::new())?;
        duration(table, "scan.watermark.idle-timeout")?;
        let amount = amount(table, &generators(table)?)?;
        Ok(Capabilities {
            source: Some(SourceCapability {
                is_bounded: amount.rows.is_some(),
                changelog: Changelog::AppendOnly,
                metadata: vec![],
            }),
            sink: vec![],
            lookup: None,
        })
    }

    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        let generators = generators(&spec.table)?;
        let amount = amount(&spec.table, &generators)?;
        let positions = spec.positions.as_ref();
        let first = positions.and_then(|p| p.get(LANE_NAME)).map_or(0, |&next| next as u64);
        let mut fields: Vec<Field> = vec![];
        for &column in &spec.columns {
            fields.push(spec.table.schema.field(column).clone().with_nullable(true));
        }
        if spec.arrival {
            fields.push(Field::new("__arrival", DataType::Int64, false));
        }
        Ok(Box::new(Generated {
            generators: spec.columns.iter().map(|&column| generators[column].clone()).collect(),
            schema: Arc::new(Schema::new(fields)),
            arrival: spec.arrival,
            amount,
            first,
        }))
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        Err(not_a_sink(&spec.table))
    }
}

struct Generated {
    generators: Vec<Generator>,
    schema: SchemaRef,
    arrival: bool,
    amount: Amount,
    /// The number of the first row to give.
    first: u64,
}

impl Source for Generated {
    fn is_bounded(&self) -> bool {
        self.amount.rows.is_some()
    }

    fn readers(&self, workers: usize) -> Result<Vec<Box<dyn Reader>>, ConnectorError> {
        let Amount { rows, rows_per_second } = self.amount;
        let turns = Arc::new(Turns::new(self.first, rows, rows_per_second as f64));
        let reader = |_| {
            Box::new(DatagenReader {
                generators: self.generators.clone(),
                schema: self.schema.clone(),
                arrival: self.arrival,
                turns: turns.clone(),
                next: self.first,
                is_finished: false,
                announced: None,
            }) as Box<dyn Reader>
        };
        Ok((0..workers).map(reader).collect())
    }
}

struct DatagenReader {
    generators: Vec<Generator>,
    schema: SchemaRef,
    arrival: bool,
    turns: Arc<Turns>,
    /// The number behind the last row that this worker gave.
    next: u64,
    is_finished: bool,
    announced: Option<LaneState>,
}

impl DatagenReader {
    fn generate(&self, rows: Range<u64>) -> Result<Batch, ConnectorError> {
        let numbers: Vec<u64> = rows.collect();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.generators.len() + 1);
        columns.extend(self.generators.iter().map(|generator| generator.column(&numbers)));
        if self.arrival {
            columns.push(Arc::new(Int64Array::from_iter_values(numbers.iter().map(|&n| n as i64))));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options);
        batch.map(Batch::from).map_err(|e| ConnectorError {
            what: "generating rows".to_owned(),
            cause: e.to_string(),
        })
    }
}

impl Reader for DatagenReader {
    fn poll(&mut self, epoch: Epoch, max_rows: usize) -> Result<Poll, ConnectorError> {
        match self.turns.take(epoch, max_rows as u64) {
            Taken::Nothing => Ok(Poll::Pending),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::open_source;
    use crate::testing::{Step, drain, lives, read_all, read_in_lives, table};
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    fn datagen(options: &[(&str, &str)]) -> Table {
        let mut all = vec![("connector", "datagen"), ("rows-per-second", "1000000000")];
        all.extend_from_slice(options);
        table(&all)
    }

    fn ids(workers: usize, table: Table) -> Vec<i64> {
        let mut readers = open_source(&read_all(table)).unwrap().readers(workers).unwrap();
        ids_of(&drain(&mut readers, 7))
    }

    fn ids_of(rows: &[LaneRows]) -> Vec<i64> {
        let ids = |r: &LaneRows| r.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        let mut ids: Vec<i64> = rows.iter().flat_map(ids).collect();
        ids.sort();
        ids
    }

    #[test]
    fn a_sequence_is_dealt_out_without_gaps_and_ends_the_input() {
        let sequence =
            [("fields.id.kind", "sequence"), ("fields.id.start", "10"), ("fields.id.end", "29")];
        for workers in [1, 3] {
            assert_eq!(ids(workers, datagen(&sequence)), (10..30).collect::<Vec<_>>());
        }
        let mut fewer = sequence.to_vec();
        fewer.push(("number-of-rows", "5"));
        assert_eq!(ids(2, datagen(&fewer)), (10..15).collect::<Vec<_>>());
    }

    #[test]
    fn random_values_stay_within_their_bounds_and_are_the_same_each_time() {
        let options = [("number-of-rows", "500"), ("fields.id.min", "-3"), ("fields.id.max", "3")];
        let first = ids(2, datagen(&options));
        assert_eq!((first.first(), first.last(), first.len()), (Some(&-3), Some(&3), 500));
        assert_eq!(ids(2, datagen(&options)), first);
    }

    #[test]
    fn a_wrong_field_option_is_refused() {
        let refused = |key, value| Datagen.describe(&datagen(&[(key, value)])).unwrap_err();
        assert_eq!(refused("fields.nosuch.min", "1").option, "fields.nosuch.min");
        assert_eq!(refused("fields.id.mix", "1").hint, "did you mean 'fields.id.min'?");
        assert_eq!(refused("fields.id.kind", "sequence").option, "fields.id.start");
        assert!(Datagen.describe(&datagen(&[])).unwrap().source.is_some_and(|s| !s.is_bounded));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_sequence_goes_on_where_it_stood_on_any_number_of_workers(lives in lives()) {
            let sequence =
                [("fields.id.kind", "sequence"), ("fields.id.start", "0"), ("fields.id.end", "99")];
            let rows = read_in_lives(&read_all(datagen(&sequence)), &lives, 5);
            prop_assert_eq!(ids_of(&rows), (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn random_rows_are_the_same_after_a_restart() {
        let table = datagen(&[("number-of-rows", "50")]);
        let life = (2, vec![Step::Poll(0), Step::Poll(1), Step::Advance(1), Step::Poll(0)]);
        let rows = read_in_lives(&read_all(table.clone()), &[life], 5);
        assert_eq!(ids_of(&rows), ids(3, table));
    }
}
