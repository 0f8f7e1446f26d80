//! The canonical text of a relation: two relations of one text are the same query, so one of them
//! can be computed for both.
//!
//! Where a relation stands in the file is left out, and windows are numbered in the order in which
//! they appear: for a view is bound anew wherever it is read.

use super::relation::{Column, JoinTime, Op, Relation, Role};
use super::{Expr, Scan};
use arrow::array::RecordBatch;
use std::fmt::Write;

/// The canonical text of `relation`.
pub(super) fn text(relation: &Relation) -> String {
    let mut writer = Writer::default();
    writer.relation(relation);
    writer.text
}

/// All values of some rows. Arrow shows of more than twenty the first and the last ones only.
pub(super) fn rows(rows: &RecordBatch) -> String {
    const SHOWN_WHOLE: usize = 20;
    if rows.num_rows() <= SHOWN_WHOLE {
        return format!("{rows:?}");
    }
    let firsts = (0..rows.num_rows()).step_by(SHOWN_WHOLE);
    let parts = firsts.map(|first| rows.slice(first, SHOWN_WHOLE.min(rows.num_rows() - first)));
    parts.map(|part| format!("{part:?}, ")).collect()
}

#[derive(Default)]
struct Writer {
    text: String,
    /// The windows met so far; a window's number is its place.
    windows: Vec<usize>,
}

impl Writer {
    fn relation(&mut self, relation: &Relation) {
        self.op(&relation.op);
        self.columns(&relation.columns);
        let inputs = relation.inputs();
        inputs.into_iter().for_each(|input| {
            self.text.push('(');
            self.relation(input);
            self.text.push(')');
        });
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Scan(scan) => {
                let Scan { table, watermark, changelog, lookup, skips_fields: _ } = scan.as_ref();
                self.put(format_args!("scan {table:?} {changelog:?} {lookup:?}"));
                self.exprs(watermark);
            }
            Op::Values(values) => self.put(format_args!("values {}", rows(values))),
            Op::Project { input: _, exprs } => {
                self.text.push_str("project");
                self.exprs(exprs);
            }
            Op::Filter { input: _, predicate } => {
                self.text.push_str("filter");
                self.exprs([predicate]);
            }
            Op::TimeFilter { input: _, clock, bounds } => {
                self.put(format_args!("time filter {clock:?}"));
                for bound in bounds {
                    self.put(format_args!(" {:?} {}", bound.clock_is, bound.shift_ms));
                    self.exprs([&bound.time]);
                }
            }
            Op::Window { input: _, window, zone, time, keys, number, at: _ } => {
                let number = self.window(*number);
                self.put(format_args!("window {number} {window:?} {zone:?} {time} {keys:?}"));
            }
            Op::Aggregate { input: _, keys, calls, window, ttl_ms, at: _ } => {
                let window = window.map(|number| self.window(number));
                self.put(format_args!("aggregate {keys:?} {calls:?} {window:?} {ttl_ms:?}"));
            }
            Op::RowNumber { input: _, partition, order, at: _ } => {
                self.put(format_args!("row number {partition:?} {order:?}"));
            }
            Op::TopN { input: _, partition, order, first, last, window } => {
                let window = window.map(|number| self.window(number));
                self.put(format_args!("top {first} {last} {partition:?} {order:?} {window:?}"));
            }
            Op::Join { left: _, right: _, kind, left_keys, right_keys, residual, time, ttl_ms } => {
                self.put(format_args!("join {kind:?} {left_keys:?} {right_keys:?} {ttl_ms:?}"));
                self.join_time(*time);
                self.exprs(residual);
            }
            Op::Over { input: _, partition, time, frame, calls } => {
                self.put(format_args!("over {partition:?} {time} {frame:?} {calls:?}"));
            }
            Op::Pattern { input: _, partition, time, ties, search } => {
                self.put(format_args!("pattern {partition:?} {time} {ties:?} {search:?}"));
            }
            Op::Unnest { input: _, collection, outer, ordinality } => {
                self.put(format_args!("unnest {collection} {outer} {ordinality}"));
            }
            Op::Union { .. } => self.text.push_str("union"),
        }
    }

    fn join_time(&mut self, time: JoinTime) {
        match time {
            JoinTime::Window { left_end, right_end, number } => {
                let number = self.window(number);
                self.put(format_args!(" window {number} {left_end} {right_end}"));
            }
            time => self.put(format_args!(" {time:?}")),
        }
    }

    fn columns(&mut self, columns: &[Column]) {
        for Column { name, data_type, role } in columns {
            let role = match *role {
                Role::WindowStart(number) => Role::WindowStart(self.window(number)),
                Role::WindowEnd(number) => Role::WindowEnd(self.window(number)),
                Role::WindowTime(number) => Role::WindowTime(self.window(number)),
                role @ (Role::Plain | Role::RowTime | Role::ProcTime) => role,
            };
            self.put(format_args!(", {name:?} {data_type} {role:?}"));
        }
    }

    fn exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) {
        let name = |column| format!("${column}");
        for expr in exprs {
            self.put(format_args!(" [{} {}]", expr.describe(&name), expr.data_type));
        }
    }

    fn window(&mut self, number: usize) -> usize {
        let known = self.windows.iter().position(|&window| window == number);
        known.unwrap_or_else(|| {
            self.windows.push(number);
            self.windows.len() - 1
        })
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a string takes everything");
    }
}
