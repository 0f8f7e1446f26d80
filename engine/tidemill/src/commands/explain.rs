//! `tidemill explain`: the dataflow that a job becomes.

use crate::console::StandardOutput;
use crate::failure::Failure;
use crate::session::{self, SessionArguments};
use tidemill_connectors::sink::Console;

pub(crate) fn execute(arguments: &SessionArguments) -> Result<(), Failure> {
    let planned = session::plan(arguments)?;
    session::warn(&planned);
    let mut text = planned.explain();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(StandardOutput.write(text.as_bytes())?)
}
