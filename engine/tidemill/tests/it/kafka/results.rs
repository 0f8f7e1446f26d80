//! Jobs from topics to topics give what a plain recomputation gives.

use super::Job;
use super::broker::{brokers, create_topic};
use super::topics::Topic;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How far the order of events is disturbed, which is what the watermark allows for.
const DISORDER_MS: i64 = 5_000;

/// The options of a Kafka table.
fn options(topic: &Topic, more: &str) -> String {
    let Topic { brokers, name, .. } = topic;
    format!(
        "'connector' = 'kafka', 'properties.bootstrap.servers' = '{brokers}', 'topic' = '{name}',
         'scan.startup.mode' = 'earliest-offset' {more}"
    )
}

fn upsert_options(topic: &Topic, more: &str) -> String {
    let Topic { brokers, name, .. } = topic;
    format!(
        "'connector' = 'upsert-kafka', 'properties.bootstrap.servers' = '{brokers}',
         'topic' = '{name}', 'key.format' = 'json', 'value.format' = 'json' {more}"
    )
}

/// A visit of a page.
#[derive(Clone, Debug)]
struct Visit {
    user: String,
    page: String,
    millis: i64,
    ts_ms: i64,
}

impl Visit {
    fn json(&self) -> Value {
        let ts = timestamp(self.ts_ms);
        json!({"user": self.user, "page": self.page, "millis": self.millis, "ts": ts})
    }
}

/// Visits of the first day of 1970, one every 100 ms, their order disturbed.
fn visits(numbers: std::ops::Range<i64>) -> Vec<Visit> {
    let visit = |i: i64| {
        // Some multiplicative noise: the same for each run.
        let noise = i.wrapping_mul(2_654_435_761) & 0xffff;
        Visit {
            user: format!("u{}", noise % 7),
            page: if noise % 5 == 0 { "/health".into() } else { format!("/p/{}", noise % 11) },
            millis: noise % 1000,
            ts_ms: i * 100 + noise % DISORDER_MS,
        }
    };
    numbers.map(visit).collect()
}

/// Seconds since midnight and milliseconds, as Flink writes timestamps.
fn timestamp(ms: i64) -> String {
    let (s, ms) = (ms / 1000, ms % 1000);
    format!("1970-01-01 {:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

fn tumbling_count(visits: &Topic, counts: &Topic, more: &str) -> String {
    format!(
        "CREATE TABLE visits (
           `user` STRING, page STRING, millis BIGINT, ts TIMESTAMP(3),
           WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
         ) WITH ({}, 'format' = 'json');
         CREATE TABLE counts (
           window_start TIMESTAMP(3), `user` STRING, visits BIGINT, millis BIGINT
         ) WITH ({}, 'format' = 'json');
         INSERT INTO counts
         SELECT window_start, `user`, COUNT(*), SUM(millis)
         FROM TABLE(TUMBLE(TABLE visits, DESCRIPTOR(ts), INTERVAL '10' SECOND))
         WHERE page <> '/health'
         GROUP BY window_start, window_end, `user`;",
        options(visits, more),
        options(counts, ""),
    )
}

/// The rows of the tumbling count over windows that end by `until_ms`, sorted.
fn expected_counts(visits: &[Visit], until_ms: i64) -> Vec<String> {
    let mut counts: BTreeMap<(i64, &str), (i64, i64)> = BTreeMap::new();
    for visit in visits.iter().filter(|visit| visit.page != "/health") {
        let window = visit.ts_ms - visit.ts_ms % 10_000;
        if window + 10_000 <= until_ms {
            let count = counts.entry((window, &visit.user)).or_default();
            *count = (count.0 + 1, count.1 + visit.millis);
        }
    }
    let row = |((window, user), (visits, millis)): (&(i64, &str), &(i64, i64))| {
        let start = trim(&timestamp(*window));
        json!({"window_start": start, "user": user, "visits": visits, "millis": millis}).to_string()
    };
    let mut rows: Vec<String> = counts.iter().map(row).collect();
    rows.sort();
    rows
}

/// A timestamp without a fraction of zeros.
fn trim(timestamp: &str) -> String {
    timestamp.trim_end_matches(".000").to_owned()
}

fn sorted(values: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = values
        .iter()
        .map(|value| {
            let mut value = value.clone();
            if let Some(start) = value.get("window_start").and_then(Value::as_str) {
                value["window_start"] = trim(start).into();
            }
            value.to_string()
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn a_bounded_tumbling_count_from_topic_to_topic_is_that_of_a_plain_loop() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create(brokers, "bounded-visits", 4);
    let output = Topic::create(brokers, "bounded-counts", 3);
    let visits = visits(0..20_000);
    input.send_values(&visits.iter().map(Visit::json).collect::<Vec<_>>());
    let bounded = ", 'scan.bounded.mode' = 'latest-offset'";
    let job = Job::new(&tumbling_count(&input, &output, bounded));
    job.run(0);
    let rows = output.values();
    assert_eq!(sorted(&rows), expected_counts(&visits, i64::MAX));
    let summary = job.summary();
    assert_eq!(summary["exit"], "finished");
    assert_eq!(summary["rows_in"], 20_000);
    assert_eq!(summary["rows_out"], rows.len());
    assert_eq!((&summary["late_rows"], &summary["bad_rows"]), (&json!(0), &json!(0)));
}

#[test]
fn checkpoints_commit_their_offsets_for_the_consumer_group_unless_told_not_to() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create(brokers, "grouped-visits", 2);
    let visits = visits(0..1001);
    input.send_values(&visits.iter().map(Visit::json).collect::<Vec<_>>());
    for (group, commits, expected) in
        [("watched", "true", [Some(501), Some(500)]), ("unwatched", "false", [None, None])]
    {
        let output = Topic::create(brokers, &format!("grouped-counts-{group}"), 1);
        let more = format!(
            ", 'scan.bounded.mode' = 'latest-offset', 'properties.group.id' = '{group}', \
             'properties.commit.offsets.on.checkpoint' = '{commits}'"
        );
        Job::new(&tumbling_count(&input, &output, &more)).run(0);
        assert_eq!(input.committed(group), expected, "{group}");
    }
}

#[test]
fn an_unbounded_tumbling_count_fires_what_the_watermark_closes_and_stops_cleanly() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create(brokers, "unbounded-visits", 2);
    let output = Topic::create(brokers, "unbounded-counts", 2);
    let job = Job::new(&tumbling_count(&input, &output, ""));
    let mut running = job.start();
    let mut sent = Vec::new();
    for part in 0..3 {
        let visits = visits(part * 2000..(part + 1) * 2000);
        input.send_values(&visits.iter().map(Visit::json).collect::<Vec<_>>());
        sent.extend(visits);
        let of_partition = |p: usize| sent.iter().skip(p).step_by(2).map(|v| v.ts_ms).max();
        let watermark = of_partition(0).min(of_partition(1)).unwrap() - DISORDER_MS;
        let expected = expected_counts(&sent, watermark);
        running.wait_for("the closed windows", || {
            (output.values().len() >= expected.len()).then_some(())
        });
        assert_eq!(sorted(&output.values()), expected);
    }
    let before = output.values().len();
    running.stop();
    // Windows that are still open stay so: stopping is not the end of the input.
    assert_eq!(output.values().len(), before);
    assert_eq!(job.summary()["exit"], "stopped");
    assert_eq!(job.summary()["rows_in"], 6000);
}

#[test]
fn an_updating_count_keeps_an_upsert_topic_up_to_date_with_tombstones() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create(brokers, "upsert-visits", 3);
    let output = Topic::create(brokers, "upsert-rare", 2);
    let job = Job::new(&format!(
        "CREATE TABLE visits (page STRING, millis BIGINT) WITH ({}, 'format' = 'json');
         CREATE TABLE rare (page STRING, visits BIGINT, millis BIGINT, PRIMARY KEY (page) NOT ENFORCED)
         WITH ({});
         INSERT INTO rare SELECT page, COUNT(*), SUM(millis) FROM visits
         GROUP BY page HAVING COUNT(*) < 300;",
        options(&input, ""),
        upsert_options(&output, ""),
    ));
    let mut running = job.start();
    let mut sent = Vec::new();
    for part in 0..4 {
        let visits = visits(part * 1000..(part + 1) * 1000);
        input.send_values(&visits.iter().map(Visit::json).collect::<Vec<_>>());
        sent.extend(visits);
        let expected = rare_pages(&sent, 300);
        running.wait_for("the rare pages", || (output.table() == expected).then_some(()));
    }
    running.stop();
    let tombstones = output.records().iter().filter(|record| record.value.is_none()).count();
    assert!(tombstones > 0, "pages that are no longer rare");
    assert_eq!(output.table(), rare_pages(&sent, 300));
}

/// What the topic of rare pages must hold: by key, the whole row.
fn rare_pages(visits: &[Visit], below: i64) -> BTreeMap<String, Value> {
    let mut pages: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for visit in visits {
        let page = pages.entry(&visit.page).or_default();
        *page = (page.0 + 1, page.1 + visit.millis);
    }
    let rare = pages.into_iter().filter(|(_, (visits, _))| *visits < below);
    rare.map(|(page, (visits, millis))| {
        let key = json!({"page": page}).to_string();
        (key, json!({"page": page, "visits": visits, "millis": millis}))
    })
    .collect()
}

#[test]
fn an_upsert_topic_is_read_as_the_table_it_holds() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create(brokers, "upsert-prices", 2);
    let output = Topic::create(brokers, "upsert-totals", 1);
    let job = Job::new(&format!(
        "CREATE TABLE prices (item STRING, shop STRING, price BIGINT, PRIMARY KEY (item) NOT ENFORCED)
         WITH ({});
         CREATE TABLE totals (shop STRING, items BIGINT, total BIGINT, PRIMARY KEY (shop) NOT ENFORCED)
         WITH ({});
         INSERT INTO totals SELECT shop, COUNT(*), SUM(price) FROM prices GROUP BY shop;",
        upsert_options(&input, ""),
        upsert_options(&output, ""),
    ));
    let mut table: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut running = job.start();
    for part in 0..3 {
        let mut records = Vec::new();
        for i in part * 500..(part + 1) * 500_i64 {
            let noise = i.wrapping_mul(2_654_435_761) >> 4 & 0xffff;
            let (item, shop, price) = (noise % 40, noise % 3, i);
            let key = json!({ "item": format!("i{item}") }).to_string();
            let row =
                json!({"item": format!("i{item}"), "shop": format!("s{shop}"), "price": price});
            let is_gone = noise % 6 == 0;
            if is_gone {
                table.remove(&item);
            } else {
                table.insert(item, (shop, price));
            }
            records.push((item as i32 % 2, key, (!is_gone).then(|| row.to_string())));
        }
        input.send(records.iter().map(|(p, k, v)| (*p, Some(k.as_str()), v.as_deref())));
        let expected = totals(&table);
        running.wait_for("the totals", || (output.table() == expected).then_some(()));
    }
    running.stop();
}

fn totals(table: &BTreeMap<i64, (i64, i64)>) -> BTreeMap<String, Value> {
    let mut shops: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for &(shop, price) in table.values() {
        let shop = shops.entry(shop).or_default();
        *shop = (shop.0 + 1, shop.1 + price);
    }
    let row = |(shop, (items, total)): (i64, (i64, i64))| {
        let shop = format!("s{shop}");
        let key = json!({"shop": shop}).to_string();
        (key, json!({"shop": shop, "items": items, "total": total}))
    };
    shops.into_iter().map(row).collect()
}

#[test]
fn keys_and_metadata_are_columns() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create(brokers, "keyed", 3);
    let output = Topic::create(brokers, "keyed-out", 2);
    input.send((0..30).map(|i| {
        let value = json!({"n": i}).to_string();
        (i % 3, Some(["a", "b", "c", "d"][i as usize % 4]), Some(value))
    }));
    let job = Job::new(&format!(
        "CREATE TABLE keyed (
           k STRING, n BIGINT,
           source STRING METADATA FROM 'topic' VIRTUAL,
           part INT METADATA FROM 'partition' VIRTUAL,
           place BIGINT METADATA FROM 'offset' VIRTUAL
         ) WITH ({}, 'key.format' = 'raw', 'key.fields' = 'k', 'value.format' = 'json',
                 'value.fields-include' = 'EXCEPT_KEY');
         CREATE TABLE keyed_out (k STRING, n BIGINT, source STRING, part INT, place BIGINT)
         WITH ({}, 'key.format' = 'json', 'key.fields' = 'k;part', 'value.format' = 'json');
         INSERT INTO keyed_out SELECT k, n, source, part, place FROM keyed WHERE n >= 6;",
        options(&input, ", 'scan.bounded.mode' = 'latest-offset'"),
        options(&output, ""),
    ));
    job.run(0);
    let mut seen: Vec<(i64, Value, Value)> = output
        .records()
        .iter()
        .map(|record| (record.value()["n"].as_i64().unwrap(), record.key(), record.value()))
        .collect();
    seen.sort_by_key(|(n, ..)| *n);
    let expected: Vec<(i64, Value, Value)> = (6..30)
        .map(|n: i64| {
            let (k, part) = (["a", "b", "c", "d"][n as usize % 4], n % 3);
            let value = json!({
                "k": k, "n": n, "source": "keyed", "part": part, "place": n / 3
            });
            (n, json!({"k": k, "part": part}), value)
        })
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_topic_that_appears_later_is_read_when_it_is_there() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::named(brokers, "later", 2);
    let output = Topic::create(brokers, "later-out", 1);
    let job = Job::new(&format!(
        "CREATE TABLE later (n BIGINT) WITH ({}, 'format' = 'json');
         CREATE TABLE later_out (n BIGINT) WITH ({}, 'format' = 'json');
         INSERT INTO later_out SELECT n FROM later;",
        options(&input, ", 'scan.topic-partition-discovery.interval' = '500 ms'"),
        options(&output, ""),
    ));
    let mut running = job.start();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    create_topic(brokers, "later", 2);
    let values: Vec<Value> = (0..100).map(|n| json!({ "n": n })).collect();
    input.send_values(&values);
    running.wait_for("the rows", || (output.values().len() == 100).then_some(()));
    running.stop();
    let mut numbers: Vec<i64> = output.values().iter().filter_map(|v| v["n"].as_i64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}
