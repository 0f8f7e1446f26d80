//! `datagen`: rows out of nothing, as fast as asked for.
//!
//! What is in a row is a function of its number: two runs give the same rows (but for points in
//! time, which follow the clock). The input ends if the number of rows is given, or when a
//! sequence does.

mod field;

use crate::numbered::{Amount, Generate, Numbered};
use crate::options::{Known, duration, number, refuse_unknown};
use crate::registry::Connector;
use crate::source::{ConnectorError, ReadSpec, Source};
use arrow::array::ArrayRef;
use field::Generator;
use std::collections::BTreeSet;
use std::ops::Range;
use tidemill_formats::{Capabilities, Changelog, OptionError, SourceCapability, Table};

const KNOWN: Known = Known { keys: &["rows-per-second", "number-of-rows"], prefixes: &["fields."] };

/// Flink's default rate.
const ROWS_PER_SECOND: u64 = 10_000;

/// The connector `datagen`.
pub(crate) struct Datagen;

fn amount(table: &Table, generators: &[Generator]) -> Result<Amount, OptionError> {
    let rows: Option<u64> = number(table, "number-of-rows")?;
    let sequences = generators.iter().filter_map(Generator::rows);
    let rows = sequences.chain(rows).min();
    let rows_per_second = number(table, "rows-per-second")?.unwrap_or(ROWS_PER_SECOND) as f64;
    Ok(Amount { rows, is_bounded: rows.is_some(), rows_per_second })
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

    fn known(&self) -> &'static Known {
        &KNOWN
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        refuse_unknown(table, &KNOWN, &BTreeSet::new())?;
        duration(table, "scan.watermark.idle-timeout")?;
        let amount = amount(table, &generators(table)?)?;
        Ok(Capabilities {
            source: Some(SourceCapability {
                is_bounded: amount.is_bounded,
                changelog: Changelog::AppendOnly,
                metadata: vec![],
                skips_fields: false,
            }),
            sink: vec![],
            lookup: None,
        })
    }

    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        let all = generators(&spec.table)?;
        let amount = amount(&spec.table, &all)?;
        let wanted = Columns(spec.columns.iter().map(|&column| all[column].clone()).collect());
        Ok(Box::new(Numbered::new(spec, amount, wanted)))
    }
}

/// The wanted columns.
#[derive(Clone)]
struct Columns(Vec<Generator>);

impl Generate for Columns {
    fn columns(&self, rows: Range<u64>) -> Vec<ArrayRef> {
        let numbers: Vec<u64> = rows.collect();
        self.0.iter().map(|generator| generator.column(&numbers)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::open_source;
    use crate::source::LaneRows;
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
