//! Aggregates, per window and per key.

use super::stateless::Stretch;
use super::{Lowered, Lowering, field_of};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::plan::NodeKind;
use crate::planner::expr::Expr;
use crate::planner::functions::needs_arrival;
use crate::planner::relation::{Aggregation, Relation, Role};
use crate::types::SqlType;
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemill_operators::aggregate::AggregateCall;
use tidemill_operators::group_aggregate::GroupAggregateSpec;
use tidemill_operators::window::{WindowKind, Zone};
use tidemill_operators::window_aggregate::WindowAggregateSpec;

impl Lowering<'_> {
    pub(super) fn group_aggregate(
        &mut self,
        relation: &Relation,
        input: &Relation,
        (keys, calls, ttl_ms): (&[usize], &[Aggregation], Option<i64>),
        needed: &BTreeSet<usize>,
        retractions: bool,
    ) -> Planned<Lowered> {
        // What nobody reads is not computed; but a group with aggregates stays one, for its
        // rows come and go differently from those of SELECT DISTINCT.
        let used: Vec<usize> =
            (0..calls.len()).filter(|n| needed.contains(&(keys.len() + n))).collect();
        let kept: Vec<&Aggregation> = used.iter().map(|&n| &calls[n]).collect();
        let wants_arrival = kept.iter().any(|c| needs_arrival(&c.function));
        let below = inputs_of(keys, &kept);
        let lowered = self.lower(input, &below, wants_arrival, true)?;
        let spec = GroupAggregateSpec {
            keys: lowered.all(keys),
            aggregates: kept.iter().map(|c| self.aggregate_call(c, input, &lowered)).collect(),
            updating: input.updating,
            emit_retractions: retractions,
            arrival: lowered.arrival.filter(|_| wants_arrival),
            ttl_ms,
        };
        let fields: Vec<Field> = (0..keys.len())
            .chain(used.iter().map(|n| keys.len() + n))
            .map(|i| field_of(&relation.columns[i]))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let updating = relation.updating;
        let node = self.add(NodeKind::GroupAggregate(spec), vec![lowered.node], schema, updating);
        let columns = (0..relation.columns.len())
            .map(|i| match i.checked_sub(keys.len()) {
                None => Some(i),
                Some(call) => used.iter().position(|&u| u == call).map(|p| p + keys.len()),
            })
            .collect();
        Ok(Lowered { node, columns, arrival: None })
    }

    pub(super) fn aggregate_call(
        &self,
        call: &Aggregation,
        input: &Relation,
        lowered: &Lowered,
    ) -> AggregateCall {
        AggregateCall {
            function: call.function.clone(),
            argument: call.argument.map(|a| lowered.at(a)),
            filter: call.filter.map(|f| lowered.at(f)),
            distinct: call.distinct,
            input_type: call
                .argument
                .map_or(DataType::Null, |a| input.columns[a].data_type.arrow()),
            output_type: call.data_type.arrow(),
            name: call.name.clone(),
        }
    }

    pub(super) fn window_aggregate(
        &mut self,
        relation: &Relation,
        input: &Relation,
        keys: &[usize],
        calls: &[Aggregation],
        number: usize,
    ) -> Planned<Lowered> {
        let bound = |i: usize| match relation.columns[i].role {
            Role::WindowStart(n) if n == number => Some(0),
            Role::WindowEnd(n) if n == number => Some(1),
            Role::WindowTime(n) if n == number => Some(2),
            _ => None,
        };
        let plain: Vec<usize> = (0..keys.len()).filter(|&i| bound(i).is_none()).collect();
        let plain_inputs: Vec<usize> = plain.iter().map(|&i| keys[i]).collect();
        let kept: Vec<&Aggregation> = calls.iter().collect();
        let wants_arrival = kept.iter().any(|c| needs_arrival(&c.function));
        let direct = Direct::of(input, &plain_inputs, &kept, number)?;
        let (base, window, zone, time, below);
        match &direct {
            Some(direct) => {
                base = &direct.input;
                below = inputs_of(&plain_inputs, &kept).into_iter().chain([direct.time]).collect();
                (window, zone, time) = (Some(direct.kind.clone()), direct.zone, Some(direct.time));
            }
            None => {
                base = input;
                let bounds = keys.iter().copied();
                below = inputs_of(&plain_inputs, &kept).into_iter().chain(bounds).collect();
                (window, zone, time) = (None, self.windows[number].zone, None);
            }
        }
        let lowered = self.lower(base, &below, wants_arrival, true)?;
        let window = window.unwrap_or_else(|| {
            let place = |wanted| {
                let key = (0..keys.len()).find(|&i| bound(i) == Some(wanted));
                lowered.at(keys[key.expect("the keys hold both bounds")])
            };
            WindowKind::Attached { start: place(0), end: place(1) }
        });
        let spec = WindowAggregateSpec {
            window,
            zone,
            time: time.map_or(0, |t| lowered.at(t)),
            keys: lowered.all(&plain_inputs),
            aggregates: kept.iter().map(|c| self.aggregate_call(c, base, &lowered)).collect(),
            updating: base.updating,
            arrival: lowered.arrival.filter(|_| wants_arrival),
        };
        let time_type = self.windows[number].time_type.arrow();
        let bounds = SqlType::Timestamp(3).arrow();
        let fields: Vec<Field> = plain
            .iter()
            .copied()
            .chain(keys.len()..relation.columns.len())
            .map(|i| field_of(&relation.columns[i]))
            .chain([
                Field::new("window_start", bounds.clone(), true),
                Field::new("window_end", bounds, true),
                Field::new("window_time", time_type, true),
            ])
            .collect();
        let first_bound = fields.len() - 3;
        let schema = Arc::new(Schema::new(fields));
        let kind = NodeKind::WindowAggregate(spec);
        let node = self.add_windowed(kind, vec![lowered.node], schema, number);
        let columns = (0..relation.columns.len())
            .map(|i| {
                if i >= keys.len() {
                    return Some(plain.len() + i - keys.len());
                }
                match bound(i) {
                    Some(bound) => Some(first_bound + bound),
                    None => plain.iter().position(|&p| p == i),
                }
            })
            .collect();
        Ok(Lowered { node, columns, arrival: None })
    }
}

/// Refuses aggregates that can't take rows back, over rows that are taken back. It is known only
/// here: a rewrite may have found that an input only grows.
pub(super) fn check_takes_back(calls: &[Aggregation], input: &Relation, at: At) -> Planned<()> {
    if !input.updating || calls.iter().all(|call| call.function.takes_back()) {
        return Ok(());
    }
    let message = "APPROX_COUNT_DISTINCT over rows that are updated is not supported: a value can't be \
                   taken out of an estimate";
    Err(Refusal::new(ErrorKind::Unsupported, at, message)
        .hint("COUNT(DISTINCT …) takes rows back; or estimate in front of what updates"))
}

fn inputs_of(keys: &[usize], calls: &[&Aggregation]) -> BTreeSet<usize> {
    keys.iter()
        .copied()
        .chain(calls.iter().flat_map(|c| c.argument.into_iter().chain(c.filter)))
        .collect()
}

/// An aggregate's input that only assigns windows: the aggregate can do that itself.
struct Direct {
    /// The input without the windows; the row time is its last column.
    input: Relation,
    kind: WindowKind,
    zone: Zone,
    time: usize,
}

impl Direct {
    fn of(
        input: &Relation,
        keys: &[usize],
        calls: &[&Aggregation],
        number: usize,
    ) -> Planned<Option<Direct>> {
        let stretch = Stretch::of(input);
        let Some(window) = stretch.window.filter(|w| w.number == number) else {
            return Ok(None);
        };
        let width = stretch.base.columns.len();
        let reads_bounds = |e: &Expr| {
            let mut reads = false;
            e.columns(&mut |i| reads |= i >= width);
            reads
        };
        let session = matches!(window.kind, WindowKind::Session { .. });
        let used = inputs_of(keys, calls);
        let bounds = used.iter().any(|&i| reads_bounds(&stretch.exprs[i]))
            || stretch.predicate.as_ref().is_some_and(reads_bounds);
        if session {
            let partition: BTreeSet<usize> = window.keys.iter().copied().collect();
            let grouped: Option<BTreeSet<usize>> =
                keys.iter().map(|&k| stretch.exprs[k].as_column()).collect();
            let same = window.keys == [usize::MAX] || grouped == Some(partition);
            if bounds || stretch.predicate.is_some() || !same {
                return Err(Refusal::new(
                    ErrorKind::Unsupported,
                    window.at,
                    "sessions must be grouped by exactly their partition keys and bounds",
                )
                .hint("write SESSION(TABLE t PARTITION BY k, …) … GROUP BY k, window_start, window_end"));
            }
        }
        if bounds {
            return Ok(None);
        }
        let base = stretch.base.clone();
        let filtered = match stretch.predicate {
            Some(predicate) => Relation::filter(base, predicate),
            None => base,
        };
        // Columns keep their numbers; what is not used may be anything, so the time goes last.
        let time_type = filtered.columns[window.time].data_type.clone();
        let time = Expr::column(window.time, time_type, window.at);
        let exprs: Vec<Expr> = (stretch.exprs.iter())
            .map(|e| if reads_bounds(e) { time.clone() } else { e.clone() })
            .chain([time.clone()])
            .collect();
        let mut names = input.names();
        names.push("__time".into());
        let time = exprs.len() - 1;
        let input = Relation::project(filtered, exprs, names);
        Ok(Some(Direct { input, kind: window.kind, zone: window.zone, time }))
    }
}
