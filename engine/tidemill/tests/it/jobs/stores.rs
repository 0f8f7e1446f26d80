//! `inventory`.

use super::{record, run, run_row_by_row};

fn receipt(at: &str, id: u64, lines: &[(&str, i64, &str)]) -> String {
    let line = |(item, quantity, price): &(&str, i64, &str)| {
        format!(r#"{{"item_id":"{item}","quantity":{quantity},"unit_price":{price}}}"#)
    };
    let lines: Vec<String> = lines.iter().map(line).collect();
    let lines = lines.join(",");
    record(at, &format!(r#""store_id":"s1","receipt_id":{id},"lines":[{lines}]"#))
}

fn movement(at: &str, id: u64, kind: &str, store: &str, quantity: i64) -> String {
    let fields = format!(
        r#""movement_id":{id},"kind":"{kind}","store_id":"{store}","item_id":"tea","quantity":{quantity}"#
    );
    record(at, &fields)
}

fn item(before: Option<i64>, after: i64) -> String {
    let row = |point| format!(r#"{{"item_id":"tea","name":"green tea","reorder_point":{point}}}"#);
    let (op, before) = match before {
        None => ("c", "null".to_owned()),
        Some(before) => ("u", row(before)),
    };
    format!(r#"{{"before":{before},"after":{},"op":"{op}"}}"#, row(after))
}

#[test]
fn a_return_after_the_count_adds_to_it_and_retries_add_nothing() {
    let sale = receipt("2026-01-05 08:10:00", 1, &[("tea", 2, "3.50"), ("tea", 1, "3.50")]);
    let back = movement("2026-01-05 10:00:00", 4, "return", "s1", 1);
    let movements = [
        movement("2026-01-05 08:00:00", 1, "delivery", "s1", 20),
        // The count finds two pieces less than the books say.
        movement("2026-01-05 09:00:00", 2, "count", "s1", -2),
        back.clone(),
        back,
        movement("2026-01-05 11:00:00", 5, "transfer", "s1", -5),
        movement("2026-01-05 11:00:00", 6, "transfer", "s2", 5),
    ];
    let inputs = [("pos_transactions", &[sale.clone(), sale][..]), ("stock_movements", &movements)];
    let done = run("inventory", &inputs);
    assert_eq!(done.rows("stock_positions"), ["s1, tea, 11", "s2, tea, 5"]);
    assert_eq!(done.rows("sales_by_store_hour"), ["2026-01-05T08:00, s1, 1, 3, 10.50"]);
}

#[test]
fn sales_of_the_last_millisecond_before_midnight_are_of_the_old_day() {
    let receipts = [
        receipt("2028-02-29 23:59:59.999", 1, &[("tea", 1, "1.00")]),
        receipt("2028-03-01 00:00:00", 2, &[("tea", 2, "1.00")]),
    ];
    let done = run("inventory", &[("pos_transactions", &receipts)]);
    let expected = ["2028-02-29T23:00, s1, 1, 1, 1.00", "2028-03-01T00:00, s1, 1, 2, 2.00"];
    assert_eq!(done.rows("sales_by_store_hour"), expected);
}

#[test]
fn a_shortage_is_told_once_and_ends_with_goods_or_with_another_reorder_point() {
    let items = [item(None, 10)];
    let movements = [
        movement("2026-01-05 08:00:00", 1, "delivery", "s1", 12),
        movement("2026-01-05 08:01:00", 2, "count", "s1", -3),
        movement("2026-01-05 08:02:00", 3, "count", "s1", -3),
        movement("2026-01-05 08:03:00", 4, "delivery", "s1", 20),
        movement("2026-01-05 08:04:00", 5, "count", "s1", -20),
    ];
    let inputs = [("stock_movements", &movements[..]), ("items", &items)];
    let done = run_row_by_row("inventory", &inputs);
    let told = "[s1, tea, green tea]";
    let expected = [format!("+I{told}"), format!("-D{told}"), format!("+I{told}")];
    assert_eq!(done.changes("reorder_alerts"), expected);
    let items = [item(None, 10), item(Some(10), 6)];
    let inputs = [("stock_movements", &movements[..]), ("items", &items)];
    assert_eq!(run("inventory", &inputs).rows("reorder_alerts"), [""; 0]);
}

#[test]
fn what_is_sold_before_it_was_booked_is_negative_until_it_is() {
    let sale = [receipt("2026-01-05 08:10:00", 1, &[("tea", 2, "3.50")])];
    let done = run("inventory", &[("pos_transactions", &sale)]);
    assert_eq!(done.rows("negative_stock"), ["s1, tea, -2"]);
    let delivery = [movement("2026-01-05 08:00:00", 1, "delivery", "s1", 2)];
    let done = run("inventory", &[("pos_transactions", &sale), ("stock_movements", &delivery)]);
    assert_eq!(done.rows("negative_stock"), [""; 0]);
}
