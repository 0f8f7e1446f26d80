//! What changes as time passes: comparisons of a clock with the row.

use super::{Lowered, Lowering};
use crate::error::Planned;
use crate::plan::NodeKind;
use crate::planner::compile::Compiled;
use crate::planner::relation::{Relation, TimeBound};
use std::collections::BTreeSet;
use tidemill_operators::time_filter::{self, Clock, TimeFilterSpec};

impl Lowering<'_> {
    pub(super) fn time_filter(
        &mut self,
        relation: &Relation,
        input: &Relation,
        (clock, bounds): (Clock, &[TimeBound]),
        needed: &BTreeSet<usize>,
        arrival: bool,
    ) -> Planned<Lowered> {
        let mut wanted = needed.clone();
        for bound in bounds {
            bound.time.columns(&mut |i| {
                wanted.insert(i);
            });
        }
        // A row that is taken back has another arrival, and would not be found.
        let arrival = arrival && !input.updating;
        let lowered = self.lower_narrow(input, &wanted, arrival, true)?;
        let schema = self.node(lowered.node).schema.clone();
        let compiled = |bound: &TimeBound| -> Planned<time_filter::TimeBound> {
            let time = bound.time.remap(&|i| lowered.at(i));
            Ok(time_filter::TimeBound {
                time: std::sync::Arc::new(Compiled::new(&time, &schema)?),
                shift_ms: bound.shift_ms,
                clock_is: bound.clock_is,
            })
        };
        let spec = TimeFilterSpec {
            clock,
            bounds: bounds.iter().map(compiled).collect::<Planned<_>>()?,
            columns: (0..schema.fields().len()).collect(),
        };
        let inputs = vec![lowered.node];
        let node = self.add(NodeKind::TimeFilter(spec), inputs, schema, relation.updating);
        Ok(Lowered { node, ..lowered })
    }
}
