//! Joins with tables that are looked up: files, PostgreSQL, an HTTP service.

mod postgres;
mod service;

use crate::support::{finish, tidemill};
use postgres::Postgres;
use serde_json::{Value, json};
use service::Service;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Orders of customers 1 to 9, and of one that nobody knows the number of.
const ORDERS: &str = "
CREATE TABLE orders (customer BIGINT, amount INT, at AS PROCTIME())
WITH ('connector' = 'filesystem', 'path' = 'orders.jsonl', 'format' = 'json');
";

/// A folder with orders, and a job over them that writes to `out`.
fn job(sql: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let customers = (0..40).map(|n| Some(n % 9 + 1)).chain([None]);
    let orders =
        customers.enumerate().map(|(n, customer)| json!({"customer": customer, "amount": n}));
    let lines: String = orders.map(|order| format!("{order}\n")).collect();
    fs::write(folder.path().join("orders.jsonl"), lines).expect("written");
    fs::write(folder.path().join("job.sql"), format!("{ORDERS}{sql}")).expect("written");
    folder
}

fn run(folder: &Path, workers: usize) -> Output {
    let mut command = tidemill();
    command.args(["run", "job.sql", "--workers", &workers.to_string(), "--state"]);
    command.arg(format!("state-{workers}")).current_dir(folder);
    command.args(["-D", &format!("OUT=out-{workers}")]);
    // Several epochs, so that a cache has something to do.
    command.args(["-D", "tidemill.epoch.max-rows=8"]);
    finish(command, PATIENCE).expect("it ends")
}

/// What the job has written, in order.
fn written(folder: &Path, workers: usize) -> Vec<Value> {
    let output = run(folder, workers);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = fs::read_dir(folder.join(format!("out-{workers}"))).expect("results").flatten();
    let text: String = files.map(|file| fs::read_to_string(file.path()).expect("text")).collect();
    let mut rows: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    rows.sort_by_key(|row| row["amount"].as_i64());
    rows
}

fn sink(columns: &str) -> String {
    format!(
        "CREATE TABLE results ({columns})
         WITH ('connector' = 'filesystem', 'path' = '${{OUT}}', 'format' = 'json');"
    )
}

/// Whose order each of [`ORDERS`] is.
fn customer(amount: i64) -> Option<i64> {
    (amount < 40).then_some(amount % 9 + 1)
}

#[test]
fn rows_of_a_file_are_found_by_what_is_computed_of_either_side() {
    let folder = job(&format!(
        "{} CREATE TABLE names (id INT, name STRING, small AS LOWER(name))
         WITH ('connector.type' = 'filesystem', 'connector.path' = 'names.csv', 'format.type' = 'csv');
         INSERT INTO results SELECT amount, small FROM orders AS o
         LEFT JOIN names FOR SYSTEM_TIME AS OF o.at AS n ON MOD(o.customer, 5) = n.id AND amount <> 7;",
        sink("amount INT, name STRING")
    ));
    fs::write(folder.path().join("names.csv"), "1,ANNA\n2,BEN\n2,BERTA\n4,DORA\n")
        .expect("written");
    for workers in [1, 2] {
        let rows = written(folder.path(), workers);
        let names = |n: i64| -> Vec<Value> {
            let mut names: Vec<&str> = (rows.iter())
                .filter(|row| row["amount"] == n)
                .filter_map(|row| row["name"].as_str())
                .collect();
            names.sort_unstable();
            names.into_iter().map(Value::from).collect()
        };
        assert_eq!(names(0), ["anna"]);
        assert_eq!(names(1), ["ben", "berta"]);
        assert_eq!(names(2), [] as [Value; 0], "3 is nobody");
        assert_eq!(names(7), [] as [Value; 0], "excluded by the condition");
        assert_eq!(names(40), [] as [Value; 0], "NULL is nobody");
        // Each order has its partners or stands alone: of 41, those of Ben and Berta come twice.
        let twice = (0..40).filter(|&n| n != 7 && customer(n).is_some_and(|c| c % 5 == 2)).count();
        assert_eq!(rows.len(), 41 + twice);
    }
}

#[test]
fn a_file_is_read_again_when_its_time_has_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("words.csv");
    fs::write(&path, "0,old\n").expect("written");
    let sql = "
        CREATE TABLE ticks (n INT, at AS PROCTIME()) WITH ('connector' = 'datagen',
          'rows-per-second' = '100', 'fields.n.min' = '0', 'fields.n.max' = '0');
        CREATE TABLE words (n INT, word STRING) WITH ('connector' = 'filesystem', 'format' = 'csv',
          'path' = 'words.csv', 'lookup.full-cache.periodic-reload.interval' = '50 ms');
        SELECT word FROM ticks JOIN words FOR SYSTEM_TIME AS OF ticks.at AS w ON ticks.n = w.n;";
    fs::write(folder.path().join("job.sql"), sql).expect("written");
    let mut command = tidemill();
    command.args(["run", "job.sql"]).current_dir(folder.path());
    let mut job = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut lines = BufReader::new(job.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let first = lines.next();
    fs::write(folder.path().join("new.csv"), "0,new\n").expect("written");
    fs::rename(folder.path().join("new.csv"), &path).expect("renamed");
    let later = lines.find(|line| line.contains("new"));
    job.kill().and_then(|()| job.wait()).expect("killed");
    assert!(first.is_some_and(|line| line.contains("old")));
    assert!(later.is_some());
}

#[test]
fn rows_of_postgresql_are_found_in_their_own_types() {
    let Some(postgres) = Postgres::start() else { return };
    postgres.execute(
        "CREATE SCHEMA shop;
         CREATE TABLE shop.\"Customers\" (id INT PRIMARY KEY, name TEXT, score NUMERIC(8, 2),
           since TIMESTAMP(3), born DATE, active BOOLEAN, tags TEXT[]);
         INSERT INTO shop.\"Customers\" SELECT n, 'c ''' || n, n * 1.5, '2024-01-01 00:00:00.5', '2000-02-29',
           n % 2 = 0, ARRAY['a', 'b' || n] FROM generate_series(1, 6) AS n;",
    );
    let folder = job(&format!(
        "{} CREATE TABLE customers (id INT, name STRING, score DECIMAL(8, 2), since TIMESTAMP(3),
           born DATE, active BOOLEAN, tags ARRAY<STRING>)
         WITH ('connector' = 'jdbc', 'url' = '{}', 'table-name' = 'shop.Customers',
           'username' = 'tidemill', 'lookup.cache' = 'PARTIAL');
         INSERT INTO results SELECT amount, name, score, since, born, active, tags[2] FROM orders AS o
         JOIN customers FOR SYSTEM_TIME AS OF o.at AS c ON CAST(o.customer AS INT) = c.id;",
        sink(
            "amount INT, name STRING, score DECIMAL(8, 2), since TIMESTAMP(3), born DATE,
             active BOOLEAN, tag STRING"
        ),
        postgres.url()
    ));
    for workers in [1, 2] {
        let expected: Vec<Value> = (0..40)
            .filter_map(|n| Some((n, customer(n).filter(|&c| c <= 6)?)))
            .map(|(n, c)| {
                json!({"amount": n, "name": format!("c '{c}"), "score": c as f64 * 1.5,
                       "since": "2024-01-01 00:00:00.5", "born": "2000-02-29",
                       "active": c % 2 == 0, "tag": format!("b{c}")})
            })
            .collect();
        let rows = written(folder.path(), workers);
        assert_eq!(rows.len(), expected.len());
        for (row, expected) in rows.iter().zip(expected) {
            let mut row = row.clone();
            row["score"] = row["score"].as_f64().into();
            assert_eq!(row, expected);
        }
    }
    postgres.execute("DROP TABLE shop.\"Customers\";");
    let output = run(folder.path(), 3);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("customers") && said.contains("does not exist"), "{said}");
}

#[test]
fn rows_of_a_service_are_asked_for_once_for_each_key() {
    let service = Service::start();
    let folder = job(&format!(
        "{} CREATE TABLE customers (id BIGINT, name STRING)
         WITH ('connector' = 'rest-lookup', 'url' = '{}', 'format' = 'json',
           'lookup.cache' = 'PARTIAL', 'http.request.header.X-Key' = 'secret');
         INSERT INTO results SELECT amount, name FROM orders AS o
         LEFT JOIN customers FOR SYSTEM_TIME AS OF o.at AS c ON o.customer = c.id;",
        sink("amount INT, name STRING"),
        service.url()
    ));
    let rows = written(folder.path(), 1);
    let expected: Vec<Value> = (0..41)
        .flat_map(|n| match customer(n) {
            // The service knows even numbers once, multiples of three twice, and no others.
            Some(c) if c % 3 == 0 => vec![json!(format!("x{c}")), json!(format!("y{c}"))],
            Some(c) if c % 2 == 0 => vec![json!(format!("n{c}"))],
            _ => vec![Value::Null],
        })
        .collect();
    let mut names: Vec<Value> = rows.iter().map(|row| row["name"].clone()).collect();
    let by_text = |name: &Value| name.as_str().unwrap_or_default().to_owned();
    names.sort_by_key(by_text);
    let mut expected = expected;
    expected.sort_by_key(by_text);
    assert_eq!(names, expected);
    // The first request fails, and is made again.
    assert_eq!(service.requests(), 9 + 1);
}
