//! What is said to a person: log lines on standard error.

use crate::cli::LogFormat;
use crate::status;
use std::io::{IsTerminal, Write};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging. `TIDEMILL_LOG` filters, as `RUST_LOG` does elsewhere.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("TIDEMILL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(StandardError);
    let started = match format {
        LogFormat::Json => lines.json().try_init(),
        LogFormat::Text => lines.with_ansi(colours()).with_target(false).compact().try_init(),
    };
    // A second start, as in tests, keeps the first.
    drop(started);
}

/// Whether to colour: on a terminal, unless `NO_COLOR` is set to something.
fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}

/// Standard error. The status line steps aside while something is written.
#[derive(Clone, Copy, Debug)]
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        status::aside(|| std::io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for StandardError {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}
