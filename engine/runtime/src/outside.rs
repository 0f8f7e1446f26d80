//! [`Outside`]: where sources and sinks come from.

use tidemill_connectors::sink::{Sink, WriteSpec};
use tidemill_connectors::source::{ConnectorError, ReadSpec, Source};
use tidemill_connectors::{LookupSpec, LookupTable, Registry};

/// Opens the ends of a job. Tests put their own in place of the [`Registry`].
pub trait Outside {
    /// Opens a table for reading.
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError>;

    /// Opens a table for writing.
    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError>;

    /// Opens a table for lookups.
    fn lookup(&self, spec: &LookupSpec) -> Result<Box<dyn LookupTable>, ConnectorError> {
        tidemill_connectors::open_lookup(spec)
    }
}

impl Outside for Registry {
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        tidemill_connectors::open_source(spec)
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        tidemill_connectors::open_sink(spec)
    }
}
