//! [`Rows`]: what a join asks of one input's rows, however they are held.
//!
//! Rows have small numbers, and those under one key are a chain. While an epoch is applied each
//! row says how often it counts now and how often it did before, so that both states can be read
//! side by side.

/// No row: pads the other side with NULLs, and ends a chain.
pub(super) const NONE: u32 = u32::MAX;

/// The rows of one input.
pub(super) trait Rows {
    /// How often a row counted before the epoch, and how often it does now.
    fn counts(&self, id: u32) -> (i64, i64);

    /// The next row under the same key, or [`NONE`].
    fn next(&self, id: u32) -> u32;

    /// Rows whose count the epoch changed, and the slots of their keys.
    fn changed(&self) -> impl Iterator<Item = (u32, u32)>;

    /// A chain from its head.
    #[inline]
    fn chain(&self, head: u32) -> impl Iterator<Item = u32> {
        std::iter::successors((head != NONE).then_some(head), |&id| {
            let next = self.next(id);
            (next != NONE).then_some(next)
        })
    }
}
