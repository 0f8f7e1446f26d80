//! Consumer groups: who is in them and who reads what. What they have committed is the
//! coordinator's.
//!
//! * [`member`]: one member, and what it may be waiting for
//! * [`group`]: the state machine of a group
//! * [`registry`]: all groups

pub(crate) mod group;
pub(crate) mod member;
pub(crate) mod registry;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
