//! [`Config`]: what a broker is told at its start.

use crate::journal::Flush;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// What happens to a topic that doesn't exist when a client first names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoCreate {
    /// It is made, with the default number of partitions.
    #[default]
    On,
    /// The client is told that there is none.
    Off,
}

/// What a broker is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. Port 0 is any free one. There is neither TLS nor a password: whoever can
    /// reach the address can do everything.
    pub listen: SocketAddr,
    /// The host name and port that clients are told to connect to; without them, whatever address
    /// they have reached the broker at.
    pub advertised: Option<(String, u16)>,
    /// Where topics and offsets are kept.
    pub data_directory: PathBuf,
    /// Whether topics are made on first use.
    pub auto_create: AutoCreate,
    /// How many partitions a topic gets that doesn't say.
    pub default_partitions: u32,
    /// When records are brought to the disk.
    pub flush: Flush,
}

impl Config {
    /// A broker on a free port of the loopback interface, with everything else as by default.
    pub fn new(data_directory: impl Into<PathBuf>) -> Config {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertised: None,
            data_directory: data_directory.into(),
            auto_create: AutoCreate::On,
            default_partitions: 4,
            flush: Flush::Lazy,
        }
    }
}
