//! The search against a naive one, which looks at all ways through all rows of a key.

mod naive;

use super::*;
use crate::aggregate::{AggregateCall, AggregateFunction};
use crate::expression::{Expression, RowError};
use crate::oracle::{Workers, events};
use crate::top_n::SortTerm;
use arrow::array::{Array, AsArray, BooleanArray, TimestampMillisecondArray};
use arrow::datatypes::{Field, Int64Type, Schema, TimeUnit, TimestampMillisecondType};
use naive::{Naive, Question};
use proptest::prelude::*;
use std::sync::Arc;

/// `(key, time, tie, value)`.
type Fact = (Option<i64>, i64, i64, Option<i64>);

const KEY: usize = 0;
const TIME: usize = 1;
const TIE: usize = 2;
const VALUE: usize = 3;
/// Whether the value is at least 2.
const IS_HIGH: usize = 4;

fn schema() -> SchemaRef {
    let int = |name: &str| Field::new(name, DataType::Int64, true);
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        int("key"),
        Field::new("time", time, true),
        int("tie"),
        int("value"),
        Field::new("is_high", DataType::Boolean, true),
    ]))
}

fn batch(rows: &[Fact]) -> Batch {
    let is_high = |row: &Fact| row.3.map(|value| value >= 2);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
        Arc::new(rows.iter().map(|row| row.3).collect::<Int64Array>()),
        Arc::new(rows.iter().map(is_high).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap().into()
}

/// A formula, evaluated over columns.
#[derive(Debug)]
struct Columns(Formula);

impl Expression for Columns {
    fn evaluate(&self, rows: &RecordBatch, _: i64) -> Result<ArrayRef, RowError> {
        let operands: Vec<Vec<Value>> = (rows.columns().iter())
            .map(|c| value::ValueCodec::new(c.data_type()).unwrap().read(c).unwrap())
            .collect();
        let holds = |row: usize| {
            Some(self.0.holds(&|operand| std::borrow::Cow::Borrowed(&operands[operand][row])))
        };
        Ok(Arc::new((0..rows.num_rows()).map(holds).collect::<BooleanArray>()))
    }

    fn describe(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// Whether the value is at least 2; fails for some value.
#[derive(Debug)]
struct IsHigh {
    fails_at: Option<i64>,
}

impl Expression for IsHigh {
    fn evaluate(&self, rows: &RecordBatch, _: i64) -> Result<ArrayRef, RowError> {
        let values = rows.column(VALUE).as_primitive::<Int64Type>();
        if values.iter().any(|value| value.is_some() && value == self.fails_at) {
            let (expression, reason) = (self.describe(), "a value that can't be asked".to_owned());
            return Err(RowError { expression, reason });
        }
        Ok(rows.column(IS_HIGH).clone())
    }

    fn describe(&self) -> String {
        "value >= 2".into()
    }
}

fn aggregate(function: AggregateFunction) -> AggregateCall {
    let is_count = function == AggregateFunction::CountRows;
    AggregateCall {
        name: format!("{function:?}"),
        argument: (!is_count).then_some(VALUE),
        filter: None,
        distinct: false,
        input_type: if is_count { DataType::Null } else { DataType::Int64 },
        output_type: DataType::Int64,
        function,
    }
}

fn last(variable: Option<usize>, offset: usize) -> Operand {
    Operand { variable, reading: Reading::Last { column: VALUE, offset } }
}

fn first(variable: Option<usize>, offset: usize) -> Operand {
    Operand { variable, reading: Reading::First { column: VALUE, offset } }
}

fn over(variable: Option<usize>, function: AggregateFunction) -> Operand {
    Operand { variable, reading: Reading::Aggregate(aggregate(function)) }
}

/// What a variable asks, for the operator.
fn test(variable: usize, question: Question, as_formula: bool) -> Test {
    let constant = |n: i64| Formula::Constant(Value::Integer(n));
    let compare = |comparison, a, b| Formula::Compare(comparison, Box::new([a, b]));
    let (operands, formula) = match question {
        Question::Always => return Test::Always,
        // One way or the other.
        Question::IsHigh if as_formula => return Test::Column(IS_HIGH),
        Question::IsHigh => return Test::Row(Arc::new(IsHigh { fails_at: None })),
        // A fall: less than the one before, if there is one.
        Question::Falls => {
            let before = || Formula::Operand(1);
            let falls = compare(Comparison::Less, Formula::Operand(0), before());
            let sides = [Formula::IsNull(Box::new(before())), falls];
            (vec![last(Some(variable), 0), last(Some(variable), 1)], Formula::Or(Box::new(sides)))
        }
        Question::AboveFirst => {
            let formula = compare(Comparison::Greater, Formula::Operand(0), Formula::Operand(1));
            (vec![last(None, 0), first(None, 0)], formula)
        }
        Question::SumBelow(limit) => {
            let sum = over(Some(variable), AggregateFunction::Sum);
            let formula = compare(Comparison::Less, Formula::Operand(0), constant(limit));
            (vec![sum], formula)
        }
        Question::CountOdd(other) => {
            // As many rows of another variable as of all others together, or fewer.
            let twice = Formula::Arithmetic(
                Arithmetic::Multiply,
                Width::Bits64,
                Box::new([Formula::Operand(0), constant(2)]),
            );
            let formula = compare(Comparison::NotGreater, twice, Formula::Operand(1));
            let count = |variable| over(variable, AggregateFunction::CountRows);
            (vec![count(Some(other)), count(None)], formula)
        }
    };
    let expression = Arc::new(Columns(formula.clone()));
    Test::Condition(Condition { operands, expression, formula: as_formula.then_some(formula) })
}

const NAMES: [&str; 4] = ["A", "B", "C", "D"];

fn spec(pattern: Pattern, questions: &[Question], skip: Skip) -> PatternSpec {
    let variable = |(number, &question): (usize, &Question)| Variable {
        name: NAMES[number].to_owned(),
        test: test(number, question, true),
    };
    let shown = |name: &str, operand| Measure::Operand { name: name.to_owned(), operand };
    let mut measures = vec![
        shown("first", first(None, 0)),
        shown("last", last(None, 0)),
        shown("rows", over(None, AggregateFunction::CountRows)),
        Measure::Time { name: "time".into() },
    ];
    for (number, name) in NAMES.iter().enumerate().take(questions.len()) {
        let variable = Some(number);
        measures.push(shown(&format!("{name}_second"), first(variable, 1)));
        measures.push(shown(&format!("{name}_last_but_one"), last(variable, 1)));
        measures.push(shown(&format!("{name}_sum"), over(variable, AggregateFunction::Sum)));
        measures.push(shown(&format!("{name}_max"), over(variable, AggregateFunction::Max)));
    }
    let tie = SortTerm { column: TIE, descending: true, nulls_first: false };
    PatternSpec {
        partition: vec![KEY],
        time: TIME,
        ties: vec![tie],
        arrival: None,
        variables: questions.iter().enumerate().map(variable).collect(),
        pattern,
        within_ms: None,
        skip,
        measures,
    }
}

fn operator(spec: &PatternSpec) -> PatternMatch {
    PatternMatch::new(spec.clone(), schema()).unwrap()
}

fn context(epoch: u64, marks: (i64, i64)) -> EpochContext {
    EpochContext {
        epoch,
        now_ms: 0,
        watermark_before: Watermark(marks.0),
        watermark_after: Watermark(marks.1),
    }
}

fn apply(operator: &mut PatternMatch, rows: &[Fact], marks: (i64, i64)) -> Output {
    let mut output = Output::default();
    operator.apply(vec![vec![batch(rows)]], &context(1, marks), &mut output).unwrap();
    output
}

/// A row of the output: the key, then the measures.
type Shown = Vec<Option<i64>>;

fn read(output: &Output) -> Vec<Shown> {
    let mut rows = Vec::new();
    for batch in &output.rows {
        assert!(batch.weights().is_none(), "append-only");
        for row in 0..batch.len() {
            let value = |c: &ArrayRef| match c.as_primitive_opt::<TimestampMillisecondType>() {
                Some(c) => c.is_valid(row).then(|| c.value(row)),
                None => {
                    let c = c.as_primitive::<Int64Type>();
                    c.is_valid(row).then(|| c.value(row))
                }
            };
            rows.push(batch.columns().columns().iter().map(value).collect());
        }
    }
    rows
}

fn one(variable: usize) -> Pattern {
    Pattern::Variable(variable)
}

fn repeat(pattern: Pattern, from: u32, to: Option<u32>, preference: Preference) -> Pattern {
    Pattern::Repeat { pattern: Box::new(pattern), from, to, preference }
}

fn greedy(variable: usize, from: u32, to: Option<u32>) -> Pattern {
    repeat(one(variable), from, to, Preference::Greedy)
}

/// `A B+ C`: some row, falling ones, one that is not less than 2.
fn v_shape() -> PatternSpec {
    let pattern = Pattern::Sequence(vec![one(0), greedy(1, 1, None), one(2)]);
    let questions = [Question::Always, Question::Falls, Question::IsHigh];
    spec(pattern, &questions, Skip::PastLastRow)
}

/// Facts of one key, a millisecond apart.
fn facts(from: i64, values: &[i64]) -> Vec<Fact> {
    (from..).zip(values).map(|(time, &value)| (Some(1), time, 0, Some(value))).collect()
}

/// Key, first value, last value and number of rows of what is shown.
fn brief(output: &Output) -> Vec<[i64; 3]> {
    read(output).iter().map(|row| [1, 2, 3].map(|column| row[column].unwrap())).collect()
}

#[test]
fn a_row_waits_for_the_watermark_and_is_late_once_that_has_reached_it() {
    let mut operator = operator(&v_shape());
    let rows = facts(10, &[3, 1, 0, 2]);
    let disordered = [rows[3], rows[1], rows[0], rows[2]];
    let output = apply(&mut operator, &disordered, (i64::MIN, 12));
    assert!(output.rows.is_empty());
    let output = apply(&mut operator, &facts(12, &[5]), (12, 13));
    assert_eq!(output.late[0].rows.len(), 1, "its time equals the watermark");
    assert_eq!(brief(&output), [[3, 2, 4]]);
    assert_eq!((operator.held.len(), operator.index.len()), (0, 0));
}

#[test]
fn rows_that_no_open_match_needs_are_forgotten_at_once() {
    let mut operator = operator(&v_shape());
    let output = apply(&mut operator, &facts(10, &[3, 9, 9, 9, 4]), (i64::MIN, 20));
    assert_eq!(brief(&output), [[3, 9, 3]]);
    assert_eq!(operator.held.len(), 2, "the last 9 may be A, and 4 behind it B");
    let mut only_high = v_shape();
    only_high.variables[0].test = Test::Column(IS_HIGH);
    let mut operator = self::operator(&only_high);
    apply(&mut operator, &facts(10, &[1, 1, 0, 1]), (i64::MIN, 20));
    assert_eq!((operator.held.len(), operator.index.len()), (0, 0));
}

#[test]
fn a_condition_that_fails_matters_where_a_row_is_asked() {
    // The second row need only be anything; the third one must be high.
    let pattern = Pattern::Sequence(vec![one(0), one(1), one(2)]);
    let questions = [Question::IsHigh, Question::Always, Question::IsHigh];
    let mut spec = spec(pattern, &questions, Skip::PastLastRow);
    for variable in [0, 2] {
        let fails = Test::Row(Arc::new(IsHigh { fails_at: Some(7) }));
        spec.variables[variable].test = fails;
    }
    let mut operator = operator(&spec);
    let marks = (i64::MIN, 100);
    assert_eq!(brief(&apply(&mut operator, &facts(1, &[3, 7, 4, 0, 0]), marks)).len(), 1);
    let mut output = Output::default();
    let rows = batch(&facts(101, &[3, 4, 7]));
    let failed = operator.apply(vec![vec![rows]], &context(1, (100, 200)), &mut output);
    let failed = failed.expect_err("the last row is asked").to_string();
    assert!(failed.contains("can't be asked"), "{failed}");
}

#[test]
fn a_span_as_long_as_within_is_too_long() {
    let mut spec = v_shape();
    let span = |within_ms| {
        spec.within_ms = Some(within_ms);
        brief(&apply(&mut operator(&spec), &facts(10, &[3, 1, 2]), (i64::MIN, 20)))
    };
    assert_eq!([3, 2].map(span), [vec![[3, 2, 3]], vec![]]);
}

#[test]
fn a_search_ends_when_the_watermark_has_passed_its_deadline() {
    let mut spec = v_shape();
    spec.within_ms = Some(5);
    let mut operator = operator(&spec);
    apply(&mut operator, &facts(10, &[3, 1]), (i64::MIN, 13));
    assert_eq!(operator.held.len(), 2);
    apply(&mut operator, &[], (13, 14));
    assert_eq!(operator.held.len(), 1, "a match that begins at 10 would have to end before 15");
    apply(&mut operator, &[], (14, 15));
    assert_eq!((operator.held.len(), operator.index.len()), (0, 0));
}

#[test]
fn a_match_waits_for_one_that_would_begin_earlier() {
    // A B{4} C | D D: the long one is open when the short one is there.
    let short = Pattern::Sequence(vec![one(3), one(3)]);
    let long = Pattern::Sequence(vec![one(0), greedy(1, 4, Some(4)), one(2)]);
    let questions = [Question::IsHigh, Question::Always, Question::IsHigh, Question::Falls];
    let pattern = Pattern::Alternatives(vec![long, short]);
    let spec = spec(pattern, &questions, Skip::PastLastRow);
    let mut operator = operator(&spec);
    let output = apply(&mut operator, &facts(10, &[2, 3, 1]), (i64::MIN, 12));
    assert_eq!(brief(&output), [] as [[i64; 3]; 0], "2 3 is no fall, so 2 may begin the long one");
    let output = apply(&mut operator, &facts(13, &[1, 1, 0]), (12, 20));
    let times: Vec<_> = read(&output).iter().map(|row| row[4]).collect();
    assert_eq!(brief(&output), [[3, 1, 2], [1, 0, 2]]);
    assert_eq!(times, [Some(15), Some(15)], "only then it is known that there is no long one");
}

#[test]
fn to_skip_to_where_a_match_began_is_an_error() {
    let mut spec = v_shape();
    for (skip, reason) in [(Skip::ToFirst(0), "the first row"), (Skip::ToLast(3), "no such row")] {
        spec.skip = skip;
        spec.variables.push(Variable { name: "D".into(), test: Test::Always });
        let mut output = Output::default();
        let rows = vec![vec![batch(&facts(10, &[3, 1, 2]))]];
        let error = operator(&spec).apply(rows, &context(1, (i64::MIN, 20)), &mut output);
        assert!(error.unwrap_err().to_string().contains(reason));
    }
}

#[test]
fn rows_of_equal_time_have_an_order_of_their_own() {
    let mut operator = operator(&v_shape());
    // Ties are in descending order.
    let rows = [(Some(1), 10, 1, Some(2)), (Some(1), 10, 2, Some(1)), (Some(1), 10, 3, Some(3))];
    assert_eq!(brief(&apply(&mut operator, &rows, (i64::MIN, 10))), [[3, 2, 3]]);
}

#[test]
fn a_long_match_costs_no_more_for_each_row() {
    let pattern = Pattern::Sequence(vec![greedy(0, 1, None), one(1)]);
    let questions = [Question::SumBelow(1), Question::Always];
    let spec = spec(pattern, &questions, Skip::PastLastRow);
    let mut operator = operator(&spec);
    let many = 50_000;
    for from in (0..many).step_by(100) {
        let output = apply(&mut operator, &facts(from, &[0; 100]), (from - 1, from + 99));
        assert!(output.rows.is_empty());
    }
    let output = apply(&mut operator, &facts(many, &[1]), (many - 1, many));
    assert_eq!(brief(&output), [[0, 1, many + 1]]);
}

fn any_question() -> impl Strategy<Value = Question> {
    prop_oneof![
        2 => Just(Question::Always),
        3 => Just(Question::IsHigh),
        2 => Just(Question::Falls),
        1 => Just(Question::AboveFirst),
        1 => (0..6i64).prop_map(Question::SumBelow),
        1 => (0..4usize).prop_map(Question::CountOdd),
    ]
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let leaf = (0..4usize).prop_map(Pattern::Variable);
    let tree = leaf.prop_recursive(3, 10, 4, |inner| {
        let times = prop_oneof![
            2 => Just((0, None)),
            3 => Just((1, None)),
            3 => Just((0, Some(1))),
            1 => (0..3u32, 0..2u32).prop_map(|(from, more)| (from, Some((from + more).max(1)))),
        ];
        let preference = prop_oneof![Just(Preference::Greedy), Just(Preference::Reluctant)];
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 2..4).prop_map(Pattern::Sequence),
            1 => prop::collection::vec(inner.clone(), 2..3).prop_map(Pattern::Alternatives),
            4 => (inner, times, preference)
                .prop_map(|(inner, (from, to), preference)| repeat(inner, from, to, preference)),
        ]
    });
    tree.prop_filter("what can be looked for", |pattern| Automaton::new(pattern).is_ok())
}

fn any_spec() -> impl Strategy<Value = (PatternSpec, [Question; 4])> {
    let questions = [(); 4].map(|()| any_question());
    let skip = prop_oneof![
        3 => Just(Skip::PastLastRow),
        3 => Just(Skip::ToNextRow),
        1 => (0..4usize).prop_map(Skip::ToFirst),
        1 => (0..4usize).prop_map(Skip::ToLast),
    ];
    let within_ms = prop::option::of(1..12i64);
    (any_pattern(), questions, skip, within_ms, any::<[bool; 4]>()).prop_map(
        |(pattern, questions, skip, within_ms, formulas)| {
            let mut spec = spec(pattern, &questions, skip);
            spec.within_ms = within_ms;
            for (number, &question) in questions.iter().enumerate() {
                spec.variables[number].test = test(number, question, formulas[number]);
            }
            (spec, questions)
        },
    )
}

/// Epochs: rows with times relative to the watermark, and how far that rises after them.
fn any_epochs() -> impl Strategy<Value = Vec<(Vec<Fact>, i64)>> {
    let key = prop_oneof![6 => (0..2i64).prop_map(Some), 1 => Just(None)];
    let value = prop_oneof![6 => (0..4i64).prop_map(Some), 1 => Just(None)];
    let rows = prop::collection::vec((key, 1..6i64, 0..2i64, value), 0..8);
    prop::collection::vec((rows, 0..5i64), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_is_what_a_naive_search_finds(
        (spec, questions) in any_spec(),
        epochs in any_epochs(),
        events in prop::collection::vec(events(), 8),
    ) {
        let naive = Naive { spec: spec.clone(), questions };
        let held = spec.clone();
        let mut workers = Workers::new(vec![vec![KEY]], move || operator(&held));
        let (mut all, mut seen, mut watermark) = (Vec::new(), Vec::new(), 100);
        for (number, ((rows, rise), event)) in epochs.into_iter().zip(&events).enumerate() {
            let rows: Vec<Fact> =
                rows.into_iter().map(|(k, t, tie, v)| (k, watermark + t, tie, v)).collect();
            let context = context(number as u64 + 1, (watermark, watermark + rise));
            let output = workers.apply(&[vec![batch(&rows)]], &context);
            all.extend(rows);
            watermark += rise;
            let Some((mut expected, needed)) = naive.search(&all, watermark) else {
                // A match that can't be skipped as it should ends the job.
                prop_assert!(output.is_err());
                return Ok(());
            };
            seen.extend(read(&output.unwrap()));
            expected.sort();
            seen.sort();
            prop_assert_eq!(&seen, &expected);
            // What was restored has its turn with the next epoch, and takes nothing until then.
            let held: usize = workers.operators().iter().map(|part| part.held.len()).sum();
            prop_assert_eq!(held, needed);
            workers.meet(event);
        }
    }

    #[test]
    fn formulas_and_expressions_say_the_same(
        (spec, questions) in any_spec(),
        epochs in any_epochs(),
    ) {
        let with = |as_formula| {
            let mut spec = spec.clone();
            for (number, &question) in questions.iter().enumerate() {
                spec.variables[number].test = test(number, question, as_formula);
            }
            operator(&spec)
        };
        let (mut formulas, mut expressions) = (with(true), with(false));
        for (rows, _) in epochs {
            let mut found = [Vec::new(), Vec::new()];
            for (operator, found) in [&mut formulas, &mut expressions].into_iter().zip(&mut found) {
                let mut output = Output::default();
                let rows = vec![vec![batch(&rows)]];
                let applied = operator.apply(rows, &context(1, (0, 9)), &mut output);
                *found = vec![(read(&output), applied.is_err())];
            }
            prop_assert_eq!(&found[0], &found[1]);
            if found[0][0].1 {
                return Ok(());
            }
        }
    }
}
