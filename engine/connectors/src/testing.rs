//! What the unit tests of several connectors share.

use crate::sink::{Console, WriteSpec};
use crate::source::{LaneRows, Poll, Positions, ReadSpec, Reader};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use tidemill_formats::Table;
use tidemill_operators::{Batch, Epoch};

/// A table `t` of `id BIGINT, name STRING` with these options.
pub(crate) fn table(options: &[(&str, &str)]) -> Table {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]);
    Table {
        name: "t".to_owned(),
        schema: Arc::new(schema),
        metadata: vec![],
        primary_key: vec![],
        partitioned_by: vec![],
        options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

/// What it takes to read all physical columns of a table.
pub(crate) fn read_all(table: Table) -> ReadSpec {
    let columns = (0..table.schema.fields().len()).collect();
    ReadSpec { table, columns, arrival: false, positions: None, until: None }
}

/// Polls readers in turn, one epoch a round, until all have finished.
pub(crate) fn drain(readers: &mut [Box<dyn Reader>], max_rows: usize) -> Vec<LaneRows> {
    let mut all = Vec::new();
    for epoch in 0..1_000_000 {
        let mut finished = 0;
        for reader in readers.iter_mut() {
            match reader.poll(epoch, max_rows).expect("poll") {
                Poll::Rows(rows) => all.extend(rows),
                Poll::Pending => {}
                Poll::Finished => finished += 1,
            }
        }
        if finished == readers.len() {
            return all;
        }
    }
    panic!("the readers never finish");
}

/// What a worker does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Reads once.
    Poll(usize),
    /// Enters the next epoch.
    Advance(usize),
}

/// How many workers a run of a job has, and what they do before it dies.
pub(crate) type Life = (usize, Vec<Step>);

/// Some short lives.
pub(crate) fn lives() -> impl Strategy<Value = Vec<Life>> {
    let step = (0usize..4, 0u8..4).prop_map(|(worker, kind)| match kind {
        0 => Step::Advance(worker),
        _ => Step::Poll(worker),
    });
    prop::collection::vec((1usize..4, prop::collection::vec(step, 0..24)), 1..4)
}

/// Opens a source in several lives, one after the other, each where a checkpoint of the one before
/// stood, and reads it to its end in the last. Gives all rows that came before the checkpoints.
pub(crate) fn read_in_lives(spec: &ReadSpec, lives: &[Life], max_rows: usize) -> Vec<LaneRows> {
    let (mut spec, mut all) = (spec.clone(), vec![]);
    for (workers, steps) in lives {
        let mut readers = crate::open_source(&spec).unwrap().readers(*workers).unwrap();
        let (rows, positions) = live(&mut readers, steps, max_rows);
        all.extend(rows);
        spec.positions = Some(positions);
    }
    let mut readers = crate::open_source(&spec).unwrap().readers(2).unwrap();
    all.extend(drain(&mut readers, max_rows));
    all
}

/// Lets workers take these steps. Gives the rows of the epochs before the cut, and where they end.
fn live(
    readers: &mut [Box<dyn Reader>],
    steps: &[Step],
    max_rows: usize,
) -> (Vec<LaneRows>, Positions) {
    const CUT: Epoch = 3;
    let mut epochs = vec![1; readers.len()];
    let (mut rows, mut positions) = (vec![], Positions::new());
    for step in steps {
        match *step {
            Step::Advance(worker) => {
                let worker = worker % readers.len();
                epochs[worker] += 1;
                if epochs[worker] == CUT {
                    merge(&mut positions, readers[worker].positions());
                }
            }
            Step::Poll(worker) => {
                let worker = worker % readers.len();
                let poll = readers[worker].poll(epochs[worker], max_rows).expect("poll");
                if let (Poll::Rows(read), true) = (poll, epochs[worker] < CUT) {
                    rows.extend(read);
                }
            }
        }
    }
    for (reader, _) in readers.iter().zip(epochs).filter(|(_, epoch)| *epoch < CUT) {
        merge(&mut positions, reader.positions());
    }
    (rows, positions)
}

/// Adds what another worker says.
pub(crate) fn merge(positions: &mut Positions, more: Positions) {
    for (name, position) in more {
        let known = positions.entry(name).or_insert(position);
        *known = position.max(*known);
    }
}

/// Rows of [`table`]: these numbers, each with a name `n` and the number.
pub(crate) fn numbers(ids: &[i64]) -> Batch {
    let named: Vec<(i64, i64)> = ids.iter().map(|&id| (id, id)).collect();
    numbers_named(&named)
}

/// Rows of [`table`]: these numbers, each with a name `n` and the other number.
pub(crate) fn numbers_named(rows: &[(i64, i64)]) -> Batch {
    let names = StringArray::from_iter_values(rows.iter().map(|(_, name)| format!("n{name}")));
    let ids = Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id));
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(names)];
    RecordBatch::try_new(table(&[]).schema, columns).expect("columns of the table").into()
}

/// What it takes to write a table, with a console that nobody reads.
pub(crate) fn write_spec(table: Table) -> WriteSpec {
    WriteSpec { table, console: Arc::new(Lines::default()), job: None }
}

/// A console that remembers.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<Vec<u8>>);

impl Lines {
    /// What was written, line by line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).expect("text");
        text.lines().map(str::to_owned).collect()
    }
}

impl Console for Lines {
    fn write(&self, lines: &[u8]) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(lines);
        Ok(())
    }
}
