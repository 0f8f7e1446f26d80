//! `clickstream`, `behaviour_to_purchase`, `hourly_business`, `content_contribution`.

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

#[test]
fn an_order_looks_back_on_exactly_a_day_over_all_devices_and_over_a_leap_day() {
    let read = |at: &str, user: &str, content: &str, hint: u64| {
        let more = format!(r#","content_id":"{content}","session_hint":{hint}"#);
        click(at, user, "view", &more)
    };
    let clicks = [
        read("2028-02-28 09:59:59.999", "ann", "too-early", 1),
        read("2028-02-28 10:00:00", "ann", "first", 1),
        // Two visits at once: both are behaviour of the user.
        read("2028-02-29 09:00:00", "ann", "other-device", 2),
        click("2028-02-29 09:59:00", "ann", "view", ""),
        click("2028-02-29 10:00:00", "ann", "purchase", ""),
        read("2028-02-29 10:00:00.001", "ann", "too-late", 1),
        read("2028-02-29 09:00:00", "bob", "of-somebody-else", 3),
    ];
    let of_ann = order("2028-02-29 10:00:00", 1, "ann", "9.00");
    let orders = [of_ann.clone(), of_ann, order("2028-02-29 10:00:00", 2, "cid", "3.00")];
    let done = run("behaviour_to_purchase", &[("clicks", &clicks), ("orders", &orders)]);
    let expected = [
        "1, ann, 2028-02-29T10:00:00Z, 7, 9.00, first, other-device, 2, 3, 2028-02-28T10:00:00Z, 86400",
        "2, cid, 2028-02-29T10:00:00Z, 7, 3.00, null, null, 0, 0, null, null",
    ];
    assert_eq!(done.rows("attributed_orders"), expected);
}

#[test]
fn an_hour_counts_visitors_and_the_sessions_that_begin_in_it() {
    let view = |at: &str, user: &str| click(at, user, "view", "");
    let clicks = [
        view("2026-01-05 08:50:00", "ann"),
        view("2026-01-05 08:50:01", "bob"),
        // The visit goes on: a visitor of this hour, and no new session.
        view("2026-01-05 09:05:00", "ann"),
        // Half an hour is no pause, a millisecond more is.
        view("2026-01-05 09:35:00", "ann"),
        view("2026-01-05 09:20:01.001", "bob"),
    ];
    let retried = order("2026-01-05 09:10:00", 1, "ann", "10.00");
    let orders = [retried.clone(), retried, order("2026-01-05 09:59:59.999", 2, "bob", "5.01")];
    let done = run("hourly_business", &[("clicks", &clicks), ("orders", &orders)]);
    let expected = [
        "2026-01-05, 8, 2, 2, 0, 0.00, 0.00, null, null, null, null, null, null, null",
        "2026-01-05, 9, 2, 1, 2, 15.01, 200.00, 7.51, null, null, null, null, null, null",
    ];
    assert_eq!(done.rows("hourly_figures"), expected);
}

#[test]
fn the_day_before_the_first_of_march_may_be_the_29th_of_february() {
    let orders = [
        order("2028-02-23 10:00:00", 1, "ann", "8.00"),
        order("2028-02-28 10:00:00", 2, "ann", "100.00"),
        order("2028-02-29 10:59:59.999", 3, "ann", "50.00"),
        order("2028-03-01 10:00:00", 4, "ann", "60.00"),
        order("2028-03-01 11:00:00", 5, "ann", "1.00"),
    ];
    let done = run("hourly_business", &[("orders", &orders)]);
    let expected = [
        "2028-02-23, 10, 0, 0, 1, 8.00, null, 8.00, null, null, null, null, null, null",
        "2028-02-28, 10, 0, 0, 1, 100.00, null, 100.00, null, null, null, null, null, null",
        "2028-02-29, 10, 0, 0, 1, 50.00, null, 50.00, 1, 100.00, -50.0, null, null, null",
        "2028-03-01, 10, 0, 0, 1, 60.00, null, 60.00, 1, 50.00, 20.0, 1, 8.00, 650.0",
        "2028-03-01, 11, 0, 0, 1, 1.00, null, 1.00, null, null, null, null, null, null",
    ];
    assert_eq!(done.rows("hourly_figures"), expected);
}

#[test]
fn an_order_after_midnight_is_of_its_own_day_and_of_the_content_of_the_day_before() {
    let touch = |at: &str, user: &str, kind: &str, content: &str| {
        click(at, user, kind, &format!(r#","content_id":"{content}""#))
    };
    let clicks = [
        touch("2028-02-28 23:50:00", "ann", "view", "a"),
        touch("2028-02-28 23:59:59", "ann", "click", "b"),
        touch("2028-02-29 00:10:00", "bob", "view", "c"),
        touch("2028-02-29 00:10:00", "cid", "view", "d"),
        touch("2028-02-29 00:11:00", "cid", "view", "d"),
    ];
    let orders = [
        order("2028-02-29 00:00:00", 1, "ann", "30.00"),
        order("2028-02-29 00:20:00", 2, "bob", "30.00"),
        order("2028-02-29 00:20:00", 3, "cid", "30.00"),
        // Who has touched nothing contributes to nothing.
        order("2028-02-29 00:20:00", 4, "dan", "99.00"),
    ];
    let done = run("content_contribution", &[("clicks", &clicks), ("orders", &orders)]);
    // Equal revenue: more views are better, then the name decides.
    let expected = [
        "2028-02-28, a, 1, 0, 0, 0.00, null, 1",
        "2028-02-28, b, 0, 1, 0, 0.00, null, 2",
        "2028-02-29, b, 0, 0, 1, 30.00, 33.33, 3",
        "2028-02-29, c, 1, 0, 1, 30.00, 33.33, 2",
        "2028-02-29, d, 2, 0, 1, 30.00, 33.33, 1",
    ];
    assert_eq!(done.rows("content_daily"), expected);
}
