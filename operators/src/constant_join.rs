//! [`ConstantJoin`]: the join with rows that stand in the job's text.
//!
//! ```text
//! constants  (1, x) (1, y)       rows  +(1, a) -(2, b)        ON rows.0 = constants.0
//! inner                                +(1, a, 1, x) +(1, a, 1, y)
//! left outer                           … and -(2, b, NULL, NULL)
//! ```
//!
//! The constants never change, so what comes of a row depends on the row alone: it is no state but
//! a step, like a projection. Every worker holds all constants, and rows stay on the worker that
//! has them. Weights go with their rows: the deletion of a row finds the partners that the row had.
//!
//! The invariant: **whatever the batches, the sum of the output is the join of the sum of the
//! input with the constants**. Only rows that are kept because *no* row of any worker is their
//! partner would need more than that, so the constants are never the side that is kept.

use crate::batch::Batch;
use crate::join::JoinSpec;
use crate::lookup_join::{Beside, LookupRows};
use crate::operator::OperatorError;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// What to join with which rows.
#[derive(Clone, Debug)]
pub struct ConstantJoinSpec {
    /// An inner, a left, a semi or an anti join, whose right side are the rows. Nothing is kept, so
    /// which inputs only grow and what lifetimes they have says nothing.
    pub join: JoinSpec,
    /// The constants.
    pub rows: RecordBatch,
}

/// The step. See the [module](self).
#[derive(Debug)]
pub struct ConstantJoin {
    join: Beside,
    rows: LookupRows,
}

impl ConstantJoin {
    /// A step for rows of the schema `input`.
    ///
    /// # Errors
    /// If the join is of another kind, or its keys can't be compared.
    pub fn new(spec: &ConstantJoinSpec, input: &SchemaRef) -> Result<Self, OperatorError> {
        Ok(ConstantJoin {
            join: Beside::new(&spec.join, input, &spec.rows.schema())?,
            rows: LookupRows::new(&spec.rows, &spec.join.right_keys)?,
        })
    }

    /// Joins a batch. `now_ms` is the epoch's processing time.
    ///
    /// # Errors
    /// If the condition fails for a pair.
    pub fn apply(&self, batch: &Batch, now_ms: i64) -> Result<Batch, OperatorError> {
        self.join.join(batch, &self.rows, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::{Join, JoinKind, Residual};
    use crate::lookup_join::tests::{Less, Row, rows, schema};
    use crate::operator::{EpochContext, Operator, Output};
    use crate::time::Watermark;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    type Sum = BTreeMap<Vec<Option<i64>>, i64>;

    fn batch(changes: &[(Row, i64)]) -> Batch {
        let plain: Vec<Row> = changes.iter().map(|change| change.0).collect();
        let only_grows = changes.iter().all(|change| change.1 == 1);
        let weights = (!only_grows).then(|| changes.iter().map(|change| change.1).collect());
        Batch::new(rows(&plain), weights)
    }

    fn spec(kind: JoinKind, has_key: bool, is_less: bool) -> JoinSpec {
        let keys = if has_key { vec![0] } else { Vec::new() };
        let residual = is_less.then(|| Residual { condition: Arc::new(Less), reads: vec![1, 3] });
        let (left_keys, right_keys) = (keys.clone(), keys);
        let (only_grows, ttl_ms) = ([false, true], [None, None]);
        JoinSpec { kind, left_keys, right_keys, residual, only_grows, ttl_ms }
    }

    fn step(join: JoinSpec, constants: &[Row]) -> ConstantJoin {
        ConstantJoin::new(&ConstantJoinSpec { join, rows: rows(constants) }, &schema()).unwrap()
    }

    fn values(batch: &Batch, row: usize) -> Vec<Option<i64>> {
        let columns = batch.columns().columns().iter().map(|c| c.as_primitive::<Int64Type>());
        columns.map(|c| c.is_valid(row).then(|| c.value(row))).collect()
    }

    fn listed(batch: &Batch) -> Vec<(Vec<Option<i64>>, i64)> {
        (0..batch.len()).map(|row| (values(batch, row), batch.weight(row))).collect()
    }

    fn add(sum: &mut Sum, batch: &Batch) {
        for (row, weight) in listed(batch) {
            *sum.entry(row).or_default() += weight;
        }
        sum.retain(|_, weight| *weight != 0);
    }

    #[test]
    fn a_deletion_finds_the_partners_that_the_row_had() {
        let constants = [(Some(1), 10), (Some(1), 11), (None, 12)];
        let changes = batch(&[((Some(1), 5), 1), ((Some(2), 6), -1), ((None, 7), 2)]);
        let pair = |v| (vec![Some(1), Some(5), Some(1), Some(v)], 1);
        let inner = step(spec(JoinKind::Inner, true, false), &constants);
        assert_eq!(listed(&inner.apply(&changes, 0).unwrap()), [pair(10), pair(11)]);
        let alone = |k, v, weight| (vec![k, Some(v), None, None], weight);
        let outer = step(spec(JoinKind::Left, true, false), &constants);
        assert_eq!(
            listed(&outer.apply(&changes, 0).unwrap()),
            [pair(10), pair(11), alone(Some(2), 6, -1), alone(None, 7, 2)]
        );
        let anti = step(spec(JoinKind::LeftAnti, true, false), &constants);
        assert_eq!(
            listed(&anti.apply(&changes, 0).unwrap()),
            [(vec![Some(2), Some(6)], -1), (vec![None, Some(7)], 2)]
        );
    }

    #[test]
    fn rows_that_all_have_one_partner_are_passed_on_as_they_are() {
        let changes = batch(&[((Some(1), 5), 1), ((Some(2), 6), 1)]);
        let join = step(spec(JoinKind::Inner, true, false), &[(Some(2), 20), (Some(1), 10)]);
        let joined = join.apply(&changes, 0).unwrap();
        assert!(Arc::ptr_eq(joined.column(0), changes.column(0)));
        assert_eq!(joined.weights(), None);
        assert_eq!(joined.column(3).as_primitive::<Int64Type>().values(), &[10, 20]);
    }

    #[test]
    fn a_condition_is_put_to_more_pairs_than_fit_at_once() {
        let constants: Vec<Row> = (0..1_000).map(|v| (None, v)).collect();
        let changes: Vec<(Row, i64)> = (0..1_000).map(|v| ((None, v), 1)).collect();
        let join = step(spec(JoinKind::Inner, false, true), &constants);
        assert_eq!(join.apply(&batch(&changes), 0).unwrap().len(), 1_000 * 999 / 2);
        let semi = step(spec(JoinKind::LeftSemi, false, true), &constants);
        assert_eq!(semi.apply(&batch(&changes), 0).unwrap().len(), 999);
    }

    #[test]
    fn constants_that_would_be_shown_by_themselves_are_refused() {
        for kind in [JoinKind::Right, JoinKind::Full] {
            let spec = ConstantJoinSpec { join: spec(kind, true, false), rows: rows(&[]) };
            assert!(ConstantJoin::new(&spec, &schema()).is_err());
        }
    }

    /// What the join of two inputs gives whose right one came first and never changes.
    fn of_two_inputs(join: JoinSpec, constants: &[Row], batches: &[Vec<(Row, i64)>]) -> Sum {
        let mut join = Join::new(join, schema(), schema()).unwrap();
        let watermarks = (Watermark::MIN, Watermark::MIN);
        let context = EpochContext {
            epoch: 1,
            now_ms: 0,
            watermark_before: watermarks.0,
            watermark_after: watermarks.1,
        };
        let mut sum = Sum::new();
        let constants = vec![Vec::new(), vec![rows(constants).into()]];
        let changes = batches.iter().map(|changes| vec![vec![batch(changes)], Vec::new()]);
        for inputs in std::iter::once(constants).chain(changes) {
            let mut output = Output::default();
            join.apply(inputs, &context, &mut output).unwrap();
            output.rows.iter().for_each(|batch| add(&mut sum, batch));
        }
        sum
    }

    fn key() -> impl Strategy<Value = Option<i64>> {
        prop_oneof![1 => Just(None), 6 => (0i64..5).prop_map(Some)]
    }

    /// Changes of rows, each of which is there when it is taken back.
    fn changes() -> impl Strategy<Value = Vec<Vec<(Row, i64)>>> {
        let row = (key(), 0i64..6);
        let change = (row, prop_oneof![3 => Just(1i64), 1 => Just(2), 1 => Just(-1)]);
        prop::collection::vec(prop::collection::vec(change, 0..8), 0..5).prop_map(|mut batches| {
            let mut held: BTreeMap<Row, i64> = BTreeMap::new();
            for (row, weight) in batches.iter_mut().flatten() {
                let held = held.entry(*row).or_default();
                if *held + *weight < 0 {
                    *weight = 1;
                }
                *held += *weight;
            }
            batches
        })
    }

    proptest! {
        #[test]
        fn it_is_the_join_with_an_input_that_came_first_and_never_changes(
            constants in prop::collection::vec((key(), 0i64..6), 0..8),
            batches in changes(),
            kind in prop::sample::select(vec![
                JoinKind::Inner, JoinKind::Left, JoinKind::LeftSemi, JoinKind::LeftAnti,
            ]),
            has_key: bool,
            is_less: bool,
        ) {
            let join = spec(kind, has_key, is_less);
            let step = step(join.clone(), &constants);
            let mut sum = Sum::new();
            for changes in &batches {
                add(&mut sum, &step.apply(&batch(changes), 0).unwrap());
            }
            prop_assert_eq!(sum, of_two_inputs(join, &constants, &batches));
        }
    }
}
