//! [`Scanner`]: moves through a JSON document and checks its grammar, without building anything.
//!
//! The grammar is RFC 8259's with Flink's one leniency, control characters inside strings. The
//! scanner is given UTF-8 (see [`check_utf8`]), and every slice that it hands out starts and ends
//! at ASCII characters of the grammar, so slices are UTF-8 too.

use super::Fault;
use super::string::{Quoted, find_quote_or_escape, hex4};

/// Objects and arrays inside each other; deeper ones are refused rather than trusted to the stack.
const DEPTH_MAX: usize = 500;

/// The one pass over a record that decides whether it is text at all.
pub(crate) fn check_utf8(record: &[u8]) -> Result<(), Fault> {
    match simdutf8::basic::from_utf8(record) {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::syntax("it is not UTF-8")),
    }
}

/// A position in a record.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Scanner { bytes, at: 0, depth: 0 }
    }

    /// Where it stands, for [`Scanner::rewind`] and [`Scanner::since`].
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Goes back to an earlier position on the same level.
    pub(crate) fn rewind(&mut self, position: usize, depth: usize) {
        self.at = position;
        self.depth = depth;
    }

    /// How many objects and arrays are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// What has been passed since `position`.
    pub(crate) fn since(&self, position: usize) -> &'a [u8] {
        &self.bytes[position..self.at]
    }

    /// The byte here, 0 at the end (which no grammar rule begins with).
    #[inline(always)]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// Passes white space and says what follows.
    #[inline(always)]
    pub(crate) fn next_token(&mut self) -> u8 {
        loop {
            match self.peek() {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Whether nothing but white space is left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.next_token();
        self.at >= self.bytes.len()
    }

    /// Passes `text` if it stands here.
    #[inline(always)]
    pub(crate) fn pass(&mut self, text: &[u8]) -> bool {
        let here = self.bytes.get(self.at..self.at + text.len());
        let stands = here.is_some_and(|here| is_equal(here, text));
        if stands {
            self.at += text.len();
        }
        stands
    }

    /// Enters an object or array, whose bracket is here.
    #[inline(always)]
    pub(crate) fn enter(&mut self) -> Result<(), Fault> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::syntax(format!("it is nested more than {DEPTH_MAX} deep")));
        }
        Ok(())
    }

    /// Behind a member or item: passes the comma (`true`) or the closing bracket (`false`).
    #[inline(always)]
    pub(crate) fn more(&mut self, close: u8) -> Result<bool, Fault> {
        match self.next_token() {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            byte if byte == close => {
                self.leave();
                Ok(false)
            }
            _ => Err(self.unexpected(if close == b'}' { "',' or '}'" } else { "',' or ']'" })),
        }
    }

    /// Whether the object or array just entered has no content; passes its end then.
    #[inline(always)]
    pub(crate) fn closes(&mut self, close: u8) -> bool {
        let closes = self.next_token() == close;
        if closes {
            self.leave();
        }
        closes
    }

    #[inline(always)]
    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// The colon between name and value.
    #[inline(always)]
    pub(crate) fn colon(&mut self) -> Result<(), Fault> {
        if self.next_token() != b':' {
            return Err(self.unexpected("':'"));
        }
        self.at += 1;
        Ok(())
    }

    /// A string; its first quote is here.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, Fault> {
        if self.peek() != b'"' {
            return Err(self.unexpected("'\"'"));
        }
        self.at += 1;
        let start = self.at;
        match find_quote_or_escape(self.bytes, start) {
            Some(end) if self.bytes[end] == b'"' => {
                self.at = end + 1;
                Ok(Quoted { raw: &self.bytes[start..end], is_escaped: false })
            }
            Some(escape) => self.escaped_string(start, escape),
            None => Err(self.unterminated()),
        }
    }

    /// The rest of a string from its first escape on.
    fn escaped_string(&mut self, start: usize, escape: usize) -> Result<Quoted<'a>, Fault> {
        let mut at = escape;
        loop {
            let Some(found) = find_quote_or_escape(self.bytes, at) else {
                return Err(self.unterminated());
            };
            if self.bytes[found] == b'"' {
                self.at = found + 1;
                return Ok(Quoted { raw: &self.bytes[start..found], is_escaped: true });
            }
            let length = match self.bytes.get(found + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                Some(b'u') if hex4(self.bytes, found + 2).is_some() => 6,
                _ => {
                    self.at = found;
                    return Err(self.unexpected("an escape like '\\n' or '\\u00e9'"));
                }
            };
            at = found + length;
        }
    }

    #[cold]
    fn unterminated(&mut self) -> Fault {
        Fault::syntax("it ends inside a string")
    }

    /// A number; its first character is here. Gives its text.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.unexpected("a value")),
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(self.since(start))
    }

    /// A plain integer of up to 18 digits, as nearly all are; anything else stays where it is.
    #[inline(always)]
    pub(crate) fn short_integer(&mut self) -> Option<i64> {
        let start = self.at;
        let negative = self.peek() == b'-';
        self.at += usize::from(negative);
        let first = self.at;
        let mut value = 0i64;
        while self.peek().is_ascii_digit() && self.at - first < 18 {
            value = value * 10 + i64::from(self.peek() - b'0');
            self.at += 1;
        }
        let has_leading_zero = self.at - first > 1 && self.bytes[first] == b'0';
        let goes_on = matches!(self.peek(), b'0'..=b'9' | b'.' | b'e' | b'E');
        if self.at == first || has_leading_zero || goes_on {
            self.at = start;
            return None;
        }
        Some(if negative { -value } else { value })
    }

    #[inline(always)]
    fn digits(&mut self) {
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_ascii_digit() {
            return Err(self.unexpected("a digit"));
        }
        self.digits();
        Ok(())
    }

    /// One of `true`, `false`, `null`.
    #[inline]
    pub(crate) fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        if self.pass(word.as_bytes()) { Ok(()) } else { Err(self.unexpected("a value")) }
    }

    /// Passes a value of any kind.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        match self.next_token() {
            b'"' => self.string().map(drop),
            b'{' => {
                self.enter()?;
                if self.closes(b'}') {
                    return Ok(());
                }
                loop {
                    self.next_token();
                    self.string()?;
                    self.colon()?;
                    self.skip()?;
                    if !self.more(b'}')? {
                        return Ok(());
                    }
                }
            }
            b'[' => {
                self.enter()?;
                if self.closes(b']') {
                    return Ok(());
                }
                loop {
                    self.skip()?;
                    if !self.more(b']')? {
                        return Ok(());
                    }
                }
            }
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number().map(drop),
        }
    }

    /// An error that says what should stand here and what does.
    #[cold]
    pub(crate) fn unexpected(&self, expected: &str) -> Fault {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Fault::syntax(format!("it ends where {expected} should be"));
        }
        // A character's first byte may stand here, or the middle of one behind an error.
        let shown = super::fault::shortened(&rest[..rest.len().min(12)]);
        Fault::syntax(format!("expected {expected} at byte {}, found {shown}", self.at + 1))
    }
}

/// Whether two texts of one length are the same. Names of 4 to 16 bytes take two overlapping words
/// and no call.
#[inline(always)]
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let word = |text: &[u8], at| u64::from_le_bytes(text[at..at + 8].try_into().expect("8 bytes"));
    let half = |text: &[u8], at| u32::from_le_bytes(text[at..at + 4].try_into().expect("4 bytes"));
    match b.len() {
        n @ 8..=16 => word(a, 0) == word(b, 0) && word(a, n - 8) == word(b, n - 8),
        n @ 4..=7 => half(a, 0) == half(b, 0) && half(a, n - 4) == half(b, n - 4),
        _ => a == b,
    }
}
