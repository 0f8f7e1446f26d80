//! What changes as time passes: comparisons of a clock with the row.

use super::{Lowered, Lowering};
use crate::error::Planned;
use crate::plan::NodeKind;
use crate::planner::compile::Compiled;
use crate::planner::expr::Expr;
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
        let lowered = self.lower(input, &wanted, arrival, true)?;
        let lowered = self.narrowed(lowered, input, &wanted, arrival)?;
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

    /// No columns but the wanted ones: the others, which somebody else reads of the same node,
    /// would be held for nothing.
    fn narrowed(
        &mut self,
        lowered: Lowered,
        relation: &Relation,
        wanted: &BTreeSet<usize>,
        arrival: bool,
    ) -> Planned<Lowered> {
        let arrival = lowered.arrival.filter(|_| arrival);
        let places: BTreeSet<usize> =
            wanted.iter().map(|&c| lowered.at(c)).chain(arrival).collect();
        if self.node(lowered.node).schema.fields().len() <= places.len() {
            return Ok(lowered);
        }
        let column = |&c: &usize| {
            let data_type = relation.columns[c].data_type.clone();
            Expr::column(lowered.at(c), data_type, Default::default())
        };
        let exprs = wanted.iter().map(column).collect();
        let names: Vec<String> = wanted.iter().map(|&c| relation.columns[c].name.clone()).collect();
        let updating = relation.updating;
        let node = self.map(lowered.node, None, None, exprs, &names, arrival, updating)?;
        let place = |c: usize| wanted.iter().position(|&w| w == c);
        let columns = (0..relation.columns.len()).map(place).collect();
        Ok(Lowered { node, columns, arrival: arrival.map(|_| wanted.len()) })
    }
}
