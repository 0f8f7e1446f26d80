//! What an epoch did to a table with a primary key: for each key one row, or one deletion.
//!
//! Rows that the epoch both inserted and deleted cancel out. What remains of a key is its new
//! row, or, if there is none, its old one as a deletion. Of several new rows the last to arrive
//! wins, which is what an append-only stream into an updating table means; in an updating stream
//! it says that the plan's key is none, so they are counted.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use tidemill_operators::Batch;

/// The outcome of [`by_key`].
#[derive(Debug)]
pub(crate) struct Consolidated {
    /// At most one row for each key, of weight `+1` or `-1`.
    pub rows: Batch,
    /// Keys that had more than one new row.
    pub ambiguous_keys: usize,
}

/// Consolidates the rows of one epoch by the columns `keys`, keys in the order of their last
/// arrival.
pub(crate) fn by_key(
    schema: &SchemaRef,
    batches: &[Batch],
    keys: &[usize],
) -> Result<Consolidated, ArrowError> {
    let all = Batch::concat(schema, batches)?;
    let key_columns: Vec<ArrayRef> = keys.iter().map(|&k| all.column(k).clone()).collect();
    let key_rows = encode(&key_columns)?;
    // Without deletions nothing can cancel, so whole rows need not be compared.
    let whole_rows = match all.weights() {
        None => None,
        Some(_) => Some(encode(all.columns().columns())?),
    };
    let mut order: Vec<u32> = (0..all.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| {
        let (x, y) = (a as usize, b as usize);
        let by_whole = || whole_rows.as_ref().map(|w| w.row(x).cmp(&w.row(y)));
        let by_key = key_rows.row(x).cmp(&key_rows.row(y));
        by_key.then_with(|| by_whole().unwrap_or(std::cmp::Ordering::Equal)).then(a.cmp(&b))
    });
    let mut ambiguous_keys = 0;
    let mut chosen: Vec<(u32, i64)> = Vec::new();
    for group in order.chunk_by(|&a, &b| key_rows.row(a as usize) == key_rows.row(b as usize)) {
        let mut inserted: Option<u32> = None;
        let mut deleted: Option<u32> = None;
        let mut insertions = 0;
        for same in group.chunk_by(|&a, &b| {
            whole_rows.as_ref().is_none_or(|w| w.row(a as usize) == w.row(b as usize))
        }) {
            let weight: i64 = same.iter().map(|&row| all.weight(row as usize)).sum();
            let last = same.last().copied();
            if weight > 0 {
                insertions += 1;
                inserted = inserted.max(last);
            } else if weight < 0 {
                deleted = deleted.max(last);
            }
        }
        ambiguous_keys += usize::from(insertions > 1);
        let outcome = inserted.map(|row| (row, 1)).or(deleted.map(|row| (row, -1)));
        chosen.extend(outcome);
    }
    chosen.sort_unstable();
    let indices = UInt32Array::from_iter_values(chosen.iter().map(|&(row, _)| row));
    let weights = chosen.iter().any(|&(_, weight)| weight < 0);
    let weights = weights.then(|| chosen.iter().map(|&(_, weight)| weight).collect());
    let (columns, _) = all.take(&indices)?.into_parts();
    Ok(Consolidated { rows: Batch::new(columns, weights), ambiguous_keys })
}

fn encode(columns: &[ArrayRef]) -> Result<Rows, ArrowError> {
    let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    RowConverter::new(fields)?.convert_columns(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    type Row = (i64, i64, i64);

    fn batch(rows: &[Row]) -> Batch {
        let column = |pick: fn(&Row) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(pick)))
        };
        let columns = [("key", column(|r| r.0)), ("value", column(|r| r.1))];
        let weights: Vec<i64> = rows.iter().map(|r| r.2).collect();
        Batch::new(RecordBatch::try_from_iter(columns).unwrap(), Some(weights.into()))
    }

    fn run(rows: &[Row]) -> (Vec<Row>, usize) {
        let batches: Vec<Batch> = rows.chunks(3).map(batch).collect();
        let schema = batch(&[]).schema();
        let out = by_key(&schema, &batches, &[0]).unwrap();
        let column = |i: usize| out.rows.column(i).as_primitive::<Int64Type>().values().to_vec();
        let rows = column(0).into_iter().zip(column(1)).enumerate();
        (rows.map(|(i, (k, v))| (k, v, out.rows.weight(i))).collect(), out.ambiguous_keys)
    }

    #[test]
    fn an_update_gives_the_new_row_and_a_deletion_a_tombstone() {
        let cases: &[(&[Row], &[Row], usize)] = &[
            (&[(1, 10, -1), (1, 11, 1)], &[(1, 11, 1)], 0),
            (&[(1, 11, 1), (1, 10, -1)], &[(1, 11, 1)], 0),
            (&[(1, 10, -1)], &[(1, 10, -1)], 0),
            (&[(1, 10, 1), (1, 10, -1)], &[], 0),
            (&[(1, 10, -1), (1, 11, 1), (1, 11, -1), (1, 12, 1)], &[(1, 12, 1)], 0),
            (&[(1, 10, -1), (1, 11, 1), (1, 11, -1)], &[(1, 10, -1)], 0),
            (&[(1, 10, 1), (2, 20, 1), (1, 11, 1)], &[(2, 20, 1), (1, 11, 1)], 1),
        ];
        for &(rows, expected, ambiguous) in cases {
            assert_eq!(run(rows), (expected.to_vec(), ambiguous), "{rows:?}");
        }
    }

    #[test]
    fn in_an_append_only_epoch_the_last_row_of_a_key_wins() {
        let (columns, _) = batch(&[(1, 10, 1), (2, 20, 1), (1, 9, 1)]).into_parts();
        let batch = Batch::from(columns);
        let out = by_key(&batch.schema(), &[batch], &[0]).unwrap();
        assert_eq!(out.rows.column(1).as_primitive::<Int64Type>().values(), &[20, 9]);
        assert!(out.rows.weights().is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_reader_of_upserts_holds_what_the_changes_add_up_to(
            steps in prop::collection::vec((0i64..4, prop::option::of(0i64..3)), 0..24),
            epoch in 1usize..6,
        ) {
            let (mut table, mut reader) = (BTreeMap::new(), BTreeMap::new());
            for steps in steps.chunks(epoch) {
                let mut changes = Vec::new();
                for &(key, value) in steps {
                    let old = match value {
                        Some(value) => table.insert(key, value),
                        None => table.remove(&key),
                    };
                    changes.extend(old.map(|old| (key, old, -1)));
                    changes.extend(value.map(|value| (key, value, 1)));
                }
                let (upserts, ambiguous) = run(&changes);
                prop_assert_eq!(ambiguous, 0);
                for (key, value, weight) in upserts {
                    if weight > 0 { reader.insert(key, value); } else { reader.remove(&key); }
                }
                prop_assert_eq!(&reader, &table);
            }
        }
    }
}
