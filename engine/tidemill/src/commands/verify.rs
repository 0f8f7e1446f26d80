//! `tidemill verify`: whether a job's result tables hold the batch answer to what it has read.
//!
//! ```text
//! last checkpoint ─► how far it has read, what had closed by then, which rows were late ─┐
//! input tables ─► up to there, in batch ◄────────────────────────────────────────────────┘
//!                       └─► equal? ◄─ result tables, as anybody reads them
//! ```
//!
//! The job doesn't run meanwhile: its state directory is held.

use crate::commands::run::is_bounded;
use crate::console::StandardOutput;
use crate::embedded;
use crate::failure::Failure;
use crate::results::{self, Extent};
use crate::session::{self, SessionArguments};
use crate::status::grouped;
use crate::verify::{by_table, excluded_of};
use anyhow::{Context, anyhow};
use arrow::array::RecordBatch;
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tidemill_connectors::sink::Console;
use tidemill_connectors::source::{ConnectorError, ReadSpec};
use tidemill_formats::Table;
use tidemill_operators::time::Watermark;
use tidemill_oracle::{Answer, Cut, Difference, SinkRows, Standing, answers, difference_by_key};
use tidemill_runtime::checkpoint::{Inspection, Manifest, inspect};
use tidemill_runtime::{Outside, Start, StateDirectory, store_of};
use tidemill_sql::plan::{NodeKind, Plan};

/// The arguments of `tidemill verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    session: SessionArguments,
    /// The job's state directory [default: tidemill-state/JOB].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

pub(crate) fn execute(arguments: VerifyArguments) -> Result<(), Failure> {
    let texts = session::texts(&arguments.session)?;
    let variables = session::variables(&arguments.session);
    let planned = session::plan_texts(texts.clone(), &variables)?;
    let plan = &planned.plan;
    if !plan.nodes.iter().any(|node| matches!(node.kind, NodeKind::Sink(_))) {
        return Err(Failure::JobFile(
            "error: the session writes no table: nothing to verify".to_owned(),
        ));
    }
    let default = session::state_directory(&session::job_name(&arguments.session));
    let held = Held::open(arguments.state.as_deref().unwrap_or(&default), plan)?;
    let outside = embedded::outside(plan)?;
    let open = |spec: &ReadSpec| outside.source(&from_the_beginning(spec)?);
    let expected = answers(plan, &held.standing, &open);
    let mut report = Report::of(plan, expected.map_err(anyhow::Error::from)?)?;
    report.compare(&results::planned(texts, &variables)?.plan, outside.as_ref())?;
    StandardOutput.write(report.text(&held).as_bytes())?;
    report.check()
}

/// What a state directory says, which is held so that nobody goes on meanwhile.
struct Held {
    _directory: Option<StateDirectory>,
    standing: Standing,
}

impl Held {
    fn open(path: &Path, plan: &Plan) -> Result<Self, Failure> {
        if !path.is_dir() {
            if is_bounded(plan) {
                tracing::info!("{} isn't there: nothing is known of late rows", path.display());
                return Ok(Held { _directory: None, standing: Standing::default() });
            }
            let problem = format!("there is no state directory {}", path.display());
            return Err(
                anyhow!("{problem}: run the job first, or name its own with --state").into()
            );
        }
        let directory = StateDirectory::open(path, Start::Resume)?;
        let place = plan.options.get("state.checkpoints.dir").map(String::as_str);
        let manifest = newest(path, place)?;
        let cut = match manifest.is_finished {
            true => None,
            false => Some(cut(plan, &manifest)?),
        };
        let letters = manifest.dead_letters.get("late").copied().unwrap_or_default();
        let late = manifest.steps.iter().map(|step| step.late_rows).sum();
        let excluded = excluded_of(plan, late, &directory.dead_letters(), Some(letters.bytes))?;
        Ok(Held { _directory: Some(directory), standing: Standing { excluded, cut } })
    }
}

/// The newest checkpoint whose output is visible.
fn newest(directory: &Path, place: Option<&str>) -> Result<Manifest, Failure> {
    let store = store_of(directory, place)?;
    let found = inspect(store.as_ref(), Inspection::Manifests).context("reading checkpoints")?;
    let visible = found.into_iter().rev().filter(|checkpoint| checkpoint.is_committed);
    let manifest = visible.filter_map(|checkpoint| checkpoint.manifest).next();
    let missing = || anyhow!("{}: no checkpoint whose output is visible", directory.display());
    Ok(manifest.ok_or_else(missing)?)
}

/// Where the job stood, in terms of its plan.
fn cut(plan: &Plan, manifest: &Manifest) -> Result<Cut, Failure> {
    let node = |id: u64, name: &str| {
        let place = plan.nodes.iter().position(|node| node.operator_id == id);
        place.ok_or_else(|| {
            anyhow!("the job has changed since its last checkpoint, which has {name}")
        })
    };
    let mut cut = Cut::default();
    for source in &manifest.sources {
        cut.positions.insert(node(source.id, &source.name)?, source.positions.clone());
    }
    for step in &manifest.steps {
        cut.watermarks.insert(node(step.id, &step.name)?, Watermark(step.watermark_ms));
    }
    Ok(cut)
}

/// Reads a topic from its first record, where the job began.
fn from_the_beginning(spec: &ReadSpec) -> Result<ReadSpec, ConnectorError> {
    let begins_late = match spec.table.option("connector") {
        Some("kafka") => match spec.table.option("scan.startup.mode") {
            Some("latest-offset") => true,
            None | Some("group-offsets") => {
                spec.table.option("properties.auto.offset.reset") != Some("earliest")
            }
            _ => return Ok(spec.clone()),
        },
        _ => return Ok(spec.clone()),
    };
    if begins_late {
        return Err(ConnectorError {
            what: format!("reading '{}' again", spec.table.name),
            cause: "the job began at offsets that are not known any more: \
                    'scan.startup.mode' = 'earliest-offset' says where"
                .to_owned(),
        });
    }
    let mut table = spec.table.clone();
    table.options.insert("scan.startup.mode".to_owned(), "earliest-offset".to_owned());
    Ok(ReadSpec { table, ..spec.clone() })
}

/// What came of each table.
struct Report {
    tables: Vec<Entry>,
}

struct Entry {
    table: Table,
    found: Found,
}

enum Found {
    /// Not compared, and why.
    LeftOut(String),
    /// To be compared.
    Expected(RecordBatch),
    /// So many rows are as they should be.
    Compared(usize, Option<Difference>),
}

impl Report {
    /// The batch answers, table by table.
    fn of(plan: &Plan, answers: Vec<Answer>) -> Result<Self, Failure> {
        let (mut known, mut tables) = (Vec::new(), Vec::new());
        for Answer { node, table, rows } in answers {
            match rows {
                Ok(rows) => known.push(SinkRows { node, table, rows }),
                Err(reason) => {
                    let NodeKind::Sink(sink) = &plan.nodes[node].kind else { continue };
                    let found = Found::LeftOut(reason);
                    tables.push(Entry { table: sink.table.clone(), found });
                }
            }
        }
        // A table that several statements write is known if all of them are.
        known.retain(|rows| tables.iter().all(|entry| entry.table.name != rows.table));
        for (sink, rows) in by_table(plan, known).map_err(anyhow::Error::from)? {
            tables.push(Entry { table: sink.table.clone(), found: Found::Expected(rows) });
        }
        tables.sort_by(|a, b| a.table.name.cmp(&b.table.name));
        tables.dedup_by(|a, b| a.table.name == b.table.name);
        Ok(Report { tables })
    }

    /// Reads the result tables and compares.
    fn compare(&mut self, results: &Plan, outside: &dyn Outside) -> Result<(), Failure> {
        let open = |spec: &ReadSpec| outside.source(&results::readable(spec, Extent::Now));
        let read = answers(results, &Standing::default(), &open);
        let mut actual: BTreeMap<String, Result<RecordBatch, String>> =
            read.map_err(anyhow::Error::from)?.into_iter().map(|a| (a.table, a.rows)).collect();
        for Entry { table, found } in &mut self.tables {
            let Found::Expected(expected) = found else { continue };
            *found = match actual.remove(&table.name) {
                None => Found::LeftOut("it can't be read from where it is written".to_owned()),
                Some(Err(reason)) => Found::LeftOut(reason),
                Some(Ok(actual)) => {
                    let difference = difference_by_key(expected, &actual, &table.primary_key);
                    let difference = difference.map_err(anyhow::Error::from)?;
                    let wrong =
                        difference.as_ref().map_or(0, |d| d.missing.len() + d.different.len());
                    Found::Compared(expected.num_rows() - wrong, difference)
                }
            };
        }
        Ok(())
    }

    fn text(&self, held: &Held) -> String {
        let width = self.tables.iter().map(|entry| entry.table.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Entry { table, found } in &self.tables {
            let line = match found {
                Found::LeftOut(reason) => format!("left out: {reason}"),
                Found::Expected(_) => continue,
                Found::Compared(equal, None) => format!("{:>12} equal", grouped(*equal as u64)),
                Found::Compared(equal, Some(difference)) => {
                    let counts = [
                        ("missing", difference.missing.len()),
                        ("extra", difference.unexpected.len()),
                        ("different", difference.different.len()),
                    ];
                    let some = counts.into_iter().filter(|(_, count)| *count > 0);
                    let some: String =
                        some.map(|(what, n)| format!(", {} {what}", grouped(n as u64))).collect();
                    let examples = difference.to_string();
                    let examples: String =
                        examples.lines().map(|line| format!("\n    {line}")).collect();
                    format!("{:>12} equal{some}{examples}", grouped(*equal as u64))
                }
            };
            text.push_str(&format!("{:width$}  {line}\n", table.name));
        }
        let late = held.standing.excluded.len();
        if late > 0 {
            text.push_str(&format!(
                "{} late rows are left out, as they were\n",
                grouped(late as u64)
            ));
        }
        text
    }

    /// # Errors
    /// If a table differs, or none could be compared.
    fn check(&self) -> Result<(), Failure> {
        let count = |is: fn(&Found) -> bool| self.tables.iter().filter(|e| is(&e.found)).count();
        let compared = count(|found| matches!(found, Found::Compared(..)));
        let differing = count(|found| matches!(found, Found::Compared(_, Some(_))));
        match (compared, differing) {
            (0, _) => Err(anyhow!("nothing could be compared").into()),
            (_, 0) => Ok(()),
            _ => {
                Err(anyhow!("{differing} of {compared} tables differ from the batch answer").into())
            }
        }
    }
}
