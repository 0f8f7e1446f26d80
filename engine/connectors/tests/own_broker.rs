//! The Kafka connector against this project's broker: the tests are those against Apache Kafka.

#[path = "kafka/main.rs"]
mod kafka;
