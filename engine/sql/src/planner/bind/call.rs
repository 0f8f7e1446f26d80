//! Function calls: which are aggregates, which are windows, which are values.

use super::unheeded::check_call;
use super::{Binder, Clause};
use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::planner::expr::{Expr, ExprKind};
use crate::planner::functions::aggregate_named;
use crate::types::SqlType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use sqlparser::ast::{
    self, DuplicateTreatment, Expr as Ast, FunctionArg, FunctionArgExpr, FunctionArguments,
};

/// The arguments of a call, without names.
pub(super) struct Arguments<'x> {
    pub values: Vec<&'x Ast>,
    /// `COUNT(*)`
    pub star: bool,
    pub distinct: bool,
}

impl Binder<'_, '_> {
    pub(super) fn function(&mut self, function: &ast::Function, at: At) -> Planned<Expr> {
        let name = function.name.0.last().map(ToString::to_string).unwrap_or_default();
        let name = name.trim_matches('`').to_ascii_uppercase();
        check_call(function, &name, at)?;
        if let Some(value) = self.pattern_function(function, &name, at)? {
            return Ok(value);
        }
        let args = self.arguments(function, &name, at)?;
        if let Some(over) = &function.over {
            let filter = function.filter.as_deref();
            return self.over(&name, &args, filter, over, at);
        }
        if let Some(aggregate) = aggregate_named(&name) {
            let filter = function.filter.as_deref();
            return self.aggregate(aggregate, &name, &args, filter, at);
        }
        if matches!(name.as_str(), "ROW_NUMBER" | "RANK" | "DENSE_RANK" | "LAG" | "LEAD" | "NTILE")
        {
            let message = format!("{name} needs an OVER clause");
            return Err(Refusal::new(ErrorKind::WrongArguments, at, message)
                .hint(format!("write {name}() OVER (PARTITION BY … ORDER BY …)")));
        }
        self.scalar(&name, &args.values, at)
    }

    pub(super) fn arguments<'x>(
        &self,
        function: &'x ast::Function,
        name: &str,
        at: At,
    ) -> Planned<Arguments<'x>> {
        let list = match &function.args {
            FunctionArguments::None => {
                return Ok(Arguments { values: Vec::new(), star: false, distinct: false });
            }
            FunctionArguments::List(list) => list,
            FunctionArguments::Subquery(_) => {
                let message = format!("{name} does not take a query");
                return Err(Refusal::new(ErrorKind::WrongArguments, at, message));
            }
        };
        let mut arguments = Arguments {
            values: Vec::new(),
            star: false,
            distinct: list.duplicate_treatment == Some(DuplicateTreatment::Distinct),
        };
        for arg in &list.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => arguments.values.push(e),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => arguments.star = true,
                other => {
                    let message = format!("{name} does not take '{other}'");
                    return Err(Refusal::new(ErrorKind::WrongArguments, at, message));
                }
            }
        }
        Ok(arguments)
    }

    /// A function of the values of one row.
    fn scalar(&mut self, name: &str, args: &[&Ast], at: At) -> Planned<Expr> {
        if self.planner.user_functions.has(name) {
            let values = self.all(args.iter().copied())?;
            return self.planner.call_created(name, values, at);
        }
        match name {
            "TIMESTAMPADD" | "TIMESTAMPDIFF" => {
                let [unit, rest @ ..] = args else {
                    return Err(wrong_count(name, "3 arguments", args.len(), at));
                };
                let unit = unit.to_string().trim_matches('\'').to_ascii_uppercase();
                let unit = unit.strip_prefix("SQL_TSI_").unwrap_or(&unit).to_owned();
                let mut all = vec![Expr::text(&unit, at)];
                all.extend(self.all(rest.iter().copied())?);
                self.planner.call(name, all, at)
            }
            "COALESCE" | "IFNULL" | "NVL" => {
                let values = self.all(args.iter().copied())?;
                if name != "COALESCE" && values.len() != 2 {
                    return Err(wrong_count(name, "2 arguments", values.len(), at));
                }
                self.coalesce(values, at)
            }
            "NULLIF" => {
                let values = self.all(args.iter().copied())?;
                let Ok([value, other]) = <[Expr; 2]>::try_from(values) else {
                    return Err(wrong_count(name, "2 arguments", args.len(), at));
                };
                let equal = self.compare(Operator::Eq, value.clone(), other, at)?;
                let null = Expr::literal(ScalarValue::Null, SqlType::Null, at);
                self.planner.case(vec![(equal, null)], Some(value), at)
            }
            "IF" => {
                let values = self.all(args.iter().copied())?;
                let Ok([when, then, otherwise]) = <[Expr; 3]>::try_from(values) else {
                    return Err(wrong_count(name, "3 arguments", args.len(), at));
                };
                let when = self.as_condition(when)?;
                self.planner.case(vec![(when, then)], Some(otherwise), at)
            }
            "ROW" => {
                let fields = self.all(args.iter().copied())?;
                Ok(self.planner.row(fields, at))
            }
            "MAP" => {
                let items = self.all(args.iter().copied())?;
                self.map(items, at)
            }
            "GROUPING" | "GROUPING_ID" | "GROUP_ID" => self.grouping(name, args, at),
            _ => self.call(name, args, at),
        }
    }

    fn coalesce(&mut self, mut values: Vec<Expr>, at: At) -> Planned<Expr> {
        let Some(last) = values.pop() else {
            return Err(wrong_count("COALESCE", "at least 1 argument", 0, at));
        };
        let branches =
            values.into_iter().map(|v| (v.clone().is_null().negate(), v)).collect::<Vec<_>>();
        if branches.is_empty() {
            return Ok(last);
        }
        self.planner.case(branches, Some(last), at)
    }

    /// Values of one type.
    fn unify(&self, mut values: Vec<Expr>, what: &str, at: At) -> Planned<(Vec<Expr>, SqlType)> {
        let mut common = SqlType::Null;
        for value in &values {
            common = common.common(&value.data_type).ok_or_else(|| {
                let message = format!("{what} holds a {common} and a {}", value.data_type);
                Refusal::new(ErrorKind::TypeMismatch, at, message)
            })?;
        }
        values =
            values.into_iter().map(|v| self.planner.cast(v, &common)).collect::<Planned<_>>()?;
        Ok((values, common))
    }

    pub(super) fn array(&mut self, items: Vec<Expr>, at: At) -> Planned<Expr> {
        let (items, common) = self.unify(items, "the array", at)?;
        let udf = datafusion::functions_nested::make_array::make_array_udf();
        let data_type = SqlType::Array(Box::new(common));
        Ok(Expr::new(ExprKind::Call(udf, items), data_type, at))
    }

    fn map(&mut self, items: Vec<Expr>, at: At) -> Planned<Expr> {
        if !items.len().is_multiple_of(2) {
            return Err(wrong_count("MAP", "pairs of key and value", items.len(), at));
        }
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (i, item) in items.into_iter().enumerate() {
            if i % 2 == 0 { keys.push(item) } else { values.push(item) }
        }
        let (keys, key) = self.unify(keys, "the map's keys", at)?;
        let (values, value) = self.unify(values, "the map's values", at)?;
        let make_array = |items, item: &SqlType| {
            let udf = datafusion::functions_nested::make_array::make_array_udf();
            Expr::new(ExprKind::Call(udf, items), SqlType::Array(Box::new(item.clone())), at)
        };
        let args = vec![make_array(keys, &key), make_array(values, &value)];
        let data_type = SqlType::Map(Box::new(key), Box::new(value));
        let udf = datafusion::functions_nested::map::map_udf();
        Ok(Expr::new(ExprKind::Call(udf, args), data_type, at))
    }

    /// Refuses an aggregate or window function where only rows are seen.
    pub(super) fn check_clause(&self, kind: ErrorKind, what: &str, at: At) -> Planned<()> {
        match self.clause {
            Clause::Select => Ok(()),
            Clause::Rows(clause) => {
                Err(Refusal::new(kind, at, format!("{what} can't stand in {clause}"))
                    .hint("put it into a sub-query, or use HAVING for a condition on groups"))
            }
        }
    }
}

/// The refusal of a wrong number of arguments.
pub(crate) fn wrong_count(name: &str, wanted: &str, found: usize, at: At) -> Box<Refusal> {
    let message = format!("{name} takes {wanted}, not {found}");
    Refusal::new(ErrorKind::WrongArguments, at, message)
}
