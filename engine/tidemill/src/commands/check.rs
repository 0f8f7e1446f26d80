//! `tidemill check`: parse and plan, run nothing.

use crate::failure::Failure;
use crate::session::{self, SessionArguments};

pub(crate) fn execute(arguments: &SessionArguments) -> Result<(), Failure> {
    session::warn(&session::plan(arguments)?);
    Ok(())
}
