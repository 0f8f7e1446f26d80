//! [`unique_name`]: names that nobody else has, on this machine or another.

use crate::coordinator::wall_clock_epoch;
use std::hash::{BuildHasher, RandomState};

/// A name that nobody else has: the moment and chance.
pub(crate) fn unique_name() -> String {
    let moment = wall_clock_epoch();
    let chance = RandomState::new().hash_one((moment, std::process::id()));
    format!("{moment:x}-{chance:016x}")
}
