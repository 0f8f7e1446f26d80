//! [`FormatOptions`]: the options of one format of one table, read under the prefix they have there.
//!
//! With `'format' = 'json'` an option is called `json.x`; with `'value.format' = 'json'` Flink calls it
//! `value.json.x`, with `'key.format'` `key.json.x`. Both spellings work for values. Invariant: an
//! option under a format's prefix is either one that the format knows or an error that says which
//! ones there are.

use crate::table::{OptionError, Table};
use std::collections::BTreeSet;

/// The options under a format's prefixes.
pub(crate) struct FormatOptions<'a> {
    table: &'a Table,
    /// Longest first: `value.json.` wins over `json.`.
    prefixes: Vec<String>,
}

impl<'a> FormatOptions<'a> {
    /// The options of `format` under `scope` (`"value."`, `"key."`).
    ///
    /// # Errors
    /// If one of them is none of `known`.
    pub(crate) fn new(
        table: &'a Table,
        scope: &str,
        format: &str,
        known: &[&str],
    ) -> Result<Self, OptionError> {
        let mut prefixes = vec![format!("{scope}{format}.")];
        if scope == "value." {
            prefixes.push(format!("{format}."));
        }
        let options = FormatOptions { table, prefixes };
        options.refuse_unknown(format, known)?;
        Ok(options)
    }

    fn refuse_unknown(&self, format: &str, known: &[&str]) -> Result<(), OptionError> {
        for key in self.table.options.keys() {
            let Some(prefix) = self.prefixes.iter().find(|p| key.starts_with(p.as_str())) else {
                continue;
            };
            let name = &key[prefix.len()..];
            if !known.contains(&name) {
                let guess = closest(name, known)
                    .map(|near| format!("did you mean '{prefix}{near}'? "))
                    .unwrap_or_default();
                return Err(OptionError {
                    option: key.clone(),
                    problem: format!("the format '{format}' has no such option"),
                    hint: format!("{guess}its options are: {}", known.join(", ")),
                });
            }
        }
        Ok(())
    }

    /// The keys, as written, that belong to the format.
    pub(crate) fn consumed(&self) -> BTreeSet<String> {
        let ours = |key: &&String| self.prefixes.iter().any(|p| key.starts_with(p.as_str()));
        self.table.options.keys().filter(ours).cloned().collect()
    }

    /// The key that an option has, as written if it is set.
    fn key(&self, name: &str) -> String {
        let mut keys = self.prefixes.iter().map(|prefix| format!("{prefix}{name}"));
        let written = keys.find(|key| self.table.options.contains_key(key));
        written.unwrap_or_else(|| format!("{}{name}", self.prefixes[self.prefixes.len() - 1]))
    }

    /// The value of an option, if it is set.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.table.option(&self.key(name))
    }

    /// A boolean option.
    pub(crate) fn bool(&self, name: &str, default: bool) -> Result<bool, OptionError> {
        self.table.bool_option(&self.key(name), default)
    }

    /// An option with a few possible values; the first is the default.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<T, OptionError> {
        let Some(text) = self.get(name) else {
            return Ok(choices[0].1);
        };
        match choices.iter().find(|(value, _)| value.eq_ignore_ascii_case(text)) {
            Some((_, choice)) => Ok(*choice),
            None => {
                let all: Vec<_> = choices.iter().map(|(value, _)| format!("'{value}'")).collect();
                Err(self.error(
                    name,
                    format!("'{text}' is none of its values"),
                    format!("write {}", all.join(" or ")),
                ))
            }
        }
    }

    /// An option that must be one character.
    pub(crate) fn character(&self, name: &str) -> Result<Option<char>, OptionError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(one), None) => Ok(Some(one)),
            _ => Err(self.error(
                name,
                format!("'{text}' is not one character"),
                "write a single character".to_owned(),
            )),
        }
    }

    /// An error about one of the options.
    pub(crate) fn error(&self, name: &str, problem: String, hint: String) -> OptionError {
        OptionError { option: self.key(name), problem, hint }
    }
}

/// The name that a mistyped one was probably meant to be.
pub(crate) fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|k| (edits(name, k), *k)).min()?;
    (near.0 <= name.len().max(near.1.len()) / 2).then_some(near.1)
}

/// Levenshtein distance; names are short and this runs on errors only.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_its_neighbour_and_a_strange_one_none() {
        let known = ["ignore-parse-errors", "fail-on-missing-field"];
        assert_eq!(closest("ignore-parse-error", &known), Some("ignore-parse-errors"));
        assert_eq!(closest("colour", &known), None);
    }
}
