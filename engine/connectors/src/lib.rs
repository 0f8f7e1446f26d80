//! Sources and sinks, one folder or file each.
//!
//! [`registry`] is the one list of them. A connector knows bytes, partitions and positions; it
//! knows nothing of epochs' contents, windows or SQL. Readers and writers are driven by a worker
//! thread and never block it: whatever waits, waits elsewhere and is polled.

mod blackhole;
mod datagen;
mod filesystem;
mod jdbc;
mod kafka;
pub mod lookup;
mod nexmark;
mod numbered;
mod options;
mod print;
mod record_rows;
pub mod registry;
mod rest_lookup;
pub mod sink;
pub mod source;
pub mod tee;
#[cfg(test)]
mod testing;

pub use kafka::{Admin, PartitionFacts, Tail, TailFrom, TailRecord, TopicFacts};
pub use lookup::{LookupSpec, LookupTable};
pub use options::{ENGINE_OPTIONS, Known};
pub use registry::{Registry, connectors, open_lookup, open_sink, open_source};
pub use sink::{Console, Sink, WriteSpec, Writer};
pub use source::{
    Alignment, BadInput, BadInputs, ConnectorError, Lane, LaneRows, LaneState, Poll, Positions,
    ReadSpec, Reader, Source,
};
pub use tee::{Watcher, tee};
