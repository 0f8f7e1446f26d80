//! For how long idle state is kept: `table.exec.state.ttl`, and `STATE_TTL` in its place.

use super::{plan, refused, session};
use crate::ErrorKind;
use crate::plan::{NodeKind, Plan};

const HOUR: i64 = 3_600_000;

/// For how long something is kept, in milliseconds.
type Lifetime = Option<i64>;

/// The lifetimes of all aggregates, rankings and joins of a job, in this order.
fn lifetimes(plan: &Plan) -> (Vec<Lifetime>, Vec<Lifetime>, Vec<[Lifetime; 2]>) {
    let (mut groups, mut rankings, mut joins) = (Vec::new(), Vec::new(), Vec::new());
    for node in &plan.nodes {
        match &node.kind {
            NodeKind::GroupAggregate(spec) => groups.push(spec.ttl_ms),
            NodeKind::TopN(spec) => rankings.push(spec.ttl_ms),
            NodeKind::Join(spec) => joins.push(spec.ttl_ms),
            _ => {}
        }
    }
    (groups, rankings, joins)
}

const SESSION: &str = "SET 'table.exec.state.ttl' = '1 h';";

#[test]
fn all_that_is_idle_is_kept_as_long_as_the_session_says() {
    let of = |query: &str| lifetimes(&plan(&format!("{SESSION} {query}")));
    let group = of("SELECT usr, COUNT(*) FROM clicks GROUP BY usr").0;
    assert_eq!(group, [Some(HOUR)]);
    assert_eq!(of("SELECT DISTINCT usr FROM clicks").0, [Some(HOUR)]);
    let ranked =
        "SELECT usr FROM (SELECT usr, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY price) AS rn
                  FROM clicks) WHERE rn <= 3";
    assert_eq!(of(ranked).1, [Some(HOUR)]);
    let joined = "SELECT c.usr FROM clicks AS c LEFT JOIN users AS u ON u.usr = c.usr";
    assert_eq!(of(joined).2, [[Some(HOUR), Some(HOUR)]]);
    let within = "SELECT usr FROM clicks WHERE usr IN (SELECT usr FROM users)";
    assert_eq!(of(within).2, [[Some(HOUR), Some(HOUR)]]);
    assert_eq!(lifetimes(&plan(joined)).2, [[None, None]]);
}

#[test]
fn what_time_bounds_has_no_lifetime() {
    let windowed = "SELECT usr FROM (SELECT usr, ROW_NUMBER() OVER (
                      PARTITION BY window_start, window_end, usr ORDER BY price) AS rn
                    FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))) WHERE rn = 1";
    assert_eq!(lifetimes(&plan(&format!("{SESSION} {windowed}"))).1, [None]);
}

#[test]
fn a_hint_says_otherwise_for_the_groups_of_one_input() {
    let of = |query: &str| lifetimes(&plan(&format!("{SESSION} {query}"))).0;
    let hinted = |hint: &str| {
        of(&format!("SELECT /*+ STATE_TTL({hint}) */ usr, COUNT(*) FROM clicks AS c GROUP BY usr"))
    };
    assert_eq!(hinted("'c' = '2 h'"), [Some(2 * HOUR)]);
    assert_eq!(hinted("'C' = '0'"), [None], "for ever");
    let distinct = "SELECT /*+ STATE_TTL('clicks' = '3h') */ DISTINCT usr FROM clicks";
    assert_eq!(of(distinct), [Some(3 * HOUR)]);
    // Each select has hints of its own.
    let nested = "SELECT /*+ STATE_TTL('k' = '2 h') */ n, COUNT(*)
                  FROM (SELECT usr, COUNT(*) AS n FROM clicks GROUP BY usr) AS k GROUP BY n";
    assert_eq!(of(nested), [Some(HOUR), Some(2 * HOUR)]);
    let view = "CREATE VIEW v AS SELECT /*+ STATE_TTL('clicks' = '2 h') */ usr, COUNT(*) AS n
                FROM clicks GROUP BY usr; SELECT usr, n FROM v";
    assert_eq!(of(view), [Some(2 * HOUR)]);
}

#[test]
fn a_hint_says_otherwise_for_each_side_of_a_join() {
    let of = |query: &str| lifetimes(&plan(&format!("{SESSION} {query}"))).2;
    let on = "SELECT /*+ STATE_TTL('c' = '2 h', 'users' = '3 h') */ c.usr
              FROM clicks AS c JOIN users ON users.usr = c.usr";
    assert_eq!(of(on), [[Some(2 * HOUR), Some(3 * HOUR)]]);
    let comma = "SELECT /*+ STATE_TTL('u' = '0 s') */ c.usr FROM clicks AS c, users AS u
                 WHERE u.usr = c.usr AND c.price > 1";
    assert_eq!(of(comma), [[Some(HOUR), None]]);
    // The left side of the second join is no input of its own.
    let chain = "SELECT /*+ STATE_TTL('c' = '2 h', 'u' = '3 h', 'v' = '4 h') */ c.usr
                 FROM clicks AS c LEFT JOIN users AS u ON u.usr = c.usr
                 LEFT JOIN users AS v ON v.usr = u.country";
    assert_eq!(of(chain), [[Some(2 * HOUR), Some(3 * HOUR)], [Some(HOUR), Some(4 * HOUR)]]);
}

#[test]
fn a_hint_that_means_nothing_is_refused_and_one_without_effect_is_told() {
    let query = |hint: &str| format!("SELECT {hint} usr, COUNT(*) FROM clicks AS c GROUP BY usr");
    let at = |hint: &str| refused(&query(hint));
    assert_eq!(at("/*+ STATE_TTL('clicks' = '1 d') */"), (ErrorKind::UnknownTable, 1, 8));
    assert_eq!(at("/*+ STATE_TTL('c' = 'soon') */"), (ErrorKind::BadOption, 1, 8));
    assert_eq!(
        refused("SELECT usr FROM clicks /*+ STATE_TTL('clicks' = '1 d') */").0,
        ErrorKind::Unsupported
    );
    let idle = session("SELECT /*+ STATE_TTL('clicks' = '1 d') */ usr FROM clicks").unwrap();
    let [warning] = &idle.warnings[..] else { panic!("{:?}", idle.warnings) };
    assert_eq!((warning.line, warning.column), (1, 8));
    assert!(warning.message.contains("'clicks' has no effect"), "{warning}");
}

#[test]
fn whether_something_is_forgotten_is_part_of_what_it_means_and_for_how_long_is_not() {
    let ids = |set: &str| {
        let query = "SELECT c.usr FROM clicks AS c LEFT JOIN users AS u ON u.usr = c.usr";
        let nodes = plan(&format!("{set} {query}")).nodes;
        let join = nodes.into_iter().find(|node| matches!(node.kind, NodeKind::Join(_)));
        join.expect("a join").operator_id
    };
    let longer = "SET 'table.exec.state.ttl' = '5 d';";
    assert_eq!(ids(SESSION), ids(longer));
    assert_ne!(ids(SESSION), ids(""));
}
