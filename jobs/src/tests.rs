//! What every shipped job keeps: its generator repeats itself, stays within the disorder that the
//! job's watermark allows, and breaks things as often as it says.

use crate::arrival::Faults;
use crate::{Job, Record, Settings, all, clickstream, find, inventory, leaderboard};
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
        "clickstream" => clickstream::FAULTS,
        name => panic!("no faults are known of {name}"),
    }
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
        let slowly = Settings { seed: 4, events_per_second: Some(0.5), ..Settings::default() };
        let records = (job.generator)(slowly).take(RECORDS);
        for record in records.filter(|record| record.topic != "items") {
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
        let of_tills = records(job, 5).take(RECORDS).filter(|record| record.topic != "items");
        let (mut broken, mut sent) = (0, 0);
        for record in of_tills {
            sent += 1;
            broken += usize::from(row(&record).is_none());
        }
        assert_near("damaged", job, broken, sent as f64 / faults(job).broken_one_in as f64);
    }
}

#[test]
fn one_record_in_so_many_is_sent_twice_byte_for_byte() {
    for job in all() {
        let mut seen = HashSet::new();
        let (mut twice, mut sent) = (0, 0);
        for record in records(job, 6).take(RECORDS).filter(|record| row(record).is_some()) {
            sent += 1;
            twice += usize::from(!seen.insert(record.value));
        }
        let expected = match faults(job).duplicate_one_in {
            0 => 0.0,
            n => sent as f64 / n as f64,
        };
        assert_near("sent twice", job, twice, expected);
    }
}

#[test]
fn a_catch_is_complete_and_few_players_catch_most() {
    let job = find("leaderboard").expect("shipped");
    let mut catches: HashMap<String, usize> = HashMap::new();
    for (_, value) in records(job, 7).take(RECORDS).filter_map(|record| row(&record)) {
        assert!(value["points"].as_i64().is_some_and(|points| points >= 10), "{value}");
        for field in ["player", "region", "monster", "ball"] {
            assert!(value[field].is_string(), "{value}");
        }
        *catches.entry(value["player"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let mut catches: Vec<usize> = catches.into_values().collect();
    catches.sort_unstable_by(|a, b| b.cmp(a));
    assert!(catches.len() > 1000, "{}", catches.len());
    assert!(catches[..50].iter().sum::<usize>() > RECORDS / 4, "{:?}", &catches[..50]);
}

#[test]
fn visitors_view_more_than_they_click_and_buy_least_and_come_back() {
    let job = find("clickstream").expect("shipped");
    let mut kinds: HashMap<String, usize> = HashMap::new();
    let mut visits: HashMap<String, HashSet<u64>> = HashMap::new();
    for (_, value) in records(job, 8).take(RECORDS).filter_map(|record| row(&record)) {
        let kind = value["event_type"].as_str().unwrap();
        assert!(kind != "purchase" || value["price"].is_number(), "{value}");
        *kinds.entry(kind.to_owned()).or_default() += 1;
        let user = value["user_id"].as_str().unwrap().to_owned();
        visits.entry(user).or_default().insert(value["session_hint"].as_u64().unwrap());
    }
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    assert!(kinds["view"] > kinds["click"] && kinds["click"] > kinds["add_to_cart"], "{kinds:?}");
    assert!(kinds["add_to_cart"] > kinds["purchase"] && kinds["purchase"] > 1000, "{kinds:?}");
    let back = visits.values().filter(|visits| visits.len() > 1).count();
    assert!(back > visits.len() / 5, "{back} of {}", visits.len());
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
        let quantity = value["quantity"].as_i64().unwrap();
        let change = match record.topic {
            "pos_transactions" => -quantity,
            _ => {
                *kinds.entry(value["kind"].as_str().unwrap().to_owned()).or_default() += 1;
                quantity
            }
        };
        let item = value["item_id"].as_str().unwrap().to_owned();
        let point = reorder_points[&item];
        let store = value["store_id"].as_str().unwrap().to_owned();
        let position = on_hand.entry((store, item)).or_default();
        let before = *position;
        *position += change;
        raised += usize::from(before >= point && *position < point);
        cleared += usize::from(before < point && *position >= point && before != 0);
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
