//! `MATCH_RECOGNIZE`: a table whose rows are the matches of a pattern.
//!
//! What reads nothing but one row (a condition such as `A.price > 10`, the argument of an aggregate)
//! becomes a column of the input, where it is computed for many rows at once; a condition that can
//! fail is left to the search, which knows what rows are asked. What is left for the
//! search are conditions that look back, over values that it picks out of those columns; and a
//! measure is an expression over such values, in a projection above.

mod names;
mod syntax;

pub(crate) use names::PatternNames;

use super::from::Source;
use super::over::direction;
use super::{Binder, Clause, Context, literal};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::parser::{WITHIN, place};
use crate::planner::Planner;
use crate::planner::compile::may_fail;
use crate::planner::expr::Expr;
use crate::planner::relation::{
    Aggregation, Column, Op, Ordering, PatternOperand, PatternReading, PatternSearch, PatternTest,
    PatternVariable, Relation, Role,
};
use crate::planner::rewrite::is_volatile;
use crate::planner::scope::Scope;
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use names::{BoundOperand, BoundReading, PatternClause};
use sqlparser::ast::{
    self, AfterMatchSkip, Ident, Measure, OrderByExpr, RowsPerMatch, SymbolDefinition, TableFactor,
};
use syntax::Shape;
use tidemill_operators::pattern::Skip;

/// Measures by name, over their operands.
type Shown = Vec<(String, Expr)>;

/// The order of the rows.
struct Order {
    time: usize,
    ties: Vec<(Expr, bool, bool)>,
    by_processing_time: bool,
}

impl Planner<'_> {
    pub(super) fn match_recognize(
        &mut self,
        factor: &TableFactor,
        context: Context<'_>,
        at: At,
    ) -> Planned<Relation> {
        let TableFactor::MatchRecognize {
            table,
            partition_by,
            order_by,
            measures,
            rows_per_match,
            after_match_skip,
            pattern,
            symbols,
            ..
        } = factor
        else {
            unreachable!("called for MATCH_RECOGNIZE")
        };
        let Source { relation, scope } = self.factor(table, context)?;
        if relation.updating {
            let message = "MATCH_RECOGNIZE over rows that are updated is not supported";
            return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                .hint("match in front of the aggregate or the join that updates"));
        }
        if partition_by.is_empty() && measures.is_empty() {
            let message = "MATCH_RECOGNIZE without PARTITION BY and MEASURES shows nothing";
            return Err(Refusal::new(ErrorKind::BadPattern, at, message)
                .hint("MEASURES FIRST(x) AS began, LAST(x) AS ended"));
        }
        if let Some(RowsPerMatch::AllRows(_)) = rows_per_match {
            let message = "ALL ROWS PER MATCH is not supported";
            return Err(Refusal::new(ErrorKind::Unsupported, at, message)
                .hint("ONE ROW PER MATCH gives one row, with the MEASURES"));
        }
        let partition = self.partition(partition_by, &scope, context)?;
        let order = self.order(order_by, (&relation, &scope), at, context)?;
        let shape = Shape::of(pattern, at, context)?;
        let skip = skip(after_match_skip.as_ref(), &shape, context)?;
        let (within, defined) = within_and_definitions(symbols);
        let within_ms = within.map(|within| within_ms(within, context)).transpose()?;
        let mut placed = Placed { width: relation.columns.len(), exprs: Vec::new() };
        let variables = self.variables(&shape, defined, &scope, &mut placed, context)?;
        let row_time = (!order.by_processing_time)
            .then(|| (order.time, relation.columns[order.time].data_type.clone()));
        let names = PatternNames::new(PatternClause::Measures, shape.variables.clone(), row_time);
        let (shown, operands) = self.measures(measures, names, &scope, context)?;
        let ties = order.ties.into_iter().map(|(expr, descending, nulls_first)| Ordering {
            column: placed.place(expr),
            descending,
            nulls_first,
        });
        let ties = ties.collect();
        let operands = operands.into_iter().map(|operand| placed.operand(operand));
        let mut measures: Vec<PatternOperand> = operands.collect();
        if partition.is_empty() && measures.is_empty() {
            // Rows need a column to be rows.
            let data_type = relation.columns[order.time].data_type.clone();
            measures.push(time_of_match(data_type));
        }
        let search = PatternSearch {
            variables,
            pattern: shape.pattern,
            within_ms,
            skip,
            measures,
            by_processing_time: order.by_processing_time,
        };
        let input = relation.extend(placed.exprs);
        Ok(projected(input, partition, order.time, ties, search, shown, at))
    }

    fn partition(
        &mut self,
        partition_by: &[ast::Expr],
        scope: &Scope,
        context: Context<'_>,
    ) -> Planned<Vec<usize>> {
        let clause = Clause::Rows("PARTITION BY");
        let keys = Binder::new(self, context, scope, clause).all(partition_by)?;
        let column = |key: &Expr| {
            key.as_column().ok_or_else(|| {
                let message = "PARTITION BY takes columns, for it gives the result its first ones";
                Refusal::new(ErrorKind::Unsupported, key.at, message)
                    .hint("compute it in a view or a sub-query in front")
            })
        };
        keys.iter().map(column).collect()
    }

    /// The rows are in the order of a time, and only then in another.
    fn order(
        &mut self,
        order_by: &[OrderByExpr],
        (relation, scope): (&Relation, &Scope),
        at: At,
        context: Context<'_>,
    ) -> Planned<Order> {
        let refuse = |at, message: &str| {
            let hint = "ORDER BY the column of the WATERMARK; others may follow, to decide between \
                        rows of equal time";
            Err(Refusal::new(ErrorKind::BadPattern, at, message).hint(hint))
        };
        let mut terms = Vec::new();
        for term in order_by {
            let expr =
                Binder::new(self, context, scope, Clause::Rows("ORDER BY")).bind(&term.expr)?;
            let (descending, nulls_first) = direction(&term.options);
            terms.push((expr, descending, nulls_first));
        }
        if terms.is_empty() {
            return refuse(at, "MATCH_RECOGNIZE needs an ORDER BY that begins with a time");
        }
        let (first, descending, _) = terms.remove(0);
        let role = first.as_column().map(|column| relation.columns[column].role);
        let (Some(time), Some(role)) = (first.as_column(), role) else {
            return refuse(first.at, "the ORDER BY of MATCH_RECOGNIZE must begin with a time");
        };
        let by_processing_time = role == Role::ProcTime;
        if !role.is_row_time() && !by_processing_time {
            return refuse(first.at, "the ORDER BY of MATCH_RECOGNIZE must begin with a row time");
        }
        if let Role::WindowTime(number) = role
            && self.windows[number].by_processing_time
        {
            return refuse(first.at, "the time of windows over PROCTIME() is no row time");
        }
        if descending {
            return refuse(first.at, "the time that MATCH_RECOGNIZE is ordered by must ascend");
        }
        Ok(Order { time, ties: terms, by_processing_time })
    }

    fn variables(
        &mut self,
        shape: &Shape,
        symbols: Vec<&SymbolDefinition>,
        scope: &Scope,
        placed: &mut Placed,
        context: Context<'_>,
    ) -> Planned<Vec<PatternVariable>> {
        let mut tests = vec![None; shape.variables.len()];
        for SymbolDefinition { symbol, definition } in symbols {
            let number = variable(symbol, "DEFINE", shape, context)?;
            if tests[number].is_some() {
                let message = format!("DEFINE says twice what '{}' is", symbol.value);
                let at = place(symbol, context.file);
                return Err(Refusal::new(ErrorKind::DuplicateName, at, message));
            }
            let names = PatternNames::new(PatternClause::Define, shape.variables.clone(), None);
            let mut binder = Binder::new(self, context, scope, Clause::Rows("DEFINE"));
            binder.pattern = Some(names);
            let condition = binder.condition(definition)?;
            let operands = finish(binder, condition.at, "DEFINE")?;
            tests[number] = Some(placed.test(number, condition, operands)?);
        }
        let names = shape.variables.iter().cloned();
        let variable = |(name, test): (String, Option<PatternTest>)| PatternVariable {
            name,
            test: test.unwrap_or(PatternTest::Always),
        };
        Ok(names.zip(tests).map(variable).collect())
    }

    /// The measures over their operands.
    fn measures(
        &mut self,
        measures: &[Measure],
        names: PatternNames,
        scope: &Scope,
        context: Context<'_>,
    ) -> Planned<(Shown, Vec<BoundOperand>)> {
        let mut binder = Binder::new(self, context, scope, Clause::Rows("MEASURES"));
        binder.pattern = Some(names);
        let mut shown = Shown::new();
        for Measure { expr, alias } in measures {
            let at = place(alias, context.file);
            if shown.iter().any(|(name, _)| name.eq_ignore_ascii_case(&alias.value)) {
                let message = format!("there are two measures '{}'", alias.value);
                return Err(Refusal::new(ErrorKind::DuplicateName, at, message));
            }
            shown.push((alias.value.clone(), binder.bind(expr)?));
        }
        let at = shown.first().map_or(At::default(), |(_, expr)| expr.at);
        let operands = finish(binder, at, "MEASURES")?;
        Ok((shown, operands))
    }
}

fn time_of_match(data_type: SqlType) -> PatternOperand {
    let reading = PatternReading::Time;
    PatternOperand { variable: None, reading, data_type, name: "MATCH_ROWTIME()".to_owned() }
}

/// The operands of what was bound.
fn finish(binder: Binder<'_, '_>, at: At, clause: &str) -> Planned<Vec<BoundOperand>> {
    if !binder.subqueries.is_empty() {
        let message = format!("a sub-query in {clause} is not supported");
        return Err(Refusal::new(ErrorKind::Unsupported, at, message)
            .hint("join what it gives in front of MATCH_RECOGNIZE"));
    }
    Ok(binder.pattern.map(PatternNames::into_operands).unwrap_or_default())
}

/// The measures above the search.
fn projected(
    input: Relation,
    partition: Vec<usize>,
    time: usize,
    ties: Vec<Ordering>,
    search: PatternSearch,
    shown: Shown,
    at: At,
) -> Relation {
    let keys = partition.len();
    // Of a match a row time is a value like any other: only the time of the match goes on.
    let mut columns: Vec<Column> = (partition.iter().map(|&key| &input.columns[key]))
        .map(|column| Column::plain(&column.name, column.data_type.clone()))
        .collect();
    columns.extend(search.measures.iter().map(|operand| Column {
        name: operand.name.clone(),
        data_type: operand.data_type.clone(),
        role: match operand.reading {
            PatternReading::Time => Role::RowTime,
            _ => Role::Plain,
        },
    }));
    let search = Box::new(search);
    let op = Op::Pattern { input: Box::new(input), partition, time, ties, search };
    let matches = Relation { op, columns, updating: false };
    let mut exprs = matches.all_columns(at);
    let mut names = matches.names();
    exprs.truncate(keys);
    names.truncate(keys);
    for (name, expr) in shown {
        names.push(name);
        exprs.push(expr.remap(&|operand| keys + operand));
    }
    Relation::project(matches, exprs, names)
}

/// The number of a variable that a clause names.
fn variable(name: &Ident, clause: &str, shape: &Shape, context: Context<'_>) -> Planned<usize> {
    let is_named = |variable: &String| variable.eq_ignore_ascii_case(&name.value);
    shape.variables.iter().position(is_named).ok_or_else(|| {
        let at = place(name, context.file);
        let message = format!("{clause} names '{}', which is not in the PATTERN", name.value);
        Refusal::new(ErrorKind::BadPattern, at, message)
            .hint(format!("its variables are: {}", shape.variables.join(", ")))
    })
}

/// Where the search goes on. What SQL takes for the default is not what Flink takes.
fn skip(skip: Option<&AfterMatchSkip>, shape: &Shape, context: Context<'_>) -> Planned<Skip> {
    let variable = |name| variable(name, "AFTER MATCH SKIP", shape, context);
    match skip {
        None | Some(AfterMatchSkip::ToNextRow) => Ok(Skip::ToNextRow),
        Some(AfterMatchSkip::PastLastRow) => Ok(Skip::PastLastRow),
        Some(AfterMatchSkip::ToFirst(name)) => {
            let variable = variable(name)?;
            if shape.begins_with() == Some(variable) {
                let at = place(name, context.file);
                let message = format!(
                    "every match begins with the first '{}': it would be found for ever",
                    name.value
                );
                return Err(Refusal::new(ErrorKind::BadPattern, at, message)
                    .hint("AFTER MATCH SKIP TO NEXT ROW goes on behind it"));
            }
            Ok(Skip::ToFirst(variable))
        }
        Some(AfterMatchSkip::ToLast(name)) => Ok(Skip::ToLast(variable(name)?)),
    }
}

/// The interval of `WITHIN`, and what `DEFINE` says.
fn within_and_definitions(
    symbols: &[SymbolDefinition],
) -> (Option<&ast::Expr>, Vec<&SymbolDefinition>) {
    let is_within = |symbol: &&SymbolDefinition| symbol.symbol.value == WITHIN;
    let (within, defined): (Vec<_>, Vec<_>) = symbols.iter().partition(is_within);
    (within.first().map(|within| &within.definition), defined)
}

fn within_ms(within: &ast::Expr, context: Context<'_>) -> Planned<i64> {
    let at = context.at(within);
    let interval = match within {
        ast::Expr::Interval(interval) => Some(literal::interval(interval, at)?),
        _ => None,
    };
    match interval.as_ref().and_then(Expr::as_literal) {
        Some(ScalarValue::DurationMillisecond(Some(ms))) if *ms > 0 => Ok(*ms),
        _ => {
            let message = "WITHIN takes a constant interval of days or less";
            Err(Refusal::new(ErrorKind::BadPattern, at, message).hint("WITHIN INTERVAL '5' SECOND"))
        }
    }
}

/// What is computed row by row in front of the search, behind the columns that are there.
struct Placed {
    width: usize,
    exprs: Vec<Expr>,
}

impl Placed {
    fn place(&mut self, expr: Expr) -> usize {
        if let Some(column) = expr.as_column() {
            return column;
        }
        let known = self.exprs.iter().position(|known| known.is(&expr) && !is_volatile(&expr));
        self.width
            + known.unwrap_or_else(|| {
                self.exprs.push(expr);
                self.exprs.len() - 1
            })
    }

    fn operand(&mut self, operand: BoundOperand) -> PatternOperand {
        let BoundOperand { variable, reading, data_type, name } = operand;
        let reading = match reading {
            BoundReading::First(argument, offset) => {
                PatternReading::First { column: self.place(argument), offset }
            }
            BoundReading::Last(argument, offset) => {
                PatternReading::Last { column: self.place(argument), offset }
            }
            BoundReading::Aggregate(call) => PatternReading::Aggregate(Aggregation {
                function: call.function,
                argument: call.argument.map(|argument| self.place(argument)),
                filter: call.filter.map(|filter| self.place(filter)),
                distinct: call.distinct,
                data_type: call.data_type,
                name: name.clone(),
            }),
            BoundReading::Time => PatternReading::Time,
        };
        PatternOperand { variable, reading, data_type, name }
    }

    /// The test of a variable: a column, if it reads nothing but the row that is tested.
    fn test(
        &mut self,
        variable: usize,
        condition: Expr,
        operands: Vec<BoundOperand>,
    ) -> Planned<PatternTest> {
        let own = |operand: &BoundOperand| match &operand.reading {
            BoundReading::Last(argument, 0) if operand.variable.is_none_or(|v| v == variable) => {
                Some(argument.clone())
            }
            _ => None,
        };
        if let Some(arguments) = operands.iter().map(own).collect::<Option<Vec<_>>>() {
            let condition = condition.substitute(&arguments);
            return Ok(match condition.as_literal() {
                Some(ScalarValue::Boolean(Some(true))) => PatternTest::Always,
                // It may only fail for rows that are asked.
                _ if may_fail(&condition) && !is_volatile(&condition) => {
                    PatternTest::Row(condition)
                }
                _ => PatternTest::Column(self.place(condition)),
            });
        }
        if is_volatile(&condition) {
            let message = "a condition that looks at earlier rows can't ask for the time of day, or \
                           for chance";
            return Err(Refusal::new(ErrorKind::Unsupported, condition.at, message)
                .hint("it may be asked again when the job goes on from a checkpoint"));
        }
        let operands = operands.into_iter().map(|operand| self.operand(operand)).collect();
        Ok(PatternTest::Condition { operands, condition })
    }
}
