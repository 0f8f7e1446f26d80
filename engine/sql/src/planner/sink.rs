//! `INSERT INTO`: the query's columns become the sink's, and what the sink can't take is refused.

use super::Planner;
use super::bind::{Context, Names};
use super::expr::{Expr, ExprKind};
use super::functions::not_null;
use super::relation::{Relation, Role};
use super::rewrite::{JoinOrder, rewrite, rewrite_together};
use crate::catalog::{CatalogTable, Entry};
use crate::error::{At, ErrorKind, Planned, Refusal, did_you_mean};
use crate::parser::Insert;
use crate::types::SqlType;
use arrow::datatypes::{Field, Schema};
use datafusion::common::ScalarValue;
use sqlparser::ast;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemill_formats::{Changelog, Table};

/// A query with the table that it is written to.
#[derive(Clone, Debug)]
pub(crate) struct BoundInsert {
    /// Exactly the table's columns, as they were bound.
    pub bound: Relation,
    /// The same, rewritten.
    pub relation: Relation,
    pub table: Table,
    pub changelog: Changelog,
    /// Whether the sink looks at nothing.
    pub discards: bool,
}

/// Rewrites the queries of a session once more, now that all of them are known.
pub(super) fn rewrite_all(inserts: &mut [BoundInsert], order: JoinOrder) {
    let together = rewrite_together(inserts.iter().map(|insert| &insert.bound), order);
    for (insert, relation) in inserts.iter_mut().zip(together) {
        // The sink was chosen by what the query alone does.
        if relation.updating == insert.relation.updating {
            insert.relation = relation;
        }
    }
}

impl Planner<'_> {
    /// Binds `INSERT INTO`.
    pub(crate) fn insert(&mut self, insert: &Insert) -> Planned<BoundInsert> {
        let at = insert.target.at;
        let table = match self.catalog.get_hinted(&insert.target.text, at)? {
            Entry::Table(table) => table,
            Entry::View(view) => {
                let message = format!("'{}' is a view; only tables can be written", view.name);
                return Err(Refusal::new(ErrorKind::UnknownTable, at, message));
            }
        };
        let names = Names::default();
        let context = Context { file: at.file, names: &names, outer: None };
        let relation = self.query(&insert.query, context)?;
        self.check_row_times(&relation, &table, at)?;
        // Rewritten first: a ranking that becomes a top-N of closed windows only grows.
        let bound = self.fit(relation, &table, insert, context)?;
        let relation = rewrite(bound.clone());
        let (external, capabilities) = self.describe(&table)?;
        let changelog = choose(&table, &external, &capabilities.sink, relation.updating, at)?;
        let discards = external.option("connector") == Some("blackhole");
        Ok(BoundInsert { bound, relation, table: external, changelog, discards })
    }

    /// A bare query: its changelog is printed.
    pub(crate) fn print(&mut self, query: &ast::Query, at: At) -> Planned<BoundInsert> {
        let names = Names::default();
        let context = Context { file: at.file, names: &names, outer: None };
        let bound = self.query(query, context)?;
        let relation = rewrite(bound.clone());
        let fields: Vec<Field> = (relation.columns.iter())
            .map(|c| Field::new(&c.name, c.data_type.arrow(), true))
            .collect();
        let table = Table {
            name: "query".into(),
            schema: Arc::new(Schema::new(fields)),
            metadata: Vec::new(),
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            options: BTreeMap::from([("connector".to_owned(), "print".to_owned())]),
        };
        let changelog = if relation.updating { Changelog::Retract } else { Changelog::AppendOnly };
        Ok(BoundInsert { bound, relation, table, changelog, discards: false })
    }

    fn check_row_times(&self, relation: &Relation, table: &CatalogTable, at: At) -> Planned<()> {
        let times: Vec<&str> = (relation.columns.iter())
            .filter(|c| matches!(c.role, Role::RowTime))
            .map(|c| c.name.as_str())
            .collect();
        if times.len() < 2 {
            return Ok(());
        }
        let message =
            format!("more than one row time is written to '{}': {}", table.name, times.join(", "));
        Err(Refusal::new(ErrorKind::AmbiguousTimeAttribute, at, message)
            .hint("CAST all but one of them to TIMESTAMP(3)"))
    }

    /// The query's columns in the order and types of the table's physical ones.
    fn fit(
        &mut self,
        relation: Relation,
        table: &CatalogTable,
        insert: &Insert,
        context: Context<'_>,
    ) -> Planned<Relation> {
        let physical: Vec<(String, SqlType, bool)> =
            table.physical().map(|(n, t, not_null)| (n.to_owned(), t.clone(), not_null)).collect();
        let targets: Vec<usize> = if insert.columns.is_empty() {
            (0..physical.len()).collect()
        } else {
            (insert.columns.iter())
                .map(|column| {
                    let found = physical.iter().position(|(n, ..)| *n == column.text);
                    found.ok_or_else(|| {
                        let message = format!("'{}' has no column '{}'", table.name, column.text);
                        let refusal = Refusal::new(ErrorKind::UnknownColumn, column.at, message);
                        let known = physical.iter().map(|(n, ..)| n.as_str());
                        match did_you_mean(&column.text, known) {
                            Some(near) => refusal.hint(format!("did you mean '{near}'?")),
                            None => refusal,
                        }
                    })
                })
                .collect::<Planned<_>>()?
        };
        let at = context.at(insert.query.as_ref());
        let given = relation.columns.len();
        if given != targets.len() {
            let message = format!(
                "the query has {given} columns, but '{}' takes {}",
                table.name,
                targets.len()
            );
            return Err(Refusal::new(ErrorKind::ColumnCount, at, message).hint(format!(
                "its columns: {}",
                physical.iter().map(|(n, t, _)| format!("{n} {t}")).collect::<Vec<_>>().join(", ")
            )));
        }
        let columns = relation.all_columns(at);
        let exprs = (physical.iter().enumerate())
            .map(|(i, (name, data_type, required))| {
                let value = match targets.iter().position(|&t| t == i) {
                    Some(source) => {
                        let from = &relation.columns[source];
                        if !assignable(&from.data_type, data_type) {
                            let message = format!(
                                "column '{name}' of '{}' is a {data_type}, but the query gives a {}",
                                table.name, from.data_type
                            );
                            return Err(Refusal::new(ErrorKind::TypeMismatch, at, message)
                                .hint(format!("CAST({} AS {data_type})", from.name)));
                        }
                        self.cast(columns[source].clone(), data_type)?
                    },
                    None => Expr::literal(ScalarValue::Null, data_type.clone(), at),
                };
                Ok(if *required { enforce(value, name) } else { value })
            })
            .collect::<Planned<Vec<_>>>()?;
        let names = physical.into_iter().map(|(n, ..)| n).collect();
        Ok(Relation::project(relation, exprs, names))
    }
}

/// The value, or a failure if it is NULL.
fn enforce(value: Expr, column: &str) -> Expr {
    let (data_type, at) = (value.data_type.clone(), value.at);
    let args = vec![value, Expr::text(column, at)];
    Expr::new(ExprKind::Call(not_null(), args), data_type, at)
}

/// Whether a value of one type may be written to a column of another.
fn assignable(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::*;
    match (from, to) {
        (Null, _) => true,
        (a, b) if a == b => true,
        (a, b) if a.is_string() && b.is_string() => true,
        (a, b) if a.is_numeric() && b.is_numeric() => true,
        (a, b) if a.is_timestamp() && b.is_timestamp() => true,
        (Array(a), Array(b)) | (Multiset(a), Multiset(b)) => assignable(a, b),
        (Map(ka, va), Map(kb, vb)) => assignable(ka, kb) && assignable(va, vb),
        (Row(a), Row(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((_, a), (_, b))| assignable(a, b))
        }
        _ => false,
    }
}

/// What the sink is sent.
fn choose(
    table: &CatalogTable,
    external: &Table,
    offered: &[Changelog],
    updating: bool,
    at: At,
) -> Planned<Changelog> {
    if offered.is_empty() {
        let message = format!("table '{}' can only be read", table.name);
        return Err(Refusal::new(ErrorKind::Unsupported, at, message));
    }
    let keyed = !external.primary_key.is_empty();
    let usable = |kind: &Changelog| match kind {
        Changelog::AppendOnly => !updating,
        Changelog::Retract => true,
        Changelog::Upsert => keyed,
    };
    if let Some(kind) = offered.iter().copied().find(usable) {
        // Nothing but insertions needs no key.
        return Ok(match kind {
            Changelog::Retract if !updating => Changelog::AppendOnly,
            kind => kind,
        });
    }
    if offered.contains(&Changelog::Upsert) {
        let message =
            format!("table '{}' takes updates by primary key and declares none", table.name);
        return Err(Refusal::new(ErrorKind::MissingPrimaryKey, at, message)
            .hint("add PRIMARY KEY (…) NOT ENFORCED"));
    }
    let message = format!(
        "table '{}' only takes insertions, but the query also updates and deletes rows",
        table.name
    );
    Err(Refusal::new(ErrorKind::AppendOnlySink, at, message).hint(
        "use a changelog format ('debezium-json'), the 'upsert-kafka' connector with a primary \
         key, or group by a window so that results are final",
    ))
}
