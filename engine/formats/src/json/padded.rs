//! [`Padded`] and [`Cursor`]: a record that can be read by the block, without asking each time whether
//! there is a block.
//!
//! Invariant: behind the record stand [`PADDING`] bytes of zero, and a cursor stands within the record
//! or at its end. So whatever is loaded from where it stands is there. All that is `unsafe` in reading
//! JSON is in this module and in [`Block`].

use super::Fault;
use super::block::Block;

/// More than is ever looked at from one place, and what makes a record whole blocks of the check for
/// UTF-8.
const PADDING: usize = 64;

/// A copy of one record.
#[derive(Default)]
pub(crate) struct Padded {
    /// Empty, or the record and its padding.
    bytes: Vec<u8>,
}

impl Padded {
    /// Takes a record in the place of the one before, and decides whether it is text at all.
    pub(crate) fn hold(&mut self, record: &[u8]) -> Result<(), Fault> {
        self.bytes.clear();
        self.bytes.reserve(record.len() + PADDING);
        self.bytes.extend_from_slice(record);
        self.bytes.extend_from_slice(&[0; PADDING]);
        let whole_blocks = record.len().next_multiple_of(PADDING);
        match simdutf8::basic::from_utf8(&self.bytes[..whole_blocks]) {
            Ok(_) => Ok(()),
            Err(_) => Err(Fault::syntax("it is not UTF-8")),
        }
    }
}

/// A place in a record.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    /// With the padding.
    bytes: &'a [u8],
    end: usize,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of the record.
    ///
    /// # Panics
    /// If nothing is held.
    pub(super) fn new(record: &'a Padded) -> Self {
        let end = record.bytes.len().checked_sub(PADDING).expect("a record is held");
        Cursor { bytes: &record.bytes, end, at: 0 }
    }

    /// How many bytes stand before it.
    #[inline(always)]
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes back to where it stood.
    #[inline(always)]
    pub(super) fn rewind(&mut self, position: usize) {
        self.at = position.min(self.at);
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.end
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    /// What has been passed since `position`.
    #[inline(always)]
    pub(super) fn since(&self, position: usize) -> &'a [u8] {
        &self.bytes[position..self.at]
    }

    /// The byte here, 0 at the end.
    #[inline(always)]
    pub(super) fn byte(&self) -> u8 {
        // SAFETY: by the invariant, as in the next two.
        unsafe { *self.bytes.get_unchecked(self.at) }
    }

    /// The eight bytes here, the first in the lowest bits.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        // SAFETY: see above.
        u64::from_le_bytes(unsafe { self.bytes.as_ptr().add(self.at).cast::<[u8; 8]>().read() })
    }

    #[inline(always)]
    fn block(&self) -> Block {
        // SAFETY: see above.
        Block::new(unsafe { &*self.bytes.as_ptr().add(self.at).cast() })
    }

    /// Passes the bytes that have been looked at.
    ///
    /// # Safety
    /// The last of them is in the record; as it is if it isn't zero.
    #[inline(always)]
    pub(super) unsafe fn pass(&mut self, count: usize) {
        self.at += count;
        debug_assert!(self.at <= self.end);
    }

    /// Passes a byte, which must not be zero.
    #[inline(always)]
    pub(super) fn pass_byte(&mut self, byte: u8) -> bool {
        let stands = self.byte() == byte && byte != 0;
        self.at += usize::from(stands);
        stands
    }

    /// Passes a text that stands here.
    #[inline(always)]
    pub(super) fn pass_text(&mut self, text: &[u8]) -> bool {
        let stands = self.rest().starts_with(text);
        self.at += if stands { text.len() } else { 0 };
        stands
    }

    /// Passes a text that has been seen before, if it stands here again.
    #[inline(always)]
    pub(super) fn pass_known(&mut self, known: &Known) -> bool {
        if self.block().same(known.head) | known.unused != Block::ALL {
            return false;
        }
        if known.text.len() > Block::LEN {
            return self.pass_text(&known.text);
        }
        // SAFETY: what stands here is the text, and that ends with a byte that is not zero.
        unsafe { self.pass(known.text.len()) };
        true
    }

    /// Goes to the next quote or backslash and says which it is; 0 is neither, and moves nothing.
    /// Most strings are short, so the first bytes are looked at by themselves.
    #[inline(always)]
    pub(super) fn seek_quote_or_escape(&mut self) -> u8 {
        let start = self.at;
        let mut found = self.block().either(b'"', b'\\');
        if found == 0 {
            self.at += Block::LEN;
            found = self.seek_in_blocks();
            if found == 0 {
                self.at = start;
                return 0;
            }
        }
        // What was found is no zero, and so in the record.
        self.at += found.trailing_zeros() as usize;
        self.byte()
    }

    /// Goes to the next pair of blocks with a quote or backslash, and says where those are in it.
    /// It may stand beyond the end when there is none.
    #[inline(always)]
    fn seek_in_blocks(&mut self) -> u32 {
        while self.at <= self.end {
            let low = self.block().either(b'"', b'\\');
            self.at += Block::LEN;
            // SAFETY of what is loaded: the padding is longer than both.
            let high = self.block().either(b'"', b'\\');
            let found = low | high << Block::LEN;
            if found != 0 {
                self.at -= Block::LEN;
                return found;
            }
            self.at += Block::LEN;
        }
        0
    }
}

/// A text that is expected again.
pub(super) struct Known {
    text: Box<[u8]>,
    /// Its beginning, and a mark for each byte of that which is none of it.
    head: Block,
    unused: u32,
}

impl Known {
    /// What stands nowhere.
    pub(super) fn nothing() -> Self {
        Known { text: Box::default(), head: Block::new(&[0; Block::LEN]), unused: !Block::ALL }
    }

    /// A text that ends with a byte other than zero.
    ///
    /// # Panics
    /// If it doesn't.
    pub(super) fn new(text: &[u8]) -> Self {
        assert!(text.last().is_some_and(|&byte| byte != 0));
        let mut head = [0; Block::LEN];
        let length = text.len().min(Block::LEN);
        head[..length].copy_from_slice(&text[..length]);
        let unused = Block::ALL & !((1 << length) - 1);
        Known { text: text.into(), head: Block::new(&head), unused }
    }

    /// The text.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }
}
