//! What a row does not need is not evaluated for it, so that it can't fail the job.

use super::session;
use crate::plan::NodeKind;
use arrow::array::{Array, ArrayRef, Int32Array, RecordBatch};
use std::sync::Arc;

/// What an expression gives for rows of a column `i`; the message, if it fails.
fn evaluated(expression: &str, rows: &[Option<i32>]) -> Result<Vec<Option<i32>>, String> {
    let table = "CREATE TABLE numbers (i INT) WITH ('connector' = 'append');";
    let query = format!("{table} SELECT CAST({expression} AS INT) FROM numbers");
    let planned = session(&query).unwrap_or_else(|error| panic!("{error}"));
    let mut nodes = planned.plan.nodes.into_iter();
    let projection = nodes.find_map(|node| match node.kind {
        NodeKind::Map(spec) => spec.projection,
        _ => None,
    });
    let column: ArrayRef = Arc::new(Int32Array::from(rows.to_vec()));
    let batch = RecordBatch::try_from_iter([("i", column)]).expect("one column");
    let gives = projection.expect("a projection")[0].evaluate(&batch, 0);
    let gives = gives.map_err(|error| error.to_string())?;
    let gives = gives.as_any().downcast_ref::<Int32Array>().expect("an INT").clone();
    Ok(gives.iter().collect())
}

#[test]
fn an_argument_that_no_row_needs_can_not_fail() {
    let some = [Some(1), Some(2)];
    for (expression, gives) in [
        ("NVL(i, 1 / 0)", [Some(1), Some(2)]),
        ("IFNULL(i, 1 / 0)", [Some(1), Some(2)]),
        ("COALESCE(i, 1 / 0, CAST('x' AS INT))", [Some(1), Some(2)]),
        ("COALESCE(NULL, i, 1 / 0)", [Some(1), Some(2)]),
        ("IF(i > 0, i, 1 / 0)", [Some(1), Some(2)]),
        ("IF(i > 5, 1 / 0, 7)", [Some(7), Some(7)]),
        ("CASE WHEN i > 5 THEN 1 / 0 WHEN i > 0 THEN 3 ELSE 1 / 0 END", [Some(3), Some(3)]),
        ("CASE i WHEN 1 THEN 10 WHEN 2 THEN 20 ELSE 1 / 0 END", [Some(10), Some(20)]),
        ("CASE WHEN i > 0 THEN 1 WHEN 1 / 0 > 0 THEN 2 END", [Some(1), Some(1)]),
        ("IF(TRUE, i, 1 / 0)", [Some(1), Some(2)]),
        ("NVL(3, 1 / 0)", [Some(3), Some(3)]),
        ("NULLIF(i, 2)", [Some(1), None]),
    ] {
        assert_eq!(evaluated(expression, &some).as_deref(), Ok(&gives[..]), "{expression}");
    }
}

#[test]
fn an_argument_is_evaluated_for_those_rows_that_need_it() {
    let rows = [Some(0), None, Some(4), Some(2)];
    for (expression, gives) in [
        ("NVL(i, 8 / 2)", [Some(0), Some(4), Some(4), Some(2)]),
        ("NVL(12 / NULLIF(i, 0), -1)", [Some(-1), Some(-1), Some(3), Some(6)]),
        ("IF(i <> 0, 12 / i, -1)", [Some(-1), Some(-1), Some(3), Some(6)]),
        ("CASE i WHEN 0 THEN 0 ELSE 12 / i END", [Some(0), None, Some(3), Some(6)]),
        ("COALESCE(CASE WHEN i <> 0 THEN 12 / i END, i)", [Some(0), None, Some(3), Some(6)]),
        ("IF(i = 4, ELEMENT(ARRAY[i]), 12 / NULLIF(i, 0))", [None, None, Some(4), Some(6)]),
    ] {
        assert_eq!(evaluated(expression, &rows).as_deref(), Ok(&gives[..]), "{expression}");
    }
    for expression in ["NVL(i, 1 / 0)", "IF(i = 4, 1 / 0, i)", "CASE WHEN i = 0 THEN 12 / i END"] {
        let failed = evaluated(expression, &rows).expect_err(expression);
        assert!(failed.contains("division by zero"), "{failed}");
    }
}
