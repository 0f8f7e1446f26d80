//! [`Members`]: finds fields by the names in an object, guessing that keys follow each other as
//! they did before.
//!
//! Every key seen so far is a member, and each remembers which one came behind it the last time.
//! A right guess costs one comparison of bytes and no lookup; a wrong one costs a lookup and
//! changes the guess. So one optional field disturbs only itself. The guess never decides what a
//! key means: a guessed key has been compared in full.

use super::{Fault, Scanner};
use std::collections::HashMap;

/// Keys remembered; beyond, as where keys are data, each is looked up and forgotten.
const MEMBERS_MAX: usize = 512;

/// Longest key worth remembering.
const KEY_BYTES_MAX: usize = 256;

const NONE: u32 = u32::MAX;

struct Member {
    /// The name as it stands in records: with both quotes.
    quoted: Box<[u8]>,
    /// Which of the wanted fields it is.
    field: u32,
    /// The member that came behind it the last time.
    next: u32,
}

/// The keys of an object.
pub(crate) struct Members {
    members: Vec<Member>,
    /// By the bytes between the quotes, as written.
    by_text: HashMap<Box<[u8]>, u32>,
    /// The fields by their real names.
    fields: HashMap<Box<[u8]>, u32>,
    /// The member that came first the last time.
    first: u32,
    unescaped: Vec<u8>,
}

/// Where an object's keys have got to.
#[derive(Clone, Copy)]
pub(crate) struct Cursor(u32);

/// Before the first key.
pub(crate) const START: Cursor = Cursor(NONE);

impl Members {
    /// Looks for fields of these names, numbered in this order.
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let fields = names.enumerate().map(|(i, name)| (name.as_bytes().into(), i as u32));
        Members {
            members: vec![],
            by_text: HashMap::new(),
            fields: fields.collect(),
            first: NONE,
            unescaped: vec![],
        }
    }

    /// Passes the key that stands here and says which field it is, if it is one.
    #[inline(always)]
    pub(crate) fn next(
        &mut self,
        scanner: &mut Scanner,
        cursor: &mut Cursor,
    ) -> Result<Option<usize>, Fault> {
        let guess = match cursor.0 {
            NONE => self.first,
            last => self.members[last as usize].next,
        };
        if let Some(member) = self.members.get(guess as usize)
            && scanner.pass(&member.quoted)
        {
            *cursor = Cursor(guess);
            return Ok((member.field != NONE).then_some(member.field as usize));
        }
        self.find(scanner, cursor)
    }

    /// The way of a key that was not guessed.
    #[inline(never)]
    fn find(&mut self, scanner: &mut Scanner, cursor: &mut Cursor) -> Result<Option<usize>, Fault> {
        let start = scanner.position();
        let key = scanner.string()?;
        let (member, field) = match self.by_text.get(key.raw) {
            Some(&member) => (member, self.members[member as usize].field),
            None => {
                let field = if key.is_escaped {
                    // A key that is no text names no field.
                    self.unescaped.clear();
                    let is_text = key.unescape(&mut self.unescaped).is_ok();
                    self.fields.get(self.unescaped.as_slice()).filter(|_| is_text)
                } else {
                    self.fields.get(key.raw)
                };
                let field = field.copied().unwrap_or(NONE);
                (self.remember(scanner.since(start), key.raw, field), field)
            }
        };
        if member != NONE {
            match cursor.0 {
                NONE => self.first = member,
                last => self.members[last as usize].next = member,
            }
            *cursor = Cursor(member);
        }
        Ok((field != NONE).then_some(field as usize))
    }

    fn remember(&mut self, quoted: &[u8], text: &[u8], field: u32) -> u32 {
        if self.members.len() >= MEMBERS_MAX || text.len() > KEY_BYTES_MAX {
            return NONE;
        }
        let member = self.members.len() as u32;
        self.members.push(Member { quoted: quoted.into(), field, next: NONE });
        self.by_text.insert(text.into(), member);
        member
    }
}
