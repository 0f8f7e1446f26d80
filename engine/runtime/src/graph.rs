//! From a plan to a worker's dataflow, node by node.

use crate::error::JobError;
use crate::input::SourceDriver;
use crate::job::Shared;
use crate::metrics::Role;
use crate::options::{self, Policy};
use crate::output::SinkDriver;
use crate::worker::Readers;
use arrow::datatypes::SchemaRef;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tidemill_connectors::sink::Writer;
use tidemill_operators::dataflow::{
    Applied, Graph, Host, Input, News, Probe, Report, ReportInput, Rows, Worker,
};
use tidemill_operators::join::Join;
use tidemill_operators::map::Map;
use tidemill_operators::operator::LateRows;
use tidemill_operators::top_n::TopN;
use tidemill_operators::{Batch, Epoch, Operator, OperatorError, Watermark};
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
    /// Gives the rows and ends the source.
    pub(crate) fn give(&mut self, epoch: Epoch, news: &mut Vec<Report>) {
        self.input.advance_to(epoch);
        if self.worker == 0 && !self.rows.is_empty() {
            let metrics = &self.shared.metrics.nodes[self.node];
            metrics.rows_out.fetch_add(self.rows.len() as u64, Ordering::Relaxed);
            self.input.send(std::mem::take(&mut self.rows));
        }
        let news_of_end = News::WorkerFinished;
        news.push(Report { source: self.node, worker: self.worker, news: news_of_end });
    }
}

/// Opens this worker's sinks and builds its dataflow. The sinks come first: a sink that can't be
/// opened must not leave a dataflow behind that peers wait for.
pub(crate) fn build(
    index: usize,
    worker: &mut Worker,
    readers: Readers,
    shared: &Arc<Shared>,
) -> Result<Built, JobError> {
    let plan = &shared.plan;
    let mut writers = open_writers(index, shared)?;
    let (mut operators, mut maps) = (BTreeMap::new(), BTreeMap::new());
    for (id, node) in plan.nodes.iter().enumerate() {
        let failed = |error| shared.operator_error(id, error);
        if let NodeKind::Map(spec) = &node.kind {
            maps.insert(id, Map::new(spec.clone()).map_err(failed)?);
        }
        operators.extend(operator(plan, node).map_err(failed)?.map(|operator| (id, operator)));
    }
    let mut readers: BTreeMap<NodeId, _> = readers.into_iter().collect();
    let host = Rc::new(WorkerHost { shared: shared.clone(), worker: index });
    let (reports, parts) = worker.build(host, |graph| {
        let mut parts = Parts {
            sources: Vec::new(),
            values: Vec::new(),
            sinks: Vec::new(),
            probe: graph.probe(),
        };
        let mut built: Vec<Option<Rows<'_>>> = Vec::with_capacity(plan.nodes.len());
        for (id, node) in plan.nodes.iter().enumerate() {
            let name = &shared.metrics.nodes[id].name;
            let inputs: Vec<Rows<'_>> = node
                .inputs
                .iter()
                .map(|&input| built[input].clone().expect("inputs stand before their readers"))
                .collect();
            built.push(match &node.kind {
                NodeKind::Source(source) => {
                    let (input, rows) = graph.source();
                    if let Some(reader) = readers.remove(&id) {
                        let policy = shared.bad_records.get(&id).copied().unwrap_or_default();
                        let watermark = source.watermark.clone();
                        let table = source.table.name.clone();
                        let driver =
                            SourceDriver::new(index, id, table, reader, input, watermark, policy);
                        parts.sources.push(driver);
                    }
                    Some(rows)
                }
                NodeKind::Values(rows) => {
                    let (input, stream) = graph.source();
                    let rows = Batch::from(rows.clone());
                    let shared = shared.clone();
                    parts.values.push(ValuesDriver {
                        node: id,
                        worker: index,
                        rows,
                        input,
                        shared,
                    });
                    Some(stream)
                }
                NodeKind::Map(_) => {
                    let map = maps.remove(&id).expect("made above");
                    let step = move |rows: &Batch, now_ms| map.apply(rows, now_ms);
                    let rows = inputs.into_iter().next().expect("a map has an input");
                    Some(graph.map(id, name, rows, Box::new(step)))
                }
                NodeKind::Union => Some(graph.union(inputs)),
                NodeKind::Sink(sink) => {
                    let rows = inputs.into_iter().next().expect("a sink has an input");
                    let writer = writers.remove(&id).expect("opened above");
                    let changelog = plan.nodes[node.inputs[0]].changelog;
                    let driver = SinkDriver::new(id, sink, changelog, writer, shared.clone());
                    let driver = Rc::new(RefCell::new(driver));
                    parts.sinks.push(driver.clone());
                    let rows = exchanged(graph, node, 0, rows);
                    let step = move |epoch, rows| driver.borrow_mut().write(epoch, rows);
                    graph.sink(id, name, rows, Box::new(step));
                    None
                }
                _ => {
                    let operator = operators.remove(&id).expect("made above");
                    let ports = inputs.into_iter().enumerate();
                    let inputs = ports.map(|(port, rows)| exchanged(graph, node, port, rows));
                    let inputs = inputs.collect();
                    Some(graph.operator(id, name, inputs, &node.sources, operator))
                }
            });
        }
        parts
    });
    let Parts { sources, values, sinks, probe } = parts;
    Ok(Built { sources, values, sinks, reports, probe })
}

struct Parts {
    sources: Vec<SourceDriver>,
    values: Vec<ValuesDriver>,
    sinks: Vec<Rc<RefCell<SinkDriver>>>,
    probe: Probe,
}

fn exchanged<'scope>(
    graph: &Graph<'scope>,
    node: &Node,
    port: usize,
    rows: Rows<'scope>,
) -> tidemill_operators::dataflow::Upstream<'scope> {
    match node.kind.exchange(port) {
        Some(keys) => graph.by_key(rows, keys),
        None => graph.local(rows),
    }
}

fn open_writers(
    index: usize,
    shared: &Shared,
) -> Result<BTreeMap<NodeId, Box<dyn Writer>>, JobError> {
    let open = |(&node, sink): (&NodeId, &Box<dyn tidemill_connectors::sink::Sink>)| {
        Ok((node, sink.writer(index, shared.workers)?))
    };
    shared.sinks.iter().map(open).collect()
}

/// The operator of a stateful node.
fn operator(plan: &Plan, node: &Node) -> Result<Option<Box<dyn Operator>>, OperatorError> {
    let schema = |port: usize| -> SchemaRef { plan.nodes[node.inputs[port]].schema.clone() };
    Ok(match &node.kind {
        NodeKind::TopN(spec) => Some(Box::new(TopN::new(spec.clone(), schema(0))?)),
        NodeKind::Join(spec) => Some(Box::new(Join::new(spec.clone(), schema(0), schema(1))?)),
        _ => None,
    })
}

/// What a worker's dataflow tells is counted, and failures poison the job.
struct WorkerHost {
    shared: Arc<Shared>,
    worker: usize,
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
        metrics.set_state_bytes(self.worker, applied.state_bytes);
    }

    fn late(&self, node: usize, late: LateRows) {
        let shared = &self.shared;
        let metrics = &shared.metrics.nodes[node];
        metrics.late_rows.fetch_add(late.rows.len() as u64, Ordering::Relaxed);
        match shared.late_rows {
            Policy::Skip => {}
            Policy::DeadLetter => {
                shared.dead_letters.late(&metrics.name, &late.rows, late.watermark.0);
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
