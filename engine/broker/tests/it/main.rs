//! The broker with real clients, unmodified.

mod clients;
mod groups;
mod hostile;
mod kills;
mod records;
mod restarts;
mod topics;
mod transactions;
