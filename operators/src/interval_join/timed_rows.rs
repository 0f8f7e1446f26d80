//! One input's rows, by key and then by time, until the watermark says that no partner can come.
//!
//! Each key has one entry in the queue of deadlines for its earliest row, not one for each row; an
//! entry that is out of date finds nothing to remove.

use crate::gather::Gather;
use crate::operator::OperatorError;
use crate::row_codec::RowCodec;
use crate::snapshot::SnapshotScope;
use crate::snapshot::journal::Journal;
use crate::snapshot::numbered::Numbers;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::RangeInclusive;

/// No row: pads the other side with NULLs. Also: not of the current epoch.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) bytes: Box<[u8]>,
    pub(super) time: i64,
    pub(super) sequence: i64,
    pub(super) slot: u32,
    /// Its row in the epoch's input, if it came in this epoch.
    pub(super) fresh: u32,
    pub(super) is_matched: bool,
}

/// The rows of one input that may still meet a partner.
#[derive(Debug)]
pub(super) struct TimedRows {
    pub(super) schema: SchemaRef,
    pub(super) codec: RowCodec,
    pub(super) rows: Vec<Row>,
    free: Vec<u32>,
    /// By slot: times and rows, ordered by time and then arrival.
    lists: Vec<VecDeque<(i64, u32)>>,
    deadlines: BinaryHeap<Reverse<(i64, u32)>>,
    /// Rows that came in this epoch.
    pub(super) new: Vec<u32>,
    pub(super) epoch: Option<RecordBatch>,
    pub(super) numbers: Numbers,
    pub(super) journal: Journal,
    row_bytes: usize,
}

impl TimedRows {
    pub(super) fn new(schema: SchemaRef) -> Result<Self, OperatorError> {
        Ok(TimedRows {
            codec: RowCodec::of_schema(&schema)?,
            schema,
            rows: Vec::new(),
            free: Vec::new(),
            lists: Vec::new(),
            deadlines: BinaryHeap::new(),
            new: Vec::new(),
            epoch: None,
            numbers: Numbers::default(),
            journal: Journal::default(),
            row_bytes: 0,
        })
    }

    /// Makes room for a new key.
    pub(super) fn insert_key(&mut self, slot: u32) {
        if self.lists.len() <= slot as usize {
            self.lists.resize_with(slot as usize + 1, VecDeque::new);
        }
    }

    /// Holds a row.
    pub(super) fn insert(&mut self, row: Row) -> u32 {
        let id = self.free.pop().unwrap_or(self.rows.len() as u32);
        let list = &mut self.lists[row.slot as usize];
        // Rows mostly come in order, so the place is mostly the end.
        let place = match list.back() {
            Some(&(last, _)) if last > row.time => list.partition_point(|&(t, _)| t <= row.time),
            _ => list.len(),
        };
        if place == 0 {
            self.deadlines.push(Reverse((row.time, row.slot)));
        }
        list.insert(place, (row.time, id));
        self.row_bytes += row.bytes.len();
        match self.rows.get_mut(id as usize) {
            Some(place) => *place = row,
            None => self.rows.push(row),
        }
        id
    }

    /// The rows of a key whose time is in `times`.
    pub(super) fn within(
        &self,
        slot: u32,
        times: RangeInclusive<i64>,
    ) -> impl Iterator<Item = u32> + '_ {
        let list = &self.lists[slot as usize];
        let start = list.partition_point(|(time, _)| time < times.start());
        list.range(start..).take_while(move |(t, _)| t <= times.end()).map(|&(_, id)| id)
    }

    /// Notes that a row has a partner; says whether it is the first.
    pub(super) fn set_matched(&mut self, id: u32) -> bool {
        !std::mem::replace(&mut self.rows[id as usize].is_matched, true)
    }

    /// Takes the rows with times up to `last` out of their lists; tells `emptied` of keys that
    /// have no row left here. The rows themselves are readable until they are [freed](Self::free).
    pub(super) fn expire(&mut self, last: i64, mut emptied: impl FnMut(u32)) -> Vec<u32> {
        let mut expired = Vec::new();
        while let Some(&Reverse((time, slot))) = self.deadlines.peek()
            && time <= last
        {
            self.deadlines.pop();
            let list = &mut self.lists[slot as usize];
            let expired_before = expired.len();
            while let Some(&(time, id)) = list.front()
                && time <= last
            {
                list.pop_front();
                expired.push(id);
            }
            match list.front() {
                Some(&(time, _)) => self.deadlines.push(Reverse((time, slot))),
                // The entry may be out of date, and the key long forgotten.
                None if expired.len() > expired_before => emptied(slot),
                None => {}
            }
        }
        expired
    }

    /// Forgets a row that is out of its list; the number that a snapshot knows it by.
    pub(super) fn free(&mut self, id: u32) -> i64 {
        let row = std::mem::take(&mut self.rows[id as usize]);
        self.row_bytes -= row.bytes.len();
        self.free.push(id);
        self.journal.remove(id);
        row.sequence
    }

    /// Removes one row from its list.
    pub(super) fn unlist(&mut self, id: u32) {
        let slot = self.rows[id as usize].slot;
        self.lists[slot as usize].retain(|&(_, other)| other != id);
    }

    /// Whether a key has no row here.
    pub(super) fn is_empty(&self, slot: u32) -> bool {
        self.lists.get(slot as usize).is_none_or(VecDeque::is_empty)
    }

    /// All rows.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.lists.iter().flatten().map(|&(_, id)| id)
    }

    /// Ends the epoch.
    pub(super) fn settle(&mut self) {
        for id in std::mem::take(&mut self.new) {
            self.rows[id as usize].fresh = NONE;
        }
        self.epoch = None;
    }

    /// The columns of the rows `ids`, of which [`NONE`] is a row of NULLs.
    pub(super) fn gather(
        &self,
        ids: impl Iterator<Item = u32>,
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        let mut gather = Gather::with_capacity(ids.size_hint().0);
        let mut last = (NONE, 0);
        for id in ids {
            if id == NONE {
                gather.null();
                continue;
            }
            let row = &self.rows[id as usize];
            if row.fresh != NONE {
                gather.epoch(row.fresh);
            } else if last.0 == id {
                gather.again(last.1);
            } else {
                last = (id, gather.held(&row.bytes));
            }
        }
        Ok(gather.columns(&self.codec, &self.schema, self.epoch.as_ref())?)
    }

    /// The rows that a snapshot has to write.
    pub(super) fn take_changed(&mut self, scope: SnapshotScope) -> Vec<u32> {
        let TimedRows { journal, lists, .. } = self;
        journal.take(scope, || lists.iter().flatten().map(|&(_, id)| id).collect())
    }

    pub(super) fn state_bytes(&self) -> usize {
        let row = size_of::<Row>() + size_of::<(i64, u32)>();
        self.rows.len() * row
            + self.journal.bytes()
            + self.lists.len() * size_of::<VecDeque<(i64, u32)>>()
            + self.row_bytes
    }
}
