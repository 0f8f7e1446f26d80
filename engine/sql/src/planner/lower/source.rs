//! Where rows come from: tables and constants.

use super::reads::Reads;
use super::{ARRIVAL, Lowered, Lowering, field_of};
use crate::error::Planned;
use crate::plan::{NodeKind, SourcePlan};
use crate::planner::Scan;
use crate::planner::compile::Compiled;
use crate::planner::relation::Relation;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;
use tidemill_formats::Changelog;
use tidemill_operators::Expression;
use tidemill_operators::normalize::NormalizeSpec;

impl Lowering<'_> {
    pub(super) fn scan(
        &mut self,
        scan: &Arc<Scan>,
        relation: &Relation,
        reads: &Reads,
        arrival: bool,
    ) -> Planned<Lowered> {
        let needs = self.needs.entry(scan.table.name.clone()).or_default();
        needs.reads.extend(reads);
        scan.watermark.iter().for_each(|watermark| needs.reads.add_expr(watermark));
        let is_upsert = scan.changelog == Changelog::Upsert;
        if is_upsert {
            scan.table.primary_key.iter().for_each(|&key| needs.reads.add_column(key));
        }
        if !scan.skips_fields {
            needs.reads = Reads::of(&needs.reads.columns().collect());
        }
        // The rows of a normalised table come from its state, in no order of arrival.
        needs.arrival |= arrival && !is_upsert;
        let (reads, arrival) = (needs.reads.clone(), needs.arrival);
        let columns: Vec<usize> = reads.columns().collect();
        let place = |i: usize| columns.iter().position(|&c| c == i);
        let field = |&column: &usize| {
            let field = field_of(&relation.columns[column]);
            let narrowed = reads.narrowed(column, field.data_type());
            field.with_data_type(narrowed)
        };
        let mut fields: Vec<Field> = columns.iter().map(field).collect();
        if arrival {
            fields.push(Field::new(ARRIVAL, DataType::Int64, true));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let watermark = match &scan.watermark {
            None => None,
            Some(expr) => {
                let expr = expr.remap(&|i| place(i).expect("added above"));
                let compiled: Arc<dyn Expression> = Arc::new(Compiled::new(&expr, &schema)?);
                Some(compiled)
            }
        };
        let kind = NodeKind::Source(SourcePlan {
            table: reads.narrowed_table(&scan.table),
            columns: columns.clone(),
            arrival,
            watermark,
            changelog: scan.changelog,
        });
        let columns_at: Vec<Option<usize>> = (0..relation.columns.len()).map(place).collect();
        let mut node = self.add(kind, Vec::new(), schema.clone(), relation.updating);
        if is_upsert {
            let keys = scan.table.primary_key.iter().filter_map(|&k| columns_at[k]).collect();
            let kind = NodeKind::Normalize(NormalizeSpec { keys });
            node = self.add(kind, vec![node], schema, true);
        }
        Ok(Lowered { node, columns: columns_at, arrival: arrival.then_some(columns.len()) })
    }

    pub(super) fn values(
        &mut self,
        batch: &RecordBatch,
        relation: &Relation,
        arrival: bool,
    ) -> Lowered {
        let width = relation.columns.len();
        let mut batch = batch.clone();
        if arrival {
            let order: ArrayRef =
                Arc::new(Int64Array::from_iter_values(0..batch.num_rows() as i64));
            let mut fields: Vec<Field> =
                batch.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
            fields.push(Field::new(ARRIVAL, DataType::Int64, true));
            let columns = batch.columns().iter().cloned().chain([order]).collect();
            batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
                .expect("one more column of as many rows");
        }
        let schema = batch.schema();
        let node = self.add(NodeKind::Values(batch), Vec::new(), schema, false);
        let columns = (0..width).map(Some).collect();
        Lowered { node, columns, arrival: arrival.then_some(width) }
    }
}
