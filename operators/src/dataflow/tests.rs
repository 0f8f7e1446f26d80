//! The bridge against a plain computation: any number of workers, the same answer.

use super::*;
use crate::combine::{Combiner, When};
use crate::group_aggregate::GroupAggregateSpec;
use crate::operator::{
    EpochContext, LateRows, Operator, OperatorError, Output, Snapshot, SnapshotScope,
};
use crate::{Batch, Watermark};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// `(epoch, key, value)`: a count so far, or a watermark under key -1.
type Results = Arc<Mutex<Vec<(u64, i64, i64)>>>;

fn batch(keys: Vec<i64>, values: Vec<i64>) -> Batch {
    let field = |name| Field::new(name, DataType::Int64, false);
    let schema = Arc::new(Schema::new(vec![field("key"), field("value")]));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(keys)), Arc::new(Int64Array::from(values))];
    RecordBatch::try_new(schema, columns).unwrap().into()
}

/// Counts per key; gives the counts that changed, and tells each new watermark as key -1.
#[derive(Default)]
struct Count {
    counts: BTreeMap<i64, i64>,
    last: Option<u64>,
    fails_at: Option<u64>,
}

impl Operator for Count {
    fn apply(
        &mut self,
        inputs: Vec<Vec<Batch>>,
        context: &EpochContext,
        output: &mut Output,
    ) -> Result<(), OperatorError> {
        assert!(self.last < Some(context.epoch), "epochs come once and in order");
        self.last = Some(context.epoch);
        if self.fails_at.is_some_and(|epoch| epoch <= context.epoch) {
            return Err(OperatorError::Data("no further".to_owned()));
        }
        let mut changed = BTreeMap::new();
        for (port, batches) in inputs.iter().enumerate() {
            for batch in batches {
                let column = |column| batch.column(column).as_primitive::<Int64Type>().values();
                for (row, &key) in column(0).iter().enumerate() {
                    let count = self.counts.entry(key).or_default();
                    // Behind a combiner the number of rows stands behind the key.
                    *count += if port == 0 { 1 } else { column(1)[row] };
                    changed.insert(key, *count);
                }
            }
        }
        if context.watermark_after != context.watermark_before {
            changed.insert(-1, context.watermark_after.0);
        }
        output.rows.push(batch(changed.keys().copied().collect(), changed.into_values().collect()));
        Ok(())
    }

    fn snapshot(&mut self, _: SnapshotScope) -> Result<Snapshot, OperatorError> {
        Ok(Snapshot::default())
    }

    fn restore(&mut self, _: &Snapshot) -> Result<(), OperatorError> {
        Ok(())
    }

    /// A byte for each row counted, so that a cut tells which rows are before it.
    fn state_bytes(&self) -> usize {
        self.counts.values().sum::<i64>() as usize
    }
}

/// What was counted (or, by the sink, written) before each checkpoint, by all workers.
type Cuts = Arc<Mutex<BTreeMap<(&'static str, u64), usize>>>;

struct Flag {
    failed: Arc<AtomicBool>,
    rows_in: Cell<u64>,
    cuts: Cuts,
}

impl Host for Flag {
    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    fn fail(&self, _: usize, _: OperatorError) {
        self.failed.store(true, Ordering::SeqCst);
    }

    fn applied(&self, _: usize, applied: Applied) {
        self.rows_in.set(self.rows_in.get() + applied.rows_in);
    }

    fn combined(&self, _: usize, _: u64) {}

    fn late(&self, _: usize, _: u64, _: LateRows) {}

    fn keeps_state(&self, _: u64) -> bool {
        true
    }

    fn cut(&self, _: usize, state: StateCut) {
        *self.cuts.lock().unwrap().entry(("counted", state.checkpoint)).or_default() +=
            state.state_bytes;
    }
}

/// The sink of the results, which knows what it has written.
struct Collect {
    results: Results,
    written: usize,
    cuts: Cuts,
}

impl SinkStep for Collect {
    fn write(&mut self, epoch: u64, batches: Vec<Batch>) -> Result<(), OperatorError> {
        for batch in batches {
            let keys = batch.column(0).as_primitive::<Int64Type>().values();
            let values = batch.column(1).as_primitive::<Int64Type>().values();
            let rows = keys.iter().zip(values).map(|(&k, &v)| (epoch, k, v));
            self.results.lock().unwrap().extend(rows);
            self.written += batch.len();
        }
        Ok(())
    }

    fn seal(&mut self, checkpoint: u64) -> Result<(), OperatorError> {
        *self.cuts.lock().unwrap().entry(("written", checkpoint)).or_default() += self.written;
        Ok(())
    }
}

/// What a worker reads: for each epoch from 1 some batches of keys.
type Script = Vec<Vec<Vec<i64>>>;

/// How rows are counted.
#[derive(Clone, Copy, Debug, Default)]
struct How {
    /// No further than here.
    fails_at: Option<u64>,
    /// Combined before the exchange.
    combined: Option<When>,
}

fn ways() -> impl Strategy<Value = How> {
    let when = prop::sample::select(vec![When::Always, When::Helpful]);
    prop::option::of(when).prop_map(|combined| How { fails_at: None, combined })
}

/// A combiner of counts per key.
fn combining(when: When) -> Combining {
    let spec = GroupAggregateSpec {
        keys: vec![0],
        aggregates: Vec::new(),
        updating: false,
        emit_retractions: true,
        arrival: None,
        ttl_ms: None,
    };
    let combiner = Combiner::of_groups(&spec, &batch(vec![], vec![]).schema(), when).unwrap();
    let lateness = Lateness::By { sources: vec![0], watermark: Watermark::MIN, delay_ms: 0 };
    Combining { combiner, lateness }
}

/// Runs `script[worker]` with a count per key; epoch `e` ends with watermark `e * 10 + worker`.
fn run(scripts: &[Script], how: How) -> (Vec<(u64, i64, i64)>, bool) {
    run_with_cuts(scripts, how, &Cuts::default())
}

/// The same, with checkpoint `e` cutting before each second epoch `e`.
fn run_with_cuts(scripts: &[Script], how: How, cuts: &Cuts) -> (Vec<(u64, i64, i64)>, bool) {
    let results = Results::default();
    let failed = Arc::new(AtomicBool::new(false));
    let exits = Arc::new(std::sync::Barrier::new(scripts.len()));
    std::thread::scope(|threads| {
        for (index, (seat, script)) in seats(scripts.len()).into_iter().zip(scripts).enumerate() {
            let (results, failed, exits) = (results.clone(), failed.clone(), exits.clone());
            let seen = Seen { results, cuts: cuts.clone(), failed };
            threads.spawn(move || work(index, seat, script, how, seen, &exits));
        }
    });
    let mut results = results.lock().unwrap().clone();
    results.sort_unstable();
    (results, failed.load(Ordering::SeqCst))
}

/// What is seen of a run from outside.
struct Seen {
    results: Results,
    cuts: Cuts,
    failed: Arc<AtomicBool>,
}

fn work(
    index: usize,
    seat: Seat,
    script: &Script,
    how: How,
    seen: Seen,
    exits: &std::sync::Barrier,
) {
    let Seen { results, cuts, failed } = seen;
    let How { fails_at, combined } = how;
    let mut worker = seat.take();
    let host =
        Rc::new(Flag { failed: failed.clone(), rows_in: Cell::default(), cuts: cuts.clone() });
    let (mut reports, (mut input, probe)) = worker.build(host, |graph| {
        let (input, rows) = graph.source();
        let rows = graph.map(1, "pass", rows, Box::new(|batch, _| Ok(batch.clone())));
        let rows = graph.union(vec![rows]);
        let count = Box::new(Count { fails_at, ..Count::default() });
        let keyed = match combined {
            None => vec![graph.by_key(rows, &[0])],
            Some(when) => graph.combined(2, "count", rows, &[0], combining(when)),
        };
        let counts = graph.operator(2, "count", keyed, &[0], (count, Watermark::MIN));
        let collect = Collect { results, written: 0, cuts };
        graph.sink(3, "results", graph.local(counts), Box::new(collect));
        (input, graph.probe())
    });
    for (before, batches) in script.iter().enumerate() {
        let epoch = before as u64 + 1;
        input.advance_to(epoch);
        reports.advance_to(epoch);
        if epoch.is_multiple_of(2) {
            reports.cut(epoch);
        }
        for keys in batches {
            input.send(batch(keys.clone(), vec![0; keys.len()]));
        }
        let watermark = Watermark(epoch as i64 * 10 + index as i64);
        let news = News::Active(index as u32, watermark);
        reports.send(&[Report { source: 0, worker: index, news }]);
        if epoch.is_multiple_of(3) && !failed.load(Ordering::SeqCst) {
            worker.step(Duration::ZERO);
        }
    }
    reports.send(&[Report { source: 0, worker: index, news: News::WorkerFinished }]);
    if fails_at.is_none() {
        drop((input, reports));
        while worker.is_running() {
            worker.step(Duration::from_millis(10));
        }
        assert_eq!(probe.frontier(), None);
    } else {
        let deadline = Instant::now() + Duration::from_secs(20);
        input.advance_to(script.len() as u64 + 1);
        reports.advance_to(script.len() as u64 + 1);
        while !failed.load(Ordering::SeqCst) && Instant::now() < deadline {
            worker.step(Duration::from_millis(1));
        }
        assert!(probe.frontier() <= fails_at, "a failed epoch never completes");
        exits.wait();
    }
}

/// The same, without workers.
fn oracle(scripts: &[Script]) -> Vec<(u64, i64, i64)> {
    let mut counts = BTreeMap::new();
    let mut results = Vec::new();
    let epochs = scripts.iter().map(Vec::len).max().unwrap_or_default();
    for epoch in 0..epochs {
        let mut changed = BTreeMap::new();
        let read = scripts.iter().filter_map(|script| script.get(epoch)).flatten().flatten();
        for &key in read {
            let count = counts.entry(key).or_insert(0);
            *count += 1;
            changed.insert(key, *count);
        }
        results.extend(changed.into_iter().map(|(key, count)| (epoch as u64 + 1, key, count)));
    }
    results.sort_unstable();
    results
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let batch = prop::collection::vec(0i64..12, 0..20);
    let epoch = prop::collection::vec(batch, 0..3);
    let script = prop::collection::vec(epoch, 1..6);
    prop::collection::vec(script, 1..=4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn counts_per_epoch_are_the_oracles_for_any_number_of_workers(
        scripts in scripts(), how in ways(),
    ) {
        let (results, failed) = run(&scripts, how);
        prop_assert!(!failed);
        let counts: Vec<_> = results.iter().copied().filter(|&(_, key, _)| key >= 0).collect();
        prop_assert_eq!(counts, oracle(&scripts));
    }

    #[test]
    fn a_checkpoint_holds_exactly_what_came_before_its_epoch(
        scripts in scripts(), how in ways(),
    ) {
        let cuts = Cuts::default();
        let (results, _) = run_with_cuts(&scripts, how, &cuts);
        let cuts = cuts.lock().unwrap();
        let epochs = scripts.iter().map(Vec::len).max().unwrap_or_default() as u64;
        prop_assert_eq!(cuts.len() as u64, epochs / 2 * 2, "each is seen by operator and sink");
        for (&(who, checkpoint), &rows) in cuts.iter() {
            let before = checkpoint as usize - 1;
            let expected = match who {
                "counted" => {
                    let read = scripts.iter().flat_map(|script| script.iter().take(before));
                    read.flatten().map(Vec::len).sum()
                }
                _ => results.iter().filter(|&&(epoch, ..)| epoch < checkpoint).count(),
            };
            prop_assert_eq!(rows, expected, "{} before {}", who, checkpoint);
        }
    }
}

#[test]
fn all_workers_see_the_same_watermarks_in_the_same_epochs() {
    let script: Script = vec![vec![vec![1, 2, 3]], vec![], vec![]];
    let (results, _) = run(&[script.clone(), script], How::default());
    let watermarks: Vec<_> = results.into_iter().filter(|&(_, key, _)| key == -1).collect();
    let expected = [(1, 10), (1, 10), (2, 20), (2, 20), (3, i64::MAX), (3, i64::MAX)];
    assert_eq!(watermarks, expected.map(|(epoch, watermark)| (epoch, -1, watermark)));
}

#[test]
fn after_a_failure_no_later_epoch_completes_on_any_worker() {
    let script: Script = vec![vec![vec![1, 2, 3, 4, 5, 6, 7]]; 5];
    for workers in 1..=3 {
        for combined in [None, Some(When::Always), Some(When::Helpful)] {
            let scripts = vec![script.clone(); workers];
            let (results, failed) = run(&scripts, How { fails_at: Some(3), combined });
            assert!(failed);
            assert!(results.iter().all(|&(epoch, ..)| epoch < 3), "{results:?}");
        }
    }
}

#[test]
fn a_batch_without_rows_passes_through_exchanges() {
    let scripts: [Script; 2] = [vec![vec![vec![]]], vec![vec![vec![], vec![4]]]];
    let (results, _) = run(&scripts, How::default());
    let counts: Vec<_> = results.into_iter().filter(|&(_, key, _)| key >= 0).collect();
    assert_eq!(counts, [(1, 4, 1)]);
}

/// Waits for a processing time, and notes when it was called.
struct Timer {
    due_ms: Option<i64>,
    calls: Rc<RefCell<Vec<i64>>>,
}

impl Operator for Timer {
    fn apply(
        &mut self,
        _: Vec<Vec<Batch>>,
        context: &EpochContext,
        _: &mut Output,
    ) -> Result<(), OperatorError> {
        self.calls.borrow_mut().push(context.now_ms);
        self.due_ms = None;
        Ok(())
    }

    fn due_ms(&self) -> Option<i64> {
        self.due_ms
    }

    fn snapshot(&mut self, _: SnapshotScope) -> Result<Snapshot, OperatorError> {
        Ok(Snapshot::default())
    }

    fn restore(&mut self, _: &Snapshot) -> Result<(), OperatorError> {
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        0
    }
}

#[test]
fn an_operator_is_called_when_it_is_due_though_nothing_comes() {
    let calls = Rc::new(RefCell::new(Vec::new()));
    let timer = Timer { due_ms: Some(2), calls: calls.clone() };
    let (results, cuts) = (Results::default(), Cuts::default());
    let failed = Arc::default();
    let host = Rc::new(Flag { failed, rows_in: Cell::default(), cuts: cuts.clone() });
    let mut worker = seats(1).pop().expect("one seat").take();
    let (mut reports, mut input) = worker.build(host, |graph| {
        let (input, rows) = graph.source();
        let step = (Box::new(timer) as Box<dyn Operator>, Watermark::MIN);
        let rows = graph.operator(1, "timer", vec![graph.local(rows)], &[0], step);
        let collect = Collect { results, written: 0, cuts };
        graph.sink(2, "results", graph.local(rows), Box::new(collect));
        input
    });
    for epoch in [1_000, 2_500, 3_000, 4_000] {
        input.advance_to(epoch);
        reports.advance_to(epoch);
        reports.beat();
        worker.step(Duration::ZERO);
    }
    drop((input, reports));
    while worker.is_running() {
        worker.step(Duration::from_millis(10));
    }
    assert_eq!(*calls.borrow(), [2], "in the epoch of 2.5 ms, and in no other");
}
