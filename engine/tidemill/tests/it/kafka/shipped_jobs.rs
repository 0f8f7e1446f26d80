//! The shipped jobs from generated topics to their result topics, checked by plain recomputation.
//!
//! Which of the late rows are still in time depends on how far the job has read when they come.
//! Those that it dropped stand in the dead letters, so the recomputation leaves out just these.

use super::Job;
use super::broker::brokers;
use super::topics::Topic;
use crate::support::{finish, tidemill};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;
use tidemill_jobs::Settings;

const PARTITIONS: i32 = 3;

/// More than any of the jobs needs, however much stands in its topics.
const MEMORY_MAX: u64 = 400 << 20;

/// A shipped job after its run, with the records that it was given.
struct Done {
    job: Job,
    brokers: String,
    prefix: String,
    /// By topic, in the order of arrival: what can be decoded.
    records: BTreeMap<&'static str, Vec<Value>>,
}

impl Done {
    /// Generates input for a job and runs it to the input's end.
    fn run(name: &str, brokers: &str, events: usize) -> Done {
        let shipped = tidemill_jobs::find(name).expect("a shipped job");
        let prefix = format!("{name}-");
        for topic in shipped.inputs.iter().chain(shipped.results) {
            Topic::create(brokers, &format!("{prefix}{}", topic.name), PARTITIONS);
        }
        let mut generate = tidemill();
        generate.args(["generate", name, "--brokers", brokers, "--topic-prefix", &prefix]);
        generate.args(["--events", &events.to_string()]);
        let output = finish(generate, Duration::from_secs(60)).expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        let job = Job::shipped(name)
            .argument("--brokers")
            .argument(brokers)
            .define("TOPIC_PREFIX", &prefix)
            .define("BOUNDED", "latest-offset");
        job.run(0);

        let mut records: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
        let mut bad = 0;
        for record in (shipped.generator)(Settings::default()).take(events) {
            match serde_json::from_slice(&record.value) {
                Ok(value) if is_whole(&value) => {
                    records.entry(record.topic).or_default().push(value);
                }
                _ => bad += 1,
            }
        }
        let summary = job.summary();
        assert!(bad > 0, "a generator spoils some records");
        assert_eq!(summary["bad_rows"], bad, "{summary}");
        assert_eq!(summary["exit"], "finished");
        let peak = summary["peak_rss_bytes"].as_u64().expect("a number");
        assert!(peak < MEMORY_MAX, "{peak}");
        let late: usize = summary["late_rows"].as_u64().expect("a number") as usize;
        assert_eq!(job.dead_letters("late").len(), late);
        Done { job, brokers: brokers.to_owned(), prefix, records }
    }

    fn result(&self, topic: &str) -> Topic {
        Topic::named(&self.brokers, &format!("{}{topic}", self.prefix), PARTITIONS)
    }

    /// The column of the rows that came too late for steps that have it.
    fn late(&self, column: &str) -> BTreeSet<String> {
        let letters = self.job.dead_letters("late");
        letters.iter().filter_map(|letter| Some(letter["row"][column].as_str()?.into())).collect()
    }
}

/// Whether damage has left the record's time alone.
fn is_whole(value: &Value) -> bool {
    value.get("ts").is_none_or(|ts| ts.as_str().is_some_and(|ts| !ts.starts_with("about")))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn number(value: &Value, name: &str) -> i64 {
    value[name].as_i64().unwrap_or_default()
}

/// Cents of an amount with two digits behind the point, as a string or a number.
fn cents(value: &Value) -> i64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    (text.parse::<f64>().unwrap_or_default() * 100.0).round() as i64
}

/// The seconds of a time on the generators' day and the ones after it.
fn millis(ts: &str) -> i64 {
    let part = |range: std::ops::Range<usize>| ts[range].parse::<i64>().expect("digits");
    let seconds = ((part(8..10) * 24 + part(11..13)) * 60 + part(14..16)) * 60 + part(17..19);
    let digits = ts[19..].trim_matches(['.', 'Z']);
    seconds * 1000 + format!("{digits:0<3}").parse::<i64>().expect("milliseconds")
}

/// The best first: points, then the id.
fn ranked(points: BTreeMap<String, (i64, i64)>, places: usize) -> Vec<(String, i64, i64)> {
    let mut ranked: Vec<_> = points.into_iter().map(|(player, (p, c))| (player, p, c)).collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked.truncate(places);
    ranked
}

#[test]
fn the_leaderboard_shows_the_best_players_of_all_time_and_of_each_minute() {
    let Some(brokers) = brokers() else { return };
    let done = Done::run("leaderboard", brokers, 40_000);
    let late = done.late("ball_id");
    let mut all: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut minutes: BTreeMap<(String, String), BTreeMap<String, (i64, i64)>> = BTreeMap::new();
    let mut seen = HashSet::new();
    for catch in &done.records["catches"] {
        let id = number(catch, "ball_id");
        if late.contains(&id.to_string()) || !seen.insert(id) {
            continue;
        }
        let minute = (text(catch, "ts")[..16].to_owned(), text(catch, "region").to_owned());
        for players in [&mut all, minutes.entry(minute).or_default()] {
            let player = players.entry(text(catch, "player_id").to_owned()).or_default();
            *player = (player.0 + number(catch, "points"), player.1 + 1);
        }
    }
    let scores = all.iter().map(|(player, (points, catches))| {
        let row = json!({"player_id": player, "points": points, "catches": catches});
        (json!({ "player_id": player }).to_string(), row)
    });
    assert!(done.result("player_scores").table() == scores.collect(), "scores differ");
    let nicknames: BTreeMap<&str, &Value> = done.records["players"]
        .iter()
        .map(|change| (text(&change["after"], "player_id"), &change["after"]["nickname"]))
        .collect();
    let best = ranked(all, 100).into_iter().zip(1..).map(|((player, points, catches), place)| {
        let key = json!({ "place": place }).to_string();
        let nickname = nicknames[player.as_str()];
        let row = json!({
            "place": place, "player_id": player, "nickname": nickname,
            "points": points, "catches": catches,
        });
        (key, row)
    });
    assert_eq!(done.result("top_players").table(), best.collect());

    let mut expected: Vec<String> = Vec::new();
    for ((minute, region), players) in minutes {
        for ((player, points, catches), place) in ranked(players, 10).into_iter().zip(1..) {
            expected.push(format!("{minute} {region} {place} {player} {points} {catches}"));
        }
    }
    let row = |row: &Value| {
        let (minute, region) = (&text(row, "window_start")[..16], text(row, "region"));
        let (place, points) = (number(row, "place"), number(row, "points"));
        let (player, catches) = (text(row, "player_id"), number(row, "catches"));
        format!("{minute} {region} {place} {player} {points} {catches}")
    };
    let mut rows: Vec<String> = done.result("top_by_minute").values().iter().map(row).collect();
    rows.sort();
    expected.sort();
    assert_eq!(rows, expected);
}

fn lines(receipt: &Value) -> impl Iterator<Item = &Value> {
    receipt["lines"].as_array().into_iter().flatten()
}

#[test]
fn the_inventory_knows_positions_and_alerts_and_the_sales_of_each_hour() {
    let Some(brokers) = brokers() else { return };
    let done = Done::run("inventory", brokers, 40_000);
    let mut positions: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut book = |store: &str, item: &str, change: i64| {
        *positions.entry((store.to_owned(), item.to_owned())).or_default() += change;
    };
    let mut seen = HashSet::new();
    for receipt in &done.records["pos_transactions"] {
        let store = text(receipt, "store_id");
        if seen.insert((store, number(receipt, "receipt_id"))) {
            for line in lines(receipt) {
                book(store, text(line, "item_id"), -number(line, "quantity"));
            }
        }
    }
    let mut seen = HashSet::new();
    for movement in &done.records["stock_movements"] {
        if seen.insert(number(movement, "movement_id")) {
            let (store, item) = (text(movement, "store_id"), text(movement, "item_id"));
            book(store, item, number(movement, "quantity"));
        }
    }
    let key =
        |(store, item): &(String, String)| json!({"store_id": store, "item_id": item}).to_string();
    let position = |(shelf, on_hand): (&(String, String), &i64)| {
        let row = json!({"store_id": shelf.0, "item_id": shelf.1, "on_hand": on_hand});
        (key(shelf), row)
    };
    let rows: BTreeMap<String, Value> = positions.iter().map(position).collect();
    assert!(done.result("stock_positions").table() == rows, "positions differ");
    let negative = positions.iter().filter(|(_, on_hand)| **on_hand < 0).map(position);
    assert_eq!(done.result("negative_stock").table(), negative.collect());

    let items: BTreeMap<&str, &Value> = done.records["items"]
        .iter()
        .map(|change| (text(&change["after"], "item_id"), &change["after"]))
        .collect();
    let alerts = positions.iter().filter_map(|(shelf, &on_hand)| {
        let item = items.get(shelf.1.as_str())?;
        let row = json!({"store_id": shelf.0, "item_id": shelf.1, "name": item["name"]});
        (on_hand < number(item, "reorder_point")).then(|| (key(shelf), row))
    });
    let alerts: BTreeMap<String, Value> = alerts.collect();
    assert!(!alerts.is_empty());
    assert_eq!(done.result("reorder_alerts").table(), alerts);

    // A line that came too late is known by its receipt: no other line of it is in that hour.
    let late: HashSet<(String, String, String)> = done
        .job
        .dead_letters("late")
        .iter()
        .map(|letter| {
            let cell = |name| text(&letter["row"], name).to_owned();
            (cell("store_id"), cell("receipt_id"), cell("line"))
        })
        .collect();
    let mut hours: BTreeMap<(String, String), (HashSet<i64>, i64, i64)> = BTreeMap::new();
    let mut seen = HashSet::new();
    for sale in &done.records["pos_transactions"] {
        let (store, receipt) = (text(sale, "store_id"), number(sale, "receipt_id"));
        for (line, number_of_line) in lines(sale).zip(1..) {
            let id = (store.to_owned(), receipt.to_string(), number_of_line.to_string());
            if late.contains(&id) || !seen.insert(id) {
                continue;
            }
            let hour = (text(sale, "ts")[..13].to_owned(), store.to_owned());
            let hour = hours.entry(hour).or_default();
            hour.0.insert(receipt);
            hour.1 += number(line, "quantity");
            hour.2 += number(line, "quantity") * cents(&line["unit_price"]);
        }
    }
    let expected: BTreeSet<String> = hours
        .iter()
        .map(|((hour, store), (receipts, pieces, revenue))| {
            format!("{hour} {store} {} {pieces} {revenue}", receipts.len())
        })
        .collect();
    let row = |row: &Value| {
        let (hour, store) = (&text(row, "window_start")[..13], text(row, "store_id"));
        let (receipts, pieces) = (number(row, "receipts"), number(row, "pieces"));
        format!("{hour} {store} {receipts} {pieces} {}", cents(&row["revenue"]))
    };
    let rows = done.result("sales_by_store_hour").values();
    assert_eq!(rows.len(), expected.len());
    assert_eq!(rows.iter().map(row).collect::<BTreeSet<_>>(), expected);
}

/// The segment of who has done so much, and why.
fn segment(views: i64, carts: i64, orders: i64) -> (&'static str, &'static str) {
    match (views, carts, orders) {
        (.., 5..) => ("loyal", "five orders or more"),
        (.., 1..) => ("buyer", "has ordered"),
        (_, 1.., _) => ("cart_abandoner", "something in the cart, nothing ordered"),
        (10.., ..) => ("browser", "ten views or more, nothing in the cart"),
        _ => ("new", "just came"),
    }
}

#[test]
fn the_clickstream_knows_segments_sessions_and_carts() {
    let Some(brokers) = brokers() else { return };
    // More than an hour of events, so that there are users with several sessions.
    let done = Done::run("clickstream", brokers, 100_000);
    let (clicks, orders) = (&done.records["clicks"], &done.records["orders"]);
    let mut users: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
    for click in clicks {
        let user = users.entry(text(click, "user_id")).or_default();
        match text(click, "event_type") {
            "view" => user.0 += 1,
            "add_to_cart" => user.1 += 1,
            _ => {}
        }
    }
    let (late, mut seen) = (done.late("order_id"), HashSet::new());
    for order in orders {
        let id = number(order, "order_id");
        if !late.contains(&id.to_string()) && seen.insert(id) {
            users.entry(text(order, "user_id")).or_default().2 += 1;
        }
    }
    let segments = users.iter().map(|(user, (views, carts, orders))| {
        let (segment, reason) = segment(*views, *carts, *orders);
        let row = json!({"user_id": user, "segment": segment, "reason": reason});
        (json!({ "user_id": user }).to_string(), row)
    });
    let segments: BTreeMap<String, Value> = segments.collect();
    assert!(done.result("user_segments").table() == segments, "segments of users differ");
    sessions_are_right(&done, clicks);
    carts_are_right(&done, clicks, orders);
}

const GAP_MS: i64 = 30 * 60_000;

/// Carts of users of whom nothing was late.
fn carts_are_right(done: &Done, clicks: &[Value], orders: &[Value]) {
    let late: HashSet<&str> = late_users(clicks).union(&late_users(orders)).copied().collect();
    let mut by_user: BTreeMap<&str, Vec<(i64, bool)>> = BTreeMap::new();
    let added = clicks.iter().filter(|click| click["event_type"] == "add_to_cart");
    for (record, is_order) in added.map(|r| (r, false)).chain(orders.iter().map(|r| (r, true))) {
        let at = (millis(text(record, "ts")), is_order);
        by_user.entry(text(record, "user_id")).or_default().push(at);
    }
    let mut expected = Vec::new();
    for (user, mut steps) in by_user.into_iter().filter(|(user, _)| !late.contains(user)) {
        steps.sort_unstable();
        for cart in steps.chunk_by(|a, b| b.0 - a.0 <= GAP_MS) {
            let added = cart.iter().filter(|(_, is_order)| !is_order);
            if let (Some((last, false)), Some((first, _))) = (cart.last(), added.clone().next()) {
                expected.push(format!("{user} {first} {last} {}", added.count()));
            }
        }
    }
    let rows = done.result("abandoned_carts").values();
    let in_time = rows.iter().filter(|row| !late.contains(text(row, "user_id")));
    let mut found: Vec<String> = in_time
        .map(|row| {
            let (first, last) = (millis(text(row, "first_added")), millis(text(row, "last_added")));
            format!("{} {first} {last} {}", text(row, "user_id"), number(row, "items"))
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

/// Sessions of users none of whose clicks was late: a late click that still found its session
/// open may stand beside one that was closed already.
fn sessions_are_right(done: &Done, clicks: &[Value]) {
    let late = late_users(clicks);
    assert!(!late.is_empty());
    let mut by_user: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for click in clicks.iter().filter(|click| !late.contains(text(click, "user_id"))) {
        by_user.entry(text(click, "user_id")).or_default().push(click);
    }
    let mut expected = Vec::new();
    for (user, mut clicks) in by_user {
        clicks.sort_by_key(|click| (text(click, "ts"), text(click, "page")));
        let ts = |click: &Value| millis(text(click, "ts"));
        for session in clicks.chunk_by(|a, b| ts(b) - ts(a) <= GAP_MS) {
            let pages: BTreeSet<&str> = session.iter().filter_map(|c| c["page"].as_str()).collect();
            let bought: Vec<i64> = session
                .iter()
                .filter(|click| click["event_type"] == "purchase")
                .map(|click| cents(&click["price"]))
                .collect();
            let (first, last) = (ts(session[0]), ts(session[session.len() - 1]));
            let (depth, pages, revenue) = (session.len(), pages.len(), bought.iter().sum::<i64>());
            let (entry, exit) =
                (text(session[0], "page"), text(session[session.len() - 1], "page"));
            expected.push(format!(
                "{user} {first} {last} {depth} {pages} {entry} {exit} {} {revenue} {}",
                bought.len(),
                !bought.is_empty()
            ));
        }
    }
    let rows = done.result("sessions").values();
    let in_time = rows.iter().filter(|row| !late.contains(text(row, "user_id")));
    let mut found: Vec<String> = in_time
        .map(|row| {
            let (first, last) = (millis(text(row, "first_click")), millis(text(row, "last_click")));
            format!(
                "{} {first} {last} {} {} {} {} {} {} {}",
                text(row, "user_id"),
                number(row, "depth"),
                number(row, "pages"),
                text(row, "entry_page"),
                text(row, "exit_page"),
                number(row, "purchases"),
                cents(&row["revenue"]),
                row["converted"]
            )
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found.len(), expected.len());
    let differing = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert_eq!(differing, None);
}

/// Users with records of a topic that are behind its watermark, whoever reads how fast.
fn late_users(clicks: &[Value]) -> HashSet<&str> {
    const DELAY_MS: i64 = 15_000;
    let mut greatest = 0;
    let mut late = HashSet::new();
    for click in clicks {
        let ts = millis(text(click, "ts"));
        if ts < greatest - DELAY_MS {
            late.insert(text(click, "user_id"));
        }
        greatest = greatest.max(ts);
    }
    late
}
