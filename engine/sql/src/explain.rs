//! [`explain`]: a plan as text, sinks at the top, each node once.

use crate::phases::{Because, Phases};
use crate::plan::{Node, NodeId, NodeKind, Plan};
use arrow::datatypes::{DataType, Field, Schema};
use std::fmt::Write;
use std::time::Duration;
use tidemill_formats::{Changelog, LookupKind};
use tidemill_operators::aggregate::{AggregateCall, AggregateFunction};
use tidemill_operators::combine::{Obstacle, When};
use tidemill_operators::constant_join::ConstantJoinSpec;
use tidemill_operators::join::JoinSpec;
use tidemill_operators::map::MapSpec;
use tidemill_operators::pattern::{Condition, Pattern, PatternSpec, Preference, Skip, Test};
use tidemill_operators::time_filter::{Clock, ClockIs, TimeBound, TimeFilterSpec};
use tidemill_operators::window::WindowKind;

/// The dataflow: operators, what each keeps and whether nothing bounds that, whether it is
/// append-only or updating, its keys, the columns that are read, and of an aggregate whether each
/// worker's rows are combined before the exchange.
pub fn explain(plan: &Plan) -> String {
    let mut text = String::new();
    let mut shown = vec![false; plan.nodes.len()];
    for (id, node) in plan.nodes.iter().enumerate() {
        if matches!(node.kind, NodeKind::Sink(_)) {
            write_node(plan, id, 0, &mut shown, &mut text);
        }
    }
    text.trim_end().to_owned()
}

fn write_node(plan: &Plan, id: NodeId, depth: usize, shown: &mut [bool], text: &mut String) {
    let node = &plan.nodes[id];
    let indent = "  ".repeat(depth);
    if std::mem::replace(&mut shown[id], true) {
        let _ = writeln!(text, "{indent}#{id} (as above)");
        return;
    }
    let changelog = match node.changelog {
        Changelog::AppendOnly => "append-only",
        Changelog::Retract => "updating",
        Changelog::Upsert => "upsert",
    };
    let clock = if node.by_processing_time { ", by processing time" } else { "" };
    let phases = plan.phases(node).map(|phases| combined(phases, node)).unwrap_or_default();
    let state = if node.kind.keeps_for_ever() { ", unbounded state" } else { "" };
    let readers = shared(plan, id).unwrap_or_default();
    let _ = writeln!(
        text,
        "{indent}#{id} {}{readers}{clock}{phases} [{changelog}{state}]",
        describe(plan, node)
    );
    for &input in &node.inputs {
        write_node(plan, input, depth + 1, shown, text);
    }
}

/// How many joins read an arrangement, if there are several.
fn shared(plan: &Plan, id: NodeId) -> Option<String> {
    let is_arrangement = matches!(plan.nodes[id].kind, NodeKind::Arrange(_));
    let readers = plan.readers(id).count();
    (is_arrangement && readers > 1).then(|| format!(", once for {readers} inputs of joins"))
}

/// The names of some columns.
fn named(schema: &Schema, columns: &[usize]) -> String {
    columns.iter().map(|&c| schema.field(c).name().as_str()).collect::<Vec<_>>().join(", ")
}

/// How long something is kept while it is idle.
fn until(ttl_ms: Option<i64>) -> String {
    match ttl_ms {
        Some(ttl_ms) => format!(" until it is idle for {:?}", Duration::from_millis(ttl_ms as u64)),
        None => String::new(),
    }
}

/// A column that is read, with the fields of a `ROW`.
fn read(column: &Field) -> String {
    match column.data_type() {
        DataType::Struct(fields) => {
            let fields: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            format!("{}({})", column.name(), fields.join(", "))
        }
        _ => column.name().clone(),
    }
}

fn describe(plan: &Plan, node: &Node) -> String {
    let input = |port: usize| &plan.nodes[node.inputs[port]].schema;
    let name = |port: usize, column: usize| input(port).field(column).name().clone();
    let names = |port: usize, columns: &[usize]| named(input(port), columns);
    let all = || {
        let fields = node.schema.fields();
        fields.iter().map(|field| read(field)).collect::<Vec<_>>().join(", ")
    };
    match &node.kind {
        NodeKind::Source(source) => {
            let connector = source.table.option("connector").unwrap_or("?");
            let mut text = format!("Source {} ({connector}): reads {}", source.table.name, all());
            if let Some(watermark) = &source.watermark {
                let _ = write!(text, "; watermark {}", watermark.describe());
            }
            text
        }
        NodeKind::Values(rows) => format!("Values: {} row(s)", rows.num_rows()),
        NodeKind::Normalize(spec) => {
            format!("Normalize upserts by ({}); keeps each row", names(0, &spec.keys))
        }
        NodeKind::Map(spec) => map(spec),
        NodeKind::WindowAggregate(spec) => format!(
            "Window aggregate {} by ({}): {}; keeps one partial for each pane and key",
            window(&spec.window),
            names(0, &spec.keys),
            calls(&spec.aggregates, &|c| name(0, c)),
        ),
        NodeKind::GroupAggregate(spec) if spec.aggregates.is_empty() => {
            format!("Distinct ({}): keeps each key{}", names(0, &spec.keys), until(spec.ttl_ms))
        }
        NodeKind::GroupAggregate(spec) => format!(
            "Group aggregate by ({}): {}; keeps a row for each key{}",
            names(0, &spec.keys),
            calls(&spec.aggregates, &|c| name(0, c)),
            until(spec.ttl_ms),
        ),
        NodeKind::TopN(spec) => {
            let order: Vec<String> = (spec.order.iter())
                .map(|o| {
                    format!("{}{}", name(0, o.column), if o.descending { " DESC" } else { "" })
                })
                .collect();
            format!(
                "Top-N ranks {}..={} by ({}) order ({}); keeps {}{}",
                spec.first,
                spec.last,
                names(0, &spec.partition),
                order.join(", "),
                match (spec.updating, spec.window_end.is_some()) {
                    (true, _) => "every row",
                    (false, true) => "the ranked rows until the window closes",
                    (false, false) => "the ranked rows",
                },
                until(spec.ttl_ms),
            )
        }
        NodeKind::Arrange(spec) => {
            format!("Arrange by ({}); keeps each row", names(0, &spec.keys))
        }
        NodeKind::Join(spec) => {
            format!(
                "Join {:?} on ({}) = ({}){}; keeps {}",
                spec.kind,
                names(0, &spec.left_keys),
                names(1, &spec.right_keys),
                residual(spec),
                match spec.ttl_ms {
                    _ if spec.is_arranged() => "nothing".to_owned(),
                    [left, right] if left == right => format!("both inputs{}", until(left)),
                    [left, right] => {
                        format!("left rows{} and right rows{}", until(left), until(right))
                    }
                }
            )
        }
        NodeKind::IntervalJoin(spec) => format!(
            "Interval join {:?} on ({}) = ({}), {} - {} between {} and {} ms; keeps rows that may \
             still meet",
            spec.kind,
            names(0, &spec.left_keys),
            names(1, &spec.right_keys),
            name(0, spec.left_time),
            name(1, spec.right_time),
            spec.lower_ms,
            spec.upper_ms,
        ),
        NodeKind::TemporalJoin(spec) => format!(
            "Temporal join {:?} on ({}) = ({}) as of {}; keeps the versions that may be asked for",
            spec.kind,
            names(0, &spec.left_keys),
            names(1, &spec.right_keys),
            name(0, spec.left_time),
        ),
        NodeKind::LookupJoin(plan) => format!(
            "Lookup join {:?} on ({}) = ({}) of {} ({}), {}",
            plan.join.kind,
            names(0, &plan.join.left_keys),
            named(&plan.schema, &plan.join.right_keys),
            plan.table.name,
            plan.table.option("connector").unwrap_or("?"),
            match plan.kind {
                LookupKind::Whole => "which is kept whole",
                LookupKind::ByKey => "which is asked for each key; keeps what its cache may",
            },
        ),
        NodeKind::ConstantJoin(ConstantJoinSpec { join, rows }) => format!(
            "Constant join {:?} on ({}) = ({}){}; broadcast, {} row(s); keeps nothing",
            join.kind,
            names(0, &join.left_keys),
            named(&rows.schema(), &join.right_keys),
            residual(join),
            rows.num_rows(),
        ),
        NodeKind::WindowJoin(spec) => format!(
            "Window join {:?} on ({}) = ({}); keeps the rows of open windows",
            spec.join.kind,
            names(0, &spec.join.left_keys),
            names(1, &spec.join.right_keys),
        ),
        NodeKind::Over(spec) => format!(
            "Over by ({}) order ({}) {:?}; keeps the rows of each frame{}",
            names(0, &spec.partition),
            name(0, spec.time),
            spec.frame,
            if spec.is_updating() { " and those that await a LEAD" } else { "" },
        ),
        NodeKind::Pattern(spec) => pattern(spec, input(0)),
        NodeKind::TimeFilter(spec) => time_filter(spec),
        NodeKind::Unnest(spec) => format!("Unnest {}", name(0, spec.collection)),
        NodeKind::Union => "Union".to_owned(),
        NodeKind::Sink(sink) => {
            let connector = sink.table.option("connector").unwrap_or("?");
            let kind = match sink.changelog {
                Changelog::AppendOnly => "insertions",
                Changelog::Retract => "insertions and retractions",
                Changelog::Upsert => "upserts by primary key",
            };
            format!("Sink {} ({connector}): {kind}", sink.table.name)
        }
    }
}

/// What a join demands of a pair beside equal keys.
fn residual(spec: &JoinSpec) -> String {
    let residual = spec.residual.as_ref();
    residual.map(|r| format!(" and {}", r.condition.describe())).unwrap_or_default()
}

fn map(spec: &MapSpec) -> String {
    let mut parts = Vec::new();
    if let Some(unfold) = &spec.windows {
        parts.push(format!("windows {}", window(&unfold.window)));
    }
    if let Some(predicate) = &spec.predicate {
        parts.push(format!("where {}", predicate.describe()));
    }
    if let Some(projection) = &spec.projection {
        let columns: Vec<String> = projection
            .iter()
            .zip(spec.schema.fields())
            .map(|(expr, field)| {
                let text = expr.describe();
                if text == *field.name() { text } else { format!("{text} AS {}", field.name()) }
            })
            .collect();
        parts.push(format!("select {}", columns.join(", ")));
    }
    format!("Map {}", parts.join("; "))
}

fn calls(calls: &[AggregateCall], name: &dyn Fn(usize) -> String) -> String {
    let one = |call: &AggregateCall| {
        let distinct = if call.distinct { "DISTINCT " } else { "" };
        let argument = call.argument.map_or("*".to_owned(), name);
        let filter = call.filter.map(|f| format!(" FILTER {}", name(f))).unwrap_or_default();
        format!("{:?}({distinct}{argument}){filter}", call.function)
    };
    calls.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Whether rows are combined before the exchange, and why they are not.
fn combined(phases: Phases, node: &Node) -> String {
    let calls = match &node.kind {
        NodeKind::GroupAggregate(spec) => &spec.aggregates[..],
        NodeKind::WindowAggregate(spec) => &spec.aggregates[..],
        _ => &[],
    };
    match phases {
        Phases::Two(When::Always) => "; combined before the exchange".to_owned(),
        Phases::Two(When::Helpful) => "; combined before the exchange where that helps".to_owned(),
        Phases::One(Because::Asked) => "; not combined before the exchange, as asked".to_owned(),
        Phases::One(Because::Of(Obstacle::Sessions)) => {
            "; not combined before the exchange: sessions need all rows of a key".to_owned()
        }
        Phases::One(Because::Of(Obstacle::Call(number))) => {
            let call = &calls[number];
            format!("; not combined before the exchange: {:?} {}", call.function, need(call))
        }
    }
}

/// What an aggregate needs that keeps its rows from being combined.
fn need(call: &AggregateCall) -> &'static str {
    use AggregateFunction::*;
    match call.function {
        Min | Max => "needs all values of rows that may be taken back",
        First | Last | ListAgg { .. } | ArrayAgg => "needs the order of all rows",
        ApproxCountDistinct => "is no smaller than the rows",
        SingleValue => "is of one row",
        _ if call.distinct => "DISTINCT needs all values",
        _ => "needs all values",
    }
}

fn pattern(spec: &PatternSpec, input: &Schema) -> String {
    let name = |variable: usize| spec.variables[variable].name.as_str();
    let ties = spec.ties.iter().map(|tie| tie.column);
    let order: Vec<usize> = [spec.time].into_iter().chain(ties).collect();
    let within = spec.within_ms.map(|ms| format!(" within {}", length(ms))).unwrap_or_default();
    let skip = match spec.skip {
        Skip::PastLastRow => "past the last row".to_owned(),
        Skip::ToNextRow => "to the next row".to_owned(),
        Skip::ToFirst(variable) => format!("to the first {}", name(variable)),
        Skip::ToLast(variable) => format!("to the last {}", name(variable)),
    };
    let mut text = format!(
        "Pattern ({}){within} by ({}) order ({}), then on {skip}",
        shape(&spec.pattern, &name),
        named(input, &spec.partition),
        named(input, &order),
    );
    for variable in &spec.variables {
        let (condition, how) = match &variable.test {
            Test::Always | Test::Column(_) => continue,
            Test::Row(condition) => (condition, ", row by row where it fails"),
            Test::Condition(Condition { expression, formula: Some(_), .. }) => (expression, ""),
            Test::Condition(Condition { expression, .. }) => (expression, ", as an expression"),
        };
        let _ = write!(text, "; {} where {}{how}", variable.name, condition.describe());
    }
    text.push_str("; keeps the rows of matches that may still come");
    text
}

/// A pattern as it is written.
fn shape<'n>(pattern: &Pattern, name: &dyn Fn(usize) -> &'n str) -> String {
    let all = |parts: &[Pattern], between: &str| {
        parts.iter().map(|part| shape(part, name)).collect::<Vec<_>>().join(between)
    };
    match pattern {
        Pattern::Variable(variable) => name(*variable).to_owned(),
        Pattern::Sequence(parts) => all(parts, " "),
        Pattern::Alternatives(parts) => format!("({})", all(parts, " | ")),
        Pattern::Repeat { pattern, from, to, preference } => {
            let inner = match **pattern {
                Pattern::Sequence(_) => format!("({})", shape(pattern, name)),
                _ => shape(pattern, name),
            };
            let times = match (from, to) {
                (0, None) => "*".to_owned(),
                (1, None) => "+".to_owned(),
                (0, Some(1)) => "?".to_owned(),
                (from, None) => format!("{{{from},}}"),
                (from, Some(to)) if from == to => format!("{{{from}}}"),
                (from, Some(to)) => format!("{{{from},{to}}}"),
            };
            let reluctant = if *preference == Preference::Reluctant { "?" } else { "" };
            format!("{inner}{times}{reluctant}")
        }
    }
}

fn time_filter(spec: &TimeFilterSpec) -> String {
    let clock = match spec.clock {
        Clock::Watermark => "watermark",
        Clock::ProcessingTime => "processing time",
    };
    let bound = |bound: &TimeBound| {
        let op = match bound.clock_is {
            ClockIs::Before => "<",
            ClockIs::NotAfter => "<=",
            ClockIs::After => ">",
            ClockIs::NotBefore => ">=",
        };
        let shift = match bound.shift_ms {
            0 => String::new(),
            ms if ms < 0 => format!(" - {}", length(ms.saturating_neg())),
            ms => format!(" + {}", length(ms)),
        };
        format!("{clock} {op} {}{shift}", bound.time.describe())
    };
    let bounds: Vec<String> = spec.bounds.iter().map(bound).collect();
    let until = match spec.takes_back() {
        true => "until it is over, then takes it back",
        false => "until its time has come",
    };
    format!("Time filter {}; keeps each row {until}", bounds.join(" and "))
}

fn length(ms: i64) -> String {
    match ms {
        ms if ms % 86_400_000 == 0 => format!("{} d", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        ms if ms % 1_000 == 0 => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

fn window(kind: &WindowKind) -> String {
    match kind {
        WindowKind::Tumble { size_ms, .. } => format!("tumbling {}", length(*size_ms)),
        WindowKind::Hop { slide_ms, size_ms, .. } => {
            format!("hopping {} every {}", length(*size_ms), length(*slide_ms))
        }
        WindowKind::Cumulate { step_ms, max_ms, .. } => {
            format!("cumulating {} by {}", length(*max_ms), length(*step_ms))
        }
        WindowKind::Session { gap_ms } => format!("sessions with a gap of {}", length(*gap_ms)),
        WindowKind::Attached { .. } => "as attached".to_owned(),
    }
}
