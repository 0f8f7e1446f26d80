//! Clauses that `sqlparser` reads and nobody here heeds.
//!
//! They are refused: a query must not quietly mean something else than it says.

use super::Context;
use crate::error::{At, ErrorKind, Planned, Refusal};
use sqlparser::ast::{self, FunctionArguments, NullTreatment, TableFactor};

/// Refuses the first clause that is there.
fn refuse(clauses: &[(bool, &str)], of: &str, at: At) -> Planned<()> {
    match clauses.iter().find(|(is_there, _)| *is_there) {
        None => Ok(()),
        Some((_, name)) => {
            let message = format!("{name} is not supported {of}");
            Err(Refusal::new(ErrorKind::Unsupported, at, message))
        }
    }
}

pub(super) fn check_query(query: &ast::Query, context: Context<'_>) -> Planned<()> {
    let fetch = query.fetch.as_ref();
    let clauses = [
        (fetch.is_some_and(|fetch| fetch.with_ties), "WITH TIES"),
        (fetch.is_some_and(|fetch| fetch.percent), "PERCENT"),
        (!query.locks.is_empty() || query.for_clause.is_some(), "FOR …"),
        (query.settings.is_some(), "SETTINGS"),
        (query.format_clause.is_some(), "FORMAT"),
        (!query.pipe_operators.is_empty(), "|>"),
    ];
    refuse(&clauses, "in a query", context.at(query))
}

pub(super) fn check_select(select: &ast::Select, at: At) -> Planned<()> {
    let clauses = [
        (select.top.is_some(), "TOP"),
        (select.into.is_some(), "INTO"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
        (select.value_table_mode.is_some(), "AS STRUCT or AS VALUE"),
    ];
    refuse(&clauses, "in SELECT", at)
}

pub(super) fn check_table(factor: &TableFactor, at: At) -> Planned<()> {
    match factor {
        TableFactor::Table { sample, with_hints, partitions, .. } => {
            let clauses = [
                (sample.is_some(), "TABLESAMPLE"),
                (!with_hints.is_empty(), "WITH (…)"),
                (!partitions.is_empty(), "PARTITION (…)"),
            ];
            refuse(&clauses, "behind a table", at)
        }
        _ => Ok(()),
    }
}

/// A cast has one form of each type, Flink's.
pub(super) fn check_cast(array: bool, format: bool, at: At) -> Planned<()> {
    let clauses = [(format, "FORMAT"), (array, "ARRAY")];
    refuse(&clauses, "in a CAST", at).map_err(|refusal| {
        refusal.hint(
            "DATE_FORMAT writes a time by a pattern; TO_TIMESTAMP and TO_DATE read a text by one",
        )
    })
}

/// Values come in the order of their arrival, and NULLs are passed over by those functions that do.
pub(super) fn check_call(function: &ast::Function, name: &str, at: At) -> Planned<()> {
    let has_clauses = match &function.args {
        FunctionArguments::List(list) => !list.clauses.is_empty(),
        _ => false,
    };
    let skips_nulls = matches!(name, "FIRST_VALUE" | "LAST_VALUE");
    let nulls = match function.null_treatment {
        Some(NullTreatment::IgnoreNulls) => !skips_nulls,
        Some(NullTreatment::RespectNulls) => true,
        None => false,
    };
    let clauses = [
        (!function.within_group.is_empty(), "WITHIN GROUP"),
        (has_clauses, "what stands behind the arguments"),
        (nulls, "IGNORE NULLS or RESPECT NULLS"),
    ];
    refuse(&clauses, &format!("by {name}"), at)
}
