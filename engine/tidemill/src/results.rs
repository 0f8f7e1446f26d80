//! [`Results`]: what a job's result tables hold, read from where the job writes them.
//!
//! Reading them is a job of its own, with the tables as its sources: what is seen is what any
//! reader of committed records sees, and not what the job says that it has written.

use crate::console::StandardOutput;
use crate::failure::Failure;
use crate::session::{self, SessionArguments};
use crate::stage::Stage;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tidemill_connectors::sink::{Sink, WriteSpec};
use tidemill_connectors::source::{ConnectorError, ReadSpec, Source};
use tidemill_connectors::{Registry, open_sink, open_source};
use tidemill_formats::Table;
use tidemill_jobs::Job;
use tidemill_runtime::{Metrics, Outside, RunOptions, run};
use tidemill_sql::plan::Plan;
use tidemill_sql::{SourceText, plan_results};

/// The result tables of a job, to be read.
pub(crate) struct Results {
    plan: Plan,
}

/// How far results are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What is there now.
    Now,
    /// On and on, until somebody stops it.
    Ongoing,
}

/// Where the changes of a result table go. It is given a table without options.
pub(crate) type Show<'a> = &'a dyn Fn(&WriteSpec) -> Result<Box<dyn Sink>, ConnectorError>;

/// A sink that needs nothing, such as `print`, for the changes of a result table.
pub(crate) fn connect(spec: &WriteSpec, connector: &str) -> Result<Box<dyn Sink>, ConnectorError> {
    let mut options = BTreeMap::from([("connector".to_owned(), connector.to_owned())]);
    if connector == "print" {
        options.insert("print-identifier".to_owned(), spec.table.name.clone());
    }
    let table = Table { options, ..spec.table.clone() };
    open_sink(&WriteSpec { table, ..spec.clone() })
}

impl Results {
    /// The result tables of a shipped job on a stage.
    ///
    /// # Errors
    /// If one of them can't be read, such as one that is printed.
    pub(crate) fn of(job: &Job, stage: &Stage) -> Result<Self, Failure> {
        let session = SessionArguments {
            files: vec![job.name.to_owned()],
            definitions: Vec::new(),
            brokers: Some(stage.brokers().to_owned()),
            topic_prefix: stage.prefix().to_owned(),
        };
        let planned = planned(vec![session::shipped(job)], &session::variables(&session))?;
        if let Some(table) = planned.unreadable.first() {
            let why = format!("the results in '{table}' can't be read from where they are written");
            return Err(Failure::JobFile(format!("error: {why}")));
        }
        Ok(Results { plan: planned.plan })
    }

    /// Reads them from their beginning, as far as the extent says or until `stop` is set. `folder`
    /// takes what can't be decoded.
    pub(crate) fn read(
        &self,
        extent: Extent,
        show: Show<'_>,
        folder: &Path,
        stop: Arc<AtomicBool>,
    ) -> Result<(), Failure> {
        let options = RunOptions {
            workers: 1,
            dead_letters: folder.to_owned(),
            state: None,
            memory_limit: None,
            stop,
            console: Arc::new(StandardOutput),
            metrics: Arc::new(Metrics::new(&self.plan, 1)),
        };
        run(&self.plan, options, &Shown { extent, show })?;
        Ok(())
    }
}

struct Shown<'a> {
    extent: Extent,
    show: Show<'a>,
}

/// Plans to read the result tables of a session.
pub(crate) fn planned(
    texts: Vec<SourceText>,
    variables: &BTreeMap<String, String>,
) -> Result<tidemill_sql::Results, Failure> {
    let planned = plan_results(texts, variables, &Registry);
    planned.map_err(|error| Failure::JobFile(error.to_string()))
}

/// A result table as it is read from its beginning.
pub(crate) fn readable(spec: &ReadSpec, extent: Extent) -> ReadSpec {
    let mut options = spec.table.options.clone();
    let mut set = |key: &str, value: &str| options.insert(key.to_owned(), value.to_owned());
    match spec.table.option("connector") {
        Some("kafka") => {
            set("scan.startup.mode", "earliest-offset");
            set("scan.bounded.mode", extent.bounded_mode());
        }
        Some("upsert-kafka") => drop(set("scan.bounded.mode", extent.bounded_mode())),
        _ => {}
    }
    let table = Table { options, ..spec.table.clone() };
    ReadSpec { table, ..spec.clone() }
}

impl Outside for Shown<'_> {
    fn source(&self, spec: &ReadSpec) -> Result<Box<dyn Source>, ConnectorError> {
        open_source(&readable(spec, self.extent))
    }

    fn sink(&self, spec: &WriteSpec) -> Result<Box<dyn Sink>, ConnectorError> {
        let table = Table { options: BTreeMap::new(), ..spec.table.clone() };
        (self.show)(&WriteSpec { table, ..spec.clone() })
    }
}

impl Extent {
    /// The value of `scan.bounded.mode` that means it.
    pub(crate) fn bounded_mode(self) -> &'static str {
        match self {
            Extent::Now => "latest-offset",
            Extent::Ongoing => "unbounded",
        }
    }
}
