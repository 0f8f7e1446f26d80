//! [`Path`]: which row of a match belongs to which variable.
//!
//! The rows of a match follow each other without a gap, so a path is lengths: so many rows of this
//! variable, then so many of that. Rows are numbered from the first one.

/// Rows of one variable in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    variable: usize,
    /// The number of the row behind its last one.
    end: usize,
}

/// The rows that a match has taken so far. See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    stretches: Vec<Stretch>,
}

impl Path {
    /// How many rows.
    pub(super) fn len(&self) -> usize {
        self.stretches.last().map_or(0, |last| last.end)
    }

    pub(super) fn clear(&mut self) {
        self.stretches.clear();
    }

    /// Takes the next row.
    pub(super) fn take(&mut self, variable: usize) {
        match self.stretches.last_mut() {
            Some(last) if last.variable == variable => last.end += 1,
            _ => self.stretches.push(Stretch { variable, end: self.len() + 1 }),
        }
    }

    /// Becomes another path, without giving its memory back.
    pub(super) fn copy_from(&mut self, other: &Path) {
        self.stretches.clone_from(&other.stretches);
    }

    /// The rows of a variable, or all, stretch by stretch: first row and row behind the last.
    fn of(&self, variable: Option<usize>) -> impl DoubleEndedIterator<Item = (usize, usize)> + '_ {
        let start = |number: usize| number.checked_sub(1).map_or(0, |n| self.stretches[n].end);
        let is_asked = move |stretch: &Stretch| variable.is_none_or(|v| v == stretch.variable);
        let stretches = self.stretches.iter().enumerate();
        stretches
            .filter(move |(_, stretch)| is_asked(stretch))
            .map(move |(number, stretch)| (start(number), stretch.end))
    }

    /// The row so many rows behind the first one of a variable, or of all. If there are too few,
    /// how many more it would take.
    pub(super) fn first(&self, variable: Option<usize>, offset: usize) -> Result<usize, usize> {
        let mut left = offset;
        for (start, end) in self.of(variable) {
            if left < end - start {
                return Ok(start + left);
            }
            left -= end - start;
        }
        Err(left)
    }

    /// The row so many rows before the last one of a variable, or of all.
    pub(super) fn last(&self, variable: Option<usize>, offset: usize) -> Option<usize> {
        let mut left = offset;
        for (start, end) in self.of(variable).rev() {
            if left < end - start {
                return Some(end - 1 - left);
            }
            left -= end - start;
        }
        None
    }

    /// The rows of a variable, or all.
    pub(super) fn rows(&self, variable: Option<usize>) -> impl Iterator<Item = usize> + '_ {
        self.of(variable).flat_map(|(start, end)| start..end)
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.stretches.capacity() * size_of::<Stretch>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_from_both_ends() {
        let mut path = Path::default();
        [0, 1, 1, 0, 2, 1].into_iter().for_each(|variable| path.take(variable));
        assert_eq!(path.len(), 6);
        assert_eq!(path.rows(Some(1)).collect::<Vec<_>>(), [1, 2, 5]);
        assert_eq!(path.first(Some(1), 2), Ok(5));
        assert_eq!(path.first(Some(1), 4), Err(1));
        assert_eq!(path.last(Some(0), 1), Some(0));
        assert_eq!(path.last(Some(2), 1), None);
        assert_eq!((path.first(None, 3), path.last(None, 0)), (Ok(3), Some(5)));
    }
}
