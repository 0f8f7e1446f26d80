//! From `PATTERN (…)` to a [`Pattern`].
//!
//! `sqlparser` knows no reluctant quantifiers, but any number of quantifiers behind each other: what
//! we want to know as `B*?` it reads as "`B*`, and that once or not at all".

use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::parser::place;
use crate::planner::bind::Context;
use sqlparser::ast::{MatchRecognizePattern as Ast, MatchRecognizeSymbol, RepetitionQuantifier};
use tidemill_operators::pattern::{Automaton, Pattern, PatternError, Preference};

/// A pattern and its variables, in the order in which they appear.
pub(super) struct Shape {
    pub variables: Vec<String>,
    places: Vec<At>,
    pub pattern: Pattern,
}

impl Shape {
    /// # Errors
    /// If there is no such pattern here, or it can't be looked for.
    pub(super) fn of(ast: &Ast, at: At, context: Context<'_>) -> Planned<Shape> {
        let mut reader = Reader { variables: Vec::new(), places: Vec::new(), at, context };
        let pattern = reader.read(ast)?;
        let Reader { variables, places, .. } = reader;
        let shape = Shape { variables, places, pattern };
        match Automaton::new(&shape.pattern) {
            Ok(_) => Ok(shape),
            Err(error) => Err(shape.refusal(error, at)),
        }
    }

    /// The variable of the first row of every match, if it is always the same.
    pub(super) fn begins_with(&self) -> Option<usize> {
        fn first(pattern: &Pattern) -> Option<usize> {
            match pattern {
                Pattern::Variable(variable) => Some(*variable),
                Pattern::Sequence(parts) => first(parts.first()?),
                Pattern::Repeat { pattern, from: 1.., .. } => first(pattern),
                Pattern::Alternatives(_) | Pattern::Repeat { .. } => None,
            }
        }
        first(&self.pattern)
    }

    fn refusal(&self, error: PatternError, at: At) -> Box<Refusal> {
        let first = self.places.first().copied().unwrap_or(at);
        let refuse = |at, message: String| Refusal::new(ErrorKind::BadPattern, at, message);
        match error {
            PatternError::GreedyEnd(variable) => {
                let name = &self.variables[variable];
                let at = self.places.get(variable).copied().unwrap_or(at);
                let message = format!("the greedy quantifier of '{name}' may end the pattern");
                refuse(at, message).hint(format!(
                    "a match ends with a row: put a variable behind it whose rows are none of \
                     '{name}', or make it reluctant, as in {name}+?"
                ))
            }
            PatternError::MatchesNothing => refuse(first, error.to_string())
                .hint("at least one variable must be there in every match"),
            PatternError::RepeatsNothing
            | PatternError::TooManyVariables
            | PatternError::TooLong => refuse(first, error.to_string()),
        }
    }
}

struct Reader<'c> {
    variables: Vec<String>,
    places: Vec<At>,
    at: At,
    context: Context<'c>,
}

impl Reader<'_> {
    fn read(&mut self, ast: &Ast) -> Planned<Pattern> {
        match ast {
            Ast::Symbol(symbol) => self.symbol(symbol),
            Ast::Concat(parts) => Ok(Pattern::Sequence(self.all(parts)?)),
            Ast::Alternation(parts) => Ok(Pattern::Alternatives(self.all(parts)?)),
            Ast::Group(inner) => self.read(inner),
            Ast::Repetition(inner, quantifier) => self.repetition(inner, quantifier),
            Ast::Exclude(_) => Err(self
                .unsupported("an exclusion {- … -}")
                .hint("it would only matter to ALL ROWS PER MATCH")),
            Ast::Permute(_) => {
                Err(self.unsupported("PERMUTE").hint("write the orders out: (A B | B A)"))
            }
        }
    }

    fn all(&mut self, parts: &[Ast]) -> Planned<Vec<Pattern>> {
        parts.iter().map(|part| self.read(part)).collect()
    }

    fn symbol(&mut self, symbol: &MatchRecognizeSymbol) -> Planned<Pattern> {
        let MatchRecognizeSymbol::Named(name) = symbol else {
            return Err(self
                .unsupported("an anchor (^ or $)")
                .hint("a stream has no end that a match could be bound to"));
        };
        let is_known = |variable: &String| variable.eq_ignore_ascii_case(&name.value);
        let number = self.variables.iter().position(is_known).unwrap_or(self.variables.len());
        if number == self.variables.len() {
            self.variables.push(name.value.clone());
            self.places.push(place(name, self.context.file));
        }
        Ok(Pattern::Variable(number))
    }

    fn repetition(&mut self, inner: &Ast, quantifier: &RepetitionQuantifier) -> Planned<Pattern> {
        use RepetitionQuantifier as Q;
        let (inner, quantifier, preference) = match (inner, quantifier) {
            (Ast::Repetition(inner, quantifier), Q::AtMostOne) => {
                (&**inner, quantifier, Preference::Reluctant)
            }
            _ => (inner, quantifier, Preference::Greedy),
        };
        let pattern = Box::new(self.read(inner)?);
        let at = self.places.last().copied().unwrap_or(self.at);
        let refuse = |message: String| Err(Refusal::new(ErrorKind::BadPattern, at, message));
        if matches!(inner, Ast::Repetition(..)) {
            return refuse("there are two quantifiers behind each other".into());
        }
        let (from, to) = match *quantifier {
            Q::ZeroOrMore => (0, None),
            Q::OneOrMore => (1, None),
            Q::AtMostOne => (0, Some(1)),
            Q::Exactly(n) => (n, Some(n)),
            Q::AtLeast(n) => (n, None),
            Q::AtMost(n) => (0, Some(n)),
            Q::Range(n, m) => (n, Some(m)),
        };
        if to.is_some_and(|to| to == 0 || to < from) {
            return refuse(format!("the quantifier {quantifier} allows no number of rows"));
        }
        Ok(Pattern::Repeat { pattern, from, to, preference })
    }

    fn unsupported(&self, what: &str) -> Box<Refusal> {
        let at = self.places.last().copied().unwrap_or(self.at);
        Refusal::new(ErrorKind::Unsupported, at, format!("{what} in a PATTERN is not supported"))
    }
}
