//! Transactions, producer ids and the offsets of groups: what must be decided in one place.
//!
//! * [`state`]: one transactional id, as pure transitions
//! * [`offsets`]: committed offsets
//! * [`coordinator`]: the transitions made durable and carried out

pub(crate) mod coordinator;
pub(crate) mod offsets;
pub(crate) mod state;

#[cfg(test)]
mod model;
