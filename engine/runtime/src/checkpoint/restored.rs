//! [`Restored`]: what a job goes on with, as the parts of a plan ask for it, and whether the plan
//! is still the one that the checkpoint was taken of.

use super::manifest::{Manifest, SourceState, StepState};
use super::protocol::Recovered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use tidemill_connectors::source::Positions;
use tidemill_operators::snapshot::{Link, Snapshot, merge};
use tidemill_operators::{KeyGroup, Operator, OperatorError, Watermark};
use tidemill_sql::plan::{NodeKind, Plan};

/// What a job goes on with; nothing, if it starts at the beginning.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The checkpoint.
    pub manifest: Option<Manifest>,
    /// The state of each operator, and how many workers have taken their share.
    state: Mutex<BTreeMap<u64, (Snapshot, usize)>>,
}

impl Restored {
    /// Merges what was recovered, so that each operator restores once.
    pub(crate) fn new(recovered: Recovered) -> Result<Self, OperatorError> {
        let mut state = BTreeMap::new();
        for (operator, chain) in recovered.state {
            state.insert(operator, (merge(&chain, Link::Base)?, 0));
        }
        Ok(Restored { manifest: recovered.manifest, state: Mutex::new(state) })
    }

    /// Gives an operator the state of a worker's key groups. What every worker has taken is
    /// forgotten here.
    pub(crate) fn restore(
        &self,
        id: u64,
        (worker, workers): (usize, usize),
        operator: &mut dyn Operator,
    ) -> Result<(), OperatorError> {
        let share = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((snapshot, taken)) = state.get_mut(&id) else { return Ok(()) };
            let share = snapshot.of_key_groups(&KeyGroup::of_worker(worker, workers))?;
            *taken += 1;
            if *taken == workers {
                state.remove(&id);
            }
            share
        };
        operator.restore(&share)
    }

    /// The watermark that a step goes on with.
    pub(crate) fn watermark(&self, id: u64) -> Watermark {
        self.step(id).map_or(Watermark::MIN, |step| Watermark(step.watermark_ms))
    }

    /// The watermarks of a source's lanes by their names, in milliseconds.
    pub(crate) fn lane_watermarks_ms(&self, id: u64) -> BTreeMap<String, i64> {
        self.source(id).map(|source| source.watermarks_ms.clone()).unwrap_or_default()
    }

    /// Where a source goes on; `None` if it is to start as its options say.
    pub(crate) fn positions(&self, id: u64) -> Option<Positions> {
        self.source(id).map(|source| source.positions.clone())
    }

    /// What is known of a source.
    pub(crate) fn source(&self, id: u64) -> Option<&SourceState> {
        self.manifest.as_ref()?.sources.iter().find(|source| source.id == id)
    }

    /// What is known of a step.
    pub(crate) fn step(&self, id: u64) -> Option<&StepState> {
        self.manifest.as_ref()?.steps.iter().find(|step| step.id == id)
    }
}

/// In which sources and stateful steps a plan differs from the one that a checkpoint was taken
/// of, in words; empty if the state fits.
pub(crate) fn differences(manifest: &Manifest, plan: &Plan, names: &[&str]) -> Vec<String> {
    let of_sources = manifest.sources.iter().map(|state| (state.id, state.name.as_str()));
    let of_steps = manifest.steps.iter().map(|state| (state.id, state.name.as_str()));
    let before: BTreeMap<u64, &str> = of_sources.chain(of_steps).collect();
    let has_state = |kind: &NodeKind| matches!(kind, NodeKind::Source(_)) || kind.keeps_state();
    let now: BTreeMap<u64, &str> = (plan.nodes.iter().zip(names))
        .filter(|(node, _)| has_state(&node.kind))
        .map(|(node, &name)| (node.operator_id, name))
        .collect();
    let ids: BTreeSet<u64> = before.keys().chain(now.keys()).copied().collect();
    let differences = ids.into_iter().filter_map(|id| match (before.get(&id), now.get(&id)) {
        (Some(name), None) => {
            Some(format!("the checkpoint has state of {name}, which is not in the job any more"))
        }
        (None, Some(name)) => Some(format!("{name} is new or changed: there is no state of it")),
        _ => None,
    });
    differences.collect()
}
