//! [`Normalize`]: makes a changelog of an upsert stream.
//!
//! ```text
//! in (weight)             out
//! +(k, 1)                 +(k, 1)
//! +(k, 2)                 -(k, 1) +(k, 2)
//! -(k, NULL)              -(k, 2)            only the key of a deletion is known
//! ```
//!
//! An upsert stream, such as a compacted topic, says what a key's row is from now on, or that there
//! is none any more; what it was before has to be remembered here. The output of an epoch is the
//! difference between its beginning and its end, key by key: a row that came and went again shows
//! nothing.

use crate::batch::Batch;
use crate::groups::{key_group_field, snapshot_tables};
use crate::key_table::KeyTable;
use crate::operator::{EpochContext, Operator, OperatorError, Output, Snapshot, SnapshotScope};
use crate::row_codec::RowCodec;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which columns make up the key. Output columns: the input's.
#[derive(Clone, Debug)]
pub struct NormalizeSpec {
    /// Key columns of the input.
    pub keys: Vec<usize>,
}

/// The operator. See the [module](self).
#[derive(Debug)]
pub struct Normalize {
    spec: NormalizeSpec,
    schema: SchemaRef,
    codec: RowCodec,
    keys: KeyTable,
    /// The row of each key, by the key's number.
    rows: Vec<Option<Box<[u8]>>>,
    row_bytes: usize,
    /// Keys whose row changed since the last snapshot.
    changed: BTreeSet<u32>,
    /// Keys of the last snapshot that are gone: they keep their number until the next one.
    gone: BTreeSet<u32>,
}

/// What an epoch changed, and the numbers of the keys it is about.
struct Difference {
    /// The changelog, if there is any change.
    rows: Option<Batch>,
    /// Keys whose row is another one now, or gone.
    changed: Vec<u32>,
    /// Keys that have no row any more.
    empty: Vec<u32>,
}

impl Normalize {
    /// An operator without state.
    ///
    /// # Errors
    /// If rows of this schema have no byte form.
    pub fn new(spec: NormalizeSpec, schema: SchemaRef) -> Result<Self, OperatorError> {
        let types: Vec<_> =
            spec.keys.iter().map(|&k| schema.field(k).data_type().clone()).collect();
        Ok(Normalize {
            codec: RowCodec::of_schema(&schema)?,
            keys: KeyTable::new(&types)?,
            spec,
            schema,
            rows: Vec::new(),
            row_bytes: 0,
            changed: BTreeSet::new(),
            gone: BTreeSet::new(),
        })
    }

    /// Applies a batch; what a key's row was before the epoch is noted at its first touch.
    fn upsert(
        &mut self,
        batch: &Batch,
        before: &mut BTreeMap<u32, Option<Box<[u8]>>>,
    ) -> Result<(), OperatorError> {
        let keys: Vec<ArrayRef> = self.spec.keys.iter().map(|&k| batch.column(k).clone()).collect();
        let mut groups = Vec::new();
        self.keys.insert(&keys, batch.len(), &mut groups)?;
        self.rows.resize(self.keys.slots(), None);
        let bytes = self.codec.encode(batch.columns().columns())?;
        for (row, &group) in groups.iter().enumerate() {
            let new: Option<Box<[u8]>> = (batch.weight(row) > 0).then(|| Box::from(bytes.get(row)));
            self.row_bytes += new.as_ref().map_or(0, |b| b.len());
            let old = std::mem::replace(&mut self.rows[group as usize], new);
            self.row_bytes -= old.as_ref().map_or(0, |b| b.len());
            before.entry(group).or_insert(old);
        }
        Ok(())
    }

    /// What an epoch changed.
    fn difference(
        &self,
        before: &BTreeMap<u32, Option<Box<[u8]>>>,
    ) -> Result<Difference, OperatorError> {
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        let (mut changed, mut empty) = (Vec::new(), Vec::new());
        for (&group, old) in before {
            let new = &self.rows[group as usize];
            if new.is_none() {
                empty.push(group);
            }
            if old == new {
                continue;
            }
            changed.push(group);
            for (row, weight) in [(old, -1), (new, 1)] {
                if let Some(bytes) = row {
                    rows.push(bytes.as_ref());
                    weights.push(weight);
                }
            }
        }
        if rows.is_empty() {
            return Ok(Difference { rows: None, changed, empty });
        }
        let columns = self.codec.decode(rows)?;
        let columns = RecordBatch::try_new(self.schema.clone(), columns)?;
        let rows = Some(Batch::new(columns, Some(weights.into())));
        Ok(Difference { rows, changed, empty })
    }

    /// Entries of `groups` for a snapshot: their rows, or only their keys.
    fn saved(&self, groups: &[u32], only_keys: bool) -> Result<Vec<RecordBatch>, OperatorError> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let mut fields = vec![key_group_field()];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.keys.key_groups(groups))];
        if only_keys {
            let key = |&k: &usize| self.schema.field(k).clone();
            fields.extend(self.spec.keys.iter().map(key));
            columns.extend(self.keys.keys(groups)?);
        } else {
            let row = |f: &Arc<Field>| f.as_ref().clone();
            fields.extend(self.schema.fields().iter().map(row));
            let rows = groups.iter().filter_map(|&g| self.rows[g as usize].as_deref());
            columns.extend(self.codec.decode(rows)?);
        }
        Ok(vec![RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?])
    }
}

impl Operator for Normalize {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        _context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let mut before = BTreeMap::new();
        for batch in inputs.iter().flatten() {
            self.upsert(batch, &mut before)?;
        }
        let Difference { rows, changed, empty } = self.difference(&before)?;
        output.rows.extend(rows);
        self.gone.extend(&empty);
        for group in before.into_keys() {
            if self.rows[group as usize].is_some() {
                self.gone.remove(&group);
            }
        }
        self.changed.extend(changed);
        Ok(())
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        let gone: Vec<u32> = std::mem::take(&mut self.gone).into_iter().collect();
        let changed = std::mem::take(&mut self.changed);
        let live = |group: &u32| self.rows[*group as usize].is_some();
        let (deletes, upserts) = match scope {
            SnapshotScope::Full => {
                (Vec::new(), self.keys.groups().into_iter().filter(live).collect::<Vec<_>>())
            }
            SnapshotScope::Changed => {
                (gone.clone(), changed.into_iter().filter(live).collect::<Vec<_>>())
            }
        };
        let tables =
            snapshot_tables("rows", &self.saved(&deletes, true)?, &self.saved(&upserts, false)?)?;
        self.keys.remove(&gone);
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        let mut before = BTreeMap::new();
        for table in &snapshot.tables {
            if let Some(deletes) = &table.deletes {
                let keys = &deletes.columns()[1..];
                for group in self.keys.find(None, keys, deletes.num_rows())?.into_iter().flatten() {
                    let old = self.rows[group as usize].take();
                    self.row_bytes -= old.map_or(0, |b| b.len());
                    self.keys.remove(&[group]);
                }
            }
            if let Some(upserts) = &table.upserts {
                let columns = upserts.columns()[1..].to_vec();
                let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
                self.upsert(&rows.into(), &mut before)?;
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.keys.bytes() + self.row_bytes + self.rows.capacity() * size_of::<Option<Box<[u8]>>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Watermark;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Int64Type};
    use proptest::prelude::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("k", DataType::Int64, true),
            Field::new("v", DataType::Int64, true),
        ]))
    }

    fn operator() -> Normalize {
        Normalize::new(NormalizeSpec { keys: vec![0] }, schema()).unwrap()
    }

    /// A key with its row from now on, or without one.
    type Change = (i64, Option<i64>);

    fn batch(changes: &[Change]) -> Batch {
        let keys: ArrayRef = Arc::new(changes.iter().map(|c| Some(c.0)).collect::<Int64Array>());
        let values: ArrayRef = Arc::new(changes.iter().map(|c| c.1).collect::<Int64Array>());
        let weights: Vec<i64> =
            changes.iter().map(|c| if c.1.is_some() { 1 } else { -1 }).collect();
        let columns = RecordBatch::try_new(schema(), vec![keys, values]).unwrap();
        Batch::new(columns, Some(weights.into()))
    }

    fn apply(operator: &mut Normalize, changes: &[Change]) -> Vec<(i64, i64, i64)> {
        let context = EpochContext {
            epoch: 0,
            now_ms: 0,
            watermark_before: Watermark::MIN,
            watermark_after: Watermark::MIN,
        };
        let mut output = Output::default();
        operator.apply(vec![vec![batch(changes)]], &context, &mut output).unwrap();
        let rows = output.rows.iter().flat_map(|rows| {
            let keys = rows.column(0).as_primitive::<Int64Type>().clone();
            let values = rows.column(1).as_primitive::<Int64Type>().clone();
            (0..rows.len()).map(move |i| (keys.value(i), values.value(i), rows.weight(i)))
        });
        rows.collect()
    }

    #[test]
    fn each_change_of_a_key_takes_its_old_row_back() {
        let mut operator = operator();
        assert_eq!(apply(&mut operator, &[(1, Some(10)), (2, Some(20))]), [(1, 10, 1), (2, 20, 1)]);
        assert_eq!(apply(&mut operator, &[(1, Some(11))]), [(1, 10, -1), (1, 11, 1)]);
        assert_eq!(apply(&mut operator, &[(2, None), (3, None)]), [(2, 20, -1)]);
        assert_eq!(apply(&mut operator, &[(1, Some(12)), (1, Some(11))]), []);
        assert_eq!(apply(&mut operator, &[(4, Some(1)), (4, None)]), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_changelog_adds_up_to_the_last_rows_through_restarts(
            epochs in prop::collection::vec(
                (prop::collection::vec((0..6i64, prop::option::weighted(0.7, 0..3i64)), 0..8), any::<bool>()),
                1..12,
            )
        ) {
            let mut operator = operator();
            let mut snapshots = Vec::new();
            let (mut folded, mut last) = (BTreeMap::<(i64, i64), i64>::new(), BTreeMap::new());
            for (changes, restarts) in epochs {
                for (key, value, weight) in apply(&mut operator, &changes) {
                    *folded.entry((key, value)).or_default() += weight;
                }
                for (key, value) in changes {
                    match value {
                        Some(value) => last.insert(key, value),
                        None => last.remove(&key),
                    };
                }
                folded.retain(|_, count| *count != 0);
                let expected: BTreeMap<(i64, i64), i64> =
                    last.iter().map(|(&k, &v)| ((k, v), 1)).collect();
                prop_assert_eq!(&folded, &expected);
                if restarts {
                    snapshots.push(operator.snapshot(SnapshotScope::Changed).unwrap());
                    operator = self::operator();
                    for snapshot in &snapshots {
                        operator.restore(snapshot).unwrap();
                    }
                }
            }
        }
    }
}
