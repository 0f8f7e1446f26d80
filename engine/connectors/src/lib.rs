//! Sources and sinks, one folder or file each.
//!
//! [`registry`] is the one list of them. A connector knows bytes, partitions and positions; it
//! knows nothing of epochs' contents, windows or SQL. Readers and writers are driven by a worker
//! thread and never block it: whatever waits, waits elsewhere and is polled.

pub mod sink;
pub mod source;
