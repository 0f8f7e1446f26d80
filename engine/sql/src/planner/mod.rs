//! From statements to a plan.
//!
//! ```text
//!  syntax ──bind──► Relation ──rewrite──► Relation ──lower──► plan::Node
//!        names, types           filters down,        pruning, fusing,
//!        sub-queries            ranks to top-N       sharing
//! ```

pub(crate) mod bind;
mod canonical;
mod choice;
mod compile;
mod constant;
pub(crate) mod expr;
mod formula;
pub(crate) mod functions;
mod kernels;
mod known;
mod lower;
mod order;
pub(crate) mod relation;
mod rewrite;
pub(crate) mod scope;
mod sink;
mod surprise;
mod time_filter;
mod typing;
mod user_function;

pub(crate) use kernels::kernels;
pub(crate) use lower::{STATE_TTL, lower};
pub(crate) use sink::BoundInsert;
pub(crate) use surprise::{Surprise, misread, surprises};

use crate::catalog::{Catalog, CatalogTable};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::functions::Functions;
use crate::parser::{ColumnKind, StateTtl};
use crate::types::SqlType;
use bind::{Binder, Clause, Context, Lifetimes, Names};
use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use expr::Expr;
use relation::{Column, Op, Relation, Role, WindowInfo};
use scope::Scope;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tidemill_formats::{Capabilities, Changelog, Connectors, LookupKind, OptionError, Table};
use user_function::UserFunctions;

/// What planning needs to know, and what it has learnt so far.
pub(crate) struct Planner<'a> {
    pub catalog: Catalog,
    pub functions: Functions,
    pub user_functions: UserFunctions,
    /// The session's time zone.
    pub zone: Tz,
    /// The types behind `__type_N`, file by file.
    pub types: Vec<Vec<SqlType>>,
    /// What hints say behind the `SELECT` at a place.
    hinted: HashMap<At, Vec<StateTtl>>,
    /// Of the select that is being bound: for how long its inputs' state is kept.
    lifetimes: Lifetimes,
    pub connectors: &'a dyn Connectors,
    /// The windows that roles speak of.
    pub windows: Vec<WindowInfo>,
    /// The views that are being bound, outermost first.
    pub views: Vec<String>,
    /// What was probably not meant.
    pub surprises: Vec<Surprise>,
    /// Connectors are asked once for each table.
    described: BTreeMap<String, Capabilities>,
}

/// A table as it is read.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub table: Table,
    /// The watermark over physical and metadata columns.
    pub watermark: Option<Expr>,
    pub changelog: Changelog,
    /// How it is looked up, if that is what it is read for.
    pub lookup: Option<LookupKind>,
    /// Whether fields of a `ROW` may be left out.
    pub skips_fields: bool,
}

impl<'a> Planner<'a> {
    pub fn new(connectors: &'a dyn Connectors) -> Self {
        Planner {
            catalog: Catalog::default(),
            functions: Functions::new(Tz::UTC),
            user_functions: UserFunctions::default(),
            zone: Tz::UTC,
            types: Vec::new(),
            hinted: HashMap::new(),
            lifetimes: Lifetimes::default(),
            connectors,
            windows: Vec::new(),
            views: Vec::new(),
            surprises: Vec::new(),
            described: BTreeMap::new(),
        }
    }

    /// Takes in what a file has beside its statements.
    pub fn learn(&mut self, types: Vec<SqlType>, lifetimes: Vec<(At, Vec<StateTtl>)>) {
        self.types.push(types);
        self.hinted.extend(lifetimes);
    }

    /// The session's zone from here on.
    pub fn set_zone(&mut self, zone: Tz) {
        self.zone = zone;
        self.functions = Functions::new(zone);
    }

    /// What a table's connector can do.
    pub fn describe(&mut self, table: &CatalogTable) -> Planned<(Table, Capabilities)> {
        let external = table.to_table()?;
        if let Some(known) = self.described.get(&table.name) {
            return Ok((external, known.clone()));
        }
        let capabilities =
            self.connectors.describe(&external).map_err(|e| bad_option(table, &e))?;
        self.described.insert(table.name.clone(), capabilities.clone());
        Ok((external, capabilities))
    }

    /// Forgets what a connector said, for the table of that name is another one now.
    pub fn forget(&mut self, name: &str) {
        self.described.remove(name);
    }

    /// The rows of a table: physical, metadata and computed columns as declared.
    pub(crate) fn scan(&mut self, table: &Arc<CatalogTable>, at: At) -> Planned<Relation> {
        let (external, capabilities) = self.describe(table)?;
        let Some(source) = capabilities.source else {
            let refuse = |can: &str| {
                let message = format!("table '{}' can only be {can}", table.name);
                Refusal::new(ErrorKind::Unsupported, at, message)
            };
            return Err(match capabilities.lookup {
                None => refuse("written"),
                Some(_) => refuse("looked up")
                    .hint("JOIN it FOR SYSTEM_TIME AS OF a column that is PROCTIME()"),
            });
        };
        let base = self.stored_columns(table, &source.metadata)?;
        let (exprs, names) = self.declared_columns(table, &base)?;
        let watermark = self.watermark(table, &exprs, &names)?;
        let row_time = watermark.as_ref().map(|(column, _)| *column);
        let scan = Scan {
            table: external,
            watermark: watermark.map(|(_, expr)| expr),
            changelog: source.changelog,
            lookup: None,
            skips_fields: source.skips_fields,
        };
        let updating = source.changelog != Changelog::AppendOnly;
        let scanned = Relation { op: Op::Scan(Arc::new(scan)), columns: base, updating };
        let mut relation = Relation::project(scanned, exprs, names);
        if let Some(column) = row_time {
            relation.columns[column].role = Role::RowTime;
        }
        Ok(relation)
    }

    /// The rows of a table that is looked up by key.
    pub(crate) fn looked_up(&mut self, table: &Arc<CatalogTable>, at: At) -> Planned<Relation> {
        let (external, capabilities) = self.describe(table)?;
        let Some(lookup) = capabilities.lookup else {
            let message = format!("rows of table '{}' can't be looked up", table.name);
            return Err(Refusal::new(ErrorKind::Unsupported, at, message).hint(
                "a table of files without 'source.monitor-interval', a 'jdbc' or a \
                 'rest-lookup' table can; rows of the others are joined without FOR SYSTEM_TIME, \
                 or as of a row time",
            ));
        };
        let base = self.stored_columns(table, &[])?;
        let (exprs, names) = self.declared_columns(table, &base)?;
        let changelog = Changelog::AppendOnly;
        let scan = Scan {
            table: external,
            watermark: None,
            changelog,
            lookup: Some(lookup),
            skips_fields: false,
        };
        let op = Op::Scan(Arc::new(scan));
        let scanned = Relation { op, columns: base, updating: false };
        Ok(Relation::project(scanned, exprs, names))
    }

    /// The physical columns and then those of metadata, of which the table has those in `known`.
    fn stored_columns(
        &self,
        table: &CatalogTable,
        known: &[(String, arrow::datatypes::DataType)],
    ) -> Planned<Vec<Column>> {
        let mut base: Vec<Column> =
            table.physical().map(|(name, t, _)| Column::plain(name, t.clone())).collect();
        for (name, data_type, key, _) in table.metadata() {
            if !known.iter().any(|(known, _)| known == key) {
                return Err(unknown_metadata(table, name, key, known));
            }
            base.push(Column::plain(name, data_type.clone()));
        }
        Ok(base)
    }

    /// The declared columns as expressions over the physical and metadata ones. Computed columns
    /// may read those, not each other.
    fn declared_columns(
        &mut self,
        table: &CatalogTable,
        base: &[Column],
    ) -> Planned<(Vec<Expr>, Vec<String>)> {
        let one_row = Relation {
            op: Op::Union { inputs: Vec::new() },
            columns: base.to_vec(),
            updating: false,
        };
        let scope = Scope::of(&one_row, Some(&table.name));
        let names = Names::default();
        let (mut exprs, mut column_names) = (Vec::new(), Vec::new());
        for column in &table.columns {
            let at = column.name.at;
            let expr = match &column.kind {
                ColumnKind::Computed(ast) => {
                    let context = Context { file: at.file, names: &names, outer: None };
                    Binder::new(self, context, &scope, Clause::Rows("a computed column"))
                        .bind(ast)?
                }
                _ => {
                    let index = base
                        .iter()
                        .position(|b| b.name == column.name.text)
                        .expect("physical and metadata columns are in the base");
                    Expr::column(index, base[index].data_type.clone(), at)
                }
            };
            exprs.push(expr);
            column_names.push(column.name.text.clone());
        }
        Ok((exprs, column_names))
    }

    /// Names and types of a view's columns.
    pub(crate) fn view_columns(&mut self, name: &str, at: At) -> Planned<Vec<(String, SqlType)>> {
        let relation = self.table_or_view(name, at)?;
        Ok(relation.columns.into_iter().map(|c| (c.name, c.data_type)).collect())
    }

    /// The column of the row time, and the watermark over the physical and metadata columns.
    fn watermark(
        &mut self,
        table: &CatalogTable,
        exprs: &[Expr],
        names: &[String],
    ) -> Planned<Option<(usize, Expr)>> {
        let Some((name, ast)) = &table.watermark else { return Ok(None) };
        let column = names.iter().position(|n| *n == name.text).expect("checked when declared");
        let data_type = &exprs[column].data_type;
        if !matches!(data_type, SqlType::Timestamp(0..=3) | SqlType::TimestampLtz(0..=3)) {
            let message = format!(
                "the row time '{}' is a {data_type}; it must be a TIMESTAMP or TIMESTAMP_LTZ of \
                 at most 3 digits",
                name.text
            );
            return Err(Refusal::new(ErrorKind::TypeMismatch, name.at, message)
                .hint("declare it as TIMESTAMP(3), or compute it: rt AS CAST(… AS TIMESTAMP(3))"));
        }
        let declared = Relation {
            op: Op::Union { inputs: Vec::new() },
            columns: exprs
                .iter()
                .zip(names)
                .map(|(e, n)| Column::plain(n, e.data_type.clone()))
                .collect(),
            updating: false,
        };
        let scope = Scope::of(&declared, Some(&table.name));
        let names = Names::default();
        let context = Context { file: name.at.file, names: &names, outer: None };
        let bound = Binder::new(self, context, &scope, Clause::Rows("a watermark")).bind(ast)?;
        if !bound.data_type.is_timestamp() {
            let message = format!("a watermark is a timestamp, not a {}", bound.data_type);
            return Err(Refusal::new(ErrorKind::TypeMismatch, bound.at, message));
        }
        Ok(Some((column, bound.substitute(exprs))))
    }
}

fn bad_option(table: &CatalogTable, error: &OptionError) -> Box<Refusal> {
    let at = table.option_place(&error.option);
    Refusal::new(ErrorKind::BadOption, at, format!("table '{}': {error}", table.name))
        .hint(error.hint.clone())
}

fn unknown_metadata(
    table: &CatalogTable,
    name: &str,
    key: &str,
    known: &[(String, arrow::datatypes::DataType)],
) -> Box<Refusal> {
    let at = table.columns.iter().find(|c| c.name.text == name).map_or(table.at, |c| c.name.at);
    let keys: Vec<&str> = known.iter().map(|(k, _)| k.as_str()).collect();
    let message = format!("the connector of '{}' has no metadata '{key}'", table.name);
    Refusal::new(ErrorKind::UnknownColumn, at, message).hint(if keys.is_empty() {
        "it has none at all".to_owned()
    } else {
        format!("there are: {}", keys.join(", "))
    })
}

/// The instant of a wall-clock time in a zone. Of a doubled hour the first; a time that a change
/// of the clock skips is moved behind the gap.
pub(crate) fn to_instant(time: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    match zone.from_local_datetime(&time).earliest() {
        Some(instant) => instant.with_timezone(&Utc),
        None => {
            let before = time - TimeDelta::hours(3);
            let offset = zone.from_local_datetime(&before).earliest();
            offset.map_or_else(
                || time.and_utc(),
                |known| known.with_timezone(&Utc) + TimeDelta::hours(3),
            )
        }
    }
}
