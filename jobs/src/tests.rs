//! What every shipped job keeps: its generator repeats itself, stays within the disorder that the
//! job's watermark allows, and breaks things as often as it says.

use crate::arrival::Faults;
use crate::{
    Job, Record, Settings, all, crm_segments, factory, find, inventory, leaderboard, shop,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const RECORDS: usize = 60_000;

fn records(job: &Job, seed: u64) -> impl Iterator<Item = Record> {
    (job.generator)(Settings { seed, ..Settings::default() })
}

fn faults(job: &Job) -> Faults {
    match job.name {
        "leaderboard" => leaderboard::FAULTS,
        "inventory" => inventory::FAULTS,
        "crm_segments" => crm_segments::FAULTS,
        "factory" => factory::FAULTS,
        _ => shop::FAULTS,
    }
}

/// Whether a topic is a database's change log, which is whole, in order, and sent once.
fn is_change_log(record: &Record) -> bool {
    ["players", "items", "customers"].contains(&record.topic)
}

/// The row of a record that can be read, of one topic of a job, so many of them.
fn rows(job: &str, seed: u64, topic: &str, count: usize) -> Vec<Value> {
    let job = find(job).expect("shipped");
    let of_topic = records(job, seed).filter(|record| record.topic == topic);
    of_topic.filter_map(|record| row(&record)).map(|(_, value)| value).take(count).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text {field} in {value}"))
}

/// The row of a record and its event time; `None` if it is damaged.
fn row(record: &Record) -> Option<(i64, Value)> {
    let value: Value = serde_json::from_slice(&record.value).ok()?;
    let time = chrono::DateTime::parse_from_rfc3339(value["ts"].as_str()?).ok()?;
    Some((time.timestamp_millis(), value))
}

/// Counts that must come near `expected`, four standard deviations being near.
fn assert_near(what: &str, job: &Job, found: usize, expected: f64) {
    let distance = (found as f64 - expected).abs();
    assert!(distance <= 4.0 * expected.sqrt(), "{} {what}: {found}, not {expected}", job.name);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    for job in all() {
        let first: Vec<Record> = records(job, 1).take(2000).collect();
        assert!(records(job, 1).take(2000).eq(first.iter().cloned()), "{}", job.name);
        assert!(!records(job, 2).take(2000).eq(first), "{}", job.name);
    }
}

#[test]
fn records_come_in_order_of_arrival_with_keys_and_only_to_the_jobs_topics() {
    for job in all() {
        let records: Vec<Record> = records(job, 3).take(RECORDS).collect();
        assert!(records.is_sorted_by_key(|record| record.timestamp_ms), "{}", job.name);
        assert!(records.iter().all(|record| !record.key.is_empty()), "{}", job.name);
        let topics: HashSet<&str> = records.iter().map(|record| record.topic).collect();
        let inputs: HashSet<&str> = job.inputs.iter().map(|topic| topic.name).collect();
        assert_eq!(topics, inputs, "{}", job.name);
    }
}

#[test]
fn disorder_stays_below_the_watermarks_delay_but_for_the_late_records() {
    for job in all() {
        let faults = faults(job);
        let seconds = faults.delay_ms / 1000;
        assert!(
            job.sql.contains(&format!("WATERMARK FOR ts AS ts - INTERVAL '{seconds}' SECOND")),
            "{} declares another bound",
            job.name
        );
        let mut greatest_ms: HashMap<&str, i64> = HashMap::new();
        let (mut late, mut timed) = (0, 0);
        // Slowly, so that the test lasts longer than the latest record is late.
        let slowly = Settings { seed: 4, events_per_second: Some(0.2), ..Settings::default() };
        let records = (job.generator)(slowly).take(RECORDS);
        for record in records.filter(|record| !is_change_log(record)) {
            let Some((time_ms, _)) = row(&record) else { continue };
            timed += 1;
            let greatest_ms = greatest_ms.entry(record.topic).or_insert(time_ms);
            let delay_ms = (record.timestamp_ms - time_ms) as u64;
            if delay_ms >= faults.delay_ms {
                late += 1;
                assert!((faults.late_min_ms..=faults.late_max_ms).contains(&delay_ms));
            } else {
                assert!(time_ms > *greatest_ms - faults.delay_ms as i64, "{}", job.name);
            }
            *greatest_ms = time_ms.max(*greatest_ms);
        }
        assert_near("late", job, late, timed as f64 / faults.late_one_in as f64);
    }
}

#[test]
fn one_record_in_so_many_is_damaged() {
    for job in all() {
        let fallible = records(job, 13).take(RECORDS).filter(|record| !is_change_log(record));
        let (mut broken, mut sent) = (0, 0);
        for record in fallible {
            sent += 1;
            broken += usize::from(row(&record).is_none());
        }
        assert_near("damaged", job, broken, sent as f64 / faults(job).broken_one_in as f64);
    }
}

#[test]
fn one_record_in_so_many_is_sent_twice_byte_for_byte() {
    // Browsers and databases don't send again.
    let is_retried = |record: &Record| record.topic != "clicks" && !is_change_log(record);
    for job in all() {
        let mut seen = HashSet::new();
        let (mut twice, mut sent, mut by_chance) = (0, 0, 0);
        for record in records(job, 6).take(RECORDS).filter(|record| row(record).is_some()) {
            let is_retried = is_retried(&record);
            sent += usize::from(is_retried);
            if !seen.insert((record.topic, record.value)) {
                twice += usize::from(is_retried);
                by_chance += usize::from(!is_retried);
            }
        }
        // Somebody may click twice at one product in one millisecond.
        assert!(by_chance < 3, "{}: {by_chance}", job.name);
        let expected = sent as f64 / faults(job).duplicate_one_in as f64;
        assert_near("sent twice", job, twice, expected);
    }
}

#[test]
fn a_catch_is_complete_and_few_players_catch_most() {
    let mut catches: HashMap<String, usize> = HashMap::new();
    for value in rows("leaderboard", 7, "catches", RECORDS) {
        assert!(value["points"].as_i64().is_some_and(|points| points >= 10), "{value}");
        assert!(value["ball_id"].is_u64(), "{value}");
        assert!(value["lat"].as_f64().is_some_and(|lat| lat.abs() < 90.0), "{value}");
        assert!(value["lon"].as_f64().is_some_and(|lon| lon.abs() < 180.0), "{value}");
        text(&value, "rarity");
        text(&value, "region");
        *catches.entry(text(&value, "player_id").to_owned()).or_default() += 1;
    }
    let mut catches: Vec<usize> = catches.into_values().collect();
    catches.sort_unstable_by(|a, b| b.cmp(a));
    assert!(catches.len() > 1000, "{}", catches.len());
    assert!(catches[..50].iter().sum::<usize>() > RECORDS / 4, "{:?}", &catches[..50]);
}

#[test]
fn balls_are_as_rare_as_they_are_said_to_be() {
    let mut rarities: HashMap<String, usize> = HashMap::new();
    for value in rows("leaderboard", 7, "catches", RECORDS) {
        *rarities.entry(text(&value, "rarity").to_owned()).or_default() += 1;
    }
    let job = find("leaderboard").expect("shipped");
    let of_ten_thousand =
        [("common", 6500), ("uncommon", 2500), ("rare", 800), ("epic", 180), ("legendary", 20)];
    for (rarity, of_ten_thousand) in of_ten_thousand {
        let expected = RECORDS as f64 * f64::from(of_ten_thousand) / 10_000.0;
        assert_near(rarity, job, rarities[rarity], expected);
    }
}

#[test]
fn visitors_view_more_than_they_click_and_buy_least_and_come_back() {
    let mut kinds: HashMap<String, usize> = HashMap::new();
    let mut visits: HashMap<String, HashSet<u64>> = HashMap::new();
    for value in rows("clickstream", 8, "clicks", RECORDS) {
        let kind = text(&value, "event_type");
        assert!(kind != "purchase" || value["price"].is_number(), "{value}");
        *kinds.entry(kind.to_owned()).or_default() += 1;
        let user = text(&value, "user_id").to_owned();
        visits.entry(user).or_default().insert(value["session_hint"].as_u64().unwrap());
    }
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    let percent = |kind: &str| kinds[kind] as f64 * 100.0 / RECORDS as f64;
    assert!((70.0..80.0).contains(&percent("view")), "{kinds:?}");
    assert!((19.0..25.0).contains(&percent("click")), "{kinds:?}");
    assert!((1.5..4.0).contains(&percent("add_to_cart")), "{kinds:?}");
    assert!((0.4..1.5).contains(&percent("purchase")), "{kinds:?}");
    let back = visits.values().filter(|visits| visits.len() > 1).count();
    assert!(back > visits.len() / 10, "{back} of {}", visits.len());
}

#[test]
fn an_order_has_a_purchase_click_of_its_user_unless_the_tracker_missed_it() {
    let job = find("clickstream").expect("shipped");
    let (mut purchases, mut orders) = (HashSet::new(), Vec::new());
    for record in records(job, 8).take(4 * RECORDS) {
        let Some((time_ms, value)) = row(&record) else { continue };
        let at = (text(&value, "user_id").to_owned(), time_ms);
        match record.topic {
            "orders" => orders.push(at),
            _ if value["event_type"] == "purchase" => drop(purchases.insert(at)),
            _ => {}
        }
    }
    let untracked = orders.iter().filter(|at| !purchases.contains(at)).count();
    assert_near("untracked", job, untracked, orders.len() as f64 / 40.0);
}

#[test]
fn the_treated_buy_more_and_one_experiment_loses_assignments() {
    let job = find("ab_test").expect("shipped");
    let mut variants: HashMap<(String, String), HashSet<String>> = HashMap::new();
    let mut buyers = HashSet::new();
    for record in records(job, 10).take(3 * RECORDS) {
        let Some((_, value)) = row(&record) else { continue };
        let user = text(&value, "user_id").to_owned();
        match record.topic {
            "orders" => drop(buyers.insert(user)),
            "assignments" => {
                let key = (text(&value, "experiment").into(), text(&value, "variant").into());
                variants.entry(key).or_default().insert(user);
            }
            _ => {}
        }
    }
    let users =
        |experiment: &str, variant: &str| &variants[&(experiment.to_owned(), variant.to_owned())];
    let ratio = |experiment| {
        users(experiment, "treatment").len() as f64 / users(experiment, "control").len() as f64
    };
    assert!((0.95..1.05).contains(&ratio("checkout-button")), "{}", ratio("checkout-button"));
    assert!((0.82..0.94).contains(&ratio("search-ranking")), "{}", ratio("search-ranking"));
    let rate = |variant| {
        let users = users("checkout-button", variant);
        users.intersection(&buyers).count() as f64 / users.len() as f64
    };
    assert!(rate("treatment") > 1.03 * rate("control"), "{}", rate("treatment"));
}

#[test]
fn customers_are_known_before_they_order_and_some_may_not_be_written_to() {
    let job = find("crm_segments").expect("shipped");
    let mut customers: HashMap<String, bool> = HashMap::new();
    for record in records(job, 11).take(RECORDS) {
        let value: Value = match serde_json::from_slice(&record.value) {
            Ok(value) => value,
            Err(_) => continue,
        };
        if record.topic == "customers" {
            let (before, after) = (&value["before"], &value["after"]);
            let user = text(after, "user_id").to_owned();
            assert_eq!(before["consent"].as_bool(), customers.get(&user).copied(), "{value}");
            customers.insert(user, after["consent"].as_bool().unwrap());
        } else if row(&record).is_some() {
            assert!(customers.contains_key(text(&value, "user_id")), "{value}");
        }
    }
    let consenting = customers.values().filter(|consent| **consent).count();
    let share = consenting as f64 / customers.len() as f64;
    assert!((0.66..0.74).contains(&share), "{consenting} of {}", customers.len());
}

#[test]
fn machines_run_stop_and_make_what_they_can() {
    let machines: HashSet<String> = rows("factory", 12, "sensor_readings", RECORDS)
        .iter()
        .map(|value| text(value, "machine_id").to_owned())
        .collect();
    assert_eq!(machines.len(), factory::MACHINES as usize);
    let mut states: HashMap<String, usize> = HashMap::new();
    for value in rows("factory", 12, "machine_states", 5000) {
        assert_eq!(value["reason"].is_null(), value["state"] == "running", "{value}");
        *states.entry(text(&value, "state").to_owned()).or_default() += 1;
    }
    assert!(states["running"] > states["down"] && states["down"] > states["planned"]);
    let (mut good, mut scrap) = (0, 0);
    for value in rows("factory", 12, "production", 5000) {
        assert!(value["ideal_cycle_s"].as_f64().is_some_and(|cycle| cycle >= 2.0), "{value}");
        good += value["good"].as_u64().unwrap();
        scrap += value["scrap"].as_u64().unwrap();
    }
    let job = find("factory").expect("shipped");
    assert_near("scrap", job, scrap as usize, (good + scrap) as f64 / 40.0);
}

/// Recomputes stock as the job does, from what arrived, and finds it sensible.
#[test]
fn stock_follows_sales_and_movements_and_alerts_come_and_go() {
    let job = find("inventory").expect("shipped");
    let mut on_hand: HashMap<(String, String), i64> = HashMap::new();
    let mut kinds: HashMap<String, usize> = HashMap::new();
    let mut reorder_points: HashMap<String, i64> = HashMap::new();
    let mut seen = HashSet::new();
    let (mut raised, mut cleared) = (0, 0);
    for record in records(job, 9).take(2 * RECORDS) {
        if record.topic == "items" {
            let value: Value = serde_json::from_slice(&record.value).expect("never damaged");
            let item = value["after"]["item_id"].as_str().unwrap().to_owned();
            let point = value["after"]["reorder_point"].as_i64().unwrap();
            let before = reorder_points.insert(item, point);
            assert_eq!(value["before"]["reorder_point"].as_i64(), before, "{value}");
            assert_eq!(value["op"], if before.is_none() { "c" } else { "u" });
            continue;
        }
        let Some((_, value)) = row(&record) else { continue };
        if !seen.insert(record.value) {
            continue;
        }
        let store = text(&value, "store_id");
        let changes: Vec<(&str, i64)> = match record.topic {
            "pos_transactions" => {
                let lines = value["lines"].as_array().unwrap().iter();
                let sold = |line: &Value| -line["quantity"].as_i64().unwrap();
                lines.map(|line| (text(line, "item_id"), sold(line))).collect()
            }
            _ => {
                *kinds.entry(text(&value, "kind").to_owned()).or_default() += 1;
                vec![(text(&value, "item_id"), value["quantity"].as_i64().unwrap())]
            }
        };
        for (item, change) in changes {
            let point = reorder_points[item];
            let position = on_hand.entry((store.to_owned(), item.to_owned())).or_default();
            let before = *position;
            *position += change;
            raised += usize::from(before >= point && *position < point);
            cleared += usize::from(before < point && *position >= point && before != 0);
        }
    }
    let expected = HashSet::from(["delivery", "transfer", "count", "return"]);
    assert_eq!(kinds.keys().map(String::as_str).collect::<HashSet<_>>(), expected);
    assert!(raised > 100 && cleared > 100, "{raised} raised, {cleared} cleared");
    // Late and damaged records leave a trace, but by far most positions are real ones.
    let negative = on_hand.values().filter(|&&position| position < 0).count();
    assert!(negative * 20 < on_hand.len(), "{negative} of {}", on_hand.len());
}

#[test]
fn each_job_file_names_its_topics_and_each_readme_explains_them() {
    for job in all() {
        for topic in job.inputs.iter().chain(job.results) {
            let option = format!("'topic' = '${{TOPIC_PREFIX:-}}{}'", topic.name);
            assert!(job.sql.contains(&option), "{}: {option}", job.name);
            assert!(job.readme.contains(&format!("`{}`", topic.name)), "{}", topic.name);
            if !topic.key.is_empty() {
                let key = format!("PRIMARY KEY ({}) NOT ENFORCED", topic.key.join(", "));
                assert!(job.sql.contains(&key), "{}: {key}", topic.name);
            }
        }
        for topic in job.results {
            assert!(job.sql.contains(&format!("INSERT INTO {}\n", topic.name)), "{}", topic.name);
        }
    }
}

#[test]
fn views_show_columns_of_results() {
    for job in all() {
        assert!(!job.views.is_empty(), "{} has something to show", job.name);
        for view in job.views {
            assert!(job.results.iter().any(|result| result.name == view.table), "{}", view.table);
            let declared = job.sql.split(&format!("CREATE TABLE {} (", view.table)).nth(1);
            let declared = declared.and_then(|rest| rest.split(") WITH").next()).unwrap();
            for column in view.needs() {
                let is_there = declared.lines().any(|line| {
                    line.split_whitespace().next().is_some_and(|first| first == column)
                });
                assert!(is_there, "{} has no {column}", view.table);
            }
            if let Some(bar) = view.bar {
                assert!(view.columns.iter().any(|(column, _)| *column == bar), "{bar} is shown");
            }
        }
    }
}
