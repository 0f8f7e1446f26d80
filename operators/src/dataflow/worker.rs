//! [`Worker`]: one thread's share of a job's dataflow.
//!
//! Each job is a cluster of its own, so that its failure ends nothing else. We own the loop that
//! steps a worker: timely's own way with errors is to hang the peers or, worse, to close an epoch
//! that was only half fed.

use super::graph::Graph;
use super::host::Host;
use super::report::ReportInput;
use crate::time::Epoch;
use std::rc::Rc;
use std::time::{Duration, Instant};
use timely::WorkerConfig;
use timely::communication::Hooks;
use timely::communication::allocator::thread::Thread;
use timely::communication::allocator::{Allocator, ProcessBuilder};

/// A worker's place in its cluster, to be taken on the worker's own thread.
pub struct Seat(Option<ProcessBuilder>);

/// The places of a cluster of `workers` workers, in order.
pub fn seats(workers: usize) -> Vec<Seat> {
    if workers <= 1 {
        return vec![Seat(None)];
    }
    let refill = Hooks::default().refill;
    let builders = ProcessBuilder::new_typed_vector(workers, refill, None);
    builders.into_iter().map(|builder| Seat(Some(builder))).collect()
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

impl Seat {
    /// Becomes the worker. Returns when all workers have taken their seats.
    pub fn take(self) -> Worker {
        let allocator = match self.0 {
            None => Allocator::Thread(Thread::default()),
            Some(builder) => Allocator::Process(builder.build()),
        };
        let started = Some(Instant::now());
        Worker(timely::worker::Worker::new(WorkerConfig::default(), allocator, started))
    }
}

/// One thread's share of a job.
pub struct Worker(timely::worker::Worker);

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.0.index()).finish()
    }
}

impl Worker {
    /// Builds the job's dataflow, the same on all workers.
    pub fn build<R>(
        &mut self,
        host: Rc<dyn Host>,
        steps: impl for<'scope> FnOnce(&Graph<'scope>) -> R,
    ) -> (ReportInput, R) {
        self.0.dataflow::<Epoch, _, _>(|scope| {
            let (graph, reports) = Graph::new(scope, host);
            let built = steps(&graph);
            (reports, built)
        })
    }

    /// Does what there is to do; without work, waits up to `patience` for some.
    ///
    /// Never to be called again once the job has failed: stepping a worker of a failed job
    /// could tell its peers that a half-fed epoch is complete.
    pub fn step(&mut self, patience: Duration) {
        self.0.step_or_park(Some(patience));
    }

    /// Whether there is a dataflow that has not come to its end.
    pub fn is_running(&self) -> bool {
        self.0.has_dataflows()
    }
}
