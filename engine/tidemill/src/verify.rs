//! [`Verification`]: whether what a job wrote is the batch answer to what it read.
//!
//! ```text
//! run        sources ─► job ─► sinks, and a copy of what goes there ─► folded ┐
//!                        └──► late rows, as dead letters                      ├─ equal?
//! afterwards sources ─► batch, without those late rows ───────────────────────┘
//! ```
//!
//! Lateness depends on how the run cut its epochs, so it is taken from the run: the batch answer
//! leaves out exactly the rows that the run said it dropped.

use crate::failure::Failure;
use anyhow::{Context, anyhow};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tidemill_connectors::sink::{Sink, WriteSpec};
use tidemill_connectors::source::{ConnectorError, ReadSpec, Source};
use tidemill_oracle::{Capture, Excluded, OracleError, SinkRows, TextRow, difference, recompute};
use tidemill_runtime::{Exit, Metrics, Outside, Summary};
use tidemill_sql::plan::{NodeKind, Plan, SinkPlan};

/// The ends of a job, with a copy of what is written.
pub(crate) struct Verification<'a> {
    inner: &'a dyn Outside,
    written: RefCell<BTreeMap<String, Capture>>,
}

impl<'a> Verification<'a> {
    /// Watches a job with these ends.
    pub(crate) fn of(inner: &'a dyn Outside) -> Self {
        Verification { inner, written: RefCell::default() }
    }

    fn written(&self, table: &str) -> Capture {
        self.written.borrow_mut().entry(table.to_owned()).or_default().clone()
    }

    /// Computes the batch answer and compares. Says how many rows are equal.
    ///
    /// # Errors
    /// If they are not, or the run can't be compared with anything.
    pub(crate) fn verify(
        &self,
        plan: &Plan,
        summary: &Summary,
        dead_letters: &Path,
    ) -> Result<usize, Failure> {
        if summary.exit != Exit::Finished {
            return Err(anyhow!("not verified: the job was stopped before its end").into());
        }
        let excluded = late_rows(plan, summary, dead_letters)?;
        let open = |spec: &ReadSpec| self.inner.source(spec);
        let expected = recompute(plan, &excluded, &open).map_err(anyhow::Error::from)?;
        let mut rows = 0;
        let mut differences = String::new();
        for (sink, expected) in by_table(plan, expected).map_err(anyhow::Error::from)? {
            let written = self.written(&sink.table.name);
            let actual = written.folded(sink, &expected.schema()).map_err(anyhow::Error::from)?;
            rows += expected.num_rows();
            if let Some(found) = difference(&expected, &actual).map_err(anyhow::Error::from)? {
                differences.push_str(&format!("\n{}: {found}", sink.table.name));
            }
        }
        if differences.is_empty() {
            return Ok(rows);
        }
        Err(anyhow!("the result is not the batch answer{}", differences.trim_end()).into())
    }
}

impl Outside for Verification<'_> {
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        self.inner.source(spec)
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        Ok(self.written(&spec.table.name).tee(self.inner.sink(spec)?))
    }
}

/// What each table holds, together with one of the sinks that write it.
fn by_table(
    plan: &Plan,
    rows: Vec<SinkRows>,
) -> Result<Vec<(&SinkPlan, RecordBatch)>, OracleError> {
    let mut tables: BTreeMap<String, (&SinkPlan, RecordBatch)> = BTreeMap::new();
    for sink in rows {
        let NodeKind::Sink(sink_plan) = &plan.nodes[sink.node].kind else { continue };
        let all = match tables.get(&sink.table) {
            None => sink.rows,
            Some((_, before)) => concat_batches(&before.schema(), [before, &sink.rows])?,
        };
        tables.insert(sink.table, (sink_plan, all));
    }
    Ok(tables.into_values().collect())
}

/// The rows that the run dropped as late, from its dead letters.
fn late_rows(plan: &Plan, summary: &Summary, dead_letters: &Path) -> Result<Excluded, Failure> {
    let mut excluded = Excluded::default();
    if summary.late_rows == 0 {
        return Ok(excluded);
    }
    let path = dead_letters.join("late.jsonl");
    let text = fs::read_to_string(&path);
    let text = text.with_context(|| format!("reading the late rows in {}", path.display()))?;
    let steps = Metrics::new(plan, 1).nodes;
    for line in text.lines() {
        let letter: Letter = serde_json::from_str(line).context("a late row")?;
        let node = steps.iter().position(|step| step.name == letter.step);
        let node = node.ok_or_else(|| anyhow!("there is no step {}", letter.step))?;
        excluded.add(node, letter.row);
    }
    let (late, kept) = (summary.late_rows, excluded.len());
    if kept as u64 != late {
        return Err(anyhow!("not verified: of {late} late rows only {kept} were kept").into());
    }
    Ok(excluded)
}

/// A late row, as it was kept.
#[derive(serde::Deserialize)]
struct Letter {
    step: String,
    row: TextRow,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;
    use tidemill_connectors::Registry;
    use tidemill_connectors::sink::Console;
    use tidemill_runtime::{RunOptions, Totals, Usage, run};
    use tidemill_sql::{SourceText, plan_session};

    #[derive(Debug)]
    struct Silence;

    impl Console for Silence {
        fn write(&self, _: &[u8]) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn plan() -> Plan {
        let text = "SELECT a, COUNT(*) FROM (VALUES (1), (2), (1)) AS t(a) GROUP BY a;".to_owned();
        let text = SourceText { name: "two.sql".to_owned(), text };
        plan_session(vec![text], &BTreeMap::new(), &Registry).expect("it plans").plan
    }

    #[test]
    fn what_a_run_wrote_is_compared_with_the_batch_answer() {
        let (plan, folder) = (plan(), tempfile::tempdir().expect("a folder"));
        let verification = Verification::of(&Registry);
        let options = RunOptions {
            workers: 2,
            dead_letters: folder.path().to_owned(),
            state: None,
            stop: Arc::default(),
            console: Arc::new(Silence),
            metrics: Arc::new(Metrics::new(&plan, 2)),
        };
        let summary = run(&plan, options, &verification).expect("it runs");
        assert_eq!(verification.verify(&plan, &summary, folder.path()).expect("equal"), 2);
        // A second verification has seen nothing written.
        let error = Verification::of(&Registry).verify(&plan, &summary, folder.path());
        let error = error.expect_err("they differ").to_string();
        assert!(error.contains("2 missing:\n  (1, 2)\n  (2, 1)"), "{error}");
    }

    #[test]
    fn a_run_whose_late_rows_are_not_all_known_is_not_verified() {
        let folder = tempfile::tempdir().expect("a folder");
        let totals = Totals { late_rows: 2, ..Totals::default() };
        let summary = Summary::new(Exit::Finished, &totals, Duration::ZERO, Usage::now());
        let letter = r#"{"step":"group aggregate 1","watermark_ms":5,"row":{"a":"1"}}"#;
        fs::write(folder.path().join("late.jsonl"), letter).expect("written");
        let error = Verification::of(&Registry).verify(&plan(), &summary, folder.path());
        let error = error.expect_err("one is missing").to_string();
        assert!(error.contains("of 2 late rows only 1"), "{error}");
    }
}
