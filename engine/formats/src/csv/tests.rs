//! The format as a whole, in both directions.

use crate::Table;
use crate::registry::{FormatRole, decoder};
use crate::testing::*;
use DataType::{Boolean, Float64, Int32, Utf8};
use arrow::datatypes::DataType;
use proptest::prelude::*;

fn csv(columns: &[(&str, DataType)], extra: &[(&str, &str)]) -> Table {
    table(columns, &[&[("format", "csv")], extra].concat())
}

fn plain(extra: &[(&str, &str)]) -> Table {
    let columns =
        [("id", Int32), ("s", Utf8), ("x", decimal(8, 2)), ("ts", timestamp()), ("ok", Utf8)];
    csv(&columns, extra)
}

#[test]
fn fields_are_found_by_position_and_trimmed_unless_text() {
    let record = " 1 ,\" a,\"\"b\", 1.50 ,2024-02-29 00:00:00,true\r\n";
    let row =
        "+{\"id\":1,\"s\":\" a,\\\"b\",\"x\":1.50,\"ts\":\"2024-02-29 00:00:00\",\"ok\":\"true\"}";
    assert_eq!(decode(&plain(&[]), record), Ok(vec![row.to_owned()]));
}

#[test]
fn an_empty_field_is_empty_text_and_an_error_for_other_types() {
    assert_eq!(
        decode(&plain(&[]), "2,,,1970-01-01 00:00:00,"),
        Err("field `x`: expected a number, found nothing (see 'csv.null-literal')".to_owned())
    );
    let nulls = plain(&[("csv.null-literal", "")]);
    let row = "+{\"id\":2,\"s\":null,\"x\":null,\"ts\":null,\"ok\":null}";
    assert_eq!(decode(&nulls, "2,,,,"), Ok(vec![row.to_owned()]));
}

#[test]
fn too_many_or_too_few_fields_are_refused() {
    assert_eq!(decode(&plain(&[]), "1,2"), Err("expected 5 fields, found 2".to_owned()));
    assert_eq!(decode(&plain(&[]), "1,,1,,,"), Err("expected 5 fields, found 6".to_owned()));
    let lenient = plain(&[("csv.ignore-parse-errors", "true")]);
    let row = "+{\"id\":null,\"s\":\"2\",\"x\":null,\"ts\":null,\"ok\":null}";
    assert_eq!(decode(&lenient, "x,2"), Ok(vec![row.to_owned()]));
    assert_eq!(decode(&lenient, "1,2,3,4,5,6"), Ok(vec![]));
    assert_eq!(decode(&lenient, "1,\"2"), Ok(vec![]));
}

#[test]
fn broken_quotes_are_refused_with_their_field() {
    let table = csv(&[("a", Utf8), ("b", Utf8)], &[]);
    assert_eq!(decode(&table, "x,\"y"), Err("the quote of field 2 is not closed".to_owned()));
    assert_eq!(
        decode(&table, "\"x\"z,y"),
        Err("there is text behind the closing quote of field 1".to_owned())
    );
    assert_eq!(decode(&table, "x,y\"z"), Ok(vec!["+{\"a\":\"x\",\"b\":\"y\\\"z\"}".to_owned()]));
}

#[test]
fn options_change_the_marks() {
    let columns = [("a", Utf8), ("b", Int32)];
    let row = Ok(vec!["+{\"a\":\"x|,'\",\"b\":1}".to_owned()]);
    let pipes = [("csv.field-delimiter", "|"), ("csv.quote-character", "'")];
    assert_eq!(decode(&csv(&columns, &pipes), "'x|,'''|1"), row);
    let escapes = [
        ("csv.field-delimiter", "\\t"),
        ("csv.escape-character", "\\"),
        ("csv.disable-quote-character", "true"),
    ];
    let row = Ok(vec!["+{\"a\":\"\\\"x\\ty\",\"b\":1}".to_owned()]);
    assert_eq!(decode(&csv(&columns, &escapes), "\"x\\\ty\t1"), row);
    let control = csv(&columns, &[("csv.field-delimiter", "\\u0001")]);
    assert!(decode(&control, "x\u{1}1").is_ok());
    let comments = csv(&columns, &[("csv.allow-comments", "true")]);
    assert_eq!(decode(&comments, "# nothing"), Ok(vec![]));
    assert!(decode(&csv(&columns, &[]), "# nothing").is_err());
}

#[test]
fn wanted_columns_alone_are_read() {
    let table = csv(&[("a", Int32), ("b", Int32), ("c", Int32)], &[]);
    let mut decoder = decoder(&table, FormatRole::Value, &[2, 0]).unwrap();
    assert_eq!(decoder.decode(b"1,not a number,3"), Ok(1));
    assert_eq!(show(&decoder.finish()), ["+{\"c\":3,\"a\":1}"]);
}

#[test]
fn arrays_and_rows_of_scalars_are_one_field() {
    let columns = [("l", list(Int32)), ("r", row(&[("x", Int32), ("y", Utf8)]))];
    let table = csv(&columns, &[]);
    let row = "+{\"l\":[1,2],\"r\":{\"x\":3,\"y\":\"z\"}}";
    assert_eq!(decode(&table, "1;2,3;z"), Ok(vec![row.to_owned()]));
    assert!(decode(&table, "1;x,3;z").is_err());
    assert!(decode(&table, "1,3").is_err());
    let deep = csv(&[("l", list(list(Int32)))], &[]);
    assert_eq!(refused(&deep).problem, "CSV has no form for column 'l'");
}

#[test]
fn wrong_options_are_refused() {
    let with = |key, value| refused(&csv(&[("a", Int32)], &[(key, value)]));
    assert_eq!(with("csv.field-delimiter", ";;").hint, "write a single character");
    assert!(with("csv.null-litteral", "").hint.starts_with("did you mean 'csv.null-literal'?"));
}

proptest! {
    #![proptest_config(crate::testing::budget(256))]

    #[test]
    fn rows_come_back_as_they_were_written(
        rows in proptest::collection::vec(
            (proptest::option::of(any::<i32>()), "[a,;\"'\\\\#\n\r é]{0,6}", any::<f64>(), any::<bool>()),
            0..6,
        ),
        style in 0..4
    ) {
        let columns = [("s", Utf8), ("i", Int32), ("f", Float64), ("b", Boolean)];
        let null = ("csv.null-literal", "n/a");
        let escape = ("csv.escape-character", "\\");
        let extra = match style {
            0 => vec![null],
            1 => vec![null, escape],
            2 => vec![null, escape, ("csv.disable-quote-character", "true")],
            _ => vec![null, ("csv.field-delimiter", ";"), ("csv.quote-character", "'")],
        };
        let json = table(&columns, &[("format", "json")]);
        let mut source = decoder(&json, FormatRole::Value, &all(&json)).unwrap();
        for (i, s, f, b) in &rows {
            let f = if f.is_finite() { serde_json::json!(f) } else { serde_json::json!("NaN") };
            let document = serde_json::json!({"i": i, "s": s, "f": f, "b": b});
            source.decode(document.to_string().as_bytes()).unwrap();
        }
        let batch = source.finish();
        let csv = csv(&columns, &extra);
        let mut back = decoder(&csv, FormatRole::Value, &all(&csv)).unwrap();
        for record in encode(&csv, &batch).unwrap() {
            prop_assert_eq!(back.decode(record.as_bytes()), Ok(1), "{:?}", record);
        }
        prop_assert_eq!(show(&back.finish()), show(&batch));
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let table = plain(&[("csv.escape-character", "\\")]);
        let _ = decode(&table, &bytes);
    }
}
