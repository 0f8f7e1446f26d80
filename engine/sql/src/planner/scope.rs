//! [`Scope`]: which names a clause may use, and which columns they mean.

use super::relation::{Column, Relation};
use crate::error::{At, ErrorKind, Planned, Refusal, did_you_mean};
use sqlparser::ast::Ident;

/// The names that are visible in a clause.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub entries: Vec<ScopeEntry>,
}

/// A name and the column that it means.
#[derive(Clone, Debug)]
pub(crate) struct ScopeEntry {
    /// The table's name or alias.
    pub qualifier: Option<String>,
    pub column: Column,
    /// Position in the relation below.
    pub index: usize,
}

/// What a dotted name turned out to be.
pub(crate) struct Resolved {
    pub index: usize,
    /// How many parts of the name were used; the rest are fields of a row.
    pub used: usize,
}

impl Scope {
    /// All columns of a relation under one qualifier.
    pub fn of(relation: &Relation, qualifier: Option<&str>) -> Scope {
        let entries = (relation.columns.iter().enumerate())
            .map(|(index, column)| ScopeEntry {
                qualifier: qualifier.map(str::to_owned),
                column: column.clone(),
                index,
            })
            .collect();
        Scope { entries }
    }

    /// The names of two inputs of a join, side by side.
    pub fn join(mut self, right: Scope) -> Scope {
        let width = self.entries.len();
        self.entries.extend(right.entries.into_iter().map(|mut entry| {
            entry.index += width;
            entry
        }));
        self
    }

    /// Finds the column that `parts` begin with: `column`, `table.column`, with anything in front
    /// of the table (catalog and database) and fields of a row behind.
    pub fn resolve(&self, parts: &[Ident], at: At) -> Planned<Option<Resolved>> {
        // The longest qualifier wins: `t.c` is a column of table t before it is a field of c.
        for column in (0..parts.len().min(4)).rev() {
            let qualifier = column.checked_sub(1).map(|q| parts[q].value.as_str());
            let found = self.find(qualifier, &parts[column].value, at)?;
            if let Some(index) = found {
                return Ok(Some(Resolved { index, used: column + 1 }));
            }
        }
        Ok(None)
    }

    fn find(&self, qualifier: Option<&str>, name: &str, at: At) -> Planned<Option<usize>> {
        let matching = |same: fn(&str, &str) -> bool| -> Vec<usize> {
            (self.entries.iter())
                .filter(|e| same(&e.column.name, name))
                .filter(|e| match (qualifier, &e.qualifier) {
                    (None, _) => true,
                    (Some(wanted), Some(have)) => have.eq_ignore_ascii_case(wanted),
                    (Some(_), None) => false,
                })
                .map(|e| e.index)
                .collect()
        };
        let mut found = matching(|a, b| a == b);
        if found.is_empty() {
            found = matching(|a, b| a.eq_ignore_ascii_case(b));
        }
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => {
                let tables: Vec<String> = (self.entries.iter())
                    .filter(|e| found.contains(&e.index))
                    .filter_map(|e| Some(format!("{}.{name}", e.qualifier.as_ref()?)))
                    .collect();
                let message = format!("column '{name}' is in several inputs");
                Err(Refusal::new(ErrorKind::AmbiguousColumn, at, message)
                    .hint(format!("write one of: {}", tables.join(", "))))
            }
        }
    }

    /// The refusal of a name that means nothing here.
    pub fn unknown(&self, parts: &[Ident], at: At) -> Box<Refusal> {
        let name = parts.iter().map(|p| p.value.as_str()).collect::<Vec<_>>().join(".");
        let last = parts.last().map_or("", |p| p.value.as_str());
        let known = || {
            let visible = self.entries.iter().map(|e| e.column.name.as_str());
            visible.filter(|n| !n.starts_with("__"))
        };
        let refusal =
            Refusal::new(ErrorKind::UnknownColumn, at, format!("there is no column '{name}' here"));
        match did_you_mean(last, known()) {
            Some(near) => refusal.hint(format!("did you mean '{near}'?")),
            None => {
                let names: Vec<&str> = known().take(20).collect();
                refusal.hint(format!("columns: {}", names.join(", ")))
            }
        }
    }
}
