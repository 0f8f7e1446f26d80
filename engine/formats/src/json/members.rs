//! [`Members`]: finds fields by the names in an object, guessing that keys follow each other as
//! they did before.
//!
//! Every key seen so far is a member, and each remembers which one came behind it the last time.
//! A right guess costs one comparison of bytes and no lookup; a wrong one costs a lookup and
//! changes the guess. So one optional field disturbs only itself. The guess never decides what a
//! key means: a guessed key has been compared in full.

use super::padded::Known;
use super::string::Quoted;
use super::{Fault, Scanner};
use std::collections::HashMap;

/// Keys remembered; beyond, as where keys are data, each is looked up and forgotten.
const MEMBERS_MAX: usize = 512;

/// Longest key worth remembering, with what is around it.
const KEY_BYTES_MAX: usize = 256;

const NONE: u32 = u32::MAX;

struct Member {
    /// The name as it stood in a record, with all from the comma or bracket before it to the first
    /// byte of its value.
    known: Known,
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
    unescaped: Vec<u8>,
}

/// Where an object's keys have got to.
#[derive(Clone, Copy)]
pub(crate) struct Last {
    member: u32,
    /// What came behind it the last time.
    next: u32,
}

/// Number of a member that is no key and never found; it stands before the first one.
const START: u32 = 0;

impl Members {
    /// Looks for fields of these names, numbered in this order.
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let fields = names.enumerate().map(|(i, name)| (name.as_bytes().into(), i as u32));
        Members {
            members: vec![Member { known: Known::nothing(), field: NONE, next: START }],
            by_text: HashMap::new(),
            fields: fields.collect(),
            unescaped: vec![],
        }
    }

    /// Where to begin.
    pub(crate) fn start(&self) -> Last {
        Last { member: START, next: self.members[START as usize].next }
    }

    /// Passes the key that stands here, and its colon, and says which field it is, if it is one.
    #[inline(always)]
    pub(crate) fn next(
        &mut self,
        scanner: &mut Scanner,
        last: &mut Last,
    ) -> Result<Option<usize>, Fault> {
        let guess = &self.members[last.next as usize];
        if scanner.pass_known(&guess.known) {
            *last = Last { member: last.next, next: guess.next };
            return Ok((guess.field != NONE).then_some(guess.field as usize));
        }
        self.find(scanner, last)
    }

    /// The way of a key that was not guessed.
    #[inline(never)]
    fn find(&mut self, scanner: &mut Scanner, last: &mut Last) -> Result<Option<usize>, Fault> {
        let start = scanner.position();
        scanner.next_token();
        let key = scanner.string()?;
        scanner.colon()?;
        scanner.next_token();
        let text = scanner.since(start);
        let (member, field) = match self.by_text.get(key.raw) {
            Some(&member) => (member, self.members[member as usize].field),
            None => {
                let field = self.field(key);
                (self.remember(text, key.raw, field), field)
            }
        };
        if member != NONE {
            self.expect(member, text, last.member);
            *last = Last { member, next: self.members[member as usize].next };
        }
        Ok((field != NONE).then_some(field as usize))
    }

    /// Which field a key names.
    fn field(&mut self, key: Quoted) -> u32 {
        let field = if key.is_escaped {
            // A key that is no text names no field.
            self.unescaped.clear();
            let is_text = key.unescape(&mut self.unescaped).is_ok();
            self.fields.get(self.unescaped.as_slice()).filter(|_| is_text)
        } else {
            self.fields.get(key.raw)
        };
        field.copied().unwrap_or(NONE)
    }

    fn remember(&mut self, text: &[u8], key: &[u8], field: u32) -> u32 {
        if self.members.len() >= MEMBERS_MAX || text.len() > KEY_BYTES_MAX {
            return NONE;
        }
        let member = self.members.len() as u32;
        self.members.push(Member { known: Known::new(text), field, next: START });
        self.by_text.insert(key.into(), member);
        member
    }

    /// Guesses the next time that a member comes behind `last`, and looks as it does now.
    fn expect(&mut self, member: u32, text: &[u8], last: u32) {
        self.members[last as usize].next = member;
        let known = &mut self.members[member as usize].known;
        if known.text() != text && text.len() <= KEY_BYTES_MAX {
            *known = Known::new(text);
        }
    }
}
