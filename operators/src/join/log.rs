//! One input's rows where they are only ever added: as the columns that they came in.
//!
//! A row that nobody takes back needs not be found again, so equal rows stand beside each other,
//! each once, and nothing is held of a row but its columns, its key's chain and, of a row that was
//! restored, its number. Rows are pieces of a sequence that only grows:
//!
//! ```text
//!   pieces   [ 0 ………… 65,535 ][ …… ][ … ][ . ]      each about half as long as the one before, so
//!   epoch                            └ new ┘         that a row is copied a few times in its life
//! ```
//!
//! The invariant: a row's number is its place in that sequence.

use super::keys::Keys;
use super::rows::{NONE, Rows};
use crate::batch::Batch;
use crate::key::{KeyGroup, hash_keys};
use crate::key_index::NO_SLOT;
use crate::operator::OperatorError;
use crate::snapshot::numbered::{self, Numbers};
use crate::snapshot::{self, CHUNK_ROWS, SnapshotScope, SnapshotTable};
use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::compute::{concat_batches, filter_record_batch, interleave, take};
use arrow::datatypes::{Schema, SchemaRef};
use std::ops::Range;
use std::sync::Arc;

/// Rows of a piece and bytes of its columns, at most, unless they came together.
const PIECE_ROWS_MAX: usize = 65_536;
const PIECE_BYTES_MAX: usize = 64 << 20;

/// Some rows, and where they begin.
#[derive(Debug)]
struct Piece {
    first: u32,
    rows: RecordBatch,
}

/// The rows of one input. See the [module](self).
#[derive(Debug)]
pub(super) struct Log {
    schema: SchemaRef,
    /// Which of a key's chains are its own.
    place: usize,
    pieces: Vec<Piece>,
    /// By row: the one before it under the same key.
    next: Vec<u32>,
    /// Slots of the epoch's rows, which are the last ones.
    slots: Vec<u32>,
    /// Numbers in snapshots: of the rows that were restored; the others' are one after the other.
    restored: Vec<i64>,
    first_number: i64,
    numbers: Numbers,
    /// Rows that the last snapshot has.
    saved: usize,
    piece_bytes: usize,
}

impl Rows for Log {
    #[inline]
    fn counts(&self, id: u32) -> (i64, i64) {
        (i64::from(id < self.first_new()), 1)
    }

    #[inline]
    fn next(&self, id: u32) -> u32 {
        self.next[id as usize]
    }

    fn changed(&self) -> impl Iterator<Item = (u32, u32)> {
        (self.first_new()..).zip(self.slots.iter().copied())
    }
}

impl Log {
    pub(super) fn new(schema: SchemaRef, place: usize) -> Self {
        Log {
            schema,
            place,
            pieces: Vec::new(),
            next: Vec::new(),
            slots: Vec::new(),
            restored: Vec::new(),
            first_number: 0,
            numbers: Numbers::default(),
            saved: 0,
            piece_bytes: 0,
        }
    }

    fn first_new(&self) -> u32 {
        (self.next.len() - self.slots.len()) as u32
    }

    /// Adds the epoch's rows. Those without a key are passed over.
    ///
    /// # Errors
    /// If a row is taken back.
    pub(super) fn add(
        &mut self,
        rows: &Batch,
        slots: &[u32],
        keys: &mut Keys,
    ) -> Result<(), OperatorError> {
        if rows.weights().is_some_and(|weights| weights.iter().any(|&weight| weight != 1)) {
            let message = "a row is taken back that came from an input that only grows";
            return Err(OperatorError::Data(message.to_owned()));
        }
        let added = self.push(rows.columns(), slots, keys)?;
        self.numbers.give_many(added);
        Ok(())
    }

    /// Appends rows that have a key; says how many.
    fn push(
        &mut self,
        rows: &RecordBatch,
        slots: &[u32],
        keys: &mut Keys,
    ) -> Result<usize, OperatorError> {
        let first = self.next.len();
        for &slot in slots.iter().filter(|&&slot| slot != NO_SLOT) {
            let id = u32::try_from(self.next.len()).ok().filter(|&id| id != NONE);
            let id = id.expect("fewer than 2^32 rows");
            self.next.push(keys.push(slot, self.place, id));
            keys.add_total(slot, self.place, 1);
            self.slots.push(slot);
        }
        let added = self.next.len() - first;
        if added == slots.len() {
            self.hold(rows.clone(), first)?;
        } else if added > 0 {
            let has_key: BooleanArray = slots.iter().map(|&slot| Some(slot != NO_SLOT)).collect();
            self.hold(filter_record_batch(rows, &has_key)?, first)?;
        }
        Ok(added)
    }

    /// Makes rows a piece, together with the shorter ones before it.
    fn hold(&mut self, rows: RecordBatch, first: usize) -> Result<(), OperatorError> {
        let (mut from, mut total) = (self.pieces.len(), rows.num_rows());
        let mut bytes = rows.get_array_memory_size();
        while let Some(before) = from.checked_sub(1).map(|i| &self.pieces[i].rows)
            && before.num_rows() <= 2 * total
            && before.num_rows() + total <= PIECE_ROWS_MAX
            && before.get_array_memory_size() + bytes <= PIECE_BYTES_MAX
        {
            bytes += before.get_array_memory_size();
            (from, total) = (from - 1, total + before.num_rows());
        }
        let first = self.pieces.get(from).map_or(first as u32, |piece| piece.first);
        let merged: Vec<RecordBatch> = self.pieces.drain(from..).map(|piece| piece.rows).collect();
        self.piece_bytes -= merged.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        // What comes alone is copied, too: it may be a small part of something large.
        let nothing = rows.slice(0, 0);
        let rows = concat_batches(&self.schema, merged.iter().chain([&rows, &nothing]))?;
        self.piece_bytes += rows.get_array_memory_size();
        self.pieces.push(Piece { first, rows });
        Ok(())
    }

    /// Ends the epoch.
    pub(super) fn settle(&mut self) {
        self.slots.clear();
    }

    /// The columns `wanted` of the rows `ids`, of which [`NONE`] is a row of NULLs.
    pub(super) fn gather(
        &self,
        ids: impl Iterator<Item = u32>,
        wanted: &[usize],
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        let ids: Vec<u32> = ids.collect();
        match self.only_piece(&ids) {
            Some(piece) => {
                let local =
                    ids.iter().map(|&id| id.checked_sub(piece.first).filter(|_| id != NONE));
                let local: UInt32Array = local.collect();
                let column = |&column: &usize| take(piece.rows.column(column), &local, None);
                Ok(wanted.iter().map(column).collect::<Result<_, _>>()?)
            }
            None => self.gather_from_all(&ids, wanted),
        }
    }

    /// The piece that all rows are of.
    fn only_piece(&self, ids: &[u32]) -> Option<&Piece> {
        let some = || ids.iter().copied().filter(|&id| id != NONE);
        let (least, greatest) = (some().min()?, some().max()?);
        let piece = &self.pieces[self.piece_of(least)];
        ((greatest - piece.first) < piece.rows.num_rows() as u32).then_some(piece)
    }

    #[inline]
    fn piece_of(&self, id: u32) -> usize {
        self.pieces.partition_point(|piece| piece.first <= id) - 1
    }

    fn gather_from_all(
        &self,
        ids: &[u32],
        wanted: &[usize],
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        let nulls = self.pieces.len();
        let place = |&id: &u32| match id {
            NONE => (nulls, 0),
            _ => {
                let piece = self.piece_of(id);
                (piece, (id - self.pieces[piece].first) as usize)
            }
        };
        let places: Vec<(usize, usize)> = ids.iter().map(place).collect();
        let column = |&column: &usize| {
            let null = new_null_array(self.schema.field(column).data_type(), 1);
            let pieces = self.pieces.iter().map(|piece| piece.rows.column(column));
            let sources: Vec<&dyn Array> = pieces.chain([&null]).map(|array| &**array).collect();
            interleave(&sources, &places)
        };
        Ok(wanted.iter().map(column).collect::<Result<_, _>>()?)
    }

    /// What a snapshot has to say: [numbered] rows.
    pub(super) fn take_tables(
        &mut self,
        name: &str,
        keys: &[usize],
        scope: SnapshotScope,
    ) -> Result<Vec<SnapshotTable>, OperatorError> {
        let deletes = self.numbers.take(scope)?;
        let from = if scope == SnapshotScope::Full { 0 } else { self.saved };
        let rows = from..self.next.len();
        let chunks = rows.clone().step_by(CHUNK_ROWS);
        let chunk = |start: usize| {
            let ids = start..rows.end.min(start + CHUNK_ROWS);
            self.numbered(ids, keys)
        };
        let upserts = chunks.map(chunk).collect::<Result<Vec<_>, _>>()?;
        self.saved = self.next.len();
        snapshot::tables(name, numbered::KEY_WIDTH, &deletes, &upserts)
    }

    /// Rows with their key groups and numbers.
    fn numbered(&self, ids: Range<usize>, keys: &[usize]) -> Result<RecordBatch, OperatorError> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = self.gather(ids.clone().map(|id| id as u32), &all)?;
        let length = RecordBatchOptions::new().with_row_count(Some(ids.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &length)?;
        let mut hashes = Vec::new();
        hash_keys(&rows, keys, &mut hashes);
        let groups = hashes.into_iter().map(KeyGroup::of);
        let number = |id: usize| match self.restored.get(id) {
            Some(&number) => number,
            None => self.first_number + id as i64,
        };
        let mut columns = numbered::key_columns(groups, ids.map(number)).to_vec();
        columns.extend(rows.columns().iter().cloned());
        let fields = numbered::key_fields().into_iter().map(Arc::new);
        let fields = fields.chain(self.schema.fields().iter().cloned()).collect::<Vec<_>>();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// Takes back rows from a snapshot, whose keys have these slots.
    pub(super) fn restore(
        &mut self,
        rows: &RecordBatch,
        numbers: &[i64],
        slots: &[u32],
        keys: &mut Keys,
    ) -> Result<(), OperatorError> {
        debug_assert_eq!(self.next.len(), self.restored.len(), "restored before anything comes");
        self.push(rows, slots, keys)?;
        self.restored.extend(numbers);
        numbers.iter().for_each(|&number| self.numbers.restored(number));
        self.first_number = self.numbers.give_many(0) - self.restored.len() as i64;
        self.saved = self.next.len();
        self.settle();
        Ok(())
    }

    pub(super) fn state_bytes(&self) -> usize {
        self.piece_bytes
            + self.next.capacity() * size_of::<u32>()
            + self.restored.capacity() * size_of::<i64>()
    }
}
