//! The log of a partition: batches in segments, and what is known of their producers.
//!
//! * [`batch`]: the header of a batch; markers
//! * [`records`]: the times of the records in a batch
//! * [`producers`]: who wrote what, and which transactions are open
//! * [`segment`], [`index`], [`summary`]: a file, where to look in it, what a start needn't read
//! * [`partition_log`]: the segments of a partition; appending, reading, retention
//! * [`recovery`]: from files to a log again

pub(crate) mod batch;
pub(crate) mod index;
pub(crate) mod partition_log;
pub(crate) mod producers;
pub(crate) mod records;
pub(crate) mod recovery;
pub(crate) mod segment;
pub(crate) mod summary;

#[cfg(test)]
mod tests;
