//! [`compare`]: whether what a job's result tables hold is the batch answer to what it read.
//!
//! ```text
//! result tables ─► read as anybody reads them ─► folded ─────────────┐
//! job's late rows, from its dead letters ─┐                          ├─ equal?
//! job's inputs ─► batch, without those ◄──┘ ─────────────────────────┘
//! ```
//!
//! Lateness depends on how the run cut its epochs, so it is taken from the run: the batch answer
//! leaves out exactly the rows that the run said it dropped.

use crate::failure::Failure;
use anyhow::{Context, anyhow};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tidemill_connectors::sink::Sink;
use tidemill_connectors::source::ReadSpec;
use tidemill_formats::Changelog;
use tidemill_oracle::{
    Capture, Difference, Excluded, OracleError, SinkRows, difference, recompute,
};
use tidemill_runtime::{Metrics, Outside};
use tidemill_sql::plan::{NodeKind, Plan, SinkPlan};

/// The changes of result tables, as a reader saw them.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<String, Capture>);

impl Seen {
    /// Of the tables that a plan writes, nothing so far.
    pub(crate) fn of(plan: &Plan) -> Self {
        let tables = plan.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Sink(sink) => Some((sink.table.name.clone(), Capture::default())),
            _ => None,
        });
        Seen(tables.collect())
    }

    /// A sink that keeps a table's changes here and passes them on.
    pub(crate) fn tee(&self, table: &str, sink: Box<dyn Sink>) -> Box<dyn Sink> {
        match self.0.get(table) {
            Some(capture) => capture.tee(sink),
            None => sink,
        }
    }
}

/// What came of a comparison.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// Rows of the batch answer.
    pub(crate) rows: usize,
    /// What differs, by table.
    differences: Vec<(String, Difference)>,
}

/// Rows that are not as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Not there.
    pub(crate) lost: usize,
    /// There, and should not be.
    pub(crate) duplicated: usize,
    /// There in place of one that should be.
    pub(crate) wrong: usize,
}

impl Comparison {
    /// # Errors
    /// If anything differs, with examples.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.differences.is_empty() {
            return Ok(());
        }
        let tables = self.differences.iter().map(|(table, found)| format!("\n{table}: {found}"));
        let tables: String = tables.collect();
        Err(anyhow!("the result is not the batch answer{}", tables.trim_end()).into())
    }

    /// How many rows are not as they should be. A table's missing rows and those it has too many
    /// are taken for pairs of right and wrong ones as far as they go.
    pub(crate) fn faults(&self) -> Faults {
        self.differences.iter().fold(Faults::default(), |faults, (_, found)| {
            let (missing, unexpected) = (found.missing.len(), found.unexpected.len());
            let wrong = missing.min(unexpected);
            Faults {
                lost: faults.lost + missing - wrong,
                duplicated: faults.duplicated + unexpected - wrong,
                wrong: faults.wrong + wrong,
            }
        })
    }
}

/// Computes a job's answer in batch and compares it with what was seen of its results.
///
/// # Errors
/// If there is nothing to compare with: a table can't be computed in batch, or not all late rows
/// are known.
pub(crate) fn compare(
    plan: &Plan,
    inputs: &dyn Outside,
    late_rows: u64,
    dead_letters: &Path,
    seen: &Seen,
) -> Result<Comparison, Failure> {
    let excluded = excluded_of(plan, late_rows, dead_letters, None)?;
    let open = |spec: &ReadSpec| inputs.source(spec);
    let expected = recompute(plan, &excluded, &open).map_err(anyhow::Error::from)?;
    let mut comparison = Comparison { rows: 0, differences: Vec::new() };
    for (sink, expected) in by_table(plan, expected).map_err(anyhow::Error::from)? {
        let name = &sink.table.name;
        let capture = seen.0.get(name).cloned().unwrap_or_default();
        // A reader sees a changelog, whatever the table is written as.
        let read = SinkPlan { changelog: Changelog::Retract, ..sink.clone() };
        let actual = capture.folded(&read, &expected.schema()).map_err(anyhow::Error::from)?;
        comparison.rows += expected.num_rows();
        let found = difference(&expected, &actual).map_err(anyhow::Error::from)?;
        comparison.differences.extend(found.map(|found| (name.clone(), found)));
    }
    Ok(comparison)
}

/// What each table holds, together with one of the sinks that write it.
pub(crate) fn by_table(
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

/// The rows that the run dropped as late, from the first `length` bytes of its dead letters.
pub(crate) fn excluded_of(
    plan: &Plan,
    late_rows: u64,
    dead_letters: &Path,
    length: Option<u64>,
) -> Result<Excluded, Failure> {
    if late_rows == 0 {
        return Ok(Excluded::default());
    }
    let path = dead_letters.join("late.jsonl");
    let text = fs::read_to_string(&path);
    let text = text.with_context(|| format!("reading the late rows in {}", path.display()))?;
    let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(text.len());
    let text = text.get(..length).context("the dead letters are shorter than the job left them")?;
    let steps = Metrics::new(plan, 1).nodes;
    let node = |name: &str| steps.iter().position(|step| step.name == name);
    let excluded = Excluded::read(text, node).context("the late rows")?;
    let kept = excluded.len();
    if kept as u64 != late_rows {
        return Err(anyhow!("not verified: of {late_rows} late rows only {kept} were kept").into());
    }
    Ok(excluded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidemill_connectors::sink::{Console, WriteSpec};
    use tidemill_connectors::{Registry, open_sink};
    use tidemill_operators::Batch;
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

    /// A reader that was shown these rows of the plan's one result.
    fn seen(plan: &Plan, rows: &[Batch]) -> Seen {
        let seen = Seen::of(plan);
        let table = plan.nodes.iter().find_map(|node| match &node.kind {
            NodeKind::Sink(sink) => Some(sink.table.clone()),
            _ => None,
        });
        let table = table.expect("a result");
        let name = table.name.clone();
        let spec = WriteSpec { table, console: Arc::new(Silence), job: None };
        let sink = seen.tee(&name, open_sink(&spec).expect("it prints"));
        sink.writer(0, 1).expect("a writer").write(0, rows).expect("written");
        seen
    }

    fn answer(plan: &Plan) -> Batch {
        let open = |spec: &ReadSpec| Registry.source(spec);
        let rows = recompute(plan, &Excluded::default(), &open).expect("it computes");
        rows.into_iter().next().expect("one table").rows.into()
    }

    #[test]
    fn what_a_reader_saw_is_compared_with_the_batch_answer() {
        let (plan, folder) = (plan(), tempfile::tempdir().expect("a folder"));
        let right = answer(&plan);
        let compared = |rows: &[Batch]| {
            compare(&plan, &Registry, 0, folder.path(), &seen(&plan, rows)).expect("compared")
        };
        let equal = compared(std::slice::from_ref(&right));
        assert!(equal.check().is_ok());
        assert_eq!((equal.rows, equal.faults()), (2, Faults::default()));
        let none = compared(&[]);
        assert_eq!(none.faults(), Faults { lost: 2, ..Faults::default() });
        let error = none.check().expect_err("they differ").to_string();
        assert!(error.contains("2 missing:\n  (1, 2)\n  (2, 1)"), "{error}");
        let twice = compared(&[right.clone(), right.clone()]);
        assert_eq!(twice.faults(), Faults { duplicated: 2, ..Faults::default() });
    }

    #[test]
    fn a_run_whose_late_rows_are_not_all_known_is_not_verified() {
        let (plan, folder) = (plan(), tempfile::tempdir().expect("a folder"));
        let letter = r#"{"step":"group aggregate 1","watermark_ms":5,"row":{"a":"1"}}"#;
        fs::write(folder.path().join("late.jsonl"), letter).expect("written");
        let error = compare(&plan, &Registry, 2, folder.path(), &Seen::default());
        let error = error.expect_err("one is missing").to_string();
        assert!(error.contains("of 2 late rows only 1"), "{error}");
    }
}
