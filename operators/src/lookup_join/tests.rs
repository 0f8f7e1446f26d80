//! Lookup joins, row by row, and against pairs found one by one.

use super::*;
use crate::expression::{Expression, RowError};
use crate::join::Residual;
use crate::time::Watermark;
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Key and value.
pub(crate) type Row = (Option<i64>, i64);
/// Left key and value; key and value of the partner, if there is one.
type Joined = (Row, Option<Row>);

pub(crate) fn schema() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![field("k"), field("v")]))
}

pub(crate) fn rows(rows: &[Row]) -> RecordBatch {
    let keys: Int64Array = rows.iter().map(|row| row.0).collect();
    let values = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(values)]).unwrap()
}

/// A table whose answer comes after so many questions.
struct Slow {
    rows: Arc<LookupRows>,
    questions: usize,
}

impl Lookup for Slow {
    fn rows(&mut self, _: &[ArrayRef], _: i64) -> Result<Option<Arc<LookupRows>>, OperatorError> {
        if self.questions > 0 {
            self.questions -= 1;
            return Ok(None);
        }
        Ok(Some(self.rows.clone()))
    }

    fn cached_bytes(&self) -> usize {
        self.rows.bytes()
    }
}

/// The left value is less than the right one.
#[derive(Debug)]
pub(crate) struct Less;

impl Expression for Less {
    fn evaluate(&self, rows: &RecordBatch, _now_ms: i64) -> Result<ArrayRef, RowError> {
        let value = |column: usize| rows.column(column).as_primitive::<Int64Type>().values();
        let less = value(0).iter().zip(value(1)).map(|(left, right)| Some(left < right));
        Ok(Arc::new(less.collect::<BooleanArray>()))
    }

    fn describe(&self) -> String {
        "v < v".to_owned()
    }
}

fn spec(kind: JoinKind, residual: Option<Residual>) -> JoinSpec {
    let only_grows = [true, true];
    let (left_keys, right_keys) = (vec![0], vec![0]);
    JoinSpec { kind, left_keys, right_keys, residual, only_grows, ttl_ms: [None, None] }
}

fn join(spec: JoinSpec, table: &[Row], questions: usize) -> LookupJoin {
    let rows = Arc::new(LookupRows::new(&rows(table), &[0]).unwrap());
    LookupJoin::new(spec, schema(), &schema(), Box::new(Slow { rows, questions })).unwrap()
}

fn context() -> EpochContext {
    let (watermark_before, watermark_after) = (Watermark::MIN, Watermark::MIN);
    EpochContext { epoch: 1, now_ms: 0, watermark_before, watermark_after }
}

fn apply(join: &mut LookupJoin, batches: &[&[Row]]) -> Vec<(Joined, i64)> {
    let inputs = vec![batches.iter().map(|batch| rows(batch).into()).collect::<Vec<Batch>>()];
    while join.prepare(&inputs, &context()).unwrap() == Readiness::Waits {}
    let mut output = Output::default();
    join.apply(inputs, &context(), &mut output).unwrap();
    output.rows.iter().flat_map(joined).collect()
}

fn joined(batch: &Batch) -> Vec<(Joined, i64)> {
    let column = |i: usize| batch.column(i).as_primitive::<Int64Type>();
    let value = |i: usize, row: usize| {
        use arrow::array::Array;
        column(i).is_valid(row).then(|| column(i).value(row))
    };
    let row = |row: usize| {
        let left = (value(0, row), column(1).value(row));
        let right = value(3, row).map(|v| (value(2, row), v));
        ((left, right), batch.weight(row))
    };
    (0..batch.len()).map(row).collect()
}

#[test]
fn a_row_meets_all_rows_of_its_key_and_a_null_meets_none() {
    let table = [(Some(7), 1), (None, 2), (Some(7), 3)];
    let mut inner = join(spec(JoinKind::Inner, None), &table, 0);
    let left: &[Row] = &[(Some(8), 10), (Some(7), 20), (None, 30)];
    let pair = |v| (((Some(7), 20), Some((Some(7), v))), 1);
    assert_eq!(apply(&mut inner, &[left]), [pair(1), pair(3)]);
    let mut outer = join(spec(JoinKind::Left, None), &table, 0);
    let alone = |k, v| (((k, v), None), 1);
    assert_eq!(apply(&mut outer, &[left]), [alone(Some(8), 10), pair(1), pair(3), alone(None, 30)]);
}

#[test]
fn an_epoch_waits_until_the_answer_is_there_and_then_has_it_once() {
    let mut join = join(spec(JoinKind::Inner, None), &[(Some(1), 5)], 2);
    let inputs = vec![vec![rows(&[(Some(1), 1)]).into()]];
    let mut prepare = || join.prepare(&inputs, &context()).unwrap();
    assert_eq!(
        [prepare(), prepare(), prepare()],
        [Readiness::Waits, Readiness::Waits, Readiness::Ready]
    );
    let nothing = vec![Vec::new()];
    assert_eq!(join.prepare(&nothing, &context()).unwrap(), Readiness::Ready);
    assert_eq!(apply(&mut join, &[&[(Some(1), 1)]]).len(), 1);
}

#[test]
fn a_deletion_is_refused() {
    let mut join = join(spec(JoinKind::Inner, None), &[], 0);
    let inputs = vec![vec![Batch::new(rows(&[(Some(1), 1)]), Some(vec![-1].into()))]];
    join.prepare(&inputs, &context()).unwrap();
    let refused = join.apply(inputs, &context(), &mut Output::default()).unwrap_err();
    assert!(refused.to_string().contains("only grow"), "{refused}");
}

fn key() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![1 => Just(None), 6 => (0i64..5).prop_map(Some)]
}

proptest! {
    #[test]
    fn pairs_are_those_found_one_by_one(
        table in prop::collection::vec((key(), 0i64..6), 0..12),
        batches in prop::collection::vec(prop::collection::vec((key(), 0i64..6), 0..8), 0..4),
        is_outer: bool,
        has_residual: bool,
    ) {
        let kind = if is_outer { JoinKind::Left } else { JoinKind::Inner };
        let residual = has_residual.then(|| Residual { condition: Arc::new(Less), reads: vec![1, 3] });
        let mut join = join(spec(kind, residual), &table, 0);
        let parts: Vec<&[Row]> = batches.iter().map(Vec::as_slice).collect();
        let mut expected: BTreeMap<Joined, i64> = BTreeMap::new();
        for &left in batches.iter().flatten() {
            let is_partner = |right: &&Row| {
                left.0.is_some() && left.0 == right.0 && (!has_residual || left.1 < right.1)
            };
            let partners: Vec<&Row> = table.iter().filter(is_partner).collect();
            for &&partner in &partners {
                *expected.entry((left, Some(partner))).or_default() += 1;
            }
            if is_outer && partners.is_empty() {
                *expected.entry((left, None)).or_default() += 1;
            }
        }
        let mut found: BTreeMap<Joined, i64> = BTreeMap::new();
        for (row, weight) in apply(&mut join, &parts) {
            *found.entry(row).or_default() += weight;
        }
        prop_assert_eq!(found, expected);
    }
}
