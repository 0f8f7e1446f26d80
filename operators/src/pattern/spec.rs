//! What is looked for in which order of rows, and what is shown of it: plain data.

use super::formula::Formula;
use crate::aggregate::AggregateCall;
use crate::expression::Expression;
use crate::top_n::SortTerm;
use std::sync::Arc;

/// What to look for. Output columns: those of the partition, then the measures.
#[derive(Clone, Debug)]
pub struct PatternSpec {
    /// Key columns; none for one order of all rows.
    pub partition: Vec<usize>,
    /// The row time by which rows are ordered, `Timestamp(ms)`.
    pub time: usize,
    /// What decides between rows of equal time, before their arrival does.
    pub ties: Vec<SortTerm>,
    /// Column of arrival order; else the order in which rows reach the operator.
    pub arrival: Option<usize>,
    /// The variables, by the numbers that stand for them. At most [`VARIABLES_MAX`].
    pub variables: Vec<Variable>,
    /// How they follow each other.
    pub pattern: Pattern,
    /// A match is shorter than this: from its first row's time to its last one's.
    pub within_ms: Option<i64>,
    /// Where the search goes on behind a match.
    pub skip: Skip,
    /// What is shown of a match.
    pub measures: Vec<Measure>,
}

/// The most variables that a pattern may have.
pub const VARIABLES_MAX: usize = 64;

/// A name for rows of a match, and which rows may have it.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Which rows.
    pub test: Test,
}

/// Which rows may stand for a variable.
#[derive(Clone, Debug)]
pub enum Test {
    /// All.
    Always,
    /// Those where this boolean column is true: what reads nothing but the row itself is computed
    /// before, column by column.
    Column(usize),
    /// Those for which a condition over the columns of the row itself is true, and which fails for
    /// some rows: only one that is asked fails the job.
    Row(Arc<dyn Expression>),
    /// Those for which a condition holds that looks at earlier rows of the match.
    Condition(Condition),
}

/// A condition over a row and the rows of the match before it.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What it reads.
    pub operands: Vec<Operand>,
    /// The condition, a boolean over one column for each operand.
    pub expression: Arc<dyn Expression>,
    /// The same as a [`Formula`], which costs far less for a single row, if it can be said so.
    pub formula: Option<Formula>,
}

/// A value of the rows of a match.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Of the rows of this variable; none: of all rows. While a row is tested it counts as one of
    /// those of the variable that it is tested for, the last one.
    pub variable: Option<usize>,
    /// Which value.
    pub reading: Reading,
}

/// Which value of some rows.
#[derive(Clone, Debug)]
pub enum Reading {
    /// That of a column in the row so many rows behind the first one; NULL if there is none.
    First {
        /// The column.
        column: usize,
        /// How many rows behind.
        offset: usize,
    },
    /// That of a column in the row so many rows before the last one; NULL if there is none.
    Last {
        /// The column.
        column: usize,
        /// How many rows before.
        offset: usize,
    },
    /// An aggregate over all of them. A condition knows `COUNT`, `SUM`, `AVG`, `MIN` and `MAX`,
    /// without `DISTINCT`; a measure knows all.
    Aggregate(AggregateCall),
}

/// A column that is shown of a match.
#[derive(Clone, Debug)]
pub enum Measure {
    /// A value of its rows.
    Operand {
        /// Name of the column.
        name: String,
        /// The value.
        operand: Operand,
    },
    /// The time at which the match was found: that of its last row, or of a later one if only that
    /// ruled out a match which would have begun earlier.
    Time {
        /// Name of the column.
        name: String,
    },
}

/// Where the search goes on behind a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Behind its last row.
    PastLastRow,
    /// Behind its first row.
    ToNextRow,
    /// At the first row of a variable.
    ToFirst(usize),
    /// At the last row of a variable.
    ToLast(usize),
}

/// How variables follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// One row of a variable.
    Variable(usize),
    /// One behind the other.
    Sequence(Vec<Pattern>),
    /// One of them.
    Alternatives(Vec<Pattern>),
    /// One again and again.
    Repeat {
        /// What is repeated.
        pattern: Box<Pattern>,
        /// How often at least.
        from: u32,
        /// How often at most; none: without end.
        to: Option<u32>,
        /// Whether more or fewer times are better.
        preference: Preference,
    },
}

/// Whether a repetition goes on where it might end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// It takes every row that it can.
    Greedy,
    /// It may end wherever it has been long enough.
    Reluctant,
}
