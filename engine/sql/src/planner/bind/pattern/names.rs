//! What names and functions mean in `DEFINE` and `MEASURES`.
//!
//! An expression there is one over *operands*: single values that are read from the rows of a match.
//! Each operand is bound to a column number of its own, so that the expression around them is an
//! ordinary one; what an operand reads is in turn an expression over the columns of one row.

use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::planner::bind::Binder;
use crate::planner::bind::aggregate::AggregateExpr;
use crate::planner::bind::call::wrong_count;
use crate::planner::expr::Expr;
use crate::planner::functions::{AggregateName, aggregate_named};
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments, Ident};
use tidemill_operators::aggregate::AggregateFunction;

/// The names that are visible, and what has been read of them.
pub(crate) struct PatternNames {
    clause: PatternClause,
    variables: Vec<String>,
    /// The column of the order, if it is a row time, and its type.
    row_time: Option<(usize, SqlType)>,
    operands: Vec<BoundOperand>,
    inside: Option<Inside>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternClause {
    Define,
    Measures,
}

/// The arguments of one `FIRST`, `LAST` or aggregate.
#[derive(Default)]
struct Inside {
    /// The variable of its columns, once there has been one; none in it: all rows.
    variable: Option<Option<usize>>,
}

/// A value of the rows of a match.
pub(super) struct BoundOperand {
    pub variable: Option<usize>,
    pub reading: BoundReading,
    pub data_type: SqlType,
    pub name: String,
}

pub(super) enum BoundReading {
    First(Expr, usize),
    Last(Expr, usize),
    Aggregate(AggregateExpr),
    Time,
}

impl BoundReading {
    fn is(&self, other: &BoundReading) -> bool {
        use BoundReading::{Aggregate, First, Last, Time};
        match (self, other) {
            (First(a, m), First(b, n)) | (Last(a, m), Last(b, n)) => m == n && a.is(b),
            (Aggregate(a), Aggregate(b)) => a.is(b),
            (Time, Time) => true,
            _ => false,
        }
    }
}

impl PatternNames {
    pub(super) fn new(
        clause: PatternClause,
        variables: Vec<String>,
        row_time: Option<(usize, SqlType)>,
    ) -> Self {
        PatternNames { clause, variables, row_time, operands: Vec::new(), inside: None }
    }

    pub(super) fn into_operands(self) -> Vec<BoundOperand> {
        self.operands
    }

    fn variable(&self, name: &str) -> Option<usize> {
        self.variables.iter().position(|variable| variable.eq_ignore_ascii_case(name))
    }

    /// A dotted name without the variable that it begins with, if it does.
    fn split<'p>(&self, parts: &'p [Ident]) -> (Option<usize>, &'p [Ident]) {
        match parts {
            [first, rest @ ..] if !rest.is_empty() => match self.variable(&first.value) {
                Some(variable) => (Some(variable), rest),
                None => (None, parts),
            },
            _ => (None, parts),
        }
    }

    fn operand(&mut self, operand: BoundOperand, at: At) -> Expr {
        let data_type = operand.data_type.clone();
        let same = |known: &BoundOperand| {
            known.variable == operand.variable && known.reading.is(&operand.reading)
        };
        let number = self.operands.iter().position(same).unwrap_or(self.operands.len());
        if number == self.operands.len() {
            self.operands.push(operand);
        }
        Expr::column(number, data_type, at)
    }
}

impl Binder<'_, '_> {
    /// A column of a variable's rows: of the last one, where a single value is asked for.
    pub(in crate::planner::bind) fn pattern_column(
        &mut self,
        parts: &[Ident],
        at: At,
    ) -> Planned<Option<Expr>> {
        let Some(names) = &self.pattern else { return Ok(None) };
        let (variable, column) = names.split(parts);
        let Some(found) = self.scope.resolve(column, at)? else {
            return match (variable, column) {
                (Some(_), _) => Err(self.scope.unknown(column, at)),
                (None, [first, _, ..]) if self.scope.resolve(&column[..1], at)?.is_none() => {
                    let message =
                        format!("'{}' is neither a variable nor a column here", first.value);
                    Err(Refusal::new(ErrorKind::UnknownColumn, at, message)
                        .hint(format!("variables: {}", names.variables.join(", "))))
                }
                (None, _) => Ok(None),
            };
        };
        let entry = self.scope.entries.iter().find(|e| e.index == found.index);
        let data_type = entry.map_or(SqlType::Null, |e| e.column.data_type.clone());
        let root = Expr::column(found.index, data_type, at);
        let value = self.fields(root, &column[found.used..])?;
        let Some(names) = &mut self.pattern else { return Ok(None) };
        match &mut names.inside {
            Some(inside) => {
                if inside.variable.is_some_and(|known| known != variable) {
                    let message = "all columns that FIRST, LAST or an aggregate reads must be of \
                                   one variable";
                    return Err(Refusal::new(ErrorKind::BadPattern, at, message));
                }
                inside.variable = Some(variable);
                Ok(Some(value))
            }
            None => {
                let data_type = value.data_type.clone();
                let name = parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>();
                let (reading, name) = (BoundReading::Last(value, 0), name.join("."));
                let operand = BoundOperand { variable, reading, data_type, name };
                Ok(Some(names.operand(operand, at)))
            }
        }
    }

    /// A function that means something of its own in a pattern.
    pub(in crate::planner::bind) fn pattern_function(
        &mut self,
        function: &ast::Function,
        name: &str,
        at: At,
    ) -> Planned<Option<Expr>> {
        let Some(names) = &self.pattern else { return Ok(None) };
        let aggregate = aggregate_named(name).filter(|_| function.over.is_none());
        let reads = matches!(name, "FIRST" | "LAST") || aggregate.is_some();
        if reads && names.inside.is_some() {
            let message = "FIRST, LAST and aggregates can't be nested";
            return Err(Refusal::new(ErrorKind::BadPattern, at, message));
        }
        match (name, aggregate) {
            ("FIRST" | "LAST", _) => self.navigate(function, name, at).map(Some),
            (_, Some(aggregate)) => self.pattern_aggregate(function, aggregate, name, at).map(Some),
            ("MATCH_ROWTIME", _) => self.match_row_time(function, at).map(Some),
            ("MATCH_PROCTIME", _) => {
                self.check_measures(name, at)?;
                self.planner.call("PROCTIME", Vec::new(), at).map(Some)
            }
            ("PREV" | "NEXT" | "CLASSIFIER" | "MATCH_NUMBER", _) => Err(unsupported(name, at)),
            _ => Ok(None),
        }
    }

    fn check_measures(&self, name: &str, at: At) -> Planned<()> {
        match &self.pattern {
            Some(names) if names.clause == PatternClause::Define => {
                let message = format!("{name} can only stand in MEASURES");
                Err(Refusal::new(ErrorKind::BadPattern, at, message))
            }
            _ => Ok(()),
        }
    }

    /// Binds what reads rows of one variable; says which one.
    fn inside<T>(
        &mut self,
        bind: impl FnOnce(&mut Self) -> Planned<T>,
    ) -> Planned<(T, Option<usize>)> {
        if let Some(names) = &mut self.pattern {
            names.inside = Some(Inside::default());
        }
        let bound = bind(self);
        let inside = self.pattern.as_mut().and_then(|names| names.inside.take());
        Ok((bound?, inside.and_then(|inside| inside.variable).flatten()))
    }

    fn operand(&mut self, operand: BoundOperand, at: At) -> Expr {
        let names = self.pattern.as_mut().expect("only asked for in a pattern");
        names.operand(operand, at)
    }

    /// `FIRST(A.x, 1)`, `LAST(A.x)`
    fn navigate(&mut self, function: &ast::Function, name: &str, at: At) -> Planned<Expr> {
        let args = self.arguments(function, name, at)?;
        let (argument, offset) = match args.values[..] {
            [argument] => (argument, 0),
            [argument, offset] => (argument, self.offset(offset, name)?),
            _ => return Err(wrong_count(name, "1 or 2 arguments", args.values.len(), at)),
        };
        let (argument, variable) = self.inside(|binder| binder.bind(argument))?;
        let data_type = argument.data_type.clone();
        let reading = match name {
            "FIRST" => BoundReading::First(argument, offset),
            _ => BoundReading::Last(argument, offset),
        };
        let name = function.to_string();
        Ok(self.operand(BoundOperand { variable, reading, data_type, name }, at))
    }

    fn offset(&mut self, ast: &ast::Expr, name: &str) -> Planned<usize> {
        let offset = self.bind(ast)?;
        match offset.as_literal() {
            Some(ScalarValue::Int32(Some(n))) if *n >= 0 => Ok(*n as usize),
            _ => {
                let message = format!("the offset of {name} must be a constant whole number");
                Err(Refusal::new(ErrorKind::WrongArguments, offset.at, message))
            }
        }
    }

    fn pattern_aggregate(
        &mut self,
        function: &ast::Function,
        aggregate: AggregateName,
        name: &str,
        at: At,
    ) -> Planned<Expr> {
        let filter = function.filter.as_deref();
        let (call, variable) = match self.counted_variable(function, name, at)? {
            Some(variable) => {
                let (filter, _) = self
                    .inside(|binder| filter.map(|filter| binder.condition(filter)).transpose())?;
                (count_rows(filter), Some(variable))
            }
            None => {
                let args = self.arguments(function, name, at)?;
                self.inside(|binder| binder.aggregate_parts(aggregate, name, &args, filter, at))?
            }
        };
        self.check_define(&call, name, at)?;
        let data_type = call.data_type.clone();
        let (reading, name) = (BoundReading::Aggregate(call), function.to_string());
        Ok(self.operand(BoundOperand { variable, reading, data_type, name }, at))
    }

    /// The variable of `COUNT(A.*)`.
    fn counted_variable(
        &self,
        function: &ast::Function,
        name: &str,
        at: At,
    ) -> Planned<Option<usize>> {
        let FunctionArguments::List(list) = &function.args else { return Ok(None) };
        let [FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(of))] = &list.args[..] else {
            return Ok(None);
        };
        let of = of.to_string();
        let variable = self.pattern.as_ref().and_then(|names| names.variable(&of));
        if name != "COUNT" || variable.is_none() {
            let message = format!("{name} does not take '{of}.*'");
            return Err(Refusal::new(ErrorKind::WrongArguments, at, message)
                .hint("COUNT takes the rows of a variable of the pattern"));
        }
        Ok(variable)
    }

    /// Aggregates in `DEFINE` go along with each search, so there are only some.
    fn check_define(&self, call: &AggregateExpr, name: &str, at: At) -> Planned<()> {
        use AggregateFunction::{Avg, Count, CountRows, Max, Min, Sum};
        let is_known = matches!(call.function, CountRows | Count | Sum | Avg | Min | Max);
        let is_define =
            self.pattern.as_ref().is_some_and(|names| names.clause == PatternClause::Define);
        if is_define && (!is_known || call.distinct) {
            let distinct = if call.distinct { " DISTINCT" } else { "" };
            let message = format!("{name}{distinct} can't stand in DEFINE");
            return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                .hint("COUNT, SUM, AVG, MIN and MAX can, without DISTINCT"));
        }
        Ok(())
    }

    /// `MATCH_ROWTIME()`, which may name the row time.
    fn match_row_time(&mut self, function: &ast::Function, at: At) -> Planned<Expr> {
        let name = "MATCH_ROWTIME";
        self.check_measures(name, at)?;
        let row_time = self.pattern.as_ref().and_then(|names| names.row_time.clone());
        let Some((time, data_type)) = row_time else {
            let message = "MATCH_ROWTIME needs rows that are ordered by a row time";
            return Err(Refusal::new(ErrorKind::MissingWatermark, at, message)
                .hint("the time of a match of PROCTIME() is MATCH_PROCTIME()"));
        };
        let args = self.arguments(function, name, at)?;
        let (args, _) = self.inside(|binder| binder.all(args.values.iter().copied()))?;
        match &args[..] {
            [] => {}
            [column] if column.as_column() == Some(time) => {}
            [column] => {
                let message = "MATCH_ROWTIME takes the row time that the rows are ordered by";
                return Err(Refusal::new(ErrorKind::WrongArguments, column.at, message));
            }
            _ => return Err(wrong_count(name, "at most 1 argument", args.len(), at)),
        }
        let (reading, name) = (BoundReading::Time, name.to_owned());
        Ok(self.operand(BoundOperand { variable: None, reading, data_type, name }, at))
    }
}

fn count_rows(filter: Option<Expr>) -> AggregateExpr {
    AggregateExpr {
        function: AggregateFunction::CountRows,
        argument: None,
        filter,
        distinct: false,
        data_type: SqlType::BigInt,
        text: "COUNT(*)".to_owned(),
    }
}

fn unsupported(name: &str, at: At) -> Box<Refusal> {
    let message = format!("{name} is not supported in MATCH_RECOGNIZE");
    let refusal = Refusal::new(ErrorKind::Unsupported, at, message);
    match name {
        "PREV" => refusal.hint("LAST(x, 1) is the row of the match before the current one"),
        "NEXT" => refusal.hint("give the next row a variable of its own"),
        _ => refusal.hint("FIRST, LAST, aggregates and MATCH_ROWTIME are"),
    }
}
