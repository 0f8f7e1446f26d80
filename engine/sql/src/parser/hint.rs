//! Hints, `/*+ … */`: comments that mean something.
//!
//! A hint behind a table's name goes on as part of that name, for `sqlparser` has no place for
//! it: whoever looks the table up takes it off again ([`unhinted`]).
//!
//! | hint | where | what it does |
//! |---|---|---|
//! | `OPTIONS('key' = 'value', …)` | behind a table's name | these options in place of the table's own |
//! | `STATE_TTL('t' = '1 d', …)` | behind `SELECT` | for how long what comes of this input is kept while it is idle |
//! | `BROADCAST(t)`, `LOOKUP(…)` and other ways to join | behind `SELECT` | nothing: results are the same |
//!
//! Another hint is refused: a result would be another without anybody being told.

use super::statement::{OptionPair, StatementParser};
use super::tokens::tokenize;
use crate::error::{At, ErrorKind, Planned, Refusal};
use sqlparser::parser::Parser;
use tidemill_formats::parse_duration;

/// What stands between a table's name and its hint.
const MARK: &str = "/*+";

/// Hints that say how to join, not what.
const WAYS_TO_JOIN: [&str; 6] =
    ["BROADCAST", "SHUFFLE_HASH", "SHUFFLE_MERGE", "NEST_LOOP", "MULTI_JOIN", "LOOKUP"];

/// For how long what comes of an input of a query is kept while it is idle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateTtl {
    /// The input's alias, or the name of its table.
    pub name: String,
    /// 0 is for ever.
    pub ttl_ms: i64,
    /// Where the hint stands.
    pub at: At,
}

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

/// Gives a hint to what it stands behind; what a select has to know is given back.
///
/// # Errors
/// If it is none that can be heeded there.
pub(super) fn attach(hint: &str, behind: Behind<'_>, at: At) -> Planned<Vec<StateTtl>> {
    let hints = hints(hint);
    match behind {
        Behind::Name(name) if matches!(&hints[..], [(only, _)] if only == "OPTIONS") => {
            name.push_str(MARK);
            name.push_str(hint);
            Ok(Vec::new())
        }
        Behind::Select => {
            let mut lifetimes: Vec<StateTtl> = Vec::new();
            for (name, arguments) in hints {
                match name.as_str() {
                    "STATE_TTL" => lifetimes.extend(state_ttl(&arguments, &lifetimes, at)?),
                    name if WAYS_TO_JOIN.contains(&name) => {}
                    name => return Err(refused(name, at)),
                }
            }
            Ok(lifetimes)
        }
        Behind::Name(_) | Behind::Other => {
            let name = hints.into_iter().next().map(|(name, _)| name).unwrap_or_default();
            Err(refused(&name, at))
        }
    }
}

fn refused(name: &str, at: At) -> Box<Refusal> {
    let message = format!("the hint '{name}' is not supported here");
    Refusal::new(ErrorKind::Unsupported, at, message).hint(match name {
        "STATE_TTL" => "write it right behind SELECT",
        "OPTIONS" => "write it right behind the name of a table",
        _ => {
            "OPTIONS(…) may stand behind a table's name, STATE_TTL(…), BROADCAST(…) and the like \
             behind SELECT"
        }
    })
}

/// What one `STATE_TTL(…)` says that the hints before it don't: in a hint the last word about a
/// name counts, of several hints the first.
fn state_ttl(arguments: &str, before: &[StateTtl], at: At) -> Planned<Vec<StateTtl>> {
    let form = "write STATE_TTL('input' = '1 d', …)";
    let mut found: Vec<StateTtl> = Vec::new();
    for OptionPair { key, value, .. } in pairs(&format!("STATE_TTL({arguments})"), form, at)? {
        let Some(ttl) = parse_duration(&value) else {
            let message = format!("STATE_TTL of '{key}': '{value}' is no duration");
            return Err(Refusal::new(ErrorKind::BadOption, at, message)
                .hint("write a number and a unit, such as '36 h' or '7 d'"));
        };
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        found.retain(|known| !known.name.eq_ignore_ascii_case(&key));
        found.push(StateTtl { name: key, ttl_ms, at });
    }
    found.retain(|new| !before.iter().any(|known| known.name.eq_ignore_ascii_case(&new.name)));
    Ok(found)
}

/// The hints in a text: their names, upper-case, and what stands in their brackets.
fn hints(text: &str) -> Vec<(String, String)> {
    let mut hints = Vec::new();
    let (mut depth, mut quoted) = (0, false);
    let (mut word, mut arguments) = (String::new(), String::new());
    for character in text.chars() {
        quoted ^= character == '\'';
        let inside = depth > 0;
        match character {
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth > 0 => depth -= 1,
            _ => {}
        }
        match character {
            _ if inside && depth > 0 => arguments.push(character),
            _ if inside => {
                hints.push((std::mem::take(&mut word), std::mem::take(&mut arguments)));
            }
            _ if depth == 0 && (character.is_alphanumeric() || character == '_') => {
                word.extend(character.to_uppercase());
            }
            _ => {}
        }
    }
    if !word.is_empty() {
        hints.push((word, arguments));
    }
    hints
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
    pairs(hint, "write OPTIONS('key' = 'value', …)", at)
}

/// The pairs in the brackets behind a hint's name, which all stand `at` one place.
fn pairs(hint: &str, form: &str, at: At) -> Planned<Vec<OptionPair>> {
    let moved = |mut refusal: Box<Refusal>| {
        refusal.at = at;
        refusal.hint(form)
    };
    let mut tokens = tokenize(hint, at.file).map_err(moved)?.tokens;
    // The name, which is known to be there.
    tokens.remove(0);
    let parser = Parser::new(&super::FlinkDialect).with_tokens_with_locations(tokens);
    let mut parser = StatementParser { parser, types: &[], file: at.file, end: at };
    let pairs = parser.options().and_then(|pairs| {
        parser.end_of_statement()?;
        Ok(pairs)
    });
    Ok(pairs.map_err(moved)?.into_iter().map(|pair| OptionPair { at, ..pair }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_told_apart_by_their_names() {
        let names = |text| hints(text).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("OPTIONS('a(b' = 'c')"), ["OPTIONS"]);
        assert_eq!(names("broadcast(t), STATE_TTL('t)' = '1d')"), ["BROADCAST", "STATE_TTL"]);
        assert_eq!(names("LOOKUP('a' = '()'), X ( (y) ) Z"), ["LOOKUP", "X", "Z"]);
        assert_eq!(names("NO_WAY"), ["NO_WAY"]);
        assert_eq!(unhinted("t/*+OPTIONS()"), ("t", Some("OPTIONS()")));
        assert_eq!(unhinted("t"), ("t", None));
    }

    #[test]
    fn of_lifetimes_the_last_in_a_hint_and_the_first_of_hints_counts() {
        let at = At { file: 0, line: 3, column: 8 };
        let of = |hint| attach(hint, Behind::Select, at).map_err(|refusal| refusal.message);
        let ttl = |name: &str, ttl_ms| StateTtl { name: name.to_owned(), ttl_ms, at };
        let one = of("STATE_TTL('o' = '1 d', 'l'='2h', 'O' = '0'), BROADCAST(l)");
        assert_eq!(one, Ok(vec![ttl("l", 7_200_000), ttl("O", 0)]));
        let two = of("STATE_TTL('o' = '1 s'), STATE_TTL('o' = '2 s', 'l' = '3 s')");
        assert_eq!(two, Ok(vec![ttl("o", 1000), ttl("l", 3000)]));
        assert_eq!(
            of("STATE_TTL('o' = 'soon')"),
            Err("STATE_TTL of 'o': 'soon' is no duration".into())
        );
        assert!(of("STATE_TTL(o)").is_err() && of("STATE_TTL").is_err() && of("NO_WAY").is_err());
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
