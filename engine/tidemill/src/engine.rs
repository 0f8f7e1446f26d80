//! [`Engine`]: a job as a process of its own, `tidemill run`, for those who measure or kill it.

use crate::failure::Failure;
use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The process of a job. It doesn't outlive this.
pub(crate) struct Engine {
    process: Child,
    summary: PathBuf,
    log: PathBuf,
}

impl Engine {
    /// Runs a job, a shipped one or files, with further arguments and definitions. Its state is in
    /// the folder `state`, its summary and its log beside it.
    pub(crate) fn start(
        job: &[String],
        arguments: &[&str],
        definitions: &[(&str, &str)],
        state: &Path,
    ) -> Result<Self, Failure> {
        let (summary, log) = (state.with_extension("summary.json"), state.with_extension("log"));
        let program = std::env::current_exe().context("finding this program")?;
        let log_file = File::create(&log).context("making the job's log")?;
        let mut command = Command::new(program);
        command.arg("run").args(job).args(arguments);
        command.arg("--state").arg(state).arg("--summary").arg(&summary);
        for (name, value) in definitions {
            command.args(["-D", &format!("{name}={value}")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file);
        let process = command.spawn().context("starting the job")?;
        Ok(Engine { process, summary, log })
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    /// If it has ended by itself.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.check_alive()?;
        self.process.kill().context("killing the job")?;
        self.process.wait().context("waiting for the job's death")?;
        Ok(())
    }

    /// # Errors
    /// If it has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<(), Failure> {
        match self.process.try_wait().context("looking at the job")? {
            None => Ok(()),
            Some(status) => Err(self.failed(&status.to_string())),
        }
    }

    /// Whether it has come to the end of its input.
    ///
    /// # Errors
    /// If it has failed.
    pub(crate) fn has_finished(&mut self) -> Result<bool, Failure> {
        match self.process.try_wait().context("looking at the job")? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(self.failed(&status.to_string())),
        }
    }

    /// The summary that it wrote at its end.
    pub(crate) fn summary<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let text = fs::read_to_string(&self.summary).context("reading the job's summary")?;
        Ok(serde_json::from_str(&text).context("the job's summary")?)
    }

    /// How it ended, and what it said.
    pub(crate) fn failed(&self, how: &str) -> Failure {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        anyhow!("the job did not do its part ({how}); it said:\n{}", said.trim_end()).into()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
