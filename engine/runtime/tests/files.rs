//! Jobs from files to files, through the real connectors and formats.

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMillisecondType};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tidemill_connectors::Registry;
use tidemill_connectors::sink::Console;
use tidemill_formats::{Changelog, Table};
use tidemill_operators::aggregate::{AggregateCall, AggregateFunction};
use tidemill_operators::map::MapSpec;
use tidemill_operators::top_n::{SortTerm, TopNSpec};
use tidemill_operators::window::WindowKind;
use tidemill_operators::window_aggregate::WindowAggregateSpec;
use tidemill_operators::{Expression, RowError};
use tidemill_runtime::{Exit, JobError, Metrics, RunOptions, Summary, run};
use tidemill_sql::plan::{Node, NodeKind, Plan, SinkPlan, SourcePlan};

fn schema(with_arrival: bool) -> SchemaRef {
    let field = |name| Field::new(name, DataType::Int64, true);
    let mut fields = vec![field("key"), field("value")];
    fields.extend(with_arrival.then(|| field("__arrival")));
    Arc::new(Schema::new(fields))
}

fn table(name: &str, path: &Path, format: &str) -> Table {
    let options = [
        ("connector", "filesystem"),
        ("path", path.to_str().expect("a readable path")),
        ("format", format),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Table {
        name: name.to_owned(),
        schema: schema(false),
        metadata: Vec::new(),
        primary_key: Vec::new(),
        partitioned_by: Vec::new(),
        options: BTreeMap::from(options),
    }
}

fn node(kind: NodeKind, inputs: Vec<usize>, schema: SchemaRef, changelog: Changelog) -> Node {
    Node {
        kind,
        inputs,
        schema,
        changelog,
        sources: vec![0],
        delay_ms: 0,
        by_processing_time: false,
        operator_id: 0,
    }
}

fn source(path: &Path, arrival: bool) -> Node {
    let table = table("numbers", path, "json");
    let plan = SourcePlan {
        table,
        columns: vec![0, 1],
        arrival,
        watermark: None,
        changelog: Changelog::AppendOnly,
    };
    node(NodeKind::Source(plan), vec![], schema(arrival), Changelog::AppendOnly)
}

fn sink(path: &Path, format: &str, changelog: Changelog, input: usize) -> Node {
    let plan = SinkPlan { table: table("results", path, format), changelog };
    node(NodeKind::Sink(plan), vec![input], schema(false), changelog)
}

#[derive(Debug)]
struct Silence;

impl Console for Silence {
    fn write(&self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

fn run_on(nodes: Vec<Node>, workers: usize, folder: &Path) -> Result<Summary, JobError> {
    let plan = plan(nodes);
    run(&plan, options(&plan, workers, folder), &Registry)
}

fn plan(nodes: Vec<Node>) -> Plan {
    // Small epochs, so that there are many.
    let option = ("tidemill.epoch.max-rows".to_owned(), "5000".to_owned());
    Plan { nodes, options: BTreeMap::from([option]) }
}

fn options(plan: &Plan, workers: usize, folder: &Path) -> RunOptions {
    RunOptions {
        workers,
        dead_letters: folder.join("dead-letters"),
        state: None,
        memory_limit: None,
        stop: Arc::default(),
        console: Arc::new(Silence),
        metrics: Arc::new(Metrics::new(plan, workers)),
    }
}

/// All lines of all visible part files, sorted.
fn lines(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).expect("the sink made its folder") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a readable name");
        assert!(!name.starts_with('.'), "{name} was left behind");
        lines.extend(fs::read_to_string(&path).expect("text").lines().map(str::to_owned));
    }
    lines.sort_unstable();
    lines
}

#[test]
fn every_line_of_every_file_arrives_once_for_any_number_of_workers() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("input");
    fs::create_dir(&input).expect("made");
    let mut expected = Vec::new();
    for file in 0..3 {
        let rows = (0..20_000).map(|row| format!("{{\"key\":{file},\"value\":{row}}}"));
        let rows: Vec<String> = rows.collect();
        fs::write(input.join(format!("{file}.jsonl")), rows.join("\n")).expect("written");
        expected.extend(rows);
    }
    fs::write(input.join("bad.jsonl"), "no json\n{\"key\":9,\"value\":9}\n").expect("written");
    expected.push("{\"key\":9,\"value\":9}".to_owned());
    expected.sort_unstable();
    for workers in 1..=4 {
        let output = folder.path().join(format!("output-{workers}"));
        let nodes = vec![source(&input, false), sink(&output, "json", Changelog::AppendOnly, 0)];
        let summary = run_on(nodes, workers, folder.path()).expect("the job runs");
        assert_eq!(lines(&output), expected, "{workers} workers");
        assert_eq!((summary.rows_in, summary.rows_out), (60_001, 60_001));
        assert_eq!((summary.bad_rows, summary.exit), (1, Exit::Finished));
    }
}

/// The last row of each key by arrival: one file dealt to several workers keeps its order.
#[test]
fn a_file_dealt_to_several_workers_keeps_its_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("input.jsonl");
    let rows = (0..200_000).map(|row| format!("{{\"key\":{},\"value\":{row}}}\n", row % 7));
    fs::write(&input, rows.collect::<String>()).expect("written");
    let expected: Vec<String> = (0..7)
        .map(|key| {
            let last = (0..200_000).rev().find(|row| row % 7 == key).expect("there is one");
            format!("{{\"key\":{key},\"value\":{last}}}")
        })
        .collect();
    for workers in 1..=4 {
        let spec = TopNSpec {
            partition: vec![0],
            order: vec![SortTerm { column: 2, descending: true, nulls_first: false }],
            first: 1,
            last: 1,
            rank_output: false,
            updating: false,
            ties_to_last: true,
            window_end: None,
            zone: None,
            arrival: Some(2),
            ttl_ms: None,
        };
        let top = node(NodeKind::TopN(spec), vec![0], schema(true), Changelog::Retract);
        let output = folder.path().join(format!("output-{workers}"));
        let mut results = table("results", &output, "debezium-json");
        results.schema = schema(true);
        let plan = SinkPlan { table: results, changelog: Changelog::Retract };
        let sink = node(NodeKind::Sink(plan), vec![1], schema(true), Changelog::Retract);
        let nodes = vec![source(&input, true), top, sink];
        run_on(nodes, workers, folder.path()).expect("the job runs");
        let mut kept: BTreeMap<String, i64> = BTreeMap::new();
        for line in lines(&output) {
            let change: serde_json::Value = serde_json::from_str(&line).expect("json");
            let (row, weight) = match change["op"].as_str() {
                Some("c") => (&change["after"], 1),
                _ => (&change["before"], -1),
            };
            let row = format!("{{\"key\":{},\"value\":{}}}", row["key"], row["value"]);
            *kept.entry(row).or_default() += weight;
        }
        kept.retain(|_, weight| *weight != 0);
        assert!(kept.values().all(|&weight| weight == 1), "{kept:?}");
        assert_eq!(kept.into_keys().collect::<Vec<_>>(), expected, "{workers} workers");
    }
}

/// A time column less a delay.
#[derive(Debug)]
struct Delayed(usize, i64);

impl Expression for Delayed {
    fn evaluate(&self, rows: &RecordBatch, _: i64) -> Result<ArrayRef, RowError> {
        let times = rows.column(self.0).as_primitive::<TimestampMillisecondType>();
        Ok(Arc::new(times.unary::<_, TimestampMillisecondType>(|ms| ms - self.1)))
    }

    fn describe(&self) -> String {
        format!("column {} - {} ms", self.0, self.1)
    }
}

fn timed_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("ts", time, true),
    ]))
}

/// Two files of rows that come up to three seconds out of order, counted in windows of ten
/// seconds: nothing is late, whoever reads what, and every window shows once.
#[test]
fn rows_within_the_watermarks_delay_are_never_late_for_any_number_of_workers() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("input");
    fs::create_dir(&input).expect("made");
    let mut expected: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for file in 0..2i64 {
        let mut text = String::new();
        for row in 0..30_000i64 {
            let ms = row * 20 + (row * 7919 + file) % 3000;
            let key = (row * 31 + file) % 5;
            let (second, fraction) = (ms / 1000, ms % 1000);
            let time = format!(
                "2024-01-01 {:02}:{:02}:{:02}.{fraction:03}",
                second / 3600,
                second / 60 % 60,
                second % 60
            );
            writeln!(text, "{{\"key\":{key},\"ts\":\"{time}\"}}").expect("a string");
            *expected.entry((key, ms / 10_000)).or_default() += 1;
        }
        fs::write(input.join(format!("{file}.jsonl")), text).expect("written");
    }
    let mut expected: Vec<String> = expected
        .into_iter()
        .map(|((key, window), n)| {
            let (minute, second) = (window * 10 / 60, window * 10 % 60);
            format!("{{\"key\":{key},\"n\":{n},\"window_start\":\"2024-01-01 00:{minute:02}:{second:02}\"}}")
        })
        .collect();
    expected.sort_unstable();
    for workers in 1..=4 {
        let output = folder.path().join(format!("output-{workers}"));
        let summary = run_on(windowed(&input, &output), workers, folder.path()).expect("runs");
        assert_eq!(summary.late_rows, 0, "{workers} workers");
        assert_eq!(lines(&output), expected, "{workers} workers");
    }
}

/// A file that is read within one epoch closes windows too, though the input never ends.
#[test]
fn what_a_watched_directory_holds_closes_windows_though_more_may_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("input");
    fs::create_dir(&input).expect("made");
    let move_in = |name: &str, seconds: std::ops::Range<i64>| {
        let row = |s: i64| {
            format!("{{\"key\":1,\"ts\":\"2024-01-01 00:{:02}:{:02}\"}}\n", s / 60, s % 60)
        };
        let aside = folder.path().join(name);
        fs::write(&aside, seconds.map(row).collect::<String>()).expect("written");
        fs::rename(aside, input.join(name)).expect("moved");
    };
    move_in("a.jsonl", 0..60);
    let mut nodes = windowed(&input, &folder.path().join("output"));
    let NodeKind::Source(source) = &mut nodes[0].kind else { panic!("a source") };
    source.table.options.insert("source.monitor-interval".to_owned(), "10 ms".to_owned());
    let plan = plan(nodes);
    let options = options(&plan, 2, folder.path());
    let (stop, metrics) = (options.stop.clone(), options.metrics.clone());
    let wait_for = |windows: u64| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while metrics.totals().rows_out < windows && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(metrics.totals().rows_out, windows);
    };
    std::thread::scope(|threads| {
        let running = threads.spawn(|| run(&plan, options, &Registry));
        wait_for(5);
        move_in("b.jsonl", 60..80);
        wait_for(7);
        stop.store(true, Ordering::Release);
        let summary = running.join().expect("no panic").expect("the job runs");
        assert_eq!((summary.exit, summary.late_rows), (Exit::Stopped, 0));
    });
}

fn windowed(input: &Path, output: &Path) -> Vec<Node> {
    let mut events = table("events", input, "json");
    events.schema = timed_schema();
    let watermark: Arc<dyn Expression> = Arc::new(Delayed(1, 3000));
    let source = SourcePlan {
        table: events,
        columns: vec![0, 1],
        arrival: false,
        watermark: Some(watermark),
        changelog: tidemill_formats::Changelog::AppendOnly,
    };
    let count = AggregateCall {
        function: AggregateFunction::CountRows,
        argument: None,
        filter: None,
        distinct: false,
        input_type: DataType::Null,
        output_type: DataType::Int64,
        name: "n".to_owned(),
    };
    let spec = WindowAggregateSpec {
        window: WindowKind::Tumble { size_ms: 10_000, offset_ms: 0 },
        zone: None,
        time: 1,
        keys: vec![0],
        aggregates: vec![count],
        updating: false,
        arrival: None,
    };
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    let field = |name, kind: &DataType| Field::new(name, kind.clone(), true);
    let counts = Arc::new(Schema::new(vec![
        field("key", &DataType::Int64),
        field("n", &DataType::Int64),
        field("window_start", &time),
        field("window_end", &time),
        field("window_time", &time),
    ]));
    let shown = Arc::new(counts.project(&[0, 1, 2]).expect("three columns"));
    let map = MapSpec {
        windows: None,
        predicate: None,
        projection: Some(vec![Arc::new(Column(0)), Arc::new(Column(1)), Arc::new(Column(2))]),
        has_idle_updates: false,
        schema: shown.clone(),
    };
    let mut results = table("results", output, "json");
    results.schema = shown.clone();
    let append_only = Changelog::AppendOnly;
    let sink = SinkPlan { table: results, changelog: append_only };
    vec![
        node(NodeKind::Source(source), vec![], timed_schema(), append_only),
        node(NodeKind::WindowAggregate(spec), vec![0], counts, append_only),
        node(NodeKind::Map(map), vec![1], shown.clone(), append_only),
        node(NodeKind::Sink(sink), vec![2], shown, append_only),
    ]
}

/// A column as it is.
#[derive(Debug)]
struct Column(usize);

impl Expression for Column {
    fn evaluate(&self, rows: &RecordBatch, _: i64) -> Result<ArrayRef, RowError> {
        Ok(rows.column(self.0).clone())
    }

    fn describe(&self) -> String {
        format!("column {}", self.0)
    }
}
