//! Whole jobs against the batch answer: every kind of step, random input, one to four workers.
//!
//! For each job some random inputs are written as files; the engine runs the job over them, what
//! it wrote is folded, and that must be what DataFusion computes over the same files.

mod data;
mod harness;
mod jobs;
mod nexmark;
mod random;
mod world;
