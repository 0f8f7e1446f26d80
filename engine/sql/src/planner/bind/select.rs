//! `SELECT … FROM … WHERE … GROUP BY … HAVING … QUALIFY`.

use super::aggregate::AggregateExpr;
use super::from::{Source, with_roles};
use super::over::{OverExpr, direction};
use super::unheeded::check_select;
use super::window::{GroupWindow, group_window_call};
use super::{Binder, Clause, Context, Lifetimes};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::planner::Planner;
use crate::planner::expr::{Expr, ExprKind};
use crate::planner::relation::{Aggregation, Column, Op, Ordering, Relation, Role};
use crate::planner::scope::Scope;
use crate::planner::time_filter::is_watermark_of;
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use sqlparser::ast::{
    self, Distinct, Expr as Ast, GroupByExpr, OrderByExpr, SelectItem,
    SelectItemQualifiedWildcardKind,
};

/// A select and the order that was asked of it.
pub(super) struct Selected {
    /// Its columns, then those that only the order needs.
    pub relation: Relation,
    pub visible: usize,
    pub order: Vec<Ordering>,
}

/// The expressions of a select, all over the same columns.
struct Expressions {
    items: Vec<Expr>,
    names: Vec<String>,
    having: Option<Expr>,
    qualify: Option<Expr>,
    order: Vec<(Expr, bool, bool)>,
}

impl Expressions {
    fn each(&mut self, change: &mut dyn FnMut(&Expr) -> Planned<Expr>) -> Planned<()> {
        let order = self.order.iter_mut().map(|(e, ..)| e);
        let all = self.items.iter_mut().chain(&mut self.having).chain(&mut self.qualify);
        for expr in all.chain(order) {
            *expr = change(expr)?;
        }
        Ok(())
    }
}

impl Planner<'_> {
    /// Binds a select, whose hints are its own.
    pub(super) fn select(
        &mut self,
        select: &ast::Select,
        order_by: &[OrderByExpr],
        context: Context<'_>,
    ) -> Planned<Selected> {
        let at = context.at_span(select.select_token.0.span);
        let hints = self.hinted.get(&at).cloned().unwrap_or_default();
        let around = std::mem::replace(&mut self.lifetimes, Lifetimes::new(hints));
        let (selected, inputs) = self.select_at(select, order_by, context, at)?;
        let lifetimes = std::mem::replace(&mut self.lifetimes, around);
        self.surprises.extend(lifetimes.unheeded(&inputs)?);
        Ok(selected)
    }

    /// The select, and what its `FROM` names.
    fn select_at(
        &mut self,
        select: &ast::Select,
        order_by: &[OrderByExpr],
        context: Context<'_>,
        at: At,
    ) -> Planned<(Selected, Scope)> {
        check_select(select, at)?;
        let Source { mut relation, mut scope } = match self.from(&select.from, context)? {
            Some(source) => source,
            None => Source { relation: Planner::one_row(), scope: Scope::default() },
        };
        if let Some(selection) = &select.selection {
            relation = self.filter(relation, &scope, selection, context)?;
            if matches!(relation.op, Op::TimeFilter { .. }) {
                scope = with_roles(scope, &relation);
            }
        }
        let grouping = grouping(&select.group_by, at)?;
        let group_exprs: Vec<&Ast> = grouping.exprs.clone();
        let (windowed, group_windows) =
            self.group_windows(relation, &scope, &group_exprs, context)?;
        relation = windowed;
        add_window_columns(&mut scope, &relation, &group_windows);

        let mut binder = Binder::new(self, context, &scope, Clause::Select);
        binder.named_windows = &select.named_window;
        binder.group_windows = &group_windows;
        let mut bound = binder.select_list(select, order_by, &relation)?;
        let (aggregates, overs, subqueries) = (
            std::mem::take(&mut binder.aggregates),
            std::mem::take(&mut binder.overs),
            std::mem::take(&mut binder.subqueries),
        );
        if !subqueries.is_empty() {
            let (joined, columns) = self.scalar_columns(relation, subqueries)?;
            relation = joined;
            bound.each(&mut |e| Ok(super::subquery::replace_subqueries(e, &columns)))?;
        }
        let mut overs = overs;
        if !group_exprs.is_empty() || !aggregates.is_empty() || bound.having.is_some() {
            let keys = self.group_keys(&group_exprs, &group_windows, &scope, context)?;
            relation =
                self.grouped(relation, &grouping, keys, aggregates, &mut bound, &mut overs, at)?;
            self.give_lifetime(&mut relation, &scope);
        }
        if let Some(having) = bound.having.take() {
            relation = self.keep(relation, having)?;
        }
        if !overs.is_empty() {
            relation = with_overs(relation, overs, &mut bound)?;
        }
        if let Some(qualify) = bound.qualify.take() {
            relation = self.keep(relation, qualify)?;
        }
        let selected = self.project_select(relation, select, bound, &scope, at)?;
        Ok((selected, scope))
    }

    /// Gives groups the lifetime that a hint has for the only input.
    fn give_lifetime(&mut self, groups: &mut Relation, inputs: &Scope) {
        if let Op::Aggregate { window: None, ttl_ms, .. } = &mut groups.op {
            *ttl_ms = self.lifetimes.of(inputs);
        }
    }

    /// Relation and order of the finished select.
    fn project_select(
        &mut self,
        relation: Relation,
        select: &ast::Select,
        bound: Expressions,
        inputs: &Scope,
        at: At,
    ) -> Planned<Selected> {
        let visible = bound.items.len();
        let (mut exprs, mut names, mut order) = (bound.items, bound.names, Vec::new());
        for (term, descending, nulls_first) in bound.order {
            let column = exprs.iter().position(|e| e.is(&term)).unwrap_or_else(|| {
                exprs.push(term);
                names.push(format!("__order{}", exprs.len()));
                exprs.len() - 1
            });
            order.push(Ordering { column, descending, nulls_first });
        }
        let mut relation = Relation::project(relation, exprs, names);
        match &select.distinct {
            None | Some(Distinct::All) => {}
            Some(Distinct::Distinct) => {
                if relation.columns.len() > visible {
                    let message = "ORDER BY of SELECT DISTINCT takes selected columns only";
                    return Err(Refusal::new(ErrorKind::NotGrouped, at, message));
                }
                relation = distinct(relation, at);
                self.give_lifetime(&mut relation, inputs);
            }
            Some(Distinct::On(_)) => {
                let message = "DISTINCT ON is not supported";
                return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                    .hint("rank with ROW_NUMBER() and keep the first rank"));
            }
        }
        Ok(Selected { relation, visible, order })
    }

    /// One row without meaning, for a select without `FROM`.
    pub(super) fn one_row() -> Relation {
        let column = Column::plain("__one", SqlType::Int);
        let one = [vec![ScalarValue::Int32(Some(1))]];
        let batch = super::query::batch_of(std::slice::from_ref(&column), &one);
        let batch = batch.expect("one integer is a batch");
        Relation { op: Op::Values(batch), columns: vec![column], updating: false }
    }

    fn group_keys(
        &mut self,
        group_by: &[&Ast],
        windows: &[GroupWindow],
        scope: &Scope,
        context: Context<'_>,
    ) -> Planned<Vec<Vec<Expr>>> {
        let mut windows = windows.iter();
        (group_by.iter())
            .map(|ast| {
                if group_window_call(ast).is_some() {
                    let window = windows.next().expect("one for each call");
                    return Ok((window.start..window.start + 3)
                        .map(|i| {
                            let entry = scope.entries.iter().find(|e| e.index == i);
                            let data_type = entry.expect("added").column.data_type.clone();
                            Expr::column(i, data_type, context.at(*ast))
                        })
                        .collect());
                }
                let mut binder = Binder::new(self, context, scope, Clause::Rows("GROUP BY"));
                match ast {
                    Ast::Tuple(parts) => binder.all(parts),
                    ast => Ok(vec![binder.bind(ast)?]),
                }
            })
            .collect()
    }

    /// Puts an aggregate below the expressions, which read its keys and results afterwards.
    #[allow(clippy::too_many_arguments)]
    fn grouped(
        &mut self,
        input: Relation,
        grouping: &Grouping<'_>,
        parts: Vec<Vec<Expr>>,
        aggregates: Vec<AggregateExpr>,
        bound: &mut Expressions,
        overs: &mut [OverExpr],
        at: At,
    ) -> Planned<Relation> {
        let mut keys: Vec<Expr> = Vec::new();
        let mut positions: Vec<Vec<usize>> = Vec::new();
        for part in parts {
            let mut places = Vec::new();
            for key in part {
                let place = keys.iter().position(|k| k.is(&key)).unwrap_or_else(|| {
                    keys.push(key);
                    keys.len() - 1
                });
                places.push(place);
            }
            positions.push(places);
        }
        let scope_columns = input.columns.clone();
        let width = keys.len();
        let sets: Option<Vec<Vec<usize>>> = grouping.sets.as_ref().map(|sets| {
            let of = |set: &Vec<usize>| set.iter().flat_map(|&p| positions[p].clone()).collect();
            sets.iter().map(of).collect()
        });
        let relation = aggregate_relation(input, &keys, &aggregates, sets.as_deref(), at);
        let regroup = |expr: &Expr| {
            let mut foreign: Option<(usize, At)> = None;
            let result = expr.replace(&mut |e| {
                if let ExprKind::Call(udf, args) = &e.kind
                    && udf.name() == "grouping"
                {
                    return grouping_bits(&keys, args, sets.as_deref(), e.at);
                }
                if is_watermark_of(e) {
                    // It is asked for its type, not for its value, so no group needs to have it.
                    let argument = Expr::literal(ScalarValue::Null, e.data_type.clone(), e.at);
                    return Some(e.with_arguments(vec![argument]));
                }
                let exact = keys.iter().position(|key| key.is(e));
                if let Some(key) = exact.or_else(|| keys.iter().position(|key| key.gives_same(e))) {
                    return Some(Expr::column(key, e.data_type.clone(), e.at));
                }
                match e.kind {
                    ExprKind::Aggregate(n) => {
                        let shift = width + usize::from(sets.is_some());
                        Some(Expr::column(shift + n, e.data_type.clone(), e.at))
                    }
                    ExprKind::Column(index) => {
                        foreign.get_or_insert((index, e.at));
                        None
                    }
                    _ => None,
                }
            });
            match foreign {
                None => Ok(result),
                Some((index, at)) => {
                    let name = &scope_columns[index].name;
                    let message = format!("'{name}' is neither grouped nor aggregated");
                    Err(Refusal::new(ErrorKind::NotGrouped, at, message)
                        .hint(format!("add it to GROUP BY, or take MAX({name}) of it")))
                }
            }
        };
        bound.each(&mut |e| regroup(e))?;
        for over in overs {
            for expr in over.expressions() {
                *expr = regroup(expr)?;
            }
        }
        Ok(relation)
    }
}

impl Binder<'_, '_> {
    fn select_list(
        &mut self,
        select: &ast::Select,
        order_by: &[OrderByExpr],
        relation: &Relation,
    ) -> Planned<Expressions> {
        let (mut items, mut names) = (Vec::new(), Vec::new());
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(ast) => {
                    let name = implied_name(ast).unwrap_or_else(|| format!("EXPR${}", items.len()));
                    items.push(self.bind(ast)?);
                    names.push(name);
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    items.push(self.bind(expr)?);
                    names.push(alias.value.clone());
                }
                SelectItem::Wildcard(_) => self.wildcard(None, &mut items, &mut names, relation)?,
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => {
                    let name = name.0.last().and_then(|p| p.as_ident()).cloned();
                    self.wildcard(name.as_ref(), &mut items, &mut names, relation)?;
                }
                other => {
                    let message = format!("'{other}' is not supported in SELECT");
                    let at = self.context.at(other);
                    return Err(Refusal::new(ErrorKind::Unsupported, at, message));
                }
            }
        }
        let having = select.having.as_ref().map(|h| self.condition(h)).transpose()?;
        let qualify = match &select.qualify {
            None => None,
            Some(ast) => Some(self.over_outputs(ast, &items, &names)?),
        };
        let mut order = Vec::new();
        for term in order_by {
            let (descending, nulls_first) = direction(&term.options);
            let expr = match output_column(&term.expr, &names) {
                Some(index) => items[index].clone(),
                None => self.bind(&term.expr)?,
            };
            order.push((expr, descending, nulls_first));
        }
        Ok(Expressions { items, names, having, qualify, order })
    }

    /// A condition that may name the select's own columns.
    fn over_outputs(&mut self, ast: &Ast, items: &[Expr], names: &[String]) -> Planned<Expr> {
        let mut scope = self.scope.clone();
        let base = usize::MAX / 2;
        for (i, (item, name)) in items.iter().zip(names).enumerate() {
            let hidden = scope.entries.iter().any(|e| e.column.name.eq_ignore_ascii_case(name));
            if !hidden {
                scope.entries.push(crate::planner::scope::ScopeEntry {
                    qualifier: None,
                    column: Column::plain(name, item.data_type.clone()),
                    index: base + i,
                });
            }
        }
        let mut inner = Binder::new(self.planner, self.context, &scope, Clause::Select);
        inner.named_windows = self.named_windows;
        inner.group_windows = self.group_windows;
        inner.aggregates = std::mem::take(&mut self.aggregates);
        inner.overs = std::mem::take(&mut self.overs);
        let bound = inner.condition(ast);
        self.aggregates = std::mem::take(&mut inner.aggregates);
        self.overs = std::mem::take(&mut inner.overs);
        Ok(bound?.replace(&mut |e| match e.kind {
            ExprKind::Column(i) if i >= base => Some(items[i - base].clone()),
            _ => None,
        }))
    }

    fn wildcard(
        &mut self,
        qualifier: Option<&ast::Ident>,
        items: &mut Vec<Expr>,
        names: &mut Vec<String>,
        relation: &Relation,
    ) -> Planned<()> {
        let before = items.len();
        let group_bounds = |index: usize| {
            self.group_windows.iter().any(|w| (w.start..w.start + 3).contains(&index))
        };
        for entry in &self.scope.entries {
            let matches = qualifier.is_none_or(|q| {
                entry.qualifier.as_ref().is_some_and(|e| e.eq_ignore_ascii_case(&q.value))
            });
            if !matches || group_bounds(entry.index) || entry.column.name.starts_with("__") {
                continue;
            }
            let data_type = relation.columns[entry.index].data_type.clone();
            items.push(Expr::column(entry.index, data_type, At::default()));
            names.push(entry.column.name.clone());
        }
        if items.len() == before {
            let (name, at) = match qualifier {
                Some(q) => (q.value.as_str(), self.context.at_span(q.span)),
                None => ("*", At { file: self.context.file, ..At::default() }),
            };
            let message = format!("there is no table '{name}' with columns here");
            return Err(Refusal::new(ErrorKind::UnknownTable, at, message));
        }
        Ok(())
    }
}

/// The rows of a relation, each once.
pub(super) fn distinct(relation: Relation, at: At) -> Relation {
    let keys = (0..relation.columns.len()).collect();
    Relation::aggregate(relation, keys, Vec::new(), at)
}

/// Keys and aggregates over `input`; with grouping sets a number of the set between them.
fn aggregate_relation(
    input: Relation,
    keys: &[Expr],
    aggregates: &[AggregateExpr],
    sets: Option<&[Vec<usize>]>,
    at: At,
) -> Relation {
    let mut exprs = keys.to_vec();
    let mut names: Vec<String> = (keys.iter().enumerate())
        .map(|(i, key)| match key.as_column() {
            Some(column) => input.columns[column].name.clone(),
            None => format!("__key{i}"),
        })
        .collect();
    let mut place = |expr: &Expr, exprs: &mut Vec<Expr>| {
        exprs.iter().position(|e| e.is(expr)).unwrap_or_else(|| {
            exprs.push(expr.clone());
            names.push(format!("__arg{}", exprs.len()));
            exprs.len() - 1
        })
    };
    let mut calls: Vec<Aggregation> = (aggregates.iter().enumerate())
        .map(|(n, a)| Aggregation {
            function: a.function.clone(),
            argument: a.argument.as_ref().map(|e| place(e, &mut exprs)),
            filter: a.filter.as_ref().map(|e| place(e, &mut exprs)),
            distinct: a.distinct,
            data_type: a.data_type.clone(),
            name: format!("__agg{n}:{}", a.text),
        })
        .collect();
    let width = keys.len();
    let Some(sets) = sets else {
        let projected = Relation::project(input, exprs, names);
        return Relation::aggregate(projected, (0..width).collect(), calls, at);
    };
    // Each set sees all rows, with the keys that it lacks set to NULL and its number as a key.
    // Arguments come after the keys, so that a NULL key never reaches an aggregate.
    let arguments: Vec<Expr> = exprs.clone();
    let inputs = sets
        .iter()
        .map(|set| {
            let bits = set_number(set, width);
            let null = |e: &Expr| Expr::literal(ScalarValue::Null, e.data_type.clone(), e.at);
            let mut row: Vec<Expr> = (keys.iter().enumerate())
                .map(|(i, key)| if set.contains(&i) { key.clone() } else { null(key) })
                .collect();
            row.push(Expr::literal(ScalarValue::Int64(Some(bits)), SqlType::BigInt, at));
            row.extend(arguments.iter().cloned());
            let mut all: Vec<String> = names[..width].to_vec();
            all.push("__grouping".into());
            all.extend(names.iter().cloned());
            Relation::project(input.clone(), row, all)
        })
        .collect();
    for call in &mut calls {
        call.argument = call.argument.map(|i| i + width + 1);
        call.filter = call.filter.map(|i| i + width + 1);
    }
    let mut union = Relation::union(inputs);
    for (i, (column, key)) in union.columns.iter_mut().zip(keys).enumerate() {
        column.data_type.clone_from(&key.data_type);
        // The window of a row is the same in every set that groups by it: groups close with it.
        let role = key.as_column().map(|key| input.columns[key].role);
        if let Some(role @ (Role::WindowStart(_) | Role::WindowEnd(_) | Role::WindowTime(_))) = role
            && sets.iter().all(|set| set.contains(&i))
        {
            column.role = role;
        }
    }
    Relation::aggregate(union, (0..=width).collect(), calls, at)
}

/// `GROUPING(a, b)`: a bit for each argument, set where the row's grouping set lacks it.
fn grouping_bits(
    keys: &[Expr],
    args: &[Expr],
    sets: Option<&[Vec<usize>]>,
    at: At,
) -> Option<Expr> {
    let constant = |n| Expr::literal(ScalarValue::Int64(Some(n)), SqlType::BigInt, at);
    let Some(sets) = sets else { return Some(constant(0)) };
    let args: Vec<usize> = if args.is_empty() {
        (0..keys.len()).collect()
    } else {
        args.iter().map(|a| keys.iter().position(|k| k.is(a))).collect::<Option<_>>()?
    };
    // The number of a row's set stands behind the keys; its bits are picked set by set.
    let number = Expr::column(keys.len(), SqlType::BigInt, at);
    let branches = sets
        .iter()
        .map(|set| {
            let bits = args.iter().fold(0, |bits, key| (bits << 1) | i64::from(!set.contains(key)));
            let is_set = constant(set_number(set, keys.len()));
            (Expr::compare(Operator::Eq, number.clone(), is_set), constant(bits))
        })
        .collect();
    let kind = ExprKind::Case { branches, otherwise: Some(Box::new(constant(0))) };
    Some(Expr::new(kind, SqlType::BigInt, at))
}

/// A number for a grouping set: a bit for each key, set where the set lacks it.
fn set_number(set: &[usize], width: usize) -> i64 {
    (0..width).filter(|i| !set.contains(i)).map(|i| 1i64 << (width - 1 - i)).sum()
}

/// Appends the values of window functions and lets the expressions read them.
fn with_overs(
    relation: Relation,
    overs: Vec<OverExpr>,
    bound: &mut Expressions,
) -> Planned<Relation> {
    let (relation, columns) = super::over::append(relation, overs)?;
    bound.each(&mut |e| {
        Ok(e.replace(&mut |e| match e.kind {
            ExprKind::Over(n) => Some(Expr::column(columns[n], e.data_type.clone(), e.at)),
            _ => None,
        }))
    })?;
    Ok(relation)
}

/// A `GROUP BY` taken apart.
struct Grouping<'x> {
    /// Its expressions, each of them perhaps a tuple.
    exprs: Vec<&'x Ast>,
    /// Which of them are in which set; none if there is only one set, of all.
    sets: Option<Vec<Vec<usize>>>,
}

fn grouping(group_by: &GroupByExpr, at: At) -> Planned<Grouping<'_>> {
    let GroupByExpr::Expressions(list, modifiers) = group_by else {
        return Err(Refusal::new(ErrorKind::Unsupported, at, "GROUP BY ALL is not supported"));
    };
    if !modifiers.is_empty() {
        let message = "write GROUP BY ROLLUP (…), CUBE (…) or GROUPING SETS (…)";
        return Err(Refusal::new(ErrorKind::Unsupported, at, message));
    }
    let mut exprs: Vec<&Ast> = Vec::new();
    let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
    let mut has_sets = false;
    fn add<'x>(exprs: &mut Vec<&'x Ast>, ast: &'x Ast) -> usize {
        exprs.iter().position(|e| *e == ast).unwrap_or_else(|| {
            exprs.push(ast);
            exprs.len() - 1
        })
    }
    for item in list {
        // Each item multiplies the sets by its own.
        let own: Vec<Vec<usize>> = match item {
            Ast::GroupingSets(groups) => {
                has_sets = true;
                groups.iter().map(|g| g.iter().map(|e| add(&mut exprs, e)).collect()).collect()
            }
            Ast::Rollup(groups) => {
                has_sets = true;
                let parts: Vec<Vec<usize>> =
                    groups.iter().map(|g| g.iter().map(|e| add(&mut exprs, e)).collect()).collect();
                (0..=parts.len()).rev().map(|n| parts[..n].concat()).collect()
            }
            Ast::Cube(groups) => {
                has_sets = true;
                let parts: Vec<Vec<usize>> =
                    groups.iter().map(|g| g.iter().map(|e| add(&mut exprs, e)).collect()).collect();
                (0..1usize << parts.len())
                    .rev()
                    .map(|mask| {
                        (parts.iter().enumerate())
                            .filter(|(i, _)| mask >> i & 1 == 1)
                            .flat_map(|(_, p)| p.clone())
                            .collect()
                    })
                    .collect()
            }
            Ast::Tuple(parts) if parts.is_empty() => vec![Vec::new()],
            expr => vec![vec![add(&mut exprs, expr)]],
        };
        sets = sets
            .iter()
            .flat_map(|set| own.iter().map(move |more| [set.as_slice(), more].concat()))
            .collect();
    }
    Ok(Grouping { exprs, sets: has_sets.then_some(sets) })
}

/// The select's column that a term of `ORDER BY` names or counts.
fn output_column(term: &Ast, names: &[String]) -> Option<usize> {
    match term {
        Ast::Identifier(ident) => names.iter().position(|n| n.eq_ignore_ascii_case(&ident.value)),
        Ast::Value(value) => match &value.value {
            ast::Value::Number(n, _) => {
                n.parse::<usize>().ok()?.checked_sub(1).filter(|i| *i < names.len())
            }
            _ => None,
        },
        _ => None,
    }
}

fn implied_name(ast: &Ast) -> Option<String> {
    match ast {
        Ast::Identifier(ident) => Some(ident.value.clone()),
        Ast::CompoundIdentifier(parts) => Some(parts.last()?.value.clone()),
        Ast::CompoundFieldAccess { access_chain, .. } => match access_chain.last()? {
            ast::AccessExpr::Dot(Ast::Identifier(ident)) => Some(ident.value.clone()),
            _ => None,
        },
        Ast::Nested(inner) => implied_name(inner),
        _ => None,
    }
}

fn add_window_columns(scope: &mut Scope, relation: &Relation, windows: &[GroupWindow]) {
    for window in windows {
        for index in window.start..window.start + 3 {
            scope.entries.push(crate::planner::scope::ScopeEntry {
                // A qualifier that no text can write: only the window's properties reach these.
                qualifier: Some("\0".into()),
                column: Column { name: "\0".into(), ..relation.columns[index].clone() },
                index,
            });
        }
        for entry in &mut scope.entries {
            if entry.column.role.is_row_time() && entry.index < window.start {
                entry.column.role = Role::Plain;
            }
        }
    }
}
