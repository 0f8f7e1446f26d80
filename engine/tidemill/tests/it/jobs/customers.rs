//! `crm_segments`.

use super::{order, run, run_row_by_row};

fn customer(user: &str, before: Option<bool>, after: bool) -> String {
    let row = |consent| {
        format!(
            r#"{{"user_id":"{user}","name":"N {user}","email":"{user}@example.com","consent":{consent}}}"#
        )
    };
    let (op, before) = match before {
        None => ("c", "null".to_owned()),
        Some(before) => ("u", row(before)),
    };
    format!(r#"{{"before":{before},"after":{},"op":"{op}"}}"#, row(after))
}

#[test]
fn recency_counts_days_and_a_leap_day_is_one() {
    let users = ["ann", "bob", "cid", "dan", "eve"];
    let customers: Vec<String> = users.map(|user| customer(user, None, true)).into();
    let twice = order("2028-01-31 00:00:00", 2, "bob", "100.00");
    let orders = [
        // 30 days before, 29 days before, 60, 180 and none.
        order("2028-01-30 23:59:59", 1, "ann", "100.00"),
        twice.clone(),
        twice,
        order("2028-01-01 12:00:00", 3, "cid", "1200.00"),
        order("2027-09-02 12:00:00", 4, "dan", "600.00"),
        order("2028-02-29 00:00:00", 5, "eve", "250.00"),
        // A day late, and it counts.
        order("2028-02-28 00:00:00", 6, "eve", "250.00"),
    ];
    let done = run("crm_segments", &[("orders", &orders), ("customers", &customers)]);
    let expected = [
        "ann, N ann, new, 4, 1, 1, 2028-01-30, 1, 100.00",
        "bob, N bob, new, 5, 1, 1, 2028-01-31, 1, 100.00",
        "cid, N cid, champions, 4, 1, 4, 2028-01-01, 1, 1200.00",
        "dan, N dan, at_risk, 1, 1, 3, 2027-09-02, 1, 600.00",
        "eve, N eve, loyal, 5, 2, 3, 2028-02-29, 2, 500.00",
    ];
    assert_eq!(done.rows("rfm_segments"), expected);
}

#[test]
fn a_customer_enters_and_leaves_an_audience_by_behaviour_by_time_and_by_consent() {
    let customers = [customer("ann", None, true), customer("bob", None, false)];
    let orders = [
        order("2026-01-05 08:00:00", 1, "ann", "10.00"),
        order("2026-01-06 08:00:00", 2, "ann", "10.00"),
        // Nothing that matters to the segment.
        order("2026-01-07 08:00:00", 3, "ann", "10.00"),
        order("2026-04-07 08:00:00", 4, "bob", "10.00"),
    ];
    let done = run_row_by_row("crm_segments", &[("orders", &orders), ("customers", &customers)]);
    let audience: Vec<&str> = done.changes("campaign_audience");
    let moves = |change: &&str| change.replace("-U", "-D").replace("+U", "+I");
    let expected = [
        "+I[ann, new]",
        "-D[ann, new]",
        "+I[ann, promising]",
        "-D[ann, promising]",
        "+I[ann, hibernating]",
    ];
    assert_eq!(audience.iter().map(moves).collect::<Vec<_>>(), expected);

    let withdrawn = [customer("ann", None, true), customer("ann", Some(true), false)];
    let done = run("crm_segments", &[("orders", &orders[..1]), ("customers", &withdrawn)]);
    assert_eq!(done.rows("campaign_audience"), [""; 0]);
    assert_eq!(done.rows("rfm_segments").len(), 1);
}
