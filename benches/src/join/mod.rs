//! The join of two changing inputs: the engine's operator beside a join of differential dataflow.
//!
//! ```text
//! the same changes, as Arrow batches, 10,000 rows an epoch
//!   ─► operators::join                                                     ─► pairs, as Arrow
//!   ─► row bytes ─► two arrangements, contiguous ─► join_traces ─► decoded  ─► batches
//! ```
//!
//! Both are measured on one thread, in a process of their own, by the processor time of that
//! thread: first while a history is loaded, then while rows are inserted, updated and deleted on
//! both sides. What they hold is the memory that the process has gained by the load. Nothing
//! counts unless both give the same pairs.
//!
//! Differential's pairs are taken as they come: within an epoch it may say a pair and take it
//! back, which the engine's operator never does. Consolidating them is not part of its time.

mod changes;
mod differential;
mod engine;

use anyhow::{Context, ensure};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use changes::{Changes, EPOCH_ROWS};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::process::Command;
use std::time::Duration;
use tidemill_operators::Batch;

/// How the suite is run.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many rows are held before it is changed, on both sides together; several make several
    /// rounds.
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000")]
    history: Vec<u64>,
    /// How many epochs of changes follow.
    #[arg(long, default_value_t = 15)]
    epochs: u64,
}

/// What a contestant is told.
#[derive(Debug, clap::Args)]
pub struct ContestantArguments {
    name: Contestant,
    history: u64,
    epochs: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Contestant {
    Engine,
    Differential,
}

/// Takes the changes of one epoch, of the left and of the right side, and gives pairs.
trait Join {
    fn apply(&mut self, epoch: u64, sides: [Batch; 2]) -> anyhow::Result<Vec<Batch>>;

    /// Time that went into making row bytes of batches and batches of row bytes.
    fn converting(&self) -> Duration {
        Duration::ZERO
    }
}

/// What a contestant did.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Figures {
    load: Phase,
    changes: Phase,
    held_bytes: u64,
}

/// What it did in one phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Phase {
    rows: u64,
    /// Pairs that came out, as they came.
    pairs: u64,
    /// A fingerprint of the sum of all pairs.
    sum: u64,
    cpu: Duration,
    /// The part of it that went into conversions.
    converting: Duration,
}

impl Phase {
    fn micros_per_row(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.rows.max(1) as f64
    }
}

/// Runs the suite and prints microseconds and bytes per row.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    for &history in &arguments.history {
        println!("{history} rows held, then {} epochs of {EPOCH_ROWS}:", arguments.epochs);
        let engine = run(Contestant::Engine, history, arguments.epochs)?;
        print("operators::join", &engine);
        let differential = run(Contestant::Differential, history, arguments.epochs)?;
        print("differential", &differential);
        for (ours, theirs) in
            [(&engine.load, &differential.load), (&engine.changes, &differential.changes)]
        {
            ensure!((ours.rows, ours.sum) == (theirs.rows, theirs.sum), "the pairs differ");
        }
    }
    Ok(())
}

fn print(name: &str, figures: &Figures) {
    let Figures { load, changes, held_bytes } = figures;
    println!(
        "{name:<16} load {:>6.2} us/row  changes {:>6.2} us/row (conversions {:.2})  {:>4} bytes/row  {:.2} pairs/row",
        load.micros_per_row(load.cpu),
        changes.micros_per_row(changes.cpu),
        changes.micros_per_row(changes.converting),
        held_bytes / load.rows.max(1),
        changes.pairs as f64 / changes.rows.max(1) as f64,
    );
}

fn run(contestant: Contestant, history: u64, epochs: u64) -> anyhow::Result<Figures> {
    let name = contestant.to_possible_value().context("it has a name")?.get_name().to_owned();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["join-contestant", &name, &history.to_string(), &epochs.to_string()]);
    let output = command.output()?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what it printed")
}

/// One contestant; it prints its figures as JSON.
pub fn contestant(arguments: &ContestantArguments) -> anyhow::Result<()> {
    let (history, epochs) = (arguments.history, arguments.epochs);
    let figures = match arguments.name {
        Contestant::Engine => measure(&mut engine::EngineJoin::new()?, history, epochs)?,
        Contestant::Differential => {
            differential::with_join(move |join| measure(join, history, epochs))??
        }
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

fn measure(join: &mut dyn Join, history: u64, epochs: u64) -> anyhow::Result<Figures> {
    let mut changes = Changes::new(history);
    let before = resident_bytes()?;
    let mut load = Phase::default();
    while let Some(rows) = changes.load() {
        step(join, changes.epoch(), rows, &mut load)?;
    }
    let held_bytes = resident_bytes()?.saturating_sub(before);
    let mut changed = Phase::default();
    for _ in 0..epochs {
        let rows = changes.change()?;
        step(join, changes.epoch(), rows, &mut changed)?;
    }
    Ok(Figures { load, changes: changed, held_bytes })
}

fn step(
    join: &mut dyn Join,
    epoch: u64,
    rows: [Batch; 2],
    phase: &mut Phase,
) -> anyhow::Result<()> {
    phase.rows += rows.iter().map(|side| side.len() as u64).sum::<u64>();
    let (started, converted) = (thread_cpu(), join.converting());
    let pairs = join.apply(epoch, rows)?;
    phase.cpu += thread_cpu() - started;
    phase.converting += join.converting() - converted;
    for batch in &pairs {
        phase.pairs += batch.len() as u64;
        phase.sum = phase.sum.wrapping_add(fingerprint(batch));
    }
    Ok(())
}

/// The same for batches whose rows sum up to the same pairs.
fn fingerprint(pairs: &Batch) -> u64 {
    let ids = |column: usize| pairs.column(column).as_primitive::<Int64Type>().values().clone();
    let of =
        [changes::ID, changes::VERSION].map(|column| (ids(column), ids(column + changes::COLUMNS)));
    let mut sum = 0u64;
    for row in 0..pairs.len() {
        let mut hash = 0u64;
        for (left, right) in &of {
            for value in [left[row], right[row]] {
                hash = changes::mix(hash ^ value as u64);
            }
        }
        sum = sum.wrapping_add(hash.wrapping_mul(pairs.weight(row) as u64));
    }
    sum
}

/// Processor time of this thread.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills in the time that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.context("the system says what is resident")?.parse()?;
    Ok(kibibytes * 1024)
}

/// Left and right columns side by side.
fn pairs(
    left: &[arrow::array::ArrayRef],
    right: &[arrow::array::ArrayRef],
) -> anyhow::Result<RecordBatch> {
    let columns = [left, right].concat();
    Ok(RecordBatch::try_new(changes::pair_schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_give_the_same_pairs() {
        let engine = measure(&mut engine::EngineJoin::new().unwrap(), 40_000, 4).unwrap();
        let differential =
            differential::with_join(|join| measure(join, 40_000, 4)).unwrap().unwrap();
        assert_eq!(engine.load.sum, differential.load.sum);
        assert_eq!(engine.changes.sum, differential.changes.sum);
        assert!(engine.changes.pairs > 40_000 && engine.load.rows == 40_000, "{engine:?}");
        assert!(differential.changes.converting > Duration::ZERO);
    }
}
