//! Conditions that become true or false as time passes: comparisons of a clock with the row.
//!
//! ```text
//! ts > NOW() - INTERVAL '1' HOUR          NOW() < ts + 1 h              until a time
//! seen < CURRENT_WATERMARK(seen) - i      CURRENT_WATERMARK > seen + i  from a time on
//! ```
//!
//! Whatever is done to the clock is undone on the other side of the comparison, step by step, until
//! the clock stands alone and the row's time is an expression of the row alone. What can't be
//! undone exactly is left as it is: a condition that is judged once, when its row comes. That is no
//! meaning at all where rows may be taken back, so there it is refused.

use super::Planner;
use super::bind::join_relations;
use super::expr::{Expr, ExprKind};
use super::relation::{Op, Relation, TimeBound};
use super::rewrite::{absorb, is_volatile};
use super::typing::shift_time;
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use tidemill_operators::join::JoinKind;
use tidemill_operators::time_filter::{Clock, ClockIs};

/// A condition as a bound on a clock.
struct Timed {
    clock: Clock,
    /// The type in which the clock was read.
    reads: SqlType,
    bound: TimeBound,
}

impl Planner<'_> {
    /// The rows for which `condition` holds, at any time if it reads a clock.
    pub(super) fn keep(&self, input: Relation, condition: Expr) -> Planned<Relation> {
        self.keep_by(input, condition, Relation::filter)
    }

    /// The same, with what no clock has a say in filtered by `filter`.
    pub(super) fn keep_by(
        &self,
        input: Relation,
        condition: Expr,
        filter: impl FnOnce(Relation, Expr) -> Relation,
    ) -> Planned<Relation> {
        let (mut plain, mut timed) = (Vec::new(), Vec::new());
        for conjunct in condition.conjuncts() {
            match self.timed(&conjunct, &input)? {
                Some(bound) => timed.push(bound),
                None => plain.push(conjunct),
            }
        }
        let mut relation = match Expr::all(plain) {
            Some(plain) => filter(input, plain),
            None => input,
        };
        for clock in [Clock::Watermark, Clock::ProcessingTime] {
            let of_clock = timed.iter().filter(|timed| timed.clock == clock);
            let bounds: Vec<TimeBound> = of_clock.map(|timed| timed.bound.clone()).collect();
            if !bounds.is_empty() {
                relation = Relation::time_filter(relation, clock, bounds);
            }
        }
        Ok(relation)
    }

    /// A join on a condition that reads a clock: an inner one is filtered behind it.
    pub(super) fn join_in_time(
        &self,
        left: Relation,
        right: Relation,
        kind: JoinKind,
        condition: Expr,
    ) -> Planned<Relation> {
        if kind == JoinKind::Inner {
            return self.keep_by(join_relations(left, right, kind, None), condition, absorb);
        }
        let is_updating = left.updating || right.updating;
        let is_lost = |c: &Expr| reads_clock(c) && (is_updating || needs_watermark(c));
        if let Some(lost) = condition.clone().conjuncts().into_iter().find(is_lost) {
            let message = "the ON of an outer join can't follow a condition that changes with time";
            return Err(Refusal::new(ErrorKind::Unsupported, lost.at, message)
                .hint("filter that side before: JOIN (SELECT … WHERE …) AS … ON …"));
        }
        Ok(join_relations(left, right, kind, Some(condition)))
    }

    /// The condition as a bound on a clock; none if it is to be judged when its row comes.
    fn timed(&self, condition: &Expr, input: &Relation) -> Planned<Option<Timed>> {
        if !reads_clock(condition) {
            return Ok(None);
        }
        if let Some(timed) = self.solve(condition)? {
            if timed.clock == Clock::Watermark {
                check_watermark(input, &timed.reads, condition.at)?;
            }
            return Ok(Some(timed));
        }
        // By days such a condition is followed: by months it must not quietly mean another thing.
        if input.updating || needs_watermark(condition) || moves_a_clock_by_months(condition) {
            return Err(unsolved(condition));
        }
        Ok(None)
    }

    /// Brings a comparison to the form `clock <op> time`.
    fn solve(&self, condition: &Expr) -> Planned<Option<Timed>> {
        let Some((mut op, a, b)) = comparison(condition) else { return Ok(None) };
        let (mut clock, time) = if reads_clock(a) { (a, b) } else { (b, a) };
        if std::ptr::eq(clock, b) {
            op = op.swap().expect("a comparison");
        }
        let is_of_row = |e: &Expr| !matches!(e.kind, ExprKind::Outer(_) | ExprKind::Subquery(_));
        if is_volatile(time) || time.any(&mut |e| !is_of_row(e)) || !time.data_type.is_timestamp() {
            return Ok(None);
        }
        let mut side = Side { planner: self, time: time.clone(), shift_ms: 0 };
        let read = loop {
            match side.undo(clock)? {
                Undone::Step(inner) => clock = inner,
                Undone::Clock(read) => break read,
                Undone::Nothing => return Ok(None),
            }
        };
        let Some(clock_is) = clock_is(op) else { return Ok(None) };
        let bound = TimeBound { time: side.time, shift_ms: side.shift_ms, clock_is };
        Ok(Some(Timed { clock: read, reads: clock.data_type.clone(), bound }))
    }
}

/// The side of a comparison that the row is on: its time, plus `shift_ms`.
struct Side<'p> {
    planner: &'p Planner<'p>,
    time: Expr,
    shift_ms: i64,
}

enum Undone<'e> {
    /// A step on the clock's side was undone; this is what is left there.
    Step(&'e Expr),
    /// The clock stands alone.
    Clock(Clock),
    /// What stands there has no exact reverse.
    Nothing,
}

impl Side<'_> {
    fn undo<'e>(&mut self, clock: &'e Expr) -> Planned<Undone<'e>> {
        let (name, args) = match &clock.kind {
            ExprKind::Widen(inner) if inner.data_type.is_timestamp() => {
                return Ok(Undone::Step(inner));
            }
            ExprKind::Call(udf, args) => (udf.name(), args.as_slice()),
            _ => return Ok(Undone::Nothing),
        };
        match (name, args) {
            (_, _) if is_watermark(name) => Ok(Undone::Clock(Clock::Watermark)),
            ("NOW" | "CURRENT_TIMESTAMP", _) => Ok(Undone::Clock(Clock::ProcessingTime)),
            ("LOCALTIMESTAMP", _) => {
                self.change_type()?;
                Ok(Undone::Clock(Clock::ProcessingTime))
            }
            ("FLINK_TIME_ADD", [inner, interval]) => self.undo_shift(inner, interval, -1),
            ("FLINK_TIME_SUB", [inner, interval]) => self.undo_shift(inner, interval, 1),
            (name, [inner]) if name.starts_with("CAST AS ") && is_exact(inner, clock) => {
                self.change_type()?;
                Ok(Undone::Step(inner))
            }
            _ => Ok(Undone::Nothing),
        }
    }

    /// Moves an interval to the row's side. Months are of different lengths: no sum of them can be
    /// taken back.
    fn undo_shift<'e>(
        &mut self,
        inner: &'e Expr,
        interval: &Expr,
        sign: i64,
    ) -> Planned<Undone<'e>> {
        if interval.data_type != SqlType::IntervalDayTime || is_volatile(interval) {
            return Ok(Undone::Nothing);
        }
        match interval.as_literal() {
            Some(ScalarValue::DurationMillisecond(Some(ms))) => {
                self.shift_ms = self.shift_ms.saturating_add(ms.saturating_mul(sign));
            }
            _ => {
                let op = if sign > 0 { "+" } else { "-" };
                let at = self.time.at;
                self.time = self.planner.arithmetic(op, self.time.clone(), interval.clone(), at)?;
            }
        }
        Ok(Undone::Step(inner))
    }

    /// Casts the row's side from a wall clock's time to the instant, or the other way round.
    fn change_type(&mut self) -> Planned<()> {
        let to = match self.time.data_type {
            SqlType::Timestamp(p) => SqlType::TimestampLtz(p),
            SqlType::TimestampLtz(p) => SqlType::Timestamp(p),
            ref other => other.clone(),
        };
        let (time, at) = (self.time.clone(), self.time.at);
        let time = match std::mem::take(&mut self.shift_ms) {
            0 => time,
            ms => shift_time(time, ms),
        };
        self.time = self.planner.explicit_cast(time, &to, false, at)?;
        Ok(())
    }
}

/// Whether a cast between a wall clock's time and the instant drops no digits of a clock.
fn is_exact(from: &Expr, to: &Expr) -> bool {
    use SqlType::{Timestamp, TimestampLtz};
    matches!(
        (&from.data_type, &to.data_type),
        (Timestamp(_), TimestampLtz(3..)) | (TimestampLtz(_), Timestamp(3..))
    )
}

/// A comparison by size and its sides; a negated one is its opposite.
fn comparison(condition: &Expr) -> Option<(Operator, &Expr, &Expr)> {
    match &condition.kind {
        ExprKind::Binary(op, a, b) => clock_is(*op).map(|_| (*op, &**a, &**b)),
        ExprKind::Not(inner) => {
            let (op, a, b) = comparison(inner)?;
            Some((op.negate()?, a, b))
        }
        _ => None,
    }
}

fn clock_is(op: Operator) -> Option<ClockIs> {
    Some(match op {
        Operator::Lt => ClockIs::Before,
        Operator::LtEq => ClockIs::NotAfter,
        Operator::Gt => ClockIs::After,
        Operator::GtEq => ClockIs::NotBefore,
        _ => return None,
    })
}

/// Whether a value changes with the time at which it is asked for.
pub(super) fn reads_clock(expr: &Expr) -> bool {
    calls(expr, |name| {
        is_followed(name)
            || matches!(
                name,
                "CURRENT_ROW_TIMESTAMP"
                    | "PROCTIME"
                    | "CURRENT_DATE"
                    | "CURRENT_TIME"
                    | "LOCALTIME"
                    | "CURRENT_UNIX_TIMESTAMP"
            )
    })
}

/// Whether a function gives a clock that a filter can follow.
fn is_followed(name: &str) -> bool {
    is_watermark(name) || matches!(name, "NOW" | "CURRENT_TIMESTAMP" | "LOCALTIMESTAMP")
}

/// Whether it is `CURRENT_WATERMARK(…)` and nothing else.
pub(super) fn is_watermark_of(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Call(udf, _) if is_watermark(udf.name()))
}

fn is_watermark(name: &str) -> bool {
    name == "CURRENT_WATERMARK"
}

fn calls(expr: &Expr, wanted: impl Fn(&str) -> bool) -> bool {
    expr.any(&mut |e| matches!(&e.kind, ExprKind::Call(udf, _) if wanted(udf.name())))
}

/// Whether a condition has no meaning without a watermark, which one that is judged when its row
/// comes can't see.
fn needs_watermark(condition: &Expr) -> bool {
    comparison(condition).is_some() && calls(condition, is_watermark)
}

/// Whether a comparison could be followed but for months on the clock's side.
fn moves_a_clock_by_months(condition: &Expr) -> bool {
    let has_months = |e: &Expr| e.any(&mut |e| e.data_type == SqlType::IntervalYearMonth);
    let is_moved = |side: &Expr| calls(side, is_followed) && has_months(side);
    comparison(condition).is_some_and(|(_, a, b)| is_moved(a) || is_moved(b))
}

/// Refuses a watermark that there is not, or that counts in other times than it is read in.
fn check_watermark(input: &Relation, reads: &SqlType, at: At) -> Planned<()> {
    let mut declared = Vec::new();
    watermark_types(input, &mut declared);
    let is_instant = |t: &SqlType| matches!(t, SqlType::TimestampLtz(_));
    if declared.is_empty() {
        let message = "no table that this reads declares a watermark";
        return Err(Refusal::new(ErrorKind::MissingWatermark, at, message)
            .hint("declare WATERMARK FOR … in its table, or compare with CURRENT_TIMESTAMP"));
    }
    match declared.iter().find(|t| is_instant(t) != is_instant(reads)) {
        None => Ok(()),
        Some(other) => {
            let message = format!("the watermark is a {other}, and is read as a {reads}");
            Err(Refusal::new(ErrorKind::TypeMismatch, at, message)
                .hint(format!("CURRENT_WATERMARK(CAST(… AS {other}))")))
        }
    }
}

/// The types of the watermarks of all tables below.
fn watermark_types(relation: &Relation, types: &mut Vec<SqlType>) {
    if let Op::Scan(scan) = &relation.op {
        types.extend(scan.watermark.iter().map(|watermark| watermark.data_type.clone()));
    }
    relation.inputs().into_iter().for_each(|input| watermark_types(input, types));
}

/// Why a condition on a clock can't be judged when its row comes.
fn unsolved(condition: &Expr) -> Box<Refusal> {
    let message = "this condition changes as time passes, in a way that can't be followed";
    Refusal::new(ErrorKind::Unsupported, condition.at, message).hint(match moves_a_clock_by_months(
        condition,
    ) {
        true => "months differ in length: add them to the row's time instead, or count in days",
        false => {
            "compare the clock with a timestamp of the row by <, <=, >, >= or BETWEEN, as a \
             condition of its own or joined by AND"
        }
    })
}
