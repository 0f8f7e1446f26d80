//! From text to [`Statement`]s.
//!
//! `sqlparser` reads expressions and queries; the statements around them, whose grammar is
//! Flink's own, are read here with its primitives. The parser never looks anything up: names and
//! types are checked later.

mod dialect;
mod function;
mod hint;
mod statement;
mod tokens;
mod types;

pub(crate) use function::{CreateFunction, FunctionBody};
pub(crate) use hint::{StateTtl, options as hinted_options, unhinted};
pub(crate) use statement::{
    ColumnKind, CreateTable, CreateView, Insert, Like, Name, OptionPair, Show, Statement,
    StatementKind,
};
pub(crate) use tokens::{WITHIN, place, string_value};

use crate::error::{At, ErrorKind, Planned, Refusal};
use crate::types::SqlType;
use dialect::FlinkDialect;
use sqlparser::parser::{Parser, ParserError};

/// What a file says.
pub(crate) struct Parsed {
    pub statements: Vec<Statement>,
    /// The types behind `__type_N` in its expressions.
    pub types: Vec<SqlType>,
    /// What hints say behind the `SELECT` at a place.
    pub lifetimes: Vec<(At, Vec<StateTtl>)>,
}

/// Parses a whole file.
pub(crate) fn parse(text: &str, file: usize) -> Planned<Parsed> {
    let tokens = tokens::tokenize(text, file)?;
    let last = tokens.tokens.last().map_or((1, 1), |t| (t.span.end.line, t.span.end.column));
    let end = At { file, line: last.0, column: last.1 };
    let parser = Parser::new(&FlinkDialect).with_tokens_with_locations(tokens.tokens);
    let mut statements = statement::StatementParser { parser, types: &tokens.types, file, end };
    let statements = statements.parse_all()?;
    Ok(Parsed { statements, types: tokens.types, lifetimes: tokens.lifetimes })
}

/// Parses a type's name, as `sqlparser` wrote it back.
pub(crate) fn parse_type_name(name: &str, types: &[SqlType], at: At) -> Planned<SqlType> {
    let tokens = tokens::tokenize(name, at.file)?;
    let all = [types, &tokens.types].concat();
    let mut parser = Parser::new(&FlinkDialect).with_tokens_with_locations(tokens.tokens);
    types::parse_type(&mut parser, &all, at.file).map_err(|mut refusal| {
        refusal.at = at;
        refusal
    })
}

/// Gives an error of `sqlparser` its place, which it carries in its text.
fn refusal(error: ParserError, file: usize, start: At, end: At) -> Box<Refusal> {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => "the text is nested too deeply".to_owned(),
    };
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        // Only the end of the text has no place of its own.
        let at = if text.contains("found: EOF") { end } else { start };
        return Refusal::new(ErrorKind::Parse, at, text);
    };
    let numbers: Vec<u64> =
        place.split(", Column: ").filter_map(|n| n.trim().parse().ok()).collect();
    let at = match numbers[..] {
        [line, column] => At { file, line, column },
        _ => start,
    };
    Refusal::new(ErrorKind::Parse, at, message)
}

#[cfg(test)]
mod tests;
