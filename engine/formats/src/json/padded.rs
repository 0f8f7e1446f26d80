//! [`Padded`] and [`Cursor`]: a record that can be read by the block, without asking each time whether
//! there is a block.
//!
//! Invariant: behind the record stand [`PADDING`] bytes of zero, and a cursor stands within the record
//! or at its end. So whatever is loaded from where it stands is there. A cursor keeps to this without
//! looking at the end, for it only passes what has been looked at, and the last byte of that is never
//! zero. All that is `unsafe` in reading JSON is in this module and in [`Block`]: asking each time where
//! the end is takes a fifteenth more instructions, and a quarter more branches.

use super::Fault;
use super::block::{Block, digits_before};

/// More than is ever looked at from one place, and what makes a record whole blocks of the check for
/// UTF-8.
const PADDING: usize = 64;

/// A copy of one record.
#[derive(Default)]
pub(crate) struct Padded {
    /// The record, its padding, and what is left of longer ones.
    bytes: Vec<u8>,
    length: usize,
}

impl Padded {
    /// Takes a record in the place of the one before, and decides whether it is text at all.
    pub(crate) fn hold(&mut self, record: &[u8]) -> Result<(), Fault> {
        self.length = record.len();
        let padded = self.length + PADDING;
        if self.bytes.len() < padded {
            self.bytes.resize(padded, 0);
        }
        self.bytes[..self.length].copy_from_slice(record);
        self.bytes[self.length..padded].fill(0);
        let whole_blocks = self.length.next_multiple_of(PADDING);
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
        let bytes = &record.bytes[..record.length + PADDING];
        Cursor { bytes, end: record.length, at: 0 }
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
        u8::from_le_bytes(*self.load())
    }

    #[inline(always)]
    fn word(&self) -> u64 {
        u64::from_le_bytes(*self.load())
    }

    #[inline(always)]
    fn block(&self) -> Block {
        Block::new(self.load())
    }

    /// The bytes here, and of the padding if there are not as many.
    #[inline(always)]
    fn load<const COUNT: usize>(&self) -> &'a [u8; COUNT] {
        debug_assert!(self.at + COUNT <= self.bytes.len());
        // SAFETY: it stands at the end at most, and when it seeks, a block behind that; two blocks are
        // less than the padding. Arrays of bytes may stand anywhere.
        unsafe { &*self.bytes.as_ptr().add(self.at).cast() }
    }

    /// Passes as many bytes, but not the end.
    pub(super) fn pass(&mut self, count: usize) {
        self.at = (self.at + count).min(self.end);
    }

    /// Passes a byte, which must not be zero.
    #[inline(always)]
    pub(super) fn pass_byte(&mut self, byte: u8) -> bool {
        if self.byte() != byte || byte == 0 {
            return false;
        }
        self.at += 1;
        true
    }

    /// Passes up to eight digits; gives the word that they begin, and how many they are.
    #[inline(always)]
    pub(super) fn pass_digits(&mut self) -> (u64, usize) {
        let word = self.word();
        let length = digits_before(word);
        self.at += length;
        (word, length)
    }

    /// Passes `null`.
    #[inline(always)]
    pub(super) fn pass_null(&mut self) -> bool {
        let stands = self.word() as u32 == u32::from_le_bytes(*b"null");
        self.at += if stands { 4 } else { 0 };
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
        // The text ends with a byte that is not zero, and so within the record.
        self.at += known.text.len();
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
            // The padding is longer than both.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_breaks_off_is_refused_wherever_it_ends() {
        let mut padded = Padded::default();
        for length in 0..200 {
            let text = "a".repeat(length);
            for rest in [&b""[..], "é".as_bytes(), "𝄞".as_bytes()] {
                assert!(padded.hold(&[text.as_bytes(), rest].concat()).is_ok());
                for cut in 1..rest.len() {
                    assert!(padded.hold(&[text.as_bytes(), &rest[..cut]].concat()).is_err());
                }
            }
        }
    }

    #[test]
    fn quotes_are_found_within_the_record_only() {
        let mut padded = Padded::default();
        for length in 0..200 {
            padded.hold(format!("{}\"\\", "a".repeat(length)).as_bytes()).unwrap();
            let mut cursor = Cursor::new(&padded);
            assert_eq!((cursor.seek_quote_or_escape(), cursor.position()), (b'"', length));
            cursor.pass(1);
            assert_eq!((cursor.seek_quote_or_escape(), cursor.position()), (b'\\', length + 1));
            // What the longer record leaves behind is no part of this one.
            padded.hold("a".repeat(length).as_bytes()).unwrap();
            let mut cursor = Cursor::new(&padded);
            assert_eq!((cursor.seek_quote_or_escape(), cursor.position()), (0, 0));
            cursor.pass(length + 1);
            assert!(cursor.is_at_end() && cursor.byte() == 0);
        }
    }

    #[test]
    fn known_texts_of_any_length_are_passed_whole_or_not_at_all() {
        let mut padded = Padded::default();
        let text: Vec<u8> = (0..40).map(|i| b'a' + i % 26).collect();
        for length in 1..text.len() {
            let known = Known::new(&text[..length]);
            for held in 0..text.len() {
                padded.hold(&text[..held]).unwrap();
                let mut cursor = Cursor::new(&padded);
                assert_eq!(cursor.pass_known(&known), held >= length);
                assert_eq!(cursor.position(), if held >= length { length } else { 0 });
                assert!(!Cursor::new(&padded).pass_known(&Known::nothing()));
            }
        }
    }
}
