//! What an epoch did to a table with a primary key: for each key one row, or one deletion.
//!
//! Rows that the epoch both inserted and deleted cancel out. What remains of a key is its new
//! row, or, if there is none, its old one as a deletion. Of several new rows the last to arrive
//! wins, which is what an append-only stream into an updating table means; in an updating stream
//! it says that the plan's key is none, so they are counted.

use arrow::array::{ArrayRef, DynComparator, UInt32Array, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry, HashTable};
use std::cmp::Ordering;
use std::hash::BuildHasher;
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
    let groups = Groups::of(&all, keys)?;
    let columns = all.columns().columns().iter();
    let comparators: Vec<DynComparator> = columns
        .map(|column| make_comparator(column, column, SortOptions::default()))
        .collect::<Result<_, _>>()?;
    let compare = |a: u32, b: u32| {
        let mut columns = comparators.iter().map(|compare| compare(a as usize, b as usize));
        columns.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut ambiguous_keys = 0;
    let mut chosen: Vec<(u32, i64)> = Vec::with_capacity(groups.heads.len());
    let mut rows = Vec::new();
    for &head in &groups.heads {
        rows.clear();
        rows.extend(groups.rows_from(head));
        let Outcome { row, insertions } = match all.weights() {
            // Nothing can cancel, so rows need not be compared.
            None => Outcome { row: rows.last().map(|&last| (last, 1)), insertions: 1 },
            Some(weights) => outcome(&mut rows, weights, &compare),
        };
        ambiguous_keys += usize::from(insertions > 1);
        chosen.extend(row);
    }
    chosen.sort_unstable();
    let indices = UInt32Array::from_iter_values(chosen.iter().map(|&(row, _)| row));
    let weights = chosen.iter().any(|&(_, weight)| weight < 0);
    let weights = weights.then(|| chosen.iter().map(|&(_, weight)| weight).collect());
    let (columns, _) = all.take(&indices)?.into_parts();
    Ok(Consolidated { rows: Batch::new(columns, weights), ambiguous_keys })
}

/// What remains of one key.
struct Outcome {
    /// Its new row, or its old one as a deletion.
    row: Option<(u32, i64)>,
    /// How many different new rows it has.
    insertions: usize,
}

/// What remains of the rows of one key, which are given in the order of their arrival.
fn outcome(rows: &mut [u32], weights: &[i64], compare: &impl Fn(u32, u32) -> Ordering) -> Outcome {
    rows.sort_unstable_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
    let (mut inserted, mut deleted, mut insertions) = (None, None, 0);
    for same in rows.chunk_by(|&a, &b| compare(a, b).is_eq()) {
        let weight: i64 = same.iter().map(|&row| weights[row as usize]).sum();
        let last = same.last().copied();
        if weight > 0 {
            insertions += 1;
            inserted = inserted.max(last);
        } else if weight < 0 {
            deleted = deleted.max(last);
        }
    }
    let row = inserted.map(|row| (row, 1)).or(deleted.map(|row| (row, -1)));
    Outcome { row, insertions }
}

/// The rows of a batch by their key, each key's as a list in the order of their arrival.
struct Groups {
    /// The first row of each key.
    heads: Vec<u32>,
    /// The next row of the same key, or the row itself if it is the last one.
    next: Vec<u32>,
}

impl Groups {
    fn of(rows: &Batch, keys: &[usize]) -> Result<Self, ArrowError> {
        let columns: Vec<ArrayRef> = keys.iter().map(|&key| rows.column(key).clone()).collect();
        let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
        let encoded = RowConverter::new(fields)?.convert_columns(&columns)?;
        let hasher = DefaultHashBuilder::default();
        let hash = |row: u32| hasher.hash_one(encoded.row(row as usize).data());
        let mut next: Vec<u32> = (0..rows.len() as u32).collect();
        let mut heads = Vec::new();
        // The last row of each key so far.
        let mut lasts: HashTable<u32> = HashTable::with_capacity(rows.len());
        for row in 0..rows.len() as u32 {
            let same = |&last: &u32| encoded.row(last as usize) == encoded.row(row as usize);
            match lasts.entry(hash(row), same, |&last| hash(last)) {
                Entry::Vacant(unseen) => {
                    unseen.insert(row);
                    heads.push(row);
                }
                Entry::Occupied(mut seen) => {
                    next[*seen.get() as usize] = row;
                    *seen.get_mut() = row;
                }
            }
        }
        Ok(Groups { heads, next })
    }

    /// The rows of a key from one of them on.
    fn rows_from(&self, row: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(row), |&row| {
            Some(self.next[row as usize]).filter(|&next| next != row)
        })
    }
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
