//! The order of a chain of inner joins: inputs that only grow are joined first.
//!
//! ```text
//! FROM changing JOIN a ON … JOIN b ON …      changing ⋈ a, which changes, is held as a bag of rows
//!                                            and changes again for each change of `changing`
//! a JOIN b … JOIN changing                   a ⋈ b only grows, and is held as the columns it came in
//! ```
//!
//! A join of inputs that only grow only grows itself. So an order is better than another if fewer of
//! its joins may take rows back; between equal ones the text decides, and where no order is better
//! than the one that is written, nothing is touched. An order joins no two parts without an equality
//! between them.
//!
//! The invariant: **the chain's rows are the same**. Only inner joins are reordered that nothing
//! bounds in time, under conditions that always give the same, and every condition of the chain
//! stands at the first join that has its columns.

use super::bind;
use super::constant::always_gives_the_same;
use super::expr::{Expr, ExprKind};
use super::relation::{JoinTime, Op, Relation};
use crate::error::At;
use datafusion::logical_expr::Operator;
use std::collections::BTreeSet;
use std::ops::Range;
use tidemill_operators::join::JoinKind;

/// More inputs than anybody joins by hand.
const INPUTS_MAX: usize = 32;

/// Inner joins of some inputs, taken apart. Expressions are over the columns of all inputs, in
/// the order in which they are written.
#[derive(Default)]
struct Chain<'r> {
    inputs: Vec<&'r Relation>,
    conditions: Vec<Expr>,
    /// How many of the joins take rows back.
    updating_joins: usize,
    /// Whether it has a join whose rows have a lifetime.
    forgets: bool,
}

impl<'r> Chain<'r> {
    /// Takes a chain apart; gives its columns.
    fn add(&mut self, relation: &'r Relation) -> Vec<Expr> {
        match &relation.op {
            Op::Join { left, right, left_keys, right_keys, residual, ttl_ms, .. }
                if is_chain(relation) =>
            {
                let mut columns = self.add(left);
                let width = columns.len();
                columns.extend(self.add(right));
                let equal = left_keys.iter().zip(right_keys).map(|(&l, &r)| {
                    let (l, r) = (columns[l].clone(), columns[r + width].clone());
                    Expr::compare(Operator::Eq, l, r)
                });
                self.conditions.extend(equal.collect::<Vec<_>>());
                let residual = residual.clone().map(Expr::conjuncts).unwrap_or_default();
                self.conditions.extend(residual.iter().map(|c| c.substitute(&columns)));
                self.updating_joins += usize::from(relation.updating);
                self.forgets |= ttl_ms.iter().any(Option::is_some);
                columns
            }
            Op::Project { input, exprs } if is_chain(relation) => {
                let columns = self.add(input);
                exprs.iter().map(|expr| expr.substitute(&columns)).collect()
            }
            Op::Filter { input, predicate } if is_chain(relation) => {
                let columns = self.add(input);
                let conjuncts = predicate.clone().conjuncts();
                self.conditions.extend(conjuncts.iter().map(|c| c.substitute(&columns)));
                columns
            }
            _ => {
                let first = self.width();
                self.inputs.push(relation);
                let columns = relation.all_columns(At::default());
                columns.iter().map(|column| column.remap(&|i| i + first)).collect()
            }
        }
    }

    fn width(&self) -> usize {
        self.inputs.iter().map(|input| input.columns.len()).sum()
    }

    /// The columns of an input.
    fn columns_of(&self, input: usize) -> Range<usize> {
        let before = self.inputs[..input].iter().map(|input| input.columns.len());
        let first: usize = before.sum();
        first..first + self.inputs[input].columns.len()
    }

    /// The inputs that an expression reads.
    fn read_by(&self, expr: &Expr) -> BTreeSet<usize> {
        let mut read = BTreeSet::new();
        expr.columns(&mut |column| {
            let input = (0..self.inputs.len()).find(|&i| self.columns_of(i).contains(&column));
            read.extend(input);
        });
        read
    }

    /// For each equality of the chain the inputs that its sides read.
    fn equalities(&self) -> Vec<[BTreeSet<usize>; 2]> {
        let sides = |condition: &Expr| match &condition.kind {
            ExprKind::Binary(Operator::Eq, a, b) => Some([self.read_by(a), self.read_by(b)]),
            _ => None,
        };
        let with_columns = |sides: &[BTreeSet<usize>; 2]| sides.iter().all(|side| !side.is_empty());
        self.conditions.iter().filter_map(sides).filter(with_columns).collect()
    }

    /// The best order, if it is better than the one that is written.
    fn better_order(&self) -> Option<Vec<usize>> {
        let equalities = self.equalities();
        let growing = (0..self.inputs.len()).filter(|&input| !self.inputs[input].updating);
        let orders = growing.filter_map(|first| self.order_from(first, &equalities));
        let best = orders.min_by_key(|order| self.updating_joins_of(order))?;
        (self.updating_joins_of(&best) < self.updating_joins).then_some(best)
    }

    /// All inputs, beginning with `first`: of those that an equality joins to the ones before, those
    /// that only grow first, and else as they are written.
    fn order_from(&self, first: usize, equalities: &[[BTreeSet<usize>; 2]]) -> Option<Vec<usize>> {
        let mut order = vec![first];
        while order.len() < self.inputs.len() {
            let is_joined = |input: &usize| {
                !order.contains(input)
                    && equalities.iter().any(|[a, b]| {
                        let joins = |own: &BTreeSet<usize>, others: &BTreeSet<usize>| {
                            own.iter().eq([input]) && others.iter().all(|i| order.contains(i))
                        };
                        joins(a, b) || joins(b, a)
                    })
            };
            let joined = (0..self.inputs.len()).filter(is_joined);
            let next = joined.min_by_key(|&input| self.inputs[input].updating)?;
            order.push(next);
        }
        Some(order)
    }

    fn updating_joins_of(&self, order: &[usize]) -> usize {
        let growing = order.iter().take_while(|&&input| !self.inputs[input].updating).count();
        order.len() - growing.max(1)
    }

    /// The joins in this order, each condition at the first one that has its columns.
    fn joined(&self, order: &[usize]) -> (Relation, Vec<usize>) {
        let mut places = vec![usize::MAX; self.width()];
        let mut conditions: Vec<&Expr> = self.conditions.iter().collect();
        let mut chain: Option<Relation> = None;
        for &input in order {
            let first = chain.as_ref().map_or(0, |chain| chain.columns.len());
            self.columns_of(input).zip(first..).for_each(|(column, place)| places[column] = place);
            let is_there = |condition: &&Expr| {
                let mut all = true;
                condition.columns(&mut |column| all &= places[column] != usize::MAX);
                all
            };
            let (here, later): (Vec<&Expr>, _) = conditions.into_iter().partition(is_there);
            conditions = later;
            let here = here.into_iter().map(|c| c.remap(&|column| places[column]));
            // What is said of the input alone filters it.
            let (own, of_join): (Vec<Expr>, Vec<Expr>) = here.partition(|condition| {
                let mut is_own = true;
                condition.columns(&mut |place| is_own &= place >= first);
                is_own
            });
            let next = self.inputs[input].clone();
            let next = match Expr::all(own.iter().map(|c| c.remap(&|place| place - first))) {
                Some(own) => Relation::filter(next, own),
                None => next,
            };
            chain = Some(match chain {
                Some(chain) => {
                    bind::join_relations(chain, next, JoinKind::Inner, Expr::all(of_join))
                }
                None => next,
            });
        }
        (chain.expect("a chain has inputs"), places)
    }
}

/// Whether it is inner joins that may change places, below projections and filters.
fn is_chain(relation: &Relation) -> bool {
    match &relation.op {
        Op::Join { kind: JoinKind::Inner, time: JoinTime::Unbounded, residual, .. } => {
            residual.as_ref().is_none_or(always_gives_the_same)
        }
        Op::Project { input, exprs } => exprs.iter().all(always_gives_the_same) && is_chain(input),
        Op::Filter { input, predicate } => always_gives_the_same(predicate) && is_chain(input),
        _ => false,
    }
}

/// The same rows by joins in a better order, if there is one; `conjuncts` are conditions on the
/// relation that become conditions of its joins, and are part of what is given.
pub(super) fn better(relation: &Relation, conjuncts: &[Expr]) -> Option<Relation> {
    let mut chain = Chain::default();
    let columns = chain.add(relation);
    chain.conditions.extend(conjuncts.iter().map(|c| c.substitute(&columns)));
    if chain.forgets || !(3..=INPUTS_MAX).contains(&chain.inputs.len()) {
        return None;
    }
    let order = chain.better_order()?;
    let (joined, places) = chain.joined(&order);
    let exprs = columns.iter().map(|column| column.remap(&|i| places[i])).collect();
    let updating = joined.updating;
    let op = Op::Project { input: Box::new(joined), exprs };
    Some(Relation { op, columns: relation.columns.clone(), updating })
}

/// How many inputs the inner joins have that are not bounded in time.
pub(super) fn inputs_of(relation: &Relation) -> usize {
    let mut chain = Chain::default();
    chain.add(relation);
    chain.inputs.len()
}

/// The joins of a chain, the last one first.
pub(super) fn joins_of(relation: &Relation) -> Vec<&Relation> {
    let mut joins = Vec::new();
    if is_chain(relation) {
        joins.extend(matches!(relation.op, Op::Join { .. }).then_some(relation));
        joins.extend(relation.inputs().into_iter().flat_map(joins_of));
    }
    joins
}
