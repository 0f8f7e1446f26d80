//! Functions that a job file creates: looked up before the built-in ones, none of which they may
//! hide.

use super::Planner;
use super::bind::{Binder, Clause, Context, Names};
use super::expr::Expr;
use super::functions::aggregate_named;
use super::relation::{Column, Op, Relation};
use super::rewrite::is_volatile;
use super::scope::Scope;
use crate::error::{At, ErrorKind, Planned, Refusal, did_you_mean};
use crate::functions::Functions;
use crate::parser::{CreateFunction, FunctionBody, Name};
use crate::types::SqlType;
use datafusion::logical_expr::ScalarUDF;
use sqlparser::ast::Expr as Ast;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a created function does.
#[derive(Clone, Debug)]
pub(crate) enum UserFunction {
    /// One that is compiled in.
    Provided(Arc<ScalarUDF>),
    /// An expression over the parameters, which are its columns.
    Expression { parameters: Vec<SqlType>, value: Expr },
}

/// The created functions of a session, by name in upper case.
#[derive(Clone, Debug, Default)]
pub(crate) struct UserFunctions(BTreeMap<String, UserFunction>);

impl UserFunctions {
    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.0.keys().cloned()
    }

    /// Whether there is a function of this name, which is in upper case.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Removes a function.
    pub fn drop(&mut self, name: &Name, if_exists: bool) -> Planned<()> {
        if self.0.remove(&name.text.to_ascii_uppercase()).is_none() && !if_exists {
            let message = format!("there is no function '{}' that was created", name.text);
            return Err(Refusal::new(ErrorKind::UnknownFunction, name.at, message));
        }
        Ok(())
    }
}

impl Planner<'_> {
    /// Adds a function. Its body is checked now, and means for ever what it means now.
    pub(crate) fn create_function(&mut self, create: &CreateFunction) -> Planned<()> {
        let name = create.name.text.to_ascii_uppercase();
        let (is_built_in, is_known) =
            (self.is_built_in(&name), self.user_functions.0.contains_key(&name));
        if is_known && create.if_not_exists {
            return Ok(());
        }
        if is_built_in || (is_known && !create.or_replace) {
            let message = format!("there is a function '{name}' already");
            return Err(Refusal::new(ErrorKind::DuplicateName, create.name.at, message)
                .hint(if is_built_in { "choose another name" } else { "DROP FUNCTION it first" }));
        }
        let function = match &create.body {
            FunctionBody::Class { name, at } => self.provided(name, *at)?,
            FunctionBody::Expression { parameters, returns, value } => {
                self.expression_function(parameters, returns, value)?
            }
        };
        self.user_functions.0.insert(name, function);
        Ok(())
    }

    fn is_built_in(&self, name: &str) -> bool {
        self.functions.scalar(name).is_some() || aggregate_named(name).is_some()
    }

    fn provided(&self, class: &str, at: At) -> Planned<UserFunction> {
        if let Some(udf) = self.functions.provided(class) {
            return Ok(UserFunction::Provided(udf));
        }
        let message = format!("no function is compiled in for the class '{class}'");
        let refusal = Refusal::new(ErrorKind::UnknownFunction, at, message);
        Err(match did_you_mean(class, Functions::classes()) {
            Some(near) => refusal.hint(format!("did you mean '{near}'?")),
            None => refusal.hint(format!(
                "compiled in are: {}; or write it in SQL: CREATE FUNCTION f(x BIGINT) RETURNS \
                 BIGINT RETURN x * 2",
                Functions::classes().collect::<Vec<_>>().join(", ")
            )),
        })
    }

    fn expression_function(
        &mut self,
        parameters: &[(Name, SqlType)],
        returns: &SqlType,
        value: &Ast,
    ) -> Planned<UserFunction> {
        for (i, (name, _)) in parameters.iter().enumerate() {
            if parameters[..i].iter().any(|(other, _)| other.text == name.text) {
                let message = format!("parameter '{}' is declared twice", name.text);
                return Err(Refusal::new(ErrorKind::DuplicateName, name.at, message));
            }
        }
        let columns =
            parameters.iter().map(|(name, t)| Column::plain(&name.text, t.clone())).collect();
        let op = Op::Union { inputs: Vec::new() };
        let scope = Scope::of(&Relation { op, columns, updating: false }, None);
        let names = Names::default();
        let file = parameters.first().map_or(0, |(name, _)| name.at.file);
        let context = Context { file, names: &names, outer: None };
        let value = Binder::new(self, context, &scope, Clause::Rows("a function")).bind(value)?;
        let value = self.cast(value, returns)?;
        let parameters = parameters.iter().map(|(_, data_type)| data_type.clone()).collect();
        Ok(UserFunction::Expression { parameters, value })
    }

    /// A call of a created function.
    pub(crate) fn call_created(&self, name: &str, values: Vec<Expr>, at: At) -> Planned<Expr> {
        match &self.user_functions.0[name] {
            UserFunction::Provided(udf) => self.call_udf(udf, values, at),
            UserFunction::Expression { parameters, value } => {
                self.expand(name, parameters, value, values, at)
            }
        }
    }

    fn expand(
        &self,
        name: &str,
        parameters: &[SqlType],
        value: &Expr,
        arguments: Vec<Expr>,
        at: At,
    ) -> Planned<Expr> {
        if arguments.len() != parameters.len() {
            let wanted = format!("{} argument(s)", parameters.len());
            return Err(super::bind::wrong_count(name, &wanted, arguments.len(), at));
        }
        let mut uses = vec![0; parameters.len()];
        value.columns(&mut |parameter| uses[parameter] += 1);
        for (argument, uses) in arguments.iter().zip(uses) {
            if uses > 1 && is_volatile(argument) {
                let message =
                    format!("{name} uses this argument {uses} times, and it changes each time");
                return Err(Refusal::new(ErrorKind::Unsupported, argument.at, message)
                    .hint("compute it in a sub-query first"));
            }
        }
        let cast = |(argument, wanted): (Expr, &SqlType)| self.cast(argument, wanted);
        let arguments = arguments.into_iter().zip(parameters).map(cast);
        Ok(value.substitute(&arguments.collect::<Planned<Vec<_>>>()?))
    }
}
