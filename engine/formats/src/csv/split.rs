//! [`Line`]: where the fields of a record are.
//!
//! Fields without quotes and escapes are borrowed from the record; only the others are copied.

use super::Marks;
use crate::record::BadRecord;
use std::ops::Range;

/// One field.
enum Field {
    Borrowed(Range<usize>),
    Copied(Range<usize>),
}

/// The fields of a record. Kept from record to record for its memory.
#[derive(Default)]
pub(crate) struct Line {
    fields: Vec<Field>,
    copied: Vec<u8>,
}

impl Line {
    /// Number of fields.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A field's text; `record` is the one that was split.
    pub(crate) fn field<'a>(&'a self, record: &'a [u8], index: usize) -> &'a [u8] {
        match &self.fields[index] {
            Field::Borrowed(range) => &record[range.clone()],
            Field::Copied(range) => &self.copied[range.clone()],
        }
    }

    /// Finds the fields of a record.
    ///
    /// # Errors
    /// If a quote is not closed or followed by more than the delimiter.
    pub(crate) fn split(&mut self, record: &[u8], marks: &Marks) -> Result<(), BadRecord> {
        self.fields.clear();
        self.copied.clear();
        let mut at = 0;
        loop {
            at = match &marks.quote {
                Some(quote) if record[at..].starts_with(quote) => {
                    self.quoted(record, at + quote.len(), quote, marks)?
                }
                _ => self.plain(record, at, marks),
            };
            if at >= record.len() {
                return Ok(());
            }
            if !record[at..].starts_with(&marks.delimiter) {
                let column = self.fields.len();
                let reason = format!("there is text behind the closing quote of field {column}");
                return Err(BadRecord { reason });
            }
            at += marks.delimiter.len();
            if at == record.len() {
                self.fields.push(Field::Borrowed(at..at));
                return Ok(());
            }
        }
    }

    /// A field without quotes, from `start` to the next delimiter. Gives its end.
    fn plain(&mut self, record: &[u8], start: usize, marks: &Marks) -> usize {
        let rest = &record[start..];
        let escape = marks.escape.as_deref();
        let end = find(rest, &marks.delimiter).unwrap_or(rest.len());
        if escape.and_then(|escape| find(&rest[..end], escape)).is_none() {
            self.fields.push(Field::Borrowed(start..start + end));
            return start + end;
        }
        let escape = escape.unwrap_or_default();
        let from = self.copied.len();
        let mut at = start;
        while at < record.len() && !record[at..].starts_with(&marks.delimiter) {
            at = self.copy(record, at, escape);
        }
        self.fields.push(Field::Copied(from..self.copied.len()));
        at
    }

    /// A field in quotes, from behind the first one. Gives the place behind the last one.
    fn quoted(
        &mut self,
        record: &[u8],
        start: usize,
        quote: &[u8],
        marks: &Marks,
    ) -> Result<usize, BadRecord> {
        let from = self.copied.len();
        let escape = marks.escape.as_deref().unwrap_or_default();
        let mut at = start;
        loop {
            if at >= record.len() {
                let reason = format!("the quote of field {} is not closed", self.fields.len() + 1);
                return Err(BadRecord { reason });
            }
            if !record[at..].starts_with(quote) {
                at = self.copy(record, at, escape);
                continue;
            }
            at += quote.len();
            if !record[at..].starts_with(quote) {
                break;
            }
            self.copied.extend_from_slice(quote);
            at += quote.len();
        }
        self.fields.push(Field::Copied(from..self.copied.len()));
        Ok(at)
    }

    /// Copies one byte, or what an escape stands for. Gives the place behind it.
    fn copy(&mut self, record: &[u8], at: usize, escape: &[u8]) -> usize {
        let is_escape = !escape.is_empty() && record[at..].starts_with(escape);
        let behind = at + escape.len();
        match record.get(behind) {
            Some(&meant) if is_escape => {
                let byte = match meant {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                };
                self.copied.push(byte);
                behind + 1
            }
            _ => {
                self.copied.push(record[at]);
                at + 1
            }
        }
    }
}

/// Where `mark` stands first.
pub(crate) fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    match mark {
        [byte] => memchr::memchr(*byte, text),
        mark => memchr::memmem::find(text, mark),
    }
}
