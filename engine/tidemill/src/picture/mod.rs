//! [`Picture`]: the results of a job as a terminal shows them while they change.
//!
//! ```text
//! results ─► LiveTable: changes folded into rows ─┐
//! counters ───────────────────────────────────────┴─► frame: lines of text ─► Screen
//! ```
//!
//! Only [`Screen`] knows a terminal. What is shown is a pure function of the rows, the counters
//! and the size, [`frame()`].

mod frame;
mod live_table;
mod screen;
mod value;

pub(crate) use frame::{Looks, Size};
pub(crate) use screen::Screen;

use crate::status::{grouped, instant};
use frame::{Scene, frame};
use live_table::LiveTable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tidemill_connectors::sink::Sink;
use tidemill_connectors::tee;
use tidemill_jobs::Job;
use tidemill_runtime::Totals;
use tidemill_sql::plan::{NodeKind, Plan};

/// What is shown of a job.
#[derive(Debug)]
pub(crate) struct Picture {
    title: String,
    tables: Vec<Arc<LiveTable>>,
    looks: Looks,
    stop: Arc<AtomicBool>,
}

impl Picture {
    /// The views of a shipped job, over the tables of its plan. `stop` is what stops the job.
    pub(crate) fn of(job: &Job, plan: &Plan, looks: Looks, stop: Arc<AtomicBool>) -> Self {
        let table = |name: &str| {
            plan.nodes.iter().find_map(|node| match &node.kind {
                NodeKind::Sink(sink) if sink.table.name == name => Some(&sink.table),
                _ => None,
            })
        };
        let tables = job.views.iter().filter_map(|view| LiveTable::new(view, table(view.table)?));
        let title = format!("tidemill demo {}", job.name);
        Picture { title, tables: tables.map(Arc::new).collect(), looks, stop }
    }

    /// Whether the job was asked to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The lines to show at this moment.
    pub(crate) fn lines(&self, totals: &Totals, rows_per_second: f64, size: Size) -> Vec<String> {
        let now = Instant::now();
        let scene = Scene {
            title: self.title.clone(),
            hint: "Ctrl-C stops it",
            counters: counters(totals, rows_per_second),
            panels: self.tables.iter().map(|table| table.panel(size.lines, now)).collect(),
        };
        frame(&scene, size, self.looks)
    }

    /// A sink for a table, with this picture watching what it is given.
    pub(crate) fn watching(&self, table: &str, sink: Box<dyn Sink>) -> Box<dyn Sink> {
        match self.tables.iter().find(|shown| shown.name() == table) {
            Some(shown) => tee(sink, shown.clone()),
            None => sink,
        }
    }

    /// Forgets all rows: they will be shown again.
    pub(crate) fn clear(&self) {
        self.tables.iter().for_each(|table| table.clear());
    }
}

/// The counters, the most important first.
fn counters(totals: &Totals, rows_per_second: f64) -> Vec<String> {
    let mut parts = vec![
        format!("{} events", grouped(totals.rows_in)),
        format!("{}/s", grouped(rows_per_second as u64)),
        format!("late {}", grouped(totals.late_rows)),
        format!("bad {}", grouped(totals.bad_rows)),
    ];
    parts.extend(totals.watermark.map(|watermark| format!("watermark {}", instant(watermark))));
    parts.push(format!("{} changes written", grouped(totals.rows_out)));
    parts.extend(totals.lag.map(|lag| format!("lag {}", grouped(lag))));
    parts
}

#[cfg(test)]
mod tests {
    use super::frame::{Glyphs, Ink};
    use super::*;
    use std::collections::BTreeMap;
    use tidemill_connectors::Registry;
    use tidemill_sql::{SourceText, plan_session};

    #[test]
    fn every_view_of_every_job_finds_its_table_in_the_plan() {
        for job in tidemill_jobs::all() {
            let text = SourceText { name: job.name.to_owned(), text: job.sql.to_owned() };
            let plan =
                plan_session(vec![text], &BTreeMap::new(), &Registry).expect("it plans").plan;
            let looks = Looks { ink: Ink::None, glyphs: Glyphs::Blocks };
            let picture = Picture::of(job, &plan, looks, Arc::default());
            assert_eq!(picture.tables.len(), job.views.len(), "{}", job.name);
        }
    }
}
