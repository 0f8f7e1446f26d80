//! [`Arrangement`]: an input of joins, held under its key.
//!
//! Joins that need one input under one key read one arrangement of it. Arrangements that are joined
//! with each other stand side by side, with one index of all their keys:
//!
//! ```text
//!   orders ──► Arrange by customer ──┬──► Join ◄── Arrange by id ◄── customers
//!                                    └──► Join ◄── Arrange by customer ◄── complaints
//!
//!   index       place 0      place 1    place 2
//!   key    ──►  orders' ──┐  customers' complaints'      heads of chains of rows
//!               rows ◄────┘  rows       rows
//! ```
//!
//! The rows of an epoch are added at once, and then say how often they counted before it beside how
//! often they count now. They do so until every reader has come to that epoch: then the epoch is
//! settled, and only then is the next one added. So the invariant: **there is at most one epoch that
//! a reader may not have seen**, and a reader at any epoch finds what was there
//! [before](Standing::Before), [behind](Standing::Behind) or on [both sides](Standing::Within) of
//! that one. No reader waits for another one's epoch but for its own inputs, which are those of
//! epochs up to it: so the earliest epoch that is not settled can always go on.

use super::bag::Bag;
use super::key_types;
use super::keys::Keys;
use super::log::Log;
use super::rows::Standing;
use super::side::Side;
use crate::batch::Batch;
use crate::key::all_valid;
use crate::key_index::{KeyIndex, NO_SLOT};
use crate::operator::OperatorError;
use crate::time::Epoch;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;
use std::cell::{RefCell, RefMut};
use std::rc::Rc;

/// What to arrange, and how.
#[derive(Clone, Debug)]
pub struct ArrangeSpec {
    /// The columns that are the key. A row with a NULL among them is not held: it meets no other.
    pub keys: Vec<usize>,
    /// Whether the input only grows: no row of it is ever taken back.
    pub only_grows: bool,
}

/// An arrangement as those who share it see it, before there is one.
#[derive(Clone, Debug)]
pub struct Arranging {
    /// What to arrange.
    pub spec: ArrangeSpec,
    /// The input's columns.
    pub schema: SchemaRef,
    /// How many inputs of joins it is.
    pub readers: usize,
    /// Whether a join [asks](super::JoinSpec::counts_rows) how many rows there are under a key.
    pub is_counted: bool,
}

/// One worker's share of an input, held under its key: a hand on it, for who fills it
/// ([`Arrange`](super::Arrange)) and who reads it ([`Join`](super::Join)).
#[derive(Clone, Debug)]
pub struct Arrangement {
    arranged: Rc<RefCell<Arranged>>,
    pub(super) place: usize,
}

impl Arrangement {
    /// Arrangements that are joined with each other, without rows.
    ///
    /// # Errors
    /// If their keys differ in type or can't be compared.
    pub fn side_by_side(all: Vec<Arranging>) -> Result<Vec<Arrangement>, OperatorError> {
        let counted: Vec<bool> = all.iter().map(|arranging| arranging.is_counted).collect();
        let places = all.into_iter().enumerate().map(|(place, arranging)| {
            let Arranging { spec, schema, readers, .. } = arranging;
            let side = match spec.only_grows {
                true => Side::Log(Log::new(schema.clone(), place)),
                false => Side::Bag(Bag::new(schema.clone(), place, false, None)?),
            };
            Ok(Place::new(spec.keys, side, schema, readers))
        });
        let places = places.collect::<Result<Vec<_>, OperatorError>>()?;
        Ok(Arrangement::of(Arranged::new(places, counted)?))
    }

    /// One for each place.
    pub(super) fn of(arranged: Arranged) -> Vec<Arrangement> {
        let places = 0..arranged.places.len();
        let arranged = Rc::new(RefCell::new(arranged));
        places.map(|place| Arrangement { arranged: arranged.clone(), place }).collect()
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.arranged.borrow().places[self.place].schema.clone()
    }

    /// It and what it is joined with.
    pub(super) fn arranged(&self) -> RefMut<'_, Arranged> {
        self.arranged.borrow_mut()
    }

    /// Whether both stand side by side.
    pub(super) fn is_beside(&self, other: &Arrangement) -> bool {
        Rc::ptr_eq(&self.arranged, &other.arranged)
    }
}

/// Arrangements that stand side by side.
#[derive(Debug)]
pub(super) struct Arranged {
    pub(super) index: KeyIndex,
    pub(super) keys: Keys,
    pub(super) places: Vec<Place>,
}

/// One of them.
pub(super) struct Place {
    pub(super) schema: SchemaRef,
    pub(super) key_columns: Vec<usize>,
    pub(super) side: Side,
    readers: usize,
    /// The epoch that was added and is not settled, and how many readers have not come to it.
    added: Option<(Epoch, usize)>,
    /// Who waits for it to be settled.
    waiting: Option<Rc<dyn Fn()>>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("side", &self.side).field("added", &self.added).finish()
    }
}

impl Place {
    pub(super) fn new(
        key_columns: Vec<usize>,
        side: Side,
        schema: SchemaRef,
        readers: usize,
    ) -> Self {
        Place { schema, key_columns, side, readers, added: None, waiting: None }
    }

    /// Where a reader at `epoch` stands.
    pub(super) fn standing(&self, epoch: Epoch) -> Standing {
        Standing::of(epoch, self.added.map(|(added, _)| added))
    }

    /// The columns of rows that are the key.
    pub(super) fn key_of(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.key_columns.iter().map(|&key| rows.column(key).clone()).collect()
    }
}

impl Arranged {
    /// Says for each place whether the rows under a key are counted.
    pub(super) fn new(places: Vec<Place>, counted: Vec<bool>) -> Result<Self, OperatorError> {
        let mut types = Vec::new();
        for other in &places {
            let first = &places[0];
            types =
                key_types(&first.schema, &first.key_columns, &other.schema, &other.key_columns)?;
        }
        Ok(Arranged { index: KeyIndex::new(&types)?, keys: Keys::new(counted), places })
    }

    /// Adds an epoch's rows. Those with a NULL in their key meet no row ever: they are not held.
    pub(super) fn add(
        &mut self,
        place: usize,
        epoch: Epoch,
        batches: &[Batch],
    ) -> Result<(), OperatorError> {
        let Place { schema, added, readers, .. } = &mut self.places[place];
        debug_assert!(added.is_none(), "settled before the next epoch");
        *added = Some((epoch, *readers));
        let rows = Batch::concat(schema, batches)?;
        let columns = self.places[place].key_of(rows.columns());
        let valid = all_valid(&columns);
        let slots = self.assign(&columns, rows.len(), valid.as_ref())?;
        self.places[place].side.add(&rows, &slots, &mut self.keys)
    }

    /// The slots of keys, new ones included.
    pub(super) fn assign(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        valid: Option<&NullBuffer>,
    ) -> Result<Vec<u32>, OperatorError> {
        let mut slots = Vec::new();
        let keys = &mut self.keys;
        self.index.assign(columns, rows, valid, &mut slots, |slot, _| keys.insert(slot))?;
        debug_assert!(valid.is_some() || !slots.contains(&NO_SLOT), "only NULL has no key");
        Ok(slots)
    }

    /// Notes that a reader has come to the epoch that was added last; the last one settles it.
    pub(super) fn read(&mut self, place: usize, epoch: Epoch) {
        let Some((added, unread)) = &mut self.places[place].added else { return };
        debug_assert_eq!(*added, epoch, "who is given an epoch's rows comes to that epoch");
        *unread -= 1;
        if *unread == 0 {
            self.settle(place);
        }
    }

    /// Ends an epoch.
    pub(super) fn settle(&mut self, place: usize) {
        let Place { side, added, waiting, .. } = &mut self.places[place];
        side.settle(&mut self.keys, &self.index);
        *added = None;
        if let Some(wake) = waiting.take() {
            wake();
        }
        self.keys.settle(place);
        self.sweep();
    }

    /// Forgets what was idle for too long: nothing is shown of that.
    pub(super) fn forget_idle(&mut self, now_ms: i64) {
        for place in &mut self.places {
            if let Side::Bag(bag) = &mut place.side {
                bag.forget_idle(now_ms, &mut self.keys, &self.index);
            }
        }
        self.sweep();
    }

    /// Whether the last epoch is settled; if not, `wake` is called when it is.
    pub(super) fn is_settled(&mut self, place: usize, wake: &Rc<dyn Fn()>) -> bool {
        let Place { added, waiting, .. } = &mut self.places[place];
        *waiting = added.map(|_| wake.clone());
        added.is_none()
    }

    /// Forgets keys that nothing stands under.
    pub(super) fn sweep(&mut self) {
        let index = &mut self.index;
        self.keys.sweep(|slot| index.remove(slot));
    }

    /// The columns `wanted` of the rows `ids`, of which [`NONE`](super::rows::NONE) is a row of
    /// NULLs.
    pub(super) fn gather(
        &mut self,
        place: usize,
        ids: impl Iterator<Item = u32>,
        wanted: &[usize],
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        self.places[place].side.gather(ids, wanted)
    }

    /// Bytes of what one place holds, with its part of the keys.
    pub(super) fn state_bytes(&self, place: usize) -> usize {
        let keys = self.index.bytes() + self.keys.state_bytes();
        self.places[place].side.state_bytes() + keys / self.places.len()
    }
}
