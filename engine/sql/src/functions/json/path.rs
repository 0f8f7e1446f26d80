//! Paths into a JSON text: `$`, `.member`, `['member']`, `[0]`, and `.*` and `[*]` for all.

use super::text::{push_unescaped, skip_space, skip_value};

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// What a missing member is.
    pub mode: Mode,
    steps: Vec<Step>,
}

/// What a member that isn't there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    Lax,
    /// An error.
    Strict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Item(usize),
    /// All members or all elements.
    All,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// To one value.
    One(&'a str),
    /// To several, if it asks for all of some.
    Many(Vec<&'a str>),
    /// To none.
    Nothing,
}

impl Path {
    /// Reads a path; what is wrong with it, if something is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (mode, text) = match text.split_once(char::is_whitespace) {
            Some((word, rest)) if word.eq_ignore_ascii_case("lax") => (Mode::Lax, rest.trim()),
            Some((word, rest)) if word.eq_ignore_ascii_case("strict") => {
                (Mode::Strict, rest.trim())
            }
            _ => (Mode::Strict, text),
        };
        let Some(mut rest) = text.strip_prefix('$') else {
            return Err("it must begin with $".to_owned());
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest)?;
            steps.push(step);
            rest = after;
        }
        Ok(Path { mode, steps })
    }

    /// Follows the path through a text that is JSON.
    pub fn find<'a>(&self, text: &'a str) -> Found<'a> {
        let start = skip_space(text, 0);
        let root = &text[start..skip_value(text, start)];
        if !self.steps.contains(&Step::All) {
            let mut value = Some(root);
            for step in &self.steps {
                value = value.and_then(|value| follow(value, step));
            }
            return value.map_or(Found::Nothing, Found::One);
        }
        let mut values = vec![root];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in values {
                match step {
                    Step::All => each(value, |_, inner| next.push(inner)),
                    step => next.extend(follow(value, step)),
                }
            }
            values = next;
        }
        Found::Many(values)
    }
}

/// Reads one step.
fn step(text: &str) -> Result<(Step, &str), String> {
    if let Some(rest) = text.strip_prefix('.') {
        if let Some(after) = rest.strip_prefix('*') {
            return Ok((Step::All, after));
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        return match &rest[..end] {
            "" => Err("a member's name is wanted after '.'".to_owned()),
            name if name.contains(['(', '?', '@']) => {
                Err(format!("'{name}' isn't supported; only members, elements and * are"))
            }
            name => Ok((Step::Member(name.to_owned()), &rest[end..])),
        };
    }
    let Some(rest) = text.strip_prefix('[') else {
        return Err(format!("'{text}' must begin with '.' or '['"));
    };
    if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let inner = &rest[1..];
        let close = [quote, ']'].iter().collect::<String>();
        return match inner.split_once(&close) {
            Some((name, after)) => Ok((Step::Member(name.to_owned()), after)),
            None => Err(format!("'{text}' lacks its end")),
        };
    }
    let Some((index, after)) = rest.split_once(']') else {
        return Err(format!("'{text}' lacks its ']'"));
    };
    match index.trim() {
        "*" => Ok((Step::All, after)),
        index => match index.parse() {
            Ok(index) => Ok((Step::Item(index), after)),
            Err(_) => Err(format!("'[{index}]' isn't supported; only [0], ['name'] and [*] are")),
        },
    }
}

fn follow<'a>(value: &'a str, step: &Step) -> Option<&'a str> {
    let (mut found, mut place) = (None, 0);
    match step {
        Step::Member(wanted) if value.starts_with('{') => each(value, |key, inner| {
            // Of two members of one name the last counts, as in Jackson.
            if key.is_some_and(|key| is_named(key, wanted)) {
                found = Some(inner);
            }
        }),
        Step::Item(wanted) if value.starts_with('[') => each(value, |_, inner| {
            if place == *wanted {
                found = Some(inner);
            }
            place += 1;
        }),
        _ => {}
    }
    found
}

/// Whether a key, in its quotes, is this name.
fn is_named(key: &str, name: &str) -> bool {
    if key.contains('\\') {
        let mut text = String::new();
        push_unescaped(key, &mut text);
        return text == name;
    }
    &key[1..key.len() - 1] == name
}

/// Visits the elements of an array, or the keys and values of an object.
fn each<'a>(value: &'a str, mut visit: impl FnMut(Option<&'a str>, &'a str)) {
    let is_object = value.starts_with('{');
    if !is_object && !value.starts_with('[') {
        return;
    }
    let mut place = skip_space(value, 1);
    while !matches!(value.as_bytes().get(place), None | Some(b'}' | b']')) {
        let mut end = skip_value(value, place);
        let mut key = None;
        if is_object {
            // A key is a string, so its end is its quote; then comes the colon.
            key = Some(&value[place..end]);
            place = skip_space(value, skip_space(value, end) + 1);
            end = skip_value(value, place);
        }
        visit(key, &value[place..end]);
        place = skip_space(value, end);
        if value.as_bytes().get(place) == Some(&b',') {
            place = skip_space(value, place + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str =
        r#" {"a": 1 ,"b":{"c":"x"}, "d":[1, [2], 3] ,"e":null,"a\u0062":true, "f,}":[]} "#;

    #[test]
    fn a_path_leads_to_a_value_as_it_stands() {
        let cases = [
            ("$.a", Some("1")),
            ("$.b.c", Some("\"x\"")),
            ("lax $.b['c']", Some("\"x\"")),
            ("$.d", Some("[1, [2], 3]")),
            ("$.d[1][0]", Some("2")),
            ("$.d[3]", None),
            ("$.e", Some("null")),
            ("$.ab", Some("true")),
            ("$[\"f,}\"]", Some("[]")),
            ("$.z", None),
            ("$.a.b", None),
            ("$[0]", None),
        ];
        for (path, expected) in cases {
            let found = Path::parse(path).unwrap().find(DOCUMENT);
            assert_eq!(found, expected.map_or(Found::Nothing, Found::One), "{path}");
        }
        assert_eq!(Path::parse("$").unwrap().find(" 5 "), Found::One("5"));
    }

    #[test]
    fn all_are_all() {
        let found = Path::parse("$.d[*]").unwrap().find(DOCUMENT);
        assert_eq!(found, Found::Many(vec!["1", "[2]", "3"]));
        let found = Path::parse("$.*.c").unwrap().find(DOCUMENT);
        assert_eq!(found, Found::Many(vec!["\"x\""]));
        assert_eq!(Path::parse("$.a[*]").unwrap().find(DOCUMENT), Found::Many(vec![]));
    }

    #[test]
    fn a_wrong_path_is_refused() {
        for path in ["a", "$.", "$..a", "$[x]", "$[0", "$['a", "$.a[?(@.b)]", "$a", "$[-1]"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
        assert_eq!(Path::parse("lax $").unwrap().mode, Mode::Lax);
    }
}
