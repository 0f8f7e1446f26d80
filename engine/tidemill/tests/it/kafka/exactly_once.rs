//! The promise: whatever dies, and whenever, a reader of committed records sees exactly what a run
//! without a crash would have written.
//!
//! A job with a result of every kind reads a topic that grows. It is killed with SIGKILL at random
//! instants, many of them between a checkpoint's manifest and the end of its commit (the job is
//! asked to linger there), and started again each time, with another number of workers. When all
//! input is written, it runs to the input's end. Then each result topic must hold what a batch
//! computation over the input gives, less exactly the rows that are in the dead letters.

use super::broker::brokers;
use super::topics::Topic;
use super::{Job, Running};
use crate::s3::{Bucket, Faults};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tidemill_connectors::source::ReadSpec;
use tidemill_connectors::{Registry, open_source};
use tidemill_oracle::{Excluded, difference, recompute};
use tidemill_runtime::Metrics;
use tidemill_sql::plan::Plan;
use tidemill_sql::{SourceText, plan_session};

/// How often each job is killed, times `TIDEMILL_TEST_SCALE`.
const KILLS: u64 = 11;
const PARTITIONS: i32 = 3;
/// Records that are written while the job is being killed.
const RECORDS: u64 = 60_000;

const TABLES: &str = "
CREATE TABLE events (
  id BIGINT, usr BIGINT, kind STRING, amount BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH (
  'connector' = 'kafka', 'topic' = '${PREFIX}events', 'format' = 'json',
  'properties.bootstrap.servers' = '${BROKERS}',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = '${BOUNDED:-unbounded}'
);
CREATE TABLE names (usr BIGINT, name STRING, PRIMARY KEY (usr) NOT ENFORCED) WITH (
  'connector' = 'upsert-kafka', 'topic' = '${PREFIX}names',
  'key.format' = 'json', 'value.format' = 'json',
  'properties.bootstrap.servers' = '${BROKERS}', 'scan.bounded.mode' = '${BOUNDED:-unbounded}'
);
";

/// A result: the columns of its table, its primary key (empty: appended), and its query.
struct Kind {
    name: &'static str,
    columns: &'static str,
    key: &'static str,
    query: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "tumbling",
        columns: "ws TIMESTAMP(3), kind STRING, n BIGINT, total BIGINT",
        key: "",
        query: "SELECT window_start, kind, COUNT(*), SUM(amount)
                FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
                GROUP BY window_start, window_end, kind",
    },
    Kind {
        name: "hopping",
        columns: "ws TIMESTAMP(3), usr BIGINT, n BIGINT",
        key: "",
        query: "SELECT window_start, usr, COUNT(*)
                FROM TABLE(HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND,
                               INTERVAL '30' SECOND))
                GROUP BY window_start, window_end, usr",
    },
    Kind {
        name: "sessions",
        columns: "ws TIMESTAMP(3), we TIMESTAMP(3), usr BIGINT, n BIGINT",
        key: "",
        query: "SELECT window_start, window_end, usr, COUNT(*)
                FROM TABLE(SESSION(TABLE events PARTITION BY usr, DESCRIPTOR(ts),
                                   INTERVAL '5' SECOND))
                GROUP BY window_start, window_end, usr",
    },
    Kind {
        name: "totals",
        columns: "usr BIGINT, n BIGINT, total BIGINT, most BIGINT",
        key: "usr",
        query: "SELECT usr, COUNT(*), SUM(amount), MAX(amount) FROM events GROUP BY usr",
    },
    Kind {
        name: "best",
        columns: "place BIGINT, usr BIGINT, total BIGINT",
        key: "place",
        query: "SELECT place, usr, total FROM (
                  SELECT usr, total,
                         ROW_NUMBER() OVER (ORDER BY total DESC, usr) AS place
                  FROM (SELECT usr, SUM(amount) AS total FROM events GROUP BY usr))
                WHERE place <= 10",
    },
    Kind {
        name: "named",
        columns: "usr BIGINT, name STRING, total BIGINT",
        key: "usr",
        query: "SELECT t.usr, names.name, t.total
                FROM (SELECT usr, SUM(amount) AS total FROM events GROUP BY usr) AS t
                JOIN names ON t.usr = names.usr",
    },
];

impl Kind {
    /// The table of the result, to be written or read.
    fn table(&self) -> String {
        let Kind { name, columns, key, .. } = self;
        let common = format!(
            "'topic' = '${{PREFIX}}{name}', 'properties.bootstrap.servers' = '${{BROKERS}}'"
        );
        if key.is_empty() {
            return format!(
                "CREATE TABLE {name} ({columns}) WITH ('connector' = 'kafka', 'format' = 'json', \
                 {common}, 'scan.startup.mode' = 'earliest-offset', \
                 'scan.bounded.mode' = 'latest-offset');\n"
            );
        }
        format!(
            "CREATE TABLE {name} ({columns}, PRIMARY KEY ({key}) NOT ENFORCED) WITH ( \
             'connector' = 'upsert-kafka', 'key.format' = 'json', 'value.format' = 'json', \
             {common}, 'scan.bounded.mode' = 'latest-offset');\n"
        )
    }

    fn insert(&self) -> String {
        format!("INSERT INTO {} {};\n", self.name, self.query)
    }
}

/// A seeded generator (SplitMix64; Steele, Lea and Flood 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Whether some rows are far too late: by most of a day, so that none of them is late for one
/// session and in time for another, which no batch computation would know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Some,
    None,
}

/// Records in disorder within the watermark's bound, and perhaps some beyond it.
fn events(late: Late) -> impl Iterator<Item = Value> {
    let seed = 7;
    let mut chance = Chance(seed);
    (0..RECORDS).map(move |id| {
        let lag_ms = match chance.below(500) {
            0 if late == Late::Some => 80_000_000 + chance.below(1_000_000),
            _ => chance.below(2_000),
        };
        let at_ms = (1_767_225_600_000 + id * 10).saturating_sub(lag_ms);
        let at = text_of(at_ms);
        // A few users do much, many do little.
        let usr = chance.below(400).min(chance.below(400));
        let kind = ["view", "click", "buy"][chance.below(3) as usize];
        json!({"id": id, "usr": usr, "kind": kind, "amount": chance.below(100), "ts": at})
    })
}

/// A time of the first day of 2026, or the last of 2025, as JSON has it.
fn text_of(ms: u64) -> String {
    let (day, ms_of_day) = match ms.checked_sub(1_767_225_600_000) {
        Some(ms) => ("2026-01-01", ms),
        None => ("2025-12-31", ms - (1_767_225_600_000 - 86_400_000)),
    };
    let (seconds, ms) = (ms_of_day / 1000, ms_of_day % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{day} {hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
}

/// What the kills met.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    /// Kills of a job that lingered between a manifest and the commit, or behind the commit.
    behind_manifest: u64,
    behind_commit: u64,
    /// Starts that gave up a checkpoint whose output never became visible.
    given_up: u64,
    /// Starts that went on from a checkpoint.
    resumed: u64,
}

struct Ordeal<'a> {
    job: Job,
    /// Where its checkpoints are, if not in its state directory.
    bucket: Option<Bucket>,
    brokers: &'a str,
    prefix: String,
    kinds: Vec<&'a Kind>,
}

impl Ordeal<'_> {
    fn sql(&self) -> String {
        let tables: String = self.kinds.iter().map(|kind| kind.table()).collect();
        let inserts: String = self.kinds.iter().map(|kind| kind.insert()).collect();
        format!("{TABLES}{tables}EXECUTE STATEMENT SET BEGIN {inserts} END;")
    }

    fn variables(&self) -> BTreeMap<String, String> {
        let variables = [("PREFIX", self.prefix.as_str()), ("BROKERS", self.brokers)];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn plan(&self, text: String, bounded: &str) -> Plan {
        let mut variables = self.variables();
        variables.insert("BOUNDED".to_owned(), bounded.to_owned());
        let text = SourceText { name: "job.sql".to_owned(), text };
        plan_session(vec![text], &variables, &Registry).expect("it plans").plan
    }

    /// Kills the job again and again while its input grows.
    fn kill_while_reading(
        &self,
        (input, late): (&Topic, Late),
        chance: &mut Chance,
        kills: u64,
    ) -> Tally {
        let mut tally = Tally::default();
        // A partition that never held a record holds nobody up. So that no row comes behind others
        // for that, each has one before the job begins.
        let records: Vec<Value> = events(late).collect();
        let (first, later) = records.split_at(250);
        input.send_values(first);
        std::thread::scope(|threads| {
            threads.spawn(move || {
                for some in later.chunks(250) {
                    input.send_values(some);
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            for _ in 0..kills {
                let workers = 1 + chance.below(3);
                let slow_ms = [0, 40, 120][chance.below(3) as usize];
                let mut running = self.job.start_slow(workers, slow_ms);
                // One in four dies whenever it may be, the others soon after their first
                // checkpoint: on a busy machine much of a short life goes into starting.
                if chance.below(4) > 0 {
                    self.wait_for_checkpoint(&mut running);
                }
                let dies = Instant::now() + Duration::from_millis(chance.below(400));
                while Instant::now() < dies {
                    running.assert_running();
                    std::thread::sleep(Duration::from_millis(5));
                }
                running.kill();
                tally.note(&running.said());
            }
        });
        tally
    }

    /// Waits until there is a newer manifest, or there probably won't be one any more.
    fn wait_for_checkpoint(&self, running: &mut Running) {
        let newest = || {
            if let Some(bucket) = &self.bucket {
                return bucket.names("manifests").pop();
            }
            let folder = self.job.path("state/checkpoints/manifests");
            let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.filter(|name| !name.starts_with('.')).max()
        };
        let (before, deadline) = (newest(), Instant::now() + Duration::from_secs(5));
        // The first is only the mark of the new start.
        let mut seen = 0;
        let mut last = before;
        while seen < 2 && Instant::now() < deadline {
            running.assert_running();
            let now = newest();
            if now != last {
                seen += 1;
                last = now;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Compares each result topic with the batch answer.
    fn check(&self) -> usize {
        let plan = self.plan(self.sql(), "latest-offset");
        let open = |spec: &ReadSpec| open_source(spec);
        let expected = recompute(&plan, &self.late_rows(&plan), &open).expect("a batch answer");
        let mut rows = 0;
        for kind in &self.kinds {
            let text = format!("{}SELECT * FROM {};", kind.table(), kind.name);
            let read = self.plan(text, "latest-offset");
            let actual = recompute(&read, &Excluded::default(), &open).expect("a result topic");
            let expected = expected.iter().find(|sink| sink.table == kind.name).expect("a result");
            let (expected, actual) = (&expected.rows, &actual[0].rows);
            if let Some(found) = difference(expected, actual).expect("comparable") {
                panic!("{}{}: {found}", self.prefix, kind.name);
            }
            rows += expected.num_rows();
        }
        rows
    }

    fn late_rows(&self, plan: &Plan) -> Excluded {
        let steps = Metrics::new(plan, 1).nodes;
        let letters: Vec<String> =
            self.job.dead_letters("late").iter().map(Value::to_string).collect();
        let node = |name: &str| steps.iter().position(|step| step.name == name);
        Excluded::read(&letters.join("\n"), node).expect("letters of steps of the plan")
    }
}

impl Tally {
    fn note(&mut self, said: &str) {
        self.kills += 1;
        self.given_up += u64::from(said.contains("is given up"));
        self.resumed += u64::from(said.contains("going on from checkpoint"));
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        self.behind_manifest += u64::from(last.contains("lingering behind manifest"));
        self.behind_commit += u64::from(last.contains("lingering behind commit"));
    }
}

fn endure(name: &str, late: Late, kinds: &[&str]) {
    endure_with(None, name, late, kinds);
}

fn endure_with(bucket: Option<Bucket>, name: &str, late: Late, kinds: &[&str]) {
    let Some(brokers) = brokers() else { return };
    let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| kinds.contains(&kind.name)).collect();
    let prefix = format!("{name}-");
    let input = Topic::create(brokers, &format!("{prefix}events"), PARTITIONS);
    let names = Topic::create(brokers, &format!("{prefix}names"), PARTITIONS);
    for kind in &kinds {
        Topic::create(brokers, &format!("{prefix}{}", kind.name), PARTITIONS);
    }
    let keys: Vec<String> = (0..300).map(|usr| json!({ "usr": usr }).to_string()).collect();
    names.send((0..300).map(|usr| {
        let value = json!({"usr": usr, "name": format!("user {usr}")}).to_string();
        (usr % PARTITIONS, Some(keys[usr as usize].as_str()), Some(value))
    }));

    let reads_names = kinds.iter().any(|kind| kind.query.contains("names"));
    let mut ordeal = Ordeal { job: Job::new(""), bucket, brokers, prefix, kinds };
    let mut job = Job::with_workers_from_session(&ordeal.sql())
        .define("execution.checkpointing.interval", "50 ms");
    for (name, value) in ordeal.variables() {
        job = job.define(&name, &value);
    }
    if let Some(bucket) = &ordeal.bucket {
        job = job.define("state.checkpoints.dir", bucket.url());
        job.environment = bucket.environment();
    }
    ordeal.job = job;

    let scale = std::env::var("TIDEMILL_TEST_SCALE").ok().and_then(|scale| scale.parse().ok());
    let kills = KILLS * scale.unwrap_or(1);
    let tally = ordeal.kill_while_reading((&input, late), &mut Chance(name.len() as u64), kills);
    println!("{name}: {tally:?}");
    // Much of a short life goes into waiting for a bucket that fails.
    let least = if ordeal.bucket.is_some() { kills / 8 } else { kills / 4 };
    assert!(tally.resumed > least, "{tally:?}");

    let last = ordeal.job.define("BOUNDED", "latest-offset");
    last.run(0);
    let summary = last.summary();
    let read = RECORDS + if reads_names { 300 } else { 0 };
    assert_eq!(summary["rows_in"], read, "each record is counted once: {summary}");
    let letters = last.dead_letters("late").len();
    assert_eq!(summary["late_rows"], letters, "each late row is recorded once");
    assert!(late == Late::Some || letters == 0, "{letters} late rows");
    ordeal.job = last;
    let rows = ordeal.check();
    assert!(rows > 300, "{rows} rows are no test");
    println!("{name}: {rows} rows equal the batch answer, {letters} late");
}

#[test]
fn windows_are_exact_however_often_the_job_is_killed() {
    endure("killed-windows", Late::Some, &["tumbling", "hopping", "sessions"]);
}

#[test]
fn windows_without_late_rows_are_exact_however_often_the_job_is_killed() {
    endure("killed-in-time", Late::None, &["tumbling", "hopping", "sessions"]);
}

#[test]
fn updating_results_are_exact_however_often_the_job_is_killed() {
    endure("killed-updates", Late::Some, &["totals", "best", "named"]);
}

#[test]
fn results_are_exact_with_checkpoints_in_a_bucket_that_fails_now_and_then() {
    let bucket = Bucket::open();
    let (refuses_each, leaves_unanswered_each) = (Some(31), Some(17));
    bucket.set(Faults { refuses_each, leaves_unanswered_each, ..Faults::default() });
    endure_with(Some(bucket), "killed-in-a-bucket", Late::Some, &["sessions", "best", "named"]);
}
