//! A search that writes out all ways: each is the rows' variables and what is left of the pattern.
//!
//! It knows no automaton. Of what is left of a pattern it computes anew, for each row, which rows it
//! might take, by the rules that [`Automaton`](super::super::Automaton) states.

use super::*;

/// What a variable asks of a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Always,
    IsHigh,
    /// Less than the value before it of the same variable, or the first.
    Falls,
    /// Greater than the first value of the match.
    AboveFirst,
    /// The sum of the variable's values.
    SumBelow(i64),
    /// Of all rows at most half are this variable's.
    CountOdd(usize),
}

pub(super) struct Naive {
    pub(super) spec: PatternSpec,
    pub(super) questions: [Question; 4],
}

/// A part of a pattern that is left.
#[derive(Clone)]
enum Left<'p> {
    Whole(&'p Pattern),
    /// A repetition: so many times at least and at most.
    Again {
        body: &'p Pattern,
        from: u32,
        to: Option<u32>,
        takes_all: bool,
        leaves_first: bool,
    },
}

/// The variables of the rows so far, and what is left.
type Way<'p> = (Vec<usize>, Vec<Left<'p>>);

impl Naive {
    /// What is shown of all rows up to a watermark, and how many rows are needed from there on; none
    /// if a match can't be skipped as it should.
    pub(super) fn search(&self, facts: &[Fact], watermark: i64) -> Option<(Vec<Shown>, usize)> {
        let (mut shown, mut needed) = (Vec::new(), 0);
        let mut keys: Vec<Option<i64>> = facts.iter().map(|fact| fact.0).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let mut rows: Vec<Fact> = facts.iter().filter(|f| f.0 == key).copied().collect();
            rows.sort_by_key(|row| (row.1, std::cmp::Reverse(row.2)));
            let due = rows.partition_point(|row| row.1 <= watermark);
            needed += rows.len() - due;
            needed += self.search_key(&rows[..due], watermark, &mut shown)?;
        }
        Some((shown, needed))
    }

    fn search_key(&self, rows: &[Fact], watermark: i64, shown: &mut Vec<Shown>) -> Option<usize> {
        let within = self.spec.within_ms.unwrap_or(i64::MAX / 2);
        let (mut first, mut known_at) = (0, i64::MIN);
        while first < rows.len() {
            let deadline = rows[first].1 + within;
            let end = first + rows[first..].partition_point(|row| row.1 < deadline);
            let (found, read) = self.begin(&rows[first..end]);
            known_at = known_at.max(rows[first + read - 1].1);
            match found {
                Some(Some(variables)) => {
                    shown.push(self.show(&rows[first..], &variables, known_at));
                    first += self.behind(&variables)?;
                }
                Some(None) => first += 1,
                None if end < rows.len() || deadline - 1 <= watermark => {
                    known_at = known_at.max(deadline);
                    first += 1;
                }
                None => break,
            }
        }
        Some(rows.len() - first)
    }

    fn behind(&self, variables: &[usize]) -> Option<usize> {
        match self.spec.skip {
            Skip::PastLastRow => Some(variables.len()),
            Skip::ToNextRow => Some(1),
            Skip::ToFirst(to) => variables.iter().position(|&v| v == to).filter(|&row| row > 0),
            Skip::ToLast(to) => variables.iter().rposition(|&v| v == to).filter(|&row| row > 0),
        }
    }

    /// The match that begins with the first row, if that is known, and how many rows were read.
    fn begin(&self, rows: &[Fact]) -> (Option<Option<Vec<usize>>>, usize) {
        let mut ways: Vec<Way<'_>> = vec![(Vec::new(), vec![Left::Whole(&self.spec.pattern)])];
        for read in 0..rows.len() {
            let mut next = Vec::new();
            for (variables, left) in ways {
                let may_take = |variable: usize| self.may_take(rows, &variables, variable);
                for (variable, left) in takes(&left, &may_take) {
                    let mut variables = variables.clone();
                    variables.push(variable);
                    if can_end(&left) {
                        return (Some(Some(variables)), read + 1);
                    }
                    next.push((variables, left));
                }
            }
            if next.is_empty() {
                return (Some(None), read + 1);
            }
            ways = next;
        }
        (None, rows.len())
    }

    fn may_take(&self, rows: &[Fact], before: &[usize], variable: usize) -> bool {
        let row = rows[before.len()];
        let all = || before.iter().chain([&variable]).zip(rows);
        let of = |v: usize| all().filter(move |(is, _)| **is == v).map(|(_, row)| row.3);
        match self.questions[variable] {
            Question::Always => true,
            Question::IsHigh => row.3.is_some_and(|value| value >= 2),
            Question::Falls => {
                let own: Vec<_> = of(variable).collect();
                match own.len().checked_sub(2).and_then(|before| own[before]) {
                    None => true,
                    Some(before) => row.3.is_some_and(|value| value < before),
                }
            }
            Question::AboveFirst => {
                row.3.zip(rows[0].3).is_some_and(|(value, first)| value > first)
            }
            Question::SumBelow(limit) => {
                let values: Vec<i64> = of(variable).flatten().collect();
                !values.is_empty() && values.iter().sum::<i64>() < limit
            }
            Question::CountOdd(other) => 2 * of(other).count() <= all().count(),
        }
    }

    fn show(&self, rows: &[Fact], variables: &[usize], known_at: i64) -> Shown {
        let length = variables.len();
        let mut shown = vec![rows[0].0, rows[0].3, rows[length - 1].3];
        shown.extend([Some(length as i64), Some(known_at)]);
        for variable in 0..4 {
            let own = variables.iter().zip(rows).filter(|(is, _)| **is == variable);
            let own: Vec<Option<i64>> = own.map(|(_, row)| row.3).collect();
            let values: Vec<i64> = own.iter().flatten().copied().collect();
            shown.push(own.get(1).copied().flatten());
            shown.push(own.len().checked_sub(2).and_then(|at| own[at]));
            shown.push((!values.is_empty()).then(|| values.iter().sum()));
            shown.push(values.iter().max().copied());
        }
        shown
    }
}

/// As which variables the next row may be taken, and what is left then.
fn takes<'p>(left: &[Left<'p>], may_take: &dyn Fn(usize) -> bool) -> Vec<(usize, Vec<Left<'p>>)> {
    let Some((first, rest)) = left.split_first() else { return Vec::new() };
    match first {
        Left::Whole(Pattern::Variable(variable)) => {
            may_take(*variable).then(|| (*variable, rest.to_vec())).into_iter().collect()
        }
        Left::Whole(Pattern::Sequence(parts)) => {
            let parts: Vec<Left<'p>> = parts.iter().map(Left::Whole).collect();
            takes(&[&parts[..], rest].concat(), may_take)
        }
        Left::Whole(Pattern::Alternatives(parts)) => {
            let part = |part: &'p Pattern| takes(&[&[Left::Whole(part)], rest].concat(), may_take);
            parts.iter().flat_map(part).collect()
        }
        Left::Whole(Pattern::Repeat { pattern, from, to, preference }) => {
            let is_optional = (*from, *to) == (0, Some(1));
            let is_greedy = *preference == Preference::Greedy;
            let again = Left::Again {
                body: pattern,
                from: *from,
                to: *to,
                takes_all: is_greedy && !is_optional,
                leaves_first: !is_greedy && is_optional,
            };
            takes(&[&[again], rest].concat(), may_take)
        }
        Left::Again { to: Some(0), .. } => takes(rest, may_take),
        &Left::Again { body, from, to, takes_all, leaves_first } => {
            let (from_then, to_then) = (from.saturating_sub(1), to.map(|to| to - 1));
            let again = Left::Again { body, from: from_then, to: to_then, takes_all, leaves_first };
            let mut own = takes(&[&[Left::Whole(body), again], rest].concat(), may_take);
            let is_stuck = takes_all && !takes(&[Left::Whole(body)], may_take).is_empty();
            if from > 0 || is_stuck {
                return own;
            }
            let mut others = takes(rest, may_take);
            if leaves_first {
                std::mem::swap(&mut own, &mut others);
            }
            own.extend(others);
            own
        }
    }
}

/// Whether nothing more need come.
fn can_end(left: &[Left<'_>]) -> bool {
    fn is_optional(pattern: &Pattern) -> bool {
        match pattern {
            Pattern::Variable(_) => false,
            Pattern::Sequence(parts) => parts.iter().all(is_optional),
            Pattern::Alternatives(parts) => parts.iter().any(is_optional),
            Pattern::Repeat { pattern, from, .. } => *from == 0 || is_optional(pattern),
        }
    }
    left.iter().all(|part| match part {
        Left::Whole(pattern) => is_optional(pattern),
        Left::Again { from, .. } => *from == 0,
    })
}
