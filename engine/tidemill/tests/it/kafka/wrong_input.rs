//! Input that is wrong never stops a job and never vanishes; what fails says so once.

use super::Job;
use super::broker::brokers;
use super::topics::Topic;
use serde_json::{Value, json};

fn job(input: &Topic, output: &Topic, select: &str) -> Job {
    let Topic { brokers, name, .. } = input;
    Job::new(&format!(
        "CREATE TABLE numbers (n BIGINT, s STRING, deep ROW<a BIGINT>) WITH (
           'connector' = 'kafka', 'properties.bootstrap.servers' = '{brokers}', 'topic' = '{name}',
           'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
           'format' = 'json'
         );
         CREATE TABLE numbers_out (n BIGINT, s STRING) WITH (
           'connector' = 'kafka', 'properties.bootstrap.servers' = '{brokers}',
           'topic' = '{}', 'format' = 'json', 'properties.message.max.bytes' = '16000000'
         );
         INSERT INTO numbers_out {select};",
        output.name
    ))
}

#[test]
fn records_that_cannot_be_decoded_are_counted_and_kept_and_nothing_crashes() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create_wide(brokers, "wrong", 2);
    let output = Topic::create_wide(brokers, "wrong-out", 1);
    let long = "x".repeat(4 << 20);
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("truncated", br#"{"n":1,"s":"#.to_vec()),
        ("invalid UTF-8", b"{\"n\":1,\"s\":\"\xff\xfe\"}".to_vec()),
        ("a number that is none", br#"{"n":"many","s":"a"}"#.to_vec()),
        ("a number too large", br#"{"n":99999999999999999999,"s":"a"}"#.to_vec()),
        ("a row that is none", br#"{"n":1,"deep":[1]}"#.to_vec()),
        ("no JSON", b"<html>502 Bad Gateway</html>".to_vec()),
        ("deeply nested", "[".repeat(200_000).into_bytes()),
        ("deeply nested within", format!("{{\"n\":1,\"x\":{}", "{\"x\":".repeat(100_000)).into()),
        ("gigantic and truncated", format!(r#"{{"n":1,"s":"{long}"#).into_bytes()),
    ];
    let good: Vec<(i64, Vec<u8>)> = vec![
        (100, br#"{"n":100,"s":"a"}"#.to_vec()),
        (101, format!(r#"{{"n":101,"s":"{long}"}}"#).into_bytes()),
        (102, br#" { "unknown" : [1,{"a":[]}], "n" : 102 } "#.to_vec()),
        // Of equal names the last counts.
        (104, br#"{"n":103,"s":"a","n":104}"#.to_vec()),
    ];
    let values = bad.iter().map(|(_, value)| value).chain(good.iter().map(|(_, value)| value));
    input.send(values.enumerate().map(|(i, value)| (i as i32 % 2, None, Some(value))));
    let job = job(&input, &output, "SELECT n, s FROM numbers WHERE deep.a IS NULL");
    job.run(0);
    let mut numbers: Vec<i64> = output.values().iter().filter_map(|v| v["n"].as_i64()).collect();
    numbers.sort_unstable();
    let expected: Vec<i64> = good.iter().map(|(n, _)| *n).collect();
    let letters = job.dead_letters("numbers");
    let reasons: Vec<&Value> = letters.iter().map(|letter| &letter["reason"]).collect();
    assert_eq!(numbers, expected, "{reasons:?}");
    assert_eq!(letters.len(), bad.len(), "{reasons:?}");
    assert_eq!(job.summary()["bad_rows"], bad.len());
    for letter in &letters {
        assert!(!letter["reason"].as_str().unwrap_or_default().is_empty(), "{letter}");
        assert!(letter["place"].as_str().unwrap_or_default().contains("wrong"), "{letter}");
        assert!(letter["record"].as_str().unwrap_or_default().len() <= 64 << 10);
    }
    let peak = job.summary()["peak_rss_bytes"].as_u64().unwrap();
    assert!(peak < 400 << 20, "{peak}");
}

#[test]
fn empty_records_and_tombstones_do_not_stop_a_job() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create(brokers, "empty", 1);
    let output = Topic::create(brokers, "empty-out", 1);
    let records: [(&str, Option<&str>); 4] =
        [("a", Some("")), ("b", None), ("c", Some("  ")), ("d", Some(r#"{"n":1,"s":"a"}"#))];
    input.send(records.map(|(key, value)| (0, Some(key), value)));
    let job = job(&input, &output, "SELECT n, s FROM numbers");
    job.run(0);
    assert_eq!(output.values(), [json!({"n": 1, "s": "a"})]);
}

#[test]
fn an_expression_that_fails_on_a_row_fails_the_job_with_one_message() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create(brokers, "zero", 1);
    let output = Topic::create(brokers, "zero-out", 1);
    input.send_values(&[json!({"n": 1, "s": "a"}), json!({"n": 0, "s": "b"})]);
    let job = job(&input, &output, "SELECT 10 / n, s FROM numbers");
    let said = job.run(1);
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("error")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(errors[0].to_lowercase().contains("zero"), "{said}");
    assert_eq!(job.summary()["exit"], "failed");
}

#[test]
fn bad_records_go_once_to_the_topic_that_their_table_names() {
    let Some(brokers) = brokers() else { return };
    let input = Topic::create(brokers, "wrong-told", 1);
    let output = Topic::create(brokers, "wrong-told-out", 1);
    let bad = Topic::create(brokers, "wrong-told-bad", 1);
    let values = [r#"{"n":1,"s":"a"}"#, "no JSON", r#"{"n":2,"s":"b"}"#, r#"{"n":"x"}"#];
    input.send(values.map(|value| (0, None, Some(value))));
    let job = job(&input, &output, "SELECT n, s FROM numbers");
    let path = job.path("job.sql");
    let text = std::fs::read_to_string(&path).expect("the job");
    let named = "'topic' = 'wrong-told', 'scan.bad-records.topic' = 'wrong-told-bad',";
    std::fs::write(&path, text.replacen("'topic' = 'wrong-told',", named, 1)).expect("a job");
    job.run(0);
    assert_eq!(output.values().len(), 2);
    let records = bad.records();
    let told: Vec<&[u8]> = records.iter().filter_map(|record| record.value.as_deref()).collect();
    assert_eq!(told, [values[1].as_bytes(), values[3].as_bytes()]);
    assert_eq!(job.dead_letters("numbers").len(), 0);
    assert_eq!(job.summary()["bad_rows"], 2);
}
