//! Window functions: ranks, aggregates over frames, `LAG` and `LEAD`.

use super::Binder;
use super::aggregate::AggregateExpr;
use super::call::{Arguments, wrong_count};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::planner::expr::{Expr, ExprKind};
use crate::planner::functions::aggregate_named;
use crate::planner::relation::{self, Aggregation, Column, Op, Ordering, OverCall, Relation};
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use sqlparser::ast::{
    self, Expr as Ast, NamedWindowExpr, WindowFrameBound, WindowFrameUnits, WindowType,
};
use tidemill_operators::aggregate::AggregateFunction;
use tidemill_operators::over::{self, Frame};

/// A window function over the rows of the select.
#[derive(Clone, Debug)]
pub(crate) struct OverExpr {
    pub function: OverFunction,
    pub partition: Vec<Expr>,
    /// Value, whether descending, whether NULLs come first.
    pub order: Vec<(Expr, bool, bool)>,
    pub frame: Frame,
    pub data_type: SqlType,
    pub at: At,
}

#[derive(Clone, Debug)]
pub(crate) enum OverFunction {
    RowNumber,
    /// `RANK`; `DENSE_RANK` leaves no gaps behind rows of equal time.
    Rank {
        is_dense: bool,
    },
    Aggregate(AggregateExpr),
    Lag(Neighbour),
    /// At least one row ahead.
    Lead(Neighbour),
}

/// The value of an expression some rows away.
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    argument: Expr,
    offset: u64,
    default: Option<Expr>,
}

impl OverExpr {
    /// All expressions of it.
    pub fn expressions(&mut self) -> impl Iterator<Item = &mut Expr> {
        let own: Vec<&mut Expr> = match &mut self.function {
            OverFunction::RowNumber | OverFunction::Rank { .. } => Vec::new(),
            OverFunction::Aggregate(a) => a.argument.iter_mut().chain(&mut a.filter).collect(),
            OverFunction::Lag(of) | OverFunction::Lead(of) => {
                std::iter::once(&mut of.argument).chain(&mut of.default).collect()
            }
        };
        let order = self.order.iter_mut().map(|(e, ..)| e);
        self.partition.iter_mut().chain(order).chain(own)
    }
}

impl Binder<'_, '_> {
    pub(super) fn over(
        &mut self,
        name: &str,
        args: &Arguments<'_>,
        filter: Option<&Ast>,
        over: &WindowType,
        at: At,
    ) -> Planned<Expr> {
        self.check_clause(ErrorKind::MisplacedAggregate, "a window function", at)?;
        let spec = self.window_spec(over, at)?;
        let (function, data_type) = self.over_function(name, args, filter, at)?;
        let partition = self.all(&spec.partition_by)?;
        if spec.order_by.is_empty() {
            let message = format!("{name} needs an ORDER BY in its OVER clause");
            return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                .hint("order by the row time: OVER (PARTITION BY … ORDER BY ts)"));
        }
        let order = (spec.order_by.iter())
            .map(|term| {
                let (descending, nulls_first) = direction(&term.options);
                Ok((self.bind(&term.expr)?, descending, nulls_first))
            })
            .collect::<Planned<_>>()?;
        let frame = match &spec.window_frame {
            None => Frame::Range { preceding_ms: None },
            Some(frame) => self.frame(frame, at)?,
        };
        if let OverFunction::Aggregate(call) = &function
            && frame.is_bounded()
            && !call.function.takes_back()
        {
            let message = format!("{name} can't let rows go that leave a frame");
            return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                .hint("COUNT(DISTINCT …) can; or begin the frame with UNBOUNDED PRECEDING"));
        }
        let of = data_type.clone();
        self.overs.push(OverExpr { function, partition, order, frame, data_type, at });
        Ok(Expr::new(ExprKind::Over(self.overs.len() - 1), of, at))
    }

    fn over_function(
        &mut self,
        name: &str,
        args: &Arguments<'_>,
        filter: Option<&Ast>,
        at: At,
    ) -> Planned<(OverFunction, SqlType)> {
        if let Some(aggregate) = aggregate_named(name) {
            let aggregate = self.aggregate_parts(aggregate, name, args, filter, at)?;
            let data_type = aggregate.data_type.clone();
            return Ok((OverFunction::Aggregate(aggregate), data_type));
        }
        if filter.is_some() {
            let message = format!("FILTER goes with an aggregate, not with {name}");
            return Err(Refusal::new(ErrorKind::Unsupported, at, message));
        }
        match name {
            "ROW_NUMBER" | "RANK" | "DENSE_RANK" if !args.values.is_empty() => {
                Err(wrong_count(name, "no arguments", args.values.len(), at))
            }
            "ROW_NUMBER" => Ok((OverFunction::RowNumber, SqlType::BigInt)),
            "RANK" => Ok((OverFunction::Rank { is_dense: false }, SqlType::BigInt)),
            "DENSE_RANK" => Ok((OverFunction::Rank { is_dense: true }, SqlType::BigInt)),
            "LAG" | "LEAD" => {
                let (of, data_type) = self.neighbour(name, args, at)?;
                // The row itself isn't ahead of it.
                let is_ahead = name == "LEAD" && of.offset > 0;
                let function = if is_ahead { OverFunction::Lead } else { OverFunction::Lag };
                Ok((function(of), data_type))
            }
            _ => Err(unsupported(name, at)),
        }
    }

    fn neighbour(
        &mut self,
        name: &str,
        args: &Arguments<'_>,
        at: At,
    ) -> Planned<(Neighbour, SqlType)> {
        let wrong_count = || wrong_count(name, "1 to 3 arguments", args.values.len(), at);
        if args.values.len() > 3 {
            return Err(wrong_count());
        }
        let values = self.all(args.values.iter().copied())?;
        let mut values = values.into_iter();
        let Some(argument) = values.next() else { return Err(wrong_count()) };
        let offset = match values.next().as_ref().map(Expr::as_literal) {
            None => 1,
            Some(Some(ScalarValue::Int32(Some(n)))) if *n >= 0 => *n as u64,
            Some(_) => {
                let message = format!("the offset of {name} must be a constant whole number");
                return Err(Refusal::new(ErrorKind::WrongArguments, at, message));
            }
        };
        let data_type = argument.data_type.clone();
        let default = values.next().map(|d| self.planner.cast(d, &data_type)).transpose()?;
        Ok((Neighbour { argument, offset, default }, data_type))
    }

    /// The rows before the current one that count.
    fn frame(&mut self, frame: &ast::WindowFrame, at: At) -> Planned<Frame> {
        let refuse = |message: &str| Refusal::new(ErrorKind::Unsupported, at, message);
        if !matches!(frame.end_bound, None | Some(WindowFrameBound::CurrentRow)) {
            return Err(refuse("frames that reach behind the current row are not supported")
                .hint("end the frame with CURRENT ROW"));
        }
        let preceding = match &frame.start_bound {
            WindowFrameBound::Preceding(None) => None,
            WindowFrameBound::CurrentRow => Some(None),
            WindowFrameBound::Preceding(Some(bound)) => Some(Some(self.bind(bound)?)),
            WindowFrameBound::Following(_) => {
                return Err(refuse("frames that begin behind the current row are not supported"));
            }
        };
        match (&frame.units, preceding) {
            (WindowFrameUnits::Rows, None) => Ok(Frame::Rows { preceding: None }),
            (WindowFrameUnits::Rows, Some(None)) => Ok(Frame::Rows { preceding: Some(0) }),
            (WindowFrameUnits::Rows, Some(Some(bound))) => match bound.as_literal() {
                Some(ScalarValue::Int32(Some(n))) if *n >= 0 => {
                    Ok(Frame::Rows { preceding: Some(*n as u64) })
                }
                _ => Err(refuse("a frame of ROWS takes a constant number of rows")),
            },
            (WindowFrameUnits::Range, None) => Ok(Frame::Range { preceding_ms: None }),
            (WindowFrameUnits::Range, Some(None)) => Ok(Frame::Range { preceding_ms: Some(0) }),
            (WindowFrameUnits::Range, Some(Some(bound))) => match bound.as_literal() {
                Some(ScalarValue::DurationMillisecond(Some(ms))) if *ms >= 0 => {
                    Ok(Frame::Range { preceding_ms: Some(*ms) })
                }
                _ => Err(refuse("a frame of RANGE takes a constant interval of days or less")),
            },
            (WindowFrameUnits::Groups, _) => Err(refuse("frames of GROUPS are not supported")),
        }
    }

    fn window_spec(&self, over: &WindowType, at: At) -> Planned<ast::WindowSpec> {
        let name = match over {
            WindowType::WindowSpec(spec) => match &spec.window_name {
                None => return Ok(spec.clone()),
                Some(name) => name,
            },
            WindowType::NamedWindow(name) => name,
        };
        let found = self.named_windows.iter().find(|w| w.0.value.eq_ignore_ascii_case(&name.value));
        match found.map(|w| &w.1) {
            Some(NamedWindowExpr::WindowSpec(spec)) => Ok(spec.clone()),
            Some(NamedWindowExpr::NamedWindow(other)) => {
                self.window_spec(&WindowType::NamedWindow(other.clone()), at)
            }
            None => {
                let message = format!("there is no window '{}'", name.value);
                Err(Refusal::new(ErrorKind::UnknownTable, at, message)
                    .hint("define it with WINDOW name AS (…)"))
            }
        }
    }
}

/// Appends the window functions' values to a relation; says in which columns they are.
pub(super) fn append(
    mut relation: Relation,
    overs: Vec<OverExpr>,
) -> Planned<(Relation, Vec<usize>)> {
    let mut columns = vec![0; overs.len()];
    let mut framed: Option<(OverExpr, Vec<(usize, OverExpr)>)> = None;
    for (number, over) in overs.into_iter().enumerate() {
        match over.function {
            OverFunction::RowNumber => {
                (relation, columns[number]) = append_rank(relation, over);
                continue;
            }
            OverFunction::Rank { is_dense } => {
                (relation, columns[number]) = append_time_rank(relation, &over, is_dense)?;
                continue;
            }
            OverFunction::Aggregate(_) | OverFunction::Lag(_) | OverFunction::Lead(_) => {}
        }
        match &mut framed {
            None => framed = Some((over.clone(), vec![(number, over)])),
            Some((first, all)) => {
                if !same_window(first, &over) {
                    let message = "all window functions of a query must share one window";
                    return Err(Refusal::new(ErrorKind::Unsupported, over.at, message)
                        .hint("compute the others in a sub-query"));
                }
                all.push((number, over));
            }
        }
    }
    if let Some((window, calls)) = framed {
        relation = append_frame(relation, window, calls, &mut columns)?;
    }
    Ok((relation, columns))
}

fn same_window(a: &OverExpr, b: &OverExpr) -> bool {
    let same = |a: &[Expr], b: &[Expr]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b));
    let order = |o: &OverExpr| o.order.iter().map(|(e, ..)| e.clone()).collect::<Vec<_>>();
    let is_framed = |o: &OverExpr| matches!(o.function, OverFunction::Aggregate(_));
    same(&a.partition, &b.partition)
        && same(&order(a), &order(b))
        && (a.frame == b.frame || !is_framed(a) || !is_framed(b))
}

/// Columns computed in front of a window function where they are not there yet.
struct Extra {
    width: usize,
    exprs: Vec<Expr>,
}

impl Extra {
    fn place(&mut self, expr: Expr) -> usize {
        match expr.as_column() {
            Some(column) => column,
            None => {
                self.exprs.push(expr);
                self.width + self.exprs.len() - 1
            }
        }
    }
}

impl Neighbour {
    fn place(self, extra: &mut Extra, name: String) -> over::Neighbour {
        over::Neighbour {
            argument: extra.place(self.argument),
            offset: self.offset,
            default: self.default.map(|e| extra.place(e)),
            name,
        }
    }
}

fn append_rank(relation: Relation, over: OverExpr) -> (Relation, usize) {
    let mut extra = Extra { width: relation.columns.len(), exprs: Vec::new() };
    let partition = over.partition.into_iter().map(|e| extra.place(e)).collect();
    let order = (over.order.into_iter())
        .map(|(expr, descending, nulls_first)| Ordering {
            column: extra.place(expr),
            descending,
            nulls_first,
        })
        .collect();
    let relation = relation.extend(extra.exprs);
    let mut columns = relation.columns.clone();
    let rank = columns.len();
    columns.push(Column::plain("__rank", SqlType::BigInt));
    // Ranks move when rows come.
    let op = Op::RowNumber { input: Box::new(relation), partition, order, at: over.at };
    (Relation { op, columns, updating: true }, rank)
}

/// The rank of a row by its time, which no later row changes. Rows of equal time share the rank of
/// the first of them.
///
/// ```text
/// RANK        rows up to the time - rows of the time + 1
/// DENSE_RANK  rows up to the time whose time is not that of the row before
/// ```
fn append_time_rank(
    relation: Relation,
    over: &OverExpr,
    is_dense: bool,
) -> Planned<(Relation, usize)> {
    let all = Frame::Range { preceding_ms: None };
    if is_dense {
        let (relation, is_first) = append_first_of_time(relation, over)?;
        return append_one(relation, over, count_rows(Some(is_first)), all);
    }
    let same = Frame::Range { preceding_ms: Some(0) };
    let (relation, upto) = append_one(relation, over, count_rows(None), all)?;
    let (relation, ties) = append_one(relation, over, count_rows(None), same)?;
    let at = over.at;
    let number = |column| Expr::column(column, SqlType::BigInt, at);
    let one = Expr::literal(ScalarValue::Int64(Some(1)), SqlType::BigInt, at);
    let arithmetic = |op, left, right| {
        Expr::new(ExprKind::Binary(op, Box::new(left), Box::new(right)), SqlType::BigInt, at)
    };
    let before = arithmetic(Operator::Minus, number(upto), number(ties));
    let column = relation.columns.len();
    Ok((relation.extend(vec![arithmetic(Operator::Plus, before, one)]), column))
}

/// Appends the time of the row before; the expression says whether a row has another.
fn append_first_of_time(relation: Relation, over: &OverExpr) -> Planned<(Relation, Expr)> {
    let (time, ..) = over.order[0].clone();
    let lag = OverFunction::Lag(Neighbour { argument: time.clone(), offset: 1, default: None });
    let frame = Frame::Rows { preceding: Some(1) };
    let (relation, before) = append_one(relation, over, lag, frame)?;
    let before = Expr::column(before, time.data_type.clone(), over.at);
    let is_same = Expr::compare(Operator::Eq, before.clone(), time);
    Ok((relation, before.is_null().negate().and(is_same).negate()))
}

fn count_rows(filter: Option<Expr>) -> OverFunction {
    OverFunction::Aggregate(AggregateExpr {
        function: AggregateFunction::CountRows,
        argument: None,
        filter,
        distinct: false,
        data_type: SqlType::BigInt,
        text: "COUNT(*)".to_owned(),
    })
}

/// Appends another function in the order of `over`.
fn append_one(
    relation: Relation,
    over: &OverExpr,
    function: OverFunction,
    frame: Frame,
) -> Planned<(Relation, usize)> {
    let data_type = match &function {
        OverFunction::Lag(of) => of.argument.data_type.clone(),
        _ => SqlType::BigInt,
    };
    let call = OverExpr { function, frame, data_type, ..over.clone() };
    let mut column = [0];
    let relation = append_frame(relation, call.clone(), vec![(0, call)], &mut column)?;
    Ok((relation, column[0]))
}

fn append_frame(
    relation: Relation,
    window: OverExpr,
    calls: Vec<(usize, OverExpr)>,
    columns: &mut [usize],
) -> Planned<Relation> {
    let at = window.at;
    let refuse = |message: &str| Refusal::new(ErrorKind::Unsupported, at, message);
    if relation.updating {
        return Err(refuse("window functions over rows that are updated are not supported")
            .hint("compute them in front of the aggregate, the join or the LEAD that updates"));
    }
    let [(time, descending, _)] = &window.order[..] else {
        return Err(refuse("a window function is ordered by one column, the row time"));
    };
    if *descending {
        return Err(refuse("window functions are only supported in ascending order of time"));
    }
    let Some(time) = time.as_column().filter(|&c| relation.columns[c].role.is_row_time()) else {
        return Err(refuse("window functions ordered by another column than the row time")
            .hint("ORDER BY the column of the WATERMARK"));
    };
    let mut extra = Extra { width: relation.columns.len(), exprs: Vec::new() };
    let partition: Vec<usize> = window.partition.into_iter().map(|e| extra.place(e)).collect();
    let frame = calls
        .iter()
        .find(|(_, c)| matches!(c.function, OverFunction::Aggregate(_)))
        .map_or(Frame::Rows { preceding: Some(0) }, |(_, c)| c.frame);
    let (mut functions, mut types) = (Vec::new(), Vec::new());
    for (number, call) in calls {
        columns[number] = usize::MAX / 2 + functions.len();
        let name = format!("__over{}", functions.len());
        types.push(call.data_type.clone());
        functions.push(match call.function {
            OverFunction::Aggregate(a) => OverCall::Aggregate(Aggregation {
                function: a.function,
                argument: a.argument.map(|e| extra.place(e)),
                filter: a.filter.map(|e| extra.place(e)),
                distinct: a.distinct,
                data_type: a.data_type,
                name,
            }),
            OverFunction::Lag(of) => OverCall::Lag(of.place(&mut extra, name)),
            OverFunction::Lead(of) => OverCall::Lead(of.place(&mut extra, name)),
            OverFunction::RowNumber | OverFunction::Rank { .. } => {
                unreachable!("ranks are appended apart")
            }
        });
    }
    let relation = relation.extend(extra.exprs);
    let width = relation.columns.len();
    for column in columns.iter_mut().filter(|c| **c >= usize::MAX / 2) {
        *column = *column - usize::MAX / 2 + width;
    }
    let mut all = relation.columns.clone();
    all.extend(types.into_iter().enumerate().map(|(i, t)| Column::plain(format!("__over{i}"), t)));
    // A row that awaits a LEAD is taken back later than any time of its own.
    let updating = functions.iter().any(|call| matches!(call, OverCall::Lead(_)));
    if updating {
        relation::forget_event_times(&mut all);
    }
    let op = Op::Over { input: Box::new(relation), partition, time, frame, calls: functions };
    Ok(Relation { op, columns: all, updating })
}

/// Whether a term of an order descends, and whether its NULLs come first. NULL is the least value.
pub(super) fn direction(options: &ast::OrderByOptions) -> (bool, bool) {
    let descending = options.asc == Some(false);
    (descending, options.nulls_first.unwrap_or(!descending))
}

fn unsupported(name: &str, at: At) -> Box<Refusal> {
    let message = format!("{name} with an OVER clause is not supported");
    let refusal = Refusal::new(ErrorKind::Unsupported, at, message);
    refusal.hint("aggregates, LAG, LEAD and ROW_NUMBER are")
}
