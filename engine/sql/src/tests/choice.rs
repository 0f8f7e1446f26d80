//! A `CASE` between constants gives what a look at each row gives.

use super::session;
use crate::plan::NodeKind;
use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch};
use proptest::prelude::*;
use std::sync::Arc;

/// A condition on the columns `a` and `b`.
#[derive(Clone, Debug)]
enum Condition {
    /// A column, or the greater of both, is at least so much.
    AtLeast(Option<usize>, i32),
    IsNull(usize),
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

type Row = [Option<i32>; 2];

impl Condition {
    fn text(&self) -> String {
        let name = |column: usize| ["a", "b"][column];
        match self {
            Condition::AtLeast(Some(column), bound) => format!("{} >= {bound}", name(*column)),
            Condition::AtLeast(None, bound) => format!("GREATEST(a, b) >= {bound}"),
            Condition::IsNull(column) => format!("{} IS NULL", name(*column)),
            Condition::Not(one) => format!("NOT ({})", one.text()),
            Condition::And(one, other) => format!("({} AND {})", one.text(), other.text()),
            Condition::Or(one, other) => format!("({} OR {})", one.text(), other.text()),
        }
    }

    /// As SQL has it: `None` is unknown.
    fn holds(&self, row: &Row) -> Option<bool> {
        match self {
            Condition::AtLeast(Some(column), bound) => row[*column].map(|value| value >= *bound),
            Condition::AtLeast(None, bound) => Some(row[0]?.max(row[1]?) >= *bound),
            Condition::IsNull(column) => Some(row[*column].is_none()),
            Condition::Not(one) => one.holds(row).map(|holds| !holds),
            Condition::And(one, other) => match (one.holds(row), other.holds(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (one, other) => Some(one? && other?),
            },
            Condition::Or(one, other) => match (one.holds(row), other.holds(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (one, other) => Some(one? || other?),
            },
        }
    }
}

fn conditions() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        (prop::option::of(0usize..2), -3..4).prop_map(|(c, bound)| Condition::AtLeast(c, bound)),
        (0usize..2).prop_map(Condition::IsNull),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|one| Condition::Not(Box::new(one))),
            two.clone().prop_map(|(a, b)| Condition::And(Box::new(a), Box::new(b))),
            two.prop_map(|(a, b)| Condition::Or(Box::new(a), Box::new(b))),
        ]
    })
}

/// What a `CASE` with a name for each condition, and for none, gives for rows.
fn given(conditions: &[Condition], otherwise: Option<&str>, rows: &[Row]) -> Vec<Option<String>> {
    let whens = conditions.iter().enumerate();
    let whens = whens.map(|(i, condition)| format!(" WHEN {} THEN 'case {i}'", condition.text()));
    let otherwise = otherwise.map_or_else(String::new, |name| format!(" ELSE '{name}'"));
    evaluated(&format!("CASE{}{otherwise} END", whens.collect::<String>()), rows)
}

/// What an expression gives for rows.
fn evaluated(expression: &str, rows: &[Row]) -> Vec<Option<String>> {
    let table = "CREATE TABLE numbers (a INT, b INT) WITH ('connector' = 'append');";
    let planned = session(&format!("{table} SELECT a, b, {expression} FROM numbers"));
    let planned = planned.unwrap_or_else(|error| panic!("{error}"));
    let projection = planned.plan.nodes.into_iter().find_map(|node| match node.kind {
        NodeKind::Map(spec) => spec.projection,
        _ => None,
    });
    let column =
        |i: usize| -> ArrayRef { Arc::new(rows.iter().map(|row| row[i]).collect::<Int32Array>()) };
    let batch =
        RecordBatch::try_from_iter_with_nullable([("a", column(0), true), ("b", column(1), true)]);
    let projection = projection.expect("a projection");
    let gives = projection[2].evaluate(&batch.expect("two columns"), 0).expect("it can't fail");
    let gives = gives.as_string::<i32>();
    (0..gives.len()).map(|i| gives.is_valid(i).then(|| gives.value(i).to_owned())).collect()
}

/// What stands around it gives it only the columns that it reads, and the rows that it is asked for.
#[test]
fn a_choice_within_another_case_reads_the_columns_that_it_needs() {
    let inner = "CASE WHEN GREATEST(b, 1) > 2 THEN 'x' WHEN GREATEST(b, 1) = 2 THEN 'y' END";
    let rows = [[Some(1), Some(7)], [Some(0), Some(7)], [None, Some(2)], [Some(0), Some(0)]];
    let case = format!("CASE WHEN a > 0 THEN CAST(b AS STRING) ELSE {inner} END");
    let gives = evaluated(&case, &rows);
    let gives: Vec<Option<&str>> = gives.iter().map(Option::as_deref).collect();
    assert_eq!(gives, [Some("7"), Some("x"), Some("y"), None]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_first_condition_that_holds_chooses(
        conditions in prop::collection::vec(conditions(), 1..8),
        has_otherwise in any::<bool>(),
        rows in prop::collection::vec(prop::array::uniform2(prop::option::of(-3..4)), 0..40),
    ) {
        let otherwise = has_otherwise.then_some("none");
        let expected = |row: &Row| -> Option<String> {
            let first = conditions.iter().position(|condition| condition.holds(row) == Some(true));
            first.map(|i| format!("case {i}")).or(otherwise.map(str::to_owned))
        };
        let expected: Vec<_> = rows.iter().map(expected).collect();
        prop_assert_eq!(given(&conditions, otherwise, &rows), expected);
    }
}
