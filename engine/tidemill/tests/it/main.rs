//! Tests of the `tidemill` binary as its users run it: real files, real processes.

mod broker;
mod bucket;
mod cli;
mod clock;
mod conformance;
mod disk;
mod docs;
mod errors;
mod jobs;
mod kafka;
mod lookup;
mod mutations;
mod nexmark;
mod pages;
mod readme;
mod rows;
mod s3;
mod suite;
mod support;
mod terminal;
mod time_filter;
mod topics;
mod watching;
