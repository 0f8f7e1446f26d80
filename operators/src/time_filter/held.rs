//! [`HeldRows`]: the rows that will change without a row coming in.
//!
//! A bag of rows with their validities. The invariant between two epochs: a row is here exactly if
//! it counts and a change of it is still to come, and `due` has it once, under the clock's value of
//! that change. So a row that is valid for good, or no more, is not here.
//!
//! Within an epoch rows collect in `delta` what is to be said of them, and what they come to is read
//! before [`HeldRows::settle`] forgets it: what comes and goes in one epoch is never said.

use super::validity::{Standing, Validity};
use crate::gather::Gather;
use crate::operator::OperatorError;
use crate::row_codec::RowCodec;
use crate::snapshot::SnapshotScope;
use crate::snapshot::journal::Journal;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::collections::BTreeSet;
use std::hash::BuildHasher;

/// Not in the epoch's input.
pub(super) const NONE: u32 = u32::MAX;

/// A row and how often it counts.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) bytes: Box<[u8]>,
    pub(super) count: i64,
    /// What the epoch has to say of it.
    delta: i64,
    validity: Validity,
    /// A row of the epoch's input that is equal to it.
    fresh: u32,
    pub(super) standing: Standing,
    is_touched: bool,
}

impl Row {
    /// Notes that it counts so much more, if anybody is to hear of it.
    fn say(&mut self, delta: i64) {
        if self.standing == Standing::Shown {
            self.delta += delta;
        }
    }
}

/// The rows. See the [module](self).
#[derive(Debug)]
pub(super) struct HeldRows {
    schema: SchemaRef,
    pub(super) codec: RowCodec,
    pub(super) rows: Vec<Row>,
    free: Vec<u32>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    due: BTreeSet<(i64, u32)>,
    /// Rows that the epoch changes.
    touched: Vec<u32>,
    /// The epoch's input.
    epoch: Option<RecordBatch>,
    row_bytes: usize,
    pub(super) journal: Journal,
    /// Rows that the last snapshot has and that are gone.
    pub(super) deleted: Vec<Box<[u8]>>,
}

impl HeldRows {
    pub(super) fn new(schema: SchemaRef) -> Result<Self, OperatorError> {
        Ok(HeldRows {
            codec: RowCodec::of_schema(&schema)?,
            schema,
            rows: Vec::new(),
            free: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            due: BTreeSet::new(),
            touched: Vec::new(),
            epoch: None,
            row_bytes: 0,
            journal: Journal::default(),
            deleted: Vec::new(),
        })
    }

    /// The clock's value at which the next row changes.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.first().map(|&(time, _)| time)
    }

    /// Whether the epoch has changed any row so far.
    pub(super) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Shows and takes back the rows whose time has come at `now`.
    pub(super) fn fire(&mut self, now: i64) {
        while let Some(&(time, id)) = self.due.first()
            && time <= now
        {
            self.due.pop_first();
            self.touch(id);
            let row = &mut self.rows[id as usize];
            if row.validity.is_over(now) {
                row.say(-row.count);
                row.count = 0;
                continue;
            }
            row.standing = Standing::Shown;
            row.say(row.count);
            self.await_change(id);
        }
    }

    /// Starts on the epoch's input.
    pub(super) fn begin(&mut self, rows: RecordBatch) {
        self.epoch = Some(rows);
    }

    /// Adds a row of the epoch's input, `fresh`, whose validity is not over at `now`.
    pub(super) fn add(
        &mut self,
        (bytes, validity): (&[u8], Validity),
        (weight, fresh): (i64, u32),
        now: i64,
    ) {
        let standing = validity.standing(now);
        let id = self.find(bytes).unwrap_or_else(|| self.insert(bytes, validity, standing));
        let row = &mut self.rows[id as usize];
        debug_assert_eq!(row.standing, standing, "equal rows stand alike");
        row.count += weight;
        row.say(weight);
        row.fresh = fresh;
        self.touch(id);
    }

    fn touch(&mut self, id: u32) {
        let row = &mut self.rows[id as usize];
        if !std::mem::replace(&mut row.is_touched, true) {
            self.touched.push(id);
        }
    }

    /// What the epoch has to say: rows, and by how much each counts more or less, retractions
    /// first.
    pub(super) fn changes(&self) -> Vec<(u32, i64)> {
        let changes = self.touched.iter().map(|&id| (id, self.rows[id as usize].delta));
        let mut changes: Vec<(u32, i64)> = changes.filter(|&(_, delta)| delta != 0).collect();
        changes.sort_by_key(|&(_, delta)| delta > 0);
        changes
    }

    /// The columns of the rows of `changes`.
    pub(super) fn gather(&self, changes: &[(u32, i64)]) -> Result<RecordBatch, OperatorError> {
        let mut gather = Gather::with_capacity(changes.len());
        for &(id, _) in changes {
            let row = &self.rows[id as usize];
            match row.fresh {
                NONE => {
                    gather.held(&row.bytes);
                }
                fresh => gather.epoch(fresh),
            }
        }
        let columns = gather.columns(&self.codec, &self.schema, self.epoch.as_ref())?;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// Ends the epoch: forgets what was said, and the rows that will not change any more.
    pub(super) fn settle(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let row = &mut self.rows[id as usize];
            (row.delta, row.fresh, row.is_touched) = (0, NONE, false);
            if row.count == 0 || row.validity.next_change(row.standing).is_none() {
                self.remove(id);
            } else {
                self.journal.touch(id);
            }
        }
        self.epoch = None;
    }

    /// The row of these bytes.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(bytes);
        self.table.find(hash, |&id| *self.rows[id as usize].bytes == *bytes).copied()
    }

    /// Holds a row that was not there, of count zero.
    fn insert(&mut self, bytes: &[u8], validity: Validity, standing: Standing) -> u32 {
        let id = self.free.pop().unwrap_or(self.rows.len() as u32);
        self.row_bytes += bytes.len();
        let row = Row { bytes: bytes.into(), validity, fresh: NONE, standing, ..Row::default() };
        match self.rows.get_mut(id as usize) {
            Some(place) => *place = row,
            None => self.rows.push(row),
        }
        let (rows, hasher) = (&self.rows, &self.hasher);
        let hash = hasher.hash_one(bytes);
        self.table.insert_unique(hash, id, |&id| hasher.hash_one(&*rows[id as usize].bytes));
        self.await_change(id);
        id
    }

    /// Takes over what a snapshot says of a row.
    pub(super) fn restore(
        &mut self,
        (bytes, validity): (&[u8], Validity),
        (count, standing): (i64, Standing),
    ) {
        if let Some(id) = self.find(bytes) {
            self.remove(id);
        }
        let id = self.insert(bytes, validity, standing);
        self.rows[id as usize].count = count;
        self.journal.restored(id);
    }

    fn await_change(&mut self, id: u32) {
        let row = &self.rows[id as usize];
        if let Some(time) = row.validity.next_change(row.standing) {
            self.due.insert((time, id));
        }
    }

    /// Forgets a row.
    pub(super) fn remove(&mut self, id: u32) {
        let row = std::mem::take(&mut self.rows[id as usize]);
        if let Some(time) = row.validity.next_change(row.standing) {
            self.due.remove(&(time, id));
        }
        let hash = self.hasher.hash_one(&*row.bytes);
        if let Ok(entry) = self.table.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.row_bytes -= row.bytes.len();
        self.free.push(id);
        if self.journal.remove(id) {
            self.deleted.push(row.bytes);
        }
    }

    /// The rows that a snapshot has to write.
    pub(super) fn take_changed(&mut self, scope: SnapshotScope) -> Vec<u32> {
        self.journal.take(scope, || self.table.iter().copied().collect())
    }

    /// Columns of rows by their bytes.
    pub(super) fn decode<'a>(
        &'a self,
        bytes: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        Ok(self.codec.decode(bytes)?)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.due.len(), self.table.len(), "each row is due once");
        self.table.len()
    }

    pub(super) fn state_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.row_bytes
            + self.table.allocation_size()
            + self.due.len() * size_of::<(i64, u32)>()
            + self.journal.bytes()
    }
}
