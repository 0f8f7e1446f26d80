//! Session windows: rows of one key that follow each other without a silence of more than a gap.
//!
//! A row alone is a session from its time to a gap later; sessions of one key that touch are one.
//! Which sessions an epoch's rows make does not depend on their order: rows that would be late
//! alone are looked at after the others, latest first, and count if they touch an open session.
//!
//! The invariant: **no row that counts touches a session that was shown**, so that what is shown is
//! what a batch query finds over the rows that counted. A shown session is remembered for two more
//! gaps. Older than that a row counts only within the bounds of an open session, where no other
//! one can be; how much older a row may be to carry an open session back has this limit, too.
//! (Where Flink would begin a second session with such a row, here the row is late.)

use super::{Results, WindowAggregateSpec, late};
use crate::batch::Batch;
use crate::groups::{Accumulators, GroupLayout, batch};
use crate::key_table::KeyTable;
use crate::operator::{EpochContext, OperatorError, Output};
use crate::snapshot::journal::Journal;
use crate::snapshot::{self, CHUNK_ROWS, Snapshot, SnapshotScope, SnapshotTable, key_group_field};
use crate::time::Watermark;
use crate::window::{Zone, times, zone};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// A session: the rows of a key from `start` to a gap before `end`.
#[derive(Clone, Copy, Debug)]
struct Session {
    key: u32,
    start: i64,
    end: i64,
    /// Tells this session from an earlier one of the same number.
    born: u32,
    /// The session that this one became a part of, or itself.
    part_of: u32,
    stage: Stage,
    /// Its start as the last snapshot has it, if it does.
    saved_start: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Rows may come.
    Open,
    /// It was shown, and rows that touch it are late.
    Shown,
    /// Its number is free, or will be at the end of the epoch.
    Gone,
}

/// The snapshot's tables.
const OPEN: &str = "sessions";
const SHOWN: &str = "shown";

/// How many columns of a snapshot stand before the keys: key group and start.
const KEYS: usize = 2;

/// The number of a row that has no session: it is late, or not yet looked at.
const NONE: u32 = u32::MAX;

pub(super) struct Sessions {
    gap_ms: i64,
    zone: Zone,
    time: usize,
    layout: GroupLayout,
    keys: KeyTable,
    /// Numbers of the open and the shown sessions of each key.
    by_key: Vec<Vec<u32>>,
    sessions: Vec<Session>,
    free: Vec<u32>,
    accumulators: Accumulators,
    /// One entry for each open session: an end that it had, its number and birth.
    due: BinaryHeap<Reverse<(i64, u32, u32)>>,
    journal: Journal,
    /// Sessions that the last snapshot has as open and that are not any more.
    removed: Vec<RecordBatch>,
    /// One entry for each shown session: when it may be forgotten, its number and birth.
    forgettable: BinaryHeap<Reverse<(i64, u32, u32)>>,
    shown_journal: Journal,
    /// Sessions that the last snapshot has as shown and that are gone.
    forgotten: Vec<RecordBatch>,
    /// Sessions that became parts of others in this epoch.
    merged: Vec<u32>,
}

/// The rows of a batch on their way to their sessions.
struct Arrivals {
    keys: Vec<u32>,
    times: Vec<i64>,
    sessions: Vec<u32>,
}

impl Sessions {
    pub(super) fn new(
        gap_ms: i64,
        spec: &WindowAggregateSpec,
        layout: GroupLayout,
    ) -> Result<Self, OperatorError> {
        if gap_ms <= 0 {
            return Err(OperatorError::Data(format!("a session's gap of {gap_ms} ms is no gap")));
        }
        let types: Vec<DataType> =
            layout.key_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Sessions {
            gap_ms,
            zone: spec.zone,
            time: spec.time,
            keys: KeyTable::new(&types)?,
            by_key: Vec::new(),
            sessions: Vec::new(),
            free: Vec::new(),
            accumulators: Accumulators::new(&layout)?,
            due: BinaryHeap::new(),
            journal: Journal::default(),
            removed: Vec::new(),
            forgettable: BinaryHeap::new(),
            shown_journal: Journal::default(),
            forgotten: Vec::new(),
            merged: Vec::new(),
            layout,
        })
    }

    pub(super) fn apply(
        &mut self,
        batches: Vec<Batch>,
        context: &EpochContext,
        results: &mut Results,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        let before = self.watermark(context.watermark_before);
        let mut arrivals = self.assign(&batches, before)?;
        self.accumulators.resize(self.sessions.len());
        self.join_merged()?;
        let (mut ordinal, mut late_keys) = (0, Vec::new());
        for (batch, arrivals) in batches.iter().zip(&mut arrivals) {
            let mut read = self.layout.read(batch, &mut ordinal)?;
            for session in arrivals.sessions.iter_mut().filter(|s| **s != NONE) {
                *session = self.whole(*session);
                self.journal.touch(*session);
            }
            let (kept, dropped): (Vec<u32>, Vec<u32>) =
                (0..batch.len() as u32).partition(|&row| arrivals.sessions[row as usize] != NONE);
            if !dropped.is_empty() {
                read = read.take(&kept)?;
                late_keys.extend(dropped.iter().map(|&row| arrivals.keys[row as usize]));
                arrivals.sessions.retain(|&session| session != NONE);
                late(batch, dropped, context.watermark_before, output)?;
            }
            self.accumulators.update(&arrivals.sessions, &read, context.epoch)?;
        }
        self.free_merged();
        self.forget_unused(late_keys);
        let after = self.watermark(context.watermark_after);
        self.fire(after, results)?;
        self.forget(after)
    }

    /// The watermark on the wall clock, a millisecond behind: a row at the very end of a session
    /// still belongs to it, so only a watermark that has reached the end closes it.
    fn watermark(&self, watermark: Watermark) -> Watermark {
        match zone::local_watermark(watermark, self.zone) {
            Watermark::MIN | Watermark::MAX => watermark,
            Watermark(ms) => Watermark(ms.saturating_sub(1)),
        }
    }

    /// Finds or makes the session of each row.
    fn assign(
        &mut self,
        batches: &[Batch],
        watermark: Watermark,
    ) -> Result<Vec<Arrivals>, OperatorError> {
        let (mut arrivals, mut postponed) = (Vec::with_capacity(batches.len()), Vec::new());
        for (number, batch) in batches.iter().enumerate() {
            let times = zone::to_local(&times(batch.columns(), self.time)?, self.zone);
            let columns: Vec<ArrayRef> =
                self.layout.keys.iter().map(|&k| batch.column(k).clone()).collect();
            let mut keys = Vec::new();
            self.keys.insert(&columns, batch.len(), &mut keys)?;
            self.by_key.resize_with(self.keys.slots(), Vec::new);
            let mut sessions = Vec::with_capacity(batch.len());
            for (row, (&key, &time)) in keys.iter().zip(times.iter()).enumerate() {
                if self.touched(key, time, Stage::Shown).next().is_some() {
                    sessions.push(NONE);
                } else if watermark.closes(time.saturating_add(self.gap_ms)) {
                    postponed.push((time, number, row));
                    sessions.push(NONE);
                } else {
                    sessions.push(self.place(key, time));
                }
            }
            arrivals.push(Arrivals { keys, times: times.to_vec(), sessions });
        }
        postponed.sort_unstable_by_key(|&(time, ..)| Reverse(time));
        for (_, number, row) in postponed {
            let Arrivals { keys, times, sessions } = &mut arrivals[number];
            let (key, time) = (keys[row], times[row]);
            let is_forgotten = watermark.closes(self.forgettable_at(time));
            let counts = self
                .touched(key, time, Stage::Open)
                .any(|number| !is_forgotten || self.sessions[number as usize].start <= time);
            if counts {
                sessions[row] = self.place(key, time);
            }
        }
        Ok(arrivals)
    }

    /// The sessions of a key in this stage that a row at `time` touches.
    fn touched(&self, key: u32, time: i64, stage: Stage) -> impl Iterator<Item = u32> {
        let end = time.saturating_add(self.gap_ms);
        self.by_key[key as usize].iter().copied().filter(move |&number| {
            let session = &self.sessions[number as usize];
            session.stage == stage && time <= session.end && end >= session.start
        })
    }

    /// The watermark that closes this makes a session that ends at `end` one to be forgotten.
    fn forgettable_at(&self, end: i64) -> i64 {
        end.saturating_add(self.gap_ms).saturating_add(self.gap_ms)
    }

    /// Puts a row into the session that it touches, merging those that it connects.
    fn place(&mut self, key: u32, time: i64) -> u32 {
        let end = time.saturating_add(self.gap_ms);
        let mut touched = self.touched(key, time, Stage::Open);
        let (first, second) = (touched.next(), touched.next());
        drop(touched);
        match (first, second) {
            (None, _) => self.open(key, time, end),
            (Some(one), None) => {
                let session = &mut self.sessions[one as usize];
                session.start = session.start.min(time);
                session.end = session.end.max(end);
                one
            }
            (Some(one), Some(_)) => {
                let parts: Vec<u32> = self.touched(key, time, Stage::Open).skip(1).collect();
                for part in parts {
                    self.merge(one, part);
                }
                self.place(key, time)
            }
        }
    }

    fn merge(&mut self, whole: u32, part: u32) {
        let Session { key, start, end, .. } = self.sessions[part as usize];
        self.sessions[part as usize].part_of = whole;
        self.sessions[part as usize].stage = Stage::Gone;
        self.by_key[key as usize].retain(|&number| number != part);
        let session = &mut self.sessions[whole as usize];
        session.start = session.start.min(start);
        session.end = session.end.max(end);
        self.merged.push(part);
    }

    fn open(&mut self, key: u32, start: i64, end: i64) -> u32 {
        let number = self.free.pop().unwrap_or(self.sessions.len() as u32);
        let born = self.sessions.get(number as usize).map_or(0, |s| s.born.wrapping_add(1));
        let (part_of, stage, saved_start) = (number, Stage::Open, None);
        let session = Session { key, start, end, born, part_of, stage, saved_start };
        match self.sessions.get_mut(number as usize) {
            Some(slot) => *slot = session,
            None => self.sessions.push(session),
        }
        self.by_key[key as usize].push(number);
        self.due.push(Reverse((end, number, born)));
        number
    }

    /// The session that a session is part of by now.
    fn whole(&self, mut number: u32) -> u32 {
        while self.sessions[number as usize].part_of != number {
            number = self.sessions[number as usize].part_of;
        }
        number
    }

    /// Adds what merged sessions held to what they are part of.
    fn join_merged(&mut self) -> Result<(), OperatorError> {
        if self.merged.is_empty() {
            return Ok(());
        }
        let wholes: Vec<u32> = self.merged.iter().map(|&part| self.whole(part)).collect();
        let state = self.accumulators.state(&self.merged)?;
        self.accumulators.merge(&wholes, &state)?;
        self.accumulators.reset(&self.merged);
        let merged = self.merged.clone();
        self.note_removed(&merged)
    }

    fn free_merged(&mut self) {
        self.free.append(&mut self.merged);
    }

    /// Late rows may have made numbers for keys that have no session.
    fn forget_unused(&mut self, mut keys: Vec<u32>) {
        keys.retain(|&key| self.by_key[key as usize].is_empty());
        keys.sort_unstable();
        keys.dedup();
        self.keys.remove(&keys);
    }

    fn fire(&mut self, watermark: Watermark, results: &mut Results) -> Result<(), OperatorError> {
        let mut fired = Vec::new();
        while let Some(&Reverse((end, number, born))) = self.due.peek()
            && watermark.closes(end)
        {
            self.due.pop();
            let session = self.sessions[number as usize];
            if session.stage != Stage::Open || session.born != born {
                continue;
            }
            if watermark.closes(session.end) {
                fired.push(number);
            } else {
                self.due.push(Reverse((session.end, number, born)));
            }
        }
        if fired.is_empty() {
            return Ok(());
        }
        fired.sort_by_key(|&number| {
            let session = &self.sessions[number as usize];
            (session.end, session.start, session.key)
        });
        for shown in self.accumulators.occupied(fired.clone()).chunks(CHUNK_ROWS) {
            let mut columns = self.keys.keys(&self.keys_of(shown))?;
            columns.extend(self.accumulators.read(shown)?);
            let bounds = shown.iter().map(|&number| self.sessions[number as usize]);
            let (starts, ends) = bounds.map(|s| (s.start, s.end)).unzip();
            results.add(columns, starts, ends, self.zone)?;
        }
        self.show(&fired)
    }

    /// Keeps no more of sessions than their bounds.
    fn show(&mut self, numbers: &[u32]) -> Result<(), OperatorError> {
        self.note_removed(numbers)?;
        self.accumulators.reset(numbers);
        for &number in numbers {
            self.remember(number);
            self.shown_journal.touch(number);
        }
        Ok(())
    }

    /// Makes a session one that was shown.
    fn remember(&mut self, number: u32) {
        let session = &mut self.sessions[number as usize];
        session.stage = Stage::Shown;
        let Session { end, born, .. } = *session;
        self.forgettable.push(Reverse((self.forgettable_at(end), number, born)));
    }

    /// Drops shown sessions that no row can touch any more that counts.
    fn forget(&mut self, watermark: Watermark) -> Result<(), OperatorError> {
        let mut forgotten = Vec::new();
        while let Some(&Reverse((at, number, born))) = self.forgettable.peek()
            && watermark.closes(at)
        {
            self.forgettable.pop();
            let session = &self.sessions[number as usize];
            if session.stage == Stage::Shown && session.born == born {
                forgotten.push(number);
            }
        }
        self.drop_shown(&forgotten)
    }

    /// Drops shown sessions.
    fn drop_shown(&mut self, numbers: &[u32]) -> Result<(), OperatorError> {
        let mut saved = numbers.to_vec();
        saved.retain(|&number| self.shown_journal.remove(number));
        self.forgotten.extend(self.saved_places(&saved)?);
        self.free(numbers);
        Ok(())
    }

    fn keys_of(&self, numbers: &[u32]) -> Vec<u32> {
        numbers.iter().map(|&number| self.sessions[number as usize].key).collect()
    }

    /// Drops open sessions.
    fn drop_open(&mut self, numbers: &[u32]) -> Result<(), OperatorError> {
        self.note_removed(numbers)?;
        self.accumulators.reset(numbers);
        self.free(numbers);
        Ok(())
    }

    /// Gives numbers of sessions free, and drops the keys that have none left.
    fn free(&mut self, numbers: &[u32]) {
        for &number in numbers {
            let session = &mut self.sessions[number as usize];
            session.stage = Stage::Gone;
            let key = session.key;
            let known = &mut self.by_key[key as usize];
            known.retain(|&other| other != number);
            if known.is_empty() {
                self.keys.remove(&[key]);
            }
        }
        self.free.extend_from_slice(numbers);
    }

    /// Keeps for the next snapshot which of the saved sessions are gone.
    fn note_removed(&mut self, numbers: &[u32]) -> Result<(), OperatorError> {
        let mut saved = numbers.to_vec();
        saved.retain(|&number| self.journal.remove(number));
        self.removed.extend(self.saved_places(&saved)?);
        Ok(())
    }

    /// Where the last snapshot has these sessions.
    fn saved_places(&self, numbers: &[u32]) -> Result<Option<RecordBatch>, OperatorError> {
        if numbers.is_empty() {
            return Ok(None);
        }
        let keys = self.keys_of(numbers);
        let starts = numbers.iter().map(|&number| self.sessions[number as usize].saved_start);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.keys.key_groups(&keys)),
            Arc::new(starts.map(Option::unwrap_or_default).map(Some).collect::<Int64Array>()),
        ];
        columns.extend(self.keys.keys(&keys)?);
        Ok(Some(batch(&self.delete_schema(), columns, numbers.len())?))
    }

    fn delete_schema(&self) -> SchemaRef {
        let mut fields = vec![key_group_field(), Field::new("start", DataType::Int64, true)];
        fields.extend(self.layout.saved_key_fields());
        Arc::new(Schema::new(fields))
    }

    /// Of an open session, or of a shown one, which has no state but its bounds.
    fn upsert_schema(&self, stage: Stage) -> SchemaRef {
        let mut fields = vec![key_group_field(), Field::new("start", DataType::Int64, true)];
        fields.extend(self.layout.saved_key_fields());
        fields.push(Field::new("end", DataType::Int64, true));
        if stage == Stage::Open {
            fields.extend(self.accumulators.state_fields());
        }
        Arc::new(Schema::new(fields))
    }

    pub(super) fn snapshot(&mut self, scope: SnapshotScope) -> Result<Snapshot, OperatorError> {
        let sessions = &self.sessions;
        let all = |stage: Stage| -> Vec<u32> {
            let numbers = 0..sessions.len() as u32;
            numbers.filter(|&number| sessions[number as usize].stage == stage).collect()
        };
        let open = self.journal.take(scope, || all(Stage::Open));
        let shown = self.shown_journal.take(scope, || all(Stage::Shown));
        let mut removed = std::mem::take(&mut self.removed);
        let mut forgotten = std::mem::take(&mut self.forgotten);
        let mut moved = open.clone();
        moved.retain(|&number| {
            let session = &sessions[number as usize];
            session.saved_start.is_some_and(|saved| saved != session.start)
        });
        removed.extend(self.saved_places(&moved)?);
        if scope == SnapshotScope::Full {
            removed.clear();
            forgotten.clear();
        }
        let mut tables = self.tables(OPEN, Stage::Open, &open, &removed)?;
        tables.extend(self.tables(SHOWN, Stage::Shown, &shown, &forgotten)?);
        for number in open.into_iter().chain(shown) {
            let session = &mut self.sessions[number as usize];
            session.saved_start = Some(session.start);
        }
        Ok(Snapshot { tables })
    }

    fn tables(
        &self,
        name: &str,
        stage: Stage,
        numbers: &[u32],
        deletes: &[RecordBatch],
    ) -> Result<Vec<SnapshotTable>, OperatorError> {
        let entries = numbers.chunks(CHUNK_ROWS).map(|numbers| self.entries(stage, numbers));
        let upserts: Vec<RecordBatch> = entries.collect::<Result<_, _>>()?;
        snapshot::tables(name, KEYS + self.layout.keys.len(), deletes, &upserts)
    }

    fn entries(&self, stage: Stage, numbers: &[u32]) -> Result<RecordBatch, OperatorError> {
        let keys = self.keys_of(numbers);
        let sessions = || numbers.iter().map(|&number| self.sessions[number as usize]);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.keys.key_groups(&keys)),
            Arc::new(Int64Array::from_iter_values(sessions().map(|s| s.start))),
        ];
        columns.extend(self.keys.keys(&keys)?);
        columns.push(Arc::new(Int64Array::from_iter_values(sessions().map(|s| s.end))));
        if stage == Stage::Open {
            columns.extend(self.accumulators.state(numbers)?);
        }
        batch(&self.upsert_schema(stage), columns, numbers.len())
    }

    pub(super) fn restore(&mut self, snapshot: &Snapshot) -> Result<(), OperatorError> {
        for table in &snapshot.tables {
            let stage = if table.name == SHOWN { Stage::Shown } else { Stage::Open };
            if let Some(deletes) = &table.deletes {
                let starts = deletes.column(1).as_primitive::<Int64Type>();
                let keys = self.keys.find(None, &deletes.columns()[KEYS..], deletes.num_rows())?;
                let gone: Vec<u32> = (keys.iter().zip(starts.values()))
                    .filter_map(|(key, &start)| self.starting_at((*key)?, start, stage))
                    .collect();
                match stage {
                    Stage::Shown => self.drop_shown(&gone)?,
                    _ => self.drop_open(&gone)?,
                }
            }
            if let Some(upserts) = &table.upserts {
                self.load(upserts, stage)?;
            }
        }
        self.removed.clear();
        self.forgotten.clear();
        Ok(())
    }

    fn starting_at(&self, key: u32, start: i64, stage: Stage) -> Option<u32> {
        let session = |number: u32| &self.sessions[number as usize];
        let mut known = self.by_key[key as usize].iter().copied();
        known.find(|&number| session(number).start == start && session(number).stage == stage)
    }

    fn load(&mut self, upserts: &RecordBatch, stage: Stage) -> Result<(), OperatorError> {
        let columns = upserts.columns();
        let (key_columns, rest) = columns[KEYS..].split_at(self.layout.keys.len());
        let (starts, ends) =
            (columns[1].as_primitive::<Int64Type>(), rest[0].as_primitive::<Int64Type>());
        let state = &rest[1..];
        let mut keys = Vec::new();
        self.keys.insert(key_columns, upserts.num_rows(), &mut keys)?;
        self.by_key.resize_with(self.keys.slots(), Vec::new);
        let mut numbers = Vec::with_capacity(keys.len());
        for (row, key) in keys.into_iter().enumerate() {
            let (start, end) = (starts.value(row), ends.value(row));
            let known = self.starting_at(key, start, stage);
            let number = known.unwrap_or_else(|| self.open(key, start, end));
            let session = &mut self.sessions[number as usize];
            session.end = end;
            session.saved_start = Some(start);
            match stage {
                Stage::Shown => {
                    if known.is_none() {
                        self.remember(number);
                    }
                    self.shown_journal.restored(number);
                }
                _ => self.journal.restored(number),
            }
            numbers.push(number);
        }
        self.accumulators.resize(self.sessions.len());
        if stage == Stage::Shown {
            return Ok(());
        }
        self.accumulators.reset(&numbers);
        self.accumulators.merge(&numbers, state)
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes()
            + self.accumulators.bytes()
            + self.sessions.capacity() * size_of::<Session>()
            + self.by_key.capacity() * size_of::<Vec<u32>>()
            + self.journal.bytes()
            + self.shown_journal.bytes()
            + (self.due.capacity() + self.forgettable.capacity())
                * size_of::<Reverse<(i64, u32, u32)>>()
    }
}
