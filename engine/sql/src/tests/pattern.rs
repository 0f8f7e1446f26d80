//! `MATCH_RECOGNIZE`: how it is planned, and what is refused at which place.

use super::*;

/// A query over clicks; the clauses behind `ORDER BY`.
fn over_clicks(clauses: &str) -> String {
    format!("SELECT * FROM clicks MATCH_RECOGNIZE (PARTITION BY usr ORDER BY ts {clauses}) AS m;")
}

/// What is said of the search.
fn searched(clauses: &str) -> String {
    let text = explained(&over_clicks(clauses));
    let line = text.lines().find(|line| line.contains("Pattern (")).unwrap_or_default();
    line.trim().to_owned()
}

#[test]
fn what_reads_only_the_row_is_a_column_and_what_looks_back_a_formula() {
    let text = explained(&over_clicks(
        "MEASURES A.price AS first_price, LAST(B.url) AS url
         ONE ROW PER MATCH AFTER MATCH SKIP PAST LAST ROW PATTERN (A B+ C)
         DEFINE A AS kind = 'view', B AS B.price < A.price, C AS C.kind = 'buy' AND url <> ''",
    ));
    assert!(text.contains("(kind = 'view')"), "computed in front: {text}");
    assert!(text.contains("((kind = 'buy') AND (url != ''))"), "computed in front: {text}");
    assert!(
        text.contains("Pattern (A B+ C) by (usr) order (ts), then on past the last row"),
        "{text}"
    );
    assert!(text.contains("; B where (B.price < A.price);"), "{text}");
    assert!(text.contains("unbounded state"), "nothing ends a search: {text}");
}

#[test]
fn a_condition_of_the_row_that_can_fail_is_left_to_the_search() {
    let text = explained(&over_clicks(
        "MEASURES A.kind AS k PATTERN (A B)
         DEFINE A AS kind = 'view' AND CAST(url AS INT) > 1, B AS B.kind = 'buy'",
    ));
    let left = "; A where ((kind = 'view') AND (CAST AS INT(url) > 1)), row by row where it fails";
    assert!(text.contains(left), "{text}");
    assert!(text.contains("(kind = 'buy')"), "computed in front: {text}");
}

#[test]
fn what_is_no_formula_is_an_expression() {
    let text = searched(
        "MEASURES A.kind AS k PATTERN (A B C)
         DEFINE B AS B.price / A.price > 2, C AS C.url = A.url OR COALESCE(C.ts > B.ts, FALSE)",
    );
    assert_eq!(text.matches(", as an expression").count(), 2, "{text}");
}

#[test]
fn patterns_are_read_with_all_their_quantifiers() {
    for (written, read) in [
        ("A B* C", "A B* C"),
        ("A B*? C", "A B*? C"),
        ("A B+? C?", "A B+? C?"),
        ("A B?? C", "A B?? C"),
        ("A{2} B{1,} C{,3} D", "A{2} B+ C{0,3} D"),
        ("A B{2,3}?", "A B{2,3}?"),
        ("A (B C)+ D", "A (B C)+ D"),
        ("A (B | C D) E", "A (B | C D) E"),
    ] {
        let text = searched(&format!("MEASURES A.kind AS k PATTERN ({written}) DEFINE A AS TRUE"));
        assert!(text.contains(&format!("Pattern ({read}) by")), "{written}: {text}");
    }
}

#[test]
fn a_search_goes_on_where_it_is_told() {
    let skipped = |clause: &str| {
        searched(&format!("MEASURES A.kind AS k {clause} PATTERN (A B) DEFINE B AS B.price > 1"))
    };
    assert!(skipped("").contains("then on to the next row"), "Flink's default");
    assert!(skipped("AFTER MATCH SKIP TO NEXT ROW").contains("then on to the next row"));
    assert!(skipped("AFTER MATCH SKIP PAST LAST ROW").contains("then on past the last row"));
    assert!(skipped("AFTER MATCH SKIP TO FIRST B").contains("then on to the first B"));
    assert!(skipped("AFTER MATCH SKIP TO LAST b").contains("then on to the last B"));
    assert!(skipped("AFTER MATCH SKIP TO B").contains("then on to the last B"));
}

#[test]
fn within_bounds_what_is_held() {
    let text = searched(
        "MEASURES A.kind AS k PATTERN (A B+ C) WITHIN INTERVAL '5' MINUTE
         DEFINE B AS SUM(B.price) < 10 AND B.ts < A.ts + INTERVAL '10' SECOND",
    );
    assert!(text.contains("(A B+ C) within 5 min by"), "{text}");
    assert!(!text.contains("unbounded state") && !text.contains("as an expression"), "{text}");
}

#[test]
fn windows_stand_on_the_time_of_a_match() {
    let view = "CREATE VIEW found AS SELECT * FROM clicks MATCH_RECOGNIZE (
        PARTITION BY usr ORDER BY ts MEASURES MATCH_ROWTIME() AS mt, A.ts AS began
        PATTERN (A B) DEFINE B AS B.price > A.price);";
    let windows = |time: &str| {
        session(&format!(
            "{view} SELECT window_start, usr, COUNT(*)
             FROM TABLE(TUMBLE(TABLE found, DESCRIPTOR({time}), INTERVAL '1' MINUTE))
             GROUP BY window_start, window_end, usr;"
        ))
    };
    assert!(windows("mt").is_ok());
    let refused = windows("began").expect_err("the time of a row is a value");
    assert_eq!(refused.kind, ErrorKind::MissingWatermark, "{refused}");
}

#[test]
fn a_condition_on_the_partition_is_asked_in_front() {
    let query = over_clicks("MEASURES A.price AS p PATTERN (A B) DEFINE B AS B.price > A.price");
    let text = explained(&query.replace(" AS m;", " AS m WHERE usr = 'a' AND p > 1;"));
    let (above, below) = text.split_once("Pattern (").expect("a pattern");
    assert!(above.contains("> ") && below.contains("usr = 'a'"), "{text}");
}

#[test]
fn rows_may_be_in_the_order_of_the_clock() {
    let text = explained(
        "CREATE VIEW now AS SELECT *, PROCTIME() AS at FROM clicks;
         SELECT * FROM now MATCH_RECOGNIZE (PARTITION BY usr ORDER BY at
         MEASURES B.price AS p, MATCH_PROCTIME() AS mt PATTERN (A B) DEFINE B AS B.price > A.price);",
    );
    assert!(text.contains("by processing time"), "{text}");
}

#[test]
fn what_is_no_pattern_is_refused_where_it_stands() {
    use ErrorKind::*;
    let of = |clauses: &str| over_clicks(&format!("\n{clauses}"));
    let shown = "MEASURES A.kind AS k";
    let cases = [
        // The pattern.
        (of(&format!("{shown} PATTERN (A B+)\nDEFINE B AS B.price > 1")), BadPattern, 2, 33),
        (of(&format!("{shown} PATTERN (A B* C?)\nDEFINE B AS B.price > 1")), BadPattern, 2, 33),
        (of(&format!("{shown} PATTERN (A? B*?)\nDEFINE B AS B.price > 1")), BadPattern, 2, 31),
        (of(&format!("{shown} PATTERN (A (B?)+ C)\nDEFINE B AS B.price > 1")), BadPattern, 2, 31),
        (of(&format!("{shown} PATTERN (A B{{0}} C)\nDEFINE B AS B.price > 1")), BadPattern, 2, 33),
        (of(&format!("{shown} PATTERN (A B+*)\nDEFINE B AS B.price > 1")), BadPattern, 2, 33),
        (of(&format!("{shown} PATTERN (A PERMUTE(B, C))\nDEFINE A AS TRUE")), Unsupported, 2, 31),
        (of(&format!("{shown} PATTERN (A ^)\nDEFINE A AS TRUE")), Unsupported, 2, 31),
        // What belongs to it.
        (of(&format!("{shown} PATTERN (A B)\nDEFINE C AS C.price > 1")), BadPattern, 3, 8),
        (of(&format!("{shown} PATTERN (A B)\nDEFINE A AS TRUE, A AS FALSE")), DuplicateName, 3, 19),
        (
            of(&format!("{shown}\nAFTER MATCH SKIP TO LAST X PATTERN (A B) DEFINE A AS TRUE")),
            BadPattern,
            3,
            26,
        ),
        (
            of(&format!("{shown} PATTERN (A B)\nWITHIN INTERVAL '1' MONTH DEFINE A AS TRUE")),
            BadPattern,
            3,
            17,
        ),
        (
            of(&format!("{shown} PATTERN (A B)\nSUBSET S = (A, B) DEFINE A AS TRUE")),
            Unsupported,
            3,
            1,
        ),
        (
            of("MEASURES A.kind AS k, A.url AS k PATTERN (A B) DEFINE A AS TRUE"),
            DuplicateName,
            2,
            32,
        ),
        (
            of(&format!("{shown}\nAFTER MATCH SKIP TO FIRST A PATTERN (A+ B) DEFINE A AS TRUE")),
            BadPattern,
            3,
            27,
        ),
        // Conditions and measures.
        (of(&format!("{shown} PATTERN (A B)\nDEFINE B AS X.price > 1")), UnknownColumn, 3, 13),
        (of(&format!("{shown} PATTERN (A B)\nDEFINE B AS PREV(price) > 1")), Unsupported, 3, 13),
        (of(&format!("{shown} PATTERN (A B)\nDEFINE B AS A.nope > 1")), UnknownColumn, 3, 13),
        (of(&format!("{shown} PATTERN (A B)\nDEFINE B AS B.price")), TypeMismatch, 3, 13),
        (
            of(&format!("{shown} PATTERN (A B)\nDEFINE B AS SUM(A.price * B.price) > 1")),
            BadPattern,
            3,
            27,
        ),
        (
            of(&format!("{shown} PATTERN (A B)\nDEFINE B AS COUNT(DISTINCT B.price) > 1")),
            Unsupported,
            3,
            13,
        ),
        (
            of(&format!("{shown} PATTERN (A B)\nDEFINE B AS FIRST(LAST(B.price)) > 1")),
            BadPattern,
            3,
            19,
        ),
        (
            of(&format!("{shown} PATTERN (A B)\nDEFINE B AS LAST(B.price, -1) > 1")),
            WrongArguments,
            3,
            28,
        ),
        (
            of(&format!("{shown} PATTERN (A B)\nDEFINE B AS MATCH_ROWTIME() > B.ts")),
            BadPattern,
            3,
            13,
        ),
        (
            of(&format!("{shown} PATTERN (A B)\nDEFINE B AS B.price > A.price * RAND()")),
            Unsupported,
            3,
            13,
        ),
        (
            "SELECT * FROM clicks MATCH_RECOGNIZE (ORDER BY ts PATTERN (A B) DEFINE A AS TRUE);"
                .to_owned(),
            BadPattern,
            1,
            15,
        ),
        (of("MEASURES CLASSIFIER() AS k PATTERN (A B) DEFINE A AS TRUE"), Unsupported, 2, 10),
    ];
    for (statement, kind, line, column) in cases {
        assert_eq!(refused(&statement), (kind, line, column), "{statement}");
    }
}

#[test]
fn rows_have_to_be_in_the_order_of_a_time() {
    let ordered = |order: &str| {
        format!(
            "SELECT * FROM clicks MATCH_RECOGNIZE (PARTITION BY usr\n{order} MEASURES A.kind AS k
             PATTERN (A B) DEFINE A AS TRUE);"
        )
    };
    assert!(session(&ordered("ORDER BY ts ASC, price DESC")).is_ok());
    for (order, line, column) in [
        ("", 1, 15),
        ("ORDER BY price, ts", 2, 10),
        ("ORDER BY ts DESC", 2, 10),
        ("ORDER BY ts + INTERVAL '1' SECOND", 2, 10),
    ] {
        assert_eq!(refused(&ordered(order)), (ErrorKind::BadPattern, line, column), "{order}");
    }
    let all = "SELECT * FROM clicks MATCH_RECOGNIZE (ORDER BY ts MEASURES A.kind AS k
               ALL ROWS PER MATCH PATTERN (A B) DEFINE A AS TRUE);";
    assert_eq!(refused(all), (ErrorKind::Unsupported, 1, 15));
    let queried = "SELECT * FROM (SELECT * FROM clicks) MATCH_RECOGNIZE (ORDER BY ts
                   MEASURES A.kind AS k PATTERN (A B) DEFINE A AS TRUE);";
    assert_eq!(refused(queried), (ErrorKind::Unsupported, 1, 38));
    let named = "WITH c AS (SELECT * FROM clicks) SELECT * FROM c MATCH_RECOGNIZE (ORDER BY ts
                 MEASURES A.kind AS k PATTERN (A B) DEFINE A AS TRUE);";
    assert!(session(named).is_ok());
    let updated = "SELECT * FROM users MATCH_RECOGNIZE (ORDER BY since MEASURES A.usr AS u
                   PATTERN (A B) DEFINE A AS TRUE);";
    assert_eq!(refused(updated), (ErrorKind::Unsupported, 1, 15));
}
