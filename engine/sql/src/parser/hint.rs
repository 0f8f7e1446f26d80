//! Hints, `/*+ … */`: comments that mean something.
//!
//! A hint behind a table's name goes on as part of that name, for `sqlparser` has no place for
//! it: whoever looks the table up takes it off again ([`unhinted`]).
//!
//! | hint | where | what it does |
//! |---|---|---|
//! | `OPTIONS('key' = 'value', …)` | behind a table's name | these options in place of the table's own |
//! | `BROADCAST(t)`, `LOOKUP(…)` and other ways to join | behind `SELECT` | nothing: results are the same |
//!
//! Another hint is refused: a result would be another without anybody being told.

use super::statement::{OptionPair, StatementParser};
use super::tokens::tokenize;
use crate::error::{At, ErrorKind, Planned, Refusal};
use sqlparser::parser::Parser;

/// What stands between a table's name and its hint.
const MARK: &str = "/*+";

/// Hints that say how to join, not what.
const WAYS_TO_JOIN: [&str; 6] =
    ["BROADCAST", "SHUFFLE_HASH", "SHUFFLE_MERGE", "NEST_LOOP", "MULTI_JOIN", "LOOKUP"];

/// What a hint stands behind.
pub(super) enum Behind<'a> {
    /// The name of a table, which takes it in.
    Name(&'a mut String),
    /// The word `SELECT`.
    Select,
    /// Something that has no hints.
    Other,
}

/// The text of a hint, if a comment is one.
pub(super) fn text(comment: &str) -> Option<&str> {
    comment.strip_prefix('+').map(str::trim)
}

/// Gives a hint to what it stands behind.
///
/// # Errors
/// If it is none that can be heeded there.
pub(super) fn attach(hint: &str, behind: Behind<'_>, at: At) -> Planned<()> {
    match behind {
        Behind::Name(name) if names(hint) == ["OPTIONS"] => {
            name.push_str(MARK);
            name.push_str(hint);
            Ok(())
        }
        Behind::Select => match names(hint).into_iter().find(|name| !is_way_to_join(name)) {
            None => Ok(()),
            Some(name) => Err(refused(&name, at)),
        },
        Behind::Name(_) | Behind::Other => {
            let name = names(hint).into_iter().next().unwrap_or_default();
            Err(refused(&name, at))
        }
    }
}

fn refused(name: &str, at: At) -> Box<Refusal> {
    let message = format!("the hint '{name}' is not supported here");
    Refusal::new(ErrorKind::Unsupported, at, message).hint(match name {
        "STATE_TTL" => "SET 'table.exec.state.ttl' says it for all of the job's aggregates",
        "OPTIONS" => "write it right behind the name of a table",
        _ => "OPTIONS(…) may stand behind a table's name, BROADCAST(…) and the like behind SELECT",
    })
}

fn is_way_to_join(name: &str) -> bool {
    WAYS_TO_JOIN.contains(&name)
}

/// The names of the hints in a text, upper-case.
fn names(hint: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut word) = (0, String::new());
    for character in hint.chars() {
        match character {
            '(' => {
                if depth == 0 {
                    names.push(std::mem::take(&mut word));
                }
                depth += 1;
            }
            ')' => depth -= 1,
            _ if depth == 0 && (character.is_alphanumeric() || character == '_') => {
                word.extend(character.to_uppercase());
            }
            _ => {}
        }
    }
    names.extend(Some(word).filter(|word| !word.is_empty()));
    names
}

/// A table's name without its hint, and the hint.
pub(crate) fn unhinted(name: &str) -> (&str, Option<&str>) {
    match name.split_once(MARK) {
        Some((name, hint)) => (name, Some(hint)),
        None => (name, None),
    }
}

/// The options that a hint names; all of them stand `at` the table's name.
///
/// # Errors
/// If the hint is not `OPTIONS('key' = 'value', …)`.
pub(crate) fn options(hint: &str, at: At) -> Planned<Vec<OptionPair>> {
    let moved = |mut refusal: Box<Refusal>| {
        refusal.at = at;
        refusal.hint("write OPTIONS('key' = 'value', …)")
    };
    let mut tokens = tokenize(hint, at.file).map_err(moved)?.tokens;
    // The word OPTIONS, which is known to be there.
    tokens.remove(0);
    let parser = Parser::new(&super::FlinkDialect).with_tokens_with_locations(tokens);
    let mut parser = StatementParser { parser, types: &[], file: at.file, end: at };
    let options = parser.options().and_then(|options| {
        parser.end_of_statement()?;
        Ok(options)
    });
    Ok(options.map_err(moved)?.into_iter().map(|option| OptionPair { at, ..option }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_told_apart_by_their_names() {
        assert_eq!(names("OPTIONS('a(b' = 'c')"), ["OPTIONS"]);
        assert_eq!(names("broadcast(t), STATE_TTL('t' = '1d')"), ["BROADCAST", "STATE_TTL"]);
        assert_eq!(names("NO_WAY"), ["NO_WAY"]);
        assert_eq!(unhinted("t/*+OPTIONS()"), ("t", Some("OPTIONS()")));
        assert_eq!(unhinted("t"), ("t", None));
    }

    #[test]
    fn options_stand_at_the_name_of_the_table() {
        let at = At { file: 0, line: 3, column: 15 };
        let options = options("OPTIONS('a' = '1', 'b'='2')", at).expect("it is right");
        let pairs: Vec<(&str, &str)> =
            options.iter().map(|option| (&*option.key, &*option.value)).collect();
        assert_eq!(pairs, [("a", "1"), ("b", "2")]);
        assert!(options.iter().all(|option| option.at == at));
        for wrong in
            ["OPTIONS", "OPTIONS()", "OPTIONS(a)", "OPTIONS('a' = 1)", "OPTIONS('a'='1') x"]
        {
            let refusal = super::options(wrong, at).expect_err(wrong);
            assert_eq!(refusal.at, at, "{wrong}");
        }
    }
}
