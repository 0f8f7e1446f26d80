//! [`Relation`]: a bound query, before it becomes a dataflow.
//!
//! Relations are SQL's algebra with the streaming facts that SQL leaves out: which columns are
//! row times, which are the bounds of which window, and whether rows are ever taken back.

use super::Scan;
use super::expr::{Expr, ExprKind};
use crate::error::At;
use crate::types::SqlType;
use arrow::array::RecordBatch;
use std::sync::Arc;
use tidemill_operators::aggregate::AggregateFunction;
use tidemill_operators::join::JoinKind;
use tidemill_operators::over::{Frame, Neighbour};
use tidemill_operators::pattern::{Pattern, Skip};
use tidemill_operators::time_filter::{Clock, ClockIs};
use tidemill_operators::window::{WindowKind, Zone};

/// A query over relations, and what is known of its rows.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub op: Op,
    pub columns: Vec<Column>,
    /// Whether rows may be taken back.
    pub updating: bool,
}

/// A column of a relation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub name: String,
    pub data_type: SqlType,
    pub role: Role,
}

impl Column {
    pub fn plain(name: impl Into<String>, data_type: SqlType) -> Column {
        Column { name: name.into(), data_type, role: Role::Plain }
    }
}

/// What a column means for event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    /// Carries the watermark: windows and interval joins may be built on it.
    RowTime,
    /// `PROCTIME()`.
    ProcTime,
    /// The bounds and the time of the windows with this number.
    WindowStart(usize),
    WindowEnd(usize),
    WindowTime(usize),
}

impl Role {
    /// Whether it is a row time: that of a table or that of a window.
    pub fn is_row_time(self) -> bool {
        matches!(self, Role::RowTime | Role::WindowTime(_))
    }
}

/// The windows that a role speaks of.
#[derive(Clone, Debug)]
pub(crate) struct WindowInfo {
    pub zone: Zone,
    /// Whether they close by the clock on the wall.
    pub by_processing_time: bool,
    /// The type of `window_time`.
    pub time_type: SqlType,
}

/// One aggregate over the columns of the input.
#[derive(Clone, Debug)]
pub(crate) struct Aggregation {
    pub function: AggregateFunction,
    pub argument: Option<usize>,
    pub filter: Option<usize>,
    pub distinct: bool,
    pub data_type: SqlType,
    pub name: String,
}

/// What bounds the state of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinTime {
    /// Nothing: both inputs are kept.
    Unbounded,
    /// `left - right` lies between the bounds, in milliseconds.
    Interval { left: usize, right: usize, lower_ms: i64, upper_ms: i64 },
    /// The right side's version at the time of the left row.
    Temporal { left: usize, right: usize },
    /// What the right side holds for the key when the left row comes; the right side is a table
    /// that is looked up.
    Lookup,
    /// The right side is rows of the job's text, whole on each worker: nothing is kept.
    Constant,
    /// Both sides carry the ends of equal windows.
    Window { left_end: usize, right_end: usize, number: usize },
}

/// One value over a frame.
#[derive(Clone, Debug)]
pub(crate) enum OverCall {
    Aggregate(Aggregation),
    /// A value from so many rows before.
    Lag(Neighbour),
    /// A value from so many rows later, which updates the row.
    Lead(Neighbour),
}

/// What `MATCH_RECOGNIZE` looks for.
#[derive(Clone, Debug)]
pub(crate) struct PatternSearch {
    pub variables: Vec<PatternVariable>,
    pub pattern: Pattern,
    pub within_ms: Option<i64>,
    pub skip: Skip,
    /// What is shown of a match.
    pub measures: Vec<PatternOperand>,
    /// Whether rows are in the order of the clock on the wall.
    pub by_processing_time: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct PatternVariable {
    pub name: String,
    pub test: PatternTest,
}

/// Which rows may stand for a variable.
#[derive(Clone, Debug)]
pub(crate) enum PatternTest {
    Always,
    /// Those where a boolean column is true.
    Column(usize),
    /// Those for which a condition over the input's columns holds, which fails for some rows.
    Row(Expr),
    /// Those for which a condition over the operands holds, by the numbers of these.
    Condition {
        operands: Vec<PatternOperand>,
        condition: Expr,
    },
}

/// A value of the rows of a match.
#[derive(Clone, Debug)]
pub(crate) struct PatternOperand {
    /// The variable whose rows these are; none: all.
    pub variable: Option<usize>,
    pub reading: PatternReading,
    pub data_type: SqlType,
    /// As it stands in the text.
    pub name: String,
}

#[derive(Clone, Debug)]
pub(crate) enum PatternReading {
    First {
        column: usize,
        offset: usize,
    },
    Last {
        column: usize,
        offset: usize,
    },
    Aggregate(Aggregation),
    /// When the match was found.
    Time,
}

/// A term of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ordering {
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// A comparison of a clock with a time of the row, moved by some milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct TimeBound {
    pub time: Expr,
    pub shift_ms: i64,
    pub clock_is: ClockIs,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// The physical and metadata columns of a table.
    Scan(Arc<Scan>),
    Values(RecordBatch),
    Project {
        input: Box<Relation>,
        exprs: Vec<Expr>,
    },
    Filter {
        input: Box<Relation>,
        predicate: Expr,
    },
    /// Holds rows, or takes them back, by what time it is.
    TimeFilter {
        input: Box<Relation>,
        clock: Clock,
        bounds: Vec<TimeBound>,
    },
    /// Assigns windows: appends start, end and time.
    Window {
        input: Box<Relation>,
        window: WindowKind,
        zone: Zone,
        time: usize,
        /// The keys of sessions.
        keys: Vec<usize>,
        number: usize,
        at: At,
    },
    /// Groups by `keys`; its columns are the keys and then the aggregates. If `window` is set,
    /// the keys contain the bounds of those windows, and a group is final when its window closes.
    Aggregate {
        input: Box<Relation>,
        keys: Vec<usize>,
        calls: Vec<Aggregation>,
        window: Option<usize>,
        /// For how long a group is kept that no row comes for, if a hint says so; 0 is for ever.
        ttl_ms: Option<i64>,
        at: At,
    },
    /// Appends the rank of a row in its partition.
    RowNumber {
        input: Box<Relation>,
        partition: Vec<usize>,
        order: Vec<Ordering>,
        at: At,
    },
    /// Keeps the rows of some ranks; its columns are the input's and the rank.
    TopN {
        input: Box<Relation>,
        partition: Vec<usize>,
        order: Vec<Ordering>,
        first: u64,
        last: u64,
        window: Option<usize>,
    },
    /// Columns of the left, then (unless semi or anti) of the right.
    Join {
        left: Box<Relation>,
        right: Box<Relation>,
        kind: JoinKind,
        left_keys: Vec<usize>,
        right_keys: Vec<usize>,
        residual: Option<Expr>,
        time: JoinTime,
        /// For how long idle rows of each side are kept, if a hint says so and nothing else bounds
        /// them; 0 is for ever.
        ttl_ms: [Option<i64>; 2],
    },
    /// Appends values computed over the rows before each row, or from rows behind it.
    Over {
        input: Box<Relation>,
        partition: Vec<usize>,
        time: usize,
        frame: Frame,
        calls: Vec<OverCall>,
    },
    /// One row for each match of a pattern: the partition's columns, then the measures.
    Pattern {
        input: Box<Relation>,
        partition: Vec<usize>,
        time: usize,
        /// What decides between rows of equal time.
        ties: Vec<Ordering>,
        search: Box<PatternSearch>,
    },
    /// Repeats each row for each item of a collection; appends the item's columns.
    Unnest {
        input: Box<Relation>,
        collection: usize,
        outer: bool,
        ordinality: bool,
    },
    Union {
        inputs: Vec<Relation>,
    },
}

/// Makes plain columns of the times that watermarks go by.
pub(crate) fn forget_event_times(columns: &mut [Column]) {
    let event_times = columns.iter_mut().filter(|c| c.role != Role::ProcTime);
    event_times.for_each(|c| c.role = Role::Plain);
}

fn is_processing_time(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Call(function, _) if function.name() == "PROCTIME")
}

impl Relation {
    /// `exprs` over `input`, named by `columns`.
    pub fn project(input: Relation, exprs: Vec<Expr>, names: Vec<String>) -> Relation {
        let columns = exprs
            .iter()
            .zip(names)
            .map(|(expr, name)| Column {
                name,
                data_type: expr.data_type.clone(),
                role: match expr.as_column() {
                    Some(index) => input.columns[index].role,
                    None if is_processing_time(expr) => Role::ProcTime,
                    None => Role::Plain,
                },
            })
            .collect();
        let updating = input.updating;
        Relation { op: Op::Project { input: Box::new(input), exprs }, columns, updating }
    }

    /// The rows for which `predicate` holds.
    pub fn filter(input: Relation, predicate: Expr) -> Relation {
        let (columns, updating) = (input.columns.clone(), input.updating);
        Relation { op: Op::Filter { input: Box::new(input), predicate }, columns, updating }
    }

    /// The rows for which all of `bounds` hold, at any time.
    pub fn time_filter(input: Relation, clock: Clock, bounds: Vec<TimeBound>) -> Relation {
        let takes_back = bounds.iter().any(|bound| bound.clock_is.is_upper());
        let updating = input.updating || takes_back;
        let mut columns = input.columns.clone();
        // A row that waits for its processing time might as well have come later. But one that
        // goes again, or waits for a watermark, has no time that a window could go by.
        if takes_back || clock == Clock::Watermark {
            forget_event_times(&mut columns);
        }
        Relation { op: Op::TimeFilter { input: Box::new(input), clock, bounds }, columns, updating }
    }

    /// The relations that it reads.
    pub fn inputs(&self) -> Vec<&Relation> {
        match &self.op {
            Op::Scan(_) | Op::Values(_) => Vec::new(),
            Op::Project { input, .. }
            | Op::Filter { input, .. }
            | Op::TimeFilter { input, .. }
            | Op::Window { input, .. }
            | Op::Aggregate { input, .. }
            | Op::RowNumber { input, .. }
            | Op::TopN { input, .. }
            | Op::Over { input, .. }
            | Op::Pattern { input, .. }
            | Op::Unnest { input, .. } => vec![input],
            Op::Join { left, right, .. } => vec![left, right],
            Op::Union { inputs } => inputs.iter().collect(),
        }
    }

    /// All columns as expressions.
    pub fn all_columns(&self, at: At) -> Vec<Expr> {
        (self.columns.iter().enumerate())
            .map(|(i, c)| Expr::column(i, c.data_type.clone(), at))
            .collect()
    }

    /// The names of the columns.
    pub fn names(&self) -> Vec<String> {
        self.columns.iter().map(|c| c.name.clone()).collect()
    }

    /// The first `count` columns.
    pub fn keep_first(self, count: usize) -> Relation {
        if self.columns.len() == count {
            return self;
        }
        let mut exprs = self.all_columns(At::default());
        exprs.truncate(count);
        let names = self.names();
        Relation::project(self, exprs, names)
    }

    /// The input with further columns, computed by `extra`, behind its own.
    pub fn extend(self, extra: Vec<Expr>) -> Relation {
        if extra.is_empty() {
            return self;
        }
        let mut exprs = self.all_columns(At::default());
        let mut names = self.names();
        names.extend((0..extra.len()).map(|i| format!("__{i}")));
        exprs.extend(extra);
        Relation::project(self, exprs, names)
    }

    /// Gives a join, which may stand below a filter or a projection, lifetimes for its sides.
    pub fn set_lifetimes(&mut self, of_sides: [Option<i64>; 2]) {
        match &mut self.op {
            Op::Join { ttl_ms, .. } => *ttl_ms = of_sides,
            Op::Project { input, .. } | Op::Filter { input, .. } | Op::TimeFilter { input, .. } => {
                input.set_lifetimes(of_sides);
            }
            _ => {}
        }
    }

    /// Puts rows together. All inputs have the same number and types of columns. What is a row
    /// time in all of them is one of the union, be it a table's in one and a window's in another.
    pub fn union(inputs: Vec<Relation>) -> Relation {
        let role = |column: usize| {
            let roles = || inputs.iter().map(|input| input.columns[column].role);
            let first = inputs[0].columns[column].role;
            match first {
                Role::WindowStart(_) | Role::WindowEnd(_) => Role::Plain,
                _ if roles().all(|role| role == first) => first,
                _ if roles().all(Role::is_row_time) => Role::RowTime,
                _ => Role::Plain,
            }
        };
        let columns = (0..inputs[0].columns.len())
            .map(|i| Column { role: role(i), ..inputs[0].columns[i].clone() })
            .collect();
        let updating = inputs.iter().any(|r| r.updating);
        Relation { op: Op::Union { inputs }, columns, updating }
    }

    /// Groups by `keys`. Whether a group closes with a window is read off the keys' roles.
    pub fn aggregate(
        input: Relation,
        keys: Vec<usize>,
        calls: Vec<Aggregation>,
        at: At,
    ) -> Relation {
        let roles: Vec<Role> = keys.iter().map(|&k| input.columns[k].role).collect();
        let window = roles.iter().find_map(|role| match role {
            Role::WindowStart(n) if roles.contains(&Role::WindowEnd(*n)) => Some(*n),
            _ => None,
        });
        let mut columns: Vec<Column> = keys.iter().map(|&k| input.columns[k].clone()).collect();
        if window.is_none() {
            // Nothing closes these groups: their times are times no more.
            columns.iter_mut().for_each(|c| c.role = Role::Plain);
        }
        columns.extend(calls.iter().map(|c| Column::plain(&c.name, c.data_type.clone())));
        // Rows of SELECT DISTINCT only ever appear, if their input only ever grows.
        let updating = window.is_none() && (input.updating || !calls.is_empty());
        let input = Box::new(input);
        let op = Op::Aggregate { input, keys, calls, window, ttl_ms: None, at };
        Relation { op, columns, updating }
    }
}
