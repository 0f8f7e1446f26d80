//! [`Quoted`]: strings of JSON, found by words of eight bytes and unescaped only where they must be.

use super::Fault;

/// The inside of a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a> {
    /// Without the quotes, escapes as written.
    pub raw: &'a [u8],
    /// Whether there are escapes.
    pub is_escaped: bool,
}

/// The next `"` or `\` from `start` on. Most strings are short, so eight bytes are looked at with
/// one word of arithmetic and no call is made.
#[inline(always)]
pub(super) fn find_quote_or_escape(bytes: &[u8], start: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut at = start;
    // Long strings (a page of text) are better served by vector instructions.
    let words_end = start + 64;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quotes = word ^ (ONES * b'"' as u64);
        let escapes = word ^ (ONES * b'\\' as u64);
        // A byte is zero exactly where the lowest marked byte is; marks above may be false.
        let hits =
            (quotes.wrapping_sub(ONES) & !quotes | escapes.wrapping_sub(ONES) & !escapes) & HIGHS;
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
        if at >= words_end {
            break;
        }
    }
    memchr::memchr2(b'"', b'\\', bytes.get(at..)?).map(|found| at + found)
}

/// Four hexadecimal digits.
pub(super) fn hex4(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, &d| Some(value << 4 | char::from(d).to_digit(16)? as u16))
}

impl Quoted<'_> {
    /// Appends the text that is meant. Grammar has been checked; what can still be wrong is half
    /// of a surrogate pair.
    pub(crate) fn unescape(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            out.extend_from_slice(&rest[..at]);
            let (character, length) = match rest[at + 1] {
                b'b' => ('\u{8}', 2),
                b'f' => ('\u{c}', 2),
                b'n' => ('\n', 2),
                b'r' => ('\r', 2),
                b't' => ('\t', 2),
                b'u' => unicode_escape(&rest[at..])?,
                other => (char::from(other), 2),
            };
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[at + length..];
        }
        out.extend_from_slice(rest);
        Ok(())
    }
}

/// The character of `\u....`, or of two of them, and how long that is.
fn unicode_escape(text: &[u8]) -> Result<(char, usize), Fault> {
    let half = || Fault::value("a string holds half of a surrogate pair");
    let first = u32::from(hex4(text, 2).ok_or_else(half)?);
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let is_pair = text.get(6..8) == Some(b"\\u") && first < 0xdc00;
    let second = hex4(text, 8).filter(|s| is_pair && (0xdc00..0xe000).contains(s));
    let second = u32::from(second.ok_or_else(half)?);
    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Ok((char::from_u32(code).ok_or_else(half)?, 12))
}
