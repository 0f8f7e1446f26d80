//! [`SourceDriver`]: one worker's reader of one table, on its way into the dataflow.
//!
//! Rows are sent under the epoch they were read for. What they mean for event time is collected
//! per lane and reported once, before the worker leaves the epoch: a lane's watermark is the
//! greatest value of the watermark expression over its rows.
//!
//! Where a checkpoint cuts, positions are taken on entering the first epoch that is not in it,
//! before anything of that epoch is read.

use crate::alignment::Alignment;
use crate::checkpoint::SourceCut;
use crate::error::JobError;
use crate::gate::GatedWriter;
use crate::job::Shared;
use crate::letter_topic;
use crate::options::Policy;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, max};
use arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tidemill_connectors::source::{ConnectorError, Lane, LaneRows, LaneState, Poll, Reader};
use tidemill_operators::dataflow::{Input, News, Report, processing_time_ms};
use tidemill_operators::{Batch, Epoch, Expression, Watermark};
use tidemill_sql::plan::{NodeId, SourcePlan};

/// A source is asked for so many rows at once, so that sources take turns and the dataflow keeps
/// moving in between.
const ROWS_PER_POLL: usize = 4096;

/// One worker's hand on a source, with its end of the dataflow.
pub(crate) struct SourceDriver {
    pub(crate) node: NodeId,
    table: String,
    reader: Box<dyn Reader>,
    /// None once the source has ended on this worker.
    input: Option<Input>,
    watermark: Option<Arc<dyn Expression>>,
    bad_records: BadRecords,
    lanes: BTreeMap<Lane, LaneNews>,
    /// The watermarks that lanes had where the job goes on, by their names, in milliseconds.
    restored_ms: BTreeMap<String, i64>,
    alignment: Option<Arc<Alignment>>,
    /// Lanes that the reader was told to leave alone.
    held: Vec<Lane>,
    has_finished: bool,
    worker: usize,
    rows: u64,
    bad_rows: u64,
}

/// What becomes of records that can't be decoded.
pub(crate) struct BadRecords {
    pub policy: Policy,
    /// The topic that they go to, if their table names one.
    pub topic: Option<GatedWriter>,
}

/// What is known of a lane here, and whether everybody knows it already.
#[derive(Debug, Clone, Copy)]
struct LaneNews {
    watermark: Watermark,
    state: LaneState,
    is_told: bool,
}

impl LaneNews {
    /// A lane of which nothing was told yet.
    fn at(watermark: Watermark) -> Self {
        LaneNews { watermark, state: LaneState::Active, is_told: false }
    }
}

impl SourceDriver {
    pub(crate) fn new(
        worker: usize,
        node: NodeId,
        plan: &SourcePlan,
        reader: Box<dyn Reader>,
        input: Input,
        bad_records: BadRecords,
        (restored_ms, alignment): (BTreeMap<String, i64>, Option<Arc<Alignment>>),
    ) -> Self {
        SourceDriver {
            node,
            table: plan.table.name.clone(),
            reader,
            input: Some(input),
            watermark: plan.watermark.clone(),
            bad_records,
            lanes: BTreeMap::new(),
            restored_ms,
            alignment,
            held: Vec::new(),
            has_finished: false,
            worker,
            rows: 0,
            bad_rows: 0,
        }
    }

    /// A checkpoint cuts here: says where this worker's share of the source stands.
    pub(crate) fn cut(&mut self, checkpoint: u64, shared: &Shared) -> Result<SourceCut, JobError> {
        if let Some(topic) = &mut self.bad_records.topic {
            topic.seal(checkpoint, &shared.coordinator)?;
        }
        let known = self.lanes.iter().filter(|(_, lane)| lane.watermark != Watermark::MIN);
        Ok(SourceCut {
            positions: self.reader.positions(),
            watermarks_ms: known
                .map(|(&number, lane)| (self.reader.lane_name(number), lane.watermark.0))
                .collect(),
            rows: self.rows,
            bad_records: self.bad_rows,
        })
    }

    /// Writes bad records that waited for a checkpoint that now stands; says how many bytes wait
    /// or have not arrived.
    pub(crate) fn catch_up(&mut self, shared: &Shared) -> Result<usize, JobError> {
        let Some(topic) = &mut self.bad_records.topic else { return Ok(0) };
        topic.catch_up(&shared.coordinator)?;
        topic.flush()?;
        Ok(topic.pending_bytes())
    }

    /// Makes durable what was written beside the rows.
    pub(crate) fn finish(&mut self) -> Result<(), JobError> {
        let topic = self.bad_records.topic.as_mut();
        Ok(topic.map_or(Ok(()), GatedWriter::finish)?)
    }

    /// What is known of a lane, from here or from where the job goes on.
    fn lane(&mut self, lane: Lane) -> &mut LaneNews {
        let (reader, restored_ms) = (&self.reader, &self.restored_ms);
        self.lanes.entry(lane).or_insert_with(|| {
            let restored_ms = restored_ms.get(&reader.lane_name(lane));
            LaneNews::at(restored_ms.map_or(Watermark::MIN, |&ms| Watermark(ms)))
        })
    }

    /// Whether there may be more to read.
    pub(crate) fn is_open(&self) -> bool {
        self.input.is_some()
    }

    /// Asks what lanes there are. Before anything is read.
    pub(crate) fn announce(&mut self) {
        for (lane, state) in self.reader.lanes() {
            let lane = self.lane(lane);
            // Finished is final, whoever else says something else.
            if lane.state != LaneState::Finished && (lane.state != state || !lane.is_told) {
                *lane = LaneNews { state, is_told: false, ..*lane };
            }
        }
    }

    /// Reads once and sends what there was. Says how many rows.
    pub(crate) fn poll(
        &mut self,
        epoch: Epoch,
        rows_max: usize,
        shared: &Shared,
    ) -> Result<usize, JobError> {
        if self.has_finished || self.input.is_none() {
            return Ok(0);
        }
        let mut rows_read = 0;
        match self.reader.poll(epoch, rows_max.min(ROWS_PER_POLL))? {
            Poll::Rows(lanes) => {
                for rows in lanes {
                    rows_read += rows.rows.len();
                    self.send(rows, epoch, shared)?;
                }
            }
            Poll::Pending => {}
            Poll::Finished => self.has_finished = true,
        }
        self.announce();
        self.settle_bad_records(epoch, shared)?;
        self.rows += rows_read as u64;
        let metrics = &shared.metrics.nodes[self.node];
        metrics.rows_out.fetch_add(rows_read as u64, Ordering::Relaxed);
        metrics.set_lag(self.worker, self.reader.lag());
        Ok(rows_read)
    }

    fn send(&mut self, rows: LaneRows, epoch: Epoch, shared: &Shared) -> Result<(), JobError> {
        let LaneRows { lane, rows } = rows;
        if rows.is_empty() {
            return Ok(());
        }
        let bytes = rows.bytes();
        shared.coordinator.read(rows.len(), bytes);
        shared.metrics.nodes[self.node].bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(watermark) = &self.watermark {
            let greatest = greatest_ms(watermark.as_ref(), &rows, processing_time_ms(epoch));
            let greatest = greatest
                .map_err(|error| JobError::Watermark { table: self.table.clone(), error })?;
            let lane = self.lane(lane);
            if let Some(ms) = greatest
                && Watermark(ms) > lane.watermark
            {
                // The end of time is for sources to say, not for rows.
                lane.watermark = Watermark(ms.min(i64::MAX - 1));
                lane.is_told = false;
            }
        }
        self.input.as_mut().expect("an open source").send(rows);
        Ok(())
    }

    /// What everybody has to know of the epoch that this worker is about to leave.
    pub(crate) fn report(&mut self, reports: &mut Vec<Report>) {
        let (source, worker) = (self.node, self.worker);
        let mut tell = |news| reports.push(Report { source, worker, news });
        // Without a declared watermark a source has none until its end, idle or not.
        if self.watermark.is_some() {
            for (&number, lane) in self.lanes.iter_mut().filter(|(_, lane)| !lane.is_told) {
                if let Some(alignment) = &self.alignment {
                    alignment.note(source, number, lane.state, lane.watermark);
                }
                tell(News::Active(number, lane.watermark));
                match lane.state {
                    LaneState::Active => {}
                    LaneState::Idle => tell(News::Idle(number)),
                    LaneState::Finished => tell(News::LaneFinished(number)),
                }
                lane.is_told = true;
            }
        }
        if self.has_finished && self.input.take().is_some() {
            tell(News::WorkerFinished);
        }
    }

    pub(crate) fn advance_to(&mut self, epoch: Epoch) {
        if let Some(input) = &mut self.input {
            input.advance_to(epoch);
        }
        self.align();
    }

    /// Has the reader leave alone the lanes that are too far ahead of others'.
    fn align(&mut self) {
        let Some(alignment) = &self.alignment else { return };
        let ahead = alignment.ahead(self.node);
        if ahead != self.held {
            self.reader.hold(&ahead);
            self.held = ahead;
        }
    }

    /// Stops reading for good, without saying that the source has ended.
    pub(crate) fn close(&mut self) {
        self.input = None;
    }

    fn settle_bad_records(&mut self, epoch: Epoch, shared: &Shared) -> Result<(), JobError> {
        let bad = self.reader.take_bad();
        if bad.count == 0 {
            return Ok(());
        }
        self.bad_rows += bad.count;
        shared.coordinator.changed();
        let metrics = &shared.metrics.nodes[self.node];
        metrics.bad_records.fetch_add(bad.count, Ordering::Relaxed);
        match (self.bad_records.policy, &mut self.bad_records.topic) {
            (Policy::Skip, _) => {}
            (Policy::DeadLetter, Some(topic)) => {
                let rows = letter_topic::rows(&self.table, &bad.records);
                let rows = rows.map_err(|error| ConnectorError {
                    what: format!("keeping bad records of {}", self.table),
                    cause: error.to_string(),
                })?;
                topic.write(epoch, vec![rows], &shared.coordinator)?;
            }
            (Policy::DeadLetter, None) => {
                let letters = &shared.dead_letters;
                bad.records.iter().for_each(|bad| letters.bad(&self.table, epoch, bad));
            }
            (Policy::Fail, _) => {
                let first = bad.records.into_iter().next();
                return Err(JobError::bad_record(&self.table, first));
            }
        }
        Ok(())
    }
}

/// The greatest value of a watermark expression over some rows, if any is not NULL.
fn greatest_ms(
    watermark: &dyn Expression,
    rows: &Batch,
    now_ms: i64,
) -> Result<Option<i64>, tidemill_operators::RowError> {
    let values = watermark.evaluate(rows.columns(), now_ms)?;
    let values = in_milliseconds(values).map_err(|error| tidemill_operators::RowError {
        expression: watermark.describe(),
        reason: error.to_string(),
    })?;
    Ok(max(values.as_primitive::<TimestampMillisecondType>()))
}

fn in_milliseconds(values: ArrayRef) -> Result<ArrayRef, arrow::error::ArrowError> {
    match values.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => Ok(values),
        _ => cast(&values, &DataType::Timestamp(TimeUnit::Millisecond, None)),
    }
}

impl std::fmt::Debug for SourceDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceDriver").field("table", &self.table).finish_non_exhaustive()
    }
}
