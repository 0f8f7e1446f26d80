//! What is right, and yet probably not what was meant: said by `explain`, `check` and `run`, and
//! never a reason to refuse a job.
//!
//! | surprise | what happens |
//! |---|---|
//! | `GROUP BY` on one bound of a window | results are updated for ever and never final |
//! | a join of texts with numbers or times | only texts that read as one ever match |
//! | a watermark that no column moves | windows on it close when the input ends |
//! | an option that means nothing here, or is misspelt | it has no effect (`options.rs`) |
//! | a `STATE_TTL` of an input that keeps nothing | it has no effect (`bind/lifetime.rs`) |

use super::expr::Expr;
use super::relation::{Op, Relation, Role};
use crate::error::At;

/// Something that is probably not what was meant.
#[derive(Clone, Debug)]
pub(crate) struct Surprise {
    pub at: At,
    pub message: String,
    pub hint: String,
}

/// All surprises of some queries, with those that were `found` before, each once, in the order of
/// the text.
pub(crate) fn surprises<'a>(
    mut found: Vec<Surprise>,
    queries: impl Iterator<Item = &'a Relation>,
) -> Vec<Surprise> {
    queries.for_each(|query| walk(query, &mut found));
    found.sort_by_key(|surprise| (surprise.at.file, surprise.at.line, surprise.at.column));
    // A view is bound wherever it is used.
    found.dedup_by(|a, b| a.at == b.at && a.message == b.message);
    found
}

fn walk(relation: &Relation, found: &mut Vec<Surprise>) {
    found.extend(surprise(relation));
    relation.inputs().into_iter().for_each(|input| walk(input, found));
}

fn surprise(relation: &Relation) -> Option<Surprise> {
    match &relation.op {
        Op::Aggregate { input, keys, at, .. } => {
            let roles: Vec<Role> = keys.iter().map(|&key| input.columns[key].role).collect();
            let (has, lacks) = half_a_window(&roles)?;
            let message = format!("grouped by {has} alone, windows are updated and never final");
            Some(Surprise { at: *at, message, hint: format!("add {lacks} to GROUP BY") })
        }
        Op::Scan(scan) => {
            let watermark = scan.watermark.as_ref().filter(|watermark| !reads_column(watermark))?;
            let message = "this watermark reads no column, so no row moves it".to_owned();
            let hint = "write a column less a time, such as ts - INTERVAL '5' SECOND".to_owned();
            Some(Surprise { at: watermark.at, message, hint })
        }
        _ => None,
    }
}

/// The bound of a window that stands without the other one, and that other one.
fn half_a_window(roles: &[Role]) -> Option<(&'static str, &'static str)> {
    roles.iter().find_map(|role| match role {
        Role::WindowStart(n) if !roles.contains(&Role::WindowEnd(*n)) => {
            Some(("window_start", "window_end"))
        }
        Role::WindowEnd(n) if !roles.contains(&Role::WindowStart(*n)) => {
            Some(("window_end", "window_start"))
        }
        _ => None,
    })
}

/// Texts joined with something else: they are read as it without anybody having said so.
pub(crate) fn misread(left: &Expr, right: &Expr) -> Option<Surprise> {
    let (text, other) = match (left.data_type.is_string(), right.data_type.is_string()) {
        (true, false) => (left, right),
        (false, true) => (right, left),
        _ => return None,
    };
    if text.as_literal().is_some() || other.as_literal().is_some() {
        return None;
    }
    let (from, to) = (&text.data_type, &other.data_type);
    let message = format!("a {from} is joined with a {to}: only texts that read as one match");
    Some(Surprise { at: text.at, message, hint: "CAST it, if that is what you want".to_owned() })
}

fn reads_column(expr: &Expr) -> bool {
    expr.any(&mut |expr| expr.as_column().is_some())
}
