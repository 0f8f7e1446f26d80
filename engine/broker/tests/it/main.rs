//! The broker with real clients, unmodified.

mod clients;
mod full_disk;
mod groups;
mod hostile;
#[path = "../../../connectors/tests/kafka/jars.rs"]
mod jars;
mod kafka_tools;
mod kills;
mod other_clients;
mod records;
mod restarts;
mod topics;
mod transactions;
