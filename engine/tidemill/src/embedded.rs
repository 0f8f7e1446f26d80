//! [`Embedded`]: the broker that tables mean by `'properties.bootstrap.servers' = 'embedded'`.
//!
//! It lives as long as the job and keeps its topics where `tidemill broker` keeps them, so that
//! either finds what the other has left.

use crate::commands::broker::DATA_DEFAULT;
use crate::failure::Failure;
use anyhow::Context;
use std::net::{Ipv4Addr, SocketAddr};
use tidemill_broker::{Broker, BrokerError, Config};
use tidemill_connectors::sink::{Sink, WriteSpec};
use tidemill_connectors::source::{ConnectorError, ReadSpec, Source};
use tidemill_connectors::{Registry, open_sink, open_source};
use tidemill_formats::Table;
use tidemill_runtime::Outside;
use tidemill_sql::plan::{NodeKind, Plan};

const SERVERS: &str = "properties.bootstrap.servers";
const NAME: &str = "embedded";

/// Where Kafka clients look first.
const PORT: u16 = 9092;

/// A broker in this process, and everything outside besides.
pub(crate) struct Embedded {
    address: String,
    _broker: Broker,
}

/// What a plan reads and writes: with a broker in this process, if one of its tables is there.
pub(crate) fn outside(plan: &Plan) -> Result<Box<dyn Outside>, Failure> {
    let is_meant = plan.nodes.iter().any(|node| match &node.kind {
        NodeKind::Source(source) => is_embedded(&source.table),
        NodeKind::Sink(sink) => is_embedded(&sink.table),
        _ => false,
    });
    if !is_meant {
        return Ok(Box::new(Registry));
    }
    let broker = start(PORT).or_else(|error| match error {
        // Somebody else listens there. A free port will do.
        BrokerError::Listen { .. } => start(0),
        error => Err(error),
    });
    let broker = broker.context("starting the embedded broker")?;
    let address = broker.address().to_string();
    tracing::info!(
        "the embedded broker listens on {address} and keeps its topics in {DATA_DEFAULT}"
    );
    Ok(Box::new(Embedded { address, _broker: broker }))
}

fn start(port: u16) -> Result<Broker, BrokerError> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Broker::start(Config { listen, ..Config::new(DATA_DEFAULT) })
}

fn is_embedded(table: &Table) -> bool {
    table.option(SERVERS) == Some(NAME)
}

impl Embedded {
    /// A table as others would name it.
    fn reachable(&self, table: &Table) -> Table {
        let mut table = table.clone();
        if is_embedded(&table) {
            table.options.insert(SERVERS.to_owned(), self.address.clone());
        }
        table
    }
}

impl Outside for Embedded {
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        open_source(&ReadSpec { table: self.reachable(&spec.table), ..spec.clone() })
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        open_sink(&WriteSpec { table: self.reachable(&spec.table), ..spec.clone() })
    }
}
