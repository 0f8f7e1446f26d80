//! The wire: bytes to requests and replies to bytes.
//!
//! * [`apis`]: which requests there are here, in which versions, and how each is laid out
//! * [`layout`]: whether bytes are laid out so, before anything is made of them
//! * [`frame`]: one request after another from a connection, within limits
//! * [`reply`]: a reply, whose records are parts of files

pub(crate) mod apis;
pub(crate) mod frame;
pub(crate) mod layout;
pub(crate) mod reply;
