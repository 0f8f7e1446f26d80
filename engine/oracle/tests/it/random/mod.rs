//! Random programs over random changelogs, held against the batch answer at *every* epoch.
//!
//! ```text
//! program ─┬─► engine, 1 to 4 workers, restarts ─► changes of each epoch, added up ─┐
//!          │       │ which records were read until which epoch                      ├─ equal,
//!          │       ▼                                                                │  epoch
//!          └─► DataFusion, over what the tables held then ──────────────────────────┘  by epoch
//! ```
//!
//! The invariant is internal consistency: what the sinks hold after an epoch is the program's
//! answer over exactly what had been read until then; nothing is ever half there. DataFusion is
//! given the program's text and not the engine's plan, so the planner is tested too.
//!
//! What waits for the watermark is compared in the same way: `OVER` answers over those rows that
//! the watermark of the epoch has reached.

mod batch;
mod check;
mod program;
mod script;
mod tables;
mod text;

use check::{Restarts, check};

#[test]
fn programs_hold_at_every_epoch() {
    check(program::programs(), Restarts::None);
}

#[test]
fn programs_hold_at_every_epoch_through_restarts() {
    check(program::programs(), Restarts::Some);
}

#[test]
fn frames_hold_at_every_epoch() {
    check(program::programs_with_over(), Restarts::None);
}

#[test]
fn frames_hold_at_every_epoch_through_restarts() {
    check(program::programs_with_over(), Restarts::Some);
}
