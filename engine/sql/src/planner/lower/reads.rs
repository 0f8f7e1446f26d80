//! [`Reads`]: which columns of a table are read, and of a `ROW` which fields.
//!
//! A `ROW` is read as a whole unless all that is done with it, wherever the table is read, is to
//! take fields out of it. Then the others need not be decoded.

use crate::planner::expr::{Expr, ExprKind};
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemill_formats::Table;

/// What is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reads(BTreeMap<usize, Read>);

/// How much of a column is read.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Whole,
    Fields(BTreeSet<String>),
}

impl Reads {
    /// Whole columns.
    pub(super) fn of(columns: &BTreeSet<usize>) -> Reads {
        Reads(columns.iter().map(|&column| (column, Read::Whole)).collect())
    }

    /// Adds a column as a whole.
    pub(super) fn add_column(&mut self, column: usize) {
        self.0.insert(column, Read::Whole);
    }

    /// Adds what an expression takes.
    pub(super) fn add_expr(&mut self, expr: &Expr) {
        expr.visit(&mut |e| {
            if let Some((column, field)) = field_of_column(e) {
                self.add(column, &Read::Fields(BTreeSet::from([field.to_owned()])));
                return true;
            }
            e.as_column().iter().for_each(|&column| self.add_column(column));
            false
        });
    }

    /// Adds what others read.
    pub(super) fn extend(&mut self, other: &Reads) {
        other.0.iter().for_each(|(&column, read)| self.add(column, read));
    }

    fn add(&mut self, column: usize, read: &Read) {
        let known = self.0.entry(column).or_insert_with(|| read.clone());
        match (known, read) {
            (Read::Fields(known), Read::Fields(more)) => known.extend(more.iter().cloned()),
            (known, _) => *known = Read::Whole,
        }
    }

    /// The columns, ascending.
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> {
        self.0.keys().copied()
    }

    /// The same without the columns from `width` on.
    pub(super) fn below(mut self, width: usize) -> Reads {
        self.0.split_off(&width);
        self
    }

    /// The type of a column with only the fields that are read.
    pub(super) fn narrowed(&self, column: usize, data_type: &DataType) -> DataType {
        match (data_type, self.0.get(&column)) {
            (DataType::Struct(all), Some(Read::Fields(read))) => {
                DataType::Struct(all.iter().filter(|f| read.contains(f.name())).cloned().collect())
            }
            _ => data_type.clone(),
        }
    }

    /// A table that declares no other fields than those that are read.
    pub(super) fn narrowed_table(&self, table: &Table) -> Table {
        let field = |(column, field): (usize, &Arc<Field>)| {
            let narrowed = self.narrowed(column, field.data_type());
            field.as_ref().clone().with_data_type(narrowed)
        };
        let fields: Vec<Field> = table.schema.fields().iter().enumerate().map(field).collect();
        Table { schema: Arc::new(Schema::new(fields)), ..table.clone() }
    }
}

/// The column and the field, if that is all that an expression takes.
fn field_of_column(expr: &Expr) -> Option<(usize, &str)> {
    let ExprKind::Call(function, arguments) = &expr.kind else { return None };
    let [row, field] = arguments.as_slice() else { return None };
    let field = field.as_literal()?.try_as_str()??;
    (function.name() == "get_field").then_some((row.as_column()?, field))
}
