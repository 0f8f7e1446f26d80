//! Which rows enter and leave a key's frame, turn by turn: pure arithmetic over times.
//!
//! A key's rows are numbered in order, first those of its history and then those that are due.
//! A turn is one row (`ROWS`) or all rows of one time (`RANGE`).

use super::Frame;
use std::collections::VecDeque;
use std::ops::Range;

/// No place: the row is not read in this epoch.
const NOWHERE: u32 = u32::MAX;

/// The turns of one key in one epoch.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) slot: u32,
    rows: Vec<(i64, u32)>,
    /// How many of them are history.
    past: usize,
    /// The first row that the aggregates hold.
    framed_from: usize,
    /// Of due rows: their number among all due rows of the epoch.
    numbers: Vec<u32>,
}

/// One turn, by the numbers of the key's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) leaving: Range<usize>,
    pub(super) entering: Range<usize>,
    frame: Frame,
}

impl Turns {
    pub(super) fn new(slot: u32, history: &VecDeque<(i64, u32)>, framed: usize) -> Turns {
        let rows: Vec<(i64, u32)> = history.iter().copied().collect();
        let (past, framed_from) = (rows.len(), rows.len() - framed);
        Turns { slot, rows, past, framed_from, numbers: Vec::new() }
    }

    /// Adds a due row, in order.
    pub(super) fn push(&mut self, time: i64, id: u32, number: u32) {
        debug_assert!(self.rows.last().is_none_or(|&(last, _)| last <= time), "rows are in order");
        self.rows.push((time, id));
        self.numbers.push(number);
    }

    /// The due rows.
    pub(super) fn due(&self) -> Range<usize> {
        self.past..self.rows.len()
    }

    /// The number of a due row among all due rows of the epoch.
    pub(super) fn number(&self, row: usize) -> u32 {
        self.numbers[row - self.past]
    }

    /// The row's own number, among all rows that the operator holds.
    pub(super) fn id(&self, row: usize) -> u32 {
        self.rows[row].1
    }

    /// Where each row is read; `read` names the rows that are, the due ones of all keys first. The
    /// last `reach` rows of the history are, and those that leave the frame.
    pub(super) fn place(&self, frame: Frame, reach: usize, read: &mut Vec<u32>) -> Vec<u32> {
        let leaving = match frame.is_bounded() {
            true => self.framed_from..self.frame_start(frame, self.rows.len()).min(self.past),
            false => 0..0,
        };
        let reached = self.past.saturating_sub(reach)..self.past;
        let place = |(row, &(_, id)): (usize, &(i64, u32))| {
            if row >= self.past {
                self.number(row)
            } else if leaving.contains(&row) || reached.contains(&row) {
                read.push(id);
                (read.len() - 1) as u32
            } else {
                NOWHERE
            }
        };
        self.rows.iter().enumerate().map(place).collect()
    }

    /// The first turn. There is one: a key without due rows has no turns.
    pub(super) fn first(&self, frame: Frame) -> Turn {
        self.turn(frame, self.framed_from, self.past)
    }

    /// The turn after `turn`.
    pub(super) fn next(&self, turn: Turn) -> Option<Turn> {
        let next = turn.entering.end;
        (next < self.rows.len()).then(|| self.turn(turn.frame, turn.leaving.end, next))
    }

    fn turn(&self, frame: Frame, framed_from: usize, from: usize) -> Turn {
        let to = match frame {
            Frame::Rows { .. } => from + 1,
            Frame::Range { .. } => {
                let time = self.rows[from].0;
                from + self.rows[from..].partition_point(|&(t, _)| t <= time)
            }
        };
        // No row leaves before it has entered: the frame ends with the rows that enter.
        let start = match frame.is_bounded() {
            true => self.frame_start(frame, to).max(framed_from),
            false => framed_from,
        };
        Turn { leaving: framed_from..start, entering: from..to, frame }
    }

    /// The first row of the frame that ends before row `to`.
    fn frame_start(&self, frame: Frame, to: usize) -> usize {
        match frame {
            Frame::Rows { preceding: Some(n) } => to.saturating_sub((n as usize).saturating_add(1)),
            Frame::Range { preceding_ms: Some(ms) } => {
                let earliest = self.rows[to - 1].0.saturating_sub(ms);
                self.rows[..to].partition_point(|&(t, _)| t < earliest)
            }
            _ => 0,
        }
    }

    /// All rows, and how many of them, the last ones, are in the frame after the last turn.
    pub(super) fn finish(self, frame: Frame) -> (Vec<(i64, u32)>, usize) {
        let start = match self.rows.is_empty() {
            true => 0,
            false => self.frame_start(frame, self.rows.len()),
        };
        let framed = self.rows.len() - start;
        (self.rows, framed)
    }
}
