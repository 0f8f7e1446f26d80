//! The binary against this project's broker: the tests are those against Apache Kafka.

#[path = "it/kafka/mod.rs"]
mod kafka;
#[path = "it/support.rs"]
mod support;
