//! The format as a whole, in both directions.

use crate::registry::{FormatRole, check, decoder};
use crate::testing::*;
use crate::{Changelog, Table};
use DataType::{Int32, Utf8};
use arrow::datatypes::DataType;

fn accounts(extra: &[(&str, &str)]) -> Table {
    table(&[("id", Int32), ("name", Utf8)], &[&[("format", "debezium-json")], extra].concat())
}

#[test]
fn each_operation_gives_the_rows_it_means() {
    let table = accounts(&[]);
    let (ann, bob) = ("{\"id\":1,\"name\":\"ann\"}", "{\"id\":1,\"name\":\"bob\"}");
    for (before, after, op, rows) in [
        ("null", ann, "c", vec![format!("+{ann}")]),
        ("null", ann, "r", vec![format!("+{ann}")]),
        (ann, bob, "u", vec![format!("-{ann}"), format!("+{bob}")]),
        (ann, "null", "d", vec![format!("-{ann}")]),
    ] {
        let record = format!("{{\"before\":{before},\"after\":{after},\"op\":\"{op}\"}}");
        assert_eq!(decode(&table, record), Ok(rows), "{op}");
    }
}

#[test]
fn the_order_of_parts_and_other_parts_do_not_matter() {
    let record =
        "{\"op\" : \"d\", \"source\":{\"op\":\"u\"}, \"after\":7 , \"before\": {\"id\":1}}";
    assert_eq!(decode(&accounts(&[]), record), Ok(vec!["-{\"id\":1,\"name\":null}".to_owned()]));
    assert_eq!(decode(&accounts(&[]), ""), Ok(vec![]));
}

#[test]
fn an_included_schema_moves_the_change_into_its_payload() {
    let table = accounts(&[("debezium-json.schema-include", "true")]);
    let change = "{\"before\":null,\"after\":{\"id\":1,\"name\":\"a\"},\"op\":\"c\"}";
    let wrapped = format!("{{\"schema\":{{}},\"payload\":{change}}}");
    assert_eq!(decode(&table, &wrapped), Ok(vec!["+{\"id\":1,\"name\":\"a\"}".to_owned()]));
    assert!(decode(&table, change).unwrap_err().contains("there is no `payload`"));
    let hint = decode(&accounts(&[]), wrapped).unwrap_err();
    assert!(hint.ends_with("set 'debezium-json.schema-include' = 'true'"));
}

#[test]
fn half_an_update_is_refused_whole() {
    let table = accounts(&[]);
    let mut decoder = decoder(&table, FormatRole::Value, &[0]).unwrap();
    let record = "{\"before\":{\"id\":1},\"after\":{\"id\":\"x\"},\"op\":\"u\"}";
    let error = decoder.decode(record.as_bytes()).unwrap_err();
    assert_eq!(error.reason, "field `after.id`: expected an integer, found \"x\"");
    assert_eq!(decoder.rows(), 0);
    for (record, reason) in [
        ("{\"before\":null,\"after\":{},\"op\":\"u\"}", "field `before`: it is null"),
        ("{\"before\":null,\"op\":\"d\"}", "field `before`: it is null"),
        ("{\"after\":null,\"op\":\"c\"}", "field `after`: it is null"),
        ("{\"after\":{},\"op\":\"x\"}", "field `op`: expected c, r, u or d, found \"x\""),
        ("{\"after\":{}}", "field `op`: it is missing"),
        ("{\"after\":[],\"op\":\"c\"}", "field `after`: expected an object, found []"),
        ("{\"after\":{},\"op\":\"c\"", "not valid JSON: it ends"),
        ("[]", "expected an object with before, after and op, found []"),
    ] {
        let found = decode(&table, record).unwrap_err();
        assert!(found.starts_with(reason), "{record}: {found}");
        let lenient = accounts(&[("debezium-json.ignore-parse-errors", "true")]);
        assert_eq!(decode(&lenient, record), Ok(vec![]), "{record}");
    }
}

#[test]
fn what_is_written_reads_back_with_its_weights() {
    let table = accounts(&[]);
    let mut decoder = decoder(&table, FormatRole::Value, &all(&table)).unwrap();
    let update = b"{\"before\":{\"id\":1,\"name\":\"a\"},\"after\":{\"id\":1},\"op\":\"u\"}";
    assert_eq!(decoder.decode(update), Ok(2));
    let batch = decoder.finish();
    assert_eq!(batch.weights(), Some(&[-1, 1][..]));
    let records = encode(&table, &batch).unwrap();
    assert_eq!(
        records,
        [
            "{\"before\":{\"id\":1,\"name\":\"a\"},\"after\":null,\"op\":\"d\"}",
            "{\"before\":null,\"after\":{\"id\":1,\"name\":null},\"op\":\"c\"}",
        ]
    );
    for record in &records {
        decoder.decode(record.as_bytes()).unwrap();
    }
    assert_eq!(show(&decoder.finish()), show(&batch));
}

#[test]
fn it_is_a_changelog_and_no_key() {
    let info = check(&accounts(&[])).unwrap();
    assert_eq!(info.changelog_in, Changelog::Retract);
    assert_eq!(info.changelog_out, [Changelog::Retract, Changelog::AppendOnly]);
    let keyed = accounts(&[("key.format", "debezium-json"), ("key.fields", "id")]);
    assert_eq!(refused(&keyed).option, "key.format");
}
