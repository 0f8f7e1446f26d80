//! [`SparseIndex`]: where in a segment's file to begin looking, by offset and by time.
//!
//! An entry stands for a batch: its first offset, its place, and the greatest timestamp of all
//! batches *before* it. There is one at least every [`INTERVAL_BYTES`], so that a search reads no
//! more than that of the file, and a terabyte of log costs a fixed small share of memory.

use std::cmp::Ordering;

/// An entry is made once this much was appended since the last one.
const INTERVAL_BYTES: u32 = 8 << 10;

/// A batch that can be found without reading the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// From the segment's base offset.
    pub(crate) relative_offset: u32,
    pub(crate) position: u32,
    pub(crate) max_timestamp_before_ms: i64,
}

/// The entries of a segment, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseIndex {
    entries: Vec<Entry>,
}

impl SparseIndex {
    pub(crate) fn from_entries(entries: Vec<Entry>) -> SparseIndex {
        SparseIndex { entries }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Offers a batch that was appended.
    pub(crate) fn offer(&mut self, entry: Entry) {
        let is_far = |last: &Entry| entry.position - last.position >= INTERVAL_BYTES;
        if self.entries.last().is_none_or(is_far) {
            self.entries.push(entry);
        }
    }

    /// Where to begin looking for an offset: at or before it.
    pub(crate) fn position_for_offset(&self, relative_offset: u32) -> u32 {
        self.last_where(|entry| entry.relative_offset <= relative_offset)
    }

    /// Where to begin looking for the first batch that reaches a time.
    pub(crate) fn position_for_time(&self, timestamp_ms: i64) -> u32 {
        self.last_where(|entry| entry.max_timestamp_before_ms < timestamp_ms)
    }

    /// The last known start of a batch in `after..=position`: where a read may end on a whole one.
    pub(crate) fn last_start(&self, after: u32, position: u32) -> Option<u32> {
        let start = self.last_where(|entry| entry.position <= position);
        (start.cmp(&after) == Ordering::Greater).then_some(start)
    }

    /// An offset before which all of `..position` lies, if an entry tells.
    pub(crate) fn offset_at_or_after(&self, position: u32) -> Option<u32> {
        let index = self.entries.partition_point(|entry| entry.position < position);
        self.entries.get(index).map(|entry| entry.relative_offset)
    }

    fn last_where(&self, is_before: impl Fn(&Entry) -> bool) -> u32 {
        match self.entries.partition_point(is_before) {
            0 => 0,
            count => self.entries[count - 1].position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> SparseIndex {
        let mut index = SparseIndex::default();
        for batch in 0..100 {
            index.offer(Entry {
                relative_offset: batch * 10,
                position: batch * 1000,
                max_timestamp_before_ms: i64::from(batch) - 1,
            });
        }
        index
    }

    #[test]
    fn a_search_begins_at_or_a_little_before_what_is_sought() {
        let index = index();
        assert!(index.entries().len() < 15);
        for offset in 0..1000 {
            let (found, exact) = (index.position_for_offset(offset), offset / 10 * 1000);
            assert!(found <= exact && exact - found <= INTERVAL_BYTES + 1000, "{offset}");
        }
        for time in 0..100 {
            let (found, exact) = (index.position_for_time(time), time as u32 * 1000);
            assert!(found <= exact && exact - found <= INTERVAL_BYTES + 1000, "{time}");
        }
    }

    #[test]
    fn a_read_ends_on_the_start_of_a_batch_where_one_is_known() {
        let index = index();
        assert_eq!(index.last_start(0, 5_000), None);
        assert_eq!(index.last_start(0, 12_345), Some(9_000));
        assert_eq!(index.last_start(9_000, 12_345), None);
        assert_eq!(index.offset_at_or_after(9_001), Some(180));
        assert_eq!(index.offset_at_or_after(99_999), None);
    }
}
