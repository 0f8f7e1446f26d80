//! The fused stateless operator: unfold into windows, filter, project; in that order.
//!
//! A projection that leaves columns out may make an update one that changes nothing. Operators give
//! the old row and the new one side by side, so such updates are found, and left out, batch by
//! batch.

use crate::batch::Batch;
use crate::expression::Expression;
use crate::operator::OperatorError;
use crate::window::{Unfold, WindowKind, Zone};
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_comparator};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

/// A stateless stretch of a plan.
#[derive(Clone, Debug)]
pub struct MapSpec {
    /// Repeats each row for each window it falls into, appending `window_start`, `window_end`
    /// and `window_time` (see [`crate::window_aggregate::WindowAggregateSpec`]).
    pub windows: Option<WindowUnfold>,
    /// Keeps the rows for which this is true, over the input's (and window's) columns.
    pub predicate: Option<Arc<dyn Expression>>,
    /// The output columns, over the same; `None` passes all of them.
    pub projection: Option<Vec<Arc<dyn Expression>>>,
    /// Whether there may be updates that change no column of the output.
    pub has_idle_updates: bool,
    /// Schema of the output.
    pub schema: SchemaRef,
}

/// Which windows to unfold rows into. Sessions are not stateless and can't stand here.
#[derive(Clone, Debug)]
pub struct WindowUnfold {
    /// How time is cut.
    pub window: WindowKind,
    /// Zone in which windows are aligned.
    pub zone: Zone,
    /// The time column, `Timestamp(ms)`.
    pub time: usize,
}

/// The operator of a [`MapSpec`]: keeps nothing, so batches may come in any order.
#[derive(Clone, Debug)]
pub struct Map {
    spec: MapSpec,
    unfold: Option<Unfold>,
}

impl Map {
    /// Checks the windows of `spec`.
    pub fn new(spec: MapSpec) -> Result<Self, OperatorError> {
        let unfold = spec.windows.as_ref().map(Unfold::new).transpose()?;
        Ok(Map { spec, unfold })
    }

    /// Schema of what [`Map::apply`] gives.
    pub fn output_schema(&self) -> SchemaRef {
        self.spec.schema.clone()
    }

    /// Unfolds, filters and projects a batch. `now_ms` is the epoch's processing time.
    pub fn apply(&self, batch: &Batch, now_ms: i64) -> Result<Batch, OperatorError> {
        let mut rows = match &self.unfold {
            Some(unfold) => unfold.apply(batch)?,
            None => batch.clone(),
        };
        if let Some(predicate) = &self.spec.predicate {
            rows = filter(rows, predicate.as_ref(), now_ms)?;
        }
        let columns: Vec<ArrayRef> = match &self.spec.projection {
            None => rows.columns().columns().to_vec(),
            Some(expressions) => expressions
                .iter()
                .map(|expression| expression.evaluate(rows.columns(), now_ms))
                .collect::<Result<_, _>>()?,
        };
        let count = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = RecordBatch::try_new_with_options(self.spec.schema.clone(), columns, &count)?;
        let rows = rows.with_columns(columns);
        if self.spec.has_idle_updates { without_idle_updates(rows) } else { Ok(rows) }
    }
}

/// Leaves out each deletion that the insertion of an equal row follows, and that insertion.
fn without_idle_updates(rows: Batch) -> Result<Batch, OperatorError> {
    let Some(weights) = rows.weights() else { return Ok(rows) };
    let columns = rows.columns().columns().iter();
    let comparators: Result<Vec<_>, _> =
        columns.map(|column| make_comparator(column, column, SortOptions::default())).collect();
    // A type without an order: nothing can be said of its values.
    let Ok(comparators) = comparators else { return Ok(rows) };
    let is_idle = |row: usize| {
        let update = weights[row] < 0 && weights[row + 1] == -weights[row];
        update && comparators.iter().all(|compare| compare(row, row + 1).is_eq())
    };
    let mut keep: Option<Vec<bool>> = None;
    let mut row = 0;
    while row + 1 < weights.len() {
        if is_idle(row) {
            keep.get_or_insert_with(|| vec![true; weights.len()])[row..row + 2].fill(false);
            row += 1;
        }
        row += 1;
    }
    match keep {
        None => Ok(rows),
        Some(keep) => Ok(rows.filter(&keep.into())?),
    }
}

fn filter(rows: Batch, predicate: &dyn Expression, now_ms: i64) -> Result<Batch, OperatorError> {
    let keep = predicate.evaluate(rows.columns(), now_ms)?;
    if keep.data_type() != &DataType::Boolean {
        return Err(OperatorError::Data(format!(
            "the condition {} gives {}, not true or false",
            predicate.describe(),
            keep.data_type()
        )));
    }
    let keep = keep.as_boolean();
    if keep.true_count() == rows.len() {
        return Ok(rows);
    }
    Ok(rows.filter(keep)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::RowError;
    use arrow::array::{BooleanArray, Int64Array, TimestampMillisecondArray};
    use arrow::datatypes::{Field, Int64Type, Schema, TimestampMillisecondType};

    #[derive(Debug)]
    struct Column(usize);

    impl Expression for Column {
        fn evaluate(&self, rows: &RecordBatch, _: i64) -> Result<ArrayRef, RowError> {
            Ok(rows.column(self.0).clone())
        }

        fn describe(&self) -> String {
            format!("#{}", self.0)
        }
    }

    fn batch() -> Batch {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("keep", DataType::Boolean, true),
            Field::new("ts", crate::window::bound_type(), true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(true)])),
            Arc::new(TimestampMillisecondArray::from(vec![1, 2, 11])),
        ];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        Batch::new(rows, Some(vec![1, 1, -1].into()))
    }

    #[test]
    fn rows_are_unfolded_then_filtered_then_projected() {
        let window = WindowKind::Hop { slide_ms: 5, size_ms: 10, offset_ms: 0 };
        let schema = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("end", crate::window::bound_type(), true),
        ]));
        let map = Map::new(MapSpec {
            windows: Some(WindowUnfold { window, zone: None, time: 2 }),
            predicate: Some(Arc::new(Column(1))),
            projection: Some(vec![Arc::new(Column(0)), Arc::new(Column(4))]),
            has_idle_updates: false,
            schema: schema.clone(),
        })
        .unwrap();
        let out = map.apply(&batch(), 0).unwrap();
        assert_eq!(out.schema(), schema);
        assert_eq!(out.column(0).as_primitive::<Int64Type>().values(), &[1, 1, 3, 3]);
        let ends = out.column(1).as_primitive::<TimestampMillisecondType>();
        assert_eq!(ends.values(), &[5, 10, 15, 20]);
        assert_eq!(out.weights(), Some(&[1, 1, -1, -1][..]));
    }

    #[test]
    fn an_update_of_a_column_that_is_left_out_is_none() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let map = Map::new(MapSpec {
            windows: None,
            predicate: None,
            projection: Some(vec![Arc::new(Column(0))]),
            has_idle_updates: true,
            schema,
        })
        .unwrap();
        let apply = |rows: &[(Option<i64>, i64)]| {
            let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
            let columns = RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).unwrap();
            let weights: Vec<i64> = rows.iter().map(|row| row.1).collect();
            let out = map.apply(&Batch::new(columns, Some(weights.into())), 0).unwrap();
            let column = out.column(0).as_primitive::<Int64Type>();
            (0..out.len())
                .map(|row| (column.iter().nth(row).unwrap(), out.weight(row)))
                .collect::<Vec<_>>()
        };
        let (one, two) = (Some(1), Some(2));
        assert_eq!(apply(&[(one, -1), (one, 1), (one, -1), (two, 1)]), [(one, -1), (two, 1)]);
        assert_eq!(apply(&[(None, -2), (None, 2), (one, 1)]), [(one, 1)]);
        assert_eq!(apply(&[(one, -1), (one, 2)]), [(one, -1), (one, 2)]);
        assert_eq!(apply(&[(one, 1), (one, -1), (one, 1)]), [(one, 1)]);
    }

    #[test]
    fn a_row_time_of_null_is_an_error_that_names_the_column() {
        let window = WindowKind::Tumble { size_ms: 5, offset_ms: 0 };
        let schema = batch().schema();
        let rows = RecordBatch::new_empty(schema.clone());
        let nulls: ArrayRef = arrow::array::new_null_array(&crate::window::bound_type(), 1);
        let columns = rows.columns()[..2]
            .iter()
            .map(|c| arrow::array::new_null_array(c.data_type(), 1))
            .chain([nulls])
            .collect();
        let rows = Batch::from(RecordBatch::try_new(schema, columns).unwrap());
        let spec = WindowUnfold { window, zone: None, time: 2 };
        let error = crate::window::unfold(&spec, &rows).unwrap_err().to_string();
        assert!(error.contains("'ts' must not be NULL"), "{error}");
    }
}
