//! [`Journal`]: what changed since the last snapshot, by number.
//!
//! Operators hold state under small numbers that are given again once they are free. Before the
//! first snapshot or restore nothing is noted: everything is news then, and a job that takes no
//! checkpoints pays nothing. From there on a change costs a flag and a place in a list, and a
//! snapshot looks only at what the list names, however much is held.

use super::SnapshotScope;

/// Which numbers changed. See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// By number, as far as anything was noted; none before the first snapshot.
    notes: Option<Vec<Note>>,
    /// Numbers that changed. Those that were removed since have no note of it any more, so a
    /// number that was given again may be listed twice but is noted once.
    changed: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Note {
    /// Whether the last snapshot, or an earlier one, has it.
    is_saved: bool,
    is_changed: bool,
}

impl Journal {
    /// Notes changes from here on: what was restored is saved.
    pub(crate) fn begin(&mut self) {
        self.notes.get_or_insert_default();
    }

    /// Notes that what stands under a number is new, or another.
    #[inline]
    pub(crate) fn touch(&mut self, number: u32) {
        if let Some(notes) = &mut self.notes
            && !std::mem::replace(&mut note(notes, number).is_changed, true)
        {
            self.changed.push(number);
        }
    }

    /// Notes that what stands under a number comes from a snapshot.
    pub(crate) fn restored(&mut self, number: u32) {
        note(self.notes.get_or_insert_default(), number).is_saved = true;
    }

    /// Whether a snapshot has what stands under a number, so that the next one has to delete it
    /// if it goes.
    #[inline]
    pub(crate) fn is_saved(&self, number: u32) -> bool {
        let notes = self.notes.as_deref().unwrap_or_default();
        notes.get(number as usize).is_some_and(|note| note.is_saved)
    }

    /// Forgets a number; whether [a snapshot has it](Self::is_saved).
    #[inline]
    pub(crate) fn remove(&mut self, number: u32) -> bool {
        let note = self.notes.as_mut().and_then(|notes| notes.get_mut(number as usize));
        note.map(std::mem::take).unwrap_or_default().is_saved
    }

    /// The numbers that a snapshot has to write, which are saved from here on; `all` are those
    /// that are held.
    pub(crate) fn take(
        &mut self,
        scope: SnapshotScope,
        all: impl FnOnce() -> Vec<u32>,
    ) -> Vec<u32> {
        let changed = std::mem::take(&mut self.changed);
        let numbers = match (&mut self.notes, scope) {
            (Some(notes), SnapshotScope::Changed) => {
                let is_changed = |n: &u32| std::mem::take(&mut notes[*n as usize].is_changed);
                changed.into_iter().filter(is_changed).collect()
            }
            _ => all(),
        };
        let notes = self.notes.get_or_insert_default();
        for &number in &numbers {
            *note(notes, number) = Note { is_saved: true, is_changed: false };
        }
        numbers
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.notes.as_ref().map_or(0, |notes| notes.capacity() * size_of::<Note>())
            + self.changed.capacity() * size_of::<u32>()
    }
}

#[inline]
fn note(notes: &mut Vec<Note>, number: u32) -> &mut Note {
    let number = number as usize;
    if notes.len() <= number {
        notes.resize(number + 1, Note::default());
    }
    &mut notes[number]
}

#[cfg(test)]
mod tests {
    use super::*;
    use SnapshotScope::{Changed, Full};

    #[test]
    fn before_the_first_snapshot_everything_is_news_and_nothing_is_noted() {
        let mut journal = Journal::default();
        journal.touch(5);
        assert_eq!(journal.bytes(), 0);
        assert!(!journal.remove(5), "no snapshot has it");
        assert_eq!(journal.take(Changed, || vec![1, 2]), [1, 2]);
        assert_eq!(journal.take(Changed, || vec![1, 2]), [] as [u32; 0]);
    }

    #[test]
    fn a_number_that_was_given_again_is_listed_once_and_not_saved() {
        let mut journal = Journal::default();
        journal.take(Full, || vec![0, 1]);
        journal.touch(1);
        assert!(journal.remove(1));
        journal.touch(1);
        assert!(!journal.is_saved(1));
        assert_eq!(journal.take(Changed, Vec::new), [1]);
        assert!(journal.is_saved(1));
    }

    #[test]
    fn what_was_restored_is_no_news() {
        let mut journal = Journal::default();
        journal.restored(3);
        journal.touch(4);
        assert_eq!(journal.take(Changed, || vec![3, 4]), [4]);
        assert!(journal.remove(3));
    }
}
