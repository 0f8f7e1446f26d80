//! [`BrokerError`]: why a broker doesn't start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// Why a broker doesn't start.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// The address can't be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The data directory can't be read or written.
    #[error("the data directory {}: {source}", directory.display())]
    Data {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another broker has the data directory.
    #[error("the data directory {} is in use by another broker", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// No threads.
    #[error("starting threads: {0}")]
    Threads(io::Error),
}
