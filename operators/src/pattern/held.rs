//! [`HeldRows`]: rows until nothing needs them any more.
//!
//! A row is bytes, which a match or a snapshot decodes, and beside them what the search asks of it.

use super::automaton::VariableSet;
use super::value::Value;
use crate::expression::RowError;
use std::cmp::Ordering;

/// A row that waits, or that a match may begin with or contain.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// What decides between rows of equal time, then the row itself.
    bytes: Box<[u8]>,
    ties_length: u32,
    pub(super) slot: u32,
    pub(super) time: i64,
    pub(super) arrival: i64,
    pub(super) sequence: i64,
    /// What was known when it came of the variables that it may stand for.
    pub(super) answers: Answers,
}

/// Which variables a row may stand for, as far as that follows from the row itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// Those that it may.
    pub(super) yes: VariableSet,
    /// Those whose conditions fail for it, and how.
    #[expect(clippy::box_collection, reason = "each held row has it, and hardly any needs it")]
    failed: Option<Box<Vec<(usize, RowError)>>>,
}

impl Answers {
    /// Notes what the condition of a variable says.
    pub(super) fn note(&mut self, variable: usize, answer: Result<bool, RowError>) {
        match answer {
            Ok(yes) => self.yes |= VariableSet::from(yes) << variable,
            Err(error) => self.failed.get_or_insert_default().push((variable, error)),
        }
    }

    /// What is known of a variable.
    ///
    /// # Errors
    /// If its condition failed: now it is asked.
    #[inline]
    pub(super) fn of(&self, variable: usize) -> Result<bool, RowError> {
        let failed = self.failed.iter().flat_map(|failed| failed.iter());
        match failed.into_iter().find(|(number, _)| *number == variable) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(self.yes >> variable & 1 == 1),
        }
    }
}

impl Row {
    /// A row, from its parts.
    pub(super) fn new(ties: &[u8], bytes: &[u8]) -> Row {
        let ties_length = ties.len() as u32;
        Row { bytes: [ties, bytes].concat().into(), ties_length, ..Row::default() }
    }

    fn ties(&self) -> &[u8] {
        &self.bytes[..self.ties_length as usize]
    }

    /// The row as its codec encoded it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.ties_length as usize..]
    }

    /// The order of the rows of a partition.
    pub(super) fn compare(&self, other: &Row) -> Ordering {
        let of = |row: &Row| (row.arrival, row.sequence);
        (self.time.cmp(&other.time))
            .then_with(|| self.ties().cmp(other.ties()))
            .then_with(|| of(self).cmp(&of(other)))
    }
}

/// Rows by number, which are given again. See the [module](self).
#[derive(Debug)]
pub(super) struct HeldRows {
    rows: Vec<Row>,
    /// Of all rows, `width` for each.
    values: Vec<Value>,
    width: usize,
    free: Vec<u32>,
    bytes: usize,
}

impl HeldRows {
    pub(super) fn new(width: usize) -> Self {
        HeldRows { rows: Vec::new(), values: Vec::new(), width, free: Vec::new(), bytes: 0 }
    }

    #[inline]
    pub(super) fn row(&self, id: u32) -> &Row {
        &self.rows[id as usize]
    }

    /// A value that conditions read.
    #[inline]
    pub(super) fn value(&self, id: u32, value: usize) -> &Value {
        &self.values[id as usize * self.width + value]
    }

    /// Holds a row with the values that conditions read.
    pub(super) fn hold(&mut self, row: Row, values: impl Iterator<Item = Value>) -> u32 {
        self.bytes += row.bytes.len();
        let id = match self.free.pop() {
            Some(id) => {
                self.rows[id as usize] = row;
                id
            }
            None => {
                self.rows.push(row);
                self.values.resize(self.rows.len() * self.width, Value::Null);
                (self.rows.len() - 1) as u32
            }
        };
        let first = id as usize * self.width;
        for (place, value) in self.values[first..first + self.width].iter_mut().zip(values) {
            self.bytes += value.heap();
            *place = value;
        }
        id
    }

    /// Forgets a row.
    pub(super) fn free(&mut self, id: u32) -> Row {
        let row = std::mem::take(&mut self.rows[id as usize]);
        self.bytes -= row.bytes.len();
        let first = id as usize * self.width;
        for value in &mut self.values[first..first + self.width] {
            self.bytes -= std::mem::take(value).heap();
        }
        self.free.push(id);
        row
    }

    /// How many rows are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let row = size_of::<Row>() + self.width * size_of::<Value>();
        self.rows.len() * row + self.free.len() * size_of::<u32>() + self.bytes
    }
}
