//! The binary against this project's broker: the tests are those against Apache Kafka.

#[path = "it/kafka/mod.rs"]
mod kafka;
#[allow(dead_code, reason = "what tests of buckets alone need")]
#[path = "it/s3.rs"]
mod s3;
#[path = "it/support.rs"]
mod support;
