//! [`Registry`]: the one list of connectors.
//!
//! A connector is one type that implements `Connector`; adding one is a folder or file and a line
//! in `CONNECTORS`. What [`Registry`] says of a table when it is planned holds when the table is
//! opened: both ask the same connector, which reads its options in one place.

use crate::blackhole::Blackhole;
use crate::datagen::Datagen;
use crate::filesystem::Filesystem;
use crate::jdbc::Jdbc;
use crate::kafka::{Kafka, UpsertKafka};
use crate::lookup::{LookupSpec, LookupTable};
use crate::nexmark::Nexmark;
use crate::options::{Known, closest, listed, warn_of_unused};
use crate::print::Print;
use crate::rest_lookup::RestLookup;
use crate::sink::{Sink, WriteSpec};
use crate::source::{ConnectorError, ReadSpec, Source};
use tidemill_formats::{Capabilities, Connectors, OptionError, Table};

/// Every connector there is, in the order in which they are listed to people.
static CONNECTORS: &[&dyn Connector] = &[
    &Kafka,
    &UpsertKafka,
    &Filesystem,
    &Jdbc,
    &RestLookup,
    &Datagen,
    &Nexmark,
    &Print,
    &Blackhole,
];

/// A kind of source or sink.
pub(crate) trait Connector: Sync {
    /// The value of `connector` that means it.
    fn name(&self) -> &'static str;

    /// The options that its tables may have, beside those of their format and of every table.
    fn known(&self) -> &'static Known;

    /// Checks the options of a table and says what can be done with it.
    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError>;

    /// Opens a table to read it.
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        Err(can_not("reading", &spec.table, "has no rows to read"))
    }

    /// Opens a table to write it.
    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        Err(can_not("writing", &spec.table, "takes no rows"))
    }

    /// Opens a table to look rows up in it.
    fn lookup(&self, spec: &LookupSpec) -> Result<Box<dyn LookupTable>, ConnectorError> {
        Err(can_not("looking up", &spec.table, "has no rows by key"))
    }
}

/// The connectors, by name, with the options that their tables may have.
pub fn connectors() -> impl Iterator<Item = (&'static str, &'static Known)> {
    CONNECTORS.iter().map(|connector| (connector.name(), connector.known()))
}

/// The connectors of this crate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registry;

impl Connectors for Registry {
    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        find(table)?.describe(table)
    }
}

/// Opens a table to read it.
///
/// # Errors
/// If its options are wrong, or what it names can't be reached.
pub fn open_source(spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
    let connector = find(&spec.table)?;
    warn_of_unused(&spec.table);
    connector.source(spec)
}

/// Opens a table to write it.
///
/// # Errors
/// If its options are wrong, or what it names can't be reached.
pub fn open_sink(spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
    find(&spec.table)?.sink(spec)
}

/// Opens a table to look rows up in it.
///
/// # Errors
/// If its options are wrong, or what it names can't be reached.
pub fn open_lookup(spec: &LookupSpec) -> Result<Box<dyn LookupTable>, ConnectorError> {
    find(&spec.table)?.lookup(spec)
}

fn find(table: &Table) -> Result<&'static dyn Connector, OptionError> {
    let names = || CONNECTORS.iter().map(|connector| connector.name());
    let Some(name) = table.option("connector") else {
        return Err(OptionError {
            option: "connector".to_owned(),
            problem: format!("is missing, so nobody knows where table '{}' is", table.name),
            hint: format!("write one of {}", listed(names())),
        });
    };
    match CONNECTORS.iter().find(|connector| connector.name() == name) {
        Some(connector) => Ok(*connector),
        None => Err(OptionError {
            option: "connector".to_owned(),
            problem: format!("there is no connector '{name}'"),
            hint: match closest(name, names()) {
                Some(close) => format!("did you mean '{close}'?"),
                None => format!("write one of {}", listed(names())),
            },
        }),
    }
}

impl From<OptionError> for ConnectorError {
    fn from(error: OptionError) -> Self {
        ConnectorError {
            what: format!("option '{}'", error.option),
            cause: format!("{}; {}", error.problem, error.hint),
        }
    }
}

/// The answer to what a connector does not do.
fn can_not(doing: &str, table: &Table, why: &str) -> ConnectorError {
    let connector = table.option("connector").unwrap_or("?");
    ConnectorError {
        what: format!("{doing} table '{}'", table.name),
        cause: format!("the connector '{connector}' {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::table;

    #[test]
    fn an_unknown_connector_is_refused_with_the_closest_or_all_names() {
        let hint = |name| Registry.describe(&table(&[("connector", name)])).unwrap_err().hint;
        assert_eq!(hint("filesytem"), "did you mean 'filesystem'?");
        assert!(hint("nosuch").contains("'kafka', 'upsert-kafka', 'filesystem'"));
        assert!(Registry.describe(&table(&[])).unwrap_err().problem.starts_with("is missing"));
    }
}
