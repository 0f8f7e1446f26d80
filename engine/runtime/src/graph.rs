//! From a plan to a worker's dataflow, node by node.

use crate::arrangements;
use crate::checkpoint::Part;
use crate::error::JobError;
use crate::gate::GatedWriter;
use crate::input::{BadRecords, SourceDriver};
use crate::job::Shared;
use crate::metrics::Role;
use crate::options::{self, Policy};
use crate::output::{SinkDriver, SinkHandle};
use crate::worker::Readers;
use arrow::datatypes::SchemaRef;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tidemill_connectors::LookupTable;
use tidemill_connectors::source::Reader;
use tidemill_operators::combine::Combiner;
use tidemill_operators::constant_join::ConstantJoin;
use tidemill_operators::dataflow::{
    Applied, Combining, Graph, Host, Input, Lateness, MapStep, News, Probe, Report, ReportInput,
    Rows, StateCut, Upstream, Worker,
};
use tidemill_operators::group_aggregate::GroupAggregate;
use tidemill_operators::interval_join::IntervalJoin;
use tidemill_operators::join::{Arrange, Arrangement, Join};
use tidemill_operators::lookup_join::LookupJoin;
use tidemill_operators::map::Map;
use tidemill_operators::normalize::Normalize;
use tidemill_operators::operator::LateRows;
use tidemill_operators::over::Over;
use tidemill_operators::pattern::PatternMatch;
use tidemill_operators::retimed::Retimed;
use tidemill_operators::temporal_join::TemporalJoin;
use tidemill_operators::time_filter::TimeFilter;
use tidemill_operators::top_n::TopN;
use tidemill_operators::unnest::Unnest;
use tidemill_operators::window_aggregate::WindowAggregate;
use tidemill_operators::window_join::WindowJoin;
use tidemill_operators::{Batch, Epoch, Operator, OperatorError, Watermark};
use tidemill_sql::Phases;
use tidemill_sql::plan::{Node, NodeId, NodeKind, Plan};

/// A worker's dataflow and the hands on its ends.
pub(crate) struct Built {
    pub sources: Vec<SourceDriver>,
    pub values: Vec<ValuesDriver>,
    pub sinks: Vec<Rc<RefCell<SinkDriver>>>,
    pub reports: ReportInput,
    pub probe: Probe,
}

/// Rows that stand in the job's text. They are given in the first epoch, by the first worker.
pub(crate) struct ValuesDriver {
    node: NodeId,
    worker: usize,
    rows: Batch,
    input: Input,
    shared: Arc<Shared>,
}

impl ValuesDriver {
    /// Gives the rows under `epoch`, unless an earlier start of the job did, and ends the source.
    pub(crate) fn give(mut self, epoch: Epoch) -> Report {
        self.input.advance_to(epoch);
        let is_first_start = self.shared.restored.manifest.is_none();
        if is_first_start && self.worker == 0 && !self.rows.is_empty() {
            let metrics = &self.shared.metrics.nodes[self.node];
            metrics.rows_out.fetch_add(self.rows.len() as u64, Ordering::Relaxed);
            self.input.send(self.rows);
        }
        Report { source: self.node, worker: self.worker, news: News::WorkerFinished }
    }
}

/// Opens this worker's ends and builds its dataflow. What can fail comes first: a worker that
/// gives up must not leave half a dataflow behind that its peers wait for.
pub(crate) fn build(
    index: usize,
    worker: &mut Worker,
    readers: Readers,
    shared: &Arc<Shared>,
) -> Result<Built, JobError> {
    let mut parts = Parts::make(index, readers, shared)?;
    let late_rows = RefCell::new(vec![0; shared.plan.nodes.len()]);
    let host = Rc::new(WorkerHost { shared: shared.clone(), worker: index, late_rows });
    let (reports, probe) = worker.build(host, |graph| {
        let mut built: Vec<Option<Rows<'_>>> = Vec::with_capacity(shared.plan.nodes.len());
        for (id, node) in shared.plan.nodes.iter().enumerate() {
            let rows_of = |&input: &NodeId| -> Rows<'_> {
                built[input].clone().expect("inputs stand before their readers and are no sinks")
            };
            let inputs = node.inputs.iter().map(rows_of).collect();
            built.push(parts.add(graph, id, node, inputs));
        }
        graph.probe()
    });
    let Parts { sources, values, sinks, .. } = parts;
    Ok(Built { sources, values, sinks, reports, probe })
}

/// What a dataflow is built of: made before, and the hands on it afterwards.
struct Parts<'a> {
    index: usize,
    shared: &'a Arc<Shared>,
    readers: BTreeMap<NodeId, Box<dyn Reader>>,
    writers: BTreeMap<NodeId, GatedWriter>,
    letter_topics: BTreeMap<NodeId, GatedWriter>,
    steps: BTreeMap<NodeId, MapStep>,
    operators: BTreeMap<NodeId, (Box<dyn Operator>, Watermark)>,
    /// In front of some of these.
    combiners: BTreeMap<NodeId, Combining>,
    sources: Vec<SourceDriver>,
    values: Vec<ValuesDriver>,
    sinks: Vec<Rc<RefCell<SinkDriver>>>,
}

impl<'a> Parts<'a> {
    fn make(index: usize, readers: Readers, shared: &'a Arc<Shared>) -> Result<Self, JobError> {
        let mut parts = Parts {
            index,
            shared,
            readers: readers.into_iter().collect(),
            writers: BTreeMap::new(),
            letter_topics: BTreeMap::new(),
            steps: BTreeMap::new(),
            operators: BTreeMap::new(),
            combiners: BTreeMap::new(),
            sources: Vec::new(),
            values: Vec::new(),
            sinks: Vec::new(),
        };
        for (&id, sink) in &shared.sinks {
            parts.writers.insert(id, GatedWriter::open(sink.as_ref(), index, shared.workers)?);
        }
        for (&id, sink) in &shared.letter_topics {
            let gate = GatedWriter::open(sink.as_ref(), index, shared.workers)?;
            parts.letter_topics.insert(id, gate);
        }
        let arrangements = arrangements::of(&shared.plan);
        let arrangements = arrangements.map_err(|(id, error)| shared.operator_error(id, error))?;
        for (id, node) in shared.plan.nodes.iter().enumerate() {
            let failed = |error| shared.operator_error(id, error);
            if let Some(step) = step(&shared.plan, node).map_err(failed)? {
                parts.steps.insert(id, step);
            }
            let lookup = shared.lookups.get(&id).map(Arc::as_ref);
            let made = operator(&shared.plan, id, lookup, &arrangements).map_err(failed)?;
            if let Some(mut operator) = made {
                let restored = &shared.restored;
                let share = (index, shared.workers);
                let restoring = restored.restore(node.operator_id, share, operator.as_mut());
                restoring.map_err(failed)?;
                let watermark = restored.watermark(node.operator_id);
                parts.operators.insert(id, (operator, watermark));
                // A worker alone exchanges nothing.
                if shared.workers > 1
                    && let Some(combining) =
                        combining(&shared.plan, node, watermark).map_err(failed)?
                {
                    parts.combiners.insert(id, combining);
                }
            }
        }
        Ok(parts)
    }

    /// Adds a node to the dataflow; a sink has no rows for others.
    fn add<'scope>(
        &mut self,
        graph: &Graph<'scope>,
        id: NodeId,
        node: &Node,
        mut inputs: Vec<Rows<'scope>>,
    ) -> Option<Rows<'scope>> {
        let shared = self.shared;
        let name = &shared.metrics.nodes[id].name;
        match &node.kind {
            NodeKind::Source(plan) => {
                let (input, rows) = graph.source();
                let reader = self.readers.remove(&id).expect("opened before");
                let policy = shared.bad_records.get(&id).copied().unwrap_or_default();
                let letters = self.letter_topics.remove(&id);
                let bad_records = BadRecords { policy, topic: letters };
                let restored_ms = shared.restored.lane_watermarks_ms(node.operator_id);
                let time = (restored_ms, shared.alignments.get(&id).cloned());
                let driver =
                    SourceDriver::new(self.index, id, plan, reader, input, bad_records, time);
                self.sources.push(driver);
                Some(rows)
            }
            NodeKind::Values(values) => {
                let (input, rows) = graph.source();
                self.values.push(ValuesDriver {
                    node: id,
                    worker: self.index,
                    rows: Batch::from(values.clone()),
                    input,
                    shared: shared.clone(),
                });
                Some(rows)
            }
            NodeKind::Map(_) | NodeKind::Unnest(_) | NodeKind::ConstantJoin(_) => {
                let step = self.steps.remove(&id).expect("made before");
                let rows = inputs.pop().expect("a step without state has an input");
                Some(graph.map(id, name, rows, step))
            }
            NodeKind::Union => Some(graph.union(inputs)),
            NodeKind::Sink(plan) => {
                let rows = inputs.pop().expect("a sink has an input");
                let input = shared.plan.nodes[node.inputs[0]].changelog;
                let gate = self.writers.remove(&id).expect("opened before");
                let driver = SinkDriver::new(id, plan, input, gate, shared.clone());
                let driver = Rc::new(RefCell::new(driver));
                self.sinks.push(driver.clone());
                let step = Box::new(SinkHandle(driver));
                graph.sink(id, name, exchanged(graph, node, 0, rows), step);
                None
            }
            NodeKind::WindowAggregate(_)
            | NodeKind::GroupAggregate(_)
            | NodeKind::TopN(_)
            | NodeKind::Arrange(_)
            | NodeKind::Join(_)
            | NodeKind::IntervalJoin(_)
            | NodeKind::WindowJoin(_)
            | NodeKind::TemporalJoin(_)
            | NodeKind::LookupJoin(_)
            | NodeKind::Over(_)
            | NodeKind::Pattern(_)
            | NodeKind::TimeFilter(_)
            | NodeKind::Normalize(_) => {
                let operator = self.operators.remove(&id).expect("made before");
                let inputs = match self.combiners.remove(&id) {
                    Some(combining) => {
                        let rows = inputs.pop().expect("an aggregate has an input");
                        let keys = node.kind.exchange(0).expect("an aggregate has keys");
                        graph.combined(id, name, rows, keys, combining)
                    }
                    None => {
                        let ports = inputs.into_iter().enumerate();
                        ports.map(|(port, rows)| exchanged(graph, node, port, rows)).collect()
                    }
                };
                Some(graph.operator(id, name, inputs, &node.sources, operator))
            }
        }
    }
}

fn exchanged<'scope>(
    graph: &Graph<'scope>,
    node: &Node,
    port: usize,
    rows: Rows<'scope>,
) -> Upstream<'scope> {
    match node.kind.exchange(port) {
        Some(keys) => graph.by_key(rows, keys),
        None => graph.local(rows),
    }
}

/// What a node that keeps nothing does with a batch.
fn step(plan: &Plan, node: &Node) -> Result<Option<MapStep>, OperatorError> {
    let step: MapStep = match &node.kind {
        NodeKind::Map(spec) => {
            let map = Map::new(spec.clone())?;
            Box::new(move |rows, now_ms| map.apply(rows, now_ms))
        }
        NodeKind::Unnest(spec) => {
            let unnest = Unnest::new(spec.clone());
            Box::new(move |rows, _now_ms| unnest.apply(rows))
        }
        NodeKind::ConstantJoin(spec) => {
            let join = ConstantJoin::new(spec, &plan.nodes[node.inputs[0]].schema)?;
            Box::new(move |rows, now_ms| join.apply(rows, now_ms))
        }
        _ => return Ok(None),
    };
    Ok(Some(step))
}

/// The operator of a stateful node; `lookup` is the table that it looks up, if it does.
fn operator(
    plan: &Plan,
    id: NodeId,
    lookup: Option<&dyn LookupTable>,
    arrangements: &BTreeMap<NodeId, Arrangement>,
) -> Result<Option<Box<dyn Operator>>, OperatorError> {
    let node = &plan.nodes[id];
    let arrangement = |port: usize| arrangements[&node.inputs[port]].clone();
    let schema = |port: usize| -> SchemaRef { plan.nodes[node.inputs[port]].schema.clone() };
    let operator: Option<Box<dyn Operator>> = match &node.kind {
        NodeKind::WindowAggregate(spec) => {
            Some(Box::new(WindowAggregate::new(spec.clone(), schema(0))?))
        }
        NodeKind::GroupAggregate(spec) => {
            Some(Box::new(GroupAggregate::new(spec.clone(), schema(0))?))
        }
        NodeKind::TopN(spec) => Some(Box::new(TopN::new(spec.clone(), schema(0))?)),
        NodeKind::Arrange(_) => Some(Box::new(Arrange::new(arrangements[&id].clone()))),
        NodeKind::Join(spec) if spec.is_arranged() => {
            Some(Box::new(Join::of(spec.clone(), arrangement(0), arrangement(1))?))
        }
        NodeKind::Join(spec) => Some(Box::new(Join::new(spec.clone(), schema(0), schema(1))?)),
        NodeKind::IntervalJoin(spec) => {
            Some(Box::new(IntervalJoin::new(spec.clone(), schema(0), schema(1))?))
        }
        NodeKind::TemporalJoin(spec) => {
            Some(Box::new(TemporalJoin::new(spec.clone(), schema(0), schema(1))?))
        }
        NodeKind::LookupJoin(plan) => {
            let lookup = lookup.expect("opened before").open();
            Some(Box::new(LookupJoin::new(plan.join.clone(), schema(0), &plan.schema, lookup)?))
        }
        NodeKind::WindowJoin(spec) => {
            Some(Box::new(WindowJoin::new(spec.clone(), schema(0), schema(1))?))
        }
        NodeKind::Over(spec) => Some(Box::new(Over::new(spec.clone(), schema(0))?)),
        NodeKind::Pattern(spec) => Some(Box::new(PatternMatch::new(spec.clone(), schema(0))?)),
        NodeKind::TimeFilter(spec) => Some(Box::new(TimeFilter::new(spec.clone(), schema(0))?)),
        NodeKind::Normalize(spec) => Some(Box::new(Normalize::new(spec.clone(), schema(0))?)),
        _ => None,
    };
    Ok(operator.map(|operator| {
        let operator = Retimed::behind(node.delay_ms, operator);
        match node.by_processing_time {
            true => Retimed::by_processing_time(operator),
            false => operator,
        }
    }))
}

/// What combines the rows of an aggregate before the exchange, if anything does; `watermark` is what
/// it was when the job is resumed.
fn combining(
    plan: &Plan,
    node: &Node,
    watermark: Watermark,
) -> Result<Option<Combining>, OperatorError> {
    let Some(Phases::Two(when)) = plan.phases(node) else { return Ok(None) };
    let input = &plan.nodes[node.inputs[0]].schema;
    let (combiner, lateness) = match &node.kind {
        NodeKind::GroupAggregate(spec) => {
            (Combiner::of_groups(spec, input, when)?, Lateness::Never)
        }
        NodeKind::WindowAggregate(spec) => {
            let lateness = match node.by_processing_time {
                true => Lateness::Never,
                false => Lateness::By {
                    sources: node.sources.clone(),
                    watermark,
                    delay_ms: node.delay_ms,
                },
            };
            (Combiner::of_windows(spec, input, when)?, lateness)
        }
        _ => return Ok(None),
    };
    Ok(Some(Combining { combiner, lateness }))
}

/// What a worker's dataflow tells is counted, and failures poison the job.
struct WorkerHost {
    shared: Arc<Shared>,
    worker: usize,
    /// Rows that each node has dropped as late on this worker.
    late_rows: RefCell<Vec<u64>>,
}

impl Host for WorkerHost {
    fn has_failed(&self) -> bool {
        self.shared.poison.has_failed()
    }

    fn fail(&self, node: usize, error: OperatorError) {
        self.shared.poison.fail(self.shared.operator_error(node, error));
    }

    fn applied(&self, node: usize, applied: Applied) {
        let metrics = &self.shared.metrics.nodes[node];
        debug_assert_eq!(metrics.role, Role::Step, "sources and sinks count for themselves");
        metrics.rows_in.fetch_add(applied.rows_in, Ordering::Relaxed);
        metrics.rows_out.fetch_add(applied.rows_out, Ordering::Relaxed);
        if applied.watermark != Watermark::MIN {
            metrics.watermark_ms.store(applied.watermark.0, Ordering::Relaxed);
        }
        if applied.rows_out > 0 {
            self.shared.coordinator.changed();
        }
        metrics.set_state_bytes(self.worker, applied.state_bytes);
    }

    fn combined(&self, node: usize, rows: u64) {
        let metrics = &self.shared.metrics.nodes[node];
        metrics.rows_in.fetch_add(rows, Ordering::Relaxed);
        metrics.rows_combined.fetch_add(rows, Ordering::Relaxed);
    }

    fn keeps_state(&self, checkpoint: u64) -> bool {
        let cut = self.shared.coordinator.cut();
        !cut.is_some_and(|cut| cut.checkpoint == checkpoint && cut.is_end())
    }

    fn cut(&self, node: usize, state: StateCut) {
        let late_rows = self.late_rows.borrow()[node];
        self.shared.hand_over(Part::Step(self.worker, node, state, late_rows));
    }

    fn late(&self, node: usize, epoch: Epoch, late: LateRows) {
        let shared = &self.shared;
        self.late_rows.borrow_mut()[node] += late.rows.len() as u64;
        let metrics = &shared.metrics.nodes[node];
        metrics.late_rows.fetch_add(late.rows.len() as u64, Ordering::Relaxed);
        match shared.late_rows {
            Policy::Skip => {}
            Policy::DeadLetter => {
                let watermark_ms = late.watermark.0;
                shared.dead_letters.late(&metrics.name, epoch, &late.rows, watermark_ms);
            }
            Policy::Fail => shared.poison.fail(JobError::LateRows {
                step: metrics.name.clone(),
                rows: late.rows.len(),
                watermark_ms: late.watermark.0,
            }),
        }
    }
}

/// The policies for bad records, checked before anything starts.
pub(crate) fn bad_record_policies(plan: &Plan) -> Result<BTreeMap<NodeId, Policy>, JobError> {
    let sources = plan.nodes.iter().enumerate().filter_map(|(id, node)| match &node.kind {
        NodeKind::Source(source) => Some((id, source)),
        _ => None,
    });
    sources.map(|(id, source)| Ok((id, options::bad_records(&source.table)?))).collect()
}
