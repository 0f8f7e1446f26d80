//! `nexmark`: the events of the Nexmark benchmark, an auction house on the internet.
//!
//! Persons come, put items up for auction and bid for them. An event is a function of its number
//! and of the table's options, so that the same options give the same rows, in however many pieces
//! and by however many workers they are made. Event time never falls.
//!
//! ```text
//! settings.rs   options ─► Market, how many events and how fast
//! market.rs     number  ─► kind, time, who and what is referred to
//! fields.rs     event   ─► the value of a field        (text.rs: where strings come from)
//! columns.rs    numbers ─► Arrow columns
//! ```
//!
//! The meaning is Nexmark's. Bids refer to persons and auctions by the numbers that these really
//! have, but may be some numbers ahead of them, as Nexmark wants it.

mod columns;
mod fields;
mod market;
mod settings;
mod text;

use crate::numbered::Numbered;
use crate::options::Known;
use crate::registry::Connector;
use crate::source::{ConnectorError, ReadSpec, Source};
use columns::{Column, Columns};
use settings::settings;
use tidemill_formats::{Capabilities, Changelog, OptionError, SourceCapability, Table};

/// The connector `nexmark`.
pub(crate) struct Nexmark;

/// All columns of a table.
fn columns(table: &Table) -> Result<Vec<Column>, OptionError> {
    table.schema.fields().iter().map(|field| Column::new(field)).collect()
}

impl Connector for Nexmark {
    fn name(&self) -> &'static str {
        "nexmark"
    }

    fn known(&self) -> &'static Known {
        &settings::KNOWN
    }

    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        let (_, amount) = settings(table)?;
        columns(table)?;
        Ok(Capabilities {
            source: Some(SourceCapability {
                is_bounded: amount.is_bounded,
                changelog: Changelog::AppendOnly,
                metadata: vec![],
                skips_fields: true,
            }),
            sink: vec![],
            lookup: None,
        })
    }

    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        let (market, amount) = settings(&spec.table)?;
        let all = columns(&spec.table)?;
        let columns = spec.columns.iter().map(|&column| all[column].clone()).collect();
        Ok(Box::new(Numbered::new(spec, amount, Columns { market, columns })))
    }
}

#[cfg(test)]
mod tests;
