//! [`Query`]: SQL over batches, by DataFusion.
//!
//! Tables are batches whose columns are named `c0`, `c1` … by their place, so that no name that a
//! user chose ever stands in a query.

use crate::error::OracleError;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// Runs queries, one after the other, on the calling thread.
pub(crate) struct Query {
    runtime: Runtime,
}

impl Query {
    pub(crate) fn new() -> Result<Self, OracleError> {
        Ok(Query { runtime: Builder::new_current_thread().build()? })
    }

    /// The columns that `sql` gives over `tables`.
    pub(crate) fn run(
        &self,
        tables: &[(&str, Vec<ArrayRef>)],
        sql: &str,
    ) -> Result<Vec<ArrayRef>, OracleError> {
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config(config);
        for (name, columns) in tables {
            let rows = numbered(columns)?;
            let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
            context.register_table(*name, Arc::new(table))?;
        }
        let rows = self.runtime.block_on(async {
            let answer = context.sql(sql).await?;
            let schema: SchemaRef = Arc::new(answer.schema().as_arrow().clone());
            let batches = answer.collect().await?;
            let schema = batches.first().map_or(schema, RecordBatch::schema);
            Ok::<_, OracleError>(concat_batches(&schema, &batches)?)
        })?;
        Ok(rows.columns().to_vec())
    }
}

/// Columns under the names `c0`, `c1` …
fn numbered(columns: &[ArrayRef]) -> Result<RecordBatch, OracleError> {
    let field = |(place, column): (usize, &ArrayRef)| {
        Field::new(format!("c{place}"), column.data_type().clone(), true)
    };
    let fields: Vec<Field> = columns.iter().enumerate().map(field).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.to_vec())?)
}

/// The numbers of `rows` rows, as a column.
pub(crate) fn row_numbers(rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(0..rows as i64))
}

/// `c3, c5`, or with another letter in front of the numbers.
pub(crate) fn columns(places: impl IntoIterator<Item = usize>) -> Vec<String> {
    places.into_iter().map(|place| format!("c{place}")).collect()
}

/// `PARTITION BY …`, or nothing.
pub(crate) fn partition_by(places: &[usize]) -> String {
    match places {
        [] => String::new(),
        _ => format!("PARTITION BY {} ", columns(places.iter().copied()).join(", ")),
    }
}

/// Columns as rows of `schema`; types that differ only in their representation are brought over.
pub(crate) fn conform(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, OracleError> {
    let fields = schema.fields().iter();
    let columns = fields.zip(columns).map(|(field, column)| match field.data_type() {
        same if same == column.data_type() => Ok(column),
        other => cast(&column, other),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let count = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &count)?)
}
