//! Windows: the table functions `TUMBLE`, `HOP`, `CUMULATE`, `SESSION`, and the older functions
//! of the same names in `GROUP BY`.

use super::call::wrong_count;
use super::{Binder, Clause, Context};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::parser::place;
use crate::planner::Planner;
use crate::planner::expr::Expr;
use crate::planner::relation::{Column, Op, Relation, Role, WindowInfo};
use crate::planner::scope::Scope;
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use sqlparser::ast::{self, Expr as Ast, FunctionArg, FunctionArgExpr, FunctionArguments};
use tidemill_operators::window::WindowKind;

/// A group window of a select: `GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE)`.
#[derive(Clone, Debug)]
pub(crate) struct GroupWindow {
    /// The call's arguments as text, by which its properties find it.
    pub text: String,
    pub name: String,
    /// Its `window_start`; end and time stand behind it.
    pub start: usize,
}

/// The names of a window function's parameters behind the table, in order.
fn parameters(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "TUMBLE" => &["TIMECOL", "SIZE", "OFFSET"],
        "HOP" => &["TIMECOL", "SLIDE", "SIZE", "OFFSET"],
        "CUMULATE" => &["TIMECOL", "STEP", "SIZE", "OFFSET"],
        "SESSION" => &["TIMECOL", "GAP"],
        _ => return None,
    })
}

impl Planner<'_> {
    /// A table function in `FROM`.
    pub(super) fn table_function(
        &mut self,
        name: &str,
        args: &[FunctionArg],
        context: Context<'_>,
        at: At,
    ) -> Planned<Relation> {
        let Some(parameters) = parameters(name) else {
            let message = format!("there is no table function '{name}'");
            return Err(Refusal::new(ErrorKind::UnknownFunction, at, message)
                .hint("there are TUMBLE, HOP, CUMULATE and SESSION"));
        };
        let call = Call::sort(name, parameters, args, at)?;
        let Some(Ast::Identifier(_) | Ast::CompoundIdentifier(_)) = call.table else {
            let message = format!("{name} takes a table first");
            return Err(Refusal::new(ErrorKind::WrongArguments, at, message)
                .hint(format!("write {name}(TABLE t, DESCRIPTOR(time), …)")));
        };
        let input = self.table_argument(call.table.expect("checked above"), context)?;
        let scope = Scope::of(&input, None);
        let time = self.descriptor(name, call.time, &scope, context, at)?;
        let window = self.window_kind(name, &call.lengths, at)?;
        let keys = match call.keys {
            None => Vec::new(),
            Some(keys) => {
                let mut binder = Binder::new(self, context, &scope, Clause::Rows("PARTITION BY"));
                let keys = match keys {
                    Ast::Tuple(keys) => binder.all(keys)?,
                    key => vec![binder.bind(key)?],
                };
                keys.iter().filter_map(Expr::as_column).collect()
            }
        };
        self.window(input, window, time, keys, at)
    }

    fn table_argument(&mut self, table: &Ast, context: Context<'_>) -> Planned<Relation> {
        let name = match table {
            Ast::Identifier(ident) => ident.clone(),
            Ast::CompoundIdentifier(parts) => parts.last().expect("has parts").clone(),
            _ => unreachable!("checked by the caller"),
        };
        let query = ast::TableFactor::Table {
            name: ast::ObjectName::from(vec![name]),
            alias: None,
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        };
        let from = [ast::TableWithJoins { relation: query, joins: Vec::new() }];
        Ok(self.from(&from, context)?.expect("one table").relation)
    }

    /// The column that `DESCRIPTOR(ts)` names: it must be a row time.
    fn descriptor(
        &mut self,
        name: &str,
        descriptor: Option<&Ast>,
        scope: &Scope,
        context: Context<'_>,
        at: At,
    ) -> Planned<usize> {
        let column = match descriptor {
            Some(Ast::Function(f)) if f.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") => {
                match &f.args {
                    FunctionArguments::List(list) => match &list.args[..] {
                        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Ast::Identifier(i)))] => i,
                        _ => return Err(missing_descriptor(name, at)),
                    },
                    _ => return Err(missing_descriptor(name, at)),
                }
            }
            _ => return Err(missing_descriptor(name, at)),
        };
        let at = place(column, context.file);
        let parts = std::slice::from_ref(column);
        let found = scope.resolve(parts, at)?.ok_or_else(|| scope.unknown(parts, at))?;
        self.check_time(&scope.entries[found.index].column, at)?;
        Ok(found.index)
    }

    /// Refuses a column that windows can't be built on.
    pub(super) fn check_time(&self, column: &Column, at: At) -> Planned<()> {
        if column.role.is_row_time() || column.role == Role::ProcTime {
            return Ok(());
        }
        let message = format!(
            "'{}' is a {} without a watermark; windows need a time attribute",
            column.name, column.data_type
        );
        Err(Refusal::new(ErrorKind::MissingWatermark, at, message).hint(format!(
            "declare WATERMARK FOR {0} AS {0} - INTERVAL '5' SECOND in its table, and pass the \
             column on unchanged",
            column.name
        )))
    }

    /// The window that the call describes, with its lengths checked.
    fn window_kind(&self, name: &str, lengths: &[Option<Expr>], at: At) -> Planned<WindowKind> {
        let length = |index: usize, what: &str| -> Planned<i64> {
            let Some(expr) = &lengths[index] else {
                let message = format!("{name} lacks its {what}");
                return Err(Refusal::new(ErrorKind::WrongArguments, at, message)
                    .hint(format!("write {}", usage(name))));
            };
            millis(name, expr)
        };
        let offset = |index: usize| match lengths.get(index).and_then(Option::as_ref) {
            Some(expr) => millis(name, expr),
            None => Ok(0),
        };
        let positive = |ms: i64, what: &str| {
            if ms > 0 {
                return Ok(ms);
            }
            let message = format!("the {what} of {name} must be longer than nothing");
            Err(Refusal::new(ErrorKind::BadWindow, at, message))
        };
        let multiple = |size_ms: i64, part_ms: i64, what: &str| {
            if size_ms % part_ms == 0 {
                return Ok(());
            }
            let message = format!(
                "{name} needs a size that is a multiple of its {what}, but the size is {size_ms} \
                 ms and the {what} {part_ms} ms"
            );
            Err(Refusal::new(ErrorKind::BadWindow, at, message))
        };
        Ok(match name {
            "TUMBLE" => WindowKind::Tumble {
                size_ms: positive(length(0, "size")?, "size")?,
                offset_ms: offset(1)?,
            },
            "HOP" => {
                let slide_ms = positive(length(0, "slide")?, "slide")?;
                let size_ms = positive(length(1, "size")?, "size")?;
                multiple(size_ms, slide_ms, "slide")?;
                WindowKind::Hop { slide_ms, size_ms, offset_ms: offset(2)? }
            }
            "CUMULATE" => {
                let step_ms = positive(length(0, "step")?, "step")?;
                let max_ms = positive(length(1, "size")?, "size")?;
                multiple(max_ms, step_ms, "step")?;
                WindowKind::Cumulate { step_ms, max_ms, offset_ms: offset(2)? }
            }
            _ => WindowKind::Session { gap_ms: positive(length(0, "gap")?, "gap")? },
        })
    }

    /// Appends the windows' start, end and time to a relation.
    pub(super) fn window(
        &mut self,
        input: Relation,
        window: WindowKind,
        time: usize,
        keys: Vec<usize>,
        at: At,
    ) -> Planned<Relation> {
        let time_type = match &input.columns[time].data_type {
            SqlType::TimestampLtz(_) => SqlType::TimestampLtz(3),
            _ => SqlType::Timestamp(3),
        };
        let zone = matches!(time_type, SqlType::TimestampLtz(_)).then_some(self.zone);
        let number = self.windows.len();
        let by_processing_time = input.columns[time].role == Role::ProcTime;
        self.windows.push(WindowInfo { zone, by_processing_time, time_type: time_type.clone() });
        let mut columns = input.columns.clone();
        // There is one time from here on: that of the window.
        for column in &mut columns {
            if column.role.is_row_time() || column.role == Role::ProcTime {
                column.role = Role::Plain;
            }
        }
        let bound = |name: &str, data_type, role| Column { name: name.into(), data_type, role };
        columns.push(bound("window_start", SqlType::Timestamp(3), Role::WindowStart(number)));
        columns.push(bound("window_end", SqlType::Timestamp(3), Role::WindowEnd(number)));
        let time_role = if by_processing_time { Role::ProcTime } else { Role::WindowTime(number) };
        columns.push(bound("window_time", time_type, time_role));
        let updating = input.updating;
        let op = Op::Window { input: Box::new(input), window, zone, time, keys, number, at };
        Ok(Relation { op, columns, updating })
    }

    /// Makes windows of the group windows of a `GROUP BY`.
    pub(super) fn group_windows(
        &mut self,
        mut input: Relation,
        scope: &Scope,
        group_by: &[&Ast],
        context: Context<'_>,
    ) -> Planned<(Relation, Vec<GroupWindow>)> {
        let mut windows = Vec::new();
        for ast in group_by {
            let Some((name, args)) = group_window_call(ast) else { continue };
            let at = context.at(*ast);
            let [time, lengths @ ..] = args.as_slice() else {
                return Err(wrong_count(&name, "a time and a length", args.len(), at));
            };
            let mut binder = Binder::new(self, context, scope, Clause::Rows("GROUP BY"));
            let time = binder.bind(time)?;
            let lengths: Vec<Option<Expr>> =
                lengths.iter().map(|l| Ok(Some(binder.bind(l)?))).collect::<Planned<_>>()?;
            let expected = if name == "HOP" { 2 } else { 1 };
            if lengths.len() != expected {
                let wanted = format!("a time and {expected} length(s)");
                return Err(wrong_count(&name, &wanted, args.len(), at));
            }
            let Some(column) = time.as_column() else {
                let message = format!("{name} takes a time attribute");
                return Err(Refusal::new(ErrorKind::MissingWatermark, time.at, message));
            };
            self.check_time(&input.columns[column], time.at)?;
            let window = self.window_kind(&name, &lengths, at)?;
            let start = input.columns.len();
            let text = args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            // The keys of the sessions are those of the GROUP BY, which are bound later; the
            // aggregate that follows knows them.
            input = self.window(input, window, column, vec![usize::MAX], at)?;
            windows.push(GroupWindow { text, name, start });
        }
        Ok((input, windows))
    }
}

impl Binder<'_, '_> {
    /// `TUMBLE_START(…)`, `HOP_ROWTIME(…)` …: a column of a group window.
    pub(super) fn group_window_property(&mut self, ast: &Ast, at: At) -> Planned<Option<Expr>> {
        let Ast::Function(function) = ast else { return Ok(None) };
        let name = function.name.to_string().to_ascii_uppercase();
        let Some((window, property)) = name.split_once('_') else { return Ok(None) };
        if !matches!(window, "TUMBLE" | "HOP" | "SESSION") {
            return Ok(None);
        }
        let column = match property {
            "START" => 0,
            "END" => 1,
            "ROWTIME" => 2,
            "PROCTIME" => {
                let message = format!("{name} is not supported yet");
                return Err(Refusal::new(ErrorKind::Unsupported, at, message));
            }
            _ => return Ok(None),
        };
        let text = call_arguments(function).iter().map(|a| a.to_string()).collect::<Vec<_>>();
        let text = text.join(", ");
        let found = self.group_windows.iter().find(|w| w.name == window && w.text == text);
        let Some(found) = found else {
            let message = format!("{name} has no {window} of the same arguments in GROUP BY");
            return Err(Refusal::new(ErrorKind::NotGrouped, at, message)
                .hint(format!("write GROUP BY {window}({text}), …")));
        };
        let index = found.start + column;
        let entry = self.scope.entries.iter().find(|e| e.index == index);
        let data_type = entry.map_or(SqlType::Timestamp(3), |e| e.column.data_type.clone());
        Ok(Some(Expr::column(index, data_type, at)))
    }
}

/// The call of a group window and its arguments.
pub(super) fn group_window_call(ast: &Ast) -> Option<(String, Vec<&Ast>)> {
    let Ast::Function(function) = ast else { return None };
    let name = function.name.to_string().to_ascii_uppercase();
    matches!(name.as_str(), "TUMBLE" | "HOP" | "SESSION").then(|| (name, call_arguments(function)))
}

fn call_arguments(function: &ast::Function) -> Vec<&Ast> {
    match &function.args {
        FunctionArguments::List(list) => list
            .args
            .iter()
            .filter_map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The arguments of a window table function, by position or by name.
struct Call<'x> {
    table: Option<&'x Ast>,
    keys: Option<&'x Ast>,
    time: Option<&'x Ast>,
    lengths: Vec<Option<Expr>>,
}

impl<'x> Call<'x> {
    fn sort(name: &str, parameters: &[&str], args: &'x [FunctionArg], at: At) -> Planned<Call<'x>> {
        let mut table = None;
        let mut keys = None;
        let mut slots: Vec<Option<&Ast>> = vec![None; parameters.len()];
        let mut next = 0;
        for arg in args {
            let (parameter, value) = match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (None, value),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                    (Some(name.value.to_ascii_uppercase()), value)
                }
                other => {
                    let message = format!("{name} does not take '{other}'");
                    return Err(Refusal::new(ErrorKind::WrongArguments, at, message));
                }
            };
            match parameter.as_deref() {
                Some("PARTITION_BY") => keys = Some(value),
                Some("DATA") => table = Some(value),
                Some(parameter) => {
                    let Some(slot) = parameters.iter().position(|p| *p == parameter) else {
                        let message = format!("{name} has no parameter '{parameter}'");
                        return Err(Refusal::new(ErrorKind::WrongArguments, at, message)
                            .hint(format!("parameters: DATA, {}", parameters.join(", "))));
                    };
                    slots[slot] = Some(value);
                }
                None if table.is_none() => table = Some(value),
                None if next < slots.len() => {
                    slots[next] = Some(value);
                    next += 1;
                }
                None => {
                    let count = args.len();
                    return Err(wrong_count(name, usage(name), count, at));
                }
            }
        }
        let lengths = slots[1..]
            .iter()
            .map(|slot| slot.map(|ast| constant_interval(name, ast, at)).transpose())
            .collect::<Planned<_>>()?;
        Ok(Call { table, keys, time: slots[0], lengths })
    }
}

/// An interval, which needs no names to be bound.
fn constant_interval(name: &str, ast: &Ast, at: At) -> Planned<Expr> {
    let Ast::Interval(interval) = ast else {
        let message = format!("{name} takes intervals as lengths, not '{ast}'");
        return Err(
            Refusal::new(ErrorKind::WrongArguments, at, message).hint("write INTERVAL '1' MINUTE")
        );
    };
    super::literal::interval(interval, at)
}

fn millis(name: &str, expr: &Expr) -> Planned<i64> {
    match expr.as_literal() {
        Some(ScalarValue::DurationMillisecond(Some(ms))) => Ok(*ms),
        Some(ScalarValue::IntervalYearMonth(_)) => Err(Refusal::new(
            ErrorKind::BadWindow,
            expr.at,
            format!("{name} takes lengths in days, hours, minutes or seconds, not months or years"),
        )),
        _ => Err(Refusal::new(
            ErrorKind::WrongArguments,
            expr.at,
            format!("{name} takes constant intervals as lengths"),
        )),
    }
}

fn missing_descriptor(name: &str, at: At) -> Box<Refusal> {
    Refusal::new(ErrorKind::WrongArguments, at, format!("{name} lacks its time column"))
        .hint(format!("write {}", usage(name)))
}

fn usage(name: &str) -> &'static str {
    match name {
        "TUMBLE" => "TUMBLE(TABLE t, DESCRIPTOR(time), size [, offset])",
        "HOP" => "HOP(TABLE t, DESCRIPTOR(time), slide, size [, offset])",
        "CUMULATE" => "CUMULATE(TABLE t, DESCRIPTOR(time), step, size [, offset])",
        _ => "SESSION(TABLE t [PARTITION BY key], DESCRIPTOR(time), gap)",
    }
}
