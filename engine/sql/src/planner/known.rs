//! What is known of all rows of a relation, and what follows from that for the other side of a join.
//!
//! ```text
//! a JOIN b ON a.k = b.k WHERE a.k > 10
//!
//! a.k = b.k and a.k > 10 hold for all pairs, so b.k > 10 does: rows of b for which it does not meet
//! no row that is left, and need not be read
//! ```
//!
//! The invariant: **a condition that is passed on leaves out no row that has a partner.** So it is
//! one that gives the same for equal values: it reads one column, always gives the same, and both
//! columns have one type in which equal values are the same value. And it can't fail, for a row
//! that has no partner must not end the job.

use super::compile::may_fail;
use super::constant::always_gives_the_same;
use super::expr::{Expr, ExprKind};
use super::relation::{JoinTime, Op, Relation};
use crate::types::SqlType;
use datafusion::logical_expr::Operator;
use std::collections::BTreeSet;
use tidemill_operators::join::JoinKind;

/// What holds for all rows of a relation.
#[derive(Default)]
struct Known {
    /// Columns that are equal.
    equal: Vec<[usize; 2]>,
    /// Conditions on one column each.
    conditions: Vec<Expr>,
}

impl Known {
    fn of(relation: &Relation) -> Known {
        match &relation.op {
            Op::Filter { input, predicate } => {
                let mut known = Known::of(input);
                known.learn(predicate.clone().conjuncts());
                known
            }
            Op::Project { input, exprs } => {
                Known::of(input).seen_through(|column| place(exprs, column))
            }
            Op::Aggregate { input, keys, .. } => {
                Known::of(input).seen_through(|column| keys.iter().position(|&key| key == column))
            }
            // They have the input's columns first.
            Op::TimeFilter { input, .. }
            | Op::Window { input, .. }
            | Op::RowNumber { input, .. }
            | Op::TopN { input, .. }
            | Op::Over { input, .. }
            | Op::Unnest { input, .. } => Known::of(input),
            Op::Join { left, right, kind, left_keys, right_keys, .. } => {
                let width = left.columns.len();
                let mut known = Known::default();
                if !matches!(kind, JoinKind::Right | JoinKind::Full) {
                    known.add(Known::of(left), 0);
                }
                if matches!(kind, JoinKind::Inner | JoinKind::Right) {
                    known.add(Known::of(right), width);
                }
                if *kind == JoinKind::Inner {
                    known.equal.extend(keys(left_keys, right_keys, width));
                }
                known
            }
            Op::Scan(_) | Op::Values(_) | Op::Pattern { .. } | Op::Union { .. } => Known::default(),
        }
    }

    fn add(&mut self, other: Known, shift: usize) {
        self.equal.extend(other.equal.iter().map(|pair| pair.map(|column| column + shift)));
        self.conditions.extend(other.conditions.iter().map(|c| c.remap(&|i| i + shift)));
    }

    fn learn(&mut self, conjuncts: impl IntoIterator<Item = Expr>) {
        for conjunct in conjuncts {
            match &conjunct.kind {
                ExprKind::Binary(Operator::Eq, a, b) => match (a.as_column(), b.as_column()) {
                    (Some(a), Some(b)) => self.equal.push([a, b]),
                    _ => self.conditions.push(conjunct),
                },
                _ => self.conditions.push(conjunct),
            }
        }
        self.conditions.retain(can_be_passed_on);
    }

    /// What is left of it where `place` says where columns are to be found.
    fn seen_through(self, place: impl Fn(usize) -> Option<usize>) -> Known {
        let equal = self.equal.iter().filter_map(|&[a, b]| Some([place(a)?, place(b)?]));
        let conditions = self.conditions.iter().filter_map(|condition| {
            let at = place(read_column(condition)?)?;
            Some(condition.remap(&|_| at))
        });
        Known { equal: equal.collect(), conditions: conditions.collect() }
    }
}

/// Where a column is among projected ones.
fn place(exprs: &[Expr], column: usize) -> Option<usize> {
    exprs.iter().position(|expr| expr.as_column() == Some(column))
}

fn keys<'k>(
    left: &'k [usize],
    right: &'k [usize],
    width: usize,
) -> impl Iterator<Item = [usize; 2]> + 'k {
    left.iter().zip(right).map(move |(&left, &right)| [left, right + width])
}

/// The column that a condition reads, if it is only one.
fn read_column(condition: &Expr) -> Option<usize> {
    let mut read = BTreeSet::new();
    condition.columns(&mut |column| {
        read.insert(column);
    });
    read.pop_first().filter(|_| read.is_empty())
}

fn can_be_passed_on(condition: &Expr) -> bool {
    read_column(condition).is_some() && always_gives_the_same(condition) && !may_fail(condition)
}

/// Whether equal values of two columns are the same value to any condition. Of floating point
/// numbers there are two zeros.
fn has_same_values(a: &SqlType, b: &SqlType) -> bool {
    use SqlType::{Array, Double, Float, Map, Multiset, Row};
    let is_plain = !matches!(a, Float | Double | Array(_) | Map(..) | Multiset(_) | Row(_));
    is_plain && (a == b || (a.is_string() && b.is_string()))
}

/// Whether rows of a side of a join that meet no partner can be left out beforehand: rows that are
/// shown without a partner, too, can not.
pub(super) fn can_be_filtered(side: usize, kind: JoinKind, time: JoinTime) -> bool {
    use JoinKind::{Inner, Left, LeftAnti, LeftSemi, Right};
    // Of what has versions each row counts, and what is looked up is asked for by key.
    if matches!(time, JoinTime::Temporal { .. } | JoinTime::Lookup) {
        return false;
    }
    match side {
        0 => matches!(kind, Inner | Right | LeftSemi),
        _ => matches!(kind, Inner | Left | LeftSemi | LeftAnti),
    }
}

/// A join whose sides are about to be filtered.
pub(super) struct Filtered<'r> {
    pub(super) left: &'r Relation,
    pub(super) right: &'r Relation,
    pub(super) kind: JoinKind,
    pub(super) time: JoinTime,
    pub(super) keys: [&'r [usize]; 2],
    /// The conditions on each side, over its own columns.
    pub(super) to: [&'r [Expr]; 2],
    /// Those on both that come to the join's own.
    pub(super) to_both: &'r [Expr],
}

impl Filtered<'_> {
    /// The conditions on columns of each side that follow from those on equal columns of the other
    /// one, over the side's own columns.
    pub(super) fn passed_on(&self) -> [Vec<Expr>; 2] {
        let filtered = [0, 1].map(|side| can_be_filtered(side, self.kind, self.time));
        if filtered == [false, false] {
            return [Vec::new(), Vec::new()];
        }
        let width = self.left.columns.len();
        let sides = [self.known(0), self.known(1)];
        let mut both = Known::default();
        both.equal.extend(keys(self.keys[0], self.keys[1], width));
        both.learn(self.to_both.iter().cloned());
        let equal = sides[0]
            .equal
            .iter()
            .copied()
            .chain(sides[1].equal.iter().map(|pair| pair.map(|column| column + width)));
        let classes = Classes::new(width + self.right.columns.len(), equal.chain(both.equal));
        [0, 1].map(|side| match filtered[side] {
            true => self.onto(side, &sides, &classes),
            false => Vec::new(),
        })
    }

    /// What is known of a side when it is filtered.
    fn known(&self, side: usize) -> Known {
        let mut known = Known::of([self.left, self.right][side]);
        known.learn(self.to[side].iter().cloned());
        known
    }

    /// What follows for one side from what is known of the other.
    fn onto(&self, side: usize, known: &[Known; 2], classes: &Classes) -> Vec<Expr> {
        let width = self.left.columns.len();
        let shift = |side: usize| if side == 0 { 0 } else { width };
        let [own, other] = [[self.left, self.right][side], [self.left, self.right][1 - side]];
        let mut onto: Vec<Expr> = Vec::new();
        for condition in &known[1 - side].conditions {
            let Some(read) = read_column(condition) else { continue };
            let class = classes.of(read + shift(1 - side));
            let data_type = &other.columns[read].data_type;
            let equals: Vec<usize> = (0..own.columns.len())
                .filter(|&column| classes.of(column + shift(side)) == class)
                .filter(|&column| has_same_values(data_type, &own.columns[column].data_type))
                .collect();
            let is_known = |column: usize| {
                let same = condition.remap(&|_| column);
                known[side].conditions.iter().chain(&onto).any(|known| known.gives_same(&same))
            };
            if let Some(&first) = equals.first()
                && !equals.iter().any(|&column| is_known(column))
            {
                onto.push(condition.remap(&|_| first));
            }
        }
        onto
    }
}

/// Which columns are equal to which.
struct Classes(Vec<usize>);

impl Classes {
    fn new(columns: usize, equal: impl Iterator<Item = [usize; 2]>) -> Classes {
        let mut class: Vec<usize> = (0..columns).collect();
        for [a, b] in equal {
            let (from, to) = (class[a].max(class[b]), class[a].min(class[b]));
            class.iter_mut().filter(|class| **class == from).for_each(|class| *class = to);
        }
        Classes(class)
    }

    fn of(&self, column: usize) -> usize {
        self.0[column]
    }
}
