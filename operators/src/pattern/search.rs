//! [`Search`]: one step of the search for a match that begins with a given row.
//!
//! All ways that are open are followed side by side, a row at a time, in the order of preference;
//! the first of them that ends is the match. Two ways that have come to the same state, from which
//! on no condition looks back, will fare alike: the better one stands for both. So their number is
//! bounded by the pattern's length, except where conditions look back and the pattern leaves much
//! open.

use super::automaton::{Automaton, VariableSet};
use super::path::Path;
use super::totals::Total;
use crate::operator::OperatorError;

/// A way through a pattern that is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    state: usize,
    pub(super) path: Path,
    /// Of the rows of its path: what conditions ask for.
    pub(super) totals: Vec<Total>,
}

impl Way {
    fn copy_from(&mut self, other: &Way) {
        self.state = other.state;
        self.path.copy_from(&other.path);
        self.totals.clone_from(&other.totals);
    }

    /// Bytes beside its own size.
    pub(super) fn heap(&self) -> usize {
        self.path.bytes() + self.totals.capacity() * size_of::<Total>()
    }
}

/// What the rows say: the search itself knows none.
pub(super) trait Judge {
    /// Whether the row behind a way may be taken as a variable.
    fn may_take(&mut self, way: &Way, variable: usize) -> Result<bool, OperatorError>;

    /// Prepares a way before its first row.
    fn begin(&self, way: &mut Way);

    /// Counts the row behind a way in, before it is taken as a variable.
    fn count(&self, way: &mut Way, variable: usize);
}

/// What became of a search with a row.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It goes on with the next row.
    Open,
    /// No match begins with its first row.
    Failed,
    /// The row is the last one of a match.
    Found(Path),
}

/// Searches, one at a time.
#[derive(Debug)]
pub(super) struct Search {
    automaton: Automaton,
    /// Whether all ways that have come to a state fare alike, by state.
    is_blind: Vec<bool>,
    /// What is used again and again.
    next: Vec<Way>,
    spare: Vec<Way>,
    takes: Vec<(usize, usize)>,
    reached: Vec<bool>,
}

/// As many ways without use are kept for later.
const SPARE_MAX: usize = 256;

impl Search {
    /// `looks_back` are the variables whose conditions read earlier rows.
    pub(super) fn new(automaton: Automaton, looks_back: VariableSet) -> Search {
        let states = 0..automaton.len();
        let is_blind = states.map(|s| automaton.state(s).ahead & looks_back == 0).collect();
        let reached = vec![false; automaton.len()];
        let (next, spare, takes) = (Vec::new(), Vec::new(), Vec::new());
        Search { automaton, is_blind, next, spare, takes, reached }
    }

    /// Begins a search: nothing has been read.
    pub(super) fn begin(&mut self, ways: &mut Vec<Way>, judge: &impl Judge) {
        self.end(ways);
        let mut way = self.spare.pop().unwrap_or_default();
        way.state = 0;
        way.path.clear();
        way.totals.clear();
        judge.begin(&mut way);
        ways.push(way);
    }

    /// Ends a search.
    pub(super) fn end(&mut self, ways: &mut Vec<Way>) {
        let room = SPARE_MAX.saturating_sub(self.spare.len());
        self.spare.extend(ways.drain(..).take(room));
    }

    /// Reads the next row.
    pub(super) fn step(
        &mut self,
        ways: &mut Vec<Way>,
        judge: &mut impl Judge,
    ) -> Result<Outcome, OperatorError> {
        let mut found = None;
        for way in ways.iter_mut() {
            self.find_takes(way, judge)?;
            found = self.follow(way, judge);
            if found.is_some() {
                break;
            }
        }
        self.reached.fill(false);
        self.end(ways);
        if let Some(found) = found {
            let mut next = std::mem::take(&mut self.next);
            self.end(&mut next);
            self.next = next;
            return Ok(Outcome::Found(found));
        }
        std::mem::swap(ways, &mut self.next);
        Ok(if ways.is_empty() { Outcome::Failed } else { Outcome::Open })
    }

    /// The ways in which a row may be taken: as which variable, and the state behind it.
    fn find_takes(&mut self, way: &Way, judge: &mut impl Judge) -> Result<(), OperatorError> {
        self.takes.clear();
        let mut answers = Answers::default();
        for edge in &self.automaton.state(way.state).edges {
            if !answers.any(edge.unless, way, judge)? && answers.of(edge.variable, way, judge)? {
                self.takes.push((edge.variable, edge.to));
            }
        }
        Ok(())
    }

    /// Takes a row in all these ways; the path of the first one that ends.
    fn follow(&mut self, way: &mut Way, judge: &impl Judge) -> Option<Path> {
        let takes = self.takes.len();
        for number in 0..takes {
            let (variable, to) = self.takes[number];
            if self.is_blind[to] && std::mem::replace(&mut self.reached[to], true) {
                continue;
            }
            let mut branch = self.spare.pop().unwrap_or_default();
            match number + 1 == takes {
                true => std::mem::swap(&mut branch, way),
                false => branch.copy_from(way),
            }
            judge.count(&mut branch, variable);
            branch.path.take(variable);
            branch.state = to;
            if self.automaton.state(to).is_final {
                return Some(branch.path);
            }
            self.next.push(branch);
        }
        None
    }
}

/// The answers of a judge for one way and one row, each asked for once.
#[derive(Default)]
struct Answers {
    asked: VariableSet,
    yes: VariableSet,
}

impl Answers {
    fn of(
        &mut self,
        variable: usize,
        way: &Way,
        judge: &mut impl Judge,
    ) -> Result<bool, OperatorError> {
        let bit = 1 << variable;
        if self.asked & bit == 0 {
            self.asked |= bit;
            if judge.may_take(way, variable)? {
                self.yes |= bit;
            }
        }
        Ok(self.yes & bit != 0)
    }

    fn any(
        &mut self,
        variables: VariableSet,
        way: &Way,
        judge: &mut impl Judge,
    ) -> Result<bool, OperatorError> {
        let mut left = variables;
        while left != 0 {
            let variable = left.trailing_zeros() as usize;
            if self.of(variable, way, judge)? {
                return Ok(true);
            }
            left &= left - 1;
        }
        Ok(false)
    }
}
