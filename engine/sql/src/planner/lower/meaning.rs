//! The canonical meaning of a node as text, from which its id is made.
//!
//! Two nodes have one meaning if the state of one is the state of the other: they do the same to
//! the same columns of the same inputs. So columns appear by name, for their places change when a
//! query elsewhere in the job reads more of the same table; and of a table only what says which
//! rows it gives, for the state is the same at another address of its brokers.

use crate::plan::{Node, NodeKind};
use crate::planner::canonical;
use std::fmt::{Debug, Write};
use std::sync::Arc;
use tidemill_formats::Table;
use tidemill_operators::Expression;
use tidemill_operators::aggregate::AggregateCall;
use tidemill_operators::join::{JoinSpec, Residual};
use tidemill_operators::over::{Neighbour, OverFunction};
use tidemill_operators::pattern::{Operand, PatternSpec, Reading, Test};

/// What says which rows a table gives.
const TABLE_OPTIONS: &[&str] = &[
    "connector",
    "topic",
    "topic-pattern",
    "path",
    "url",
    "table-name",
    "seed",
    "base-time",
    "first-event.rate",
    "next-event.rate",
    "person.proportion",
    "auction.proportion",
    "bid.proportion",
];

/// The meaning of a node that reads `inputs`.
pub(super) fn of(kind: &NodeKind, inputs: &[&Node]) -> String {
    let port = |port: usize| Columns(inputs[port]);
    match kind {
        NodeKind::Source(source) => {
            let watermark = source.watermark.as_ref().map(|watermark| watermark.describe());
            format!("source {} watermark {watermark:?}", table(&source.table))
        }
        NodeKind::Values(rows) => format!("values {}", canonical::rows(rows)),
        NodeKind::Normalize(spec) => format!("normalize {}", port(0).names(&spec.keys)),
        NodeKind::Map(spec) => {
            let windows = spec.windows.as_ref().map(|unfold| {
                format!("{:?} {:?} of {}", unfold.window, unfold.zone, port(0).name(unfold.time))
            });
            let projection = spec
                .projection
                .as_ref()
                .map(|columns| columns.iter().map(|column| column.describe()).collect::<Vec<_>>());
            format!(
                "map {windows:?} where {} select {projection:?} as {}",
                described(spec.predicate.as_ref()),
                types(&spec.schema)
            )
        }
        NodeKind::Unnest(spec) => format!(
            "unnest {} {} {} {}",
            port(0).name(spec.collection),
            spec.is_multiset,
            spec.outer,
            spec.ordinality
        ),
        NodeKind::Union => "union".to_owned(),
        NodeKind::WindowAggregate(spec) => format!(
            "window aggregate {:?} {:?} of {} by {} {} {} {}",
            spec.window,
            spec.zone,
            port(0).name(spec.time),
            port(0).names(&spec.keys),
            port(0).calls(&spec.aggregates),
            spec.updating,
            port(0).optional(spec.arrival),
        ),
        NodeKind::GroupAggregate(spec) => format!(
            "group aggregate by {} {} {} {} {}",
            port(0).names(&spec.keys),
            port(0).calls(&spec.aggregates),
            spec.updating,
            port(0).optional(spec.arrival),
            // For how long may change; whether decides what is remembered of a key.
            spec.ttl_ms.is_some(),
        ),
        NodeKind::TopN(spec) => {
            let order: Vec<String> = (spec.order.iter())
                .map(|term| {
                    let name = port(0).name(term.column);
                    format!("{name} {} {}", term.descending, term.nulls_first)
                })
                .collect();
            format!(
                "top-n {} to {} by {} order {order:?} {} {} {:?} {:?} {} of {}{}",
                spec.first,
                spec.last,
                port(0).names(&spec.partition),
                spec.updating,
                spec.ties_to_last,
                port(0).optional(spec.window_end),
                spec.zone,
                port(0).optional(spec.arrival),
                types(&inputs[0].schema),
                forgetting(&[spec.ttl_ms]),
            )
        }
        NodeKind::Arrange(spec) => format!(
            "arrange {} growing {} of {}",
            port(0).names(&spec.keys),
            spec.only_grows,
            types(&inputs[0].schema),
        ),
        NodeKind::Join(spec) => format!(
            "join {} growing {:?}{}",
            equi_join(spec, inputs),
            spec.only_grows,
            forgetting(&spec.ttl_ms)
        ),
        NodeKind::IntervalJoin(spec) => format!(
            "interval join {} times {} {} within {} and {}",
            join(&spec.kind, [&spec.left_keys, &spec.right_keys], spec.residual.as_ref(), inputs),
            port(0).name(spec.left_time),
            port(1).name(spec.right_time),
            spec.lower_ms,
            spec.upper_ms,
        ),
        NodeKind::TemporalJoin(spec) => format!(
            "temporal join {} times {} {}",
            join(&spec.kind, [&spec.left_keys, &spec.right_keys], spec.residual.as_ref(), inputs),
            port(0).name(spec.left_time),
            port(1).name(spec.right_time),
        ),
        // It keeps no rows: only where it stands counts.
        NodeKind::LookupJoin(plan) => format!("lookup join {}", table(&plan.table)),
        NodeKind::ConstantJoin(spec) => format!(
            "constant join {:?} {} and {} of {} with {:?} of {}",
            spec.join.kind,
            port(0).names(&spec.join.left_keys),
            described(spec.join.residual.as_ref().map(|residual| &residual.condition)),
            types(&inputs[0].schema),
            spec.rows.project(&spec.join.right_keys).map(|keys| keys.schema()),
            canonical::rows(&spec.rows),
        ),
        NodeKind::WindowJoin(spec) => format!(
            "window join {} ends {} {} {:?}",
            equi_join(&spec.join, inputs),
            port(0).name(spec.left_window_end),
            port(1).name(spec.right_window_end),
            spec.zone,
        ),
        NodeKind::TimeFilter(spec) => {
            let bounds: Vec<String> = (spec.bounds.iter())
                .map(|b| format!("{:?} {} + {}", b.clock_is, b.time.describe(), b.shift_ms))
                .collect();
            format!("time filter {:?} {bounds:?} of {}", spec.clock, types(&inputs[0].schema))
        }
        NodeKind::Over(spec) => {
            let functions: Vec<String> =
                spec.functions.iter().map(|function| port(0).function(function)).collect();
            format!(
                "over by {} order {} {:?} {functions:?} {} of {}",
                port(0).names(&spec.partition),
                port(0).name(spec.time),
                spec.frame,
                port(0).optional(spec.arrival),
                types(&inputs[0].schema),
            )
        }
        NodeKind::Pattern(spec) => port(0).pattern(spec),
        NodeKind::Sink(sink) => format!("sink {} {:?}", table(&sink.table), sink.changelog),
    }
}

fn equi_join(spec: &JoinSpec, inputs: &[&Node]) -> String {
    join(&spec.kind, [&spec.left_keys, &spec.right_keys], spec.residual.as_ref(), inputs)
}

/// What all joins have in common: they hold whole rows of both sides by key.
fn join(
    kind: &dyn Debug,
    [left_keys, right_keys]: [&[usize]; 2],
    residual: Option<&Residual>,
    inputs: &[&Node],
) -> String {
    format!(
        "{kind:?} {} {} and {} of {} {}",
        Columns(inputs[0]).names(left_keys),
        Columns(inputs[1]).names(right_keys),
        described(residual.map(|residual| &residual.condition)),
        types(&inputs[0].schema),
        types(&inputs[1].schema),
    )
}

/// What is forgotten. For how long it is kept may change; whether decides what is remembered.
fn forgetting(ttl_ms: &[Option<i64>]) -> String {
    match ttl_ms.iter().any(Option::is_some) {
        true => format!(" forgetting {:?}", ttl_ms.iter().map(Option::is_some).collect::<Vec<_>>()),
        false => String::new(),
    }
}

fn described(expression: Option<&Arc<dyn Expression>>) -> String {
    expression.map(|expression| expression.describe()).unwrap_or_default()
}

fn table(table: &Table) -> String {
    let mut text = table.name.clone();
    for key in TABLE_OPTIONS {
        if let Some(value) = table.option(key) {
            let _ = write!(text, " {key}={value}");
        }
    }
    text
}

/// Names and types of all columns, for operators that hold whole rows.
fn types(schema: &arrow::datatypes::SchemaRef) -> String {
    let fields = schema.fields().iter();
    fields.map(|field| format!("{} {:?}, ", field.name(), field.data_type())).collect()
}

/// The columns of an input, by name.
struct Columns<'a>(&'a Node);

impl Columns<'_> {
    fn name(&self, column: usize) -> String {
        match self.0.schema.fields().get(column) {
            Some(field) => format!("{}#{:?}", field.name(), field.data_type()),
            // A column that is not read, such as the time of windows that are attached already.
            None => format!("?{column}"),
        }
    }

    fn names(&self, columns: &[usize]) -> String {
        columns.iter().map(|&column| format!("{}, ", self.name(column))).collect()
    }

    fn optional(&self, column: Option<usize>) -> String {
        column.map_or_else(String::new, |column| self.name(column))
    }

    fn calls(&self, calls: &[AggregateCall]) -> String {
        calls.iter().map(|call| format!("{}, ", self.call(call))).collect()
    }

    fn call(&self, call: &AggregateCall) -> String {
        format!(
            "{:?}({} {}) where {} as {:?}",
            call.function,
            call.distinct,
            self.optional(call.argument),
            self.optional(call.filter),
            call.output_type,
        )
    }

    fn pattern(&self, spec: &PatternSpec) -> String {
        let ties: Vec<String> = (spec.ties.iter())
            .map(|term| {
                let name = self.name(term.column);
                format!("{name} {} {}", term.descending, term.nulls_first)
            })
            .collect();
        let test = |test: &Test| match test {
            Test::Always => "always".to_owned(),
            Test::Column(column) => self.name(*column),
            Test::Row(condition) => condition.describe(),
            Test::Condition(condition) => {
                let operands: Vec<String> =
                    condition.operands.iter().map(|operand| self.operand(operand)).collect();
                format!("{} over {operands:?}", condition.expression.describe())
            }
        };
        let tests: Vec<String> = spec.variables.iter().map(|v| test(&v.test)).collect();
        // What is shown of a match decides nothing that is held.
        format!(
            "pattern {:?} within {:?} {:?} of {tests:?} by {} order {} {ties:?} {} of {}",
            spec.pattern,
            spec.within_ms,
            spec.skip,
            self.names(&spec.partition),
            self.name(spec.time),
            self.optional(spec.arrival),
            types(&self.0.schema),
        )
    }

    fn operand(&self, operand: &Operand) -> String {
        let reading = match &operand.reading {
            Reading::First { column, offset } => format!("first {} {offset}", self.name(*column)),
            Reading::Last { column, offset } => format!("last {} {offset}", self.name(*column)),
            Reading::Aggregate(call) => self.call(call),
        };
        format!("{:?} {reading}", operand.variable)
    }

    fn function(&self, function: &OverFunction) -> String {
        match function {
            OverFunction::Aggregate(call) => self.call(call),
            OverFunction::Lag(of) => self.neighbour("lag", of),
            OverFunction::Lead(of) => self.neighbour("lead", of),
        }
    }

    fn neighbour(&self, side: &str, of: &Neighbour) -> String {
        let (argument, default) = (self.name(of.argument), self.optional(of.default));
        format!("{side} {argument} {} {default}", of.offset)
    }
}
