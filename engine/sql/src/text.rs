//! The texts of a session and the `${NAME}` in them.
//!
//! Substitution happens before parsing, so a place that the parser names lies in the substituted
//! text; `Text::original` leads it back to what the user wrote.

use crate::error::{At, ErrorKind, Planned, Refusal};
use std::collections::BTreeMap;

/// A file of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Its name, for messages.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A file after substitution.
#[derive(Debug)]
pub(crate) struct Text {
    pub source: SourceText,
    pub substituted: String,
    /// Byte offsets (substituted, original) from which on both run in step, ascending.
    steps: Vec<(usize, usize)>,
}

impl Text {
    /// Replaces `${NAME}` and `${NAME:-default}`.
    pub fn substitute(
        source: SourceText,
        file: usize,
        variables: &BTreeMap<String, String>,
    ) -> Planned<Text> {
        let (mut substituted, mut steps, mut rest) = (String::new(), vec![(0, 0)], 0);
        let text = source.text.as_str();
        while let Some(start) = text[rest..].find("${").map(|i| rest + i) {
            let Some(end) = text[start..].find('}').map(|i| start + i) else { break };
            let inside = &text[start + 2..end];
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            let value = variables.get(name).map(String::as_str).or(default);
            let Some(value) = value else {
                let (line, column) = line_and_column(text, start);
                let at = At { file, line: line as u64, column: column as u64 };
                return Err(Refusal::new(
                    ErrorKind::MissingVariable,
                    at,
                    format!("'${{{name}}}' has no value"),
                )
                .hint(format!("pass -D {name}=VALUE, or write ${{{name}:-default}}")));
            };
            substituted.push_str(&text[rest..start]);
            steps.push((substituted.len(), start));
            substituted.push_str(value);
            rest = end + 1;
            steps.push((substituted.len(), rest));
        }
        substituted.push_str(&text[rest..]);
        Ok(Text { source, substituted, steps })
    }

    /// Line and column of the original text for those of the substituted one.
    pub fn original(&self, line: u64, column: u64) -> (usize, usize) {
        let offset = offset_of(&self.substituted, line, column);
        let step = self.steps.partition_point(|(from, _)| *from <= offset).saturating_sub(1);
        let (from, original) = self.steps[step];
        // Inside a substituted value every place is that of its `${`.
        let limit = self.steps.get(step + 1).map_or(usize::MAX, |(_, next)| *next);
        let inside = !step.is_multiple_of(2);
        let place = if inside { original } else { (original + offset - from).min(limit) };
        line_and_column(&self.source.text, place)
    }

    /// The line of the original text, from one.
    pub fn line(&self, line: usize) -> &str {
        self.source.text.lines().nth(line.saturating_sub(1)).unwrap_or("")
    }
}

fn offset_of(text: &str, line: u64, column: u64) -> usize {
    let mut offset = 0;
    for (number, content) in text.split_inclusive('\n').enumerate() {
        if number as u64 + 1 == line {
            let inside = content.char_indices().nth(column.saturating_sub(1) as usize);
            return offset + inside.map_or(content.len(), |(i, _)| i);
        }
        offset += content.len();
    }
    text.len()
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let offset = offset.min(text.len());
    let mut boundary = offset;
    while !text.is_char_boundary(boundary) {
        boundary -= 1;
    }
    let before = &text[..boundary];
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(of: &str) -> Text {
        let source = SourceText { name: "t.sql".into(), text: of.into() };
        let variables = BTreeMap::from([("A".to_owned(), "long\nvalue".to_owned())]);
        Text::substitute(source, 0, &variables).unwrap()
    }

    #[test]
    fn a_variable_is_replaced_and_a_default_stands_in() {
        assert_eq!(text("x ${A} y ${B:-z}.").substituted, "x long\nvalue y z.");
    }

    #[test]
    fn a_place_behind_a_variable_is_led_back_to_the_original() {
        let text = text("x ${A} y\nsecond");
        assert_eq!(text.original(1, 1), (1, 1));
        assert_eq!(text.original(2, 3), (1, 3)); // inside the value: where `${` stands
        assert_eq!(text.original(2, 7), (1, 8)); // the y
        assert_eq!(text.original(3, 2), (2, 2));
    }

    #[test]
    fn a_variable_without_a_value_is_refused_where_it_stands() {
        let source = SourceText { name: "t.sql".into(), text: "a\n  ${NOPE}".into() };
        let refusal = Text::substitute(source, 0, &BTreeMap::new()).unwrap_err();
        assert_eq!((refusal.at.line, refusal.at.column), (2, 3));
    }
}
