//! Kafka's own command line tools, of two generations, unmodified against the broker.

use crate::clients::{PATIENCE, TestBroker};
use crate::jars;
use rdkafka::producer::{BaseRecord, Producer};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Instant;

const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";
const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// The tools of one release, and a broker to use them on.
struct Bench {
    classes: PathBuf,
    broker: TestBroker,
}

impl Bench {
    /// `None` where there are no such tools and the test may be skipped.
    fn new(version: &str) -> Option<Bench> {
        match jars::fetch("kafka-tools", version) {
            Ok(classes) => Some(Bench { classes, broker: TestBroker::start() }),
            Err(why) if std::env::var_os("CI").is_some() => panic!("no Kafka tools: {why}"),
            Err(why) => {
                eprintln!("skipped: no Kafka tools: {why}");
                None
            }
        }
    }

    fn address(&self) -> String {
        self.broker.address()
    }

    fn start(&self, class: &str, arguments: &[&str]) -> Child {
        let mut command = Command::new("java");
        command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(format!("{}/*", self.classes.display())).arg(class).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("java can be run")
    }

    /// Runs a tool to its end, with these lines as its input, and gives what it prints.
    fn run(&self, class: &str, arguments: &[&str], lines: &str) -> String {
        let mut tool = self.start(class, arguments);
        tool.stdin.take().expect("a pipe").write_all(lines.as_bytes()).unwrap();
        let output = finish(tool);
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{class} {arguments:?}: {printed}{said}");
        printed
    }

    /// The values of so many committed records of a topic.
    fn consume(&self, topic: &str, count: usize) -> Vec<String> {
        let (address, count) = (self.address(), count.to_string());
        let arguments = [
            ["--bootstrap-server", &address],
            ["--topic", topic],
            ["--max-messages", &count],
            ["--timeout-ms", "60000"],
            ["--isolation-level", "read_committed"],
        ];
        let arguments = [&["--from-beginning"], arguments.as_flattened()].concat();
        let mut values: Vec<String> =
            self.run(CONSUMER, &arguments, "").lines().map(str::to_owned).collect();
        values.sort();
        values
    }

    fn create(&self, topic: &str, partitions: &str) {
        let address = self.address();
        let arguments = ["--bootstrap-server", &address, "--create", "--topic", topic];
        self.run(TOPICS, &[&arguments[..], &["--partitions", partitions]].concat(), "");
    }
}

fn finish(tool: Child) -> Output {
    let (pid, started) = (tool.id().to_string(), Instant::now());
    let waiting = thread::spawn(move || tool.wait_with_output().unwrap());
    while !waiting.is_finished() {
        if started.elapsed() > PATIENCE {
            let _ = Command::new("kill").args(["-9", &pid]).status();
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    waiting.join().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn topics_are_made_described_and_deleted(bench: &Bench) {
    let address = bench.address();
    bench.create("made", "3");
    let on =
        |more: &[&str]| bench.run(TOPICS, &[&["--bootstrap-server", &address], more].concat(), "");
    let described = on(&["--describe", "--topic", "made"]);
    assert!(described.contains("PartitionCount: 3"), "{described}");
    assert_eq!(described.matches("Leader: ").count(), 3, "{described}");
    on(&["--alter", "--topic", "made", "--partitions", "5"]);
    assert!(on(&["--describe", "--topic", "made"]).contains("PartitionCount: 5"));
    assert_eq!(on(&["--list"]).trim(), "made");
    on(&["--delete", "--topic", "made"]);
    assert_eq!(on(&["--list"]).trim(), "");
}

fn lines_go_in_and_come_out(bench: &Bench) {
    let address = bench.address();
    bench.create("lines", "2");
    let producer = ["--bootstrap-server", &address, "--topic", "lines"];
    bench.run(PRODUCER, &producer, "one\ntwo\nthree\n");
    assert_eq!(bench.consume("lines", 3), ["one", "three", "two"]);
}

fn many_records_are_produced_in_transactions(bench: &Bench) {
    let address = bench.address();
    bench.create("many", "4");
    let servers = format!("bootstrap.servers={address}");
    let arguments = [
        ["--topic", "many"],
        ["--num-records", "50000"],
        ["--record-size", "100"],
        ["--throughput", "-1"],
        ["--transactional-id", "performance"],
        ["--transaction-duration-ms", "50"],
        ["--producer-props", &servers],
    ];
    let printed = bench.run(PERFORMANCE, arguments.as_flattened(), "");
    assert!(printed.contains("50000 records sent"), "{printed}");
    assert_eq!(bench.consume("many", 50_000).len(), 50_000);
}

fn a_transactional_copy_is_complete_and_its_group_is_at_the_end(bench: &Bench) {
    let address = bench.address();
    bench.create("from", "1");
    bench.create("to", "1");
    let lines: Vec<String> = (0..2000).map(|number| format!("{number:04}")).collect();
    let producer = bench.broker.producer(&[]);
    for line in &lines {
        let record = BaseRecord::<str, str>::to("from").payload(line);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let arguments = [
        ["--broker-list", &address],
        ["--input-topic", "from"],
        ["--input-partition", "0"],
        ["--output-topic", "to"],
        ["--transactional-id", "copier"],
        ["--consumer-group", "copiers"],
        ["--max-messages", "2000"],
        ["--transaction-size", "150"],
    ];
    bench.run(COPIER, arguments.as_flattened(), "");
    assert_eq!(bench.consume("to", 2000), lines);
    let group = ["--bootstrap-server", &address, "--describe", "--group", "copiers"];
    let described = bench.run(GROUPS, &group, "");
    let row = described.lines().find(|line| line.starts_with("copiers"));
    let row: Vec<&str> = row.unwrap_or_else(|| panic!("{described}")).split_whitespace().collect();
    // Group, topic, partition, offset, end, lag.
    assert_eq!(row[1..3], ["from", "0"], "{described}");
    assert_eq!((row[3], row[5]), ("2000", "0"), "{described}");
    assert!(bench.run(GROUPS, &["--bootstrap-server", &address, "--list"], "").contains("copiers"));
}

fn all_with(bench: &Bench) {
    topics_are_made_described_and_deleted(bench);
    many_records_are_produced_in_transactions(bench);
    a_transactional_copy_is_complete_and_its_group_is_at_the_end(bench);
}

#[test]
fn the_tools_of_kafka_4_work() {
    if let Some(bench) = Bench::new("4.1.0") {
        all_with(&bench);
        lines_go_in_and_come_out(&bench);
    }
}

#[test]
fn the_tools_of_kafka_3_work() {
    // That release's console producer is not among its tools.
    if let Some(bench) = Bench::new("3.9.1") {
        all_with(&bench);
    }
}
