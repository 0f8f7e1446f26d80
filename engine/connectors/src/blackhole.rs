//! `blackhole`: takes everything and keeps nothing, for measuring what stands before it.

use crate::options::{Known, refuse_unknown};
use crate::registry::Connector;
use crate::sink::{Sink, WriteSpec, Writer};
use crate::source::ConnectorError;
use std::collections::BTreeSet;
use tidemill_formats::{Capabilities, Changelog, OptionError, Table};
use tidemill_operators::{Batch, Epoch};

const KNOWN: Known = Known { keys: &[], prefixes: &[] };

/// The connector `blackhole`.
pub(crate) struct Blackhole;

impl Connector for Blackhole {
    fn name(&self) -> &'static str {
        "blackhole"
    }

    fn known(&self) -> &'static Known {
        &KNOWN
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        refuse_unknown(table, &KNOWN, &BTreeSet::new())?;
        let sink = vec![Changelog::Retract, Changelog::AppendOnly];
        Ok(Capabilities { source: None, sink, lookup: None })
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        self.describe(&spec.table)?;
        Ok(Box::new(Nothing))
    }
}

#[derive(Clone, Copy)]
struct Nothing;

impl Sink for Nothing {
    fn writer(&self, _worker: usize, _workers: usize) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(*self))
    }
}

impl Writer for Nothing {
    fn write(&mut self, _epoch: Epoch, _rows: &[Batch]) -> Result<(), ConnectorError> {
        Ok(())
    }
}
