//! [`Scanner`]: moves through a JSON document and checks its grammar, without building anything.
//!
//! The grammar is RFC 8259's with Flink's one leniency, control characters inside strings. The
//! scanner is given UTF-8 (see [`Padded`]), and every slice that it hands out starts and ends
//! at ASCII characters of the grammar, so slices are UTF-8 too.

use super::Fault;
use super::block::eight_digits;
use super::padded::{Cursor, Known, Padded};
use super::string::{Quoted, hex4};

/// Objects and arrays inside each other; deeper ones are refused rather than trusted to the stack.
const DEPTH_MAX: usize = 500;

/// Powers of ten.
const TENS: [i64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// A position in a record.
#[derive(Clone)]
pub(crate) struct Scanner<'a> {
    cursor: Cursor<'a>,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(record: &'a Padded) -> Self {
        Scanner { cursor: Cursor::new(record), depth: 0 }
    }

    /// Where it stands, for [`Scanner::rewind`] and [`Scanner::since`].
    pub(crate) fn position(&self) -> usize {
        self.cursor.position()
    }

    /// Goes back to an earlier position on the same level.
    pub(crate) fn rewind(&mut self, position: usize, depth: usize) {
        self.cursor.rewind(position);
        self.depth = depth;
    }

    /// Goes back to where a scalar began that `value` should have come of, if there is none.
    #[inline(always)]
    pub(crate) fn keep<T>(&mut self, value: Option<T>, start: usize) -> Option<T> {
        if value.is_none() {
            self.cursor.rewind(start);
        }
        value
    }

    /// How many objects and arrays are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// What has been passed since `position`.
    pub(crate) fn since(&self, position: usize) -> &'a [u8] {
        self.cursor.since(position)
    }

    /// Passes white space and says what follows; 0 at the end, which no grammar rule begins with.
    #[inline(always)]
    pub(crate) fn next_token(&mut self) -> u8 {
        loop {
            match self.cursor.byte() {
                byte @ (b' ' | b'\n' | b'\r' | b'\t') => self.cursor.pass_byte(byte),
                byte => return byte,
            };
        }
    }

    /// Whether nothing but white space is left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.next_token();
        self.cursor.is_at_end()
    }

    /// Passes a text that has been seen before, if it stands here again.
    #[inline(always)]
    pub(super) fn pass_known(&mut self, known: &Known) -> bool {
        self.cursor.pass_known(known)
    }

    /// Enters an object or array, whose bracket is here.
    #[inline(always)]
    pub(crate) fn enter(&mut self, open: u8) -> Result<(), Fault> {
        self.cursor.pass_byte(open);
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::syntax(format!("it is nested more than {DEPTH_MAX} deep")));
        }
        Ok(())
    }

    /// Behind a member or item: passes the comma (`true`) or the closing bracket (`false`).
    #[inline(always)]
    pub(crate) fn more(&mut self, close: u8) -> Result<bool, Fault> {
        if self.cursor.pass_byte(b',') {
            return Ok(true);
        }
        if self.closes(close) {
            return Ok(false);
        }
        if self.cursor.pass_byte(b',') {
            return Ok(true);
        }
        Err(self.unexpected(if close == b'}' { "',' or '}'" } else { "',' or ']'" }))
    }

    /// Whether the object or array ends here; passes its end then.
    #[inline(always)]
    pub(crate) fn closes(&mut self, close: u8) -> bool {
        self.next_token();
        let closes = self.cursor.pass_byte(close);
        self.depth -= usize::from(closes);
        closes
    }

    /// The colon between name and value.
    #[inline(always)]
    pub(crate) fn colon(&mut self) -> Result<(), Fault> {
        self.next_token();
        if self.cursor.pass_byte(b':') { Ok(()) } else { Err(self.unexpected("':'")) }
    }

    /// A string without escapes; anything else stays where it is. Gives where its text begins: it
    /// ends before the quote that has just been passed.
    #[inline(always)]
    fn plain_string_start(&mut self) -> Option<usize> {
        let before = self.position();
        if !self.cursor.pass_byte(b'"') {
            return None;
        }
        if self.cursor.seek_quote_or_escape() == b'"' {
            self.cursor.pass_byte(b'"');
            return Some(before + 1);
        }
        self.cursor.rewind(before);
        None
    }

    /// A string without escapes; anything else stays where it is.
    #[inline(always)]
    pub(crate) fn plain_string(&mut self) -> Option<&'a [u8]> {
        let start = self.plain_string_start()?;
        self.since(start).split_last().map(|(_, text)| text)
    }

    /// A string; its first quote is here.
    #[inline(always)]
    pub(crate) fn string(&mut self) -> Result<Quoted<'a>, Fault> {
        match self.plain_string() {
            Some(raw) => Ok(Quoted { raw, is_escaped: false }),
            None => self.escaped_string(),
        }
    }

    /// A string with escapes, or what should have been one.
    #[inline(never)]
    fn escaped_string(&mut self) -> Result<Quoted<'a>, Fault> {
        if !self.cursor.pass_byte(b'"') {
            return Err(self.unexpected("'\"'"));
        }
        let start = self.position();
        loop {
            match self.cursor.seek_quote_or_escape() {
                b'"' => {
                    let raw = self.since(start);
                    self.cursor.pass_byte(b'"');
                    return Ok(Quoted { raw, is_escaped: true });
                }
                0 => return Err(self.unterminated()),
                _ => self.escape()?,
            }
        }
    }

    /// A backslash and what belongs to it.
    fn escape(&mut self) -> Result<(), Fault> {
        let length = match *self.cursor.rest() {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [_, b'u', ref digits @ ..] if hex4(digits, 0).is_some() => 6,
            _ => return Err(self.unexpected("an escape like '\\n' or '\\u00e9'")),
        };
        self.cursor.pass(length);
        Ok(())
    }

    #[cold]
    fn unterminated(&mut self) -> Fault {
        Fault::syntax("it ends inside a string")
    }

    /// A number; its first character is here. Gives its text.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<&'a [u8], Fault> {
        let start = self.position();
        self.cursor.pass_byte(b'-');
        if !self.cursor.pass_byte(b'0') && !self.digits() {
            return Err(self.unexpected("a value"));
        }
        if self.cursor.pass_byte(b'.') && !self.digits() {
            return Err(self.unexpected("a digit"));
        }
        if self.cursor.pass_byte(b'e') || self.cursor.pass_byte(b'E') {
            let _ = self.cursor.pass_byte(b'+') || self.cursor.pass_byte(b'-');
            if !self.digits() {
                return Err(self.unexpected("a digit"));
            }
        }
        Ok(self.since(start))
    }

    /// Passes digits and says whether there are any.
    #[inline(always)]
    fn digits(&mut self) -> bool {
        let start = self.position();
        while self.cursor.pass_digits().1 == 8 {}
        self.position() > start
    }

    /// A plain integer of up to 15 digits, as nearly all are; anything else stays where it is.
    #[inline(always)]
    pub(crate) fn short_integer(&mut self) -> Option<i64> {
        let start = self.position();
        let is_negative = self.cursor.pass_byte(b'-');
        let value = self.short_digits().filter(|_| !self.goes_on());
        let value = self.keep(value, start)?;
        Some(if is_negative { -value } else { value })
    }

    /// A number of up to 15 digits, at most 7 of them behind a point: whether it is negative, the
    /// digits, and how many of them are behind the point. Anything else stays where it is.
    #[inline(always)]
    pub(crate) fn short_decimal(&mut self) -> Option<(bool, i64, usize)> {
        let start = self.position();
        let is_negative = self.cursor.pass_byte(b'-');
        let value = self.short_digits().and_then(|whole| {
            let (fraction, places) = match self.cursor.pass_byte(b'.') {
                true => self.up_to_seven_digits().filter(|(_, places)| *places > 0)?,
                false => (0, 0),
            };
            let fits = whole < TENS[7] && !self.goes_on();
            fits.then(|| (is_negative, whole * TENS[places] + fraction, places))
        });
        self.keep(value, start)
    }

    /// The part of a number before its point or exponent; may stop within any other.
    #[inline(always)]
    fn short_digits(&mut self) -> Option<i64> {
        let (word, length) = self.cursor.pass_digits();
        if length == 0 || (length > 1 && word as u8 == b'0') {
            return None;
        }
        let value = eight_digits(word, length);
        if length < 8 {
            return Some(value);
        }
        self.up_to_seven_digits().map(|(rest, length)| value * TENS[length] + rest)
    }

    /// Digits and how many they are.
    #[inline(always)]
    fn up_to_seven_digits(&mut self) -> Option<(i64, usize)> {
        match self.cursor.pass_digits() {
            (_, 8) => None,
            (_, 0) => Some((0, 0)),
            (word, length) => Some((eight_digits(word, length), length)),
        }
    }

    /// Whether the digits passed are only the beginning of a number.
    #[inline(always)]
    fn goes_on(&self) -> bool {
        matches!(self.cursor.byte(), b'.' | b'e' | b'E')
    }

    /// One of `true`, `false`, `null`.
    #[inline(always)]
    pub(crate) fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        let stands = self.cursor.pass_text(word.as_bytes());
        if stands { Ok(()) } else { Err(self.unexpected("a value")) }
    }

    /// Passes `null`, if that stands here.
    #[inline(always)]
    pub(crate) fn is_null(&mut self) -> bool {
        self.cursor.pass_null()
    }

    /// Passes a value of any kind.
    #[inline(always)]
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        if self.plain_string_start().is_some() || self.short_integer().is_some() {
            return Ok(());
        }
        self.skip_any()
    }

    fn skip_any(&mut self) -> Result<(), Fault> {
        match self.next_token() {
            b'"' => self.string().map(drop),
            b'{' => {
                self.enter(b'{')?;
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
                self.enter(b'[')?;
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
        let rest = self.cursor.rest();
        if rest.is_empty() {
            return Fault::syntax(format!("it ends where {expected} should be"));
        }
        // A character's first byte may stand here, or the middle of one behind an error.
        let shown = super::fault::shortened(&rest[..rest.len().min(12)]);
        Fault::syntax(format!("expected {expected} at byte {}, found {shown}", self.position() + 1))
    }
}
