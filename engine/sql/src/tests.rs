//! Sessions and the plans that come of them.

use crate::plan::{NodeKind, Plan};
use crate::{ErrorKind, Planned, SourceText, SqlError, plan_results, plan_session};
use std::collections::BTreeMap;
use tidemill_formats::{Capabilities, Changelog, Connectors, OptionError, SourceCapability, Table};

/// Connectors by their first option: `'connector' = 'append'`, `'retract'`, `'upsert'`.
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
        let source = SourceCapability { is_bounded: true, changelog, metadata };
        Ok(Capabilities { source: Some(source), sink: vec![changelog] })
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
    #2 Window aggregate tumbling 1 min by (usr): CountRows(*); keeps one partial for each pane and key [append-only]
      #1 Map where (kind = 'view'); select usr, ts [append-only]
        #0 Source clicks (append): reads usr, kind, ts; watermark (ts - INTERVAL '5' SECOND) [append-only]";
    assert_eq!(text, expected);
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
    assert!(explained(count).contains("keeps a row for each key ["), "for ever");
    let (kind, line, column) = refused("\nSET 'table.exec.state.ttl' = 'a while';");
    assert_eq!((kind, line, column), (ErrorKind::BadOption, 2, 5));
}
