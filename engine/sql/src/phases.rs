//! [`Phases`]: whether the rows of an aggregate are combined before they are exchanged, each worker's
//! for itself.
//!
//! It is asked of a plan, and is in none: where a job is resumed it may be answered in another way,
//! for the state of the aggregate is the same.

use crate::plan::{Node, NodeKind, Plan};
use tidemill_operators::combine::{Obstacle, When};

/// The option that says who combines: `AUTO`, `TWO_PHASE` or `ONE_PHASE`.
pub(crate) const AGG_PHASES: &str = "table.optimizer.agg-phase-strategy";

/// The values of [`AGG_PHASES`], with what each means.
const STRATEGIES: [(&str, Strategy); 3] = [
    ("AUTO", Strategy::Combine(When::Helpful)),
    ("TWO_PHASE", Strategy::Combine(When::Always)),
    ("ONE_PHASE", Strategy::Exchange),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    Combine(When),
    Exchange,
}

/// How many times the rows of an aggregate are aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phases {
    /// Those of each worker, and then what came of them, if there are several workers.
    Two(When),
    /// Only behind the exchange.
    One(Because),
}

/// Why rows are aggregated only behind the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The session asks for it.
    Asked,
    /// They have to meet first.
    Of(Obstacle),
}

impl Plan {
    /// How many times the rows of a node are aggregated; none if it is no aggregate.
    pub fn phases(&self, node: &Node) -> Option<Phases> {
        let obstacle = match &node.kind {
            NodeKind::GroupAggregate(spec) => spec.obstacle(),
            NodeKind::WindowAggregate(spec) => spec.obstacle(),
            _ => return None,
        };
        let asked = self.options.get(AGG_PHASES).and_then(|value| strategy(value));
        Some(match (asked.unwrap_or(STRATEGIES[0].1), obstacle) {
            (_, Some(obstacle)) => Phases::One(Because::Of(obstacle)),
            (Strategy::Exchange, None) => Phases::One(Because::Asked),
            (Strategy::Combine(when), None) => Phases::Two(when),
        })
    }
}

/// Whether a value is one of the option's.
pub(crate) fn is_strategy(value: &str) -> bool {
    strategy(value).is_some()
}

fn strategy(value: &str) -> Option<Strategy> {
    let known = STRATEGIES.iter().find(|(name, _)| value.trim().eq_ignore_ascii_case(name));
    known.map(|&(_, strategy)| strategy)
}
