//! The `tidemill` binary.

use clap::Parser;
use std::process::ExitCode;
use tidemill::Cli;

/// Rows are allocated on one worker and freed on another: this allocator takes that well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidemill::execute(Cli::parse())
}
