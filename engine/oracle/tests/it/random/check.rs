//! [`check`]: a program in the engine and in batch, epoch by epoch.

use super::batch::{Batch, Query, Rows};
use super::program::Program;
use super::script::{Reads, Script};
use super::tables::{DEFINITIONS, DELAY_MS, Table, Tables, held, tables};
use super::text::{Dialect, sql};
use crate::world::{Fuse, World, Write, folder, run_through, scale};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tidemill_connectors::Registry;
use tidemill_connectors::sink::Writer as _;
use tidemill_operators::Epoch;
use tidemill_oracle::{Capture, OracleError, difference};
use tidemill_sql::plan::{Node, NodeKind, Plan, SinkPlan};
use tidemill_sql::{SourceText, plan_session};

/// Of a hundred programs the planner may refuse so many, and DataFusion may leave so many
/// unanswered.
const LOST_MAX_PERCENT: usize = 5;
/// Tallies of fewer programs say nothing.
const TALLY_MIN: usize = 100;

/// Random programs for each test, times `TIDEMILL_TEST_SCALE`.
const CASES: u32 = 192;

/// A failing case is made smaller for so long at most.
const SHRINK_TIME_MS: u32 = 120_000;

/// Whether runs fail on the way and go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarts {
    None,
    Some,
}

impl Restarts {
    /// So often a case that may be smaller is run, unless it fails.
    fn shrink_tries(self) -> usize {
        match self {
            Restarts::None => 2,
            Restarts::Some => 8,
        }
    }
}

/// A program, what it reads, and how it runs.
#[derive(Clone)]
struct Case {
    program: Program,
    tables: Tables,
    run: Run,
}

/// How the engine runs.
#[derive(Clone, Debug)]
struct Run {
    workers: usize,
    epoch_rows_max: usize,
    /// How many records each poll of a source gives, in turn.
    polls: Vec<u8>,
    /// Each attempt but the last one fails so.
    failures: Vec<Fuse>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (engine, batch) =
            (sql(&self.program, Dialect::Engine), sql(&self.program, Dialect::Batch));
        let read: Vec<Table> = Table::ALL
            .into_iter()
            .filter(|table| engine.contains(&format!(" {}", table.name())))
            .collect();
        let tables = self.tables.only(&read);
        write!(f, "\n{engine};\n\nin batch:\n{batch};\n\n{tables}\n{:?}\n", self.run)
    }
}

fn runs(restarts: Restarts) -> impl Strategy<Value = Run> {
    let polls = prop::collection::vec(0u8..6, 0..6);
    let polls = (1u8..6, polls).prop_map(|(first, more)| [vec![first], more].concat());
    let failures = match restarts {
        Restarts::None => 0..1,
        Restarts::Some => 1..4,
    };
    let failures = prop::collection::vec(Fuse::any(), failures);
    (1usize..=4, 1usize..8, polls, failures).prop_map(
        |(workers, epoch_rows_max, polls, failures)| Run {
            workers,
            epoch_rows_max,
            polls,
            failures,
        },
    )
}

/// Programs that could not be compared: by the reason how many, and one of them.
type Lost = BTreeMap<String, (usize, String)>;

/// What became of the programs.
#[derive(Debug, Default)]
struct Tally {
    programs: usize,
    epochs: usize,
    rows: usize,
    resumed: usize,
    /// Steps of the plans, by their kind.
    steps: BTreeMap<String, usize>,
    /// Programs that the planner refused.
    refused: Lost,
    /// Programs that DataFusion can't answer.
    unanswered: Lost,
}

/// Checks that the engine agrees with DataFusion on random programs at every epoch.
pub fn check(programs: impl Strategy<Value = Program>, restarts: Restarts) {
    let scale = scale();
    let config = Config {
        cases: CASES * scale.unwrap_or(1),
        // Seeded, so that a failure in CI is a failure here; more of them are others each time.
        rng_seed: if scale.is_some() { RngSeed::Random } else { RngSeed::Fixed(271_828) },
        failure_persistence: None,
        max_shrink_time: SHRINK_TIME_MS,
        max_shrink_iters: u32::MAX,
        ..Config::default()
    };
    let batch = Batch::new().expect("DataFusion starts");
    let tally = RefCell::new(Tally::default());
    let cases = (programs, tables(), runs(restarts)).prop_map(|(program, tables, run)| Case {
        program,
        tables,
        run,
    });
    let tries = Cell::new(1);
    let test = |case: Case| {
        let mut tally = tally.borrow_mut();
        tally.programs += 1;
        for _ in 0..tries.get() {
            if let Err(why) = case.check(&batch, &mut tally) {
                // What fails may depend on time: a smaller case is given more than one chance.
                tries.set(restarts.shrink_tries());
                return Err(TestCaseError::fail(why));
            }
        }
        Ok(())
    };
    match TestRunner::new(config).run(&cases, test) {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("{why}\n{case:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
    tally.into_inner().judge(restarts);
}

impl Tally {
    fn judge(self, restarts: Restarts) {
        eprintln!("{self:#?}");
        if self.programs < TALLY_MIN {
            return;
        }
        for (lost, why) in [(&self.refused, "refused"), (&self.unanswered, "left unanswered")] {
            let lost: usize = lost.values().map(|(count, _)| count).sum();
            assert!(lost * 100 <= self.programs * LOST_MAX_PERCENT, "{lost} programs are {why}");
        }
        assert!(self.rows > 0, "no program gave any rows");
        assert!(restarts == Restarts::None || self.resumed > 0, "none was restored");
    }
}

fn kind(node: &Node) -> String {
    let text = format!("{:?}", node.kind);
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// Messages that differ in their numbers only are one.
fn count(lost: &mut Lost, message: &str, sql: &str) {
    let kind: String = message.chars().filter(|c| !c.is_ascii_digit()).take(160).collect();
    lost.entry(kind).or_insert((0, sql.to_owned())).0 += 1;
}

impl Case {
    fn check(&self, batch: &Batch, tally: &mut Tally) -> Result<(), String> {
        let text = sql(&self.program, Dialect::Engine);
        let plan = match plan(&text, self.run.epoch_rows_max) {
            Ok(plan) => plan,
            Err(message) => {
                count(&mut tally.refused, &message, &text);
                return Ok(());
            }
        };
        let query = match batch.query(&sql(&self.program, Dialect::Batch)) {
            Ok(query) => query,
            Err(error) => {
                count(&mut tally.unanswered, &error.to_string(), &text);
                return Ok(());
            }
        };
        plan.nodes.iter().for_each(|node| *tally.steps.entry(kind(node)).or_default() += 1);
        let script = Script::new(self.tables.clone(), self.run.polls.clone());
        let opened = script.clone();
        let world = World::new(move |spec| opened.open(spec));
        let folder = folder().map_err(|error| error.to_string())?;
        let how = (self.run.workers, self.run.failures.as_slice());
        let (summary, _) = run_through(&plan, how, folder.path(), &world)?;
        if summary.late_rows + summary.bad_rows > 0 {
            return Err(format!("{} late and {} bad rows", summary.late_rows, summary.bad_rows));
        }
        tally.resumed += world.resumed();
        let sums = Sums::new(&plan, world.committed());
        self.compare(&query, sums, &script.reads(), tally)
    }

    /// Compares what the sink held with the answers, epoch by epoch.
    fn compare(
        &self,
        query: &Query<'_>,
        mut sums: Sums<'_>,
        reads: &BTreeMap<Table, Reads>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let mut answered: Option<(Rows, RecordBatch)> = None;
        let epochs = sums.epochs(reads);
        for (number, &epoch) in epochs.iter().enumerate() {
            let rows = self.rows(reads, epoch);
            let expected = match &answered {
                Some((same, answer)) if *same == rows => answer,
                _ => match query.over(&rows) {
                    Ok(answer) => &answered.insert((rows, answer)).1,
                    Err(error) => {
                        let text = sql(&self.program, Dialect::Batch);
                        count(&mut tally.unanswered, &error.to_string(), &text);
                        return Ok(());
                    }
                },
            };
            let place = format!("in epoch {} of {}", number + 1, epochs.len());
            let actual = sums.until(epoch).map_err(|error| format!("{place}: {error}"))?;
            let difference = difference(expected, &actual).map_err(|error| error.to_string())?;
            if let Some(difference) = difference {
                return Err(format!("{place}:\n{difference}{}", described(reads, epoch)));
            }
            tally.rows += actual.num_rows();
        }
        tally.epochs += epochs.len();
        Ok(())
    }

    /// What the tables hold after an epoch; of `timed` what is due.
    fn rows(&self, reads: &BTreeMap<Table, Reads>, epoch: Epoch) -> Rows {
        let rows = |(&table, reads): (&Table, &Reads)| {
            let mut rows = held(table, self.tables.lanes(table), &reads.until(epoch));
            if table == Table::Timed && !reads.has_ended(epoch) {
                let latest = rows.iter().map(|row| row.ts).max();
                rows.retain(|row| latest.is_some_and(|latest| row.ts <= latest - DELAY_MS));
            }
            (table, rows)
        };
        reads.iter().map(rows).collect()
    }
}

/// How much had been read when an epoch ended.
fn described(reads: &BTreeMap<Table, Reads>, epoch: Epoch) -> String {
    let read = |(table, reads): (&Table, &Reads)| {
        let end = if reads.has_ended(epoch) { ", and the end" } else { "" };
        format!("read of {}: {:?}{end}\n", table.name(), reads.until(epoch))
    };
    reads.iter().map(read).collect()
}

fn plan(text: &str, epoch_rows_max: usize) -> Result<Plan, String> {
    let text = SourceText { name: "job.sql".to_owned(), text: format!("{DEFINITIONS}\n{text}") };
    let variables = [
        ("tidemill.epoch.max-rows".to_owned(), epoch_rows_max.to_string()),
        ("execution.checkpointing.interval".to_owned(), "2 ms".to_owned()),
        ("restart-strategy.type".to_owned(), "none".to_owned()),
    ];
    let planned = plan_session(vec![text], &BTreeMap::from(variables), &Registry);
    Ok(planned.map_err(|error| error.message)?.plan)
}

/// What the sink was given, added up epoch by epoch.
struct Sums<'a> {
    sink: &'a SinkPlan,
    schema: SchemaRef,
    /// What comes next is last.
    writes: Vec<Write>,
    sum: Capture,
}

impl<'a> Sums<'a> {
    fn new(plan: &'a Plan, mut writes: Vec<Write>) -> Sums<'a> {
        let sink = plan.nodes.iter().find_map(|node| match &node.kind {
            NodeKind::Sink(sink) => Some((sink, plan.nodes[node.inputs[0]].schema.clone())),
            _ => None,
        });
        let (sink, schema) = sink.expect("a query has a sink");
        writes.sort_by_key(|write| std::cmp::Reverse(write.epoch));
        Sums { sink, schema, writes, sum: Capture::default() }
    }

    /// All epochs in which anything was read or written.
    fn epochs(&self, reads: &BTreeMap<Table, Reads>) -> Vec<Epoch> {
        let written = self.writes.iter().map(|write| write.epoch);
        let epochs: BTreeSet<Epoch> =
            reads.values().flat_map(Reads::epochs).chain(written).collect();
        epochs.into_iter().collect()
    }

    /// What the table holds after an epoch, which is later than all asked for before.
    fn until(&mut self, epoch: Epoch) -> Result<RecordBatch, OracleError> {
        while let Some(write) = self.writes.pop_if(|write| write.epoch <= epoch) {
            self.sum.write(write.epoch, &write.rows)?;
        }
        self.sum.folded(self.sink, &self.schema)
    }
}
