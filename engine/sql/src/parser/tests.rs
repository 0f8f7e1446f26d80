use super::*;
use sqlparser::ast::{BinaryOperator, Expr, SetExpr};

fn kinds(text: &str) -> Vec<StatementKind> {
    parse(text, 0).unwrap().statements.into_iter().map(|s| s.kind).collect()
}

fn place_of_error(text: &str) -> (u64, u64) {
    let at = parse(text, 0).err().expect("refused").at;
    (at.line, at.column)
}

#[test]
fn a_table_has_physical_computed_and_metadata_columns() {
    let text = "CREATE TEMPORARY TABLE IF NOT EXISTS db.t (
        a INT NOT NULL, b ROW<x INT, y ARRAY<ARRAY<STRING>>>, o BIGINT METADATA FROM 'offset' VIRTUAL,
        ts TIMESTAMP(3) WITH LOCAL TIME ZONE, c AS a + 1, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND,
        PRIMARY KEY (a) NOT ENFORCED) PARTITIONED BY (a) WITH ('connector' = 'print')";
    let [StatementKind::CreateTable(table)] = &kinds(text)[..] else { panic!() };
    assert_eq!(table.name.text, "t");
    assert_eq!(table.columns.len(), 5);
    assert!(table.if_not_exists && table.watermark.is_some());
    let types: Vec<String> = table
        .columns
        .iter()
        .map(|c| match &c.kind {
            ColumnKind::Physical { data_type, .. } => data_type.to_string(),
            ColumnKind::Metadata { data_type, key, is_virtual } => {
                format!("{data_type} {key:?} {is_virtual}")
            }
            ColumnKind::Computed(e) => e.to_string(),
        })
        .collect();
    assert_eq!(
        types,
        [
            "INT",
            "ROW<x INT, y ARRAY<ARRAY<STRING>>>",
            "BIGINT Some(\"offset\") true",
            "TIMESTAMP_LTZ(3)",
            "a + 1"
        ]
    );
}

#[test]
fn window_functions_keep_their_table_and_keys() {
    for text in [
        "SELECT * FROM TABLE(SESSION(TABLE s PARTITION BY a, b, DESCRIPTOR(ts), INTERVAL '1' SECOND))",
        "SELECT * FROM TABLE(SESSION(DATA => TABLE s PARTITION BY a, b, TIMECOL => DESCRIPTOR(ts), GAP => INTERVAL '1' SECOND))",
    ] {
        let [StatementKind::Query(query)] = &kinds(text)[..] else { panic!() };
        assert!(query.to_string().contains("PARTITION_BY => (a, b)"), "{query}");
    }
}

#[test]
fn a_statement_set_is_its_inserts() {
    let text = "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b VALUES (2); END;
        SET 'k' = 'v'; SET parallelism.default = 4;";
    let kinds = kinds(text);
    assert_eq!(kinds.len(), 4);
    assert!(matches!(&kinds[3], StatementKind::Set { key, value, .. }
        if key == "parallelism.default" && value == "4"));
}

#[test]
fn forms_that_the_parser_lacks_are_rewritten() {
    let text = "SELECT MAP['a', 1], CAST(x AS MAP<STRING, ROW<y INT>>), JSON_VALUE(j, '$.a' RETURNING INT DEFAULT 0 ON EMPTY), U&'\\0041' FROM t FOR SYSTEM_TIME AS OF t.ts";
    let [StatementKind::Query(query)] = &kinds(text)[..] else { panic!() };
    let text = query.to_string();
    assert!(text.contains("MAP('a', 1), CAST(x AS __type_0)"), "{text}");
    assert!(text.contains("'$.a', 'RETURNING INT DEFAULT 0 ON EMPTY'"), "{text}");
}

#[test]
fn mistakes_are_refused_where_they_stand() {
    assert_eq!(place_of_error("SELECT a FORM pairs"), (1, 15));
    assert_eq!(place_of_error("SELECT a\nFROM t WHERE"), (2, 13));
    assert_eq!(place_of_error("UPSERT x"), (1, 1));
    assert_eq!(place_of_error("CREATE TABLE t (a UNSIGNED)"), (1, 19));
    assert_eq!(place_of_error("CREATE TABLE t (a INT, PRIMARY KEY (a) ENFORCED)"), (1, 40));
    assert_eq!(place_of_error("SELECT 'abc"), (1, 8));
}

#[test]
fn distinct_from_binds_closer_than_and() {
    let text = "SELECT * FROM t WHERE a IS NOT DISTINCT FROM b + 1 AND c OR d IS DISTINCT FROM e";
    let [StatementKind::Query(query)] = &kinds(text)[..] else { panic!() };
    let SetExpr::Select(select) = &*query.body else { panic!() };
    let Some(Expr::BinaryOp { left, op: BinaryOperator::Or, .. }) = &select.selection else {
        panic!("{query}")
    };
    let Expr::BinaryOp { left, op: BinaryOperator::And, .. } = &**left else { panic!("{left}") };
    assert_eq!(left.to_string(), "a IS NOT DISTINCT FROM b + 1");
}
