//! Functions over regular expressions.
//!
//! Patterns are Java's as far as the `regex` crate has them: not look-around and not
//! back-references, because those can take exponential time. A pattern that can't be compiled
//! fails the job; Flink gives NULL for all rows, which hides the mistake.

use super::function::{Definition, Kind, Takes, gives_boolean, gives_int, gives_text, gives_texts};
use super::strings::count_chars;
use super::values::{Call, Text};
use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::Int32Type;
use datafusion::common::{Result, exec_datafusion_err};
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

const TWO: Takes = Takes::Fixed(&[Kind::Text, Kind::Text], &[]);
const WITH_GROUP: Takes = Takes::Fixed(&[Kind::Text, Kind::Text], &[Kind::Integer]);
const THREE: Takes = Takes::Fixed(&[Kind::Text, Kind::Text, Kind::Text], &[]);

/// The functions of this family.
pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("REGEXP", TWO, gives_boolean, regexp),
    Definition::new("REGEXP_LIKE", TWO, gives_boolean, regexp),
    Definition::new("REGEXP_EXTRACT", WITH_GROUP, gives_text, extract),
    Definition::new("REGEXP_EXTRACT_ALL", WITH_GROUP, gives_texts, extract_all),
    Definition::new("REGEXP_REPLACE", THREE, gives_text, replace),
    Definition::new("REGEXP_COUNT", TWO, gives_int, count),
    Definition::new("REGEXP_INSTR", TWO, gives_int, instr),
    Definition::new("REGEXP_SUBSTR", TWO, gives_text, substr),
    Definition::new(
        "SIMILAR_TO",
        Takes::Fixed(&[Kind::Text, Kind::Text], &[Kind::Text]),
        gives_boolean,
        similar_to,
    ),
];

/// How many compiled patterns a thread keeps.
const CACHED_MAX: usize = 64;

thread_local! {
    static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
}

/// The compiled pattern; a thread compiles each only once, as long as there aren't too many.
fn compiled(pattern: &str) -> Result<Regex, regex::Error> {
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(regex) = compiled.get(pattern) {
            return Ok(regex.clone());
        }
        let regex = Regex::new(pattern)?;
        if compiled.len() >= CACHED_MAX {
            compiled.clear();
        }
        compiled.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    })
}

/// The pattern of each row, compiled again only where it changes.
struct Patterns<'a> {
    name: &'a str,
    texts: Text<'a>,
    current: Option<(&'a str, Regex)>,
}

impl<'a> Patterns<'a> {
    fn new(call: &Call<'a>, index: usize) -> Result<Self> {
        Ok(Patterns { name: call.name, texts: call.text(index)?, current: None })
    }

    fn get(&mut self, row: usize) -> Result<Option<&Regex>> {
        let Some(pattern) = self.texts.get(row) else { return Ok(None) };
        if self.current.as_ref().is_none_or(|(current, _)| *current != pattern) {
            let name = self.name;
            let failed = |error: regex::Error| {
                exec_datafusion_err!("{name}: '{pattern}' is no regular expression: {error}")
            };
            self.current = Some((pattern, compiled(pattern).map_err(failed)?));
        }
        Ok(self.current.as_ref().map(|(_, regex)| regex))
    }
}

/// An empty pattern is found nowhere.
fn regexp(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut patterns) = (call.text(0)?, Patterns::new(call, 1)?);
    let found = |row| match (text.get(row), patterns.get(row)?) {
        (Some(text), Some(regex)) => Ok(Some(!regex.as_str().is_empty() && regex.is_match(text))),
        _ => Ok(None),
    };
    let found: arrow::array::BooleanArray = (0..call.rows).map(found).collect::<Result<_>>()?;
    Ok(Arc::new(found))
}

/// One group of the first match; NULL if there is none, or no such group.
fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut patterns) = (call.text(0)?, Patterns::new(call, 1)?);
    let group = call.integers_or(2, 0)?;
    let mut built = StringBuilder::with_capacity(call.rows, call.rows * 16);
    let mut places = None;
    for row in 0..call.rows {
        let (Some(text), Some(regex), Some(group)) =
            (text.get(row), patterns.get(row)?, group.get(row))
        else {
            built.append_null();
            continue;
        };
        let found = match usize::try_from(group) {
            Ok(0) => regex.find(text).map(|found| found.as_str()),
            Ok(group) if group < regex.captures_len() => {
                let places = places.get_or_insert_with(|| regex.capture_locations());
                if places.len() != regex.captures_len() {
                    *places = regex.capture_locations();
                }
                let found = regex.captures_read(places, text).and_then(|_| places.get(group));
                found.map(|(from, to)| &text[from..to])
            }
            _ => None,
        };
        built.append_option(found);
    }
    Ok(Arc::new(built.finish()))
}

/// One group, the first if none is named, of all matches.
fn extract_all(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut patterns) = (call.text(0)?, Patterns::new(call, 1)?);
    let group = call.integers_or(2, 1)?;
    let mut built = ListBuilder::new(StringBuilder::new());
    for row in 0..call.rows {
        let (Some(text), Some(regex), Some(group)) =
            (text.get(row), patterns.get(row)?, group.get(row))
        else {
            built.append_null();
            continue;
        };
        match usize::try_from(group) {
            Ok(group) if group < regex.captures_len() => {
                for found in regex.captures_iter(text) {
                    built.values().append_option(found.get(group).map(|group| group.as_str()));
                }
                built.append(true);
            }
            _ => built.append_null(),
        }
    }
    Ok(Arc::new(built.finish()))
}

/// The replacement is taken as it stands: `$1` is no group.
fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut patterns, with) = (call.text(0)?, Patterns::new(call, 1)?, call.text(2)?);
    call.try_texts(|row, out| {
        let (Some(text), Some(regex), Some(with)) =
            (text.get(row), patterns.get(row)?, with.get(row))
        else {
            return Ok(None);
        };
        let mut copied = 0;
        for found in regex.find_iter(text) {
            out.push_str(&text[copied..found.start()]);
            out.push_str(with);
            copied = found.end();
        }
        out.push_str(&text[copied..]);
        Ok(Some(()))
    })
}

fn count(call: &Call<'_>) -> Result<ArrayRef> {
    numbers(call, |regex, text| regex.find_iter(text).count() as i32)
}

/// Positions count from 1; 0 is nowhere.
fn instr(call: &Call<'_>) -> Result<ArrayRef> {
    numbers(call, |regex, text| {
        regex.find(text).map_or(0, |found| count_chars(&text[..found.start()]) as i32 + 1)
    })
}

fn numbers(call: &Call<'_>, number: impl Fn(&Regex, &str) -> i32) -> Result<ArrayRef> {
    let (text, mut patterns) = (call.text(0)?, Patterns::new(call, 1)?);
    call.try_collect::<Int32Type>(|row| match (text.get(row), patterns.get(row)?) {
        (Some(text), Some(regex)) => Ok(Some(number(regex, text))),
        _ => Ok(None),
    })
}

fn substr(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, mut patterns) = (call.text(0)?, Patterns::new(call, 1)?);
    call.try_texts(|row, out| match (text.get(row), patterns.get(row)?) {
        (Some(text), Some(regex)) => Ok(regex.find(text).map(|found| out.push_str(found.as_str()))),
        _ => Ok(None),
    })
}

/// `s SIMILAR TO p [ESCAPE e]`.
fn similar_to(call: &Call<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (call.text(0)?, call.text(1)?);
    let escape = if call.count() > 2 { Some(call.text(2)?) } else { None };
    let mut current: Option<(&str, Regex)> = None;
    let matches = |row: usize| -> Result<Option<bool>> {
        let (Some(text), Some(pattern)) = (text.get(row), pattern.get(row)) else {
            return Ok(None);
        };
        if current.as_ref().is_none_or(|(known, _)| *known != pattern) {
            let escape = escape.and_then(|escape| escape.get(row)?.chars().next());
            let regex = compiled(&regex_of_similar(pattern, escape)).map_err(|_| {
                exec_datafusion_err!("SIMILAR TO: '{pattern}' is no regular expression of SQL")
            })?;
            current = Some((pattern, regex));
        }
        Ok(current.as_ref().map(|(_, regex)| regex.is_match(text)))
    };
    let matches: arrow::array::BooleanArray = (0..call.rows).map(matches).collect::<Result<_>>()?;
    Ok(Arc::new(matches))
}

/// SQL's regular expressions: `%` and `_` as in LIKE, the operators as usual, no anchors.
fn regex_of_similar(pattern: &str, escape: Option<char>) -> String {
    let mut regex = String::from("(?s)^(?:");
    let mut chars = pattern.chars();
    let mut is_in_set = false;
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                let escaped = chars.next().map(String::from).unwrap_or_default();
                regex.push_str(&regex::escape(&escaped));
            }
            '[' => is_in_set = true,
            ']' => is_in_set = false,
            _ => {}
        }
        match c {
            c if Some(c) == escape => {}
            '%' if !is_in_set => regex.push_str(".*"),
            '_' if !is_in_set => regex.push('.'),
            '.' | '^' | '$' | '\\' if !is_in_set => {
                regex.push('\\');
                regex.push(c);
            }
            c => regex.push(c),
        }
    }
    regex.push_str(")$");
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_to_is_a_whole_match() {
        let cases = [
            ("abc", "a%", true),
            ("abc", "b%", false),
            ("abc", "(a|b)_c", true),
            ("a.c", "a.c", true),
            ("abc", "a.c", false),
            ("a_c", "a!_c", true),
            ("abc", "a!_c", false),
            ("abbb", "ab{3}", true),
            ("a5", "[a-z][0-9]", true),
        ];
        for (text, pattern, expected) in cases {
            let regex = Regex::new(&regex_of_similar(pattern, Some('!'))).unwrap();
            assert_eq!(regex.is_match(text), expected, "{text} {pattern}");
        }
    }
}
