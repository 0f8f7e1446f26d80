//! `tidemill checkpoints`: what a state directory holds.

use crate::console::StandardOutput;
use crate::failure::Failure;
use crate::status::grouped;
use anyhow::{Context, anyhow};
use clap::Args;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use tidemill_connectors::sink::Console;
use tidemill_runtime::checkpoint::{CheckpointInfo, Inspection, inspect};
use tidemill_runtime::{export, store_of};

/// The arguments of `tidemill checkpoints`.
#[derive(Debug, Args)]
pub(crate) struct CheckpointsArguments {
    /// The state directory of a job.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where the job keeps its checkpoints, if its option state.checkpoints.dir says so.
    #[arg(long, value_name = "PLACE")]
    from: Option<String>,
    /// Read every object and check its sums.
    #[arg(long)]
    verify: bool,
    /// Copy the newest checkpoint whose output is visible, complete and on its own, to a new state
    /// directory: the job goes on from there with --state PATH.
    #[arg(long, value_name = "PATH", conflicts_with = "verify")]
    export: Option<PathBuf>,
}

pub(crate) fn execute(arguments: CheckpointsArguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let store = store_of(directory, arguments.from.as_deref())
        .map_err(|error| Failure::CommandLine(error.to_string()))?;
    if let Some(target) = &arguments.export {
        let manifest = export(directory, store.as_ref(), target)?;
        let (number, target) = (manifest.number, target.display());
        let line =
            format!("checkpoint {number} is in {target}: go on from it with --state {target}\n");
        return Ok(StandardOutput.write(line.as_bytes())?);
    }
    let depth = if arguments.verify { Inspection::Objects } else { Inspection::Manifests };
    let found = inspect(store.as_ref(), depth).context("reading checkpoints")?;
    StandardOutput.write(text(&found).as_bytes())?;
    let damaged = found.iter().filter(|checkpoint| checkpoint.problem.is_some()).count();
    if damaged > 0 {
        return Err(anyhow!("{damaged} of {} checkpoints are damaged", found.len()).into());
    }
    Ok(())
}

fn text(found: &[CheckpointInfo]) -> String {
    if found.is_empty() {
        return "no checkpoints\n".to_owned();
    }
    let mut text = String::new();
    for checkpoint in found {
        text.push_str(&describe(checkpoint));
    }
    text
}

fn describe(checkpoint: &CheckpointInfo) -> String {
    let CheckpointInfo { number, is_committed, manifest, problem } = checkpoint;
    let standing = if *is_committed { "committed" } else { "not committed" };
    let mut text = format!("checkpoint {number}: {standing}");
    if let Some(manifest) = manifest {
        let state: u64 = manifest.objects.iter().map(|object| object.bytes).sum();
        let held: u64 = manifest.steps.iter().map(|step| step.bytes).sum();
        text.push_str(&format!(
            ", {} old, {} workers, {} bytes in {} objects ({} in memory)\n",
            age(manifest.created_ms),
            manifest.workers,
            grouped(state),
            manifest.objects.len(),
            grouped(held),
        ));
        for source in &manifest.sources {
            text.push_str(&format!("  {}: {} rows\n", source.name, grouped(source.rows)));
            for (place, position) in &source.positions {
                // What is read to its end stays known, at the greatest position there is.
                let position = match *position {
                    i64::MAX => "its end".to_owned(),
                    position => position.to_string(),
                };
                text.push_str(&format!("    {place} at {position}\n"));
            }
        }
        for step in &manifest.steps {
            text.push_str(&format!("  {}: {} bytes\n", step.name, grouped(step.bytes)));
        }
        for sink in &manifest.sinks {
            text.push_str(&format!("  {}: {} rows\n", sink.name, grouped(sink.rows)));
        }
    } else {
        text.push('\n');
    }
    if let Some(problem) = problem {
        text.push_str(&format!("  DAMAGED: {problem}\n"));
    }
    text
}

/// How long ago a moment was, to a sensible precision.
fn age(created_ms: i64) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let seconds = (now_ms as i64 - created_ms).max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
