//! [`Standing`]: how far a run had come that is compared with its batch answer.
//!
//! Of an input that has not ended only the rows count that the run had read, and of what waits for
//! the watermark only what that had brought out: windows that had closed, rows that had had their
//! turn.

use crate::error::OracleError;
use crate::excluded::Excluded;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMillisecondType;
use std::collections::BTreeMap;
use tidemill_connectors::source::Positions;
use tidemill_operators::join::JoinKind;
use tidemill_operators::retimed::delayed;
use tidemill_operators::time::Watermark;
use tidemill_operators::window::zone::local_watermark;
use tidemill_operators::window::{Zone, times};
use tidemill_sql::plan::{Node, NodeId, NodeKind};

/// How far a run had come.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The rows that it had dropped as late.
    pub excluded: Excluded,
    /// Where it stood, if its input had not ended.
    pub cut: Option<Cut>,
}

/// Where a run stood whose input had not ended.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// Of each source, where it would have read on.
    pub positions: BTreeMap<NodeId, Positions>,
    /// Of each step that keeps state, the watermark of its sources.
    pub watermarks: BTreeMap<NodeId, Watermark>,
}

impl Standing {
    /// The watermark of a node's input: the last one, if that has ended.
    pub(crate) fn watermark(&self, id: NodeId, node: &Node) -> Watermark {
        self.cut.as_ref().map_or(Watermark::MAX, |cut| cut.watermark(id, node))
    }
}

impl Cut {
    /// A node's inputs without what still waited in it, where that can be told from the inputs.
    pub(crate) fn due_inputs(
        &self,
        (id, node): (NodeId, &Node),
        inputs: Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>, OracleError> {
        let watermark = self.watermark(id, node);
        match &node.kind {
            NodeKind::WindowJoin(spec) => {
                let ends = [spec.left_window_end, spec.right_window_end];
                let closed = |(input, end)| closed(input, end, spec.zone, watermark);
                inputs.iter().zip(ends).map(closed).collect()
            }
            NodeKind::TopN(spec) => match spec.window_end {
                None => Ok(inputs),
                Some(end) => Ok(vec![closed(&inputs[0], end, spec.zone, watermark)?]),
            },
            // What looks ahead sees no further.
            NodeKind::Over(spec) => {
                let times = times(&inputs[0], spec.time)?;
                let had_turn = times.iter().map(|&time| Some(time <= watermark.0));
                let had_turn: BooleanArray = had_turn.collect();
                Ok(vec![filter_record_batch(&inputs[0], &had_turn)?])
            }
            _ => Ok(inputs),
        }
    }

    /// A node's rows without those that had not come out yet.
    ///
    /// # Errors
    /// If that can't be told.
    pub(crate) fn due_rows(
        &self,
        (id, node): (NodeId, &Node),
        rows: RecordBatch,
    ) -> Result<RecordBatch, OracleError> {
        let watermark = self.watermark(id, node);
        let untold = |what: &str| {
            let text = format!("what {what} had shown before its input's end can't be told");
            Err(OracleError::Unsupported(text))
        };
        match &node.kind {
            // Behind the results stand the window's start, its end and its time.
            NodeKind::WindowAggregate(spec) => {
                closed(&rows, rows.num_columns() - 2, spec.zone, watermark)
            }
            NodeKind::IntervalJoin(spec)
                if !matches!(spec.kind, JoinKind::Inner | JoinKind::LeftSemi) =>
            {
                untold("an outer join within an interval")
            }
            NodeKind::TimeFilter(_) => untold("a condition on the time"),
            _ => Ok(rows),
        }
    }

    fn watermark(&self, id: NodeId, node: &Node) -> Watermark {
        let of_sources = self.watermarks.get(&id).copied().unwrap_or(Watermark::MIN);
        delayed(of_sources, node.delay_ms)
    }
}

/// Rows of windows that the watermark has closed.
fn closed(
    rows: &RecordBatch,
    end: usize,
    zone: Zone,
    watermark: Watermark,
) -> Result<RecordBatch, OracleError> {
    let watermark = local_watermark(watermark, zone);
    let ends = rows.column(end).as_primitive::<TimestampMillisecondType>();
    let closed: BooleanArray =
        ends.iter().map(|end| Some(end.is_some_and(|end| watermark.closes(end)))).collect();
    Ok(filter_record_batch(rows, &closed)?)
}
