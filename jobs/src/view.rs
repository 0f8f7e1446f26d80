//! [`View`]: how a demo shows a result table. Plain data that stands with its job.

/// A result table as a person would like to see it.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The table, one of the job's results.
    pub table: &'static str,
    /// What stands above it.
    pub title: &'static str,
    /// If set, only rows with the greatest value of this column are shown, and the value stands
    /// behind the title: the last minute of all minutes.
    pub newest: Option<&'static str>,
    /// What decides the order of the rows, the first column first.
    pub order: &'static [Order],
    /// The columns that are shown, and what stands above each.
    pub columns: &'static [(&'static str, &'static str)],
    /// The column of numbers that are drawn as bars, too.
    pub bar: Option<&'static str>,
    /// No more rows are shown.
    pub rows_max: usize,
}

/// How rows are ordered by a column, given by its name.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// The least value first.
    Ascending(&'static str),
    /// The greatest value first.
    Descending(&'static str),
}

impl Order {
    /// The column's name.
    pub fn column(&self) -> &'static str {
        match self {
            Order::Ascending(column) | Order::Descending(column) => column,
        }
    }
}

impl View {
    /// The names of all columns that the view needs.
    pub fn needs(&self) -> impl Iterator<Item = &'static str> {
        let shown = self.columns.iter().map(|(column, _)| *column);
        let ordered = self.order.iter().map(Order::column);
        shown.chain(ordered).chain(self.newest).chain(self.bar)
    }
}
