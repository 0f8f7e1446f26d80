//! The format as a whole: what is accepted, what is refused and in which words.

use crate::registry::{FormatRole, check, decoder};
use crate::testing::*;
use crate::{BadRecord, Changelog};
use DataType::{Binary, Boolean, Date32, Float32, Float64, Int8, Int32, Int64, Utf8};
use arrow::datatypes::DataType;

const JSON: (&str, &str) = ("format", "json");
const IGNORE: (&str, &str) = ("json.ignore-parse-errors", "true");

fn one(data_type: DataType, value: &str) -> Result<String, String> {
    one_with(data_type, value, &[JSON])
}

fn one_with(data_type: DataType, value: &str, options: &[(&str, &str)]) -> Result<String, String> {
    let rows = decode(&table(&[("v", data_type)], options), format!("{{\"v\":{value}}}"))?;
    let row = rows.concat();
    let value = row.strip_prefix("+{\"v\":").and_then(|rest| rest.strip_suffix('}'));
    Ok(value.expect("one row").to_owned())
}

#[test]
fn every_type_is_read_from_its_usual_form_and_written_back() {
    for (data_type, value) in [
        (Boolean, "true"),
        (Int8, "-128"),
        (Int32, "2147483647"),
        (Int64, "-9223372036854775808"),
        (Float32, "1.5"),
        (Float64, "0.1"),
        (Float64, "\"NaN\""),
        (Float64, "\"-Infinity\""),
        (decimal(10, 3), "1234567.891"),
        (Utf8, "\"a \\\"quoted\\\" \\\\ line\\n and é日𝄞\""),
        (Binary, "\"AAEC/w==\""),
        (Date32, "\"2024-02-29\""),
        (time(), "\"23:59:59.5\""),
        (timestamp(), "\"1969-12-31 23:59:59.999\""),
        (instant(), "\"2024-02-29 23:59:59.999Z\""),
        (list(Int32), "[1,null,3]"),
        (list(Int32), "[]"),
        (row(&[("x", Int32), ("y", list(Utf8))]), "{\"x\":1,\"y\":[\"a\",null]}"),
        (map(Int32), "{\"b\":2,\"a\":null}"),
        (map(Int32), "{}"),
        (list(row(&[("m", map(Float64))])), "[{\"m\":{\"k\":1.0}},null,{\"m\":null}]"),
    ] {
        assert_eq!(one(data_type.clone(), value).as_deref(), Ok(value), "{data_type}");
        assert_eq!(one(data_type.clone(), "null").as_deref(), Ok("null"), "{data_type}");
    }
}

#[test]
fn text_of_another_type_is_converted_as_flink_does() {
    for (data_type, value, expected) in [
        (Int32, "\" 42 \"", "42"),
        (Int32, "12.0", "12"),
        (Int32, "1e2", "100"),
        (Float64, "\"2.5\"", "2.5"),
        (Float64, "3", "3.0"),
        (decimal(5, 2), "\"1.005\"", "1.01"),
        (Boolean, "\"TRUE\"", "true"),
        (Utf8, "12.50", "\"12.50\""),
        (Utf8, "true", "\"true\""),
        (Utf8, "{\"a\" : [1, \"x y\\\" \"]}", "\"{\\\"a\\\":[1,\\\"x y\\\\\\\" \\\"]}\""),
        (Utf8, "\"\\ud834\\udd1e\\u00e9\\/\"", "\"𝄞é/\""),
    ] {
        assert_eq!(one(data_type, value).as_deref(), Ok(expected), "{value}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_field_expectation_and_finding() {
    for (data_type, value, reason) in [
        (Int32, "\"abc\"", "field `v`: expected an integer, found \"abc\""),
        (Int32, "1.5", "field `v`: expected an integer, found 1.5"),
        (Int8, "128", "field `v`: expected an integer from -128 to 127, found 128"),
        (Int32, "true", "field `v`: expected an integer, found true"),
        (Boolean, "1", "field `v`: expected true or false, found 1"),
        (Float64, "1e400", "field `v`: expected a number within DOUBLE, found 1e400"),
        (
            Date32,
            "\"2024-02-30\"",
            "field `v`: expected a date like 2020-12-30, found \"2024-02-30\"",
        ),
        (list(Int32), "[1,\"x\"]", "field `v`: expected an integer, found \"x\""),
        (row(&[("x", Int32)]), "{\"x\":[]}", "field `v.x`: expected an integer, found []"),
        (row(&[("x", Int32)]), "7", "field `v`: expected an object, found 7"),
        (map(Int32), "{\"k\":\"x\"}", "field `v.k`: expected an integer, found \"x\""),
        (Utf8, "\"\\ud834\"", "field `v`: a string holds half of a surrogate pair"),
        (
            timestamp(),
            "\"2020-01-01T00:00:00\"",
            "field `v`: expected a timestamp like 2020-12-30 12:13:14.123, found \"2020-01-01T00:00:00\"",
        ),
        (
            Int32,
            "\"0123456789012345678901234567890123456789012345\"",
            "field `v`: expected an integer from -9223372036854775808 to 9223372036854775807, \
             found \"0123456789012345678901234567890123456789…\"",
        ),
    ] {
        let found = one(data_type, value).unwrap_err();
        assert!(found.starts_with(reason), "{value}: {found}");
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    let table = table(&[("a", Int32), ("b", Utf8)], &[JSON]);
    for (record, reason) in [
        ("{\"a\":1", "not valid JSON: it ends where ',' or '}' should be"),
        ("{\"a\":1}x", "not valid JSON: expected the end of the record at byte 8, found x"),
        ("{\"a\":01}", "not valid JSON: expected ',' or '}' at byte 7, found 1}"),
        ("{\"a\" 1}", "not valid JSON: expected ':' at byte 6, found 1}"),
        ("{\"z\":[1,]}", "not valid JSON: expected a value at byte 9, found ]}"),
        ("{\"b\":\"\\x\"}", "not valid JSON: expected an escape like"),
        ("{\"b\":\"x", "not valid JSON: it ends inside a string (in field `b`)"),
        ("{\"a\":1,}", "not valid JSON: expected '\"' at byte 8, found }"),
        ("{\"a\":nul}", "not valid JSON: expected a value"),
        ("nope", "not valid JSON: expected a value"),
        ("17", "expected an object, found 17"),
        ("[{\"a\":1},2]", "expected an object, found 2"),
    ] {
        let found = decode(&table, record).unwrap_err();
        assert!(found.starts_with(reason), "{record}: {found}");
    }
    let found = decode(&table, b"{\"b\":\"\xff\"}").unwrap_err();
    assert_eq!(found, "not valid JSON: it is not UTF-8");
}

#[test]
fn deep_nesting_is_refused_and_sensible_nesting_is_not() {
    let table = table(&[("a", Utf8)], &[JSON]);
    let nested = |depth| format!("{{\"z\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(decode(&table, nested(400)), Ok(vec!["+{\"a\":null}".to_owned()]));
    for depth in [501, 100_000] {
        let found = decode(&table, nested(depth)).unwrap_err();
        assert_eq!(found, "not valid JSON: it is nested more than 500 deep");
    }
}

#[test]
fn a_missing_field_is_null_unless_the_options_demand_it() {
    let columns = [("a", Int32), ("b", row(&[("c", Int32)]))];
    let lenient = table(&columns, &[JSON]);
    let nulls = vec!["+{\"a\":null,\"b\":{\"c\":null}}".to_owned()];
    assert_eq!(decode(&lenient, "{\"b\":{}, \"A\":1}"), Ok(nulls));
    let strict = table(&columns, &[JSON, ("json.fail-on-missing-field", "true")]);
    assert_eq!(decode(&strict, "{\"b\":{\"c\":1}}"), Err("field `a`: it is missing".to_owned()));
    assert_eq!(decode(&strict, "{\"a\":1,\"b\":{}}"), Err("field `b.c`: it is missing".to_owned()));
    assert!(decode(&strict, "{\"a\":null,\"b\":null}").is_ok());
    // Also where the field is not wanted.
    let mut decoder = decoder(&strict, FormatRole::Value, &[1]).unwrap();
    assert!(decoder.decode(b"{\"b\":{\"c\":1}}").is_err());
}

#[test]
fn ignored_errors_leave_null_for_a_value_and_nothing_for_a_record() {
    let columns = [("a", Int32), ("b", list(Int32)), ("c", row(&[("d", Int32), ("e", Utf8)]))];
    let table = table(&columns, &[JSON, IGNORE]);
    let record = "{\"a\":\"x\",\"b\":[1,\"y\",3],\"c\":{\"d\":{\"deep\":[1]},\"e\":\"z\"}}";
    let expected = "+{\"a\":null,\"b\":[1,null,3],\"c\":{\"d\":null,\"e\":\"z\"}}";
    assert_eq!(decode(&table, record), Ok(vec![expected.to_owned()]));
    assert_eq!(decode(&table, "{\"a\":1"), Ok(vec![]));
    assert_eq!(decode(&table, "17"), Ok(vec![]));
}

#[test]
fn empty_records_give_no_row_and_arrays_one_for_each_object() {
    let table = table(&[("a", Int32)], &[JSON]);
    for record in ["", " \n", "null", "[]", "[null]"] {
        assert_eq!(decode(&table, record), Ok(vec![]), "{record}");
    }
    let rows = vec!["+{\"a\":1}".to_owned(), "+{\"a\":2}".to_owned()];
    assert_eq!(decode(&table, " [ {\"a\":1} , {\"a\" : 2} ] "), Ok(rows));
}

#[test]
fn of_repeated_keys_the_last_counts_even_if_written_with_escapes() {
    let table = table(&[("a", list(Int32)), ("b", Int32)], &[JSON]);
    let record = "{\"a\":[1,2],\"b\":1,\"\\u0061\":[3],\"b\":null,\"b\":2}";
    assert_eq!(decode(&table, record), Ok(vec!["+{\"a\":[3],\"b\":2}".to_owned()]));
}

#[test]
fn what_a_longer_record_left_behind_does_not_end_a_shorter_one() {
    let table = table(&[("a", Utf8), ("b", Int64)], &[JSON]);
    let mut decoder = decoder(&table, FormatRole::Value, &[0, 1]).unwrap();
    let record = "{\"a\":\"twenty characters or so\",\"b\":1234567890123}";
    for length in 0..record.len() {
        assert_eq!(decoder.decode(record.as_bytes()), Ok(1));
        let found = decoder.decode(&record.as_bytes()[..length]);
        assert_eq!(found.is_ok(), length == 0, "{length}: {found:?}");
    }
}

#[test]
fn the_white_space_around_keys_may_change_from_record_to_record() {
    let table = table(&[("a", Int32), ("a key of more than sixteen bytes", Int32)], &[JSON]);
    let mut decoder = decoder(&table, FormatRole::Value, &[0, 1]).unwrap();
    let forms = [
        "{\"a\":1,\"a key of more than sixteen bytes\":2}",
        "{\"a\": 1, \"a key of more than sixteen bytes\": 2}",
        "{ \"a\" :1 ,\n  \"a key of more than sixteen bytes\" :2 }",
    ];
    for i in [0, 0, 1, 1, 2, 2, 0, 2, 1] {
        assert_eq!(decoder.decode(forms[i].as_bytes()), Ok(1));
    }
    let expected = "+{\"a\":1,\"a key of more than sixteen bytes\":2}";
    assert_eq!(show(&decoder.finish()), [expected; 9]);
}

#[test]
fn a_bad_record_leaves_no_trace_between_good_ones() {
    let table = table(&[("a", list(Utf8)), ("b", Int32)], &[JSON]);
    let mut decoder = decoder(&table, FormatRole::Value, &[1, 0]).unwrap();
    assert_eq!(decoder.decode(b"{\"a\":[\"x\"],\"b\":1}"), Ok(1));
    assert!(decoder.decode(b"{\"a\":[\"bad\", \"worse\"],\"b\":\"x\"}").is_err());
    assert!(decoder.decode(b"[{\"a\":[\"bad\"],\"b\":1},{\"a\":[\"worse\",").is_err());
    assert_eq!(decoder.decode(b"{\"b\":2,\"a\":null}"), Ok(1));
    assert_eq!(decoder.decode(b"[{\"b\":3},{\"a\":[]}]"), Ok(2));
    assert_eq!(decoder.rows(), 4);
    let expected = [
        "+{\"b\":1,\"a\":[\"x\"]}",
        "+{\"b\":2,\"a\":null}",
        "+{\"b\":3,\"a\":null}",
        "+{\"b\":null,\"a\":[]}",
    ];
    assert_eq!(show(&decoder.finish()), expected);
    assert_eq!((decoder.rows(), decoder.finish().len()), (0, 0));
}

#[test]
fn no_wanted_column_still_counts_rows() {
    let table = table(&[("a", Int32)], &[JSON]);
    let mut decoder = decoder(&table, FormatRole::Value, &[]).unwrap();
    assert_eq!(decoder.decode(b"{\"a\":1}"), Ok(1));
    assert!(decoder.decode(b"{\"a\":1").is_err());
    assert_eq!(decoder.finish().len(), 1);
}

#[test]
fn keys_in_changing_order_with_holes_find_their_columns() {
    let table = table(&[("a", Int32), ("b", Int32), ("c", Int32)], &[JSON]);
    let mut decoder = decoder(&table, FormatRole::Value, &all(&table)).unwrap();
    for record in [
        "{\"a\":1,\"b\":2,\"c\":3}",
        "{\"a\":1,\"c\":3}",
        "{\"c\":3,\"b\":2,\"a\":1}",
        "{\"x\":{\"a\":9},\"c\": 3,\"aa\":8, \"b\" :2}",
    ] {
        assert_eq!(decoder.decode(record.as_bytes()), Ok(1));
    }
    let expected = [
        "+{\"a\":1,\"b\":2,\"c\":3}",
        "+{\"a\":1,\"b\":null,\"c\":3}",
        "+{\"a\":1,\"b\":2,\"c\":3}",
        "+{\"a\":null,\"b\":2,\"c\":3}",
    ];
    assert_eq!(show(&decoder.finish()), expected);
}

#[test]
fn the_iso_standard_changes_separators_in_both_directions() {
    let iso = [JSON, ("json.timestamp-format.standard", "ISO-8601")];
    for (data_type, value) in
        [(timestamp(), "\"2020-12-30T12:13:14\""), (instant(), "\"2020-12-30T12:13:14.12Z\"")]
    {
        let table = table(&[("v", data_type)], &iso);
        let mut decoder = decoder(&table, FormatRole::Value, &[0]).unwrap();
        let record = format!("{{\"v\":{value}}}");
        assert_eq!(decoder.decode(record.as_bytes()), Ok(1));
        assert_eq!(encode(&table, &decoder.finish()), Ok(vec![record]));
    }
    assert!(one_with(timestamp(), "\"2020-12-30 12:13:14\"", &iso).is_err());
}

#[test]
fn encoding_options_do_what_they_say() {
    let columns = [("d", decimal(20, 9)), ("r", row(&[("x", Int32), ("y", Int32)]))];
    let encoded = |extra: &[(&str, &str)]| {
        let table = table(&columns, &[&[JSON], extra].concat());
        let mut decoder = decoder(&table, FormatRole::Value, &[0, 1]).unwrap();
        decoder.decode(b"{\"d\":0.000000027,\"r\":{\"y\":1}}").unwrap();
        decoder.decode(b"{}").unwrap();
        encode(&table, &decoder.finish()).unwrap()
    };
    assert_eq!(
        encoded(&[]),
        ["{\"d\":2.7E-8,\"r\":{\"x\":null,\"y\":1}}", "{\"d\":null,\"r\":null}"]
    );
    let plain = ("json.encode.decimal-as-plain-number", "true");
    let sparse = ("json.encode.ignore-null-fields", "true");
    assert_eq!(encoded(&[plain, sparse]), ["{\"d\":0.000000027,\"r\":{\"y\":1}}", "{}"]);
}

#[test]
fn weights_repeat_records_and_deletions_are_refused() {
    let table = table(&[("a", Int32)], &[JSON]);
    let mut decoder = decoder(&table, FormatRole::Value, &[0]).unwrap();
    decoder.decode(b"[{\"a\":1},{\"a\":2}]").unwrap();
    let (columns, _) = decoder.finish().into_parts();
    let weighted = |weights: Vec<i64>| {
        let batch = tidemill_operators::Batch::new(columns.clone(), Some(weights.into()));
        encode(&table, &batch)
    };
    assert_eq!(weighted(vec![2, 0]), Ok(vec!["{\"a\":1}".to_owned(), "{\"a\":1}".to_owned()]));
    assert!(weighted(vec![1, -1]).unwrap_err().starts_with("a deletion reached"));
}

#[test]
fn wrong_options_are_refused_with_advice() {
    let with = |options: &[(&str, &str)]| refused(&table(&[("a", Int32)], options));
    let error = with(&[JSON, ("json.ignore-parse-error", "true")]);
    assert_eq!(error.option, "json.ignore-parse-error");
    assert!(error.hint.starts_with("did you mean 'json.ignore-parse-errors'? its options are:"));
    assert_eq!(
        with(&[JSON, ("json.ignore-parse-errors", "maybe")]).hint,
        "write 'true' or 'false'"
    );
    let error = with(&[JSON, ("json.timestamp-format.standard", "RFC")]);
    assert_eq!(error.hint, "write 'SQL' or 'ISO-8601'");
    let error = with(&[JSON, IGNORE, ("json.fail-on-missing-field", "true")]);
    assert_eq!(error.option, "json.fail-on-missing-field");
    assert!(with(&[("format", "jsno")]).hint.starts_with("did you mean 'json'?"));
    assert_eq!(with(&[]).option, "format");
    assert_eq!(with(&[JSON, ("value.format", "json")]).option, "value.format");
    assert_eq!(with(&[JSON, ("key.format", "json"), ("key.fields", "z")]).option, "key.fields");
}

#[test]
fn the_check_names_the_options_it_knows_of_both_sides() {
    let options = [
        ("key.format", "json"),
        ("key.fields", "a"),
        ("key.json.ignore-parse-errors", "true"),
        ("value.format", "json"),
        ("value.json.fail-on-missing-field", "false"),
        ("topic", "t"),
    ];
    let info = check(&table(&[("a", Int32)], &options)).unwrap();
    assert_eq!(info.changelog_in, Changelog::AppendOnly);
    assert_eq!(info.changelog_out, [Changelog::AppendOnly]);
    let keys: Vec<_> = info.options.iter().map(String::as_str).collect();
    let expected = [
        "key.format",
        "key.json.ignore-parse-errors",
        "value.format",
        "value.json.fail-on-missing-field",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn keys_are_read_and_written_without_their_prefix_and_values_without_keys() {
    let options = [
        ("key.format", "json"),
        ("key.fields", "k_id"),
        ("key.fields-prefix", "k_"),
        ("value.format", "csv"),
        ("value.fields-include", "EXCEPT_KEY"),
    ];
    let table = table(&[("k_id", Int32), ("a", Utf8), ("b", Int32)], &options);
    let mut keys = decoder(&table, FormatRole::Key, &[0]).unwrap();
    assert_eq!(keys.decode(b"{\"id\":7}"), Ok(1));
    assert_eq!(show(&keys.finish()), ["+{\"k_id\":7}"]);
    let mut values = decoder(&table, FormatRole::Value, &[2]).unwrap();
    assert_eq!(values.decode(b"x,5"), Ok(1));
    assert_eq!(show(&values.finish()), ["+{\"b\":5}"]);
}

#[test]
fn a_part_that_is_never_null_is_refused_when_it_is() {
    let field = arrow::datatypes::Field::new("x", Int32, false);
    let strict = DataType::Struct(vec![field].into());
    let found = one(strict.clone(), "{\"x\":null}").unwrap_err();
    assert_eq!(found, "field `v.x`: it is NULL or missing, and its type says NOT NULL");
    assert!(one(strict.clone(), "{}").is_err());
    assert_eq!(one_with(strict.clone(), "{\"x\":[]}", &[JSON, IGNORE]).as_deref(), Ok("null"));
    assert_eq!(one(strict, "null").as_deref(), Ok("null"));
}

#[test]
fn finer_timestamps_keep_their_digits_and_coarser_ones_are_floored() {
    use arrow::datatypes::TimeUnit::{Microsecond, Nanosecond, Second};
    for (unit, digits) in [(Second, ""), (Microsecond, ".123456"), (Nanosecond, ".123456789")] {
        let found = one(DataType::Timestamp(unit, None), "\"1969-12-31 23:59:59.123456789\"");
        assert_eq!(found, Ok(format!("\"1969-12-31 23:59:59{digits}\"")));
    }
}

#[test]
fn columns_that_no_format_holds_are_refused_when_the_table_is_checked() {
    let strange = DataType::Duration(arrow::datatypes::TimeUnit::Second);
    let error = refused(&table(&[("v", list(strange))], &[JSON]));
    assert_eq!((error.option.as_str(), error.hint.as_str()), ("format", "cast it to STRING"));
}

/// Compares with a parser that shares nothing with this one.
mod oracle {
    use super::*;
    use crate::text::{TimestampStyle, time as clock};
    use arrow::array::Array;
    use arrow::datatypes::TimeUnit;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    /// A document with the fields that the table has, others, and values of the wrong type.
    fn value(depth: u32) -> BoxedStrategy<Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-100i64..100).prop_map(Value::from),
            (any::<i64>(), 0u32..19).prop_map(|(n, cut)| Value::from(n / 10i64.pow(cut))),
            (-9_999_999i64..9_999_999).prop_map(|n| Value::from(n as f64 / 100.0)),
            // Where a float's text is an integer that no f64 holds exactly, the oracle is wrong.
            any::<f64>().prop_filter_map("finite and exact", |f| {
                let is_exact = !(9e15..1e19).contains(&f.abs());
                serde_json::Number::from_f64(f).filter(|_| is_exact).map(Value::Number)
            }),
            ".{0,12}".prop_map(Value::from),
            "[a-z]{0,100}".prop_map(Value::from),
            "[a-z\"\\\\\n]{0,100}".prop_map(Value::from),
            Just(Value::from("12")),
            Just(Value::from("2020-01-02 03:04:05.678")),
        ];
        leaf.prop_recursive(depth, 16, 4, |inner| {
            let members = proptest::collection::vec((name(), inner.clone()), 0..4);
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
        .boxed()
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec!["i", "s", "f", "b", "t", "l", "r", "x"])
                .prop_map(String::from),
            ".{0,4}",
        ]
    }

    fn object() -> impl Strategy<Value = Value> {
        proptest::collection::vec((name(), value(3)), 0..8)
            .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
    }

    fn columns() -> Vec<(&'static str, DataType)> {
        vec![
            ("i", Int64),
            ("s", Utf8),
            ("f", Float64),
            ("b", Boolean),
            ("l", list(Int64)),
            ("r", row(&[("i", Int64), ("s", Utf8)])),
        ]
    }

    /// A document with white space around each token, so that nothing is where it is guessed.
    fn spaced(document: &Value) -> String {
        let (open, close, parts): (_, _, Vec<_>) = match document {
            Value::Object(members) => {
                let member = |(name, value)| {
                    format!("{} :\t{}", Value::String(String::clone(name)), spaced(value))
                };
                (" { ", " } ", members.iter().map(member).collect())
            }
            Value::Array(items) => (" [ ", " ] ", items.iter().map(spaced).collect()),
            other => return format!(" {other}\n"),
        };
        format!("{open}{}{close}", parts.join(" , "))
    }

    fn every_type() -> Vec<(&'static str, DataType)> {
        vec![
            ("bo", Boolean),
            ("ti", Int8),
            ("i", Int32),
            ("b", Int64),
            ("f", Float32),
            ("d", Float64),
            ("dc", decimal(30, 7)),
            ("s", Utf8),
            ("ts", timestamp()),
            ("l", list(Float64)),
            ("m", map(Utf8)),
            ("r", row(&[("i", Int32), ("s", Utf8), ("l", list(row(&[("x", Int8)])))])),
            ("lm", list(map(Int64))),
            ("x", row(&[])),
        ]
    }

    fn lenient(table: &crate::Table) -> crate::Table {
        let mut table = table.clone();
        table.options.insert(IGNORE.0.to_owned(), IGNORE.1.to_owned());
        table
    }

    /// What a value means to a column, with errors as NULL.
    fn expected(data_type: &DataType, value: Option<&Value>) -> Value {
        let Some(value) = value else { return Value::Null };
        match (data_type, value) {
            (_, Value::Null) => Value::Null,
            (Utf8, Value::String(text)) => text.as_str().into(),
            (Utf8, other) => other.to_string().into(),
            (Boolean, Value::Bool(b)) => (*b).into(),
            (Boolean, Value::String(s)) if s.trim().eq_ignore_ascii_case("true") => true.into(),
            (Boolean, Value::String(s)) if s.trim().eq_ignore_ascii_case("false") => false.into(),
            (Int64, Value::Number(n)) => n.as_i64().map_or_else(
                || match n.as_f64() {
                    // Integral floats of this size are exact.
                    Some(f) if f.fract() == 0.0 && f.abs() < 9e15 => (f as i64).into(),
                    _ => Value::Null,
                },
                Value::from,
            ),
            (Int64, Value::String(s)) => s.trim().parse::<i64>().map_or(Value::Null, Value::from),
            (Float64, Value::Number(n)) => n.as_f64().map_or(Value::Null, Value::from),
            (Float64, Value::String(s)) => s
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|f| f.is_finite())
                .map_or(Value::Null, Value::from),
            (DataType::List(item), Value::Array(items)) => {
                items.iter().map(|v| expected(item.data_type(), Some(v))).collect()
            }
            (DataType::Struct(fields), Value::Object(members)) => fields
                .iter()
                .map(|f| (f.name().clone(), expected(f.data_type(), members.get(f.name()))))
                .collect::<Map<_, _>>()
                .into(),
            _ => Value::Null,
        }
    }

    fn render(document: &Value, is_pretty: bool) -> String {
        if is_pretty {
            serde_json::to_string_pretty(document).unwrap()
        } else {
            document.to_string()
        }
    }

    proptest! {
        #![proptest_config(crate::testing::budget(256))]

        #[test]
        fn random_documents_mean_what_serde_json_says(
            documents in proptest::collection::vec((object(), any::<bool>()), 1..6)
        ) {
            let table = table(&columns(), &[JSON, IGNORE]);
            let mut decoder = decoder(&table, FormatRole::Value, &all(&table)).unwrap();
            for (document, is_pretty) in &documents {
                let rows = decoder.decode(render(document, *is_pretty).as_bytes());
                prop_assert_eq!(rows, Ok(1));
            }
            for ((document, _), row) in documents.iter().zip(show(&decoder.finish())) {
                let actual: Value = serde_json::from_str(&row[1..]).unwrap();
                let schema = row_type();
                let wanted = expected(&schema, Some(document));
                // Text of an object keeps the order and form it was written in.
                prop_assert!(equal(&actual, &wanted), "{} is not {}", actual, wanted);
            }
        }

        #[test]
        fn what_is_written_reads_back(
            rows in proptest::collection::vec(proptest::collection::vec(value(2), 14), 1..5),
            millis in -62_135_596_800_000i64..253_402_300_800_000,
            is_iso in any::<bool>(),
        ) {
            let style = if is_iso { "ISO-8601" } else { "SQL" };
            let table = table(&every_type(), &[JSON, ("json.timestamp-format.standard", style)]);
            let lenient = lenient(&table);
            let mut first = decoder(&lenient, FormatRole::Value, &all(&table)).unwrap();
            for row in rows {
                let names = every_type().into_iter().map(|(name, _)| name.to_owned());
                let mut document: Map<_, _> = names.zip(row).collect();
                let mut text = vec![];
                let style = if is_iso { TimestampStyle::Iso } else { TimestampStyle::Sql };
                clock::write_timestamp(&mut text, millis, TimeUnit::Millisecond, style);
                document.insert("ts".into(), String::from_utf8(text).unwrap().into());
                first.decode(Value::Object(document).to_string().as_bytes()).unwrap();
            }
            let batch = first.finish();
            let mut second = decoder(&table, FormatRole::Value, &all(&table)).unwrap();
            for record in encode(&table, &batch).unwrap() {
                prop_assert_eq!(second.decode(record.as_bytes()), Ok(1), "{}", record);
            }
            let back = second.finish();
            for (name, (a, b)) in every_type().iter().zip(batch.columns().columns().iter().zip(back.columns().columns())) {
                prop_assert_eq!(a.to_data(), b.to_data(), "{:?}", name);
            }
        }

        #[test]
        fn a_strict_and_a_lenient_table_agree_on_which_records_are_clean(document in object()) {
            let text = document.to_string();
            let strict = decode(&table(&columns(), &[JSON]), &text);
            let lenient = decode(&table(&columns(), &[JSON, IGNORE]), &text).unwrap();
            if let Ok(rows) = strict {
                prop_assert_eq!(rows, lenient);
            }
        }

        #[test]
        fn damaged_records_are_valid_exactly_if_serde_json_says_so(
            document in object(), cut in any::<prop::sample::Index>(),
            byte in prop::sample::select(b"{}[]\",:\\0-.eE1tn u".to_vec()), kind in 0..3
        ) {
            let mut bytes = document.to_string().into_bytes();
            let at = cut.index(bytes.len());
            match kind {
                0 => bytes.truncate(at),
                1 => bytes[at] = byte,
                _ => bytes.insert(at, byte),
            }
            let table = table(&[("none", Int32)], &[JSON]);
            let mut decoder = decoder(&table, FormatRole::Value, &[]).unwrap();
            let ours = decoder.decode(&bytes);
            let theirs = serde_json::from_slice::<Value>(&bytes);
            let is_blank = bytes.trim_ascii().is_empty();
            let is_object = bytes.trim_ascii().first() == Some(&b'{');
            if is_object || is_blank {
                // It also refuses numbers that no f64 holds, which is no question of grammar.
                let is_huge =
                    theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
                if !is_huge {
                    prop_assert_eq!(ours.is_ok(), theirs.is_ok() || is_blank, "{:?}", ours);
                }
            }
        }

        #[test]
        fn a_guessed_form_gives_the_same_rows_as_an_unexpected_one(
            documents in proptest::collection::vec(object(), 1..4)
        ) {
            let mut columns = columns();
            columns.extend([("t", timestamp()), ("x", Int32)]);
            let table = table(&columns, &[JSON, IGNORE]);
            let decoder = || decoder(&table, FormatRole::Value, &all(&table)).unwrap();
            let (mut guessing, mut surprised) = (decoder(), decoder());
            for document in &documents {
                // The second time all keys are known.
                for _ in 0..2 {
                    prop_assert_eq!(guessing.decode(document.to_string().as_bytes()), Ok(1));
                }
                for record in [document.to_string(), spaced(document)] {
                    prop_assert_eq!(surprised.decode(record.as_bytes()), Ok(1), "{}", record);
                }
            }
            // A text keeps the white space of an object that stands for it nowhere.
            prop_assert_eq!(show(&guessing.finish()), show(&surprised.finish()));
        }

        #[test]
        fn damage_to_a_record_of_known_form_is_found_exactly_if_serde_json_finds_it(
            document in object(), cut in any::<prop::sample::Index>(),
            byte in prop::sample::select(b"{}[]\",:\\0-.eE1tn u\0\xff".to_vec()), kind in 0..3
        ) {
            let mut bytes = document.to_string().into_bytes();
            let table = table(&columns(), &[JSON, IGNORE]);
            let mut decoder = decoder(&table, FormatRole::Value, &all(&table)).unwrap();
            prop_assert_eq!(decoder.decode(&bytes), Ok(1));
            let at = cut.index(bytes.len());
            match kind {
                0 => bytes.truncate(at),
                1 => bytes[at] = byte,
                _ => bytes.insert(at, byte),
            }
            let theirs = serde_json::from_slice::<Value>(&bytes);
            // Halves of surrogates, numbers that no f64 holds and control characters in strings
            // are no question of grammar, or accepted.
            let is_lenient = theirs.as_ref().is_err_and(|e| {
                let reason = e.to_string();
                ["out of range", "surrogate", "control character"].iter().any(|r| reason.contains(r))
            });
            if bytes.trim_ascii().first() == Some(&b'{') && !is_lenient {
                prop_assert_eq!(decoder.decode(&bytes), Ok(usize::from(theirs.is_ok())));
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let table = table(&columns(), &[JSON]);
            let _: Result<_, BadRecord> =
                decoder(&table, FormatRole::Value, &all(&table)).unwrap().decode(&bytes);
        }
    }

    fn row_type() -> DataType {
        row(&columns())
    }

    /// Equal up to the form of text that stands for something else.
    fn equal(actual: &Value, wanted: &Value) -> bool {
        match (actual, wanted) {
            (Value::Object(a), Value::Object(w)) => {
                a.len() == w.len() && a.iter().all(|(k, v)| w.get(k).is_some_and(|w| equal(v, w)))
            }
            (Value::Array(a), Value::Array(w)) => {
                a.len() == w.len() && a.iter().zip(w).all(|(a, w)| equal(a, w))
            }
            (Value::String(a), Value::String(w)) => {
                let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
                a == w || parse(a).zip(parse(w)).is_some_and(|(a, w)| a == w)
            }
            // Reading our text back, serde_json is off by a bit now and then; that our own reading
            // is exact is tested where it lives.
            (Value::Number(a), Value::Number(w)) if a.is_f64() || w.is_f64() => {
                let (a, w) = (a.as_f64().unwrap(), w.as_f64().unwrap());
                (a - w).abs() <= w.abs() * 1e-15
            }
            (a, w) => a == w,
        }
    }
}
