//! Tests of the `tidemill` binary as its users run it: real files, real processes.

mod conformance;
mod errors;
mod support;
