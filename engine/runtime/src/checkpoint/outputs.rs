//! [`SinkOutputs`]: all sinks of a job, as the protocol sees them.

use super::decision::Visibility;
use super::manifest::SinkState;
use super::protocol::Outputs;
use crate::error::JobError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidemill_connectors::sink::{Marker, Sink, Transaction};
use tidemill_connectors::source::ConnectorError;
use tidemill_sql::plan::{NodeId, Plan};

/// The sinks of a job and the one transaction that some of them may share.
pub(crate) struct SinkOutputs {
    /// By the operator's id in the plan.
    sinks: BTreeMap<u64, Arc<dyn Sink>>,
    /// What is written and has no part in a checkpoint but to be flushed before.
    others: Vec<Arc<dyn Sink>>,
    transaction: Option<Arc<dyn Transaction>>,
    job: String,
    generation: AtomicU64,
}

impl SinkOutputs {
    /// The outputs of a job with this identity.
    ///
    /// # Errors
    /// If sinks have transactions that can't be committed together: then of two results one
    /// could become visible and the other not.
    pub(crate) fn new(
        job: &str,
        plan: &Plan,
        sinks: &BTreeMap<NodeId, Arc<dyn Sink>>,
        letter_topics: &BTreeMap<NodeId, Arc<dyn Sink>>,
    ) -> Result<Self, JobError> {
        let mut transaction: Option<Arc<dyn Transaction>> = None;
        for sink in sinks.values().chain(letter_topics.values()) {
            let Some(its) = sink.transaction() else { continue };
            match &transaction {
                Some(first) if first.id() != its.id() => return Err(JobError::TwoTransactions),
                _ => transaction = Some(its),
            }
        }
        let by_id =
            |(&node, sink): (&NodeId, &Arc<dyn Sink>)| (plan.nodes[node].operator_id, sink.clone());
        Ok(SinkOutputs {
            sinks: sinks.iter().map(by_id).collect(),
            others: letter_topics.values().cloned().collect(),
            transaction,
            job: job.to_owned(),
            generation: AtomicU64::new(0),
        })
    }

    /// For how long the job's transaction may be open, if it has one that somebody gives up.
    pub(crate) fn transaction_timeout(&self) -> Option<Duration> {
        self.transaction.as_ref()?.timeout()
    }

    /// Says which start of the job this is.
    pub(crate) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }
}

impl Outputs for SinkOutputs {
    fn visibility(&self, marker: Option<u64>) -> Visibility {
        if self.transaction.is_some() {
            Visibility::Transaction(marker)
        } else if self.sinks.values().any(|sink| sink.is_staged()) {
            Visibility::Staged
        } else {
            Visibility::Immediate
        }
    }

    fn transactions(&self) -> Vec<String> {
        self.transaction.iter().map(|transaction| transaction.id()).collect()
    }

    fn recover(&self) -> Result<Option<u64>, ConnectorError> {
        let Some(transaction) = &self.transaction else { return Ok(None) };
        Ok(transaction.recover()?.map(|marker| marker.checkpoint))
    }

    fn flush(&self) -> Result<(), ConnectorError> {
        self.sinks.values().chain(&self.others).try_for_each(|sink| sink.settle())?;
        self.transaction.as_ref().map_or(Ok(()), |transaction| transaction.flush())
    }

    fn commit(&self, checkpoint: u64) -> Result<(), ConnectorError> {
        let generation = self.generation.load(Ordering::Relaxed);
        let marker = Marker { job: self.job.clone(), checkpoint, generation };
        self.transaction.as_ref().map_or(Ok(()), |transaction| transaction.commit(&marker))
    }

    fn publish(&self, staged: &[SinkState]) -> Result<(), ConnectorError> {
        let known = staged.iter().filter_map(|state| Some((self.sinks.get(&state.id)?, state)));
        known.into_iter().try_for_each(|(sink, state)| sink.commit(&state.staged))
    }

    fn roll_back(&self, staged: &[SinkState]) -> Result<(), ConnectorError> {
        self.sinks.iter().try_for_each(|(id, sink)| {
            let state = staged.iter().find(|state| state.id == *id);
            sink.recover(state.map_or(&[][..], |state| &state.staged))
        })
    }
}
