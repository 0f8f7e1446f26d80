//! Random expressions over random rows: over a whole batch they give what they give for each row
//! alone, and fail if and only if one of the rows fails.
//!
//! First it is found out which types of arguments each function takes; then calls are put into
//! calls. So a new function takes part without being named here, and one that no call reaches
//! fails the test.

use super::Fake;
use crate::functions::Functions;
use crate::plan::NodeKind;
use crate::{SourceText, plan_session};
use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tidemill_operators::Expression;

const TABLE: &str = "CREATE TABLE t (b BOOLEAN, i INT, l BIGINT, d DOUBLE, n DECIMAL(12, 3),
    s STRING, day DATE, ts TIMESTAMP(3)) WITH ('connector' = 'append');\n";

/// Columns and literals, by the type's place in [`TYPES`]; the first is no constant.
const TYPES: [&[&str]; 10] = [
    &["b", "TRUE", "CAST(NULL AS BOOLEAN)"],
    &["i", "0", "1", "-3", "CAST(NULL AS INT)"],
    &["l", "CAST(7 AS BIGINT)", "CAST(NULL AS BIGINT)"],
    &["d", "0e0", "-2.5e0", "CAST(NULL AS DOUBLE)"],
    &["n", "1.5", "-0.001"],
    &["s", "''", "'a,b'", "'%'", "'yyyy-MM-dd'", "'$.a'", "'UTC'", "CAST(NULL AS STRING)"],
    &["day", "DATE '2024-02-29'", "CAST(NULL AS DATE)"],
    &["ts", "TIMESTAMP '1969-12-31 23:59:59.999'", "CAST(NULL AS TIMESTAMP(3))"],
    &["ARRAY[s, 'a']", "ARRAY['a', 'b', 'a']"],
    &["MAP['a', s]"],
];

/// The places of strings and of whole numbers, which most functions take.
const TEXT: usize = 5;
const INT: usize = 1;

/// What is written otherwise than as `NAME(…)`: its name, how, and how many arguments it takes.
const FORMS: [(&str, &str, usize); 35] = [
    ("+", "($0 + $1)", 2),
    ("-", "($0 - $1)", 2),
    ("*", "($0 * $1)", 2),
    ("/", "($0 / $1)", 2),
    ("%", "($0 % $1)", 2),
    ("=", "($0 = $1)", 2),
    ("<", "($0 < $1)", 2),
    ("AND", "($0 AND $1)", 2),
    ("OR", "($0 OR $1)", 2),
    ("NOT", "(NOT $0)", 1),
    ("IS NULL", "($0 IS NULL)", 1),
    ("CASE", "CASE WHEN $0 THEN $1 ELSE $2 END", 3),
    ("IF", "IF($0, $1, $2)", 3),
    ("COALESCE", "COALESCE($0, $1, $2)", 3),
    ("NVL", "NVL($0, $1)", 2),
    ("NULLIF", "NULLIF($0, $1)", 2),
    ("LIKE", "($0 LIKE $1)", 2),
    ("IN", "($0 IN ($1, $2))", 3),
    ("CAST", "CAST($0 AS STRING)", 1),
    ("CAST", "CAST($0 AS DECIMAL(10, 2))", 1),
    ("TRY_CAST", "TRY_CAST($0 AS BIGINT)", 1),
    ("TRY_CAST", "TRY_CAST($0 AS TIMESTAMP(3))", 1),
    ("||", "($0 || $1)", 2),
    ("EXTRACT", "EXTRACT(YEAR FROM $0)", 1),
    ("EXTRACT", "EXTRACT(WEEK FROM $0)", 1),
    ("DATE_PART", "DATE_PART('YEAR', $0)", 1),
    ("FLOOR_TO", "FLOOR($0 TO HOUR)", 1),
    ("CEIL_TO", "CEIL($0 TO MONTH)", 1),
    ("TIMESTAMPADD", "TIMESTAMPADD(MONTH, $1, $0)", 2),
    ("FLINK_TIME_ADD", "($0 + INTERVAL '1' MONTH)", 1),
    ("FLINK_TIME_SUB", "($0 - INTERVAL '1' DAY)", 1),
    ("ITEM", "$0[1]", 1),
    ("ITEM", "$0['a']", 1),
    ("SIMILAR_TO", "($0 SIMILAR TO $1)", 2),
    ("JSON_EXISTS", "JSON_EXISTS($0, '$.a')", 1),
];

/// Whose result depends on more than its arguments, or which are no scalar functions where they
/// stand alone.
const OMITTED: [&str; 13] = [
    "CURRENT_DATE",
    "CURRENT_ROW_TIMESTAMP",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_WATERMARK",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "NOW",
    "PROCTIME",
    "RAND",
    "RAND_INTEGER",
    "UNIX_TIMESTAMP",
    "UUID",
];

/// A sequence that a seed determines: `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn one_of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len())]
    }
}

/// A way to call something that the planner takes.
#[derive(Clone, Debug)]
struct Signature {
    name: String,
    /// With `$0`, `$1`, … for the arguments.
    form: String,
    arguments: Vec<usize>,
    /// The place in [`TYPES`] of what it gives, if it is one of them.
    gives: Option<usize>,
}

/// A planned expression; `None` if the planner refuses it, or needs no row for it.
fn compiled(expression: &str) -> Option<Arc<dyn Expression>> {
    let text = format!("{TABLE}SELECT l, {expression} FROM t");
    let files = vec![SourceText { name: "t.sql".to_owned(), text }];
    let planned = catch_unwind(|| plan_session(files, &BTreeMap::new(), &Fake));
    let planned = planned.unwrap_or_else(|_| panic!("{expression}: panics where it is planned"));
    let planned = planned.ok()?;
    // Sources read what is needed, in the order of declaration.
    planned.plan.nodes.into_iter().find_map(|node| match node.kind {
        NodeKind::Map(spec) => spec.projection?.get(1).cloned(),
        _ => None,
    })
}

/// The columns that the source of an expression reads.
fn read_columns(expression: &str) -> Vec<String> {
    let text = format!("{TABLE}SELECT l, {expression} FROM t");
    let files = vec![SourceText { name: "t.sql".to_owned(), text }];
    let planned = plan_session(files, &BTreeMap::new(), &Fake).expect("it was planned before");
    super::source_columns(&planned.plan, "t")
}

fn filled(form: &str, arguments: &[String]) -> String {
    let places = arguments.iter().enumerate().rev();
    places.fold(form.to_owned(), |text, (place, argument)| {
        text.replace(&format!("${place}"), argument)
    })
}

fn type_of(expression: &str, rows: &RecordBatch) -> Option<usize> {
    let gives = compiled(expression)?.evaluate(&projected(rows, expression), 0).ok()?;
    let of_type = |column: &ArrayRef| column.data_type() == gives.data_type();
    rows.columns().iter().position(of_type)
}

fn projected(rows: &RecordBatch, expression: &str) -> RecordBatch {
    let schema = rows.schema();
    let names = read_columns(expression);
    let places: Vec<usize> =
        names.iter().map(|name| schema.index_of(name).expect("a column of t")).collect();
    rows.project(&places).expect("columns of t")
}

/// Which arguments everything takes.
fn signatures(chance: &mut Chance, rows: &RecordBatch) -> Vec<Signature> {
    let names = Functions::new(chrono_tz::Tz::UTC).names();
    let names = names.into_iter().filter(|name| !OMITTED.contains(&name.as_str()));
    let calls = names.flat_map(|name| {
        (0..=4).map(move |count| {
            let arguments: Vec<String> = (0..count).map(|place| format!("${place}")).collect();
            (name.clone(), format!("{name}({})", arguments.join(", ")), count)
        })
    });
    let forms = FORMS.iter().map(|&(name, form, count)| (name.to_owned(), form.to_owned(), count));
    let mut found = Vec::new();
    for (name, form, count) in calls.chain(forms) {
        for arguments in candidates(chance, count) {
            let columns: Vec<String> =
                arguments.iter().map(|&place| TYPES[place][0].to_owned()).collect();
            let text = filled(&form, &columns);
            if compiled(&text).is_some() {
                let gives = catch_unwind(AssertUnwindSafe(|| type_of(&text, rows))).ok().flatten();
                let (name, form) = (name.clone(), form.clone());
                found.push(Signature { name, form, arguments, gives });
            }
        }
    }
    found
}

/// Types of so many arguments: all there are of one or two, of more those that are likely and some.
fn candidates(chance: &mut Chance, count: usize) -> BTreeSet<Vec<usize>> {
    const TRIES: usize = 120;
    let all = || 0..TYPES.len();
    match count {
        0 | 1 => return all().map(|of| vec![of; count]).collect(),
        2 => return all().flat_map(|one| all().map(move |two| vec![one, two])).collect(),
        _ => {}
    }
    let mut candidates: BTreeSet<Vec<usize>> = all().map(|of| vec![of; count]).collect();
    candidates.extend((0..1 << count).map(|bits: usize| {
        (0..count).map(|place| if bits >> place & 1 == 0 { TEXT } else { INT }).collect()
    }));
    for _ in 0..TRIES {
        let mut of = || match chance.below(4) {
            0 => TEXT,
            1 => INT,
            _ => chance.below(TYPES.len()),
        };
        candidates.insert((0..count).map(|_| of()).collect());
    }
    candidates
}

/// An expression of a type, so many calls deep at most.
fn expression(chance: &mut Chance, signatures: &[Signature], of: usize, depth: usize) -> String {
    let fitting: Vec<&Signature> =
        signatures.iter().filter(|signature| signature.gives == Some(of)).collect();
    if depth == 0 || fitting.is_empty() || chance.below(4) == 0 {
        return (*chance.one_of(TYPES[of])).to_owned();
    }
    let signature = *chance.one_of(&fitting);
    call(chance, signatures, signature, depth)
}

fn call(
    chance: &mut Chance,
    signatures: &[Signature],
    signature: &Signature,
    depth: usize,
) -> String {
    let mut arguments = Vec::new();
    for &of in &signature.arguments {
        arguments.push(expression(chance, signatures, of, depth - 1));
    }
    filled(&signature.form, &arguments)
}

const ROWS: usize = 24;

/// Random rows of `t`, most values from where functions change their mind.
fn rows(chance: &mut Chance) -> RecordBatch {
    fn column<T: Clone>(chance: &mut Chance, values: &[T]) -> Vec<Option<T>> {
        let mut value = || (chance.below(5) > 0).then(|| chance.one_of(values).clone());
        (0..ROWS).map(|_| value()).collect()
    }
    const DAY_MS: i64 = 86_400_000;
    let ints = [0, 1, -1, 2, 7, 12, 31, 100, -100, i32::MAX, i32::MIN];
    let longs = [0, 1, -1, 3, 60, 1_700_000_000, i64::from(i32::MAX) + 1, i64::MAX, i64::MIN];
    let doubles = [0.0, -0.0, 1.5, -2.5, 1e-9, 1e300, f64::INFINITY, f64::NAN, 0.1];
    let decimals: [i128; 6] = [0, 1, -1, 1_500, 999_999_999_999, -999_999_999_999];
    let texts = [
        "",
        " ",
        "a",
        "A,b,c",
        "größe",
        "日本語",
        "42",
        "-7.5",
        "true",
        "2024-02-29",
        "2024-12-31 23:59:59.999",
        "{\"a\":1}",
        "[1,2]",
        "a%b_c",
        "\\",
        "x=1&y=2",
        "https://u:p@host:8080/p/q?x=1#f",
        "(a)(b)?",
        "\u{1F600}",
        "MDEy",
    ];
    let days = [0, -1, 19_782, 19_783, 11_016, -719_162, 2_932_896];
    let times = [0, -1, 1_709_251_199_999, 951_782_400_000, -62_135_596_800_000, DAY_MS, 7];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(BooleanArray::from(column(chance, &[true, false])))),
        ("i", Arc::new(Int32Array::from(column(chance, &ints)))),
        ("l", Arc::new(Int64Array::from(column(chance, &longs)))),
        ("d", Arc::new(Float64Array::from(column(chance, &doubles)))),
        (
            "n",
            Arc::new(
                Decimal128Array::from(column(chance, &decimals))
                    .with_precision_and_scale(12, 3)
                    .expect("it fits"),
            ),
        ),
        ("s", Arc::new(StringArray::from(column(chance, &texts)))),
        ("day", Arc::new(Date32Array::from(column(chance, &days)))),
        ("ts", Arc::new(TimestampMillisecondArray::from(column(chance, &times)))),
    ];
    RecordBatch::try_from_iter(columns).expect("equally long columns")
}

/// Holds a batch's answer against that of each row alone; whether there was one.
fn check(expression: &str, rows: &RecordBatch) -> Result<bool, String> {
    let Some(compiled) = compiled(expression) else { return Ok(false) };
    let rows = projected(rows, expression);
    let answer = |rows: &RecordBatch| {
        catch_unwind(AssertUnwindSafe(|| compiled.evaluate(rows, 0)))
            .map_err(|_| format!("{expression}: panics over {rows:?}"))
    };
    let whole = answer(&rows)?;
    let alone = (0..rows.num_rows()).map(|row| answer(&rows.slice(row, 1)));
    let alone: Vec<_> = alone.collect::<Result<_, String>>()?;
    let whole = match whole {
        Err(_) if alone.iter().any(Result::is_err) => return Ok(true),
        Err(error) => return Err(format!("{expression}: fails on no row alone: {error}")),
        Ok(whole) => whole,
    };
    for (row, answer) in alone.into_iter().enumerate() {
        let error = |problem: String| format!("{expression}: row {row}: {problem}");
        let answer = answer.map_err(|failed| error(format!("fails alone: {failed}")))?;
        let (in_batch, alone) = (format!("{:?}", whole.slice(row, 1)), format!("{answer:?}"));
        if in_batch != alone {
            return Err(error(format!("{in_batch}, alone {alone} of {:?}", rows.slice(row, 1))));
        }
    }
    Ok(true)
}

#[test]
fn a_batch_gives_what_each_of_its_rows_gives() {
    let scale: usize =
        std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1);
    let seed = if scale > 1 { u64::from(std::process::id()) } else { 42 };
    let mut chance = Chance(seed);
    let sample = rows(&mut chance);
    let signatures = signatures(&mut chance, &sample);
    let (mut reached, mut failures) = (BTreeSet::new(), Vec::new());
    for signature in signatures.iter().cycle().take(signatures.len() * scale) {
        let rows = rows(&mut chance);
        let text = call(&mut chance, &signatures, signature, 3);
        // The form may fold to a constant with these arguments: then its columns say more.
        let columns: Vec<String> =
            signature.arguments.iter().map(|&place| TYPES[place][0].to_owned()).collect();
        for text in [text, filled(&signature.form, &columns)] {
            match check(&text, &rows) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(failure) => failures.push(failure),
            }
            reached.insert(signature.name.clone());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let known = Functions::new(chrono_tz::Tz::UTC).names();
    let unreached: Vec<String> = (known.into_iter())
        .filter(|name| !reached.contains(name) && !OMITTED.contains(&name.as_str()))
        .collect();
    assert_eq!(unreached, Vec::<String>::new(), "no call of these could be planned");
}
