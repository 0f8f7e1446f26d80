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
//! nothing. Of keys that are equal though their bits are not (`-0.0` and `0.0`) one is shown, so
//! that a row is taken back as it was shown.

use crate::batch::Batch;
use crate::key_table::{KeyTable, canonical};
use crate::operator::{EpochContext, Operator, OperatorError, Output};
use crate::row_codec::RowCodec;
use crate::snapshot::journal::Journal;
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, key_group_field};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeMap;
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
    journal: Journal,
    /// Keys that the last snapshot has and that are gone.
    removed: Vec<RecordBatch>,
}

/// What a key's row was before the epoch, of each key that the epoch names.
type Before = BTreeMap<u32, Option<Box<[u8]>>>;

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
            journal: Journal::default(),
            removed: Vec::new(),
        })
    }

    /// Applies a batch; what a key's row was before the epoch is noted at its first touch.
    fn upsert(&mut self, batch: &Batch, before: &mut Before) -> Result<(), OperatorError> {
        let mut columns = batch.columns().columns().to_vec();
        for &key in &self.spec.keys {
            columns[key] = canonical(&columns[key]);
        }
        let keys: Vec<ArrayRef> = self.spec.keys.iter().map(|&k| columns[k].clone()).collect();
        let mut groups = Vec::new();
        self.keys.insert(&keys, batch.len(), &mut groups)?;
        self.rows.resize(self.keys.slots(), None);
        let bytes = self.codec.encode(&columns)?;
        for (row, &group) in groups.iter().enumerate() {
            let new: Option<Box<[u8]>> = (batch.weight(row) > 0).then(|| Box::from(bytes.get(row)));
            self.row_bytes += new.as_ref().map_or(0, |b| b.len());
            let old = std::mem::replace(&mut self.rows[group as usize], new);
            self.row_bytes -= old.as_ref().map_or(0, |b| b.len());
            before.entry(group).or_insert(old);
        }
        Ok(())
    }

    /// What an epoch changed, if anything; and what changed is noted for the next snapshot.
    fn difference(&mut self, before: &Before) -> Result<Option<Batch>, OperatorError> {
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for (&group, old) in before {
            let new = &self.rows[group as usize];
            if old == new {
                continue;
            }
            self.journal.touch(group);
            for (row, weight) in [(old, -1), (new, 1)] {
                if let Some(bytes) = row {
                    rows.push(bytes.as_ref());
                    weights.push(weight);
                }
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let columns = self.codec.decode(rows)?;
        let columns = RecordBatch::try_new(self.schema.clone(), columns)?;
        Ok(Some(Batch::new(columns, Some(weights.into()))))
    }

    /// Forgets keys that have no row any more.
    fn forget(&mut self, empty: &[u32]) -> Result<(), OperatorError> {
        let mut saved = empty.to_vec();
        saved.retain(|&group| self.journal.remove(group));
        for saved in saved.chunks(CHUNK_ROWS) {
            self.removed.push(self.deletes(saved)?);
        }
        self.keys.remove(empty);
        Ok(())
    }

    fn deletes(&self, groups: &[u32]) -> Result<RecordBatch, OperatorError> {
        let mut fields = vec![key_group_field()];
        fields.extend(self.spec.keys.iter().map(|&k| self.schema.field(k).clone()));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.keys.key_groups(groups))];
        columns.extend(self.keys.keys(groups)?);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// The rows of keys, the key columns in front.
    fn upserts(&self, groups: &[u32]) -> Result<RecordBatch, OperatorError> {
        let rows = groups.iter().filter_map(|&g| self.rows[g as usize].as_deref());
        let row = self.codec.decode(rows)?;
        let mut fields = vec![key_group_field()];
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.keys.key_groups(groups))];
        for column in self.saved_columns() {
            fields.push(self.schema.field(column).clone());
            columns.push(row[column].clone());
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// The input's columns in the order in which a snapshot has them.
    fn saved_columns(&self) -> impl Iterator<Item = usize> {
        let keys = &self.spec.keys;
        let others = (0..self.schema.fields().len()).filter(|column| !keys.contains(column));
        keys.iter().copied().chain(others)
    }

    /// The rows of a snapshot's entries.
    fn saved_rows(&self, upserts: &RecordBatch) -> Result<RecordBatch, OperatorError> {
        let mut places = vec![0; self.schema.fields().len()];
        for (place, column) in self.saved_columns().enumerate() {
            places[column] = place + 1;
        }
        let columns = places.iter().map(|&place| upserts.column(place).clone()).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

impl Operator for Normalize {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        _context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let mut before = Before::new();
        for batch in inputs.iter().flatten() {
            self.upsert(batch, &mut before)?;
        }
        output.rows.extend(self.difference(&before)?);
        let is_empty = |group: &u32| self.rows[*group as usize].is_none();
        let empty: Vec<u32> = before.into_keys().filter(is_empty).collect();
        self.forget(&empty)
    }

    fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        let removed = std::mem::take(&mut self.removed);
        let deletes = if scope == SnapshotScope::Changed { removed } else { Vec::new() };
        let changed = self.journal.take(scope, || self.keys.groups());
        let upserts = changed.chunks(CHUNK_ROWS).map(|groups| self.upserts(groups));
        let upserts: Vec<RecordBatch> = upserts.collect::<Result<_, _>>()?;
        let key_width = 1 + self.spec.keys.len();
        Ok(Snapshot { tables: snapshot::tables("rows", key_width, &deletes, &upserts)? })
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        for table in &snapshot.tables {
            if let Some(deletes) = &table.deletes {
                let keys = &deletes.columns()[1..];
                let groups = self.keys.find(None, keys, deletes.num_rows())?;
                let gone: Vec<u32> = groups.into_iter().flatten().collect();
                for &group in &gone {
                    let old = self.rows[group as usize].take();
                    self.row_bytes -= old.map_or(0, |b| b.len());
                }
                self.forget(&gone)?;
            }
            if let Some(upserts) = &table.upserts {
                let mut before = Before::new();
                self.upsert(&self.saved_rows(upserts)?.into(), &mut before)?;
                before.into_keys().for_each(|group| self.journal.restored(group));
            }
        }
        self.removed.clear();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let rows = self.rows.capacity() * size_of::<Option<Box<[u8]>>>();
        self.keys.bytes() + self.journal.bytes() + self.row_bytes + rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Event, Workers, events};
    use crate::time::Watermark;
    use arrow::array::{AsArray, Float64Array, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type};
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
        read(&output)
    }

    fn read(output: &Output) -> Vec<(i64, i64, i64)> {
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

    #[test]
    fn of_keys_that_are_equal_one_is_shown_and_saved() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("k", DataType::Float64, true),
            Field::new("v", DataType::Int64, true),
        ]));
        let rows = |key: f64, weight: i64| {
            let columns: Vec<ArrayRef> =
                vec![Arc::new(Float64Array::from(vec![key])), Arc::new(Int64Array::from(vec![7]))];
            let columns = RecordBatch::try_new(schema.clone(), columns).unwrap();
            vec![Batch::new(columns, Some(vec![weight].into()))]
        };
        let spec = NormalizeSpec { keys: vec![0] };
        let make = {
            let schema = schema.clone();
            move || Normalize::new(spec.clone(), schema.clone()).unwrap()
        };
        let mut workers = Workers::new(vec![vec![0]], make);
        let restart = Event::Restart(SnapshotScope::Changed, vec![], 1);
        workers.step(&rows(-0.0, 1), Watermark::MIN).unwrap();
        workers.meet(&restart);
        let output = workers.step(&rows(0.0, 1), Watermark::MIN).unwrap();
        assert!(output.rows.is_empty(), "it is the row that is there: {output:?}");
        workers.step(&rows(0.0, -1), Watermark::MIN).unwrap();
        workers.meet(&restart);
        let output = workers.step(&rows(-0.0, -1), Watermark::MIN).unwrap();
        assert!(output.rows.is_empty(), "it has gone already: {output:?}");
    }

    #[test]
    fn keys_that_come_and_go_leave_no_state() {
        let mut operator = operator();
        for key in 0..100 {
            apply(&mut operator, &[(key, Some(1))]);
            apply(&mut operator, &[(key, None)]);
        }
        assert_eq!((operator.keys.len(), operator.keys.slots(), operator.row_bytes), (0, 1, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_changelog_adds_up_to_the_last_rows_through_restarts(
            epochs in prop::collection::vec(
                (prop::collection::vec((0..6i64, prop::option::weighted(0.7, 0..3i64)), 0..8), events()),
                1..12,
            )
        ) {
            let mut workers = Workers::new(vec![vec![0]], operator);
            let (mut folded, mut last) = (BTreeMap::<(i64, i64), i64>::new(), BTreeMap::new());
            for (changes, event) in epochs {
                let output = workers.step(&[batch(&changes)], Watermark::MIN).unwrap();
                for (key, value, weight) in read(&output) {
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
                workers.meet(&event);
            }
        }
    }
}
