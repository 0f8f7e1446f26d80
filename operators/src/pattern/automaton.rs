//! [`Automaton`]: a pattern as states between rows.
//!
//! ```text
//! PATTERN (A B+ C)        0 ──A──► 1 ──B──► 2 ──C, unless B──► 3, final
//!                                           └──B──► 2
//! ```
//!
//! The rules are those of Flink, which are not quite those of regular expressions:
//!
//! * A greedy repetition takes every row that it can: it is only left by a row that it can't take,
//!   and nothing is ever given back to what stands behind it. Hence *unless* above.
//! * A reluctant repetition, and an optional variable (`B?`, greedy or not), leave open whether they
//!   take a row or what is behind them does.
//! * Of the ways that are open from one first row the one that ends first is the match; of those
//!   that end with the same row, the one whose rows belong to what stands earlier in the pattern.
//!
//! So nobody knows where a match would end that a greedy repetition ends, and such a pattern is
//! refused.

use super::spec::{Pattern, Preference, VARIABLES_MAX};

/// Why a pattern can't be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It would match no rows at all, and so everywhere.
    #[error("the pattern can match no rows at all")]
    MatchesNothing,
    /// What matches no rows can be repeated for ever.
    #[error("what can match no rows can't be repeated")]
    RepeatsNothing,
    /// A greedy repetition of this variable may be its end.
    #[error("a greedy quantifier can't be the end of a pattern")]
    GreedyEnd(usize),
    /// It has too many variables.
    #[error("a pattern has at most {VARIABLES_MAX} variables")]
    TooManyVariables,
    /// It has too many steps once its repetitions are written out.
    #[error("the pattern has more than {STEPS_MAX} steps")]
    TooLong,
}

/// The most steps of a pattern, with all repetitions written out.
const STEPS_MAX: usize = 4096;

/// A set of variables, by number.
pub(super) type VariableSet = u64;

/// The states of a pattern. The first is that before the first row.
#[derive(Clone, Debug)]
pub struct Automaton {
    states: Vec<State>,
}

/// What may come next.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// By preference.
    pub(super) edges: Vec<Edge>,
    /// Whether a match may end here, and so does.
    pub(super) is_final: bool,
    /// The variables whose tests decide how it goes on from here, however far.
    pub(super) ahead: VariableSet,
}

/// A row that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// As this variable.
    pub(super) variable: usize,
    /// If none of these can take it.
    pub(super) unless: VariableSet,
    pub(super) to: usize,
}

impl Automaton {
    /// The automaton of a pattern.
    ///
    /// # Errors
    /// If it can't be looked for.
    pub fn new(pattern: &Pattern) -> Result<Automaton, PatternError> {
        if can_be_empty(pattern) {
            return Err(PatternError::MatchesNothing);
        }
        let mut program = Program::default();
        program.add(pattern)?;
        program.push(Step::End)?;
        let mut states = program.states()?;
        look_ahead(&mut states);
        Ok(Automaton { states })
    }

    pub(super) fn state(&self, state: usize) -> &State {
        &self.states[state]
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }
}

fn can_be_empty(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Variable(_) => false,
        Pattern::Sequence(parts) => parts.iter().all(can_be_empty),
        Pattern::Alternatives(parts) => parts.iter().any(can_be_empty),
        Pattern::Repeat { pattern, from, .. } => *from == 0 || can_be_empty(pattern),
    }
}

/// A pattern written out as steps, on the way to its states.
#[derive(Debug, Default)]
struct Program {
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A row of a variable; then the next step.
    Take(usize),
    /// Either of two steps, the better one first; the second one only if the row can't be taken
    /// behind the first, if `guarded`.
    Fork {
        first: usize,
        second: usize,
        guarded: bool,
    },
    Jump(usize),
    End,
}

/// A step that is known once what is behind it has been written.
const LATER: usize = usize::MAX;

impl Program {
    fn push(&mut self, step: Step) -> Result<usize, PatternError> {
        if self.steps.len() >= STEPS_MAX {
            return Err(PatternError::TooLong);
        }
        self.steps.push(step);
        Ok(self.steps.len() - 1)
    }

    fn add(&mut self, pattern: &Pattern) -> Result<(), PatternError> {
        match pattern {
            Pattern::Variable(variable) if *variable >= VARIABLES_MAX => {
                Err(PatternError::TooManyVariables)
            }
            Pattern::Variable(variable) => self.push(Step::Take(*variable)).map(|_| ()),
            Pattern::Sequence(parts) => parts.iter().try_for_each(|part| self.add(part)),
            Pattern::Alternatives(parts) => self.add_alternatives(parts),
            Pattern::Repeat { pattern, from, to, preference } => {
                self.add_repeat(pattern, *from, *to, *preference)
            }
        }
    }

    fn add_alternatives(&mut self, parts: &[Pattern]) -> Result<(), PatternError> {
        let mut ends = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            if number + 1 == parts.len() {
                self.add(part)?;
                break;
            }
            let fork = self.push(Step::Fork { first: LATER, second: LATER, guarded: false })?;
            self.add(part)?;
            ends.push(self.push(Step::Jump(LATER))?);
            let second = self.steps.len();
            self.steps[fork] = Step::Fork { first: fork + 1, second, guarded: false };
        }
        let behind = self.steps.len();
        ends.into_iter().for_each(|end| self.steps[end] = Step::Jump(behind));
        Ok(())
    }

    fn add_repeat(
        &mut self,
        pattern: &Pattern,
        from: u32,
        to: Option<u32>,
        preference: Preference,
    ) -> Result<(), PatternError> {
        if can_be_empty(pattern) {
            return Err(PatternError::RepeatsNothing);
        }
        // The last of those that must be is the one that an endless repetition goes back to.
        let before = if to.is_none() { from.saturating_sub(1) } else { from };
        for _ in 0..before {
            self.add(pattern)?;
        }
        let is_optional = from == 0 && to == Some(1);
        let guarded = preference == Preference::Greedy && !is_optional;
        let leaves_first = preference == Preference::Reluctant && is_optional;
        let Some(to) = to else {
            return if from > 0 {
                self.add_again(pattern, guarded)
            } else {
                self.add_any(pattern, guarded)
            };
        };
        let mut forks = Vec::new();
        for _ in from..to {
            forks.push(self.push(Step::Fork { first: LATER, second: LATER, guarded })?);
            self.add(pattern)?;
        }
        let behind = self.steps.len();
        for fork in forks {
            let (enter, leave) = (fork + 1, behind);
            let (first, second) = if leaves_first { (leave, enter) } else { (enter, leave) };
            self.steps[fork] = Step::Fork { first, second, guarded };
        }
        Ok(())
    }

    /// Once, and perhaps again.
    fn add_again(&mut self, pattern: &Pattern, guarded: bool) -> Result<(), PatternError> {
        let first = self.steps.len();
        self.add(pattern)?;
        let second = self.steps.len() + 1;
        self.push(Step::Fork { first, second, guarded }).map(|_| ())
    }

    /// Any number of times.
    fn add_any(&mut self, pattern: &Pattern, guarded: bool) -> Result<(), PatternError> {
        let fork = self.push(Step::Fork { first: LATER, second: LATER, guarded })?;
        self.add(pattern)?;
        let second = self.push(Step::Jump(fork))? + 1;
        self.steps[fork] = Step::Fork { first: fork + 1, second, guarded };
        Ok(())
    }

    /// One state before the first row and one behind each taken row.
    fn states(&self) -> Result<Vec<State>, PatternError> {
        let mut entries = vec![0];
        let mut number_of = vec![LATER; self.steps.len()];
        for (at, step) in self.steps.iter().enumerate() {
            if let Step::Take(_) = step {
                number_of[at] = entries.len();
                entries.push(at + 1);
            }
        }
        let state = |entry: &usize| {
            let mut state = State::default();
            self.follow(*entry, 0, &number_of, &mut state)?;
            Ok(state)
        };
        entries.iter().map(state).collect()
    }

    /// The edges from a step on, with the variables that must not take the row.
    fn follow(
        &self,
        at: usize,
        unless: VariableSet,
        number_of: &[usize],
        state: &mut State,
    ) -> Result<(), PatternError> {
        match self.steps[at] {
            Step::Take(variable) => {
                state.edges.push(Edge { variable, unless, to: number_of[at] });
            }
            Step::Jump(to) => self.follow(to, unless, number_of, state)?,
            Step::Fork { first, second, guarded } => {
                self.follow(first, unless, number_of, state)?;
                let greedy = if guarded { self.takers(first) } else { 0 };
                self.follow(second, unless | greedy, number_of, state)?;
            }
            Step::End if unless != 0 => {
                return Err(PatternError::GreedyEnd(unless.trailing_zeros() as usize));
            }
            Step::End => state.is_final = true,
        }
        Ok(())
    }

    /// The variables that may take the next row from a step on, inside of a repetition, which takes
    /// at least one.
    fn takers(&self, at: usize) -> VariableSet {
        match self.steps[at] {
            Step::Take(variable) => 1 << variable,
            Step::Jump(to) => self.takers(to),
            Step::Fork { first, second, .. } => self.takers(first) | self.takers(second),
            Step::End => 0,
        }
    }
}

fn look_ahead(states: &mut [State]) {
    loop {
        let mut has_changed = false;
        for number in 0..states.len() {
            let edges = states[number].edges.iter();
            let ahead = edges.fold(0, |ahead, edge| {
                ahead | edge.unless | 1 << edge.variable | states[edge.to].ahead
            });
            has_changed |= ahead != states[number].ahead;
            states[number].ahead = ahead;
        }
        if !has_changed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: usize = 0;
    const B: usize = 1;
    const C: usize = 2;

    fn one(variable: usize) -> Pattern {
        Pattern::Variable(variable)
    }

    fn repeat(pattern: Pattern, from: u32, to: Option<u32>, preference: Preference) -> Pattern {
        Pattern::Repeat { pattern: Box::new(pattern), from, to, preference }
    }

    fn greedy(variable: usize, from: u32, to: Option<u32>) -> Pattern {
        repeat(one(variable), from, to, Preference::Greedy)
    }

    fn edges(pattern: Vec<Pattern>) -> Vec<Vec<(usize, VariableSet, usize)>> {
        let automaton = Automaton::new(&Pattern::Sequence(pattern)).unwrap();
        let plain = |edge: &Edge| (edge.variable, edge.unless, edge.to);
        automaton.states.iter().map(|state| state.edges.iter().map(plain).collect()).collect()
    }

    #[test]
    fn a_greedy_repetition_is_left_by_a_row_that_it_can_not_take() {
        let states = edges(vec![one(A), greedy(B, 1, None), one(C)]);
        let looping = vec![(B, 0, 2), (C, 1 << B, 3)];
        assert_eq!(states, [vec![(A, 0, 1)], vec![(B, 0, 2)], looping, vec![]]);
    }

    #[test]
    fn an_optional_variable_leaves_open_whether_it_takes_a_row() {
        let states = edges(vec![one(A), greedy(B, 0, Some(1)), one(C)]);
        assert_eq!(states[1], [(B, 0, 2), (C, 0, 3)]);
        let lazy = repeat(one(B), 0, Some(1), Preference::Reluctant);
        assert_eq!(edges(vec![one(A), lazy, one(C)])[1], [(C, 0, 3), (B, 0, 2)]);
    }

    #[test]
    fn a_range_of_times_is_written_out() {
        let states = edges(vec![greedy(B, 1, Some(3)), one(C)]);
        assert_eq!(states[1], [(B, 0, 2), (C, 1 << B, 4)]);
        assert_eq!(states[2], [(B, 0, 3), (C, 1 << B, 4)]);
        assert_eq!(states[3], [(C, 0, 4)]);
    }

    #[test]
    fn a_greedy_group_is_left_by_a_row_with_which_it_can_not_begin_again() {
        let body = Pattern::Sequence(vec![greedy(A, 0, None), one(B)]);
        let states = edges(vec![repeat(body, 1, None, Preference::Greedy), one(C)]);
        let entered = 1 << A | 1 << B;
        assert_eq!(states[2], [(A, 0, 1), (B, 1 << A, 2), (C, entered, 3)]);
    }

    #[test]
    fn what_can_not_be_looked_for_is_refused() {
        let refused = |parts: Vec<Pattern>| Automaton::new(&Pattern::Sequence(parts)).unwrap_err();
        let star = || greedy(B, 0, None);
        assert_eq!(refused(vec![star()]), PatternError::MatchesNothing);
        assert_eq!(refused(vec![one(A), star()]), PatternError::GreedyEnd(B));
        let behind = greedy(C, 0, Some(1));
        assert_eq!(refused(vec![one(A), star(), behind]), PatternError::GreedyEnd(B));
        let nothing = repeat(star(), 1, None, Preference::Greedy);
        assert_eq!(refused(vec![one(A), nothing, one(C)]), PatternError::RepeatsNothing);
        assert_eq!(refused(vec![greedy(A, 9999, Some(9999))]), PatternError::TooLong);
        assert_eq!(refused(vec![one(64)]), PatternError::TooManyVariables);
    }
}
