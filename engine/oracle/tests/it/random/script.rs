//! [`Script`]: sources that give the tables' records bit by bit, and note which of them belong
//! to which epoch.
//!
//! A lane belongs to one worker, so its records come in the order of epochs: what had been read
//! of a lane up to an epoch is a number. A position is that number too, so whoever opens a table
//! again at a checkpoint forgets what was read beyond it.

use super::tables::{Event, Table, Tables, columns};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tidemill_connectors::source::{
    BadInputs, ConnectorError, Lane, LaneRows, LaneState, Poll, Positions, ReadSpec, Reader, Source,
};
use tidemill_operators::{Batch, Epoch};

/// All tables, and what was read of them. Clones share it.
#[derive(Clone)]
pub struct Script {
    tables: Arc<Tables>,
    /// How many records each poll gives, in turn; 0 is none at the moment.
    polls: Arc<[u8]>,
    reads: Arc<Mutex<BTreeMap<Table, Reads>>>,
}

/// What was read of a table.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    /// For each lane: epochs in which something was read, and how many records had been then.
    lanes: Vec<Vec<(Epoch, usize)>>,
    /// For each worker: the epoch in which it said that it has read all.
    ends: Vec<Option<Epoch>>,
    /// How many workers opened it each time.
    lives: Vec<usize>,
}

impl Reads {
    /// How many records of each lane had been read when an epoch ended.
    pub fn until(&self, epoch: Epoch) -> Vec<usize> {
        let read = |reads: &Vec<(Epoch, usize)>| {
            reads.iter().rev().find(|(at, _)| *at <= epoch).map_or(0, |&(_, read)| read)
        };
        self.lanes.iter().map(read).collect()
    }

    /// Whether the table had ended when an epoch did.
    pub fn has_ended(&self, epoch: Epoch) -> bool {
        self.ends.iter().all(|end| end.is_some_and(|end| end <= epoch))
    }

    /// The epochs in which there was something new.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> + '_ {
        let reads = self.lanes.iter().flatten().map(|(epoch, _)| *epoch);
        reads.chain(self.ends.iter().flatten().copied())
    }

    /// Forgets what was read beyond a checkpoint. A table that had not ended there ends anew.
    fn go_on(&mut self, positions: &Positions, lanes: usize, workers: usize) {
        self.lanes.resize(lanes, Vec::new());
        for (lane, reads) in self.lanes.iter_mut().enumerate() {
            let position = positions.get(&lane_name(lane)).map_or(0, |&position| position as usize);
            reads.retain(|(_, read)| *read <= position);
        }
        let has_ended = self.lives.iter().enumerate().any(|(life, &workers)| {
            (0..workers).all(|worker| positions.contains_key(&end_name(life, worker)))
        });
        let end = self.ends.iter().copied().max().flatten().filter(|_| has_ended);
        self.ends = vec![end; workers];
        self.lives.push(workers);
    }
}

fn lane_name(lane: usize) -> String {
    format!("lane {lane}")
}

/// A job's positions keep what workers of earlier lives said, so the life is part of the name.
fn end_name(life: usize, worker: usize) -> String {
    format!("end {life}/{worker}")
}

impl Script {
    pub fn new(tables: Tables, polls: Vec<u8>) -> Script {
        Script { tables: Arc::new(tables), polls: polls.into(), reads: Arc::default() }
    }

    /// Opens a table for reading.
    pub fn open(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        let table = Table::ALL.into_iter().find(|table| table.name() == spec.table.name);
        let table = table.expect("a table of the script");
        Ok(Box::new(Scripted { script: self.clone(), table, spec: spec.clone() }))
    }

    /// What was read of each table that was opened.
    pub fn reads(&self) -> BTreeMap<Table, Reads> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Table, Reads>> {
        self.reads.lock().expect("nobody panicked")
    }
}

struct Scripted {
    script: Script,
    table: Table,
    spec: ReadSpec,
}

impl Source for Scripted {
    fn is_bounded(&self) -> bool {
        true
    }

    fn readers(&self, workers: usize) -> Result<Vec<Box<dyn Reader>>, ConnectorError> {
        let lanes = self.script.tables.lanes(self.table).len();
        let positions = self.spec.positions.clone().unwrap_or_default();
        let mut reads = self.script.lock();
        let reads = reads.entry(self.table).or_default();
        reads.go_on(&positions, lanes, workers);
        let start = reads.until(Epoch::MAX);
        let reader = |worker: usize| -> Box<dyn Reader> {
            let own = (0..lanes).filter(|lane| lane % workers == worker);
            Box::new(ScriptedReader {
                script: self.script.clone(),
                table: self.table,
                spec: self.spec.clone(),
                schema: schema(&self.spec),
                worker,
                life: reads.lives.len() - 1,
                next: own.map(|lane| (lane, start[lane])).collect(),
                news: (0..lanes).filter(|lane| lane % workers == worker).collect(),
                has_ended: reads.ends[worker].is_some(),
                polled: worker,
            })
        };
        Ok((0..workers).map(reader).collect())
    }
}

fn schema(spec: &ReadSpec) -> SchemaRef {
    let field = |&column: &usize| spec.table.schema.field(column).clone().with_nullable(true);
    let mut fields: Vec<Field> = spec.columns.iter().map(field).collect();
    fields.extend(spec.arrival.then(|| Field::new("__arrival", DataType::Int64, true)));
    Arc::new(Schema::new(fields))
}

struct ScriptedReader {
    script: Script,
    table: Table,
    spec: ReadSpec,
    schema: SchemaRef,
    worker: usize,
    life: usize,
    /// This worker's lanes, each with its next record.
    next: BTreeMap<usize, usize>,
    /// Lanes that have not been announced.
    news: Vec<usize>,
    has_ended: bool,
    polled: usize,
}

impl ScriptedReader {
    fn events(&self, lane: usize) -> &[Event] {
        &self.script.tables.lanes(self.table)[lane]
    }

    /// So many records of a lane that begin with this one.
    fn rows(&self, lane: usize, from: usize, count: usize) -> Batch {
        let events = &self.events(lane)[from..from + count];
        let rows = events.iter().flatten().map(|(row, _)| row);
        let all = columns(rows.clone());
        let mut wanted: Vec<ArrayRef> = self.spec.columns.iter().map(|&c| all[c].clone()).collect();
        if self.spec.arrival {
            // A record has two rows at most.
            let arrivals = (from as i64..).zip(events);
            let arrivals = arrivals.flat_map(|(at, event)| (2 * at..).take(event.len()));
            wanted.push(Arc::new(Int64Array::from_iter_values(arrivals)));
        }
        let weights: Vec<i64> = events.iter().flatten().map(|(_, weight)| *weight).collect();
        let count = RecordBatchOptions::new().with_row_count(Some(weights.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), wanted, &count);
        let rows = rows.expect("columns of the table");
        match weights.iter().all(|&weight| weight == 1) {
            true => Batch::append_only(rows),
            false => Batch::new(rows, Some(weights.into())),
        }
    }

    fn note(&self, note: impl FnOnce(&mut Reads)) {
        note(self.script.lock().get_mut(&self.table).expect("opened before"));
    }
}

impl Reader for ScriptedReader {
    fn poll(&mut self, epoch: Epoch, max_rows: usize) -> Result<Poll, ConnectorError> {
        let left = |(&lane, &next): (&usize, &usize)| {
            let left = self.events(lane).len() - next;
            (left > 0).then_some((lane, next, left))
        };
        let mut unread: Vec<_> = self.next.iter().filter_map(left).collect();
        if unread.is_empty() {
            self.has_ended = true;
            self.note(|reads| {
                reads.ends[self.worker].get_or_insert(epoch);
            });
            return Ok(Poll::Finished);
        }
        self.polled += 1;
        let wanted = usize::from(self.script.polls[self.polled % self.script.polls.len()]);
        if wanted == 0 {
            return Ok(Poll::Pending);
        }
        let turn = self.polled % unread.len();
        let (lane, from, left) = unread.swap_remove(turn);
        let count = wanted.min(left).min(max_rows);
        self.note(|reads| reads.lanes[lane].push((epoch, from + count)));
        self.next.insert(lane, from + count);
        let rows = self.rows(lane, from, count);
        Ok(Poll::Rows(vec![LaneRows { lane: lane as Lane, rows }]))
    }

    fn lanes(&mut self) -> Vec<(Lane, LaneState)> {
        let mut lanes: Vec<(Lane, LaneState)> =
            self.news.drain(..).map(|lane| (lane as Lane, LaneState::Active)).collect();
        if self.has_ended {
            lanes.extend(self.next.keys().map(|&lane| (lane as Lane, LaneState::Finished)));
        }
        lanes
    }

    fn take_bad(&mut self) -> BadInputs {
        BadInputs::default()
    }

    fn positions(&self) -> Positions {
        let lanes = self.next.iter().map(|(&lane, &next)| (lane_name(lane), next as i64));
        let end = self.has_ended.then(|| (end_name(self.life, self.worker), 1));
        lanes.chain(end).collect()
    }

    fn lane_name(&self, lane: Lane) -> String {
        lane_name(lane as usize)
    }
}
