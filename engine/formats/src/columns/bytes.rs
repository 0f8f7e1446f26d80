//! [`Bytes`]: values of varying length, one behind the other.

use super::column::Validity;
use super::nested::{last_end, offset, take_offsets};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};

/// Text or binary values. As text it must be fed whole characters only.
pub(crate) struct Bytes {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    validity: Validity,
}

impl Bytes {
    pub(super) fn new() -> Self {
        Bytes { bytes: vec![], ends: vec![], validity: Validity::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Appends a value.
    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.complete();
    }

    /// Where a value can be written piece by piece before [`Bytes::complete`] ends it or
    /// [`Bytes::abandon`] forgets it.
    pub(crate) fn open(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the value written to [`Bytes::open`].
    #[inline]
    pub(crate) fn complete(&mut self) {
        self.ends.push(offset(self.bytes.len()));
        self.validity.push_valid();
    }

    /// Forgets the pieces of an unfinished value.
    pub(crate) fn abandon(&mut self) {
        self.bytes.truncate(last_end(&self.ends));
    }

    pub(super) fn push_nulls(&mut self, count: usize) {
        self.ends.resize(self.ends.len() + count, offset(self.bytes.len()));
        self.validity.push_nulls(count);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if rows < self.ends.len() {
            self.ends.truncate(rows);
            self.validity.truncate(rows);
        }
        self.abandon();
    }

    pub(super) fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        let room = Vec::with_capacity(self.bytes.len());
        let bytes = Buffer::from_vec(std::mem::replace(&mut self.bytes, room));
        let offsets = take_offsets(&mut self.ends);
        (offsets, bytes, self.validity.finish())
    }
}
