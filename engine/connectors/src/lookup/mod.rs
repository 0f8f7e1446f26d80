//! Tables that are looked up by key while the job runs.
//!
//! ```text
//!                 ┌ read whole, kept, and read again now and then    whole.rs
//!  LookupTable ◄──┤
//!                 └ asked for the keys that are wanted, with a cache  by_key.rs
//! ```
//!
//! A table is opened once for the process; each worker has its own [`Lookup`] on it, which never
//! blocks: whatever waits, waits on another thread. Which of the two a connector offers is part of
//! its [`Capabilities`](tidemill_formats::Capabilities).

mod by_key;
mod cache;
pub(crate) mod options;
mod whole;

pub(crate) use by_key::{Answer, ByKey, Client};
pub(crate) use cache::Key;
pub(crate) use whole::Whole;

use crate::source::{ConnectorError, ReadSpec};
use arrow::array::RecordBatch;
use std::sync::Arc;
use tidemill_formats::Table;
use tidemill_operators::Batch;
use tidemill_operators::lookup_join::{Lookup, LookupRows};
use tidemill_operators::map::{Map, MapSpec};
use tidemill_operators::operator::OperatorError;

/// How a table is looked up.
#[derive(Clone, Debug)]
pub struct LookupSpec {
    /// The table.
    pub table: Table,
    /// Wanted columns: indices into the table's physical columns, ascending.
    pub columns: Vec<usize>,
    /// Stateless steps from those columns to the rows that are joined.
    pub steps: Vec<MapSpec>,
    /// The key columns of the rows that are joined.
    pub keys: Vec<usize>,
    /// The physical columns that the keys are, where each is one as it stands.
    pub key_columns: Option<Vec<usize>>,
}

/// A table that has been opened to be looked up.
pub trait LookupTable: Send + Sync {
    /// A worker's hand on it.
    fn open(&self) -> Box<dyn Lookup>;
}

/// From rows as they are read to rows by key.
pub(crate) struct Shape {
    steps: Vec<Map>,
    keys: Vec<usize>,
}

impl Shape {
    pub(crate) fn new(spec: &LookupSpec) -> Result<Self, OperatorError> {
        let steps = spec.steps.iter().map(|step| Map::new(step.clone()));
        Ok(Shape { steps: steps.collect::<Result<_, _>>()?, keys: spec.keys.clone() })
    }

    /// The rows by key, as of processing time `now_ms`.
    pub(crate) fn index(
        &self,
        rows: RecordBatch,
        now_ms: i64,
    ) -> Result<Arc<LookupRows>, OperatorError> {
        let mut rows = Batch::append_only(rows);
        for step in &self.steps {
            rows = step.apply(&rows, now_ms)?;
        }
        Ok(Arc::new(LookupRows::new(rows.columns(), &self.keys)?))
    }
}

impl LookupSpec {
    /// How the table is read whole.
    pub(crate) fn reading(&self) -> ReadSpec {
        ReadSpec {
            table: self.table.clone(),
            columns: self.columns.clone(),
            arrival: false,
            positions: None,
            until: None,
        }
    }

    pub(crate) fn failed(&self, cause: impl std::fmt::Display) -> ConnectorError {
        ConnectorError {
            what: format!("looking up table '{}'", self.table.name),
            cause: cause.to_string(),
        }
    }
}
