//! `kcat` and Python's `confluent-kafka`, unmodified, where they are installed.

use crate::clients::TestBroker;
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a program with these lines as its input; what it printed. `None` where there is no such
/// program.
fn run(program: &str, arguments: &[&str], lines: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: no {program}");
        return None;
    };
    // It may not want to read them.
    let _ = child.stdin.take().expect("a pipe").write_all(lines.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No module named") {
        eprintln!("skipped: {said}");
        return None;
    }
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn kcat_writes_lists_and_reads() {
    let broker = TestBroker::start();
    let address = broker.address();
    let on = |more: &[&str], lines: &str| run("kcat", &[&["-b", &address], more].concat(), lines);
    let written = on(&["-t", "greetings", "-P", "-K", ":"], "de:hallo\nfr:salut\n");
    let Some(_) = written else { return };
    let listed = on(&["-L"], "").expect("it is installed");
    assert!(listed.contains("topic \"greetings\" with 4 partitions"), "{listed}");
    let read = ["-t", "greetings", "-C", "-o", "beginning", "-e", "-q", "-f", "%k=%s\\n"];
    let read = on(&read, "").expect("it is installed");
    let mut lines: Vec<&str> = read.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["de=hallo", "fr=salut"]);
}

/// A transactional copy by a group, and an aborted transaction beside it.
const PYTHON: &str = r#"
import sys
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

brokers = {"bootstrap.servers": sys.argv[1]}
admin = AdminClient(brokers)
for future in admin.create_topics([NewTopic("in", 2), NewTopic("out", 2)]).values():
    future.result()
plain = Producer(brokers)
for number in range(1000):
    plain.produce("in", str(number), partition=number % 2)
assert plain.flush(30) == 0

consumer = Consumer(brokers | {
    "group.id": "copiers", "auto.offset.reset": "earliest", "enable.auto.commit": False})
consumer.subscribe(["in"])
producer = Producer(brokers | {"transactional.id": "copier"})
producer.init_transactions(30)
producer.begin_transaction()
producer.produce("out", "never seen", partition=0)
producer.flush(30)
producer.abort_transaction(30)
copied = 0
while copied < 1000:
    records = consumer.consume(100, 10)
    producer.begin_transaction()
    for record in records:
        assert record.error() is None, record.error()
        producer.produce("out", record.value(), partition=record.partition())
    copied += len(records)
    places = consumer.position(consumer.assignment())
    producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), 30)
    producer.commit_transaction(30)
committed = consumer.committed([TopicPartition("in", 0), TopicPartition("in", 1)], 30)
print("committed", sorted(place.offset for place in committed))
consumer.close()

reader = Consumer(brokers | {
    "group.id": "readers", "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
reader.subscribe(["out"])
values = []
while len(values) < 1000:
    values += [record.value().decode() for record in reader.consume(100, 10)]
reader.close()
print("values", sorted(map(int, values)) == list(range(1000)))
"#;

#[test]
fn confluents_python_client_copies_in_transactions() {
    let broker = TestBroker::start();
    let printed = run("python3", &["-c", PYTHON, &broker.address()], "");
    if let Some(printed) = printed {
        assert_eq!(printed, "committed [500, 500]\nvalues True\n");
    }
}
