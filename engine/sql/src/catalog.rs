//! The tables and views of a session.
//!
//! A table may be created whatever its options say, for it may never be read: connectors are
//! asked when a query first touches it.

use crate::error::{At, ErrorKind, Planned, Refusal, did_you_mean};
use crate::parser::{
    ColumnKind, CreateTable, CreateView, Like, Name, OptionPair, hinted_options, unhinted,
};
use crate::types::SqlType;
use arrow::datatypes::{Field, Schema};
use sqlparser::ast::Expr as Ast;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemill_formats::Table;
use tidemill_formats::table::MetadataColumn;

/// A table as declared.
#[derive(Clone, Debug)]
pub(crate) struct CatalogTable {
    pub name: String,
    /// Where its name was declared.
    pub at: At,
    pub columns: Vec<TableColumn>,
    pub watermark: Option<(Name, Ast)>,
    /// Names of columns.
    pub primary_key: Vec<Name>,
    pub partitioned_by: Vec<Name>,
    pub options: Vec<OptionPair>,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(crate) struct TableColumn {
    pub name: Name,
    pub kind: ColumnKind,
}

/// A view as declared.
#[derive(Clone, Debug)]
pub(crate) struct CatalogView {
    pub name: String,
    pub columns: Vec<Name>,
    pub query: Box<sqlparser::ast::Query>,
    pub file: usize,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Table(Arc<CatalogTable>),
    View(Arc<CatalogView>),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Entry::Table(table) => &table.name,
            Entry::View(view) => &view.name,
        }
    }
}

/// The names of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    entries: BTreeMap<String, Entry>,
    /// Tables with other options, by name and hint; each has a name of its own.
    hinted: BTreeMap<(String, String), Entry>,
    /// How many such tables there ever were.
    hints: usize,
}

impl Catalog {
    /// What `name` stands for: as written, or whatever its case if that is not ambiguous.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name).or_else(|| {
            let mut alike =
                self.entries.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
            match (alike.next(), alike.next()) {
                (Some((_, entry)), None) => Some(entry),
                (None, _) => self.hinted.values().find(|entry| entry.name() == name),
                _ => None,
            }
        })
    }

    /// What `name` stands for, or why it stands for nothing.
    pub fn get(&self, name: &str, at: At) -> Planned<&Entry> {
        self.find(name).ok_or_else(|| {
            let refusal = Refusal::new(
                ErrorKind::UnknownTable,
                at,
                format!("there is no table or view '{name}'"),
            );
            let known: Vec<&str> = self.entries.keys().map(String::as_str).collect();
            match did_you_mean(name, known.iter().copied()) {
                Some(near) => refusal.hint(format!("did you mean '{near}'?")),
                None if known.is_empty() => refusal.hint("create it with CREATE TABLE first"),
                None => refusal.hint(format!("there are: {}", known.join(", "))),
            }
        })
    }

    /// What `name` stands for where rows are read or written: a table with the options that a hint
    /// behind its name gives it. The same hint makes the same table.
    pub fn get_hinted(&mut self, name: &str, at: At) -> Planned<Entry> {
        let (plain, hint) = unhinted(name);
        let entry = self.get(plain, at)?.clone();
        let Some(hint) = hint else { return Ok(entry) };
        let Entry::Table(table) = entry else {
            let message = format!("'{plain}' is a view, and has no options");
            return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                .hint("give the hint to the tables in the view"));
        };
        let options = hinted_options(hint, at)?;
        let key = (table.name.clone(), hint.to_owned());
        let hinted = self.hinted.entry(key).or_insert_with(|| {
            self.hints += 1;
            let name = format!("{}-{}", table.name, self.hints + 1);
            Entry::Table(Arc::new(table.with_options(name, options)))
        });
        Ok(hinted.clone())
    }

    /// The entries, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    fn insert(&mut self, name: &Name, if_not_exists: bool, entry: Entry) -> Planned<()> {
        if let (_, Some(_)) = unhinted(&name.text) {
            let message = "a hint stands behind a table that is read or written";
            return Err(Refusal::new(ErrorKind::Parse, name.at, message));
        }
        if self.entries.contains_key(&name.text) {
            if if_not_exists {
                return Ok(());
            }
            return Err(Refusal::new(
                ErrorKind::DuplicateName,
                name.at,
                format!("'{}' exists already", name.text),
            )
            .hint("DROP it first, or write IF NOT EXISTS"));
        }
        self.entries.insert(name.text.clone(), entry);
        Ok(())
    }

    /// Adds a table.
    pub fn create_table(&mut self, create: CreateTable) -> Planned<()> {
        let mut table = CatalogTable {
            name: create.name.text.clone(),
            at: create.name.at,
            columns: (create.columns.into_iter())
                .map(|c| TableColumn { name: c.name, kind: c.kind })
                .collect(),
            watermark: create.watermark,
            primary_key: create.primary_key,
            partitioned_by: create.partitioned_by,
            options: current_options(create.options),
        };
        if let Some(like) = create.like {
            self.inherit(&mut table, &like)?;
        }
        check_columns(&table)?;
        self.insert(&create.name, create.if_not_exists, Entry::Table(Arc::new(table)))
    }

    /// What `LIKE` brings in: by default everything, options included, where the new table says
    /// nothing of its own.
    fn inherit(&self, table: &mut CatalogTable, like: &Like) -> Planned<()> {
        let Entry::Table(base) = self.get(&like.name.text, like.name.at)? else {
            return Err(Refusal::new(
                ErrorKind::Unsupported,
                like.name.at,
                format!("'{}' is a view; LIKE takes a table", like.name.text),
            ));
        };
        let excluded = |what: &str| {
            let says = |verb: &str, what: &str| like.clauses.contains(&format!("{verb} {what}"));
            (says("EXCLUDING", "ALL") && !says("INCLUDING", what)) || says("EXCLUDING", what)
        };
        let kept = base.columns.iter().filter(|c| match c.kind {
            ColumnKind::Physical { .. } => true,
            ColumnKind::Metadata { .. } => !excluded("METADATA"),
            ColumnKind::Computed(_) => !excluded("GENERATED"),
        });
        let own = std::mem::take(&mut table.columns);
        table.columns =
            kept.filter(|c| !own.iter().any(|o| o.name.text == c.name.text)).cloned().collect();
        table.columns.extend(own);
        if table.watermark.is_none() && !excluded("WATERMARKS") {
            table.watermark = base.watermark.clone();
        }
        if table.primary_key.is_empty() && !excluded("CONSTRAINTS") {
            table.primary_key = base.primary_key.clone();
        }
        if table.partitioned_by.is_empty() && !excluded("PARTITIONS") {
            table.partitioned_by = base.partitioned_by.clone();
        }
        if !excluded("OPTIONS") {
            let inherited: Vec<OptionPair> = (base.options.iter())
                .filter(|o| !table.options.iter().any(|own| own.key == o.key))
                .cloned()
                .collect();
            table.options.extend(inherited);
        }
        Ok(())
    }

    /// Adds a view.
    pub fn create_view(&mut self, create: CreateView) -> Planned<()> {
        if create.or_replace {
            self.entries.remove(&create.name.text);
        }
        let view = CatalogView {
            name: create.name.text.clone(),
            columns: create.columns,
            query: create.query,
            file: create.name.at.file,
        };
        self.insert(&create.name, create.if_not_exists, Entry::View(Arc::new(view)))
    }

    /// Removes a table or view.
    pub fn drop(&mut self, what: &str, name: &Name, if_exists: bool) -> Planned<()> {
        let right_kind = match self.entries.get(&name.text) {
            Some(Entry::Table(_)) => what == "table",
            Some(Entry::View(_)) => what == "view",
            None => false,
        };
        if right_kind {
            self.entries.remove(&name.text);
            self.hinted.retain(|(table, _), _| *table != name.text);
        } else if !if_exists {
            let message = format!("there is no {what} '{}'", name.text);
            return Err(Refusal::new(ErrorKind::UnknownTable, name.at, message));
        }
        Ok(())
    }
}

/// Options as they are called today: job files of before Flink 1.11 say `connector.type` and the
/// like.
fn current_options(mut options: Vec<OptionPair>) -> Vec<OptionPair> {
    if options.iter().any(|option| option.key == "connector.type") {
        for option in &mut options {
            option.key = match option.key.as_str() {
                "connector.type" => "connector".to_owned(),
                "format.type" => "format".to_owned(),
                key => key.strip_prefix("connector.").unwrap_or(key).to_owned(),
            };
        }
    }
    options
}

fn check_columns(table: &CatalogTable) -> Planned<()> {
    for (i, column) in table.columns.iter().enumerate() {
        if table.columns[..i].iter().any(|c| c.name.text == column.name.text) {
            let message = format!("column '{}' is declared twice", column.name.text);
            return Err(Refusal::new(ErrorKind::DuplicateName, column.name.at, message));
        }
    }
    let watermark = table.watermark.iter().map(|(name, _)| name);
    for name in watermark.chain(&table.primary_key).chain(&table.partitioned_by) {
        if !table.columns.iter().any(|c| c.name.text == name.text) {
            return Err(unknown_column(table, name));
        }
    }
    Ok(())
}

fn unknown_column(table: &CatalogTable, name: &Name) -> Box<Refusal> {
    let known: Vec<&str> = table.columns.iter().map(|c| c.name.text.as_str()).collect();
    Refusal::new(
        ErrorKind::UnknownColumn,
        name.at,
        format!("table '{}' has no column '{}'", table.name, name.text),
    )
    .hint(match did_you_mean(&name.text, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("columns: {}", known.join(", ")),
    })
}

impl CatalogTable {
    /// Names and types of the physical columns.
    pub fn physical(&self) -> impl Iterator<Item = (&str, &SqlType, bool)> {
        self.columns.iter().filter_map(|c| match &c.kind {
            ColumnKind::Physical { data_type, not_null } => {
                Some((c.name.text.as_str(), data_type, *not_null))
            }
            _ => None,
        })
    }

    /// Names, types, keys of the metadata columns, and whether they are read only.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &SqlType, &str, bool)> {
        self.columns.iter().filter_map(|c| match &c.kind {
            ColumnKind::Metadata { data_type, key, is_virtual } => {
                let name = c.name.text.as_str();
                Some((name, data_type, key.as_deref().unwrap_or(name), *is_virtual))
            }
            _ => None,
        })
    }

    /// The table as its connector sees it.
    pub fn to_table(&self) -> Planned<Table> {
        let physical: Vec<&str> = self.physical().map(|(name, ..)| name).collect();
        let indices = |names: &[Name]| -> Planned<Vec<usize>> {
            (names.iter())
                .map(|name| {
                    physical.iter().position(|p| *p == name.text).ok_or_else(|| {
                        let message = format!("'{}' is not a physical column", name.text);
                        Refusal::new(ErrorKind::UnknownColumn, name.at, message)
                    })
                })
                .collect()
        };
        Ok(Table {
            name: self.name.clone(),
            schema: Arc::new(Schema::new(
                self.physical()
                    .map(|(name, t, _)| Field::new(name, t.arrow(), true))
                    .collect::<Vec<_>>(),
            )),
            metadata: self
                .metadata()
                .map(|(name, t, key, is_virtual)| MetadataColumn {
                    name: name.to_owned(),
                    key: key.to_owned(),
                    data_type: t.arrow(),
                    is_virtual,
                })
                .collect(),
            primary_key: indices(&self.primary_key)?,
            partitioned_by: indices(&self.partitioned_by)?,
            options: self.options.iter().map(|o| (o.key.clone(), o.value.clone())).collect(),
        })
    }

    /// The table under another name, with `options` in place of its own of the same keys.
    fn with_options(&self, name: String, options: Vec<OptionPair>) -> CatalogTable {
        let is_kept = |option: &&OptionPair| !options.iter().any(|new| new.key == option.key);
        let mut kept: Vec<OptionPair> = self.options.iter().filter(is_kept).cloned().collect();
        kept.extend(options);
        CatalogTable { name, options: kept, ..self.clone() }
    }

    /// Where an option is set, or else where the table is declared.
    pub fn option_place(&self, key: &str) -> At {
        self.options.iter().find(|o| o.key == key).map_or(self.at, |o| o.at)
    }
}
