//! The front door: the command line of `tidemill`.
//!
//! Standard output carries results, everything said to a person goes to standard error. Exit
//! statuses: 0 fine, 1 the job failed, 2 the command line or the job file is wrong.

mod chaos;
mod cli;
mod commands;
mod console;
mod embedded;
mod engine;
mod exposition;
mod failure;
mod latency;
mod logging;
mod picture;
mod results;
mod session;
mod signals;
mod stage;
mod status;
mod verify;

pub use cli::Cli;

use cli::Command;
use std::process::ExitCode;

/// Does what the command line says.
pub fn execute(cli: Cli) -> ExitCode {
    logging::start(cli.log_format);
    let outcome = match cli.command {
        Command::Run(arguments) => commands::run::execute(arguments),
        Command::Check(arguments) => commands::check::execute(&arguments),
        Command::Explain(arguments) => commands::explain::execute(&arguments),
        Command::Demo(arguments) => commands::demo::execute(arguments),
        Command::Jobs(arguments) => commands::jobs::execute(&arguments),
        Command::Generate(arguments) => commands::generate::execute(&arguments),
        Command::Checkpoints(arguments) => commands::checkpoints::execute(arguments),
        Command::Broker(arguments) => commands::broker::execute(arguments),
        Command::Bench(arguments) => commands::bench::execute(arguments),
        Command::Topics(arguments) => commands::topics::execute(arguments),
        Command::Verify(arguments) => commands::verify::execute(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}
