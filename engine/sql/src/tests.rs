//! Sessions and the plans that come of them.

mod choice;
mod fuzz;
mod joins;
mod lazy;
mod lifetimes;
mod pattern;

use crate::plan::{NodeKind, Plan};
use crate::{ErrorKind, Planned, SourceText, SqlError, plan_results, plan_session};
use std::collections::BTreeMap;
use tidemill_formats::{
    Capabilities, Changelog, Connectors, LookupKind, OptionError, SourceCapability, Table,
};

/// Connectors by their first option: `'connector' = 'append'`, `'retract'`, which has no names for
/// the fields of rows in rows, `'upsert'`; and by `'lookup' = 'whole'`, `'by-key'`.
struct Fake;

impl Connectors for Fake {
    fn describe(&self, table: &Table) -> Result<Capabilities, OptionError> {
        let changelog = match table.option("connector") {
            Some("append") => Changelog::AppendOnly,
            Some("retract") => Changelog::Retract,
            Some("upsert") => Changelog::Upsert,
            _ => {
                return Err(OptionError {
                    option: "connector".into(),
                    problem: "is unknown".into(),
                    hint: "append, retract or upsert".into(),
                });
            }
        };
        let metadata = vec![("offset".to_owned(), arrow::datatypes::DataType::Int64)];
        let skips_fields = changelog != Changelog::Retract;
        let source = SourceCapability { is_bounded: true, changelog, metadata, skips_fields };
        let lookup = match table.option("lookup") {
            Some("whole") => Some(LookupKind::Whole),
            Some("by-key") => Some(LookupKind::ByKey),
            _ => None,
        };
        Ok(Capabilities { source: Some(source), sink: vec![changelog], lookup })
    }
}

const TABLES: &str = "
CREATE TABLE clicks (usr STRING, kind STRING, price DECIMAL(10, 2), ts TIMESTAMP(3), url STRING,
    seconds AS EXTRACT(SECOND FROM ts), pos BIGINT METADATA FROM 'offset' VIRTUAL,
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'append');
CREATE TABLE users (usr STRING, country STRING, since TIMESTAMP(3), PRIMARY KEY (usr) NOT ENFORCED,
    WATERMARK FOR since AS since) WITH ('connector' = 'upsert');
CREATE TABLE out_append (a STRING, n BIGINT) WITH ('connector' = 'append');
CREATE TABLE out_retract (a STRING, n BIGINT) WITH ('connector' = 'retract');
CREATE TABLE out_upsert (a STRING, n BIGINT, PRIMARY KEY (a) NOT ENFORCED) WITH ('connector' = 'upsert');
";

fn session(statements: &str) -> Result<Planned, SqlError> {
    let files = vec![
        SourceText { name: "tables.sql".into(), text: TABLES.into() },
        SourceText { name: "job.sql".into(), text: statements.into() },
    ];
    plan_session(files, &BTreeMap::new(), &Fake)
}

fn plan(statements: &str) -> Plan {
    session(statements).unwrap_or_else(|e| panic!("{e}")).plan
}

fn explained(statements: &str) -> String {
    session(statements).unwrap_or_else(|e| panic!("{e}")).explain()
}

fn refused(statements: &str) -> (ErrorKind, usize, usize) {
    let error = session(statements).expect_err("refused");
    assert_eq!(error.file, "job.sql", "{error}");
    (error.kind, error.line, error.column)
}

fn source_columns(plan: &Plan, table: &str) -> Vec<String> {
    let node = plan.nodes.iter().find(|n| match &n.kind {
        NodeKind::Source(source) => source.table.name == table,
        _ => false,
    });
    let fields = node.expect("the table is read").schema.fields().clone();
    fields.iter().map(|f| f.name().clone()).collect()
}

#[test]
fn only_the_columns_that_are_used_are_read() {
    let plan = plan("INSERT INTO out_append SELECT url, 1 FROM clicks WHERE kind = 'view'");
    assert_eq!(source_columns(&plan, "clicks"), ["kind", "ts", "url"]); // ts for the watermark
}

#[test]
fn a_table_is_read_once_with_what_all_queries_need() {
    let plan = plan(
        "INSERT INTO out_append SELECT url, 1 FROM clicks;
         INSERT INTO out_retract SELECT kind, COUNT(*) FROM clicks GROUP BY kind",
    );
    assert_eq!(source_columns(&plan, "clicks"), ["kind", "ts", "url"]);
    let sources = plan.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Source(_)));
    assert_eq!(sources.count(), 1);
}

/// A table with rows in its rows; `CONNECTOR` reads it.
fn of_nested(connector: &str, statements: &str) -> Vec<String> {
    let table = format!(
        "CREATE TABLE nested (id BIGINT, a ROW<x BIGINT, y STRING, t TIMESTAMP(3)>,
             b ROW<x BIGINT, z ROW<u STRING, v STRING>>, ts AS a.t, WATERMARK FOR ts AS ts) WITH ('connector' = '{connector}');"
    );
    let text = explained(&format!("{table} {statements}"));
    let reads = text.lines().filter_map(|line| line.split_once("reads ")?.1.split_once(';'));
    reads.map(|(columns, _)| columns.to_owned()).collect()
}

#[test]
fn only_the_fields_of_a_row_that_are_used_are_read() {
    let reads = |statements| of_nested("append", statements);
    let some = "INSERT INTO out_append SELECT b.z.u, 1 FROM nested WHERE a.x > 3";
    assert_eq!(reads(some), ["a(x, t), b(z)"]);
    let others = "INSERT INTO out_append SELECT a.y, id FROM nested";
    assert_eq!(reads(others), ["id, a(y, t)"]);
    // A table is read once.
    assert_eq!(reads(&format!("{some}; {others}")), ["id, a(x, y, t), b(z)"]);
}

#[test]
fn a_row_that_is_used_as_a_whole_is_read_as_a_whole() {
    let whole = "INSERT INTO out_append SELECT a.y, 1 FROM nested WHERE b IS NOT NULL";
    assert_eq!(of_nested("append", whole), ["a(y, t), b(x, z)"]);
    let some = "INSERT INTO out_retract SELECT b.z.u, 1 FROM nested";
    assert_eq!(of_nested("retract", some), ["a(x, y, t), b(x, z)"]);
}

#[test]
fn a_window_of_a_table_function_goes_into_the_aggregate() {
    let text = explained(
        "INSERT INTO out_append SELECT usr, COUNT(*)
         FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
         WHERE kind = 'view' GROUP BY usr, window_start, window_end",
    );
    let expected = "\
#4 Sink out_append (append): insertions [append-only]
  #3 Map select usr AS a, __agg0:COUNT(*) AS n [append-only]
    #2 Window aggregate tumbling 1 min by (usr): CountRows(*); keeps one partial for each pane and key; combined before the exchange where that helps [append-only]
      #1 Map where (kind = 'view'); select usr, ts [append-only]
        #0 Source clicks (append): reads usr, kind, ts; watermark (ts - INTERVAL '5' SECOND) [append-only]";
    assert_eq!(text, expected);
}

#[test]
fn an_aggregate_says_whether_rows_are_combined_before_the_exchange_and_why_not() {
    let of = |option: &str, query: &str| {
        let text = explained(&format!("{option} INSERT INTO out_retract {query}"));
        let line = text.lines().find(|line| line.contains("before the exchange")).expect(&text);
        let line = line.split_once("combined before the exchange").expect("it says so");
        let not = if line.0.ends_with("; not ") { "not" } else { "" };
        format!("{not}{}", line.1.split_once(" [").expect("it says what changes").0)
    };
    let grouped = |calls: &str| format!("SELECT usr, {calls} FROM clicks GROUP BY usr");
    let set = |value: &str| format!("SET 'table.optimizer.agg-phase-strategy' = '{value}';");
    for strategy in ["".to_owned(), set("AUTO"), set("auto")] {
        assert_eq!(of(&strategy, &grouped("COUNT(*)")), " where that helps");
    }
    assert_eq!(of(&set("TWO_PHASE"), &grouped("COUNT(*)")), "");
    assert_eq!(of(&set("ONE_PHASE"), &grouped("COUNT(*)")), "not, as asked");
    assert_eq!(of("", "SELECT DISTINCT usr, 1 FROM clicks"), " where that helps");
    for (calls, expected) in [
        ("COUNT(DISTINCT kind)", "not: Count DISTINCT needs all values"),
        ("COUNT(*) + CHAR_LENGTH(LAST_VALUE(kind))", "not: Last needs the order of all rows"),
        ("APPROX_COUNT_DISTINCT(kind)", "not: ApproxCountDistinct is no smaller than the rows"),
        ("CHAR_LENGTH(MAX(kind))", " where that helps"),
    ] {
        assert_eq!(of(&set("AUTO"), &grouped(calls)), expected, "{calls}");
        if expected.starts_with("not") {
            assert_eq!(of(&set("TWO_PHASE"), &grouped(calls)), expected, "{calls}");
        }
    }
    let again = "SELECT MIN(n), MAX(n) FROM (SELECT COUNT(*) AS n FROM clicks GROUP BY usr) AS t";
    let expected = "not: Min needs all values of rows that may be taken back";
    assert_eq!(of("", &format!("SELECT 'all', n FROM ({again}) AS t(n, m)")), expected);
    let sessions =
        "SELECT usr, COUNT(*) FROM clicks GROUP BY usr, SESSION(ts, INTERVAL '1' MINUTE)";
    assert_eq!(of("", sessions), "not: sessions need all rows of a key");
}

#[test]
fn who_aggregates_first_is_no_part_of_what_a_step_means() {
    let id = |option: &str| {
        let text = "INSERT INTO out_retract SELECT usr, COUNT(*) FROM clicks GROUP BY usr";
        let plan = plan(&format!("{option} {text}"));
        plan.nodes.iter().map(|node| node.operator_id).collect::<Vec<_>>()
    };
    let set = |value: &str| format!("SET 'table.optimizer.agg-phase-strategy' = '{value}';");
    assert_eq!(id(""), id(&set("TWO_PHASE")));
    assert_eq!(id(""), id(&set("ONE_PHASE")));
}

#[test]
fn a_strategy_for_aggregates_that_there_is_not_is_refused() {
    let error = session("SET 'table.optimizer.agg-phase-strategy' = 'THREE_PHASE';");
    let error = error.expect_err("there are two at most");
    assert_eq!(error.kind, ErrorKind::BadOption);
    let said = error.to_string();
    assert!(said.contains("'THREE_PHASE'") && said.contains("'TWO_PHASE'"), "{said}");
}

#[test]
fn the_older_group_windows_are_the_same_windows() {
    let text = explained(
        "INSERT INTO out_append SELECT usr, COUNT(*) FROM clicks
         GROUP BY usr, HOP(ts, INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)",
    );
    assert!(text.contains("Window aggregate hopping 5 min every 1 min by (usr)"), "{text}");
}

#[test]
fn a_filter_on_a_rank_is_a_top_n_that_shows_ranks_only_if_asked() {
    let query = |columns| {
        plan(&format!(
            "INSERT INTO out_retract SELECT {columns} FROM (
               SELECT *, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY price DESC) AS rn FROM clicks
             ) WHERE rn <= 3"
        ))
    };
    let top = |plan: &Plan| {
        plan.nodes
            .iter()
            .find_map(|n| match &n.kind {
                NodeKind::TopN(spec) => Some((spec.first, spec.last, spec.rank_output)),
                _ => None,
            })
            .expect("a top-n")
    };
    assert_eq!(top(&query("kind, rn")), (1, 3, true));
    assert_eq!(top(&query("kind, 1")), (1, 3, false));
}

#[test]
fn conditions_of_where_become_keys_of_the_join() {
    let plan = plan(
        "INSERT INTO out_retract SELECT c.url, 1 FROM clicks c, users u
         WHERE c.usr = u.usr AND u.country = 'NO' AND c.price > 1",
    );
    let join = plan.nodes.iter().find_map(|n| match &n.kind {
        NodeKind::Join(spec) => Some(spec.clone()),
        _ => None,
    });
    let join = join.expect("a join");
    assert_eq!((join.left_keys.len(), join.right_keys.len()), (1, 1));
    assert!(join.residual.is_none());
}

#[test]
fn closeness_in_time_bounds_the_state_of_a_join() {
    let text = explained(
        "INSERT INTO out_append SELECT a.url, 1 FROM clicks a JOIN clicks b ON a.usr = b.usr
         AND b.ts BETWEEN a.ts - INTERVAL '1' MINUTE AND a.ts + INTERVAL '2' MINUTE",
    );
    assert!(text.contains("ts - ts between -120000 and 60000 ms"), "{text}");
}

#[test]
fn an_upsert_table_is_normalised() {
    let plan = plan("INSERT INTO out_upsert SELECT country, COUNT(*) FROM users GROUP BY country");
    assert!(plan.nodes.iter().any(|n| matches!(n.kind, NodeKind::Normalize(_))));
}

#[test]
fn an_upsert_sink_needs_old_rows_unless_its_key_follows_from_the_groups() {
    let emits = |query: &str| {
        let plan = plan(&format!("INSERT INTO out_upsert {query}"));
        let emits = plan.nodes.iter().find_map(|n| match &n.kind {
            NodeKind::GroupAggregate(spec) => Some(spec.emit_retractions),
            _ => None,
        });
        emits.expect("an aggregate")
    };
    for (query, expected) in [
        ("SELECT country, COUNT(*) FROM users GROUP BY country", false),
        ("SELECT UPPER(country), COUNT(*) FROM users GROUP BY country", false),
        ("SELECT country, COUNT(*) FROM users GROUP BY country HAVING COUNT(*) > 1", true),
        ("SELECT MAX(country), COUNT(*) FROM users GROUP BY usr", true),
    ] {
        assert_eq!(emits(query), expected, "{query}");
    }
}

#[test]
fn a_grouped_varchar_may_go_by_another_type() {
    let short = "(SELECT CAST(usr AS VARCHAR(5)) AS u, price FROM clicks)";
    for query in [
        format!("SELECT u, COUNT(*) FROM {short} GROUP BY u HAVING u LIKE 'a%'"),
        format!("SELECT CAST(u AS STRING), COUNT(*) FROM {short} GROUP BY u"),
        format!("SELECT COALESCE(u, 'nobody'), COUNT(*) FROM {short} GROUP BY u HAVING u <> 'me'"),
    ] {
        assert!(explained(&query).contains("Group aggregate by (u)"), "{query}");
    }
}

#[test]
fn what_a_sink_cannot_take_is_refused_with_the_reason() {
    let (kind, line, column) =
        refused("INSERT INTO out_append\nSELECT kind, COUNT(*) FROM clicks GROUP BY kind");
    assert_eq!((kind, line, column), (ErrorKind::AppendOnlySink, 1, 13));
    let (kind, ..) = refused("INSERT INTO out_append SELECT 1, 2");
    assert_eq!(kind, ErrorKind::TypeMismatch);
    let (kind, ..) = refused("INSERT INTO out_append SELECT 'a'");
    assert_eq!(kind, ErrorKind::ColumnCount);
}

#[test]
fn mistakes_are_refused_where_they_stand() {
    for (text, kind, line, column) in [
        ("SELECT nope FROM clicks", ErrorKind::UnknownColumn, 1, 8),
        ("SELECT 1\nFROM nowhere", ErrorKind::UnknownTable, 2, 6),
        ("SELECT NOPE(usr) FROM clicks", ErrorKind::UnknownFunction, 1, 8),
        ("SELECT usr, COUNT(*) FROM clicks GROUP BY kind", ErrorKind::NotGrouped, 1, 8),
        ("SELECT 1 FROM clicks WHERE COUNT(*) > 1", ErrorKind::MisplacedAggregate, 1, 28),
        ("SELECT price + TRUE FROM clicks", ErrorKind::TypeMismatch, 1, 8),
        ("SELECT CAST(usr AS NOTHING) FROM clicks", ErrorKind::UnknownType, 1, 8),
        ("SET 'table.local-time-zone' = 'Moon'", ErrorKind::BadOption, 1, 1),
        ("SET 'tidemill.epoch.max-row' = '5'", ErrorKind::BadOption, 1, 1),
    ] {
        let (have, l, c) = refused(text);
        assert_eq!((have, l), (kind, line), "{text}");
        assert!(c >= column, "{text}: column {c}");
    }
}

#[test]
fn a_missing_variable_names_its_place_and_a_dotted_one_is_an_option() {
    let file = |text: &str| vec![SourceText { name: "v.sql".into(), text: text.into() }];
    let error = plan_session(file("SELECT\n ${X}"), &BTreeMap::new(), &Fake).unwrap_err();
    assert_eq!((error.kind, error.line, error.column), (ErrorKind::MissingVariable, 2, 2));
    let options = BTreeMap::from([("parallelism.default".to_owned(), "2".to_owned())]);
    let planned = plan_session(file("SELECT 1;"), &options, &Fake).unwrap();
    assert_eq!(planned.plan.options["parallelism.default"], "2");
}

#[test]
fn an_option_has_one_name_whichever_it_was_set_by() {
    let new = ("execution.checkpointing.dir".to_owned(), "a".to_owned());
    let file = |text: &str| vec![SourceText { name: "v.sql".into(), text: text.into() }];
    let options =
        |text| plan_session(file(text), &[new.clone()].into(), &Fake).unwrap().plan.options;
    assert_eq!(options("SELECT 1")["state.checkpoints.dir"], "a");
    let set = "SET 'execution.checkpointing.num-retained' = '3'; SELECT 1";
    assert_eq!(options(set)["state.checkpoints.num-retained"], "3");
    assert!(options("RESET 'execution.checkpointing.dir'; SELECT 1").is_empty());
}

#[test]
fn a_clock_that_is_reset_is_that_of_utc() {
    let hour = "SELECT * FROM (VALUES (EXTRACT(HOUR FROM TO_TIMESTAMP_LTZ(0)))) AS t(h);";
    let set = "SET 'table.local-time-zone' = 'Asia/Tokyo';";
    let values = |text: &str| {
        let nodes = plan(text).nodes;
        let values = nodes.into_iter().find(|node| matches!(node.kind, NodeKind::Values(_)));
        values.expect("rows of constants").operator_id
    };
    assert_ne!(values(&format!("{set}{hour}")), values(hour));
    for reset in ["RESET 'table.local-time-zone';", "RESET;"] {
        assert_eq!(values(&format!("{set}{reset}{hour}")), values(hour));
    }
}

#[test]
fn what_would_not_be_heeded_is_refused() {
    for query in [
        "SELECT TOP 1 usr FROM clicks",
        "SELECT usr INTO other FROM clicks",
        "SELECT usr FROM clicks FETCH FIRST 1 ROWS WITH TIES",
        "SELECT usr FROM clicks TABLESAMPLE SYSTEM (10)",
        "SELECT usr FROM clicks SORT BY usr",
        "SELECT usr FROM clicks FOR UPDATE",
        "SELECT LISTAGG(usr) WITHIN GROUP (ORDER BY price) FROM clicks",
        "SELECT ARRAY_AGG(usr ORDER BY price) FROM clicks",
        "SELECT COUNT(usr) IGNORE NULLS FROM clicks",
        "SELECT LAG(usr) IGNORE NULLS OVER (ORDER BY ts) FROM clicks",
        "SELECT LEAD(usr) IGNORE NULLS OVER (ORDER BY ts) FROM clicks",
        "SELECT CAST(usr AS DATE FORMAT 'YYYY-MM-DD') FROM clicks",
    ] {
        assert_eq!(refused(query).0, ErrorKind::Unsupported, "{query}");
    }
    session("SELECT LAST_VALUE(usr) IGNORE NULLS FROM clicks").unwrap();
}

#[test]
fn json_is_made_in_the_words_of_the_standard() {
    let made = |arguments: &str| {
        let query = format!("SELECT JSON_OBJECT({arguments}) FROM clicks");
        session(&query).unwrap_or_else(|error| panic!("{query}: {error}")).explain()
    };
    let pairs = "JSON_OBJECT('a', usr, 'b', FLINK_JSON(JSON_OBJECT('c', 1)))";
    assert!(made("KEY 'a' VALUE usr, 'b' VALUE JSON_OBJECT(KEY 'c' VALUE 1)").contains(pairs));
    assert!(made("'a', usr, 'b', JSON_OBJECT('c', 1)").contains(pairs));
    let absent = "JSON_OBJECT('a', usr, 'ABSENT ON NULL')";
    assert!(made("KEY 'a' VALUE usr ABSENT ON NULL").contains(absent));
    assert!(made("").contains("JSON_OBJECT()"));
    let array = |arguments: &str| {
        let query = format!("SELECT JSON_ARRAY({arguments}) FROM clicks");
        session(&query).unwrap_or_else(|error| panic!("{query}: {error}")).explain()
    };
    assert!(array("usr, 1 ABSENT ON NULL").contains("select JSON_ARRAY(usr, 1)"));
    assert!(array("usr, 1 NULL ON NULL").contains("FLINK_JSON_ARRAY_OF_ALL(usr, 1)"));
    let nested = array("JSON_ARRAY(usr NULL ON NULL), NULL ABSENT ON NULL");
    assert!(
        nested.contains("JSON_ARRAY(FLINK_JSON(FLINK_JSON_ARRAY_OF_ALL(usr)), NULL)"),
        "{nested}"
    );
}

#[test]
fn grouping_sets_close_with_the_window_that_all_of_them_have() {
    let sets = |sets: &str| {
        explained(&format!(
            "SELECT window_start, usr, COUNT(*)
             FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
             GROUP BY {sets}"
        ))
    };
    let closing = sets("window_start, window_end, GROUPING SETS ((usr), (kind), ())");
    assert!(closing.contains("Window aggregate as attached"), "{closing}");
    assert!(!closing.contains("updating"), "{closing}");
    let lasting = sets("GROUPING SETS ((window_start, window_end, usr), (usr, window_start))");
    assert!(lasting.contains("unbounded state"), "{lasting}");
}

#[test]
fn functions_are_listed_without_those_behind_operators() {
    let listed = session("SHOW FUNCTIONS").unwrap().outputs.remove(0);
    let names: Vec<&str> = listed.lines().collect();
    for name in ["UPPER", "SUM", "LAG", "ROW", "FLOOR"] {
        assert!(names.contains(&name), "{name}");
    }
    assert!(!names.iter().any(|name| name.starts_with("FLINK_") || *name == "FLOOR_TO"));
    let error = session("SELECT SUMM(price) FROM clicks").unwrap_err().to_string();
    assert!(error.contains("did you mean SUM?"), "{error}");
}

#[test]
fn show_and_describe_answer_without_a_dataflow() {
    let planned = session("SHOW TABLES; DESCRIBE users; SHOW CREATE TABLE out_append").unwrap();
    assert!(planned.plan.nodes.is_empty());
    assert!(planned.outputs[0].starts_with("clicks\nout_append"));
    assert!(planned.outputs[1].contains("usr      STRING"), "{}", planned.outputs[1]);
    assert!(planned.outputs[2].contains("`a` STRING"));
}

#[test]
fn equal_meaning_has_equal_operator_ids_whatever_stands_around_it() {
    let query = "INSERT INTO out_retract SELECT kind, COUNT(*) FROM clicks GROUP BY kind;";
    let id = |plan: &Plan| {
        let aggregate = plan.nodes.iter().find(|n| matches!(n.kind, NodeKind::GroupAggregate(_)));
        aggregate.expect("an aggregate").operator_id
    };
    let alone = plan(query);
    let second = format!("CREATE VIEW v AS SELECT usr FROM clicks; {query}");
    assert_eq!(id(&alone), id(&plan(&second)));
}

#[test]
fn an_operator_keeps_its_id_when_a_query_elsewhere_reads_more_of_its_table() {
    let query = "INSERT INTO out_retract SELECT kind, COUNT(*) FROM clicks GROUP BY kind;";
    let other = "INSERT INTO out_retract SELECT usr, COUNT(*) FROM clicks GROUP BY usr;";
    let ids = |plan: &Plan| -> Vec<u64> {
        let kept = plan.nodes.iter().filter(|node| node.kind.keeps_state());
        kept.map(|node| node.operator_id).collect()
    };
    let alone = ids(&plan(query));
    let both = ids(&plan(&format!("EXECUTE STATEMENT SET BEGIN {other} {query} END;")));
    assert_eq!((alone.len(), both.len()), (1, 2));
    assert!(both.contains(&alone[0]), "{alone:?} {both:?}");
    let another = query.replace("COUNT(*)", "COUNT(DISTINCT usr)");
    assert_ne!(ids(&plan(&another)), alone);
}

#[test]
fn a_join_holds_no_columns_that_only_others_read_and_keeps_its_id() {
    let query = "INSERT INTO out_retract SELECT a.kind, COUNT(*) FROM clicks AS a \
                 JOIN clicks AS b ON a.kind = b.usr GROUP BY a.kind;";
    let other = "INSERT INTO out_retract SELECT url, COUNT(*) FROM clicks GROUP BY url;";
    let join = |plan: &Plan| {
        let join = plan.nodes.iter().find(|node| matches!(node.kind, NodeKind::Join(_)));
        let join = join.expect("a join");
        (join.schema.clone(), join.operator_id)
    };
    let alone = join(&plan(query));
    let both = join(&plan(&format!("EXECUTE STATEMENT SET BEGIN {other} {query} END;")));
    assert_eq!(alone.0.fields().len(), 2);
    assert_eq!(both, alone);
}

/// How many nodes of a plan are joins, aggregates and maps.
fn counted(plan: &Plan) -> [usize; 3] {
    let count = |test: fn(&NodeKind) -> bool| plan.nodes.iter().filter(|n| test(&n.kind)).count();
    [
        count(|kind| matches!(kind, NodeKind::Join(_))),
        count(|kind| matches!(kind, NodeKind::GroupAggregate(_))),
        count(|kind| matches!(kind, NodeKind::Map(_))),
    ]
}

#[test]
fn what_queries_have_in_common_is_computed_once_whatever_columns_they_read() {
    let view = "CREATE VIEW v AS SELECT a.kind, a.usr, b.n FROM clicks AS a \
                JOIN (SELECT usr, COUNT(*) AS n, MAX(url) AS last FROM clicks GROUP BY usr) AS b \
                ON a.usr = b.usr;";
    let set = |queries: &str| {
        counted(&plan(&format!("{view} EXECUTE STATEMENT SET BEGIN {queries} END;")))
    };
    let users = "INSERT INTO out_retract SELECT usr, n FROM v;";
    let kinds = "INSERT INTO out_retract SELECT kind, n FROM v;";
    assert_eq!(set(&format!("{users} {kinds}"))[..2], [1, 1]);
    // Who filters reads from the join that another one needs as a whole …
    let some = "INSERT INTO out_retract SELECT kind, n FROM v WHERE usr = 'me' AND n > 1;";
    assert_eq!(set(&format!("{users} {some}"))[..2], [1, 1]);
    assert_eq!(set(&format!("{some} {users}"))[..2], [1, 1]);
    // … and has a smaller one of its own, if there is none such.
    let others = some.replace("'me'", "'you'");
    assert_eq!(set(&format!("{some} {others}"))[..2], [2, 1]);
    // A condition that says what is joined is no filter.
    let product = "CREATE VIEW p AS SELECT a.usr, b.kind FROM clicks AS a, clicks AS b;";
    let joined = plan(&format!(
        "{product} EXECUTE STATEMENT SET BEGIN \
         INSERT INTO out_retract SELECT usr, COUNT(*) FROM p GROUP BY usr; \
         INSERT INTO out_retract SELECT usr, COUNT(*) FROM p WHERE usr = kind GROUP BY usr; END;"
    ));
    assert_eq!(counted(&joined)[0], 2);
}

#[test]
fn windows_of_a_view_are_one_for_all_its_readers() {
    let view = "CREATE VIEW w AS SELECT window_start, window_end, usr, COUNT(*) AS n, MAX(url) AS u \
                FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) \
                GROUP BY window_start, window_end, usr;";
    let plan = plan(&format!(
        "{view} EXECUTE STATEMENT SET BEGIN \
         INSERT INTO out_retract SELECT usr, n FROM w; \
         INSERT INTO out_retract SELECT usr, 2 FROM w WHERE u = 'me'; END;"
    ));
    let windowed = |node: &&crate::plan::Node| matches!(node.kind, NodeKind::WindowAggregate(_));
    assert_eq!(plan.nodes.iter().filter(windowed).count(), 1);
}

#[test]
fn what_a_session_writes_can_be_read_back() {
    let files = vec![
        SourceText { name: "tables.sql".into(), text: TABLES.into() },
        SourceText {
            name: "job.sql".into(),
            text: "SELECT usr FROM clicks;
                   INSERT INTO out_upsert SELECT usr, COUNT(*) FROM clicks GROUP BY usr;
                   INSERT INTO out_append SELECT usr, 1 FROM clicks;
                   INSERT INTO out_append SELECT kind, 2 FROM clicks;"
                .into(),
        },
    ];
    let results = plan_results(files, &BTreeMap::new(), &Fake).unwrap_or_else(|e| panic!("{e}"));
    let (mut read, mut shown) = (Vec::new(), Vec::new());
    for node in &results.plan.nodes {
        match &node.kind {
            NodeKind::Source(source) => read.push(source.table.name.as_str()),
            NodeKind::Sink(sink) => shown.push((sink.table.name.as_str(), sink.changelog)),
            _ => {}
        }
    }
    read.sort_unstable();
    assert_eq!(read, ["out_append", "out_upsert"]);
    let expected = [("out_append", Changelog::AppendOnly), ("out_upsert", Changelog::Retract)];
    assert_eq!(shown, expected);
    assert_eq!(results.unreadable, ["query"], "nobody can read what was printed");
}

#[test]
fn idle_keys_are_kept_as_long_as_the_session_says() {
    let count = "INSERT INTO out_upsert SELECT usr, COUNT(*) FROM clicks GROUP BY usr;";
    let text = explained(&format!("SET 'table.exec.state.ttl' = '36 h'; {count}"));
    assert!(text.contains("keeps a row for each key until it is idle for 129600s"), "{text}");
    assert!(explained(count).contains("keeps a row for each key;"), "for ever");
    let (kind, line, column) = refused("\nSET 'table.exec.state.ttl' = 'a while';");
    assert_eq!((kind, line, column), (ErrorKind::BadOption, 2, 5));
}

/// A click at its processing time, and tables that are looked up.
const LOOKUPS: &str = "
CREATE VIEW now AS SELECT usr, kind, price, ts, PROCTIME() AS at FROM clicks;
CREATE TABLE pages (url STRING, id INT, title STRING, size INT, short AS LEFT(title, 3))
    WITH ('connector' = 'append', 'lookup' = 'whole');
CREATE TABLE people (usr STRING, age INT) WITH ('connector' = 'append', 'lookup' = 'by-key');
";

#[test]
fn a_table_that_is_looked_up_is_part_of_its_join_and_read_as_far_as_it_is_used() {
    let plan = plan(&format!(
        "{LOOKUPS} INSERT INTO out_append SELECT short, 1 FROM now
         JOIN pages FOR SYSTEM_TIME AS OF now.at AS p ON usr = p.url AND p.size > 3 AND kind < title
         WHERE p.size < 9"
    ));
    let lookups: Vec<_> = (plan.nodes.iter())
        .filter_map(|node| match &node.kind {
            NodeKind::LookupJoin(plan) => Some((plan, &node.inputs, node.changelog)),
            _ => None,
        })
        .collect();
    let [(lookup, inputs, changelog)] = lookups[..] else { panic!("one join") };
    assert_eq!((inputs.len(), changelog), (1, Changelog::AppendOnly));
    assert_eq!(lookup.columns, [0, 2, 3], "url, title and size");
    assert_eq!(lookup.key_columns, Some(vec![0]));
    let right: Vec<_> = lookup.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert!(right.contains(&"short") && lookup.steps.len() == 1, "{right:?}");
    assert!(lookup.join.residual.is_some(), "what both sides say is judged pair by pair");
    assert!(!plan.nodes.iter().any(
        |node| matches!(&node.kind, NodeKind::Source(source) if source.table.name == "pages")
    ));
}

#[test]
fn what_can_not_be_looked_up_is_refused_at_its_place() {
    let with = |join: &str| {
        refused(&format!("{LOOKUPS}INSERT INTO out_append SELECT now.usr, 1\nFROM now\n{join}"))
    };
    let line = LOOKUPS.lines().count() + 3;
    let join =
        |table, on: &str| with(&format!("JOIN {table} FOR SYSTEM_TIME AS OF now.at AS t ON {on}"));
    assert_eq!(join("clicks", "now.usr = t.usr"), (ErrorKind::Unsupported, line, 6));
    assert_eq!(join("pages", "now.kind > t.url"), (ErrorKind::WrongArguments, line, 49));
    // Its key must be cast, and nobody can ask for that.
    let (kind, at, _) = join("people", "CAST(now.price AS BIGINT) = t.age");
    assert_eq!((kind, at), (ErrorKind::Unsupported, line));
    let updating = refused(&format!(
        "{LOOKUPS}INSERT INTO out_retract SELECT c.usr, n FROM (
           SELECT usr, COUNT(*) AS n, PROCTIME() AS at FROM clicks GROUP BY usr) AS c
         JOIN people FOR SYSTEM_TIME AS OF c.at AS t ON c.usr = t.usr"
    ));
    assert_eq!(updating.0, ErrorKind::Unsupported);
}

#[test]
fn created_functions_are_expanded_and_checked_where_they_are_created() {
    let text = explained(
        "CREATE FUNCTION twice(x BIGINT) RETURNS BIGINT RETURN x + x;
         CREATE TEMPORARY FUNCTION c AS 'com.github.nexmark.flink.udf.CountChar' LANGUAGE JAVA;
         INSERT INTO out_append SELECT usr, Twice(c(url, '/')) FROM clicks",
    );
    assert!(text.contains("COUNT_CHAR(url, '/') + "), "{text}");
    assert_eq!(
        refused("CREATE FUNCTION f(x BIGINT) RETURNS BIGINT\n  RETURN y;"),
        (ErrorKind::UnknownColumn, 2, 10)
    );
    assert_eq!(
        refused("CREATE FUNCTION f AS\n'com.github.nexmark.flink.udf.CountChr';"),
        (ErrorKind::UnknownFunction, 2, 1)
    );
    assert_eq!(
        refused("CREATE FUNCTION upper(x STRING) RETURNS STRING RETURN x;"),
        (ErrorKind::DuplicateName, 1, 17)
    );
    let twice = "CREATE FUNCTION f(x DOUBLE) RETURNS DOUBLE RETURN x * x;";
    let (kind, ..) = refused(&format!(
        "{twice} INSERT INTO out_append SELECT usr, CAST(f(RAND()) AS BIGINT) FROM clicks"
    ));
    assert_eq!(kind, ErrorKind::Unsupported, "chance would be asked twice");
    let (kind, ..) = refused(&format!(
        "{twice} DROP FUNCTION f; INSERT INTO out_append SELECT usr, f(1) FROM clicks"
    ));
    assert_eq!(kind, ErrorKind::UnknownFunction);
}

/// What `explain` says of the time filter of a condition on `clicks`, if it has one.
fn time_filter(condition: &str) -> Option<String> {
    let text =
        explained(&format!("INSERT INTO out_retract SELECT usr, 1 FROM clicks WHERE {condition}"));
    let line = text.lines().find_map(|line| line.split_once("Time filter "));
    line.map(|(_, filter)| filter.split(';').next().unwrap_or_default().to_owned())
}

#[test]
fn whatever_is_done_to_a_clock_is_undone_on_the_row_s_side() {
    let cases = [
        ("ts > CURRENT_WATERMARK(ts) - INTERVAL '1' HOUR", "watermark < ts + 1 h"),
        ("CURRENT_WATERMARK(ts) - INTERVAL '1' HOUR >= ts", "watermark >= ts + 1 h"),
        ("NOT ts < CURRENT_WATERMARK(ts) + INTERVAL '90' SECOND", "watermark <= ts - 90 s"),
        (
            "ts BETWEEN CURRENT_WATERMARK(ts) - INTERVAL '7' DAY AND CURRENT_WATERMARK(ts)",
            "watermark <= ts + 7 d and watermark >= ts",
        ),
        (
            "ts + INTERVAL '1' MONTH < CURRENT_WATERMARK(ts)",
            "watermark > (ts + INTERVAL '1' MONTH)",
        ),
        (
            "CAST(ts AS TIMESTAMP(6)) < CURRENT_WATERMARK(ts)",
            "watermark > CAST(ts AS TIMESTAMP(6))",
        ),
        (
            "CAST(ts AS TIMESTAMP_LTZ(3)) < NOW() - INTERVAL '1' HOUR",
            "processing time > CAST AS TIMESTAMP_LTZ(3)(ts) + 1 h",
        ),
        ("ts < CURRENT_TIMESTAMP", "processing time > CAST AS TIMESTAMP_LTZ(3)(ts)"),
        (
            "ts < LOCALTIMESTAMP - INTERVAL '1' HOUR",
            "processing time > CAST AS TIMESTAMP_LTZ(3)((ts + INTERVAL '3600' SECOND))",
        ),
        (
            "ts < CAST(NOW() AS TIMESTAMP(3)) - INTERVAL '1' HOUR",
            "processing time > CAST AS TIMESTAMP_LTZ(3)((ts + INTERVAL '3600' SECOND))",
        ),
    ];
    for (condition, expected) in cases {
        assert_eq!(time_filter(condition).as_deref(), Some(expected), "{condition}");
    }
}

#[test]
fn what_is_no_comparison_with_a_clock_is_judged_when_its_row_comes() {
    let conditions = [
        "CURRENT_WATERMARK(ts) IS NULL OR ts > CURRENT_WATERMARK(ts)",
        "(ts > NOW() - INTERVAL '1' HOUR) IS TRUE",
        "CAST(ts AS DATE) = CURRENT_DATE",
        "ts > CURRENT_ROW_TIMESTAMP()",
    ];
    for condition in conditions {
        let insert = format!("INSERT INTO out_append SELECT usr, 1 FROM clicks WHERE {condition}");
        let text = explained(&insert);
        assert!(!text.contains("Time filter") && !text.contains("[updating]"), "{text}");
        let (kind, ..) = refused(&format!(
            "INSERT INTO out_retract SELECT usr, 1 FROM
               (SELECT usr, MAX(ts) AS ts FROM clicks GROUP BY usr) AS last WHERE {condition}"
        ));
        assert_eq!(kind, ErrorKind::Unsupported, "a deletion would be judged at another time");
    }
}

#[test]
fn a_time_filter_says_what_it_keeps_and_stands_above_what_does_not_change() {
    let text = explained(
        "INSERT INTO out_retract SELECT usr, n FROM (
           SELECT usr, MAX(ts) AS seen, COUNT(*) AS n FROM clicks GROUP BY usr
         ) AS users WHERE seen < CURRENT_WATERMARK(seen) - INTERVAL '7' DAY AND usr <> 'bot'",
    );
    let expected = "\
#5 Sink out_retract (retract): insertions and retractions [updating]
  #4 Map select usr AS a, __agg1:COUNT(*) AS n [updating]
    #3 Time filter watermark > __agg0:MAX(…) + 7 d; keeps each row until its time has come [updating]
      #2 Group aggregate by (usr): Max(__arg2), CountRows(*); keeps a row for each key; combined before the exchange where that helps [updating, unbounded state]
        #1 Map where (usr != 'bot'); select usr, ts AS __arg2 [append-only]";
    assert!(text.starts_with(expected), "{text}");
    let having = explained(
        "INSERT INTO out_retract SELECT usr, COUNT(*) FROM clicks GROUP BY usr
         HAVING MAX(ts) < CURRENT_WATERMARK(ts) - INTERVAL '7' DAY",
    );
    assert!(having.contains("Time filter watermark > __agg"), "{having}");
    let recent = "SELECT usr, 1 FROM clicks WHERE ts > CURRENT_WATERMARK(ts) - INTERVAL '1' HOUR";
    let text = explained(&format!("INSERT INTO out_retract {recent}"));
    let expected = "watermark < ts + 1 h; keeps each row until it is over, then takes it back [upd";
    assert!(text.contains(expected), "{text}");
    let (kind, ..) = refused(&format!("INSERT INTO out_append {recent}"));
    assert_eq!(kind, ErrorKind::AppendOnlySink);
    let settled = "SELECT usr, 1 FROM clicks WHERE ts <= CURRENT_WATERMARK(ts)";
    let text = explained(&format!("INSERT INTO out_append {settled}"));
    assert!(!text.contains("[updating]"), "nothing is taken back: {text}");
}

#[test]
fn a_time_filter_holds_no_columns_that_only_others_read() {
    let old = "INSERT INTO out_append SELECT usr, 1 FROM clicks WHERE ts <= CURRENT_WATERMARK(ts);";
    let more = "INSERT INTO out_append SELECT url, 1 FROM clicks;";
    let ids = |plan: &Plan| -> Vec<u64> {
        let kept = plan.nodes.iter().filter(|node| node.kind.keeps_state());
        kept.map(|node| node.operator_id).collect()
    };
    let both = plan(&format!("EXECUTE STATEMENT SET BEGIN {old} {more} END;"));
    let filter = both.nodes.iter().find(|node| matches!(node.kind, NodeKind::TimeFilter(_)));
    assert_eq!(filter.expect("a time filter").schema.fields().len(), 2);
    assert_eq!(ids(&both).len(), 1);
}

#[test]
fn a_clock_that_can_not_be_followed_is_refused_with_its_place() {
    let query = |from: &str, condition: &str| {
        format!("INSERT INTO out_retract SELECT usr, 1 FROM {from}\nWHERE {condition}")
    };
    let values = "(VALUES ('a', TIMESTAMP '2024-01-01 00:00:00')) AS t (usr, ts)";
    let cases = [
        (
            query("clicks", "ts > CURRENT_WATERMARK(ts) - INTERVAL '1' MONTH"),
            ErrorKind::Unsupported,
        ),
        (query("clicks", "ts > NOW() - INTERVAL '1' MONTH"), ErrorKind::Unsupported),
        (query(values, "ts > CURRENT_WATERMARK(ts)"), ErrorKind::MissingWatermark),
        (
            query("clicks", "CURRENT_WATERMARK(CAST(ts AS TIMESTAMP_LTZ(3))) > ts"),
            ErrorKind::TypeMismatch,
        ),
        (query("users", "since > CURRENT_WATERMARK(since) OR usr = 'a'"), ErrorKind::Unsupported),
    ];
    for (statement, expected) in cases {
        let (kind, line, _) = refused(&statement);
        assert_eq!((kind, line), (expected, 2), "{statement}");
    }
    let (kind, line, _) = refused(
        "INSERT INTO out_retract SELECT c.usr, 1 FROM clicks AS c LEFT JOIN users AS u
         ON c.usr = u.usr AND u.since > NOW() - INTERVAL '1' HOUR",
    );
    assert_eq!((kind, line), (ErrorKind::Unsupported, 2));
    let text = explained(
        "INSERT INTO out_retract SELECT c.usr, 1 FROM clicks AS c JOIN users AS u
         ON c.usr = u.usr AND u.since > NOW() - INTERVAL '1' HOUR",
    );
    assert!(
        text.contains("Time filter") && text.contains("Join Inner on (usr) = (usr);"),
        "{text}"
    );
}

#[test]
fn times_that_pass_are_no_row_times() {
    let windows = |condition: &str| {
        session(&format!(
            "CREATE VIEW some AS SELECT * FROM clicks WHERE {condition};
             INSERT INTO out_append SELECT usr, COUNT(*)
             FROM TABLE(TUMBLE(TABLE some, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
             GROUP BY usr, window_start, window_end"
        ))
    };
    assert!(windows("ts <= NOW()").is_ok(), "a row that waits comes later, and that is all");
    let refused = windows("ts > NOW() - INTERVAL '1' HOUR").expect_err("refused");
    assert_eq!(refused.kind, ErrorKind::MissingWatermark, "{refused}");
}

#[test]
fn windows_of_processing_time_close_by_the_clock() {
    let text = explained(
        "CREATE VIEW now AS SELECT *, PROCTIME() AS at FROM clicks;
         INSERT INTO out_append SELECT usr, COUNT(*)
         FROM TABLE(TUMBLE(TABLE now, DESCRIPTOR(at), INTERVAL '1' MINUTE))
         GROUP BY usr, window_start, window_end;
         INSERT INTO out_append SELECT kind, COUNT(*) FROM now
         GROUP BY kind, HOP(at, INTERVAL '1' MINUTE, INTERVAL '2' MINUTE)",
    );
    assert_eq!(text.matches("for each pane and key, by processing time;").count(), 2, "{text}");
    let (kind, ..) = refused(
        "CREATE VIEW now AS SELECT *, PROCTIME() AS at FROM clicks;
         INSERT INTO out_append SELECT usr, SUM(1) OVER (PARTITION BY usr ORDER BY window_time)
         FROM TABLE(TUMBLE(TABLE now, DESCRIPTOR(at), INTERVAL '1' MINUTE))",
    );
    assert_eq!(kind, ErrorKind::Unsupported, "its time is no row time");
}

#[test]
fn a_row_time_and_the_time_of_a_window_are_a_row_time_together() {
    let text = explained(
        "SELECT usr, COUNT(*) OVER (PARTITION BY usr ORDER BY ts) FROM (
           SELECT usr, ts FROM clicks
           UNION ALL
           SELECT usr, window_time AS ts
           FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
           GROUP BY usr, window_start, window_end, window_time
         );",
    );
    assert!(text.contains("Over by (usr) order (ts)"), "{text}");
    let mixed = "SELECT COUNT(*) OVER (ORDER BY ts) FROM (
        SELECT ts FROM clicks UNION ALL SELECT CAST('2026-01-05 08:00:00' AS TIMESTAMP(3)));";
    assert_eq!(refused(mixed).0, ErrorKind::Unsupported);
}

#[test]
fn a_filter_belongs_to_its_aggregate_over_a_window_too() {
    let over =
        |call: &str| format!("SELECT {call} OVER (PARTITION BY usr ORDER BY ts) FROM clicks;");
    let text = explained(&over("COUNT(*) FILTER (WHERE kind = 'view')"));
    assert!(text.contains("(kind = 'view')"), "{text}");
    let refused = refused(&over("ROW_NUMBER() FILTER (WHERE kind = 'view')"));
    assert_eq!(refused.0, ErrorKind::Unsupported);
}

#[test]
fn ranks_in_the_order_of_time_are_counts() {
    let text = explained(
        "INSERT INTO out_append SELECT usr, RANK() OVER (PARTITION BY usr ORDER BY ts) FROM clicks;
         INSERT INTO out_append SELECT kind, DENSE_RANK() OVER (PARTITION BY kind ORDER BY ts) FROM clicks",
    );
    assert_eq!(text.matches("Over by (").count(), 4, "{text}");
    assert!(!text.contains("[updating]"), "no later row changes them: {text}");
}

#[test]
fn a_lead_updates_the_rows_that_await_it() {
    let next = |table: &str, call: &str| {
        format!(
            "INSERT INTO {table}
             SELECT usr, {call} OVER (PARTITION BY usr ORDER BY ts) FROM clicks;"
        )
    };
    let text = explained(&next("out_retract", "LEAD(pos, 2, 0)"));
    let over = "Over by (usr) order (ts) Rows { preceding: Some(0) }; keeps the rows of each frame \
                and those that await a LEAD [updating, unbounded state]";
    assert!(text.contains(over), "{text}");
    assert_eq!(refused(&next("out_append", "LEAD(pos)")).0, ErrorKind::AppendOnlySink);
    let text = explained(&next("out_append", "LEAD(pos, 0)"));
    assert!(!text.contains("updating"), "the row itself is there: {text}");
}

#[test]
fn a_lead_takes_what_a_lag_takes() {
    for call in ["()", "(usr, -1)", "(usr, pos)", "(usr, 1.5)", "(usr, 1, 'a', 'b')"] {
        for (name, place) in [("LAG", 8), ("LEAD", 8)] {
            let query = format!("SELECT {name}{call} OVER (ORDER BY ts) FROM clicks;");
            assert_eq!(refused(&query), (ErrorKind::WrongArguments, 1, place), "{query}");
        }
    }
    let error = session("SELECT LEAD(usr, pos) OVER (ORDER BY ts) FROM clicks;").unwrap_err();
    assert_eq!(error.message, "the offset of LEAD must be a constant whole number");
    assert_eq!(refused("SELECT LEAD(usr) FROM clicks;").0, ErrorKind::WrongArguments);
    let filtered = "SELECT LEAD(usr) FILTER (WHERE TRUE) OVER (ORDER BY ts) FROM clicks;";
    assert_eq!(refused(filtered).0, ErrorKind::Unsupported);
    let windows =
        "SELECT LEAD(usr) OVER (ORDER BY ts), LAG(usr) OVER (PARTITION BY usr ORDER BY ts)
                   FROM clicks;";
    assert_eq!(refused(windows).0, ErrorKind::Unsupported);
}

#[test]
fn the_times_of_rows_that_await_others_are_no_row_times() {
    let view = "CREATE VIEW steps AS
                SELECT *, LEAD(ts) OVER (PARTITION BY usr ORDER BY ts) AS till FROM clicks;";
    let over = session(&format!("{view} SELECT COUNT(*) OVER (ORDER BY ts) FROM steps;"));
    let error = over.unwrap_err();
    assert_eq!(error.message, "window functions over rows that are updated are not supported");
    assert!(error.to_string().contains("in front of the aggregate"), "{error}");
    let windows = "SELECT window_start, COUNT(*)
                   FROM TABLE(TUMBLE(TABLE steps, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
                   GROUP BY window_start, window_end;";
    assert_eq!(refused(&format!("{view} {windows}")).0, ErrorKind::MissingWatermark);
    let joined = "SELECT a.usr FROM steps AS a JOIN clicks AS b ON a.usr = b.usr
                  AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' HOUR;";
    let text = explained(&format!("{view} {joined}"));
    assert!(!text.contains("nterval join"), "{text}");
    let grouped = format!("{view} SELECT usr, MAX(till) FROM steps GROUP BY usr;");
    assert!(explained(&grouped).contains("Group aggregate"));
}

#[test]
fn state_that_nothing_bounds_is_marked() {
    let unbounded = |query: &str| {
        explained(&format!("INSERT INTO out_retract {query}")).matches("unbounded state").count()
    };
    let join = |condition: &str| {
        format!("SELECT a.usr, 1 FROM clicks AS a JOIN clicks AS b ON a.usr = b.usr {condition}")
    };
    assert_eq!(unbounded(&join("")), 1);
    assert_eq!(unbounded(&join("AND a.ts BETWEEN b.ts AND b.ts + INTERVAL '1' HOUR")), 0);
    assert_eq!(unbounded("SELECT usr, COUNT(*) FROM clicks GROUP BY usr"), 1);
    assert_eq!(unbounded("SELECT 'all', COUNT(*) FROM clicks"), 0, "one row");
    assert_eq!(unbounded("SELECT usr, SUM(1) OVER (PARTITION BY usr ORDER BY ts) FROM clicks"), 1);
    let minute = "(PARTITION BY usr ORDER BY ts
                   RANGE BETWEEN INTERVAL '1' MINUTE PRECEDING AND CURRENT ROW)";
    assert_eq!(unbounded(&format!("SELECT usr, SUM(1) OVER {minute} FROM clicks")), 0);
    let with_lead =
        format!("SELECT LEAD(usr) OVER w, SUM(1) OVER w FROM clicks WINDOW w AS {minute}");
    assert_eq!(unbounded(&with_lead), 1);
    let ttl = "SET 'table.exec.state.ttl' = '1 d'; INSERT INTO out_retract
               SELECT usr, COUNT(*) FROM clicks GROUP BY usr";
    assert!(!explained(ttl).contains("unbounded"));
}

#[test]
fn a_hint_gives_a_table_other_options_for_one_query() {
    let plan = plan(
        "INSERT INTO out_append SELECT c.usr, 1 FROM clicks /*+ OPTIONS('topic' = 'b') */ AS c;
         INSERT INTO out_append /*+ OPTIONS('topic' = 'c') */ SELECT clicks.usr, 2 FROM clicks;
         INSERT INTO out_append SELECT clicks.usr, 3 FROM clicks /*+ OPTIONS('topic' = 'b') */;
         INSERT INTO out_append SELECT /*+ BROADCAST(clicks) */ usr, 4 FROM clicks /* no hint */;",
    );
    let table = |kind: &NodeKind| match kind {
        NodeKind::Source(source) => Some(source.table.clone()),
        NodeKind::Sink(sink) => Some(sink.table.clone()),
        _ => None,
    };
    let mut topics: Vec<(String, Option<String>)> = (plan.nodes.iter())
        .filter_map(|node| table(&node.kind))
        .map(|table| (table.name.clone(), table.option("topic").map(str::to_owned)))
        .collect();
    topics.sort();
    topics.dedup();
    let expected = [
        ("clicks", None),
        ("clicks-2", Some("b")),
        ("out_append", None),
        ("out_append-3", Some("c")),
    ];
    assert_eq!(topics, expected.map(|(name, topic)| (name.to_owned(), topic.map(str::to_owned))));
}

#[test]
fn a_hint_that_would_be_ignored_is_refused_where_it_stands() {
    for (text, column) in [
        ("SELECT usr FROM clicks /*+ STATE_TTL('1d') */", 24),
        ("SELECT usr FROM clicks WHERE 1 = 1 /*+ OPTIONS('a' = 'b') */", 36),
    ] {
        assert_eq!(refused(text), (ErrorKind::Unsupported, 1, column), "{text}");
    }
    let wrong = "SELECT usr FROM clicks /*+ OPTIONS('a') */";
    assert_eq!(refused(wrong), (ErrorKind::Parse, 1, 17));
}

#[test]
fn an_estimate_takes_no_rows_back() {
    let over = |from: &str| format!("SELECT APPROX_COUNT_DISTINCT(kind)\n FROM {from}");
    assert!(explained(&over("clicks GROUP BY usr")).contains("ApproxCountDistinct(kind)"));
    let windows = "TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '1' HOUR))
                   GROUP BY window_start, window_end";
    assert!(explained(&over(windows)).contains("append-only"));
    assert_eq!(
        refused(&over("(SELECT country AS kind FROM users)")),
        (ErrorKind::Unsupported, 1, 1)
    );
    let frame = |rows: &str| {
        format!(
            "SELECT APPROX_COUNT_DISTINCT(kind) OVER (PARTITION BY usr ORDER BY ts {rows}) FROM clicks"
        )
    };
    let recent = frame("ROWS BETWEEN 5 PRECEDING AND CURRENT ROW");
    assert_eq!(refused(&recent), (ErrorKind::Unsupported, 1, 8));
    explained(&frame(""));
    let nested = "SELECT APPROX_COUNT_DISTINCT(ROW(kind, usr)) FROM clicks";
    assert_eq!(refused(nested).0, ErrorKind::WrongArguments);
}

/// The lines, columns and messages of a session's warnings.
fn warnings(statements: &str) -> Vec<(usize, usize, String)> {
    let planned = session(statements).unwrap_or_else(|e| panic!("{e}"));
    let place = |w: crate::SqlWarning| (w.line, w.column, w.message);
    planned.warnings.into_iter().map(place).collect()
}

#[test]
fn what_is_probably_not_meant_is_said_and_runs() {
    let windows = "FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' HOUR))";
    let half = format!("SELECT window_start,\n COUNT(*)\n{windows}\nGROUP BY window_start");
    let found = warnings(&half);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].2.contains("window_start alone"), "{found:?}");
    let whole =
        format!("SELECT window_start, COUNT(*) {windows} GROUP BY window_start, window_end");
    assert_eq!(warnings(&whole), []);

    let join = "SELECT 1 FROM clicks AS c JOIN out_append AS o ON c.kind = o.n";
    let found = warnings(join);
    assert_eq!(found.iter().map(|w| (w.0, w.1)).collect::<Vec<_>>(), [(1, 51)]);
    assert!(found[0].2.contains("a STRING is joined with a BIGINT"), "{found:?}");
    let meant = "SELECT 1 FROM clicks AS c JOIN out_append AS o ON CAST(c.kind AS BIGINT) = o.n";
    assert_eq!(warnings(meant), []);

    let still =
        "CREATE TABLE still (ts TIMESTAMP(3), WATERMARK FOR ts AS TIMESTAMP '2026-01-01 00:00:00')
        WITH ('connector' = 'append'); SELECT ts FROM still";
    assert!(warnings(still)[0].2.contains("no row moves it"));
}
