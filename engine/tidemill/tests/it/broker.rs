//! `tidemill broker`: starts, serves, stops.

use crate::support::{finish, tidemill};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// A broker on a free port, and where it is.
pub fn start(data: &std::path::Path) -> (Child, String) {
    let mut command = tidemill();
    command.args(["broker", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut address = String::new();
    let output = child.stdout.as_mut().expect("a pipe");
    BufReader::new(output).read_line(&mut address).unwrap();
    (child, address.trim().to_owned())
}

pub fn stop(mut child: Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success(), "a stopped broker is no failure");
}

fn client(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("group.id", "test");
    config
}

#[test]
fn a_broker_keeps_what_it_is_sent_until_it_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (child, address) = start(&data);
    let producer: BaseProducer = client(&address).create().unwrap();
    let record = BaseRecord::<str, str>::to("greetings").partition(0).payload("hello");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    drop(producer);
    stop(child);
    let (child, address) = start(&data);
    let consumer: BaseConsumer = client(&address).create().unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition_offset("greetings", 0, Offset::Beginning).unwrap();
    consumer.assign(&places).unwrap();
    let message = consumer.poll(PATIENCE).expect("a record in time").unwrap();
    assert_eq!(message.payload(), Some(&b"hello"[..]));
    drop(message);
    // While there is somebody to take its leave of.
    drop(consumer);
    stop(child);
}

#[test]
fn a_broker_is_not_exposed_by_a_slip_of_the_pen() {
    let mut command = tidemill();
    command.args(["broker", "--listen", "0.0.0.0:0"]);
    let output = finish(command, PATIENCE).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--expose"), "{said}");
}
