//! `SELECT /*+ STATE_TTL('t' = '1 d') */`: for how long a select keeps what is idle, input by input,
//! instead of what the session says for all (`table.exec.state.ttl`).
//!
//! A name means an input of `FROM`, by its alias or else by its table. It counts for each regular
//! join that the input is a side of by itself, and for the groups (or `DISTINCT`) of a select that
//! has no other input, as in Flink. A name that is nowhere in `FROM` is refused; one of an input that
//! nothing of the kind is done with is told.

use crate::error::{ErrorKind, Planned, Refusal};
use crate::parser::StateTtl;
use crate::planner::Surprise;
use crate::planner::scope::Scope;

/// What the hints of a select say, and which of that had an effect.
#[derive(Debug, Default)]
pub(crate) struct Lifetimes {
    hints: Vec<StateTtl>,
    is_heeded: Vec<bool>,
}

impl Lifetimes {
    pub fn new(hints: Vec<StateTtl>) -> Self {
        Lifetimes { is_heeded: vec![false; hints.len()], hints }
    }

    /// For how long what comes of an input is kept, if that is said of it.
    pub fn of(&mut self, input: &Scope) -> Option<i64> {
        let name = only_name(input)?;
        let number = self.hints.iter().position(|hint| hint.name.eq_ignore_ascii_case(name))?;
        self.is_heeded[number] = true;
        Some(self.hints[number].ttl_ms)
    }

    /// What had no effect, in a select with these inputs.
    ///
    /// # Errors
    /// If it means no input.
    pub fn unheeded(self, inputs: &Scope) -> Planned<Vec<Surprise>> {
        let hints = self.hints.into_iter().zip(self.is_heeded);
        let unheeded = hints.filter(|(_, is_heeded)| !is_heeded);
        unheeded.map(|(hint, _)| unheeded_hint(hint, inputs)).collect()
    }
}

fn unheeded_hint(StateTtl { name, at, .. }: StateTtl, inputs: &Scope) -> Planned<Surprise> {
    let mut known: Vec<&str> = names(inputs).collect();
    known.dedup();
    if !known.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
        let message = format!("STATE_TTL names '{name}', which FROM does not");
        let known = known.join(", ");
        return Err(Refusal::new(ErrorKind::UnknownTable, at, message)
            .hint(format!("name an input by its alias, or else by its table: {known}")));
    }
    let message = format!("STATE_TTL of '{name}' has no effect");
    let hint =
        "it is for regular joins, of each side that is one input, and for groups of one input";
    Ok(Surprise { at, message, hint: hint.to_owned() })
}

fn names(scope: &Scope) -> impl Iterator<Item = &str> {
    scope.entries.iter().filter_map(|entry| entry.qualifier.as_deref())
}

/// The name that all columns of an input are under.
fn only_name(input: &Scope) -> Option<&str> {
    let first = input.entries.first()?.qualifier.as_deref()?;
    input.entries.iter().all(|e| e.qualifier.as_deref() == Some(first)).then_some(first)
}
