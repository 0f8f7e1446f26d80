//! Clients, as the tests want them.

use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tidemill_broker::{Broker, Config};

/// How long anything may take, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A broker with a directory of its own.
pub struct TestBroker {
    pub broker: Option<Broker>,
    pub directory: TempDir,
}

impl TestBroker {
    pub fn start() -> TestBroker {
        let directory = TempDir::new().unwrap();
        let broker = Broker::start(Config::new(directory.path())).unwrap();
        TestBroker { broker: Some(broker), directory }
    }

    pub fn address(&self) -> String {
        self.broker.as_ref().expect("a running broker").address().to_string()
    }

    /// Stops the broker and starts it at the same address.
    pub fn restart(&mut self) {
        let broker = self.broker.take().expect("a running broker");
        let listen = broker.address();
        broker.shutdown();
        let config = Config { listen, ..Config::new(self.directory.path()) };
        self.broker = Some(Broker::start(config).unwrap());
    }

    pub fn client(&self, options: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        for (key, value) in options {
            config.set(*key, *value);
        }
        config
    }

    pub fn producer(&self, options: &[(&str, &str)]) -> BaseProducer {
        self.client(options).create().unwrap()
    }

    /// A producer of transactions that has introduced itself.
    pub fn transactional(&self, id: &str) -> BaseProducer {
        let producer = self.producer(&[("transactional.id", id)]);
        producer.init_transactions(PATIENCE).unwrap();
        producer
    }

    /// All values of a topic's partition, as far as a reader sees them.
    pub fn read(&self, topic: &str, partition: i32, isolation: &str) -> Vec<String> {
        let consumer: BaseConsumer = self
            .client(&[
                ("group.id", "reader"),
                ("enable.auto.commit", "false"),
                ("enable.partition.eof", "true"),
                // The end is told once a fetch has waited for more.
                ("fetch.wait.max.ms", "10"),
                ("isolation.level", isolation),
            ])
            .create()
            .unwrap();
        let mut places = TopicPartitionList::new();
        places.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        consumer.assign(&places).unwrap();
        let (mut values, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                None => assert!(Instant::now() < deadline, "the end of {topic}"),
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return values,
                Some(message) => {
                    let message = message.unwrap();
                    values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
                }
            }
        }
    }
}

/// Sends values to a partition.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, values: &[&str]) {
    for value in values {
        let record = BaseRecord::<str, str>::to(topic).partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

/// Sends values to a partition and waits until they are there.
pub fn produce(producer: &BaseProducer, topic: &str, partition: i32, values: &[&str]) {
    send(producer, topic, partition, values);
    producer.flush(PATIENCE).unwrap();
}
