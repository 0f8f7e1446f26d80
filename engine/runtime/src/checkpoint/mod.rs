//! Checkpoints: the state of a job before an epoch, so that it can go on from there.
//!
//! ```text
//!  coordinator ── cut before epoch c, announced ahead ──► workers
//!       sources: positions ┐
//!     operators: changes   ├─ parts ─► committer (a thread of its own) ─► protocol ─► store, sinks
//!         sinks: sealed    ┘              │ chain: the objects that make up the state
//!                                         └ compaction, in the background
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `decision` | what to go on from, what to keep, what to merge: pure |
//! | `manifest` | a checkpoint as one small value |
//! | `object` | the state of many operators as one object |
//! | `store` | where both are kept: a directory |
//! | `remote_store` | … or a bucket of an object store |
//! | `protocol` | the order of steps, over traits |
//! | `committer` | gathers the workers' parts and runs the protocol |
//! | `chain` | the objects of the state, and their compaction |
//! | `outputs` | the job's sinks, as the protocol sees them |
//! | `restored` | what a plan's parts go on with |
//! | `inspect` | what a store holds, for people |

mod chain;
mod committer;
#[cfg(test)]
mod costs;
pub(crate) mod decision;
mod inspect;
pub(crate) mod manifest;
mod object;
mod outputs;
mod protocol;
mod remote_store;
mod restored;
#[cfg(test)]
mod simulation;
mod store;

pub(crate) use committer::now_ms;
pub(crate) use committer::{Committer, Part, SourceCut};
pub(crate) use inspect::copy_newest;
pub use inspect::{CheckpointInfo, Inspection, inspect};
pub use manifest::{LetterFileState, Manifest, ObjectRef, SinkState, SourceState, StepState};
pub use object::{Role, Section, index as object_index};
pub(crate) use outputs::SinkOutputs;
pub use protocol::CheckpointError;
pub(crate) use protocol::{Outputs, Protocol};
pub(crate) use restored::{Restored, differences};
pub(crate) use store::open_store;
pub use store::{Created, LocalStore, Name, Store, StoreError};
