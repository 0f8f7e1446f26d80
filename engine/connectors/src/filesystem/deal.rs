//! [`Dealer`]: hands the lines of all files to the workers, block by block.
//!
//! Two invariants keep one worker's answer and several workers' the same:
//! * **the blocks of a file never go back in epochs**: a worker that asks for an epoch older than
//!   one already served gets nothing and asks again with a newer one;
//! * **that a file has ended is said no earlier than its last block's epoch**, for it is learnt
//!   under the same lock, in the same turn.

use super::lines::{Block, Lines};
use super::paths::InputFile;
use super::place::Place;
use crate::source::{ConnectorError, Lane};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidemill_operators::Epoch;

/// How many files are read interleaved.
const OPEN_FILES_MAX: usize = 32;

/// All files of a source, shared by its readers.
pub(crate) struct Dealer {
    hand: Mutex<Hand>,
}

struct Hand {
    growth: Growth,
    served: Epoch,
    /// The n-th is lane n.
    files: Vec<Arc<InputFile>>,
    /// Files not yet finished, in order; the first `OPEN_FILES_MAX` take turns.
    waiting: Vec<(Lane, Lines)>,
    turn: usize,
    /// Lanes that have ended, in the order in which they did.
    finished: Vec<Lane>,
}

/// What one reader knows and holds.
#[derive(Default)]
pub(crate) struct Share {
    /// The lines it was given.
    pub block: Block,
    /// The files that it knows of; the n-th is lane n.
    pub files: Vec<Arc<InputFile>>,
    /// Lanes of which it has not yet said that they have ended.
    pub newly_finished: Vec<Lane>,
    finished_seen: usize,
}

/// Whether there may be more files than there are at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// There are these.
    None,
    /// More may come, by [`Dealer::add`].
    Watched,
}

/// What a reader got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Dealt {
    /// Lines of a file.
    Lines(Lane),
    /// Nothing for now: its epoch is behind, or all files have ended and there may be more.
    Nothing,
    /// Nothing: all files have ended.
    Finished,
}

impl Dealer {
    /// Deals files, each from a place on; the n-th is lane n.
    pub(crate) fn new(
        unread: impl IntoIterator<Item = (InputFile, Place)>,
        growth: Growth,
    ) -> Self {
        let (files, waiting, finished) = (vec![], vec![], vec![]);
        let mut hand = Hand { growth, served: 0, files, waiting, turn: 0, finished };
        for (file, from) in unread {
            hand.add(file, from);
        }
        Dealer { hand: Mutex::new(hand) }
    }

    /// Adds a file that is new.
    pub(crate) fn add(&self, file: InputFile) {
        let mut hand = self.hand();
        debug_assert_eq!(hand.growth, Growth::Watched, "nobody waits for more");
        hand.add(file, Place::START);
    }

    /// Whether there may be more files.
    pub(crate) fn growth(&self) -> Growth {
        self.hand().growth
    }

    /// The share of one more reader.
    pub(crate) fn share(&self) -> Share {
        Share { files: self.hand().files.clone(), ..Share::default() }
    }

    /// Gives up to `max_lines` lines of one file, the next one's turn.
    pub(crate) fn deal(
        &self,
        epoch: Epoch,
        max_lines: usize,
        share: &mut Share,
    ) -> Result<Dealt, ConnectorError> {
        let mut hand = self.hand();
        if epoch < hand.served {
            return Ok(Dealt::Nothing);
        }
        hand.served = epoch;
        let dealt = hand.next(max_lines.max(1), &mut share.block);
        share.files.extend_from_slice(&hand.files[share.files.len()..]);
        share.newly_finished.extend_from_slice(&hand.finished[share.finished_seen..]);
        share.finished_seen = hand.finished.len();
        dealt
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        // A panic in another worker ends the job anyway; what it left is consistent.
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hand {
    fn add(&mut self, file: InputFile, from: Place) {
        let (lane, file) = (self.files.len() as Lane, Arc::new(file));
        self.files.push(file.clone());
        self.waiting.push((lane, Lines::new(file, from)));
    }

    fn next(&mut self, max_lines: usize, block: &mut Block) -> Result<Dealt, ConnectorError> {
        while !self.waiting.is_empty() {
            let turn = self.turn % self.waiting.len().min(OPEN_FILES_MAX);
            let (lane, lines) = &mut self.waiting[turn];
            let lane = *lane;
            lines.next(max_lines, block)?;
            if lines.is_finished() {
                self.waiting.remove(turn);
                self.finished.push(lane);
                self.turn = turn;
            } else {
                self.turn = turn + 1;
            }
            if block.lines > 0 {
                return Ok(Dealt::Lines(lane));
            }
        }
        Ok(match self.growth {
            Growth::None => Dealt::Finished,
            Growth::Watched => Dealt::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn dealer(texts: &[&str]) -> (tempfile::TempDir, Dealer) {
        let dir = tempfile::tempdir().unwrap();
        let file = |(i, text): (usize, &&str)| {
            let path = dir.path().join(i.to_string());
            fs::write(&path, text).unwrap();
            (InputFile { path, size: text.len() as u64 }, Place::START)
        };
        let files: Vec<_> = texts.iter().enumerate().map(file).collect();
        (dir, Dealer::new(files, Growth::None))
    }

    #[test]
    fn a_worker_whose_epoch_is_behind_gets_nothing() {
        let (_dir, dealer) = dealer(&["a\nb\nc\n"]);
        let (mut one, mut two) = (Share::default(), Share::default());
        assert_eq!(dealer.deal(5, 1, &mut one).unwrap(), Dealt::Lines(0));
        assert_eq!(dealer.deal(4, 1, &mut two).unwrap(), Dealt::Nothing);
        assert_eq!(dealer.deal(5, 1, &mut two).unwrap(), Dealt::Lines(0));
        assert_eq!(two.block.bytes, b"b\n");
    }

    #[test]
    fn the_end_of_a_file_is_said_once_by_each_worker_and_not_before_its_last_block() {
        let (_dir, dealer) = dealer(&["a\nb\n", ""]);
        let (mut one, mut two) = (Share::default(), Share::default());
        assert_eq!(dealer.deal(1, 1, &mut one).unwrap(), Dealt::Lines(0));
        assert_eq!(one.newly_finished, [] as [Lane; 0]);
        assert_eq!(dealer.deal(2, 9, &mut one).unwrap(), Dealt::Lines(0));
        assert_eq!(one.newly_finished, [1, 0]);
        assert_eq!(dealer.deal(1, 9, &mut two).unwrap(), Dealt::Nothing);
        assert_eq!(two.newly_finished, [] as [Lane; 0]);
        assert_eq!(dealer.deal(2, 9, &mut two).unwrap(), Dealt::Finished);
        assert_eq!(two.newly_finished, [1, 0]);
    }
}
