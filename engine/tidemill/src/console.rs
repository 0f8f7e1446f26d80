//! Standard output, as the `print` connector writes to it.

use crate::status;
use std::io::Write;
use tidemill_connectors::sink::Console;

/// Standard output. The status line steps aside while something is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StandardOutput;

impl Console for StandardOutput {
    fn write(&self, lines: &[u8]) -> std::io::Result<()> {
        status::aside(|| {
            let mut out = std::io::stdout().lock();
            out.write_all(lines)?;
            out.flush()
        })
    }
}
