//! Ranks and values over frames of rows.

use super::{Lowered, Lowering, field_of, fields_of};
use crate::error::Planned;
use crate::plan::NodeKind;
use crate::planner::relation::{Aggregation, Ordering, OverCall, Relation, Role};
use crate::types::SqlType;
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemill_operators::aggregate::AggregateFunction;
use tidemill_operators::over::{Frame, Neighbour, OverFunction, OverSpec};
use tidemill_operators::top_n::{SortTerm, TopNSpec};

impl Lowering<'_> {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn top_n(
        &mut self,
        relation: &Relation,
        input: &Relation,
        partition: &[usize],
        order: &[Ordering],
        (first, last): (u64, u64),
        window: Option<usize>,
        needed: &BTreeSet<usize>,
    ) -> Planned<Lowered> {
        let rank = input.columns.len();
        let below: BTreeSet<usize> = needed
            .iter()
            .copied()
            .filter(|&n| n != rank)
            .chain(partition.iter().copied())
            .chain(order.iter().map(|o| o.column))
            .collect();
        // A row and its retraction are equal but for their arrival, so rows that may be taken back
        // don't carry it.
        let lowered = self.lower_narrow(input, &below, !input.updating, true)?;
        let rank_output = needed.contains(&rank);
        let window_end = window.and_then(|number| {
            let ends =
                partition.iter().find(|&&p| input.columns[p].role == Role::WindowEnd(number));
            ends.map(|&p| lowered.at(p))
        });
        // The last row by row time is the one that came last, of several of equal time.
        let by_time = |o: &Ordering| o.descending && input.columns[o.column].role.is_row_time();
        let ties_to_last = last == 1 && matches!(order, [only] if by_time(only));
        let spec = TopNSpec {
            partition: lowered.all(partition),
            order: order
                .iter()
                .map(|o| SortTerm {
                    column: lowered.at(o.column),
                    descending: o.descending,
                    nulls_first: o.nulls_first,
                })
                .collect(),
            first,
            last,
            rank_output,
            updating: input.updating,
            ties_to_last,
            window_end,
            zone: window.and_then(|n| self.windows[n].zone),
            arrival: lowered.arrival,
            ttl_ms: self.lifetime(None).filter(|_| window.is_none()),
        };
        let mut fields = fields_of(&self.node(lowered.node).schema);
        let width = fields.len();
        if rank_output {
            fields.push(Field::new("__rank", DataType::Int64, true));
        }
        let schema = Arc::new(Schema::new(fields));
        let (kind, inputs) = (NodeKind::TopN(spec), vec![lowered.node]);
        let node = match window {
            Some(number) => self.add_windowed(kind, inputs, schema, number),
            None => self.add(kind, inputs, schema, relation.updating),
        };
        let mut columns = lowered.columns.clone();
        columns.push(rank_output.then_some(width));
        Ok(Lowered { node, columns, arrival: lowered.arrival })
    }

    /// `ROW_NUMBER` in the order of time: a running count, for time never goes back.
    pub(super) fn running_number(
        &mut self,
        relation: &Relation,
        input: &Relation,
        partition: &[usize],
        time: usize,
        needed: &BTreeSet<usize>,
    ) -> Planned<Lowered> {
        let count = OverCall::Aggregate(Aggregation {
            function: AggregateFunction::CountRows,
            argument: None,
            filter: None,
            distinct: false,
            data_type: SqlType::BigInt,
            name: "__rank".into(),
        });
        let frame = Frame::Rows { preceding: None };
        self.over(relation, input, partition, time, frame, &[count], needed)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn over(
        &mut self,
        relation: &Relation,
        input: &Relation,
        partition: &[usize],
        time: usize,
        frame: Frame,
        calls: &[OverCall],
        needed: &BTreeSet<usize>,
    ) -> Planned<Lowered> {
        let width = input.columns.len();
        let arguments = calls.iter().flat_map(|call| match call {
            OverCall::Aggregate(a) => a.argument.into_iter().chain(a.filter),
            OverCall::Lag(of) | OverCall::Lead(of) => {
                Some(of.argument).into_iter().chain(of.default)
            }
        });
        let below: BTreeSet<usize> = needed
            .iter()
            .copied()
            .filter(|&n| n < width)
            .chain(partition.iter().copied())
            .chain([time])
            .chain(arguments)
            .collect();
        let lowered = self.lower_narrow(input, &below, true, true)?;
        let neighbour = |of: &Neighbour| Neighbour {
            argument: lowered.at(of.argument),
            default: of.default.map(|d| lowered.at(d)),
            ..of.clone()
        };
        let functions = calls
            .iter()
            .map(|call| match call {
                OverCall::Aggregate(a) => {
                    OverFunction::Aggregate(self.aggregate_call(a, input, &lowered))
                }
                OverCall::Lag(of) => OverFunction::Lag(neighbour(of)),
                OverCall::Lead(of) => OverFunction::Lead(neighbour(of)),
            })
            .collect();
        let spec = OverSpec {
            partition: lowered.all(partition),
            time: lowered.at(time),
            frame,
            functions,
            arrival: lowered.arrival,
        };
        let mut fields = fields_of(&self.node(lowered.node).schema);
        let first = fields.len();
        fields.extend(relation.columns[width..].iter().map(field_of));
        let schema = Arc::new(Schema::new(fields));
        let updating = spec.is_updating();
        let node = self.add(NodeKind::Over(spec), vec![lowered.node], schema, updating);
        let mut columns = lowered.columns.clone();
        columns.extend((0..calls.len()).map(|i| Some(first + i)));
        Ok(Lowered { node, columns, arrival: lowered.arrival })
    }
}

/// Whether an order is that of time, so that ranks never change.
pub(super) fn runs_with_time(input: &Relation, order: &[Ordering]) -> bool {
    let by_time = |o: &Ordering| !o.descending && input.columns[o.column].role.is_row_time();
    !input.updating && matches!(order, [only] if by_time(only))
}
