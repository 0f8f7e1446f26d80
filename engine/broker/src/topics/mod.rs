//! Topics: their names, options and partitions, and the files that say so.
//!
//! * [`config`]: the options of a topic
//! * [`partition`]: a log with those who wait for it to grow
//! * [`catalog`]: all topics; creating, growing, deleting

pub(crate) mod catalog;
pub(crate) mod config;
pub(crate) mod partition;
