//! [`Unnest`]: repeats each row for each item of a collection in it.
//!
//! ```text
//! (1, [a, b])        (1, [a, b], a) (1, [a, b], b)
//! (2, [])       ─►   dropped, or (2, [], NULL) if outer
//! (3, NULL)          the same
//! ```
//!
//! It keeps nothing, and weights go with their rows.

use crate::batch::Batch;
use crate::operator::OperatorError;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, UInt32Array, UInt32Builder};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type, SchemaRef};

/// Which collection to take apart.
///
/// Output columns: the input's, then the item's (one for an array, key and value for a map, the
/// fields of an array of rows), then its place from one if `ordinality`.
#[derive(Clone, Debug)]
pub struct UnnestSpec {
    /// The column of the collection: a `List` or a `Map`.
    pub collection: usize,
    /// Whether a map counts how often each of its keys occurs: a `MULTISET`.
    pub is_multiset: bool,
    /// Keeps rows without items, padded with NULLs.
    pub outer: bool,
    /// Appends the place of the item, from one.
    pub ordinality: bool,
    /// Schema of the output.
    pub schema: SchemaRef,
}

/// The step. See the [module](self).
#[derive(Clone, Debug)]
pub struct Unnest {
    spec: UnnestSpec,
}

/// Which rows and items the output consists of.
struct Gather {
    rows: UInt32Array,
    items: UInt32Array,
    places: Int32Array,
}

impl Unnest {
    /// The step that `spec` describes.
    pub fn new(spec: UnnestSpec) -> Self {
        Unnest { spec }
    }

    /// Takes a batch apart.
    ///
    /// # Errors
    /// If the column is no collection, which is a mistake of the plan.
    pub fn apply(&self, batch: &Batch) -> Result<Batch, OperatorError> {
        let column = batch.column(self.spec.collection);
        let (gather, items) = match column.data_type() {
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                let bounds = list.value_offsets();
                let gather = self.gather(
                    list.len(),
                    |row| list.is_valid(row).then(|| (bounds[row], bounds[row + 1])),
                    None,
                );
                (gather, vec![list.values().clone()])
            }
            DataType::Map(..) => {
                let map = column.as_map();
                let bounds = map.value_offsets();
                let counts =
                    self.spec.is_multiset.then(|| map.values().as_primitive::<Int32Type>());
                let gather = self.gather(
                    map.len(),
                    |row| map.is_valid(row).then(|| (bounds[row], bounds[row + 1])),
                    counts,
                );
                let mut items = vec![map.keys().clone()];
                if !self.spec.is_multiset {
                    items.push(map.values().clone());
                }
                (gather, items)
            }
            other => {
                return Err(OperatorError::Data(format!("a {other} can't be unnested")));
            }
        };
        self.assemble(batch, &gather, &items)
    }

    fn gather(
        &self,
        rows: usize,
        bounds: impl Fn(usize) -> Option<(i32, i32)>,
        counts: Option<&arrow::array::PrimitiveArray<Int32Type>>,
    ) -> Gather {
        let mut row_numbers = Vec::with_capacity(rows);
        let mut items = UInt32Builder::with_capacity(rows);
        let mut places = Int32Array::builder(rows);
        for row in 0..rows {
            let (start, end) = bounds(row).unwrap_or((0, 0));
            let before = row_numbers.len();
            for item in start..end {
                let times = counts.map_or(1, |counts| counts.value(item as usize).max(0));
                for _ in 0..times {
                    row_numbers.push(row as u32);
                    items.append_value(item as u32);
                    places.append_value((row_numbers.len() - before) as i32);
                }
            }
            if row_numbers.len() == before && self.spec.outer {
                row_numbers.push(row as u32);
                items.append_null();
                places.append_null();
            }
        }
        Gather { rows: row_numbers.into(), items: items.finish(), places: places.finish() }
    }

    fn assemble(
        &self,
        batch: &Batch,
        gather: &Gather,
        items: &[ArrayRef],
    ) -> Result<Batch, OperatorError> {
        let (columns, weights) = batch.take(&gather.rows)?.into_parts();
        let mut columns = columns.columns().to_vec();
        for item in items {
            let item = take(item, &gather.items, None)?;
            match item.data_type() {
                // An array of rows gives their fields.
                DataType::Struct(_) => {
                    let item = item.as_struct();
                    for field in item.columns() {
                        columns.push(masked(field, item)?);
                    }
                }
                _ => columns.push(item),
            }
        }
        if self.spec.ordinality {
            columns.push(std::sync::Arc::new(gather.places.clone()));
        }
        Ok(Batch::new(RecordBatch::try_new(self.spec.schema.clone(), columns)?, weights))
    }
}

/// The field of a row that is NULL is NULL.
fn masked(field: &ArrayRef, row: &dyn Array) -> Result<ArrayRef, OperatorError> {
    if row.null_count() == 0 {
        return Ok(field.clone());
    }
    let is_null = arrow::compute::is_null(row)?;
    Ok(arrow::compute::nullif(field, &is_null)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, ListArray};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use std::sync::Arc;

    /// Ids, items, places and weights.
    type Columns = (Vec<i64>, Vec<Option<i64>>, Vec<Option<i32>>, Vec<i64>);

    fn unnested(outer: bool) -> Columns {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(10), None]),
            Some(vec![]),
            None,
            Some(vec![Some(40)]),
        ]);
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let fields = vec![
            Field::new("id", DataType::Int64, true),
            Field::new("list", list.data_type().clone(), true),
        ];
        let columns =
            RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), vec![ids, Arc::new(list)]);
        let batch = Batch::new(columns.unwrap(), Some(vec![1, -1, 2, -1].into()));
        let mut all = fields;
        all.push(Field::new("item", DataType::Int64, true));
        all.push(Field::new("place", DataType::Int32, true));
        let schema = Arc::new(Schema::new(all));
        let spec =
            UnnestSpec { collection: 1, is_multiset: false, outer, ordinality: true, schema };
        let out = Unnest::new(spec).apply(&batch).unwrap();
        (
            out.column(0).as_primitive::<Int64Type>().values().to_vec(),
            out.column(2).as_primitive::<Int64Type>().iter().collect(),
            out.column(3).as_primitive::<Int32Type>().iter().collect(),
            out.weights().unwrap().to_vec(),
        )
    }

    #[test]
    fn each_item_gives_a_row_with_its_place_and_the_weight_of_its_row() {
        let (ids, items, places, weights) = unnested(false);
        assert_eq!(ids, [1, 1, 4]);
        assert_eq!(items, [Some(10), None, Some(40)]);
        assert_eq!(places, [Some(1), Some(2), Some(1)]);
        assert_eq!(weights, [1, 1, -1]);
    }

    #[test]
    fn rows_without_items_stay_if_asked_for() {
        let (ids, items, places, _) = unnested(true);
        assert_eq!(ids, [1, 1, 2, 3, 4]);
        assert_eq!(items, [Some(10), None, None, None, Some(40)]);
        assert_eq!(places, [Some(1), Some(2), None, None, Some(1)]);
    }
}
