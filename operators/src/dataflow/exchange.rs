//! The one exchange pact: rows go to the worker that owns their key group.
//!
//! The key columns are hashed once per batch, row numbers are dealt to their targets, and every
//! column is gathered once per target. Timely's rule for distributors, that the records of a
//! stamp keep their number, holds because a message counts as its rows and an empty one, which
//! counts as one, is passed on whole.

use super::message::Message;
use crate::key::{KeyGroup, hash_keys};
use arrow::array::UInt32Array;
use timely::communication::Push;
use timely::dataflow::channels::Message as Parcel;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::progress::Stamp;

/// Deals rows to workers by their key columns.
#[derive(Debug)]
pub(super) struct KeyDistributor {
    keys: Vec<usize>,
    hashes: Vec<u64>,
    rows: Vec<Vec<u32>>,
}

impl KeyDistributor {
    pub(super) fn new(keys: Vec<usize>, peers: usize) -> Self {
        KeyDistributor { keys, hashes: Vec::new(), rows: vec![Vec::new(); peers] }
    }

    /// The number of the one worker that owns all rows, or else row numbers in `self.rows`.
    fn deal(&mut self, batch: &crate::Batch) -> Option<usize> {
        let peers = self.rows.len();
        if batch.is_empty() {
            return Some(0);
        }
        hash_keys(batch.columns(), &self.keys, &mut self.hashes);
        for (row, &hash) in self.hashes.iter().enumerate() {
            self.rows[KeyGroup::of(hash).owner(peers)].push(row as u32);
        }
        let only = self.rows.iter().position(|rows| rows.len() == batch.len());
        if let Some(target) = only {
            self.rows[target].clear();
        }
        only
    }
}

impl Distributor<Message> for KeyDistributor {
    fn partition<T: Clone, P: Push<Parcel<T, Message>>>(
        &mut self,
        message: &mut Message,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let Some(batch) = message.take() else { return };
        if let Some(target) = self.deal(&batch) {
            return Parcel::push_at(&mut batch.into(), stamp.clone(), &mut pushers[target]);
        }
        for (rows, pusher) in self.rows.iter_mut().zip(pushers) {
            if rows.is_empty() {
                continue;
            }
            let indices = UInt32Array::from(std::mem::take(rows));
            let part = batch.take(&indices).expect("rows of a batch can be gathered");
            Parcel::push_at(&mut part.into(), stamp.clone(), pusher);
        }
    }

    /// Nothing is held back between batches.
    fn flush<T: Clone, P: Push<Parcel<T, Message>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}
