//! [`Side`]: the rows of one input, as cheap as what the input does allows.

use super::bag::Bag;
use super::keys::Keys;
use super::log::Log;
use crate::batch::Batch;
use crate::key_index::KeyIndex;
use crate::operator::OperatorError;
use arrow::array::ArrayRef;

/// How the rows of an input are held.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few of them")]
pub(super) enum Side {
    /// They only ever come.
    Log(Log),
    /// They come and go.
    Bag(Bag),
}

/// Evaluates an expression with the rows, whichever they are.
macro_rules! with_rows {
    ($side:expr, $rows:ident => $do:expr) => {
        match $side {
            Side::Log($rows) => $do,
            Side::Bag($rows) => $do,
        }
    };
}

/// Evaluates an expression with the [view](super::rows::View) of a place at an epoch, whichever rows
/// there are.
macro_rules! with_view {
    ($arranged:expr, $place:expr, $epoch:expr, $view:ident => $do:expr) => {{
        let (place, keys) = ($place, &$arranged.keys);
        let standing = $arranged.places[place].standing($epoch);
        with_rows!(&$arranged.places[place].side, rows => {
            let $view = View { rows, keys, place, standing };
            $do
        })
    }};
}
pub(super) use {with_rows, with_view};

impl Side {
    /// Adds the epoch's rows, whose keys have these slots.
    pub(super) fn add(
        &mut self,
        rows: &Batch,
        slots: &[u32],
        keys: &mut Keys,
    ) -> Result<(), OperatorError> {
        match self {
            Side::Log(log) => log.add(rows, slots, keys),
            Side::Bag(bag) => bag.add(rows.columns(), |row| rows.weight(row), slots, keys),
        }
    }

    /// The columns `wanted` of the rows `ids`, of which [`NONE`](super::rows::NONE) is a row of
    /// NULLs.
    pub(super) fn gather(
        &mut self,
        ids: impl Iterator<Item = u32>,
        wanted: &[usize],
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        match self {
            Side::Log(log) => log.gather(ids, wanted),
            Side::Bag(bag) => bag.gather(ids, wanted),
        }
    }

    /// Ends the epoch.
    pub(super) fn settle(&mut self, keys: &mut Keys, index: &KeyIndex) {
        match self {
            Side::Log(log) => log.settle(),
            Side::Bag(bag) => bag.settle(keys, index),
        }
    }

    pub(super) fn state_bytes(&self) -> usize {
        with_rows!(self, rows => rows.state_bytes())
    }
}
