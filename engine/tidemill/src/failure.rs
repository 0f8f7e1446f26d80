//! [`Failure`]: why a command ended, as a message and an exit status.

use std::process::ExitCode;

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The job file is wrong; the message stands for itself, with its place.
    #[error("{0}")]
    JobFile(String),
    /// The command line is wrong.
    #[error("error: {0}")]
    CommandLine(String),
    /// Something went wrong while working.
    #[error("error: {0:#}")]
    Job(#[from] anyhow::Error),
}

impl Failure {
    /// 1 if the work failed, 2 if what was asked for is wrong.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::JobFile(_) | Failure::CommandLine(_) => ExitCode::from(2),
            Failure::Job(_) => ExitCode::from(1),
        }
    }
}

impl From<tidemill_runtime::JobError> for Failure {
    fn from(error: tidemill_runtime::JobError) -> Self {
        Failure::Job(error.into())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Job(error.into())
    }
}
