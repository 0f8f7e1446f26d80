//! [`Fault`]: what is wrong with a record, where, and how far the damage goes.

use crate::record::BadRecord;

/// How far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The bytes are no JSON: nothing behind this place means anything.
    Record,
    /// The JSON is fine, the value does not fit its column.
    Value,
}

/// An error, one word wide so that results stay small on the way where nothing goes wrong.
#[derive(Debug)]
pub(crate) struct Fault(Box<Detail>);

#[derive(Debug)]
struct Detail {
    reach: Reach,
    /// Names from the inside out.
    path: Vec<String>,
    problem: String,
}

impl Fault {
    /// The bytes are no JSON.
    #[cold]
    pub(crate) fn syntax(problem: impl Into<String>) -> Self {
        Fault(Box::new(Detail { reach: Reach::Record, path: vec![], problem: problem.into() }))
    }

    /// A value is not what its column holds.
    #[cold]
    pub(crate) fn value(problem: impl Into<String>) -> Self {
        Fault(Box::new(Detail { reach: Reach::Value, path: vec![], problem: problem.into() }))
    }

    /// A value is not what its column holds: what was found instead.
    #[cold]
    pub(crate) fn found(expected: &str, found: &[u8]) -> Self {
        Fault::value(format!("expected {expected}, found {}", shortened(found)))
    }

    /// A string is not what its column holds.
    #[cold]
    pub(crate) fn found_text(expected: &str, text: &[u8]) -> Self {
        Fault::value(format!("expected {expected}, found {:?}", shortened(text)))
    }

    /// The same error, seen from outside the field `name`.
    #[cold]
    pub(crate) fn within(mut self, name: &str) -> Self {
        self.0.path.push(name.to_owned());
        self
    }

    /// How far it reaches.
    pub(crate) fn reach(&self) -> Reach {
        self.0.reach
    }
}

impl From<Fault> for BadRecord {
    fn from(fault: Fault) -> Self {
        let Detail { reach, mut path, problem } = *fault.0;
        path.reverse();
        let reason = match (path.as_slice(), reach) {
            ([], Reach::Value) => problem,
            (path, Reach::Value) => format!("field `{}`: {problem}", path.join(".")),
            ([], Reach::Record) => format!("not valid JSON: {problem}"),
            (path, Reach::Record) => {
                format!("not valid JSON: {problem} (in field `{}`)", path.join("."))
            }
        };
        BadRecord { reason }
    }
}

/// What was found, in a length that fits into a line.
pub(crate) fn shortened(found: &[u8]) -> String {
    const SHOWN_MAX: usize = 40;
    let text = String::from_utf8_lossy(found);
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into_owned(),
    }
}
