//! The same join, of differential dataflow: two arrangements of row bytes by key, and what
//! `join_traces` finds between them.
//!
//! Rows are held in one piece of memory for each batch of the trace, not in a `Vec` each; keys are
//! plain integers. Pairs are not collected by differential at all: the closure that meets them
//! copies their bytes into a buffer, so that nothing is allocated for a pair.

use super::changes::{KEY, side_schema};
use super::{Join, pairs, thread_cpu};
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::row::{RowConverter, RowParser, SortField};
use differential_dataflow::batcher::merge::chunker::ContainerChunker;
use differential_dataflow::batcher::merge::vec::VecMerger;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::join::join_traces;
use differential_dataflow::trace::implementations::merge_batcher::MergeBatcher;
use differential_dataflow::trace::implementations::ord_neu::{OrdValBatch, OrdValBuilder};
use differential_dataflow::trace::implementations::spine_fueled::Spine;
use differential_dataflow::trace::implementations::{BatchContainer, OffsetList};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tidemill_operators::Batch;
use timely::container::{CapacityContainerBuilder, PushInto};
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::dataflow::operators::{Input as _, Probe as _};
use timely::worker::Worker;

type Update = ((u64, Vec<u8>), u64, i64);
type Layout = (Vec<u64>, Bytes, Vec<u64>, Vec<i64>, OffsetList);
type Builder = OrdValBuilder<Layout, Vec<Update>>;
type Batcher =
    MergeBatcher<ContainerChunker<Vec<Update>>, VecMerger<(u64, Vec<u8>), u64, i64>, Builder>;
type Trace = Spine<Rc<OrdValBatch<Layout>>>;
type Handle = InputHandle<u64, CapacityContainerBuilder<Vec<Update>>>;

/// Makes a worker and its join, and hands the join over.
pub fn with_join<R: Send + 'static>(
    run: impl FnOnce(&mut dyn Join) -> R + Send + Sync + 'static,
) -> anyhow::Result<R> {
    Ok(timely::execute_directly(move |worker| run(&mut DifferentialJoin::new(worker))))
}

/// Pairs that were met: their rows' bytes and weights.
#[derive(Default)]
struct Met {
    sides: [Bytes; 2],
    weights: Vec<i64>,
}

struct DifferentialJoin<'a> {
    worker: &'a mut Worker,
    inputs: [Handle; 2],
    probe: Probe<u64>,
    met: Rc<RefCell<Met>>,
    converter: RowConverter,
    parser: RowParser,
    converting: Duration,
}

impl<'a> DifferentialJoin<'a> {
    fn new(worker: &'a mut Worker) -> Self {
        let met = Rc::new(RefCell::new(Met::default()));
        let meets = met.clone();
        let probe = Probe::new();
        let inputs = worker.dataflow(|scope| {
            let (left_input, left) = scope.new_input();
            let (right_input, right) = scope.new_input();
            let left = arrange_core::<_, _, Batcher, Trace>(left, Pipeline, "left", Batcher::new);
            let right =
                arrange_core::<_, _, Batcher, Trace>(right, Pipeline, "right", Batcher::new);
            let pairs = join_traces::<_, _, _, _, CapacityContainerBuilder<Vec<()>>>(
                left,
                right,
                "join",
                move |_key, left: &[u8], right: &[u8], _time, left_weight, right_weight, _out| {
                    let mut met = meets.borrow_mut();
                    met.sides[0].push_ref(left);
                    met.sides[1].push_ref(right);
                    met.weights.push(left_weight * right_weight);
                },
            );
            pairs.probe_with(&probe);
            [left_input, right_input]
        });
        let fields = side_schema();
        let fields = fields.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).expect("all types can be converted");
        let parser = converter.parser();
        DifferentialJoin {
            worker,
            inputs,
            probe,
            met,
            converter,
            parser,
            converting: Duration::ZERO,
        }
    }

    fn updates(&self, epoch: u64, rows: &Batch) -> anyhow::Result<Vec<Update>> {
        let keys = rows.column(KEY).as_primitive::<Int64Type>().values();
        let bytes = self.converter.convert_columns(rows.columns().columns())?;
        let update = |row: usize| {
            let key_and_row = (keys[row].cast_unsigned(), bytes.row(row).data().to_vec());
            (key_and_row, epoch, rows.weight(row))
        };
        Ok((0..rows.len()).map(update).collect())
    }

    fn columns(&self, rows: &Bytes) -> anyhow::Result<Vec<ArrayRef>> {
        let rows = (0..rows.len()).map(|row| self.parser.parse(rows.index(row)));
        Ok(self.converter.convert_rows(rows)?)
    }

    fn pairs(&self, met: Met) -> anyhow::Result<Batch> {
        let [left, right] = &met.sides;
        let columns: RecordBatch = pairs(&self.columns(left)?, &self.columns(right)?)?;
        Ok(Batch::new(columns, Some(met.weights.into())))
    }

    fn work_off(&mut self, epoch: u64) {
        for input in &mut self.inputs {
            input.advance_to(epoch + 1);
            input.flush();
        }
        while self.probe.less_than(&(epoch + 1)) {
            self.worker.step();
        }
    }
}

impl Join for DifferentialJoin<'_> {
    fn apply(&mut self, epoch: u64, sides: [Batch; 2]) -> anyhow::Result<Vec<Batch>> {
        let started = thread_cpu();
        for (side, rows) in sides.iter().enumerate() {
            let mut updates = self.updates(epoch, rows)?;
            self.inputs[side].advance_to(epoch);
            self.inputs[side].send_batch(&mut updates);
        }
        self.converting += thread_cpu() - started;
        self.work_off(epoch);
        let started = thread_cpu();
        let pairs = self.pairs(self.met.take())?;
        self.converting += thread_cpu() - started;
        Ok(vec![pairs])
    }

    fn converting(&self) -> Duration {
        self.converting
    }
}

/// Byte strings, one behind the other.
#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl BatchContainer for Bytes {
    type Owned = Vec<u8>;
    type ReadItem<'a> = &'a [u8];

    fn into_owned(item: &[u8]) -> Vec<u8> {
        item.to_vec()
    }

    fn push_ref(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.ends.push(self.bytes.len());
    }

    fn push_own(&mut self, item: &Vec<u8>) {
        self.push_ref(item);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn with_capacity(size: usize) -> Self {
        Bytes { bytes: Vec::new(), ends: Vec::with_capacity(size) }
    }

    fn merge_capacity(one: &Self, other: &Self) -> Self {
        Bytes {
            bytes: Vec::with_capacity(one.bytes.len() + other.bytes.len()),
            ends: Vec::with_capacity(one.len() + other.len()),
        }
    }

    fn reborrow<'b, 'a: 'b>(item: &'a [u8]) -> &'b [u8] {
        item
    }

    fn index(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    fn len(&self) -> usize {
        self.ends.len()
    }
}

impl PushInto<Vec<u8>> for Bytes {
    fn push_into(&mut self, item: Vec<u8>) {
        self.push_ref(&item);
    }
}
