//! [`Quoted`]: strings of JSON, unescaped only where they must be.

use super::Fault;

/// The inside of a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a> {
    /// Without the quotes, escapes as written.
    pub raw: &'a [u8],
    /// Whether there are escapes.
    pub is_escaped: bool,
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
