//! The subcommands, one file each.

pub(crate) mod bench;
pub(crate) mod broker;
pub(crate) mod check;
pub(crate) mod checkpoints;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod generate;
pub(crate) mod jobs;
pub(crate) mod run;
pub(crate) mod topics;
pub(crate) mod verify;
