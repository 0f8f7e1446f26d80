//! Reading a table to its end.

use crate::bag::{consolidate, latest_by_key};
use crate::error::OracleError;
use crate::recompute::Open;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_connectors::source::{Positions, ReadSpec, Source, read_all};
use tidemill_formats::{Changelog, LookupKind};
use tidemill_operators::Batch;
use tidemill_operators::map::Map;
use tidemill_sql::plan::{LookupJoinPlan, SourcePlan};

/// How tables are read.
pub(crate) struct Reading<'a> {
    pub(crate) open: &'a Open<'a>,
    /// Where to stop, if not at the input's end.
    pub(crate) until: Option<&'a Positions>,
}

/// All rows of a table, in the order of one reader; of a table that is read by key the last row
/// of each.
///
/// # Errors
/// If the table has no end, or can't be read.
pub(crate) fn read(
    plan: &SourcePlan,
    schema: &SchemaRef,
    reading: &Reading<'_>,
) -> Result<RecordBatch, OracleError> {
    let source = (reading.open)(&ReadSpec {
        table: plan.table.clone(),
        columns: plan.columns.clone(),
        arrival: plan.arrival,
        positions: None,
        until: reading.until.cloned(),
    })?;
    if !source.is_bounded() {
        return Err(OracleError::Unsupported(format!("{} has no end", plan.table.name)));
    }
    let batches = drain(source.as_ref())?;
    if plan.changelog == Changelog::Upsert {
        return latest_by_key(schema, &batches, &key(plan)?);
    }
    let compared = schema.fields().len() - usize::from(plan.arrival);
    consolidate(schema, &batches, compared)
}

/// All rows of a table that is looked up, as they are joined.
///
/// # Errors
/// If the table is asked by key, for what it answered is known to nobody, or can't be read.
pub(crate) fn looked_up(
    plan: &LookupJoinPlan,
    open: &Open<'_>,
) -> Result<RecordBatch, OracleError> {
    if plan.kind == LookupKind::ByKey {
        let message = format!("what '{}' answered when it was asked is not kept", plan.table.name);
        return Err(OracleError::Unsupported(message));
    }
    let source = open(&ReadSpec {
        table: plan.table.clone(),
        columns: plan.columns.clone(),
        arrival: false,
        positions: None,
        until: None,
    })?;
    let mut batches = drain(source.as_ref())?;
    for step in &plan.steps {
        let step = Map::new(step.clone())?;
        for batch in &mut batches {
            *batch = step.apply(batch, 0)?;
        }
    }
    consolidate(&plan.schema, &batches, plan.schema.fields().len())
}

/// The primary key among the columns that are read.
fn key(plan: &SourcePlan) -> Result<Vec<usize>, OracleError> {
    let place = |key: &usize| plan.columns.iter().position(|column| column == key);
    let key: Option<Vec<usize>> = plan.table.primary_key.iter().map(place).collect();
    let missing = || OracleError::Unsupported(format!("{} is read without key", plan.table.name));
    key.ok_or_else(missing)
}

/// The engine counts and keeps bad records; here they are passed over.
fn drain(source: &dyn Source) -> Result<Vec<Batch>, OracleError> {
    Ok(read_all(source, |_| Ok(()))?)
}
