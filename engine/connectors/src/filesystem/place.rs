//! [`Place`]: how far a file has been read, and how that is written into [`Positions`].
//!
//! ```text
//! /data/a.jsonl        1001      the next line; the greatest number there is: read to its end
//! /data/a.jsonl/byte   88200     where that line begins, decompressed
//! ```
//!
//! Nothing else can have the second name, for below a file there is none.

use super::paths::InputFile;
use crate::source::Positions;

/// The next line of a file that has been read to its end.
const READ: i64 = i64::MAX;

/// A place in a file: before a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The line's number; a file's first is 1.
    pub line: i64,
    /// The bytes before it, decompressed.
    pub byte: u64,
}

impl Place {
    /// Before the first line.
    pub(crate) const START: Place = Place { line: 1, byte: 0 };
}

/// What positions say of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing was read of it.
    New,
    /// It was read up to here.
    At(Place),
    /// It was read to its end.
    Read,
}

/// The name of a file in positions.
pub(crate) fn name(file: &InputFile) -> String {
    file.path.to_string_lossy().into_owned()
}

fn byte_name(name: &str) -> String {
    format!("{name}/byte")
}

/// What positions say of a file of this name.
pub(crate) fn standing(positions: &Positions, name: &str) -> Standing {
    match (positions.get(name), positions.get(&byte_name(name))) {
        (Some(&READ), _) => Standing::Read,
        (Some(&line), Some(&byte)) => Standing::At(Place { line, byte: byte.max(0) as u64 }),
        (Some(_), None) | (None, _) => Standing::New,
    }
}

/// Notes how far a file has been read.
pub(crate) fn note(positions: &mut Positions, name: &str, place: Place) {
    positions.insert(name.to_owned(), place.line);
    positions.insert(byte_name(name), place.byte as i64);
}

/// Notes that a file has been read to its end.
pub(crate) fn note_read(positions: &mut Positions, name: &str) {
    positions.insert(name.to_owned(), READ);
    positions.remove(&byte_name(name));
}

/// The files that have been read in part.
pub(crate) fn begun(positions: &Positions) -> impl Iterator<Item = &str> {
    let has_byte = |name: &&String| positions.contains_key(&byte_name(name));
    let unread = positions.iter().filter(|(_, line)| **line != READ).map(|(name, _)| name);
    unread.filter(has_byte).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_comes_back_from_positions_also_of_several_workers() {
        let mut positions = Positions::new();
        assert_eq!(standing(&positions, "a"), Standing::New);
        let place = Place { line: 3, byte: 40 };
        note(&mut positions, "a", place);
        assert_eq!(standing(&positions, "a"), Standing::At(place));
        assert_eq!(begun(&positions).collect::<Vec<_>>(), ["a"]);
        let mut read = Positions::new();
        note_read(&mut read, "a");
        crate::testing::merge(&mut positions, read);
        assert_eq!(standing(&positions, "a"), Standing::Read);
        assert_eq!(begun(&positions).next(), None);
    }
}
