//! [`Batch`]: the answers of DataFusion to one query over tables that grow.
//!
//! A query is planned once. For each answer the tables' rows are replaced, and only then the
//! physical plan is made, which reads them.

use super::tables::{Row, Table, batch, columns};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// A batch engine that knows all tables.
pub struct Batch {
    runtime: Runtime,
    context: SessionContext,
    tables: BTreeMap<Table, Arc<MemTable>>,
}

/// A query that is planned.
pub struct Query<'a> {
    batch: &'a Batch,
    plan: LogicalPlan,
}

/// The tables' rows, of `timed` those that are due.
pub type Rows = BTreeMap<Table, Vec<Row>>;

impl Batch {
    pub fn new() -> Result<Batch, DataFusionError> {
        let runtime = Builder::new_current_thread().build()?;
        let context =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        // With its keys apart, an outer join drops rows that `a IS NULL AND b IS NOT NULL`
        // keeps, `a` being of the padded and `b` of the kept side.
        context.remove_optimizer_rule("extract_equijoin_predicate");
        let mut tables = BTreeMap::new();
        for table in Table::ALL {
            let rows = contents(table, &[]);
            let memory = Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?);
            context.register_table(name(table), memory.clone())?;
            tables.insert(table, memory);
        }
        Ok(Batch { runtime, context, tables })
    }

    pub fn query(&self, sql: &str) -> Result<Query<'_>, DataFusionError> {
        let plan = self.runtime.block_on(async {
            let plan = self.context.state().create_logical_plan(sql).await?;
            self.context.state().optimize(&plan)
        })?;
        Ok(Query { batch: self, plan })
    }
}

impl Query<'_> {
    /// The answer over these rows.
    pub fn over(&self, rows: &Rows) -> Result<RecordBatch, DataFusionError> {
        let Batch { runtime, context, tables } = self.batch;
        runtime.block_on(async {
            for (&table, memory) in tables {
                let rows = rows.get(&table).map_or(&[][..], Vec::as_slice);
                *memory.batches[0].write().await = vec![contents(table, rows)];
            }
            let state = context.state();
            let plan = state.query_planner().create_physical_plan(&self.plan, &state).await?;
            let schema: SchemaRef = plan.schema();
            let batches = collect(plan, context.task_ctx()).await?;
            Ok(concat_batches(&schema, &batches)?)
        })
    }
}

fn name(table: Table) -> &'static str {
    match table {
        Table::Timed => "due",
        other => other.name(),
    }
}

fn contents(table: Table, rows: &[Row]) -> RecordBatch {
    let all = columns(rows.iter());
    let mut named: Vec<(&str, ArrayRef)> = ["id", "k", "v", "s"].into_iter().zip(all).collect();
    if table == Table::Timed {
        let times = Int64Array::from_iter_values(rows.iter().map(|row| row.ts));
        let arrivals = Int64Array::from_iter_values(0..rows.len() as i64);
        named.push(("ts", Arc::new(times)));
        named.push(("arrival", Arc::new(arrivals)));
    }
    batch(named, rows.len())
}
