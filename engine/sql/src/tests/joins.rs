//! What joins become, and what stands below them.

use super::{explained, plan, refused, session};
use crate::ErrorKind;
use crate::plan::NodeKind;

const KINDS: &str = "(VALUES ('view', 1), ('buy', 2)) AS k (kind, weight)";

/// The lines of a plan that say `word`, without their numbers and indents.
fn lines(statements: &str, word: &str) -> Vec<String> {
    let text = explained(statements);
    let lines = text.lines().filter(|line| line.contains(word));
    lines.map(|line| line.trim_start().split_once(' ').expect("a number").1.to_owned()).collect()
}

/// The only line of a query's plan that is a join.
fn join(query: &str) -> String {
    let found = lines(&format!("INSERT INTO out_retract {query}"), "oin ");
    assert_eq!(found.len(), 1, "{query}: {found:?}");
    found.into_iter().next().expect("one line")
}

#[test]
fn constants_are_broadcast_and_nothing_is_kept() {
    let by_kind = "Inner on (kind) = (EXPR$0)";
    for (from, join_is) in [
        ("clicks AS c JOIN KINDS ON c.kind = k.kind", by_kind),
        ("clicks AS c, KINDS WHERE c.kind = k.kind", by_kind),
        ("KINDS JOIN clicks AS c ON c.kind = k.kind", by_kind),
        ("clicks AS c LEFT JOIN KINDS ON c.kind = k.kind", "Left on (kind) = (EXPR$0)"),
        ("KINDS RIGHT JOIN clicks AS c ON c.kind = k.kind", "Left on (kind) = (EXPR$0)"),
        ("clicks CROSS JOIN KINDS", "Inner on () = ()"),
        ("clicks AS c LEFT JOIN KINDS ON c.kind < k.kind", "Left on () = () and (kind < EXPR$0)"),
        (
            "clicks AS c JOIN KINDS ON c.kind = k.kind AND c.pos > k.weight",
            "Inner on (kind) = (EXPR$0) and (pos > CAST(EXPR$1 AS BIGINT))",
        ),
        (
            "clicks WHERE kind IN (SELECT * FROM (VALUES ('view'), ('buy')) AS k (kind))",
            "LeftSemi on (kind) = (EXPR$0)",
        ),
        (
            "clicks WHERE kind NOT IN (SELECT * FROM (VALUES ('view'), (NULL)) AS k (kind))",
            "LeftAnti on () = () and ((kind = EXPR$0) OR (kind IS NULL OR EXPR$0 IS NULL))",
        ),
    ] {
        let query = format!("SELECT usr, 1 FROM {}", from.replace("KINDS", KINDS));
        let keeps = "broadcast, 2 row(s); keeps nothing [append-only]";
        assert_eq!(join(&query), format!("Constant join {join_is}; {keeps}"), "{query}");
        let text = explained(&format!("INSERT INTO out_retract {query}"));
        assert!(!text.contains("Values"), "{text}");
    }
}

#[test]
fn a_condition_on_one_side_filters_it_before_the_join_if_its_rows_are_not_shown_alone() {
    let (left, right) = ("Map where (usr > 'a'); select", "Map where (pos > 3); select");
    for (kind, filters) in [
        ("JOIN", [true, true]),
        ("LEFT JOIN", [false, true]),
        ("RIGHT JOIN", [true, false]),
        ("FULL JOIN", [false, false]),
    ] {
        let text = explained(&format!(
            "INSERT INTO out_retract SELECT c.usr, d.pos FROM clicks AS c
             {kind} clicks AS d ON c.kind = d.kind AND c.usr > 'a' AND d.pos > 3"
        ));
        assert_eq!([left, right].map(|filter| text.contains(filter)), filters, "{text}");
        let own = ["(usr > 'a')", "(pos > 3)"].map(|condition| {
            let join = text.lines().find(|line| line.contains("Join ")).expect("a join");
            !join.contains(condition)
        });
        assert_eq!(own, filters, "{text}");
    }
    let exists = |not: &str| {
        explained(&format!(
            "INSERT INTO out_retract SELECT usr, pos FROM clicks AS c WHERE {not} EXISTS
             (SELECT 1 FROM clicks AS d WHERE d.kind = c.kind AND c.usr > 'a' AND d.pos > 3)"
        ))
    };
    assert!(exists("").contains("Map where (usr > 'a')"), "{}", exists(""));
    assert!(!exists("NOT").contains("Map where (usr > 'a')"), "{}", exists("NOT"));
    assert!(exists("NOT").contains("pos > 3"), "{}", exists("NOT"));
}

#[test]
fn an_arrangement_is_built_once_for_all_joins_that_need_it() {
    let of_usr = "(SELECT usr, MAX(pos) AS last FROM clicks GROUP BY usr) AS u";
    let inner = format!(
        "INSERT INTO out_retract SELECT c.kind, u.last FROM clicks AS c JOIN {of_usr} ON c.kind = u.usr;"
    );
    let anti = format!(
        "INSERT INTO out_retract SELECT k.kind, COUNT(*) FROM clicks AS k
         WHERE k.kind NOT IN (SELECT kind FROM clicks WHERE kind IS NOT NULL) GROUP BY k.kind;
         INSERT INTO out_retract SELECT c.url, u.last FROM clicks AS c
         LEFT JOIN {of_usr} ON c.url = u.usr;"
    );
    let arranged = |statements: &str| -> Vec<String> {
        let set = format!("EXECUTE STATEMENT SET BEGIN {statements} END;");
        let mut found = lines(&set, "Arrange by");
        found.retain(|line| !line.contains("as above"));
        found
    };
    let of_last = |found: &[String]| -> Vec<String> {
        found.iter().filter(|line| line.starts_with("Arrange by (usr)")).cloned().collect()
    };
    let alone = arranged(&inner);
    assert_eq!(alone.len(), 2, "{alone:?}");
    let both = arranged(&format!("{inner} {anti}"));
    let keeps = "keeps each row, once for 2 inputs of joins [updating, unbounded state]";
    assert_eq!(of_last(&both), [format!("Arrange by (usr); {keeps}")], "{both:?}");

    // What is held keeps its id, whoever else comes to read it.
    let ids = |statements: &str| -> Vec<u64> {
        let plan = plan(&format!("EXECUTE STATEMENT SET BEGIN {statements} END;"));
        let arranges = plan.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Arrange(_)));
        arranges.map(|node| node.operator_id).collect()
    };
    let (alone, both) = (ids(&inner), ids(&format!("{inner} {anti}")));
    assert!(alone.iter().all(|id| both.contains(id)), "{alone:?} {both:?}");
}

#[test]
fn an_input_joined_with_itself_is_arranged_once() {
    let query = "INSERT INTO out_retract SELECT a.usr, COUNT(*) FROM clicks AS a
                 JOIN clicks AS b ON a.usr = b.usr GROUP BY a.usr";
    let found = lines(query, "Arrange by");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("once for 2 inputs of joins"), "{found:?}");
}

#[test]
fn a_join_whose_rows_are_its_own_affair_holds_its_inputs_itself() {
    let join_of = |condition: &str| {
        format!("SELECT c.usr, d.pos FROM clicks AS c LEFT JOIN clicks AS d ON {condition}")
    };
    let equal = join("SELECT c.usr, d.pos FROM clicks AS c LEFT JOIN clicks AS d ON c.usr = d.usr");
    assert!(equal.contains("keeps nothing [updating]"), "{equal}");
    let more = join(&join_of("c.usr = d.usr AND c.pos < d.pos"));
    assert!(more.contains("keeps both inputs [updating, unbounded state]"), "{more}");
}

#[test]
fn rows_follow_from_the_text_whatever_is_computed_of_it() {
    let rows = |constants: &str| {
        let query = format!(
            "INSERT INTO out_retract SELECT usr, 1 FROM clicks AS c
             JOIN ({constants}) AS k ON c.kind = k.kind"
        );
        let line = lines(&query, "Constant join").pop()?;
        let rows = line.split("broadcast, ").nth(1)?.split(' ').next()?;
        rows.parse::<usize>().ok()
    };
    let two = "(VALUES ('a'), ('b')) AS x (kind)";
    for (constants, count) in [
        (format!("SELECT * FROM {two}"), Some(2)),
        (format!("SELECT UPPER(kind) AS kind FROM {two}"), Some(2)),
        (format!("SELECT * FROM {two} WHERE kind > 'a'"), Some(1)),
        (format!("SELECT MAX(kind) AS kind FROM {two}"), Some(1)),
        (format!("SELECT x.kind FROM {two}, (VALUES (1), (2), (3)) AS y (n)"), Some(6)),
        ("SELECT 'a' AS kind UNION ALL SELECT 'b' UNION ALL SELECT 'a'".to_owned(), Some(3)),
        ("SELECT 'a' AS kind UNION SELECT 'b' UNION SELECT 'a'".to_owned(), Some(2)),
        ("SELECT CAST(RAND() AS STRING) AS kind".to_owned(), None),
        ("SELECT CAST(NOW() AS STRING) AS kind".to_owned(), None),
        ("SELECT kind FROM clicks".to_owned(), None),
    ] {
        assert_eq!(rows(&constants), count, "{constants}");
    }
    // What is said of a view of them where it is read counts, too.
    let view = format!(
        "CREATE VIEW kinds AS SELECT * FROM {KINDS};
         INSERT INTO out_retract SELECT usr, weight FROM clicks JOIN kinds USING (kind)
         WHERE weight > 1"
    );
    let found = lines(&view, "Constant join");
    assert!(found[0].contains("broadcast, 1 row(s)"), "{found:?}");
}

#[test]
fn a_constant_whose_rows_are_kept_is_an_input_like_any_other() {
    for (query, join_is) in [
        ("SELECT usr, 1 FROM clicks AS c RIGHT JOIN KINDS ON c.kind = k.kind", "Join Right"),
        ("SELECT usr, 1 FROM clicks AS c FULL JOIN KINDS ON c.kind = k.kind", "Join Full"),
        ("SELECT kind, 1 FROM KINDS WHERE kind NOT IN (SELECT kind FROM clicks)", "Join LeftAnti"),
    ] {
        let join = join(&query.replace("KINDS", KINDS));
        assert!(join.starts_with(join_is), "{join}");
    }
}

#[test]
fn behind_a_constant_join_rows_are_what_they_were() {
    let weighed = format!("clicks AS c JOIN {KINDS} ON c.kind = k.kind");
    let windows = explained(&format!(
        "CREATE VIEW weighed AS SELECT c.kind, ts, weight FROM {weighed};
         INSERT INTO out_append SELECT kind, COUNT(*) FROM TABLE(TUMBLE(TABLE weighed,
         DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY kind, window_start, window_end"
    ));
    assert!(windows.contains("Window aggregate tumbling 1 min"), "{windows}");
    let last = explained(&format!(
        "INSERT INTO out_retract SELECT kind, weight FROM (SELECT c.kind, weight, ROW_NUMBER()
         OVER (PARTITION BY c.kind ORDER BY ts DESC) AS rn FROM {weighed}) WHERE rn = 1"
    ));
    assert!(last.contains("keeps the ranked rows"), "{last}");
    // An outer join pads and takes nothing back by itself, but its input may.
    let counts = "(SELECT kind, COUNT(*) AS n FROM clicks GROUP BY kind) AS c";
    let outer = format!("SELECT c.kind, n FROM {counts} LEFT JOIN {KINDS} ON c.kind = k.kind");
    let keeps = "broadcast, 2 row(s); keeps nothing [updating]";
    assert_eq!(join(&outer), format!("Constant join Left on (kind) = (EXPR$0); {keeps}"));
    // What could answer otherwise when a row is taken back has to know the answer.
    let dice =
        format!("SELECT c.kind, n FROM {counts} JOIN {KINDS} ON c.kind = k.kind AND RAND() < n");
    assert!(join(&dice).starts_with("Join Inner"), "{}", join(&dice));
}

#[test]
fn constants_of_many_rows_differ_wherever_they_do() {
    let insert = |middle: &str| {
        let row = |n: usize| if n == 15 { middle.to_owned() } else { format!("('{n}', {n})") };
        let rows: Vec<String> = (0..30).map(row).collect();
        let values = rows.join(", ");
        format!(
            "INSERT INTO out_retract SELECT usr, n FROM clicks
             JOIN (VALUES {values}) AS v (kind, n) USING (kind);"
        )
    };
    let set = |a: &str, b: &str| {
        let plan = plan(&format!("EXECUTE STATEMENT SET BEGIN {} {} END;", insert(a), insert(b)));
        plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::ConstantJoin(_))).count()
    };
    assert_eq!(set("('x', 1)", "('x', 1)"), 1);
    assert_eq!(set("('x', 1)", "('y', 1)"), 2);
}

#[test]
fn constants_that_every_row_meets_are_few() {
    let values: Vec<String> = (0..300).map(|n| format!("('{n}', {n})")).collect();
    let constants = format!("(VALUES {}) AS k (kind, n)", values.join(", "));
    let is_step = |on: &str| {
        let query = format!("SELECT usr, n FROM clicks AS c {on}").replace("KINDS", &constants);
        join(&query).starts_with("Constant join")
    };
    assert!(is_step("JOIN KINDS ON c.kind = k.kind"));
    assert!(!is_step("JOIN KINDS ON c.kind < k.kind"));
    assert!(!is_step("CROSS JOIN KINDS"));
}

#[test]
fn a_constant_that_can_not_be_computed_is_refused_at_its_place() {
    let query =
        "INSERT INTO out_retract SELECT usr, 1 FROM clicks\nJOIN (SELECT CAST(x AS BIGINT) AS n
        FROM (VALUES ('one')) AS v (x)) AS k ON pos = k.n";
    assert_eq!(refused(query), (ErrorKind::WrongArguments, 2, 19));
    let error = session(query).expect_err("refused").to_string();
    assert!(error.contains("constant table") && error.contains("one"), "{error}");
}

/// How many steps of a query's plan filter so.
fn filters(query: &str, condition: &str) -> usize {
    lines(&format!("INSERT INTO out_retract {query}"), condition).len()
}

#[test]
fn a_filter_on_a_key_filters_the_other_side_too() {
    for (join, condition, count) in [
        ("JOIN", "c.usr = 'me'", 2),
        ("JOIN", "u.usr IN ('you', 'me')", 2),
        ("JOIN", "c.usr LIKE 'a%' OR c.usr IS NULL", 2),
        ("LEFT JOIN", "c.usr = 'me'", 2),
        ("RIGHT JOIN", "u.usr = 'me'", 2),
        // Rows that are padded go, too: it stays above.
        ("LEFT JOIN", "u.usr = 'me'", 1),
        ("FULL JOIN", "c.usr = 'me'", 1),
        // No key, or not the key alone.
        ("JOIN", "c.url = 'here'", 1),
        ("JOIN", "c.usr > c.url", 1),
        ("JOIN", "c.usr > CAST(RAND() AS STRING)", 1),
        // It would fail for rows that have no partner.
        ("JOIN", "CAST(c.usr AS INT) > 1", 1),
        // It is said of the other side already.
        ("JOIN", "c.usr > 'a' AND u.usr > 'a'", 2),
    ] {
        let query = format!(
            "SELECT c.url, 1 FROM clicks AS c {join} users AS u ON c.usr = u.usr WHERE {condition}"
        );
        assert_eq!(filters(&query, "where "), count, "{query}");
    }
}

#[test]
fn a_filter_is_passed_on_wherever_the_key_comes_from_and_goes_to() {
    let counts = "(SELECT usr, COUNT(*) AS n FROM clicks GROUP BY usr)";
    let has_no_user = "NOT EXISTS (SELECT 1 FROM users AS u WHERE u.usr = c.usr";
    for (from, count) in [
        ("(SELECT * FROM clicks WHERE usr = 'me') AS a JOIN users AS b ON a.usr = b.usr", 2),
        ("clicks AS a, users AS b WHERE a.usr = b.usr AND b.usr = 'me'", 2),
        ("clicks AS a, users AS b WHERE a.usr = b.usr AND a.kind = a.usr AND b.usr = 'me'", 2),
        ("clicks WHERE usr IN (SELECT usr FROM users) AND usr = 'me'", 2),
        ("clicks WHERE usr IN (SELECT usr FROM users WHERE usr = 'me')", 2),
        (&format!("clicks AS c WHERE {has_no_user}) AND usr = 'me'"), 2),
        // The others have no partner, and are shown.
        (&format!("clicks AS c WHERE {has_no_user} AND u.usr = 'me')"), 1),
        // Of what has versions each of them counts.
        (
            "clicks AS c JOIN users FOR SYSTEM_TIME AS OF c.ts AS u ON c.usr = u.usr
             WHERE c.usr = 'me'",
            1,
        ),
    ] {
        let query = format!("SELECT url, 1 FROM {from}");
        assert_eq!(filters(&query, "(usr = 'me')"), count, "{query}");
    }
    // From one to the next, and below what stands on the other side.
    let chain = explained(&format!(
        "INSERT INTO out_retract SELECT a.url, n FROM clicks AS a JOIN users AS b ON a.usr = b.usr
         JOIN {counts} AS c ON b.usr = c.usr WHERE a.usr = 'me'"
    ));
    let aggregate = chain.find("Group aggregate").expect("an aggregate");
    assert!(chain[aggregate..].contains("where (usr = 'me')"), "{chain}");
    let user = chain.find("Source users").expect("a table");
    assert!(chain[..user].matches("where (usr = 'me')").count() >= 2, "{chain}");
    // What is compared is the other side's key as it is cast.
    let cast = "SELECT url, 1 FROM clicks AS c JOIN (SELECT CAST(usr AS INT) AS n FROM users) AS u
                ON c.pos = u.n WHERE c.pos > 5";
    assert_eq!(filters(cast, "where "), 2);
}

#[test]
fn a_filter_that_is_passed_on_makes_no_second_one_of_what_is_shared() {
    let counts = "SELECT usr, COUNT(*) AS n FROM clicks GROUP BY usr";
    let of = |user: &str| {
        format!(
            "INSERT INTO out_retract SELECT a.url, b.n FROM clicks AS a JOIN ({counts}) AS b
             ON a.usr = b.usr WHERE a.usr = '{user}';"
        )
    };
    let aggregates = |queries: &str| {
        let plan = plan(&format!("EXECUTE STATEMENT SET BEGIN {queries} END;"));
        plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::GroupAggregate(_))).count()
    };
    assert_eq!(aggregates(&format!("{} {}", of("me"), of("you"))), 1);
    assert_eq!(aggregates(&format!("{} INSERT INTO out_retract {counts};", of("me"))), 1);
}

/// The joins of a plan, the last one first: what they join by, and whether they take rows back.
fn joins_of(statements: &str) -> Vec<String> {
    let short = |line: String| {
        let what = line.split(';').next().unwrap_or_default();
        let grows = if line.contains("[append-only") { "grows" } else { "updates" };
        format!("{what} {grows}")
    };
    lines(statements, "oin ").into_iter().map(short).collect()
}

fn joins(query: &str) -> Vec<String> {
    joins_of(&format!("INSERT INTO out_retract {query}"))
}

const BY_USER: &str = "Join Inner on (usr) = (usr) updates";
const BY_URL: &str = "Join Inner on (url) = (url) updates";
const BY_URL_GROWING: &str = "Join Inner on (url) = (url) grows";

#[test]
fn inputs_that_only_grow_are_joined_first() {
    for from in [
        "users AS u JOIN clicks AS a ON u.usr = a.usr JOIN clicks AS b ON a.url = b.url",
        "clicks AS a, users AS u, clicks AS b WHERE a.url = b.url AND u.usr = a.usr",
        "(SELECT a.* FROM users AS u JOIN clicks AS a ON u.usr = a.usr) AS a JOIN clicks AS b
         ON a.url = b.url",
    ] {
        let query = format!("SELECT a.url, b.pos FROM {from}");
        assert_eq!(joins(&query).len(), 2, "{query}");
        assert_eq!(joins(&query)[1], BY_URL_GROWING, "{query}");
    }
    // A condition moves along with the columns that it reads, and stands as soon as they are there.
    let residual = "SELECT a.url, a.pos FROM users AS u
                    JOIN clicks AS a ON u.usr = a.usr AND u.country < a.kind
                    JOIN clicks AS b ON a.url = b.url AND a.pos < b.pos";
    assert_eq!(joins(residual)[1], "Join Inner on (url) = (url) and (pos < pos) grows");
    assert!(joins(residual)[0].contains("and (country < kind)"), "{:?}", joins(residual));
    // What changes comes last, in the order of the text.
    let four = "SELECT a.url, b.pos
                FROM (SELECT usr, COUNT(*) AS n FROM clicks GROUP BY usr) AS c
                JOIN clicks AS a ON a.usr = c.usr JOIN users AS u ON u.usr = a.kind
                JOIN clicks AS b ON b.url = a.url";
    assert_eq!(joins(four), ["Join Inner on (kind) = (usr) updates", BY_USER, BY_URL_GROWING]);
}

#[test]
fn where_no_order_is_better_the_written_one_stands() {
    for (query, expected) in [
        // Nothing but what changes joins both inputs that only grow.
        (
            "SELECT a.url, b.pos FROM users AS u JOIN clicks AS a ON u.usr = a.usr
             JOIN clicks AS b ON u.usr = b.usr",
            [BY_USER, BY_USER],
        ),
        (
            "SELECT a.url, b.pos FROM clicks AS a JOIN clicks AS b ON a.url = b.url
             JOIN users AS u ON a.usr = u.usr",
            [BY_USER, BY_URL_GROWING],
        ),
        // An outer join is an input of the chain.
        (
            "SELECT a.url, b.pos FROM users AS u LEFT JOIN clicks AS a ON u.usr = a.usr
             JOIN clicks AS b ON a.url = b.url",
            [BY_URL, "Join Left on (usr) = (usr) updates"],
        ),
        // Rows of these are forgotten, by what they are joined with.
        (
            "SELECT /*+ STATE_TTL('b' = '1 d') */ a.url, a.pos FROM users AS u
             JOIN clicks AS a ON u.usr = a.usr JOIN clicks AS b ON a.url = b.url",
            [BY_URL, BY_USER],
        ),
    ] {
        assert_eq!(joins(query), expected, "{query}");
    }
    let forgets = "SET 'table.exec.state.ttl' = '1 d'; INSERT INTO out_retract
        SELECT a.url, a.pos FROM users AS u JOIN clicks AS a ON u.usr = a.usr
        JOIN clicks AS b ON a.url = b.url";
    assert_eq!(joins_of(forgets), [BY_URL, BY_USER]);
}

#[test]
fn what_is_bounded_in_time_is_the_same_in_any_order() {
    let near = "a.ts BETWEEN b.ts - INTERVAL '1' MINUTE AND b.ts";
    // Joined first, these two would be an interval join, in which late rows meet none.
    let apart = joins(&format!(
        "SELECT a.url, b.pos FROM clicks AS a JOIN users AS u ON a.usr = u.usr
         JOIN clicks AS b ON a.url = b.url AND {near}"
    ));
    assert!(apart.iter().all(|join| join.starts_with("Join Inner on (u")), "{apart:?}");
    assert_eq!(apart[1], BY_USER);
    // One that is one is an input of the chain.
    let input = joins(&format!(
        "SELECT x.url, c.pos FROM users AS u JOIN
         (SELECT a.usr, a.url FROM clicks AS a JOIN clicks AS b ON a.url = b.url AND {near}) AS x
         ON u.usr = x.usr JOIN clicks AS c ON x.url = c.url"
    ));
    assert_eq!(input.len(), 3, "{input:?}");
    assert_eq!(input[1], BY_URL_GROWING);
    assert!(input[2].starts_with("Interval join"), "{input:?}");
}

#[test]
fn a_part_of_a_chain_that_others_read_stays_as_it_is() {
    let set = |queries: &[&str]| {
        let reader = |column: &&str| {
            format!(
                "INSERT INTO out_retract SELECT v.url, v.pos FROM v
                 JOIN clicks AS b ON v.{column} = b.{column};"
            )
        };
        let readers: Vec<String> = queries.iter().map(reader).collect();
        joins_of(&format!(
            "CREATE VIEW v AS SELECT u.country, a.url, a.pos, a.kind FROM users AS u
             JOIN clicks AS a ON u.usr = a.usr;
             EXECUTE STATEMENT SET BEGIN {} END;",
            readers.join(" ")
        ))
    };
    assert_eq!(set(&["url"])[1], BY_URL_GROWING);
    let shared = set(&["url", "kind"]);
    assert_eq!(shared.len(), 3, "{shared:?}");
    assert!(shared.iter().all(|join| join.ends_with("updates")), "{shared:?}");
    // Who reads the same chain reads it in the same order.
    let twice = set(&["url", "url"]);
    assert_eq!(twice.len(), 2, "{twice:?}");
    assert_eq!(twice[1], BY_URL_GROWING);
}
