//! `clickstream`.

use super::{click, order, run};

#[test]
fn a_cart_bought_later_by_another_device_is_not_abandoned() {
    let add = |at: &str, user: &str, more: &str| click(at, user, "add_to_cart", more);
    let mobile = r#","device":"mobile","product_id":1"#;
    let clicks = [
        add("2026-01-05 08:00:00", "ann", mobile),
        click("2026-01-05 08:20:00", "ann", "purchase", r#","device":"desktop","product_id":1"#),
        // Ordered exactly 30 minutes later, and a millisecond after that.
        add("2026-01-05 08:00:00", "bob", mobile),
        add("2026-01-05 08:00:00", "cid", mobile),
        // Ordered, and then one more thing is put in.
        add("2026-01-05 08:00:00", "dan", mobile),
        add("2026-01-05 08:10:00", "dan", r#","device":"tablet","product_id":2"#),
        // Put in twice, the second time in time for the order.
        add("2026-01-05 08:00:00", "eve", mobile),
        add("2026-01-05 08:25:00", "eve", mobile),
    ];
    let orders = [
        order("2026-01-05 08:20:00", 1, "ann", "9.00"),
        order("2026-01-05 08:30:00", 2, "bob", "9.00"),
        order("2026-01-05 08:30:00.001", 3, "cid", "9.00"),
        order("2026-01-05 08:05:00", 4, "dan", "9.00"),
        order("2026-01-05 08:50:00", 5, "eve", "9.00"),
    ];
    let done = run("clickstream", &[("clicks", &clicks), ("orders", &orders)]);
    let expected = [
        "cid, 2026-01-05T08:00:00Z, 2026-01-05T08:00:00Z, 1, 1, mobile",
        "dan, 2026-01-05T08:00:00Z, 2026-01-05T08:10:00Z, 2, 2, tablet",
    ];
    assert_eq!(done.rows("abandoned_carts"), expected);
}

#[test]
fn two_devices_at_once_are_one_visit_and_midnight_does_not_end_it() {
    let page = |page: &str, hint: u64| format!(r#","page":"/{page}","session_hint":{hint}"#);
    let clicks = [
        // The first one to arrive is not the first one that happened.
        click("2026-01-05 23:50:05", "ann", "view", &page("b", 1)),
        click("2026-01-05 23:50:00", "ann", "view", &page("a", 1)),
        click("2026-01-05 23:55:00", "ann", "view", &page("c", 2)),
        // Half an hour of silence and no millisecond more.
        click("2026-01-06 00:25:00", "ann", "purchase", r#","page":"/d","price":5.50"#),
        click("2026-01-06 00:55:00.001", "ann", "view", &page("e", 1)),
    ];
    let done = run("clickstream", &[("clicks", &clicks)]);
    let expected = [
        "ann, 2026-01-05T23:50:00Z, 2026-01-06T00:25:00Z, 4, 4, /a, /d, 1, 5.50, true",
        "ann, 2026-01-06T00:55:00.001Z, 2026-01-06T00:55:00.001Z, 1, 1, /e, /e, 0, 0.00, false",
    ];
    assert_eq!(done.rows("sessions"), expected);
}

#[test]
fn a_user_has_one_segment_and_lapses_after_thirty_days_of_which_one_is_a_leap_day() {
    let clicks = [
        click("2028-01-30 23:59:59", "ann", "view", ""),
        click("2028-01-31 00:00:00", "bob", "add_to_cart", ""),
        click("2028-01-30 12:00:00", "cid", "view", ""),
        click("2028-02-29 00:00:00", "dan", "view", ""),
        click("2028-02-29 08:00:00", "cid", "view", ""),
    ];
    let mut orders: Vec<String> =
        (1..=5).map(|id| order(&format!("2028-02-29 09:00:0{id}"), id, "eve", "1.00")).collect();
    // A retry is no fifth order.
    let four = order("2028-02-29 09:00:01", 11, "fay", "1.00");
    orders.extend([four.clone(), four]);
    orders.extend((12..=14).map(|id| order(&format!("2028-02-29 09:00:{id}"), id, "fay", "1.00")));
    let done = run("clickstream", &[("clicks", &clicks), ("orders", &orders)]);
    let expected = [
        "ann, lapsed, not seen for 30 days",
        "bob, cart_abandoner, something in the cart, nothing ordered",
        "cid, new, just came",
        "dan, new, just came",
        "eve, loyal, five orders or more",
        "fay, buyer, has ordered",
    ];
    assert_eq!(done.rows("user_segments"), expected);
}

#[test]
fn a_minute_counts_a_user_once_with_the_segment_at_its_end() {
    let clicks = [
        click("2026-01-05 08:00:01", "ann", "view", ""),
        click("2026-01-05 08:00:02", "ann", "add_to_cart", ""),
        click("2026-01-05 08:00:03", "bob", "view", ""),
        click("2026-01-05 08:01:00", "ann", "view", ""),
    ];
    let orders = [order("2026-01-05 08:01:59.999", 1, "ann", "1.00")];
    let done = run("clickstream", &[("clicks", &clicks), ("orders", &orders)]);
    let expected = [
        "2026-01-05T08:00, cart_abandoner, 1",
        "2026-01-05T08:00, new, 1",
        "2026-01-05T08:01, buyer, 1",
    ];
    assert_eq!(done.rows("segment_counts"), expected);
}
