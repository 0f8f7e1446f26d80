//! What keeps nothing: projections, filters and window assignments become one map; collections
//! are taken apart.

use super::reads::Reads;
use super::{Lowered, Lowering, field_of, fields_of};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::plan::NodeKind;
use crate::planner::expr::Expr;
use crate::planner::relation::{Op, Relation};
use crate::types::SqlType;
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemill_operators::map::WindowUnfold;
use tidemill_operators::unnest::UnnestSpec;
use tidemill_operators::window::{WindowKind, Zone};

impl Lowering<'_> {
    pub(super) fn stateless(
        &mut self,
        relation: &Relation,
        needed: &BTreeSet<usize>,
        arrival: bool,
        retractions: bool,
    ) -> Planned<Lowered> {
        let stretch = Stretch::of(relation);
        let retractions = retractions || stretch.predicate.is_some();
        let mut reads = Reads::default();
        let width = stretch.base.columns.len();
        needed.iter().for_each(|&n| reads.add_expr(&stretch.exprs[n]));
        stretch.predicate.iter().for_each(|p| reads.add_expr(p));
        if let Some(window) = &stretch.window {
            if matches!(window.kind, WindowKind::Session { .. }) {
                return Err(session_alone(window.at));
            }
            reads.add_column(window.time);
        }
        let reads = reads.below(width);
        let lowered = match &stretch.base.op {
            Op::Scan(scan) => self.scan(scan, stretch.base, &reads, arrival)?,
            _ => self.lower(stretch.base, &reads.columns().collect(), arrival, retractions)?,
        };
        // Only columns, passed on as they are: no node at all.
        let plain = stretch.window.is_none() && stretch.predicate.is_none();
        let columns =
            |i: usize| needed.contains(&i).then(|| stretch.exprs[i].as_column()).flatten();
        if plain && needed.iter().all(|&n| stretch.exprs[n].as_column().is_some()) {
            let columns = (0..relation.columns.len())
                .map(|i| columns(i).and_then(|c| lowered.columns[c]))
                .collect();
            return Ok(Lowered { node: lowered.node, columns, arrival: lowered.arrival });
        }
        let node_width = self.node(lowered.node).schema.fields().len();
        let place = |i: usize| if i < width { lowered.at(i) } else { node_width + (i - width) };
        let unfold = stretch.window.as_ref().map(|w| WindowUnfold {
            window: w.kind.clone(),
            zone: w.zone,
            time: lowered.at(w.time),
        });
        let predicate = stretch.predicate.as_ref().map(|p| p.remap(&place));
        let wanted: Vec<usize> = needed.iter().copied().collect();
        let exprs = wanted.iter().map(|&n| stretch.exprs[n].remap(&place)).collect();
        let names: Vec<String> = wanted.iter().map(|&n| relation.columns[n].name.clone()).collect();
        let arrival = lowered.arrival.filter(|_| arrival);
        let node =
            self.map(lowered.node, unfold, predicate, exprs, &names, arrival, relation.updating)?;
        let columns =
            (0..relation.columns.len()).map(|i| wanted.iter().position(|&w| w == i)).collect();
        Ok(Lowered { node, columns, arrival: arrival.map(|_| wanted.len()) })
    }

    pub(super) fn unnest(
        &mut self,
        relation: &Relation,
        input: &Relation,
        (collection, outer, ordinality): (usize, bool, bool),
        needed: &BTreeSet<usize>,
        arrival: bool,
        retractions: bool,
    ) -> Planned<Lowered> {
        let width = input.columns.len();
        let below: BTreeSet<usize> =
            needed.iter().copied().filter(|&n| n < width).chain([collection]).collect();
        let lowered = self.lower(input, &below, arrival, retractions)?;
        let mut fields = fields_of(&self.node(lowered.node).schema);
        let first = fields.len();
        fields.extend(relation.columns[width..].iter().map(field_of));
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let spec = UnnestSpec {
            collection: lowered.at(collection),
            is_multiset: matches!(input.columns[collection].data_type, SqlType::Multiset(_)),
            outer,
            ordinality,
            schema: schema.clone(),
        };
        let updating = relation.updating;
        let node = self.add(NodeKind::Unnest(spec), vec![lowered.node], schema, updating);
        let mut columns = lowered.columns.clone();
        columns.extend((width..relation.columns.len()).map(|i| Some(first + i - width)));
        Ok(Lowered { node, columns, arrival: lowered.arrival })
    }
}

fn session_alone(at: At) -> Box<Refusal> {
    Refusal::new(
        ErrorKind::Unsupported,
        at,
        "sessions without an aggregate over their bounds are not supported yet",
    )
    .hint("GROUP BY the partition keys, window_start and window_end")
}

/// A projection, a filter and a window assignment, as far as a relation has them, over a base.
pub(super) struct Stretch<'r> {
    pub(super) exprs: Vec<Expr>,
    pub(super) predicate: Option<Expr>,
    pub(super) window: Option<StretchWindow>,
    pub(super) base: &'r Relation,
}

pub(super) struct StretchWindow {
    pub(super) kind: WindowKind,
    pub(super) zone: Zone,
    pub(super) time: usize,
    pub(super) keys: Vec<usize>,
    pub(super) number: usize,
    pub(super) at: At,
}

impl<'r> Stretch<'r> {
    pub(super) fn of(relation: &'r Relation) -> Stretch<'r> {
        let (exprs, mut base) = match &relation.op {
            Op::Project { input, exprs } => (exprs.clone(), input.as_ref()),
            _ => (relation.all_columns(At::default()), relation),
        };
        let mut predicate = None;
        if let Op::Filter { input, predicate: p } = &base.op {
            predicate = Some(p.clone());
            base = input;
        }
        let mut window = None;
        if let Op::Window { input, window: kind, zone, time, keys, number, at } = &base.op {
            window = Some(StretchWindow {
                kind: kind.clone(),
                zone: *zone,
                time: *time,
                keys: keys.clone(),
                number: *number,
                at: *at,
            });
            base = input;
        }
        Stretch { exprs, predicate, window, base }
    }
}
