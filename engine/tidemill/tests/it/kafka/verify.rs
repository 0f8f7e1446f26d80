//! `tidemill verify`: what a stopped job has written so far is compared with the batch answer to
//! what it has read so far, and whatever is wrong with a result topic is found.

use super::broker::brokers;
use super::topics::Topic;
use super::{Job, PATIENCE};
use crate::support::{finish, tidemill};
use serde_json::{Value, json};

/// A job with windows, a changing table, rows that await others, and one result that nobody can
/// read.
fn sql(brokers: &str, [input, windows, totals, steps]: [&str; 4]) -> String {
    format!(
        "CREATE TABLE events (usr BIGINT, amount BIGINT, ts TIMESTAMP(3),
           WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
         WITH ('connector' = 'kafka', 'format' = 'json', 'topic' = '{input}',
           'properties.bootstrap.servers' = '{brokers}',
           'scan.startup.mode' = 'earliest-offset');
         CREATE TABLE windows (ws TIMESTAMP(3), usr BIGINT, n BIGINT)
         WITH ('connector' = 'kafka', 'format' = 'json', 'topic' = '{windows}',
           'properties.bootstrap.servers' = '{brokers}');
         CREATE TABLE totals (usr BIGINT, total BIGINT, PRIMARY KEY (usr) NOT ENFORCED)
         WITH ('connector' = 'upsert-kafka', 'topic' = '{totals}',
           'key.format' = 'json', 'value.format' = 'json',
           'properties.bootstrap.servers' = '{brokers}');
         CREATE TABLE steps (usr BIGINT, amount BIGINT, before BIGINT, following BIGINT)
         WITH ('connector' = 'kafka', 'format' = 'debezium-json', 'topic' = '{steps}',
           'properties.bootstrap.servers' = '{brokers}');
         CREATE TABLE shown (n BIGINT) WITH ('connector' = 'blackhole');
         EXECUTE STATEMENT SET BEGIN
         INSERT INTO windows SELECT window_start, usr, COUNT(*)
           FROM TABLE(HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND))
           GROUP BY window_start, window_end, usr;
         INSERT INTO totals SELECT usr, SUM(amount) FROM events GROUP BY usr;
         INSERT INTO steps SELECT usr, amount, LAG(amount, 2) OVER w, LEAD(amount, 2) OVER w
           FROM events WINDOW w AS (PARTITION BY usr ORDER BY ts);
         INSERT INTO shown SELECT COUNT(*) FROM events;
         END;"
    )
}

/// An event each 50 ms, of which one in a hundred comes 15 seconds late.
fn events(numbers: std::ops::Range<i64>) -> Vec<Value> {
    let event = |i: i64| {
        let late_ms = if i % 100 == 99 { 15_000 } else { 0 };
        let ms = 100_000 + i * 50 - late_ms;
        let ts = format!("2026-01-01 00:{:02}:{:02}.{:03}", ms / 60_000, ms / 1000 % 60, ms % 1000);
        json!({"usr": i % 7, "amount": i, "ts": ts})
    };
    numbers.map(event).collect()
}

/// Exit status, standard output, standard error.
fn verify(job: &Job) -> (Option<i32>, String, String) {
    let mut command = tidemill();
    command.args(["verify", "job.sql", "--state", "state"]).current_dir(job.folder.path());
    let output = finish(command, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_job_is_verified_wherever_it_was_stopped_and_a_wrong_result_is_found() {
    let Some(brokers) = brokers() else { return };
    let names = ["verify-events", "verify-windows", "verify-totals", "verify-steps"];
    let [input, windows, totals, _] = names.map(|name| Topic::create(brokers, name, 2));
    let job = Job::new(&sql(brokers, names)).define("execution.checkpointing.interval", "100 ms");

    // What is in one epoch is never late, whatever its order: only the second run is sure to find
    // rows whose windows are closed.
    for (numbers, has_late) in [(0..3000, false), (3000..4000, true)] {
        input.send_values(&events(numbers.clone()));
        let mut running = job.start();
        let last = events(numbers).pop().expect("some")["amount"].clone();
        running.wait_for("the last event's total", || {
            let written = totals.records();
            let usr = last.as_i64().expect("a number") % 7;
            let sum: i64 = (0..=last.as_i64().expect("a number")).filter(|i| i % 7 == usr).sum();
            let is_last = |record: &super::topics::Record| record.value()["total"] == sum;
            written.iter().any(is_last).then_some(())
        });
        running.stop();
        let (code, said, errors) = verify(&job);
        assert_eq!(code, Some(0), "{said}{errors}");
        assert!(said.contains("totals") && said.contains("7 equal\n"), "{said}");
        assert!(said.contains("shown    left out: "), "{said}");
        assert!(said.contains("late rows are left out") || !has_late, "{said}");
    }

    // A row too many in one topic, and a wrong total in the other.
    windows.send([(0, None, Some(r#"{"ws":"2026-01-01 00:01:40","usr":1,"n":999}"#))]);
    let (partition, record) = totals.placed_records().pop().expect("a total");
    let key = record.key();
    let value = json!({"usr": key["usr"], "total": -1}).to_string();
    totals.send([(partition, Some(key.to_string().as_str()), Some(value))]);
    let (code, said, errors) = verify(&job);
    assert_eq!(code, Some(1), "{said}{errors}");
    assert!(said.contains("1 extra") && said.contains("999"), "{said}");
    assert!(said.contains("6 equal, 1 different") && said.contains("-1"), "{said}");
    assert!(errors.contains("2 of 3 tables differ"), "{errors}");
}

#[test]
fn a_job_that_never_ran_and_one_that_runs_are_not_verified() {
    let Some(brokers) = brokers() else { return };
    let names =
        ["unverified-events", "unverified-windows", "unverified-totals", "unverified-steps"];
    let [input, ..] = names.map(|name| Topic::create(brokers, name, 1));
    input.send_values(&events(0..10));
    let job = Job::new(&sql(brokers, names)).define("execution.checkpointing.interval", "100 ms");
    let (code, _, errors) = verify(&job);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("no state directory state: run the job first"), "{errors}");
    let mut running = job.start();
    running.wait_for("its state directory", || job.path("state/lock").exists().then_some(()));
    let (code, _, errors) = verify(&job);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("another process works on it"), "{errors}");
}
