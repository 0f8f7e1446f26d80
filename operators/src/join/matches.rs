//! Joins that show rows without a partner and whose condition is more than equal keys, or that forget
//! rows: there each row counts its partners.

use super::arrangement::{Arranged, Place};
use super::pairs::{Alone, Pair};
use super::rows::Rows;
use super::side::Side;
use super::{Join, bag::Bag};
use crate::operator::{EpochContext, OperatorError};

impl Join {
    /// The changes of such a join. Both of its sides are bags, and its own.
    pub(super) fn changes_by_matches(
        &self,
        arranged: &mut Arranged,
        context: &EpochContext,
    ) -> Result<Vec<Pair>, OperatorError> {
        let pairs = self.pairs(arranged, context.epoch, true);
        let mut passing = match &self.residual {
            Some(residual) => self.passing(arranged, &pairs, residual, context.now_ms)?,
            None => pairs,
        };
        let kind = self.spec.kind;
        let [Place { side: Side::Bag(left), .. }, Place { side: Side::Bag(right), .. }] =
            &mut *arranged.places
        else {
            unreachable!("the join was made with bags")
        };
        passing.iter().for_each(|&pair| count_matches(pair, left, right));
        passing.retain(|pair| pair.weight != 0 && kind.has_pairs());
        alone_by_matches(Alone::of(kind, 0), 0, left, &mut passing);
        alone_by_matches(Alone::of(kind, 1), 1, right, &mut passing);
        Ok(passing)
    }
}

/// Counts the partners that a pair gives to its rows, or takes from them.
fn count_matches(pair: Pair, left: &mut Bag, right: &mut Bag) {
    let ((l_before, l), (r_before, r)) = (left.counts(pair.left), right.counts(pair.right));
    // A row that was there knows its partners from before; a new one meets all of them now.
    let for_left = if l_before == 0 { r } else { r - r_before };
    let for_right = if r_before == 0 { l } else { l - l_before };
    for (side, id, matches) in [(left, pair.left, for_left), (right, pair.right, for_right)] {
        if matches != 0 {
            side.add_matches(id, matches);
        }
    }
}

/// Changes of rows of one side that are shown by themselves.
fn alone_by_matches(alone: Alone, port: usize, side: &Bag, pairs: &mut Vec<Pair>) {
    if alone == Alone::Never {
        return;
    }
    for change in side.changes() {
        let (before, now) = side.counts(change.id);
        let matches = side.matches(change.id);
        let weight =
            alone.shown(now, matches > 0) - alone.shown(before, matches - change.matches_delta > 0);
        pairs.extend(Pair::alone(port, change.id, weight));
    }
}
