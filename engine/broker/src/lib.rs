//! A broker of one node that Kafka clients can use unmodified: for development, tests and small
//! sites. In production the same clients use Apache Kafka.
//!
//! A request's way: `connection` takes it from the wire, `requests` answers it from the state of
//! the `node`, which is the topics with their logs, the coordinator of transactions and offsets,
//! and the groups.
//!
//! What holds, whenever the process is killed:
//!
//! * A record that was acknowledged is there, once, and one of an idempotent producer is not there
//!   twice.
//! * A transaction is wholly committed or wholly aborted, offsets and all.
//! * Readers of committed records see no record of a transaction that is undecided or aborted.
//!
//! ```
//! use tidemill_broker::{Broker, Config};
//!
//! let directory = tempfile::tempdir()?;
//! let broker = Broker::start(Config::new(directory.path()))?;
//! println!("bootstrap.servers={}", broker.address());
//! broker.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod broker;
mod clock;
mod config;
mod connection;
mod error;
mod files;
mod groups;
mod journal;
mod log;
mod node;
mod requests;
mod topics;
mod transactions;
mod wire;

pub use broker::Broker;
pub use config::{AutoCreate, Config};
pub use error::BrokerError;
pub use journal::Flush;
