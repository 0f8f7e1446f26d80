//! `FROM`: tables, views, sub-queries, window functions, joins.

use super::interval::{interval_bounds, window_bounds};
use super::subquery::lateral_join;
use super::unheeded::check_table;
use super::{Binder, Clause, Context, Cte, Names};
use crate::catalog::Entry;
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::parser::{place, unhinted};
use crate::planner::Planner;
use crate::planner::constant::{always_gives_the_same, is_constant};
use crate::planner::expr::{Expr, ExprKind};
use crate::planner::relation::{Column, JoinTime, Op, Relation, Role};
use crate::planner::scope::{Scope, ScopeEntry};
use crate::planner::time_filter::reads_clock;
use crate::types::SqlType;
use datafusion::logical_expr::Operator;
use sqlparser::ast::{
    self, Ident, JoinConstraint, JoinOperator, ObjectName, TableAlias, TableFactor, TableWithJoins,
};
use std::rc::Rc;
use tidemill_operators::join::JoinKind;

/// A relation and the names of its columns.
pub(super) struct Source {
    pub relation: Relation,
    pub scope: Scope,
}

impl Source {
    fn named(relation: Relation, qualifier: Option<&str>) -> Source {
        let scope = Scope::of(&relation, qualifier);
        Source { relation, scope }
    }
}

impl Planner<'_> {
    /// All of `FROM`; a comma is a join without a condition.
    pub(super) fn from(
        &mut self,
        from: &[TableWithJoins],
        context: Context<'_>,
    ) -> Planned<Option<Source>> {
        let mut all: Option<Source> = None;
        for table in from {
            if let Some(unnest) = UnnestCall::of(&table.relation, context) {
                let left = all.take();
                let mut unnested = self.unnest(left, unnest, false, context)?;
                for join in &table.joins {
                    unnested = self.next_join(unnested, join, context)?;
                }
                all = Some(unnested);
                continue;
            }
            if let (TableFactor::Derived { lateral: true, subquery, alias, .. }, Some(left)) =
                (&table.relation, all.take_if(|_| is_lateral(&table.relation)))
            {
                let at = context.at(&table.relation);
                let kind = JoinKind::Inner;
                let mut joined = self.lateral(left, subquery, alias.as_ref(), kind, context, at)?;
                for join in &table.joins {
                    joined = self.next_join(joined, join, context)?;
                }
                all = Some(joined);
                continue;
            }
            let next = self.joined(table, context)?;
            all = Some(match all {
                None => next,
                Some(left) => self.join(left, next, JoinKind::Inner, None)?,
            });
        }
        Ok(all)
    }

    fn joined(&mut self, table: &TableWithJoins, context: Context<'_>) -> Planned<Source> {
        let mut left = self.factor(&table.relation, context)?;
        for join in &table.joins {
            left = self.next_join(left, join, context)?;
        }
        Ok(left)
    }

    fn next_join(
        &mut self,
        left: Source,
        join: &ast::Join,
        context: Context<'_>,
    ) -> Planned<Source> {
        use JoinOperator as J;
        let (kind, constraint) = match &join.join_operator {
            J::Join(c) | J::Inner(c) | J::CrossJoin(c) => (JoinKind::Inner, c),
            J::Left(c) | J::LeftOuter(c) => (JoinKind::Left, c),
            J::Right(c) | J::RightOuter(c) => (JoinKind::Right, c),
            J::FullOuter(c) => (JoinKind::Full, c),
            J::Semi(c) | J::LeftSemi(c) => (JoinKind::LeftSemi, c),
            J::Anti(c) | J::LeftAnti(c) => (JoinKind::LeftAnti, c),
            _ => {
                let at = context.at(&join.relation);
                return Err(Refusal::new(ErrorKind::Unsupported, at, "this kind of join"));
            }
        };
        if let Some(unnest) = UnnestCall::of(&join.relation, context) {
            return self.join_unnest(left, unnest, kind, constraint, context);
        }
        if let TableFactor::Derived { lateral: true, subquery, alias, .. } = &join.relation {
            let at = context.at(&join.relation);
            check_lateral(kind, constraint, at)?;
            return self.lateral(left, subquery, alias.as_ref(), kind, context, at);
        }
        if let Some(version) = Version::of(&join.relation) {
            return self.temporal_join(left, version, kind, constraint, context);
        }
        let right = self.factor(&join.relation, context)?;
        self.constrained(left, right, kind, constraint, context)
    }

    /// `CROSS JOIN LATERAL (SELECT … WHERE … = left.column)`
    fn lateral(
        &mut self,
        left: Source,
        subquery: &ast::Query,
        alias: Option<&TableAlias>,
        kind: JoinKind,
        context: Context<'_>,
        at: At,
    ) -> Planned<Source> {
        let inner = Context { outer: Some(&left.scope), ..context };
        let relation = self.query(subquery, inner)?;
        let right = aliased(Source::named(relation.clone(), None), alias, context)?;
        let scope = left.scope.join(right.scope);
        let relation = lateral_join(left.relation, relation, kind, at)?;
        let scope = with_roles(scope, &relation);
        Ok(Source { relation, scope })
    }

    /// `JOIN t FOR SYSTEM_TIME AS OF left.time ON …`: each left row with the version of its time.
    fn temporal_join(
        &mut self,
        left: Source,
        version: Version<'_>,
        kind: JoinKind,
        constraint: &JoinConstraint,
        context: Context<'_>,
    ) -> Planned<Source> {
        let at = context.at(version.factor);
        let refuse = |kind, message: &str| Refusal::new(kind, at, message);
        if !matches!(kind, JoinKind::Inner | JoinKind::Left) {
            let message = "a join with FOR SYSTEM_TIME AS OF is an inner or a left join";
            return Err(refuse(ErrorKind::Unsupported, message));
        }
        let mut binder =
            Binder::new(self, context, &left.scope, Clause::Rows("FOR SYSTEM_TIME AS OF"));
        let time = binder.bind(version.time)?;
        let role = time.as_column().map(|c| left.relation.columns[c].role);
        if role == Some(Role::ProcTime) {
            return self.lookup_join(left, &version, kind, constraint, context);
        }
        let Some(left_time) = time.as_column().filter(|_| role.is_some_and(Role::is_row_time))
        else {
            let message = "FOR SYSTEM_TIME AS OF takes a time of the left side: a row time, or a \
                           column that is PROCTIME()";
            return Err(refuse(ErrorKind::MissingWatermark, message)
                .hint("declare a WATERMARK for it in its table"));
        };
        if left.relation.updating {
            let message = "rows that are updated can't be joined with versions";
            return Err(refuse(ErrorKind::Unsupported, message));
        }
        let right = self.factor(&version.table(), context)?;
        if !self.is_versioned(&version, &right.relation, at)? {
            let message = "the versioned table needs a primary key";
            return Err(refuse(ErrorKind::MissingPrimaryKey, message).hint(
                "declare PRIMARY KEY (…) NOT ENFORCED, or keep the last row of each key in a view",
            ));
        }
        let times = right.relation.columns.iter().position(|c| c.role.is_row_time());
        let Some(right_time) = times else {
            let message = "the versioned table has no row time";
            return Err(refuse(ErrorKind::MissingWatermark, message)
                .hint("declare a WATERMARK for the time of its versions"));
        };
        let time = JoinTime::Temporal { left: left_time, right: right_time };
        self.join_at(left, right, kind, time, (constraint, at), context)
    }

    /// `JOIN t FOR SYSTEM_TIME AS OF left.processing_time ON …`: each left row with what the table
    /// holds for its key when the row comes.
    fn lookup_join(
        &mut self,
        left: Source,
        version: &Version<'_>,
        kind: JoinKind,
        constraint: &JoinConstraint,
        context: Context<'_>,
    ) -> Planned<Source> {
        let at = context.at(version.factor);
        if left.relation.updating {
            let message = "rows that are updated can't be joined with what a table holds just now: \
                           later it may hold something else, and the old result could not be taken \
                           back";
            return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                .hint("look up in front of the aggregate or the join that updates"));
        }
        let name = last_part(version.name);
        let table = match self.catalog.get_hinted(&name.value, at)? {
            Entry::Table(table) => table,
            Entry::View(_) => {
                let message = "a view can't be looked up; its table can";
                return Err(Refusal::new(ErrorKind::Unsupported, at, message));
            }
        };
        let relation = self.looked_up(&table, at)?;
        let plain = unhinted(&name.value).0;
        let right = aliased(Source::named(relation, Some(plain)), version.alias, context)?;
        self.join_at(left, right, kind, JoinTime::Lookup, (constraint, at), context)
    }

    /// A join with rows as of a time, `ON` their key.
    fn join_at(
        &mut self,
        left: Source,
        right: Source,
        kind: JoinKind,
        time: JoinTime,
        (constraint, at): (&JoinConstraint, At),
        context: Context<'_>,
    ) -> Planned<Source> {
        let JoinConstraint::On(on) = constraint else {
            let message = "a join with FOR SYSTEM_TIME AS OF needs ON with the key of its rows";
            return Err(Refusal::new(ErrorKind::WrongArguments, at, message));
        };
        let scope = left.scope.clone().join(right.scope.clone());
        let condition = Binder::new(self, context, &scope, Clause::Rows("ON")).condition(on)?;
        let width = left.relation.columns.len();
        let has_key = condition.clone().conjuncts().iter().any(|c| equality(c, width).is_some());
        if time == JoinTime::Lookup && !has_key {
            let message = "a table is looked up by key: ON needs a column of it that equals \
                           something of the left side";
            return Err(Refusal::new(ErrorKind::WrongArguments, condition.at, message));
        }
        let relation = join_by(left.relation, right.relation, kind, Some(condition), Some(time));
        let scope = with_roles(scope, &relation);
        Ok(Source { relation, scope })
    }

    /// Whether a table or view has one current row for each key.
    fn is_versioned(&self, version: &Version<'_>, relation: &Relation, at: At) -> Planned<bool> {
        let name = last_part(version.name);
        let plain = unhinted(&name.value).0;
        if self.catalog.find(plain).is_none() {
            return Ok(relation.updating); // a named sub-query
        }
        Ok(match self.catalog.get(plain, at)? {
            Entry::Table(table) => !table.primary_key.is_empty(),
            Entry::View(_) => relation.updating,
        })
    }

    fn join_unnest(
        &mut self,
        left: Source,
        unnest: UnnestCall<'_>,
        kind: JoinKind,
        constraint: &JoinConstraint,
        context: Context<'_>,
    ) -> Planned<Source> {
        let at = unnest.at;
        let on = match constraint {
            JoinConstraint::On(on) if on.to_string().eq_ignore_ascii_case("TRUE") => None,
            JoinConstraint::On(on) => Some(on),
            _ => None,
        };
        if !matches!((kind, on), (JoinKind::Inner, _) | (JoinKind::Left, None)) {
            let message = "UNNEST takes CROSS JOIN, or LEFT JOIN … ON TRUE";
            return Err(Refusal::new(ErrorKind::Unsupported, at, message));
        }
        let mut source = self.unnest(Some(left), unnest, kind == JoinKind::Left, context)?;
        if let Some(on) = on {
            let mut binder = Binder::new(self, context, &source.scope, Clause::Rows("ON"));
            let condition = binder.condition(on)?;
            source.relation = self.keep(source.relation, condition)?;
        }
        Ok(source)
    }

    /// The items of a collection of `left`, beside its columns.
    fn unnest(
        &mut self,
        left: Option<Source>,
        call: UnnestCall<'_>,
        outer: bool,
        context: Context<'_>,
    ) -> Planned<Source> {
        let left = left
            .unwrap_or_else(|| Source { relation: Planner::one_row(), scope: Scope::default() });
        let mut binder = Binder::new(self, context, &left.scope, Clause::Rows("UNNEST"));
        let collection = binder.bind(call.collection)?;
        let mut items: Vec<Column> = match &collection.data_type {
            SqlType::Array(item) => match item.as_ref() {
                SqlType::Row(fields) => {
                    fields.iter().map(|(n, t)| Column::plain(n, t.clone())).collect()
                }
                item => vec![Column::plain("f0", item.clone())],
            },
            SqlType::Multiset(item) => vec![Column::plain("f0", (**item).clone())],
            SqlType::Map(key, value) => {
                vec![Column::plain("f0", (**key).clone()), Column::plain("f1", (**value).clone())]
            }
            other => {
                let message = format!("UNNEST takes an array, a map or a multiset, not a {other}");
                return Err(Refusal::new(ErrorKind::WrongArguments, collection.at, message));
            }
        };
        if call.ordinality {
            items.push(Column::plain("ORDINALITY", SqlType::Int));
        }
        let width = left.relation.columns.len();
        let (input, column) = match collection.as_column() {
            Some(column) => (left.relation, column),
            None => (left.relation.extend(vec![collection]), width),
        };
        let first = input.columns.len();
        let mut columns = input.columns.clone();
        columns.extend(items.iter().cloned());
        let updating = input.updating;
        let ordinality = call.ordinality;
        let op = Op::Unnest { input: Box::new(input), collection: column, outer, ordinality };
        let relation = Relation { op, columns, updating };
        let entries = items
            .into_iter()
            .enumerate()
            .map(|(i, column)| ScopeEntry { qualifier: None, column, index: first + i })
            .collect();
        let right = Source { relation: Planner::one_row(), scope: Scope { entries } };
        let right = aliased(right, call.alias, context)?;
        let mut scope = left.scope;
        scope.entries.extend(right.scope.entries);
        Ok(Source { relation, scope })
    }

    fn constrained(
        &mut self,
        left: Source,
        right: Source,
        kind: JoinKind,
        constraint: &JoinConstraint,
        context: Context<'_>,
    ) -> Planned<Source> {
        let columns: Vec<Ident> = match constraint {
            JoinConstraint::None => return self.join(left, right, kind, None),
            JoinConstraint::On(on) => {
                let scope = left.scope.clone().join(right.scope.clone());
                let mut binder = Binder::new(self, context, &scope, Clause::Rows("ON"));
                let condition = binder.condition(on)?;
                if !binder.subqueries.is_empty() {
                    let message = "a sub-query in ON is not supported";
                    return Err(Refusal::new(ErrorKind::Unsupported, condition.at, message)
                        .hint("move it to WHERE"));
                }
                return self.join(left, right, kind, Some(condition));
            }
            JoinConstraint::Using(names) => names.iter().map(last_part).collect(),
            JoinConstraint::Natural => {
                let of = |s: &Scope| -> Vec<String> {
                    s.entries.iter().map(|e| e.column.name.clone()).collect()
                };
                let right = of(&right.scope);
                of(&left.scope).into_iter().filter(|n| right.contains(n)).map(Ident::new).collect()
            }
        };
        self.join_using(left, right, kind, &columns, context)
    }

    /// `USING (a, b)`: equal columns, each of which is visible once.
    fn join_using(
        &mut self,
        left: Source,
        right: Source,
        kind: JoinKind,
        columns: &[Ident],
        context: Context<'_>,
    ) -> Planned<Source> {
        let width = left.relation.columns.len();
        let (mut conditions, mut merged) = (Vec::new(), Vec::new());
        for column in columns {
            let at = place(column, context.file);
            let parts = std::slice::from_ref(column);
            let of = |scope: &Scope| -> Planned<usize> {
                let found = scope.resolve(parts, at)?;
                Ok(found.ok_or_else(|| scope.unknown(parts, at))?.index)
            };
            let (l, r) = (of(&left.scope)?, of(&right.scope)?);
            let side = |relation: &Relation, index: usize, shift: usize| {
                Expr::column(index + shift, relation.columns[index].data_type.clone(), at)
            };
            let (a, b) = (side(&left.relation, l, 0), side(&right.relation, r, width));
            let scope = Scope::default();
            let mut binder = Binder::new(self, context, &scope, Clause::Rows("USING"));
            conditions.push(binder.compare(Operator::Eq, a, b, at)?);
            merged.push(if kind == JoinKind::Right { l } else { r + width });
        }
        let mut joined = self.join(left, right, kind, Expr::all(conditions))?;
        joined.scope.entries.retain(|e| !merged.contains(&e.index));
        Ok(joined)
    }

    /// Joins two sources on a condition over both of their columns.
    pub(super) fn join(
        &mut self,
        left: Source,
        right: Source,
        kind: JoinKind,
        condition: Option<Expr>,
    ) -> Planned<Source> {
        let scope = match kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti => left.scope.clone(),
            _ => left.scope.clone().join(right.scope.clone()),
        };
        let ttl_ms = [self.lifetimes.of(&left.scope), self.lifetimes.of(&right.scope)];
        let mut relation = match condition {
            Some(condition) if reads_clock(&condition) => {
                self.join_in_time(left.relation, right.relation, kind, condition)?
            }
            condition => join(left.relation, right.relation, kind, condition),
        };
        relation.set_lifetimes(ttl_ms);
        let scope = with_roles(scope, &relation);
        Ok(Source { relation, scope })
    }

    pub(super) fn factor(&mut self, factor: &TableFactor, context: Context<'_>) -> Planned<Source> {
        let at = context.at(factor);
        check_table(factor, at)?;
        match factor {
            TableFactor::Table { name, alias, args, version, .. } => {
                if version.is_some() {
                    let message = "FOR SYSTEM_TIME AS OF stands on the right side of a JOIN";
                    return Err(Refusal::new(ErrorKind::Unsupported, at, message));
                }
                let source = match args {
                    Some(args) => {
                        let call = last_part(name).value.to_ascii_uppercase();
                        let relation = self.table_function(&call, &args.args, context, at)?;
                        Source::named(relation, None)
                    }
                    None => self.named(name, context)?,
                };
                aliased(source, alias.as_ref(), context)
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                if *lateral {
                    let message = "LATERAL needs a table in front of it";
                    return Err(Refusal::new(ErrorKind::Unsupported, at, message));
                }
                let relation = self.query(subquery, Context { outer: None, ..context })?;
                aliased(Source::named(relation, None), alias.as_ref(), context)
            }
            TableFactor::TableFunction { expr: ast::Expr::Function(function), alias } => {
                let name = last_part(&function.name).value.to_ascii_uppercase();
                let ast::FunctionArguments::List(list) = &function.args else {
                    let message = format!("{name} takes arguments");
                    return Err(Refusal::new(ErrorKind::WrongArguments, at, message));
                };
                let relation = self.table_function(&name, &list.args, context, at)?;
                aliased(Source::named(relation, None), alias.as_ref(), context)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let source = self.joined(table_with_joins, context)?;
                aliased(source, alias.as_ref(), context)
            }
            TableFactor::MatchRecognize { alias, .. } => {
                let source = Source::named(self.match_recognize(factor, context, at)?, None);
                aliased(source, alias.as_ref(), context)
            }
            TableFactor::UNNEST { .. } => {
                Err(Refusal::new(ErrorKind::Unsupported, at, "UNNEST is not supported yet"))
            }
            other => Err(Refusal::new(
                ErrorKind::Unsupported,
                at,
                format!("'{other}' is not supported in FROM"),
            )),
        }
    }

    /// A table, a view or a named sub-query, by name.
    fn named(&mut self, name: &ObjectName, context: Context<'_>) -> Planned<Source> {
        let ident = last_part(name);
        let at = place(&ident, context.file);
        let found =
            context.names.ctes.iter().rev().find(|c| c.name.eq_ignore_ascii_case(&ident.value));
        if let Some(cte) = found.cloned() {
            let names = cte.names.clone();
            let inner = Context { names: &names, outer: None, file: context.file };
            let relation = self.query(&cte.query, inner)?;
            let relation = renamed(relation, &cte.columns, at)?;
            return Ok(Source::named(relation, Some(&ident.value)));
        }
        let relation = self.table_or_view(&ident.value, at)?;
        Ok(Source::named(relation, Some(unhinted(&ident.value).0)))
    }

    /// A table or a view of the catalog.
    pub(crate) fn table_or_view(&mut self, name: &str, at: At) -> Planned<Relation> {
        match self.catalog.get_hinted(name, at)? {
            Entry::Table(table) => self.scan(&table, at),
            Entry::View(view) => {
                if self.views.contains(&view.name) {
                    let message = format!("the view '{}' reads itself", view.name);
                    return Err(Refusal::new(ErrorKind::Unsupported, at, message));
                }
                self.views.push(view.name.clone());
                let names = Names::default();
                let context = Context { file: view.file, names: &names, outer: None };
                let relation = self.query(&view.query, context);
                self.views.pop();
                let columns: Vec<String> = view.columns.iter().map(|c| c.text.clone()).collect();
                renamed(relation?, &columns, at)
            }
        }
    }
}

/// A table as it was at the time of the row that it is joined with.
struct Version<'x> {
    factor: &'x TableFactor,
    name: &'x ObjectName,
    alias: Option<&'x TableAlias>,
    time: &'x ast::Expr,
}

impl<'x> Version<'x> {
    fn of(factor: &'x TableFactor) -> Option<Version<'x>> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                version: Some(ast::TableVersion::ForSystemTimeAsOf(time)),
                ..
            } => Some(Version { factor, name, alias: alias.as_ref(), time }),
            _ => None,
        }
    }

    /// The table without the time.
    fn table(&self) -> TableFactor {
        let mut table = self.factor.clone();
        if let TableFactor::Table { version, .. } = &mut table {
            *version = None;
        }
        table
    }
}

/// `UNNEST(collection) [WITH ORDINALITY] [AS t (a, b)]`
struct UnnestCall<'x> {
    collection: &'x ast::Expr,
    alias: Option<&'x TableAlias>,
    ordinality: bool,
    at: At,
}

impl<'x> UnnestCall<'x> {
    fn of(factor: &'x TableFactor, context: Context<'_>) -> Option<UnnestCall<'x>> {
        let at = context.at(factor);
        match factor {
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => Some(UnnestCall {
                collection: array_exprs.first()?,
                alias: alias.as_ref(),
                ordinality: *with_ordinality,
                at,
            }),
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. }
                if last_part(name).value.eq_ignore_ascii_case("UNNEST") =>
            {
                let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(collection))] =
                    &args.args[..]
                else {
                    return None;
                };
                let (alias, ordinality) = (alias.as_ref(), *with_ordinality);
                Some(UnnestCall { collection, alias, ordinality, at })
            }
            _ => None,
        }
    }
}

/// A join as a relation: equalities between the sides become its keys.
pub(crate) fn join(
    left: Relation,
    right: Relation,
    kind: JoinKind,
    condition: Option<Expr>,
) -> Relation {
    join_by(left, right, kind, condition, None)
}

/// A join whose relation to time is known already, or is read off its condition.
fn join_by(
    left: Relation,
    right: Relation,
    kind: JoinKind,
    condition: Option<Expr>,
    known: Option<JoinTime>,
) -> Relation {
    let width = left.columns.len();
    let (mut left_extra, mut right_extra) = (Vec::new(), Vec::new());
    let (mut left_keys, mut right_keys, mut residual) = (Vec::new(), Vec::new(), Vec::new());
    let conjuncts: Vec<Expr> = condition.into_iter().flat_map(Expr::conjuncts).collect();
    let constant = constant_side((&left, &right), kind, &conjuncts);
    if let (None, Some(ConstantSide::Left)) = (known, constant) {
        return join_with_constants_first(left, right, kind, conjuncts);
    }
    let known = known.or(constant.map(|_| JoinTime::Constant));
    let (time, conjuncts) = match known {
        Some(time) => (time, conjuncts),
        None if left.updating || right.updating => (JoinTime::Unbounded, conjuncts),
        None => interval_bounds(&left, &right, conjuncts),
    };
    for conjunct in conjuncts {
        match equality(&conjunct, width) {
            Some((l, r)) => {
                left_keys.push(key_column(&left, &mut left_extra, l));
                right_keys.push(key_column(&right, &mut right_extra, r));
            }
            None => residual.push(conjunct),
        }
    }
    let (left_added, right_width) = (left_extra.len(), right.columns.len());
    let (left, right) = (left.extend(left_extra), right.extend(right_extra));
    // The residual was bound before key columns were added to the left.
    let shift = |i: usize| if i < width { i } else { i + left_added };
    let residual = Expr::all(residual.iter().map(|e| e.remap(&shift)));
    let semi = matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti);
    let mut columns = left.columns.clone();
    if !semi {
        columns.extend(right.columns.iter().cloned());
    }
    let time = match time {
        JoinTime::Unbounded if !left.updating && !right.updating => {
            window_bounds(&left, &right, &left_keys, &right_keys)
        }
        time => time,
    };
    if matches!(time, JoinTime::Temporal { .. } | JoinTime::Lookup | JoinTime::Constant) {
        // A version may be much older than the row that it is joined with, and a constant has no
        // time at all.
        columns.iter_mut().skip(left.columns.len()).for_each(|c| c.role = Role::Plain);
    }
    if time == JoinTime::Unbounded {
        // Rows of a join come whenever their partner does: its row times are times no more.
        columns.iter_mut().for_each(|c| c.role = Role::Plain);
    }
    let pads = !matches!(kind, JoinKind::Inner | JoinKind::LeftSemi);
    let updating = match time {
        JoinTime::Unbounded => left.updating || right.updating || pads,
        // What becomes of a row follows from the row alone.
        JoinTime::Constant => left.updating,
        JoinTime::Interval { .. }
        | JoinTime::Temporal { .. }
        | JoinTime::Lookup
        | JoinTime::Window { .. } => false,
    };
    let op = Op::Join {
        left: Box::new(left),
        right: Box::new(right),
        kind,
        left_keys,
        right_keys,
        residual,
        time,
        ttl_ms: [None, None],
    };
    let joined = Relation { op, columns, updating };
    if left_added == 0 && joined.columns.len() == width + if semi { 0 } else { right_width } {
        return joined;
    }
    // Only the columns that were there before are visible.
    let at = At::default();
    let visible = (0..width).chain(if semi {
        0..0
    } else {
        width + left_added..width + left_added + right_width
    });
    let exprs: Vec<Expr> =
        visible.map(|i| Expr::column(i, joined.columns[i].data_type.clone(), at)).collect();
    let names = exprs.iter().map(|e| joined.columns[e.as_column().expect("a column")].name.clone());
    let names = names.collect();
    Relation::project(joined, exprs, names)
}

/// The side of a join that is constant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ConstantSide {
    Left,
    Right,
}

/// The side of a join that every worker can hold whole, so that nothing has to be kept. Of that
/// side no row is shown for having no partner: nobody knows of all rows that may be one.
fn constant_side(
    (left, right): (&Relation, &Relation),
    kind: JoinKind,
    conjuncts: &[Expr],
) -> Option<ConstantSide> {
    use JoinKind::{Inner, Left, LeftAnti, LeftSemi, Right};
    let width = left.columns.len();
    let has_key = conjuncts.iter().any(|conjunct| equality(conjunct, width).is_some());
    let meets_all = !has_key && !matches!(kind, LeftSemi | LeftAnti);
    let can_be_right = matches!(kind, Inner | Left | LeftSemi | LeftAnti);
    let side = if can_be_right && is_constant(right, meets_all) {
        ConstantSide::Right
    } else if matches!(kind, Inner | Right) && is_constant(left, meets_all) {
        ConstantSide::Left
    } else {
        return None;
    };
    let rows = if side == ConstantSide::Right { left } else { right };
    // The deletion of a row has to find what the row found.
    (!rows.updating || conjuncts.iter().all(always_gives_the_same)).then_some(side)
}

/// A join whose left side is constant, as one whose right side is.
fn join_with_constants_first(
    left: Relation,
    right: Relation,
    kind: JoinKind,
    conjuncts: Vec<Expr>,
) -> Relation {
    let (width, right_width) = (left.columns.len(), right.columns.len());
    let swapped = |i: usize| if i < width { i + right_width } else { i - width };
    let condition = Expr::all(conjuncts.iter().map(|conjunct| conjunct.remap(&swapped)));
    let kind = if kind == JoinKind::Right { JoinKind::Left } else { kind };
    let joined = join_by(right, left, kind, condition, Some(JoinTime::Constant));
    let all = joined.all_columns(At::default());
    let exprs: Vec<Expr> = (0..width + right_width).map(|i| all[swapped(i)].clone()).collect();
    let names = (0..exprs.len()).map(|i| joined.columns[swapped(i)].name.clone()).collect();
    Relation::project(joined, exprs, names)
}

/// The two sides of `left = right`, the right one over the right input's own columns.
fn equality(conjunct: &Expr, width: usize) -> Option<(Expr, Expr)> {
    let ExprKind::Binary(Operator::Eq, a, b) = &conjunct.kind else { return None };
    let side = |e: &Expr| {
        let (mut left, mut right) = (false, false);
        e.columns(&mut |i| if i < width { left = true } else { right = true });
        (left, right)
    };
    let (left, right) = match (side(a), side(b)) {
        ((true, false), (false, true)) => (a, b),
        ((false, true), (true, false)) => (b, a),
        _ => return None,
    };
    Some(((**left).clone(), right.remap(&|i| i - width)))
}

/// The column that holds a key, computed in front of the join if it is not one already.
fn key_column(relation: &Relation, extra: &mut Vec<Expr>, key: Expr) -> usize {
    match key.as_column() {
        Some(index) => index,
        None => {
            extra.push(key);
            relation.columns.len() + extra.len() - 1
        }
    }
}

pub(super) fn with_roles(mut scope: Scope, relation: &Relation) -> Scope {
    for entry in &mut scope.entries {
        entry.column.role = relation.columns[entry.index].role;
    }
    scope
}

/// Refuses a lateral join on another condition than TRUE, or that keeps right rows.
fn check_lateral(kind: JoinKind, constraint: &JoinConstraint, at: At) -> Planned<()> {
    let is_free = match constraint {
        JoinConstraint::On(on) => on.to_string().eq_ignore_ascii_case("TRUE"),
        JoinConstraint::Using(_) | JoinConstraint::Natural => false,
        JoinConstraint::None => true,
    };
    if is_free && matches!(kind, JoinKind::Inner | JoinKind::Left) {
        return Ok(());
    }
    let message = "LATERAL takes CROSS JOIN, or LEFT JOIN … ON TRUE";
    Err(Refusal::new(ErrorKind::Unsupported, at, message)
        .hint("move the condition into the sub-query's WHERE"))
}

fn is_lateral(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Derived { lateral: true, .. })
}

fn last_part(name: &ObjectName) -> Ident {
    name.0.last().and_then(|p| p.as_ident()).cloned().unwrap_or_else(|| Ident::new(""))
}

/// Gives the source's columns the alias as their table, and new names if it lists them.
fn aliased(source: Source, alias: Option<&TableAlias>, context: Context<'_>) -> Planned<Source> {
    let Some(alias) = alias else { return Ok(source) };
    let at = place(&alias.name, context.file);
    let columns: Vec<String> = alias.columns.iter().map(|c| c.name.value.clone()).collect();
    if !columns.is_empty() && columns.len() != source.scope.entries.len() {
        return Err(wrong_width(&alias.name.value, source.scope.entries.len(), columns.len(), at));
    }
    let entries = (source.scope.entries.into_iter().enumerate())
        .map(|(i, entry)| {
            let mut column = entry.column;
            if let Some(name) = columns.get(i) {
                column.name.clone_from(name);
            }
            ScopeEntry { qualifier: Some(alias.name.value.clone()), column, index: entry.index }
        })
        .collect();
    Ok(Source { relation: source.relation, scope: Scope { entries } })
}

/// The relation with other names for its columns.
fn renamed(mut relation: Relation, names: &[String], at: At) -> Planned<Relation> {
    if names.is_empty() {
        return Ok(relation);
    }
    if names.len() != relation.columns.len() {
        return Err(wrong_width("the list", relation.columns.len(), names.len(), at));
    }
    for (column, name) in relation.columns.iter_mut().zip(names) {
        column.name.clone_from(name);
    }
    Ok(relation)
}

fn wrong_width(name: &str, columns: usize, names: usize, at: At) -> Box<Refusal> {
    let message = format!("'{name}' names {names} columns of a query that has {columns}");
    Refusal::new(ErrorKind::ColumnCount, at, message)
}

/// What a `WITH` adds to the visible names.
pub(super) fn with_ctes(with: &ast::With, names: &Names) -> Planned<Names> {
    let mut names = names.clone();
    for cte in &with.cte_tables {
        let columns = cte.alias.columns.iter().map(|c| c.name.value.clone()).collect();
        let cte = Cte {
            name: cte.alias.name.value.clone(),
            columns,
            query: (*cte.query).clone(),
            names: names.clone(),
        };
        names.ctes.push(Rc::new(cte));
    }
    Ok(names)
}
