//! Rewrites of relations that the dataflow profits from: filters move towards their tables,
//! filters on ranks become top-N, projections are merged. A filter on a key of a join filters the
//! other side, too, and joins may change places.
//!
//! Each rewrite keeps the relation's columns, in number, order and type.
//!
//! Queries that are rewritten together keep what they have in common: where one of them reads all
//! of a join and another one a part of it, the filter stays above the join, which is computed once.

use super::bind;
use super::canonical;
use super::constant::always_gives_the_same;
use super::expr::{Expr, ExprKind};
use super::known::{Filtered, can_be_filtered};
use super::order::{better, inputs_of, joins_of};
use super::relation::{Column, JoinTime, Op, Ordering, Relation, Role};
use super::typing;
use crate::error::At;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Operator, Volatility};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tidemill_operators::join::JoinKind;
use tidemill_operators::window::WindowKind;

/// Rewrites a whole relation.
pub(super) fn rewrite(relation: Relation) -> Relation {
    Rewriting::default().push(relation, Vec::new())
}

/// In which order chains of joins are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JoinOrder {
    AsWritten,
    /// Inputs that only grow come first.
    GrowingFirst,
}

/// Rewrites the queries of a session so that what one of them reads as a whole is what others
/// filter, and what several of them read stays what it is.
pub(super) fn rewrite_together<'r>(
    relations: impl Iterator<Item = &'r Relation> + Clone,
    order: JoinOrder,
) -> Vec<Relation> {
    let mut apart = Rewriting::default();
    let mut each = apart.push_all(relations.clone());
    let shared = apart.read.into_iter().filter(|(_, read)| read.is_shared());
    let kept: BTreeSet<String> = shared.map(|(text, _)| text).collect();
    if !kept.is_empty() {
        let mut together = Rewriting { kept: kept.clone(), ..Rewriting::default() };
        each = together.push_all(relations.clone());
    }
    if order == JoinOrder::AsWritten {
        return each;
    }
    let mut readers = BTreeMap::new();
    each.iter().for_each(|relation| count_joins(relation, &mut readers));
    let readers = Some(Rc::new(readers));
    Rewriting { kept, readers, ..Rewriting::default() }.push_all(relations)
}

fn count_joins(relation: &Relation, joins: &mut BTreeMap<String, usize>) {
    if matches!(relation.op, Op::Join { .. }) {
        *joins.entry(canonical::text(relation)).or_default() += 1;
    }
    relation.inputs().into_iter().for_each(|input| count_joins(input, joins));
}

/// A join with a condition above it taken into it, as far as it goes. What else follows from it is
/// for later, when all queries are known.
pub(super) fn absorb(join: Relation, condition: Expr) -> Relation {
    alone(join, condition.conjuncts())
}

fn alone(relation: Relation, conjuncts: Vec<Expr>) -> Relation {
    Rewriting { is_alone: true, ..Rewriting::default() }.push(relation, conjuncts)
}

/// A run over some queries.
#[derive(Default)]
struct Rewriting {
    /// The relations, by their canonical text, that filters stay above.
    kept: BTreeSet<String>,
    /// How the relations with state, by their canonical text, were found to be read.
    read: BTreeMap<String, Read>,
    /// Whether only a part of a query is rewritten, and nothing is known of the others.
    is_alone: bool,
    /// Whether the filters on the way down are partly there to spare work only.
    is_spared: bool,
    /// Where joins may change places: how often each of the queries' joins is there, by its
    /// canonical text, if they don't.
    readers: Option<Rc<BTreeMap<String, usize>>>,
}

/// How the readers of a relation read it.
#[derive(Default)]
struct Read {
    /// Somebody reads all of its rows.
    whole: bool,
    /// What those who read some of its rows, and could have the others left out, say of them.
    filters: BTreeSet<String>,
    /// Some of that only follows from what is said of others: it spares work, and nobody asked.
    spares: bool,
}

impl Read {
    /// Whether it had better be computed once, as a whole.
    fn is_shared(&self) -> bool {
        let has_other_readers = self.whole || (self.spares && self.filters.len() > 1);
        has_other_readers && !self.filters.is_empty()
    }
}

impl Rewriting {
    fn push_all<'r>(&mut self, relations: impl Iterator<Item = &'r Relation>) -> Vec<Relation> {
        relations.map(|relation| self.push(relation.clone(), Vec::new())).collect()
    }

    /// The relation with the conjuncts applied as far down as they may go.
    fn push(&mut self, relation: Relation, mut conjuncts: Vec<Expr>) -> Relation {
        if self.stays_whole(&relation, &conjuncts) {
            return above(self.push(relation, Vec::new()), conjuncts);
        }
        let Relation { op, columns, updating } = relation;
        match op {
            Op::Filter { input, predicate } => {
                conjuncts.extend(predicate.conjuncts());
                self.push(*input, conjuncts)
            }
            Op::TimeFilter { input, clock, bounds } => {
                // What does not change with time had better be gone before a row is held.
                let (below, stay) = split(conjuncts, |_| true);
                let input = self.push(*input, below);
                let updating = input.updating || bounds.iter().any(|b| b.clock_is.is_upper());
                let op = Op::TimeFilter { input: Box::new(input), clock, bounds };
                above(Relation { op, columns, updating }, stay)
            }
            Op::Project { input, exprs } => {
                if exprs.iter().any(is_volatile) {
                    let input = Box::new(self.push(*input, Vec::new()));
                    return above(
                        Relation { op: Op::Project { input, exprs }, columns, updating },
                        conjuncts,
                    );
                }
                let below = conjuncts.iter().map(|c| c.substitute(&exprs)).collect();
                merge_projects(self.push(*input, below), exprs, columns)
            }
            Op::Union { inputs } => {
                let inputs =
                    inputs.into_iter().map(|input| self.push(input, conjuncts.clone())).collect();
                Relation { op: Op::Union { inputs }, columns, updating }
            }
            Op::Join { .. } => {
                let relation = Relation { op, columns, updating };
                match self.reordered(&relation, &conjuncts) {
                    Some(reordered) => reordered,
                    None => self.push_join(relation, conjuncts),
                }
            }
            Op::Window { input, window, zone, time, keys, number, at } => {
                let width = input.columns.len();
                let (below, stay) = conjuncts.into_iter().partition(|c| {
                    let mut movable = !is_volatile(c);
                    c.columns(&mut |i| {
                        // What is not in a session can still hold it together.
                        let session = matches!(window, WindowKind::Session { .. });
                        movable &= i < width && (!session || keys.contains(&i));
                    });
                    movable
                });
                let input = Box::new(self.push(*input, below));
                let op = Op::Window { input, window, zone, time, keys, number, at };
                above(Relation { op, columns, updating }, stay)
            }
            Op::Aggregate { input, keys, calls, window, ttl_ms, at } => {
                let (below, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(|c| {
                    let mut movable = !keys.is_empty() && !is_volatile(c);
                    c.columns(&mut |i| {
                        movable &= i < keys.len()
                            && !matches!(
                                columns[i].role,
                                Role::WindowStart(_) | Role::WindowEnd(_) | Role::WindowTime(_)
                            );
                    });
                    movable
                });
                let below = below.iter().map(|c| c.remap(&|i| keys[i])).collect();
                let input = Box::new(self.push(*input, below));
                above(
                    Relation {
                        op: Op::Aggregate { input, keys, calls, window, ttl_ms, at },
                        columns,
                        updating,
                    },
                    stay,
                )
            }
            Op::RowNumber { input, partition, order, at } => {
                let rank = input.columns.len();
                let (ranks, stay): (Vec<Expr>, Vec<Expr>) =
                    conjuncts.into_iter().partition(|c| rank_bound(c, rank).is_some());
                let input = self.push(*input, Vec::new());
                if ranks.is_empty() {
                    let op = Op::RowNumber { input: Box::new(input), partition, order, at };
                    return above(Relation { op, columns, updating }, stay);
                }
                let bounds = ranks.iter().filter_map(|c| rank_bound(c, rank));
                let (first, last) =
                    bounds.fold((1, u64::MAX), |(a, b), (first, last)| (a.max(first), b.min(last)));
                above(top_n(input, columns, partition, order, first, last), stay)
            }
            Op::TopN { input, partition, order, first, last, window } => {
                let input = Box::new(self.push(*input, Vec::new()));
                let op = Op::TopN { input, partition, order, first, last, window };
                above(Relation { op, columns, updating }, conjuncts)
            }
            Op::Over { input, partition, time, frame, calls } => {
                // What decides which rows a frame holds stays behind it; whole partitions may go.
                let (below, stay) = split(conjuncts, |i| partition.contains(&i));
                let input = Box::new(self.push(*input, below));
                let op = Op::Over { input, partition, time, frame, calls };
                above(Relation { op, columns, updating }, stay)
            }
            Op::Pattern { input, partition, time, ties, search } => {
                // Whole partitions may go; of the others every row counts.
                let (below, stay) = split(conjuncts, |i| i < partition.len());
                let below = below.iter().map(|c| c.remap(&|i| partition[i])).collect();
                let input = Box::new(self.push(*input, below));
                let op = Op::Pattern { input, partition, time, ties, search };
                above(Relation { op, columns, updating }, stay)
            }
            Op::Unnest { input, collection, outer, ordinality } => {
                let width = input.columns.len();
                let (below, stay) = split(conjuncts, |i| i < width);
                let input = Box::new(self.push(*input, below));
                let op = Op::Unnest { input, collection, outer, ordinality };
                above(Relation { op, columns, updating }, stay)
            }
            op @ (Op::Scan(_) | Op::Values(_)) => {
                above(Relation { op, columns, updating }, conjuncts)
            }
        }
    }

    /// A chain of joins with `conjuncts` applied in an order that is better than the written one, if
    /// there is one. The written order stands where another query reads a part of it, and where
    /// one of both has a join that is bounded in time: that is another join.
    fn reordered(&mut self, relation: &Relation, conjuncts: &[Expr]) -> Option<Relation> {
        let readers = self.readers.clone()?;
        let (movable, stay): (Vec<Expr>, Vec<Expr>) =
            conjuncts.iter().cloned().partition(always_gives_the_same);
        let better = better(relation, &movable)?;
        let mut as_written = Rewriting { kept: self.kept.clone(), ..Rewriting::default() };
        let written = as_written.push_join(relation.clone(), movable);
        let better = self.push(better, Vec::new());
        if [&written, &better].iter().any(|order| inputs_of(order) != inputs_of(relation)) {
            return None;
        }
        let joins = joins_of(&written);
        let read = |join: &Relation| readers.get(&canonical::text(join)).copied().unwrap_or(0);
        let whole = joins.first().map_or(0, |join| read(join));
        let is_shared = joins.iter().any(|join| read(join) > whole);
        (!is_shared).then(|| above(better, stay))
    }

    fn push_join(&mut self, relation: Relation, conjuncts: Vec<Expr>) -> Relation {
        let columns = relation.columns;
        let Op::Join { left, right, kind, left_keys, right_keys, residual, time, ttl_ms } =
            relation.op
        else {
            unreachable!("called for joins")
        };
        let width = left.columns.len();
        let (mut to_left, mut to_right, mut to_join, mut stay) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut of_both = Vec::new();
        for condition in residual.map(Expr::conjuncts).unwrap_or_default() {
            match side_of(&condition, width, kind, time).filter(|_| !self.is_alone) {
                Some(0) => to_left.push(condition),
                Some(_) => to_right.push(condition.remap(&|i| i - width)),
                None => of_both.push(condition),
            }
        }
        let residual = Expr::all(of_both);
        for conjunct in conjuncts {
            let [reads_left, reads_right] = sides_read(&conjunct, width);
            let left_kept = matches!(
                kind,
                JoinKind::Inner | JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti
            );
            // Which version is the current one must not depend on what is asked of it.
            let temporal = matches!(time, JoinTime::Temporal { .. });
            // What is looked up has its keys already.
            let crosses = time == JoinTime::Lookup && reads_left && reads_right;
            if is_volatile(&conjunct) || (temporal && reads_right) || crosses {
                stay.push(conjunct);
            } else if !reads_right && left_kept {
                to_left.push(conjunct);
            } else if !reads_left && matches!(kind, JoinKind::Inner | JoinKind::Right) {
                to_right.push(conjunct.remap(&|i| i - width));
            } else if kind == JoinKind::Inner {
                to_join.push(conjunct);
            } else {
                stay.push(conjunct);
            }
        }
        let filtered = Filtered {
            left: &left,
            right: &right,
            kind,
            time,
            keys: [&left_keys, &right_keys],
            to: [&to_left, &to_right],
            to_both: &to_join,
        };
        let passed = if self.is_alone { Default::default() } else { filtered.passed_on() };
        let [passed_left, passed_right] = passed;
        let left = self.push_passed(*left, to_left, passed_left);
        let mut right = self.push_passed(*right, to_right, passed_right);
        if let JoinTime::Temporal { right: time, .. } = time
            && matches!(right.op, Op::Project { .. })
        {
            right = versions(right, time);
        }
        if to_join.is_empty() {
            let updating = relation.updating;
            let op = Op::Join {
                left: Box::new(left),
                right: Box::new(right),
                kind,
                left_keys,
                right_keys,
                residual,
                time,
                ttl_ms,
            };
            return above(Relation { op, columns, updating }, stay);
        }
        // A condition on both sides may hold new keys: join anew.
        let keys = left_keys.iter().zip(&right_keys).map(|(&l, &r)| {
            let column = |i: usize, side: &Relation, shift: usize| {
                Expr::column(i + shift, side.columns[i].data_type.clone(), Default::default())
            };
            Expr::compare(Operator::Eq, column(l, &left, 0), column(r, &right, width))
        });
        let bounds = time_conjuncts(time, &left, width);
        let all = keys.chain(residual).chain(bounds).chain(to_join).collect::<Vec<_>>();
        let mut joined = bind::join_relations(left, right, kind, Expr::all(all));
        joined.set_lifetimes(ttl_ms);
        for (column, known) in joined.columns.iter_mut().zip(columns) {
            column.name = known.name;
        }
        above(joined, stay)
    }

    /// A side of a join, filtered by what is said of it and by what follows from what is said of
    /// the other side.
    fn push_passed(
        &mut self,
        relation: Relation,
        mut conjuncts: Vec<Expr>,
        passed: Vec<Expr>,
    ) -> Relation {
        let is_spared = self.is_spared || !passed.is_empty();
        conjuncts.extend(passed);
        let around = std::mem::replace(&mut self.is_spared, is_spared);
        let pushed = self.push(relation, conjuncts);
        self.is_spared = around;
        pushed
    }

    /// Whether the filter of `conjuncts` stays above a relation that others read as a whole; and
    /// notes how it is read.
    fn stays_whole(&mut self, relation: &Relation, conjuncts: &[Expr]) -> bool {
        if self.is_alone || !is_worth_sharing(relation, conjuncts) {
            return false;
        }
        // Parts of it may have been rewritten when they were bound, so all of it is.
        let text = canonical::text(&alone(relation.clone(), Vec::new()));
        let stays = !conjuncts.is_empty() && self.kept.contains(&text);
        let read = self.read.entry(text).or_default();
        if conjuncts.is_empty() {
            read.whole = true;
        } else {
            let name = |column| format!("${column}");
            let texts = conjuncts.iter().map(|conjunct| conjunct.describe(&name).to_string());
            read.filters.insert(texts.collect::<Vec<_>>().join(" AND "));
            read.spares |= self.is_spared;
        }
        stays
    }
}

/// Whether a relation has state that is better kept once, whatever of `conjuncts` it could do
/// without. A condition that says how two inputs of a join belong together is part of the join.
fn is_worth_sharing(relation: &Relation, conjuncts: &[Expr]) -> bool {
    match &relation.op {
        Op::Join { time: JoinTime::Constant, .. } => false,
        Op::Join { left, .. } => {
            let width = left.columns.len();
            conjuncts.iter().all(|conjunct| sides_read(conjunct, width) != [true, true])
        }
        Op::Aggregate { .. } | Op::Over { .. } | Op::Pattern { .. } => true,
        _ => false,
    }
}

/// The side of a join that a part of its condition can filter beforehand: it reads no other.
fn side_of(condition: &Expr, width: usize, kind: JoinKind, time: JoinTime) -> Option<usize> {
    let side = match sides_read(condition, width) {
        [true, false] => 0,
        [false, true] => 1,
        _ => return None,
    };
    (!is_volatile(condition) && can_be_filtered(side, kind, time)).then_some(side)
}

/// Whether an expression over a join, whose left side has `width` columns, reads the left side and
/// whether it reads the right one.
fn sides_read(expr: &Expr, width: usize) -> [bool; 2] {
    let mut reads = [false; 2];
    expr.columns(&mut |column| reads[usize::from(column >= width)] = true);
    reads
}

/// The conjuncts that read only columns of which `movable` holds, and the others.
fn split(conjuncts: Vec<Expr>, movable: impl Fn(usize) -> bool) -> (Vec<Expr>, Vec<Expr>) {
    conjuncts.into_iter().partition(|c| {
        let mut all = !is_volatile(c);
        c.columns(&mut |i| all &= movable(i));
        all
    })
}

fn above(relation: Relation, conjuncts: Vec<Expr>) -> Relation {
    match Expr::all(conjuncts) {
        Some(predicate) => Relation::filter(relation, predicate),
        None => relation,
    }
}

/// A projection over a relation, merged with a projection below it unless that would compute
/// something twice.
fn merge_projects(input: Relation, exprs: Vec<Expr>, columns: Vec<Column>) -> Relation {
    let updating = input.updating;
    if let Op::Project { input: inner, exprs: below } = &input.op {
        let mut uses = vec![0usize; below.len()];
        exprs.iter().for_each(|e| e.columns(&mut |i| uses[i] += 1));
        let cheap = |e: &Expr| e.as_column().is_some() || e.as_literal().is_some();
        let once = below.iter().zip(&uses).all(|(e, uses)| *uses <= 1 || cheap(e));
        if once && !below.iter().any(is_volatile) {
            let exprs = exprs.iter().map(|e| e.substitute(below)).collect();
            return Relation { op: Op::Project { input: inner.clone(), exprs }, columns, updating };
        }
    }
    Relation { op: Op::Project { input: Box::new(input), exprs }, columns, updating }
}

/// The versions behind a view of the last row of each key by time: all rows of its input. The view
/// itself shows only the last one of an epoch, and a join with versions needs those between.
fn versions(relation: Relation, time: usize) -> Relation {
    let Relation { op, columns, updating } = relation;
    match op {
        Op::Project { input, exprs } => {
            let rank = input.columns.len() - 1;
            let mut reads_rank = false;
            exprs.iter().for_each(|e| e.columns(&mut |i| reads_rank |= i == rank));
            let inner = exprs[time].as_column();
            match (&input.op, inner) {
                (Op::TopN { .. }, Some(inner)) if !reads_rank => {
                    let input = Box::new(versions(*input, inner));
                    let updating = input.updating;
                    Relation { op: Op::Project { input, exprs }, columns, updating }
                }
                _ => Relation { op: Op::Project { input, exprs }, columns, updating },
            }
        }
        Op::TopN { input, first: 1, last: 1, order, .. }
            if !input.updating
                && matches!(order[..], [Ordering { column, descending: true, .. }] if column == time) =>
        {
            *input
        }
        op => Relation { op, columns, updating },
    }
}

/// The bounds of an interval join as the conditions they were.
fn time_conjuncts(time: JoinTime, left_input: &Relation, width: usize) -> Vec<Expr> {
    let JoinTime::Interval { left, right, lower_ms, upper_ms } = time else { return Vec::new() };
    let at = At::default();
    let data_type = &left_input.columns[left].data_type;
    let bound = |op, ms: i64| {
        let shifted = typing::shift_time(Expr::column(right + width, data_type.clone(), at), ms);
        Expr::compare(op, Expr::column(left, data_type.clone(), at), shifted)
    };
    vec![bound(Operator::GtEq, lower_ms), bound(Operator::LtEq, upper_ms)]
}

fn top_n(
    input: Relation,
    columns: Vec<Column>,
    partition: Vec<usize>,
    order: Vec<Ordering>,
    first: u64,
    last: u64,
) -> Relation {
    let roles: Vec<Role> = partition.iter().map(|&p| input.columns[p].role).collect();
    let window = roles.iter().find_map(|role| match role {
        Role::WindowStart(n) if roles.contains(&Role::WindowEnd(*n)) => Some(*n),
        _ => None,
    });
    let op = Op::TopN { input: Box::new(input), partition, order, first, last, window };
    Relation { op, columns, updating: window.is_none() }
}

/// The ranks that a condition on the rank column leaves.
fn rank_bound(conjunct: &Expr, rank: usize) -> Option<(u64, u64)> {
    let ExprKind::Binary(op, a, b) = &conjunct.kind else { return None };
    let (op, literal) = match (a.as_column(), b.as_column()) {
        (Some(column), None) if column == rank => (*op, b.as_literal()?),
        (None, Some(column)) if column == rank => (op.swap()?, a.as_literal()?),
        _ => return None,
    };
    let n = match literal {
        ScalarValue::Int64(Some(n)) => *n,
        ScalarValue::Int32(Some(n)) => i64::from(*n),
        _ => return None,
    };
    let at_least_one = |n: i64| n.max(1) as u64;
    Some(match op {
        Operator::Eq => (at_least_one(n), n.max(0) as u64),
        Operator::LtEq => (1, n.max(0) as u64),
        Operator::Lt => (1, (n - 1).max(0) as u64),
        Operator::GtEq => (at_least_one(n), u64::MAX),
        Operator::Gt => (at_least_one(n + 1), u64::MAX),
        _ => return None,
    })
}

/// Whether two evaluations may differ, so that it must not be moved or repeated.
pub(super) fn is_volatile(expr: &Expr) -> bool {
    expr.any(&mut |e| match &e.kind {
        ExprKind::Call(udf, _) => udf.signature().volatility == Volatility::Volatile,
        _ => false,
    })
}
