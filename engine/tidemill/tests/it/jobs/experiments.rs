//! `ab_test`.

use super::{click, order, record, run};

fn assign(at: &str, user: &str, variant: &str) -> String {
    record(at, &format!(r#""user_id":"{user}","experiment":"x","variant":"{variant}""#))
}

#[test]
fn a_user_who_is_reassigned_stays_with_the_first_variant_and_counts_once() {
    let twice = assign("2026-01-05 08:00:00", "bob", "treatment");
    let assignments = [
        // The second one to happen is the first one to arrive.
        assign("2026-01-05 08:00:09", "ann", "treatment"),
        assign("2026-01-05 08:00:00", "ann", "control"),
        twice.clone(),
        twice,
        // At the same time: the name decides.
        assign("2026-01-05 08:00:00", "cid", "treatment"),
        assign("2026-01-05 08:00:00", "cid", "control"),
        // Never seen again.
        assign("2026-01-05 08:00:00", "dan", "treatment"),
    ];
    let clicks = [
        click("2026-01-05 08:00:00", "ann", "view", ""),
        click("2026-01-05 09:00:00", "ann", "view", ""),
        click("2026-01-05 08:00:01", "bob", "view", ""),
        click("2026-01-05 07:59:59", "cid", "view", ""),
    ];
    let orders = [
        order("2026-01-05 08:30:00", 1, "ann", "10.00"),
        order("2026-01-05 08:31:00", 2, "ann", "5.00"),
        // Before the assignment, at the end of the 14 days, and after it.
        order("2026-01-05 07:59:59.999", 3, "bob", "1.00"),
        order("2026-01-19 08:00:00", 4, "bob", "2.00"),
        order("2026-01-19 08:00:00.001", 5, "bob", "4.00"),
    ];
    let inputs = [("clicks", &clicks[..]), ("orders", &orders), ("assignments", &assignments)];
    let done = run("ab_test", &inputs);
    let expected = [
        "x, control, 2, 1, 1, 100.000, 15.0000, null, null, null, null, 1.000000, false",
        "x, treatment, 2, 1, 1, 100.000, 2.0000, 0.000, -86.667, null, null, 1.000000, false",
    ];
    assert_eq!(done.rows("experiment_results"), expected);
}

#[test]
fn lift_z_score_and_p_values_are_those_of_the_text_books() {
    // 10 of 100 and 20 of 80: pooled 1/6, z = 0.15 / sqrt(5/36 * (1/100 + 1/80)).
    let (mut assignments, mut clicks, mut orders) = (Vec::new(), Vec::new(), Vec::new());
    for (variant, users, buyers) in [("control", 100, 10), ("treatment", 80, 20)] {
        for number in 0..users {
            let user = format!("{variant}-{number}");
            assignments.push(assign("2026-01-05 08:00:00", &user, variant));
            clicks.push(click("2026-01-05 08:00:01", &user, "view", ""));
            if number < buyers {
                let id = orders.len() as u64;
                orders.push(order("2026-01-05 08:00:02", id, &user, "8.00"));
            }
        }
    }
    let inputs = [("clicks", &clicks[..]), ("orders", &orders), ("assignments", &assignments)];
    let done = run("ab_test", &inputs);
    let expected = [
        "x, control, 100, 100, 10, 10.000, 0.8000, null, null, null, null, 0.136037, false",
        "x, treatment, 80, 80, 20, 25.000, 2.0000, 150.000, 150.000, 2.6833, 0.007290, 0.136037, false",
    ];
    assert_eq!(done.rows("experiment_results"), expected);
}
