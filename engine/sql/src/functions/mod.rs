//! Flink's scalar functions, by name and with Flink's meaning, for DataFusion's planner and its
//! expressions to call.
//!
//! A function is one `Definition`: what it takes, what type it gives, and a kernel over whole
//! columns. A new one is one entry in the table of its family and its kernel beside it; checks,
//! error texts, NULL literals and constant arguments are the frame's (`function`, `values`).
//!
//! Invariants: a function depends on nothing but its arguments, the session's time zone and the
//! epoch's [`clock`]; it never fails on values for which Flink gives NULL.

pub mod arithmetic;
pub mod cast;
pub mod clock;
mod collection;
mod conditional;
mod function;
mod hash;
mod json;
mod numeric;
mod printf;
mod provided;
mod regexp;
mod sha1;
mod strings;
pub mod time;
mod url;
mod values;

use chrono_tz::Tz;
use datafusion::logical_expr::ScalarUDF;
use function::{Definition, Function};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every family's table.
const FAMILIES: &[&[Definition]] = &[
    arithmetic::DEFINITIONS,
    collection::DEFINITIONS,
    conditional::DEFINITIONS,
    hash::DEFINITIONS,
    json::DEFINITIONS,
    numeric::DEFINITIONS,
    printf::DEFINITIONS,
    regexp::DEFINITIONS,
    strings::DEFINITIONS,
    time::DEFINITIONS,
    url::DEFINITIONS,
];

/// Whose code computes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Tidemill's.
    Ours,
    /// DataFusion's, called from a function of ours or built into its expressions.
    DataFusion,
}

/// Whose kernel computes a function.
pub fn kernel(function: &ScalarUDF) -> Kernel {
    let function = function.inner();
    match function.downcast_ref::<Function>() {
        Some(function) => function.kernel(),
        None if cast::is_cast(function.as_ref()) => Kernel::Ours,
        None => Kernel::DataFusion,
    }
}

/// The functions of one session.
#[derive(Debug, Clone)]
pub struct Functions {
    by_name: BTreeMap<&'static str, Arc<ScalarUDF>>,
    zone: Tz,
}

impl Functions {
    /// All functions, for a session in `zone` (`table.local-time-zone`).
    pub fn new(zone: Tz) -> Self {
        let by_name = FAMILIES
            .iter()
            .flat_map(|family| family.iter())
            .map(|definition| (definition.name, Arc::new(Function::udf(definition, zone))))
            .collect();
        Functions { by_name, zone }
    }

    /// The function that stands for a class in `CREATE FUNCTION … AS 'class'`.
    pub fn provided(&self, class: &str) -> Option<Arc<ScalarUDF>> {
        let (_, definition) = provided::PROVIDED.iter().find(|(known, _)| *known == class)?;
        Some(Arc::new(Function::udf(definition, self.zone)))
    }

    /// The classes that functions stand for.
    pub fn classes() -> impl Iterator<Item = &'static str> {
        provided::PROVIDED.iter().map(|(class, _)| *class)
    }

    /// The function called `name`, in any case.
    pub fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.by_name.get(name.to_ascii_uppercase().as_str()).cloned()
    }

    /// The names of all functions, in order, but for those behind an operator or other syntax.
    pub fn names(&self) -> Vec<String> {
        let is_syntax =
            |name: &str| name.starts_with("FLINK_") || matches!(name, "FLOOR_TO" | "CEIL_TO");
        let named = self.by_name.keys().filter(|name| !is_syntax(name));
        named.map(|name| (*name).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests;
