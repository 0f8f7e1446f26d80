//! [`Report`]: what a source says about event time, on its way to every worker.

use super::clock::SourceId;
use crate::time::{Epoch, Watermark};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::container::NoopBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message as Parcel};
use timely::progress::Stamp;

/// News of one source from one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The source.
    pub source: SourceId,
    /// The worker that says it.
    pub worker: usize,
    /// What it says.
    pub news: News,
}

/// What is to be known of a source besides its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The lane holds the watermark at its own, which is at least this.
    Active(u32, Watermark),
    /// The lane does not hold the watermark for now.
    Idle(u32),
    /// The lane will give no further row, on any worker.
    LaneFinished(u32),
    /// This worker will give no further row of the whole source.
    WorkerFinished,
}

/// A worker's end of the report stream.
pub struct ReportInput {
    handle: InputHandle<Epoch, NoopBuilder<Reports>>,
    peers: usize,
}

impl ReportInput {
    pub(super) fn new(handle: InputHandle<Epoch, NoopBuilder<Reports>>, peers: usize) -> Self {
        ReportInput { handle, peers }
    }

    /// Tells all workers, under the current epoch.
    pub fn send(&mut self, reports: &[Report]) {
        if reports.is_empty() {
            return;
        }
        let copies = vec![reports.to_vec(); self.peers];
        self.handle.send_batch(&mut Reports { copies, ..Reports::default() });
    }

    /// Has all workers' clocks tick in the current epoch, whether there is news or not: for
    /// operators that wait for a processing time.
    pub fn beat(&mut self) {
        let copies = vec![Vec::new(); self.peers];
        self.handle.send_batch(&mut Reports { copies, beats: true, ..Reports::default() });
    }

    /// Tells all workers that a checkpoint cuts before the current epoch. One worker has to say
    /// it; several may.
    pub fn cut(&mut self, checkpoint: u64) {
        let copies = vec![Vec::new(); self.peers];
        let cut = Some(checkpoint);
        self.handle.send_batch(&mut Reports { copies, cut, ..Reports::default() });
    }

    /// Moves on to `epoch`, which ends the ones before.
    pub fn advance_to(&mut self, epoch: Epoch) {
        self.handle.advance_to(epoch);
    }
}

impl std::fmt::Debug for ReportInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportInput").field("epoch", self.handle.time()).finish()
    }
}

/// One copy of some reports for each worker; after the exchange, the one copy for this worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    pub(super) copies: Vec<Vec<Report>>,
    /// The checkpoint that cuts before the epoch of the message.
    pub(super) cut: Option<u64>,
    /// Whether clocks tick in the epoch of the message without news too.
    pub(super) beats: bool,
}

impl Accountable for Reports {
    fn record_count(&self) -> i64 {
        self.copies.len().max(1) as i64
    }
}

impl ContainerBytes for Reports {
    fn from_bytes(_: Bytes) -> Self {
        unreachable!("reports do not leave the process")
    }

    fn length_in_bytes(&self) -> usize {
        unreachable!("reports do not leave the process")
    }

    fn into_bytes<W: std::io::Write>(&self, _: &mut W) {
        unreachable!("reports do not leave the process")
    }
}

/// Gives each worker its copy.
#[derive(Debug)]
pub(super) struct Broadcast;

impl Distributor<Reports> for Broadcast {
    fn partition<T: Clone, P: Push<Parcel<T, Reports>>>(
        &mut self,
        reports: &mut Reports,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let copies = std::mem::take(&mut reports.copies);
        debug_assert_eq!(copies.len(), pushers.len(), "one copy for each worker");
        for (copy, pusher) in copies.into_iter().zip(pushers) {
            let mut copy = Reports { copies: vec![copy], ..*reports };
            Parcel::push_at(&mut copy, stamp.clone(), pusher);
        }
    }

    fn flush<T: Clone, P: Push<Parcel<T, Reports>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}
